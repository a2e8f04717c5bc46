//! Steps on the family itself: snapshots, clones, and how these become independent.

use super::model::{Member, SnapshotModel};
use super::steps::{CloneOf, Finish, Pick, collection_name};
use super::support::catalog_fixture::call;
use super::support::testing::prepare;
use super::{World, nth};
use quorate_model::Revision;
use quorate_state_machine::commands::clone_instance::CloneInstanceCall;
use quorate_state_machine::commands::compact_snapshot::CompactSnapshotCall;
use quorate_state_machine::commands::*;
use quorate_state_machine::{instances, snapshots};
use quorate_wire::doris::clone_instance_request::CloneType;
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{CloneInstanceRequest, ObjectStoreInfoPb};
use quorate_wire::quorate::v1::{CompactCloneRequest, CreateSnapshotRequest, DropSnapshotRequest, SnapshotRef, SnapshotState};

pub fn by_id(revision: u64) -> SnapshotRef {
    SnapshotRef {
        snapshot_id: snapshots::id::text(Revision(revision)),
        ..SnapshotRef::default()
    }
}

impl World {
    fn new_name(&mut self) -> String {
        self.names_given += 1;
        format!("n{}", self.names_given)
    }

    /// Takes and commits one; returns whose it is, and its revision.
    pub fn snapshot(&mut self, at: Pick, collection: Option<u8>) -> Option<(String, u64)> {
        let (id, name) = (self.pick(at)?, self.new_name());
        let collection = collection.map(collection_name).unwrap_or_default();
        let request = CreateSnapshotRequest {
            instance_id: id.clone(),
            collection: collection.clone(),
            name,
            ..CreateSnapshotRequest::default()
        };
        let made = call::<CreateSnapshot>(&mut self.bench, request);
        let member = self.family.get_mut(&id).expect("picked");
        let may = collection.is_empty() || member.content.contains_key(&collection);
        assert_eq!(made.is_ok(), may, "{made:?}");
        let revision = made.ok()?.snapshot.expect("a success has the snapshot").revision;
        let commit = CommitSnapshot {
            scope: member.scope,
            revision,
            location: "l".to_owned(),
            manifests_listed: false,
        };
        assert_eq!(self.bench.run(&commit).expect("commits").state, SnapshotState::Committed as i32);
        let mut content = member.content.clone();
        content.retain(|name, _| collection.is_empty() || *name == collection);
        member.snapshots.insert(revision, SnapshotModel { collection, content });
        Some((id, revision))
    }

    /// One of all snapshots: of instances, or of collections.
    fn pick_snapshot(&self, at: Pick, of_collections: bool) -> Option<(String, u64)> {
        let all = self.family.iter().flat_map(|(id, member)| {
            let wanted = member
                .snapshots
                .iter()
                .filter(|(_, one)| one.collection.is_empty() != of_collections);
            wanted.map(|(revision, _)| (id.clone(), *revision))
        });
        nth(all.collect::<Vec<_>>().into_iter(), at)
    }

    /// Refused while somebody needs it, which is for other tests to know.
    pub fn drop_snapshot(&mut self, at: Pick) {
        let picked = self.pick_snapshot(at / 2, at.is_multiple_of(2));
        let Some((id, revision)) = picked else { return };
        let request = DropSnapshotRequest {
            instance_id: id.clone(),
            snapshot: Some(by_id(revision)),
        };
        if call::<DropSnapshot>(&mut self.bench, request).is_ok() {
            self.family.get_mut(&id).expect("picked").snapshots.remove(&revision);
        }
    }

    /// What the leader's reconciler does about those that are being deleted.
    pub fn remove_snapshots(&mut self) {
        let all: Vec<_> = self
            .scopes()
            .flat_map(|scope| snapshots::all(&self.bench.store, scope).expect("reads"))
            .collect();
        for snapshot in all.iter().filter(|snapshot| snapshot.state() == SnapshotState::Deleting) {
            let remove = RemoveSnapshot {
                scope: snapshot.scope.0,
                revision: snapshot.revision.0,
            };
            assert!(self.bench.run(&remove).expect("runs").removed);
        }
    }

    pub fn clone_of_any(&mut self, at: Pick, kind: CloneOf) {
        if let Some((id, revision)) = self.pick_snapshot(at, false) {
            self.make_clone(&id, revision, kind);
        }
    }

    pub fn clone_now(&mut self, at: Pick, kind: CloneOf) {
        if let Some((id, revision)) = self.snapshot(at, None) {
            self.make_clone(&id, revision, kind);
        }
    }

