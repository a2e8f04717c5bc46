//! Messages in protobuf's text format (spec/doris-http.md 5.3), as texts of errors and of the text replies show them.
//!
//! Only set fields, in ascending field-number order; map entries ordered by key, so that the same message always
//! gives the same text. Fields unknown to this build are left out.

use std::fmt::Write as _;

use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MapKey, Value};

use super::sorted_entries;

/// One field per line, two blanks of indent per level, every line ended.
pub fn multi_line(message: &DynamicMessage) -> String {
    let mut printer = Printer {
        text: String::new(),
        layout: Layout::MultiLine { level: 0 },
    };
    printer.message(message);
    printer.text
}

/// Everything on one line: `a: 1 b { c: "x" }`.
pub fn one_line(message: &DynamicMessage) -> String {
    let mut printer = Printer {
        text: String::new(),
        layout: Layout::OneLine,
    };
    printer.message(message);
    printer.text.truncate(printer.text.trim_end_matches(' ').len());
    printer.text
}

#[derive(Clone, Copy)]
enum Layout {
    MultiLine { level: usize },
    OneLine,
}

struct Printer {
    text: String,
    layout: Layout,
}

impl Printer {
    fn message(&mut self, message: &DynamicMessage) {
        for (field, value) in message.fields() {
            match (value, field.kind()) {
                (Value::List(items), kind) => items.iter().for_each(|item| self.field(field.name(), item, &kind)),
                (Value::Map(_), Kind::Message(entry)) => {
                    let kinds = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
                    for (key, value) in sorted_entries(value) {
                        self.map_entry(field.name(), (key, value), &kinds);
                    }
                }
                (value, kind) => self.field(field.name(), value, &kind),
            }
        }
    }

    fn field(&mut self, name: &str, value: &Value, kind: &Kind) {
        match value {
            Value::Message(message) => self.block(name, |printer| printer.message(message)),
            scalar => {
                self.start_line();
                self.text.push_str(name);
                self.text.push_str(": ");
                self.scalar(scalar, kind);
                self.end_line();
            }
        }
    }

    fn map_entry(&mut self, name: &str, (key, value): (&MapKey, &Value), (key_kind, value_kind): &(Kind, Kind)) {
        self.block(name, |printer| {
            printer.field("key", &Value::from(key.clone()), key_kind);
            printer.field("value", value, value_kind);
        });
    }

    fn block(&mut self, name: &str, content: impl FnOnce(&mut Printer)) {
        self.start_line();
        self.text.push_str(name);
        self.text.push_str(" {");
        self.end_line();
        let outer = self.layout;
        if let Layout::MultiLine { level } = &mut self.layout {
            *level += 1;
        }
        content(self);
        self.layout = outer;
        self.start_line();
        self.text.push('}');
        self.end_line();
    }

    fn scalar(&mut self, value: &Value, kind: &Kind) {
        match value {
            Value::String(text) => self.quoted(text.as_bytes()),
            Value::Bytes(bytes) => self.quoted(bytes),
            Value::EnumNumber(number) => self.enum_name(*number, kind.as_enum()),
            Value::Bool(value) => self.push(value),
            Value::I32(value) => self.push(value),
            Value::I64(value) => self.push(value),
            Value::U32(value) => self.push(value),
            Value::U64(value) => self.push(value),
            Value::F32(value) => self.float(value, value.is_nan()),
            Value::F64(value) => self.float(value, value.is_nan()),
            // A list holds no lists and a map value is no map, so these never stand where a scalar does.
            Value::Message(_) | Value::List(_) | Value::Map(_) => {}
        }
    }

    fn enum_name(&mut self, number: i32, descriptor: Option<&EnumDescriptor>) {
        match descriptor.and_then(|descriptor| descriptor.get_value(number)) {
            Some(value) => self.text.push_str(value.name()),
            None => self.push(&number),
        }
    }

