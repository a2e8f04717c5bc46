//! How commands stand in a log entry. Each is encoded once, by the peer that received the call; the leader only lays
//! them one behind the other.
//!
//! ```text
//! entry  = version u8 (1) | stamped time ms u64 | count u32 | frame*
//! frame  = command number u32 | session u64 | request number u64 | length u32 | payload
//! ```
//! A frame that says what its caller asked has the highest bit of its command number set, and its payload begins with
//! ```text
//! count u8 | fingerprint u64 * count
//! ```
//! so that a version that does not know this finds a command it does not know, and stops.
//!
//! Little-endian. The entry as a whole is covered by the log record's checksum.

use crate::limits;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_model::{RequestId, SessionId, StampedTime};

const ENTRY_VERSION: u8 = 1;
const ENTRY_HEADER_BYTES: usize = 13;
const HEADER_BYTES: usize = 24;
const FINGERPRINT_BYTES: usize = size_of::<u64>();
/// Set in the number of a frame with fingerprints; no command has such a number.
const WITH_FINGERPRINTS: u32 = 1 << 31;
/// Most bytes a frame needs beside its payload.
pub const MAX_FRAME_EXTRA_BYTES: usize = HEADER_BYTES + 1 + limits::MAX_FINGERPRINTS * FINGERPRINT_BYTES;

/// One command as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub number: u32,
    pub request: RequestId,
    /// What the caller asked, one keyed hash for each root key of the peer that received it. A command prepared at another
    /// peer may differ in what that peer put in (ciphertext, settings); the request is the same if one of these is. None
    /// where the payload follows from the request alone.
    pub fingerprints: Vec<u64>,
    pub payload: Bytes,
}

