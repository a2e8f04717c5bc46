//! A node as long work sees it: looks at the state here, proposals to whoever leads.

use crate::node::Node;
use quorate_model::{MetaError, Revision, StampedTime};
use quorate_state_machine::Reader;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::command::Command;
use quorate_state_machine::commands::Numbered;
use std::time::Duration;
use tokio::time::Instant;

/// How long one look or proposal of a background task waits for a leader: an election and a little more.
const PATIENCE: Duration = Duration::from_secs(10);

impl Query for Node {
    fn read<R>(&self, read: impl FnMut(&dyn Reader) -> R) -> R {
        Node::read(self, read)
    }

    async fn read_large<R: Send + 'static>(&self, read: impl FnMut(&dyn Reader) -> R + Send + 'static) -> Result<R, MetaError> {
        let node = self.clone();
        self.run_large(Instant::now() + PATIENCE, move || Node::read(&node, read)).await
    }

    async fn confirm(&self) -> Result<(), MetaError> {
        self.read_barrier(Instant::now() + PATIENCE).await
    }

    fn revision(&self) -> Revision {
        self.applied().revision
    }

    async fn changed(&self, seen: Revision) {
        let mut applied = self.core().applier.watch();
        // It ends early only with the node, and then nothing is to be waited for.
        drop(applied.wait_for(|state| state.revision > seen).await);
    }

    async fn snapshots_changed(&self, seen: Revision) {
        let mut snapshots = self.core().applier.watch_snapshots();
        drop(snapshots.wait_for(|revision| *revision > seen).await);
    }

    fn now(&self) -> StampedTime {
        self.core().now()
    }
}

impl Propose for Node {
    async fn propose<C: Numbered + Sync>(&self, command: &C) -> Result<<C as Command>::Reply, MetaError> {
        let (_, reply) = self.execute(command, None, Instant::now() + PATIENCE).await?;
        Ok(reply)
    }
}
