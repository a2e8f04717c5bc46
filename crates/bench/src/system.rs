//! Three peers of a system that this process has started: who leads, kill one, start it again.

use crate::driver::{Driver, System, connect_lazy};
use crate::processes::{Process, Program, runs, send, unwatch};
use crate::{etcd, quorate};
use anyhow::Context;
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Peers of each system.
pub const PEERS: usize = 3;
/// How long starting, electing or recovering may take before the run is given up.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How often a condition is looked at. Short against everything that is measured with it.
pub const POLL: Duration = Duration::from_millis(5);
/// One question to a peer that may be dead or not answer yet.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(500);

/// One peer.
#[derive(Debug)]
pub struct Peer {
    pub address: String,
    pub pid: u32,
    pub program: Program,
    /// Absent while the process is a child of the one that started the cluster.
    pub process: Option<Process>,
}

/// A running cluster. Dropping it stops every process.
#[derive(Debug)]
pub struct Cluster {
    pub system: System,
    pub peers: Vec<Peer>,
    /// `quorate dev`: stops the peers it has started.
    pub starter: Option<Process>,
}

impl Cluster {
    /// Starts three peers with their data under `directory`, and waits until they serve.
    pub async fn start(system: System, binary: &Path, directory: &Path) -> anyhow::Result<Cluster> {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let mut cluster = match system {
            System::Quorate => quorate::start(binary, directory).await?,
            System::Etcd => etcd::start(binary, directory)?,
        };
        cluster.leader().await?;
        if system == System::Quorate {
            quorate::create_instance(&cluster.peers[0].address).await?;
        }
        Ok(cluster)
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.peers.iter().map(|peer| peer.address.clone()).collect()
    }

    pub fn pids(&self) -> Vec<u32> {
        self.peers.iter().map(|peer| peer.pid).collect()
    }

    /// Waits until a peer says that it leads.
    pub async fn leader(&mut self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (index, peer) in self.peers.iter().enumerate() {
                if runs(peer.pid) && timeout(QUESTION_TIMEOUT, leads(self.system, &peer.address)).await.unwrap_or(false) {
                    return Ok(index);
                }
            }
            self.check_children()?;
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} has no leader after {} s",
                self.system.name(),
                PATIENCE.as_secs()
            );
            sleep(POLL).await;
        }
    }

    /// Fails when a process of ours has ended without being killed by us.
    fn check_children(&mut self) -> anyhow::Result<()> {
        for peer in &mut self.peers {
            if let Some(process) = &mut peer.process {
                process.check_runs(&peer.program.log)?;
            }
        }
        Ok(())
    }

    /// Kills a peer with SIGKILL and waits until its process is gone.
    pub async fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        let peer = &mut self.peers[index];
        send(peer.pid, Signal::KILL);
        if let Some(mut process) = peer.process.take() {
            process.kill();
        }
        let deadline = Instant::now() + PATIENCE;
        while runs(peer.pid) {
            anyhow::ensure!(Instant::now() < deadline, "process {} survives SIGKILL", peer.pid);
            sleep(POLL).await;
        }
        unwatch(peer.pid);
        Ok(())
    }

    /// Starts a killed peer again, without waiting.
    pub fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        let peer = &mut self.peers[index];
        let process = peer.program.start()?;
        peer.pid = process.pid();
        peer.process = Some(process);
        Ok(())
    }

    /// Waits until this peer answers a linearizable read itself.
    pub async fn wait_serving(&mut self, index: usize) -> anyhow::Result<()> {
        let address = self.peers[index].address.clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let driver = Driver::new(self.system, connect_lazy(&address)?);
            if matches!(timeout(QUESTION_TIMEOUT, driver.get(0, false)).await, Ok(Ok(()))) {
                return Ok(());
            }
            self.check_children()?;
            anyhow::ensure!(
                Instant::now() < deadline,
                "peer {address} answers no linearizable read after {} s",
                PATIENCE.as_secs()
            );
            sleep(POLL).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once: a leader that hands over waits for peers that are still there.
        self.starter.iter().for_each(Process::ask_to_stop);
        self.peers
            .iter()
            .filter_map(|peer| peer.process.as_ref())
            .for_each(Process::ask_to_stop);
        self.peers.iter_mut().for_each(|peer| drop(peer.process.take()));
        drop(self.starter.take());
        for peer in &self.peers {
            // Only left if the starter itself had to be killed.
            if runs(peer.pid) {
                send(peer.pid, Signal::KILL);
            }
            unwatch(peer.pid);
        }
    }
}

/// Whether the peer at this address says that it leads; an error is a no.
async fn leads(system: System, address: &str) -> bool {
    let Ok(channel) = connect_lazy(address) else { return false };
    match system {
        System::Quorate => quorate::leads(channel).await.unwrap_or(false),
        System::Etcd => etcd::leads(channel).await.unwrap_or(false),
    }
}

/// The one of these addresses that leads.
pub async fn find_leader(system: System, endpoints: &[String]) -> anyhow::Result<String> {
    for endpoint in endpoints {
        if timeout(QUESTION_TIMEOUT, leads(system, endpoint)).await.unwrap_or(false) {
            return Ok(endpoint.clone());
        }
    }
    anyhow::bail!("none of {} says that it leads", endpoints.join(", "))
}
