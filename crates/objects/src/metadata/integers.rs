//! Integers as proto JSON has them: 64-bit ones as strings when written, and either way when read.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) fn is_zero(number: &i64) -> bool {
    *number == 0
}

pub(super) fn is_zero32(number: &i32) -> bool {
    *number == 0
}

/// Nothing to write: no value, or one without members.
pub(super) fn is_empty_json(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Integer {
    Number(i64),
    Unsigned(u64),
    Text(String),
}

impl Integer {
    fn value<E: Error>(self) -> Result<i64, E> {
        match self {
            Integer::Number(number) => Ok(number),
            // Timestamps of some messages are unsigned; the bits are kept.
            Integer::Unsigned(number) => Ok(number as i64),
            Integer::Text(text) => match text.parse() {
                Ok(number) => Ok(number),
                Err(_) => text
                    .parse::<u64>()
                    .map(|number| number as i64)
                    .map_err(|_| E::custom(format!("\"{text}\" is not a 64-bit integer"))),
            },
        }
    }
}

/// A list of integers held as text.
struct AsText(i64);

impl Serialize for AsText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

pub(super) mod int64 {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        AsText(*number).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        Option::<Integer>::deserialize(deserializer)?.map_or(Ok(0), Integer::value)
    }
}

pub(super) mod list {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(numbers: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(|number| AsText(*number)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
        let numbers = Option::<Vec<Integer>>::deserialize(deserializer)?.unwrap_or_default();
        numbers.into_iter().map(Integer::value).collect()
    }
}

pub(super) mod map_by_name {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(map: &BTreeMap<String, i64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(name, number)| (name, AsText(*number))))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, i64>, D::Error> {
        let map = Option::<BTreeMap<String, Integer>>::deserialize(deserializer)?.unwrap_or_default();
        map.into_iter().map(|(name, number)| Ok((name, number.value()?))).collect()
    }
}

pub(super) mod map_by_number {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(map: &BTreeMap<i64, i64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(key, number)| (key.to_string(), AsText(*number))))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<i64, i64>, D::Error> {
        let map = map_by_name::deserialize(deserializer)?;
        let number = |key: String| {
            key.parse()
                .map_err(|_| D::Error::custom(format!("\"{key}\" is not a 64-bit integer")))
        };
        map.into_iter().map(|(key, value)| Ok((number(key)?, value))).collect()
    }
}

/// Enumerations and 32-bit integers: written as numbers, read as numbers or by their names' last word.
pub(super) mod enumeration {
    use super::*;

    /// Names other writers use, by what they end in.
    const NAMES: &[(&str, i32)] = &[
        ("Unknown", 0),
        ("Pending", 1),
        ("Committed", 2),
        ("Deleting", 3),
        ("Referenced", 1),
        ("SelfContained", 2),
        ("Strong", 0),
        ("Session", 1),
        ("Bounded", 2),
        ("Eventually", 3),
        ("Customized", 4),
    ];

    pub(in super::super) fn serialize<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(*number)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        let wide = match Option::<Integer>::deserialize(deserializer)? {
            None => 0,
            Some(Integer::Text(text)) => match NAMES.iter().find(|(name, _)| text.ends_with(name)) {
                Some((_, number)) => i64::from(*number),
                None => Integer::Text(text).value()?,
            },
            Some(number) => number.value()?,
        };
        i32::try_from(wide).map_err(|_| D::Error::custom(format!("{wide} is not a 32-bit integer")))
    }
}
