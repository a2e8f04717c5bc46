//! A segment file: its name and its header.
//!
//! ```text
//!  0         8         12                          4096                      file size
//!  +---------+---------+------------------+--------+-------+-------+---------+
//!  | QUORLOG | version | header record    | zeros  | group | group | zeros   |
//!  +---------+---------+------------------+--------+-------+-------+---------+
//! ```
//!
//! The file is complete (zero-filled, header synced) before it gets its name, so a named file with a bad header or
//! another size is always damage. The header repeats everything older files say that is not an entry, so those can be
//! unlinked.

use super::LogState;
use super::group::Position;
use super::record::{self, Kind};
use crate::codec::{self, LogId, Vote};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A page of its own, so that groups never share a sector with the header.
pub(crate) const FIRST_GROUP_OFFSET: u32 = 4096;
const MAGIC: [u8; 8] = *b"QUORLOG\0";
const VERSION: u32 = 1;
const RECORD_OFFSET: usize = 12;
const SUFFIX: &str = ".segment";

/// Fields are never changed, only the version is: bincode has no optional fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentHeader {
    pub number: u64,
    pub file_bytes: u32,
    /// Random; group headers of this file repeat it.
    pub salt: u64,
    /// End of the file before.
    pub previous_end: Position,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
}

impl SegmentHeader {
    pub fn state(&self) -> LogState {
        LogState {
            purged: self.purged,
            last: self.last,
            vote: self.vote,
            committed: self.committed,
        }
    }

    /// Its bytes, and where the first group goes.
    pub fn encode(&self) -> (Vec<u8>, Position) {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let record = record::encode(Kind::Segment, self.previous_end.chain, &codec::encode(self));
        let chain = record::read_u32(&record, 4);
        bytes.extend_from_slice(&record);
        assert!(
            bytes.len() <= FIRST_GROUP_OFFSET as usize,
            "segment header of {} bytes outgrew its page",
            bytes.len()
        );
        (
            bytes,
            Position {
                segment: self.number,
                offset: FIRST_GROUP_OFFSET,
                chain,
            },
        )
    }

    /// The header a file starts with, and where its first group is.
    pub fn decode(file: &[u8], number: u64) -> Result<(SegmentHeader, Position), String> {
        if file.len() < FIRST_GROUP_OFFSET as usize {
            return Err(format!(
                "file has {} bytes, its header alone takes {FIRST_GROUP_OFFSET}",
                file.len()
            ));
        }
        if file[..8] != MAGIC {
            return Err("segment header does not start with its magic bytes".to_string());
        }
        match record::read_u32(file, 8) {
            VERSION => {}
            version => return Err(format!("segment format version {version} is unknown, this binary reads {VERSION}")),
        }
        let record =
            record::parse(&file[RECORD_OFFSET..FIRST_GROUP_OFFSET as usize]).map_err(|reason| format!("segment header: {reason}"))?;
        let header: SegmentHeader = codec::decode("segment header", record.body).map_err(|error| error.to_string())?;
        if record.kind != Kind::Segment || header.number != number || header.previous_end.chain != record.chain {
            return Err(format!("segment header belongs to file number {}", header.number));
        }
        if file.len() != header.file_bytes as usize {
            return Err(format!("file has {} bytes, its header says {}", file.len(), header.file_bytes));
        }
        Ok((
            header,
            Position {
                segment: number,
                offset: FIRST_GROUP_OFFSET,
                chain: record.crc,
            },
        ))
    }
}

pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016}{SUFFIX}"))
}

pub(crate) fn number_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(SUFFIX)?;
    (digits.len() == 16).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_comes_back_with_its_place() {
        let previous_end = Position {
            segment: 6,
            offset: 5000,
            chain: 77,
        };
        let header = SegmentHeader {
            number: 7,
            file_bytes: 8192,
            salt: 5,
            previous_end,
            purged: None,
            last: None,
            vote: None,
            committed: None,
        };
        let (mut file, first) = header.encode();
        assert_eq!(file[..12], *b"QUORLOG\0\x01\0\0\0");
        file.resize(8192, 0);
        assert_eq!(SegmentHeader::decode(&file, 7), Ok((header, first)));
        assert_eq!(
            SegmentHeader::decode(&file, 8).unwrap_err(),
            "segment header belongs to file number 7"
        );
        assert_eq!(
            SegmentHeader::decode(&file[..8000], 7).unwrap_err(),
            "file has 8000 bytes, its header says 8192"
        );
    }

    #[test]
    fn file_names_sort_and_parse() {
        assert_eq!(path(Path::new("d"), 12), Path::new("d/0000000000000012.segment"));
        assert_eq!(number_of("0000000000000012.segment"), Some(12));
        assert_eq!(number_of("12.segment"), None);
        assert_eq!(number_of("lock"), None);
    }
}
