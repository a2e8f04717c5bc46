//! Request bodies into messages, accepting and refusing what protobuf's JSON parser does (spec/doris-http.md 4).
//!
//! A field is set only by a value that means something to it: `null`, unknown fields and unknown enum values leave
//! the field as if it had not been sent. Well-known types have no special form.

use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use super::reader::{Json, Surroundings, read};
use super::{ParseFailure, descriptor};

/// Characters of a refused value that are quoted back.
const QUOTED_VALUE_CHARS: usize = 256;

/// Fields that hold a secret in whatever message they are.
const SECRET_FIELDS: &[&str] = &["sk", "hdfs_kerberos_keytab"];
/// Settings of an HDFS client go by names that are free, passwords among them.
const HDFS_SETTING: &str = "doris.cloud.HdfsBuildConf.HdfsConfKVPair.value";
/// What stands for a secret in an error text: unlike upstream, none is quoted.
const HIDDEN: &str = "(hidden)";

/// Padding is optional and both alphabets are accepted, as senders disagree on them.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Parses a body as the message with that full name, which has to be one of the descriptor set.
pub fn parse(body: &[u8], message_full_name: &str) -> Result<DynamicMessage, ParseFailure> {
    let descriptor = descriptor(message_full_name);
    let json = read(body, Surroundings::Hidden).or_else(|hidden| match holds_secrets(&descriptor) {
        // Under any name: a secret whose field is misspelled is one all the same.
        true => Err(hidden),
        false => read(body, Surroundings::Quoted),
    })?;
    let Json::Object(members) = json else {
        return Err(ParseFailure::new(": Root element must be a message."));
    };
    message(&members, descriptor, &Location::Root)
}

/// Parses a body into the generated type `M`, whose full name has to be given.
pub fn parse_into<M: prost::Message + Default>(body: &[u8], message_full_name: &str) -> Result<M, ParseFailure> {
    let parsed = parse(body, message_full_name)?;
    parsed
        .transcode_to()
        .map_err(|_| ParseFailure::new("JSON transcoder produced invalid protobuf output."))
}

/// Where a value is, for error texts: `cluster.nodes[0].heartbeat_port`. Written out only when something is wrong.
enum Location<'a> {
    Root,
    Field(&'a Location<'a>, &'a FieldDescriptor),
    Item(&'a Location<'a>, usize),
    Entry(&'a Location<'a>, &'a str),
}

impl Location<'_> {
    fn path(&self) -> String {
        match self {
            Location::Root => String::new(),
            Location::Field(Location::Root, field) => field.name().to_owned(),
            Location::Field(parent, field) => format!("{}.{}", parent.path(), field.name()),
            Location::Item(parent, index) => format!("{}[{index}]", parent.path()),
            Location::Entry(parent, key) => format!("{}[\"{key}\"]", parent.path()),
        }
    }

    fn failure(&self, problem: &str) -> ParseFailure {
        match self {
            Location::Root => ParseFailure::new(format!(": {problem}")),
            _ => ParseFailure::new(format!("({}): {problem}", self.path())),
        }
    }

    fn invalid_value(&self, value: &Json<'_>, type_name: &str) -> ParseFailure {
        let shown = if self.may_be_secret() { HIDDEN.to_owned() } else { quoted(value) };
        self.failure(&format!("invalid value {shown} for type {type_name}"))
    }

    fn may_be_secret(&self) -> bool {
        match self {
            Location::Root => false,
            Location::Field(_, field) => may_be_secret(field),
            Location::Item(parent, _) | Location::Entry(parent, _) => parent.may_be_secret(),
        }
    }
}

/// Whether a text sent for this field may be a secret: the field is one, or it is a message that has one, which senders have
/// been seen to encode twice.
fn may_be_secret(field: &FieldDescriptor) -> bool {
    is_secret(field) || field.kind().as_message().is_some_and(holds_secrets)
}

fn is_secret(field: &FieldDescriptor) -> bool {
    SECRET_FIELDS.contains(&field.name()) || field.full_name() == HDFS_SETTING
}

/// Whether a message has a secret anywhere inside.
fn holds_secrets(descriptor: &MessageDescriptor) -> bool {
    let mut seen = vec![descriptor.clone()];
    let mut at = 0;
    while let Some(next) = seen.get(at).cloned() {
        at += 1;
        for field in next.fields() {
            match field.kind() {
                Kind::Message(inner) if !seen.contains(&inner) => seen.push(inner),
                Kind::Message(_) => {}
                _ if is_secret(&field) => return true,
                _ => {}
            }
        }
    }
    false
}

