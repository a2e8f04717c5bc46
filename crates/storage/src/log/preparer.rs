//! The helper thread: fills the next segment file with zeros before it is needed, and unlinks old ones.
//!
//! A sync of a file whose blocks exist and are written makes two device writes where a growing file makes three, because
//! its size and its blocks need no journal. Filling is paced, so that it does not stand in the way of the writer's syncs,
//! until the writer waits for it.

use super::directory;
use super::options::SEGMENT_BYTES_MAX;
use super::segment;
use super::{FileLogOptions, Step};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

const CHUNK_BYTES: usize = 1 << 20;
const PAUSE_PER_CHUNK: Duration = Duration::from_millis(2);

/// A synced file of zeros that has no name of its own yet.
pub(crate) struct Prepared {
    pub file: File,
    pub path: PathBuf,
    pub bytes: u32,
}

enum Job {
    Prepare,
    Unlink(Vec<u64>),
}

#[derive(Default)]
struct Flags {
    /// The writer waits: no more pauses.
    urgent: AtomicBool,
    /// The log closes: whatever is unfinished is dropped.
    closing: AtomicBool,
}

pub(crate) struct Preparer {
    dir: PathBuf,
    options: FileLogOptions,
    flags: Arc<Flags>,
    jobs: Option<mpsc::Sender<Job>>,
    prepared: mpsc::Receiver<io::Result<Prepared>>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    pub fn start(dir: &Path, options: &FileLogOptions) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let (ready, prepared) = mpsc::channel();
        let flags = Arc::new(Flags::default());
        let (thread_dir, thread_options, thread_flags) = (dir.to_path_buf(), options.clone(), flags.clone());
        let thread = std::thread::Builder::new().name("log-prepare".to_string()).spawn(move || {
            let mut obsolete = VecDeque::new();
            for job in waiting {
                match job {
                    Job::Prepare => drop(ready.send(prepare(&thread_dir, &thread_options, &thread_flags))),
                    Job::Unlink(numbers) => {
                        obsolete.extend(numbers);
                        unlink(&thread_dir, &thread_options, &mut obsolete);
                    }
                }
            }
        })?;
        let preparer = Self {
            dir: dir.to_path_buf(),
            options: options.clone(),
            flags,
            jobs: Some(jobs),
            prepared,
            thread: Some(thread),
        };
        preparer.prepare_next();
        Ok(preparer)
    }

    /// To be called when the file taken before has its name.
    pub fn prepare_next(&self) {
        self.send(Job::Prepare);
    }

    pub fn unlink(&self, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.send(Job::Unlink(numbers));
        }
    }

    /// The next file, at least `bytes_min` large. A preparation that failed is tried once more: since then space may
    /// have been made.
    pub fn take(&self, bytes_min: u32) -> io::Result<Prepared> {
        self.flags.urgent.store(true, Ordering::Relaxed);
        let received = self
            .prepared
            .recv()
            .map_err(|_| io::Error::other("helper thread of the log is gone"));
        self.flags.urgent.store(false, Ordering::Relaxed);
        let mut prepared = match received? {
            Ok(prepared) => prepared,
            Err(_) => prepare(
                &self.dir,
                &self.options,
                &Flags {
                    urgent: true.into(),
                    closing: false.into(),
                },
            )?,
        };
        if prepared.bytes < bytes_min {
            fill(&prepared.file, prepared.bytes, bytes_min, &Flags::default()).map_err(|error| explain(&self.dir, bytes_min, error))?;
            prepared.bytes = bytes_min;
        }
        Ok(prepared)
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // A helper that is gone shows itself at the next `take`.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.flags.closing.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Creates and fills a file at once, without the helper.
pub(crate) fn prepare_now(dir: &Path, options: &FileLogOptions) -> io::Result<Prepared> {
    prepare(
        dir,
        options,
        &Flags {
            urgent: true.into(),
            closing: false.into(),
        },
    )
}

fn prepare(dir: &Path, options: &FileLogOptions, flags: &Flags) -> io::Result<Prepared> {
    let path = directory::unfinished_path(dir, "next-segment");
    let bytes = options.segment_bytes.clamp(segment::FIRST_GROUP_OFFSET + 1, SEGMENT_BYTES_MAX);
    let attempt = || -> io::Result<File> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
        options.perform(Step::PrepareSegment, || fill(&file, 0, bytes, flags))?;
        Ok(file)
    };
    let file = options.with_room(attempt).map_err(|error| explain(dir, bytes, error))?;
    Ok(Prepared { file, path, bytes })
}

fn fill(file: &File, from: u32, to: u32, flags: &Flags) -> io::Result<()> {
    let zeros = vec![0; CHUNK_BYTES];
    let mut at = u64::from(from);
    while at < u64::from(to) {
        if flags.closing.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "log is closing"));
        }
        let chunk = (u64::from(to) - at).min(CHUNK_BYTES as u64);
        file.write_all_at(&zeros[..chunk as usize], at)?;
        at += chunk;
        if !flags.urgent.load(Ordering::Relaxed) && at < u64::from(to) {
            file.sync_data()?;
            std::thread::sleep(PAUSE_PER_CHUNK);
        }
    }
    file.sync_all()
}

fn explain(dir: &Path, bytes: u32, error: io::Error) -> io::Error {
    let text = format!(
        "next log segment of {bytes} bytes cannot be prepared in {}: {error}; free space on that disk and restart",
        dir.display()
    );
    io::Error::new(error.kind(), text)
}

/// Oldest first, each made durable before the next, so that neither a crash nor a failure leaves a gap. What cannot be unlinked now
/// stays the first, and is found again at the next open.
fn unlink(dir: &Path, options: &FileLogOptions, obsolete: &mut VecDeque<u64>) {
    while let Some(number) = obsolete.front() {
        let path = segment::path(dir, *number);
        let removed = options.perform(Step::UnlinkSegment, || {
            match std::fs::remove_file(&path) {
                // The name went before, and it was the sync that failed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            directory::sync(dir)
        });
        if let Err(error) = removed {
            tracing::warn!(
                "purged log segment {} cannot be removed: {error}; it is tried again with the next one, and at the next start",
                path.display()
            );
            return;
        }
        obsolete.pop_front();
    }
}
