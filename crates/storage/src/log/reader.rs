//! Reads entries that are no longer in memory. Every record is verified again: a disk can rot while the log is open.

use super::entry_index::Location;
use super::open_error::REJOIN;
use super::options::READ_WINDOW_BYTES;
use super::record::{self, Kind};
use crate::codec::{self, LogEntry};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What one entry read alone asks for: most entries fit.
const SINGLE_READ_BYTES: usize = 4 << 10;

/// A stretch of one file, so that neighbours cost one read.
struct Window {
    file: Option<Arc<File>>,
    start: u64,
    bytes: Vec<u8>,
    window_bytes: usize,
}

/// Adds entries until `bytes_max` of weight is reached; at least one if `entries` is empty. False when the bound ended it.
pub(crate) fn read_into(entries: &mut Vec<LogEntry>, locations: &[Location], weight: &mut usize, bytes_max: usize) -> io::Result<bool> {
    let window_bytes = if locations.len() == 1 {
        SINGLE_READ_BYTES
    } else {
        READ_WINDOW_BYTES
    };
    let mut window = Window {
        file: None,
        start: 0,
        bytes: Vec::new(),
        window_bytes,
    };
    for location in locations {
        let entry = window.entry(location)?;
        *weight += entry.weight();
        if !entries.is_empty() && *weight > bytes_max {
            return Ok(false);
        }
        entries.push(entry);
    }
    Ok(true)
}

impl Window {
    fn entry(&mut self, location: &Location) -> io::Result<LogEntry> {
        let damaged = |reason: String| {
            let text = format!(
                "entry {} in segment {} at offset {} is damaged: {reason}; {REJOIN}",
                location.index, location.segment, location.offset
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        self.load(location, record::PREFIX_BYTES)?;
        let bytes = record::claimed_bytes(self.at(location)).map_err(damaged)?;
        self.load(location, bytes)?;
        let record = record::parse(self.at(location)).map_err(damaged)?;
        if record.kind != Kind::Entry {
            return Err(damaged(format!("it is a record of kind {:?}", record.kind)));
        }
        let entry = codec::decode_entry(&Bytes::copy_from_slice(record.body)).map_err(|error| damaged(error.to_string()))?;
        match entry.log_id.index == location.index {
            true => Ok(entry),
            false => Err(damaged(format!("it is entry {}", entry.log_id.index))),
        }
    }

    /// Makes `bytes` bytes at the location available, as far as the file goes.
    fn load(&mut self, location: &Location, bytes: usize) -> io::Result<()> {
        let offset = u64::from(location.offset);
        let same_file = self.file.as_ref().is_some_and(|file| Arc::ptr_eq(file, &location.file));
        if same_file && offset >= self.start && offset + bytes as u64 <= self.start + self.bytes.len() as u64 {
            return Ok(());
        }
        self.file = Some(location.file.clone());
        self.start = offset;
        self.bytes.resize(bytes.max(self.window_bytes), 0);
        let mut filled = 0;
        while filled < self.bytes.len() {
            match location.file.read_at(&mut self.bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }

    fn at(&self, location: &Location) -> &[u8] {
        self.bytes
            .get((u64::from(location.offset) - self.start) as usize..)
            .unwrap_or_default()
    }
}
