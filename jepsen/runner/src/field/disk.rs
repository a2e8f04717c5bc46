//! A disk of a node or of the vault: ext4 on a loop device, whose power can be cut and which can fill up.

use super::belongings::{Belonging, Belongings, devices_of, run};
use anyhow::Context;
use quorate_tests::disk::{clear, fill};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of a node. Images are sparse.
pub const NODE_BYTES: u64 = 1 << 30;
/// Of the disk on which a power cut is tried.
const TRIED_BYTES: u64 = 8 << 20;

pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// Makes `dir/NAME.image` and mounts it at `dir/NAME`.
    pub fn make(dir: &Path, name: &str, bytes: u64, belongings: &Belongings) -> anyhow::Result<Disk> {
        let disk = Disk {
            image: dir.join(format!("{name}.image")),
            mount: dir.join(name),
        };
        std::fs::create_dir_all(&disk.mount)?;
        File::create(&disk.image)?.set_len(bytes)?;
        // Without blocks reserved for root: what is left is what there is.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&disk.image))?;
        belongings.record(&Belonging::Loop { file: disk.image.clone() })?;
        belongings.record(&Belonging::Mount { path: disk.mount.clone() })?;
        run(Command::new("losetup").arg("--find").arg(&disk.image))?;
        disk.attach()?;
        Ok(disk)
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// The loop device, `/dev/loop0` for example.
    pub fn device(&self) -> anyhow::Result<String> {
        devices_of(&self.image)?.into_iter().next().context("the disk has no device")
    }

    fn attach(&self) -> anyhow::Result<()> {
        run(Command::new("mount").arg(self.device()?).arg(&self.mount)).map(drop)
    }

    /// From now on nothing reaches the device, not even the journal: what was not synced is lost at the next start.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        shutdown::without_flush(File::open(&self.mount)?.as_fd()).context("the power of the disk cannot be cut")
    }

    /// Whether the power is cut: nothing can be written.
    pub fn is_cut(&self) -> bool {
        std::fs::write(self.mount.join("probe"), "x").is_err()
    }

    /// Mounts it again as after a power cut, from what reached the device. Nobody may have a file open.
    pub fn power_on(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.mount))?;
        self.attach()?;
        let _ = std::fs::remove_file(self.mount.join("probe"));
        Ok(())
    }

    /// Fills it until no more than `left_bytes` are free.
    pub fn fill(&self, left_bytes: u64) -> anyhow::Result<()> {
        fill(&self.mount, left_bytes).context("the disk cannot be filled")
    }

    pub fn clear(&self) {
        clear(&self.mount);
    }

    pub fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.mount).map_or(0, |facts| facts.f_bavail * facts.f_frsize)
    }
}

/// Whether the power of a disk can be cut here: tried on a file system of a few MiB, which is gone afterwards.
pub fn try_power_cut() -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("qj-power-{}", std::process::id()));
    let (image, mount) = (dir.join("image"), dir.join("mount"));
    std::fs::create_dir_all(&mount).with_context(|| mount.display().to_string())?;
    let tried = cut_once(&image, &mount);
    let removed = std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string());
    tried.and(removed)
}

fn cut_once(image: &Path, mount: &Path) -> anyhow::Result<()> {
    File::create(image)?.set_len(TRIED_BYTES)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))?;
    // The loop device goes with the mount.
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(mount))?;
    let disk = Disk {
        image: image.to_owned(),
        mount: mount.to_owned(),
    };
    let cut = disk.cut_power();
    let refuses = disk.is_cut();
    run(Command::new("umount").arg(mount))?;
    cut?;
    anyhow::ensure!(refuses, "a disk whose power was cut takes writes");
    Ok(())
}

/// The one call without a safe wrapper.
#[allow(unsafe_code)]
mod shutdown {
    use rustix::ioctl::{Setter, ioctl};
    use std::os::fd::BorrowedFd;

    /// `FS_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`.
    const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
    /// Not even the journal is written out.
    const NO_LOG_FLUSH: u32 = 2;

    pub fn without_flush(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
        // SAFETY: the kernel reads the four bytes of a `u32` that lives until the call returns, and writes nothing.
        unsafe { ioctl(directory, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
    }
}
