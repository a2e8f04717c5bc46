//! Histories of registers, good and bad, and a comparison with trying every order.

use super::super::fates::by_hand::fates;
use super::*;
use crate::operation::by_hand::Story;
use crate::verdict::Validity;
use crate::workload::register::RegisterRules;
use proptest::prelude::*;
use serde_json::json;

const LOG: &[&str] = &["7.1:20:1:0", "7.2:20:2:0", "8.1:20:3:0", "9.1:20:3:21"];

/// Two writes, a compare-and-set, one refused, a read on each side.
fn good() -> Story {
    let mut story = Story::default();
    story
        .invoke(0, "write", json!([1, 10]))
        .ok(0, "write", json!([1, 10]), 1)
        .under(7, 1);
    story.invoke(0, "write", json!([1, 20])).invoke(1, "read", json!([1, null]));
    story
        .ok(1, "read", json!([1, 10]), 1)
        .done(1, "read", json!([1, null]), json!([1, 20]), 2);
    story.ok(0, "write", json!([1, 20]), 2).under(7, 2);
    story
        .invoke(2, "cas", json!([1, [20, 30]]))
        .ok(2, "cas", json!([1, [20, 30]]), 3)
        .under(8, 1);
    story
        .invoke(3, "cas", json!([1, [20, 40]]))
        .fail(3, "cas", json!([1, [20, 40]]), "refused: precondition_failed")
        .under(9, 1);
    story.done(1, "read", json!([1, null]), json!([1, 30]), 3);
    story
}

fn verdict(story: &Story, log: &[&str]) -> Verdict {
    check("witness", &RegisterRules, &story.ops, Ok(&fates(log)))
}

fn assert_invalid(story: &Story, log: &[&str], rule: &str) {
    let verdict = verdict(story, log);
    assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
    assert!(verdict.what.contains(rule), "{}", verdict.what);
}

#[test]
fn a_good_history_is_proved() {
    let verdict = verdict(&good(), LOG);
    assert_eq!((verdict.valid, verdict.first_bad), (Validity::Valid, None), "{}", verdict.what);
}

#[test]
fn nothing_proves_nothing() {
    assert_eq!(verdict(&Story::default(), LOG).valid, Validity::Unknown);
    assert_eq!(
        check("witness", &RegisterRules, &good().ops, Err("no logs")).valid,
        Validity::Unknown
    );
}

#[test]
fn a_stale_read_is_found_by_its_revision() {
    let mut story = good();
    story.done(4, "read", json!([1, null]), json!([1, 20]), 2);
    assert_invalid(&story, LOG, "stale");
}

#[test]
fn a_stale_read_that_lies_about_its_revision_is_found_by_its_value() {
    let mut story = good();
    story.done(4, "read", json!([1, null]), json!([1, 20]), 3);
    assert_invalid(&story, LOG, "20 was read, the register held 30");
}

#[test]
fn a_lost_write_is_found_by_the_next_read() {
    let mut story = good();
    story
        .invoke(4, "write", json!([1, 50]))
        .ok(4, "write", json!([1, 50]), 4)
        .under(8, 2);
    story.done(4, "read", json!([1, null]), json!([1, 30]), 4);
    assert_invalid(&story, &[LOG, &["8.2:20:4:0"]].concat(), "30 was read, the register held 50");
}

#[test]
fn two_writes_never_share_a_revision_and_none_takes_an_old_one() {
    let mut twice = good();
    twice.ops.truncate(6);
    twice.invoke(5, "write", json!([2, 60])).invoke(6, "write", json!([2, 70]));
    twice.ok(5, "write", json!([2, 60]), 4).ok(6, "write", json!([2, 70]), 4);
    assert_invalid(&twice, LOG, "both have revision 4");
    let mut old = good();
    old.done(1, "read", json!([1, null]), json!([1, 30]), 7)
        .done(4, "write", json!([2, 60]), json!([2, 60]), 5);
    assert_invalid(&old, LOG, "but 7 was answered before it began");
}

#[test]
fn an_unanswered_write_is_where_the_logs_say() {
    let mut story = good();
    story
        .invoke(4, "write", json!([1, 50]))
        .info(4, "write", json!([1, 50]))
        .under(8, 2);
    story.done(5, "read", json!([1, null]), json!([1, 30]), 3);
    assert_eq!(verdict(&story, LOG).valid, Validity::Valid, "nobody executed it");
    story.done(5, "read", json!([1, null]), json!([1, 50]), 4);
    let with = [LOG, &["8.2:20:4:0"]].concat();
    assert_eq!(
        verdict(&story, &with).valid,
        Validity::Valid,
        "executed after the first read, before the second"
    );
    assert_invalid(&story, LOG, "50 was read, the register held 30");
}

#[test]
fn what_failed_must_not_have_happened() {
    let mut story = good();
    story
        .invoke(4, "write", json!([1, 50]))
        .fail(4, "write", json!([1, 50]), "no_leader: nobody")
        .under(8, 2);
    assert_eq!(verdict(&story, LOG).valid, Validity::Valid);
    assert_invalid(&story, &[LOG, &["8.2:20:4:0"]].concat(), "but was applied at revision 4");
}

