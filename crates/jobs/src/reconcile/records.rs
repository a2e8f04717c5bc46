//! Records of dropped instances whose rows have all been collected: looks whether files of them are still to be deleted, and if not,
//! proposes that they go. Why what it finds cannot become untrue stands in `quorate_state_machine::collected`.
//!
//! Condemned rows have no index by scope, since nobody else asks. So one look at some scopes goes through all of these rows, a page with
//! each round of upkeep, and no two looks begin within a minute.

use super::{Access, Round, StepError};
use crate::settings::{CONDEMNED_PER_PAGE, RECORDS_INTERVAL, RECORDS_PER_LOOK, UPKEEP_PER_ROUND};
use quorate_model::ScopeId;
use quorate_state_machine::StoreError;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::commands::CollectInstance;
use quorate_state_machine::condemned::{self, DeletionKey};
use quorate_state_machine::{collected, jobs};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// What a leader has found out so far.
#[derive(Default)]
pub(super) struct Records {
    look: Option<Look>,
    /// Found to be needed by nothing.
    free: Vec<ScopeId>,
    /// The next look begins behind this scope: those that wait long keep none behind them from being looked at.
    after: ScopeId,
    next_look: Option<Instant>,
}

/// A way through all condemned rows.
struct Look {
    /// Scopes that no row has named so far.
    scopes: BTreeSet<ScopeId>,
    after: Option<DeletionKey>,
}

impl Records {
    pub(super) async fn step<N: Query + Propose, V>(&mut self, access: &Access<N, V>) -> Result<Round, StepError> {
        if self.free.is_empty() {
            self.go_on(&access.node)?;
        }
        for _ in 0..UPKEEP_PER_ROUND {
            let Some(scope) = self.free.pop() else {
                return Ok(Round::Idle);
            };
            access.node.propose(&CollectInstance { scope: scope.0 }).await?;
        }
        Ok(if self.free.is_empty() { Round::Idle } else { Round::More })
    }

    /// Looks at one page of condemned rows.
    fn go_on<N: Query>(&mut self, node: &N) -> Result<(), StoreError> {
        let look = match self.look.take() {
            Some(look) => Some(look),
            None => self.begin(node)?,
        };
        let Some(mut look) = look else {
            return Ok(());
        };
        let after = look.after;
        let (named, next) = node.read(|reader| condemned::scopes(reader, after, CONDEMNED_PER_PAGE))?;
        look.scopes.retain(|scope| !named.contains(scope));
        look.after = next;
        if look.after.is_none() {
            self.free.extend(look.scopes);
        } else if !look.scopes.is_empty() {
            self.look = Some(look);
        }
        Ok(())
    }

    /// Takes scopes that nothing but condemned rows can need, if it is time.
    fn begin<N: Query>(&mut self, node: &N) -> Result<Option<Look>, StoreError> {
        let now = Instant::now();
        if self.next_look.is_some_and(|at| now < at) {
            return Ok(None);
        }
        let after = self.after;
        let (waiting, scopes) = node.read(|reader| {
            let waiting = collected::waiting(reader, after, RECORDS_PER_LOOK)?;
            let mut scopes = BTreeSet::new();
            if !waiting.is_empty() {
                let filled = jobs::filled_scopes(reader)?;
                for scope in &waiting {
                    if !collected::is_needed(reader, *scope, &filled)? {
                        scopes.insert(*scope);
                    }
                }
            }
            Ok::<_, StoreError>((waiting, scopes))
        })?;
        let is_full = waiting.len() == RECORDS_PER_LOOK;
        self.after = waiting.last().copied().filter(|_| is_full).unwrap_or_default();
        if !waiting.is_empty() {
            self.next_look = Some(now + RECORDS_INTERVAL);
        }
        Ok((!scopes.is_empty()).then_some(Look { scopes, after: None }))
    }
}
