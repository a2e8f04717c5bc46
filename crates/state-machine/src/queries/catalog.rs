//! Single databases, collections, partitions and segments, now or as of a revision, those an instance inherits included.

use super::QueryError;
use super::page_token::ReadPlace;
use crate::catalog::{DEFAULT_DATABASE, FoundCollection, bounds, find, row_keys, show, stats, storage};
use crate::instances::{self, Instance};
use crate::keys::VersionedTable;
use crate::store::{Reader, StoreError};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{
    Collection, Database, DescribeCollectionRequest, DescribeDatabaseRequest, DescribePartitionRequest, DescribeSegmentRequest, Partition,
    Segment,
};

/// The database `default` is there before it has a row: it is then shown without an id.
pub fn describe_database(reader: &dyn Reader, request: &DescribeDatabaseRequest) -> Result<Database, QueryError> {
    let name = bounds::database_name(request.name.clone())?;
    let place = ReadPlace::of(reader, &request.instance_id, request.at_revision)?;
    match find::look_up_database(reader, &place.lineage, &name)? {
        Some(found) => Ok(show::database(&found)),
        None if name == DEFAULT_DATABASE => Ok(Database {
            name,
            ..Database::default()
        }),
        None => Err(MetaError::not_found(format!("database {name:?} does not exist")).into()),
    }
}

/// With its schema and its sums.
pub fn describe_collection(reader: &dyn Reader, request: &DescribeCollectionRequest) -> Result<Collection, QueryError> {
    let place = ReadPlace::of(reader, &request.instance_id, request.at_revision)?;
    let (database, found) = collection(reader, &place, &request.database, &request.name)?;
    let sums = stats::of_collection(reader, &place.lineage, found.id)?;
    let instance = instance(reader, &request.instance_id)?;
    Ok(Collection {
        schema: found.record.schema.clone(),
        vault: storage::display_name(&instance, &found.record.vault),
        stats: Some(stats::to_wire(sums)),
        ..show::collection(&database, &found)
    })
}

pub fn describe_partition(reader: &dyn Reader, request: &DescribePartitionRequest) -> Result<Partition, QueryError> {
    let place = ReadPlace::of(reader, &request.instance_id, request.at_revision)?;
    let (_, collection) = collection(reader, &place, &request.database, &request.collection)?;
    let name = bounds::partition_name(request.name.clone())?;
    let found = find::find_partition(reader, &place.lineage, &collection, &name)?;
    Ok(show::partition(&found))
}

pub fn describe_segment(reader: &dyn Reader, request: &DescribeSegmentRequest) -> Result<Segment, QueryError> {
    let place = ReadPlace::of(reader, &request.instance_id, request.at_revision)?;
    let (_, collection) = collection(reader, &place, &request.database, &request.collection)?;
    let name = bounds::partition_name(request.partition.clone())?;
    let partition = find::find_partition(reader, &place.lineage, &collection, &name)?;
    let key = row_keys::segment(collection.id, partition.id, request.segment_id);
    match place.lineage.get(reader, VersionedTable::Segment, &key)? {
        Some(row) => Ok(show::segment(&row)?),
        None => {
            let message = format!("segment {} of partition {name:?} does not exist", request.segment_id);
            Err(MetaError::not_found(message).into())
        }
    }
}

/// A collection by the names of a request, and its database's.
pub(super) fn collection(
    reader: &dyn Reader,
    place: &ReadPlace,
    database: &str,
    name: &str,
) -> Result<(String, FoundCollection), QueryError> {
    let database = bounds::database_name(database.to_owned())?;
    bounds::check_name("collection", name)?;
    let found = find::find_collection(reader, &place.lineage, &database, name)?;
    Ok((database, found))
}

/// The instance of a request; a [`ReadPlace`] has seen that it is there.
pub(super) fn instance(reader: &dyn Reader, instance_id: &str) -> Result<Instance, StoreError> {
    let found = instances::find(reader, instance_id)?;
    found.ok_or_else(|| StoreError(format!("instance {instance_id:?} has no row")))
}
