//! The leader's loop: looks at the state, and proposes what should come next.
//!
//! Each step is one kind of work, bounded in a round. A step keeps nothing that matters: clocks of what it has observed, so that a
//! claim or a snapshot is given its whole time by each new leader. Whether a proposal still fits is decided where it is applied, so
//! two leaders, or one that is too slow, do no harm.

mod claims;
mod deletions;
mod progress;
mod records;
mod snapshots;
mod upkeep;

use crate::complaints::Complaints;
use crate::counters::Counters;
use crate::settings::{ROUND_INTERVAL, ROUND_PAUSE, SOON, TURNS_AT_ONCE, UPKEEP_INTERVAL};
use crate::vaults::Vaults;
use quorate_model::MetaError;
use quorate_objects::ObjectError;
use quorate_state_machine::StoreError;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::command::ApplyError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
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

/// A scope and the name of a vault of its instance.
type VaultKey = (u64, String);

/// Vaults that something is done in, each since when, and those that are left alone for a while because it did not succeed. Each has one
/// thing done to it at a time, so that one that is slow, or hangs, takes the time of nobody else.
#[derive(Default)]
struct VaultTurns {
    busy: BTreeMap<VaultKey, Instant>,
    paused: BTreeMap<VaultKey, Instant>,
}

impl VaultTurns {
    /// Takes a turn of a vault, unless somebody has it, or it is left alone, or too many are taken.
    fn begin(&mut self, vault: &VaultKey) -> bool {
        let (now, place) = (Instant::now(), place_of(vault));
        self.paused.retain(|_, until| *until > now);
        let is_free = self.busy.len() < TURNS_AT_ONCE && !self.busy.contains_key(&place) && !self.paused.contains_key(&place);
        if is_free {
            self.busy.insert(place, now);
        }
        is_free
    }

    fn end(&mut self, vault: &VaultKey, pause: Option<Duration>) {
        let place = place_of(vault);
        self.busy.remove(&place);
        if let Some(pause) = pause {
            self.paused.insert(place, Instant::now() + pause);
        }
    }

    /// Whether its turn is likely to end soon.
    fn ends_soon(&self, vault: &VaultKey) -> bool {
        self.busy.get(&place_of(vault)).is_some_and(|since| since.elapsed() < SOON)
    }
}

/// The peers' own directory is one and the same for every scope: where it hangs, it hangs for all of them.
fn place_of(vault: &VaultKey) -> VaultKey {
    let scope = if vault.1.is_empty() { 0 } else { vault.0 };
    (scope, vault.1.clone())
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
        }
    }

    /// Works until it is dropped. What waits for vaults has loops of its own: one that hangs must not keep claims and jobs from ending,
    /// nor the snapshots and deletions of other vaults.
    pub async fn run(self) {
        tokio::join!(
            look_after_claims(&self.access),
            look_after_jobs(&self.access),
            snapshots::look_after(&self.access),
            deletions::look_after(&self.access)
        );
    }
}

/// Claims have a loop of their own: others wait for the task of one that has had its lease, whatever else there is to do.
async fn look_after_claims<N: Query + Propose, V: Vaults>(access: &Access<N, V>) {
    let mut watch = claims::ClaimWatch::default();
    loop {
        if let Err(error) = watch.step(access).await {
            access.complaints.log("watch claims", &error);
        }
        let now = Instant::now();
        let next = watch
            .next_end()
            .map_or(now + ROUND_INTERVAL, |end| end.clamp(now + ROUND_PAUSE, now + ROUND_INTERVAL));
        tokio::time::sleep_until(next).await;
    }
}

/// Jobs, and rows that have had their time: nothing but reads and proposals.
async fn look_after_jobs<N: Query + Propose, V: Vaults>(access: &Access<N, V>) {
    let (mut upkeep_at, mut records) = (Instant::now(), records::Records::default());
    loop {
        let seen = access.node.revision();
        let mut round = access.settle("advance jobs", progress::step(access).await);
        let now = Instant::now();
        if now >= upkeep_at {
            let kept = upkeep::step(access, &mut records).await;
            if kept == Round::Idle {
                upkeep_at = now + UPKEEP_INTERVAL;
            }
            round = round.and(kept);
        }
        access.rest(seen, round, now + ROUND_INTERVAL).await;
    }
}

impl<N: Query + Propose, V> Access<N, V> {
    /// The pause between two rounds; when there was nothing to do, until `until` or a change.
    async fn rest(&self, seen: quorate_model::Revision, round: Round, until: Instant) {
        tokio::time::sleep(ROUND_PAUSE).await;
        if round == Round::Idle {
            // Either way it looks again.
            drop(tokio::time::timeout_at(until, self.node.changed(seen)).await);
        }
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
