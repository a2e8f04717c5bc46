//! Faults. Each is one kind of harm that is done, lasts a while and is undone.

use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Whether a fault was really there, and how that is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Outcome {
    /// `evidence` is something read back: a counter that moved, a state in /proc, an error the kernel gave.
    Installed { mode: String, nodes: Vec<String>, evidence: String },
    /// It cannot be done here, or made no sense in this moment (no leader to kill).
    Skipped { why: String },
    /// It was asked for and nothing shows that it took effect.
    Indeterminate { why: String },
}

/// One kind of harm.
#[async_trait]
pub trait Nemesis: Send {
    fn name(&self) -> &'static str;

    /// Does the harm. What is random comes from `random` alone.
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome>;

    /// Undoes it, and says what shows that it is gone. Called exactly once after each `start`, also after one that failed.
    async fn stop(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<String>;
}
