//! W2: transactions over several lists, in several instances: append to some, read others, all or nothing.
//!
//! A list is an attribute, `1,5,9,`; appending is `AppendAttributes`, which changes up to 16 attributes of any instances in one
//! command and answers what they hold then. Appending nothing reads, through the log. Transactions that only read go half of
//! the time another way: a page of `ListAttributes`, which is of one revision.

use super::keys::Keys;
use super::{Stage, Workload, in_clients, setup};
use crate::checker::cycles;
use crate::checker::fates::Fates;
use crate::checker::witness::{self, Role, Rules};
use crate::client::{Answered, Client, Effect};
use crate::history::Op;
use crate::operation::Operation;
use crate::send;
use crate::verdict::Verdict;
use async_trait::async_trait;
use quorate_wire::quorate::v1::append_attributes_request::Append as Change;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{AppendAttributesReply, AppendAttributesRequest, ListAttributesReply, ListAttributesRequest};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// A list is in the instance of its number modulo this.
const INSTANCES: u64 = 3;
/// Lists that a group of clients uses at once, fewer than one command may change.
const KEYS: usize = 6;
/// Appends and reads of one list before another takes its place.
const OPERATIONS_PER_KEY: u64 = 150;
/// Lists one transaction touches.
const MAX_TOUCHED: u64 = 4;
/// Lists whose names begin alike, which are read together.
const DECADE: u64 = 10;

#[derive(Default)]
pub struct Append {
    keys: Arc<Keys>,
}

struct Lists {
    client: Client,
    keys: Arc<Keys>,
}

impl Lists {
    async fn run(mut self) {
        while self.client.turn().await {
            let mut touched: Vec<u64> = Vec::new();
            for _ in 0..=self.client.random.below(MAX_TOUCHED) {
                let key = self.keys.pick(self.client.group, &mut self.client.random);
                if !touched.contains(&key) {
                    touched.push(key);
                }
            }
            match self.client.random.below(100) {
                0..25 => self.list(touched[0]).await,
                25..40 => self.transact(&touched, 0).await,
                _ => self.transact(&touched, 60).await,
            }
        }
    }

    /// Appends to each of the lists with so many percent, and reads the others.
    async fn transact(&mut self, touched: &[u64], percent: u64) {
        let mut changes: Vec<(u64, Option<u64>)> = Vec::new();
        for key in touched {
            let appends = self.client.random.chance(percent);
            changes.push((*key, appends.then(|| self.keys.value())));
        }
        let input: Vec<Json> = changes.iter().map(|(key, value)| micro_operation(*key, *value)).collect();
        let mut open = self.client.begin("txn", json!(input), Effect::Writes).await;
        let message = AppendAttributesRequest {
            appends: changes.iter().map(|(key, value)| change(*key, *value)).collect(),
        };
        match self.client.call(&mut open, message, send!(MetadataClient, append_attributes)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match transacted(&changes, &answered) {
                Ok(output) => self.client.ok(open, output, &answered),
                Err(what) => self.client.unexpected(open, &what),
            },
        }
    }

    /// Reads a list and those of its instance whose names begin alike.
    async fn list(&mut self, key: u64) {
        let decade = key / DECADE;
        let together: Vec<u64> = (decade * DECADE..(decade + 1) * DECADE)
            .filter(|other| other % INSTANCES == key % INSTANCES)
            .collect();
        let input: Vec<Json> = together.iter().map(|key| micro_operation(*key, None)).collect();
        let mut open = self.client.begin("txn", json!(input), Effect::Reads).await;
        let message = ListAttributesRequest {
            instance_id: instance(key),
            prefix: format!("list-{decade:05}"),
            ..ListAttributesRequest::default()
        };
        match self.client.call(&mut open, message, send!(MetadataClient, list_attributes)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match listed(&together, &answered.body) {
                Ok(output) => self.client.ok(open, output, &answered),
                Err(what) => self.client.unexpected(open, &what),
            },
        }
    }
}

fn instance(key: u64) -> String {
    format!("jepsen-append-{}", key % INSTANCES)
}

fn name(key: u64) -> String {
    format!("list-{key:06}")
}

fn micro_operation(key: u64, value: Option<u64>) -> Json {
    match value {
        Some(value) => json!(["append", key, value]),
        None => json!(["r", key, null]),
    }
}

fn change(key: u64, value: Option<u64>) -> Change {
    Change {
        instance_id: instance(key),
        name: name(key),
        suffix: value.map(|value| format!("{value},")).unwrap_or_default().into_bytes().into(),
    }
}

/// Every list the answer shows was read, those appended to as well.
fn transacted(changes: &[(u64, Option<u64>)], answered: &Answered<AppendAttributesReply>) -> Result<Json, String> {
    let shown = &answered.body.attributes;
    if shown.len() != changes.len() {
        return Err(format!("{} lists were asked for, {} answered", changes.len(), shown.len()));
    }
    let mut output = Vec::new();
    for ((key, value), attribute) in changes.iter().zip(shown) {
        output.extend(value.map(|value| json!(["append", key, value])));
        output.push(json!(["r", key, list_of(&attribute.value)?]));
    }
    Ok(json!(output))
}

fn listed(together: &[u64], reply: &ListAttributesReply) -> Result<Json, String> {
    if !reply.next_page_token.is_empty() {
        return Err("a few lists came as several pages".to_owned());
    }
    let mut found = HashMap::new();
    for attribute in &reply.attributes {
        found.insert(attribute.name.as_str(), list_of(&attribute.value)?);
    }
    let lists = together
        .iter()
        .map(|key| json!(["r", key, found.remove(name(*key).as_str()).unwrap_or_default()]))
        .collect();
    match found.is_empty() {
        true => Ok(Json::Array(lists)),
        false => Err(format!("lists that were not asked for: {:?}", found.keys())),
    }
}

