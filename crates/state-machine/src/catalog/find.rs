//! Databases, collections and partitions by name and by id, as a lineage shows them.

use super::row_keys;
use crate::clones;
use crate::command::{ApplyError, decode_record};
use crate::keys::VersionedTable;
use crate::record::{CollectionRecord, DatabaseRecord, NameRecord, PartitionRecord};
use crate::store::{Reader, StoreError};
use crate::versioned::{FoundRow, Lineage};
use prost::Message;
use quorate_model::{MetaError, Revision, ScopeId};

#[derive(Clone, Debug, PartialEq)]
pub struct FoundDatabase {
    pub name: String,
    pub record: DatabaseRecord,
    /// Of its last change; so is that of the others.
    pub revision: Revision,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FoundCollection {
    pub id: u64,
    pub record: CollectionRecord,
    pub revision: Revision,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FoundPartition {
    pub collection_id: u64,
    pub id: u64,
    pub record: PartitionRecord,
    pub revision: Revision,
}

/// The database, or a refusal that names it.
pub fn find_database(reader: &dyn Reader, lineage: &Lineage, name: &str) -> Result<FoundDatabase, ApplyError> {
    let found = look_up_database(reader, lineage, name)?;
    found.ok_or_else(|| MetaError::not_found(format!("database {name:?} does not exist")).into())
}

pub fn look_up_database(reader: &dyn Reader, lineage: &Lineage, name: &str) -> Result<Option<FoundDatabase>, StoreError> {
    let row = lineage.get(reader, VersionedTable::Database, name.as_bytes())?;
    row.map(|row| {
        Ok(FoundDatabase {
            name: name.to_owned(),
            record: decode(&row)?,
            revision: row.revision,
        })
    })
    .transpose()
}

/// The collection, or a refusal that names what is missing.
pub fn find_collection(reader: &dyn Reader, lineage: &Lineage, database: &str, name: &str) -> Result<FoundCollection, ApplyError> {
    let missing = || MetaError::not_found(format!("collection {name:?} of database {database:?} does not exist"));
    let database_id = match look_up_database(reader, lineage, database)? {
        Some(database) => database.record.database_id,
        // It exists as soon as it is used, so it is never what is missing.
        None if database == super::DEFAULT_DATABASE => return Err(missing().into()),
        None => return Err(MetaError::not_found(format!("database {database:?} does not exist")).into()),
    };
    Ok(look_up_collection(reader, lineage, database_id, name)?.ok_or_else(missing)?)
}

pub fn look_up_collection(
    reader: &dyn Reader,
    lineage: &Lineage,
    database_id: u64,
    name: &str,
) -> Result<Option<FoundCollection>, StoreError> {
    let key = row_keys::collection_name(database_id, name);
    match get::<NameRecord>(reader, lineage, VersionedTable::CollectionName, &key)? {
        None => Ok(None),
        Some((name, _)) => collection_by_id(reader, lineage, name.id),
    }
}

/// The running restore that will give this name to the collection it fills.
pub fn restore_into(reader: &dyn Reader, scope: ScopeId, database_id: u64, name: &str) -> Result<Option<u64>, StoreError> {
    let reserved = reader.get(&row_keys::reserved_name(scope, database_id, name))?;
    Ok(reserved.map(|job| job.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default()))
}

/// The collection with this id, under whichever name; `None` if it is not visible. What a clone with a store of its own inherited has
/// that as its vault: new files go there, and each segment says itself where its files are.
pub fn collection_by_id(reader: &dyn Reader, lineage: &Lineage, id: u64) -> Result<Option<FoundCollection>, StoreError> {
    let Some(row) = lineage.get(reader, VersionedTable::Collection, &row_keys::collection(id))? else {
        return Ok(None);
    };
    let mut record: CollectionRecord = decode(&row)?;
    if row.scope != lineage.own_scope()
        && let Some(place) = clones::own_place(reader, lineage.own_scope(), row.scope)?
    {
        record.vault = place;
    }
    let revision = row.revision;
    Ok(Some(FoundCollection { id, record, revision }))
}

/// A collection's partition, or a refusal that names it.
pub fn find_partition(
    reader: &dyn Reader,
    lineage: &Lineage,
    collection: &FoundCollection,
    name: &str,
) -> Result<FoundPartition, ApplyError> {
    let found = look_up_partition(reader, lineage, collection.id, name)?;
    found.ok_or_else(|| {
        let collection = &collection.record.name;
        MetaError::not_found(format!("partition {name:?} of collection {collection:?} does not exist")).into()
    })
}

pub fn look_up_partition(
    reader: &dyn Reader,
    lineage: &Lineage,
    collection_id: u64,
    name: &str,
) -> Result<Option<FoundPartition>, StoreError> {
    let key = row_keys::partition_name(collection_id, name);
    match get::<NameRecord>(reader, lineage, VersionedTable::PartitionName, &key)? {
        None => Ok(None),
        Some((name, _)) => partition_by_id(reader, lineage, collection_id, name.id),
    }
}

/// The partition with this id. The caller has seen that its collection is visible.
pub fn partition_by_id(reader: &dyn Reader, lineage: &Lineage, collection_id: u64, id: u64) -> Result<Option<FoundPartition>, StoreError> {
    let found = get(reader, lineage, VersionedTable::Partition, &row_keys::partition(collection_id, id))?;
    Ok(found.map(|(record, revision)| FoundPartition {
        collection_id,
        id,
        record,
        revision,
    }))
}

/// Reads and decodes one key.
pub fn get<M: Message + Default>(
    reader: &dyn Reader,
    lineage: &Lineage,
    table: VersionedTable,
    key: &[u8],
) -> Result<Option<(M, Revision)>, StoreError> {
    let row = lineage.get(reader, table, key)?;
    row.map(|row| Ok((decode(&row)?, row.revision))).transpose()
}

/// Decodes a row that was found.
pub fn decode<M: Message + Default>(row: &FoundRow) -> Result<M, StoreError> {
    decode_record(&row.key, row.value.clone())
}
