//! The metadata file of a snapshot: the JSON form of the message SnapshotMetadata (spec/milvus-snapshot.md, b.3).
//!
//! Proto member names, two spaces of indentation, empty members left out, 64-bit integers as strings. Reading takes integers as strings or
//! numbers, and leaves alone what it does not know. Members this crate has no use for (schema, index definitions) pass through as JSON.
//! Enumerations are written as numbers, which every reader of proto JSON takes.

mod integers;
mod stream_writer;

pub use stream_writer::{MetadataHead, MetadataWriter};

use crate::error::{ObjectError, Result};
use crate::manifest::FORMAT_VERSION;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// State of a snapshot in its record: written before its files, committed after them.
pub const STATE_PENDING: i32 = 1;
pub const STATE_COMMITTED: i32 = 2;
pub const STATE_DELETING: i32 = 3;

/// Whether data files lie where they were, or beside the metadata.
pub const LAYOUT_REFERENCED: i32 = 1;
pub const LAYOUT_SELF_CONTAINED: i32 = 2;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub id: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub collection_id: i64,
    #[serde(with = "integers::list", skip_serializing_if = "Vec::is_empty")]
    pub partition_ids: Vec<i64>,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub create_ts: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub s3_location: String,
    #[serde(with = "integers::enumeration", skip_serializing_if = "integers::is_zero32")]
    pub state: i32,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub pending_start_time: i64,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub compaction_expire_time: i64,
    #[serde(with = "integers::list", skip_serializing_if = "Vec::is_empty")]
    pub pin_ids: Vec<i64>,
    #[serde(with = "integers::map_by_number", skip_serializing_if = "BTreeMap::is_empty")]
    pub pin_expire_at_ms: BTreeMap<i64, i64>,
    /// As JSON of their messages.
    #[serde(skip_serializing_if = "integers::is_empty_json")]
    pub channel_seek_positions: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectionDescription {
    /// The collection's schema, as JSON of its message ([`is_schema_message`]).
    #[serde(skip_serializing_if = "integers::is_empty_json")]
    pub schema: Value,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub num_partitions: i64,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub num_shards: i64,
    #[serde(with = "integers::enumeration", skip_serializing_if = "integers::is_zero32")]
    pub consistency_level: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    #[serde(with = "integers::map_by_name", skip_serializing_if = "BTreeMap::is_empty")]
    pub partitions: BTreeMap<String, i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub virtual_channel_names: Vec<String>,
    /// A member of our own, in place of `schema`: one that is JSON and no such message. Readers of the agreed form pass over it.
    #[serde(skip_serializing_if = "integers::is_empty_json")]
    pub schema_as_given: Value,
}

/// Whether a schema may stand where readers of the agreed form expect its message: an object whose `fields`, if it has any, are a list of
/// objects. They cannot read the file at all in which something else stands there.
pub fn is_schema_message(schema: &Value) -> bool {
    let Value::Object(members) = schema else {
        return false;
    };
    match members.get("fields") {
        None => true,
        Some(Value::Array(fields)) => fields.iter().all(Value::is_object),
        Some(_) => false,
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Property {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageV2Manifest {
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub segment_id: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub manifest: String,
}

/// What a snapshot of a whole instance shows of one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectionSummary {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub database: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub id: i64,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub num_partitions: i64,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub num_segments: i64,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub num_rows: i64,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub num_files: i64,
    #[serde(with = "integers::int64", skip_serializing_if = "integers::is_zero")]
    pub num_bytes: i64,
    /// Of the collection's own metadata file, which lists its manifests; empty before it is there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub s3_location: String,
}

/// A member of our own, only in the file of a snapshot of a whole instance: readers of the agreed form pass over it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceDescription {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<CollectionSummary>,
    /// There are, or may be, further ones, which are not listed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more_collections: bool,
    /// Members that the file does not have, whatever the snapshot shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// A whole metadata file as it is read. It is written through [`MetadataWriter`], which needs no more memory for a million segments than for one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SnapshotMetadata {
    #[serde(with = "integers::enumeration")]
    pub format_version: i32,
    pub snapshot_info: SnapshotInfo,
    pub collection: CollectionDescription,
    pub indexes: Vec<Value>,
    pub manifest_list: Vec<String>,
    pub storagev2_manifest_list: Vec<StorageV2Manifest>,
    #[serde(with = "integers::list")]
    pub segment_ids: Vec<i64>,
    #[serde(with = "integers::list")]
    pub build_ids: Vec<i64>,
    #[serde(with = "integers::enumeration")]
    pub layout: i32,
    /// Of a snapshot of a whole instance only.
    pub instance: Option<InstanceDescription>,
}

impl SnapshotMetadata {
    pub fn from_json(bytes: &[u8]) -> Result<SnapshotMetadata> {
        // The JSON library would take a list for the members in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(ObjectError::malformed(
                "not a snapshot metadata file: it does not begin with a brace",
            ));
        }
        let read: SnapshotMetadata =
            serde_json::from_slice(bytes).map_err(|error| ObjectError::malformed(format!("not a snapshot metadata file: {error}")))?;
        if read.format_version > FORMAT_VERSION || read.format_version < 0 {
            return Err(ObjectError::malformed(format!(
                "snapshot format version {} is not known here, {FORMAT_VERSION} is the newest; upgrade to the version that wrote it",
                read.format_version
            )));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
