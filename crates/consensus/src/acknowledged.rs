//! What each peer has acknowledged to this one while it led, and what follows when a peer comes back without it.
//!
//! A log cannot tell damage of its very last group from a write that never finished: it cuts it and opens. If that group
//! had been acknowledged, a majority may rest on it, so the peer may neither vote nor acknowledge any more. Who led
//! remembers; the peer asks before it takes part, and is told with the first message of every stream of appends.
//!
//! An acknowledgement is remembered with the vote under which it was given. While the peer has seen no higher vote, nobody
//! may have had the entry truncated, so a log without it has lost it. After a higher vote nothing follows: truncating what
//! a former leader had appended is how Raft works.

use crate::convert;
use crate::rebuild;
use crate::transport::{Channel, Transport};
use crate::types::{LogId, Vote};
use quorate_model::mutant;
use quorate_storage::log::LogStore;
use quorate_storage::state::StateEngine;
use quorate_wire::quorate::peer as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a starting peer waits for the others' memory. Who leads answers at once; without a leader nobody may answer.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// The last acknowledgement of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub(crate) vote: Vote,
    pub(crate) log_id: LogId,
}

#[derive(Debug, Default)]
struct Memory {
    marks: BTreeMap<u64, Mark>,
    lost: BTreeSet<u64>,
}

impl Memory {
    /// What it had acknowledged before stays counted, which does no harm: it never votes again, so every quorum of the
    /// others has a member that holds what was committed.
    fn lose(&mut self, peer: u64) {
        if self.lost.insert(peer) {
            let acknowledged = self.marks.get(&peer).map(|mark| mark.log_id.index);
            tracing::error!(
                peer,
                acknowledged,
                "a peer came back without entries it had acknowledged: nothing it says is taken any more; start it empty with --replace"
            );
        }
    }
}

/// Lives as long as the process; ids of peers are never reused.
#[derive(Debug, Default)]
pub struct Acknowledged(Mutex<Memory>);

impl Acknowledged {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().expect("no panic while held")
    }

    /// What `peer` has acknowledged last.
    pub(crate) fn mark_of(&self, peer: u64) -> Option<Mark> {
        self.memory().marks.get(&peer).copied()
    }

    /// What `peer` has acknowledged under `vote`.
    pub(crate) fn under(&self, peer: u64, vote: &Vote) -> Option<LogId> {
        self.mark_of(peer).filter(|mark| mark.vote == *vote).map(|mark| mark.log_id)
    }

    /// Peers that came back without what they had acknowledged.
    pub fn lost(&self) -> Vec<u64> {
        self.memory().lost.iter().copied().collect()
    }

    /// Takes note of an acknowledgement under `vote`. One of a peer that has lost entries counts no more.
    pub(crate) fn record(&self, peer: u64, vote: Vote, log_id: Option<LogId>) -> Result<(), LostEntries> {
        let mut memory = self.memory();
        if memory.lost.contains(&peer) {
            return Err(LostEntries { peer });
        }
        let Some(log_id) = log_id else { return Ok(()) };
        let mark = memory.marks.entry(peer).or_insert(Mark { vote, log_id });
        if mark.vote != vote || mark.log_id < log_id {
            *mark = Mark { vote, log_id };
        }
        Ok(())
    }

    /// Takes note that `peer` says it lacks `conflict`. An entry it had acknowledged under the same vote is lost.
    pub(crate) fn record_conflict(&self, peer: u64, vote: &Vote, conflict: &LogId) -> Result<(), LostEntries> {
        let mut memory = self.memory();
        let held = memory.marks.get(&peer).filter(|mark| mark.vote == *vote);
        if held.is_some_and(|mark| mark.log_id.index >= conflict.index) {
            memory.lose(peer);
        }
        match memory.lost.contains(&peer) {
            true => Err(LostEntries { peer }),
            false => Ok(()),
        }
    }

    /// Takes note that `peer` itself has found entries missing.
    pub(crate) fn record_loss(&self, peer: u64) {
        self.memory().lose(peer);
    }
}

/// Why a peer's answers are not taken.
#[derive(Debug, thiserror::Error)]
#[error("peer {peer} has lost entries it had acknowledged; start it empty with --replace")]
pub struct LostEntries {
    peer: u64,
}

/// Whether this peer itself has lost entries it had acknowledged.
#[derive(Debug, Default)]
pub struct OwnLog {
    loss: OnceLock<String>,
    told: Notify,
}

impl OwnLog {
    /// What is lost, once it is known.
    pub fn loss(&self) -> Option<&str> {
        self.loss.get().map(String::as_str)
    }

    /// Ends when it is known that entries are lost, and says which.
    pub async fn lost(&self) -> String {
        loop {
            let told = self.told.notified();
            if let Some(loss) = self.loss.get() {
                return loss.clone();
            }
            told.await;
        }
    }

    /// Compares what another peer remembers with the log here. An error once anything is known to be lost.
    pub(crate) fn compare(&self, log: &dyn LogStore, mark: &Mark) -> Result<(), String> {
        if let Some(loss) = self.loss() {
            return Err(loss.to_owned());
        }
        match lacks(log, mark) {
            Ok(None) => Ok(()),
            Ok(Some(loss)) => {
                tracing::error!("{loss}; this peer takes no part any more");
                let _ = self.loss.set(loss.clone());
                self.told.notify_waiters();
                Err(loss)
            }
            Err(error) => Err(format!("the log cannot be read: {error}")),
        }
    }
}

