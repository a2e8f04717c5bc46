//! The witness checker: the revisions that replies carry are a proposed order, and this proves it or finds where it breaks.
//!
//! 1. Replayed in the order of revisions, every operation gets the answer it got.
//! 2. No two writes have one revision.
//! 3. Real time: a revision is not below any that was answered before the operation began; a write's is above all of them.
//!
//! What was never answered is looked up in the audit logs. A refusal must be true of some state between the operation's
//! begin and its end, else it was made on the past. What the history says failed must not be in the logs as done.
//! Passing is a proof that this history is linearizable; the price is that it trusts the product's numbers, so the checkers
//! that look at values alone stay beside it.

use super::fates::{Fate, Fates};
use crate::client::UNEXPECTED;
use crate::contract::REFUSED;
use crate::history::{Kind, Op};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// How an operation takes part in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes a revision of its own.
    Write,
    /// Sees the state of its revision, and all that was answered before it began.
    Read,
    /// Sees the state of its revision, which may be of the past.
    Stale,
    /// Of another workload, or of no interest.
    Other,
}

/// What a workload's operations mean.
pub trait Rules {
    type State: Default;

    /// `output` is the answer, where there was one.
    fn role(&self, operation: &Operation<'_>, output: Option<&Json>) -> Role;

    /// Applies an operation at its place in the order, and compares with its answer.
    fn step(&self, state: &mut Self::State, operation: &Operation<'_>, output: Option<&Json>, revision: u64) -> Result<(), String>;

    /// Whether a refusal is right in this state. What needs nothing but the instance, which is there before the first fault and
    /// never goes, is refused by a node that answers from the past or from nothing: no state explains it.
    fn explains(&self, state: &Self::State, operation: &Operation<'_>) -> bool;
}

/// An operation with its place.
struct Placed<'a> {
    operation: Operation<'a>,
    role: Role,
    revision: u64,
    output: Option<&'a Json>,
}

/// A refusal that waits for a state that explains it.
struct Refusal<'a> {
    operation: Operation<'a>,
    /// The first and, if the logs tell, the only state it can be about.
    from: u64,
    exactly: bool,
}

/// The order to be proved.
#[derive(Default)]
struct Order<'a> {
    placed: Vec<Placed<'a>>,
    refusals: Vec<Refusal<'a>>,
    resolved: usize,
}

pub fn check<R: Rules>(name: &str, rules: &R, history: &[Op], fates: Result<&Fates, &str>) -> Verdict {
    let all = operations(history);
    let fates = match fates {
        Ok(fates) => fates,
        Err(error) => return Verdict::unknown(name, format!("operations without an answer cannot be resolved: {error}")),
    };
    match prove(rules, history, &all, fates) {
        Err((index, what)) => Verdict::invalid(name, Some(index), what),
        Ok(order) if order.placed.is_empty() => Verdict::unknown(name, "there was nothing to check"),
        Ok(order) => {
            let writes = order.placed.iter().filter(|placed| placed.role == Role::Write).count();
            let what = format!(
                "{} operations ({writes} writes, {} without an answer resolved by the audit logs, {} refusals) in the order of their revisions get the answers they got",
                order.placed.len(),
                order.resolved,
                order.refusals.len()
            );
            let details =
                json!({"operations": order.placed.len(), "writes": writes, "resolved": order.resolved, "refusals": order.refusals.len()});
            Verdict::valid(name, what).with(details)
        }
    }
}

type Broken = (u64, String);

fn prove<'a, R: Rules>(rules: &R, history: &[Op], all: &[Operation<'a>], fates: &Fates) -> Result<Order<'a>, Broken> {
    let floors = floors(rules, history, all);
    let mut order = place(rules, all, fates, &floors)?;
    order
        .placed
        .sort_by_key(|placed| (placed.revision, placed.role != Role::Write, placed.operation.from()));
    check_revisions(&order.placed, &floors)?;
    replay(rules, &order)?;
    Ok(order)
}

