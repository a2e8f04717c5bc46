//! The schemas of manifests, by version. A schema fixes order and types; names are not in the bytes.

use super::FORMAT_VERSION;
use crate::error::{ObjectError, ObjectErrorKind, Result};
use apache_avro::Schema;
use serde_json::{Value, json};
use std::sync::OnceLock;

/// One for each version from 1 on; 0 is what files without a version have, and the same as 1.
static SCHEMAS: OnceLock<std::result::Result<Vec<Schema>, String>> = OnceLock::new();

/// The schema manifests of `format_version` are written with.
pub(super) fn of_version(format_version: i32) -> Result<&'static Schema> {
    let parsed = SCHEMAS.get_or_init(|| {
        let versions = 1..=FORMAT_VERSION;
        versions
            .map(|version| Schema::parse(&manifest(version)).map_err(|error| error.to_string()))
            .collect()
    });
    let schemas = parsed
        .as_ref()
        .map_err(|error| ObjectError::new(ObjectErrorKind::Failed, format!("the manifest schemas do not parse: {error}")))?;
    let position = usize::try_from(format_version).ok().map(|version| version.max(1) - 1);
    position.and_then(|position| schemas.get(position)).ok_or_else(|| {
        ObjectError::malformed(format!(
            "snapshot format version {format_version} is not known here, {FORMAT_VERSION} is the newest; upgrade to the version that wrote it"
        ))
    })
}

fn record(name: &str, fields: Vec<Value>) -> Value {
    json!({ "type": "record", "name": name, "fields": fields })
}

fn field(name: &str, kind: impl Into<Value>) -> Value {
    json!({ "name": name, "type": kind.into() })
}

fn with_default(name: &str, kind: impl Into<Value>, default: Value) -> Value {
    json!({ "name": name, "type": kind.into(), "default": default })
}

fn array(items: impl Into<Value>) -> Value {
    json!({ "type": "array", "items": items.into() })
}

fn longs(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| field(name, "long")).collect()
}

/// The fields of `version`, of those that are marked with the version they came with.
fn since(version: i32, fields: Vec<(i32, Value)>) -> Vec<Value> {
    fields
        .into_iter()
        .filter(|(first, _)| *first <= version)
        .map(|(_, field)| field)
        .collect()
}

fn msg_position() -> Value {
    record(
        "AvroMsgPosition",
        vec![
            field("channel_name", "string"),
            field("msg_id", "bytes"),
            field("msg_group", "string"),
            field("timestamp", "long"),
        ],
    )
}

fn field_binlog(version: i32) -> Value {
    let mut binlog = longs(&["entries_num", "timestamp_from", "timestamp_to"]);
    binlog.push(field("log_path", "string"));
    binlog.extend(longs(&["log_size", "log_id", "memory_size"]));
    let fields = vec![
        (1, field("field_id", "long")),
        (4, with_default("child_fields", array("long"), json!([]))),
        (4, with_default("format", "string", json!(""))),
        (1, field("binlogs", array(record("AvroBinlog", binlog)))),
    ];
    record("AvroFieldBinlog", since(version, fields))
}

fn index_file(version: i32) -> Value {
    let pair = record("AvroKeyValuePair", vec![field("key", "string"), field("value", "string")]);
    let mut fields: Vec<(i32, Value)> = longs(&["segment_id", "field_id", "index_id", "build_id"])
        .into_iter()
        .map(|field| (1, field))
        .collect();
    fields.extend([
        (1, field("index_name", "string")),
        (1, field("index_params", array(pair))),
        (1, field("index_file_paths", array("string"))),
        (1, field("serialized_size", "long")),
        (1, field("index_version", "long")),
        (1, field("num_rows", "long")),
        (1, field("current_index_version", "int")),
        (1, field("mem_size", "long")),
        (1, with_default("current_scalar_index_version", "int", json!(0))),
        (2, with_default("index_store_path_version", "int", json!(0))),
    ]);
    record("AvroIndexFilePathInfo", since(version, fields))
}

/// Statistics with files, of text and JSON key indexes; `more` follows what they have in common.
fn stats_entry(entry: &str, stats: &str, more: &[&str]) -> Value {
    let mut fields = longs(&["field_id", "version"]);
    fields.push(field("files", array("string")));
    fields.extend(longs(&["log_size", "memory_size", "build_id"]));
    fields.extend(longs(more));
    record(entry, vec![field("field_id", "long"), field("stats", record(stats, fields))])
}

fn manifest(version: i32) -> Value {
    let text_index = stats_entry("AvroTextIndexEntry", "AvroTextIndexStats", &[]);
    let json_key_index = stats_entry("AvroJSONKeyIndexEntry", "AvroJSONKeyStats", &["json_key_stats_data_format"]);
    let fields = vec![
        (1, field("segment_id", "long")),
        (1, field("partition_id", "long")),
        (1, field("segment_level", "long")),
        (1, field("channel_name", "string")),
        (1, field("num_of_rows", "long")),
        (1, field("start_position", msg_position())),
        // A record is defined where it is first used and named afterwards.
        (1, field("dml_position", "AvroMsgPosition")),
        (1, field("storage_version", "long")),
        (1, field("is_sorted", "boolean")),
        (3, with_default("commit_timestamp", "long", json!(0))),
        (1, field("binlog_files", array(field_binlog(version)))),
        (1, field("deltalog_files", array("AvroFieldBinlog"))),
        (1, field("statslog_files", array("AvroFieldBinlog"))),
        (1, field("bm25_statslog_files", array("AvroFieldBinlog"))),
        (1, field("index_files", array(index_file(version)))),
        (1, field("text_index_files", array(text_index))),
        (1, field("json_key_index_files", array(json_key_index))),
    ];
    record("ManifestEntry", since(version, fields))
}

/// The schema as text, for comparison with other readers.
#[cfg(test)]
pub(super) fn text(version: i32) -> String {
    manifest(version).to_string()
}
