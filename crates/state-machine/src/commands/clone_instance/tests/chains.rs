//! Chains of clones in which one in the middle is dropped: what reads through it is compacted all the same, and nothing stays for ever.

use super::*;
use crate::catalog_fixture::{
    add_segments, collect_later, collect_records, condemned_paths, create_collection, delete_all, delete_files, list_segments, records, versions,
};
use crate::collected;
use crate::jobs::tests::fixture;
use crate::jobs::translate::translate;
use crate::keys::{RecordTable, space};
use crate::queries::instance_list::list_instances;
use crate::record::SnapshotRecord;
use crate::snapshot_fixture::{all_snapshots, rows_of};
use crate::snapshots::record_key;
use crate::versioned::rows;
use prost::Message;
use quorate_model::ScopeId;
use quorate_wire::quorate::v1::{InstanceSummary, ListInstancesRequest, Segment, SnapshotState};

/// Makes a clone of an instance as it is; returns the revision it was made of.
pub(super) fn clone_now(bench: &mut Bench, from: &str, new: &str, kind: CloneType) -> Revision {
    let snapshot_id = snapshot_of(bench, from);
    let mut asked = request(from, &snapshot_id, new, kind);
    asked.obj_info = (kind == CloneType::Writable).then(|| store("own"));
    clone(bench, asked).expect("cloned");
    switch_on(bench, new);
    crate::snapshots::id::parse(&snapshot_id).expect("an id")
}

pub(super) fn drop_instance(bench: &mut Bench, instance_id: &str) {
    let drop = DropInstance {
        instance_id: instance_id.into(),
    };
    bench.run(&drop).expect("dropped");
}

pub(super) fn compact_keeping(bench: &mut Bench, instance_id: &str, keep_files: bool) -> Result<u64, MetaError> {
    let call = CompactSnapshotCall::Native(CompactCloneRequest {
        instance_id: instance_id.into(),
        keep_files: Some(keep_files),
    });
    bench.run(&prepare::<CompactSnapshot>(call)?).map(|reply| reply.job)
}

/// Does a job's tasks as workers do, and publishes it.
pub(super) fn perform(bench: &mut Bench, job: u64) {
    fixture::plan_all(bench, job);
    loop {
        let claim = ClaimTasks {
            worker: "w".into(),
            max: 16,
            avoid_jobs: Vec::new(),
            min_age_ms: 0,
        };
        let tasks = bench.run(&claim).expect("claimed").tasks;
        if tasks.is_empty() {
            break;
        }
        for task in tasks {
            let complete = CompleteTask {
                job: task.job_id,
                task: task.task,
                fence: task.fence,
                rows: translate(&task, &fixture::source_rows(bench, &task)).expect("fits").rows,
                files: task.files,
                bytes: task.bytes,
            };
            assert!(bench.run(&complete).expect("fits").accepted);
        }
    }
    bench.run(&PublishJob { job }).expect("published");
}

/// Lets days pass: what is due ends, what nobody sees is collected, and what was to be deleted is.
pub(super) fn settle(bench: &mut Bench) {
    for _ in 0..6 {
        collect_later(bench);
        while bench.run(&ExpireSnapshots::default()).expect("runs").more {}
        for snapshot in all_snapshots(bench) {
            let remove = RemoveSnapshot {
                scope: snapshot.scope.0,
                revision: snapshot.revision.0,
            };
            // One that is used is not being deleted and stays.
            bench.run(&remove).expect("runs");
        }
    }
    collect_later(bench);
}

fn scope(bench: &Bench, instance_id: &str) -> u64 {
    info(bench, instance_id).scope.0
}

fn segments(bench: &Bench, instance_id: &str) -> Vec<Segment> {
    list_segments(bench, instance_id, "c", 0, 10).expect("listed")
}

fn owners(bench: &Bench, instance_id: &str) -> Vec<u64> {
    segments(bench, instance_id).iter().map(|segment| segment.owner_scope).collect()
}

/// The one file of each segment, from the root of its store, in order.
fn files(bench: &Bench, instance_id: &str) -> Vec<String> {
    let mut files: Vec<_> = segments(bench, instance_id).iter().map(|segment| format!("{}/f", segment.path)).collect();
    files.sort();
    files
}

/// The same of segments whose files may be deleted.
fn condemned_files(bench: &Bench) -> Vec<String> {
    let mut files: Vec<_> = condemned_paths(bench).into_iter().filter(|path| path.ends_with("/f")).collect();
    files.sort();
    files
}

