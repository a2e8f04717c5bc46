//! A family as plain maps, and all that it ever was.

use std::collections::BTreeMap;

/// Size of each segment's file by the segment's id.
pub type Segments = BTreeMap<u64, u64>;

/// The partitions of a collection by name.
pub type Partitions = BTreeMap<String, Segments>;

/// What one instance holds, by collection.
pub type Content = BTreeMap<String, Partitions>;

/// An instance that lives.
#[derive(Clone, Debug, Default)]
pub struct Member {
    pub scope: u64,
    pub is_writable: bool,
    pub content: Content,
    /// By revision.
    pub snapshots: BTreeMap<u64, SnapshotModel>,
}

#[derive(Clone, Debug)]
pub struct SnapshotModel {
    /// Empty: of the instance.
    pub collection: String,
    pub content: Content,
}

/// What all instances that lived held after a revision.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The revision is no older.
    pub began_ms: u64,
    pub contents: BTreeMap<String, Content>,
}

/// By id.
pub type Family = BTreeMap<String, Member>;

/// All sizes of a collection by partition, in order: what a copy of it has under ids of its own.
pub type Sizes = BTreeMap<String, Vec<u64>>;

pub fn sizes(partitions: &Partitions) -> Sizes {
    let sorted = |segments: &Segments| {
        let mut sizes: Vec<u64> = segments.values().copied().collect();
        sizes.sort_unstable();
        sizes
    };
    partitions.iter().map(|(name, segments)| (name.clone(), sorted(segments))).collect()
}