fn message(members: &[(String, Json<'_>)], descriptor: MessageDescriptor, at: &Location<'_>) -> Result<DynamicMessage, ParseFailure> {
    let mut parsed = DynamicMessage::new(descriptor.clone());
    for (name, json) in members {
        let Some(field) = descriptor
            .get_field_by_name(name)
            .or_else(|| descriptor.get_field_by_json_name(name))
        else {
            continue;
        };
        if let Some(value) = field_value(json, &field, &Location::Field(at, &field))? {
            parsed.set_field(&field, value);
        }
    }
    match descriptor.fields().find(|field| field.is_required() && !parsed.has_field(field)) {
        Some(missing) => Err(at.failure(&format!("missing field {}", missing.name()))),
        None => Ok(parsed),
    }
}

fn field_value(json: &Json<'_>, field: &FieldDescriptor, at: &Location<'_>) -> Result<Option<Value>, ParseFailure> {
    match json {
        Json::Null => Ok(None),
        Json::Object(members) if field.is_map() => map(members, field, at).map(Some),
        _ if field.is_map() => Err(at.invalid_value(json, "TYPE_MESSAGE")),
        Json::List(items) if field.is_list() => list(items, field, at).map(Some),
        _ if field.is_list() => Ok(single_value(json, field, at)?.map(|value| Value::List(vec![value]))),
        Json::List(_) => Err(at.failure("Proto field is not repeating, cannot start list.")),
        _ => single_value(json, field, at),
    }
}

fn list(items: &[Json<'_>], field: &FieldDescriptor, at: &Location<'_>) -> Result<Value, ParseFailure> {
    let mut values = Vec::new();
    for (index, item) in items.iter().enumerate() {
        values.extend(single_value(item, field, &Location::Item(at, index))?);
    }
    Ok(Value::List(values))
}

fn map(members: &[(String, Json<'_>)], field: &FieldDescriptor, at: &Location<'_>) -> Result<Value, ParseFailure> {
    let Kind::Message(entry) = field.kind() else {
        return Err(at.failure("map field without entries"));
    };
    let mut entries = HashMap::new();
    for (key_text, json) in members {
        let at = Location::Entry(at, key_text);
        let key = map_key(key_text, &entry.map_entry_key_field(), &at)?;
        if let Some(value) = single_value(json, &entry.map_entry_value_field(), &at)? {
            entries.insert(key, value);
        }
    }
    Ok(Value::Map(entries))
}

/// Map keys are always strings in JSON; whatever a string may say for the type is a key.
fn map_key(text: &str, field: &FieldDescriptor, at: &Location<'_>) -> Result<MapKey, ParseFailure> {
    let json = Json::String(text.to_owned());
    let key = single_value(&json, field, at)?.and_then(Value::into_map_key);
    key.ok_or_else(|| at.invalid_value(&json, type_name(field)))
}

/// A value for a field that holds one, or for one item of a list. `None` leaves the field or the item out.
fn single_value(json: &Json<'_>, field: &FieldDescriptor, at: &Location<'_>) -> Result<Option<Value>, ParseFailure> {
    if *json == Json::Null {
        return Ok(None);
    }
    let value = match field.kind() {
        Kind::Message(descriptor) => match json {
            Json::Object(members) => Some(Value::Message(message(members, descriptor, at)?)),
            _ => None,
        },
        Kind::Enum(descriptor) => match enum_number(json, &descriptor) {
            Some(EnumNumber::Declared(number)) => Some(Value::EnumNumber(number)),
            Some(EnumNumber::Unknown) => return Ok(None),
            None => None,
        },
        Kind::String => string(json).map(|text| Value::String(text.to_owned())),
        Kind::Bytes => string(json).and_then(base64_bytes).map(|bytes| Value::Bytes(bytes.into())),
        Kind::Bool => boolean(json).map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(json).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(json).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => integer(json).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => integer(json).map(Value::U64),
        Kind::Double => float(json).map(Value::F64),
        Kind::Float => float(json).and_then(narrow).map(Value::F32),
    };
    match value {
        Some(value) => Ok(Some(value)),
        None => Err(at.invalid_value(json, type_name(field))),
    }
}

enum EnumNumber {
    Declared(i32),
    /// A name or number this build does not know: the field stays unset, as it does in closed proto2 enums.
    Unknown,
}

fn enum_number(json: &Json<'_>, descriptor: &EnumDescriptor) -> Option<EnumNumber> {
    let number = match json {
        Json::Number(_) => Some(integer(json)?),
        Json::String(name) => match descriptor.get_value_by_name(name) {
            Some(value) => Some(value.number()),
            None => integer(json),
        },
        _ => return None,
    };
    match number.and_then(|number| descriptor.get_value(number)) {
        Some(value) => Some(EnumNumber::Declared(value.number())),
        None => Some(EnumNumber::Unknown),
    }
}

fn string<'a>(json: &'a Json<'_>) -> Option<&'a str> {
    match json {
        Json::String(text) => Some(text),
        _ => None,
    }
}

fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text)).ok()
}

fn boolean(json: &Json<'_>) -> Option<bool> {
    match json {
        Json::Bool(value) => Some(*value),
        Json::String(text) if text == "true" => Some(true),
        Json::String(text) if text == "false" => Some(false),
        _ => None,
    }
}

/// Any integer that fits `T`, written with digits, as a digit string, or as a number without a fraction.
fn integer<T: TryFrom<i128>>(json: &Json<'_>) -> Option<T> {
    let wide: i128 = match json {
        Json::String(digits) => digits.parse().ok()?,
        Json::Number(digits) => digits.parse().ok().or_else(|| whole(digits.parse().ok()?))?,
        _ => return None,
    };
    T::try_from(wide).ok()
}

/// Converts what has no fraction; what no field can hold saturates and is refused as out of range.
fn whole(value: f64) -> Option<i128> {
    (value.fract() == 0.0).then_some(value as i128)
}

fn float(json: &Json<'_>) -> Option<f64> {
    match json {
        Json::Number(digits) => digits.parse().ok(),
        Json::String(text) => match text.as_str() {
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            "NaN" => Some(f64::NAN),
            digits => digits.parse().ok().filter(|value: &f64| value.is_finite()),
        },
        _ => None,
    }
}

/// Infinity stays infinity, but a finite number must not become it.
fn narrow(value: f64) -> Option<f32> {
    let narrowed = value as f32;
    (narrowed.is_finite() || !value.is_finite()).then_some(narrowed)
}

fn type_name(field: &FieldDescriptor) -> &'static str {
    match field.kind() {
        Kind::Double => "TYPE_DOUBLE",
        Kind::Float => "TYPE_FLOAT",
        Kind::Int32 => "TYPE_INT32",
        Kind::Int64 => "TYPE_INT64",
        Kind::Uint32 => "TYPE_UINT32",
        Kind::Uint64 => "TYPE_UINT64",
        Kind::Sint32 => "TYPE_SINT32",
        Kind::Sint64 => "TYPE_SINT64",
        Kind::Fixed32 => "TYPE_FIXED32",
        Kind::Fixed64 => "TYPE_FIXED64",
        Kind::Sfixed32 => "TYPE_SFIXED32",
        Kind::Sfixed64 => "TYPE_SFIXED64",
        Kind::Bool => "TYPE_BOOL",
        Kind::String => "TYPE_STRING",
        Kind::Bytes => "TYPE_BYTES",
        Kind::Message(_) => "TYPE_MESSAGE",
        Kind::Enum(_) => "TYPE_ENUM",
    }
}

fn quoted(value: &Json<'_>) -> String {
    let (text, quote) = match value {
        Json::Null => ("null", ""),
        Json::Bool(true) => ("true", ""),
        Json::Bool(false) => ("false", ""),
        Json::Number(digits) => (*digits, ""),
        Json::String(text) => (text.as_str(), "\""),
        Json::List(_) => ("[...]", ""),
        Json::Object(_) => ("{...}", ""),
    };
    let mut quoted = quote.to_owned();
    quoted.extend(text.chars().take(QUOTED_VALUE_CHARS));
    if text.chars().nth(QUOTED_VALUE_CHARS).is_some() {
        let _ = write!(quoted, "... ({} bytes)", text.len());
    }
    quoted + quote
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_numbers_digit_strings_or_named() {
        let text = |text: &str| float(&Json::String(text.to_owned()));
        assert_eq!(float(&Json::Number("1.5")), Some(1.5));
        assert_eq!(
            (text("1.5"), text("-Infinity"), text("Infinity")),
            (Some(1.5), Some(f64::NEG_INFINITY), Some(f64::INFINITY))
        );
        assert!(text("NaN").is_some_and(f64::is_nan));
        assert_eq!(
            (text("inf"), text("nan"), text(""), float(&Json::Bool(true))),
            (None, None, None, None)
        );
    }

    #[test]
    fn narrowing_keeps_infinity_and_refuses_to_create_it() {
        assert_eq!(
            (narrow(0.5), narrow(f64::INFINITY), narrow(1e39)),
            (Some(0.5), Some(f32::INFINITY), None)
        );
        assert!(narrow(f64::NAN).is_some_and(f32::is_nan));
    }

    #[test]
    fn base64_is_read_in_both_alphabets_with_and_without_padding() {
        let bytes = Some(vec![0xfb, 0xff]);
        assert_eq!(
            ["+/8=", "+/8", "-_8=", "-_8"].map(base64_bytes),
            [bytes.clone(), bytes.clone(), bytes.clone(), bytes]
        );
        assert_eq!(["+/8*", "é"].map(base64_bytes), [None, None]);
    }
}
