//! What has no hurry: records of old jobs, uploads that were given up, rows of dropped objects, expired snapshots, records of dropped
//! instances.

use super::records::Records;
use super::{Access, Round, StepError};
use crate::settings::UPKEEP_PER_ROUND;
use quorate_state_machine::StoreError;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::catalog::uploads;
use quorate_state_machine::commands::{CollectDropped, ExpireSnapshots, ExpireUploads, Numbered, RemoveJobs, remove_jobs};
use quorate_state_machine::dropped;
use quorate_state_machine::snapshots::expiry;

/// One kind that does not succeed does not keep the others from being done.
pub(super) async fn step<N: Query + Propose, V>(access: &Access<N, V>, records: &mut Records) -> Round {
    let node = &access.node;
    let now = node.now();
    let due = node.read(|reader| remove_jobs::is_due(reader, now.0));
    let jobs = repeat(node, due, &RemoveJobs {}, |reply| reply.more).await;
    let due = node.read(|reader| uploads::is_due(reader, now));
    let uploads = repeat(node, due, &ExpireUploads::default(), |reply| reply.more).await;
    let due = node.read(|reader| dropped::is_due(reader));
    let dropped = repeat(node, due, &CollectDropped::default(), |reply| reply.more).await;
    let due = node.read(|reader| expiry::is_due(reader, now));
    let snapshots = repeat(node, due, &ExpireSnapshots::default(), |reply| reply.more).await;
    let records = records.step(access).await;
    let kinds = [
        ("remove records of old jobs", jobs),
        ("expire uploads", uploads),
        ("collect dropped objects", dropped),
        ("expire snapshots", snapshots),
        ("remove records of dropped instances", records),
    ];
    let rounds = kinds.into_iter().map(|(kind, outcome)| access.settle(kind, outcome));
    rounds.fold(Round::Idle, Round::and)
}

/// Proposes a bounded command, if it is due, again while it says that there is more, up to a bound of its own.
async fn repeat<N: Propose, C: Numbered + Sync>(
    node: &N,
    due: Result<bool, StoreError>,
    command: &C,
    is_more: fn(&C::Reply) -> bool,
) -> Result<Round, StepError> {
    if !due? {
        return Ok(Round::Idle);
    }
    for _ in 0..UPKEEP_PER_ROUND {
        fail::fail_point!("upkeep_before", |_| Ok(Round::Idle));
        let reply = node.propose(command).await?;
        fail::fail_point!("upkeep_after", |_| Ok(Round::Idle));
        if !is_more(&reply) {
            return Ok(Round::Idle);
        }
    }
    Ok(Round::More)
}
