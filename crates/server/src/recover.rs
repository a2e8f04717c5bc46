//! A new cluster from what one survivor holds, when the majority of the old one is lost for good.
//!
//! Nothing is taken back: every entry of the survivor's log is kept, also those of which it does not know whether they were
//! committed, because they may have been acknowledged. Behind them come two more: one that raises what is handed out beyond
//! everything the lost peers may have handed out, and a membership of the survivor alone. At its next start the peer elects
//! itself and commits them all.
//!
//! ```text
//! data-dir/recovery   text: new cluster, parent, crc32c; written first, removed last
//! ```
//! Until that file is gone the peer does not start, and the same recovery goes on where it stopped. The new cluster id keeps
//! the lost peers out should they turn up again: the old id would let them make a second majority.

use quorate_consensus::{env, rebuild};
use quorate_model::{ClusterId, PeerId, RequestId};
use quorate_state_machine::commands::{Numbered, RecoverCluster};
use quorate_state_machine::frame::{self, Frame};
use quorate_storage::codec::{LeaderId, LogEntry, LogId, Member, Membership, Payload, Vote};
use quorate_storage::identity::Identity;
use quorate_storage::log::{FileLog, FileLogOptions, LogStore};
use quorate_storage::recovery::Recovery;
use quorate_storage::state::RocksState;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// What a recovery would come to.
#[derive(Clone, Debug)]
pub struct RecoveryPlan {
    pub data_dir: PathBuf,
    pub peer: PeerId,
    pub parent: ClusterId,
    pub cluster: ClusterId,
    /// Members that are given up.
    pub lost: Vec<Member>,
    /// The last entry there is.
    pub last_index: u64,
    /// The last entry known to be committed; what follows it may never have been acknowledged, and is kept.
    pub committed_index: u64,
    /// An earlier attempt was interrupted.
    pub resumed: bool,
}

/// A stopped peer's data directory, opened and locked.
pub struct Survivor {
    plan: RecoveryPlan,
    identity: Identity,
    own: Member,
    log: FileLog,
    /// The last entry of the state, where the log ends before it.
    ahead: Option<LogId>,
}

fn refused(data_dir: &Path, why: &str) -> io::Error {
    io::Error::other(format!("{}: {why}", data_dir.display()))
}

fn advise(error: io::Error) -> io::Error {
    if !quorate_storage::state::is_damage(&error) {
        return error;
    }
    let advice = "recover another survivor, or restore a backup; if only ACTIVE is wrong, write the number of the newest generation and a line \
                  feed there";
    io::Error::other(format!("{error}; {advice}"))
}

impl Survivor {
    /// Opens the data directory of a peer that does not run. Changes nothing, but what opening a log always does: a write at its end
    /// that never finished is cut.
    pub fn open(data_dir: &Path) -> io::Result<Survivor> {
        let begun = Recovery::load(data_dir)?;
        let identity = Identity::load(data_dir)?.ok_or_else(|| refused(data_dir, "no peer has used this directory"))?;
        let (known, peer) = identity
            .member
            .ok_or_else(|| refused(data_dir, "this peer never belonged to a cluster, so there is nothing to recover"))?;
        let log = identity.open_log(data_dir, FileLogOptions::default()).map_err(io::Error::other)?;
        // One that is marked as damaged counts: who is asked for it may be all that is left.
        let rows = RocksState::rows_at_rest(&data_dir.join("state")).map_err(advise)?;
        let membership = rebuild::last_membership(&log, &rows)?;
        let applied = rows.applied;
        let state = log.state();
        let index = |id: LogId| id.index;
        if applied.map(index) < state.purged.map(index) {
            let why =
                "its state ends before its log begins, so what is between is lost here: recover another survivor, or restore a backup";
            return Err(refused(data_dir, why));
        }
        let own = membership
            .members
            .iter()
            .find(|member| member.incarnation == identity.incarnation.0);
        let own = own
            .cloned()
            .ok_or_else(|| refused(data_dir, "the last membership it has does not name it: it was removed"))?;
        let lost = membership
            .members
            .into_iter()
            .filter(|member| member.peer != own.peer)
            .collect::<Vec<_>>();
        if lost.is_empty() && begun.is_none() {
            return Err(refused(
                data_dir,
                "it is the only member, so no majority is lost: start it with `quorate serve`",
            ));
        }
        // The state may be ahead of the log: a checkpoint was installed, or less of the log was on disk than of the state.
        let ahead = applied.filter(|applied| state.last.is_none_or(|last| last.index < applied.index));
        let last_index = ahead.or(state.last).map_or(0, |last| last.index);
        let plan = RecoveryPlan {
            data_dir: data_dir.to_owned(),
            peer,
            parent: begun.map_or(known, |begun| begun.parent),
            cluster: begun.map_or_else(|| ClusterId(env::random_u128()), |begun| begun.cluster),
            lost,
            last_index,
            committed_index: state
                .committed
                .map_or(0, |committed| committed.index.min(last_index))
                .max(applied.map_or(0, |applied| applied.index)),
            resumed: begun.is_some(),
        };
        Ok(Survivor {
            plan,
            identity,
            own,
            log,
            ahead,
        })
    }

