//! W8: reads that need not be the newest. A session reads "at least at revision r" (`quorate-min-revision`) at one node after
//! the other, each time with the highest revision it has seen; others read whatever a node has (`STALE`), and write.
//!
//! Promised: a read at least at r is of r or later, so a session never goes back and sees its own writes; a stale read is a
//! whole state of the past, a node's stale reads never go back, not even over a restart; and nothing is shown that is not
//! committed.

use super::keys::Keys;
use super::register::RegisterRules;
use super::{Stage, Workload, in_clients, number_in, setup};
use crate::checker::fates::Fates;
use crate::checker::session_reads;
use crate::checker::witness;
use crate::client::{Client, Effect};
use crate::history::Op;
use crate::send;
use crate::verdict::Verdict;
use async_trait::async_trait;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{Consistency, GetAttributeRequest, PutAttributeRequest};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const INSTANCE: &str = "jepsen-sessions";
/// Registers that a group of clients uses at once.
const KEYS: usize = 6;
const OPERATIONS_PER_KEY: u64 = 400;

#[derive(Default)]
pub struct Sessions {
    keys: Arc<Keys>,
}

struct Reader {
    client: Client,
    keys: Arc<Keys>,
    /// Names the session in the history: it goes on when its process number changes.
    session: u64,
    /// Highest revision this session has seen.
    seen: u64,
}

impl Reader {
    fn new(client: Client, keys: &Arc<Keys>) -> Reader {
        Reader {
            session: client.process(),
            client,
            keys: keys.clone(),
            seen: 0,
        }
    }

    async fn run(mut self) {
        while self.client.turn().await {
            let key = self.keys.pick(self.client.group, &mut self.client.random);
            match self.client.random.below(100) {
                0..30 => self.write(key).await,
                30..60 => self.read_since(key).await,
                60..85 => self.read("stale-read", key, Consistency::Stale, None).await,
                _ => self.read("read", key, Consistency::Linearizable, None).await,
            }
        }
    }

    async fn write(&mut self, key: u64) {
        let value = self.keys.value();
        let mut open = self.client.begin("write", json!([key, value]), Effect::Writes).await;
        let message = PutAttributeRequest {
            instance_id: INSTANCE.into(),
            name: format!("register-{key:06}"),
            value: value.to_string().into_bytes().into(),
            if_revision: None,
        };
        match self.client.call(&mut open, message, send!(MetadataClient, put_attribute)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => {
                self.seen = self.seen.max(answered.body.revision);
                self.client.ok(open, json!([key, value]), &answered);
            }
        }
    }

    /// At least at the highest revision this session has seen.
    async fn read_since(&mut self, key: u64) {
        let since = self.seen;
        self.read("read-since", key, Consistency::Stale, Some(since)).await;
    }

    async fn read(&mut self, f: &'static str, key: u64, consistency: Consistency, since: Option<u64>) {
        let input = json!([key, null, {"session": self.session, "since": since}]);
        let mut open = self.client.begin(f, input, Effect::Reads).await;
        let message = GetAttributeRequest {
            instance_id: INSTANCE.into(),
            name: format!("register-{key:06}"),
            consistency: consistency as i32,
            at_revision: 0,
        };
        let metadata: Vec<(&'static str, u64)> = since.map(|since| ("quorate-min-revision", since)).into_iter().collect();
        match self
            .client
            .call_judged(&mut open, message, &metadata, send!(MetadataClient, get_attribute), |_| None)
            .await
        {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match number_in(&answered.body) {
                Err(what) => self.client.unexpected(open, &what),
                Ok(value) => {
                    self.seen = self.seen.max(answered.revision.unwrap_or(0));
                    let output = json!([key, value, {"session": self.session, "since": since}]);
                    self.client.ok(open, output, &answered);
                }
            },
        }
    }
}

#[async_trait]
impl Workload for Sessions {
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        self.keys.begin(stage.groups(), KEYS, OPERATIONS_PER_KEY);
        setup::instance(stage, INSTANCE).await
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let keys = self.keys.clone();
        in_clients(stage, move |client| Reader::new(client, &keys).run()).await
    }

    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        let keys = self.keys.clone();
        super::at_every_node(stage, move |client, _| {
            let keys = keys.clone();
            async move {
                let mut reader = Reader::new(client, &keys);
                for key in keys.active() {
                    reader.write(key).await;
                    reader.read_since(key).await;
                    reader.read("stale-read", key, Consistency::Stale, None).await;
                }
                for key in keys.all() {
                    reader.read("read", key, Consistency::Linearizable, None).await;
                }
            }
        })
        .await
    }

    fn check(&self, history: &[Op], dir: &Path) -> Vec<Verdict> {
        let fates = Fates::read(dir);
        let witness = witness::check("witness", &RegisterRules, history, fates.as_ref().map_err(String::as_str));
        vec![witness, session_reads::check(history)]
    }
}
