//! The log in segment files: opening it, and the contract's calls.

use super::queue::{Found, Shared};
use super::recovery::{self, RecoveryReport};
use super::transition::{self, Change};
use super::writer::{self, Writer};
use super::{Done, FileLogOptions, LogState, LogStore, OpenError, directory, high_water, reader};
use crate::codec::{LogEntry, LogId, Vote};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// One open log. Dropping it writes what waits, renews the high-water file and ends both threads.
pub struct FileLog {
    shared: Arc<Shared>,
    report: RecoveryReport,
    dir: PathBuf,
    appended_bytes: AtomicU64,
    writer: Option<JoinHandle<()>>,
}

impl FileLog {
    /// Opens the log in `dir`, or begins one where none was. Refuses to open with less than was acknowledged.
    pub fn open(dir: impl AsRef<Path>, options: FileLogOptions) -> Result<FileLog, OpenError> {
        let dir = dir.as_ref();
        let lock = directory::take(dir)?;
        let mut listing = directory::list(dir).map_err(OpenError::io(dir))?;
        let recovered = match recovery::recover(dir, &listing)? {
            Some(recovered) => Some(recovered),
            None => {
                writer::begin_log(dir, &options).map_err(OpenError::io(dir))?;
                listing = directory::list(dir).map_err(OpenError::io(dir))?;
                recovery::recover(dir, &listing)?
            }
        };
        let mut recovered = recovered.ok_or_else(|| OpenError::SegmentMissing {
            file: super::segment::path(dir, 1),
        })?;
        recovered.settle().map_err(OpenError::io(dir))?;
        for path in &listing.unfinished {
            std::fs::remove_file(path).map_err(OpenError::io(path))?;
        }
        directory::sync(dir).map_err(OpenError::io(dir))?;
        if let Some(torn) = &recovered.report.torn_tail {
            tracing::warn!(
                "cut {} bytes of an unfinished write at offset {} of {} ({}); nothing of it was acknowledged",
                torn.bytes,
                torn.offset,
                torn.file.display(),
                torn.reason
            );
        }
        let report = recovered.report.clone();
        let obsolete = recovered.index.take_obsolete();
        let index = std::mem::take(&mut recovered.index);
        let shared = Arc::new(Shared::new(recovered.state, index, options));
        let writer = Writer::new(dir, shared.clone(), recovered, lock).map_err(OpenError::io(dir))?;
        writer.unlink(obsolete);
        let thread = std::thread::Builder::new()
            .name("log-write".to_string())
            .spawn(|| writer.run())
            .map_err(OpenError::io(dir))?;
        Ok(FileLog {
            shared,
            report,
            dir: dir.to_owned(),
            appended_bytes: AtomicU64::new(0),
            writer: Some(thread),
        })
    }

    /// Opens a log that has begun before. If nothing of it is there it is lost, and none is begun in its place.
    pub fn open_begun(dir: impl AsRef<Path>, options: FileLogOptions) -> Result<FileLog, OpenError> {
        let dir = dir.as_ref();
        if !has_begun(dir).map_err(OpenError::io(dir))? {
            return Err(OpenError::Missing { dir: dir.to_path_buf() });
        }
        FileLog::open(dir, options)
    }

    /// What open found.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.report
    }
}

/// Whether anything of a log is there: a segment, or the file that remembers how far segments went.
fn has_begun(dir: &Path) -> io::Result<bool> {
    if !dir.try_exists()? {
        return Ok(false);
    }
    let no_segments = directory::list(dir)?.segments.is_empty();
    Ok(!no_segments || high_water::path(dir).try_exists()?)
}

impl LogStore for FileLog {
    fn state(&self) -> LogState {
        self.shared.state()
    }

    fn append(&self, entries: Vec<LogEntry>, done: Done) -> io::Result<()> {
        let bytes: usize = entries.iter().map(LogEntry::weight).sum();
        self.appended_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.shared.submit(Change::Append(entries), done)
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.shared.submit(Change::Vote(vote), done)
    }

    fn set_committed(&self, committed: Option<LogId>) {
        self.shared.set_committed(committed);
    }

    fn truncate_after(&self, last: Option<LogId>, done: Done) -> io::Result<()> {
        self.shared.submit(Change::TruncateAfter(last), done)
    }

    fn purge(&self, upto: LogId, done: Done) -> io::Result<()> {
        self.shared.submit(Change::Purge(upto), done)
    }

    fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let mut next = start.max(transition::first_index(&self.state()));
        let (mut entries, mut weight) = (Vec::new(), 0);
        loop {
            match self.shared.find(next, end, max_bytes.saturating_sub(weight))? {
                Found::Nothing => return Ok(entries),
                Found::Files(locations) => {
                    if !reader::read_into(&mut entries, &locations, &mut weight, max_bytes)? {
                        return Ok(entries);
                    }
                }
                Found::Memory(found) => {
                    let fits = entries.is_empty() || found.first().is_some_and(|entry| weight + entry.weight() <= max_bytes);
                    entries.extend(found.into_iter().filter(|_| fits));
                    return Ok(entries);
                }
            }
            next = start.max(entries.last().map_or(next, |entry: &LogEntry| entry.log_id.index + 1));
        }
    }

    fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    fn stored_bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|facts| facts.len()).sum()
    }

    fn log_id(&self, index: u64) -> io::Result<Option<LogId>> {
        let state = self.state();
        let known = [state.purged, state.last].into_iter().flatten().find(|id| id.index == index);
        match known {
            Some(id) => Ok(Some(id)),
            None => Ok(self
                .read(index, index + 1, 0)?
                .first()
                .filter(|entry| entry.log_id.index == index)
                .map(|entry| entry.log_id)),
        }
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.shared.close();
        let Some(writer) = self.writer.take() else { return };
        // A completion may hold the last handle; the writer cannot wait for itself.
        if writer.thread().id() != std::thread::current().id() {
            let _ = writer.join();
        }
    }
}
