//! The state in memory, with the same idea of durability: a crash falls back to the last flush. For simulations.

use super::checkpoint::Checkpoint;
use super::{RaftRows, StateEngine, StateSizes};
use crate::codec::{LogId, StoredMembership};
use bytes::Bytes;
use quorate_state_machine::Reader;
use quorate_state_machine::store::MapStore;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

#[derive(Clone, Default)]
struct Image {
    rows: MapStore,
    raft: RaftRows,
}

/// A state whose disk is a clone of its map.
#[derive(Default)]
pub struct MemoryState {
    live: RwLock<Image>,
    flushed: Mutex<Image>,
    /// Images handed out as checkpoints, found again by directory name.
    images: Arc<Mutex<std::collections::BTreeMap<PathBuf, Arc<ImageBox>>>>,
}

struct ImageBox(Image);

impl MemoryState {
    /// Loses everything since the last flush.
    pub fn crash(&self) {
        let flushed = self.flushed.lock().expect("not poisoned").clone();
        *self.live.write().expect("not poisoned") = flushed;
    }

    /// Hands a checkpoint of `source` over as if its files had been received.
    pub fn receive(&self, source: &MemoryState, checkpoint: &Checkpoint) {
        let image = source.images.lock().expect("not poisoned").get(checkpoint.dir()).cloned();
        if let Some(image) = image {
            self.images.lock().expect("not poisoned").insert(self.incoming_dir(), image);
        }
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
        self.flush()?;
        let image = self.flushed.lock().expect("not poisoned").clone();
        let raft = image.raft.clone();
        let mut images = self.images.lock().expect("not poisoned");
        let dir = PathBuf::from(format!("/nonexistent/memory-checkpoint/{}", raft.applied.map_or(0, |id| id.index)));
        images.insert(dir.clone(), Arc::new(ImageBox(image)));
        Ok(Arc::new(Checkpoint::new(dir, raft)))
    }

    fn incoming_dir(&self) -> PathBuf {
        PathBuf::from("/nonexistent/memory-incoming")
    }

    fn install(&self, expected: &RaftRows) -> io::Result<()> {
        let image = self.images.lock().expect("not poisoned").remove(&self.incoming_dir());
        let image = image.ok_or_else(|| io::Error::other("no checkpoint was received"))?;
        if &image.0.raft != expected {
            return Err(io::Error::other("the received checkpoint is not the promised one"));
        }
        *self.live.write().expect("not poisoned") = image.0.clone();
        self.flush()
    }

    fn sizes(&self) -> StateSizes {
        StateSizes { rows_estimate: self.live.read().expect("not poisoned").rows.rows.len() as u64, ..StateSizes::default() }
    }
}
