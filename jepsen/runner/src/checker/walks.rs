//! Walks through a set, page by page, through changing nodes and leaders, by values and real time alone.
//!
//! What was there all through a walk is on exactly one of its pages; what was dropped before the walk began is on none; what came
//! or went meanwhile may be on one. The same holds of each page, for the elements from the end of the one before to its own. Pages
//! go up, none is skipped, and a token that one node has given is good at every other.

use super::set_full::{Broken, Elements, Shown, check_shown, known};
use crate::history::Op;
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "walks";
/// How the error of a page begins whose token was not taken.
const NO_SUCH_PAGE: &str = "invalid_argument";

pub fn check(history: &[Op]) -> Verdict {
    let all = operations(history);
    let pages = || all.iter().filter(|operation| operation.f() == "page");
    let is_refused = |page: &&Operation<'_>| page.error().is_some_and(|error| error.starts_with(NO_SUCH_PAGE));
    if let Some(page) = pages().find(is_refused) {
        let what = format!("{} was refused: {}", page.name(), page.error().unwrap_or_default());
        return Verdict::invalid(NAME, Some(page.from()), what);
    }
    let mut walks: BTreeMap<u64, Vec<&Operation<'_>>> = BTreeMap::new();
    for page in pages().filter(|page| page.is_ok()) {
        walks.entry(page.input()[1].as_u64().unwrap_or(u64::MAX)).or_default().push(page);
    }
    let elements = known(&all);
    for walk in walks.values() {
        if let Err((index, what)) = check_walk(&elements, walk) {
            return Verdict::invalid(NAME, Some(index), what);
        }
    }
    let whole: Vec<&Vec<&Operation<'_>>> = walks.values().filter(|walk| has_ended(walk)).collect();
    let through = |of: fn(&Operation<'_>) -> Option<String>| {
        let several = |walk: &&&Vec<&Operation<'_>>| walk.iter().filter_map(|page| of(page)).collect::<BTreeSet<String>>().len() > 1;
        whole.iter().filter(several).count()
    };
    let through_nodes = through(|page| page.node().map(str::to_owned));
    let through_terms = through(|page| page.term().map(|term| term.to_string()));
    let details = json!({
        "begun": walks.len(), "whole": whole.len(), "through_several_nodes": through_nodes, "through_several_terms": through_terms,
    });
    let what = format!(
        "{} of {} walks came to their end, {through_nodes} of them through several nodes, {through_terms} through several terms",
        whole.len(),
        walks.len()
    );
    match through_nodes {
        0 => Verdict::unknown(NAME, what).with(details),
        _ => Verdict::valid(NAME, what).with(details),
    }
}

/// Whether its last page says that it is the last.
fn has_ended(walk: &[&Operation<'_>]) -> bool {
    walk.last().is_some_and(|page| !may_have_more(page))
}

fn may_have_more(page: &Operation<'_>) -> bool {
    page.output().is_none_or(|output| output[2] != json!(false))
}

/// A walk's pages, in the order they were asked for.
fn check_walk(elements: &Elements, walk: &[&Operation<'_>]) -> Result<(), Broken> {
    let mut after: Option<u64> = None;
    let mut whole: Option<Shown> = None;
    for page in walk {
        let broken = |what: String| Err((page.from(), format!("{}: {what}", page.name())));
        if page.input()[2].as_u64() != after {
            return broken(format!("the page before ended with {after:?}"));
        }
        let shown = of_page(page, after);
        let mut above = after;
        for element in &shown.elements {
            if above.is_some_and(|above| above >= *element) {
                return broken(format!("{element} stands behind {above:?}"));
            }
            above = Some(*element);
        }
        check_shown(elements, &shown)?;
        after = above;
        whole = Some(match whole {
            None => shown,
            Some(before) => joined(before, shown),
        });
    }
    whole.map_or(Ok(()), |whole| check_shown(elements, &whole))
}

/// What a page shows of the elements behind the page before.
fn of_page(page: &Operation<'_>, after: Option<u64>) -> Shown {
    let mut shown = Shown::of_list(page);
    let first = after.map_or(0, |after| after.saturating_add(1));
    let last = match may_have_more(page) {
        true => shown.elements.last().copied().or(after).unwrap_or(0),
        false => u64::MAX,
    };
    shown.covers = first..=last;
    shown
}

fn joined(mut before: Shown, page: Shown) -> Shown {
    before.elements.extend(page.elements);
    let last = *before.covers.end().max(page.covers.end());
    before.covers = *before.covers.start()..=last;
    before.name = format!("the walk from {} to {}", before.from, page.to);
    before.to = page.to;
    before
}

#[cfg(test)]
#[path = "walks_tests.rs"]
mod tests;
