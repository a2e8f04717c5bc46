//! The peers under test and everything around them that can be harmed.
//!
//! Two grounds. *Namespaces* (root): every node has its own network namespace, file system and control groups; clients
//! have a namespace of theirs; all faults. *Processes*: plain processes on loopback; they can be killed and paused.
//!
//! A node that a fault has in hand is *claimed*, so that two faults never fight over one process. A node that ends by
//! itself is an anomaly unless the fault that has it says that it may.

pub mod belongings;
pub mod cgroups;
mod claims;
pub mod disk;
mod heal;
mod look;
pub mod network;
pub mod node;
pub mod preload;
pub mod process;
mod vault;

use anyhow::Context;
use belongings::Belongings;
use cgroups::Cgroups;
pub use claims::Exit;
use disk::Disk;
use network::Network;
pub use node::Node;
use preload::{ControlPage, SyncFault};
use process::{Process, Start};
use quorate_tests::cluster::{TOKEN, write_secret};
use quorate_tests::ports::free_address;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Handle, Runtime};
use vault::Vault;

/// Most tasks of a worker process take most of a second: files are few and small here, and a worker that is stopped is to have
/// a claim. Its threads stand still meanwhile, which is far less than a lease. The peers' own workers are as fast as they can be.
const SLOW_WORKER: &str = "job_file_copied=70%sleep(700)";

/// Where the peers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Ground {
    Namespaces,
    Processes,
}

impl Ground {
    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Ground::Namespaces => "namespaces",
            Ground::Processes => "processes",
        }
    }
}

/// What a field is made of.
#[derive(Clone, Debug)]
pub struct FieldOptions {
    pub ground: Ground,
    pub nodes: usize,
    /// Further nodes that are not started; membership changes take them in.
    pub spares: usize,
    /// `quorate worker` processes.
    pub workers: usize,
    /// The run's directory; it exists.
    pub dir: PathBuf,
    pub binary: PathBuf,
    /// Timing of elections: `lan` or `wan`.
    pub profile: String,
    /// Whether the nodes' syncs and clocks can be harmed.
    pub shim: bool,
    /// Whether the nodes' syncs do nothing from the start on; only with the shim.
    pub lying_disks: bool,
    /// Further environment of every node.
    pub environment: Vec<(String, String)>,
}

impl FieldOptions {
    /// On namespaces the vault has a disk of its own.
    fn vault_dir(&self) -> PathBuf {
        match self.ground {
            Ground::Namespaces => self.dir.join("disks").join(vault::NAME).join("data"),
            Ground::Processes => self.dir.join(vault::NAME),
        }
    }
}

/// The peers of one run.
pub struct Field {
    options: FieldOptions,
    nodes: Vec<Node>,
    workers: Vec<Mutex<Option<Process>>>,
    network: Option<Network>,
    vault: Vault,
    belongings: Belongings,
    claims: claims::Claims,
    exits: Mutex<Vec<Exit>>,
    noted: Mutex<Vec<String>>,
    clients: Option<Runtime>,
}

impl Field {
    /// Makes everything but processes. To be called before other threads are started: on namespaces it moves this thread
    /// into the hub, and all threads after it.
    pub fn make(options: FieldOptions) -> anyhow::Result<Arc<Field>> {
        let belongings = Belongings::begin(&options.dir)?;
        let made = Field::make_with(options, &belongings);
        match made {
            Ok(made) => Ok(Arc::new(made.finish(belongings))),
            Err(error) => {
                // What was made so far goes again; if that fails too, the file stays for `jepsen clean`.
                let _ = belongings.undo();
                Err(error)
            }
        }
    }

    fn make_with(options: FieldOptions, belongings: &Belongings) -> anyhow::Result<Made> {
        for name in ["audit", "logs", "disks", "preload"] {
            std::fs::create_dir_all(options.dir.join(name))?;
        }
        write_secret(&options.dir.join("token"), TOKEN);
        write_secret(&options.dir.join("cluster-secret"), "jepsen-cluster-secret");
        write_secret(&options.dir.join("root-keys"), "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n");
        let vault = Vault::make(&options, belongings)?;
        let prefix = format!("qj{}", std::process::id());
        let total = options.nodes + options.spares;
        let network = match options.ground {
            Ground::Namespaces => Some(Network::make(&prefix, total, belongings)?),
            Ground::Processes => None,
        };
        let addresses: Vec<Addresses> = (1..=total).map(|place| Addresses::of(options.ground, place)).collect();
        let founders: Vec<&str> = addresses[..options.nodes].iter().map(|one| one.peer.as_str()).collect();
        let founders = founders.join(",");
        let mut nodes = Vec::new();
        for (position, addresses) in addresses.iter().enumerate() {
            nodes.push(make_node(&options, position, addresses, &founders, &prefix, belongings)?);
        }
        let clients = client_runtime(network.as_ref())?;
        Ok(Made {
            options,
            nodes,
            network,
            vault,
            clients,
        })
    }

