//! Copies between two local vaults: a few threads take file after file from one list.
//!
//! A copy is bytes read and written, never a link: a copy must survive damage of its source. The checksum is taken between read and write,
//! so that what is compared is what was written. All files of a task are synced together, then read back if asked to.

use super::durable::{Already, FileSystem, create_file, remove_quietly};
use super::{LocalVault, blocking, open_object, reading_back};
use crate::checksum::{Crc64, Crc64Hasher};
use crate::copy::{Copied, CopiedBytes, CopyOptions, FileCopy, ReadBack, Ticker};
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::{BUFFER_BYTES, FILES, FILES_AT_ONCE, SYNC_EACH_UP_TO_FILES};
use quorate_model::mutant;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// One task's work, shared by its threads.
struct Task {
    source: Arc<LocalVault>,
    target: Arc<LocalVault>,
    files: Vec<FileCopy>,
    next: AtomicUsize,
    bytes: AtomicU64,
    done: AtomicUsize,
    /// Set when one file failed or the caller has gone: the others stop at the next buffer.
    stopped: AtomicBool,
    /// The failure that stopped the others: what they fail with after that is its consequence.
    cause: OnceLock<ObjectError>,
}

impl Task {
    fn new(source: Arc<LocalVault>, target: Arc<LocalVault>, files: Vec<FileCopy>) -> Task {
        Task {
            source,
            target,
            files,
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            cause: OnceLock::new(),
        }
    }

    /// Stops the other threads, and notes why unless they were stopped before.
    fn fail(&self, error: &ObjectError) {
        if !self.stopped.swap(true, Ordering::Relaxed) {
            let _ = self.cause.set(error.clone());
        }
    }
}

/// Stops the threads when the caller's future is dropped.
struct StopOnDrop(Arc<Task>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// Copies `files`; on failure removes what it had copied.
pub(crate) async fn copy_all(
    source: Arc<LocalVault>,
    target: Arc<LocalVault>,
    files: &[FileCopy],
    options: &CopyOptions,
    ticker: &mut Ticker<'_>,
) -> Result<Vec<Copied>> {
    let guarded = [Arc::clone(&source), Arc::clone(&target)];
    let system = blocking(move || {
        guarded.iter().try_for_each(|vault| vault.guard())?;
        FileSystem::open(&guarded[1].place.root)
    })
    .await?;
    let task = Arc::new(Task::new(source, target, files.to_vec()));
    let _stop = StopOnDrop(Arc::clone(&task));
    let mut copied = run(&task, ticker, copy_files_of).await;
    let created: Vec<PathBuf> = match &copied {
        Ok(_) => Vec::new(),
        Err((_, created)) => created.clone(),
    };
    if let Ok(done) = &copied
        && let Err(error) = make_durable(&task, system, done, options, ticker).await
    {
        let created = done.iter().map(|(index, _)| task.target.file(&task.files[*index].target_path));
        copied = Err((error, created.collect()));
        return undo(copied).await;
    }
    match copied {
        Ok(mut done) => {
            done.sort_by_key(|(index, _)| *index);
            Ok(done.into_iter().map(|(_, copied)| copied).collect())
        }
        Err((error, _)) => undo(Err((error, created))).await,
    }
}

type Done = Vec<(usize, Copied)>;
/// What was copied, or the first error with the files that exist nevertheless.
type Outcome = std::result::Result<Done, (ObjectError, Vec<PathBuf>)>;

/// What those threads of a task came to that have ended.
#[derive(Default)]
struct Ended {
    done: Done,
    failure: Option<(ObjectError, Vec<PathBuf>)>,
}

impl Ended {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Ok(done) => self.done.extend(done),
            Err((error, created)) => {
                let (_, known) = self.failure.get_or_insert_with(|| (error, Vec::new()));
                known.extend(created);
            }
        }
    }

    /// What the task came to. A thread that was stopped may end before the one that failed by itself, whose error is the one to tell:
    /// it says what is wrong, and whether another try may help.
    fn outcome(self, task: &Task) -> Outcome {
        let Some((error, mut created)) = self.failure else {
            return Ok(self.done);
        };
        let target = |(index, _): &(usize, Copied)| task.target.file(&task.files[*index].target_path);
        created.extend(self.done.iter().map(target));
        Err((task.cause.get().cloned().unwrap_or(error), created))
    }
}

async fn undo(outcome: Outcome) -> Result<Vec<Copied>> {
    let (error, created) = match outcome {
        Ok(_) => return Ok(Vec::new()),
        Err(failed) => failed,
    };
    blocking(move || {
        created.iter().for_each(|file| remove_quietly(file));
        Ok(())
    })
    .await?;
    Err(error)
}