    pub fn plan(&self) -> &RecoveryPlan {
        &self.plan
    }

    /// Does it. Interrupted anywhere, it is to be called again.
    pub fn recover(self) -> io::Result<RecoveryPlan> {
        let plan = self.plan;
        let recovery = Recovery {
            cluster: plan.cluster,
            parent: plan.parent,
        };
        recovery.store(&plan.data_dir)?;
        let identity = Identity {
            member: Some((plan.cluster, plan.peer)),
            ..self.identity
        };
        identity.store(&plan.data_dir)?;
        if !plan.lost.is_empty() {
            if let Some(applied) = self.ahead {
                // As at a start: what is appended follows what is applied.
                durable(|done| self.log.purge(applied, done))?;
            }
            append(&self.log, &plan, self.own)?;
        }
        drop(self.log);
        // There is no other state: what can be read of this one is what is left.
        RocksState::forget_damage(&plan.data_dir.join("state"))?;
        Recovery::remove(&plan.data_dir)?;
        Ok(plan)
    }
}

/// Puts the two entries behind the log, under a term of this peer's own in which nobody else was elected here.
fn append(log: &FileLog, plan: &RecoveryPlan, own: Member) -> io::Result<()> {
    let state = log.state();
    let voted = state.vote.map_or(0, |vote| vote.leader.term);
    let written = state.last.map_or(0, |last| last.leader.term);
    let leader = LeaderId {
        term: voted.max(written) + 1,
        peer: own.peer,
    };
    let id = |after: u64| LogId {
        leader,
        index: plan.last_index + after,
    };
    let highest_member = plan.lost.iter().map(|member| member.peer).max().unwrap_or(0).max(own.peer);
    let command = RecoverCluster {
        cluster: plan.cluster.0.to_be_bytes().to_vec(),
        parent: plan.parent.0.to_be_bytes().to_vec(),
        highest_member,
        is_counted: true,
    };
    let frame = Frame {
        number: RecoverCluster::NUMBER,
        request: RequestId::default(),
        fingerprints: Vec::new(),
        payload: prost::Message::encode_to_vec(&command).into(),
    };
    let commands = frame::pack(env::wall_clock(), &[frame::encode_frame(&frame)]);
    let alone = Membership {
        configs: vec![vec![own.peer]],
        members: vec![own],
    };
    let entries = vec![
        LogEntry {
            log_id: id(1),
            payload: Payload::Commands(commands),
        },
        LogEntry {
            log_id: id(2),
            payload: Payload::Membership(alone),
        },
    ];
    let vote = Vote { leader, committed: false };
    durable(|done| log.save_vote(vote, done))?;
    durable(|done| log.append(entries, done))
}

/// Waits until a change of the log is on disk.
fn durable(change: impl FnOnce(quorate_storage::log::Done) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    change(Box::new(move |result| {
        let _ = sender.send(result);
    }))?;
    receiver.recv().map_err(|_| io::Error::other("the log has ended"))?
}
