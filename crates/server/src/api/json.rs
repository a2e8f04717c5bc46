//! JSON into messages by the rules of proto3 JSON, and with errors that name the field.
//!
//! prost-reflect can read JSON too, but its errors quote values, which may be secrets, and do not say which field of a deep
//! body is meant. Nothing is guessed here: an unknown field, a value of another type or beyond its range, and a field that
//! is there twice are refused.

use crate::nearest::nearest;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde_json::Value as Json;
use std::collections::HashMap;

/// Base64 with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Whole numbers up to here are exact in a JSON number that is written as a float.
const MAX_EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// Why JSON is not the message it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Names and positions from the inside out.
    place: Vec<String>,
    text: String,
}

impl Refused {
    pub fn new(text: impl Into<String>) -> Refused {
        Refused {
            place: Vec::new(),
            text: text.into(),
        }
    }

    fn within(mut self, place: impl Into<String>) -> Refused {
        self.place.push(place.into());
        self
    }

    /// The whole sentence; `what` is said of a fault of the outermost object.
    pub fn sentence(&self, what: &str) -> String {
        if self.place.is_empty() {
            return format!("{what} {}", self.text);
        }
        let mut path = String::new();
        for step in self.place.iter().rev() {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        format!("{what}: {path} {}", self.text)
    }
}

/// The message that a JSON object says.
pub fn read_message(descriptor: &MessageDescriptor, json: &Json) -> Result<DynamicMessage, Refused> {
    let Json::Object(members) = json else {
        return Err(Refused::new(format!("must be an object, not {}", type_of(json))));
    };
    let mut message = DynamicMessage::new(descriptor.clone());
    let mut seen = Vec::new();
    for (name, value) in members {
        let field = field_named(descriptor, name)?;
        if seen.contains(&field.number()) {
            return Err(Refused::new(format!("has the field {} twice", field.name())));
        }
        seen.push(field.number());
        // Null is what proto3 JSON says for "not set".
        if value.is_null() {
            continue;
        }
        if let Some(other) = set_in_oneof(&message, &field) {
            return Err(Refused::new(format!(
                "has {} and {}; only one of them can be set",
                other.name(),
                field.name()
            )));
        }
        let value = read_field(&field, value).map_err(|refused| refused.within(field.name()))?;
        message.set_field(&field, value);
    }
    Ok(message)
}

/// The field of a name, in the spelling of the `.proto` file or in lowerCamelCase.
pub fn field_named(descriptor: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, Refused> {
    let found = descriptor
        .get_field_by_name(name)
        .or_else(|| descriptor.get_field_by_json_name(name));
    found.ok_or_else(|| {
        let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
        let names: Vec<&str> = fields.iter().map(FieldDescriptor::name).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("; the nearest is {near}"),
            None if names.is_empty() => "; there is none".to_owned(),
            None => format!("; there are {}", names.join(", ")),
        };
        Refused::new(format!("has no field {}{hint}", quoted(name)))
    })
}

/// A name that a caller made up, at a length that can be shown.
fn quoted(name: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 64;
    match name.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}...", &name[..end]),
        None => format!("{name:?}"),
    }
}

fn set_in_oneof(message: &DynamicMessage, field: &FieldDescriptor) -> Option<FieldDescriptor> {
    field.containing_oneof()?.fields().find(|other| message.has_field(other))
}

fn read_field(field: &FieldDescriptor, json: &Json) -> Result<Value, Refused> {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let Json::Object(members) = json else {
            return Err(mismatch("an object", json));
        };
        let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let read = members.iter().map(|(name, value)| {
            let pair = read_key(&key_kind, name).and_then(|key| Ok((key, read_single(&value_kind, value)?)));
            pair.map_err(|refused| refused.within(format!("[{}]", quoted(name))))
        });
        return Ok(Value::Map(read.collect::<Result<HashMap<_, _>, _>>()?));
    }
    if field.is_list() {
        let Json::Array(items) = json else {
            return Err(mismatch("a list", json));
        };
        let read = items.iter().enumerate().map(|(position, item)| {
            let value = read_single(&field.kind(), item);
            value.map_err(|refused| refused.within(format!("[{position}]")))
        });
        return Ok(Value::List(read.collect::<Result<_, _>>()?));
    }
    read_single(&field.kind(), json)
}

