//! The state in memory, with the same idea of durability: a crash falls back to the last flush. For simulations.
//!
//! Only checkpoints touch the disk: a peer that lags gets one as files, and how files travel is worth simulating.

use super::checkpoint::Checkpoint;
use super::{RaftRows, StateEngine, StateSizes};
use crate::codec::{self, LogId, StoredMembership};
use bytes::Bytes;
use quorate_model::mutant;
use quorate_state_machine::Reader;
use quorate_state_machine::keys::space;
use quorate_state_machine::store::MapStore;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// Rows in one file of a checkpoint; several files, so that a transfer can be interrupted between them.
const ROWS_PER_FILE: usize = 64;
/// The file with the applied id and the membership.
const RAFT_FILE: &str = "raft";

#[derive(Clone, Default)]
struct Image {
    rows: MapStore,
    raft: RaftRows,
}

/// A state whose disk is a clone of its map.
pub struct MemoryState {
    live: RwLock<Image>,
    flushed: Mutex<Image>,
    /// Holds checkpoints only.
    dir: PathBuf,
    next_checkpoint: AtomicU64,
}

impl MemoryState {
    /// An empty state that puts checkpoints, its own and received ones, under `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> MemoryState {
        MemoryState {
            live: RwLock::default(),
            flushed: Mutex::default(),
            dir: dir.into(),
            next_checkpoint: AtomicU64::new(1),
        }
    }

    /// Loses everything since the last flush.
    pub fn crash(&self) {
        let flushed = self.flushed.lock().expect("not poisoned").clone();
        *self.live.write().expect("not poisoned") = flushed;
    }
}

impl StateEngine for MemoryState {
    fn read(&self, read: &mut dyn FnMut(&dyn Reader)) {
        read(&self.live.read().expect("not poisoned").rows);
    }

    fn commit(&self, writes: &[(Bytes, Option<Bytes>)], applied: LogId, membership: Option<&StoredMembership>) -> io::Result<()> {
        let mut live = self.live.write().expect("not poisoned");
        live.rows.write(writes);
        live.raft.applied = Some(applied);
        if let Some(membership) = membership {
            live.raft.membership = membership.clone();
        }
        Ok(())
    }

    fn raft_rows(&self) -> io::Result<RaftRows> {
        Ok(self.live.read().expect("not poisoned").raft.clone())
    }

    fn durable_applied(&self) -> io::Result<Option<LogId>> {
        Ok(self.flushed.lock().expect("not poisoned").raft.applied)
    }

    fn flush(&self) -> io::Result<()> {
        *self.flushed.lock().expect("not poisoned") = self.live.read().expect("not poisoned").clone();
        Ok(())
    }

