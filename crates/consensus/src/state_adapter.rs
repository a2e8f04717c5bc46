//! openraft's state machine over the applier and the state engine.

use crate::applier::{ApplyHandle, Group, applied_rows};
use crate::convert;
use crate::types::{EntryAnswers, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::write_path::WritePath;
use futures::{FutureExt, Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, RaftTypeConfig};
use quorate_state_machine::{EntryInput, EntryKind, Position};
use quorate_storage::codec;
use quorate_storage::state::{Checkpoint, RaftRows};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// Entries applied as one group, when that many are waiting.
const MAX_GROUP_ENTRIES: usize = 64;
/// Bytes of commands applied as one group.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// What openraft carries as "the snapshot": never the bytes themselves.
#[derive(Clone, Debug)]
pub enum SnapshotHandle {
    /// A checkpoint of ours, to be sent.
    Held(Arc<Checkpoint>),
    /// Complete files in the incoming directory, to be installed.
    Received(RaftRows),
}

type SnapshotOf = Snapshot<
    <<TypeConfig as RaftTypeConfig>::LeaderId as openraft::vote::RaftLeaderId>::Committed,
    u64,
    crate::types::PeerNode,
    SnapshotHandle,
>;

/// The state as openraft sees it.
#[derive(Clone)]
pub struct StateAdapter {
    apply: ApplyHandle,
    /// The newest checkpoint; older ones live as long as a transfer holds them.
    newest: Arc<Mutex<Newest>>,
    path: Arc<WritePath>,
}

#[derive(Default)]
struct Newest {
    checkpoint: Option<Arc<Checkpoint>>,
    /// It was made for openraft's next request.
    prepared: bool,
    /// What was installed last. A checkpoint that was begun before it is too old: the log up to here is gone.
    installed: Option<codec::LogId>,
}

impl StateAdapter {
    pub fn new(apply: ApplyHandle, path: Arc<WritePath>) -> StateAdapter {
        StateAdapter {
            apply,
            newest: Arc::default(),
            path,
        }
    }

    /// No longer reads the newest checkpoint for whoever asks for it.
    pub(crate) fn abandon_checkpoint(&self) {
        if let Some(checkpoint) = &self.newest().checkpoint {
            checkpoint.abandon();
        }
    }

    /// Index of the newest checkpoint.
    pub fn checkpoint_index(&self) -> Option<u64> {
        let newest = self.newest();
        newest
            .checkpoint
            .as_ref()
            .and_then(|checkpoint| checkpoint.raft().applied)
            .map(|id| id.index)
    }

    /// Whether somebody besides us holds a checkpoint: it is being sent.
    pub fn checkpoint_in_use(&self) -> bool {
        self.newest()
            .checkpoint
            .as_ref()
            .is_some_and(|checkpoint| Arc::strong_count(checkpoint) > 1)
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().expect("no panic while held")
    }

    /// Makes the checkpoint that openraft will ask for. openraft stops for good when it asks for one that cannot be made,
    /// but a peer whose disk is full can go on without one.
    pub async fn prepare_checkpoint(&self) -> io::Result<()> {
        self.make_checkpoint().await?;
        self.newest().prepared = true;
        Ok(())
    }

    /// A checkpoint that has entry `at_least`, for a peer that asks for this one's state. What is being read for one that asked
    /// before, or has been, is given again: an asker that lost patience finds it ready, and no disk reads it twice.
    pub(crate) async fn checkpoint_to_give(&self, at_least: u64) -> io::Result<Arc<Checkpoint>> {
        let newest = self.newest().checkpoint.clone();
        let reaches = |checkpoint: &Arc<Checkpoint>| checkpoint.raft().applied.is_some_and(|id| id.index >= at_least);
        // Two of them are the adapter's own and this one.
        let is_read = |checkpoint: &Arc<Checkpoint>| checkpoint.is_listed() || Arc::strong_count(checkpoint) > 2;
        match newest.filter(|checkpoint| reaches(checkpoint) && is_read(checkpoint)) {
            Some(checkpoint) => Ok(checkpoint),
            None => self.make_checkpoint().await,
        }
    }

    pub(crate) async fn make_checkpoint(&self) -> io::Result<Arc<Checkpoint>> {
        let engine = self.apply.applier().engine().clone();
        fail::fail_point!("checkpoint_before", crate::failpoints::fail);
        let checkpoint = run_blocking(matches!(self.apply, ApplyHandle::Inline(_)), move || engine.checkpoint()).await?;
        fail::fail_point!("checkpoint_after");
        let mut newest = self.newest();
        let known = newest
            .checkpoint
            .as_ref()
            .and_then(|known| known.raft().applied)
            .max(newest.installed);
        if checkpoint.raft().applied >= known {
            newest.checkpoint = Some(checkpoint.clone());
        }
        Ok(checkpoint.clone())
    }
}

/// Disk work of unknown length goes to the blocking pool, except in a simulation.
pub async fn run_blocking<R: Send + 'static>(inline: bool, work: impl FnOnce() -> io::Result<R> + Send + 'static) -> io::Result<R> {
    if inline {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn to_snapshot(checkpoint: Arc<Checkpoint>) -> io::Result<SnapshotOf> {
    let raft = checkpoint.raft();
    let meta = SnapshotMeta {
        last_log_id: raft.applied.map(convert::log_id_from_disk),
        last_membership: convert::stored_membership_from_disk(&raft.membership).map_err(io::Error::other)?,
    };
    Ok(Snapshot {
        meta,
        snapshot: SnapshotHandle::Held(checkpoint),
    })
}

impl RaftStateMachine<TypeConfig> for StateAdapter {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = StateAdapter;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        applied_rows(self.apply.applier().engine().as_ref())
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let mut ended = false;
        while !ended {
            let mut inputs = Vec::new();
            let mut responders = Vec::new();
            let mut membership = None;
            let mut last = None;
            let mut bytes = 0;
            while inputs.len() < MAX_GROUP_ENTRIES && bytes < MAX_GROUP_BYTES {
                // The first entry is waited for; the group is closed as soon as no further one is ready.
                let next = if inputs.is_empty() {
                    Some(entries.next().await)
                } else {
                    entries.next().now_or_never()
                };
                let Some(next) = next else { break };
                let Some(item) = next else {
                    ended = true;
                    break;
                };
                let (entry, responder) = item?;
                let log_id = convert::log_id_to_disk(&entry.log_id);
                let position = Position {
                    term: log_id.leader.term,
                    peer: log_id.leader.peer,
                    index: log_id.index,
                };
                let kind = match entry.payload {
                    EntryPayload::Blank => EntryKind::Other,
                    EntryPayload::Normal(data) => {
                        bytes += data.0.len();
                        EntryKind::Commands(data.0)
                    }
                    EntryPayload::Membership(config) => {
                        let config = convert::membership_to_disk(&config);
                        membership = Some(codec::StoredMembership {
                            log_id: Some(log_id),
                            membership: config,
                        });
                        EntryKind::Other
                    }
                };
                inputs.push(EntryInput { position, kind });
                responders.push(responder);
                last = Some(log_id);
            }
            let Some(last) = last else { continue };
            self.path.committed(last.index);
            let answers = self
                .apply
                .apply(Group {
                    entries: inputs,
                    last,
                    membership,
                })
                .await?;
            self.path.applied(last.index);
            for (responder, answers) in responders.into_iter().zip(answers) {
                if let Some(responder) = responder {
                    responder.send(EntryAnswers(answers));
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> StateAdapter {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotHandle) -> Result<(), io::Error> {
        fail::fail_point!("install_before", crate::failpoints::fail);
        let applier = self.apply.applier().clone();
        let inline = matches!(self.apply, ApplyHandle::Inline(_));
        let rows = match snapshot {
            SnapshotHandle::Received(rows) => rows,
            // Never over the network: the files are on this machine and are taken from where they are.
            SnapshotHandle::Held(checkpoint) => {
                let incoming = applier.engine().incoming_dir();
                run_blocking(inline, move || checkpoint.copy_to(&incoming).map(|()| checkpoint.raft().clone())).await?
            }
        };
        if rows.applied.map(convert::log_id_from_disk) != meta.last_log_id {
            return Err(io::Error::other("the received checkpoint is not the one announced"));
        }
        let installed = rows.applied;
        run_blocking(inline, move || {
            applier.engine().install(&rows)?;
            applier.reload()
        })
        .await?;
        *self.newest() = Newest {
            installed,
            ..Newest::default()
        };
        fail::fail_point!("install_after");
        Ok(())
    }

    /// There is always one to give once something was applied: a follower whose entries were purged must not be stuck.
    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf>, io::Error> {
        let newest = self.newest().checkpoint.clone();
        if let Some(checkpoint) = newest {
            return to_snapshot(checkpoint).map(Some);
        }
        if self.apply.applier().engine().raft_rows()?.applied.is_none() {
            return Ok(None);
        }
        to_snapshot(self.make_checkpoint().await?).map(Some)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateAdapter {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf, io::Error> {
        let prepared = {
            let mut newest = self.newest();
            let prepared = std::mem::take(&mut newest.prepared);
            newest.checkpoint.clone().filter(|_| prepared)
        };
        match prepared {
            Some(checkpoint) => to_snapshot(checkpoint),
            None => to_snapshot(self.make_checkpoint().await?),
        }
    }
}
