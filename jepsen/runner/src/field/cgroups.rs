//! Control groups of one node (version 1): how much processor and disk it gets, and whether it is frozen.

use super::belongings::{Belonging, Belongings};
use anyhow::Context;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 4] = ["cpu", "blkio", "freezer", "memory"];
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
        self.write("cpu", "cpu.cfs_quota_us", &quota)
    }

    /// How often it had to wait for its next share of the processor.
    pub fn throttled(&self) -> anyhow::Result<u64> {
        let stat = self.read("cpu", "cpu.stat")?;
        let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok());
        count.context("cpu.stat has no nr_throttled")
    }

    /// Bytes a second it may write to a device; 0 for as many as it can.
    pub fn limit_writes(&self, device: &str, bytes_per_second: u64) -> anyhow::Result<()> {
        self.write("blkio", "blkio.throttle.write_bps_device", &format!("{device} {bytes_per_second}"))
    }

    /// The limits in force, as the kernel shows them.
    pub fn write_limits(&self) -> anyhow::Result<String> {
        Ok(self.read("blkio", "blkio.throttle.write_bps_device")?.trim().replace('\n', ", "))
    }

    /// Stops all its threads at once, or lets them go on.
    pub fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        self.write("freezer", "freezer.state", if frozen { "FROZEN" } else { "THAWED" })
    }

    pub fn freezer_state(&self) -> anyhow::Result<String> {
        Ok(self.read("freezer", "freezer.state")?.trim().to_owned())
    }
}
