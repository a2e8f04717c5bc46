//! What is wrong with a request about the catalog whatever the state is.

use super::{DEFAULT_DATABASE, DEFAULT_PARTITION};
use crate::{limits, text_bounds};
use prost::Message;
use quorate_model::file_names::{MAX_FILE_NAME_BYTES, is_file_name};
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::quorate::v1::{SegmentContent, SegmentFile};
use std::collections::{BTreeMap, BTreeSet};

/// Refuses a name that is none; `kind` says of what (spec/milvus-snapshot.md b.1).
pub fn check_name(kind: &str, name: &str) -> Result<(), MetaError> {
    if name.is_empty() {
        return Err(MetaError::invalid(format!("{kind} name is empty; name it")));
    }
    if name.len() > limits::MAX_NAME_BYTES {
        let (bytes, limit) = (name.len(), limits::MAX_NAME_BYTES);
        return Err(MetaError::invalid(format!(
            "{kind} name has {bytes} bytes, limit {limit}; shorten it"
        )));
    }
    let first_is_right = name.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic());
    let is_right = |byte: char| byte.is_ascii_alphanumeric() || byte == '_' || byte == '$';
    if first_is_right && name.chars().all(is_right) {
        return Ok(());
    }
    let message = format!("{kind} name {name:?} is not allowed; begin with a letter or `_` and go on with letters, digits, `_` and `$`");
    Err(MetaError::invalid(message))
}

/// Refuses an instance id that is absent or too long.
pub fn check_instance(instance_id: &str) -> Result<(), MetaError> {
    if instance_id.is_empty() {
        return Err(MetaError::invalid("instance_id is empty; name the instance"));
    }
    text_bounds::check_text("instance_id", instance_id)
}

/// The database a request means, checked.
pub fn database_name(name: String) -> Result<String, MetaError> {
    let name = if name.is_empty() { DEFAULT_DATABASE.to_owned() } else { name };
    check_name("database", &name)?;
    Ok(name)
}

/// The database of the collection a request means; instance, database and collection checked.
pub fn database_of_collection(instance_id: &str, database: String, collection: &str) -> Result<String, MetaError> {
    check_instance(instance_id)?;
    let database = database_name(database)?;
    check_name("collection", collection)?;
    Ok(database)
}

/// The partition a request means, checked.
pub fn partition_name(name: String) -> Result<String, MetaError> {
    let name = if name.is_empty() { DEFAULT_PARTITION.to_owned() } else { name };
    check_name("partition", &name)?;
    Ok(name)
}

/// Refuses too many properties, too long ones, and one without a name.
pub fn check_properties(properties: &BTreeMap<String, String>) -> Result<(), MetaError> {
    if properties.len() > limits::MAX_PROPERTIES {
        let (count, limit) = (properties.len(), limits::MAX_PROPERTIES);
        return Err(MetaError::invalid(format!("{count} properties, limit {limit}; leave some out")));
    }
    if properties.contains_key("") {
        return Err(MetaError::invalid("a property has no name; name it"));
    }
    let bytes: usize = properties.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > limits::MAX_PROPERTIES_BYTES {
        let limit = limits::MAX_PROPERTIES_BYTES;
        let message = format!("properties hold {bytes} bytes together, limit {limit}; leave some out");
        return Err(MetaError::new(ErrorCode::TooLarge, message));
    }
    Ok(())
}

pub fn check_schema(schema: &[u8]) -> Result<(), MetaError> {
    if schema.len() <= limits::MAX_SCHEMA_BYTES {
        return Ok(());
    }
    let (bytes, limit) = (schema.len(), limits::MAX_SCHEMA_BYTES);
    let message = format!("schema has {bytes} bytes, limit {limit}; keep it elsewhere and name it here");
    Err(MetaError::new(ErrorCode::TooLarge, message))
}

/// Refuses no partitions' names at all, too many, wrong ones and repeated ones.
pub fn check_partitions(names: &[String]) -> Result<(), MetaError> {
    if names.len() as u64 > limits::MAX_PARTITIONS {
        let (count, limit) = (names.len(), limits::MAX_PARTITIONS);
        return Err(MetaError::new(
            ErrorCode::LimitReached,
            format!("{count} partitions, limit {limit}; create fewer"),
        ));
    }
    let mut seen = BTreeSet::new();
    for name in names {
        check_name("partition", name)?;
        if !seen.insert(name) {
            return Err(MetaError::invalid(format!("partition {name:?} is named twice; name each once")));
        }
    }
    Ok(())
}

/// Refuses none, too many, zero and repeated segment ids.
pub fn check_segment_ids(ids: &[u64]) -> Result<(), MetaError> {
    let limit = limits::MAX_SEGMENTS_PER_COMMAND;
    if ids.is_empty() || ids.len() > limit {
        return Err(MetaError::invalid(format!(
            "{} segments, allowed are 1 to {limit}; split the request",
            ids.len()
        )));
    }
    let mut seen = BTreeSet::new();
    for id in ids {
        if *id == 0 {
            return Err(MetaError::invalid("segment id 0 is none; pass ids as prepare_segments gave them"));
        }
        if !seen.insert(id) {
            return Err(MetaError::invalid(format!("segment {id} is named twice; name each once")));
        }
    }
    Ok(())
}

