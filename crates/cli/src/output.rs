//! What a command prints: data to standard output, in the form the caller chose; everything else to standard error.

use crate::doris::Answer;
use crate::yaml;
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use quorate_model::proto_json::{render_whole, to_dynamic};
use serde_json::{Map, Value as Json};

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

    pub(crate) fn render(self) -> String {
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

/// Says what a change did, or of a dry run what it would come to.
pub fn done(arguments: &OutputArguments, sentence: &str, answer: &Answer) {
    if answer.was_dry_run {
        let would = "nothing was changed; the cluster would do this";
        eprintln!("--dry-run: {would}");
        return data_only(arguments, said(answer, would));
    }
    let told = format!("{} (revision {})", printable(sentence), answer.revision);
    show(arguments, said(answer, sentence), |_| (told, Sheet::new([])));
}

/// Prints data of which people have been told already: in a table there is nothing more to say.
pub fn data_only(arguments: &OutputArguments, data: Json) {
    if arguments.output != Form::Table {
        show(arguments, data, |_| (String::new(), Sheet::new([])));
    }
}

/// The server's whole reply, with what became of the call beside it. Doris's routes answer a write with no more than that.
fn said(answer: &Answer, sentence: &str) -> Json {
    let mut data = match &answer.result {
        Json::Object(members) => Json::Object(members.clone()),
        _ => Json::Object(Map::new()),
    };
    data["result"] = sentence.into();
    if data["revision"].is_null() {
        data["revision"] = answer.revision.as_str().into();
    }
    data
}

/// A native reply with all its fields, as the API shows it.
pub fn whole<M: prost::Name>(message: &M) -> Json {
    render_whole(&to_dynamic(&M::full_name(), message))
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
    fn programs_get_the_whole_reply_and_what_became_of_the_call() {
        let job = Answer::by_hand(json!({"job_id": "5", "state": "JOB_CANCELLED"}), false);
        let expected = json!({"job_id": "5", "state": "JOB_CANCELLED", "result": "job 5 cancelled", "revision": "7"});
        assert_eq!(said(&job, "job 5 cancelled"), expected);
        let changed = Answer::by_hand(json!({"name": "d", "revision": "6"}), true);
        let expected = json!({"name": "d", "revision": "6", "result": "nothing was changed"});
        assert_eq!(said(&changed, "nothing was changed"), expected);
        let bare = said(&Answer::by_hand(Json::Null, false), "instance i created");
        assert_eq!(bare, json!({"result": "instance i created", "revision": "7"}));
    }

    #[test]
    fn a_native_reply_has_its_zeros_too() {
        let reply = quorate_wire::quorate::v1::AddMemberReply::default();
        assert_eq!(whole(&reply), json!({"peer_id": "0", "was_member": false}));
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
