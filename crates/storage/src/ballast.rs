//! A file that occupies space so that it can be given back when the disk is full.
//!
//! A full disk stops a peer in the middle of whatever it was doing; with the space of this file it can go on, take the
//! deletes that make room, or be stopped in order. It is given back once and comes back at a start with room enough.

use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const NAME: &str = "ballast";
/// At most this part of a file system is taken.
const SHARE_MAX: u64 = 20;
const CHUNK_BYTES: u64 = 1 << 20;

/// How large a ballast is to be, and what the file system has.
#[derive(Clone, Copy, Debug)]
pub struct BallastPlan {
    /// Taken as a whole or not at all, but at most a twentieth of `total_bytes`.
    pub wanted_bytes: u64,
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// What must be free beside it.
    pub keep_free_bytes: u64,
}

/// The ballast of one data directory.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    /// Bytes it occupies; 0 once it was given back.
    held_bytes: Mutex<u64>,
}

impl Ballast {
    /// Sees to it that `data_dir` has the ballast of the plan. One that is there already is given back when less is free than
    /// is to stay free.
    pub fn prepare(data_dir: &Path, plan: BallastPlan) -> io::Result<Ballast> {
        let BallastPlan {
            wanted_bytes,
            free_bytes,
            total_bytes,
            keep_free_bytes,
        } = plan;
        let path = data_dir.join(NAME);
        let wanted_bytes = wanted_bytes.min(total_bytes / SHARE_MAX);
        let there = match fs::metadata(&path) {
            Ok(facts) => Some(facts.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let ballast = Ballast {
            path,
            held_bytes: Mutex::new(there.unwrap_or(0)),
        };
        if free_bytes < keep_free_bytes || wanted_bytes == 0 {
            ballast.remove("little space is free, or no ballast is wanted");
            return Ok(ballast);
        }
        let keep = there == Some(wanted_bytes);
        if !keep && free_bytes + there.unwrap_or(0) >= keep_free_bytes + wanted_bytes {
            ballast.remove("another size is wanted");
            // A peer can do without: it starts.
            if let Err(error) = ballast.occupy(wanted_bytes) {
                tracing::warn!(%error, "there is no ballast: a full disk will stop this peer at once");
            }
        }
        Ok(ballast)
    }

    /// What it occupies; 0 once it was given back.
    pub fn held_bytes(&self) -> u64 {
        *self.held_bytes.lock().expect("no panic while held")
    }

    /// Gives the space back, because the disk is full; says whether there was any.
    pub fn release(&self) -> bool {
        self.remove("the disk is full; free space now")
    }

    fn remove(&self, why: &str) -> bool {
        let mut held = self.held_bytes.lock().expect("no panic while held");
        if *held == 0 {
            return false;
        }
        match fs::remove_file(&self.path) {
            Ok(()) => tracing::warn!(bytes = *held, why, "the ballast is given back"),
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "the ballast cannot be removed");
                return false;
            }
        }
        *held = 0;
        true
    }

    /// A file that is half made is removed: it would be taken for a smaller ballast.
    fn occupy(&self, bytes: u64) -> io::Result<()> {
        let made = File::create(&self.path).and_then(|file| {
            match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) => file.sync_all(),
                // Not every file system can reserve; written bytes occupy everywhere.
                Err(rustix::io::Errno::OPNOTSUPP) => fill(&file, bytes),
                Err(error) => Err(error.into()),
            }
        });
        if let Err(error) = made {
            let _ = fs::remove_file(&self.path);
            return Err(io::Error::new(error.kind(), format!("ballast {}: {error}", self.path.display())));
        }
        *self.held_bytes.lock().expect("no panic while held") = bytes;
        Ok(())
    }
}

fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; CHUNK_BYTES as usize];
    let mut left = bytes;
    while left > 0 {
        let chunk = left.min(CHUNK_BYTES);
        file.write_all(&zeros[..chunk as usize])?;
        left -= chunk;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const MIB: u64 = 1 << 20;

    /// Bytes the file really takes.
    fn occupied(dir: &Path) -> u64 {
        fs::metadata(dir.join(NAME)).map_or(0, |facts| facts.blocks() * 512)
    }

    fn plan(wanted_mib: u64, free_mib: u64, total_mib: u64, keep_free_mib: u64) -> BallastPlan {
        BallastPlan {
            wanted_bytes: wanted_mib * MIB,
            free_bytes: free_mib * MIB,
            total_bytes: total_mib * MIB,
            keep_free_bytes: keep_free_mib * MIB,
        }
    }

    #[test]
    fn it_occupies_what_it_says_and_gives_it_back_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ballast = Ballast::prepare(dir.path(), plan(4, 1_000, 1_000, 100)).expect("made");
        assert_eq!(ballast.held_bytes(), 4 * MIB);
        assert!(occupied(dir.path()) >= 4 * MIB, "the space is really taken");
        assert!(ballast.release());
        assert_eq!((occupied(dir.path()), ballast.held_bytes()), (0, 0));
        assert!(!ballast.release(), "there is nothing to give back any more");
    }

    #[test]
    fn it_is_kept_over_a_start_and_given_back_at_one_without_room() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let start = |free_mib: u64| Ballast::prepare(dir.path(), plan(4, free_mib, 1_000, 100)).expect("prepared");
        start(1_000);
        assert_eq!(start(101).held_bytes(), 4 * MIB, "what is there takes nothing more");
        assert_eq!(start(99).held_bytes(), 0);
        assert_eq!(start(103).held_bytes(), 0, "3 MiB above what is to stay free are not enough");
        assert_eq!(start(104).held_bytes(), 4 * MIB, "there is room again");
    }

    #[test]
    fn it_is_small_on_a_small_file_system_and_none_if_none_is_wanted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let small = Ballast::prepare(dir.path(), plan(256, 90, 100, 0)).expect("made");
        assert_eq!(small.held_bytes(), 5 * MIB);
        let none = Ballast::prepare(dir.path(), plan(0, 90, 100, 0)).expect("prepared");
        assert_eq!((none.held_bytes(), occupied(dir.path())), (0, 0));
    }
}
