//! Looks at the nodes all through a run: who leads, who ended by itself, how much memory each takes.

use crate::field::Field;
use crate::history::Recorder;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LOOK_AGAIN: Duration = Duration::from_millis(400);

pub struct Watch {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Begins to write `nodes.jsonl`: a line per look with its time as in the history and, per node, whether it runs, who leads for it in which term, how far
/// it has applied, and its resident kilobytes.
pub fn start(field: Arc<Field>, recorder: Recorder) -> Watch {
    let (end, mut ending) = watch::channel(false);
    let task = tokio::spawn(async move {
        let Ok(mut file) = File::create(field.dir().join("nodes.jsonl")) else {
            return;
        };
        while timeout(LOOK_AGAIN, ending.wait_for(|end| *end)).await.is_err() {
            let _ = field.look_for_exits();
            let line = look(&field, &recorder).await;
            let _ = writeln!(file, "{line}");
        }
    });
    Watch { end, task }
}

async fn look(field: &Field, recorder: &Recorder) -> serde_json::Value {
    let statuses = field.statuses().await;
    let nodes = statuses.iter().enumerate().map(|(position, status)| {
        let node = field.node(position);
        json!({
            "node": node.name,
            "runs": node.is_running(),
            "peer": status.as_ref().map(|status| status.peer_id),
            "leader": status.as_ref().map(|status| status.leader_id),
            "term": status.as_ref().map(|status| status.term),
            "revision": status.as_ref().map(|status| status.revision),
            "resident_kb": node.pid().and_then(resident_kb),
        })
    });
    json!({"time": recorder.now(), "nodes": nodes.collect::<Vec<_>>()})
}

fn resident_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

impl Watch {
    pub async fn end(self) {
        let _ = self.end.send(true);
        let _ = self.task.await;
    }
}
