//! Adds a partition to a collection.

use crate::catalog::{FoundPartition, Target, bounds, create, find, row_keys, show};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::keys::VersionedTable;
use crate::limits;
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::quorate::v1::{CreatePartitionRequest, Partition};

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreatePartition {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(string, tag = "4")]
    pub name: String,
}

impl Prepare for CreatePartition {
    type Request = CreatePartitionRequest;

    fn prepare(request: CreatePartitionRequest, _: &PrepareContext<'_>) -> Result<CreatePartition, MetaError> {
        let CreatePartitionRequest {
            instance_id,
            database,
            collection,
            name,
        } = request;
        let database = bounds::database_of_collection(&instance_id, database, &collection)?;
        bounds::check_name("partition", &name)?;
        Ok(CreatePartition {
            instance_id,
            database,
            collection,
            name,
        })
    }
}

impl Command for CreatePartition {
    type Reply = Partition;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Partition, ApplyError> {
        let (target, mut collection) = Target::of_collection(context.reader(), &self.instance_id, &self.database, &self.collection)?;
        if find::look_up_partition(context.reader(), &target.lineage, collection.id, &self.name)?.is_some() {
            let message = format!("partition {:?} of collection {:?} exists", self.name, self.collection);
            return Err(MetaError::exists(message).into());
        }
        let limit = limits::MAX_PARTITIONS;
        if collection.record.partitions >= limit {
            let message = format!("collection {:?} has {limit} partitions, limit {limit}; drop unused ones", self.collection);
            return Err(MetaError::new(ErrorCode::LimitReached, message).into());
        }
        collection.record.partitions += 1;
        let key = row_keys::collection(collection.id);
        target.put(context, VersionedTable::Collection, &key, &collection.record)?;
        let (id, record) = create::add_partition(context, &target, collection.id, &self.name)?;
        Ok(show::partition(&FoundPartition {
            collection_id: collection.id,
            id,
            record,
            revision: context.revision(),
        }))
    }
}
