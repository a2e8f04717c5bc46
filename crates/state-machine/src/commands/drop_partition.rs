//! Drops a partition: it is gone at once with all its segments. What a snapshot, a clone or a job can still see of it stays until
//! it cannot.

use crate::catalog::{Target, bounds, find, removal};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{DropPartitionRequest, DropReply};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropPartition {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(string, tag = "4")]
    pub name: String,
}

impl Prepare for DropPartition {
    type Request = DropPartitionRequest;

    fn prepare(request: DropPartitionRequest, _: &PrepareContext<'_>) -> Result<DropPartition, MetaError> {
        let DropPartitionRequest {
            instance_id,
            database,
            collection,
            name,
        } = request;
        let database = bounds::database_of_collection(&instance_id, database, &collection)?;
        bounds::check_name("partition", &name)?;
        Ok(DropPartition {
            instance_id,
            database,
            collection,
            name,
        })
    }
}

impl Command for DropPartition {
    type Reply = DropReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropReply, ApplyError> {
        let (target, collection) = Target::of_collection(context.reader(), &self.instance_id, &self.database, &self.collection)?;
        let Some(partition) = find::look_up_partition(context.reader(), &target.lineage, collection.id, &self.name)? else {
            return Ok(DropReply {
                existed: false,
                revision: context.counters.revision,
            });
        };
        removal::drop_partition(context, &target, collection, &partition)?;
        Ok(DropReply {
            existed: true,
            revision: context.revision().0,
        })
    }
}
