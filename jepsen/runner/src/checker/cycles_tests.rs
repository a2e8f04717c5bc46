//! Histories of lists, good and bad, and a comparison with trying every order.

use super::*;
use crate::operation::by_hand::Story;
use crate::verdict::Validity;
use proptest::prelude::*;
use serde_json::json;

fn append(key: u64, value: u64) -> Json {
    json!(["append", key, value])
}

fn read(key: u64, list: &[u64]) -> Json {
    json!(["r", key, list])
}

/// A transaction that nothing overlaps.
fn done(story: &mut Story, process: u64, micro_operations: &[Json]) {
    story.done(process, "txn", json!(micro_operations), json!(micro_operations), 1);
}

/// Transactions that all overlap each other.
fn at_once(transactions: &[&[Json]]) -> Story {
    let mut story = Story::default();
    for (process, transaction) in (0..).zip(transactions) {
        story.invoke(process, "txn", json!(transaction));
    }
    for (process, transaction) in (0..).zip(transactions) {
        story.ok(process, "txn", json!(transaction), 1);
    }
    story
}

fn assert_invalid(story: &Story, rule: &str) {
    let verdict = check(&story.ops);
    assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
    assert!(verdict.what.contains(rule), "{}", verdict.what);
}

fn good() -> Story {
    let mut story = Story::default();
    done(&mut story, 0, &[append(1, 10), append(2, 20)]);
    done(&mut story, 1, &[read(1, &[10]), append(2, 21)]);
    done(&mut story, 2, &[append(1, 11), read(1, &[10, 11]), read(2, &[20, 21])]);
    story
}

#[test]
fn a_good_history_has_one_order() {
    let verdict = check(&good().ops);
    assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
    assert_eq!(check(&[]).valid, Validity::Unknown);
}

#[test]
fn a_stale_read_is_a_cycle_with_real_time() {
    let mut story = good();
    done(&mut story, 3, &[read(1, &[10])]);
    assert_invalid(&story, "G-single-realtime");
}

#[test]
fn a_lost_append_is_a_cycle_when_its_list_is_read_later() {
    let mut story = good();
    done(&mut story, 3, &[append(1, 12)]);
    assert_eq!(check(&story.ops).valid, Validity::Valid, "nobody has looked yet");
    done(&mut story, 3, &[read(1, &[10, 11])]);
    assert_invalid(&story, "G-single-realtime");
}

#[test]
fn an_append_that_was_applied_twice_is_seen_in_the_list() {
    let mut story = good();
    done(&mut story, 3, &[read(2, &[20, 21, 21])]);
    assert_invalid(&story, "applied twice");
}

#[test]
fn two_that_saw_each_other_are_g1c() {
    let first = [append(1, 10), read(2, &[20])];
    let second = [append(2, 20), read(1, &[10])];
    assert_invalid(&at_once(&[&first, &second]), "G1c");
}

#[test]
fn half_of_a_transaction_is_g_single() {
    let writer = [append(1, 10), append(2, 20)];
    let reader = [read(1, &[10]), read(2, &[])];
    let last = [read(1, &[10]), read(2, &[20])];
    assert_invalid(&at_once(&[&writer, &reader, &last]), "G-single");
}

#[test]
fn two_that_missed_each_other_are_g2() {
    let first = [append(1, 10), read(2, &[])];
    let second = [append(2, 20), read(1, &[])];
    let last = [read(1, &[10]), read(2, &[20])];
    assert_invalid(&at_once(&[&first, &second, &last]), "G2");
}

#[test]
fn lists_that_disagree_about_the_order_are_found() {
    let (ten, eleven) = ([append(1, 10)], [append(1, 11)]);
    assert_invalid(
        &at_once(&[&ten, &eleven, &[read(1, &[10, 11])], &[read(1, &[11])]]),
        "incompatible order",
    );
}

#[test]
fn what_failed_or_was_appended_by_nobody_must_not_be_read() {
    let mut failed = good();
    failed
        .invoke(3, "txn", json!([append(1, 12)]))
        .fail(3, "txn", json!([append(1, 12)]), "no_leader: nobody");
    assert_eq!(check(&failed.ops).valid, Validity::Valid);
    done(&mut failed, 3, &[read(1, &[10, 11, 12])]);
    assert_invalid(&failed, "G1a");
    let mut phantom = good();
    done(&mut phantom, 3, &[read(1, &[10, 11, 13])]);
    assert_invalid(&phantom, "appended by nobody");
}

