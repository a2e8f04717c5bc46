//! JSON values as YAML, in the block style people read.
//!
//! Texts that YAML could take for something else (numbers, booleans, dates, anything with a sign of its own) are quoted as
//! JSON quotes them, which YAML reads the same; so what is printed reads back as the same data.

use serde_json::Value as Json;

/// One document, ending with a line break.
pub fn render(value: &Json) -> String {
    let mut out = String::new();
    match value {
        Json::Object(members) if !members.is_empty() => block(&mut out, value, 0),
        Json::Array(items) if !items.is_empty() => block(&mut out, value, 0),
        _ => out = scalar(value) + "\n",
    }
    out
}

fn block(out: &mut String, value: &Json, indent: usize) {
    let pad = "  ".repeat(indent);
    match value {
        Json::Object(members) => {
            for (name, value) in members {
                out.push_str(&format!("{pad}{}:", quoted_if_needed(name)));
                member(out, value, indent + 1);
            }
        }
        Json::Array(items) => {
            for item in items {
                let mut inner = String::new();
                if is_block(item) {
                    block(&mut inner, item, indent + 1);
                    // The first line of the item stands behind the dash.
                    out.push_str(&format!("{pad}- {}", &inner[pad.len() + 2..]));
                } else {
                    out.push_str(&format!("{pad}- {}\n", scalar(item)));
                }
            }
        }
        _ => out.push_str(&format!("{pad}{}\n", scalar(value))),
    }
}

fn member(out: &mut String, value: &Json, indent: usize) {
    if is_block(value) {
        out.push('\n');
        block(out, value, indent);
    } else {
        out.push_str(&format!(" {}\n", scalar(value)));
    }
}

fn is_block(value: &Json) -> bool {
    match value {
        Json::Object(members) => !members.is_empty(),
        Json::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) => quoted_if_needed(text),
        // Empty lists and objects, numbers, booleans and null are the same in both.
        other => other.to_string(),
    }
}

fn quoted_if_needed(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        Json::from(text).to_string()
    }
}

/// Whether nothing but this very text can be meant: a word of letters, digits and a few signs that starts with a letter
/// and is no word of YAML's own.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphabetic());
    let only_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    starts_well && only_plain && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_data_is_laid_out_in_blocks() {
        let data = json!({
            "name": "one", "count": 3, "none": null, "list": [], "object": {},
            "clusters": [{"id": "c", "nodes": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}, "plain", ["a", ["b"]]],
            "deep": {"er": {"est": true}}
        });
        let expected = "name: one\ncount: 3\nnone: null\nlist: []\nobject: {}\nclusters:\n  - id: c\n    nodes:\n      - ip: \"10.0.0.1\"\n      - ip: \"10.0.0.2\"\n  - plain\n  - - a\n    - - b\ndeep:\n  er:\n    est: true\n";
        assert_eq!(render(&data), expected);
        assert_eq!(
            (render(&json!([])), render(&json!("a b"))),
            ("[]\n".to_owned(), "\"a b\"\n".to_owned())
        );
    }

    #[test]
    fn texts_that_could_be_something_else_are_quoted() {
        for text in [
            "",
            "1",
            "1e3",
            "true",
            "Yes",
            "null",
            "2026-01-01",
            "a: b",
            "- a",
            "#x",
            " a",
            "a\nb",
            "é",
            "~",
            "'",
            "on",
        ] {
            assert_eq!(render(&json!(text)), format!("{}\n", Json::from(text)), "{text}");
        }
        for text in ["a", "obj_info", "a-b.c/d", "trueish", "n1"] {
            assert_eq!(render(&json!(text)), format!("{text}\n"));
        }
    }
}
