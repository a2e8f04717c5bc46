//! What the peers say of themselves, asked over the network that is never cut.

use super::Field;
use anyhow::Context;
use quorate_tests::raft_state::{RaftState, raft_state};
use quorate_tests::{http, native};
use quorate_wire::quorate::v1::StatusReply;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// A peer that is well answers within this; one that is paused never does.
const ANSWER: Duration = Duration::from_millis(700);
/// `/readyz` itself waits 1.5 s for a read.
const READY_ANSWER: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Field {
    /// What each node says that answers at once, by position; spares too.
    pub async fn statuses(&self) -> Vec<Option<StatusReply>> {
        let questions: Vec<_> = (0..self.total())
            .map(|node| {
                let (address, running) = (self.control(node), self.node(node).is_running());
                tokio::spawn(async move {
                    match running {
                        true => timeout(ANSWER, native::status(&address)).await.ok()?.ok(),
                        false => None,
                    }
                })
            })
            .collect();
        let mut answers = Vec::new();
        for question in questions {
            answers.push(question.await.ok().flatten());
        }
        answers
    }

    /// The node that leads, as it says itself; `None` too while a spare does, which no fault is meant for.
    pub async fn leader(&self) -> Option<usize> {
        self.leader_or_spare().await.filter(|node| *node < self.size())
    }

    /// The node or spare that leads, as it says itself; of several, one of the latest term.
    pub async fn leader_or_spare(&self) -> Option<usize> {
        let statuses = self.statuses().await;
        let leads = |status: &StatusReply| status.leader_id != 0 && status.leader_id == status.peer_id;
        let leaders = statuses
            .iter()
            .enumerate()
            .filter_map(|(node, status)| status.as_ref().filter(|status| leads(status)).map(|status| (status.term, node)));
        leaders.max().map(|(_, node)| node)
    }

    /// Log and state of a node that answers at once.
    pub async fn raft_state(&self, node: usize) -> Option<RaftState> {
        timeout(READY_ANSWER, raft_state(&self.control(node))).await.ok()?
    }

    /// Whether a node answers a linearizable read.
    pub async fn is_ready(&self, node: usize) -> bool {
        let reply = timeout(READY_ANSWER, http::get(&self.control(node), "/readyz")).await;
        matches!(reply, Ok(Ok(reply)) if reply.status == 200)
    }

    /// Waits until every node answers a linearizable read.
    pub async fn wait_ready(&self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        for node in 0..self.size() {
            while !self.is_ready(node).await {
                self.look_for_exits()?;
                let (name, tail) = (self.name(node), self.node(node).log_tail(5));
                let runs = if self.node(node).is_running() {
                    "runs but is not ready"
                } else {
                    "does not run"
                };
                anyhow::ensure!(Instant::now() < deadline, "{name} {runs} after {} s: {tail}", within.as_secs());
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// An error if disks are to lie and a node's syncs do not come to the shim: the run would prove nothing.
    pub fn look_for_lies(&self) -> anyhow::Result<()> {
        if !self.options.lying_disks {
            return Ok(());
        }
        for node in 0..self.size() {
            let lies = self.node(node).page.as_ref().context("the nodes have no shim")?.harmed_syncs()?;
            anyhow::ensure!(
                lies > 0,
                "the disk of {} is to lie, and no sync has come to the shim",
                self.name(node)
            );
        }
        Ok(())
    }

    /// Waits until `look` sees something.
    pub async fn wait_for<T>(&self, what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(seen) = look().await {
                return Ok(seen);
            }
            anyhow::ensure!(Instant::now() < deadline, "not within {} s: {what}", within.as_secs());
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Arms failpoints of a node that runs, `site=actions` separated by semicolons.
    pub async fn arm(&self, node: usize, failpoints: &str) -> anyhow::Result<()> {
        let headers = [("quorate-token", self.token())];
        let address = self.control(node);
        let call = http::send(&address, "POST", "/debug/failpoints", &headers, failpoints);
        let reply = timeout(READY_ANSWER, call).await.context("no answer")??;
        anyhow::ensure!(
            reply.status == 200,
            "{}: {}; is this a build with failpoints?",
            reply.status,
            reply.body
        );
        Ok(())
    }
}
