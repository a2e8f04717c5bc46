//! Reads the files back at open and decides: everything acknowledged is there, or the log does not open.
//!
//! The rule for bad bytes: if anything that was written later verifies (a group header, a following file, the high-water
//! file), the bad bytes had been synced and acknowledged before, so they are damage and nothing is changed on disk. Only
//! bad bytes at the very end can be a write that never finished; nobody was told about it, so it is cut.

use super::directory::Listing;
use super::entry_index::EntryIndex;
use super::group::{self, Group, Position};
use super::high_water::{self, HighWater};
use super::queue::index_change;
use super::record::{Kind, Record};
use super::segment::{self, SegmentHeader};
use super::transition::{self, Change};
use super::{LogState, OpenError};
use crate::codec::{self, CodecError};
use bytes::Bytes;
use quorate_model::mutant;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What open found, for the log line and for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    pub segment_files: usize,
    pub groups: u64,
    pub torn_tail: Option<TornTail>,
}

/// A last write that never finished and was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub file: PathBuf,
    pub offset: u64,
    pub bytes: u64,
    pub reason: String,
}

/// The log as the files say, and where to go on.
pub(crate) struct Recovered {
    pub state: LogState,
    pub index: EntryIndex,
    pub end: Position,
    pub salt: u64,
    pub file: Arc<File>,
    pub file_bytes: u32,
    pub report: RecoveryReport,
    /// Offset and bytes of the newest group.
    last_group: Option<(u64, Vec<u8>)>,
}

struct Replay {
    state: LogState,
    index: EntryIndex,
    groups: u64,
    end: Position,
    last_group_offset: Option<u32>,
}

/// Reads only; nothing on disk is changed. `None` when the log was never used.
pub(crate) fn recover(dir: &Path, listing: &Listing) -> Result<Option<Recovered>, OpenError> {
    let high_water = high_water::read(dir).map_err(OpenError::io(&high_water::path(dir)))?;
    if listing.segments.is_empty() {
        return match high_water {
            None => Ok(None),
            Some(_) => Err(OpenError::SegmentMissing {
                file: segment::path(dir, 1),
            }),
        };
    }
    let recovered = replay_files(dir, listing)?;
    check_high_water(dir, high_water, &recovered)?;
    let (first, end) = (transition::first_index(&recovered.state), transition::next_index(&recovered.state));
    match (recovered.index.first_gap(first, end), listing.segments.first_key_value()) {
        (Some(_), Some((oldest, _))) => Err(OpenError::SegmentMissing {
            file: segment::path(dir, oldest.saturating_sub(1)),
        }),
        _ => Ok(Some(recovered)),
    }
}

impl Recovered {
    /// Makes what was read durable, and the rest of the file zero. A group can have been read from memory of the
    /// operating system without ever reaching the disk; building on it would turn it into "damage" at the next crash.
    pub fn settle(&mut self) -> io::Result<()> {
        if let Some(torn) = &self.report.torn_tail {
            self.file.write_all_at(&vec![0; torn.bytes as usize], torn.offset)?;
        }
        // Written again, not only synced: after a failed sync the system may call pages clean that never got there.
        if let Some((offset, bytes)) = self.last_group.take() {
            self.file.write_all_at(&bytes, offset)?;
        }
        self.file.sync_all()
    }
}

fn replay_files(dir: &Path, listing: &Listing) -> Result<Recovered, OpenError> {
    let mut replay: Option<Replay> = None;
    let oldest = *listing.segments.keys().next().expect("the caller saw a segment");
    let newest = *listing.segments.keys().next_back().expect("the caller saw a segment");
    for (expected, (number, path)) in (oldest..).zip(&listing.segments) {
        if *number != expected {
            return Err(OpenError::SegmentMissing {
                file: segment::path(dir, expected),
            });
        }
        let file = Arc::new(File::options().read(true).write(true).open(path).map_err(OpenError::io(path))?);
        let bytes = std::fs::read(path).map_err(OpenError::io(path))?;
        let (header, first) = SegmentHeader::decode(&bytes, *number).map_err(|reason| damaged(path, 0, reason))?;
        let mut current = enter_segment(replay, &header, first, path)?;
        current.index.add_segment(*number, file.clone());
        let bad = current.read_groups(&bytes, &header, path)?;
        if let (Some((offset, reason)), false) = (&bad, *number == newest) {
            return Err(damaged(path, *offset, format!("{reason}, and later files follow")));
        }
        if *number == newest {
            return finish(current, file, header, path, bytes, bad, listing.segments.len());
        }
        replay = Some(current);
    }
    unreachable!("the newest file is one of the files")
}

/// Goes on in the next file, whose header must fit the end of the one before.
fn enter_segment(replay: Option<Replay>, header: &SegmentHeader, first: Position, path: &Path) -> Result<Replay, OpenError> {
    let Some(replay) = replay else {
        return Ok(Replay {
            state: header.state(),
            index: EntryIndex::default(),
            groups: 0,
            end: first,
            last_group_offset: None,
        });
    };
    if replay.end != header.previous_end {
        let file = segment::path(path.parent().unwrap_or(Path::new("")), replay.end.segment);
        let reason = format!("the next file was begun after offset {}", header.previous_end.offset);
        return Err(damaged(&file, replay.end.offset, reason));
    }
    if replay.state != header.state() {
        return Err(damaged(path, 0, "its header disagrees with the files before".to_string()));
    }
    Ok(Replay {
        end: first,
        last_group_offset: None,
        ..replay
    })
}

