//! What this machine can do: each tool and kernel part that a fault needs.

use crate::field::belongings::run;
use crate::field::{Ground, cgroups, disk, preload};
use crate::nemesis::{self, Chosen, Needs};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One thing that is needed.
pub struct Check {
    pub what: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// Looks, or tries it; says how it is missing, and nothing when it is there.
    pub missing: Box<dyn Fn() -> Option<String>>,
}

/// Tools of the namespaces ground, and the Debian package of each.
const TOOLS: [(&str, &str, &str); 8] = [
    ("ip", "iproute2", "networks of their own"),
    ("nft", "nftables", "partitions"),
    ("iptables", "iptables", "resets, and packets through the delay daemon"),
    ("tc", "iproute2", "bandwidth"),
    ("losetup", "mount", "disks of their own"),
    ("mkfs.ext4", "e2fsprogs", "disks of their own"),
    ("mount", "mount", "disks of their own"),
    ("umount", "mount", "power cuts"),
];

/// What only some faults need.
const SHIM: &str = "shim";
const NETQ: &str = "netq";
const QUEUE: &str = "NFQUEUE";
const GROUPS: &str = "control groups";
const POWER: &str = "shutdown ioctl";

/// Everything the suite may need. What is looked at costs nothing until it is asked for.
pub fn checks() -> Vec<Check> {
    let tool = |(tool, package, why): (&'static str, &'static str, &'static str)| {
        let missing = move || found(tool).is_none().then(|| format!("install the Debian package {package}"));
        check(tool, why, missing)
    };
    let mut checks = vec![check("root", "namespaces, mounts and control groups", || {
        (!rustix::process::geteuid().is_root()).then(|| "run it as root, or with --ground processes".to_owned())
    })];
    checks.extend(TOOLS.map(tool));
    checks.extend([
        check("loop devices", "disks of their own", || {
            (!Path::new("/dev/loop-control").exists()).then(|| "no /dev/loop-control".to_owned())
        }),
        check(GROUPS, "starving nodes, and freezing them (pause:freezer)", cgroups::missing),
        check(POWER, "power cuts, tried on a disk of 8 MiB", || failed(disk::try_power_cut())),
        check(SHIM, "slow, hung and failing syncs, and wrong clocks", || {
            preload::shim().is_none().then(|| "cargo build -p quorate-jepsen-shim".to_owned())
        }),
        check(NETQ, "lossy, slow and reordering networks", || {
            netq().is_none().then(|| "cargo build -p quorate-jepsen-netq".to_owned())
        }),
        check(QUEUE, "packets through the delay daemon, tried in a namespace", || {
            let mut tried = Command::new("unshare");
            tried.args(["--net", "iptables"]).args(nemesis::queue_rule("-A"));
            failed(run(&mut tried).map(drop))
        }),
    ]);
    checks
}

fn check(what: &'static str, why: &'static str, missing: impl Fn() -> Option<String> + 'static) -> Check {
    let missing = Box::new(missing);
    Check { what, why, missing }
}

fn failed(tried: anyhow::Result<()>) -> Option<String> {
    tried.err().map(|error| format!("{error:#}"))
}

/// Whether a fault with these needs cannot be done without this. What is not for some faults only is for networks and disks: without
/// it there are plain processes only.
fn is_needed(what: &str, needs: &Needs) -> bool {
    match what {
        SHIM => needs.shim,
        NETQ | QUEUE => needs.netq,
        GROUPS => needs.cgroups,
        POWER => needs.power_cuts,
        _ => needs.namespaces,
    }
}

fn is_for_some_faults_only(what: &str) -> bool {
    matches!(what, SHIM | NETQ | QUEUE | GROUPS | POWER)
}

/// What a fault needs and this machine has not.
pub fn missing_for(chosen: &Chosen, ground: Ground) -> Vec<String> {
    if chosen.needs.namespaces && ground == Ground::Processes {
        return vec!["it needs networks and disks of its own, which plain processes have not".to_owned()];
    }
    missing(|what| match is_for_some_faults_only(what) {
        true => is_needed(what, &chosen.needs),
        false => ground == Ground::Namespaces,
    })
}

/// The faults that cannot be done while this is missing.
pub fn skipped_without(what: &str) -> Vec<&'static str> {
    nemesis::kinds_that_need(|needs| is_needed(what, needs))
}

/// What a ground needs whatever is done on it.
pub fn missing_for_ground(ground: Ground) -> Vec<String> {
    missing(|what| ground == Ground::Namespaces && !is_for_some_faults_only(what))
}

fn missing(concerns: impl Fn(&str) -> bool) -> Vec<String> {
    let checks = checks().into_iter().filter(|check| concerns(check.what));
    checks
        .filter_map(|check| (check.missing)().map(|how| format!("{}: {how}", check.what)))
        .collect()
}

/// The delay daemon, which lies beside the runner.
pub fn netq() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join("jepsen-netq");
    path.exists().then_some(path)
}

/// A program in PATH or where root has its own.
pub fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = path.split(':').chain(["/usr/sbin", "/sbin"]);
    directories
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_can_be_missing_names_the_faults_it_is_for() {
        assert_eq!(skipped_without(SHIM), ["clock", "clock-monotonic", "fsync"]);
        assert_eq!(skipped_without(NETQ), ["packets"]);
        assert_eq!(skipped_without(QUEUE), ["packets"]);
        assert_eq!(skipped_without(GROUPS), ["starve"]);
        assert_eq!(skipped_without(POWER), ["power"]);
        let rooted = skipped_without("root");
        assert!(rooted.contains(&"power") && rooted.contains(&"partition") && !rooted.contains(&"kill"));
        for check in checks() {
            assert!(!skipped_without(check.what).is_empty(), "{}", check.what);
        }
    }

    #[test]
    fn what_some_faults_need_is_asked_for_them_only() {
        let needed = |spec: &str| -> Vec<&'static str> {
            let needs = nemesis::by_name(spec, 3).expect("a fault").needs;
            let some = [SHIM, NETQ, QUEUE, GROUPS, POWER].into_iter();
            some.filter(|what| is_needed(what, &needs)).collect()
        };
        assert_eq!(needed("partition"), [""; 0]);
        assert_eq!(needed("starve"), [GROUPS]);
        assert_eq!(needed("power"), [POWER]);
        assert_eq!(needed("packets"), [NETQ, QUEUE]);
        // The freezer is one mode of four, and is skipped unless somebody asks for it.
        assert_eq!(needed("pause"), [""; 0]);
        assert_eq!(needed("pause:freezer"), [GROUPS]);
    }
}
