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

/// Begins to write `nodes.jsonl`: a line per look with its time as in the history and, per node, whether it runs, who leads for
/// it in which term, how far it has applied, and what its process holds: resident kilobytes, open files, threads.
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
            "resident_kb": node.pid().and_then(|pid| of_process(pid, "VmRSS:")),
            "open_files": node.pid().and_then(open_files),
            "threads": node.pid().and_then(|pid| of_process(pid, "Threads:")),
        })
    });
    json!({"time": recorder.now(), "nodes": nodes.collect::<Vec<_>>()})
}

/// A number of `/proc/PID/status`.
fn of_process(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

fn open_files(pid: u32) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

impl Watch {
    pub async fn end(self) {
        let _ = self.end.send(true);
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_holds_can_be_read() {
        let own = std::process::id();
        assert!(of_process(own, "VmRSS:").is_some_and(|kilobytes| kilobytes > 100));
        assert!(of_process(own, "Threads:").is_some_and(|threads| threads >= 1));
        assert!(open_files(own).is_some_and(|files| files >= 3));
        assert_eq!(of_process(own, "NoSuchLine:"), None);
    }
}