#[test]
fn a_refusal_must_be_true_of_some_state_while_it_was_made() {
    let mut story = good();
    story
        .invoke(4, "cas", json!([1, [30, 80]]))
        .fail(4, "cas", json!([1, [30, 80]]), "refused: precondition_failed")
        .under(9, 2);
    assert_invalid(&story, LOG, "which was not so in any state");
    story.done(5, "write", json!([1, 90]), json!([1, 90]), 4);
    assert_invalid(&story, LOG, "which was not so in any state");
    let mut overlapping = good();
    overlapping
        .invoke(4, "cas", json!([1, [30, 80]]))
        .invoke(5, "write", json!([1, 90]))
        .ok(5, "write", json!([1, 90]), 4)
        .under(8, 2);
    overlapping
        .fail(4, "cas", json!([1, [30, 80]]), "refused: precondition_failed")
        .under(9, 2);
    let log = [LOG, &["8.2:20:4:0"]].concat();
    assert_eq!(
        verdict(&overlapping, &log).valid,
        Validity::Valid,
        "the other write may have come first"
    );
    let refused_before = [LOG, &["9.2:20:3:21", "8.2:20:4:0"]].concat();
    assert_invalid(&overlapping, &refused_before, "which was not so in any state");
}

#[test]
fn an_instance_that_is_not_found_is_a_finding() {
    let since = |revision: u64| json!([1, null, {"session": 4, "since": revision}]);
    let refused = |f: &'static str, input: Json| {
        let mut story = good();
        story
            .invoke(4, f, input.clone())
            .fail(4, f, input, "refused: not_found: instance does not exist");
        story
    };
    for (f, input) in [
        ("read", json!([1, null])),
        ("write", json!([1, 50])),
        ("cas", json!([1, [20, 80]])),
        ("read-since", since(3)),
    ] {
        assert_invalid(&refused(f, input), LOG, "which was not so in any state");
    }
    for (f, input) in [("stale-read", since(0)), ("read-since", since(0))] {
        let verdict = verdict(&refused(f, input), LOG);
        assert_eq!(
            verdict.valid,
            Validity::Valid,
            "a node that begins anew may say so of its past: {}",
            verdict.what
        );
    }
}

#[test]
fn an_answer_of_no_known_shape_is_a_finding() {
    let mut story = good();
    story
        .invoke(4, "read", json!([1, null]))
        .fail(4, "read", json!([1, null]), "unexpected: a register holds \"x\"");
    assert_invalid(&story, LOG, "a register holds");
}

/// A random history of one register: what happens is drawn, the checker is asked afterwards.
#[derive(Clone, Debug)]
struct Drawn {
    is_write: bool,
    value: u64,
    revision: u64,
    from: u64,
    length: u64,
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let one = (any::<bool>(), 0u64..4, 1u64..5, 0u64..8, 1u64..5).prop_map(|(is_write, value, revision, from, length)| Drawn {
        is_write,
        value,
        revision,
        from,
        length,
    });
    prop::collection::vec(one, 1..6)
}

/// As a history. Values are tied to positions so that each write has its own.
fn as_story(drawn: &[Drawn]) -> Story {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (position, one) in drawn.iter().enumerate() {
        events.push((one.from * 2, true, position));
        events.push(((one.from + one.length) * 2 - 1, false, position));
    }
    events.sort();
    let mut story = Story::default();
    for (_, begins, position) in events {
        let one = &drawn[position];
        let (f, process) = (if one.is_write { "write" } else { "read" }, position as u64);
        let written = json!([1, 100 + position]);
        let read = match one.value as usize {
            0 => json!([1, null]),
            other => json!([1, 99 + other]),
        };
        match (begins, one.is_write) {
            (true, true) => story.invoke(process, f, written),
            (true, false) => story.invoke(process, f, json!([1, null])),
            (false, true) => story.ok(process, f, written, one.revision),
            (false, false) => story.ok(process, f, read, one.revision),
        };
    }
    story
}

/// Whether some order of the operations goes up with revisions, keeps real time and explains every read.
fn some_order_does(all: &[Operation<'_>], done: &mut Vec<usize>) -> bool {
    if done.len() == all.len() {
        return explains(all, done);
    }
    for next in 0..all.len() {
        let comes_too_early = |other: usize| !done.contains(&other) && other != next && all[other].to() < all[next].from();
        if done.contains(&next) || (0..all.len()).any(comes_too_early) {
            continue;
        }
        done.push(next);
        if some_order_does(all, done) {
            return true;
        }
        done.pop();
    }
    false
}

fn explains(all: &[Operation<'_>], order: &[usize]) -> bool {
    let (mut value, mut revision) = (Json::Null, 0);
    for operation in order.iter().map(|position| &all[*position]) {
        let at = operation.revision().expect("all were answered");
        if operation.f() == "write" {
            if at <= revision {
                return false;
            }
            value = operation.input()[1].clone();
        } else if at < revision || operation.output().is_some_and(|output| output[1] != value) {
            return false;
        }
        revision = at;
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_witness_is_accepted_exactly_when_trying_every_order_finds_it(drawn in drawn()) {
        let story = as_story(&drawn);
        let all = operations(&story.ops);
        let accepted = verdict(&story, &[]).valid == Validity::Valid;
        prop_assert_eq!(accepted, some_order_does(&all, &mut Vec::new()), "{:?}", drawn);
    }
}
