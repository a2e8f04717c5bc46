//! RocksDB's MANIFEST, looked at before RocksDB reads it: it says which tables are the state.
//!
//! RocksDB takes zeros in it for the end of a block and goes on with the next block. The tables that were listed there are then
//! missing from a state that opens and says that it is newer than they are, and nothing would notice before the next scan of all
//! rows. And of a record whose type has become one of a recycled file it reads the same bytes again for ever.
//!
//! What ends too early is another matter: a write that never finished looks so. RocksDB opens an older state then, as after a
//! crash before the last flush, and the Raft log leads on from it, or the state is fetched from another peer
//! (`rebuild::missing` in consensus).
//!
//! ```text
//! file    | block | block | ...                      32 KiB each, the last one shorter
//! block   | record | record | ... | fewer than 7 bytes |
//! record  | crc32c, masked 4 | length 2 | type 1 | bytes |      the checksum covers type and bytes
//! ```

use super::damage::damaged;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// A whole record, or the first, a middle or the last piece of one.
const TYPES: RangeInclusive<u8> = 1..=4;
/// RocksDB stores no checksum as it is, because it computes checksums over stored ones.
const MASK_DELTA: u32 = 0xa282_ead8;

/// Refuses a generation whose MANIFEST holds anything but records and, at its end, a write that never finished.
pub(super) fn check(generation: &Path) -> io::Result<()> {
    let Some(path) = in_use(generation) else { return Ok(()) };
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match bad_place(file)? {
        Some(place) => Err(damaged(&path, &format!("holds no record at byte {place}"))),
        None => Ok(()),
    }
}

/// The file that CURRENT names. What is wrong with CURRENT, or that it names nothing, RocksDB says.
fn in_use(generation: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(generation.join("CURRENT")).ok()?;
    let name = text.strip_suffix('\n').filter(|name| name.starts_with("MANIFEST-"))?;
    Some(generation.join(name))
}

/// Where bytes begin that no writer has left there, not even one that was killed.
fn bad_place(mut file: impl Read) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut begin = 0_u64;
    let mut zeros_from: Option<u64> = None;
    loop {
        block.clear();
        file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        let is_last = block.len() < BLOCK_BYTES;
        let good = zeros_from.map_or_else(|| good_bytes(&block), |_| 0);
        let rest = &block[good..];
        let place = zeros_from.unwrap_or(begin + good as u64);
        if zeros_from.is_some() || rest.len() >= HEADER_BYTES {
            if rest.iter().all(|byte| *byte == 0) {
                zeros_from = Some(place);
            } else if zeros_from.is_some() || !is_last || !is_cut(rest) {
                return Ok(Some(place));
            }
        }
        if is_last {
            return Ok(None);
        }
        begin += BLOCK_BYTES as u64;
    }
}

/// Bytes of the records at the beginning of a block.
fn good_bytes(block: &[u8]) -> usize {
    let mut good = 0;
    while let Some(bytes) = record_bytes(&block[good..]) {
        good += bytes;
    }
    good
}

/// Bytes of the record that begins here, if one does.
fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let [a, b, c, d, low, high, kind] = *bytes.first_chunk::<HEADER_BYTES>()?;
    let end = HEADER_BYTES + usize::from(u16::from_le_bytes([low, high]));
    let covered = bytes.get(HEADER_BYTES - 1..end)?;
    let checksum = crc32c::crc32c(covered).rotate_right(15).wrapping_add(MASK_DELTA);
    (TYPES.contains(&kind) && checksum == u32::from_le_bytes([a, b, c, d])).then_some(end)
}

/// Whether a record begins here whose end is not in the file, and nothing follows that was written later.
fn is_cut(rest: &[u8]) -> bool {
    let end = HEADER_BYTES + usize::from(u16::from_le_bytes([rest[4], rest[5]]));
    TYPES.contains(&rest[6]) && end > rest.len() && (1..rest.len()).all(|at| record_bytes(&rest[at..]).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: usize = 500;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let covered = [&[kind][..], body].concat();
        let checksum = crc32c::crc32c(&covered).rotate_right(15).wrapping_add(MASK_DELTA);
        let length = u16::try_from(body.len()).expect("a short record");
        [&checksum.to_le_bytes()[..], &length.to_le_bytes(), &covered].concat()
    }

    /// Whole records over two blocks and a part of a third; the last 4 bytes of each block stay zero.
    fn manifest() -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..RECORDS {
            let left = BLOCK_BYTES - bytes.len() % BLOCK_BYTES;
            let body = vec![number as u8 | 1; 150];
            let wanted = HEADER_BYTES + body.len();
            if left < wanted + HEADER_BYTES {
                bytes.extend(record(1, &vec![7; left - HEADER_BYTES - 4]));
                bytes.extend([0; 4]);
            }
            bytes.extend(record(1, &body));
        }
        bytes
    }

    fn bad(bytes: &[u8]) -> Option<u64> {
        bad_place(bytes).expect("memory can be read")
    }

    #[test]
    fn what_was_written_is_good_wherever_it_ends() {
        let whole = manifest();
        assert!(whole.len() > 2 * BLOCK_BYTES);
        assert_eq!(record(1, b"")[..4], [0x05, 0x2b, 0x28, 0x43], "as RocksDB computes it");
        assert_eq!(bad(&whole), None);
        for end in 0..whole.len() {
            if end < 400 || end.is_multiple_of(97) || end % BLOCK_BYTES < 10 || end % BLOCK_BYTES > BLOCK_BYTES - 10 {
                assert_eq!(bad(&whole[..end]), None, "cut at {end}");
                let mut filled = whole[..end].to_vec();
                filled.resize(whole.len() + BLOCK_BYTES, 0);
                let found = bad(&filled);
                assert!(found.is_none() || !is_boundary(&whole, end), "zeros from {end}: {found:?}");
            }
        }
    }

    /// Whether a record ends here.
    fn is_boundary(whole: &[u8], end: usize) -> bool {
        let block = &whole[end / BLOCK_BYTES * BLOCK_BYTES..end];
        good_bytes(block) == block.len()
    }

    #[test]
    fn zeros_and_flipped_bits_with_records_behind_them_are_refused() {
        let whole = manifest();
        let last = whole.len() - HEADER_BYTES - 150;
        let is_padding = |at: usize| at % BLOCK_BYTES >= BLOCK_BYTES - 4;
        for at in (0..last).filter(|at| !is_padding(*at)).step_by(41) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            assert!(bad(&flipped).is_some_and(|place| place <= at as u64), "byte {at} is flipped");
            let mut zeroed = whole.clone();
            zeroed[at..(at + 512).min(last)].fill(0);
            assert!(bad(&zeroed).is_some_and(|place| place <= at as u64), "zeros from {at}");
        }
        // The whole rest of a block: what RocksDB would skip without a word.
        let mut zeroed = whole.clone();
        let begin = (HEADER_BYTES + 150) * 3;
        zeroed[begin..BLOCK_BYTES].fill(0);
        assert_eq!(bad(&zeroed), Some(begin as u64));
    }

    #[test]
    fn a_last_record_of_a_type_that_is_read_for_ever_is_refused() {
        let mut bytes = manifest();
        let last = bytes.len() - HEADER_BYTES - 150;
        bytes[last + 6] ^= 4;
        assert_eq!(bad(&bytes), Some(last as u64));
    }
}
