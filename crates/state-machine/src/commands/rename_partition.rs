//! Gives a partition another name. Its segments are found by its id, and so stay.

use crate::catalog::{Target, bounds, find, row_keys, show};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::keys::VersionedTable;
use crate::record::NameRecord;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{Partition, RenamePartitionRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct RenamePartition {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(string, tag = "5")]
    pub new_name: String,
}

impl Prepare for RenamePartition {
    type Request = RenamePartitionRequest;

    fn prepare(request: RenamePartitionRequest, _: &PrepareContext<'_>) -> Result<RenamePartition, MetaError> {
        let RenamePartitionRequest {
            instance_id,
            database,
            collection,
            name,
            new_name,
        } = request;
        let database = bounds::database_of_collection(&instance_id, database, &collection)?;
        let name = bounds::partition_name(name)?;
        bounds::check_name("new partition", &new_name)?;
        Ok(RenamePartition {
            instance_id,
            database,
            collection,
            name,
            new_name,
        })
    }
}

impl Command for RenamePartition {
    type Reply = Partition;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Partition, ApplyError> {
        let (target, collection) = Target::of_collection(context.reader(), &self.instance_id, &self.database, &self.collection)?;
        let mut found = find::find_partition(context.reader(), &target.lineage, &collection, &self.name)?;
        if find::look_up_partition(context.reader(), &target.lineage, collection.id, &self.new_name)?.is_some() {
            let message = format!("partition {:?} of collection {:?} exists", self.new_name, self.collection);
            return Err(MetaError::exists(message).into());
        }
        let old_name = row_keys::partition_name(collection.id, &self.name);
        target.end(context, VersionedTable::PartitionName, &old_name)?;
        let new_name = row_keys::partition_name(collection.id, &self.new_name);
        target.put(context, VersionedTable::PartitionName, &new_name, &NameRecord { id: found.id })?;
        found.record.name.clone_from(&self.new_name);
        let key = row_keys::partition(collection.id, found.id);
        target.put(context, VersionedTable::Partition, &key, &found.record)?;
        found.revision = context.revision();
        Ok(show::partition(&found))
    }
}