#[test]
fn what_was_not_answered_counts_when_it_is_seen() {
    let mut story = good();
    story
        .invoke(3, "txn", json!([append(1, 12), append(2, 22)]))
        .info(3, "txn", json!([append(1, 12), append(2, 22)]));
    done(&mut story, 4, &[read(1, &[10, 11])]);
    assert_eq!(check(&story.ops).valid, Validity::Valid, "it may be late, or never come");
    done(&mut story, 4, &[read(1, &[10, 11, 12]), read(2, &[20, 21, 22])]);
    assert_eq!(check(&story.ops).valid, Validity::Valid);
    done(&mut story, 4, &[read(1, &[10, 11])]);
    assert_invalid(&story, "G-single-realtime");
}

#[test]
fn a_transaction_sees_its_own_append() {
    let mut story = Story::default();
    done(&mut story, 0, &[append(1, 10), read(1, &[])]);
    assert_invalid(&story, "internal");
}

/// A transaction on two lists: what it appends, and how many values it reads of a list whose values are numbered in order.
#[derive(Clone, Debug)]
struct Drawn {
    appends_to: Option<u64>,
    reads: Vec<(u64, usize)>,
    from: u64,
    length: u64,
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let reads = prop::collection::vec((0u64..2, 0usize..4), 0..3);
    let one = (prop::option::of(0u64..2), reads, 0u64..6, 1u64..4).prop_map(|(appends_to, reads, from, length)| Drawn {
        appends_to,
        reads,
        from,
        length,
    });
    prop::collection::vec(one, 1..5)
}

/// Lists are read as prefixes of one order, so that what is compared is the search for cycles.
fn as_story(drawn: &[Drawn]) -> Story {
    let mut order: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (position, one) in (0..).zip(drawn) {
        if let Some(key) = one.appends_to {
            order.entry(key).or_default().push(position);
        }
    }
    let micro_operations = |position: usize| {
        let one = &drawn[position];
        let mut all: Vec<Json> = one.appends_to.map(|key| append(key, position as u64)).into_iter().collect();
        for (key, count) in one.reads.iter().filter(|(key, _)| one.appends_to != Some(*key)) {
            let list = order.get(key).cloned().unwrap_or_default();
            all.push(read(*key, &list[..(*count).min(list.len())]));
        }
        json!(all)
    };
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (position, one) in drawn.iter().enumerate() {
        events.push((one.from * 2, true, position));
        events.push(((one.from + one.length) * 2 - 1, false, position));
    }
    events.sort();
    let mut story = Story::default();
    for (_, begins, position) in events {
        match begins {
            true => story.invoke(position as u64, "txn", micro_operations(position)),
            false => story.ok(position as u64, "txn", micro_operations(position), 1),
        };
    }
    story
}

fn some_order_does(all: &[Transaction<'_>], done: &mut Vec<usize>) -> bool {
    if done.len() == all.len() {
        return explains(all, done);
    }
    for next in 0..all.len() {
        let comes_too_early =
            |other: usize| !done.contains(&other) && other != next && all[other].operation.to() < all[next].operation.from();
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

fn explains(all: &[Transaction<'_>], order: &[usize]) -> bool {
    let mut state: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
    for transaction in order.iter().map(|position| &all[*position]) {
        for (key, value) in &transaction.appends {
            state.entry(*key).or_default().push(*value);
        }
        if transaction
            .reads
            .iter()
            .any(|(key, list)| state.get(key).map_or(&[][..], Vec::as_slice) != list.as_slice())
        {
            return false;
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_cycle_exactly_when_trying_every_order_finds_one(drawn in drawn()) {
        let story = as_story(&drawn);
        let all = transactions(&story.ops);
        let accepted = check(&story.ops).valid == Validity::Valid;
        prop_assert_eq!(accepted, some_order_does(&all, &mut Vec::new()), "{:?}", drawn);
    }
}
