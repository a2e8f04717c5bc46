//! What a restore needs before it is proposed.

use super::QueryError;
use crate::attributes;
use crate::command::decode_record;
use crate::commands::CreateRestore;
use crate::instances;
use crate::jobs::restore;
use crate::keys::VersionedTable;
use crate::record::CollectionRecord;
use crate::snapshots::{self, names};
use crate::store::Reader;
use crate::versioned::Lineage;
use quorate_model::{MetaError, ScopeId};

/// The vaults that a restore reads from and writes to, each with the scope whose instance names it. Refuses what the command itself
/// would refuse about the snapshot and the target's instance; names and quotas are the command's matter.
pub fn vaults(reader: &dyn Reader, command: &CreateRestore) -> Result<Vec<(ScopeId, String)>, QueryError> {
    let source_scope = attributes::live_scope(reader, &command.instance_id)?;
    let reference = command.snapshot.clone().unwrap_or_default();
    let snapshot = names::require(reader, source_scope, &reference)?;
    snapshots::check_usable(&snapshot)?;
    let lineage = Lineage::of(reader, source_scope, snapshot.revision)?;
    let shown = restore::source_collection(reader, &lineage, &snapshot.record, command.wanted())?;
    let target_id = match command.target_instance_id.as_str() {
        "" => &command.instance_id,
        target_id => target_id,
    };
    let target_scope = attributes::live_scope(reader, target_id)?;
    let row = lineage.get(reader, VersionedTable::Collection, &shown.id.to_be_bytes())?;
    let row = row.ok_or_else(|| MetaError::internal(format!("snapshot {} shows no collection {}", snapshot.record.name, shown.id)))?;
    let source: CollectionRecord = decode_record(&row.key, row.value)?;
    let target =
        instances::find(reader, target_id)?.ok_or_else(|| MetaError::not_found(format!("instance {target_id:?} does not exist")))?;
    let same_instance = (target_scope == source_scope).then_some(&shown.record);
    let target_vault = restore::vault_of(reader, &target, &command.target_vault, same_instance)?;
    Ok(vec![(row.scope, source.vault), (target_scope, target_vault)])
}
