//! A state that was lost while log and vote are whole comes back, under the same id, from another peer's checkpoint.
//!
//! What a peer has promised stands in its log: votes, and entries it has acknowledged. The state only follows from entries
//! that are committed, and those are the same everywhere. So any peer whose state is sound may give it away, and whoever
//! lost its own may go on from it as if it had applied the entries itself. It need not be the leader's, nor have caught up:
//! where two of three have lost their states, the third is nobody's follower, and no leader is elected before it has given
//! its own.
//!
//! This happens before the peer takes part in anything: it does not vote, acknowledge or serve meanwhile.

use crate::convert;
use crate::network;
use crate::node::Node;
use crate::receiving;
use crate::settings::STATE_ANSWER_TIMEOUT;
use crate::transfer::{self, Stalled};
use crate::transport::{Channel, Transport};
use futures::StreamExt;
use futures::stream::BoxStream;
use quorate_model::{ErrorCode, MetaError};
use quorate_storage::codec::{Membership, Payload, Vote};
use quorate_storage::log::{Done, LogStore};
use quorate_storage::state::{RaftRows, StateEngine};
use quorate_wire::quorate::peer as wire;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two rounds of asking.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Bytes of the log read at once when memberships are looked for.
const READ_BYTES: usize = 4 << 20;

/// The entry a checkpoint must reach: what the state lacks and the log does not have any more. `None` if the log leads on
/// from the state, which it always does unless the state was lost: the log is purged behind the durable state only.
pub fn missing(log: &dyn LogStore, state: &dyn StateEngine) -> io::Result<Option<u64>> {
    let applied = state.raft_rows()?.applied.map(|id| id.index);
    let purged = log.state().purged.map(|id| id.index);
    Ok(purged.filter(|purged| applied < Some(*purged)))
}

/// The last membership that the log has, committed or not, or else that of `rows`, which are the state's: whoever is in it may be
/// asked. Rows of a state that was lost name nobody; then all that is left of the log is read.
pub fn last_membership(log: &dyn LogStore, rows: &RaftRows) -> io::Result<Membership> {
    let state = log.state();
    let begins = state.purged.map_or(0, |purged| purged.index + 1);
    let end = state.last.map_or(0, |last| last.index + 1);
    let mut membership = rows.membership.membership.clone();
    let mut next = begins.max(rows.applied.map_or(0, |id| id.index));
    while next < end {
        let entries = log.read(next, end, READ_BYTES)?;
        let Some(last) = entries.last() else { break };
        next = last.log_id.index + 1;
        for entry in entries {
            if let Payload::Membership(newer) = entry.payload {
                membership = newer;
            }
        }
    }
    Ok(membership)
}