fn read_key(kind: &Kind, text: &str) -> Result<MapKey, Refused> {
    let key = read_text(kind, text)?.into_map_key();
    key.ok_or_else(|| Refused::new("cannot be a key"))
}

/// A single value as a query, a path or a key of a map has it: text.
pub fn read_text(kind: &Kind, text: &str) -> Result<Value, Refused> {
    let json = match (kind, text) {
        (Kind::Bool, "true") => Json::Bool(true),
        (Kind::Bool, "false") => Json::Bool(false),
        (Kind::Bool, _) => return Err(Refused::new("must be true or false")),
        (Kind::Message(_), _) => return Err(Refused::new("is an object; name one of its fields behind a dot")),
        (Kind::Enum(_), number) => number.parse::<i32>().map_or_else(|_| Json::from(number), Json::from),
        _ => Json::from(text),
    };
    read_single(kind, &json)
}

fn read_single(kind: &Kind, json: &Json) -> Result<Value, Refused> {
    match kind {
        Kind::Bool => json.as_bool().map(Value::Bool).ok_or_else(|| mismatch("true or false", json)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(json, i32::MIN, i32::MAX).map(Value::I32),
        Kind::Uint32 | Kind::Fixed32 => integer(json, u32::MIN, u32::MAX).map(Value::U32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(json, i64::MIN, i64::MAX).map(Value::I64),
        Kind::Uint64 | Kind::Fixed64 => integer(json, u64::MIN, u64::MAX).map(Value::U64),
        Kind::Float => float(json).map(|number| Value::F32(number as f32)),
        Kind::Double => float(json).map(Value::F64),
        Kind::String => match json {
            Json::String(text) => Ok(Value::String(text.clone())),
            _ => Err(mismatch("a text", json)),
        },
        Kind::Bytes => match json {
            // Both alphabets of base64 are allowed.
            Json::String(text) => BASE64
                .decode(text.replace('-', "+").replace('_', "/"))
                .map(|bytes| Value::Bytes(bytes.into()))
                .map_err(|_| Refused::new("is not base64")),
            _ => Err(mismatch("bytes as a text in base64", json)),
        },
        Kind::Enum(descriptor) => enum_number(descriptor, json).map(Value::EnumNumber),
        Kind::Message(descriptor) => read_message(descriptor, json).map(Value::Message),
    }
}

/// A whole number, as a number or as a text.
fn integer<N: TryFrom<i128> + std::fmt::Display>(json: &Json, min: N, max: N) -> Result<N, Refused> {
    let number = match json {
        Json::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(whole), _) => Some(whole),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() <= MAX_EXACT_FLOAT => Some(float as i128),
            _ => None,
        },
        Json::String(text) => text.parse().ok(),
        _ => return Err(mismatch(&format!("a whole number from {min} to {max}"), json)),
    };
    let fits = number.and_then(|number| N::try_from(number).ok());
    fits.ok_or_else(|| Refused::new(format!("must be a whole number from {min} to {max}")))
}

fn float(json: &Json) -> Result<f64, Refused> {
    let number = match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()),
        },
        _ => None,
    };
    number.ok_or_else(|| Refused::new("must be a number"))
}

fn enum_number(descriptor: &EnumDescriptor, json: &Json) -> Result<i32, Refused> {
    let known = match json {
        Json::String(name) => descriptor.get_value_by_name(name),
        Json::Number(number) => number.as_i64().and_then(|number| descriptor.get_value(i32::try_from(number).ok()?)),
        _ => return Err(mismatch("a text", json)),
    };
    known.map(|value| value.number()).ok_or_else(|| {
        let names: Vec<String> = descriptor.values().map(|value| value.name().to_owned()).collect();
        Refused::new(format!("must be one of {}", names.join(", ")))
    })
}

fn mismatch(wanted: &str, got: &Json) -> Refused {
    Refused::new(format!("must be {wanted}, not {}", type_of(got)))
}

fn type_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
