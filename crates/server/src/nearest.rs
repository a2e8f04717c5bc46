//! The name somebody may have meant.
//!
//! Callers without a token come here: a comparison takes as many steps as the product of both lengths, so both are bounded.

/// What is longer is no typo of a name.
const MAX_WORD_CHARS: usize = 256;

/// The candidate that is fewest edits away from `word`, if it is close enough to have been meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let chars = word.chars().count();
    if chars > MAX_WORD_CHARS {
        return None;
    }
    let most = close_enough(chars);
    // A comparison finds at least as many edits as the lengths differ.
    let is_comparable = |candidate: &&str| chars.abs_diff(candidate.chars().count()) <= most;
    let comparable = candidates.into_iter().filter(is_comparable);
    comparable
        .map(|candidate| (distance(word, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, candidate)| candidate)
}

/// Most edits by which a word of this length is a typo and not another word.
fn close_enough(chars: usize) -> usize {
    chars / 3 + 1
}

/// Insertions, deletions and replacements that make `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    // Distances of what was read of `left` so far to every beginning of `right`.
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (position, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = position + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_edits() {
        for (left, right, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("listen", "silent", 4),
            ("ä", "a", 1),
        ] {
            assert_eq!((distance(left, right), distance(right, left)), (edits, edits), "{left} {right}");
        }
    }

    #[test]
    fn a_typo_finds_its_word_and_nonsense_finds_none() {
        let keys = ["data_dir", "listen", "peer_listen", "peers", "token"];
        assert_eq!(nearest("peer_listn", keys), Some("peer_listen"));
        assert_eq!(nearest("datadir", keys), Some("data_dir"));
        assert_eq!(nearest("tokne", keys), Some("token"));
        assert_eq!(nearest("xyzzy_plugh", keys), None);
    }

    #[test]
    fn long_words_are_not_compared() {
        let longest = "a".repeat(MAX_WORD_CHARS);
        assert_eq!(nearest(&longest[1..], [longest.as_str()]), Some(longest.as_str()));
        // One letter more, and one edit away still.
        let longer = format!("{longest}a");
        assert_eq!(nearest(&longer, [longest.as_str()]), None);
        assert_eq!(nearest("token", [longer.as_str()]), None, "a long candidate");
        assert_eq!(nearest("token", ["tok-en-file"]), None);
    }
}
