//! What is loaded into a node's process before its own libraries: the shim in front of its syncs and clocks, and the page of
//! shared memory that tells it what to do. The layout is that of `jepsen/shim`.

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Path of our shim: it lies beside the runner.
pub fn shim() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let path = own.parent()?.join("libquorate_jepsen_shim.so");
    path.exists().then_some(path)
}

/// What is done to each `fsync` and `fdatasync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    None,
    /// Each takes so much longer.
    Slow {
        ms: u64,
    },
    /// None returns until the fault ends.
    Hang,
    /// All fail with EIO, and nothing is synced.
    Fail,
    /// One fails with EIO.
    FailOnce,
    /// They return success and sync nothing. No fault does that, since Raft promises nothing on such a disk: the runs whose disks do
    /// it all the time are controls, which must be caught.
    Lie,
}

/// How wrong a node's clocks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockFault {
    pub wall_offset_ms: i64,
    /// Added for good: a monotonic clock does not go back.
    pub monotonic_jump_ms: i64,
    /// Thousandths; 0 is right, as 1000 is.
    pub rate_permille: i64,
    /// Whether the rate is the monotonic clock's as well.
    pub moves_monotonic: bool,
}

const PAGE_BYTES: u64 = 4_096;
const MODE: u64 = 0;
const MICROSECONDS: u64 = 8;
const HARMED: u64 = 24;
const SETTING: u64 = 32;
const WRONG_READINGS: u64 = 40;
const SETTINGS: [u64; 2] = [48, 88];
const FAILED_LOGS: u64 = 128;
const MILLISECOND_NS: i64 = 1_000_000;
/// Longer than it takes to write a setting.
const MOMENT_NS: i64 = 20 * MILLISECOND_NS;

/// The page of one node. It outlives the node's process, and so do its settings.
#[derive(Clone)]
pub struct ControlPage {
    path: PathBuf,
    file: std::sync::Arc<File>,
    at_rest: SyncFault,
}

impl ControlPage {
    /// A new page. `at_rest` is what is done to syncs while no fault does anything to them, from now on.
    pub fn make(path: &Path, at_rest: SyncFault) -> anyhow::Result<ControlPage> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        file.set_len(PAGE_BYTES)?;
        let page = ControlPage {
            path: path.to_owned(),
            file: file.into(),
            at_rest,
        };
        page.harm_syncs(SyncFault::None)?;
        Ok(page)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// With [`SyncFault::None`] they are again as they are at rest.
    pub fn harm_syncs(&self, fault: SyncFault) -> anyhow::Result<()> {
        let done = if fault == SyncFault::None { self.at_rest } else { fault };
        let (mode, microseconds) = match done {
            SyncFault::None => (0, 0),
            SyncFault::Slow { ms } => (1, ms * 1_000),
            SyncFault::Hang => (2, 0),
            SyncFault::Fail => (3, 0),
            SyncFault::FailOnce => (4, 0),
            SyncFault::Lie => (5, 0),
        };
        self.write(MICROSECONDS, microseconds)?;
        self.write(MODE, mode)
    }

    /// Syncs so far that a fault was done to.
    pub fn harmed_syncs(&self) -> anyhow::Result<u64> {
        self.read(HARMED)
    }

    /// Syncs so far of segments of the log that failed.
    pub fn failed_log_syncs(&self) -> anyhow::Result<u64> {
        self.read(FAILED_LOGS)
    }

