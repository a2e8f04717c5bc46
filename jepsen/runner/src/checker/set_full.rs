//! The set checker, by values and real time alone: no element whose creation was acknowledged is missing from any later
//! list, none is there twice, none that nobody created, and none comes back after its removal was acknowledged.
//!
//! What was created without an answer may be there or not, until some list or page has shown it: from then on it is there.

use crate::history::{Kind, Op};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

const NAME: &str = "set-full";

/// What is known of one element, by the clock of the history.
#[derive(Default)]
pub(super) struct Element {
    add_began: Option<u64>,
    /// When it was there for certain: its creation was acknowledged, or a list that showed it came back.
    there: Option<u64>,
    /// A removal began: from here on it may be gone.
    remove_began: Option<u64>,
    /// It was gone for certain: its removal was acknowledged.
    gone: Option<u64>,
    /// Its creation failed, and so did not happen.
    add_failed: bool,
}

pub(super) type Elements = BTreeMap<(u64, u64), Element>;
pub(super) type Broken = (u64, String);

/// What somebody was shown of a set from one moment to another: a list, a page of one, or several pages.
pub(super) struct Shown {
    pub set: u64,
    pub elements: Vec<u64>,
    /// Elements that were asked for: of these, those that were there are shown.
    pub covers: RangeInclusive<u64>,
    pub from: u64,
    pub to: u64,
    /// A few words that find it in the history.
    pub name: String,
}

impl Shown {
    pub fn of_list(list: &Operation<'_>) -> Shown {
        let listed = list.output().and_then(|output| output[1].as_array()).into_iter().flatten();
        Shown {
            set: list.input()[0].as_u64().unwrap_or(u64::MAX),
            elements: listed.map(|element| element.as_u64().unwrap_or(u64::MAX)).collect(),
            covers: 0..=u64::MAX,
            from: list.from(),
            to: list.to(),
            name: list.name(),
        }
    }
}

