//! Random sequences of requests against both logs and a plain vector: all three agree after every step and every reopen.

mod support;

use proptest::prelude::*;
use quorate_storage::codec::{LeaderId, LogEntry, LogId, Vote};
use quorate_storage::log::{Completion, FileLog, LogState, LogStore, MemoryLog};
use support::{append, entry, id_of, small, wait};

#[derive(Clone, Debug)]
enum Action {
    Append {
        count: u64,
        bytes: usize,
    },
    /// Keep all but so many.
    Truncate {
        drop: u64,
    },
    /// Up to so far after the first entry; may lie beyond the last.
    Purge {
        ahead: u64,
    },
    Vote {
        term: u64,
    },
    Commit,
    Reopen,
    /// The process dies without a clean end; everything was acknowledged.
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0..12u64, 0..900usize).prop_map(|(count, bytes)| Action::Append { count, bytes }),
        2 => (0..20u64).prop_map(|drop| Action::Truncate { drop }),
        2 => (0..25u64).prop_map(|ahead| Action::Purge { ahead }),
        1 => (1..9u64).prop_map(|term| Action::Vote { term }),
        1 => Just(Action::Commit),
        1 => Just(Action::Reopen),
        1 => Just(Action::Crash),
    ]
}

/// The obvious implementation.
#[derive(Default)]
struct Model {
    entries: Vec<LogEntry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    /// Counts truncations: entries written again differ from the ones before.
    term: u64,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn state(&self) -> LogState {
        LogState {
            purged: self.purged,
            last: self.last(),
            vote: self.vote,
            committed: None,
        }
    }
}

fn check(name: &str, log: &impl LogStore, model: &Model) {
    assert_eq!(
        LogState {
            committed: None,
            ..log.state()
        },
        model.state(),
        "{name}"
    );
    let all = log.read(0, u64::MAX, usize::MAX).unwrap();
    assert_eq!(all, model.entries, "{name}");
    for entry in &model.entries {
        let index = entry.log_id.index;
        assert_eq!(log.log_id(index).unwrap(), Some(entry.log_id), "{name}");
        assert_eq!(log.read(index, index + 1, 0).unwrap(), std::slice::from_ref(entry), "{name}");
    }
    let budget = 2000;
    let some = log.read(0, u64::MAX, budget).unwrap();
    let weight: usize = some.iter().map(LogEntry::weight).sum();
    assert!(some.len() <= 1 || weight <= budget, "{name} read {weight} bytes");
    assert_eq!(some[..], model.entries[..some.len()], "{name}");
    assert_eq!(some.is_empty(), model.entries.is_empty(), "{name}");
    assert_eq!(log.log_id(model.next()).unwrap(), None, "{name}");
    assert_eq!(
        model.purged.map(|purged| log.log_id(purged.index).unwrap()),
        model.purged.map(Some),
        "{name}"
    );
}

/// Changes the model and gives the same change to both logs.
fn step(action: &Action, model: &mut Model, file: &FileLog, memory: &MemoryLog) {
    match action {
        Action::Append { count, bytes } => {
            let next = model.next();
            let entries: Vec<LogEntry> = (next..next + count)
                .map(|index| LogEntry {
                    log_id: id_of(model.term, index),
                    ..entry(index, *bytes)
                })
                .collect();
            model.entries.extend(entries.iter().cloned());
            append(file, entries.clone()).unwrap();
            append(memory, entries).unwrap();
        }
        Action::Truncate { drop } => {
            model.entries.truncate(model.entries.len().saturating_sub(*drop as usize));
            model.term += 1;
            let last = if model.entries.is_empty() { None } else { model.last() };
            wait(|done| file.truncate_after(last, done)).unwrap();
            wait(|done| memory.truncate_after(last, done)).unwrap();
        }
        Action::Purge { ahead } => {
            let index = model.purged.map_or(0, |purged| purged.index + 1) + ahead;
            let kept = model
                .entries
                .iter()
                .find(|entry| entry.log_id.index == index)
                .map(|entry| entry.log_id);
            let upto = kept.unwrap_or(id_of(model.term, index));
            model.entries.retain(|entry| entry.log_id.index > index);
            model.purged = Some(upto);
            wait(|done| file.purge(upto, done)).unwrap();
            wait(|done| memory.purge(upto, done)).unwrap();
        }
        Action::Vote { term } => {
            let vote = Vote {
                leader: LeaderId { term: *term, peer: 2 },
                committed: false,
            };
            model.vote = Some(vote);
            wait(|done| file.save_vote(vote, done)).unwrap();
            wait(|done| memory.save_vote(vote, done)).unwrap();
        }
        Action::Commit => {
            file.set_committed(model.last());
            memory.set_committed(model.last());
        }
        Action::Reopen | Action::Crash => {}
    }
}

fn run(actions: &[Action]) {
    let mut dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let memory = MemoryLog::new(Completion::Automatic);
    let mut file = FileLog::open(dir.path(), small(8 << 10)).unwrap();
    for action in actions {
        step(action, &mut model, &file, &memory);
        match action {
            Action::Reopen => {
                drop(file);
                file = FileLog::open(dir.path(), small(8 << 10)).unwrap();
                memory.crash(usize::MAX, false);
            }
            Action::Crash => {
                let copy = support::image(dir.path());
                drop(file);
                dir = copy;
                file = FileLog::open(dir.path(), small(8 << 10)).unwrap();
                assert_eq!(file.recovery().torn_tail, None, "everything was synced");
                memory.crash(0, false);
            }
            _ => {}
        }
        check("file", &file, &model);
        check("memory", &memory, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn both_logs_agree_with_a_plain_vector(actions in proptest::collection::vec(action(), 1..40)) {
        run(&actions);
    }
}
