//! Control groups of one node: how much processor and disk it gets, and whether it is frozen.
//!
//! ```text
//!   version 1   /sys/fs/cgroup/{cpu,blkio,freezer}/NAME     a tree for each controller, a group of the node in each of them
//!   version 2   /sys/fs/cgroup/NAME/processes               one tree; it may be /sys/fs/cgroup/unified instead
//! ```
//! What is mounted decides which. In version 2 `NAME` hands its controllers down to the one group below it: while it does, nobody
//! can take them away from the tree, as systemd does with those that none of its units asks for.

use super::belongings::{Belonging, Belongings};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
/// Trees of version 1.
const TREES: [&str; 3] = ["cpu", "blkio", "freezer"];
/// Controllers of version 2; freezing needs none. Without that of memory, what is written through the page cache is nobody's.
const CONTROLLERS: [&str; 3] = ["cpu", "io", "memory"];
/// The group in version 2 that has the node's processes.
const PROCESSES: &str = "processes";
const PROCS: &str = "cgroup.procs";
const SUBTREE: &str = "cgroup.subtree_control";

const FREEZER: &str = "freezer.state";
const FROZEN: &str = "FROZEN";
const THAWED: &str = "THAWED";
const QUOTA: &str = "cpu.cfs_quota_us";
const WRITES: &str = "blkio.throttle.write_bps_device";

const FREEZE: &str = "cgroup.freeze";
const PROCESSOR: &str = "cpu.max";
const DISK: &str = "io.max";
/// Length of the window in which processor time is counted.
const PERIOD_US: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    version: Version,
    root: PathBuf,
}

/// The groups of one node.
pub struct Cgroups {
    tree: Tree,
    name: String,
}

/// How control groups are missing on this machine; `None` when they are there.
pub fn missing() -> Option<String> {
    let found = Tree::find(Path::new(ROOT)).and_then(|tree| tree.prepare());
    found.err().map(|error| format!("{error:#}"))
}