/// The loss in words, if the log lacks an entry that nobody may have had truncated.
fn lacks(log: &dyn LogStore, mark: &Mark) -> io::Result<Option<String>> {
    let acknowledged = convert::log_id_to_disk(&mark.log_id);
    if log.log_id(acknowledged.index)? == Some(acknowledged) {
        return Ok(None);
    }
    // Looked at after the entry: who had it truncated meanwhile has had its vote saved before.
    let state = log.state();
    if mutant!("lost-entries-not-noticed") {
        return Ok(None);
    }
    let purged = state.purged.is_some_and(|purged| purged.index >= acknowledged.index);
    let outvoted = state.vote.is_some_and(|own| convert::vote_from_disk(own) > mark.vote);
    if purged || outvoted {
        return Ok(None);
    }
    let end = state.last.map_or(0, |last| last.index);
    Ok(Some(format!(
        "the log ends at entry {end}, but this peer had acknowledged entry {}: the end of the log is lost",
        acknowledged.index
    )))
}

pub(crate) fn mark_from_wire(vote: Option<wire::Vote>, log_id: Option<wire::LogId>) -> Option<Mark> {
    Some(Mark {
        vote: convert::vote_from_wire(Some(vote?)).ok()?,
        log_id: convert::log_id_from_wire(log_id?).ok()?,
    })
}

/// Asks the other peers what this one, whose data directory is `incarnation`, has acknowledged to them, before it takes
/// part in anything; says what is lost. Asked are `addresses` and the members of the state, which may not have any yet.
/// Who does not answer soon is not waited for: the first message of a leader asks again.
pub async fn lost_entries(
    log: &dyn LogStore,
    state: &dyn StateEngine,
    transport: &Arc<dyn Transport>,
    incarnation: u64,
    addresses: impl IntoIterator<Item = &String>,
) -> io::Result<Option<String>> {
    let rows = state.raft_rows()?;
    // What the state holds was committed, whatever has become of the log's end: nothing up to there is lost.
    let applied = rows.applied.map_or(0, |applied| applied.index);
    let members = rebuild::last_membership(log, &rows)?.members;
    let others = members.iter().filter(|member| member.incarnation != incarnation);
    let mut asked: BTreeSet<String> = others.map(|member| member.peer_address.clone()).collect();
    asked.extend(addresses.into_iter().cloned());
    let calls = asked.iter().map(|address| {
        let client = transport.client(address, 0, 0, Channel::Forward);
        let request = wire::HelloRequest {
            incarnation,
            ..Default::default()
        };
        async move { tokio::time::timeout(ASK_TIMEOUT, client.hello(request)).await }
    });
    for reply in futures::future::join_all(calls).await {
        let Ok(Ok(reply)) = reply else { continue };
        let Some(mark) = mark_from_wire(reply.acknowledged_vote, reply.acknowledged) else {
            continue;
        };
        if mark.log_id.index > applied
            && let Some(loss) = lacks(log, &mark)?
        {
            return Ok(Some(loss));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaderIdOf;
    use quorate_storage::codec::{LogEntry, Payload};
    use quorate_storage::log::{Completion, MemoryLog};

    fn vote(term: u64) -> Vote {
        Vote {
            leader_id: LeaderIdOf { term, node_id: 1 },
            committed: true,
        }
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderIdOf { term, node_id: 1 }, index)
    }

    fn mark(term: u64, index: u64) -> Mark {
        Mark {
            vote: vote(term),
            log_id: id(term, index),
        }
    }

    /// A log of five entries of term 2, which has voted in term 2.
    fn log() -> MemoryLog {
        let log = MemoryLog::new(Completion::Automatic);
        let entries = (0..5).map(|index| LogEntry {
            log_id: convert::log_id_to_disk(&id(2, index)),
            payload: Payload::Blank,
        });
        log.save_vote(convert::vote_to_disk(&vote(2)), Box::new(|_| {})).expect("voted");
        log.append(entries.collect(), Box::new(|_| {})).expect("appended");
        log
    }

    #[test]
    fn only_an_entry_nobody_may_have_truncated_is_missed() {
        let log = log();
        assert_eq!(lacks(&log, &mark(2, 4)).expect("readable"), None, "it is there");
        let loss = lacks(&log, &mark(2, 5)).expect("readable").expect("it is not there");
        assert!(loss.contains("ends at entry 4") && loss.contains("acknowledged entry 5"), "{loss}");
        assert!(lacks(&log, &mark(3, 4)).expect("readable").is_some(), "another entry has its index");
        assert_eq!(
            lacks(&log, &mark(1, 7)).expect("readable"),
            None,
            "a later leader has been voted for"
        );
        log.purge(convert::log_id_to_disk(&id(2, 9)), Box::new(|_| {})).expect("purged");
        assert_eq!(lacks(&log, &mark(2, 5)).expect("readable"), None, "the state has it");
    }

    #[test]
    fn a_conflict_is_a_loss_only_below_what_was_acknowledged_under_the_same_vote() {
        let memory = Acknowledged::default();
        memory.record(2, vote(2), Some(id(2, 7))).expect("counted");
        memory
            .record_conflict(2, &vote(2), &id(2, 8))
            .expect("it never said that it has entry 8");
        memory
            .record_conflict(2, &vote(3), &id(2, 7))
            .expect("another leader may have truncated it");
        memory.record_conflict(3, &vote(2), &id(2, 7)).expect("another peer");
        assert!(memory.lost().is_empty());
        memory.record(2, vote(2), Some(id(2, 6))).expect("an older answer");
        assert_eq!(memory.under(2, &vote(2)), Some(id(2, 7)), "and it takes nothing back");
        assert!(memory.record_conflict(2, &vote(2), &id(2, 7)).is_err());
        assert!(
            memory.record(2, vote(2), Some(id(2, 8))).is_err(),
            "what it says now counts no more"
        );
        assert_eq!(memory.lost(), [2]);
    }
}
