//! The high-water file: how far the log was durable, at least.
//!
//! A log whose newest groups are gone without a trace (a lost file, a zeroed stretch up to the end) still verifies. This
//! file, replaced as a whole with every vote, at each new segment and at most once a second otherwise, is what notices.
//! It names a place in the files, not an index: truncation moves indexes back, places only move forward.

use super::directory;
use super::group::Position;
use super::record::{self, Kind};
use super::{FileLogOptions, LogState, Step};
use crate::codec::{self, LogId, Vote};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const NAME: &str = "high-water";
const MAGIC: [u8; 8] = *b"QUORHWM\0";
const VERSION: u32 = 1;

/// A lower bound of what the log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HighWater {
    /// End of the newest durable group.
    pub position: Position,
    pub vote: Option<Vote>,
    pub last: Option<LogId>,
}

impl HighWater {
    pub fn of(position: Position, state: &LogState) -> Self {
        Self {
            position,
            vote: state.vote,
            last: state.last,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&record::encode(Kind::HighWater, 0, &codec::encode(self)));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < 12 || bytes[..8] != MAGIC {
            return Err("it does not start with its magic bytes".to_string());
        }
        match record::read_u32(bytes, 8) {
            VERSION => {}
            version => return Err(format!("format version {version} is unknown, this binary reads {VERSION}")),
        }
        let record = record::parse(&bytes[12..])?;
        match (record.kind, bytes.len() - 12 - record.stored_bytes()) {
            (Kind::HighWater, 0) => codec::decode("high water", record.body).map_err(|error| error.to_string()),
            (kind, extra) => Err(format!("it holds {kind:?} and {extra} more bytes")),
        }
    }
}

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Replaces the file durably: the old one or the new one is there after a crash, never a mixture.
pub(crate) fn write(dir: &Path, high_water: &HighWater, options: &FileLogOptions) -> io::Result<()> {
    let replace = || {
        let unfinished = directory::unfinished_path(dir, NAME);
        let mut file = File::create(&unfinished)?;
        file.write_all(&high_water.encode())?;
        file.sync_data()?;
        directory::publish(dir, &unfinished, &path(dir))
    };
    options.with_room(|| options.perform(Step::WriteHighWater, replace))
}

/// `None` when there is no such file; the inner error says why it cannot be trusted.
pub(crate) fn read(dir: &Path) -> io::Result<Option<Result<HighWater, String>>> {
    match std::fs::read(path(dir)) {
        Ok(bytes) => Ok(Some(HighWater::decode(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_none());
        let position = Position {
            segment: 3,
            offset: 4096,
            chain: 9,
        };
        let high_water = HighWater::of(position, &LogState::default());
        write(dir.path(), &high_water, &FileLogOptions::default()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(Ok(high_water)));
        let good = std::fs::read(path(dir.path())).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(HighWater::decode(&bad).is_err(), "byte {at}");
            assert!(HighWater::decode(&good[..at]).is_err(), "cut at {at}");
        }
    }
}
