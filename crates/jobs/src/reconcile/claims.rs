//! Takes claims back from workers that are not heard of: a claim that shows no renewal for a lease, on this leader's own clock, is
//! given to another worker. The clock starts when this leader sees the claim first, so a lease can be longer than said, never shorter.

use super::{Access, StepError};
use crate::counters::Counters;
use quorate_model::{StampedTime, mutant};
use quorate_state_machine::StoreError;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::commands::ExpireClaim;
use quorate_state_machine::jobs::{self, tasks};
use quorate_state_machine::record::TaskRecord;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::Instant;

/// What was seen last of each claim, and since when it is so.
#[derive(Default)]
pub(super) struct ClaimWatch {
    seen: BTreeMap<(u64, u32), Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    fence: u64,
    renewals: u64,
    /// The claim's own, whatever is set by now.
    lease: Duration,
    since: Instant,
}

/// The leader's own clock, which no change of the time of day moves.
fn clock<N: Query>(node: &N) -> Instant {
    if mutant!("wall-clock-leases") {
        static BEGAN: OnceLock<(Instant, StampedTime)> = OnceLock::new();
        let (began, wall) = *BEGAN.get_or_init(|| (Instant::now(), node.now()));
        return began + Duration::from_millis(node.now().0.saturating_sub(wall.0));
    }
    Instant::now()
}

impl ClaimWatch {
    /// When the first of the claims will have had its lease, unless it is renewed.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.seen.values().map(|claim| claim.since + claim.lease).min()
    }

    pub(super) async fn step<N: Query + Propose, V>(&mut self, access: &Access<N, V>) -> Result<(), StepError> {
        let now = clock(&access.node);
        let current = access.node.read(|reader| {
            let mut claims = Vec::new();
            for (job, progress) in jobs::all_active(reader)? {
                if progress.tasks_claimed > 0 {
                    let claimed = tasks::claimed(reader, job)?;
                    claims.extend(claimed.into_iter().map(|(task, record)| ((job, task), record)));
                }
            }
            Ok::<_, StoreError>(claims)
        })?;
        let mut seen = BTreeMap::new();
        for (key, record) in current {
            let TaskRecord { fence, renewals, .. } = record;
            let known = self
                .seen
                .get(&key)
                .filter(|known| (known.fence, known.renewals) == (fence, renewals));
            let claim = Seen {
                fence,
                renewals,
                lease: Duration::from_millis(record.lease_ms()),
                since: known.map_or(now, |known| known.since),
            };
            seen.insert(key, claim);
        }
        self.seen = seen;
        for ((job, task), claim) in &self.seen {
            if now.duration_since(claim.since) < claim.lease {
                continue;
            }
            let command = ExpireClaim {
                job: *job,
                task: *task,
                fence: claim.fence,
                renewals: claim.renewals,
            };
            if access.node.propose(&command).await?.expired {
                Counters::add(&access.counters.claims_expired, 1);
                tracing::info!(
                    job,
                    task,
                    fence = claim.fence,
                    "a claim was not renewed for a lease; its task is open again"
                );
            }
        }
        Ok(())
    }
}