    /// Nodes are 0..size, named n1, n2, ...
    pub fn size(&self) -> usize {
        self.options.nodes
    }

    /// Nodes and spares.
    pub fn total(&self) -> usize {
        self.nodes.len()
    }

    pub fn name(&self, node: usize) -> String {
        self.nodes[node].name.clone()
    }

    /// `host:port` for clients, on the network that faults cut.
    pub fn public(&self, node: usize) -> String {
        self.nodes[node].public.clone()
    }

    /// The same server over the network that is never cut: for finding leaders, digests.
    pub fn control(&self, node: usize) -> String {
        self.nodes[node].control.clone()
    }

    /// `host:port` for other peers.
    pub fn peer_address(&self, node: usize) -> String {
        self.nodes[node].peer.clone()
    }

    pub fn token(&self) -> &str {
        TOKEN
    }

    /// The run's directory.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Directory all nodes see; clients write source files elsewhere.
    pub fn vault_dir(&self) -> PathBuf {
        self.options.vault_dir()
    }

    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.nodes[node].data_dir.clone()
    }

    /// `audit.log` of a node. It lies outside the node's disk, which may lose its power, and outlives the run.
    pub fn audit_log(&self, node: usize) -> PathBuf {
        self.nodes[node].audit.clone()
    }

    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// The network, which plain processes have not.
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// A runtime whose threads live in the clients' network namespace: all client sockets must be made there.
    pub fn client_runtime(&self) -> Handle {
        self.clients.as_ref().expect("it lives as long as the field").handle().clone()
    }

    /// Starts a node, if it does not run.
    pub async fn start(&self, node: usize) -> anyhow::Result<()> {
        self.start_with(node, &[], "")
    }

    /// Starts a node, if it does not run, this time with further arguments, which win over its own, and failpoints.
    pub fn start_with(&self, node: usize, further: &[&str], failpoints: &str) -> anyhow::Result<()> {
        self.look_for_exits()?;
        let place = self.network.as_ref().map(|network| (network, node + 1));
        self.nodes[node].start(further, failpoints, place, &self.belongings)
    }

    /// kill -9, if it runs; how it ended.
    pub async fn kill(&self, node: usize) -> anyhow::Result<()> {
        self.look_for_exits()?;
        self.nodes[node].kill().map(drop)
    }

    /// SIGSTOP.
    pub async fn pause(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].signal(rustix::process::Signal::STOP)
    }

    pub async fn resume(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].signal(rustix::process::Signal::CONT)
    }

    /// SIGTERM.
    pub fn terminate(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].signal(rustix::process::Signal::TERM)
    }

    /// Number of `quorate worker` processes there can be.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Starts a `quorate worker --peers`, if it does not run; once the vault has its power again, if that is cut.
    pub async fn start_worker(&self, which: usize) -> anyhow::Result<()> {
        let mut waiting = self.vault.waiting();
        match waiting.as_mut() {
            Some(waiting) => {
                waiting.insert(which);
                Ok(())
            }
            None => self.launch_worker(which),
        }
    }

    /// It lives in the clients' namespace.
    fn launch_worker(&self, which: usize) -> anyhow::Result<()> {
        let mut worker = self.workers[which].lock().expect("no user of a worker panics");
        if let Some(process) = worker.as_mut()
            && process.ended()?.is_none()
        {
            return Ok(());
        }
        let place = self.network.as_ref().map(|network| (network, network::CLIENTS));
        *worker = Some(Process::start(&self.worker_start(which), place, None, &self.belongings)?);
        Ok(())
    }

    /// As the cluster knows it.
    pub fn worker_name(&self, which: usize) -> String {
        format!("worker-{}", which + 1)
    }

    fn worker_start(&self, which: usize) -> Start {
        let peers: Vec<String> = (0..self.size()).map(|node| self.public(node)).collect();
        let name = self.worker_name(which);
        let path = |name: &str| self.options.dir.join(name).display().to_string();
        let arguments = [
            ("--peers", peers.join(",")),
            ("--token-file", path("token")),
            ("--name", name.clone()),
            ("--local-vault", self.vault_dir().display().to_string()),
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        Start {
            log: self.options.dir.join("logs").join(format!("{name}.log")),
            name,
            binary: self.options.binary.clone(),
            arguments: ["worker".to_owned()].into_iter().chain(arguments).collect(),
            environment: vec![("FAILPOINTS".to_owned(), SLOW_WORKER.to_owned())],
        }
    }

    pub async fn kill_worker(&self, which: usize) -> anyhow::Result<()> {
        if let Some(waiting) = self.vault.waiting().as_mut() {
            waiting.remove(&which);
        }
        self.end_worker(which)
    }

    fn end_worker(&self, which: usize) -> anyhow::Result<()> {
        let worker = self.workers[which].lock().expect("no user of a worker panics").take();
        worker.map_or(Ok(()), |process| process.kill().map(drop))
    }

    pub async fn pause_worker(&self, which: usize) -> anyhow::Result<()> {
        self.signal_worker(which, rustix::process::Signal::STOP)
    }

    pub async fn resume_worker(&self, which: usize) -> anyhow::Result<()> {
        self.signal_worker(which, rustix::process::Signal::CONT)
    }

    /// One that is gone needs no signal: it may have died with the power of the vault.
    fn signal_worker(&self, which: usize, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let worker = self.workers[which].lock().expect("no user of a worker panics");
        worker.as_ref().map_or(Ok(()), |process| process.signal(signal))
    }

    /// The state letter in /proc of a worker that runs.
    pub fn worker_state(&self, which: usize) -> Option<char> {
        let worker = self.workers[which].lock().expect("no user of a worker panics");
        worker.as_ref()?.state().filter(|state| *state != 'Z')
    }

    /// How a worker ended, once, if nobody ended it.
    fn worker_ended(&self, which: usize) -> anyhow::Result<Option<ExitStatus>> {
        let mut worker = self.workers[which].lock().expect("no user of a worker panics");
        let Some(process) = worker.as_mut() else { return Ok(None) };
        let status = process.ended()?;
        if status.is_some() {
            *worker = None;
        }
        Ok(status)
    }

    /// All that a worker has said.
    pub fn worker_log(&self, which: usize) -> String {
        std::fs::read_to_string(self.worker_start(which).log).unwrap_or_default()
    }

    /// Starts a tool of the suite where a node is, and sees to it that it does not stay.
    pub fn start_tool(&self, node: usize, start: &Start) -> anyhow::Result<Process> {
        let place = self.network.as_ref().map(|network| (network, node + 1));
        Process::start(start, place, None, &self.belongings)
    }

    /// Ends everything and takes away what was made outside the run's directory.
    pub fn tear_down(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            // What fails here is ended by its record.
            let _ = node.unharm();
            let _ = node.kill();
        }
        for worker in &self.workers {
            if let Some(process) = worker.lock().expect("no user of a worker panics").take() {
                let _ = process.kill();
            }
        }
        self.belongings.undo()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // A runtime may not be waited for where this may be dropped.
        if let Some(clients) = self.clients.take() {
            clients.shutdown_background();
        }
    }
}

