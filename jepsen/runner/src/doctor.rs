//! What this machine can do: each tool and kernel part that a fault needs.

use crate::field::{Ground, cgroups, preload};
use crate::nemesis::{self, Chosen};
use std::path::{Path, PathBuf};

/// One thing that is needed.
pub struct Check {
    pub what: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// How it is missing; `None` when it is there.
    pub missing: Option<String>,
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

/// Everything the suite may need.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![Check {
        what: "root",
        why: "namespaces, mounts and control groups",
        missing: (!rustix::process::geteuid().is_root()).then(|| "run it as root, or with --ground processes".to_owned()),
    }];
    for (tool, package, why) in TOOLS {
        let missing = found(tool).is_none().then(|| format!("install the Debian package {package}"));
        checks.push(Check { what: tool, why, missing });
    }
    let groups = cgroups::missing();
    checks.push(Check {
        what: "control groups",
        why: "freezing and starving nodes",
        missing: (!groups.is_empty()).then(|| format!("no version 1 controller {}", groups.join(", "))),
    });
    checks.push(Check {
        what: "loop devices",
        why: "disks of their own",
        missing: (!Path::new("/dev/loop-control").exists()).then(|| "no /dev/loop-control".to_owned()),
    });
    checks.push(Check {
        what: SHIM,
        why: "slow, hung and failing syncs, and wrong clocks",
        missing: preload::shim().is_none().then(|| "cargo build -p quorate-jepsen-shim".to_owned()),
    });
    checks.push(Check {
        what: NETQ,
        why: "lossy, slow and reordering networks",
        missing: netq().is_none().then(|| "cargo build -p quorate-jepsen-netq".to_owned()),
    });
    checks
}

/// What a fault needs and this machine has not.
pub fn missing_for(chosen: &Chosen, ground: Ground) -> Vec<String> {
    if chosen.needs.namespaces && ground == Ground::Processes {
        return vec!["it needs networks and disks of its own, which plain processes have not".to_owned()];
    }
    let concerns = |check: &Check| match check.what {
        SHIM => chosen.needs.shim,
        NETQ => chosen.needs.netq,
        _ => ground == Ground::Namespaces,
    };
    let missing = checks().into_iter().filter(concerns);
    missing
        .filter_map(|check| check.missing.map(|how| format!("{}: {how}", check.what)))
        .collect()
}

/// The faults that cannot be done while this is missing. All but the shim and the delay daemon is for networks and disks: without
/// them there are plain processes only.
pub fn skipped_without(what: &str) -> Vec<&'static str> {
    nemesis::kinds_that_need(|needs| match what {
        SHIM => needs.shim,
        NETQ => needs.netq,
        _ => needs.namespaces,
    })
}

/// What a ground needs whatever is done on it.
pub fn missing_for_ground(ground: Ground) -> Vec<String> {
    let always = |check: &Check| !matches!(check.what, SHIM | NETQ);
    let missing = checks().into_iter().filter(|check| ground == Ground::Namespaces && always(check));
    missing
        .filter_map(|check| check.missing.map(|how| format!("{}: {how}", check.what)))
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
        let rooted = skipped_without("root");
        assert!(rooted.contains(&"power") && rooted.contains(&"partition") && !rooted.contains(&"kill"));
        for check in checks() {
            assert!(!skipped_without(check.what).is_empty(), "{}", check.what);
        }
    }
}
