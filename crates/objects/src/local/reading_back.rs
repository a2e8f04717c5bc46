//! Reads a file as it is on disk, past the memory that still holds what was just written: comparing that would compare it with itself.
//!
//! Direct reads do so where the file system has them, and push nothing else out of memory. Dropping the file from memory before an ordinary
//! read is only a wish, which the kernel may leave unfulfilled.

use super::open_object;
use crate::checksum::{Crc64, Crc64Hasher};
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::BUFFER_BYTES;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What direct reads may ask for: buffers begin and end at multiples of the largest sector in use.
const ALIGNMENT_BYTES: usize = 4096;

/// A buffer direct reads can go to.
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Default for AlignedBuffer {
    fn default() -> AlignedBuffer {
        let bytes = vec![0; BUFFER_BYTES + ALIGNMENT_BYTES];
        let start = bytes.as_ptr().align_offset(ALIGNMENT_BYTES);
        AlignedBuffer { bytes, start }
    }
}

impl AlignedBuffer {
    fn slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + BUFFER_BYTES]
    }
}

/// Size and checksum of the file on disk. `size` is what it should have; reading stops when `stopped` is set.
pub(super) fn checksum_on_disk(name: &Path, size: u64, buffer: &mut AlignedBuffer, stopped: &AtomicBool) -> Result<(u64, Crc64)> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
    match File::options().read(true).custom_flags(direct).open(name) {
        Ok(opened) => match read_to_end(&opened, name, size, buffer, stopped) {
            // Opened, but read refused: so do some file systems that have no direct reads.
            Err(ReadError::Refused) => through_memory(name, size, buffer, stopped),
            Err(ReadError::Failed(error)) => Err(error),
            Ok(read) => Ok(read),
        },
        Err(error) if error.kind() == ErrorKind::InvalidInput => through_memory(name, size, buffer, stopped),
        Err(error) => Err(ObjectError::io("read back", name.display(), &error)),
    }
}

fn through_memory(name: &Path, size: u64, buffer: &mut AlignedBuffer, stopped: &AtomicBool) -> Result<(u64, Crc64)> {
    let refused = || {
        ObjectError::new(
            ObjectErrorKind::Failed,
            format!("cannot read back {}: the file system refuses", name.display()),
        )
    };
    match read_to_end(&open_object(name)?, name, size, buffer, stopped) {
        Ok(read) => Ok(read),
        Err(ReadError::Failed(error)) => Err(error),
        Err(ReadError::Refused) => Err(refused()),
    }
}

enum ReadError {
    Refused,
    Failed(ObjectError),
}

fn read_to_end(
    mut opened: &File,
    name: &Path,
    size: u64,
    buffer: &mut AlignedBuffer,
    stopped: &AtomicBool,
) -> std::result::Result<(u64, Crc64), ReadError> {
    let failed = |error: std::io::Error| ReadError::Failed(ObjectError::io("read back", name.display(), &error));
    let length = opened.metadata().map_err(failed)?.len();
    let mut hasher = Crc64Hasher::default();
    let mut read = 0;
    // A file of another length is wrong already, and needs no reading.
    while length == size && read < size {
        if stopped.load(Ordering::Relaxed) {
            let message = format!("reading back {} was stopped", name.display());
            return Err(ReadError::Failed(ObjectError::new(ObjectErrorKind::Failed, message)));
        }
        let bytes = buffer.slice();
        match opened.read(bytes) {
            Ok(0) => return Ok((read, hasher.finish())),
            Ok(count) => {
                hasher.update(&bytes[..count]);
                read += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(ReadError::Refused),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok((length, hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_around_a_buffer_and_a_sector_are_read_whole() {
        let dir = tempfile::TempDir::new().expect("directory");
        let name = dir.path().join("file");
        let mut buffer = AlignedBuffer::default();
        for size in [
            0,
            1,
            511,
            512,
            4095,
            4096,
            4097,
            BUFFER_BYTES - 1,
            BUFFER_BYTES,
            BUFFER_BYTES + 1,
            3 * BUFFER_BYTES + 77,
        ] {
            let bytes: Vec<u8> = (0..size).map(|position| (position % 251) as u8).collect();
            std::fs::write(&name, &bytes).expect("write");
            let stopped = AtomicBool::new(false);
            let read = checksum_on_disk(&name, size as u64, &mut buffer, &stopped).expect("read");
            assert_eq!(read, (size as u64, Crc64::of(&bytes)), "{size} bytes");
            assert_eq!(through_memory(&name, size as u64, &mut buffer, &stopped).expect("read"), read);
            let (found, _) = checksum_on_disk(&name, size as u64 + 1, &mut buffer, &stopped).expect("read");
            assert_eq!(found, size as u64, "the length found is told");
        }
    }
}
