//! What the log does when a step fails, when it is full, and when it is told to forget.

mod support;

use quorate_storage::log::{FileLog, FileLogOptions, LogStore, Step, Verdict};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use support::{append, entry, id, small, wait};

/// A disk whose one step fails once it is switched to.
#[derive(Clone, Default)]
struct BadDisk {
    failing: Arc<AtomicBool>,
    fatal: Arc<Mutex<Vec<String>>>,
}

impl BadDisk {
    fn options(&self, bad_step: Step, kind: io::ErrorKind) -> FileLogOptions {
        let (failing, fatal) = (self.failing.clone(), self.fatal.clone());
        FileLogOptions {
            before_step: Arc::new(move |step| match step == bad_step && failing.load(Ordering::SeqCst) {
                true => Err(io::Error::new(kind, "injected")),
                false => Ok(Verdict::Run),
            }),
            on_fatal: Arc::new(move |text| fatal.lock().unwrap().push(text.to_string())),
            ..small(8 << 10)
        }
    }

    fn wait_for_fatal(&self) -> Vec<String> {
        until("the owner is told", || !self.fatal.lock().unwrap().is_empty());
        self.fatal.lock().unwrap().clone()
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::yield_now();
    }
}

fn segment_files(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    names
        .filter(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .count()
}

#[test]
fn a_failed_write_or_sync_fails_everything_after_it() {
    for step in [Step::WriteGroup, Step::SyncGroup] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
        let log = FileLog::open(dir.path(), disk.options(step, io::ErrorKind::Other)).unwrap();
        append(&log, vec![entry(0, 10)]).unwrap();
        disk.failing.store(true, Ordering::SeqCst);
        assert_eq!(append(&log, vec![entry(1, 10)]).unwrap_err().to_string(), "injected");
        disk.failing.store(false, Ordering::SeqCst);
        let later = append(&log, vec![entry(2, 10)]).unwrap_err().to_string();
        assert_eq!(later, "log has failed before: injected");
        assert_eq!(disk.wait_for_fatal(), ["injected"], "the owner is told once");
        drop(log);
        let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
        assert!(log.state().last >= Some(id(0)));
    }
}

#[test]
fn a_vote_is_not_acknowledged_without_its_high_water() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
    let log = FileLog::open(dir.path(), disk.options(Step::WriteHighWater, io::ErrorKind::Other)).unwrap();
    disk.failing.store(true, Ordering::SeqCst);
    append(&log, vec![entry(0, 10)]).unwrap();
    assert!(wait(|done| log.save_vote(Default::default(), done)).is_err());
    assert_eq!(disk.wait_for_fatal(), ["injected"]);
}

#[test]
fn a_full_disk_says_so_and_what_to_do() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
    let log = FileLog::open(dir.path(), disk.options(Step::PrepareSegment, io::ErrorKind::StorageFull)).unwrap();
    disk.failing.store(true, Ordering::SeqCst);
    let failure = (0..60)
        .find_map(|index| append(&log, vec![entry(index, 300)]).err())
        .expect("the third file cannot be made");
    assert_eq!(failure.kind(), io::ErrorKind::StorageFull);
    let text = failure.to_string();
    assert!(text.starts_with("next log segment of 8192 bytes cannot be prepared in"), "{text}");
    assert!(text.ends_with("free space on that disk and restart"), "{text}");
}

#[test]
fn a_full_disk_with_something_to_give_back_is_written_on() {
    for step in [Step::WriteGroup, Step::PrepareSegment, Step::WriteHighWater] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
        let given_back = Arc::new(AtomicUsize::new(0));
        let (full, count) = (disk.clone(), given_back.clone());
        let options = FileLogOptions {
            on_no_space: Arc::new(move || {
                full.failing.store(false, Ordering::SeqCst);
                count.fetch_add(1, Ordering::SeqCst) == 0
            }),
            ..disk.options(step, io::ErrorKind::StorageFull)
        };
        let log = FileLog::open(dir.path(), options).unwrap();
        disk.failing.store(true, Ordering::SeqCst);
        (0..60).for_each(|index| append(&log, vec![entry(index, 300)]).unwrap());
        wait(|done| log.save_vote(Default::default(), done)).unwrap();
        assert_eq!(given_back.load(Ordering::SeqCst), 1, "{step:?}: room is asked for once");
        drop(log);
        let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
        assert_eq!(log.read(0, 60, usize::MAX).unwrap().len(), 60, "{step:?}");
    }
    // A sync is never repeated: the second may report success without having written anything.
    let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
    let options = FileLogOptions {
        on_no_space: Arc::new(|| panic!("nobody asks for room after a failed sync")),
        ..disk.options(Step::SyncGroup, io::ErrorKind::StorageFull)
    };
    let log = FileLog::open(dir.path(), options).unwrap();
    disk.failing.store(true, Ordering::SeqCst);
    assert!(append(&log, vec![entry(0, 10)]).is_err());
}