    /// Makes clocks wrong from now on, or right but for what the monotonic one has gained.
    pub fn harm_clocks(&self, fault: ClockFault) -> anyhow::Result<()> {
        let current = self.read(SETTING)? % 2;
        let (from, into) = (SETTINGS[current as usize], SETTINGS[1 - current as usize]);
        let now = clock_gettime(ClockId::Monotonic);
        let now_ns = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        let rate = self.read_signed(from + 24)?;
        // What is written now holds a moment later: the clock of that moment must not go back.
        let then_ns = if rate > 1_000 { now_ns + MOMENT_NS } else { now_ns };
        let gained = match (rate, self.read(from + 32)?) {
            (0 | 1_000, _) | (_, 0) => 0,
            (rate, _) => (then_ns - self.read_signed(from + 16)?).max(0) / 1_000 * (rate - 1_000),
        };
        let since_ns = if fault.rate_permille < 1_000 { now_ns + MOMENT_NS } else { now_ns };
        let monotonic = self.read_signed(from + 8)? + gained + fault.monotonic_jump_ms * MILLISECOND_NS;
        let numbers = [
            fault.wall_offset_ms * MILLISECOND_NS,
            monotonic,
            since_ns,
            fault.rate_permille,
            i64::from(fault.moves_monotonic),
        ];
        for (position, number) in (0..).zip(numbers) {
            self.file.write_all_at(&number.to_ne_bytes(), into + 8 * position)?;
        }
        self.write(SETTING, 1 - current)
    }

    /// Readings of clocks so far that were wrong.
    pub fn wrong_readings(&self) -> anyhow::Result<u64> {
        self.read(WRONG_READINGS)
    }

    fn write(&self, offset: u64, number: u64) -> anyhow::Result<()> {
        Ok(self.file.write_all_at(&number.to_ne_bytes(), offset)?)
    }

    fn read(&self, offset: u64) -> anyhow::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn read_signed(&self, offset: u64) -> anyhow::Result<i64> {
        Ok(self.read(offset)?.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_that_lie_do_so_from_the_start_and_again_after_every_fault() {
        let dir = tempfile::tempdir().expect("a directory");
        let mode = |page: &ControlPage| page.read(MODE).expect("read");
        for (at_rest, expected) in [(SyncFault::None, 0), (SyncFault::Lie, 5)] {
            let page = ControlPage::make(&dir.path().join("page"), at_rest).expect("made");
            assert_eq!(mode(&page), expected);
            page.harm_syncs(SyncFault::Hang).expect("set");
            assert_eq!(mode(&page), 2);
            page.harm_syncs(SyncFault::None).expect("set");
            assert_eq!(mode(&page), expected);
        }
    }

    #[test]
    fn failed_syncs_of_the_log_lie_behind_the_clocks() {
        let dir = tempfile::tempdir().expect("a directory");
        let page = ControlPage::make(&dir.path().join("page"), SyncFault::None).expect("made");
        // Two settings of five numbers each.
        assert_eq!(FAILED_LOGS, SETTINGS[1] + 5 * 8);
        page.write(FAILED_LOGS, 3).expect("written");
        assert_eq!(page.failed_log_syncs().expect("read"), 3);
    }

    #[test]
    fn what_the_monotonic_clock_gained_stays_when_all_is_right_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let page = ControlPage::make(&dir.path().join("page"), SyncFault::None).expect("made");
        let jump = ClockFault {
            wall_offset_ms: -5,
            monotonic_jump_ms: 3,
            ..ClockFault::default()
        };
        page.harm_clocks(jump).expect("set");
        let holds = |page: &ControlPage| SETTINGS[page.read(SETTING).expect("read") as usize];
        let at = holds(&page);
        assert_eq!(page.read_signed(at).expect("read"), -5 * MILLISECOND_NS);
        assert_eq!(page.read_signed(at + 8).expect("read"), 3 * MILLISECOND_NS);
        let fast = ClockFault {
            rate_permille: 5_000,
            moves_monotonic: true,
            ..ClockFault::default()
        };
        page.harm_clocks(fast).expect("set");
        std::thread::sleep(std::time::Duration::from_millis(10));
        page.harm_clocks(ClockFault::default()).expect("set");
        let at = holds(&page);
        assert_eq!(page.read_signed(at).expect("read"), 0, "the wall clock is right again");
        assert!(
            page.read_signed(at + 8).expect("read") >= 43 * MILLISECOND_NS,
            "10 ms at five times the rate gain 40"
        );
        assert_eq!(page.read_signed(at + 24).expect("read"), 0);
    }
}
