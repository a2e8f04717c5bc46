//! The one place where entries become state: apply, commit, remember digests. Runs on a thread of its own, so that a
//! slow write of the store does not hold up heartbeats; in a simulation it runs inline.

use crate::convert;
use crate::row_cache::RowCache;
use bytes::Bytes;
use quorate_model::{Revision, StampedTime};
use quorate_state_machine::digest::Digests;
use quorate_state_machine::keys::{self, RecordTable};
use quorate_state_machine::{Answer, EntryInput, Machine, MachineError};
use quorate_storage::codec::{LogId, StoredMembership};
use quorate_storage::state::{StateEngine, read_with};
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::{oneshot, watch};

/// Digests of this many recent entries are kept for the comparison between peers.
pub const DIGEST_RING: usize = 10_000;
/// Groups that may wait for the apply thread: one in work, one ready.
const QUEUED_GROUPS: usize = 2;

/// Is told what is applied, in order; appends it to a file that is never purged.
pub type Audit = Box<dyn Fn(AuditEvent<'_>) + Send + Sync>;

/// What an audit is told.
#[derive(Debug)]
pub enum AuditEvent<'a> {
    /// The state as it is found, at start or after a checkpoint was installed: the entry after `applied` comes next.
    Loaded { applied: Option<u64>, revision: Revision },
    /// A group, with one list of answers per entry. Told before the group is committed: the state never holds what the
    /// audit does not. After a crash a group is told once more.
    Applied {
        entries: &'a [EntryInput],
        answers: &'a [Vec<Answer>],
    },
}

/// One group on its way into the state.
pub struct Group {
    pub entries: Vec<EntryInput>,
    pub last: LogId,
    /// The newest membership in the group.
    pub membership: Option<StoredMembership>,
}

/// What has been applied, for everyone who waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppliedState {
    pub index: u64,
    pub term: u64,
    /// Who led in the term when it made this entry: a term can have more than one leader.
    pub leader_peer: u64,
    pub revision: Revision,
    /// Latest time stamped by a leader.
    pub stamped: StampedTime,
    pub digests: Digests,
    /// The cluster's level.
    pub level: u32,
}

impl AppliedState {
    /// Term and peer of the leader that made the last entry, as `term.peer`.
    pub fn leader_text(&self) -> String {
        format!("{}.{}", self.term, self.leader_peer)
    }
}

/// Applies groups in order.
pub struct Applier {
    engine: Arc<dyn StateEngine>,
    machine: Mutex<Machine>,
    rows: Mutex<RowCache>,
    /// Digests of recent entries; a lock of its own, because peers ask while a write of the store may take long.
    ring: Mutex<VecDeque<Digests>>,
    applied: watch::Sender<AppliedState>,
    /// The newest revision that may have changed a snapshot: a channel of its own, so that who waits for that is not woken by each group.
    snapshots: watch::Sender<Revision>,
    /// The highest level this build knows.
    known_level: u32,
    /// Why only a newer build can go on.
    outdated: OnceLock<String>,
    /// Appends what was applied to a file that is never purged (feature `audit`).
    audit: Option<Audit>,
}

type GroupAnswers = io::Result<Vec<Vec<Answer>>>;

impl Applier {
    pub fn open(engine: Arc<dyn StateEngine>, known_level: u32, audit: Option<Audit>) -> io::Result<Applier> {
        let machine = load_machine(engine.as_ref(), known_level).map_err(io::Error::other)?;
        let (applied, _) = watch::channel(AppliedState::default());
        let (snapshots, _) = watch::channel(Revision::default());
        let applier = Applier {
            engine,
            machine: Mutex::new(machine),
            rows: Mutex::default(),
            ring: Mutex::default(),
            applied,
            snapshots,
            known_level,
            outdated: OnceLock::new(),
            audit,
        };
        applier.reload()?;
        Ok(applier)
    }

    pub fn engine(&self) -> &Arc<dyn StateEngine> {
        &self.engine
    }

    pub fn watch(&self) -> watch::Receiver<AppliedState> {
        self.applied.subscribe()
    }

    /// The newest revision that may have changed a snapshot.
    pub fn watch_snapshots(&self) -> watch::Receiver<Revision> {
        self.snapshots.subscribe()
    }

    pub fn applied(&self) -> AppliedState {
        *self.applied.borrow()
    }

    /// Latest stamped time of the log.
    pub fn stamped_time(&self) -> StampedTime {
        self.applied().stamped
    }

