//! Rows of new databases and partitions, and whether a collection's name is free.

use super::{DEFAULT_DATABASE, Target, find, row_keys};
use crate::command::{ApplyContext, ApplyError};
use crate::keys::VersionedTable;
use crate::object_ids;
use crate::record::{DatabaseRecord, NameRecord, PartitionRecord};
use crate::store::{Reader, StoreError};
use quorate_model::MetaError;

/// The id of a database, which must exist; `default` is created.
pub fn database_to_use(context: &mut ApplyContext<'_, '_>, target: &Target, name: &str) -> Result<u64, ApplyError> {
    let found = find::look_up_database(context.reader(), &target.lineage, name)?;
    match found {
        Some(found) => Ok(found.record.database_id),
        None if name == DEFAULT_DATABASE => Ok(add_database(context, target, name, Default::default())?.database_id),
        None => Err(MetaError::not_found(format!("database {name:?} does not exist; create it first")).into()),
    }
}

/// Writes the row of a database whose name is free.
pub fn add_database(
    context: &mut ApplyContext<'_, '_>,
    target: &Target,
    name: &str,
    properties: std::collections::BTreeMap<String, String>,
) -> Result<DatabaseRecord, StoreError> {
    let record = DatabaseRecord {
        database_id: object_ids::next(context),
        properties,
        created_ms: context.now().0,
    };
    target.put(context, VersionedTable::Database, name.as_bytes(), &record)?;
    Ok(record)
}

/// Refuses a name that a collection has, or that a running restore will give to one.
pub fn check_collection_name_free(
    reader: &dyn Reader,
    target: &Target,
    database: &str,
    database_id: u64,
    name: &str,
) -> Result<(), ApplyError> {
    if find::look_up_collection(reader, &target.lineage, database_id, name)?.is_some() {
        return Err(MetaError::exists(format!("duplicate collection: {name:?} of database {database:?} exists")).into());
    }
    if let Some(job) = find::restore_into(reader, target.scope, database_id, name)? {
        let message = format!(
            "duplicate collection: {name:?} of database {database:?} is taken by restore job {job}; cancel it, or choose another name"
        );
        return Err(MetaError::exists(message).into());
    }
    Ok(())
}

/// Writes the rows of a partition whose name is free; returns its id.
pub fn add_partition(
    context: &mut ApplyContext<'_, '_>,
    target: &Target,
    collection_id: u64,
    name: &str,
) -> Result<(u64, PartitionRecord), StoreError> {
    let id = object_ids::next(context);
    let record = PartitionRecord {
        name: name.to_owned(),
        created_ms: context.now().0,
        stats: None,
        created_at: context.revision().0,
    };
    let name_key = row_keys::partition_name(collection_id, name);
    target.put(context, VersionedTable::PartitionName, &name_key, &NameRecord { id })?;
    target.put_new(context, VersionedTable::Partition, &row_keys::partition(collection_id, id), &record);
    Ok((id, record))
}