fn list_of(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let malformed = || format!("a list holds {:?}", String::from_utf8_lossy(bytes));
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    text.split_terminator(',')
        .map(|value| value.parse().map_err(|_| malformed()))
        .collect()
}

#[async_trait]
impl Workload for Append {
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        self.keys.begin(stage.groups(), KEYS, OPERATIONS_PER_KEY);
        for key in 0..INSTANCES {
            setup::instance(stage, &instance(key)).await?;
        }
        Ok(())
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let keys = self.keys.clone();
        in_clients(stage, move |client| {
            Lists {
                client,
                keys: keys.clone(),
            }
            .run()
        })
        .await
    }

    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        let keys = self.keys.clone();
        super::at_every_node(stage, move |client, _| {
            let keys = keys.clone();
            async move {
                let mut lists = Lists {
                    client,
                    keys: keys.clone(),
                };
                for touched in keys.active().chunks(KEYS) {
                    lists.transact(touched, 100).await;
                }
                // One of each instance shows all whose names begin alike.
                let last = keys.all().len() as u64;
                for key in (0..last).filter(|key| key % DECADE < INSTANCES) {
                    lists.list(key).await;
                }
            }
        })
        .await
    }

    fn check(&self, history: &[Op], dir: &Path) -> Vec<Verdict> {
        let fates = Fates::read(dir);
        let witness = witness::check("witness", &AppendRules, history, fates.as_ref().map_err(String::as_str));
        vec![witness, cycles::check(history)]
    }
}

/// The meaning of transactions over lists.
pub struct AppendRules;

fn micro_operations(value: &Json) -> impl Iterator<Item = &Json> {
    value.as_array().into_iter().flatten()
}

impl Rules for AppendRules {
    type State = BTreeMap<u64, Vec<Json>>;

    /// What appends nothing takes no revision.
    fn role(&self, operation: &Operation<'_>, _: Option<&Json>) -> Role {
        match operation.f() {
            "txn" if micro_operations(operation.input()).any(|one| one[0] == "append") => Role::Write,
            "txn" => Role::Read,
            _ => Role::Other,
        }
    }

    fn step(&self, state: &mut Self::State, operation: &Operation<'_>, output: Option<&Json>, _: u64) -> Result<(), String> {
        for one in micro_operations(output.unwrap_or(operation.input())) {
            let list = state.entry(one[1].as_u64().unwrap_or(u64::MAX)).or_default();
            if one[0] == "append" {
                list.push(one[2].clone());
            } else if output.is_some() && one[2].as_array() != Some(list) {
                return Err(format!("list {} was read as {}, it was {}", one[1], one[2], json!(list)));
            }
        }
        Ok(())
    }

    /// Lists need not be there to be read or appended to.
    fn explains(&self, _: &Self::State, _: &Operation<'_>) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::fates::by_hand::fates;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    #[test]
    fn lists_are_read_as_they_are_written() {
        assert_eq!(list_of(b"").expect("empty"), [0u64; 0]);
        assert_eq!(list_of(b"1,50,9,").expect("three"), [1, 50, 9]);
        for bad in [&b"1,,2,"[..], b"x,", b"\xff"] {
            assert!(list_of(bad).is_err());
        }
    }

    #[test]
    fn a_page_tells_of_lists_that_are_not_there_yet() {
        use quorate_wire::quorate::v1::Attribute;
        let attribute = |key, value: &'static [u8]| Attribute {
            name: name(key),
            value: value.into(),
            revision: 3,
        };
        let reply = |attributes| ListAttributesReply {
            attributes,
            ..ListAttributesReply::default()
        };
        let all = listed(&[0, 3], &reply(vec![attribute(3, b"7,")])).expect("two lists");
        assert_eq!(all, json!([["r", 0, []], ["r", 3, [7]]]));
        assert!(listed(&[0], &reply(vec![attribute(3, b"7,")])).is_err(), "nobody asked for it");
    }

    #[test]
    fn a_transaction_that_is_refused_is_found() {
        let appends = json!([["append", 1, 10]]);
        for refused in [json!([["append", 1, 20]]), json!([["r", 1, null]])] {
            let mut story = Story::default();
            story.done(0, "txn", appends.clone(), appends.clone(), 1);
            story.invoke(1, "txn", refused.clone()).fail(
                1,
                "txn",
                refused,
                "refused: not_found: instance \"jepsen-append-1\" does not exist",
            );
            let verdict = witness::check("witness", &AppendRules, &story.ops, Ok(&fates(&[])));
            assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
            assert!(verdict.what.contains("which was not so in any state"), "{}", verdict.what);
        }
    }

    #[test]
    fn half_a_transaction_is_found_at_its_revision() {
        let mut story = Story::default();
        let both = json!([["append", 1, 10], ["append", 2, 20]]);
        story.invoke(0, "txn", both.clone()).ok(0, "txn", both, 1).under(7, 1);
        let whole = |two: Json| json!([["r", 1, [10]], ["r", 2, two]]);
        story.done(1, "txn", json!([["r", 1, null], ["r", 2, null]]), whole(json!([20])), 1);
        let check = |story: &Story| witness::check("witness", &AppendRules, &story.ops, Ok(&fates(&["7.1:22:1:0"])));
        assert_eq!(check(&story).valid, Validity::Valid);
        story.done(1, "txn", json!([["r", 1, null], ["r", 2, null]]), whole(json!([])), 1);
        let verdict = check(&story);
        assert_eq!(verdict.valid, Validity::Invalid);
        assert!(verdict.what.contains("list 2 was read as []"), "{}", verdict.what);
    }
}
