//! Completions of tasks one by one, and claims that expired, as the audit logs have them.
//!
//! How many completions were accepted says little: one too many hides behind a task that was never done. Each names its job,
//! task and fence, so: a task is completed once, every task of a completed job is, and nobody completes one under a fence
//! that had been taken from him. And no claim is taken from one who is well.

use super::Asked;
use super::fates::Fates;
use crate::history::{Op, Process};
use crate::verdict::Verdict;
use quorate_tests::audit::Claim;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

pub const EXPIRE_CLAIM: u64 = 134;
pub const COMPLETE_TASK: u64 = 135;
/// A claim that nobody renews ends after this (the product's lease), and two seconds for it to be noticed and proposed.
const EXPIRES_NS: u64 = 12_000_000_000;
/// Faults that keep nobody from renewing his claims: a lease is counted on the leader's monotonic clock, which this one leaves
/// alone. One that moves that clock, too, may make a lease of ten seconds pass in two, and is not among them.
const HARMLESS: &str = "clock";
const NAME: &str = "claims";
/// Without a success for so long, nothing may have been applied that ends a claim.
const LONGEST_GAP_NS: u64 = 2_000_000_000;

/// A job, as the last list has it.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    pub tasks: u64,
    pub is_completed: bool,
}

/// Claims whose end changed something, in the order in which they did.
fn ended(fates: &Fates, command: u64) -> impl Iterator<Item = Option<Claim>> {
    let of_it = fates.writes().iter().filter(move |executed| executed.command == command);
    of_it.map(|executed| executed.claim)
}

/// Whether the logs say of each completion which task it is of; those of older builds do not.
pub fn are_named(fates: &Fates) -> bool {
    ended(fates, COMPLETE_TASK).all(|claim| claim.is_some())
}

pub fn expired(fates: &Fates) -> usize {
    ended(fates, EXPIRE_CLAIM).count()
}

/// The violated rule, if one is.
pub fn check(fates: &Fates, jobs: &BTreeMap<u64, Listed>) -> Result<(), String> {
    let mut expired: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut completed: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for executed in fates.writes() {
        let Some(Claim { job, task, fence }) = executed.claim else {
            continue;
        };
        match executed.command {
            EXPIRE_CLAIM => drop(expired.insert((job, task), fence)),
            COMPLETE_TASK => {
                if let Some(other) = completed.insert((job, task), fence) {
                    return Err(format!(
                        "task {task} of job {job} was completed under fence {other} and again under {fence}"
                    ));
                }
                if let Some(lost) = expired.get(&(job, task)).filter(|lost| fence <= **lost) {
                    return Err(format!(
                        "task {task} of job {job} was completed under fence {fence}, and the claim of fence {lost} had expired"
                    ));
                }
            }
            _ => {}
        }
    }
    let mut done: BTreeMap<u64, u64> = BTreeMap::new();
    for (job, _) in completed.keys() {
        *done.entry(*job).or_default() += 1;
    }
    for (job, listed) in jobs {
        let count = done.remove(job).unwrap_or(0);
        if count > listed.tasks || (listed.is_completed && count < listed.tasks) {
            return Err(format!("{count} tasks of job {job} were completed, it has {listed:?}"));
        }
    }
    match done.first_key_value() {
        Some((job, count)) => Err(format!("{count} tasks were completed of job {job}, which is not listed")),
        None => Ok(()),
    }
}

/// Where only the time of day was wrong, all workers renew what they have, so no claim may expire: not one.
pub fn check_leases(asked: &Asked, fates: &Fates) -> Verdict {
    let is_harmless = |spec: &String| spec.split(':').next() == Some(HARMLESS);
    if !asked.nemeses.iter().all(is_harmless) {
        return Verdict::valid(NAME, "faults may have kept workers from renewing their claims, so these may expire");
    }
    let expired: Vec<Option<Claim>> = ended(fates, EXPIRE_CLAIM).collect();
    match expired.first() {
        None => Verdict::valid(NAME, "no claim expired, and nothing kept a worker from renewing its own"),
        Some(first) => Verdict::invalid(
            NAME,
            None,
            format!(
                "{} claims expired though nothing kept a worker from renewing its own: the time of day moved a lease; the first: {first:?}",
                expired.len()
            ),
        ),
    }
}

/// Claims of workers that were stopped for so long that these must have expired, and did not: a worker that was killed has forgotten its
/// own; one that was paused may renew them when it goes on, so its pause must have been longer than the lease, with one
/// leader, who counts it, and with load that was answered. Left out are claims of jobs that ended otherwise, and those whose
/// completion was on its way already.
pub fn not_expired(history: &[Op], fates: &Fates) -> Vec<Claim> {
    let completed = completed_jobs(history);
    let accepted: BTreeSet<Claim> = ended(fates, COMPLETE_TASK).flatten().collect();
    let mut claims = Vec::new();
    for (position, op) in history.iter().enumerate() {
        if op.f != "start-workers" || op.value["status"] != "installed" {
            continue;
        }
        let until = history[position..]
            .iter()
            .find(|later| later.f == "stop-workers")
            .map(|later| later.time);
        if op.value["mode"] == "kill" || until.is_some_and(|until| lease_runs_out(history, op.time, until)) {
            claims.extend(claims_in(&op.value));
        }
    }
    let expired: BTreeSet<Claim> = ended(fates, EXPIRE_CLAIM).flatten().collect();
    claims.retain(|claim| completed.contains(&claim.job) && !accepted.contains(claim) && !expired.contains(claim));
    claims
}

/// Jobs that the last list shows as completed.
fn completed_jobs(history: &[Op]) -> BTreeSet<u64> {
    let last = history.iter().rfind(|op| op.f == "jobs" && op.kind == crate::history::Kind::Ok);
    let jobs = last.and_then(|op| op.value.as_array()).into_iter().flatten();
    jobs.filter(|job| job["state"] == "completed")
        .filter_map(|job| job["job"].as_u64())
        .collect()
}

fn claims_in(outcome: &Json) -> Vec<Claim> {
    let numbers = |claim: &Json| {
        let number = |name: &str| claim[name].as_u64();
        Some(Claim {
            job: number("job")?,
            task: number("task")?,
            fence: number("fence")?,
        })
    };
    outcome["claims"].as_array().into_iter().flatten().filter_map(numbers).collect()
}

fn lease_runs_out(history: &[Op], from: u64, until: u64) -> bool {
    let answered: Vec<&Op> = history
        .iter()
        .filter(|op| op.kind == crate::history::Kind::Ok && matches!(op.process, Process::Client(_)))
        .filter(|op| (from..=until).contains(&op.time))
        .collect();
    let terms: BTreeSet<u64> = answered.iter().filter_map(|op| op.term).collect();
    let mut last = from;
    let is_busy = answered.iter().map(|op| op.time).chain([until]).all(|time| {
        let gap = time - last;
        last = time;
        gap <= LONGEST_GAP_NS
    });
    until - from >= EXPIRES_NS && terms.len() == 1 && is_busy
}

#[cfg(test)]
#[path = "completions_tests.rs"]
mod tests;