#[test]
fn a_preparation_that_failed_is_tried_again_when_the_file_is_needed() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
    disk.failing.store(true, Ordering::SeqCst);
    let first = FileLog::open(dir.path(), disk.options(Step::PrepareSegment, io::ErrorKind::StorageFull));
    assert!(first.is_err(), "not even the first file can be made");
    disk.failing.store(false, Ordering::SeqCst);
    let log = FileLog::open(dir.path(), disk.options(Step::PrepareSegment, io::ErrorKind::StorageFull)).unwrap();
    disk.failing.store(true, Ordering::SeqCst);
    (0..8).for_each(|index| append(&log, vec![entry(index, 300)]).unwrap());
    disk.failing.store(false, Ordering::SeqCst);
    (8..40).for_each(|index| append(&log, vec![entry(index, 300)]).unwrap());
    assert!(disk.fatal.lock().unwrap().is_empty());
}

#[test]
fn entries_are_readable_before_they_are_durable_and_the_queue_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (open_gate, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let options = FileLogOptions {
        queue_bytes: 1000,
        // Every sync waits until the gate is opened once; then all go through.
        before_step: Arc::new(move |step| {
            if step == Step::SyncGroup {
                let _ = gate.lock().unwrap().recv();
            }
            Ok(Verdict::Run)
        }),
        ..small(64 << 10)
    };
    let log = FileLog::open(dir.path(), options).unwrap();
    log.append(vec![entry(0, 500)], Box::new(|_| {})).unwrap();
    assert_eq!(log.read(0, 1, 0).unwrap(), [entry(0, 500)]);
    let blocked = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let appender = scope.spawn(|| {
            log.append(vec![entry(1, 500)], Box::new(|_| {})).unwrap();
            blocked.store(false, Ordering::SeqCst);
        });
        // Votes weigh next to nothing and still pass: the appender waits for room, not for a lock.
        log.save_vote(Default::default(), Box::new(|_| {})).unwrap();
        assert!(blocked.load(Ordering::SeqCst), "1000 bytes were exceeded");
        assert_eq!(log.state().last, Some(id(0)));
        drop(open_gate);
        appender.join().unwrap();
    });
    assert_eq!(log.state().last, Some(id(1)));
}

#[test]
fn purge_unlinks_whole_files_and_the_rest_opens() {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
    (0..60).for_each(|index| append(&log, vec![entry(index, 300)]).unwrap());
    assert!(segment_files(dir.path()) > 4);
    wait(|done| log.purge(id(55), done)).unwrap();
    until("old files are unlinked", || segment_files(dir.path()) <= 2);
    drop(log);
    let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
    assert_eq!((log.state().purged, log.state().last), (Some(id(55)), Some(id(59))));
    assert_eq!(log.read(0, 100, usize::MAX).unwrap().len(), 4);
    assert_eq!(log.log_id(55).unwrap(), Some(id(55)));
    assert_eq!(log.log_id(54).unwrap(), None);
}

#[test]
fn a_purged_file_that_cannot_be_unlinked_goes_before_later_ones_do() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
    let refused = Arc::new(AtomicUsize::new(0));
    let mut options = disk.options(Step::UnlinkSegment, io::ErrorKind::Other);
    let (counted, before_step) = (refused.clone(), options.before_step.clone());
    options.before_step = Arc::new(move |step| {
        before_step(step).inspect_err(|_| {
            counted.fetch_add(1, Ordering::SeqCst);
        })
    });
    let log = FileLog::open(dir.path(), options).unwrap();
    (0..60).for_each(|index| append(&log, vec![entry(index, 300)]).unwrap());
    let files = segment_files(dir.path());
    disk.failing.store(true, Ordering::SeqCst);
    wait(|done| log.purge(id(30), done)).unwrap();
    until("an unlink fails", || refused.load(Ordering::SeqCst) > 0);
    assert_eq!(segment_files(dir.path()), files, "none of a later file goes before it");
    disk.failing.store(false, Ordering::SeqCst);
    wait(|done| log.purge(id(55), done)).unwrap();
    until("old files are unlinked", || segment_files(dir.path()) <= 2);
    drop(log);
    let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
    assert_eq!((log.state().purged, log.state().last), (Some(id(55)), Some(id(59))));
}

#[test]
fn a_group_larger_than_a_file_gets_a_larger_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
    append(&log, vec![entry(0, 10), entry(1, 100_000), entry(2, 10)]).unwrap();
    append(&log, vec![entry(3, 10)]).unwrap();
    drop(log);
    let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
    assert_eq!(log.read(1, 2, 0).unwrap(), [entry(1, 100_000)]);
    assert_eq!(log.state().last, Some(id(3)));
}

#[test]
fn the_committed_id_travels_with_a_group_and_never_before_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
    append(&log, vec![entry(0, 10)]).unwrap();
    log.set_committed(Some(id(0)));
    let before = support::image(dir.path());
    assert_eq!(FileLog::open(before.path(), small(8 << 10)).unwrap().state().committed, None);
    append(&log, vec![entry(1, 10)]).unwrap();
    drop(log);
    let log = FileLog::open(dir.path(), small(8 << 10)).unwrap();
    assert_eq!(log.state().committed, Some(id(0)));
}

#[test]
fn damage_that_appears_while_the_log_is_open_is_an_error_of_the_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open(dir.path(), small(64 << 10)).unwrap();
    (0..60).for_each(|index| append(&log, vec![entry(index, 300)]).unwrap());
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("0000000000000001.segment"))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 40], 6000).unwrap();
    let text = log.read(0, 60, usize::MAX).unwrap_err().to_string();
    assert!(text.contains("is damaged") && text.contains("rejoin under a new id"), "{text}");
}
