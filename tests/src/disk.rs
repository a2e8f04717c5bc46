//! Small file systems of their own: images mounted through a loop device. Needs root, mkfs.ext4 and mount.

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILLER: &str = "filler";

/// A mounted image; unmounted when dropped, so drop it after whatever uses it.
pub struct Disk {
    mount: PathBuf,
}

impl Disk {
    /// An empty ext4 of this size under `dir`; an error says why this machine cannot have one.
    pub fn new(dir: &Path, name: &str, bytes: u64) -> Result<Disk, String> {
        let (image, mount) = (dir.join(format!("{name}.image")), dir.join(name));
        std::fs::create_dir_all(&mount).map_err(|error| error.to_string())?;
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        // Without blocks reserved for root: what is left is what there is.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount))?;
        Ok(Disk { mount })
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    pub fn free_bytes(&self) -> u64 {
        let facts = statvfs(&self.mount).expect("a mounted file system can be asked");
        facts.f_bavail * facts.f_frsize
    }

    /// Fills it until no more than `left_bytes` are free.
    pub fn fill(&self, left_bytes: u64) {
        fill(&self.mount, left_bytes).expect("a file system that is mounted takes a file");
    }

    /// Takes the filler away.
    pub fn clear(&self) {
        clear(&self.mount);
    }
}

/// Fills the file system mounted at `mount` until no more than `left_bytes` are free.
pub fn fill(mount: &Path, left_bytes: u64) -> std::io::Result<()> {
    clear(mount);
    let free_bytes = || -> std::io::Result<u64> {
        let facts = statvfs(mount)?;
        Ok(facts.f_bavail * facts.f_frsize)
    };
    let filler = File::create(mount.join(FILLER))?;
    let mut wanted = free_bytes()?.saturating_sub(left_bytes);
    let mut filled = 0;
    // The last blocks go to the file's own bookkeeping: what cannot be had at once is had in smaller steps.
    while wanted >= 4_096 {
        match fallocate(&filler, FallocateFlags::empty(), filled, wanted) {
            Ok(()) => {
                filled += wanted;
                wanted = free_bytes()?.saturating_sub(left_bytes);
            }
            Err(rustix::io::Errno::NOSPC) => wanted /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes the filler of [`fill`] away.
pub fn clear(mount: &Path) {
    let _ = std::fs::remove_file(mount.join(FILLER));
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily as a last resort: a mount that stays would keep the temporary directory.
        let _ = run(Command::new("umount").arg(&self.mount)).or_else(|_| run(Command::new("umount").arg("-l").arg(&self.mount)));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