/// A field without its state file.
struct Made {
    options: FieldOptions,
    nodes: Vec<Node>,
    network: Option<Network>,
    vault: Vault,
    clients: Runtime,
}

impl Made {
    fn finish(self, belongings: Belongings) -> Field {
        Field {
            workers: (0..self.options.workers).map(|_| Mutex::new(None)).collect(),
            options: self.options,
            nodes: self.nodes,
            network: self.network,
            vault: self.vault,
            belongings,
            claims: claims::Claims::default(),
            exits: Mutex::default(),
            noted: Mutex::default(),
            clients: Some(self.clients),
        }
    }
}

/// Where one node is reached.
struct Addresses {
    public: String,
    control: String,
    peer: String,
    /// Where it listens for clients: on both networks.
    listen: String,
}

impl Addresses {
    fn of(ground: Ground, place: usize) -> Addresses {
        match ground {
            Ground::Namespaces => Addresses {
                public: format!("{}:5000", network::data_address(place)),
                control: format!("{}:5000", network::control_address(place)),
                peer: format!("{}:5001", network::data_address(place)),
                listen: "0.0.0.0:5000".to_owned(),
            },
            Ground::Processes => {
                let public = free_address();
                Addresses {
                    control: public.clone(),
                    listen: public.clone(),
                    public,
                    peer: free_address(),
                }
            }
        }
    }
}