/// Nothing is left of any instance but its record.
fn check_nothing_left(bench: &Bench) {
    assert_eq!((versions(bench), bench.counters().pins, records(bench, RecordTable::Parent)), (0, 0, 0));
    assert!(all_snapshots(bench).is_empty());
    check_indexes(bench);
}

/// Instance `a` with two segments, its clone `b` with one more, and `c`, a clone of that.
fn chain() -> (Bench, [Revision; 2]) {
    let mut bench = bench();
    create_collection(&mut bench, "a", "c", &["p"]).expect("created");
    add_segments(&mut bench, "a", "c", "p", 2).expect("added");
    let of_a = clone_now(&mut bench, "a", "b", CloneType::Writable);
    add_segments(&mut bench, "b", "c", "p", 1).expect("added to what it inherits");
    let of_b = clone_now(&mut bench, "b", "c", CloneType::ReadOnly);
    (bench, [of_a, of_b])
}

#[test]
fn a_dropped_source_is_compacted_through() {
    for keep_files in [false, true] {
        let (mut bench, revisions) = chain();
        let [a, b, c] = ["a", "b", "c"].map(|id| scope(&bench, id));
        let originals = files(&bench, "c");
        assert_eq!(owners(&bench, "c"), [a, a, b]);
        drop_instance(&mut bench, "b");
        settle(&mut bench);
        assert_eq!(owners(&bench, "c"), [a, a, b], "what it reads through stays");
        assert!(condemned_files(&bench).is_empty());

        let job = compact_keeping(&mut bench, "c", keep_files).expect("started");
        perform(&mut bench, job);
        assert_eq!(decouple(&mut bench, "c").expect("decoupled"), keep_files);
        drop_instance(&mut bench, "a");
        settle(&mut bench);
        let held: Vec<_> = rows_of(&bench, &[space::HOLD]).into_keys().collect();
        let own = files(&bench, "c");
        if keep_files {
            let expected = [(a, revisions[0]), (b, revisions[1])].map(|(owner, revision)| rows::hold(ScopeId(owner), revision, c));
            assert_eq!(held, expected);
            assert_eq!((owners(&bench, "c"), &own), (vec![a, a, b], &originals));
            assert!(condemned_files(&bench).is_empty(), "its files are those of the dropped ones");
        } else {
            let base = parent(&bench.store, info(&bench, "c").scope).expect("reads").expect("a clone").base_scope;
            assert!(held.is_empty());
            assert_eq!(owners(&bench, "c"), [base; 3]);
            assert_eq!(condemned_files(&bench), originals, "all that the dropped ones had goes, and nothing else");
            assert!(own.iter().all(|file| !originals.contains(file)));
            assert_eq!((bench.counters().pins, records(&bench, RecordTable::Parent)), (0, 1));
        }

        drop_instance(&mut bench, "c");
        settle(&mut bench);
        let mut expected = originals.clone();
        if !keep_files {
            expected.extend(own);
            expected.sort();
        }
        assert_eq!(condemned_files(&bench), expected);
        check_nothing_left(&bench);
    }
}

#[test]
fn a_live_clone_behind_a_dropped_one_is_compacted_first() {
    let (mut bench, [of_a, of_b]) = chain();
    let of_c = clone_now(&mut bench, "c", "d", CloneType::ReadOnly);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| scope(&bench, id));
    let originals = files(&bench, "d");
    drop_instance(&mut bench, "c");
    let refused = compact(&mut bench, "d").expect_err("what it reads through comes first");
    assert_eq!(refused.message, "source instance b is a clone that has not been compacted; compact it first");
    let job = compact_keeping(&mut bench, "b", true).expect("started");
    perform(&mut bench, job);
    let job = compact(&mut bench, "d").expect("started");
    perform(&mut bench, job);
    decouple(&mut bench, "d").expect("decoupled");
    assert_eq!(owners(&bench, "d"), [a, a, b]);

    // It holds what each level may name: the files of `a` are held by the base layer of `b` as well, which may go.
    let base = parent(&bench.store, info(&bench, "b").scope).expect("reads").expect("a clone").base_scope;
    let mut expected = vec![
        (a, of_a, b),
        (a, of_a, d),
        (b, of_b, d),
        (base, Revision(u64::MAX), d),
        (c, of_c, d),
    ];
    expected.sort_by_key(|(owner, revision, holder)| (*owner, revision.0, *holder));
    let expected = expected.into_iter().map(|(owner, revision, holder)| rows::hold(ScopeId(owner), revision, holder));
    assert_eq!(rows_of(&bench, &[space::HOLD]).into_keys().collect::<Vec<_>>(), expected.collect::<Vec<_>>());

    drop_instance(&mut bench, "b");
    drop_instance(&mut bench, "a");
    settle(&mut bench);
    assert_eq!((owners(&bench, "d"), files(&bench, "d")), (vec![a, a, b], originals.clone()));
    assert!(condemned_files(&bench).is_empty());
    drop_instance(&mut bench, "d");
    settle(&mut bench);
    assert_eq!(condemned_files(&bench), originals);
    check_nothing_left(&bench);
}

