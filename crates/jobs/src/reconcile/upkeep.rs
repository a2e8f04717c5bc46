//! What has no hurry: records of old jobs, uploads that were given up, rows of dropped objects, expired snapshots.

use super::{Access, Round, StepError};
use crate::settings::UPKEEP_PER_ROUND;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::catalog::uploads;
use quorate_state_machine::commands::{CollectDropped, ExpireSnapshots, ExpireUploads, Numbered, RemoveJobs, remove_jobs};
use quorate_state_machine::dropped;
use quorate_state_machine::snapshots::expiry;

pub(super) async fn step<N: Query + Propose, V>(access: &Access<N, V>) -> Result<Round, StepError> {
    let node = &access.node;
    let now = node.now();
    let mut round = Round::Idle;
    if node.read(|reader| remove_jobs::is_due(reader, now.0))? {
        round = round.and(repeat(node, &RemoveJobs {}, |reply| reply.more).await?);
    }
    if node.read(|reader| uploads::is_due(reader, now))? {
        round = round.and(repeat(node, &ExpireUploads::default(), |reply| reply.more).await?);
    }
    if node.read(|reader| dropped::is_due(reader))? {
        round = round.and(repeat(node, &CollectDropped::default(), |reply| reply.more).await?);
    }
    if node.read(|reader| expiry::is_due(reader, now))? {
        round = round.and(repeat(node, &ExpireSnapshots::default(), |reply| reply.more).await?);
    }
    Ok(round)
}

/// Proposes a bounded command again while it says that there is more, up to a bound of its own.
async fn repeat<N: Propose, C: Numbered + Sync>(node: &N, command: &C, is_more: fn(&C::Reply) -> bool) -> Result<Round, StepError> {
    for _ in 0..UPKEEP_PER_ROUND {
        if !is_more(&node.propose(command).await?) {
            return Ok(Round::Idle);
        }
    }
    Ok(Round::More)
}
