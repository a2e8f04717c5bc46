//! Steps on what an instance holds.

use super::World;
use super::checks::files_of;
use super::model::{Partitions, Segments};
use super::steps::{Place, Step, collection_name, partition_name};
use super::support::catalog_fixture::{add_segments, call, create_collection, drop_collection, drop_partition, drop_segments};
use quorate_state_machine::commands::CreatePartition;
use quorate_wire::quorate::v1::CreatePartitionRequest;

impl World {
    /// The instance, and the names of collection and partition.
    fn at(&self, place: Place) -> Option<(String, String, String)> {
        let instance = self.pick(place.instance)?;
        Some((instance, collection_name(place.collection), partition_name(place.partition)))
    }

    pub fn change_objects(&mut self, step: &Step) {
        let (Step::CreateCollection(place) | Step::DropCollection(place) | Step::CreatePartition(place) | Step::DropPartition(place)) =
            step
        else {
            unreachable!("not a step about objects");
        };
        let Some((id, collection, partition)) = self.at(*place) else {
            return;
        };
        let bench = &mut self.bench;
        let member = self.family.get_mut(&id).expect("picked");
        let known = member.content.get_mut(&collection);
        match step {
            Step::CreateCollection(_) => {
                let made = create_collection(bench, &id, &collection, &[]);
                assert_eq!(made.is_ok(), member.is_writable && known.is_none(), "{made:?}");
                if made.is_ok() {
                    let partitions: Partitions = [(partition_name(0), Segments::new())].into();
                    member.content.insert(collection, partitions);
                }
            }
            Step::DropCollection(_) => {
                let dropped = drop_collection(bench, &id, &collection);
                assert_eq!(dropped.is_ok(), member.is_writable, "{dropped:?}");
                if let Ok(reply) = dropped {
                    assert_eq!(reply.existed, member.content.remove(&collection).is_some());
                }
            }
            Step::CreatePartition(_) => {
                let request = CreatePartitionRequest {
                    instance_id: id,
                    collection,
                    name: partition.clone(),
                    ..CreatePartitionRequest::default()
                };
                let made = call::<CreatePartition>(bench, request);
                let free = known.filter(|partitions| member.is_writable && !partitions.contains_key(&partition));
                assert_eq!(made.is_ok(), free.is_some(), "{made:?}");
                if let Some(partitions) = free {
                    partitions.insert(partition, Segments::new());
                }
            }
            _ => {
                let dropped = drop_partition(bench, &id, &collection, &partition);
                let known = known.filter(|_| member.is_writable);
                assert_eq!(dropped.is_ok(), known.is_some(), "{dropped:?}");
                if let (Ok(reply), Some(partitions)) = (dropped, known) {
                    assert_eq!(reply.existed, partitions.remove(&partition).is_some());
                }
            }
        }
    }

    pub fn add(&mut self, place: Place, count: u32) {
        let Some((id, collection, partition)) = self.at(place) else {
            return;
        };
        let added = add_segments(&mut self.bench, &id, &collection, &partition, count);
        let member = self.family.get_mut(&id).expect("picked");
        let segments = member
            .content
            .get_mut(&collection)
            .and_then(|partitions| partitions.get_mut(&partition));
        let segments = segments.filter(|_| member.is_writable);
        assert_eq!(added.is_ok(), segments.is_some(), "{added:?}");
        let (Ok(ids), Some(segments)) = (added, segments) else { return };
        // The fixture's files are as long as their segments' ids.
        segments.extend(ids.iter().map(|segment| (*segment, *segment)));
        let listed = self.listed(&id, &collection, 0);
        let added = listed.iter().filter(|segment| ids.contains(&segment.segment_id));
        self.written.extend(added.flat_map(files_of));
    }

    pub fn drop_segments(&mut self, place: Place, bits: u8) {
        let Some((id, collection, partition)) = self.at(place) else {
            return;
        };
        let member = self.family.get_mut(&id).expect("picked");
        let segments = member
            .content
            .get_mut(&collection)
            .and_then(|partitions| partitions.get_mut(&partition));
        let Some(segments) = segments.filter(|_| member.is_writable) else {
            return;
        };
        let ids: Vec<u64> = segments
            .keys()
            .copied()
            .filter(|segment| bits & (1 << (segment % 8)) != 0)
            .collect();
        if !ids.is_empty() {
            segments.retain(|segment, _| !ids.contains(segment));
            let reply = drop_segments(&mut self.bench, &id, &collection, &partition, &ids).expect("drops");
            assert_eq!(reply.dropped as usize, ids.len());
        }
    }
}