#[test]
fn a_source_that_is_dropped_while_it_is_compacted_is_compacted_through() {
    let (mut bench, _) = chain();
    let originals = files(&bench, "c");
    let unfinished = compact(&mut bench, "b").expect("started");
    let error = compact(&mut bench, "c").expect_err("its source first");
    assert_eq!(error.message, "source instance b is a clone that has not been compacted; compact it first");
    drop_instance(&mut bench, "b");
    // The old job cannot be published any more, also not before it is failed.
    let job = compact_keeping(&mut bench, "c", false).expect("started");
    let plan = PlanTasks {
        job: unfinished,
        done: true,
        ..PlanTasks::default()
    };
    bench.run(&plan).expect("planned");
    let refused = bench.run(&PublishJob { job: unfinished }).expect_err("its clone is gone");
    assert!(refused.message.ends_with("clone b was dropped"), "{}", refused.message);
    let fail = FailJob {
        job: unfinished,
        ..FailJob::default()
    };
    bench.run(&fail).expect("failed");
    perform(&mut bench, job);
    decouple(&mut bench, "c").expect("decoupled");
    settle(&mut bench);
    let expected: Vec<_> = originals.into_iter().filter(|file| file.starts_with(&format!("s{}/", scope(&bench, "b")))).collect();
    assert_eq!(expected.len(), 1);
    assert_eq!(condemned_files(&bench), expected, "the files of the dropped one, and none of its living source's");
    assert_eq!(segments(&bench, "c").len(), 3);
}

/// Puts a snapshot into `c` whose manifests were written before anything was compacted; returns its row.
fn put_snapshot_with_manifests(bench: &mut Bench, of_b: Revision) -> bytes::Bytes {
    let record = SnapshotRecord {
        name: "before".into(),
        state: SnapshotState::Committed as i32,
        collection_id: 1,
        manifest_job: 7,
        manifests_complete: true,
        manifests_listed: true,
        ..SnapshotRecord::default()
    };
    let row = record_key(info(bench, "c").scope, Revision(of_b.0 + 1));
    bench.store.rows.insert(row.clone(), record.encode_to_vec().into());
    bench.adopt_rows();
    row
}

/// As if the snapshot's manifests did not have to be written anew any more: it is gone.
fn take_away(bench: &mut Bench, row: &bytes::Bytes) {
    bench.store.rows.remove(row).expect("was there");
    bench.adopt_rows();
}

#[test]
fn a_clone_is_compacted_when_manifests_that_its_source_s_compaction_replaces_are_written_anew() {
    let (mut bench, [_, of_b]) = chain();
    let snapshot = put_snapshot_with_manifests(&mut bench, of_b);
    let job = compact_keeping(&mut bench, "b", false).expect("started");
    perform(&mut bench, job);
    let b = info(&bench, "b");
    assert!(parent(&bench.store, b.scope).expect("reads").expect("a clone").base_complete);
    for keep_files in [false, true] {
        let refused = compact_keeping(&mut bench, "c", keep_files).expect_err("its manifests name files of `a`");
        let expected = format!("source instance b is still being compacted by job {job}");
        assert!(refused.message.starts_with(&expected), "{}", refused.message);
    }
    decouple(&mut bench, "b").expect_err("nor is `a` let go");
    take_away(&mut bench, &snapshot);
    bench.run(&PublishJob { job }).expect("nothing is left");
    compact_keeping(&mut bench, "c", true).expect("started");
    decouple(&mut bench, "b").expect("decoupled");
}

