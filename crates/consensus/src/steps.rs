//! How long the steps of writing take at this peer, for whoever counts them: the server shows them as `quorate_step_duration_seconds`.

use std::sync::Arc;
use std::time::Duration;

/// What a peer's disk, its processor or the other peers can make slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Of the entries packed here: from the packing to the log.
    Append,
    /// From the log until the entries are durable here.
    Sync,
    /// Of the entries packed here: from then until a majority has them; zero when the others were faster.
    Replicate,
    /// From the commit of entries until their answers are there.
    Apply,
    /// A flush of the state that the growth of the log asked for.
    Flush,
    /// A checkpoint of the state.
    Checkpoint,
}

impl Step {
    pub const ALL: [Step; 6] = [
        Step::Append,
        Step::Sync,
        Step::Replicate,
        Step::Apply,
        Step::Flush,
        Step::Checkpoint,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Step::Append => "append",
            Step::Sync => "sync",
            Step::Replicate => "replicate",
            Step::Apply => "apply",
            Step::Flush => "flush",
            Step::Checkpoint => "checkpoint",
        }
    }
}

/// Told of every step that has ended, from the thread that ended it.
pub type StepObserver = Arc<dyn Fn(Step, Duration) + Send + Sync>;

/// For who does not count them.
pub fn unobserved() -> StepObserver {
    Arc::new(|_, _| {})
}
