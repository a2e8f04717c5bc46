//! Lives of snapshots, good and bad.

use super::super::fates::by_hand::fates;
use super::super::witness;
use super::*;
use crate::operation::by_hand::Story;
use crate::verdict::Validity;

fn id(revision: u64) -> String {
    id_of(revision)
}

/// A snapshot is made, pinned, unpinned, dropped; an image is committed, another aborted.
fn good() -> Story {
    let mut story = Story::default();
    story.done(0, "create-snapshot", json!([1, "s"]), json!([1, "s", id(1)]), 1);
    story.done(1, "list-snapshots", json!([1, null]), json!([1, [[id(1), "s", "pending", 0]]]), 1);
    story.done(0, "pin-snapshot", json!([1, id(1)]), json!([1, id(1), 99]), 3);
    story.done(1, "list-snapshots", json!([1, null]), json!([1, [[id(1), "s", "committed", 1]]]), 3);
    story
        .invoke(2, "drop-snapshot", json!([1, id(1)]))
        .fail(2, "drop-snapshot", json!([1, id(1)]), "refused: precondition_failed: pinned");
    story.done(0, "unpin-snapshot", json!([1, id(1), 99]), json!([1, id(1), 99, true]), 4);
    story.done(2, "drop-snapshot", json!([1, id(1)]), json!([1, id(1), true]), 5);
    story.done(0, "unpin-snapshot", json!([1, id(1), 99]), json!([1, id(1), 99, false]), 5);
    story.done(2, "drop-snapshot", json!([1, id(1)]), json!([1, id(1), false]), 5);
    story.done(3, "begin-image", json!([7, "i"]), json!([7, "i", id(6)]), 6);
    story.done(3, "commit-image", json!([7, id(6)]), json!([7, id(6)]), 7);
    story
        .invoke(4, "abort-image", json!([7, id(6)]))
        .fail(4, "abort-image", json!([7, id(6)]), "refused: doris 1001: committed");
    story.done(1, "list-images", json!([7, null]), json!([7, [[id(6), "i", "committed", 0]]]), 7);
    story.done(3, "drop-image", json!([7, id(6)]), json!([7, id(6)]), 8);
    story.done(1, "list-images", json!([7, null]), json!([7, []]), 8);
    story
}

fn both(story: &Story) -> (Verdict, Verdict) {
    let witness = witness::check("witness", &SnapshotRules, &story.ops, Ok(&fates(&[])));
    (witness, check(&story.ops))
}

/// The replay and the look at values both find it, each in its words.
fn assert_invalid(story: &Story, by_revision: &str, by_values: &str) {
    let (witness, values) = both(story);
    assert_eq!(
        (witness.valid, values.valid),
        (Validity::Invalid, Validity::Invalid),
        "{} | {}",
        witness.what,
        values.what
    );
    assert!(witness.what.contains(by_revision), "{}", witness.what);
    assert!(values.what.contains(by_values), "{}", values.what);
}

#[test]
fn a_pin_is_refused_until_the_reconciler_has_committed_whatever_is_listed_afterwards() {
    let told = |listed: &str| {
        let mut story = Story::default();
        story.done(0, "create-snapshot", json!([1, "s"]), json!([1, "s", id(1)]), 1);
        if !listed.is_empty() {
            story.done(0, "list-snapshots", json!([1, null]), json!([1, [[id(1), "s", listed, 0]]]), 1);
        }
        story
            .invoke(1, "pin-snapshot", json!([1, id(1)]))
            .fail(1, "pin-snapshot", json!([1, id(1)]), "refused: not_found: it is PENDING");
        story.done(1, "list-snapshots", json!([1, null]), json!([1, [[id(1), "s", "committed", 0]]]), 2);
        story.done(0, "create-snapshot", json!([1, "t"]), json!([1, "t", id(3)]), 3);
        both(&story).0.valid
    };
    assert_eq!(
        (told(""), told("pending"), told("committed")),
        (Validity::Valid, Validity::Valid, Validity::Invalid)
    );
}

