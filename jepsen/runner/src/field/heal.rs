//! Taking all harm away at once.

use super::{Field, network};

impl Field {
    /// Ends whatever any fault may have left, and starts every node that does not run.
    pub async fn heal(&self) -> anyhow::Result<()> {
        if let Some(network) = self.network() {
            for place in (1..=self.total()).chain([network::CLIENTS]) {
                network.restore(place)?;
            }
        }
        for node in 0..self.total() {
            self.node(node).unharm()?;
        }
        self.look_for_exits()?;
        for node in 0..self.size() {
            self.start(node).await?;
        }
        for worker in 0..self.workers() {
            // A worker that was paused goes on when it is told so; one that runs is not harmed by that.
            let _ = self.resume_worker(worker).await;
            self.start_worker(worker).await?;
        }
        Ok(())
    }

    /// Notes something the product did that it must never do, seen by a fault.
    pub fn note_anomaly(&self, what: String) {
        self.noted.lock().expect("no user of the notes panics").push(what);
    }

    /// What faults have noted.
    pub fn anomalies(&self) -> Vec<String> {
        self.noted.lock().expect("no user of the notes panics").clone()
    }
}