/// Lets go on what a group holds back: what is frozen takes no signal, and what hardly gets its disk takes long to end.
pub fn let_go(group: &Path) -> anyhow::Result<()> {
    let set = |file: &str, text: &str| {
        let path = group.join(file);
        match path.exists() {
            true => write(&path, text),
            false => Ok(()),
        }
    };
    set(FREEZER, THAWED)?;
    set(QUOTA, "-1")?;
    set(FREEZE, "0")?;
    set(PROCESSOR, "max")?;
    for (file, none) in [(WRITES, "0"), (DISK, "wbps=max")] {
        let limits = std::fs::read_to_string(group.join(file)).unwrap_or_default();
        for (device, _) in limits.lines().filter_map(|line| line.split_once(' ')) {
            set(file, &format!("{device} {none}"))?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} = {text}", path.display()))
}

/// Makes a group hand its controllers down to those below it.
fn hand_down(group: &Path) -> anyhow::Result<()> {
    let path = group.join(SUBTREE);
    let handed = std::fs::read_to_string(&path).unwrap_or_default();
    let is_absent = |wanted: &str| !handed.split_whitespace().any(|one| one == wanted);
    let absent = CONTROLLERS.into_iter().filter(|wanted| is_absent(wanted));
    let absent: Vec<String> = absent.map(|wanted| format!("+{wanted}")).collect();
    match absent.is_empty() {
        true => Ok(()),
        false => write(&path, &absent.join(" ")),
    }
}

impl Tree {
    /// Looks below `mounts`, which is [`ROOT`] but in tests.
    fn find(mounts: &Path) -> anyhow::Result<Tree> {
        if TREES.iter().all(|tree| mounts.join(tree).join(PROCS).exists()) {
            return Ok(Tree {
                version: Version::One,
                root: mounts.to_owned(),
            });
        }
        for root in [mounts.to_owned(), mounts.join("unified")] {
            let there = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            if CONTROLLERS.iter().all(|wanted| there.split_whitespace().any(|one| one == *wanted)) {
                return Ok(Tree {
                    version: Version::Two,
                    root,
                });
            }
        }
        bail!(
            "neither trees of version 1 with {} nor one of version 2 with {}",
            TREES.join(", "),
            CONTROLLERS.join(", ")
        )
    }

    /// Afterwards groups that are made have what they need.
    fn prepare(&self) -> anyhow::Result<()> {
        match self.version {
            Version::One => Ok(()),
            Version::Two => hand_down(&self.root),
        }
    }
}

impl Cgroups {
    /// `None` where this machine has no control groups.
    pub fn make(name: &str, belongings: &Belongings) -> anyhow::Result<Option<Cgroups>> {
        if missing().is_some() {
            return Ok(None);
        }
        let tree = Tree::find(Path::new(ROOT))?;
        let told = |path: &Path| belongings.record(&Belonging::Cgroup { path: path.to_owned() });
        Cgroups::make_in(tree, name, told).map(Some)
    }

    /// Tells of each group before it makes it.
    fn make_in(tree: Tree, name: &str, told: impl Fn(&Path) -> anyhow::Result<()>) -> anyhow::Result<Cgroups> {
        let make = |path: &Path| {
            told(path)?;
            std::fs::create_dir(path).with_context(|| path.display().to_string())
        };
        let name = name.to_owned();
        let cgroups = Cgroups { tree, name };
        match cgroups.tree.version {
            Version::One => TREES.iter().try_for_each(|tree| make(&cgroups.group(tree)))?,
            Version::Two => {
                let above = cgroups.tree.root.join(&cgroups.name);
                make(&above)?;
                hand_down(&above)?;
                make(&above.join(PROCESSES))?;
            }
        }
        Ok(cgroups)
    }

    /// The node's group; in version 1 that of a tree.
    fn group(&self, tree: &str) -> PathBuf {
        match self.tree.version {
            Version::One => self.tree.root.join(tree).join(&self.name),
            Version::Two => self.tree.root.join(&self.name).join(PROCESSES),
        }
    }

    /// Takes a process in.
    pub fn admit(&self, pid: u32) -> anyhow::Result<()> {
        let trees = match self.tree.version {
            Version::One => &TREES[..],
            // One tree, whatever it is called.
            Version::Two => &TREES[..1],
        };
        trees.iter().try_for_each(|tree| self.write(tree, PROCS, &pid.to_string()))
    }

    fn write(&self, tree: &str, file: &str, text: &str) -> anyhow::Result<()> {
        write(&self.group(tree).join(file), text)
    }

    fn read(&self, tree: &str, file: &str) -> anyhow::Result<String> {
        let path = self.group(tree).join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Percent of one core it gets; `None` for as much as there is.
    pub fn limit_processor(&self, percent: Option<u64>) -> anyhow::Result<()> {
        let quota_us = percent.map(|percent| (PERIOD_US * percent / 100).to_string());
        match self.tree.version {
            Version::One => {
                self.write("cpu", "cpu.cfs_period_us", &PERIOD_US.to_string())?;
                self.write("cpu", QUOTA, quota_us.as_deref().unwrap_or("-1"))
            }
            Version::Two => {
                let quota = quota_us.as_deref().unwrap_or("max");
                self.write("cpu", PROCESSOR, &format!("{quota} {PERIOD_US}"))
            }
        }
    }

    /// How often it had to wait for its next share of the processor.
    pub fn throttled(&self) -> anyhow::Result<u64> {
        let stat = self.read("cpu", "cpu.stat")?;
        let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok());
        count.context("cpu.stat has no nr_throttled")
    }

    /// Bytes a second it may write to a device; 0 for as many as it can.
    pub fn limit_writes(&self, device: &str, bytes_per_second: u64) -> anyhow::Result<()> {
        match (self.tree.version, bytes_per_second) {
            (Version::One, _) => self.write("blkio", WRITES, &format!("{device} {bytes_per_second}")),
            (Version::Two, 0) => self.write("blkio", DISK, &format!("{device} wbps=max")),
            (Version::Two, _) => self.write("blkio", DISK, &format!("{device} wbps={bytes_per_second}")),
        }
    }

    /// The limit of a device that is in force, as the kernel shows it; `None` when there is none.
    pub fn write_limit(&self, device: &str) -> anyhow::Result<Option<u64>> {
        match self.tree.version {
            Version::One => Ok(figure(&self.read("blkio", WRITES)?, device, "")),
            Version::Two => Ok(figure(&self.read("blkio", DISK)?, device, "wbps=")),
        }
    }

    /// Bytes that its processes have had written to a device so far, each of them after the wait that the limit demands.
    pub fn written(&self, device: &str) -> anyhow::Result<u64> {
        let written = match self.tree.version {
            Version::One => figure(
                &self.read("blkio", "blkio.throttle.io_service_bytes")?,
                &format!("{device} Write"),
                "",
            ),
            Version::Two => figure(&self.read("blkio", "io.stat")?, device, "wbytes="),
        };
        // A device that was never written to has no line.
        Ok(written.unwrap_or(0))
    }

    /// Stops all its threads at once, or lets them go on.
    pub fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        match self.tree.version {
            Version::One => self.write("freezer", FREEZER, if frozen { FROZEN } else { THAWED }),
            Version::Two => self.write("freezer", FREEZE, if frozen { "1" } else { "0" }),
        }
    }

    /// Whether all of them stand: while some are still to be stopped the kernel does not say so.
    pub fn is_frozen(&self) -> anyhow::Result<bool> {
        match self.tree.version {
            Version::One => Ok(self.read("freezer", FREEZER)?.trim() == FROZEN),
            Version::Two => Ok(self.read("freezer", "cgroup.events")?.lines().any(|line| line == "frozen 1")),
        }
    }
}