/// Runs `work` on as many threads as help, telling of progress meanwhile.
async fn run(task: &Arc<Task>, ticker: &mut Ticker<'_>, work: fn(&Task) -> Outcome) -> Outcome {
    let failed = |error: ObjectError| (error, Vec::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let wanted = (2 * cores).clamp(2, FILES_AT_ONCE).min(task.files.len());
    let mut threads = tokio::task::JoinSet::new();
    for number in 0..wanted {
        // The first goes on whatever other tasks do: their files may be large, or hang. More are started while the others leave room.
        let permit = (number > 0).then(|| FILES.try_acquire());
        if matches!(permit, Some(Err(_))) {
            break;
        }
        let task = Arc::clone(task);
        threads.spawn_blocking(move || {
            let outcome = work(&task);
            drop(permit);
            outcome
        });
    }
    let mut ended = Ended::default();
    loop {
        let joined = tokio::select! {
            joined = threads.join_next() => joined,
            () = ticker.tick() => {
                ticker.tell(CopiedBytes {
                    files: task.done.load(Ordering::Relaxed) as u64,
                    bytes: task.bytes.load(Ordering::Relaxed),
                });
                continue;
            }
        };
        let outcome = match joined {
            None => return ended.outcome(task),
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => Err(failed(ObjectError::new(
                ObjectErrorKind::Failed,
                format!("a copying thread ended early: {error}"),
            ))),
        };
        ended.add(outcome);
    }
}

/// Takes files from the list until it is empty, one fails, or the task is stopped.
fn copy_files_of(task: &Task) -> Outcome {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = Done::new();
    while !task.stopped.load(Ordering::Relaxed) {
        let index = task.next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = task.files.get(index) else { break };
        match copy_one(task, file, &mut buffer) {
            Ok(copied) => done.push((index, copied)),
            Err(error) => {
                task.fail(&error);
                let created = done.iter().map(|(index, _)| task.target.file(&task.files[*index].target_path));
                return Err((error, created.collect()));
            }
        }
        task.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(done)
}

fn copy_one(task: &Task, file: &FileCopy, buffer: &mut [u8]) -> Result<Copied> {
    let source_name = task.source.file(&file.source_path);
    let source = open_object(&source_name)?;
    let wrong = |error: std::io::Error| ObjectError::io("read", source_name.display(), &error);
    file.check_size(source.metadata().map_err(wrong)?.len(), source_name.display())?;
    let target_name = task.target.file(&file.target_path);
    let target = create_file(&target_name).map_err(|error| ObjectError::io("write", target_name.display(), &error))?;
    let outcome = copy_bytes(task, file, (&source, &source_name), (&target, &target_name), buffer).and_then(|checksum| {
        // With few files their syncs run beside each other and beside the next file's reads.
        if task.files.len() <= SYNC_EACH_UP_TO_FILES && !mutant!("copies-without-sync") {
            target
                .sync_data()
                .map_err(|error| ObjectError::io("sync", target_name.display(), &error))?;
        }
        if mutant!("hard-link-copies") {
            let linked = std::fs::remove_file(&target_name).and_then(|()| std::fs::hard_link(&source_name, &target_name));
            linked.map_err(|error| ObjectError::io("link", target_name.display(), &error))?;
        }
        Ok(file.copied(checksum))
    });
    if outcome.is_err() {
        remove_quietly(&target_name);
    }
    outcome
}

fn copy_bytes(
    task: &Task,
    file: &FileCopy,
    (mut source, source_name): (&File, &std::path::Path),
    (mut target, target_name): (&File, &std::path::Path),
    buffer: &mut [u8],
) -> Result<Crc64> {
    let mut hasher = Crc64Hasher::default();
    let mut size = 0;
    while size < file.size {
        if task.stopped.load(Ordering::Relaxed) {
            return Err(ObjectError::new(
                ObjectErrorKind::Failed,
                format!("copy to {} was stopped", target_name.display()),
            ));
        }
        let count = match source.read(buffer) {
            Ok(0) => return file.check_size(size, source_name.display()).map(|()| hasher.finish()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(ObjectError::io("read", source_name.display(), &error)),
        };
        hasher.update(&buffer[..count]);
        target
            .write_all(&buffer[..count])
            .map_err(|error| ObjectError::io("write", target_name.display(), &error))?;
        size += count as u64;
        task.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
    file.check_size(size, source_name.display())?;
    file.check_checksum(hasher.finish(), source_name.display())?;
    Ok(hasher.finish())
}

/// Syncs what was copied and, if asked to, reads it back.
async fn make_durable(task: &Arc<Task>, system: FileSystem, done: &Done, options: &CopyOptions, ticker: &mut Ticker<'_>) -> Result<()> {
    if mutant!("copies-without-sync") {
        // Nor are they read back: reading past the memory writes it out first.
        return Ok(());
    }
    let syncing = Arc::clone(task);
    blocking(move || {
        let files: Vec<PathBuf> = syncing.files.iter().map(|file| syncing.target.file(&file.target_path)).collect();
        let already = match files.len() <= SYNC_EACH_UP_TO_FILES {
            true => Already::Contents,
            false => Already::Nothing,
        };
        system.sync(&syncing.target.place.root, &files, already)
    })
    .await?;
    if options.read_back == ReadBack::Off {
        return Ok(());
    }
    let mut files = task.files.clone();
    for (index, copied) in done {
        files[*index].checksum = Some(copied.checksum);
    }
    let verified = Arc::new(Task {
        bytes: AtomicU64::new(task.bytes.load(Ordering::Relaxed)),
        done: AtomicUsize::new(task.files.len()),
        ..Task::new(Arc::clone(&task.source), Arc::clone(&task.target), files)
    });
    let _stop = StopOnDrop(Arc::clone(&verified));
    run(&verified, ticker, read_back_files_of).await.map_err(|(error, _)| error)?;
    Ok(())
}

fn read_back_files_of(task: &Task) -> Outcome {
    let mut buffer = reading_back::AlignedBuffer::default();
    while !task.stopped.load(Ordering::Relaxed) {
        let index = task.next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = task.files.get(index) else { break };
        let name = task.target.file(&file.target_path);
        let verified = reading_back::checksum_on_disk(&name, file.size, &mut buffer, &task.stopped)
            .and_then(|found| file.check_copy(found, &name.display().to_string()));
        if let Err(error) = verified {
            task.fail(&error);
            return Err((error, Vec::new()));
        }
    }
    Ok(Done::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::ObjectPath;
    use crate::place::LocalPlace;

    fn vault(root: PathBuf) -> Arc<LocalVault> {
        let place = LocalPlace {
            root,
            cluster_id: "c".to_owned(),
            vault_id: "v".to_owned(),
        };
        Arc::new(LocalVault { place })
    }

    #[test]
    fn a_missing_file_is_told_also_if_a_thread_that_it_stopped_ends_first() {
        let dir = tempfile::TempDir::new().expect("directory");
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        std::fs::create_dir(&source).expect("created");
        std::fs::write(source.join("there"), [7u8; 100]).expect("written");
        let files = ["missing", "there"].map(|name| {
            let path = ObjectPath::new(name).expect("a path");
            FileCopy {
                source_path: path.clone(),
                target_path: path,
                size: 100,
                checksum: None,
            }
        });
        let task = Task::new(vault(source), vault(target), files.to_vec());
        let missing = copy_files_of(&task);
        let stopped = copy_one(&task, &task.files[1], &mut [0; 100]).expect_err("it is stopped");
        assert_eq!(stopped.kind, ObjectErrorKind::Failed, "{stopped}");
        let mut ended = Ended::default();
        ended.add(Err((stopped, Vec::new())));
        ended.add(missing);
        let (told, _) = ended.outcome(&task).expect_err("a file is missing");
        assert_eq!(told.kind, ObjectErrorKind::NotFound, "{told}");
    }

    #[tokio::test]
    async fn a_copy_that_reads_back_wrongly_is_noticed_where_copies_are_read_back() {
        let dir = tempfile::TempDir::new().expect("directory");
        let root = dir.path().join("target");
        std::fs::create_dir(&root).expect("created");
        std::fs::write(root.join("copy"), [8u8; 100]).expect("written");
        let path = ObjectPath::new("copy").expect("a path");
        let file = FileCopy {
            source_path: path.clone(),
            target_path: path,
            size: 100,
            checksum: None,
        };
        // What the disk was given, and does not have.
        let done = vec![(0, file.copied(Crc64::of(&[7u8; 100])))];
        let task = Arc::new(Task::new(vault(dir.path().join("source")), vault(root), vec![file]));
        for (read_back, wrong) in [(ReadBack::On, Some(ObjectErrorKind::BadCopy)), (ReadBack::Off, None)] {
            let system = FileSystem::open(&task.target.place.root).expect("opened");
            let options = CopyOptions {
                read_back,
                ..CopyOptions::default()
            };
            let silent = |_: CopiedBytes| {};
            let outcome = make_durable(&task, system, &done, &options, &mut Ticker::new(&silent)).await;
            assert_eq!(outcome.err().map(|error| error.kind), wrong, "{read_back:?}");
        }
    }
}
