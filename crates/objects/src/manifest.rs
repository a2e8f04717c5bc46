//! The manifest of one segment in a snapshot: what the segment is and which files it has.
//!
//! A manifest is one bare Avro datum: no header, no schema, no markers (spec/milvus-snapshot.md, b.3). Which schema it was written with stands in
//! the metadata file, as `format_version`. Version 4 is written; 0 to 4 are read, and what an older one lacks has its default.

mod schema;

use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::path::ObjectPath;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::{Deserialize, Serialize};

/// The version that is written.
pub const FORMAT_VERSION: i32 = 4;

/// Bytes of a manifest that is read: a segment has thousands of files at most.
pub const MANIFEST_BYTES: usize = 64 << 20;

/// Where the metadata file of a snapshot is.
pub fn metadata_path(collection_id: i64, snapshot_id: i64) -> Result<ObjectPath> {
    ObjectPath::new(format!("snapshots/{collection_id}/metadata/{snapshot_id}.json"))
}

/// The directory of all manifests of a snapshot, and of nothing else.
pub fn manifest_prefix(collection_id: i64, snapshot_id: i64) -> Result<ObjectPath> {
    ObjectPath::new(format!("snapshots/{collection_id}/manifests/{snapshot_id}"))
}

/// Where the manifest of one segment is.
pub fn manifest_path(collection_id: i64, snapshot_id: i64, segment_id: i64) -> Result<ObjectPath> {
    manifest_prefix(collection_id, snapshot_id)?.join(&format!("{segment_id}.avro"))
}

/// A position in a channel; an empty one when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsgPosition {
    pub channel_name: String,
    #[serde(with = "apache_avro::serde::bytes")]
    pub msg_id: Vec<u8>,
    pub msg_group: String,
    pub timestamp: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binlog {
    pub entries_num: i64,
    pub timestamp_from: i64,
    pub timestamp_to: i64,
    pub log_path: String,
    pub log_size: i64,
    pub log_id: i64,
    pub memory_size: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldBinlog {
    pub field_id: i64,
    /// From version 4 on.
    #[serde(default)]
    pub child_fields: Vec<i64>,
    /// From version 4 on.
    #[serde(default)]
    pub format: String,
    pub binlogs: Vec<Binlog>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValuePair {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFilePathInfo {
    pub segment_id: i64,
    pub field_id: i64,
    pub index_id: i64,
    pub build_id: i64,
    pub index_name: String,
    pub index_params: Vec<KeyValuePair>,
    pub index_file_paths: Vec<String>,
    pub serialized_size: i64,
    pub index_version: i64,
    pub num_rows: i64,
    pub current_index_version: i32,
    pub mem_size: i64,
    pub current_scalar_index_version: i32,
    /// From version 2 on.
    #[serde(default)]
    pub index_store_path_version: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextIndexStats {
    pub field_id: i64,
    pub version: i64,
    pub files: Vec<String>,
    pub log_size: i64,
    pub memory_size: i64,
    pub build_id: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextIndexEntry {
    pub field_id: i64,
    pub stats: TextIndexStats,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonKeyStats {
    pub field_id: i64,
    pub version: i64,
    pub files: Vec<String>,
    pub log_size: i64,
    pub memory_size: i64,
    pub build_id: i64,
    pub json_key_stats_data_format: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonKeyIndexEntry {
    pub field_id: i64,
    pub stats: JsonKeyStats,
}

/// All a snapshot knows of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    pub segment_id: i64,
    pub partition_id: i64,
    pub segment_level: i64,
    pub channel_name: String,
    pub num_of_rows: i64,
    pub start_position: MsgPosition,
    pub dml_position: MsgPosition,
    pub storage_version: i64,
    pub is_sorted: bool,
    /// From version 3 on.
    #[serde(default)]
    pub commit_timestamp: i64,
    pub binlog_files: Vec<FieldBinlog>,
    pub deltalog_files: Vec<FieldBinlog>,
    pub statslog_files: Vec<FieldBinlog>,
    pub bm25_statslog_files: Vec<FieldBinlog>,
    pub index_files: Vec<IndexFilePathInfo>,
    pub text_index_files: Vec<TextIndexEntry>,
    pub json_key_index_files: Vec<JsonKeyIndexEntry>,
}

impl ManifestEntry {
    /// The bytes of the manifest, in the version that is written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let schema = schema::of_version(FORMAT_VERSION)?;
        let failed = |error: apache_avro::Error| {
            let segment = self.segment_id;
            ObjectError::new(
                ObjectErrorKind::Failed,
                format!("cannot encode the manifest of segment {segment}: {error}"),
            )
        };
        let writer = GenericDatumWriter::builder(schema).build().map_err(failed)?;
        writer.write_ser_to_vec(self).map_err(failed)
    }

    /// Reads a manifest that was written in `format_version`.
    pub fn decode(format_version: i32, mut bytes: &[u8]) -> Result<ManifestEntry> {
        let schema = schema::of_version(format_version)?;
        let wrong =
            |error: apache_avro::Error| ObjectError::malformed(format!("not a snapshot manifest of version {format_version}: {error}"));
        let reader = GenericDatumReader::builder(schema).build().map_err(wrong)?;
        let value = reader.read_value(&mut bytes).map_err(wrong)?;
        let entry = apache_avro::from_value(&value).map_err(wrong)?;
        match bytes.len() {
            0 => Ok(entry),
            rest => Err(ObjectError::malformed(format!(
                "not a snapshot manifest of version {format_version}: {rest} bytes follow it"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
