//! Names of a segment's files: what every peer takes, and who imports files asks for before it writes one.

/// The file of a vault that says whose it is.
pub const MARKER_NAME: &str = ".quorate-vault";
/// Ends the name of a local file that is still being written.
pub const PARTIAL_SUFFIX: &str = ".quorate-partial";

/// Bytes of a file's name, which is its whole path below the segment's directory.
pub const MAX_FILE_NAME_BYTES: usize = 255;

/// Whether a name is a path below the segment's directory that cannot lead out of it, in any store.
pub fn is_file_name(name: &str) -> bool {
    name.len() <= MAX_FILE_NAME_BYTES && why_not_a_path(name).is_none()
}

/// What a path of any length has that no object's may have.
pub fn why_not_a_path(path: &str) -> Option<&'static str> {
    path.split('/').find_map(why_not_a_part)
}

fn why_not_a_part(part: &str) -> Option<&'static str> {
    match part {
        "" => Some("has an empty name between slashes; use single slashes and none at the ends"),
        "." | ".." => Some("has the name . or ..; name the object itself"),
        MARKER_NAME => Some("has the name of the vault's marker file; choose another"),
        _ if part.len() > MAX_FILE_NAME_BYTES => Some("has a name longer than 255 bytes; choose a shorter one"),
        _ if part.ends_with(PARTIAL_SUFFIX) => Some("has a name that ends like an unfinished file's; choose another"),
        _ if part.chars().any(|letter| letter.is_control() || letter == '\\') => Some("has a control character or a backslash; remove it"),
        _ => None,
    }
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
        assert!(
            why_not_a_path("n/".repeat(200).trim_end_matches('/')).is_none(),
            "paths may be longer"
        );
        for kept in [".quorate-vault", "a/.quorate-vault", "a.quorate-partial", "a.quorate-partial/b"] {
            assert!(!is_file_name(kept), "{kept}");
        }
    }
}