fn make_node(
    options: &FieldOptions,
    position: usize,
    addresses: &Addresses,
    founders: &str,
    prefix: &str,
    belongings: &Belongings,
) -> anyhow::Result<Node> {
    let name = format!("n{}", position + 1);
    let disks = options.dir.join("disks");
    let (disk, cgroups) = match options.ground {
        Ground::Namespaces => (
            Some(Disk::make(&disks, &name, disk::NODE_BYTES, belongings)?),
            Cgroups::make(&format!("{prefix}-{name}"), belongings)?,
        ),
        Ground::Processes => (None, None),
    };
    let data_dir = disk.as_ref().map_or(disks.join(&name), |disk| disk.path().to_owned()).join("data");
    let at_rest = if options.lying_disks { SyncFault::Lie } else { SyncFault::None };
    let page = options.dir.join("preload").join(format!("{name}.page"));
    let page = match options.shim {
        true => Some(ControlPage::make(&page, at_rest)?),
        false => None,
    };
    Ok(Node::new(node::Parts {
        audit: options.dir.join("audit").join(format!("{name}.log")),
        start: server_start(options, &name, &data_dir, addresses, founders, page.as_ref())?,
        public: addresses.public.clone(),
        control: addresses.control.clone(),
        peer: addresses.peer.clone(),
        founder: position < options.nodes,
        name,
        data_dir,
        disk,
        cgroups,
        page,
    }))
}

fn server_start(
    options: &FieldOptions,
    name: &str,
    data_dir: &Path,
    addresses: &Addresses,
    founders: &str,
    page: Option<&ControlPage>,
) -> anyhow::Result<Start> {
    let path = |name: &str| options.dir.join(name).display().to_string();
    let arguments = [
        ("--data-dir", data_dir.display().to_string()),
        ("--listen", addresses.listen.clone()),
        ("--advertise", addresses.public.clone()),
        ("--peer-listen", addresses.peer.clone()),
        ("--peers", founders.to_owned()),
        ("--token-file", path("token")),
        ("--cluster-secret-file", path("cluster-secret")),
        ("--root-keys-file", path("root-keys")),
        ("--local-vault", options.vault_dir().display().to_string()),
        ("--profile", options.profile.clone()),
        ("--worker-threads", "1".to_owned()),
        ("--workers", "1".to_owned()),
        // Snapshots are sent, and logs purged, by ordinary load.
        ("--checkpoint-log-entries", "100".to_owned()),
        ("--log-segment-bytes", (64 << 10).to_string()),
        ("--content-scan-seconds", "20".to_owned()),
        ("--disk-low-bytes", (32 << 20).to_string()),
        ("--disk-low-percent", "0".to_owned()),
        ("--ballast-bytes", (8 << 20).to_string()),
    ];
    let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    let mut environment = options.environment.clone();
    if let Some(page) = page {
        let shim = preload::shim().context("libquorate_jepsen_shim.so does not lie beside the runner; build quorate-jepsen-shim")?;
        environment.push(("QUORATE_SHIM_PAGE".to_owned(), page.path().display().to_string()));
        environment.push(("LD_PRELOAD".to_owned(), shim.display().to_string()));
    }
    Ok(Start {
        name: name.to_owned(),
        binary: options.binary.clone(),
        arguments: ["serve".to_owned()]
            .into_iter()
            .chain(arguments)
            .chain(["--audit".to_owned()])
            .collect(),
        environment,
        log: options.dir.join("logs").join(format!("{name}.log")),
    })
}

/// Two threads, in the clients' namespace.
fn client_runtime(network: Option<&Network>) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).thread_name("clients").enable_all();
    if let Some(network) = network {
        let namespace = network.namespace(network::CLIENTS);
        builder.on_thread_start(move || network::enter(&namespace).expect("the clients' namespace was just made"));
    }
    builder.build().context("the clients' runtime cannot start")
}
