//! Catalog objects as replies show them.

use super::{FoundCollection, FoundDatabase, FoundPartition, row_keys};
use crate::command::decode_record;
use crate::record::SegmentRecord;
use crate::store::StoreError;
use crate::versioned::FoundRow;
use quorate_wire::quorate::v1::{Collection, Database, Partition, Segment};

pub fn database(found: &FoundDatabase) -> Database {
    Database {
        database_id: found.record.database_id,
        name: found.name.clone(),
        properties: found.record.properties.clone(),
        created_ms: found.record.created_ms,
        revision: found.revision.0,
    }
}

/// Without its schema, which may be long: replies of commands are remembered.
pub fn collection(database: &str, found: &FoundCollection) -> Collection {
    Collection {
        collection_id: found.id,
        database: database.to_owned(),
        name: found.record.name.clone(),
        schema: bytes::Bytes::new(),
        properties: found.record.properties.clone(),
        vault: found.record.vault.clone(),
        created_ms: found.record.created_ms,
        revision: found.revision.0,
        stats: None,
    }
}

pub fn partition(found: &FoundPartition) -> Partition {
    Partition {
        partition_id: found.id,
        name: found.record.name.clone(),
        created_ms: found.record.created_ms,
        revision: found.revision.0,
    }
}

/// A row of table Segment.
pub fn segment(row: &FoundRow) -> Result<Segment, StoreError> {
    let [collection_id, partition_id, segment_id] = row_keys::read_numbers::<3>(&row.key)?;
    let record: SegmentRecord = decode_record(&row.key, row.value.clone())?;
    let owner_scope = if record.owner_scope == 0 { row.scope.0 } else { record.owner_scope };
    Ok(Segment {
        segment_id,
        collection_id,
        partition_id,
        path: record.path,
        vault: record.vault,
        rows: record.rows,
        files: record.files,
        created_ms: record.created_ms,
        revision: row.revision.0,
        owner_scope,
    })
}