/// The figure behind `key`, in the line of a table that begins with `device`.
fn figure(table: &str, device: &str, key: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
    lines.find_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory that looks like what is mounted.
    fn mounts(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (file, text) in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().expect("a file is somewhere")).expect("made");
            fs::write(path, text).expect("written");
        }
        dir
    }

    const ONE: [(&str, &str); 4] = [
        ("cpu/cgroup.procs", ""),
        ("blkio/cgroup.procs", ""),
        ("freezer/cgroup.procs", ""),
        ("unified/cgroup.controllers", "hugetlb\n"),
    ];
    const TWO: [(&str, &str); 2] = [
        ("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n"),
        ("cgroup.subtree_control", "memory pids\n"),
    ];

    fn made(dir: &Path) -> (Cgroups, Vec<PathBuf>) {
        let tree = Tree::find(dir).expect("control groups");
        tree.prepare().expect("prepared");
        let told = std::cell::RefCell::new(Vec::new());
        let cgroups = Cgroups::make_in(tree, "n1", |path| {
            assert!(!path.exists(), "it is told before it is there");
            told.borrow_mut().push(path.strip_prefix(dir).expect("below").to_owned());
            Ok(())
        });
        (cgroups.expect("made"), told.into_inner())
    }

    #[test]
    fn what_is_mounted_decides_the_version() {
        let version = |files: &[(&str, &str)]| Tree::find(mounts(files).path()).map(|tree| tree.version).ok();
        assert_eq!(version(&ONE), Some(Version::One));
        assert_eq!(version(&TWO), Some(Version::Two));
        // Debian's mixture: the trees of version 1 have the controllers, or have not.
        assert_eq!(version(&ONE[1..]), None);
        assert_eq!(version(&[("cgroup.controllers", "cpu memory\n")]), None);
        let dir = mounts(&[("cpu/cgroup.procs", ""), ("unified/cgroup.controllers", "cpu io memory\n")]);
        let tree = Tree::find(dir.path()).expect("control groups");
        assert_eq!((tree.version, tree.root), (Version::Two, dir.path().join("unified")));
        let error = format!("{:#}", Tree::find(mounts(&[]).path()).expect_err("nothing is mounted"));
        assert!(error.contains("blkio") && error.contains("io, memory"), "{error}");
    }

    #[test]
    fn a_node_has_a_group_in_each_tree_of_version_1() {
        let dir = mounts(&ONE);
        let (cgroups, told) = made(dir.path());
        assert_eq!(told, ["cpu/n1", "blkio/n1", "freezer/n1"].map(PathBuf::from));
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect("read");
        cgroups.admit(7).expect("admitted");
        assert_eq!(
            ["cpu", "blkio", "freezer"].map(|tree| read(&format!("{tree}/n1/cgroup.procs"))),
            ["7"; 3]
        );
        cgroups.limit_processor(Some(5)).expect("limited");
        assert_eq!(read("cpu/n1/cpu.cfs_period_us"), "20000");
        assert_eq!(read("cpu/n1/cpu.cfs_quota_us"), "1000");
        cgroups.limit_processor(None).expect("not limited");
        assert_eq!(read("cpu/n1/cpu.cfs_quota_us"), "-1");
        cgroups.limit_writes("7:0", 50_000).expect("limited");
        assert_eq!(cgroups.write_limit("7:0").expect("a limit"), Some(50_000));
        assert_eq!(cgroups.write_limit("7:01").expect("no limit"), None);
        let counts = "7:0 Read 1\n7:0 Write 4096\n7:0 Total 4097\nTotal 4097\n";
        fs::write(dir.path().join("blkio/n1/blkio.throttle.io_service_bytes"), counts).expect("written");
        assert_eq!(cgroups.written("7:0").expect("counted"), 4_096);
        cgroups.freeze(true).expect("frozen");
        assert!(cgroups.is_frozen().expect("read"));
        fs::write(dir.path().join("freezer/n1/freezer.state"), "FREEZING\n").expect("written");
        assert!(!cgroups.is_frozen().expect("read"));
    }

    #[test]
    fn a_node_has_one_group_in_version_2_whose_controllers_nobody_takes_away() {
        let dir = mounts(&TWO);
        let (cgroups, told) = made(dir.path());
        assert_eq!(told, ["n1", "n1/processes"].map(PathBuf::from));
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect("read");
        // Only what was not handed down yet; the kernel adds it to what was.
        assert_eq!(read("cgroup.subtree_control"), "+cpu +io");
        assert_eq!(read("n1/cgroup.subtree_control"), "+cpu +io +memory");
        let write = |file: &str, text: &str| fs::write(dir.path().join("n1/processes").join(file), text).expect("written");
        cgroups.admit(7).expect("admitted");
        assert_eq!(read("n1/processes/cgroup.procs"), "7");
        cgroups.limit_processor(Some(5)).expect("limited");
        assert_eq!(read("n1/processes/cpu.max"), "1000 20000");
        cgroups.limit_processor(None).expect("not limited");
        assert_eq!(read("n1/processes/cpu.max"), "max 20000");
        write("cpu.stat", "usage_usec 9\nnr_periods 4\nnr_throttled 3\n");
        assert_eq!(cgroups.throttled().expect("counted"), 3);
        cgroups.limit_writes("7:0", 50_000).expect("limited");
        assert_eq!(read("n1/processes/io.max"), "7:0 wbps=50000");
        write(
            "io.max",
            "7:1 rbps=max wbps=1 riops=max wiops=max\n7:0 rbps=max wbps=50000 riops=max wiops=max\n",
        );
        assert_eq!(cgroups.write_limit("7:0").expect("a limit"), Some(50_000));
        cgroups.limit_writes("7:0", 0).expect("not limited");
        assert_eq!(read("n1/processes/io.max"), "7:0 wbps=max");
        assert_eq!(cgroups.write_limit("7:0").expect("no limit"), None);
        write("io.stat", "7:0 rbytes=1 wbytes=4096 rios=1 wios=1 dbytes=0 dios=0\n");
        assert_eq!(
            (cgroups.written("7:0").expect("counted"), cgroups.written("7:9").expect("none")),
            (4_096, 0)
        );
        cgroups.freeze(true).expect("frozen");
        assert_eq!(read("n1/processes/cgroup.freeze"), "1");
        for (events, stands) in [("populated 1\nfrozen 0\n", false), ("populated 1\nfrozen 1\n", true)] {
            write("cgroup.events", events);
            assert_eq!(cgroups.is_frozen().expect("read"), stands);
        }
    }

    #[test]
    fn whatever_a_group_held_back_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let group = |name: &str, file: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).expect("made");
            fs::write(path.join(file), text).expect("written");
            let_go(&path).expect("let go");
            fs::read_to_string(path.join(file)).expect("read")
        };
        assert_eq!(group("frozen", FREEZER, "FROZEN\n"), THAWED);
        assert_eq!(group("starved", QUOTA, "1000\n"), "-1");
        assert_eq!(group("slowed", WRITES, "7:0 50000\n"), "7:0 0");
        assert_eq!(group("frozen-2", FREEZE, "1\n"), "0");
        assert_eq!(group("starved-2", PROCESSOR, "1000 20000\n"), "max");
        let slowed = "7:0 rbps=max wbps=50000 riops=max wiops=max\n";
        assert_eq!(group("slowed-2", DISK, slowed), "7:0 wbps=max");
        let_go(&dir.path().join("gone")).expect("a group that is not there holds nothing");
    }
}
