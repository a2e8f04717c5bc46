//! W3: a set of instances. Created and dropped under unique names, and listed.
//!
//! Names begin with their set's, `set-000003-`, so that a list is one page at one revision; a set that has had so many
//! creations gives way to a new one. A name is never used twice.
//!
//! Clients also walk through a set in small pages, each at another node and with other operations in between: a walk outlives
//! elections, and its pages are of as many revisions.

use super::keys::Keys;
use super::{Stage, Workload, in_clients};
use crate::checker::fates::Fates;
use crate::checker::set_full;
use crate::checker::walks;
use crate::checker::witness::{self, Role, Rules};
use crate::client::{Client, Effect, refusal_in};
use crate::history::Op;
use crate::operation::Operation;
use crate::send;
use crate::verdict::Verdict;
use async_trait::async_trait;
use quorate_wire::doris::alter_instance_request::Operation as Change;
use quorate_wire::doris::meta_service_client::MetaServiceClient;
use quorate_wire::doris::{AlterInstanceRequest, CreateInstanceRequest};
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{ListInstancesReply, ListInstancesRequest};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

/// Sets that a group of clients uses at once.
const SETS: usize = 2;
const OPERATIONS_PER_SET: u64 = 200;
/// Elements of a page of a walk: most sets are several pages.
const PAGE: usize = 6;

#[derive(Default)]
pub struct Set {
    sets: Arc<Keys>,
}

struct Elements {
    client: Client,
    sets: Arc<Keys>,
    /// What this client created and may drop.
    own: Vec<(u64, u64)>,
    /// The walk that this client is on.
    walk: Option<Walk>,
}

/// A way through a set, page by page. What is not answered is asked for again.
struct Walk {
    set: u64,
    number: u64,
    /// The last element of the page before.
    after: Option<u64>,
    token: String,
    last_node: usize,
}

impl Elements {
    fn new(client: Client, sets: &Arc<Keys>) -> Elements {
        Elements {
            client,
            sets: sets.clone(),
            own: Vec::new(),
            walk: None,
        }
    }

    /// On a walk every other turn is for something else: what is long away must not keep all clients from writing.
    async fn run(mut self) {
        while self.client.turn().await {
            if self.walk.is_some() && self.client.random.chance(50) {
                self.next_page().await;
                continue;
            }
            let set = self.sets.pick(self.client.group, &mut self.client.random);
            match self.client.random.below(100) {
                0..45 => self.add(set).await,
                45..60 if !self.own.is_empty() => self.remove().await,
                60..72 if self.walk.is_none() => {
                    self.begin_walk(set);
                    self.next_page().await;
                }
                _ => self.read(set).await,
            }
        }
    }

