//! How commands stand in a log entry. Each is encoded once, by the peer that received the call; the leader only lays
//! them one behind the other.
//!
//! ```text
//! entry  = version u8 (1) | stamped time ms u64 | count u32 | frame*
//! frame  = command number u32 | session u64 | request number u64 | length u32 | payload
//! ```
//! Little-endian. The entry as a whole is covered by the log record's checksum.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_model::{RequestId, SessionId, StampedTime};

const ENTRY_VERSION: u8 = 1;
const ENTRY_HEADER_BYTES: usize = 13;
/// Bytes a frame needs beside its payload.
pub const FRAME_HEADER_BYTES: usize = 24;

/// One command as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub number: u32,
    pub request: RequestId,
    pub payload: Bytes,
}

/// The entry's bytes are not of this form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed entry: {0}")]
pub struct FrameError(&'static str);

/// Encodes one frame.
pub fn encode_frame(frame: &Frame) -> Bytes {
    let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + frame.payload.len());
    out.put_u32_le(frame.number);
    out.put_u64_le(frame.request.session.0);
    out.put_u64_le(frame.request.number);
    out.put_u32_le(frame.payload.len() as u32);
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
    let mut frames = Vec::with_capacity(count.min(crate::limits::MAX_COMMANDS_PER_ENTRY));
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
    if rest.remaining() < FRAME_HEADER_BYTES {
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
    Ok(Frame {
        number,
        request,
        payload: rest.split_to(length),
    })
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
            payload: Bytes::from_static(payload),
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
    fn every_cut_and_every_extra_byte_is_refused() {
        let entry = pack(StampedTime(5), &[encode_frame(&frame(3, b"abc"))]);
        for length in 0..entry.len() {
            assert!(unpack(&entry.slice(..length)).is_err(), "cut at {length}");
        }
        let mut longer = BytesMut::from(entry.as_ref());
        longer.put_u8(0);
        assert!(unpack(&longer.freeze()).is_err());
    }
}
