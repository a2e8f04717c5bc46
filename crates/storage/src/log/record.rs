//! One record as it stands in a segment file.
//!
//! ```text
//!  0        4        8        12     13
//!  +--------+--------+--------+------+----------------------+
//!  | length | crc32c | chain  | kind | body (length bytes)  |
//!  +--------+--------+--------+------+----------------------+
//!  crc32c covers length, chain, kind and body; chain is the crc32c of the record before.
//! ```
//!
//! The chain is part of what is summed, so a record verifies alone (a reader needs nothing before it) and also proves
//! which record stood before it: a record from another place or another life of the file never fits.

/// Bytes before the body.
pub(crate) const PREFIX_BYTES: usize = 13;

/// No body is larger. Entries are at most 8 MiB by the cluster's own limit; the rest is room for headers and change.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;

/// What a record holds. Numbers are the form on disk and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Group = 1,
    Entry = 2,
    Vote = 3,
    Committed = 4,
    TruncateAfter = 5,
    Purge = 6,
    Segment = 7,
    HighWater = 8,
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub kind: Kind,
    /// Checksum of the record before.
    pub chain: u32,
    /// Its own checksum, the `chain` of the next.
    pub crc: u32,
    pub body: &'a [u8],
}

impl Record<'_> {
    pub fn stored_bytes(&self) -> usize {
        PREFIX_BYTES + self.body.len()
    }
}

/// Adds a record whose checksum is not computed yet, because what stands before it is not known. Returns its start.
pub(crate) fn push_unsealed(buffer: &mut Vec<u8>, kind: Kind, write_body: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; PREFIX_BYTES - 1]);
    buffer.push(kind as u8);
    write_body(buffer);
    let length = (buffer.len() - start - PREFIX_BYTES) as u32;
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    start
}

/// Fills in chain and checksum of the record `bytes` starts with; returns the checksum.
pub(crate) fn seal(bytes: &mut [u8], chain: u32) -> u32 {
    let end = PREFIX_BYTES + read_u32(bytes, 0) as usize;
    bytes[8..12].copy_from_slice(&chain.to_le_bytes());
    let crc = checksum(&bytes[..end]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// One complete record.
pub(crate) fn encode(kind: Kind, chain: u32, body: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(PREFIX_BYTES + body.len());
    push_unsealed(&mut buffer, kind, |buffer| buffer.extend_from_slice(body));
    seal(&mut buffer, chain);
    buffer
}

/// How many bytes the record that starts here takes, as far as its length field can be believed.
pub(crate) fn claimed_bytes(bytes: &[u8]) -> Result<usize, String> {
    if bytes.len() < PREFIX_BYTES {
        return Err(format!("{} bytes are left, a record takes at least {PREFIX_BYTES}", bytes.len()));
    }
    match read_u32(bytes, 0) as usize {
        length if length > BODY_BYTES_MAX => Err(format!("record claims {length} bytes, limit {BODY_BYTES_MAX}")),
        length => Ok(PREFIX_BYTES + length),
    }
}

/// The record `bytes` starts with. The error says what does not hold.
pub(crate) fn parse(bytes: &[u8]) -> Result<Record<'_>, String> {
    let end = claimed_bytes(bytes)?;
    if end > bytes.len() {
        return Err(format!("record claims {end} bytes, {} are left", bytes.len()));
    }
    let (stored, computed) = (read_u32(bytes, 4), checksum(&bytes[..end]));
    if stored != computed {
        return Err(format!("checksum is {computed:08x}, the record says {stored:08x}"));
    }
    let kind = kind_of(bytes[12]).ok_or_else(|| format!("record kind {} is unknown", bytes[12]))?;
    Ok(Record {
        kind,
        chain: read_u32(bytes, 8),
        crc: stored,
        body: &bytes[PREFIX_BYTES..end],
    })
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}

fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..])
}

fn kind_of(number: u8) -> Option<Kind> {
    use Kind::*;
    [Group, Entry, Vote, Committed, TruncateAfter, Purge, Segment, HighWater]
        .into_iter()
        .find(|kind| *kind as u8 == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_has_its_golden_bytes() {
        let golden = [3, 0, 0, 0, 0xca, 0x94, 0xef, 0x75, 0x2a, 0, 0, 0, 3, 7, 3, 1];
        assert_eq!(encode(Kind::Vote, 42, &[7, 3, 1]), golden);
        let record = parse(&golden).unwrap();
        assert_eq!((record.kind, record.chain, record.body), (Kind::Vote, 42, &[7u8, 3, 1][..]));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode(Kind::Entry, 9, b"some payload");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_err(), "bit {bit} was not noticed");
        }
    }

    #[test]
    fn zeros_are_never_a_record() {
        assert!(parse(&[0; 64]).is_err());
        assert!(parse(&[]).is_err());
    }
}
