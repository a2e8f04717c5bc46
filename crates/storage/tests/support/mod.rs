//! Shared by the log's test suites.
#![allow(dead_code)] // Each suite uses a part of it.

use bytes::Bytes;
use quorate_storage::codec::{LeaderId, LogEntry, LogId, Payload};
use quorate_storage::log::{Done, FileLogOptions, LogStore};
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

pub fn id(index: u64) -> LogId {
    id_of(1, index)
}

pub fn id_of(term: u64, index: u64) -> LogId {
    LogId {
        leader: LeaderId { term, peer: 1 },
        index,
    }
}

/// An entry whose payload is its own, so that entries cannot be mistaken for each other.
pub fn entry(index: u64, bytes: usize) -> LogEntry {
    let payload: Vec<u8> = (0..bytes).map(|at| (index as usize * 31 + at * 7) as u8 | 1).collect();
    LogEntry {
        log_id: id(index),
        payload: Payload::Commands(Bytes::from(payload)),
    }
}

/// Small files, and a high-water file that only votes, new segments and a clean end renew.
pub fn small(segment_bytes: u32) -> FileLogOptions {
    FileLogOptions {
        segment_bytes,
        tail_bytes: 1 << 10,
        high_water_interval: Duration::from_secs(3600),
        ..FileLogOptions::default()
    }
}

pub fn wait(call: impl FnOnce(Done) -> io::Result<()>) -> io::Result<()> {
    let (send, receive) = mpsc::channel();
    call(Box::new(move |result| drop(send.send(result))))?;
    receive
        .recv_timeout(Duration::from_secs(60))
        .expect("a completion comes within a minute")
}

pub fn append(log: &impl LogStore, entries: Vec<LogEntry>) -> io::Result<()> {
    wait(|done| log.append(entries, done))
}

/// What a crash of the process leaves: the files as they are now, without a clean end.
pub fn image(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .expect("the log's directory")
        .map(|file| file.expect("a file").path())
        .collect();
    // Newest first: the log may be unlinking its oldest files meanwhile, and a real crash never leaves a gap.
    paths.sort();
    for path in paths
        .iter()
        .rev()
        .filter(|path| path.extension().is_none_or(|ending| ending != "unfinished"))
    {
        match std::fs::copy(path, copy.path().join(path.file_name().expect("a file name"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.expect("a copy")),
        }
    }
    copy
}
