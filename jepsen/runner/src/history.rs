//! What clients and faults did, in the order it happened: `history.jsonl`, and the same as `history.edn` for Jepsen's tools.
//!
//! One monotonic clock and one gap-free index over all processes. A process has one open operation at most; after one that
//! ended without an answer ([`Kind::Info`]) the thread goes on under a new process number. [`Kind::Fail`] is for what
//! certainly did not happen: an error that leaves it open is `Info` for a write and `Fail` for a read.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Who did it: a client's number, or the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Process {
    Client(u64),
    Nemesis(NemesisMark),
}

/// Written `nemesis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NemesisMark {
    Nemesis,
}

/// Where in its life an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Invoke,
    Ok,
    /// It certainly had no effect.
    Fail,
    /// It may have had its effect, or may have it later.
    Info,
}

/// The part of a run an operation was invoked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Bootstrap,
    Main,
    Heal,
    Final,
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Op {
    pub index: u64,
    /// Nanoseconds since the run began.
    pub time: u64,
    pub process: Process,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it does, in the words of its workload: `read`, `cas`, `txn`, `start-kill`.
    pub f: String,
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub value: Json,
    pub phase: Phase,
    /// Revision it was applied at (a write) or observed (a read), as the reply says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// Node that answered, or was asked: `n1` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `session-number` of a write, as the audit logs have it.
    #[serde(default, rename = "request-id", skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What an operation's end adds to its invocation.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub revision: Option<u64>,
    pub term: Option<u64>,
    pub node: Option<String>,
    pub request: Option<String>,
    pub error: Option<String>,
}

/// Writes the history of one run; clones write to the same one.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Mutex<Recorded>>,
    began: Instant,
}

struct Recorded {
    ops: Vec<Op>,
    next_process: u64,
    phase: Phase,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            shared: Arc::new(Mutex::new(Recorded {
                ops: Vec::new(),
                next_process: 0,
                phase: Phase::Bootstrap,
            })),
            began: Instant::now(),
        }
    }
}

impl Recorder {
    /// A process number nobody had before.
    pub fn new_process(&self) -> u64 {
        let mut recorded = self.recorded();
        recorded.next_process += 1;
        recorded.next_process - 1
    }

    pub fn enter(&self, phase: Phase) {
        self.recorded().phase = phase;
    }

    pub fn invoke(&self, process: u64, f: &str, value: Json) {
        self.write(Process::Client(process), Kind::Invoke, f, value, Reply::default());
    }

    pub fn complete(&self, process: u64, kind: Kind, f: &str, value: Json, reply: Reply) {
        self.write(Process::Client(process), kind, f, value, reply);
    }

    /// A fault: `f` is `begin-NAME` before anything is done, `start-NAME` when it is known what came of that, and `stop-NAME`
    /// when it is undone, unless it was skipped.
    pub fn fault(&self, f: &str, value: Json) {
        self.write(Process::Nemesis(NemesisMark::Nemesis), Kind::Info, f, value, Reply::default());
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// All lines so far.
    pub fn ops(&self) -> Vec<Op> {
        self.recorded().ops.clone()
    }

    fn recorded(&self) -> std::sync::MutexGuard<'_, Recorded> {
        self.shared.lock().expect("no writer of the history panics")
    }

    fn write(&self, process: Process, kind: Kind, f: &str, value: Json, reply: Reply) {
        let mut recorded = self.recorded();
        // Under the lock, so that times go up with indexes.
        let op = Op {
            index: recorded.ops.len() as u64,
            time: self.now(),
            process,
            kind,
            f: f.to_owned(),
            value,
            phase: recorded.phase,
            revision: reply.revision,
            term: reply.term,
            node: reply.node,
            request: reply.request,
            error: reply.error,
        };
        recorded.ops.push(op);
    }
}

/// Writes both forms of a history into a run's directory, and the faults once more by themselves: `nemesis.jsonl`.
pub fn write(dir: &Path, history: &[Op]) -> std::io::Result<()> {
    let create = |name: &str| std::fs::File::create(dir.join(name)).map(BufWriter::new);
    let (mut lines, mut edn) = (create("history.jsonl")?, create("history.edn")?);
    let mut faults = create("nemesis.jsonl")?;
    for op in history {
        let line = serde_json::to_string(op)?;
        writeln!(lines, "{line}")?;
        writeln!(edn, "{}", crate::edn::line(op))?;
        if matches!(op.process, Process::Nemesis(_)) {
            writeln!(faults, "{line}")?;
        }
    }
    lines.flush()?;
    faults.flush()?;
    edn.flush()
}

/// Reads a history back; an error names its line.
pub fn read(dir: &Path) -> anyhow::Result<Vec<Op>> {
    use anyhow::Context as _;
    let path = dir.join("history.jsonl");
    let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
    let mut history = Vec::new();
    for (number, line) in (1..).zip(std::io::BufReader::new(file).lines()) {
        let line = line?;
        history.push(serde_json::from_str(&line).with_context(|| format!("{}:{number}", path.display()))?);
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_history_is_read_back_as_it_was_written() {
        let recorder = Recorder::default();
        let process = recorder.new_process();
        recorder.invoke(process, "write", json!([1, 2]));
        let reply = Reply {
            revision: Some(9),
            request: Some("3-4".to_owned()),
            ..Reply::default()
        };
        recorder.complete(process, Kind::Ok, "write", json!([1, 2]), reply);
        recorder.fault("start-kill", json!({"status": "skipped", "why": "no leader"}));
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(dir.path(), &recorder.ops()).expect("written");
        assert_eq!(read(dir.path()).expect("read"), recorder.ops());
        let faults = std::fs::read_to_string(dir.path().join("nemesis.jsonl")).expect("read");
        assert!(faults.lines().count() == 1 && faults.contains("start-kill"), "{faults}");
        assert_eq!(recorder.ops()[2].process, Process::Nemesis(NemesisMark::Nemesis));
    }
}
