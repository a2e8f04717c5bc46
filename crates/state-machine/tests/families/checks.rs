//! What must be true after each step, and in the end.

use super::World;
use super::model::{Content, Partitions, Segments};
use super::steps::Pick;
use super::support::catalog_fixture::{collect_all, collect_records, collection_names, delete_files, list_segments, records, versions};
use super::support::list_partitions;
use super::support::testing::Bench;
use quorate_model::{ErrorCode, Revision, ScopeId, StampedTime};
use quorate_state_machine::catalog::storage;
use quorate_state_machine::commands::*;
use quorate_state_machine::instances::Instance;
use quorate_state_machine::keys::{RecordTable, space};
use quorate_state_machine::queries::{QueryError, catalog_lists};
use quorate_state_machine::{condemned, jobs, limits};
use quorate_wire::quorate::v1::Segment;
use std::collections::BTreeSet;

pub fn files_of(segment: &Segment) -> impl Iterator<Item = String> {
    segment.files.iter().map(|file| format!("{}/{}", segment.path, file.name))
}

/// A store that has files can be found by what rows call it.
pub fn can_be_opened(bench: &Bench, owner: &Instance, vault: &str) {
    if let Err(error) = storage::resolve(&bench.store, owner, vault) {
        panic!("vault {vault:?} of {} cannot be found: {error:?}", owner.info.instance_id());
    }
}

impl World {
    pub fn check(&mut self) {
        for (id, member) in &self.family {
            self.check_reads(id, 0, &member.content);
            for (revision, snapshot) in &member.snapshots {
                if snapshot.collection.is_empty() {
                    self.check_reads(id, *revision, &snapshot.content);
                }
                for (collection, partitions) in &snapshot.content {
                    assert_eq!(
                        &self.partitions_listed(id, collection, *revision),
                        partitions,
                        "{collection} of {id} at {revision}"
                    );
                }
            }
        }
        self.check_claims();
        for (_, record) in condemned::due(&self.bench.store, StampedTime(u64::MAX), None, usize::MAX).expect("reads") {
            let owner = storage::find_owner(&self.bench.store, ScopeId(record.scope)).expect("reads");
            let owner = owner.unwrap_or_else(|| panic!("nobody knows any more where {} is to be deleted", record.path));
            can_be_opened(&self.bench, &owner, &record.vault);
        }
    }

    /// An instance at a revision (0: now) holds just that.
    fn check_reads(&self, id: &str, revision: u64, wanted: &Content) {
        let names = collection_names(&self.bench, id, Revision(revision));
        assert_eq!(
            names,
            wanted.keys().cloned().collect::<Vec<_>>(),
            "collections of {id} at {revision}"
        );
        for (collection, partitions) in wanted {
            assert_eq!(
                &self.partitions_listed(id, collection, revision),
                partitions,
                "{collection} of {id} at {revision}"
            );
        }
    }

    /// What a collection shows; its files are there.
    pub fn partitions_listed(&self, id: &str, collection: &str, revision: u64) -> Partitions {
        let partitions = list_partitions(&self.bench, id, "", collection, revision);
        let mut listed = self.listed(id, collection, revision);
        for segment in &listed {
            files_of(segment).for_each(|file| self.check_file(&file));
            let owner = storage::find_owner(&self.bench.store, ScopeId(segment.owner_scope)).expect("reads");
            let owner = owner.unwrap_or_else(|| panic!("nobody knows any more where {} is", segment.path));
            can_be_opened(&self.bench, &owner, &segment.vault);
        }
        let of_partition = |partition: u64, listed: &mut Vec<Segment>| -> Segments {
            let of_it = listed.extract_if(.., |segment| segment.partition_id == partition);
            of_it.map(|segment| (segment.segment_id, segment.files[0].size_bytes)).collect()
        };
        let shown = partitions.into_iter().map(|found| {
            let segments = of_partition(found.partition_id, &mut listed);
            (found.name, segments)
        });
        let shown = shown.collect();
        assert!(listed.is_empty(), "{collection} of {id} at {revision} has segments of no partition");
        shown
    }

    pub fn listed(&self, id: &str, collection: &str, revision: u64) -> Vec<Segment> {
        list_segments(&self.bench, id, collection, revision, 3).expect("lists")
    }

    /// Somebody has written it, and nobody was ever told to delete it.
    pub fn check_file(&self, file: &str) {
        assert!(self.written.contains(file), "{file} was never written");
        assert!(!self.is_condemned(file), "{file} is condemned and can be seen");
    }

    fn is_condemned(&self, file: &str) -> bool {
        let directories = file.match_indices('/').map(|(slash, _)| &file[..=slash]);
        self.condemned.contains(file) || directories.into_iter().any(|directory| self.condemned.contains(directory))
    }

