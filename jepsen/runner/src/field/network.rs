//! The network of a run: a namespace for each node and one for the clients, on a bridge in a namespace of its own.
//!
//! ```text
//!   hub (the runner)          n1                      n2 ...                   clients
//!   data    bridge  ---- eth0 10.77.0.1 ------- eth0 10.77.0.2 ------- eth0 10.77.0.100     cut, lossy, slow
//!   control bridge  ---- ctl0 10.77.1.1 ------- ctl0 10.77.1.2 ------- ctl0 10.77.1.100     never harmed
//! ```
//! Addresses are the same in every run: the namespaces share nothing with the machine's own network. In each node's
//! namespace a table of nftables drops what comes from, or goes to, the addresses in two sets; a fault fills the sets and
//! healing empties them.

use super::belongings::{Belonging, Belongings, run};
use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// The clients' place in both networks; nodes have 1, 2 and so on.
pub const CLIENTS: usize = 100;
const HUB: usize = 254;

const TABLE: &str = "table inet fault {
    set from { type ipv4_addr; }
    set to { type ipv4_addr; }
    set away_from { type ipv4_addr; }
    set away_to { type ipv4_addr; }
    counter dropped { }
    chain input { type filter hook input priority 0; ip saddr @from counter name dropped drop; ip saddr @away_from counter name dropped drop; }
    chain output { type filter hook output priority 0; ip daddr @to counter name dropped drop; ip daddr @away_to counter name dropped drop; }
}
";

/// Namespaces of one run, by their prefix.
#[derive(Clone)]
pub struct Network {
    prefix: String,
    nodes: usize,
}

impl Network {
    /// Makes all namespaces and links, and moves this thread into the hub: call it before other threads are started, which
    /// then are there too.
    pub fn make(prefix: &str, nodes: usize, belongings: &Belongings) -> anyhow::Result<Network> {
        let network = Network {
            prefix: prefix.to_owned(),
            nodes,
        };
        let hub = network.hub();
        let mut batch = format!("netns add {hub}\n");
        belongings.record(&Belonging::Namespace { name: hub.clone() })?;
        for place in network.places() {
            let name = network.namespace(place);
            batch += &format!("netns add {name}\n");
            belongings.record(&Belonging::Namespace { name })?;
        }
        ip(&batch)?;
        ip_in(&hub, &network.hub_links())?;
        for place in network.places() {
            let name = network.namespace(place);
            let lines = format!(
                "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\naddr add {}/24 dev ctl0\nlink set ctl0 up\n",
                data_address(place),
                control_address(place)
            );
            ip_in(&name, &lines)?;
            network.nft(place, TABLE)?;
        }
        enter(&hub)?;
        Ok(network)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        (1..=self.nodes).chain([CLIENTS])
    }

    /// Bridges, and both ends of all links.
    fn hub_links(&self) -> String {
        let mut lines = "link set lo up\n".to_owned();
        for (bridge, address) in [("data", data_address(HUB)), ("control", control_address(HUB))] {
            lines += &format!("link add {bridge} type bridge\naddr add {address}/24 dev {bridge}\nlink set {bridge} up\n");
        }
        for place in self.places() {
            let name = self.namespace(place);
            for (bridge, inside, outside) in [("data", "eth0", data_link(place)), ("control", "ctl0", format!("c{place}"))] {
                lines += &format!("link add {outside} type veth peer name {inside} netns {name}\n");
                lines += &format!("link set {outside} master {bridge} up\n");
            }
        }
        lines
    }

    /// Name of a node's or the clients' namespace.
    pub fn namespace(&self, place: usize) -> String {
        match place {
            CLIENTS => format!("{}-clients", self.prefix),
            place => format!("{}-n{place}", self.prefix),
        }
    }

    /// Runs nft in a namespace.
    pub fn nft(&self, place: usize, commands: &str) -> anyhow::Result<String> {
        self.within(place, || feed(Command::new("nft").args(["-f", "-"]), commands))?
    }

    /// Packets that the table of a namespace has dropped so far.
    pub fn dropped(&self, place: usize) -> anyhow::Result<u64> {
        let said = self.within(place, || {
            run(Command::new("nft").args(["list", "counter", "inet", "fault", "dropped"]))
        })??;
        let count = said
            .split_once("packets ")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        count.context("nft shows no counter")
    }

    /// From now on a namespace hears nothing from `from` and says nothing to `to`; empty lists end that.
    pub fn cut(&self, place: usize, from: &[usize], to: &[usize]) -> anyhow::Result<()> {
        self.fill_sets(place, [("from", from), ("to", to)])
    }

