//! Jobs and copies, good and bad.

use super::super::fates::by_hand::fates;
use super::*;
use crate::operation::by_hand::Story;
use crate::verdict::Validity;

/// Two jobs of two tasks each, one cancelled before it did any; commands: 130 create, 135 complete, 137 publish, 138 cancel.
const LOG: &[&str] = &[
    "7.1:130:1:0",
    "8.1:130:2:0",
    "8.2:138:3:0",
    "9.1:135:4:0:11.0.1",
    "9.2:135:5:0:11.1.1",
    "9.3:135:5:0:11.1.1",
    "9.4:137:6:0",
];

fn job(id: u64, target: u64, state: &str) -> Json {
    json!({"job": id, "is_restore": true, "target": target, "state": state, "tasks": 2, "done": 0, "reason": ""})
}

fn copy(ids: [u64; 2], wrong: &[&str]) -> Json {
    let equal = 2 - wrong.len();
    json!({"equal": equal, "names": "aa", "wrong": wrong, "ids": ids, "paths": ids.map(|id| format!("p/{id}"))})
}

fn good() -> Story {
    let mut story = Story::default();
    story.invoke(0, "submit", json!([1])).info(0, "submit", json!([1])).under(7, 1);
    story.done(1, "submit", json!([2]), json!([2, 22]), 2).under(8, 1);
    story.done(1, "jobs", Json::Null, json!([job(11, 1, "planning"), job(22, 2, "running")]), 2);
    story.done(1, "look", json!([1, null]), json!([1, null]), 2);
    story.done(1, "cancel", json!([2, 22]), json!([2, 22, "cancelled"]), 3).under(8, 2);
    story.done(1, "look", json!([1, null]), json!([1, {"segments": 2, "checksum": "cc"}]), 6);
    story.enter(Phase::Final);
    story
}

fn end(story: &mut Story) {
    story.done(2, "files", json!([1, null]), json!([1, copy([5, 6], &[])]), 6);
    story.done(2, "files", json!([2, null]), json!([2, null]), 6);
    story.done(3, "look", json!([1, null]), json!([1, {"segments": 2, "checksum": "cc"}]), 6);
    story.done(3, "jobs", Json::Null, json!([job(11, 1, "completed"), job(22, 2, "cancelled")]), 6);
}

fn ended() -> Story {
    let mut story = good();
    end(&mut story);
    story
}

fn assert_jobs(story: &Story, log: &[&str], rule: &str) {
    let verdict = check_jobs(&story.ops, Ok(&fates(log)));
    assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
    assert!(verdict.what.contains(rule), "{}", verdict.what);
}

fn assert_files(story: &Story, rule: &str) {
    let verdict = check_files(&story.ops, 2);
    assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
    assert!(verdict.what.contains(rule), "{}", verdict.what);
}

/// The last list replaced.
fn listed(jobs: Json) -> Story {
    let mut story = ended();
    story.last().value = jobs;
    story
}

#[test]
fn good_jobs_pass_and_none_prove_nothing() {
    let verdict = check_jobs(&ended().ops, Ok(&fates(LOG)));
    assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
    let files = check_files(&ended().ops, 2);
    assert_eq!(files.valid, Validity::Valid, "{}", files.what);
    assert_eq!(check_jobs(&good().ops, Ok(&fates(LOG))).valid, Validity::Unknown);
    assert_eq!(check_files(&good().ops, 2).valid, Validity::Unknown);
    assert_eq!(check_jobs(&ended().ops, Err("no logs")).valid, Validity::Unknown);
}

#[test]
fn a_submission_that_made_two_jobs_is_found() {
    let story = listed(json!([job(11, 1, "completed"), job(12, 1, "completed"), job(22, 2, "cancelled")]));
    assert_jobs(&story, LOG, "it made 2 jobs");
}

#[test]
fn a_lost_job_and_one_that_nobody_asked_for_are_found() {
    let lost = listed(json!([job(11, 1, "completed")]));
    assert_jobs(&lost, LOG, "was executed, and there are 0 jobs");
    let strange = listed(json!([job(11, 1, "completed"), job(22, 2, "cancelled"), job(33, 3, "completed")]));
    assert_jobs(&strange, LOG, "nobody asked for a restore into 3");
}

/// The log with other completions in place of its own, of which the first takes revision 4.
fn completed_by(lines: &[&str], publication: &str) -> Vec<String> {
    let lines = LOG[..3].iter().chain(lines).chain([&publication]);
    lines.map(|line| (*line).to_owned()).collect()
}

fn assert_completions(lines: &[&str], publication: &str, rule: &str) {
    let log = completed_by(lines, publication);
    let log: Vec<&str> = log.iter().map(String::as_str).collect();
    assert_jobs(&ended(), &log, rule);
}

#[test]
fn a_task_that_was_completed_twice_is_found_also_behind_a_cancelled_job() {
    // Three completions are no more than the four tasks of both jobs.
    let twice = ["9.1:135:4:0:11.0.1", "9.2:135:5:0:11.1.1", "9.3:135:6:0:11.1.2"];
    assert_completions(&twice, "9.4:137:7:0", "completed under fence 1 and again under 2");
    let published = [LOG, &["9.5:137:7:0"]].concat();
    assert_jobs(&ended(), &published, "2 publications were applied, 1 jobs completed");
}

#[test]
fn a_task_that_was_not_completed_or_is_of_no_listed_job_is_found() {
    let one = ["9.1:135:4:0:11.0.1", "9.2:135:5:0:22.0.1"];
    assert_completions(&one, "9.4:137:6:0", "1 tasks of job 11 were completed");
    let strange = ["9.1:135:4:0:11.0.1", "9.2:135:5:0:11.1.1", "9.3:135:6:0:33.0.1"];
    assert_completions(&strange, "9.4:137:7:0", "which is not listed");
}

