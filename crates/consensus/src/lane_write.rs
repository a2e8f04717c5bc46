//! A write in a lane. It goes on when its caller hangs up: only its outcome gives the lane back, and lanes of calls that were given up
//! would use up the sessions of the cluster.

use crate::node::Core;
use futures::future::BoxFuture;
use quorate_model::{ErrorCode, MetaError, RequestId};
use quorate_state_machine::Answer;
use std::sync::Arc;
use tokio::runtime::Handle;

type Outcome = Result<Answer, MetaError>;

/// One that is under way. It ends by itself, at its deadline at the latest.
pub struct LaneWrite {
    core: Arc<Core>,
    lane: RequestId,
    write: BoxFuture<'static, Outcome>,
    is_over: bool,
}

impl LaneWrite {
    pub fn new(core: &Arc<Core>, lane: RequestId, write: impl Future<Output = Outcome> + Send + 'static) -> LaneWrite {
        LaneWrite {
            core: core.clone(),
            lane,
            write: Box::pin(write),
            is_over: false,
        }
    }

    /// Waits for the outcome, and decides by it what becomes of the lane.
    pub async fn outcome(mut self) -> Outcome {
        let outcome = self.write.as_mut().await;
        self.is_over = true;
        end(&self.core, self.lane, &outcome);
        outcome
    }
}

impl Drop for LaneWrite {
    /// A task costs something, so there is one only for who hangs up.
    fn drop(&mut self) {
        // Where the process ends nobody needs the lane.
        if self.is_over || Handle::try_current().is_err() {
            return;
        }
        let write = std::mem::replace(&mut self.write, Box::pin(std::future::pending()));
        let (core, lane) = (self.core.clone(), self.lane);
        self.core.spawn(async move { end(&core, lane, &write.await) });
    }
}

fn end(core: &Core, lane: RequestId, outcome: &Outcome) {
    match outcome {
        Ok(Answer { body: Err(error), .. }) if error.code == ErrorCode::SessionExpired => core.lanes.drop_session(lane.session),
        // The slot may still be written by the lost call: the lane is not used again.
        Err(error) if error.code == ErrorCode::OutcomeUnknown => {}
        _ => core.lanes.give_back(lane),
    }
}
