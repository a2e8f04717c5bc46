//! Claims that must have expired, claims that need not, and claims that may not.

use super::super::fates::by_hand::fates;
use super::*;
use crate::history::{Kind, NemesisMark};
use crate::operation::by_hand::Story;
use crate::verdict::Validity::{self, Invalid, Valid};
use serde_json::json;

const SECOND: u64 = 1_000_000_000;

fn stopped_worker(story: &mut Story, f: &str, mode: &str, seconds: u64) {
    let claims = json!([{"job": 11, "task": 0, "fence": 3}]);
    story.invoke(0, f, json!({"status": "installed", "mode": mode, "claims": claims}));
    let last = story.last();
    last.process = Process::Nemesis(NemesisMark::Nemesis);
    (last.kind, last.time) = (Kind::Info, seconds * SECOND);
}

/// A worker is away from second 2 on; each second is answered in the term that is said, and job 11 ends in a state.
fn story(mode: &str, until: u64, term: impl Fn(u64) -> u64, state: &str) -> Story {
    let mut story = Story::default();
    stopped_worker(&mut story, "start-workers", mode, 2);
    for second in 3..until {
        story.done(1, "look", json!([1, null]), json!([1, null]), second);
        (story.last().term, story.last().time) = (Some(term(second)), second * SECOND);
    }
    stopped_worker(&mut story, "stop-workers", mode, until);
    story.done(1, "jobs", Json::Null, json!([{"job": 11, "state": state}]), 99);
    story
}

fn count(story: &Story, log: &[&str]) -> usize {
    not_expired(&story.ops, &fates(log)).len()
}

#[test]
fn a_killed_worker_loses_its_claims_however_short_it_is_away() {
    assert_eq!(count(&story("kill", 4, |_| 1, "completed"), &[]), 1);
    assert_eq!(count(&story("kill", 4, |_| 1, "cancelled"), &[]), 0, "its job ended otherwise");
    let on_its_way = ["9.1:135:1:0:11.0.3"];
    assert_eq!(count(&story("kill", 4, |_| 1, "completed"), &on_its_way), 0, "it had reported");
    let expired = ["9.1:134:1:0:11.0.3"];
    assert_eq!(count(&story("kill", 4, |_| 1, "completed"), &expired), 0);
    let another = ["9.1:134:1:0:11.1.3"];
    assert_eq!(
        count(&story("kill", 4, |_| 1, "completed"), &another),
        1,
        "one claim's end says nothing of another"
    );
}

#[test]
fn a_paused_worker_loses_its_claims_to_a_leader_that_waits_for_a_lease() {
    assert_eq!(count(&story("pause", 15, |_| 1, "completed"), &[]), 1);
    assert_eq!(count(&story("pause", 12, |_| 1, "completed"), &[]), 0, "it went on in time");
    assert_eq!(
        count(&story("pause", 15, |second| second / 10, "completed"), &[]),
        0,
        "a new leader waits for a whole lease"
    );
    let mut silent = story("pause", 15, |_| 1, "completed");
    silent.ops.retain(|op| op.f != "look" || op.time < 7 * SECOND);
    assert_eq!(count(&silent, &[]), 0, "nothing was answered, so nothing may have been applied");
}

#[test]
fn no_claim_expires_because_the_time_of_day_moves() {
    let verdict = |nemeses: &[&str], log: &[&str]| -> Validity { check_leases(&Asked::by_hand(nemeses), &fates(log)).valid };
    let expired = ["9.1:135:1:0:11.1.3", "9.2:134:2:0:11.0.3"];
    assert_eq!(verdict(&["clock"], &expired), Invalid);
    assert_eq!(verdict(&["clock:jump-forward/jump-back"], &expired), Invalid);
    assert_eq!(verdict(&[], &expired), Invalid);
    assert_eq!(verdict(&["clock"], &expired[..1]), Valid, "a completion takes no claim away");
    let renewed_first = ["9.1:134:0:0:11.0.3"];
    assert_eq!(verdict(&["clock"], &renewed_first), Valid, "it changed nothing");
    for harms in ["workers", "kill", "partition", "starve", "clock-monotonic"] {
        assert_eq!(verdict(&["clock", harms], &expired), Valid, "{harms}");
    }
}