impl Replay {
    /// Applies groups until the bytes are not a group; returns why not, unless only zeros follow.
    fn read_groups(&mut self, bytes: &[u8], header: &SegmentHeader, path: &Path) -> Result<Option<(u32, String)>, OpenError> {
        loop {
            if (self.end.offset as usize) >= bytes.len() {
                return Ok(None);
            }
            match group::parse(bytes, self.end, header.salt) {
                Ok(group) => self.apply_group(&group).map_err(|(offset, reason)| damaged(path, offset, reason))?,
                Err(_) if is_zero(&bytes[self.end.offset as usize..]) => return Ok(None),
                Err(bad) => return Ok(Some(bad)),
            }
        }
    }

    fn apply_group(&mut self, group: &Group<'_>) -> Result<(), (u32, String)> {
        for (offset, record) in &group.records {
            self.apply_record(*offset, record).map_err(|reason| (*offset, reason))?;
        }
        self.groups += 1;
        self.last_group_offset = Some(self.end.offset);
        self.end = group.end;
        Ok(())
    }

    fn apply_record(&mut self, offset: u32, record: &Record<'_>) -> Result<(), String> {
        let change = match record.kind {
            Kind::Committed => {
                self.state.committed = Some(codec::decode_log_id(record.body).map_err(|error| error.to_string())?);
                return Ok(());
            }
            _ => change_of(record).map_err(|error| error.to_string())?,
        };
        let change = change.ok_or_else(|| format!("a record of kind {:?} does not belong into a group", record.kind))?;
        transition::check(&self.state, &change).map_err(|error| error.to_string())?;
        transition::apply(&mut self.state, &change);
        index_change(&mut self.index, &change, &mut [offset].iter());
        Ok(())
    }
}

fn change_of(record: &Record<'_>) -> Result<Option<Change>, CodecError> {
    Ok(Some(match record.kind {
        Kind::Entry => Change::Append(vec![codec::decode_entry(&Bytes::copy_from_slice(record.body))?]),
        Kind::Vote => Change::Vote(codec::decode_vote(record.body)?),
        Kind::TruncateAfter => Change::TruncateAfter(codec::decode_optional_log_id(record.body)?),
        Kind::Purge => Change::Purge(codec::decode_log_id(record.body)?),
        Kind::Committed | Kind::Group | Kind::Segment | Kind::HighWater => return Ok(None),
    }))
}

/// Decides about bad bytes in the newest file.
fn finish(
    replay: Replay,
    file: Arc<File>,
    header: SegmentHeader,
    path: &Path,
    bytes: Vec<u8>,
    bad: Option<(u32, String)>,
    segment_files: usize,
) -> Result<Recovered, OpenError> {
    let end = replay.end;
    let torn_tail = match bad {
        None => None,
        Some((offset, reason)) => {
            if let Some(later) = group::find_header(&bytes, header.number, end.offset + 1, header.salt)
                && !mutant!("damaged-tail-accepted")
            {
                return Err(damaged(
                    path,
                    offset,
                    format!("{reason}, and a later group follows at offset {later}"),
                ));
            }
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            Some(TornTail {
                file: path.to_path_buf(),
                offset: end.offset.into(),
                bytes: (used - end.offset as usize) as u64,
                reason,
            })
        }
    };
    let last_group = replay
        .last_group_offset
        .map(|start| (u64::from(start), bytes[start as usize..end.offset as usize].to_vec()));
    let report = RecoveryReport {
        segment_files,
        groups: replay.groups,
        torn_tail,
    };
    let (state, index) = (replay.state, replay.index);
    Ok(Recovered {
        state,
        index,
        end,
        salt: header.salt,
        file,
        file_bytes: header.file_bytes,
        report,
        last_group,
    })
}

fn check_high_water(dir: &Path, high_water: Option<Result<HighWater, String>>, recovered: &Recovered) -> Result<(), OpenError> {
    let file = high_water::path(dir);
    let high_water = match high_water {
        Some(Ok(high_water)) => high_water,
        Some(Err(reason)) => {
            return Err(OpenError::HighWater {
                file,
                problem: format!("is damaged: {reason}"),
            });
        }
        // The first start can end between the first segment and the first high-water file; nothing is in the log then.
        None if recovered.end.segment == 1 && recovered.report.groups == 0 && recovered.report.torn_tail.is_none() => return Ok(()),
        None => {
            return Err(OpenError::HighWater {
                file,
                problem: "is missing".to_string(),
            });
        }
    };
    let (known, found) = (high_water.position, recovered.end);
    let reached = (found.segment, found.offset) >= (known.segment, known.offset);
    // At the very place the chain proves that it is the same log, and the state that it is the same replay.
    let same = (found.segment, found.offset) != (known.segment, known.offset)
        || (found.chain == known.chain && recovered.state.vote == high_water.vote && recovered.state.last == high_water.last);
    if (reached && same) || mutant!("end-of-log-not-checked") {
        return Ok(());
    }
    let mut expected = format!("up to offset {} of {}", known.offset, segment::path(dir, known.segment).display());
    if let Some(last) = high_water.last {
        expected.push_str(&format!(" (entry {} of term {})", last.index, last.leader.term));
    }
    Err(OpenError::LostTail {
        file: segment::path(dir, found.segment),
        offset: found.offset.into(),
        expected,
    })
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn damaged(file: &Path, offset: u32, reason: String) -> OpenError {
    OpenError::Damaged {
        file: file.to_path_buf(),
        offset: offset.into(),
        reason,
    }
}
