//! Messages as JSON schemas, and the comments of their fields.

use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// Schemas that something refers to.
#[derive(Default)]
pub struct Schemas {
    wanted: Vec<MessageDescriptor>,
    done: BTreeMap<String, Json>,
}

impl Schemas {
    /// A reference to a message's schema, which will be there.
    pub fn reference(&mut self, message: &MessageDescriptor) -> Json {
        self.wanted.push(message.clone());
        json!({"$ref": format!("#/components/schemas/{}", schema_name(message.full_name()))})
    }

    /// All schemas that were asked for, and those they refer to, by name.
    pub fn finish(mut self) -> Map<String, Json> {
        while let Some(message) = self.wanted.pop() {
            let name = schema_name(message.full_name());
            if !self.done.contains_key(&name) {
                // Set first: a message may refer to itself.
                self.done.insert(name.clone(), Json::Null);
                let schema = self.message(&message);
                self.done.insert(name, schema);
            }
        }
        self.done.into_iter().collect()
    }

    fn message(&mut self, message: &MessageDescriptor) -> Json {
        let mut properties = Map::new();
        for field in message.fields() {
            let mut schema = schema_of_field(&field, Some(self));
            let text = single_line(&comment(field.parent_file().file_descriptor_proto(), field.path()));
            if !text.is_empty() {
                schema["description"] = Json::from(text);
            }
            properties.insert(field.name().to_owned(), schema);
        }
        let mut schema = json!({"type": "object", "properties": properties});
        let text = single_line(&comment(message.parent_file().file_descriptor_proto(), message.path()));
        if !text.is_empty() {
            schema["description"] = Json::from(text);
        }
        schema
    }
}

/// The package of our own messages goes without saying; others keep theirs.
fn schema_name(full_name: &str) -> String {
    let own = full_name
        .strip_prefix(crate::api::routes::PACKAGE)
        .and_then(|rest| rest.strip_prefix('.'));
    own.unwrap_or(full_name).to_owned()
}

/// A field's schema; without `schemas`, messages are just objects.
pub fn schema_of_field(field: &FieldDescriptor, schemas: Option<&mut Schemas>) -> Json {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            json!({"type": "object", "additionalProperties": schema_of_kind(&entry.map_entry_value_field().kind(), schemas)})
        }
        kind if field.is_list() => json!({"type": "array", "items": schema_of_kind(&kind, schemas)}),
        kind => schema_of_kind(&kind, schemas),
    }
}

fn schema_of_kind(kind: &Kind, schemas: Option<&mut Schemas>) -> Json {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "format": "uint32", "minimum": 0}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "format": "int64"}),
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
        Kind::Float => json!({"type": "number", "format": "float"}),
        Kind::Double => json!({"type": "number", "format": "double"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Enum(descriptor) => enum_schema(descriptor),
        Kind::Message(message) => match schemas {
            Some(schemas) => schemas.reference(message),
            None => json!({"type": "object"}),
        },
    }
}

fn enum_schema(descriptor: &EnumDescriptor) -> Json {
    let names: Vec<String> = descriptor.values().map(|value| value.name().to_owned()).collect();
    let file = descriptor.parent_file();
    let meanings = descriptor.values().filter_map(|value| {
        let text = single_line(&comment(file.file_descriptor_proto(), value.path()));
        (!text.is_empty()).then(|| format!("{}: {text}", value.name()))
    });
    let meanings: Vec<String> = meanings.collect();
    let mut schema = json!({"type": "string", "enum": names});
    if !meanings.is_empty() {
        schema["description"] = Json::from(meanings.join("; "));
    }
    schema
}

/// The comment before a declaration, or else the one behind it on its line.
pub fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let found = locations.into_iter().find(|location| location.path == path);
    let comments = found.map(|location| (location.leading_comments(), location.trailing_comments()));
    match comments {
        Some(("", trailing)) => trailing.to_owned(),
        Some((leading, _)) => leading.to_owned(),
        None => String::new(),
    }
}

/// A comment of several lines as one.
pub fn single_line(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}
