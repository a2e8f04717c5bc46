//! Writes a metadata file item by item, so that a snapshot of a million segments takes no more memory than one of ten.

use super::{CollectionDescription, InstanceDescription, SnapshotInfo, StorageV2Manifest, integers};
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::vault::Written;
use crate::writer::ObjectWriter;
use serde::Serialize;
use serde_json::Value;

/// Text is handed on in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// What stands before the long lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetadataHead {
    #[serde(skip_serializing_if = "integers::is_zero32")]
    pub format_version: i32,
    pub snapshot_info: SnapshotInfo,
    pub collection: CollectionDescription,
    /// Index definitions, as JSON of their messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Value>,
    /// Of a snapshot of a whole instance only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceDescription>,
}

/// The long lists, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    None,
    Manifests,
    StorageV2Manifests,
    SegmentIds,
    BuildIds,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            List::None => "head",
            List::Manifests => "manifest_list",
            List::StorageV2Manifests => "storagev2_manifest_list",
            List::SegmentIds => "segment_ids",
            List::BuildIds => "build_ids",
        }
    }
}

/// Takes the items of the lists in the order of the file: all manifest paths, all storage-v2 manifests, all segment ids, all build ids.
pub struct MetadataWriter {
    object: ObjectWriter,
    text: String,
    list: List,
}

impl MetadataWriter {
    pub async fn begin(object: ObjectWriter, head: &MetadataHead) -> Result<MetadataWriter> {
        let mut text = pretty(head)?;
        // What follows goes on where the head's closing brace stands; two members are always there, so there is a line before it.
        text.truncate(text.len() - "\n}".len());
        let mut writer = MetadataWriter {
            object,
            text,
            list: List::None,
        };
        writer.flush(PIECE_BYTES).await?;
        Ok(writer)
    }

    pub async fn manifest_path(&mut self, path: &str) -> Result<()> {
        self.item(List::Manifests, &Value::from(path).to_string()).await
    }

    pub async fn storage_v2_manifest(&mut self, manifest: &StorageV2Manifest) -> Result<()> {
        let item = pretty(manifest)?.replace('\n', "\n    ");
        self.item(List::StorageV2Manifests, &item).await
    }

    pub async fn segment_id(&mut self, segment_id: i64) -> Result<()> {
        self.item(List::SegmentIds, &format!("\"{segment_id}\"")).await
    }

    pub async fn build_id(&mut self, build_id: i64) -> Result<()> {
        self.item(List::BuildIds, &format!("\"{build_id}\"")).await
    }

    /// Ends the file. When this returns, it is whole and durable.
    pub async fn finish(mut self, layout: i32) -> Result<Written> {
        if self.list != List::None {
            self.text.push_str("\n  ]");
        }
        if layout != 0 {
            self.text.push_str(&format!(",\n  \"layout\": {layout}"));
        }
        self.text.push_str("\n}");
        self.flush(0).await?;
        self.object.finish().await
    }

    /// What has not been handed on yet.
    #[cfg(test)]
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    async fn item(&mut self, list: List, json: &str) -> Result<()> {
        if list < self.list {
            return Err(ObjectError::invalid(format!(
                "an item of {} after {} was begun; write the lists in the order of the file",
                list.name(),
                self.list.name()
            )));
        }
        match self.list {
            current if current == list => self.text.push_str(",\n    "),
            List::None => self.text.push_str(&format!(",\n  \"{}\": [\n    ", list.name())),
            _ => self.text.push_str(&format!("\n  ],\n  \"{}\": [\n    ", list.name())),
        }
        self.list = list;
        self.text.push_str(json);
        self.flush(PIECE_BYTES).await
    }

    /// Hands on the text when there is at least so much of it.
    async fn flush(&mut self, at_least_bytes: usize) -> Result<()> {
        if self.text.len() < at_least_bytes {
            return Ok(());
        }
        self.object.write(self.text.as_bytes()).await?;
        self.text.clear();
        Ok(())
    }
}

fn pretty(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|error| ObjectError::new(ObjectErrorKind::Failed, format!("cannot write snapshot metadata as JSON: {error}")))
}
