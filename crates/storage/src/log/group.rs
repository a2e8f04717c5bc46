//! A group: everything one write and one sync cover.
//!
//! ```text
//!  +-----------------------------------------------------------+--------+--------+-----+
//!  | group header: salt, segment, offset, bytes, records       | record | record | ... |
//!  +-----------------------------------------------------------+--------+--------+-----+
//! ```
//!
//! The header names the place it stands at (the end of the group before; the record's chain is that group's checksum).
//! A group is written only after the one before was synced, so a header that verifies proves that everything before it
//! was acknowledged; bad bytes before it are damage, not a write that never finished. The salt is random per segment:
//! nobody can make the log refuse to open by storing a payload that looks like a group header.

use super::record::{self, Kind, Record};
use std::ops::Range;

/// A place between two groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Position {
    pub segment: u64,
    pub offset: u32,
    /// Checksum of the last record before this place.
    pub chain: u32,
}

const HEADER_BODY_BYTES: usize = 28;
pub(crate) const HEADER_BYTES: usize = record::PREFIX_BYTES + HEADER_BODY_BYTES;

/// Collects records; chained and summed only when the place of the group is known.
#[derive(Default)]
pub(crate) struct GroupBuilder {
    buffer: Vec<u8>,
    starts: Vec<usize>,
}

impl GroupBuilder {
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.resize(HEADER_BYTES, 0);
        self.starts.clear();
    }

    /// Returns where the record starts, counted from the start of the group.
    pub fn push(&mut self, kind: Kind, write_body: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = record::push_unsealed(&mut self.buffer, kind, write_body);
        self.starts.push(start);
        start
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub fn stored_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Completes the group for its place; returns its bytes and the place after it.
    pub fn seal(&mut self, at: Position, salt: u64) -> (&[u8], Position) {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        record::push_unsealed(&mut header, Kind::Group, |body| {
            body.extend_from_slice(&salt.to_le_bytes());
            body.extend_from_slice(&at.segment.to_le_bytes());
            body.extend_from_slice(&at.offset.to_le_bytes());
            body.extend_from_slice(&((self.buffer.len() - HEADER_BYTES) as u32).to_le_bytes());
            body.extend_from_slice(&(self.starts.len() as u32).to_le_bytes());
        });
        let mut chain = record::seal(&mut header, at.chain);
        self.buffer[..HEADER_BYTES].copy_from_slice(&header);
        for start in &self.starts {
            chain = record::seal(&mut self.buffer[*start..], chain);
        }
        let end = Position {
            segment: at.segment,
            offset: at.offset + self.buffer.len() as u32,
            chain,
        };
        (&self.buffer, end)
    }
}

/// A group all of whose records verify.
pub(crate) struct Group<'a> {
    /// With the offset of each in the segment.
    pub records: Vec<(u32, Record<'a>)>,
    pub end: Position,
}

/// The group that starts at `at` in `segment`. The error says where and why it does not hold.
pub(crate) fn parse(segment: &[u8], at: Position, salt: u64) -> Result<Group<'_>, (u32, String)> {
    let start = at.offset as usize;
    let header = record::parse(&segment[start..]).map_err(|reason| (at.offset, reason))?;
    let (bytes, count) = header_at(&header, at, salt).ok_or_else(|| (at.offset, "not the header of the next group".to_string()))?;
    let body = start + HEADER_BYTES..start + HEADER_BYTES + bytes;
    if body.end > segment.len() {
        return Err((
            at.offset,
            format!("group claims {bytes} bytes, {} are left", segment.len() - body.start),
        ));
    }
    let (records, chain) = parse_records(segment, body.clone(), header.crc)?;
    if records.len() != count {
        return Err((at.offset, format!("group holds {} records, its header says {count}", records.len())));
    }
    Ok(Group {
        records,
        end: Position {
            segment: at.segment,
            offset: body.end as u32,
            chain,
        },
    })
}

