//! How the parts of a peer that do long work reach the state: they look, and propose. What is behind these traits, a consensus or a
//! plain map in a test, is not theirs to know.

use crate::command::Command;
use crate::commands::Numbered;
use crate::store::Reader;
use quorate_model::{MetaError, Revision, StampedTime};
use std::future::Future;

/// Reads of the state this peer has applied.
pub trait Query: Clone + Send + Sync + 'static {
    /// Consistent in itself, and possibly behind the cluster: fit for deciding what to propose, not for deciding that something may go.
    fn read<R>(&self, read: impl FnMut(&dyn Reader) -> R) -> R;

    /// The same for a read that may go through many rows: not on the thread that asks. Refused when no place for it is found in time.
    fn read_large<R: Send + 'static>(
        &self,
        read: impl FnMut(&dyn Reader) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, MetaError>> + Send;

    /// After it the state holds everything that was acknowledged before the call.
    fn confirm(&self) -> impl Future<Output = Result<(), MetaError>> + Send;

    /// The newest revision that was applied here.
    fn revision(&self) -> Revision;

    /// Ends once a revision after `seen` is applied.
    fn changed(&self, seen: Revision) -> impl Future<Output = ()> + Send;

    /// Ends once a revision after `seen` is applied that may have changed a snapshot. Whoever waits hears of no other.
    fn snapshots_changed(&self, seen: Revision) -> impl Future<Output = ()> + Send;

    /// The time a leader would stamp now: not before the last that was stamped.
    fn now(&self) -> StampedTime;
}

/// Proposals of commands.
pub trait Propose: Clone + Send + Sync + 'static {
    /// Answers once the command is applied, with its reply or its refusal. An error that leaves the outcome open says so.
    fn propose<C: Numbered + Sync>(&self, command: &C) -> impl Future<Output = Result<<C as Command>::Reply, MetaError>> + Send;
}
