//! The vault that all nodes and workers write to. On namespaces it is a disk of its own, which loses its power when all nodes lose
//! theirs; workers hold files there, and die with it.

use super::belongings::Belongings;
use super::disk::Disk;
use super::{Field, FieldOptions, Ground};
use anyhow::Context;
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::{Mutex, MutexGuard};

/// Of its disk, or of its directory.
pub const NAME: &str = "vault";
/// The image is sparse. Each copied file has a block, a directory and two inodes: there is room for all that a run can ask for.
const BYTES: u64 = 24 << 30;

pub(super) struct Vault {
    /// Plain processes have none.
    disk: Option<Disk>,
    /// While the power is cut: the workers that are to be started when it is back.
    waiting: Mutex<Option<BTreeSet<usize>>>,
}

impl Vault {
    pub(super) fn make(options: &FieldOptions, belongings: &Belongings) -> anyhow::Result<Vault> {
        let disk = match options.ground {
            Ground::Namespaces => Some(Disk::make(&options.dir.join("disks"), NAME, BYTES, belongings)?),
            Ground::Processes => None,
        };
        let dir = options.vault_dir();
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        if let Some(parent) = dir.parent() {
            // Also a power cut that comes before anything else was synced leaves it.
            File::open(parent)?.sync_all()?;
        }
        Ok(Vault {
            disk,
            waiting: Mutex::default(),
        })
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Option<BTreeSet<usize>>> {
        self.waiting.lock().expect("no user of the vault panics")
    }

    fn disk(&self) -> anyhow::Result<&Disk> {
        self.disk.as_ref().context("the vault has no disk of its own")
    }
}

impl Field {
    /// Cuts the power of the vault's disk and of the workers; how many died with it. From now on none is started until
    /// [`Field::start_waiting_workers`].
    pub fn cut_vault(&self) -> anyhow::Result<usize> {
        let disk = self.vault.disk()?;
        let mut waiting = self.vault.waiting();
        let ran: BTreeSet<usize> = (0..self.workers()).filter(|which| self.worker_state(*which).is_some()).collect();
        *waiting = Some(ran.clone());
        disk.cut_power()?;
        for which in &ran {
            self.end_worker(*which)?;
        }
        Ok(ran.len())
    }

    /// Whether nothing can be written to the vault's disk.
    pub fn is_vault_cut(&self) -> bool {
        self.vault.disk.as_ref().is_some_and(Disk::is_cut)
    }

    /// Mounts the vault's disk again, from what reached the device. No node or worker runs.
    pub fn power_vault_on(&self) -> anyhow::Result<()> {
        self.vault.disk()?.power_on()
    }

    /// Starts the workers that died with the power, and those that should have been started meanwhile.
    pub fn start_waiting_workers(&self) -> anyhow::Result<()> {
        let mut waiting = self.vault.waiting();
        for which in waiting.take().unwrap_or_default() {
            self.launch_worker(which)?;
        }
        Ok(())
    }
}
