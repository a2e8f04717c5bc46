//! The snapshots of an instance as Doris's `list_snapshot` shows them, in the order of their creation.
//!
//! An instance that came of a rollback shows those of the whole line: from the original one, successor by successor, to the one that
//! was asked for.

use super::QueryError;
use crate::instance_snapshots::{check_caller, parse_id, show};
use crate::instances::{self, Instance};
use crate::limits::MAX_ROLLBACK_CHAIN;
use crate::snapshots;
use crate::store::Reader;
use crate::text_bounds;
use quorate_model::{MetaError, Revision};
use quorate_wire::doris::{ListSnapshotRequest, ListSnapshotResponse};
use quorate_wire::quorate::v1::SnapshotState;
use std::collections::BTreeSet;

/// What `list_snapshot` answers; `status` is left to the caller.
pub fn list_snapshot(reader: &dyn Reader, request: &ListSnapshotRequest) -> Result<ListSnapshotResponse, QueryError> {
    text_bounds::check_texts(&[("instance_id", &request.instance_id)])?;
    let instance_id = match (request.instance_id(), request.cloud_unique_id()) {
        ("", "") => return Err(MetaError::invalid("either instance_id or cloud_unique_id must be provided").into()),
        ("", cloud_unique_id) => {
            check_caller(cloud_unique_id)?;
            instances::resolve(reader, cloud_unique_id)?
        }
        (instance_id, _) => instance_id.to_owned(),
    };
    if instance_id.is_empty() {
        return Err(MetaError::invalid("empty instance_id").into());
    }
    let required = match request.required_snapshot_id() {
        "" => None,
        snapshot_id => Some(parse_id(snapshot_id)?),
    };
    let mut response = ListSnapshotResponse::default();
    for instance in line(reader, &instance_id)? {
        for snapshot in listed(reader, &instance, required)? {
            let is_shown = match snapshot.state() {
                SnapshotState::Deleting => false,
                SnapshotState::Aborted => request.include_aborted() || required.is_some(),
                _ => snapshot.is_of_instance(),
            };
            if is_shown {
                response.snapshots.push(show(reader, instance.info.instance_id(), &snapshot)?);
            }
        }
    }
    Ok(response)
}

fn listed(reader: &dyn Reader, instance: &Instance, required: Option<Revision>) -> Result<Vec<snapshots::Snapshot>, QueryError> {
    match required {
        None => Ok(snapshots::all(reader, instance.scope)?),
        Some(revision) => {
            let found = snapshots::find(reader, instance.scope, revision)?;
            Ok(found.filter(|found| found.is_of_instance()).into_iter().collect())
        }
    }
}

/// The instances whose snapshots an instance shows, oldest first.
fn line(reader: &dyn Reader, asked: &str) -> Result<Vec<Instance>, QueryError> {
    let missing = |instance_id: &str| MetaError::invalid(format!("instance not found, instance_id={instance_id}"));
    let last = instances::find(reader, asked)?.ok_or_else(|| missing(asked))?;
    let mut at = match last.info.original_instance_id() {
        "" => asked.to_owned(),
        original => original.to_owned(),
    };
    let (mut line, mut seen) = (Vec::new(), BTreeSet::new());
    while at != asked {
        if line.len() == MAX_ROLLBACK_CHAIN || !seen.insert(at.clone()) {
            return Err(MetaError::invalid(format!("cycle detected in instance chain, instance_id={at}")).into());
        }
        let found = instances::find(reader, &at)?;
        let leads_on = found.as_ref().is_some_and(|found| !found.info.successor_instance_id().is_empty());
        if last.is_dropped() && !leads_on {
            // A line is dropped from its end, so older members may be gone before this one, and their ids may be others'.
            line.clear();
            break;
        }
        let instance = found.ok_or_else(|| missing(&at))?;
        let successor = instance.info.successor_instance_id().to_owned();
        if successor.is_empty() {
            let text = format!("successor_instance_id is empty for current instance_id={at}");
            return Err(MetaError::invalid(text).into());
        }
        line.push(instance);
        at = successor;
    }
    line.push(last);
    Ok(line)
}