    /// Digests after entry `index`, if it is among the recent ones.
    pub fn digests_at(&self, index: u64) -> Option<Digests> {
        let ring = self.ring.lock().expect("no panic while held");
        let position = ring.binary_search_by_key(&index, |digests| digests.index).ok()?;
        ring.get(position).copied()
    }

    /// The last `count` digests, oldest first.
    pub fn recent_digests(&self, count: usize) -> Vec<Digests> {
        let ring = self.ring.lock().expect("no panic while held");
        ring.iter().rev().take(count).rev().copied().collect()
    }

    /// Why only a newer build can go on: it has come to a level or to a command that this one does not know.
    pub fn outdated(&self) -> Option<&str> {
        self.outdated.get().map(String::as_str)
    }

    /// What made openraft fail, in our own words if they say more.
    pub(crate) fn explain(&self, failure: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
        match self.outdated() {
            Some(why) => io::Error::other(why.to_owned()),
            None => io::Error::other(failure),
        }
    }

    fn refused(&self, error: MachineError) -> io::Error {
        if error.wants_newer_build() {
            let _ = self.outdated.set(error.to_string());
        }
        io::Error::other(error)
    }

    /// Applies one group and makes it visible.
    pub fn apply(&self, group: &Group) -> GroupAnswers {
        let mut machine = self.machine.lock().expect("an apply error stops the process");
        let mut rows = self.rows.lock().expect("an apply error stops the process");
        let applied = read_with(self.engine.as_ref(), |reader| {
            machine.apply_group(&rows.over(reader), &group.entries)
        });
        let applied = applied.map_err(|error| self.refused(error))?;
        if let Some(audit) = &self.audit {
            audit(AuditEvent::Applied {
                entries: &group.entries,
                answers: &applied.answers,
            });
        }
        fail::fail_point!("apply_commit_before", crate::failpoints::fail);
        self.engine.commit(&applied.writes, group.last, group.membership.as_ref())?;
        fail::fail_point!("apply_commit_after");
        let change_snapshots = change_snapshots(&applied.writes);
        rows.written(applied.writes);
        drop(rows);
        let mut ring = self.ring.lock().expect("no panic while held");
        ring.extend(applied.digests);
        let surplus = ring.len().saturating_sub(DIGEST_RING);
        ring.drain(..surplus);
        drop(ring);
        self.publish(group.last, &machine);
        if change_snapshots {
            self.snapshots.send_replace(machine.revision());
        }
        Ok(applied.answers)
    }

    /// Takes over the state as the engine now holds it: at start, and after a checkpoint was installed.
    pub fn reload(&self) -> io::Result<()> {
        let mut machine = self.machine.lock().expect("an apply error stops the process");
        *machine = load_machine(self.engine.as_ref(), self.known_level).map_err(|error| self.refused(error))?;
        self.rows.lock().expect("an apply error stops the process").clear();
        self.ring.lock().expect("no panic while held").clear();
        let rows = self.engine.raft_rows()?;
        if let Some(audit) = &self.audit {
            audit(AuditEvent::Loaded {
                applied: rows.applied.map(|id| id.index),
                revision: machine.revision(),
            });
        }
        self.publish(rows.applied.unwrap_or_default(), &machine);
        self.snapshots.send_replace(machine.revision());
        Ok(())
    }

    fn publish(&self, last: LogId, machine: &Machine) {
        let (revision, stamped, digests) = (machine.revision(), machine.stamped_time(), machine.digests());
        self.applied.send_replace(AppliedState {
            index: last.index,
            term: last.leader.term,
            leader_peer: last.leader.peer,
            revision,
            stamped,
            digests,
            level: machine.level(),
        });
    }
}

/// Whether the record of a snapshot is among the writes of a group, which are in key order. Whatever changes a snapshot writes its record, or
/// removes it.
fn change_snapshots(writes: &[(Bytes, Option<Bytes>)]) -> bool {
    let records = keys::record_prefix(RecordTable::Snapshot);
    let first = writes.partition_point(|(key, _)| key[..] < records[..]);
    writes.get(first).is_some_and(|(key, _)| key.starts_with(&records))
}

fn load_machine(engine: &dyn StateEngine, known_level: u32) -> Result<Machine, MachineError> {
    read_with(engine, |reader| Machine::open_knowing(reader, known_level))
}