/// The entry's bytes are not of this form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed entry: {0}")]
pub struct FrameError(&'static str);

/// Encodes one frame.
pub fn encode_frame(frame: &Frame) -> Bytes {
    let count = frame.fingerprints.len().min(limits::MAX_FINGERPRINTS);
    let extra = if count == 0 { 0 } else { 1 + count * FINGERPRINT_BYTES };
    let mut out = BytesMut::with_capacity(HEADER_BYTES + extra + frame.payload.len());
    out.put_u32_le(if count == 0 {
        frame.number
    } else {
        frame.number | WITH_FINGERPRINTS
    });
    out.put_u64_le(frame.request.session.0);
    out.put_u64_le(frame.request.number);
    out.put_u32_le((extra + frame.payload.len()) as u32);
    if count > 0 {
        out.put_u8(count as u8);
        for fingerprint in &frame.fingerprints[..count] {
            out.put_u64_le(*fingerprint);
        }
    }
    out.put_slice(&frame.payload);
    out.freeze()
}

/// Reads one frame that must fill `bytes`; used on what another peer forwards.
pub fn decode_single(bytes: Bytes) -> Result<Frame, FrameError> {
    let mut rest = bytes;
    let frame = take_frame(&mut rest)?;
    if rest.has_remaining() {
        Err(FrameError("bytes after the frame"))
    } else {
        Ok(frame)
    }
}

/// Lays encoded frames into one entry.
pub fn pack(time: StampedTime, frames: &[Bytes]) -> Bytes {
    let size: usize = frames.iter().map(Bytes::len).sum();
    let mut out = BytesMut::with_capacity(ENTRY_HEADER_BYTES + size);
    out.put_u8(ENTRY_VERSION);
    out.put_u64_le(time.0);
    out.put_u32_le(frames.len() as u32);
    for frame in frames {
        out.put_slice(frame);
    }
    out.freeze()
}

/// Reads an entry back; payloads are slices of `entry`.
pub fn unpack(entry: &Bytes) -> Result<(StampedTime, Vec<Frame>), FrameError> {
    let mut rest = entry.clone();
    if rest.remaining() < ENTRY_HEADER_BYTES {
        return Err(FrameError("shorter than its header"));
    }
    if rest.get_u8() != ENTRY_VERSION {
        return Err(FrameError("unknown entry version; a newer peer wrote it"));
    }
    let time = StampedTime(rest.get_u64_le());
    let count = rest.get_u32_le() as usize;
    let mut frames = Vec::with_capacity(count.min(limits::MAX_COMMANDS_PER_ENTRY));
    for _ in 0..count {
        frames.push(take_frame(&mut rest)?);
    }
    if rest.has_remaining() {
        Err(FrameError("bytes after the last frame"))
    } else {
        Ok((time, frames))
    }
}

fn take_frame(rest: &mut Bytes) -> Result<Frame, FrameError> {
    if rest.remaining() < HEADER_BYTES {
        return Err(FrameError("frame shorter than its header"));
    }
    let number = rest.get_u32_le();
    let request = RequestId {
        session: SessionId(rest.get_u64_le()),
        number: rest.get_u64_le(),
    };
    let length = rest.get_u32_le() as usize;
    if rest.remaining() < length {
        return Err(FrameError("frame shorter than its length"));
    }
    let mut payload = rest.split_to(length);
    let fingerprints = match number & WITH_FINGERPRINTS {
        0 => Vec::new(),
        _ => take_fingerprints(&mut payload)?,
    };
    Ok(Frame {
        number: number & !WITH_FINGERPRINTS,
        request,
        fingerprints,
        payload,
    })
}

fn take_fingerprints(payload: &mut Bytes) -> Result<Vec<u64>, FrameError> {
    let count = payload.try_get_u8().map_err(|_| FrameError("fingerprints without a count"))?.into();
    if !(1..=limits::MAX_FINGERPRINTS).contains(&count) || payload.remaining() < count * FINGERPRINT_BYTES {
        return Err(FrameError("fingerprints that are none, too many, or longer than their frame"));
    }
    Ok((0..count).map(|_| payload.get_u64_le()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u32, payload: &'static [u8]) -> Frame {
        Frame {
            number,
            request: RequestId {
                session: SessionId(7),
                number: 9,
            },
            fingerprints: Vec::new(),
            payload: Bytes::from_static(payload),
        }
    }

    fn fingerprinted(number: u32, fingerprints: &[u64], payload: &'static [u8]) -> Frame {
        Frame {
            fingerprints: fingerprints.to_vec(),
            ..frame(number, payload)
        }
    }

    #[test]
    fn entry_has_golden_bytes_and_comes_back() {
        let frames = [frame(3, b"ab"), frame(4, b"")];
        let entry = pack(StampedTime(0x0102), &frames.clone().map(|frame| encode_frame(&frame)));
        let golden = "01 0201000000000000 02000000 03000000 0700000000000000 0900000000000000 02000000 6162 \
                      04000000 0700000000000000 0900000000000000 00000000";
        let hex: String = entry.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.replace(' ', ""));
        assert_eq!(unpack(&entry).expect("well-formed"), (StampedTime(0x0102), frames.to_vec()));
    }

    #[test]
    fn a_frame_with_fingerprints_has_golden_bytes_and_comes_back() {
        let frames = [fingerprinted(3, &[0x0a, 0x0b], b"ab"), frame(4, b"")];
        let entry = pack(StampedTime(0x0102), &frames.clone().map(|frame| encode_frame(&frame)));
        let golden = "01 0201000000000000 02000000 03000080 0700000000000000 0900000000000000 13000000 \
                      02 0a00000000000000 0b00000000000000 6162 \
                      04000000 0700000000000000 0900000000000000 00000000";
        let hex: String = entry.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.replace(' ', ""));
        assert_eq!(unpack(&entry).expect("well-formed"), (StampedTime(0x0102), frames.to_vec()));
    }

    #[test]
    fn a_frame_is_never_longer_than_is_said() {
        let most = vec![1; limits::MAX_FINGERPRINTS + 1];
        let encoded = encode_frame(&fingerprinted(3, &most, b"abc"));
        assert_eq!(encoded.len(), MAX_FRAME_EXTRA_BYTES + 3);
        let decoded = decode_single(encoded).expect("well-formed");
        assert_eq!(
            (decoded.fingerprints.len(), decoded.payload.as_ref()),
            (limits::MAX_FINGERPRINTS, b"abc".as_ref())
        );
    }

    #[test]
    fn fingerprints_that_do_not_fit_their_frame_are_refused() {
        let good = encode_frame(&fingerprinted(3, &[1], b""));
        for (length, count) in [(0_u32, None), (9, Some(0)), (9, Some(2)), (9, Some(u8::MAX))] {
            let mut bytes = BytesMut::from(&good[..HEADER_BYTES + length as usize]);
            bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
            if let Some(count) = count {
                bytes[HEADER_BYTES] = count;
            }
            assert!(decode_single(bytes.freeze()).is_err(), "{length} {count:?}");
        }
    }

    #[test]
    fn every_cut_and_every_extra_byte_is_refused() {
        for frame in [frame(3, b"abc"), fingerprinted(3, &[1, 2], b"abc")] {
            let entry = pack(StampedTime(5), &[encode_frame(&frame)]);
            for length in 0..entry.len() {
                assert!(unpack(&entry.slice(..length)).is_err(), "cut at {length}");
            }
            let mut longer = BytesMut::from(entry.as_ref());
            longer.put_u8(0);
            assert!(unpack(&longer.freeze()).is_err());
        }
    }
}
