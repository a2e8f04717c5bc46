//! Databases, collections, partitions and segments: where their rows are, how they are found, and what all commands about them
//! share.
//!
//! ```text
//! Database        name                                -> database id, properties
//! CollectionName  database id | name                  -> collection id
//! Collection      collection id                       -> name, schema, vault
//! CollectionStats collection id                       -> sums over the visible segments
//! PartitionName   collection id | name                -> partition id
//! Partition       collection id | partition id        -> name, its part of the sums
//! Segment         collection | partition | segment    -> files; written once
//! ```
//!
//! A collection is visible where its name and its own row are; partitions and segments only where the row above them is. So
//! dropping writes two tombstones however much is in the collection; [`crate::dropped`] tells who removes the rest, and when.
//!
//! Every read goes through a [`crate::versioned::Lineage`], so that a clone sees what it inherits; every write goes into the
//! instance's own scope.

pub mod bounds;
pub mod create;
pub mod find;
pub mod removal;
pub mod row_keys;
pub mod show;
pub mod stats;
pub mod storage;
pub mod target;
pub mod uploads;

pub use find::{FoundCollection, FoundDatabase, FoundPartition, collection_by_id, find_collection, find_database, find_partition};
pub use target::Target;

/// The database that an absent name means. Exists as soon as something is created in it.
pub const DEFAULT_DATABASE: &str = "default";
/// The partition that an absent name means, and that a collection gets which names none.
pub const DEFAULT_PARTITION: &str = "_default";

#[cfg(test)]
mod tests;
