//! Three peers of a system that this process has started: who leads, have it hand over, kill one, start it again, with its data or without.

use crate::driver::{Driver, System, connect_lazy};
use crate::load::fill;
use crate::processes::{Process, Program, runs, send, unwatch};
use crate::{etcd, quorate};
use anyhow::Context;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
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
/// A leader that has not handed over by then is asked again. etcd gives a transfer up after a second, and tells nobody.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// One peer.
#[derive(Debug)]
pub struct Peer {
    pub address: String,
    pub pid: u32,
    pub program: Program,
    /// Absent while the process is a child of the one that started the cluster.
    pub process: Option<Process>,
}

impl Peer {
    /// Where its data is.
    pub fn data_dir(&self) -> anyhow::Result<PathBuf> {
        let given = self.program.value_of("--data-dir").context("a peer has no --data-dir")?;
        Ok(PathBuf::from(given))
    }
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
    /// Starts three peers with their data under `directory`, and waits until each of them serves.
    pub async fn start(system: System, binary: &Path, directory: &Path) -> anyhow::Result<Cluster> {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let mut cluster = match system {
            System::Quorate => quorate::start(binary, directory).await?,
            System::Etcd => etcd::start(binary, directory)?,
        };
        let leader = cluster.leader().await?;
        if system == System::Quorate {
            quorate::create_instance(&cluster.peers[leader].address).await?;
        }
        // The load goes to all of them, and one may still be joining when the others lead and write. Who serves is known by the first key.
        fill(system, &cluster.endpoints()[leader..=leader], 0..1, 0)
            .await
            .context("write the first key")?;
        for index in 0..cluster.peers.len() {
            cluster.wait_serving(index).await?;
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

    /// Has the leader hand leadership over, and waits until another peer leads. A leader that refuses is asked again; how often that was.
    pub async fn hand_over(&mut self) -> anyhow::Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        let mut refused = 0;
        loop {
            let leader = self.leader().await?;
            let asked = timeout(HAND_OVER_TIMEOUT, self.ask_to_hand_over(leader)).await;
            let Err(error) = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", HAND_OVER_TIMEOUT.as_secs()))) else {
                return Ok(refused);
            };
            refused += 1;
            eprintln!("  {} did not hand leadership over: {error:#}", self.system.name());
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} does not hand leadership over: {error:#}",
                self.system.name()
            );
            sleep(PAUSE_AFTER_REFUSAL).await;
        }
    }

    async fn ask_to_hand_over(&self, leader: usize) -> anyhow::Result<()> {
        let channel = connect_lazy(&self.peers[leader].address)?;
        match self.system {
            System::Quorate => quorate::transfer_leader(channel).await?,
            System::Etcd => etcd::transfer_leader(channel, connect_lazy(&self.next_to(leader).address)?).await?,
        }
        Ok(())
    }

    /// Another peer than this one.
    fn next_to(&self, index: usize) -> &Peer {
        &self.peers[(index + 1) % self.peers.len()]
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

    /// Deletes the data of a killed peer; the next [`Cluster::restart`] starts one with nothing, which is to take its place.
    pub async fn lose_data(&mut self, index: usize) -> anyhow::Result<()> {
        let another = connect_lazy(&self.next_to(index).address)?;
        let peer = &mut self.peers[index];
        let data_dir = peer.data_dir()?;
        std::fs::remove_dir_all(&data_dir).with_context(|| format!("remove {}", data_dir.display()))?;
        match self.system {
            System::Quorate => peer.program.arguments.push("--replace".to_owned()),
            System::Etcd => etcd::replace_member(&another, peer).await?,
        }
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
        self.wait_for(index, "answers no linearizable read", serves).await
    }

    /// Waits until this peer votes.
    pub async fn wait_voting(&mut self, index: usize) -> anyhow::Result<()> {
        self.wait_for(index, "does not vote", votes).await
    }

    /// Waits until something `holds` of this peer; `otherwise` says that it does not.
    async fn wait_for(&mut self, index: usize, otherwise: &str, holds: impl AsyncFn(System, &str) -> bool) -> anyhow::Result<()> {
        let address = self.peers[index].address.clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if timeout(QUESTION_TIMEOUT, holds(self.system, address.as_str()))
                .await
                .unwrap_or(false)
            {
                return Ok(());
            }
            self.check_children()?;
            anyhow::ensure!(
                Instant::now() < deadline,
                "peer {address} {otherwise} after {} s",
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

/// Whether the peer at this address answers a linearizable read; an error is a no.
async fn serves(system: System, address: &str) -> bool {
    let Ok(channel) = connect_lazy(address) else { return false };
    Driver::new(system, channel).get(0, false).await.is_ok()
}

/// Whether the peer at this address says that it votes; an error is a no. A member of etcd votes from when it was taken in.
async fn votes(system: System, address: &str) -> bool {
    let Ok(channel) = connect_lazy(address) else { return false };
    match system {
        System::Quorate => quorate::votes(channel).await.unwrap_or(false),
        System::Etcd => true,
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
