use super::*;
use crate::operation::by_hand::Story;
use crate::verdict::Validity;

/// Elements 10, 20, 30 and 40 of set 1 are there.
fn four() -> Story {
    let mut story = Story::default();
    for element in [10, 20, 30, 40] {
        add(&mut story, element);
    }
    story
}

fn add(story: &mut Story, element: u64) {
    story.done(0, "add", json!([1, element]), json!([1, element]), element);
}

fn remove(story: &mut Story, element: u64) {
    story.done(0, "remove", json!([1, element]), json!([1, element]), 50);
}

fn page(story: &mut Story, node: &str, after: Option<u64>, found: &[u64], more: bool) {
    story.done(9, "page", json!([1, 7, after]), json!([1, found, more]), 60).at(node);
}

fn assert_valid(story: &Story) {
    let verdict = check(&story.ops);
    assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
}

fn assert_invalid(story: &Story, rule: &str) {
    let verdict = check(&story.ops);
    assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
    assert!(verdict.what.contains(rule), "{}", verdict.what);
}

#[test]
fn what_stays_is_on_one_page_and_what_comes_and_goes_may_be() {
    let mut story = four();
    page(&mut story, "n1", None, &[10, 20], true);
    add(&mut story, 15);
    add(&mut story, 35);
    remove(&mut story, 10);
    remove(&mut story, 30);
    page(&mut story, "n2", Some(20), &[35, 40], false);
    story.last().term = Some(2);
    assert_valid(&story);
    let details = check(&story.ops).details;
    assert_eq!(
        (
            &details["whole"],
            &details["through_several_nodes"],
            &details["through_several_terms"]
        ),
        (&json!(1), &json!(1), &json!(1))
    );
}

#[test]
fn what_is_on_no_page_is_lost() {
    let mut story = four();
    page(&mut story, "n1", None, &[10, 20], true);
    page(&mut story, "n2", Some(20), &[40], false);
    assert_invalid(&story, "30 is lost");
    let mut early = four();
    page(&mut early, "n1", None, &[10, 20], true);
    page(&mut early, "n2", Some(20), &[30], false);
    assert_invalid(&early, "40 is lost");
    let mut unfinished = four();
    page(&mut unfinished, "n1", None, &[10, 30], true);
    assert_invalid(&unfinished, "20 is lost");
}

#[test]
fn what_is_on_two_pages_is_found() {
    let mut story = four();
    page(&mut story, "n1", None, &[10, 20], true);
    page(&mut story, "n2", Some(20), &[20, 30], true);
    assert_invalid(&story, "20 stands behind Some(20)");
}

#[test]
fn what_was_dropped_before_is_on_no_page() {
    let mut story = four();
    remove(&mut story, 20);
    page(&mut story, "n1", None, &[10, 20], true);
    page(&mut story, "n2", Some(20), &[30, 40], false);
    assert_invalid(&story, "20 came back");
    let mut meanwhile = four();
    page(&mut meanwhile, "n1", None, &[10, 20], true);
    remove(&mut meanwhile, 30);
    page(&mut meanwhile, "n2", Some(20), &[30, 40], false);
    assert_invalid(&meanwhile, "30 came back");
}

#[test]
fn a_page_that_leaves_one_out_and_a_token_that_is_refused_are_found() {
    let mut story = four();
    page(&mut story, "n1", None, &[10, 20], true);
    page(&mut story, "n2", Some(30), &[40], false);
    assert_invalid(&story, "the page before ended with Some(20)");
    let mut refused = four();
    page(&mut refused, "n1", None, &[10, 20], true);
    let input = json!([1, 7, 20]);
    refused
        .invoke(9, "page", input.clone())
        .fail(9, "page", input, "invalid_argument: page token is malformed");
    assert_invalid(&refused, "was refused");
}

#[test]
fn a_walk_that_one_node_served_or_that_did_not_end_proves_nothing() {
    let mut one_node = four();
    page(&mut one_node, "n1", None, &[10, 20], true);
    page(&mut one_node, "n1", Some(20), &[30, 40], false);
    assert_eq!(check(&one_node.ops).valid, Validity::Unknown);
    let mut unfinished = four();
    page(&mut unfinished, "n1", None, &[10, 20], true);
    page(&mut unfinished, "n2", Some(20), &[30], true);
    assert_eq!(check(&unfinished.ops).valid, Validity::Unknown);
    assert_eq!(check(&four().ops).valid, Validity::Unknown);
}
