//! Removes what is below a directory, however much it is: of each directory on the way down no more than a batch of names is held.
//!
//! A batch is read, then removed, and the next one is read from the beginning: some file systems pass over entries of a directory that
//! changes while it is read. Only a full batch is followed by another, so what somebody goes on writing is left to the next sweep.

use super::listing::entries;
use crate::error::{ObjectError, Result};
use crate::limits::DELETE_BATCH_ENTRIES;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Removes a directory with all it holds; returns how many files there were. One that does not exist held none.
pub(super) fn remove_below(directory: &Path) -> Result<u64> {
    remove_in_batches(directory, DELETE_BATCH_ENTRIES)
}

fn remove_in_batches(directory: &Path, limit: usize) -> Result<u64> {
    let mut removed = 0;
    let mut way_down = vec![Level::new(directory.to_owned())];
    while let Some(level) = way_down.last_mut() {
        if let Some(below) = level.below.pop() {
            way_down.push(Level::new(below));
        } else if level.may_have_more() {
            removed += level.remove_batch(limit)?;
        } else {
            let is_gone = remove_directory(&level.directory)?;
            way_down.pop();
            if let Some(above) = way_down.last_mut() {
                above.something_went |= is_gone;
            }
        }
    }
    Ok(removed)
}

/// A directory on the way down to the one that is worked on.
struct Level {
    directory: PathBuf,
    /// Directories of the last batch that are still to be emptied.
    below: Vec<PathBuf>,
    /// The last batch was as large as one may be.
    was_full: bool,
    /// The next batch is not the last one again.
    something_went: bool,
}

impl Level {
    fn new(directory: PathBuf) -> Level {
        Level {
            directory,
            below: Vec::new(),
            was_full: true,
            something_went: true,
        }
    }

    fn may_have_more(&self) -> bool {
        self.was_full && self.something_went
    }

    /// Reads the next batch and removes its files; how many there were.
    fn remove_batch(&mut self, limit: usize) -> Result<u64> {
        let batch = entries(&self.directory, limit)?;
        self.was_full = batch.len() == limit;
        self.something_went = false;
        let mut removed = 0;
        for entry in batch {
            let path = entry.path();
            let wrong = |error: std::io::Error| ObjectError::io("delete", path.display(), &error);
            if entry.file_type().map_err(wrong)?.is_dir() {
                self.below.push(path);
                continue;
            }
            match std::fs::remove_file(&path) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(wrong(error)),
            }
            self.something_went = true;
        }
        Ok(removed)
    }
}

/// Removes a directory that was emptied; whether it is gone. If somebody has put a file there meanwhile, the next sweep finds it.
fn remove_directory(directory: &Path) -> Result<bool> {
    match std::fs::remove_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(ObjectError::io("delete", directory.display(), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ObjectErrorKind;
    use std::fs;
    use tempfile::TempDir;

    fn write(file: &Path) {
        fs::create_dir_all(file.parent().expect("has one")).expect("made");
        fs::write(file, b"x").expect("written");
    }

    #[test]
    fn all_goes_however_small_the_batches() {
        for limit in [1, 2, 3, 7, 1_000] {
            let dir = TempDir::new().expect("directory");
            let root = dir.path().join("prefix");
            for outer in 0..11 {
                write(&root.join(format!("d{outer}/beside")));
                for inner in 0..20 {
                    write(&root.join(format!("d{outer}/e{}/f{inner}", inner % 5)));
                }
            }
            fs::create_dir_all(root.join("empty/empty")).expect("made");
            write(&dir.path().join("other/file"));
            assert_eq!(remove_in_batches(&root, limit).expect("removed"), 11 * 21, "batches of {limit}");
            assert!(!root.exists(), "batches of {limit}");
            assert!(dir.path().join("other/file").exists());
            assert_eq!(remove_in_batches(&root, limit).expect("nothing is there"), 0);
        }
    }

    #[test]
    fn no_more_is_held_than_a_batch_and_one_of_which_nothing_goes_is_the_last() {
        let dir = TempDir::new().expect("directory");
        for number in 0..20 {
            write(&dir.path().join(format!("d{number}/file")));
        }
        let mut level = Level::new(dir.path().to_owned());
        assert_eq!(level.remove_batch(8).expect("read"), 0);
        assert_eq!(level.below.len(), 8);
        assert!(!level.may_have_more(), "it would be read again and again");
        level.something_went = true;
        assert!(level.may_have_more(), "there are more");
        level.below.clear();
        assert_eq!(level.remove_batch(21).expect("read"), 0);
        level.something_went = true;
        assert!(!level.may_have_more(), "this was all");
    }

    #[test]
    fn what_is_no_directory_is_told_and_stays() {
        let dir = TempDir::new().expect("directory");
        let file = dir.path().join("file");
        write(&file);
        assert_eq!(remove_below(&file).expect_err("a file").kind, ObjectErrorKind::Invalid);
        assert!(file.exists());
    }
}