    async fn add(&mut self, set: u64) {
        let element = self.sets.value();
        let mut open = self.client.begin("add", json!([set, element]), Effect::Writes).await;
        let message = CreateInstanceRequest {
            instance_id: Some(name(set, element)),
            user_id: Some("jepsen".to_owned()),
            ..CreateInstanceRequest::default()
        };
        let call = self
            .client
            .call_judged(&mut open, message, &[], send!(MetaServiceClient, create_instance), |reply| {
                refusal_in(reply.status.as_ref())
            });
        match call.await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => {
                self.client.ok(open, json!([set, element]), &answered);
                self.own.push((set, element));
            }
        }
    }

    async fn remove(&mut self) {
        let chosen = self.client.random.below(self.own.len() as u64) as usize;
        let (set, element) = self.own.swap_remove(chosen);
        let mut open = self.client.begin("remove", json!([set, element]), Effect::Writes).await;
        let message = AlterInstanceRequest {
            instance_id: Some(name(set, element)),
            op: Some(Change::Drop as i32),
            ..AlterInstanceRequest::default()
        };
        let call = self
            .client
            .call_judged(&mut open, message, &[], send!(MetaServiceClient, alter_instance), |reply| {
                refusal_in(reply.status.as_ref())
            });
        match call.await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => self.client.ok(open, json!([set, element]), &answered),
        }
    }

    async fn read(&mut self, set: u64) {
        let mut open = self.client.begin("list", json!([set, null]), Effect::Reads).await;
        let message = ListInstancesRequest {
            prefix: prefix(set),
            ..ListInstancesRequest::default()
        };
        match self.client.call(&mut open, message, send!(MetadataClient, list_instances)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match elements(set, &answered.body) {
                Ok(found) => self.client.ok(open, json!([set, found]), &answered),
                Err(what) => self.client.unexpected(open, &what),
            },
        }
    }

    fn begin_walk(&mut self, set: u64) {
        let nodes = self.client.nodes() as u64;
        self.walk = Some(Walk {
            set,
            // Another than that of any other walk; that elements are numbered from the same does no harm.
            number: self.sets.value(),
            after: None,
            token: String::new(),
            last_node: self.client.random.below(nodes) as usize,
        });
    }

    /// From the first page to the last, or to one that is not answered.
    async fn walk_through(&mut self, set: u64) {
        self.begin_walk(set);
        while let Some(before) = self.walk.as_ref().map(|walk| walk.token.clone()) {
            self.next_page().await;
            // No page ends where the one before it ended, but one that failed.
            if self.walk.as_ref().is_some_and(|walk| walk.token == before) {
                self.walk = None;
            }
        }
    }

    async fn next_page(&mut self) {
        let Some(mut walk) = self.walk.take() else { return };
        let (set, number) = (walk.set, walk.number);
        let input = json!([set, number, walk.after]);
        let mut open = self.client.begin_after(walk.last_node, "page", input, Effect::Reads).await;
        walk.last_node = open.node();
        let message = ListInstancesRequest {
            prefix: prefix(set),
            page_size: PAGE as u32,
            page_token: walk.token.clone(),
            ..ListInstancesRequest::default()
        };
        match self.client.call(&mut open, message, send!(MetadataClient, list_instances)).await {
            Err(failed) => {
                self.client.failed(open, failed);
                self.walk = Some(walk);
            }
            Ok(answered) => match shown(set, &answered.body) {
                Err(what) => self.client.unexpected(open, &what),
                Ok(found) => {
                    let token = answered.body.next_page_token.clone();
                    self.client.ok(open, json!([set, found, !token.is_empty()]), &answered);
                    if !token.is_empty() {
                        let after = found.last().copied().or(walk.after);
                        self.walk = Some(Walk { after, token, ..walk });
                    }
                }
            },
        }
    }
}

fn prefix(set: u64) -> String {
    format!("set-{set:06}-")
}

fn name(set: u64, element: u64) -> String {
    format!("{}{element:08}", prefix(set))
}

fn elements(set: u64, reply: &ListInstancesReply) -> Result<Vec<u64>, String> {
    if !reply.next_page_token.is_empty() {
        return Err("a small list came as several pages".to_owned());
    }
    shown(set, reply)
}

/// The elements of a page, as they are listed.
fn shown(set: u64, reply: &ListInstancesReply) -> Result<Vec<u64>, String> {
    let element = |id: &str| id.strip_prefix(&prefix(set))?.parse().ok();
    let ids = reply.instances.iter().map(|instance| instance.instance_id.as_str());
    ids.map(|id| element(id).ok_or_else(|| format!("instance {id:?} is listed")))
        .collect()
}

#[async_trait]
impl Workload for Set {
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        self.sets.begin(stage.groups(), SETS, OPERATIONS_PER_SET);
        Ok(())
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let sets = self.sets.clone();
        in_clients(stage, move |client| Elements::new(client, &sets).run()).await
    }

    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        let sets = self.sets.clone();
        super::at_every_node(stage, move |client, _| {
            let sets = sets.clone();
            async move {
                let mut elements = Elements::new(client, &sets);
                for set in sets.active() {
                    elements.add(set).await;
                }
                for set in sets.all() {
                    elements.read(set).await;
                }
                if let Some(set) = sets.active().first() {
                    elements.walk_through(*set).await;
                }
            }
        })
        .await
    }

    fn check(&self, history: &[Op], dir: &Path) -> Vec<Verdict> {
        let fates = Fates::read(dir);
        let witness = witness::check("witness", &SetRules, history, fates.as_ref().map_err(String::as_str));
        vec![witness, set_full::check(history), walks::check(history)]
    }
}

/// The meaning of sets: `[set element]`, `[set elements]`, and of a page behind an element, of which there may be more,
/// `[set walk after]` and `[set elements more]`.
pub struct SetRules;

impl Rules for SetRules {
    type State = BTreeMap<u64, BTreeSet<u64>>;

    fn role(&self, operation: &Operation<'_>, _: Option<&Json>) -> Role {
        match operation.f() {
            "add" | "remove" => Role::Write,
            "list" | "page" => Role::Read,
            _ => Role::Other,
        }
    }

