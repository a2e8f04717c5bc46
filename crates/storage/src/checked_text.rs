//! Small files of text whose last line is the checksum of the lines before it.

/// The lines with their checksum.
pub(crate) fn sealed(lines: String) -> String {
    let crc = crc32c::crc32c(lines.as_bytes());
    lines + &format!("crc32c {crc:08x}\n")
}
