//! Copy jobs, exactly once.
//!
//! 1. A submission makes one job, however often it was repeated, and two submissions never share one.
//! 2. A job's state never goes back, and it ends one way: in the end every job has ended, and none has failed. One is
//!    cancelled only if somebody cancelled it. What somebody was told of is found from then on.
//! 3. What a completed job made has every file of the source once, with its bytes, at every node; ids and paths of segments are
//!    nobody else's. It appeared whole: nobody ever saw a part. What a cancelled one made is never seen.
//!    No read is of a revision before one that was answered earlier.
//! 4. The audit logs have one accepted completion of each task of a completed job, none under a fence that had expired, and as
//!    many publications as completed jobs.

use super::Asked;
use super::completions::{self, COMPLETE_TASK, Listed};
use super::fates::{Fate, Fates};
use crate::history::{Kind, Op, Phase};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

const NAME: &str = "jobs-exactly-once";
const FILES: &str = "copied-files";
const PUBLISH_JOB: u64 = 137;
/// Reads of clients; whatever was answered before one begins is in its past.
const READS: [&str; 4] = ["jobs", "job", "look", "describe"];
/// Those of a target.
const LOOKS: [&str; 2] = ["look", "describe"];

type Broken = (u64, String);

/// A job as the last list has it.
#[derive(Clone, Debug)]
struct Job {
    id: u64,
    target: Option<u64>,
    state: String,
    tasks: u64,
}

pub fn check(history: &[Op], dir: &Path, files: u64) -> Vec<Verdict> {
    let fates = Fates::read(dir);
    let mut verdicts = vec![
        check_jobs(history, fates.as_ref().map_err(String::as_str)),
        check_files(history, files),
    ];
    // Where one of them is missing, other checkers say so.
    if let (Ok(asked), Ok(fates)) = (Asked::read(dir), &fates) {
        verdicts.push(completions::check_leases(&asked, fates));
    }
    verdicts
}

fn check_jobs(history: &[Op], fates: Result<&Fates, &str>) -> Verdict {
    let fates = match fates {
        Ok(fates) => fates,
        Err(error) => return Verdict::unknown(NAME, format!("submissions without an answer cannot be resolved: {error}")),
    };
    let all = operations(history);
    let Some(last) = last_list(&all) else {
        return Verdict::unknown(NAME, "the jobs were not listed in the end");
    };
    let jobs = jobs(last);
    if !jobs.iter().any(|job| job.target.is_some() && job.state == "completed") {
        return Verdict::unknown(NAME, "no restore completed");
    }
    if !completions::are_named(fates) {
        return Verdict::unknown(
            NAME,
            "the audit logs do not say which task a completion is of: an older build wrote them",
        );
    }
    let broken = check_submissions(&all, &jobs, fates)
        .and_then(|()| check_states(&all))
        .and_then(|()| check_found(&all))
        .and_then(|()| check_in_time(&all))
        .and_then(|()| check_ends(&all, last, &jobs, fates))
        .and_then(|()| check_counts(last, &jobs, fates));
    if let Err((index, what)) = broken {
        return Verdict::invalid(NAME, Some(index), what);
    }
    let count = |state: &str| jobs.iter().filter(|job| job.target.is_some() && job.state == state).count();
    let (completed, cancelled) = (count("completed"), count("cancelled"));
    let tasks: u64 = jobs.iter().map(|job| job.tasks).sum();
    let expired = completions::expired(fates);
    let what = format!(
        "{completed} restores completed and {cancelled} were cancelled, each once; {} completions accepted for {tasks} tasks, \
         {expired} claims expired",
        fates.applied(COMPLETE_TASK)
    );
    Verdict::valid(NAME, what).with(json!({"completed": completed, "cancelled": cancelled, "tasks": tasks, "expired": expired}))
}

fn last_list<'a>(all: &[Operation<'a>]) -> Option<Operation<'a>> {
    all.iter()
        .rfind(|operation| operation.f() == "jobs" && operation.is_ok() && operation.phase() == Phase::Final)
        .copied()
}

fn jobs(list: Operation<'_>) -> Vec<Job> {
    let of = |job: &Json| Job {
        id: job["job"].as_u64().unwrap_or(0),
        target: job["target"].as_u64(),
        state: job["state"].as_str().unwrap_or_default().to_owned(),
        tasks: job["tasks"].as_u64().unwrap_or(0),
    };
    list.output().and_then(Json::as_array).into_iter().flatten().map(of).collect()
}

