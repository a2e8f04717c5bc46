//! Names of a segment's files: what every peer takes, and who imports files asks for before it writes one.

/// Bytes of a file's name, which is its whole path below the segment's directory.
pub const MAX_FILE_NAME_BYTES: usize = 255;

/// Whether a name is a path below the segment's directory that cannot lead out of it, in any store.
pub fn is_file_name(name: &str) -> bool {
    // The last two are names that vaults keep for themselves.
    let is_part = |part: &str| !matches!(part, "" | "." | ".." | ".quorate-vault") && !part.ends_with(".quorate-partial");
    let is_plain = |letter: char| !letter.is_control() && letter != '\\';
    name.len() <= MAX_FILE_NAME_BYTES && name.split('/').all(is_part) && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_below_a_directory() {
        for good in ["a", "b/c.parquet", "..a", "a b", "ä", &"n".repeat(255)] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in ["", "/a", "a//b", "..", "a/../b", "./a", "a\\b", "a\nb", &"n".repeat(256)] {
            assert!(!is_file_name(bad), "{bad}");
        }
        for kept in [".quorate-vault", "a/.quorate-vault", "a.quorate-partial", "a.quorate-partial/b"] {
            assert!(!is_file_name(kept), "{kept}");
        }
    }
}