    fn checkpoint(&self) -> io::Result<Arc<Checkpoint>> {
        let before = self.flushed.lock().expect("not poisoned").clone();
        self.flush()?;
        let mut image = self.flushed.lock().expect("not poisoned").clone();
        if mutant!("checkpoint-at-mixed-revision") {
            image.rows = before.rows;
        } else if mutant!("checkpoint-index-remembered") {
            image.raft = before.raft;
        }
        let number = self.next_checkpoint.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join("checkpoints").join(number.to_string());
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(RAFT_FILE), encode_raft(&image.raft))?;
        let rows: Vec<(&Bytes, &Bytes)> = image.rows.rows.iter().collect();
        for (position, rows) in rows.chunks(ROWS_PER_FILE).enumerate() {
            fs::write(dir.join(format!("rows-{position:06}")), encode_rows(rows))?;
        }
        Ok(Arc::new(Checkpoint::new(dir, image.raft)))
    }

    fn incoming_dir(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    fn install(&self, expected: &RaftRows) -> io::Result<()> {
        let mut image = Image::default();
        for entry in fs::read_dir(self.incoming_dir())? {
            let path = entry?.path();
            let bytes = Bytes::from(fs::read(&path)?);
            if path.file_name().is_some_and(|name| name == RAFT_FILE) {
                image.raft = decode_raft(bytes)?;
            } else {
                decode_rows(bytes, &mut image.rows)?;
            }
        }
        if &image.raft != expected {
            return Err(io::Error::other(format!(
                "the received checkpoint holds {:?}, promised was {expected:?}",
                image.raft
            )));
        }
        fs::remove_dir_all(self.incoming_dir())?;
        if mutant!("sessions-missing-from-checkpoint") {
            image.rows.rows.retain(|key, _| key.first() != Some(&space::SLOT));
        }
        if mutant!("install-not-atomic") {
            // The rows now, what they are with the next flush.
            self.flushed.lock().expect("not poisoned").rows = image.rows.clone();
            *self.live.write().expect("not poisoned") = image;
            return Ok(());
        }
        *self.live.write().expect("not poisoned") = image;
        self.flush()
    }

    fn sizes(&self) -> StateSizes {
        StateSizes {
            rows_estimate: self.live.read().expect("not poisoned").rows.rows.len() as u64,
            ..StateSizes::default()
        }
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take(rest: &mut Bytes) -> io::Result<Bytes> {
    let short = || io::Error::other("a file of the checkpoint is cut");
    let length = rest
        .first_chunk::<4>()
        .map(|bytes| u32::from_le_bytes(*bytes) as usize)
        .ok_or_else(short)?;
    if rest.len() < 4 + length {
        return Err(short());
    }
    let _length = rest.split_to(4);
    Ok(rest.split_to(length))
}

fn encode_raft(raft: &RaftRows) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, &codec::encode_optional_log_id(&raft.applied));
    put(&mut out, &codec::encode_stored_membership(&raft.membership));
    out
}

fn decode_raft(mut bytes: Bytes) -> io::Result<RaftRows> {
    let applied = codec::decode_optional_log_id(&take(&mut bytes)?).map_err(io::Error::other)?;
    let membership = codec::decode_stored_membership(&take(&mut bytes)?).map_err(io::Error::other)?;
    Ok(RaftRows { applied, membership })
}

fn encode_rows(rows: &[(&Bytes, &Bytes)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in rows {
        put(&mut out, key);
        put(&mut out, value);
    }
    out
}

fn decode_rows(mut bytes: Bytes, rows: &mut MapStore) -> io::Result<()> {
    while !bytes.is_empty() {
        let key = take(&mut bytes)?;
        let value = take(&mut bytes)?;
        rows.rows.insert(key, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::LeaderId;

    #[test]
    fn a_checkpoint_carries_all_rows_and_a_crash_keeps_what_was_flushed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (from, to) = (MemoryState::new(dir.path().join("from")), MemoryState::new(dir.path().join("to")));
        let writes: Vec<(Bytes, Option<Bytes>)> = (0..200u32)
            .map(|n| (n.to_be_bytes().to_vec().into(), Some(Bytes::from(vec![7; n as usize]))))
            .collect();
        let applied = LogId {
            leader: LeaderId { term: 2, peer: 1 },
            index: 9,
        };
        from.commit(&writes, applied, None).expect("committed");
        let checkpoint = from.checkpoint().expect("made");
        checkpoint.copy_to(&to.incoming_dir()).expect("copied");
        assert!(to.install(&RaftRows::default()).is_err(), "not the promised one");
        to.install(checkpoint.raft()).expect("installed");
        let later = LogId { index: 10, ..applied };
        to.commit(&[(Bytes::from_static(b"x"), None)], later, None).expect("committed");
        assert_eq!(to.raft_rows().expect("read").applied, Some(later));
        to.crash();
        assert_eq!(to.raft_rows().expect("read").applied, Some(applied));
        assert_eq!(
            to.live.read().expect("not poisoned").rows.rows,
            from.live.read().expect("not poisoned").rows.rows
        );
    }
}
