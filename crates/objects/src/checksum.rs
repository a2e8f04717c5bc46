//! CRC-64/NVME: the checksum S3 stores keep of whole objects, whatever parts they were uploaded in.
//!
//! One kind of checksum everywhere means that what is recorded beside a file can be compared with what any store says of it.

use crate::error::{ObjectError, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// The CRC-64/NVME of some bytes. Records keep it as `fixed64`; S3 shows it as base64 of its big-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Crc64(pub u64);

impl Crc64 {
    pub fn of(bytes: &[u8]) -> Crc64 {
        Crc64(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes))
    }

    /// As in the header `x-amz-checksum-crc64nvme`.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0.to_be_bytes())
    }

    /// Reads what `to_base64` writes.
    pub fn from_base64(text: &str) -> Result<Crc64> {
        let wrong = || ObjectError::malformed(format!("\"{text}\" is not base64 of 8 bytes, as a CRC-64/NVME checksum is"));
        let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
        Ok(Crc64(u64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)))
    }
}

impl fmt::Display for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crc64({self})")
    }
}

/// Computes a checksum over bytes that come in pieces.
pub struct Crc64Hasher(crc_fast::Digest);

impl Default for Crc64Hasher {
    fn default() -> Crc64Hasher {
        Crc64Hasher(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme))
    }
}

impl Crc64Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(&self) -> Crc64 {
        Crc64(self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(Crc64::of(b"123456789"), Crc64(0xae8b_1486_0a79_9888));
        assert_eq!(Crc64::of(b""), Crc64(0));
    }

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|number| (number * 31 % 251) as u8).collect();
        for piece in [1, 7, 4096, 65_536] {
            let mut hasher = Crc64Hasher::default();
            bytes.chunks(piece).for_each(|chunk| hasher.update(chunk));
            assert_eq!(hasher.finish(), Crc64::of(&bytes), "pieces of {piece}");
        }
    }

    #[test]
    fn base64_is_read_back_and_anything_else_refused() {
        let checksum = Crc64::of(b"123456789");
        assert_eq!(checksum.to_base64(), "rosUhgp5mIg=");
        assert_eq!(Crc64::from_base64("rosUhgp5mIg="), Ok(checksum));
        for wrong in ["", "rosUhg==", "not base64", "rosUhgp5mIgA"] {
            assert!(Crc64::from_base64(wrong).is_err(), "{wrong}");
        }
    }
}
