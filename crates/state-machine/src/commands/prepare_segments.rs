//! Gives out ids of segments and the directories their files are to be written to. What is not committed in time is given up.

use crate::catalog::{Target, bounds, find, storage, uploads};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::record::UploadRecord;
use crate::{limits, object_ids};
use quorate_model::{ErrorCode, MetaError, vault_paths};
use quorate_wire::quorate::v1::{PrepareSegmentsReply, PrepareSegmentsRequest, PreparedSegment};

#[derive(Clone, PartialEq, prost::Message)]
pub struct PrepareSegments {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(string, tag = "4")]
    pub partition: String,
    #[prost(uint32, tag = "5")]
    pub count: u32,
}

impl Prepare for PrepareSegments {
    type Request = PrepareSegmentsRequest;

    fn prepare(request: PrepareSegmentsRequest, _: &PrepareContext<'_>) -> Result<PrepareSegments, MetaError> {
        let PrepareSegmentsRequest {
            instance_id,
            database,
            collection,
            partition,
            count,
        } = request;
        let database = bounds::database_of_collection(&instance_id, database, &collection)?;
        let partition = bounds::partition_name(partition)?;
        let limit = limits::MAX_SEGMENTS_PER_COMMAND;
        if count == 0 || count as usize > limit {
            return Err(MetaError::invalid(format!("count is {count}, allowed are 1 to {limit}; split the request")));
        }
        Ok(PrepareSegments {
            instance_id,
            database,
            collection,
            partition,
            count,
        })
    }
}

impl Command for PrepareSegments {
    type Reply = PrepareSegmentsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<PrepareSegmentsReply, ApplyError> {
        let (target, collection) = Target::of_collection(context.reader(), &self.instance_id, &self.database, &self.collection)?;
        let partition = find::find_partition(context.reader(), &target.lineage, &collection, &self.partition)?;
        let instance = instances::require(context.reader(), &self.instance_id, Route::Read)?;
        storage::resolve_usable(context.reader(), &instance, &collection.record.vault)?;
        let count = u64::from(self.count);
        if context.counters.uploads.saturating_add(count) > limits::MAX_UPLOADS {
            let message = format!(
                "{} segments are prepared and not committed, limit {}; commit or abort some first",
                context.counters.uploads,
                limits::MAX_UPLOADS
            );
            return Err(MetaError::new(ErrorCode::LimitReached, message).into());
        }
        let first = object_ids::reserve(context, count);
        let expires_ms = context.now().0.saturating_add(limits::UPLOAD_LIFETIME_MS);
        let mut segments = Vec::with_capacity(self.count as usize);
        for segment_id in first..first + count {
            let record = UploadRecord {
                collection_id: collection.id,
                partition_id: partition.id,
                path: vault_paths::segment_directory(target.scope, collection.id, partition.id, segment_id),
                vault: collection.record.vault.clone(),
                expires_ms,
            };
            uploads::add(context, target.scope, segment_id, &record);
            segments.push(PreparedSegment {
                segment_id,
                path: record.path,
            });
        }
        Ok(PrepareSegmentsReply {
            segments,
            vault: collection.record.vault,
            expires_ms,
        })
    }
}
