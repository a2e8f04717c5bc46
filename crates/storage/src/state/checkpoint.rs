//! A durable image of the state: a directory of hard links, alive as long as somebody holds it.

use super::RaftRows;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    pub name: String,
    pub bytes: u64,
    pub crc32c: u32,
}

/// Holds a checkpoint's directory; the last holder's end removes it.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    /// Read out of the checkpoint itself: what it was meant to be does not count.
    raft: RaftRows,
    files: OnceLock<Vec<CheckpointFile>>,
    /// Held by who computes them: a large checkpoint is read once, however many ask.
    listing: Mutex<()>,
    abandoned: AtomicBool,
}

impl Checkpoint {
    pub fn new(dir: PathBuf, raft: RaftRows) -> Checkpoint {
        Checkpoint {
            dir,
            raft,
            files: OnceLock::new(),
            listing: Mutex::new(()),
            abandoned: AtomicBool::new(false),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn raft(&self) -> &RaftRows {
        &self.raft
    }

    /// All files with sizes and checksums; computed once, when first asked, because most checkpoints are never sent.
    pub fn files(&self) -> io::Result<&[CheckpointFile]> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let _one_at_a_time = self.listing.lock().expect("nobody panics while holding this lock");
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = list_files(&self.dir, &self.abandoned)?;
        Ok(self.files.get_or_init(|| files))
    }

    /// Ends [`Checkpoint::files`] with an error after the file it is at: the process stops, and a large state takes minutes to read.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Whether [`Checkpoint::files`] answers at once.
    pub fn is_listed(&self) -> bool {
        self.files.get().is_some()
    }

    /// Copies the files into `dir`, as if they had been received there.
    pub fn copy_to(&self, dir: &Path) -> io::Result<()> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        for file in self.files()? {
            fs::copy(self.dir.join(&file.name), dir.join(&file.name))?;
        }
        Ok(())
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot remove a checkpoint; it is removed at the next start");
        }
    }
}

/// Lists a directory's files with checksums, by name.
fn list_files(dir: &Path, abandoned: &AtomicBool) -> io::Result<Vec<CheckpointFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| io::Error::other(format!("file name {name:?} is not UTF-8")))?;
        if abandoned.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "this peer is stopping"));
        }
        let (bytes, crc32c) = checksum(&entry.path())?;
        files.push(CheckpointFile { name, bytes, crc32c });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Size and crc32c of a file.
pub fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    let (mut bytes, mut crc) = (0, 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, crc));
        }
        crc = crc32c::crc32c_append(crc, &buffer[..read]);
        bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_abandoned_is_read_no_further_and_what_was_read_is_known() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = |name: &str| {
            let dir = dir.path().join(name);
            fs::create_dir(&dir).expect("made");
            fs::write(dir.join("file"), b"rows").expect("written");
            Checkpoint::new(dir, RaftRows::default())
        };
        let unread = made("unread");
        unread.abandon();
        assert_eq!(unread.files().expect_err("abandoned").kind(), io::ErrorKind::Interrupted);
        let read = made("read");
        assert!(!read.is_listed());
        assert_eq!(read.files().expect("readable").len(), 1);
        read.abandon();
        assert!(read.is_listed() && read.files().is_ok());
    }
}
