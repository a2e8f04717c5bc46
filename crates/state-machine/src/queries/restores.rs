//! What a restore needs before it is proposed.

use super::QueryError;
use crate::attributes;
use crate::catalog::show;
use crate::commands::CreateRestore;
use crate::instances;
use crate::jobs::restore;
use crate::jobs::source::Source;
use crate::keys::VersionedTable;
use crate::limits;
use crate::record::JobRecord;
use crate::snapshots::{self, names};
use crate::store::Reader;
use crate::versioned::Lineage;
use quorate_model::{MetaError, ScopeId};
use std::collections::BTreeSet;

/// The vaults that a restore reads from and writes to, each once, with the scope whose instance names it. Refuses what the command itself
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
    let target =
        instances::find(reader, target_id)?.ok_or_else(|| MetaError::not_found(format!("instance {target_id:?} does not exist")))?;
    let same_instance = (target_scope == source_scope).then_some(&shown.record);
    let target_vault = restore::vault_of(reader, &target, &command.target_vault, same_instance)?;
    let source = JobRecord {
        source_scope: source_scope.0,
        source_revision: snapshot.revision.0,
        source_collection_id: shown.id,
        ..JobRecord::default()
    };
    let mut vaults = places_of_files(reader, &source)?;
    vaults.insert((target_scope.0, target_vault));
    Ok(vaults.into_iter().map(|(scope, vault)| (ScopeId(scope), vault)).collect())
}

/// Where the files are that a job would copy, as the first page of its segments says. A collection's row does not tell: that of a clone's
/// base layer names the source's vault, whether the files were copied or not.
fn places_of_files(reader: &dyn Reader, job: &JobRecord) -> Result<BTreeSet<(u64, String)>, QueryError> {
    let page = Source::open(reader, job)?.page(VersionedTable::Segment, None, limits::MAX_PAGE_ROWS)?;
    let mut places = BTreeSet::new();
    for row in &page.rows {
        let segment = show::segment(row)?;
        places.insert((segment.owner_scope, segment.vault));
    }
    Ok(places)
}
