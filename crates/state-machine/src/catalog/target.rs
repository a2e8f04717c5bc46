//! The instance a command writes to.

use super::find::{self, FoundCollection};
use crate::command::{ApplyContext, ApplyError};
use crate::keys::VersionedTable;
use crate::store::{Reader, StoreError};
use crate::versioned::{self, Lineage};
use crate::{instances, versioned::FoundRow};
use prost::Message;
use quorate_model::{Revision, ScopeId};

/// Where a command reads, as of now, and writes.
#[derive(Clone, Debug)]
pub struct Target {
    pub scope: ScopeId,
    pub lineage: Lineage,
}

impl Target {
    /// Refuses an instance that is absent, dropped or a read-only clone.
    pub fn of(reader: &dyn Reader, instance_id: &str) -> Result<Target, ApplyError> {
        let scope = instances::writable_scope(reader, instance_id)?;
        let lineage = Lineage::of(reader, scope, Revision(u64::MAX))?;
        Ok(Target { scope, lineage })
    }

    /// The same with one of its collections; refuses one that is absent.
    pub fn of_collection(
        reader: &dyn Reader,
        instance_id: &str,
        database: &str,
        collection: &str,
    ) -> Result<(Target, FoundCollection), ApplyError> {
        let target = Target::of(reader, instance_id)?;
        let collection = find::find_collection(reader, &target.lineage, database, collection)?;
        Ok((target, collection))
    }

    /// Sets a key, whatever it was.
    pub fn put(
        &self,
        context: &mut ApplyContext<'_, '_>,
        table: VersionedTable,
        key: &[u8],
        record: &impl Message,
    ) -> Result<(), StoreError> {
        versioned::put(context, table, self.scope, key, &record.encode_to_vec())?;
        Ok(())
    }

    /// Sets a key that holds an id given out by this command, so that it cannot have been written before.
    pub fn put_new(&self, context: &mut ApplyContext<'_, '_>, table: VersionedTable, key: &[u8], record: &impl Message) {
        versioned::write(context, table, self.scope, key, Some(&record.encode_to_vec()), None);
    }

    /// Ends a key that is visible, inherited or not. Returns what it held; `None` if there was nothing to end.
    pub fn end(&self, context: &mut ApplyContext<'_, '_>, table: VersionedTable, key: &[u8]) -> Result<Option<FoundRow>, StoreError> {
        versioned::end_visible(context, &self.lineage, table, key)
    }
}
