//! Packets that are lost, late or out of order, and a narrow link.
//!
//! The kernel here has no netem: packets leave through a queue to `jepsen-netq`, which holds, drops and reorders them, and
//! counts. Should it die, they pass.

use super::modes::Modes;
use super::targets::{names, take};
use super::{Nemesis, Outcome};
use crate::doctor;
use crate::field::Field;
use crate::field::network::Network;
use crate::field::process::{Process, Start};
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::path::PathBuf;
use std::time::Duration;

/// Packets are harmed within this.
const SEEN: Duration = Duration::from_secs(4);

pub struct Packets {
    modes: Modes,
    mode: &'static str,
    taken: Vec<usize>,
    daemons: Vec<Process>,
}

impl Packets {
    pub fn new(modes: Modes) -> Packets {
        Packets {
            modes,
            mode: "",
            taken: Vec::new(),
            daemons: Vec::new(),
        }
    }

    /// Starts the daemon at a node and sends what leaves it through the daemon.
    fn divert(&mut self, field: &Field, network: &Network, node: usize, harm: &[String]) -> anyhow::Result<()> {
        let name = field.name(node);
        let counts = counts_file(field, node);
        let _ = std::fs::remove_file(&counts);
        let start = Start {
            name: format!("netq-{name}"),
            binary: doctor::netq().context("jepsen-netq does not lie beside the runner")?,
            arguments: harm
                .iter()
                .cloned()
                .chain(["--counts".to_owned(), counts.display().to_string()])
                .collect(),
            environment: Vec::new(),
            log: field.dir().join("logs").join(format!("netq-{name}.log")),
        };
        self.daemons.push(field.start_tool(node, &start)?);
        network.tool(node + 1, "iptables", &queue_rule("-A")).map(drop)
    }

    /// Makes the links narrow, and waits until packets had to wait for one of them.
    async fn narrow(&self, field: &Field, network: &Network, random: &mut Random) -> anyhow::Result<Outcome> {
        let (taken, rate) = (&self.taken, format!("{}kbit", 64 + random.below(448)));
        for node in taken {
            let arguments = [
                "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "4kb", "latency", "400ms",
            ];
            network.tool(node + 1, "tc", &arguments)?;
        }
        let of = |node: &usize| held_back(&network.tool(node + 1, "tc", &["-s", "qdisc", "show", "dev", "eth0"]).ok()?);
        let all = || taken.iter().map(of).sum::<Option<u64>>();
        let seen = field.wait_for("a packet waits for a narrow link", SEEN, async || all().filter(|count| *count > 0));
        Ok(match seen.await {
            Ok(count) => {
                let evidence = format!("{rate}; {count} times a packet had to wait or was dropped so far");
                Outcome::installed(self.mode, field, taken, evidence)
            }
            Err(_) => Outcome::Indeterminate {
                why: format!("no packet of {} needs more than {rate}", names(field, taken)),
            },
        })
    }
}

/// How often a narrow link held packets back, in the words of `tc -s qdisc show`; `None` when it is not narrow.
fn held_back(said: &str) -> Option<u64> {
    let (_, narrow) = said.split_once("qdisc tbf ")?;
    let count = |name: &str| -> Option<u64> {
        let (_, rest) = narrow.split_once(name)?;
        rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    };
    Some(count("dropped ")? + count("overlimits ")?)
}

/// The rule that sends what leaves a node through the daemon, after all that could refuse it.
pub fn queue_rule(verb: &str) -> [&str; 11] {
    [
        "-t",
        "mangle",
        verb,
        "POSTROUTING",
        "-o",
        "eth0",
        "-j",
        "NFQUEUE",
        "--queue-num",
        "0",
        "--queue-bypass",
    ]
}

fn counts_file(field: &Field, node: usize) -> PathBuf {
    field.dir().join("preload").join(format!("{}.netq", field.name(node)))
}

/// What the daemon has done to a packet in a mode: one that is merely late was not reordered.
fn harmed_how(mode: &str) -> &'static str {
    if mode == "reorder" { "overtaken" } else { "harmed" }
}

/// Packets the daemon of a node has harmed so far: it rewrites its counts a few times a second.
fn harmed(field: &Field, node: usize, mode: &str) -> u64 {
    let text = std::fs::read_to_string(counts_file(field, node)).unwrap_or_default();
    count(&text, harmed_how(mode))
}