    fn make_clone(&mut self, from: &str, revision: u64, kind: CloneOf) {
        let clone = self.new_name();
        let clone_type = match kind {
            CloneOf::ReadOnly => CloneType::ReadOnly,
            CloneOf::Writable | CloneOf::OwnStore => CloneType::Writable,
        };
        let request = CloneInstanceRequest {
            from_instance_id: Some(from.to_owned()),
            from_snapshot_id: Some(by_id(revision).snapshot_id),
            new_instance_id: Some(clone.clone()),
            clone_type: Some(clone_type as i32),
            obj_info: (kind == CloneOf::OwnStore).then(|| store_of(&clone)),
            ..CloneInstanceRequest::default()
        };
        let call = CloneInstanceCall {
            request,
            ..CloneInstanceCall::default()
        };
        self.bench
            .run(&prepare::<CloneInstance>(call).expect("well-formed"))
            .expect("a committed snapshot can be cloned");
        let scope = instances::scope_of(&self.bench.store, &clone).expect("reads").expect("was made");
        let member = Member {
            scope: scope.0,
            is_writable: kind != CloneOf::ReadOnly,
            content: self.family[from].snapshots[&revision].content.clone(),
            ..Member::default()
        };
        self.family.insert(clone, member);
    }

    /// Starts a compaction where that is possible; returns the clone and the job.
    pub fn compact(&mut self, at: Pick, keep_files: Option<bool>) -> Option<(String, u64)> {
        let clones: Vec<_> = self.family.keys().filter(|id| self.is_clone(id)).cloned().collect();
        let id = nth(clones.into_iter(), at)?;
        let call = CompactSnapshotCall::Native(CompactCloneRequest {
            instance_id: id.clone(),
            keep_files,
        });
        // Refused if it reads through one that must be compacted first.
        let started = self.bench.run(&prepare::<CompactSnapshot>(call).expect("well-formed")).ok()?;
        Some((id, started.job))
    }

    pub fn compact_wholly(&mut self, at: Pick, keep_files: Option<bool>, finish: Finish) {
        let Some((id, job)) = self.compact(at, keep_files) else { return };
        self.finish(job, finish.loses_a_claim);
        if finish.then_decouple {
            self.decouple_one(&id);
        }
    }

    pub fn decouple(&mut self, at: Pick) {
        if let Some(id) = self.pick(at) {
            self.decouple_one(&id);
        }
    }

    /// Refused unless it is a clone that was compacted.
    fn decouple_one(&mut self, id: &str) {
        let decouple = DecoupleInstance {
            instance_id: id.to_owned(),
            native: true,
        };
        self.seen.decoupled += usize::from(self.bench.run(&decouple).is_ok());
    }

    pub fn drop_instance(&mut self, at: Pick) {
        // The last one stays: else there is nothing to do for the rest of the case.
        if self.family.len() > 1
            && let Some(id) = self.pick(at)
        {
            self.drop_named(&id);
        }
    }

    pub fn drop_named(&mut self, id: &str) {
        let drop = DropInstance {
            instance_id: id.to_owned(),
        };
        self.bench.run(&drop).expect("nothing of it has to go first");
        self.family.remove(id);
    }

    fn is_clone(&self, id: &str) -> bool {
        let found = instances::find(&self.bench.store, id).expect("reads").expect("lives");
        !found.info.source_instance_id().is_empty()
    }

    /// Starts one into one of all instances: of a collection's snapshot, or of one collection out of an instance's.
    pub fn restore(&mut self, snapshot: Pick, target: Pick) {
        let of_collections = snapshot.is_multiple_of(2);
        let picked = self.pick_snapshot(snapshot / 2, of_collections);
        let (Some((from, revision)), Some(to)) = (picked, self.pick(target)) else {
            return;
        };
        let shown = self.family[&from].snapshots[&revision].content.iter();
        let Some((collection, content)) = nth(shown, snapshot / 2) else {
            return;
        };
        let (collection, wanted) = (collection.clone(), super::model::sizes(content));
        let name = self.new_name();
        let request = quorate_wire::quorate::v1::RestoreSnapshotRequest {
            instance_id: from.clone(),
            snapshot: Some(by_id(revision)),
            target_instance_id: to.clone(),
            target_collection: name.clone(),
            source_collection: if of_collections { String::new() } else { collection },
            ..Default::default()
        };
        let started = call::<CreateRestore>(&mut self.bench, request);
        assert_eq!(started.is_ok(), self.family[&to].is_writable, "{started:?}");
        if let Ok(reply) = started {
            self.restores.insert(reply.job_id, (to, name, wanted));
        }
    }
}

fn store_of(clone: &str) -> ObjectStoreInfoPb {
    ObjectStoreInfoPb {
        ak: Some("ak".to_owned()),
        sk: Some("sk".to_owned()),
        bucket: Some(format!("bucket-of-{clone}")),
        prefix: Some(String::new()),
        endpoint: Some("localhost".to_owned()),
        region: Some("r".to_owned()),
        provider: Some(Provider::S3 as i32),
        ..ObjectStoreInfoPb::default()
    }
}