/// The first verifying group header at or after `from`, if any: proof that everything before it had been synced.
pub(crate) fn find_header(segment: &[u8], number: u64, from: u32, salt: u64) -> Option<u32> {
    let needle = salt.to_le_bytes();
    let mut at = from as usize + record::PREFIX_BYTES;
    while let Some(found) = find(segment, at, needle) {
        let start = found - record::PREFIX_BYTES;
        if let Ok(header) = record::parse(&segment[start..]) {
            let place = Position {
                segment: number,
                offset: start as u32,
                chain: header.chain,
            };
            if header_at(&header, place, salt).is_some() {
                return Some(place.offset);
            }
        }
        at = found + 1;
    }
    None
}

/// Body bytes and record count, if this is the header of a group at that place.
fn header_at(header: &Record<'_>, at: Position, salt: u64) -> Option<(usize, usize)> {
    let body = header.body;
    let fits = header.kind == Kind::Group
        && body.len() == HEADER_BODY_BYTES
        && header.chain == at.chain
        && record::read_u64(body, 0) == salt
        && record::read_u64(body, 8) == at.segment
        && record::read_u32(body, 16) == at.offset;
    fits.then(|| (record::read_u32(body, 20) as usize, record::read_u32(body, 24) as usize))
}

type Records<'a> = Vec<(u32, Record<'a>)>;

fn parse_records(segment: &[u8], body: Range<usize>, mut chain: u32) -> Result<(Records<'_>, u32), (u32, String)> {
    let mut records = Vec::new();
    let mut at = body.start;
    while at < body.end {
        let record = record::parse(&segment[at..body.end]).map_err(|reason| (at as u32, reason))?;
        if record.chain != chain {
            return Err((
                at as u32,
                format!("chain is {:08x}, the record before ends with {chain:08x}", record.chain),
            ));
        }
        chain = record.crc;
        records.push((at as u32, record));
        at += record.stored_bytes();
    }
    Ok((records, chain))
}

fn find(bytes: &[u8], from: usize, needle: [u8; 8]) -> Option<usize> {
    let haystack = bytes.get(from..)?;
    haystack
        .windows(8)
        .position(|window| window[0] == needle[0] && window == needle)
        .map(|found| from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_groups() -> (Vec<u8>, Position, Position) {
        let start = Position {
            segment: 4,
            offset: 16,
            chain: 99,
        };
        let mut segment = vec![0; 16];
        let mut builder = GroupBuilder::default();
        builder.clear();
        builder.push(Kind::Vote, |body| body.extend_from_slice(&[1, 2, 1]));
        builder.push(Kind::Purge, |body| body.extend_from_slice(&[1, 2, 3]));
        let (bytes, second) = builder.seal(start, 7);
        segment.extend_from_slice(bytes);
        builder.clear();
        builder.push(Kind::Vote, |body| body.extend_from_slice(&[1, 2, 0]));
        let (bytes, _) = builder.seal(second, 7);
        segment.extend_from_slice(bytes);
        segment.extend_from_slice(&[0; 100]);
        (segment, start, second)
    }

    #[test]
    fn groups_follow_each_other() {
        let (segment, start, second) = two_groups();
        let group = parse(&segment, start, 7).unwrap();
        assert_eq!((group.records.len(), group.end), (2, second));
        assert_eq!(parse(&segment, second, 7).unwrap().records.len(), 1);
    }

    #[test]
    fn a_group_fits_only_its_place_chain_and_salt() {
        let (segment, start, _) = two_groups();
        assert!(parse(&segment, Position { chain: 98, ..start }, 7).is_err());
        assert!(parse(&segment, Position { segment: 5, ..start }, 7).is_err());
        assert!(parse(&segment, start, 8).is_err());
    }

    #[test]
    fn a_later_header_is_found_behind_bad_bytes() {
        let (mut segment, start, second) = two_groups();
        segment[20] ^= 1;
        assert!(parse(&segment, start, 7).is_err());
        assert_eq!(find_header(&segment, 4, start.offset, 7), Some(second.offset));
        segment[second.offset as usize + 20] ^= 1;
        assert_eq!(find_header(&segment, 4, start.offset, 7), None);
    }
}
