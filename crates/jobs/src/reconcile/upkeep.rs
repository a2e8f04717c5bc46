//! What has no hurry: records of old jobs, uploads that were given up, rows of dropped objects, expired snapshots.

use super::{Access, Round, StepError};
use crate::settings::UPKEEP_PER_ROUND;
use quorate_model::MetaError;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::catalog::uploads;
use quorate_state_machine::commands::{CollectDropped, ExpireUploads, RemoveJobs, remove_jobs};
use quorate_state_machine::dropped;

pub(super) async fn step<N: Query + Propose, V>(access: &Access<N, V>) -> Result<Round, StepError> {
    let now = access.node.now();
    let mut round = Round::Idle;
    if access.node.read(|reader| remove_jobs::is_due(reader, now.0))? {
        round = round.and(repeat(async || Ok(access.node.propose(&RemoveJobs {}).await?.more)).await?);
    }
    if access.node.read(|reader| uploads::is_due(reader, now))? {
        let command = ExpireUploads::default();
        round = round.and(repeat(async || Ok(access.node.propose(&command).await?.more)).await?);
    }
    if access.node.read(|reader| dropped::is_due(reader))? {
        let command = CollectDropped::default();
        round = round.and(repeat(async || Ok(access.node.propose(&command).await?.more)).await?);
    }
    Ok(round)
}

/// Runs a bounded command again while it says that there is more, up to a bound of its own.
async fn repeat(mut run: impl AsyncFnMut() -> Result<bool, MetaError>) -> Result<Round, MetaError> {
    for _ in 0..UPKEEP_PER_ROUND {
        if !run().await? {
            return Ok(Round::Idle);
        }
    }
    Ok(Round::More)
}