/// Hands groups to the applier.
#[derive(Clone)]
pub enum ApplyHandle {
    Inline(Arc<Applier>),
    Thread {
        applier: Arc<Applier>,
        queue: std::sync::mpsc::SyncSender<(Group, oneshot::Sender<GroupAnswers>)>,
    },
}

impl ApplyHandle {
    /// Starts the apply thread; it ends when the last handle is gone.
    pub fn spawn(applier: Arc<Applier>) -> io::Result<ApplyHandle> {
        let (queue, groups) = std::sync::mpsc::sync_channel::<(Group, oneshot::Sender<GroupAnswers>)>(QUEUED_GROUPS);
        let worker = applier.clone();
        std::thread::Builder::new().name("apply".to_owned()).spawn(move || {
            for (group, reply) in groups {
                let _ = reply.send(worker.apply(&group));
            }
        })?;
        Ok(ApplyHandle::Thread { applier, queue })
    }

    pub fn applier(&self) -> &Arc<Applier> {
        match self {
            ApplyHandle::Inline(applier) | ApplyHandle::Thread { applier, .. } => applier,
        }
    }

    pub async fn apply(&self, group: Group) -> GroupAnswers {
        match self {
            ApplyHandle::Inline(applier) => applier.apply(&group),
            ApplyHandle::Thread { queue, .. } => {
                let (sender, receiver) = oneshot::channel();
                // openraft applies one group at a time, so the queue of two never blocks.
                queue
                    .send((group, sender))
                    .map_err(|_| io::Error::other("the apply thread stopped"))?;
                receiver.await.map_err(|_| io::Error::other("the apply thread stopped"))?
            }
        }
    }
}

/// The applied id and membership as openraft wants them.
pub fn applied_rows(engine: &dyn StateEngine) -> io::Result<(Option<crate::types::LogId>, crate::types::StoredMembership)> {
    let rows = engine.raft_rows()?;
    let membership = convert::stored_membership_from_disk(&rows.membership).map_err(io::Error::other)?;
    Ok((rows.applied.map(convert::log_id_from_disk), membership))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_model::{RequestId, SessionId};
    use quorate_state_machine::commands::{CreateInstance, CreateSnapshot, Numbered, PutAttribute};
    use quorate_state_machine::frame::{self, Frame};
    use quorate_state_machine::level::LEVEL;
    use quorate_state_machine::{EntryKind, Position};
    use quorate_storage::codec::LeaderId;
    use quorate_storage::state::MemoryState;

    /// Applies one command as the next entry; whether it was said that a snapshot may have changed.
    fn apply<C: Numbered>(applier: &Applier, command: &C) -> bool {
        let (term, peer, index) = (1, 1, applier.applied().index + 1);
        let request = RequestId {
            session: SessionId(0),
            number: 0,
        };
        let frame = frame::encode_frame(&Frame {
            number: C::NUMBER,
            request,
            fingerprints: Vec::new(),
            payload: command.encode_to_vec().into(),
        });
        let entry = EntryInput {
            position: Position { term, peer, index },
            kind: EntryKind::Commands(frame::pack(StampedTime(index), &[frame])),
        };
        let leader = LeaderId { term, peer };
        let group = Group {
            entries: vec![entry],
            last: LogId { leader, index },
            membership: None,
        };
        let (before, snapshots) = (applier.applied().revision, applier.watch_snapshots());
        let answers = applier.apply(&group).expect("applies");
        assert!(answers[0][0].body.is_ok(), "{answers:?}");
        *snapshots.borrow() > before
    }

    #[test]
    fn who_waits_for_snapshots_hears_of_what_changes_one_and_of_nothing_else() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let applier = Applier::open(Arc::new(MemoryState::new(dir.path())), LEVEL, None).expect("opens");
        let instance_id = "i".to_owned();
        let create = CreateInstance {
            instance_id: instance_id.clone(),
            ..CreateInstance::default()
        };
        assert!(!apply(&applier, &create));
        let put = PutAttribute {
            instance_id: instance_id.clone(),
            name: "a".to_owned(),
            value: Bytes::from_static(b"v"),
            if_revision: None,
        };
        assert!(!apply(&applier, &put));
        let snapshot = CreateSnapshot {
            instance_id,
            name: "s".to_owned(),
            ..CreateSnapshot::default()
        };
        assert!(apply(&applier, &snapshot));
        assert!(!apply(&applier, &put));
        applier.reload().expect("reloads");
        assert_eq!(*applier.watch_snapshots().borrow(), applier.applied().revision);
    }
}