    fn step(&self, state: &mut Self::State, operation: &Operation<'_>, output: Option<&Json>, _: u64) -> Result<(), String> {
        let number = |value: &Json| value.as_u64().unwrap_or(u64::MAX);
        let set = state.entry(number(&operation.input()[0])).or_default();
        match (operation.f(), output) {
            ("add", _) if !set.insert(number(&operation.input()[1])) => Err("it was there already".to_owned()),
            ("remove", _) if !set.remove(&number(&operation.input()[1])) => Err("it was not there".to_owned()),
            ("list", Some(output)) => {
                let listed: Vec<u64> = output[1].as_array().into_iter().flatten().map(number).collect();
                let missing: Vec<_> = set.iter().filter(|element| !listed.contains(element)).take(5).collect();
                let surplus: Vec<_> = listed.iter().filter(|element| !set.contains(element)).take(5).collect();
                match missing.is_empty() && surplus.is_empty() && listed.len() == set.len() {
                    true => Ok(()),
                    false => Err(format!(
                        "{} listed of {}, missing {missing:?}, surplus {surplus:?}",
                        listed.len(),
                        set.len()
                    )),
                }
            }
            ("page", Some(output)) => compare_page(set, operation.input()[2].as_u64(), output),
            _ => Ok(()),
        }
    }

    /// Names are unique, and only who created one drops it.
    fn explains(&self, state: &Self::State, operation: &Operation<'_>) -> bool {
        let [set, element] = [0, 1].map(|position| operation.input()[position].as_u64().unwrap_or(u64::MAX));
        let is_there = state.get(&set).is_some_and(|set| set.contains(&element));
        match operation.f() {
            "add" => is_there,
            "remove" => !is_there,
            _ => false,
        }
    }
}

/// A page has the first elements behind the last one of the page before, and is the last if nothing is behind it.
fn compare_page(set: &BTreeSet<u64>, after: Option<u64>, output: &Json) -> Result<(), String> {
    let number = |value: &Json| value.as_u64().unwrap_or(u64::MAX);
    let found: Vec<u64> = output[1].as_array().into_iter().flatten().map(number).collect();
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut behind = set.range((from, Bound::Unbounded)).copied();
    let expected: Vec<u64> = behind.by_ref().take(PAGE).collect();
    let left = behind.count();
    if found != expected {
        return Err(format!("the page has {found:?}, it was {expected:?}"));
    }
    match output[2] == json!(false) && left > 0 {
        true => Err(format!("it was the last page, and {left} elements were behind it")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::fates::by_hand::fates;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    fn check(story: &Story) -> Verdict {
        witness::check("witness", &SetRules, &story.ops, Ok(&fates(&[])))
    }

    #[test]
    fn a_refusal_must_be_so_and_a_list_is_never_refused() {
        let mut story = Story::default();
        story.done(0, "add", json!([1, 5]), json!([1, 5]), 1);
        story
            .invoke(1, "add", json!([1, 5]))
            .fail(1, "add", json!([1, 5]), "refused: doris 3002: it exists");
        assert_eq!(check(&story).valid, Validity::Valid, "it was there");
        story
            .invoke(1, "list", json!([1, null]))
            .fail(1, "list", json!([1, null]), "refused: not_found: nothing here");
        let verdict = check(&story);
        assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
        assert!(verdict.what.contains("which was not so in any state"), "{}", verdict.what);
    }

    #[test]
    fn a_page_has_what_its_revision_has_behind_the_page_before() {
        let story = |after: Option<u64>, found: &[u64], more: bool| {
            let mut story = Story::default();
            for element in 1..=8 {
                story.done(0, "add", json!([1, element]), json!([1, element]), element);
            }
            story.done(0, "remove", json!([1, 3]), json!([1, 3]), 9);
            story.done(1, "page", json!([1, 70, after]), json!([1, found, more]), 9);
            check(&story)
        };
        assert_eq!(story(None, &[1, 2, 4, 5, 6, 7], true).valid, Validity::Valid);
        assert_eq!(story(Some(4), &[5, 6, 7, 8], false).valid, Validity::Valid);
        for (after, found, more, rule) in [
            (None, &[1, 2, 3, 4, 5, 6][..], true, "the page has"),
            (None, &[1, 2, 4, 5, 6, 7][..], false, "1 elements were behind it"),
            (Some(4), &[5, 7, 8][..], false, "the page has"),
            (Some(4), &[4, 5, 6, 7, 8][..], false, "the page has"),
        ] {
            let verdict = story(after, found, more);
            assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
            assert!(verdict.what.contains(rule), "{}", verdict.what);
        }
    }
}