    /// What is in the window reads as it was.
    pub fn read_back(&mut self, at: Pick) {
        let Some((revision, moment)) = super::nth(self.moments.iter(), at) else {
            return;
        };
        // Up to the next change it was the present.
        let until_ms = self
            .moments
            .range(revision + 1..)
            .next()
            .map_or(u64::MAX, |(_, next)| next.began_ms);
        let is_in_window = self.bench.machine.stamped_time().0.saturating_sub(until_ms) < limits::HISTORY_WINDOW_MS;
        let readable = moment.contents.iter().filter(|(id, _)| self.family.contains_key(*id));
        let (revision, readable) = (
            *revision,
            readable.map(|(id, content)| (id.clone(), content.clone())).collect::<Vec<_>>(),
        );
        for (id, content) in readable {
            match self.try_reading(&id, revision) {
                Ok(()) => {
                    self.check_reads(&id, revision, &content);
                    self.seen.read_back += 1;
                }
                Err(QueryError::Refused(error)) if error.code == ErrorCode::RevisionCollected => assert!(!is_in_window, "{error}"),
                Err(error) => panic!("{id} at {revision}: {error:?}"),
            }
        }
    }

    fn try_reading(&self, id: &str, revision: u64) -> Result<(), QueryError> {
        let request = quorate_wire::quorate::v1::ListCollectionsRequest {
            instance_id: id.to_owned(),
            at_revision: revision,
            ..Default::default()
        };
        catalog_lists::list_collections(&self.bench.store, &request).map(drop)
    }

    /// Once nothing keeps the past, just those files are left that somebody sees.
    pub fn settle(&mut self) {
        self.drop_what_keeps();
        self.collect_wholly(2);
        let keeping = [space::PIN, space::HOLD];
        if self.bench.store.rows.keys().any(|key| keeping.contains(&key[0])) {
            return;
        }
        let mut seen = BTreeSet::new();
        for (id, member) in &self.family {
            for collection in member.content.keys() {
                seen.extend(self.listed(id, collection, 0).iter().flat_map(files_of));
            }
        }
        let left: Vec<_> = self
            .written
            .iter()
            .filter(|file| !self.is_condemned(file) && !seen.contains(*file))
            .collect();
        assert!(left.is_empty(), "nobody sees {left:?} and nobody deletes them");
        self.seen.settled += 1;
    }

    /// All jobs, and all snapshots that nobody uses.
    fn drop_what_keeps(&mut self) {
        for (job, _) in jobs::all_active(&self.bench.store).expect("reads") {
            let cancel = CancelJob {
                job,
                reason: String::new(),
            };
            self.bench.run(&cancel).expect("cancels");
        }
        // Those of collections, then those of instances.
        for of_instances in [0, 1] {
            for at in (0..200).rev() {
                self.drop_snapshot(2 * at + of_instances);
            }
        }
    }

    /// A dropped instance's snapshots wait for its clones, and those for what reads through them: one round for each.
    fn collect_wholly(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.bench.now_ms += limits::UPLOAD_LIFETIME_MS;
            self.bench.run(&ExpireSnapshots { max_rows: 0 }).expect("expires");
            self.remove_snapshots();
            collect_all(&mut self.bench);
            self.remember(self.bench.now_ms);
            delete_files(&mut self.bench);
            collect_records(&mut self.bench);
        }
    }

    /// All instances are dropped, in some order: in the end nothing is left, and every file has been condemned.
    pub fn end(mut self, order: Pick) {
        while let Some(id) = self.pick(order) {
            self.drop_named(&id);
        }
        self.drop_what_keeps();
        self.collect_wholly(4 * limits::MAX_CLONE_DEPTH);
        assert_eq!(versions(&self.bench), 0);
        let waiting = [space::CLEANUP, space::PARKED, space::RELEASED, space::PIN, space::HOLD];
        assert_eq!(self.bench.store.rows.keys().filter(|key| waiting.contains(&key[0])).count(), 0);
        for table in [
            RecordTable::Parent,
            RecordTable::BaseScope,
            RecordTable::Snapshot,
            RecordTable::SnapshotClone,
            RecordTable::InheritedDrop,
            RecordTable::Dropped,
            RecordTable::Condemned,
            RecordTable::CollectedScope,
        ] {
            assert_eq!(records(&self.bench, table), 0, "{table:?}");
        }
        // Those that the bench begins with: another instance, and one that it calls dropped.
        for table in [RecordTable::Instance, RecordTable::Scope] {
            assert_eq!(records(&self.bench, table), 2, "{table:?}");
        }
        let left: Vec<_> = self.written.iter().filter(|file| !self.is_condemned(file)).collect();
        assert!(left.is_empty(), "nobody deletes {left:?}");
        self.bench.check_content();
    }
}
