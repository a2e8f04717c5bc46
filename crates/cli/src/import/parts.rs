//! What is too much to be done at once, cut.

/// Items in their order, as parts of at most `most` that take no more than `limit` together. One that takes more is a part of its own.
pub(super) fn parts<T>(items: &[T], most: usize, limit: u64, takes: impl Fn(&T) -> u64) -> Vec<&[T]> {
    let mut parts = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let mut taken = 0u64;
        let fits = |item: &&T| {
            taken = taken.saturating_add(takes(item));
            taken <= limit
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1);
        let (part, left) = rest.split_at(count);
        parts.push(part);
        rest = left;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_before_they_have_too_many_items_or_too_large_ones() {
        let lengths = |items: &[u64]| parts(items, 3, 10, |item| *item).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&[1; 8]), [3, 3, 2]);
        assert_eq!(lengths(&[5, 5, 1, 5]), [2, 2]);
        assert_eq!(lengths(&[11, 11, 1, u64::MAX, u64::MAX]), [1, 1, 1, 1, 1]);
        assert!(lengths(&[]).is_empty());
    }

    #[test]
    fn parts_lose_nothing_and_keep_the_order() {
        let items: Vec<u64> = (0..100).collect();
        assert_eq!(parts(&items, 7, 300, |item| *item).concat(), items);
    }
}
