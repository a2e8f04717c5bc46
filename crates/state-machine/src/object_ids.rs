//! Ids of databases, collections, partitions, segments and jobs: one counter, so that an id is never used again.

use crate::command::ApplyContext;

/// The next id.
pub fn next(context: &mut ApplyContext<'_, '_>) -> u64 {
    reserve(context, 1)
}

/// A block of ids that follow one another; returns the first.
pub fn reserve(context: &mut ApplyContext<'_, '_>, count: u64) -> u64 {
    let first = context.counters.last_object + 1;
    context.counters.last_object += count;
    first
}