#[test]
fn good_lives_pass_and_no_lives_prove_nothing() {
    let (witness, values) = both(&good());
    assert_eq!(
        (witness.valid, values.valid),
        (Validity::Valid, Validity::Valid),
        "{} | {}",
        witness.what,
        values.what
    );
    assert_eq!(check(&[]).valid, Validity::Unknown);
}

#[test]
fn what_was_dropped_does_not_come_back() {
    let mut story = good();
    story.done(1, "list-snapshots", json!([1, null]), json!([1, [[id(1), "s", "committed", 0]]]), 9);
    assert_invalid(&story, "there was no such snapshot", "which had been dropped");
}

#[test]
fn a_state_does_not_go_back() {
    let mut story = good();
    story.ops.truncate(8);
    story.done(1, "list-snapshots", json!([1, null]), json!([1, [[id(1), "s", "pending", 1]]]), 3);
    assert_invalid(&story, "is listed as", "it had been committed");
}

#[test]
fn what_is_pinned_is_not_dropped() {
    let mut story = good();
    story.ops.truncate(8);
    story.done(2, "drop-snapshot", json!([1, id(1)]), json!([1, id(1), true]), 5);
    assert_invalid(&story, "1 pins held it", "was done while");
}

#[test]
fn of_commit_and_abort_one_wins() {
    let mut story = good();
    story.ops.truncate(22);
    story.done(4, "abort-image", json!([7, id(6)]), json!([7, id(6)]), 8);
    story.done(1, "list-images", json!([7, null]), json!([7, [[id(6), "i", "aborted", 0]]]), 8);
    assert_invalid(&story, "it was committed", "were both acknowledged");
}

#[test]
fn an_image_that_is_committed_may_be_committed_again_and_one_that_is_aborted_not() {
    let mut again = good();
    again.ops.truncate(22);
    again.done(4, "commit-image", json!([7, id(6)]), json!([7, id(6)]), 8);
    again.done(1, "list-images", json!([7, null]), json!([7, [[id(6), "i", "committed", 0]]]), 8);
    let (witness, values) = both(&again);
    assert_eq!(
        (witness.valid, values.valid),
        (Validity::Valid, Validity::Valid),
        "{} | {}",
        witness.what,
        values.what
    );
    let mut aborted = good();
    aborted.ops.truncate(20);
    aborted.done(4, "abort-image", json!([7, id(6)]), json!([7, id(6)]), 7);
    aborted.done(3, "commit-image", json!([7, id(6)]), json!([7, id(6)]), 8);
    assert_invalid(&aborted, "it was aborted", "were both acknowledged");
}

#[test]
fn an_id_is_given_out_once_and_a_drop_is_done_once() {
    let mut twice = good();
    twice.done(0, "create-snapshot", json!([1, "t"]), json!([1, "t", id(1)]), 9);
    assert_invalid(&twice, "its id is", "both made");
    let mut dropped = good();
    dropped.done(2, "drop-snapshot", json!([1, id(1)]), json!([1, id(1), true]), 9);
    assert_invalid(&dropped, "there was no such snapshot", "both dropped it");
}

#[test]
fn a_refusal_and_a_count_of_pins_must_be_true() {
    let mut refused = good();
    refused.ops.truncate(4);
    refused.invoke(2, "drop-snapshot", json!([1, id(1)])).fail(
        2,
        "drop-snapshot",
        json!([1, id(1)]),
        "refused: precondition_failed: pinned",
    );
    assert_eq!(both(&refused).0.valid, Validity::Invalid, "nobody had pinned it");
    let mut counted = good();
    counted.ops.truncate(6);
    counted.done(1, "list-snapshots", json!([1, null]), json!([1, [[id(1), "s", "committed", 2]]]), 3);
    assert_eq!(both(&counted).0.valid, Validity::Invalid);
}