/// For each operation, by the index of its invocation: the highest revision that was answered before.
fn floors<R: Rules>(rules: &R, history: &[Op], all: &[Operation<'_>]) -> BTreeMap<u64, u64> {
    let mut answered: BTreeMap<u64, u64> = BTreeMap::new();
    for operation in all.iter().filter(|operation| operation.is_ok()) {
        let counts = rules.role(operation, operation.output()) != Role::Other;
        if let (true, Some(revision)) = (counts, operation.revision()) {
            answered.insert(operation.to(), revision);
        }
    }
    let mut floors = BTreeMap::new();
    let mut highest = 0;
    for op in history {
        if op.kind == Kind::Invoke {
            floors.insert(op.index, highest);
        }
        highest = highest.max(answered.get(&op.index).copied().unwrap_or(0));
    }
    floors
}

fn place<'a, R: Rules>(rules: &R, all: &[Operation<'a>], fates: &Fates, floors: &BTreeMap<u64, u64>) -> Result<Order<'a>, Broken> {
    let mut order = Order::default();
    for operation in all {
        let role = rules.role(operation, operation.output());
        if role == Role::Other {
            continue;
        }
        if operation.error().is_some_and(|error| error.starts_with(UNEXPECTED)) {
            return Err((
                operation.from(),
                format!("{}: {}", operation.name(), operation.error().unwrap_or_default()),
            ));
        }
        let fate = fates.of_operation(operation);
        match (operation.kind(), fate) {
            (Kind::Ok, _) => {
                let revision = operation
                    .revision()
                    .ok_or_else(|| (operation.from(), format!("{} was answered without a revision", operation.name())))?;
                // What found nothing to change took no revision: it saw one.
                let role = match (role, fate) {
                    (Role::Write, Some(Fate::Unchanged(_))) => Role::Read,
                    _ => role,
                };
                order.placed.push(Placed {
                    operation: *operation,
                    role,
                    revision,
                    output: operation.output(),
                });
            }
            (Kind::Fail, Some(Fate::Applied(revision))) => {
                let error = operation.error().unwrap_or_default();
                return Err((
                    operation.from(),
                    format!("{} failed (\"{error}\"), but was applied at revision {revision}", operation.name()),
                ));
            }
            (Kind::Fail, fate) if operation.error().is_some_and(|error| error.starts_with(REFUSED)) => {
                let floor = floors.get(&operation.from()).copied().unwrap_or(0);
                let (from, exactly) = match fate {
                    Some(Fate::Refused(revision, _)) => (revision, true),
                    _ => (floor, false),
                };
                order.refusals.push(Refusal {
                    operation: *operation,
                    from,
                    exactly,
                });
            }
            (Kind::Info | Kind::Invoke, Some(Fate::Applied(revision))) => {
                order.resolved += 1;
                order.placed.push(Placed {
                    operation: *operation,
                    role: Role::Write,
                    revision,
                    output: None,
                });
            }
            _ => {}
        }
    }
    Ok(order)
}

fn check_revisions(placed: &[Placed<'_>], floors: &BTreeMap<u64, u64>) -> Result<(), Broken> {
    let mut last_write: Option<&Placed<'_>> = None;
    for here in placed {
        let (operation, revision) = (&here.operation, here.revision);
        let floor = floors.get(&operation.from()).copied().unwrap_or(0);
        match here.role {
            Role::Write => {
                if let Some(other) = last_write.filter(|other| other.revision == revision) {
                    let what = format!("{} and {} both have revision {revision}", other.operation.name(), operation.name());
                    return Err((operation.from(), what));
                }
                if revision <= floor {
                    let what = format!(
                        "{} has revision {revision}, but {floor} was answered before it began",
                        operation.name()
                    );
                    return Err((operation.from(), what));
                }
                last_write = Some(here);
            }
            Role::Read if revision < floor => {
                let what = format!(
                    "stale: {} saw revision {revision}, but {floor} was answered before it began",
                    operation.name()
                );
                return Err((operation.from(), what));
            }
            _ => {}
        }
    }
    Ok(())
}

fn replay<R: Rules>(rules: &R, order: &Order<'_>) -> Result<(), Broken> {
    let mut state = R::State::default();
    let mut refusals: Vec<&Refusal<'_>> = order.refusals.iter().collect();
    refusals.sort_by_key(|refusal| refusal.from);
    let mut waiting: Vec<&Refusal<'_>> = Vec::new();
    let mut coming = refusals.into_iter().peekable();
    for placed in &order.placed {
        while let Some(refusal) = coming.next_if(|refusal| refusal.from < placed.revision) {
            waiting.push(refusal);
        }
        // A read too may tell of a later state: what reconcilers change is in no answer but those.
        waiting.retain(|refusal| !rules.explains(&state, &refusal.operation));
        if placed.role == Role::Write {
            // States before this write are the last chance of what ended before the write began.
            complain(&waiting, placed)?;
        }
        rules
            .step(&mut state, &placed.operation, placed.output, placed.revision)
            .map_err(|what| {
                (
                    placed.operation.from(),
                    format!("{} at revision {}: {what}", placed.operation.name(), placed.revision),
                )
            })?;
    }
    waiting.extend(coming);
    waiting.retain(|refusal| !rules.explains(&state, &refusal.operation));
    match waiting.first() {
        Some(refusal) => Err(unexplained(refusal)),
        None => Ok(()),
    }
}

/// Complains of refusals that no state has explained and that have no further chance.
fn complain(waiting: &[&Refusal<'_>], next: &Placed<'_>) -> Result<(), Broken> {
    let is_over = |refusal: &&&Refusal<'_>| refusal.exactly || refusal.operation.to() < next.operation.from();
    match waiting.iter().find(is_over) {
        Some(refusal) => Err(unexplained(refusal)),
        None => Ok(()),
    }
}

fn unexplained(refusal: &Refusal<'_>) -> Broken {
    let error = refusal.operation.error().unwrap_or_default();
    let what = format!(
        "{} was answered \"{error}\", which was not so in any state from revision {} on",
        refusal.operation.name(),
        refusal.from
    );
    (refusal.operation.from(), what)
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