/// A figure of the daemon's: a line each, with its name.
fn count(counts: &str, name: &str) -> u64 {
    let of_name = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok();
    counts.lines().find_map(of_name).unwrap_or(0)
}

/// Arguments of the daemon for a mode.
fn harm(mode: &str, random: &mut Random) -> Vec<String> {
    let (loss, delay, jitter) = match mode {
        "loss" => (*random.pick(&[5, 20, 50]), 0, 0),
        "delay" => (0, 20 + random.below(280), random.below(50)),
        // What is held for a random time is overtaken.
        _ => (0, 1, 30 + random.below(170)),
    };
    let pair = |name: &str, value: u64| [name.to_owned(), value.to_string()];
    let pairs = [
        pair("--loss-percent", loss),
        pair("--delay-ms", delay),
        pair("--jitter-ms", jitter),
        pair("--seed", random.number() >> 1),
    ];
    pairs.into_iter().flatten().collect()
}

#[async_trait(?Send)]
impl Nemesis for Packets {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let network = field.network().context("packets need namespaces")?;
        self.mode = self.modes.next(random);
        let whom = *random.pick(&["leader", "one", "all"]);
        let wanted = match take(field, "packets", whom, false, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(self.mode);
                return Ok(skipped);
            }
        };
        // The network of a node may be bad while another fault has the node itself.
        field.release(&wanted);
        self.taken = wanted;
        if self.mode == "bandwidth" {
            return self.narrow(field, network, random).await;
        }
        let harm = harm(self.mode, random);
        for node in self.taken.clone() {
            self.divert(field, network, node, &harm)?;
        }
        let (taken, mode) = (&self.taken, self.mode);
        let seen = field.wait_for("packets are harmed", SEEN, async || {
            Some(taken.iter().map(|node| harmed(field, *node, mode)).sum::<u64>()).filter(|count| *count > 0)
        });
        match seen.await {
            Ok(count) => Ok(Outcome::installed(
                self.mode,
                field,
                taken,
                format!("{}: {count} packets {} so far", harm[..6].join(" "), harmed_how(mode)),
            )),
            Err(_) => Ok(Outcome::Indeterminate {
                why: format!(
                    "no packet of {} was {} in {} s",
                    names(field, taken),
                    harmed_how(mode),
                    SEEN.as_secs()
                ),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let network = field.network().context("packets need namespaces")?;
        let taken = std::mem::take(&mut self.taken);
        for node in &taken {
            match self.mode {
                "bandwidth" => network.tool(node + 1, "tc", &["qdisc", "del", "dev", "eth0", "root"])?,
                _ => {
                    // Absent if it could not be set.
                    network.tool(node + 1, "iptables", &queue_rule("-D")).unwrap_or_default()
                }
            };
        }
        let counts: Vec<u64> = taken.iter().map(|node| harmed(field, *node, self.mode)).collect();
        for daemon in self.daemons.drain(..) {
            daemon.kill()?;
        }
        Ok(format!(
            "the links of {} are whole again; {counts:?} packets were {}",
            names(field, &taken),
            harmed_how(self.mode)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_are_only_late_are_not_reordered() {
        let counts = "seen 20\nharmed 12\novertaken 3\n";
        let harmed = |mode| count(counts, harmed_how(mode));
        assert_eq!((harmed("delay"), harmed("loss"), harmed("reorder")), (12, 12, 3));
        assert_eq!(count("seen 20\nharmed 12\n", harmed_how("reorder")), 0);
    }

    #[test]
    fn a_link_is_narrow_when_it_held_something_back() {
        let counts = |dropped: u64, late: u64| format!("\n Sent 9 bytes 1 pkt (dropped {dropped}, overlimits {late} requeues 0) \n");
        let narrow = |counts: String| held_back(&format!("qdisc tbf 8022: root refcnt 3 rate 64Kbit burst 4Kb lat 400ms {counts}"));
        assert_eq!(narrow(counts(3, 47)), Some(50));
        assert_eq!(narrow(counts(0, 0)), Some(0));
        assert_eq!(held_back(&format!("qdisc noqueue 0: root refcnt 2 {}", counts(0, 0))), None);
    }
}