    /// As [`Network::cut`], both ways, and independent of it: partitions come and go while one node is away.
    pub fn away(&self, place: usize, others: &[usize]) -> anyhow::Result<()> {
        self.fill_sets(place, [("away_from", others), ("away_to", others)])
    }

    fn fill_sets(&self, place: usize, sets: [(&str, &[usize]); 2]) -> anyhow::Result<()> {
        let mut commands = String::new();
        for (set, places) in sets {
            commands += &format!("flush set inet fault {set}\n");
            let addresses: Vec<String> = places.iter().map(|place| data_address(*place)).collect();
            if !addresses.is_empty() {
                commands += &format!("add element inet fault {set} {{ {} }}\n", addresses.join(", "));
            }
        }
        self.nft(place, &commands).map(drop)
    }

    /// Pulls the cable of a node, or puts it back.
    pub fn plug(&self, place: usize, plugged: bool) -> anyhow::Result<()> {
        let state = if plugged { "up" } else { "down" };
        ip_in(&self.hub(), &format!("link set {} {state}\n", data_link(place)))
    }

    /// Whether the kernel says of either end of a node's cable that something is at the other one.
    pub fn has_carrier(&self, place: usize) -> anyhow::Result<bool> {
        let show = |namespace: &str, link: &str| run(Command::new("ip").args(["-n", namespace, "-o", "link", "show", link]));
        let ends = [show(&self.hub(), &data_link(place))?, show(&self.namespace(place), "eth0")?];
        Ok(shows_carrier(&ends[0])? || shows_carrier(&ends[1])?)
    }

    /// Takes every harm away that a fault may have left in a namespace.
    pub fn restore(&self, place: usize) -> anyhow::Result<()> {
        self.cut(place, &[], &[])?;
        self.away(place, &[])?;
        if place != CLIENTS {
            self.plug(place, true)?;
            self.tool(place, "iptables", &["-F", "OUTPUT"])?;
            self.tool(place, "iptables", &["-t", "mangle", "-F", "POSTROUTING"])?;
            // There is nothing to delete when nothing was slowed.
            let _ = self.tool(place, "tc", &["qdisc", "del", "dev", "eth0", "root"]);
        }
        Ok(())
    }

    /// Runs a tool in a namespace.
    pub fn tool(&self, place: usize, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.within(place, || run(Command::new(program).args(arguments)))?
    }

    /// Calls `what` on a thread in that namespace: sockets and processes it makes are there.
    pub fn within<T: Send>(&self, place: usize, what: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let name = self.namespace(place);
        let there = std::thread::scope(|scope| scope.spawn(|| enter(&name).map(|()| what())).join());
        there.expect("what runs in a namespace does not panic")
    }
}

/// Whether a link has a carrier, in the words of `ip -o link show`.
fn shows_carrier(said: &str) -> anyhow::Result<bool> {
    let flags = said.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    let (flags, _) = flags.context("ip shows no flags of the link")?;
    Ok(flags.split(',').any(|flag| flag == "LOWER_UP"))
}

/// Moves this thread into a namespace.
pub fn enter(name: &str) -> anyhow::Result<()> {
    let path = format!("/run/netns/{name}");
    let file = File::open(&path).with_context(|| path.clone())?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).with_context(|| path)
}

pub fn data_address(place: usize) -> String {
    format!("10.77.0.{place}")
}

pub fn control_address(place: usize) -> String {
    format!("10.77.1.{place}")
}

fn data_link(place: usize) -> String {
    format!("d{place}")
}

fn ip(batch: &str) -> anyhow::Result<()> {
    feed(Command::new("ip").args(["-batch", "-"]), batch).map(drop)
}

fn ip_in(namespace: &str, batch: &str) -> anyhow::Result<()> {
    feed(Command::new("ip").args(["-n", namespace, "-batch", "-"]), batch).map(drop)
}

/// Runs a tool that reads commands.
fn feed(command: &mut Command, commands: &str) -> anyhow::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let mut input = child.stdin.take().context("the tool has an input")?;
    input.write_all(commands.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?} at \"{commands}\": {}", complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulled_cable_shows_at_both_ends() {
        let shows = |said: &str| shows_carrier(said).expect("flags");
        assert!(shows(
            "2: d1@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master data state UP mode DEFAULT"
        ));
        assert!(!shows(
            "2: d1@if2: <BROADCAST,MULTICAST> mtu 1500 master data state DOWN mode DEFAULT"
        ));
        assert!(!shows(
            "2: eth0@if2: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 state DOWN mode DEFAULT"
        ));
        assert!(shows_carrier("Device \"eth0\" does not exist.").is_err());
    }
}