/// Refuses a segment's files that are too many, too long, outside of its directory or named twice.
pub fn check_content(content: &SegmentContent) -> Result<(), MetaError> {
    let (id, limit) = (content.segment_id, limits::MAX_FILES_PER_SEGMENT);
    if content.files.is_empty() || content.files.len() > limit {
        let count = content.files.len();
        return Err(MetaError::invalid(format!(
            "segment {id} has {count} files, allowed are 1 to {limit}"
        )));
    }
    let bytes = content.encoded_len();
    if bytes > limits::MAX_SEGMENT_BYTES {
        let limit = limits::MAX_SEGMENT_BYTES;
        let message = format!("segment {id} takes {bytes} bytes to describe, limit {limit}; use fewer or larger files");
        return Err(MetaError::new(ErrorCode::TooLarge, message));
    }
    let mut seen = BTreeSet::new();
    for file in &content.files {
        check_file(id, file)?;
        if !seen.insert(&file.name) {
            return Err(MetaError::invalid(format!(
                "segment {id} has file {:?} twice; name each once",
                file.name
            )));
        }
    }
    let total = content.files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.size_bytes));
    if total.is_none_or(|total| total > i64::MAX as u64) || content.rows > i64::MAX as u64 {
        let message = format!("segment {id} has more bytes or rows than can be counted; check its sizes");
        return Err(MetaError::invalid(message));
    }
    Ok(())
}

fn check_file(segment_id: u64, file: &SegmentFile) -> Result<(), MetaError> {
    let (name, limit) = (&file.name, MAX_FILE_NAME_BYTES);
    if is_file_name(name) {
        return Ok(());
    }
    let message = format!(
        "file name {name:?} of segment {segment_id} is not allowed; give a path of up to {limit} bytes below the segment's directory"
    );
    Err(MetaError::invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_digits_underscores_and_dollars() {
        for name in ["a", "_", "A9$_", "_default", &"n".repeat(255)] {
            assert!(check_name("database", name).is_ok(), "{name}");
        }
        for name in ["", "9a", "$a", "a-b", "a.b", "a b", "é", "aé", "a\0", &"n".repeat(256)] {
            let error = check_name("database", name).expect_err(name);
            assert!(error.message.starts_with("database name"), "{error}");
        }
        assert_eq!(database_name(String::new()).expect("default"), "default");
        assert_eq!(partition_name(String::new()).expect("default"), "_default");
    }

    #[test]
    fn properties_and_schemas_have_bounds() {
        let properties = |count: usize, bytes: usize| (0..count).map(|n| (format!("{n:04}"), "v".repeat(bytes))).collect();
        assert!(check_properties(&properties(64, 252)).is_ok());
        assert!(check_properties(&properties(65, 0)).is_err());
        assert_eq!(
            check_properties(&properties(64, 253)).expect_err("too long").code,
            ErrorCode::TooLarge
        );
        assert!(check_properties(&[(String::new(), String::new())].into()).is_err());
        assert!(check_schema(&[0; 65_536]).is_ok());
        assert_eq!(check_schema(&[0; 65_537]).expect_err("too long").code, ErrorCode::TooLarge);
        assert!(check_partitions(&["a".into(), "b".into()]).is_ok());
        assert!(check_partitions(&["a".into(), "a".into()]).is_err());
        let many: Vec<String> = (0..1_025).map(|n| format!("p{n}")).collect();
        assert!(check_partitions(&many[1..]).is_ok());
        assert_eq!(check_partitions(&many).expect_err("too many").code, ErrorCode::LimitReached);
    }

    fn content(names: &[&str]) -> SegmentContent {
        let file = |name: &&str| SegmentFile {
            name: (*name).to_owned(),
            ..SegmentFile::default()
        };
        SegmentContent {
            segment_id: 7,
            rows: 1,
            files: names.iter().map(file).collect(),
        }
    }

    #[test]
    fn files_stay_below_the_directory_of_their_segment() {
        assert!(check_content(&content(&["a", "b/c.parquet", "..a", "a b"])).is_ok());
        for name in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "./a",
            "a\\b",
            "a\nb",
            "a/.quorate-vault",
            "a.quorate-partial",
            &"n".repeat(256),
        ] {
            let error = check_content(&content(&[name])).expect_err(name);
            assert!(error.message.contains("segment 7"), "{error}");
        }
        assert!(check_content(&content(&[])).is_err());
        assert!(check_content(&content(&["a", "a"])).is_err());
        let mut too_big = content(&["a", "b"]);
        too_big.files[0].size_bytes = u64::MAX;
        too_big.files[1].size_bytes = 1;
        assert!(check_content(&too_big).is_err());
        let long = "n".repeat(250);
        let names: Vec<String> = (0..260).map(|n| format!("{long}{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(check_content(&content(&names)).expect_err("too long").code, ErrorCode::TooLarge);
    }

    #[test]
    fn segment_ids_are_bounded_and_named_once() {
        assert!(check_segment_ids(&[1, 2]).is_ok());
        for ids in [vec![], vec![0], vec![1, 1], (1..=1_001).collect()] {
            assert!(check_segment_ids(&ids).is_err(), "{ids:?}");
        }
    }
}
