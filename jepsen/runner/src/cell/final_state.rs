//! What the nodes say in the end, kept for the checkers: `final.json` with log positions and digests, `metrics/`.

use crate::field::Field;
use quorate_tests::http;
use quorate_tests::raft_state::RaftState;
use serde_json::json;
use std::time::Duration;

/// All nodes have applied the same within this, when nobody writes.
const SAME: Duration = Duration::from_secs(30);

/// Waits until all nodes have applied the same, and writes what they say.
pub async fn write(field: &Field) -> anyhow::Result<()> {
    let same = field.wait_for("all nodes have applied the same", SAME, async || {
        let states = states(field).await;
        let all: Option<Vec<&RaftState>> = states.iter().map(Option::as_ref).collect();
        let all = all?;
        let is_same = all.iter().all(|state| state.applied == all[0].applied);
        is_same.then_some(states)
    });
    // The very look in which they were the same: the product writes now and then by itself.
    let (states, same) = match same.await {
        Ok(states) => (states, Ok(())),
        Err(error) => (states(field).await, Err(error)),
    };
    let nodes = states.iter().enumerate().map(|(node, state)| {
        state.as_ref().map(|state| {
            json!({
                "node": field.name(node), "applied": state.applied, "last": state.last, "purged": state.purged,
                "checkpoint": state.checkpoint, "digests": state.digests,
            })
        })
    });
    let nodes: Vec<_> = nodes.collect();
    std::fs::write(field.dir().join("final.json"), serde_json::to_string(&nodes)?)?;
    let metrics = metrics(field).await;
    same.and(metrics)
}

/// Keeps what each node says in figures, of all that answer; an error names one that does not.
pub async fn metrics(field: &Field) -> anyhow::Result<()> {
    let dir = field.dir().join("metrics");
    std::fs::create_dir_all(&dir)?;
    let mut missed = Ok(());
    for node in 0..field.size() {
        let (name, control) = (field.name(node), field.control(node));
        match http::get(&control, "/metrics").await {
            Ok(reply) => std::fs::write(dir.join(format!("{name}.txt")), reply.body)?,
            Err(error) => missed = Err(anyhow::anyhow!("{name} gives no metrics: {error}")),
        }
    }
    missed
}

async fn states(field: &Field) -> Vec<Option<RaftState>> {
    let mut states = Vec::new();
    for node in 0..field.size() {
        states.push(field.raft_state(node).await);
    }
    states
}
