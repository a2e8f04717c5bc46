//! W1: registers. One attribute each, read, written, and compared and set by its revision.
//!
//! Values are never used twice, so "the attribute of that revision" and "the attribute with that value" mean the same: the
//! history speaks of values, `[key [old new]]`, as Jepsen's tools want it.

use super::keys::Keys;
use super::{STALE_READS, in_clients, number_in, setup};
use crate::checker::fates::Fates;
use crate::checker::wgl;
use crate::checker::witness::{self, Role, Rules};
use crate::client::{Answered, Client, Effect};
use crate::contract::REFUSED;
use crate::history::Op;
use crate::operation::Operation;
use crate::send;
use crate::verdict::Verdict;
use crate::workload::{Stage, Workload};
use async_trait::async_trait;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{Attribute, GetAttributeReply, GetAttributeRequest, PutAttributeRequest};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

const INSTANCE: &str = "jepsen-register";
/// Registers that a group of clients uses at once.
const KEYS: usize = 4;
/// Operations on one register before another takes its place: what the value-only checker can search through.
const OPERATIONS_PER_KEY: u64 = 200;

#[derive(Default)]
pub struct Register {
    keys: Arc<Keys>,
}

/// A client and the registers as it last saw them: value and revision.
struct Registers {
    client: Client,
    keys: Arc<Keys>,
    seen: HashMap<u64, (Json, u64)>,
}

impl Registers {
    fn new(client: Client, keys: &Arc<Keys>) -> Registers {
        Registers {
            client,
            keys: keys.clone(),
            seen: HashMap::new(),
        }
    }

    async fn read(&mut self, key: u64) {
        let mut open = self.client.begin("read", json!([key, null]), Effect::Reads).await;
        let message = GetAttributeRequest {
            instance_id: INSTANCE.into(),
            name: name(key),
            ..GetAttributeRequest::default()
        };
        match self.client.call(&mut open, message, send!(MetadataClient, get_attribute)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match value_of(&answered) {
                Err(what) => self.client.unexpected(open, &what),
                Ok((value, revision)) => {
                    self.client.ok(open, json!([key, value]), &answered);
                    self.seen.insert(key, (value, revision));
                }
            },
        }
    }

    async fn write(&mut self, key: u64) {
        let value = self.keys.value();
        let mut open = self.client.begin("write", json!([key, value]), Effect::Writes).await;
        let message = put(key, value, None);
        match self.client.call(&mut open, message, send!(MetadataClient, put_attribute)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => {
                self.client.ok(open, json!([key, value]), &answered);
                self.seen.insert(key, (json!(value), answered.body.revision));
            }
        }
    }

    /// Compares with what this client saw last, which may have been overwritten since.
    async fn compare_and_set(&mut self, key: u64) {
        let (old, revision) = self.seen.get(&key).cloned().unwrap_or((Json::Null, 0));
        let value = self.keys.value();
        let mut open = self.client.begin("cas", json!([key, [old, value]]), Effect::Writes).await;
        let message = put(key, value, Some(revision));
        match self.client.call(&mut open, message, send!(MetadataClient, put_attribute)).await {
            Err(failed) => {
                self.client.failed(open, failed);
                self.seen.remove(&key);
            }
            Ok(answered) => {
                self.client.ok(open, json!([key, [old, value]]), &answered);
                self.seen.insert(key, (json!(value), answered.body.revision));
            }
        }
    }

    async fn run(mut self) {
        while self.client.turn().await {
            let key = self.keys.pick(self.client.group, &mut self.client.random);
            match self.client.random.below(100) {
                0..45 => self.read(key).await,
                45..75 => self.write(key).await,
                _ => self.compare_and_set(key).await,
            }
        }
    }
}

fn name(key: u64) -> String {
    format!("register-{key:06}")
}

fn put(key: u64, value: u64, if_revision: Option<u64>) -> PutAttributeRequest {
    PutAttributeRequest {
        instance_id: INSTANCE.into(),
        name: name(key),
        value: value.to_string().into_bytes().into(),
        if_revision,
    }
}

/// The register's value and the revision it was written at; null and 0 if it was never written.
fn value_of(answered: &Answered<GetAttributeReply>) -> Result<(Json, u64), String> {
    let value = number_in(&answered.body)?;
    let Some(Attribute { revision, .. }) = &answered.body.attribute else {
        return Ok((Json::Null, 0));
    };
    match *revision > answered.body.revision {
        true => Err(format!("written at {revision}, read at {}", answered.body.revision)),
        false => Ok((value, *revision)),
    }
}

#[async_trait]
impl Workload for Register {
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        self.keys.begin(stage.groups(), KEYS, OPERATIONS_PER_KEY);
        setup::instance(stage, INSTANCE).await
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let keys = self.keys.clone();
        in_clients(stage, move |client| Registers::new(client, &keys).run()).await
    }

    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        let keys = self.keys.clone();
        super::at_every_node(stage, move |client, _| {
            let keys = keys.clone();
            async move {
                let mut registers = Registers::new(client, &keys);
                for key in keys.active() {
                    registers.write(key).await;
                }
                for key in keys.all() {
                    registers.read(key).await;
                }
            }
        })
        .await
    }

    fn check(&self, history: &[Op], dir: &Path) -> Vec<Verdict> {
        let fates = Fates::read(dir);
        let witness = witness::check("witness", &RegisterRules, history, fates.as_ref().map_err(String::as_str));
        vec![witness, wgl::check(history, dir)]
    }
}

/// The meaning of registers: `[key value]`, `[key [old new]]`.
pub struct RegisterRules;

/// Whether a refusal is about the register, and not about an instance that is not found.
fn failed_condition(operation: &Operation<'_>) -> bool {
    let error = operation.error().and_then(|error| error.strip_prefix(REFUSED));
    error.is_some_and(|error| error.starts_with("precondition_failed"))
}

impl Rules for RegisterRules {
    type State = HashMap<Json, Json>;

    fn role(&self, operation: &Operation<'_>, _: Option<&Json>) -> Role {
        match operation.f() {
            "write" | "cas" => Role::Write,
            "read" => Role::Read,
            f if STALE_READS.contains(&f) => Role::Stale,
            _ => Role::Other,
        }
    }

    fn step(&self, state: &mut Self::State, operation: &Operation<'_>, output: Option<&Json>, _: u64) -> Result<(), String> {
        let key = &operation.input()[0];
        let current = state.get(key).cloned().unwrap_or(Json::Null);
        match (operation.f(), output) {
            ("write", _) => drop(state.insert(key.clone(), operation.input()[1].clone())),
            ("cas", _) if operation.input()[1][0] != current => return Err(format!("the register held {current}")),
            ("cas", _) => drop(state.insert(key.clone(), operation.input()[1][1].clone())),
            (_, Some(output)) if output[1] != current => return Err(format!("{} was read, the register held {current}", output[1])),
            _ => {}
        }
        Ok(())
    }

    fn explains(&self, state: &Self::State, operation: &Operation<'_>) -> bool {
        let input = operation.input();
        match operation.f() {
            "cas" => failed_condition(operation) && input[1][0] != *state.get(&input[0]).unwrap_or(&Json::Null),
            // A node that begins anew serves the past from its first moment on, when there is nothing.
            "stale-read" => true,
            "read-since" => input[2]["since"].as_u64().unwrap_or(0) == 0,
            _ => false,
        }
    }
}
