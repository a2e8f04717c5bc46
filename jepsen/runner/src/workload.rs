//! What clients do during a run, and what must be true of the answers.

pub mod append;
pub mod churn;
pub mod copies;
pub mod keys;
pub mod pace;
pub mod register;
pub mod sessions;
pub mod set;
pub mod setup;
pub mod snapshots;
pub mod topology;

use crate::client::{Client, Home};
use crate::field::Field;
use crate::history::{Op, Recorder};
use crate::seeded::Random;
use crate::verdict::Verdict;
use async_trait::async_trait;
use pace::Pace;
use quorate_wire::quorate::v1::GetAttributeReply;
use serde_json::Value as Json;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a workload's processes are given.
#[derive(Clone)]
pub struct Stage {
    pub field: Arc<Field>,
    pub recorder: Recorder,
    /// The run's seed; each process derives its own [`Random`] from it and its number.
    pub seed: u64,
    /// Answered operations a second over all processes, on average.
    pub rate: u64,
    pub pace: Arc<Pace>,
    stopping: Arc<AtomicBool>,
}

impl Stage {
    pub fn new(field: Arc<Field>, recorder: Recorder, seed: u64, rate: u64) -> Stage {
        Stage {
            field,
            recorder,
            seed,
            rate,
            pace: Arc::new(Pace::new(rate)),
            stopping: Arc::default(),
        }
    }

    /// The same for clients that are to go on at another rate, on a schedule of their own.
    pub fn at(&self, rate: u64) -> Stage {
        Stage {
            rate,
            pace: Arc::new(Pace::new(rate)),
            ..self.clone()
        }
    }

    /// How many groups of clients there are.
    pub fn groups(&self) -> usize {
        self.rate.div_ceil(RATE_PER_GROUP).max(1) as usize
    }

    /// The random numbers of one process.
    pub fn random(&self, process: u64) -> Random {
        Random::new(self.seed ^ process.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// A kind of use of the product.
#[async_trait]
pub trait Workload: Send + Sync {
    /// Makes what the operations need, before any fault.
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()>;

    /// All processes, until [`Stage::is_stopping`]; goes on whatever the peers do.
    async fn run(&self, stage: &Stage) -> anyhow::Result<()>;

    /// Reads everything through every node, after healing. Its operations are recorded in [`crate::history::Phase::Final`].
    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()>;

    /// What this workload's own rules say of the history. Needs nothing but the run's directory, so that `jepsen check DIR`
    /// can ask again.
    fn check(&self, history: &[Op], dir: &std::path::Path) -> Vec<Verdict>;
}

/// Clients that share keys: the value-only checker can search through the operations of so many at once.
const CLIENTS_PER_GROUP: u64 = 10;
/// There is a group of clients for so many operations a second that are asked for. Most of them may wait for answers that come
/// late or never, and the others can still keep up the rate.
const RATE_PER_GROUP: u64 = 40;

type Make = fn() -> Box<dyn Workload>;

/// One line of the table of workloads.
struct Line {
    name: &'static str,
    make: Make,
    /// What its clients do all through the load: each kind must have been done.
    kinds: &'static [Kinds],
}

type Kinds = &'static [&'static str];

const REGISTER: Kinds = &["read", "write", "cas"];
const TOPOLOGY: Kinds = &[
    "add-cluster",
    "drop-cluster",
    "add-nodes",
    "drop-nodes",
    "topology",
    "count-clusters",
];

/// All workloads.
const ALL: &[Line] = &[
    Line {
        name: "register",
        make: || Box::new(register::Register::default()),
        kinds: &[REGISTER],
    },
    Line {
        name: "append",
        make: || Box::new(append::Append::default()),
        kinds: &[&["txn"]],
    },
    Line {
        name: "set",
        make: || Box::new(set::Set::default()),
        kinds: &[&["add", "remove", "list", "page"]],
    },
    Line {
        name: "topology",
        make: || Box::new(topology::Topology::default()),
        kinds: &[TOPOLOGY],
    },
    Line {
        name: "snapshots",
        make: || Box::new(snapshots::Snapshots::default()),
        kinds: &[&[
            "create-snapshot",
            "drop-snapshot",
            "pin-snapshot",
            "unpin-snapshot",
            "list-snapshots",
            "begin-image",
            "commit-image",
            "abort-image",
            "drop-image",
            "list-images",
            "mark-album",
            "clone-image",
            "read-clone",
            "drop-clone",
        ]],
    },
    Line {
        name: "copies",
        make: || Box::new(copies::Copies::default()),
        kinds: &[&["submit", "cancel", "jobs", "job", "look", "describe"]],
    },
    Line {
        name: "sessions",
        make: || Box::new(sessions::Sessions::default()),
        kinds: &[&["write", "read", "read-since", "stale-read"]],
    },
    Line {
        name: "churn",
        make: || Box::new(churn::Churn::default()),
        kinds: &[REGISTER, TOPOLOGY],
    },
];

pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|line| line.name).collect()
}

pub fn by_name(name: &str) -> Option<Box<dyn Workload>> {
    let line = ALL.iter().find(|line| line.name == name)?;
    Some((line.make)())
}

/// What the clients of a workload do.
pub fn kinds(name: &str) -> impl Iterator<Item = &'static str> {
    let line = ALL.iter().find(|line| line.name == name);
    line.into_iter().flat_map(|line| line.kinds.concat())
}

/// Further attempts of a client's writes: half of the clients repeat what was not answered, at other nodes under the same
/// request id.
pub fn repeats(number: u64) -> usize {
    if number.is_multiple_of(2) { 3 } else { 0 }
}

/// Two of three clients stay at a node each, the others roam.
pub fn home(stage: &Stage, number: u64) -> Home {
    match number % 3 {
        2 => Home::Anywhere,
        _ => Home::Node(((number - number / 3) % stage.field.size() as u64) as usize),
    }
}

/// Reads that any node answers by itself, whether or not there is a majority.
pub const STALE_READS: [&str; 2] = ["stale-read", "read-since"];

/// Runs all clients of a workload in the clients' network.
pub async fn in_clients<F>(stage: &Stage, run: impl Fn(Client) -> F) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let made = (0..stage.groups() as u64 * CLIENTS_PER_GROUP).map(|number| {
        let mut client = Client::new(stage, home(stage, number));
        client.group = (number / CLIENTS_PER_GROUP) as usize;
        client.repeats = repeats(number);
        stage.field.client_runtime().spawn(run(client))
    });
    for running in made.collect::<Vec<_>>() {
        running.await?;
    }
    Ok(())
}

/// Runs one patient client per node, one after the other.
pub async fn at_every_node<F>(stage: &Stage, run: impl Fn(Client, usize) -> F) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    for node in 0..stage.field.size() {
        let client = Client::patient(stage, node);
        stage.field.client_runtime().spawn(run(client, node)).await?;
    }
    Ok(())
}

/// The number that an attribute holds; null if it was never written.
pub fn number_in(reply: &GetAttributeReply) -> Result<Json, String> {
    let Some(attribute) = &reply.attribute else { return Ok(Json::Null) };
    let number = std::str::from_utf8(&attribute.value).ok().and_then(|text| text.parse::<u64>().ok());
    number
        .map(Json::from)
        .ok_or_else(|| format!("a register holds {:?}", attribute.value))
}