    fn float(&mut self, value: &dyn std::fmt::Display, is_nan: bool) {
        if is_nan {
            self.text.push_str("nan");
        } else {
            self.push(value);
        }
    }

    /// C escapes: what is not printable ASCII becomes three octal digits, byte by byte.
    fn quoted(&mut self, bytes: &[u8]) {
        self.text.push('"');
        for byte in bytes {
            match byte {
                b'\n' => self.text.push_str("\\n"),
                b'\r' => self.text.push_str("\\r"),
                b'\t' => self.text.push_str("\\t"),
                b'"' | b'\'' | b'\\' => self.text.extend(['\\', char::from(*byte)]),
                b' '..=b'~' => self.text.push(char::from(*byte)),
                other => self.push(&format_args!("\\{other:03o}")),
            }
        }
        self.text.push('"');
    }

    fn push(&mut self, value: &dyn std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
    }

    fn start_line(&mut self) {
        if let Layout::MultiLine { level } = self.layout {
            self.text.extend(std::iter::repeat_n("  ", level));
        }
    }

    fn end_line(&mut self) {
        self.text.push(match self.layout {
            Layout::MultiLine { .. } => '\n',
            Layout::OneLine => ' ',
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto_json::{descriptor, parse};

    const CLUSTER: &str = r#"{
        "cluster_id": "c", "type": "SQL", "nodes": [{"ip": "10.0.0.1", "ctime": -1}, {}], "mysql_user_name": ["a", "b"],
        "cluster_policy": {"failover_failure_threshold": 3}, "properties": {"b": "2", "a": "1"}
    }"#;

    fn cluster() -> DynamicMessage {
        parse(CLUSTER.as_bytes(), "doris.cloud.ClusterPB").expect("valid body")
    }

    #[test]
    fn multi_line_indents_by_two_and_ends_every_line() {
        let expected = [
            "cluster_id: \"c\"",
            "type: SQL",
            "nodes {",
            "  ip: \"10.0.0.1\"",
            "  ctime: -1",
            "}",
            "nodes {",
            "}",
            "mysql_user_name: \"a\"",
            "mysql_user_name: \"b\"",
            "cluster_policy {",
            "  failover_failure_threshold: 3",
            "}",
            "properties {",
            "  key: \"a\"",
            "  value: \"1\"",
            "}",
            "properties {",
            "  key: \"b\"",
            "  value: \"2\"",
            "}",
            "",
        ];
        assert_eq!(multi_line(&cluster()), expected.join("\n"));
    }

    #[test]
    fn one_line_separates_by_blanks_and_does_not_end_with_one() {
        let expected = "cluster_id: \"c\" type: SQL nodes { ip: \"10.0.0.1\" ctime: -1 } nodes { } mysql_user_name: \"a\" \
            mysql_user_name: \"b\" cluster_policy { failover_failure_threshold: 3 } properties { key: \"a\" value: \"1\" } \
            properties { key: \"b\" value: \"2\" }";
        assert_eq!(one_line(&cluster()), expected);
    }

    #[test]
    fn an_empty_message_has_no_text() {
        let empty = DynamicMessage::new(descriptor("doris.cloud.ClusterPB"));
        assert_eq!((multi_line(&empty), one_line(&empty)), (String::new(), String::new()));
    }

    #[test]
    fn strings_are_escaped_as_in_c() {
        let body = r#"{"cluster_id": "\n\r\t\"'\\\u0001\u007fé/"}"#;
        let message = parse(body.as_bytes(), "doris.cloud.ClusterPB").expect("valid body");
        assert_eq!(one_line(&message), r#"cluster_id: "\n\r\t\"\'\\\001\177\303\251/""#);
    }

    #[test]
    fn unknown_enum_numbers_are_printed_as_numbers() {
        let mut cluster = DynamicMessage::new(descriptor("doris.cloud.ClusterPB"));
        cluster.set_field_by_name("type", Value::EnumNumber(77));
        assert_eq!(one_line(&cluster), "type: 77");
    }
}
