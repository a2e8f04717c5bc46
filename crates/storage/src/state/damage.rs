//! Damage that no opening shows: a block whose checksum is wrong is met when a row of it is read.
//!
//! Met once, it is met again at every start, and the rest of the files is no better known. So a mark is left among them, with which the
//! state does not open any more: whoever opens it puts it aside and has it built anew. A generation that takes its place has no mark,
//! and whoever still reads the old one can leave none there.

use rocksdb::ErrorKind;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const MARK: &str = "DAMAGED";

/// The error for a state that is not what was written: see [`is_damage`](super::is_damage).
pub(super) fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} {what}: the state is damaged", path.display()),
    )
}

/// Damage of one generation.
#[derive(Debug)]
pub(super) struct Damage {
    dir: PathBuf,
    met: OnceLock<String>,
}

impl Damage {
    pub(super) fn new(dir: &Path) -> Damage {
        Damage {
            dir: dir.to_owned(),
            met: OnceLock::new(),
        }
    }

    /// What an earlier process, or this one, has found in this directory.
    pub(super) fn marked(dir: &Path) -> io::Result<Option<String>> {
        match fs::read_to_string(dir.join(MARK)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Remembers an error if it says that what is read is not what was written.
    pub(super) fn note(&self, error: &rocksdb::Error) {
        if error.kind() == ErrorKind::Corruption && self.met.set(error.to_string()).is_ok() {
            self.mark(error.as_ref());
        }
    }

    /// Leaves the mark; a disk that does not take it will show the damage again.
    pub(super) fn mark(&self, what: &str) {
        let left = || {
            let mut file = File::create(self.dir.join(MARK))?;
            writeln!(file, "{what}")?;
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()
        };
        let marked: io::Result<()> = left();
        tracing::error!(
            what,
            ?marked,
            "the state is damaged; the next start puts it aside and builds it anew, from another member or the whole log"
        );
    }

    /// Takes the mark away: who does so goes on with what can be read.
    pub(super) fn forget(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(MARK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(dir)?.sync_all(),
        }
    }

    /// What a read or a write of this process has met.
    pub(super) fn met(&self) -> Option<String> {
        self.met.get().cloned()
    }
}