/// Each submission that happened has one job, under its target's name, and each restore was submitted.
fn check_submissions(all: &[Operation<'_>], jobs: &[Job], fates: &Fates) -> Result<(), Broken> {
    let mut by_target: HashMap<u64, Vec<&Job>> = HashMap::new();
    for job in jobs {
        job.target
            .into_iter()
            .for_each(|target| by_target.entry(target).or_default().push(job));
    }
    let mut given: HashMap<u64, u64> = HashMap::new();
    let mut submitted: HashSet<u64> = HashSet::new();
    for operation in all.iter().filter(|operation| operation.f() == "submit") {
        let broken = |what: String| Err((operation.from(), format!("{}: {what}", operation.name())));
        let target = operation.input()[0].as_u64().unwrap_or(u64::MAX);
        let found = by_target.get(&target).map_or(&[][..], Vec::as_slice);
        if found.len() > 1 {
            return broken(format!("it made {} jobs: {found:?}", found.len()));
        }
        let was_applied = operation.is_ok() || matches!(fates.of_operation(operation), Some(Fate::Applied(_)));
        if was_applied == found.is_empty() {
            let applied = if was_applied { "was executed" } else { "was not executed" };
            return broken(format!("it {applied}, and there are {} jobs for it", found.len()));
        }
        submitted.insert(target);
        if let Some(job) = operation.output().and_then(|output| output[1].as_u64()) {
            if let Some(other) = given.insert(job, target) {
                return broken(format!("job {job} was the answer for target {other}, too"));
            }
            if found.first().is_none_or(|found| found.id != job) {
                return broken(format!("it was answered with job {job}, listed is {found:?}"));
            }
        }
    }
    match by_target.keys().find(|target| !submitted.contains(*target)) {
        Some(target) => Err((0, format!("nobody asked for a restore into {target}"))),
        None => Ok(()),
    }
}

fn rank(state: &str) -> u8 {
    match state {
        "planning" => 0,
        "running" => 1,
        _ => 2,
    }
}

/// The jobs that a read shows, with their states.
fn shown_states(read: &Operation<'_>) -> Vec<(u64, String)> {
    match (read.f(), read.output()) {
        ("jobs", _) => jobs(*read).into_iter().map(|job| (job.id, job.state)).collect(),
        ("job", Some(output)) => vec![(output[1].as_u64().unwrap_or(0), output[2].as_str().unwrap_or_default().to_owned())],
        _ => Vec::new(),
    }
}

/// In the order of the revisions of what was read, no job goes back or changes its end, and none leaves the list.
fn check_states(all: &[Operation<'_>]) -> Result<(), Broken> {
    let mut reads: Vec<&Operation<'_>> = all
        .iter()
        .filter(|operation| ["jobs", "job"].contains(&operation.f()) && operation.is_ok())
        .collect();
    reads.sort_by_key(|read| (read.revision(), read.from()));
    let mut seen: HashMap<u64, String> = HashMap::new();
    for read in reads {
        let states = shown_states(read);
        if read.f() == "jobs" {
            let listed: HashSet<u64> = states.iter().map(|(id, _)| *id).collect();
            if let Some(gone) = seen.keys().find(|id| !listed.contains(*id)) {
                return Err((read.from(), format!("{}: job {gone} is not listed any more", read.name())));
            }
        }
        for (id, state) in states {
            let goes_back = |before: &&String| rank(&state) < rank(before) || (rank(before) == 2 && state != **before);
            if let Some(before) = seen.get(&id).filter(goes_back) {
                let what = format!("{}: job {id} is {state}, it had been {before}", read.name());
                return Err((read.from(), what));
            }
            seen.insert(id, state);
        }
    }
    Ok(())
}

/// Clients ask for jobs that somebody was told of only.
fn check_found(all: &[Operation<'_>]) -> Result<(), Broken> {
    let lost = all.iter().find(|operation| operation.f() == "job" && operation.is_refused());
    match lost {
        Some(read) => {
            let error = read.error().unwrap_or_default();
            Err((
                read.from(),
                format!("{} was answered \"{error}\", and somebody had been told of it", read.name()),
            ))
        }
        None => Ok(()),
    }
}

/// No read is of a revision before that of an answer which had come when it began.
fn check_in_time(all: &[Operation<'_>]) -> Result<(), Broken> {
    let mut answered: Vec<&Operation<'_>> = all
        .iter()
        .filter(|operation| operation.is_ok() && operation.revision().is_some())
        .collect();
    answered.sort_by_key(|operation| operation.to());
    let mut answered = answered.into_iter().peekable();
    let mut newest: Option<&Operation<'_>> = None;
    // In the order in which they began.
    for read in all
        .iter()
        .filter(|operation| READS.contains(&operation.f()) && operation.revision().is_some())
    {
        while let Some(before) = answered.next_if(|before| before.to() < read.from()) {
            if newest.is_none_or(|newest| before.revision() > newest.revision()) {
                newest = Some(before);
            }
        }
        if let Some(newest) = newest.filter(|newest| newest.revision() > read.revision()) {
            let what = format!("{} is of an older revision than {} before it", read.name(), newest.name());
            return Err((read.from(), what));
        }
    }
    Ok(())
}

fn check_ends(all: &[Operation<'_>], last: Operation<'_>, jobs: &[Job], fates: &Fates) -> Result<(), Broken> {
    let was_cancelled = |operation: &&Operation<'_>| {
        operation.f() == "cancel" && (operation.is_ok() || matches!(fates.of_operation(operation), Some(Fate::Applied(_))))
    };
    let cancelled: BTreeMap<u64, u64> = all
        .iter()
        .filter(was_cancelled)
        .filter_map(|operation| Some((operation.input()[1].as_u64()?, operation.from())))
        .collect();
    for job in jobs {
        let broken = |what: &str| Err((last.from(), format!("job {} {what}: {job:?}", job.id)));
        match job.state.as_str() {
            "planning" | "running" => return broken("has not ended"),
            "failed" => return broken("has failed, though nothing it needs was taken away"),
            "cancelled" if !cancelled.contains_key(&job.id) => return broken("is cancelled, and nobody cancelled it"),
            "completed" if cancelled.contains_key(&job.id) => return broken("has completed, and its cancellation was acknowledged"),
            _ => {}
        }
    }
    Ok(())
}

/// Each task of a completed job is completed once, and each such job is published once.
fn check_counts(last: Operation<'_>, jobs: &[Job], fates: &Fates) -> Result<(), Broken> {
    let listed = |job: &Job| Listed {
        tasks: job.tasks,
        is_completed: job.state == "completed",
    };
    let by_id: BTreeMap<u64, Listed> = jobs.iter().map(|job| (job.id, listed(job))).collect();
    completions::check(fates, &by_id).map_err(|what| (last.from(), what))?;
    let (published, completed) = (
        fates.applied(PUBLISH_JOB),
        jobs.iter().filter(|job| job.state == "completed").count(),
    );
    if published != completed {
        return Err((
            last.from(),
            format!("{published} publications were applied, {completed} jobs completed"),
        ));
    }
    Ok(())
}

/// What jobs made, and when it was seen.
fn check_files(history: &[Op], files: u64) -> Verdict {
    let all = operations(history);
    let Some(last) = last_list(&all) else {
        return Verdict::unknown(FILES, "the jobs were not listed in the end");
    };
    let completed: BTreeSet<u64> = jobs(last)
        .into_iter()
        .filter(|job| job.state == "completed")
        .filter_map(|job| job.target)
        .collect();
    let compared: Vec<&Operation<'_>> = all
        .iter()
        .filter(|operation| operation.f() == "files" && operation.is_ok())
        .collect();
    let broken = compared
        .iter()
        .find_map(|operation| check_copy(operation, &completed, files).err())
        .or_else(|| check_unique(&compared))
        .or_else(|| all.iter().find_map(|operation| check_look(operation, &completed, files).err()))
        .or_else(|| check_same(&all));
    if let Some((index, what)) = broken {
        return Verdict::invalid(FILES, Some(index), what);
    }
    let looked: BTreeSet<u64> = compared.iter().filter_map(|operation| operation.input()[0].as_u64()).collect();
    match completed.iter().find(|target| !looked.contains(target)) {
        Some(target) => Verdict::unknown(FILES, format!("nobody has compared the files of target {target}")),
        None if completed.is_empty() => Verdict::unknown(FILES, "no restore completed"),
        None => {
            let what = format!("{} copies of {files} files equal their source byte for byte", completed.len());
            Verdict::valid(FILES, what).with(json!({"copies": completed.len(), "files": completed.len() as u64 * files}))
        }
    }
}

fn check_copy(operation: &Operation<'_>, completed: &BTreeSet<u64>, files: u64) -> Result<(), Broken> {
    let broken = |what: String| Err((operation.from(), format!("{}: {what}", operation.name())));
    let target = operation.input()[0].as_u64().unwrap_or(u64::MAX);
    let found = operation.output().map_or(&Json::Null, |output| &output[1]);
    match (found.is_null(), completed.contains(&target)) {
        (true, true) => broken("its job has completed, and it is not there".to_owned()),
        (false, false) => broken("it is there, and its job has not completed".to_owned()),
        (true, false) => Ok(()),
        (false, true) => {
            if let Some(wrong) = found["wrong"].as_array().and_then(|wrong| wrong.first()) {
                return broken(format!("{wrong}"));
            }
            let ids: HashSet<u64> = found["ids"].as_array().into_iter().flatten().filter_map(Json::as_u64).collect();
            match (found["equal"].as_u64(), ids.len() as u64) {
                (Some(equal), count) if equal == files && count == files => Ok(()),
                (equal, count) => broken(format!("{equal:?} files in {count} segments, the source has {files}")),
            }
        }
    }
}

/// No two copies share a segment or a path, and all have the same names.
fn check_unique(compared: &[&Operation<'_>]) -> Option<Broken> {
    let mut owners: HashMap<String, u64> = HashMap::new();
    let mut names: Option<&Json> = None;
    for operation in compared {
        let found = operation.output().map_or(&Json::Null, |output| &output[1]);
        if found.is_null() {
            continue;
        }
        let first = *names.get_or_insert(&found["names"]);
        if found["names"] != *first {
            return Some((
                operation.from(),
                format!("{}: the names of its files differ from another copy's", operation.name()),
            ));
        }
        for thing in ["ids", "paths"]
            .iter()
            .flat_map(|what| found[*what].as_array().into_iter().flatten())
        {
            if let Some(other) = owners.insert(thing.to_string(), operation.from()) {
                return Some((
                    operation.from(),
                    format!("{}: {thing} is also of the copy at {other}", operation.name()),
                ));
            }
        }
    }
    None
}

/// A collection is not seen before it is whole, nor at all when its job does not complete.
fn check_look(operation: &Operation<'_>, completed: &BTreeSet<u64>, files: u64) -> Result<(), Broken> {
    if !LOOKS.contains(&operation.f()) || operation.kind() != Kind::Ok {
        return Ok(());
    }
    let broken = |what: String| Err((operation.from(), format!("{}: {what}", operation.name())));
    let target = operation.input()[0].as_u64().unwrap_or(u64::MAX);
    let shown = operation.output().map_or(&Json::Null, |output| &output[1]);
    match (shown["segments"].as_u64(), shown["files"].as_u64()) {
        (None, _) if operation.phase() == Phase::Final && completed.contains(&target) => {
            broken("its job has completed, and it is not there".to_owned())
        }
        (None, _) => Ok(()),
        (Some(_), _) if !completed.contains(&target) => broken("it is seen, and its job does not complete".to_owned()),
        (Some(segments), _) if segments != files => broken(format!("{segments} segments are seen of {files}")),
        (_, Some(told)) if told != files => broken(format!("it is said to have {told} files of {files}")),
        _ => Ok(()),
    }
}

/// Whoever looks at a collection, wherever and whenever, sees the same; who looks after somebody has seen it, sees it.
fn check_same(all: &[Operation<'_>]) -> Option<Broken> {
    let mut known: HashMap<(&str, u64), &Json> = HashMap::new();
    let mut seen_at: HashMap<u64, u64> = HashMap::new();
    let looks = || all.iter().filter(|operation| LOOKS.contains(&operation.f()) && operation.is_ok());
    let target_of = |operation: &Operation<'_>| operation.input()[0].as_u64().unwrap_or(u64::MAX);
    let shown_by = |operation: &Operation<'_>| operation.output().map_or(Json::Null, |output| output[1].clone());
    for operation in looks().filter(|operation| !shown_by(operation).is_null()) {
        let at = seen_at.entry(target_of(operation)).or_insert(operation.to());
        *at = operation.to().min(*at);
    }
    for operation in looks() {
        let target = target_of(operation);
        let Some(shown) = operation.output().map(|output| &output[1]).filter(|shown| !shown.is_null()) else {
            if seen_at.get(&target).is_some_and(|seen| *seen < operation.from()) {
                let what = format!("{}: it is not there, and had been seen before", operation.name());
                return Some((operation.from(), what));
            }
            continue;
        };
        let first = *known.entry((operation.f(), target)).or_insert(shown);
        if first != shown {
            return Some((
                operation.from(),
                format!("{}: {shown} is seen, before it was {first}", operation.name()),
            ));
        }
    }
    None
}

#[cfg(test)]
#[path = "copies_tests.rs"]
mod tests;
