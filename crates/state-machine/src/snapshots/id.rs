//! Snapshot ids as callers see them: 16 hex digits of the revision and 4 of an ordinal, which is 0: a revision has one snapshot.

use quorate_model::Revision;

/// Digits of an id.
const DIGITS: usize = 20;

pub fn text(revision: Revision) -> String {
    format!("{:016x}0000", revision.0)
}

/// Reads an id, in either case of letters; `None` if it is none. One of another ordinal than 0 names no snapshot: revision 0.
pub fn parse(text: &str) -> Option<Revision> {
    if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let revision = u64::from_str_radix(&text[..16], 16).ok()?;
    Some(Revision(if text.ends_with("0000") { revision } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_twenty_hex_digits_and_comes_back() {
        for revision in [0, 1, 0xabcd, u64::MAX] {
            let id = text(Revision(revision));
            assert_eq!(id.len(), DIGITS);
            assert_eq!(parse(&id), Some(Revision(revision)));
            assert_eq!(parse(&id.to_uppercase()), Some(Revision(revision)));
        }
        assert_eq!(text(Revision(0xab)), "00000000000000ab0000");
        assert_eq!(parse("00000000000000ab0001"), Some(Revision(0)), "no snapshot has revision 0");
        for malformed in [
            "",
            "ab",
            "00000000000000ab000",
            "00000000000000ab00000",
            "+0000000000000ab0000",
            "0000000000000xab0000",
            "é000000000000000000",
        ] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }
}