#[test]
fn manifests_that_the_compaction_of_a_dropped_source_has_left_are_written_anew_though_files_are_held() {
    let (mut bench, [_, of_b]) = chain();
    let snapshot = put_snapshot_with_manifests(&mut bench, of_b);
    let first = compact_keeping(&mut bench, "b", false).expect("started");
    perform(&mut bench, first);
    drop_instance(&mut bench, "b");
    bench.run(&PublishJob { job: first }).expect("nobody waits for a dropped one's");
    let job = compact_keeping(&mut bench, "c", true).expect("started");
    perform(&mut bench, job);
    let refused = decouple(&mut bench, "c").expect_err("what its manifests name is not what it holds");
    assert!(refused.message.contains("compact"), "{}", refused.message);
    take_away(&mut bench, &snapshot);
    bench.run(&PublishJob { job }).expect("nothing is left");
    assert!(decouple(&mut bench, "c").expect("decoupled"));
}

/// Ids of the instances that have a record, without those that every bench has.
fn recorded(bench: &Bench) -> Vec<String> {
    summaries(bench).into_iter().map(|shown| shown.instance_id).collect()
}

fn summaries(bench: &Bench) -> Vec<InstanceSummary> {
    let request = ListInstancesRequest {
        include_dropped: true,
        ..ListInstancesRequest::default()
    };
    let mut shown = list_instances(&bench.store, &request).expect("listed").instances;
    shown.retain(|shown| shown.instance_id.len() == 1);
    shown
}

/// Nothing that dropped instances had is left, in any table; those that live are these.
fn check_only(bench: &Bench, living: &[&str], base_layers: usize) {
    assert_eq!(recorded(bench), living);
    assert_eq!(records(bench, RecordTable::Instance), 3 + living.len());
    assert_eq!(records(bench, RecordTable::Scope), 3 + living.len() + base_layers);
    assert_eq!(records(bench, RecordTable::BaseScope), base_layers);
    for table in [RecordTable::CollectedScope, RecordTable::Condemned, RecordTable::Dropped] {
        assert_eq!(records(bench, table), 0, "{table:?}");
    }
    bench.check_content();
}

#[test]
fn the_source_of_a_decoupled_clone_goes_with_its_record_and_its_id_is_free() {
    let mut bench = bench();
    create_collection(&mut bench, "a", "c", &["p"]).expect("created");
    add_segments(&mut bench, "a", "c", "p", 2).expect("added");
    clone_now(&mut bench, "a", "b", CloneType::ReadOnly);
    let (old, b) = (scope(&bench, "a"), scope(&bench, "b"));
    let job = compact_keeping(&mut bench, "b", false).expect("started");
    perform(&mut bench, job);
    assert!(!decouple(&mut bench, "b").expect("decoupled"));
    drop_instance(&mut bench, "a");
    settle(&mut bench);

    // Its files are deleted with the keys that its record has.
    let waiting = collected::waiting(&bench.store, ScopeId(0), 10).expect("reads");
    assert_eq!(waiting, [ScopeId(old)]);
    assert_eq!((collect_records(&mut bench), recorded(&bench)), (0, vec!["a".to_owned(), "b".to_owned()]));
    let taken = create(&mut bench, "a").expect_err("not free yet");
    assert_eq!(taken.message, "instance already existed, instance_id=a, err=Ok");
    let own = files(&bench, "b");
    delete_all(&mut bench);
    check_only(&bench, &["b"], 1);
    assert_eq!(files(&bench, "b"), own);
    let shown = summaries(&bench).remove(0);
    assert_eq!((shown.instance_id.as_str(), shown.clone), ("b", None));
    let gone = bench.run(&DropInstance { instance_id: "a".into() }).expect_err("gone");
    assert_eq!(gone.message, "instance not existed, instance_id=a, err=KeyNotFound");

    create(&mut bench, "a").expect("free");
    assert!(scope(&bench, "a") > b, "a scope is never used again");
    assert!(list(&bench, "a", true).is_empty());
    assert!(!info(&bench, "a").is_dropped());
    create_collection(&mut bench, "a", "c", &["p"]).expect("the name is free as well");
    add_segments(&mut bench, "a", "c", "p", 1).expect("added");
    assert_eq!((files(&bench, "a").len(), files(&bench, "b")), (1, own));

    drop_instance(&mut bench, "b");
    settle(&mut bench);
    delete_all(&mut bench);
    check_only(&bench, &["a"], 0);
    assert_eq!(files(&bench, "a").len(), 1);
}