#[test]
fn a_completion_under_a_fence_that_had_expired_is_found() {
    let zombie = ["9.1:135:4:0:11.0.1", "9.2:134:5:0:11.1.1", "9.3:135:6:0:11.1.1"];
    assert_completions(&zombie, "9.4:137:7:0", "had expired");
    let log = completed_by(&["9.1:135:4:0:11.0.1", "9.2:134:5:0:11.1.1", "9.3:135:6:0:11.1.2"], "9.4:137:7:0");
    let log: Vec<&str> = log.iter().map(String::as_str).collect();
    let verdict = check_jobs(&ended().ops, Ok(&fates(&log)));
    assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
    assert_eq!(verdict.details["expired"], json!(1));
}

#[test]
fn logs_that_do_not_name_tasks_prove_nothing() {
    let log: Vec<&str> = vec![
        "7.1:130:1:0",
        "8.1:130:2:0",
        "8.2:138:3:0",
        "9.1:135:4:0",
        "9.2:135:5:0",
        "9.4:137:6:0",
    ];
    assert_eq!(check_jobs(&ended().ops, Ok(&fates(&log))).valid, Validity::Unknown);
}

#[test]
fn a_job_ends_once_and_ends_at_all() {
    assert_jobs(
        &listed(json!([job(11, 1, "completed"), job(22, 2, "running")])),
        LOG,
        "has not ended",
    );
    assert_jobs(
        &listed(json!([job(11, 1, "completed"), job(22, 2, "completed")])),
        LOG,
        "its cancellation was acknowledged",
    );
    assert_jobs(&listed(json!([job(11, 1, "completed"), job(22, 2, "failed")])), LOG, "has failed");
    let mut back = ended();
    let last = back.ops.last().expect("the list").value.clone();
    back.done(3, "jobs", Json::Null, json!([job(11, 1, "running"), job(22, 2, "cancelled")]), 7);
    back.done(3, "jobs", Json::Null, last, 8);
    assert_jobs(&back, LOG, "it had been completed");
}

#[test]
fn a_part_of_a_copy_is_never_seen() {
    let mut story = good();
    story.done(1, "look", json!([1, null]), json!([1, {"segments": 1, "checksum": "dd"}]), 5);
    end(&mut story);
    assert_files(&story, "1 segments are seen of 2");
    let mut cancelled = good();
    cancelled.done(1, "look", json!([2, null]), json!([2, {"segments": 2, "checksum": "dd"}]), 5);
    end(&mut cancelled);
    assert_files(&cancelled, "its job does not complete");
}

#[test]
fn a_copy_that_differs_is_short_or_is_somebody_elses_is_found() {
    let replaced = |found: Json| {
        let mut story = ended();
        let position = story
            .ops
            .iter()
            .position(|op| op.f == "files" && op.kind == Kind::Ok)
            .expect("a comparison");
        story.ops[position].value = json!([1, found]);
        story
    };
    assert_files(&replaced(copy([5, 6], &["p/5/a differs"])), "p/5/a differs");
    assert_files(&replaced(Json::Null), "it is not there");
    assert_files(
        &replaced(json!({"equal": 1, "names": "aa", "wrong": [], "ids": [5], "paths": ["p/5"]})),
        "the source has 2",
    );
    assert_files(
        &replaced(json!({"equal": 2, "names": "aa", "wrong": [], "ids": [5, 5], "paths": ["p/5"]})),
        "the source has 2",
    );
}

#[test]
fn nodes_that_show_different_copies_are_found() {
    let mut story = good();
    story.done(4, "look", json!([1, null]), json!([1, {"segments": 2, "checksum": "dd"}]), 6);
    end(&mut story);
    assert_files(&story, "before it was");
}

#[test]
fn one_job_that_is_read_is_as_the_lists_have_it_and_is_found() {
    let read = |state: &str| {
        let mut story = good();
        story.done(1, "job", json!([1, 11, null]), json!([1, 11, state]), 6);
        end(&mut story);
        check_jobs(&story.ops, Ok(&fates(LOG)))
    };
    assert_eq!(read("running").valid, Validity::Valid);
    assert_eq!(read("completed").valid, Validity::Valid);
    assert!(read("cancelled").what.contains("it had been cancelled"));
    let mut lost = good();
    lost.invoke(1, "job", json!([1, 11, null]))
        .fail(1, "job", json!([1, 11, null]), "refused: not_found: job 11 does not exist");
    end(&mut lost);
    assert_jobs(&lost, LOG, "somebody had been told of it");
}

#[test]
fn a_read_of_the_past_is_found() {
    let mut story = good();
    story.done(1, "describe", json!([1, null]), json!([1, {"segments": 2, "files": 2}]), 5);
    end(&mut story);
    assert_jobs(&story, LOG, "is of an older revision");
}

#[test]
fn what_a_target_is_said_to_have_is_all_or_nothing() {
    let described = |told: Json| {
        let mut story = good();
        story.done(1, "describe", json!([1, null]), json!([1, told]), 6);
        end(&mut story);
        check_files(&story.ops, 2)
    };
    assert_eq!(described(json!({"segments": 2, "files": 2})).valid, Validity::Valid);
    assert!(
        described(json!({"segments": 1, "files": 1}))
            .what
            .contains("1 segments are seen of 2")
    );
    assert!(described(json!({"segments": 2, "files": 1})).what.contains("1 files of 2"));
    assert!(described(Json::Null).what.contains("it is not there"));
}
