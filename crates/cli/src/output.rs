//! What a command prints: data to standard output, in the form the caller chose; everything else to standard error.

use crate::yaml;
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::Value as Json;

/// What stands for a secret unless secrets were asked for.
const HIDDEN: &str = "(hidden)";

#[derive(Clone, Args)]
pub struct OutputArguments {
    /// Form of the output. JSON and YAML show all that the server said, a table what people look for.
    #[arg(short, long, value_enum, default_value_t = Form::Table, global = true)]
    pub output: Form,
    /// Show secret keys in clear instead of "(hidden)".
    #[arg(long, global = true)]
    pub show_secrets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Table,
    Json,
    Yaml,
}

/// Rows under headings.
pub struct Sheet {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    pub fn new<const N: usize>(headings: [&'static str; N]) -> Sheet {
        Sheet {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    fn render(self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(self.headings);
        for row in self.rows {
            table.add_row(row);
        }
        // Cells are padded on both sides; blanks at either end of a line help nobody.
        let lines = table.to_string();
        let trimmed = lines.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
        trimmed.map(|line| line.to_owned() + "\n").collect()
    }
}

/// Prints `data` as JSON or YAML, or what `table` makes of it under a first sentence.
pub fn show(arguments: &OutputArguments, mut data: Json, table: impl FnOnce(&Json) -> (String, Sheet)) {
    if !arguments.show_secrets {
        hide_secrets(&mut data);
    }
    let text = match arguments.output {
        Form::Json => format!("{data:#}\n"),
        Form::Yaml => yaml::render(&data),
        Form::Table => {
            let (sentence, sheet) = table(&data);
            let sentence = printable_lines(&sentence);
            match sheet.rows.is_empty() {
                true => format!("{sentence}\n"),
                false => format!("{sentence}\n\n{}", sheet.render()),
            }
        }
    };
    crate::print(&text);
}

/// Says what a change did.
pub fn done(arguments: &OutputArguments, sentence: &str, revision: &str) {
    let data = serde_json::json!({"result": sentence, "revision": revision});
    let text = match arguments.output {
        Form::Json => format!("{data:#}\n"),
        Form::Yaml => yaml::render(&data),
        Form::Table => format!("{} (revision {revision})\n", printable(sentence)),
    };
    crate::print(&text);
}

/// In Doris's messages every field named `sk` is a secret and nothing else is.
fn hide_secrets(data: &mut Json) {
    match data {
        Json::Object(members) => {
            for (name, value) in members {
                match value {
                    Json::String(secret) if name == "sk" && !secret.is_empty() => HIDDEN.clone_into(secret),
                    _ => hide_secrets(value),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

/// Names are the callers' own: what would move the terminal's cursor or change its colours is shown as it would be written in a string.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// The same of a text of several lines.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// A text member; empty when absent. 64-bit numbers are texts in Doris's JSON.
pub fn text(data: &Json, name: &str) -> String {
    match &data[name] {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The items of a list member; none when absent.
pub fn list<'a>(data: &'a Json, name: &str) -> &'a [Json] {
    data[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_hidden_at_every_depth_and_nothing_else_is() {
        let mut data = json!({"sk": "s", "ak": "a", "list": [{"obj_info": {"sk": "t"}}], "empty": {"sk": ""}, "task": "sk"});
        hide_secrets(&mut data);
        let expected = json!({"sk": HIDDEN, "ak": "a", "list": [{"obj_info": {"sk": HIDDEN}}], "empty": {"sk": ""}, "task": "sk"});
        assert_eq!(data, expected);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut sheet = Sheet::new(["NAME"]);
        sheet.row(["red\u{1b}[31m\nü".to_owned()]);
        assert_eq!(sheet.render(), "NAME\nred\\u{1b}[31m\\nü\n");
    }

    #[test]
    fn a_sheet_has_headings_aligned_columns_and_no_blanks_at_the_ends() {
        let mut sheet = Sheet::new(["NAME", "STATE"]);
        sheet.row(["a-long-name".to_owned(), "ok".to_owned()]);
        sheet.row(["b".to_owned(), String::new()]);
        let text = sheet.render();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("STATE"), lines[1].find("ok"));
        assert!(lines.iter().all(|line| *line == line.trim()), "{text:?}");
    }
}
