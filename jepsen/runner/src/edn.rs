//! A history as Jepsen's own tools read it: one map per line.
//!
//! Keys, operations and types are keywords. In a transaction the first word of each micro-operation is one too; all other
//! text stays text.

use crate::history::Op;
use serde::Serialize;
use serde_json::Value as Json;
use std::fmt::Write as _;

/// One line, without its end.
pub fn line(op: &Op) -> String {
    let mut line = format!("{{:index {}, :time {}, :process {}, ", op.index, op.time, keyword(&op.process));
    let _ = write!(
        line,
        ":type {}, :f :{}, :value {}",
        keyword(&op.kind),
        op.f,
        value(&op.f, &op.value)
    );
    for (name, number) in [("revision", op.revision), ("term", op.term)] {
        if let Some(number) = number {
            let _ = write!(line, ", :{name} {number}");
        }
    }
    for (name, text) in [("node", &op.node), ("request-id", &op.request)] {
        if let Some(text) = text {
            let _ = write!(line, ", :{name} {}", quoted(text));
        }
    }
    if let Some(error) = &op.error {
        let _ = write!(line, ", :error [{}]", quoted(error));
    }
    let _ = write!(line, ", :phase {}}}", keyword(&op.phase));
    line
}

/// What serde writes as text becomes a keyword; a number stays one.
fn keyword(name: &impl Serialize) -> String {
    match serde_json::to_value(name) {
        Ok(Json::String(name)) => format!(":{name}"),
        Ok(other) => other.to_string(),
        Err(_) => "nil".to_owned(),
    }
}

fn value(f: &str, value: &Json) -> String {
    match value {
        Json::Array(micro_operations) if f == "txn" => {
            let all: Vec<String> = micro_operations.iter().map(micro_operation).collect();
            format!("[{}]", all.join(" "))
        }
        other => plain(other),
    }
}

fn micro_operation(value: &Json) -> String {
    let Json::Array(parts) = value else { return plain(value) };
    let mut words = parts.iter().map(plain).collect::<Vec<_>>();
    if let Some(Json::String(name)) = parts.first() {
        words[0] = format!(":{name}");
    }
    format!("[{}]", words.join(" "))
}

fn plain(value: &Json) -> String {
    match value {
        Json::Null => "nil".to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(all) => format!("[{}]", all.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Json::Object(all) => {
            let entries: Vec<String> = all.iter().map(|(name, value)| format!(":{name} {}", plain(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// EDN has JSON's escapes, but for `\/`, `\b` and `\f`, which nobody here writes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Kind, NemesisMark, Process};
    use crate::operation::by_hand::Story;
    use serde_json::json;

    #[test]
    fn lines_are_what_jepsen_writes() {
        let mut story = Story::default();
        story.invoke(4, "txn", json!([["append", 3, 41], ["r", 5, null]]));
        story.ok(4, "txn", json!([["append", 3, 41], ["r", 5, [1, 2]]]), 5120).under(7, 118);
        story.invoke(6, "cas", json!([12, [7, 9]])).info(6, "cas", json!([12, [7, 9]]));
        story.invoke(0, "start-kill", json!({"status": "installed", "nodes": ["n1"]}));
        story.last().process = Process::Nemesis(NemesisMark::Nemesis);
        story.last().kind = Kind::Info;
        let lines: Vec<String> = story.ops.iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "{:index 0, :time 0, :process 4, :type :invoke, :f :txn, :value [[:append 3 41] [:r 5 nil]], :phase :main}",
                "{:index 1, :time 1000000, :process 4, :type :ok, :f :txn, :value [[:append 3 41] [:r 5 [1 2]]], :revision 5120, :term 1, \
                 :node \"n1\", :request-id \"7-118\", :phase :main}",
                "{:index 2, :time 2000000, :process 6, :type :invoke, :f :cas, :value [12 [7 9]], :phase :main}",
                "{:index 3, :time 3000000, :process 6, :type :info, :f :cas, :value [12 [7 9]], :node \"n1\", :error [\"timeout\"], :phase \
                 :main}",
                "{:index 4, :time 4000000, :process :nemesis, :type :info, :f :start-kill, :value {:status \"installed\", :nodes [\"n1\"]}, \
                 :phase :main}",
            ]
        );
    }
}
