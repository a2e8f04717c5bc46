//! Operations: a history's invocations, each with its end.

use crate::contract::REFUSED;
use crate::history::{Kind, Op, Phase, Process};
use serde_json::Value as Json;
use std::collections::HashMap;

/// One operation of a client. Indexes into the history are its clock: they go up with time, over all processes.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    pub invoked: &'a Op,
    /// Absent when the run ended first: as good as [`Kind::Info`].
    pub ended: Option<&'a Op>,
}

impl<'a> Operation<'a> {
    pub fn f(&self) -> &'a str {
        &self.invoked.f
    }

    pub fn kind(&self) -> Kind {
        self.ended.map_or(Kind::Info, |ended| ended.kind)
    }

    pub fn is_ok(&self) -> bool {
        self.kind() == Kind::Ok
    }

    /// Whether the state answered. A refusal of the state is the answer of a quorum, too.
    pub fn is_answered(&self) -> bool {
        self.is_ok() || self.is_refused()
    }

    /// Whether the state itself said no.
    pub fn is_refused(&self) -> bool {
        self.error().is_some_and(|error| error.starts_with(REFUSED))
    }

    pub fn phase(&self) -> Phase {
        self.invoked.phase
    }

    /// What was asked for.
    pub fn input(&self) -> &'a Json {
        &self.invoked.value
    }

    /// What was answered; nothing unless it was answered well.
    pub fn output(&self) -> Option<&'a Json> {
        self.ended.filter(|ended| ended.kind == Kind::Ok).map(|ended| &ended.value)
    }

    pub fn revision(&self) -> Option<u64> {
        self.ended.and_then(|ended| ended.revision)
    }

    pub fn term(&self) -> Option<u64> {
        self.ended.and_then(|ended| ended.term)
    }

    pub fn node(&self) -> Option<&'a str> {
        self.ended.and_then(|ended| ended.node.as_deref())
    }

    pub fn error(&self) -> Option<&'a str> {
        self.ended.and_then(|ended| ended.error.as_deref())
    }

    pub fn request(&self) -> Option<(u64, u64)> {
        let (session, number) = self.ended?.request.as_deref()?.split_once('-')?;
        Some((session.parse().ok()?, number.parse().ok()?))
    }

    pub fn process(&self) -> u64 {
        match self.invoked.process {
            Process::Client(process) => process,
            Process::Nemesis(_) => u64::MAX,
        }
    }

    /// Index at which it began.
    pub fn from(&self) -> u64 {
        self.invoked.index
    }

    /// Index at which its effect, if any, was there for certain. What nobody answered has no such index.
    pub fn to(&self) -> u64 {
        self.ended
            .filter(|ended| ended.kind != Kind::Info)
            .map_or(u64::MAX, |ended| ended.index)
    }

    /// A few words that find it in the history.
    pub fn name(&self) -> String {
        let (f, input, from) = (self.f(), self.input(), self.from());
        match self.ended {
            Some(ended) => format!("{f} {input} ({from}-{}, process {})", ended.index, self.process()),
            None => format!("{f} {input} ({from}-, process {})", self.process()),
        }
    }
}

/// All operations of clients, in the order they were invoked in. What ends without having begun is left out: the checker
/// of well-formed histories tells of it.
pub fn operations(history: &[Op]) -> Vec<Operation<'_>> {
    let mut all: Vec<Operation<'_>> = Vec::new();
    let mut open: HashMap<Process, usize> = HashMap::new();
    for op in history.iter().filter(|op| matches!(op.process, Process::Client(_))) {
        if op.kind == Kind::Invoke {
            open.insert(op.process, all.len());
            all.push(Operation { invoked: op, ended: None });
        } else if let Some(position) = open.remove(&op.process) {
            all[position].ended = Some(op);
        }
    }
    all
}

/// Hand-written histories for tests of checkers.
#[cfg(test)]
pub mod by_hand {
    use crate::history::{Kind, Op, Phase, Process};
    use serde_json::Value as Json;

    /// A history that grows line by line.
    #[derive(Default)]
    pub struct Story {
        pub ops: Vec<Op>,
        phase: Option<Phase>,
    }

    impl Story {
        pub fn enter(&mut self, phase: Phase) -> &mut Story {
            self.phase = Some(phase);
            self
        }

        pub fn invoke(&mut self, process: u64, f: &str, value: Json) -> &mut Story {
            self.line(process, Kind::Invoke, f, value, None)
        }

        pub fn ok(&mut self, process: u64, f: &str, value: Json, revision: u64) -> &mut Story {
            self.line(process, Kind::Ok, f, value, Some(revision))
        }

        pub fn fail(&mut self, process: u64, f: &str, value: Json, error: &str) -> &mut Story {
            self.line(process, Kind::Fail, f, value, None);
            self.last().error = Some(error.to_owned());
            self
        }

        pub fn info(&mut self, process: u64, f: &str, value: Json) -> &mut Story {
            self.line(process, Kind::Info, f, value, None);
            self.last().error = Some("timeout".to_owned());
            self
        }

        /// An operation that nothing else overlaps.
        pub fn done(&mut self, process: u64, f: &str, input: Json, output: Json, revision: u64) -> &mut Story {
            self.invoke(process, f, input).ok(process, f, output, revision)
        }

        /// Gives the last line a request id.
        pub fn under(&mut self, session: u64, number: u64) -> &mut Story {
            self.last().request = Some(format!("{session}-{number}"));
            self
        }

        pub fn at(&mut self, node: &str) -> &mut Story {
            self.last().node = Some(node.to_owned());
            self
        }

        pub fn last(&mut self) -> &mut Op {
            self.ops.last_mut().expect("a story that has begun")
        }

        fn line(&mut self, process: u64, kind: Kind, f: &str, value: Json, revision: Option<u64>) -> &mut Story {
            let index = self.ops.len() as u64;
            self.ops.push(Op {
                index,
                time: index * 1_000_000,
                process: Process::Client(process),
                kind,
                f: f.to_owned(),
                value,
                phase: self.phase.unwrap_or(Phase::Main),
                revision,
                term: revision.map(|_| 1),
                node: (kind != Kind::Invoke).then(|| "n1".to_owned()),
                request: None,
                error: None,
            });
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::by_hand::Story;
    use super::*;
    use serde_json::json;

    #[test]
    fn each_invocation_finds_its_own_end() {
        let mut story = Story::default();
        story.invoke(0, "read", json!([1, null])).invoke(1, "write", json!([1, 5]));
        story.ok(1, "write", json!([1, 5]), 3).under(7, 2);
        story.info(0, "read", json!([1, null])).invoke(2, "read", json!([1, null]));
        let all = operations(&story.ops);
        let kinds: Vec<_> = all.iter().map(|operation| (operation.process(), operation.kind())).collect();
        assert_eq!(kinds, [(0, Kind::Info), (1, Kind::Ok), (2, Kind::Info)]);
        assert_eq!((all[1].revision(), all[1].request(), all[1].to()), (Some(3), Some((7, 2)), 2));
        assert_eq!(
            (all[0].to(), all[2].to()),
            (u64::MAX, u64::MAX),
            "what was not answered may take effect later"
        );
    }
}