#[test]
fn a_record_stays_as_long_as_files_of_a_base_layer_are_left() {
    let mut bench = bench();
    create_collection(&mut bench, "a", "c", &["p"]).expect("created");
    add_segments(&mut bench, "a", "c", "p", 2).expect("added");
    clone_now(&mut bench, "a", "b", CloneType::ReadOnly);
    let job = compact_keeping(&mut bench, "b", false).expect("started");
    perform(&mut bench, job);
    let b = info(&bench, "b").scope;
    let base = ScopeId(parent(&bench.store, b).expect("reads").expect("a clone").base_scope);
    drop_instance(&mut bench, "b");
    settle(&mut bench);
    assert_eq!(collected::waiting(&bench.store, ScopeId(0), 10).expect("reads"), [b, base]);
    assert_eq!(condemned_files(&bench).len(), 2);
    // No condemned row names its own scope.
    assert!(!bench.run(&CollectInstance { scope: b.0 }).expect("runs").removed);
    assert_eq!(collect_records(&mut bench), 0);
    assert_eq!(crate::catalog::storage::owner(&bench.store, base).expect("there").scope, b);
    delete_all(&mut bench);
    check_only(&bench, &["a"], 0);
}

#[test]
fn the_base_layer_of_a_failed_compaction_goes_alone() {
    let mut bench = bench();
    create_collection(&mut bench, "a", "c", &["p"]).expect("created");
    add_segments(&mut bench, "a", "c", "p", 2).expect("added");
    clone_now(&mut bench, "a", "b", CloneType::ReadOnly);
    let base = |bench: &Bench| parent(&bench.store, info(bench, "b").scope).expect("reads").expect("a clone").base_scope;
    let first = base(&bench);
    let job = compact_keeping(&mut bench, "b", false).expect("started");
    assert_eq!(base(&bench), first);
    bench.run(&FailJob { job, ..FailJob::default() }).expect("failed");
    settle(&mut bench);
    delete_all(&mut bench);
    check_only(&bench, &["a", "b"], 0);
    assert!(!bench.run(&CollectInstance { scope: first }).expect("runs").removed, "it has gone already");
    assert_eq!(segments(&bench, "b").len(), 2);

    // Dropped before it is compacted again, it gives its base layer back a second time.
    drop_instance(&mut bench, "b");
    settle(&mut bench);
    delete_all(&mut bench);
    check_only(&bench, &["a"], 0);
}

#[test]
fn a_line_of_rollbacks_bears_that_members_of_it_are_gone() {
    let mut bench = bench();
    let first = snapshot_of(&mut bench, "a");
    clone(&mut bench, request("a", &first, "b", CloneType::Rollback)).expect("rolled back");
    let drop_a = DropInstance { instance_id: "a".into() };
    bench.run(&drop_a).expect_err("it has a successor");
    let job = compact_keeping(&mut bench, "b", false).expect("started");
    finish(&mut bench, job);
    decouple(&mut bench, "b").expect("decoupled");
    drop_instance(&mut bench, "b");
    bench.run(&drop_a).expect("its successor was dropped");
    settle(&mut bench);
    delete_files(&mut bench);
    let (a, b) = (info(&bench, "a").scope, info(&bench, "b").scope);
    assert!(bench.run(&CollectInstance { scope: a.0 }).expect("runs").removed);
    assert!(list(&bench, "b", true).is_empty(), "the member before it is gone");
    create(&mut bench, "a").expect("free");
    assert!(list(&bench, "b", true).is_empty(), "and its id is another's");
    assert!(!bench.run(&CollectInstance { scope: b.0 }).expect("runs").removed, "its base layer comes first");
    delete_all(&mut bench);
    check_only(&bench, &["a"], 0);

    // A successor that is gone keeps nobody, whoever has its id.
    switch_on(&mut bench, "a");
    let second = snapshot_of(&mut bench, "a");
    clone(&mut bench, request("a", &second, "b", CloneType::Rollback)).expect("rolled back");
    drop_instance(&mut bench, "b");
    settle(&mut bench);
    delete_all(&mut bench);
    check_only(&bench, &["a"], 0);
    create(&mut bench, "b").expect("free");
    bench.run(&drop_a).expect("it has no successor");
}
