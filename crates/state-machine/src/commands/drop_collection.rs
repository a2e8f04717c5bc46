//! Drops a collection: it is gone at once with all that is in it, however much that is, and its name is free. What a snapshot, a
//! clone or a job can still see of it stays until it cannot. One that a restore is still filling is dropped too: the restore is
//! cancelled, and never makes it visible.

use crate::catalog::{Target, bounds, find, removal};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, ending};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{DropCollectionRequest, DropReply, JobState};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropCollection {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub name: String,
    /// A restore that is filling it is cancelled. Builds before this field let it go on, and answered that there was no such collection.
    #[prost(bool, tag = "4")]
    pub ends_restore: bool,
}

impl Prepare for DropCollection {
    type Request = DropCollectionRequest;

    fn prepare(request: DropCollectionRequest, _: &PrepareContext<'_>) -> Result<DropCollection, MetaError> {
        let DropCollectionRequest {
            instance_id,
            database,
            name,
        } = request;
        bounds::check_instance(&instance_id)?;
        let database = bounds::database_name(database)?;
        bounds::check_name("collection", &name)?;
        Ok(DropCollection {
            instance_id,
            database,
            name,
            ends_restore: true,
        })
    }
}

impl Command for DropCollection {
    type Reply = DropReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropReply, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        let existed = match find::look_up_database(context.reader(), &target.lineage, &self.database)? {
            Some(database) => self.drop_from(context, &target, database.record.database_id)?,
            None => false,
        };
        let revision = if existed { context.revision().0 } else { context.counters.revision };
        Ok(DropReply { existed, revision })
    }
}

impl DropCollection {
    /// Whether the database had, or was getting, such a collection.
    fn drop_from(&self, context: &mut ApplyContext<'_, '_>, target: &Target, database_id: u64) -> Result<bool, ApplyError> {
        if let Some(collection) = find::look_up_collection(context.reader(), &target.lineage, database_id, &self.name)? {
            removal::drop_collection(context, target, &collection)?;
            return Ok(true);
        }
        if !self.ends_restore {
            return Ok(false);
        }
        let Some(job) = find::restore_into(context.reader(), target.scope, database_id, &self.name)? else {
            return Ok(false);
        };
        let Some(job) = jobs::find_active(context.reader(), job)? else {
            return Ok(false);
        };
        let reason = format!("collection {} was dropped", self.name);
        ending::discard(context, job, JobState::JobCancelled, &reason)?;
        Ok(true)
    }
}