/// All that the history says of elements.
pub(super) fn known(all: &[Operation<'_>]) -> Elements {
    let mut elements = Elements::new();
    all.iter().for_each(|operation| note(&mut elements, operation));
    let shows = |operation: &&Operation<'_>| operation.is_ok() && ["list", "page"].contains(&operation.f());
    all.iter()
        .filter(shows)
        .for_each(|list| note_shown(&mut elements, &Shown::of_list(list)));
    elements
}

pub fn check(history: &[Op]) -> Verdict {
    let all = operations(history);
    let lists: Vec<&Operation<'_>> = all
        .iter()
        .filter(|operation| operation.f() == "list" && operation.is_ok())
        .collect();
    if lists.is_empty() {
        return Verdict::unknown(NAME, "nothing was listed");
    }
    let elements = known(&all);
    for list in &lists {
        if let Err((index, what)) = check_shown(&elements, &Shown::of_list(list)) {
            return Verdict::invalid(NAME, Some(index), what);
        }
    }
    let last = lists.iter().map(|list| list.from()).max().unwrap_or(0);
    let mut begun: BTreeMap<u64, u64> = BTreeMap::new();
    let mut ended: HashSet<(u64, u64)> = HashSet::new();
    for list in &lists {
        let (set, _) = key(list);
        let latest = begun.entry(set).or_default();
        *latest = list.from().max(*latest);
        ended.insert((set, list.to()));
    }
    let pages = all.iter().filter(|operation| operation.f() == "page" && operation.is_ok());
    ended.extend(pages.map(|page| (key(page).0, page.to())));
    let is_read = |set: u64, there: u64| {
        // The list or page that showed it first is one that was read.
        begun.get(&set).is_some_and(|latest| *latest > there) || ended.contains(&(set, there))
    };
    let never_read = elements
        .iter()
        .filter(|((set, _), element)| element.there.is_some_and(|there| !is_read(*set, there)));
    let never_read = never_read.count();
    if never_read > 0 {
        return Verdict::unknown(NAME, format!("{never_read} elements were created and no list was read afterwards"));
    }
    let (added, removed) = (
        count(&elements, |element| element.there.is_some()),
        count(&elements, |element| element.gone.is_some()),
    );
    let what = format!(
        "{added} elements were there in every list after their creation, until {removed} were removed and stayed away ({} lists)",
        lists.len()
    );
    Verdict::valid(NAME, what).with(json!({"added": added, "removed": removed, "lists": lists.len(), "last_list": last}))
}

fn count(elements: &Elements, wanted: impl Fn(&Element) -> bool) -> usize {
    elements.values().filter(|element| wanted(element)).count()
}

fn key(operation: &Operation<'_>) -> (u64, u64) {
    let number = |position: usize| operation.input()[position].as_u64().unwrap_or(u64::MAX);
    (number(0), number(1))
}

fn note(elements: &mut Elements, operation: &Operation<'_>) {
    match (operation.f(), operation.kind()) {
        ("add", kind) => {
            let element = elements.entry(key(operation)).or_default();
            element.add_began = Some(operation.from());
            match kind {
                Kind::Ok => element.there = Some(operation.to()),
                Kind::Fail => element.add_failed = true,
                _ => {}
            }
        }
        ("remove", kind) if kind != Kind::Fail => {
            let element = elements.entry(key(operation)).or_default();
            element.remove_began = Some(operation.from());
            if kind == Kind::Ok {
                element.gone = Some(operation.to());
            }
        }
        _ => {}
    }
}

fn note_shown(elements: &mut Elements, shown: &Shown) {
    for element in &shown.elements {
        if let Some(element) = elements.get_mut(&(shown.set, *element)) {
            element.there = Some(element.there.map_or(shown.to, |there| there.min(shown.to)));
        }
    }
}

/// Whether what was shown is what there was.
pub(super) fn check_shown(elements: &Elements, shown: &Shown) -> Result<(), Broken> {
    let broken = |what: String| Err((shown.from, format!("{}: {what}", shown.name)));
    let mut seen = HashSet::new();
    for element in &shown.elements {
        if !seen.insert(*element) {
            return broken(format!("{element} is listed twice"));
        }
        match elements.get(&(shown.set, *element)) {
            None | Some(Element { add_began: None, .. }) => return broken(format!("{element} was created by nobody")),
            Some(known) if known.add_failed => return broken(format!("the creation of {element} had failed")),
            Some(known) if known.add_began > Some(shown.to) => return broken(format!("{element} is listed before its creation began")),
            Some(known) if known.gone.is_some_and(|gone| gone < shown.from) => {
                return broken(format!("{element} came back: its removal was acknowledged before"));
            }
            Some(_) => {}
        }
    }
    if shown.covers.is_empty() {
        return Ok(());
    }
    let (first, last) = (*shown.covers.start(), *shown.covers.end());
    for ((_, element), known) in elements.range((shown.set, first)..=(shown.set, last)) {
        let was_there = known.there.is_some_and(|there| there < shown.from);
        let may_be_gone = known.remove_began.is_some_and(|began| began < shown.to);
        if was_there && !may_be_gone && !seen.contains(element) {
            return broken(format!("{element} is lost: it was there before"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    fn read(story: &mut Story, elements: &[u64]) {
        story.done(9, "list", json!([1, null]), json!([1, elements]), 1);
    }

    /// 10 and 20 are created, 30 is not answered, 20 is removed.
    fn good() -> Story {
        let mut story = Story::default();
        story
            .done(0, "add", json!([1, 10]), json!([1, 10]), 1)
            .done(0, "add", json!([1, 20]), json!([1, 20]), 2);
        read(&mut story, &[10, 20]);
        story.invoke(1, "add", json!([1, 30])).info(1, "add", json!([1, 30]));
        story.invoke(0, "remove", json!([1, 20]));
        read(&mut story, &[10]);
        story.ok(0, "remove", json!([1, 20]), 3);
        read(&mut story, &[10]);
        story
    }

    fn assert_invalid(story: &Story, rule: &str) {
        let verdict = check(&story.ops);
        assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
        assert!(verdict.what.contains(rule), "{}", verdict.what);
    }

    #[test]
    fn a_good_history_passes_and_one_without_lists_proves_nothing() {
        let verdict = check(&good().ops);
        assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
        let mut blind = Story::default();
        blind.done(0, "add", json!([1, 10]), json!([1, 10]), 1);
        assert_eq!(check(&blind.ops).valid, Validity::Unknown);
        let mut unread = good();
        unread.done(0, "add", json!([1, 40]), json!([1, 40]), 4);
        assert_eq!(check(&unread.ops).valid, Validity::Unknown, "nobody looked for 40");
    }

    #[test]
    fn a_lost_creation_and_a_stale_list_are_found() {
        let mut story = good();
        read(&mut story, &[]);
        assert_invalid(&story, "10 is lost");
    }

    #[test]
    fn a_removed_element_does_not_come_back() {
        let mut story = good();
        read(&mut story, &[10, 20]);
        assert_invalid(&story, "20 came back");
    }

    #[test]
    fn nothing_is_listed_twice_or_out_of_nowhere() {
        let mut twice = good();
        read(&mut twice, &[10, 10]);
        assert_invalid(&twice, "listed twice");
        let mut nowhere = good();
        read(&mut nowhere, &[10, 77]);
        assert_invalid(&nowhere, "created by nobody");
        let mut failed = good();
        failed
            .invoke(2, "add", json!([1, 50]))
            .fail(2, "add", json!([1, 50]), "connect: refused");
        read(&mut failed, &[10, 50]);
        assert_invalid(&failed, "had failed");
    }

    #[test]
    fn what_was_not_answered_stays_once_it_was_seen() {
        let mut story = good();
        read(&mut story, &[10, 30]);
        assert_eq!(check(&story.ops).valid, Validity::Valid);
        read(&mut story, &[10]);
        assert_invalid(&story, "30 is lost");
    }
}
