//! A disk whose power can be cut: ext4 on a loop device, for tests of several crates. Needs root, mkfs.ext4, mount and perl (the shutdown
//! is an ioctl without a safe wrapper).

use std::path::{Path, PathBuf};
use std::process::Command;

/// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`: what is not on the device now never gets there.
const SHUTDOWN: &str =
    r#"open(my $f, "<", $ARGV[0]) or die "open: $!"; my $flag = pack("L", 2); ioctl($f, 0x8004587D, $flag) or die "ioctl: $!";"#;

/// A mounted image; unmounted whatever happens.
pub struct Disk {
    image: PathBuf,
    /// Where its files are, while it is attached.
    pub mount: PathBuf,
}

impl Disk {
    /// An error says why this machine cannot do it.
    pub fn new(dir: &Path) -> Result<Self, String> {
        let disk = Disk {
            image: dir.join("image"),
            mount: dir.join("mount"),
        };
        std::fs::create_dir_all(&disk.mount).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&disk.image).map_err(|error| error.to_string())?;
        file.set_len(256 << 20).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.image))?;
        disk.attach()?;
        // The file perl opens: it does not open directories.
        std::fs::write(disk.mount.join("handle"), "x").map_err(|error| error.to_string())?;
        // This file system alone: another test's disk may be about to lose what it has not written.
        run(Command::new("sync").arg("-f").arg(&disk.mount))?;
        Ok(disk)
    }

    /// As after a power cut, if there was one.
    pub fn attach(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))
    }

    /// Nobody may have a file open there.
    pub fn detach(&self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.mount))
    }

    /// From now on nothing reaches the device: what was not synced is lost once it is detached.
    pub fn cut_power(&self) -> Result<(), String> {
        run(Command::new("perl").args(["-e", SHUTDOWN]).arg(self.mount.join("handle")))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily as a last resort: a mount that stays would keep the temporary directory.
        let _ = self.detach().or_else(|_| run(Command::new("umount").arg("-l").arg(&self.mount)));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