/// Asks the peers at `addresses` in turn until one has given its state, and installs it. One that hangs is given up for the next.
pub async fn rebuild(
    log: &dyn LogStore,
    state: &dyn StateEngine,
    transport: &Arc<dyn Transport>,
    addresses: &[String],
    at_least: u64,
) -> io::Result<()> {
    let mut patience = vec![STATE_ANSWER_TIMEOUT; addresses.len()];
    loop {
        for (address, patience) in addresses.iter().zip(&mut patience) {
            let begun = Instant::now();
            match fetch(state, transport, address, at_least, *patience).await {
                Ok(rows) => {
                    drop_conflict(log, &rows).await?;
                    state.install(&rows)?;
                    tracing::warn!(%address, index = rows.applied.map(|id| id.index), "the state is rebuilt from another peer's checkpoint");
                    return Ok(());
                }
                Err(error) => tracing::warn!(%address, at_least, %error, "no state was given"),
            }
            if begun.elapsed() >= *patience {
                *patience = patience.saturating_mul(2);
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Receives one peer's checkpoint into the incoming directory and verifies it. It must begin to come within `patience`; each
/// piece after that is waited for by itself.
async fn fetch(
    state: &dyn StateEngine,
    transport: &Arc<dyn Transport>,
    address: &str,
    at_least: u64,
    patience: Duration,
) -> Result<RaftRows, String> {
    let client = transport.client(address, 0, 0, Channel::Bulk);
    let asked = client.fetch_checkpoint(wire::FetchCheckpointRequest { at_least });
    let who = format!("the peer at {address}");
    let chunks = transfer::answer_within(patience, &who, "begun to give its state", asked).await;
    let chunks = chunks.map_err(|error| error.to_string())?;
    let mut broken = None;
    // An error ends the stream; what was complete before it does not verify.
    let chunks = chunks.scan((), |(), chunk| {
        futures::future::ready(chunk.map_err(|error| broken = Some(error.to_string())).ok())
    });
    let dir = state.incoming_dir();
    // Whose these files are is not known, and this is too rare to go on where another attempt ended.
    if dir.exists() {
        std::fs::remove_dir_all(&dir).map_err(|error| error.to_string())?;
    }
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let received = receiving::receive(&dir, false, Box::pin(chunks)).await;
    let rows = received.map_err(|error| broken.map_or(error.clone(), |why| format!("{error}: {why}")))?;
    match rows.applied {
        Some(applied) if applied.index >= at_least => Ok(rows),
        _ => Err(format!("the checkpoint does not reach entry {at_least}")),
    }
}

/// An entry of this log at the checkpoint's index that is another one was never committed, so it and what follows may go, as
/// a leader would have them go; they must, because the log has to lead on from the state.
///
/// This peer may have acknowledged them to a former leader, which remembers it. Who committed the other entry led later, so
/// its vote is saved first, as it is before a leader's own truncation: after a higher vote nobody misses what is gone, also
/// if this is interrupted half-way.
async fn drop_conflict(log: &dyn LogStore, rows: &RaftRows) -> io::Result<()> {
    let Some(applied) = rows.applied else { return Ok(()) };
    match log.log_id(applied.index)? {
        Some(own) if own != applied => {}
        _ => return Ok(()),
    }
    let later = Vote {
        leader: applied.leader,
        committed: false,
    };
    let own = log.state().vote;
    if own.is_none_or(|own| convert::vote_from_disk(own) < convert::vote_from_disk(later)) {
        durable(|done| log.save_vote(later, done)).await?;
    }
    let before = applied.index.checked_sub(1).map(|index| log.log_id(index)).transpose()?.flatten();
    durable(|done| log.truncate_after(before, done)).await
}

/// Starts a change of the log and waits until it is durable.
async fn durable(start: impl FnOnce(Done) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    start(Box::new(move |result| {
        let _ = sender.send(result);
    }))?;
    receiver.await.map_err(|_| io::Error::other("the log has ended"))?
}

impl Node {
    /// This peer's state for one that lost its own, file by file, with the manifest first. `asker` names that peer in the log;
    /// when it takes no more pieces it is given up, so that the checkpoint does not stay for ever.
    pub async fn handle_fetch_checkpoint(
        &self,
        request: wire::FetchCheckpointRequest,
        asker: &str,
    ) -> Result<BoxStream<'static, wire::InstallChunk>, MetaError> {
        self.check_sound()?;
        let core = self.core();
        let applied = core.applier.applied().index;
        if applied < request.at_least {
            let text = format!("this peer has applied entry {applied}, the caller needs {}", request.at_least);
            return Err(MetaError::new(ErrorCode::NotReady, text));
        }
        let failed = |error: io::Error| MetaError::internal(format!("no checkpoint could be made: {error}"));
        let checkpoint = core.state_adapter.checkpoint_to_give(request.at_least).await.map_err(failed)?;
        let index = checkpoint.raft().applied.map_or(0, |id| id.index);
        tracing::info!(index, %asker, "giving the state to a peer that lost its own");
        let pace = core.settings.checkpoint_bytes_per_second;
        let chunks = network::checkpoint_stream(checkpoint, pace, core.settings.inline_apply);
        let (watch, chunks) = transfer::watched(chunks.await.map_err(failed)?);
        let bounds = network::bounds(core.settings.transfer, pace, Duration::ZERO);
        let asker = asker.to_owned();
        core.spawn(async move {
            if watch.stalled(bounds).await == Stalled::BetweenPieces {
                tracing::warn!(%asker, patience = ?bounds.piece, "a peer that asked for the state takes no more of it and is given up");
            }
        });
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acknowledged::{Mark, OwnLog};
    use crate::fake_peer::{FakePeer, FakeTransport};
    use quorate_storage::codec::{LeaderId, LogEntry, LogId, Member, StoredMembership};
    use quorate_storage::log::{Completion, MemoryLog};
    use quorate_storage::state::MemoryState;
    use std::collections::BTreeMap;

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            leader: LeaderId { term, peer: 1 },
            index,
        }
    }

    /// Ten entries of term 2.
    fn log() -> MemoryLog {
        let log = MemoryLog::new(Completion::Automatic);
        let entries = (0..10).map(|index| LogEntry {
            log_id: id(2, index),
            payload: Payload::Blank,
        });
        log.append(entries.collect(), Box::new(|_| {})).expect("appended");
        log
    }

    #[test]
    fn a_state_is_missing_only_what_the_log_has_no_more() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (log, state) = (log(), MemoryState::new(dir.path()));
        assert_eq!(missing(&log, &state).expect("readable"), None, "all of it can be applied again");
        log.purge(id(2, 4), Box::new(|_| {})).expect("purged");
        assert_eq!(missing(&log, &state).expect("readable"), Some(4));
        state.commit(&[], id(2, 3), None).expect("committed");
        assert_eq!(missing(&log, &state).expect("readable"), Some(4));
        state.commit(&[], id(2, 4), None).expect("committed");
        assert_eq!(missing(&log, &state).expect("readable"), None);
    }

    /// Of these peers, all voters.
    fn membership(peers: &[u64]) -> Membership {
        let member = |peer: &u64| Member {
            peer: *peer,
            peer_address: format!("peer{peer}:5001"),
            public_address: format!("peer{peer}:5000"),
            incarnation: 100 + peer,
        };
        Membership {
            configs: vec![peers.to_vec()],
            members: peers.iter().map(member).collect(),
        }
    }

    #[test]
    fn members_are_those_of_the_log_or_else_of_the_state() {
        let log = log();
        let change = |index, peers: &[u64]| LogEntry {
            log_id: id(2, index),
            payload: Payload::Membership(membership(peers)),
        };
        let changes = vec![change(10, &[1, 2]), change(11, &[1, 2, 3])];
        log.append(changes, Box::new(|_| {})).expect("appended");
        let rows = |applied: Option<u64>, peers: &[u64]| RaftRows {
            applied: applied.map(|index| id(2, index)),
            membership: StoredMembership {
                log_id: applied.map(|index| id(2, index)),
                membership: membership(peers),
            },
        };
        let last = |rows: RaftRows| last_membership(&log, &rows).expect("readable");
        assert_eq!(
            last(RaftRows::default()),
            membership(&[1, 2, 3]),
            "a state that was lost names nobody"
        );
        assert_eq!(last(rows(Some(8), &[1])), membership(&[1, 2, 3]));
        assert_eq!(last(rows(Some(20), &[1, 4])), membership(&[1, 4]), "the state is ahead of the log");
        log.purge(id(2, 10), Box::new(|_| {})).expect("purged");
        assert_eq!(last(RaftRows::default()), membership(&[1, 2, 3]), "the log has one yet");
        log.purge(id(2, 11), Box::new(|_| {})).expect("purged");
        assert_eq!(last(RaftRows::default()), Membership::default(), "and now none");
        assert_eq!(last(rows(Some(11), &[1, 2, 3])), membership(&[1, 2, 3]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_hangs_is_given_up_and_the_next_one_gives_its_state() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (log, state) = (log(), MemoryState::new(dir.path().join("own")));
        let other = MemoryState::new(dir.path().join("other"));
        other.commit(&[], id(2, 6), None).expect("committed");
        let checkpoint = other.checkpoint().expect("made");
        let pieces = network::checkpoint_stream(checkpoint, 0, true).await.expect("readable");
        let gives = FakePeer {
            state: Some(pieces.collect().await),
            ..FakePeer::default()
        };
        let peers = [("hangs:1", Arc::new(FakePeer::default())), ("gives:1", Arc::new(gives))];
        let transport: Arc<dyn Transport> = Arc::new(FakeTransport(BTreeMap::from(peers)));
        let error = fetch(&state, &transport, "hangs:1", 4, STATE_ANSWER_TIMEOUT).await;
        let error = error.expect_err("it hangs");
        assert!(error.starts_with("the peer at hangs:1 has not begun to give its state"), "{error}");

        let addresses = ["hangs:1".to_owned(), "gives:1".to_owned()];
        rebuild(&log, &state, &transport, &addresses, 4).await.expect("rebuilt");
        assert_eq!(state.raft_rows().expect("readable").applied, Some(id(2, 6)));
    }

    #[tokio::test]
    async fn what_contradicted_the_checkpoint_is_missed_by_no_former_leader() {
        let acknowledged = |index| Mark {
            vote: convert::vote_from_disk(Vote {
                leader: id(2, 0).leader,
                committed: true,
            }),
            log_id: convert::log_id_from_disk(id(2, index)),
        };
        let rows = RaftRows {
            applied: Some(id(3, 6)),
            ..RaftRows::default()
        };
        for own in [2, 3, 4] {
            let log = log();
            let vote = Vote {
                leader: LeaderId { term: own, peer: 1 },
                committed: true,
            };
            log.save_vote(vote, Box::new(|_| {})).expect("voted");
            let watch = OwnLog::default();
            watch.compare(&log, &acknowledged(9)).expect("it is there");
            drop_conflict(&log, &rows).await.expect("dropped");
            assert_eq!(log.state().last.map(|last| last.index), Some(5));
            watch
                .compare(&log, &acknowledged(9))
                .expect("a later leader has committed another entry");
            let kept = log.state().vote.expect("voted").leader.term;
            assert_eq!(kept, own.max(3), "a vote never goes back");
        }
    }

    #[tokio::test]
    async fn entries_that_contradict_the_checkpoint_go_and_all_others_stay() {
        let rows = |applied| RaftRows {
            applied: Some(applied),
            ..RaftRows::default()
        };
        for (applied, left) in [(id(2, 6), 9), (id(3, 6), 5), (id(3, 20), 9)] {
            let log = log();
            drop_conflict(&log, &rows(applied)).await.expect("compared");
            assert_eq!(log.state().last.map(|last| last.index), Some(left), "{applied:?}");
        }
    }
}
