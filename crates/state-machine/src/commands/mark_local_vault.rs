//! Notes that the peers' shared directory carries its marker. From then on a directory without it is not made a vault again: it is
//! one that is not mounted.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext, read_record};
use crate::keys::{self, RecordTable};
use crate::record::LocalVaultRecord;
use crate::store::{Reader, StoreError};
use bytes::Bytes;
use quorate_model::MetaError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct MarkLocalVault {
    #[prost(string, tag = "1")]
    pub vault_id: String,
}

/// What the marker says; of the first who made one.
pub type MarkLocalVaultReply = LocalVaultRecord;

impl Prepare for MarkLocalVault {
    /// Made by the leader, not by a call of the public API.
    type Request = MarkLocalVault;

    fn prepare(request: MarkLocalVault, _context: &PrepareContext<'_>) -> Result<MarkLocalVault, MetaError> {
        Ok(request)
    }
}

fn key() -> Bytes {
    keys::record_prefix(RecordTable::LocalVault).freeze()
}

/// The peers' shared directory, if it has been marked.
pub fn find(reader: &dyn Reader) -> Result<Option<LocalVaultRecord>, StoreError> {
    read_record(reader, &key())
}

impl Command for MarkLocalVault {
    type Reply = MarkLocalVaultReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<MarkLocalVaultReply, ApplyError> {
        if let Some(marked) = find(context.reader())? {
            return Ok(marked);
        }
        if self.vault_id.is_empty() {
            return Err(MetaError::invalid("vault id is empty; name the vault").into());
        }
        let record = LocalVaultRecord {
            vault_id: self.vault_id.clone(),
            marked_ms: context.now().0,
        };
        context.put_record(key(), &record);
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn the_first_mark_stays() {
        let mut bench = Bench::new();
        let mark = |vault_id: &str| MarkLocalVault {
            vault_id: vault_id.to_owned(),
        };
        bench.refusal(&mark(""));
        assert_eq!(find(&bench.store).expect("reads"), None);
        assert_eq!(bench.run(&mark("a")).expect("marked").vault_id, "a");
        let revision = bench.machine.revision();
        assert_eq!(bench.run(&mark("b")).expect("looked at").vault_id, "a");
        assert_eq!(bench.machine.revision(), revision);
    }
}
