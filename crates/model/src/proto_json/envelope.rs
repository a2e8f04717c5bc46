//! The JSON reply of every route (spec/doris-http.md 5.1), laid out as rapidjson's pretty writer does it: four blanks of
//! indent, one member or item per line, `{}` and `[]` when empty, one line end behind the last brace.

use std::fmt::Write as _;

use serde_json::Value as Json;

const INDENT: &str = "    ";

/// The reply body. `code` is one of the five code strings; `result` is left out when there is none.
pub fn envelope(code: &str, msg: &str, result: Option<Json>) -> String {
    let mut body = String::from("{\n");
    push_member(&mut body, "code", &Json::from(code), 1);
    body.push_str(",\n");
    push_member(&mut body, "msg", &Json::from(msg), 1);
    if let Some(result) = result {
        body.push_str(",\n");
        push_member(&mut body, "result", &result, 1);
    }
    body.push_str("\n}\n");
    body
}

fn push_member(body: &mut String, name: &str, value: &Json, level: usize) {
    body.extend(std::iter::repeat_n(INDENT, level));
    push_string(body, name);
    body.push_str(": ");
    push_value(body, value, level);
}

fn push_value(body: &mut String, value: &Json, level: usize) {
    match value {
        Json::String(text) => push_string(body, text),
        Json::Array(items) => push_block(body, ['[', ']'], items.iter(), level, |body, item| {
            body.extend(std::iter::repeat_n(INDENT, level + 1));
            push_value(body, item, level + 1);
        }),
        Json::Object(members) => push_block(body, ['{', '}'], members.iter(), level, |body, (name, value)| {
            push_member(body, name, value, level + 1);
        }),
        Json::Null | Json::Bool(_) | Json::Number(_) => body.push_str(&value.to_string()),
    }
}

fn push_block<T>(
    body: &mut String,
    [open, close]: [char; 2],
    entries: impl Iterator<Item = T>,
    level: usize,
    push_entry: impl Fn(&mut String, T),
) {
    body.push(open);
    let mut is_empty = true;
    for entry in entries {
        body.push_str(if is_empty { "\n" } else { ",\n" });
        push_entry(body, entry);
        is_empty = false;
    }
    if !is_empty {
        body.push('\n');
        body.extend(std::iter::repeat_n(INDENT, level));
    }
    body.push(close);
}

/// Only quotes, backslashes and control characters are escaped, the latter with upper-case digits.
fn push_string(body: &mut String, text: &str) {
    body.push('"');
    for character in text.chars() {
        match character {
            '"' => body.push_str("\\\""),
            '\\' => body.push_str("\\\\"),
            '\u{8}' => body.push_str("\\b"),
            '\u{c}' => body.push_str("\\f"),
            '\n' => body.push_str("\\n"),
            '\r' => body.push_str("\\r"),
            '\t' => body.push_str("\\t"),
            '\0'..='\u{1f}' => {
                // Writing to a string cannot fail.
                let _ = write!(body, "\\u{:04X}", u32::from(character));
            }
            other => body.push(other),
        }
    }
    body.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_result() {
        assert_eq!(envelope("OK", "", None), "{\n    \"code\": \"OK\",\n    \"msg\": \"\"\n}\n");
    }

    #[test]
    fn with_result() {
        let result = json!({"name": "n", "empty": {}, "none": [], "list": ["a", {"port": 9050}, [true, null]], "ctime": "1"});
        let expected = r#"{
    "code": "OK",
    "msg": "",
    "result": {
        "name": "n",
        "empty": {},
        "none": [],
        "list": [
            "a",
            {
                "port": 9050
            },
            [
                true,
                null
            ]
        ],
        "ctime": "1"
    }
}
"#;
        assert_eq!(envelope("OK", "", Some(result)), expected);
    }

    #[test]
    fn empty_result_is_shown() {
        let expected = "{\n    \"code\": \"INTERNAL_ERROR\",\n    \"msg\": \"m\",\n    \"result\": {}\n}\n";
        assert_eq!(envelope("INTERNAL_ERROR", "m", Some(json!({}))), expected);
    }

    #[test]
    fn only_quotes_backslashes_and_control_characters_are_escaped() {
        let body = envelope("OK", "\"\\/<>é\u{8}\u{c}\n\r\t\u{0}\u{1b}\u{7f}\u{2028}", None);
        let expected = "\\\"\\\\/<>é\\b\\f\\n\\r\\t\\u0000\\u001B\u{7f}\u{2028}";
        assert_eq!(body, format!("{{\n    \"code\": \"OK\",\n    \"msg\": \"{expected}\"\n}}\n"));
    }
}
