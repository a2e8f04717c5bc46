//! The catalog as plain maps, and all that it ever was.

use super::steps::{Side, collection_name, database_name};
use quorate_state_machine::commands::ReleasePin;
use quorate_state_machine::record::ParentRecord;
use std::collections::{BTreeMap, BTreeSet};

/// What one instance holds, by names.
pub type Databases = BTreeMap<String, BTreeMap<String, CollectionModel>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectionModel {
    pub id: u64,
    pub partitions: BTreeMap<String, PartitionModel>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionModel {
    pub id: u64,
    /// Full path of each segment's file.
    pub segments: BTreeMap<u64, String>,
}

fn files_of(databases: &Databases) -> BTreeSet<String> {
    let collections = databases.values().flat_map(BTreeMap::values);
    let partitions = collections.flat_map(|collection| collection.partitions.values());
    partitions.flat_map(|partition| partition.segments.values().cloned()).collect()
}

#[derive(Clone, Debug)]
pub struct UploadModel {
    pub collection_id: u64,
    pub partition_id: u64,
    pub path: String,
    pub expires_ms: u64,
}

/// What happened.
#[derive(Default)]
pub struct Model {
    pub now: BTreeMap<Side, Databases>,
    pub uploads: BTreeMap<Side, BTreeMap<u64, UploadModel>>,
    /// The state after each revision that changed one, and when it was replaced.
    pub history: BTreeMap<u64, BTreeMap<Side, Databases>>,
    pub pins: Vec<(Side, ReleasePin)>,
    pub clone: Option<ParentRecord>,
    pub committed: BTreeSet<String>,
}

impl Model {
    pub fn databases(&mut self, side: Side) -> &mut Databases {
        self.now.entry(side).or_default()
    }

    pub fn collection(&mut self, side: Side, database: u8, name: u8) -> Option<&mut CollectionModel> {
        self.databases(side)
            .get_mut(&database_name(database))?
            .get_mut(&collection_name(name))
    }

    pub fn at(&self, side: Side, revision: u64) -> Databases {
        let state = self.history.range(..=revision).next_back();
        state.and_then(|(_, state)| state.get(&side).cloned()).unwrap_or_default()
    }

    /// Files that a pin or the present shows. What a clone inherits is pinned in its source.
    pub fn visible_files(&self) -> BTreeSet<String> {
        let mut files: BTreeSet<String> = self.now.values().flat_map(files_of).collect();
        for (side, pin) in &self.pins {
            files.extend(files_of(&self.at(*side, pin.revision)));
        }
        if let Some(clone) = &self.clone {
            files.extend(files_of(&self.at(Side::Source, clone.source_revision)));
        }
        files
    }
}
