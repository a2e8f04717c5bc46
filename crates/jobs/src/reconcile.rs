//! The leader's loop: looks at the state, and proposes what should come next.
//!
//! Each step is one kind of work, bounded in a round. A step keeps nothing that matters: clocks of what it has observed, so that a
//! claim or a snapshot is given its whole time by each new leader. Whether a proposal still fits is decided where it is applied, so
//! two leaders, or one that is too slow, do no harm.

mod claims;
mod deletions;
mod progress;
mod snapshots;
mod upkeep;

use crate::complaints::Complaints;
use crate::counters::Counters;
use crate::settings::{ROUND_INTERVAL, ROUND_PAUSE, UPKEEP_INTERVAL};
use crate::vaults::Vaults;
use quorate_model::MetaError;
use quorate_objects::ObjectError;
use quorate_state_machine::StoreError;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::command::ApplyError;
use std::sync::Arc;
use tokio::time::Instant;

/// Why a step got no further; the next round tries again.
#[derive(Debug)]
pub(crate) enum StepError {
    Refused(MetaError),
    Store(StoreError),
    Object(ObjectError),
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StepError::Refused(error) => error.fmt(f),
            StepError::Store(error) => error.fmt(f),
            StepError::Object(error) => error.fmt(f),
        }
    }
}

impl From<MetaError> for StepError {
    fn from(error: MetaError) -> StepError {
        StepError::Refused(error)
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> StepError {
        StepError::Store(error)
    }
}

impl From<ObjectError> for StepError {
    fn from(error: ObjectError) -> StepError {
        StepError::Object(error)
    }
}

impl From<ApplyError> for StepError {
    fn from(error: ApplyError) -> StepError {
        match error {
            ApplyError::Refused(error) => StepError::Refused(error),
            ApplyError::Store(error) => StepError::Store(error),
        }
    }
}

/// Whether a step left work that it could go on with at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    Idle,
    More,
}

impl Round {
    fn and(self, other: Round) -> Round {
        if self == Round::More { self } else { other }
    }
}

/// What steps work with.
pub(crate) struct Access<N, V> {
    pub node: N,
    pub vaults: V,
    pub counters: Arc<Counters>,
    pub complaints: Complaints,
}

/// All reconcilers of a leader. Started when a peer becomes leader, dropped when it is that no more.
pub struct Reconciler<N, V> {
    access: Access<N, V>,
    claims: claims::ClaimWatch,
    deletions: deletions::Deleter,
    snapshots: snapshots::SnapshotSteps,
    upkeep_at: Instant,
    claims_at: Instant,
}

impl<N: Query + Propose, V: Vaults> Reconciler<N, V> {
    pub fn new(node: N, vaults: V, counters: Arc<Counters>) -> Reconciler<N, V> {
        Reconciler {
            access: Access {
                node,
                vaults,
                counters,
                complaints: Complaints::default(),
            },
            claims: claims::ClaimWatch::default(),
            deletions: deletions::Deleter::default(),
            snapshots: snapshots::SnapshotSteps::default(),
            upkeep_at: Instant::now(),
            claims_at: Instant::now(),
        }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        loop {
            let seen = self.access.node.revision();
            let round = self.round().await;
            tokio::time::sleep(ROUND_PAUSE).await;
            if round == Round::Idle {
                // Either way it looks again.
                drop(tokio::time::timeout(ROUND_INTERVAL, self.access.node.changed(seen)).await);
            }
        }
    }

    /// One look at everything that is due.
    async fn round(&mut self) -> Round {
        let access = &self.access;
        let mut round = access.settle("advance jobs", progress::step(access).await);
        round = round.and(access.settle("work on snapshots", self.snapshots.step(access).await));
        let now = Instant::now();
        if now >= self.claims_at {
            self.claims_at = now + ROUND_INTERVAL;
            round = round.and(access.settle("watch claims", self.claims.step(access).await));
            round = round.and(access.settle("delete files", self.deletions.step(access).await));
        }
        if now >= self.upkeep_at {
            let kept = access.settle("upkeep", upkeep::step(access).await);
            if kept == Round::Idle {
                self.upkeep_at = now + UPKEEP_INTERVAL;
            }
            round = round.and(kept);
        }
        round
    }
}

impl<N, V> Access<N, V> {
    /// A step that failed has nothing more to do in this round.
    fn settle(&self, kind: &'static str, outcome: Result<Round, StepError>) -> Round {
        outcome.unwrap_or_else(|error| {
            self.complaints.log(kind, &error);
            Round::Idle
        })
    }
}
