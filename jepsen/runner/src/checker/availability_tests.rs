//! Times without service, allowed and not.

use super::*;
use crate::history::{Kind as OpKind, NemesisMark, Process};
use crate::operation::by_hand::Story;
use crate::verdict::Validity;

fn asked(profile: &str, nodes: usize, nemeses: &[&str]) -> Asked {
    Asked {
        nodes,
        seconds: 60,
        profile: profile.to_owned(),
        ..Asked::by_hand(nemeses)
    }
}

fn fault(story: &mut Story, f: &str, at_ms: u64, nodes: &[&str], cuts: &[[&str; 2]]) {
    story.invoke(0, f, json!({"status": "installed", "mode": "one", "nodes": nodes, "cuts": cuts}));
    let last = story.last();
    last.process = Process::Nemesis(NemesisMark::Nemesis);
    (last.kind, last.time) = (OpKind::Info, at_ms * MS);
}

/// A read and a write that begin then and end a millisecond later.
fn tries(story: &mut Story, at_ms: u64, succeed: bool) {
    let session = at_ms + 1;
    for (f, input) in [("read", json!([1, null])), ("write", json!([1, 2]))] {
        story.invoke(1, f, input.clone()).last().time = at_ms * MS;
        match succeed {
            true => story.ok(1, f, json!([1, 2]), 1),
            false => story.fail(1, f, input, "timeout"),
        };
        if f == "write" {
            story.under(session, 1);
        }
        story.last().time = (at_ms + 1) * MS;
    }
}

/// Tries all the time, which succeed but for a span.
fn load(story: &mut Story, from_ms: u64, until_ms: u64, without: std::ops::Range<u64>) {
    for at_ms in (from_ms..until_ms).step_by(250) {
        tries(story, at_ms, !without.contains(&at_ms));
    }
}

fn assert_late(story: &Story, asked: &Asked, rule: &str) {
    let verdict = check(&story.ops, Ok(Vec::new()), asked);
    assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
    assert!(verdict.what.contains(rule), "{}", verdict.what);
}

fn assert_valid(story: &Story, asked: &Asked) {
    let verdict = check(&story.ops, Ok(Vec::new()), asked);
    assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
}

/// The leader is paused from second 2 to second 20; nothing succeeds from then on for so long.
fn pause(silent_ms: u64) -> Story {
    let mut story = Story::default();
    load(&mut story, 0, 2_000, 0..0);
    fault(&mut story, "begin-pause", 2_000, &[], &[]);
    fault(&mut story, "start-pause", 2_100, &["n1"], &[]);
    load(&mut story, 2_200, 20_000, 2_100..2_100 + silent_ms);
    fault(&mut story, "stop-pause", 20_000, &[], &[]);
    load(&mut story, 20_100, 30_000, 0..0);
    story
}

#[test]
fn a_majority_serves_while_the_fault_lasts_within_a_bound_that_the_profile_decides() {
    assert_valid(&pause(8_000), &asked("wan", 3, &["pause"]));
    assert_late(&pause(10_000), &asked("wan", 3, &["pause"]), "allowed are 9000 ms");
    assert_late(&pause(8_000), &asked("lan", 3, &["pause"]), "allowed are 3960 ms");
    assert_valid(&pause(3_000), &asked("lan", 3, &["pause"]));
}

#[test]
fn a_fault_that_ends_gives_no_further_time_and_one_that_is_done_does() {
    let story = |f: &str, nodes: &[&str]| {
        let mut story = Story::default();
        load(&mut story, 0, 1_000, 0..0);
        fault(&mut story, "start-kill", 1_000, &["n1"], &[]);
        load(&mut story, 1_100, 6_000, 0..6_000);
        fault(&mut story, f, 6_000, nodes, &[]);
        load(&mut story, 6_100, 11_500, 0..11_500);
        load(&mut story, 11_500, 30_000, 0..0);
        story
    };
    assert_late(&story("stop-kill", &[]), &asked("wan", 3, &["kill"]), "n2, n3 were whole");
    assert_valid(&story("start-pause", &["n1"]), &asked("wan", 3, &["kill", "pause"]));
}

