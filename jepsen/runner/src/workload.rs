//! What clients do during a run, and what must be true of the answers.

use crate::field::Field;
use crate::history::{Op, Recorder};
use crate::seeded::Random;
use crate::verdict::Verdict;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a workload's processes are given.
#[derive(Clone)]
pub struct Stage {
    pub field: Arc<Field>,
    pub recorder: Recorder,
    /// The run's seed; each process derives its own [`Random`] from it and its number.
    pub seed: u64,
    /// Operations a second over all processes.
    pub rate: u64,
    stopping: Arc<AtomicBool>,
}

impl Stage {
    pub fn new(field: Arc<Field>, recorder: Recorder, seed: u64, rate: u64) -> Stage {
        Stage {
            field,
            recorder,
            seed,
            rate,
            stopping: Arc::default(),
        }
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
    fn name(&self) -> &'static str;

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
