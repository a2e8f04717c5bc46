//! Control groups of one node (version 1): how much processor and disk it gets, and whether it is frozen.

use super::belongings::{Belonging, Belongings};
use anyhow::Context;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 4] = ["cpu", "blkio", "freezer", "memory"];
const FREEZER: &str = "freezer.state";
const FROZEN: &str = "FROZEN";
const THAWED: &str = "THAWED";
const QUOTA: &str = "cpu.cfs_quota_us";
const WRITES: &str = "blkio.throttle.write_bps_device";
/// Length of the window in which processor time is counted.
const PERIOD_US: u64 = 20_000;

/// The groups of one node, by controller.
pub struct Cgroups {
    name: String,
}

/// Controllers that this machine lacks.
pub fn missing() -> Vec<&'static str> {
    let absent = |controller: &&str| !Path::new(ROOT).join(controller).join("cgroup.procs").exists();
    CONTROLLERS.into_iter().filter(absent).collect()
}

/// Lets go on what a group holds back: what is frozen takes no signal, and what hardly gets its disk takes long to end.
pub fn let_go(group: &Path) -> anyhow::Result<()> {
    let write = |file: &str, text: &str| {
        let path = group.join(file);
        match path.exists() {
            true => std::fs::write(&path, text).with_context(|| format!("{} = {text}", path.display())),
            false => Ok(()),
        }
    };
    write(FREEZER, THAWED)?;
    write(QUOTA, "-1")?;
    let limits = std::fs::read_to_string(group.join(WRITES)).unwrap_or_default();
    for (device, _) in limits.lines().filter_map(|line| line.split_once(' ')) {
        write(WRITES, &format!("{device} 0"))?;
    }
    Ok(())
}

impl Cgroups {
    pub fn make(name: &str, belongings: &Belongings) -> anyhow::Result<Cgroups> {
        let cgroups = Cgroups { name: name.to_owned() };
        for controller in CONTROLLERS {
            let path = cgroups.path(controller);
            belongings.record(&Belonging::Cgroup { path: path.clone() })?;
            std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        }
        Ok(cgroups)
    }

    fn path(&self, controller: &str) -> PathBuf {
        Path::new(ROOT).join(controller).join(&self.name)
    }

    /// Takes a process in.
    pub fn admit(&self, pid: u32) -> anyhow::Result<()> {
        CONTROLLERS
            .iter()
            .try_for_each(|controller| self.write(controller, "cgroup.procs", &pid.to_string()))
    }

    fn write(&self, controller: &str, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(controller).join(file);
        std::fs::write(&path, text).with_context(|| format!("{} = {text}", path.display()))
    }

    fn read(&self, controller: &str, file: &str) -> anyhow::Result<String> {
        let path = self.path(controller).join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Percent of one core it gets; `None` for as much as there is.
    pub fn limit_processor(&self, percent: Option<u64>) -> anyhow::Result<()> {
        self.write("cpu", "cpu.cfs_period_us", &PERIOD_US.to_string())?;
        let quota = percent.map_or("-1".to_owned(), |percent| (PERIOD_US * percent / 100).to_string());
        self.write("cpu", QUOTA, &quota)
    }

    /// How often it had to wait for its next share of the processor.
    pub fn throttled(&self) -> anyhow::Result<u64> {
        let stat = self.read("cpu", "cpu.stat")?;
        let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok());
        count.context("cpu.stat has no nr_throttled")
    }

    /// Bytes a second it may write to a device; 0 for as many as it can.
    pub fn limit_writes(&self, device: &str, bytes_per_second: u64) -> anyhow::Result<()> {
        self.write("blkio", WRITES, &format!("{device} {bytes_per_second}"))
    }

    /// The limits in force, as the kernel shows them.
    pub fn write_limits(&self) -> anyhow::Result<String> {
        Ok(self.read("blkio", WRITES)?.trim().replace('\n', ", "))
    }

    /// Bytes that its processes have had written to a device so far, each of them after the wait that the limit demands.
    pub fn written(&self, device: &str) -> anyhow::Result<u64> {
        let counts = self.read("blkio", "blkio.throttle.io_service_bytes")?;
        let prefix = format!("{device} Write ");
        // A device that was never written to has no line.
        Ok(counts
            .lines()
            .find_map(|line| line.strip_prefix(&prefix)?.trim().parse().ok())
            .unwrap_or(0))
    }

    /// Stops all its threads at once, or lets them go on.
    pub fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        self.write("freezer", FREEZER, if frozen { FROZEN } else { THAWED })
    }

    /// Whether all of them stand: the kernel says `FREEZING` while some are still to be stopped.
    pub fn is_frozen(&self) -> anyhow::Result<bool> {
        Ok(self.read("freezer", FREEZER)?.trim() == FROZEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_group_held_back_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let group = |name: &str, file: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).expect("made");
            std::fs::write(path.join(file), text).expect("written");
            let_go(&path).expect("let go");
            std::fs::read_to_string(path.join(file)).expect("read")
        };
        assert_eq!(group("frozen", FREEZER, "FROZEN\n"), THAWED);
        assert_eq!(group("starved", QUOTA, "1000\n"), "-1");
        assert_eq!(group("slowed", WRITES, "7:0 50000\n"), "7:0 0");
        let_go(&dir.path().join("gone")).expect("a group that is not there holds nothing");
    }
}