#[test]
fn without_a_majority_that_is_whole_nothing_is_promised() {
    let silent = |f: &str, nodes: &[&str], cuts: &[[&str; 2]]| {
        let mut story = Story::default();
        load(&mut story, 0, 1_000, 0..0);
        fault(&mut story, f, 1_000, nodes, cuts);
        load(&mut story, 1_100, 30_000, 0..30_000);
        story
    };
    let three = asked("wan", 3, &[]);
    assert_valid(&silent("start-kill", &["n1", "n2"], &[]), &three);
    assert_valid(
        &silent("start-partition", &["n1"], &[["n1", "n2"], ["n2", "n3"], ["n3", "n1"]]),
        &three,
    );
    let clients = [["clients", "n1"], ["clients", "n2"], ["n3", "clients"]];
    assert_valid(&silent("start-partition", &[], &clients), &three);
    assert_valid(&silent("start-partition", &["n1"], &[]), &three);
    assert_valid(&silent("start-fsync", &["n1"], &[]), &three);
    assert_late(&silent("start-partition", &[], &clients[..1]), &three, "no read succeeded");
}

/// Five nodes, of which the first two and the last two do not hear each other, from second 1 on.
fn bridge(silent_ms: u64) -> Story {
    let mut story = Story::default();
    load(&mut story, 0, 1_000, 0..0);
    let cuts = [["n1", "n4"], ["n1", "n5"], ["n2", "n4"], ["n2", "n5"]];
    fault(&mut story, "start-partition", 1_000, &[], &cuts);
    load(&mut story, 1_100, 30_000, 1_000..1_000 + silent_ms);
    story
}

#[test]
fn a_bridge_gives_more_time_and_not_more() {
    let five = asked("wan", 5, &["partition:bridge"]);
    assert_valid(&bridge(14_000), &five);
    assert_late(&bridge(16_000), &five, "allowed are 15000 ms");
}

#[test]
fn a_bridge_that_ends_gives_its_time_also_when_another_fault_was_on_its_way() {
    let cuts = [["n1", "n4"], ["n1", "n5"], ["n2", "n4"], ["n2", "n5"]];
    let story = |silent_ms: u64| {
        let mut story = Story::default();
        load(&mut story, 0, 1_000, 0..0);
        fault(&mut story, "start-partition", 1_000, &[], &cuts);
        fault(&mut story, "begin-pause", 1_500, &[], &[]);
        fault(&mut story, "stop-partition", 2_000, &[], &[]);
        fault(&mut story, "start-pause", 2_100, &["n3"], &[]);
        load(&mut story, 2_200, 30_000, 2_000..2_100 + silent_ms);
        story
    };
    let five = asked("wan", 5, &["partition:bridge", "pause"]);
    assert_valid(&story(14_000), &five);
    assert_late(&story(16_000), &five, "allowed are 15000 ms");
}

#[test]
fn nodes_that_must_start_get_time_for_it() {
    let story = |silent_ms: u64| {
        let mut story = Story::default();
        load(&mut story, 0, 1_000, 0..0);
        fault(&mut story, "start-kill", 1_000, &["n1", "n2", "n3"], &[]);
        load(&mut story, 1_100, 3_000, 0..3_000);
        fault(&mut story, "stop-kill", 3_000, &[], &[]);
        load(&mut story, 3_100, 30_000, 0..3_000 + silent_ms);
        story
    };
    assert_valid(&story(10_500), &asked("wan", 3, &["kill"]));
    assert_late(&story(11_500), &asked("wan", 3, &["kill"]), "allowed are 11000 ms");
}

#[test]
fn a_workload_that_has_nothing_to_write_is_not_one_that_cannot() {
    let mut story = pause(0);
    let from = 2_100 * MS;
    story.ops.retain(|op| op.f != "write" || op.time < from || op.time > 19_000 * MS);
    assert_valid(&story, &asked("wan", 3, &["pause"]));
}

#[test]
fn where_no_time_was_left_nothing_was_measured() {
    let mut story = Story::default();
    fault(&mut story, "start-kill", 1_000, &["n1"], &[]);
    tries(&mut story, 1_500, false);
    assert_eq!(
        check(&story.ops, Ok(Vec::new()), &asked("wan", 3, &["kill"])).valid,
        Validity::Unknown
    );
}

#[test]
fn quiet_spans_are_those_without_harm() {
    let story = pause(0);
    assert_eq!(windows::quiet_spans(&story.ops), [(0, 2_000 * MS), (20_000 * MS, 29_851 * MS)]);
}

#[test]
fn a_quiet_span_is_settled_when_writes_have_been_served_again_for_a_while() {
    let story = pause(0);
    let spans = settled_spans(&story.ops, &operations(&story.ops));
    assert_eq!(spans, [(1_001 * MS, 2_000 * MS), (21_101 * MS, 29_851 * MS)]);
    assert!(settled_spans(&story.ops, &[]).is_empty(), "nobody wrote");
}

