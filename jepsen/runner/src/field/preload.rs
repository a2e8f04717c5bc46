//! What is loaded into a node's process before its own libraries: the shim in front of its syncs, and a clock of its own.

use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Which clocks of a node can be moved. Decided at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clocks {
    #[default]
    True,
    /// The wall clock alone.
    Wall,
    /// The monotonic clock as well, which no real machine does.
    Monotonic,
}

/// Where Debian has libfaketime.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Path of libfaketime, if it is installed.
pub fn faketime() -> Option<PathBuf> {
    let arch = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    [PathBuf::from(FAKETIME), PathBuf::from(arch)]
        .into_iter()
        .find(|path| path.exists())
}

/// Path of our shim: it lies beside the runner.
pub fn shim() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let path = own.parent()?.join("libquorate_jepsen_shim.so");
    path.exists().then_some(path)
}

/// What the shim does to each `fsync` and `fdatasync`. The numbers are those of `jepsen/shim`.
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
    /// They return success and sync nothing: a control, no fault that is survived.
    Lie,
}

/// The page the shim reads and counts in: `mode`, `microseconds`, `calls`, `harmed`, eight bytes each.
pub struct ControlPage {
    path: PathBuf,
    file: File,
}

const PAGE_BYTES: u64 = 4_096;

impl ControlPage {
    pub fn make(path: &Path) -> anyhow::Result<ControlPage> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        file.set_len(PAGE_BYTES)?;
        Ok(ControlPage {
            path: path.to_owned(),
            file,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn set(&self, fault: SyncFault) -> anyhow::Result<()> {
        let (mode, microseconds) = match fault {
            SyncFault::None => (0, 0),
            SyncFault::Slow { ms } => (1, ms * 1_000),
            SyncFault::Hang => (2, 0),
            SyncFault::Fail => (3, 0),
            SyncFault::FailOnce => (4, 0),
            SyncFault::Lie => (5, 0_u64),
        };
        self.file.write_all_at(&microseconds.to_ne_bytes(), 8)?;
        self.file.write_all_at(&u64::to_ne_bytes(mode), 0)?;
        Ok(())
    }

    /// Calls so far, and how many of them a fault was done to.
    pub fn counts(&self) -> anyhow::Result<(u64, u64)> {
        let at = |offset| -> anyhow::Result<u64> {
            let mut bytes = [0; 8];
            self.file.read_exact_at(&mut bytes, offset)?;
            Ok(u64::from_ne_bytes(bytes))
        };
        Ok((at(16)?, at(24)?))
    }
}

/// The file libfaketime reads the time from at each call.
#[derive(Clone)]
pub struct ClockFile {
    path: PathBuf,
}

impl ClockFile {
    pub fn make(path: &Path) -> anyhow::Result<ClockFile> {
        let clock = ClockFile { path: path.to_owned() };
        clock.set("+0")?;
        Ok(clock)
    }

    /// `+300`, `-2.5`, `+0 x5`: an offset in seconds and how much faster it goes. Replaced as a whole.
    pub fn set(&self, what: &str) -> anyhow::Result<()> {
        let next = self.path.with_extension("next");
        std::fs::write(&next, format!("{what}\n"))?;
        std::fs::rename(&next, &self.path).with_context(|| self.path.display().to_string())
    }

    /// Environment of a process whose clocks this file moves.
    pub fn environment(&self, clocks: Clocks) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        let mut environment = vec![
            pair("FAKETIME_TIMESTAMP_FILE", self.path.display().to_string()),
            pair("FAKETIME_NO_CACHE", "1".to_owned()),
        ];
        if clocks == Clocks::Wall {
            environment.push(pair("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()));
        }
        environment
    }
}
