//! The name somebody may have meant.

/// The candidate that is fewest edits away from `word`, if it is close enough to have been meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close_enough = word.chars().count() / 3 + 1;
    let distances = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    distances
        .min()
        .filter(|(distance, _)| *distance <= close_enough)
        .map(|(_, candidate)| candidate)
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
}