#[test]
fn what_a_node_answers_by_itself_is_no_sign_of_a_majority() {
    let mut story = Story::default();
    for f in STALE_READS {
        story.done(0, f, json!([1, null]), json!([1, 2]), 1);
    }
    assert_eq!(Kind::of(&operations(&story.ops), false).first_success(0), None);
    story.done(0, "read", json!([1, null]), json!([1, 2]), 1);
    assert!(Kind::of(&operations(&story.ops), false).first_success(0).is_some());
}

#[test]
fn it_is_told_how_often_the_bound_was_asked_and_how_often_under_a_fault() {
    let asked_of = |story: &Story, asked: &Asked| {
        let details = check(&story.ops, Ok(Vec::new()), asked).details;
        (details["demanded"].clone(), details["demanded_under_a_fault"].clone())
    };
    // From second 2 on two nodes of three are whole under the pause; all three are from second 20 on.
    assert_eq!(asked_of(&pause(0), &asked("wan", 3, &["pause"])), (json!(2), json!(1)));
    let mut short = pause(0);
    short.ops.retain(|op| op.time < 10_000 * MS);
    assert_eq!(asked_of(&short, &asked("wan", 3, &["pause"])), (json!(0), json!(0)));
    let late = pause(10_000);
    assert_eq!(demanded(&late.ops, &operations(&late.ops), &asked("wan", 3, &["pause"])), None);
}

#[test]
fn load_that_goes_on_for_the_longest_bound_after_the_last_fault_asks_it() {
    for profile in ["lan", "wan"] {
        for (nodes, nemeses) in [(3, vec!["kill"]), (5, vec!["partition", "power"]), (7, vec!["membership"])] {
            let asked = asked(profile, nodes, &nemeses);
            let bound_ms = longest_bound(&asked).as_millis() as u64;
            let mut story = Story::default();
            load(&mut story, 0, 1_000, 0..0);
            let names: Vec<String> = (1..=nodes).map(|node| format!("n{node}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            fault(&mut story, "start-kill", 1_000, &names, &[]);
            fault(&mut story, "stop-kill", 3_000, &[], &[]);
            load(&mut story, 3_100, 3_600 + bound_ms, 0..0);
            assert_eq!(demanded(&story.ops, &operations(&story.ops), &asked), Some(1), "{profile} {nodes}");
        }
    }
}

/// Probes at all times, which are answered but for a span.
fn probed(until_ms: u64, without: std::ops::Range<u64>) -> Vec<Probe> {
    let at = |begun_ms: u64| {
        [probes::Kind::Read, probes::Kind::Write].map(|kind| Probe {
            kind,
            node: "n2".to_owned(),
            begun: begun_ms * MS,
            ended: (begun_ms + 1) * MS,
            error: without.contains(&begun_ms).then(|| "timeout".to_owned()),
        })
    };
    (0..until_ms).step_by(100).flat_map(at).collect()
}

#[test]
fn probes_must_be_served_within_little_more_than_the_election() {
    // Clients are served from second 4 on, the probes from then on that is said.
    let verdict = |profile: &str, silent_ms: u64| {
        let probed = probed(30_000, 2_100..2_100 + silent_ms);
        let asked = Asked {
            probed: true,
            ..asked(profile, 3, &["pause"])
        };
        check(&pause(2_000).ops, Ok(probed), &asked)
    };
    let kept = verdict("lan", 1_300);
    assert_eq!(kept.valid, Validity::Valid, "{}", kept.what);
    assert!(kept.what.contains("probes again within 1301 ms; 3 times"), "{}", kept.what);
    assert_eq!(kept.details["probes"]["demanded_under_a_fault"], 1);
    let late = verdict("lan", 1_500);
    assert_eq!(late.valid, Validity::Invalid, "{}", late.what);
    assert!(
        late.what
            .contains("of probes, the first read succeeded after 1501 ms, allowed are 1460 ms"),
        "{}",
        late.what
    );
    assert_eq!(verdict("wan", 6_000).valid, Validity::Valid);
    assert_eq!(verdict("wan", 7_000).valid, Validity::Invalid);
}

#[test]
fn probes_that_cannot_be_read_prove_nothing() {
    let verdict = check(
        &pause(0).ops,
        Err("probes.jsonl:7: what is this".to_owned()),
        &asked("wan", 3, &["pause"]),
    );
    assert_eq!(
        (verdict.valid, verdict.what.as_str()),
        (Validity::Unknown, "probes.jsonl:7: what is this")
    );
}