/// Album 7 has the mark 5 when its image is begun, and 6 when it is cloned.
fn cloned() -> Story {
    let mut story = good();
    story.done(0, "mark-album", json!([7, 5]), json!([7, 5]), 11);
    story.done(3, "begin-image", json!([7, "j"]), json!([7, "j", id(12)]), 12);
    story.done(0, "mark-album", json!([7, 6]), json!([7, 6]), 13);
    story.done(3, "commit-image", json!([7, id(12)]), json!([7, id(12)]), 14);
    story.done(3, "clone-image", json!([7, id(12), "c"]), json!([7, id(12), "c"]), 15);
    story
}

#[test]
fn a_clone_shows_its_image_and_holds_it_until_it_is_dropped_and_collected() {
    let mut story = cloned();
    let drop_image = json!([7, id(12)]);
    story.done(1, "read-clone", json!(["c", null]), json!(["c", 5]), 15);
    story
        .invoke(2, "drop-image", drop_image.clone())
        .fail(2, "drop-image", drop_image.clone(), "refused: doris 1001: referenced");
    story.done(0, "drop-clone", json!(["c", id(12)]), json!(["c", id(12)]), 16);
    story
        .invoke(1, "read-clone", json!(["c", null]))
        .fail(1, "read-clone", json!(["c", null]), "refused: not_found: dropped");
    story
        .invoke(2, "drop-image", drop_image.clone())
        .fail(2, "drop-image", drop_image.clone(), "refused: doris 1001: referenced");
    story.done(2, "drop-image", drop_image.clone(), drop_image.clone(), 17);
    story.invoke(3, "clone-image", json!([7, id(12), "d"])).fail(
        3,
        "clone-image",
        json!([7, id(12), "d"]),
        "refused: doris 1001: not found",
    );
    let (witness, values) = both(&story);
    assert_eq!(
        (witness.valid, values.valid),
        (Validity::Valid, Validity::Valid),
        "{} | {}",
        witness.what,
        values.what
    );
}

#[test]
fn an_image_that_goes_under_its_clone_is_found() {
    let mut story = cloned();
    story.done(2, "drop-image", json!([7, id(12)]), json!([7, id(12)]), 16);
    assert_invalid(&story, "read through it", "while the clone of");
}

#[test]
fn a_clone_that_shows_another_mark_or_lives_on_is_found() {
    let mut newer = cloned();
    newer.done(1, "read-clone", json!(["c", null]), json!(["c", 6]), 15);
    let (witness, _) = both(&newer);
    assert!(witness.what.contains("shows 6, its image was begun with 5"), "{}", witness.what);
    let mut changing = cloned();
    changing.done(1, "read-clone", json!(["c", null]), json!(["c", 5]), 15);
    changing.done(1, "read-clone", json!(["c", null]), json!(["c", 6]), 15);
    assert_invalid(&changing, "shows 6", "it had shown 5");
    let mut lives_on = cloned();
    lives_on.done(0, "drop-clone", json!(["c", id(12)]), json!(["c", id(12)]), 16);
    lives_on.done(1, "read-clone", json!(["c", null]), json!(["c", 5]), 16);
    assert_invalid(&lives_on, "there was no such clone", "reads what had been dropped");
}

#[test]
fn a_clone_of_what_was_not_committed_and_a_refusal_without_a_reason_are_found() {
    let mut early = good();
    early.done(3, "begin-image", json!([7, "j"]), json!([7, "j", id(12)]), 12);
    early.done(3, "clone-image", json!([7, id(12), "c"]), json!([7, id(12), "c"]), 13);
    assert!(both(&early).0.what.contains("it was pending"), "{}", both(&early).0.what);
    let mut refused = cloned();
    refused
        .invoke(1, "read-clone", json!(["c", null]))
        .fail(1, "read-clone", json!(["c", null]), "refused: not_found: no such instance");
    assert!(both(&refused).0.what.contains("not so in any state"), "{}", both(&refused).0.what);
}
