use super::*;
use crate::commands::begin_instance_snapshot::BeginInstanceSnapshotReply;
use crate::commands::compact_snapshot::CompactSnapshotCall;
use crate::commands::create_instance::{CreateInstanceCall, CreateInstanceReply};
use crate::commands::decouple_instance::DecoupleInstanceCall;
use crate::commands::drop_instance_snapshot::DropInstanceSnapshotCall;
use crate::commands::set_multi_version_status::SetMultiVersionStatusCall;
use crate::commands::*;
use crate::queries::instance_snapshots::list_snapshot;
use crate::snapshot_fixture::check_indexes;
use crate::testing::{Bench, prepare};
use crate::versioned::lineage::parent;
use crate::versioned::pins;
use quorate_model::Revision;
use quorate_wire::doris::{
    AlterInstanceRequest, BeginSnapshotRequest, CommitSnapshotRequest, CreateInstanceRequest, ListSnapshotRequest, SnapshotCompactStatus,
    SnapshotInfoPb, UpdateSnapshotRequest,
};
use quorate_wire::quorate::v1::{CompactCloneRequest, DecoupleCloneRequest};

mod chains;
mod own_places;
mod restoring;
mod rotation;

/// An instance `a` with an object store, whose snapshots are switched on.
fn bench() -> Bench {
    let mut bench = Bench::new();
    create(&mut bench, "a").expect("created");
    switch_on(&mut bench, "a");
    bench
}

fn create(bench: &mut Bench, instance_id: &str) -> Result<CreateInstanceReply, MetaError> {
    let request = CreateInstanceRequest {
        instance_id: Some(instance_id.into()),
        user_id: Some("u".into()),
        obj_info: Some(store("bucket")),
        ..CreateInstanceRequest::default()
    };
    let call = CreateInstanceCall {
        request,
        ..CreateInstanceCall::default()
    };
    bench.run(&prepare::<CreateInstance>(call)?)
}

fn store(bucket: &str) -> ObjectStoreInfoPb {
    ObjectStoreInfoPb {
        ak: Some("ak".into()),
        sk: Some("sk".into()),
        bucket: Some(bucket.into()),
        endpoint: Some("e".into()),
        external_endpoint: Some("x".into()),
        region: Some("r".into()),
        prefix: Some("p".into()),
        provider: Some(1),
        ..ObjectStoreInfoPb::default()
    }
}

fn switch_on(bench: &mut Bench, instance_id: &str) {
    let mut status = |name: &str| {
        let call = SetMultiVersionStatusCall {
            instance_id: instance_id.into(),
            multi_version_status: name.into(),
        };
        let command = prepare::<SetMultiVersionStatus>(call).expect("well-formed");
        // A clone has it already.
        let _moved = bench.run(&command);
    };
    status("MULTI_VERSION_WRITE_ONLY");
    status("MULTI_VERSION_READ_WRITE");
    let request = AlterInstanceRequest {
        instance_id: Some(instance_id.into()),
        properties: [("status".to_owned(), "ENABLED".to_owned())].into(),
        ..AlterInstanceRequest::default()
    };
    let command = prepare::<SetSnapshotProperty>(request).expect("well-formed");
    bench.run(&command).expect("switched on");
}

fn begin(bench: &mut Bench, instance_id: &str, change: impl FnOnce(&mut BeginSnapshotRequest)) -> Result<BeginInstanceSnapshotReply, MetaError> {
    let mut request = BeginSnapshotRequest {
        cloud_unique_id: Some(format!("1:{instance_id}:x")),
        snapshot_label: Some("l".into()),
        timeout_seconds: Some(60),
        ttl_seconds: Some(3_600),
        ..BeginSnapshotRequest::default()
    };
    change(&mut request);
    bench.run(&prepare::<BeginInstanceSnapshot>(request)?)
}

fn commit(bench: &mut Bench, instance_id: &str, snapshot_id: &str) -> Result<(), MetaError> {
    let request = CommitSnapshotRequest {
        cloud_unique_id: Some(format!("1:{instance_id}:x")),
        snapshot_id: Some(snapshot_id.into()),
        last_journal_id: Some(7),
        ..CommitSnapshotRequest::default()
    };
    bench.run(&prepare::<CommitInstanceSnapshot>(request)?).map(|_| ())
}

fn snapshot_of(bench: &mut Bench, instance_id: &str) -> String {
    let begun = begin(bench, instance_id, |_| {}).expect("begun");
    commit(bench, instance_id, &begun.snapshot_id).expect("committed");
    begun.snapshot_id
}

fn request(from: &str, snapshot_id: &str, new: &str, kind: CloneType) -> CloneInstanceRequest {
    CloneInstanceRequest {
        from_instance_id: Some(from.into()),
        from_snapshot_id: Some(snapshot_id.into()),
        new_instance_id: Some(new.into()),
        clone_type: Some(kind as i32),
        ..CloneInstanceRequest::default()
    }
}

fn clone(bench: &mut Bench, request: CloneInstanceRequest) -> Result<CloneInstanceReply, MetaError> {
    let call = CloneInstanceCall {
        request,
        needs_store: true,
        ..CloneInstanceCall::default()
    };
    bench.run(&prepare::<CloneInstance>(call)?)
}

fn info(bench: &Bench, instance_id: &str) -> Instance {
    instances::find(&bench.store, instance_id).expect("reads").expect("there")
}

fn list(bench: &Bench, instance_id: &str, include_aborted: bool) -> Vec<SnapshotInfoPb> {
    let request = ListSnapshotRequest {
        instance_id: Some(instance_id.into()),
        include_aborted: Some(include_aborted),
        ..ListSnapshotRequest::default()
    };
    list_snapshot(&bench.store, &request).expect("lists").snapshots
}

fn drop_snapshot(bench: &mut Bench, instance_id: &str, snapshot_id: &str) -> Result<(), MetaError> {
    let call = DropInstanceSnapshotCall::Http {
        instance_id: instance_id.into(),
        snapshot_id: snapshot_id.into(),
    };
    bench.run(&prepare::<DropInstanceSnapshot>(call)?).map(|_| ())
}

fn compact(bench: &mut Bench, instance_id: &str) -> Result<u64, MetaError> {
    let call = CompactSnapshotCall::Http {
        instance_id: instance_id.into(),
    };
    bench.run(&prepare::<CompactSnapshot>(call)?).map(|reply| reply.job)
}

fn decouple(bench: &mut Bench, instance_id: &str) -> Result<bool, MetaError> {
    let call = DecoupleInstanceCall::Http {
        instance_id: instance_id.into(),
    };
    bench.run(&prepare::<DecoupleInstance>(call)?).map(|reply| reply.holds_files)
}

/// What the native API says instead of doing it.
fn native_refusals(bench: &mut Bench, instance_id: &str) -> [String; 2] {
    let decouple = DecoupleInstanceCall::Native(DecoupleCloneRequest {
        instance_id: instance_id.into(),
    });
    let compact = CompactSnapshotCall::Native(CompactCloneRequest {
        instance_id: instance_id.into(),
        keep_files: None,
    });
    let decouple = bench.run(&prepare::<DecoupleInstance>(decouple).expect("well-formed")).expect_err("refused");
    let compact = bench.run(&prepare::<CompactSnapshot>(compact).expect("well-formed"));
    [decouple.message, compact.err().map(|error| error.message).unwrap_or_default()]
}

#[test]
fn a_caller_of_the_native_api_is_told_what_to_do_next() {
    let mut bench = bench();
    let nobody = "instance x does not exist".to_owned();
    assert_eq!(native_refusals(&mut bench, "x"), [nobody.clone(), nobody]);
    let [decouple, compact] = native_refusals(&mut bench, "a");
    assert_eq!(decouple, "instance a is no clone, or was decoupled before: there is nothing to decouple");
    assert_eq!(compact, "instance a is no clone, or was decoupled before: there is nothing to compact");
    let snapshot = snapshot_of(&mut bench, "a");
    clone(&mut bench, CloneInstanceRequest {
        obj_info: Some(store("other")),
        ..request("a", &snapshot, "c", CloneType::Writable)
    })
    .expect("cloned");
    let [decouple, _] = native_refusals(&mut bench, "c");
    assert_eq!(
        decouple,
        "clone c still reads through its source; compact it first (`quorate instance compact c --wait`)"
    );
    // The second question has started the job.
    let [decouple, _] = native_refusals(&mut bench, "c");
    assert!(decouple.starts_with("clone c is being compacted by job ") && decouple.contains("quorate job watch"), "{decouple}");
}

/// What the planner and workers make of an empty source: nothing, completely.
fn finish(bench: &mut Bench, job: u64) {
    let record = crate::jobs::find(&bench.store, job).expect("reads").expect("there");
    let plan = PlanTasks {
        job,
        done: true,
        ..PlanTasks::default()
    };
    bench.run(&plan).expect("planned");
    assert_eq!(record.clone_scope, info(bench, &record.target_instance_id).scope.0);
    bench.run(&PublishJob { job }).expect("published");
}

#[test]
fn a_snapshot_goes_from_begin_to_drop() {
    let mut bench = bench();
    let begun = begin(&mut bench, "a", |request| request.request_ip = Some("2001:0db8:85a3:0000:0000:8a2e:0370:7334".into())).expect("begun");
    assert_eq!(begun.image_url, format!("/snapshot/{}/", begun.snapshot_id));
    assert_eq!(begun.obj_info.as_ref().map(|store| (store.bucket(), store.sk())), Some(("bucket", "sk")));
    let expected = SnapshotInfoPb {
        snapshot_id: Some(begun.snapshot_id.clone()),
        create_at: Some(1_000),
        image_url: Some(begun.image_url.clone()),
        status: Some(SnapshotStatus::SnapshotPrepare as i32),
        r#type: Some(0),
        instance_id: Some("a".into()),
        auto_snapshot: Some(false),
        ttl_seconds: Some(3_600),
        timeout_seconds: Some(60),
        snapshot_label: Some("l".into()),
        resource_id: Some("1".into()),
        ..SnapshotInfoPb::default()
    };
    assert_eq!(list(&bench, "a", false), [expected]);
    let error = drop_snapshot(&mut bench, "a", &begun.snapshot_id).expect_err("not finished");
    assert_eq!(error.message, "cannot drop snapshot that is not in final state (NORMAL or ABORTED)");
    bench.now_ms += 60_000;
    commit(&mut bench, "a", &begun.snapshot_id).expect("just in time");
    let shown = &list(&bench, "a", false)[0];
    assert_eq!((shown.status(), shown.finish_at, shown.journal_id), (SnapshotStatus::SnapshotNormal, Some(1_060), Some(7)));
    drop_snapshot(&mut bench, "a", &begun.snapshot_id).expect("dropped");
    assert!(list(&bench, "a", true).is_empty());
    let error = drop_snapshot(&mut bench, "a", &begun.snapshot_id).expect_err("gone");
    assert_eq!(error, MetaError::new(ErrorCode::KeyMissing, format!("snapshot not found, snapshot_id={}", begun.snapshot_id)));
    check_indexes(&bench);
}

#[test]
fn the_same_commit_again_succeeds_and_another_one_is_refused() {
    let mut bench = bench();
    let begun = begin(&mut bench, "a", |_| {}).expect("begun");
    let request = CommitSnapshotRequest {
        cloud_unique_id: Some("1:a:x".into()),
        snapshot_id: Some(begun.snapshot_id.clone()),
        last_journal_id: Some(7),
        snapshot_meta_image_size: Some(8),
        snapshot_logical_data_size: Some(9),
        ..CommitSnapshotRequest::default()
    };
    let made = prepare::<CommitInstanceSnapshot>(request).expect("well-formed");
    bench.run(&made).expect("committed");
    let before = (list(&bench, "a", false), bench.machine.revision());
    bench.now_ms += 61_000;
    let with_url = |image_url: &str| CommitInstanceSnapshot {
        image_url: image_url.to_owned(),
        ..made.clone()
    };
    for again in [made.clone(), with_url(&begun.image_url)] {
        bench.run(&again).expect("the time for a first commit is over, but not for this one");
    }
    let others = [
        CommitInstanceSnapshot { last_journal_id: 70, ..made.clone() },
        CommitInstanceSnapshot { meta_image_bytes: 80, ..made.clone() },
        CommitInstanceSnapshot { logical_data_bytes: 90, ..made.clone() },
        with_url("/elsewhere/"),
        // As builds wrote it that refused it.
        CommitInstanceSnapshot { succeeds_again: false, ..made.clone() },
    ];
    for other in others {
        let error = bench.run(&other).expect_err("another commit, or another build's");
        assert_eq!(error.message, "snapshot is not in PREPARE state, current status=1", "{other:?}");
    }
    assert_eq!((list(&bench, "a", false), bench.machine.revision()), before);
    check_indexes(&bench);

    let second = begin(&mut bench, "a", |_| {}).expect("begun");
    commit(&mut bench, "a", &second.snapshot_id).expect("committed");
    drop_snapshot(&mut bench, "a", &second.snapshot_id).expect("dropped");
    let gone = commit(&mut bench, "a", &second.snapshot_id).expect_err("dropped meanwhile");
    assert_eq!(gone.message, "snapshot not found");
}

#[test]
fn begin_refuses_in_the_order_of_the_contract() {
    let mut bench = bench();
    for (change, text) in [
        (Box::new(|request: &mut BeginSnapshotRequest| request.cloud_unique_id = None) as Box<dyn FnOnce(&mut BeginSnapshotRequest)>, "cloud_unique_id not set"),
        (Box::new(|request| request.cloud_unique_id = Some("nobody".into())), "empty instance_id"),
        (
            Box::new(|request| (request.cloud_unique_id, request.timeout_seconds) = (Some("1:b:x".into()), Some(0))),
            "failed to get instance, instance_id=b err=KeyNotFound",
        ),
        (Box::new(|request| (request.timeout_seconds, request.ttl_seconds) = (Some(-100), Some(0))), "timeout_seconds must be positive"),
        (Box::new(|request| request.ttl_seconds = Some(-500)), "ttl_seconds must be positive"),
        (Box::new(|request| request.ttl_seconds = None), "ttl_seconds must be positive"),
        (Box::new(|request| request.timeout_seconds = Some(604_801)), "timeout_seconds is 604801, limit 604800"),
        (Box::new(|request| request.snapshot_label = None), "snapshot_label cannot be empty"),
        (Box::new(|request| request.request_ip = Some("256.256.256.256".into())), "invalid request IP address format"),
        (Box::new(|request| request.request_ip = Some("invalid.ip.address".into())), "invalid request IP address format"),
        (Box::new(|request| request.vault_name = Some("v".into())), "vault_name=v not found"),
    ] {
        assert_eq!(begin(&mut bench, "a", change).expect_err(text).message, text);
    }
    let off = AlterInstanceRequest {
        instance_id: Some("a".into()),
        properties: [("status".to_owned(), "DISABLED".to_owned())].into(),
        ..AlterInstanceRequest::default()
    };
    bench.run(&prepare::<SetSnapshotProperty>(off).expect("well-formed")).expect("switched off");
    let error = begin(&mut bench, "a", |_| {}).expect_err("off");
    assert_eq!(
        error.message,
        "snapshots are not enabled, current status is SNAPSHOT_SWITCH_OFF; set_snapshot_property with status ENABLED first, instance_id: a"
    );
    assert!(list(&bench, "a", true).is_empty());
}

#[test]
fn an_upload_is_noted_while_its_snapshot_is_in_preparation_and_not_after() {
    let mut bench = bench();
    let begun = begin(&mut bench, "a", |_| {}).expect("begun");
    let update = |upload_id: &str| UpdateSnapshotRequest {
        cloud_unique_id: Some("1:a:x".into()),
        snapshot_id: Some(begun.snapshot_id.clone()),
        upload_file: Some("image.7".into()),
        upload_id: Some(upload_id.into()),
        ..UpdateSnapshotRequest::default()
    };
    for upload_id in ["first", "second"] {
        bench.run(&prepare::<UpdateInstanceSnapshot>(update(upload_id)).expect("well-formed")).expect("noted");
        let revision = crate::snapshots::id::parse(&begun.snapshot_id).expect("an id");
        let found = crate::instance_snapshots::find(&bench.store, &info(&bench, "a"), revision).expect("reads").expect("there");
        let noted = found.record.doris.expect("of Doris");
        assert_eq!((noted.upload_file(), noted.upload_id()), ("image.7", upload_id));
    }
    let abort = AbortInstanceSnapshot {
        cloud_unique_id: "1:a:x".into(),
        snapshot_id: begun.snapshot_id.clone(),
        reason: "the store is away".into(),
    };
    bench.run(&abort).expect("given up");
    let shown = &list(&bench, "a", true)[0];
    assert_eq!((shown.status(), shown.reason()), (SnapshotStatus::SnapshotAborted, "the store is away"));
    let error = bench.run(&prepare::<UpdateInstanceSnapshot>(update("third")).expect("well-formed")).expect_err("too late");
    assert_eq!(error.message, "snapshot is not in PREPARE state, current status=2");
    check_indexes(&bench);
}

#[test]
fn an_image_that_never_comes_is_given_up_and_shown_for_a_day() {
    let mut bench = bench();
    let begun = begin(&mut bench, "a", |_| {}).expect("begun");
    let revision = crate::snapshots::id::parse(&begun.snapshot_id).expect("an id");
    bench.now_ms += 61_000;
    let late = commit(&mut bench, "a", &begun.snapshot_id).expect_err("late");
    assert_eq!(late.message, "snapshot has timed out");
    assert_eq!(bench.run(&ExpireSnapshots::default()).expect("runs").snapshots_aborted, 1);
    let scope = info(&bench, "a").scope;
    assert!(!pins::is_pinned(&bench.store, scope, revision).expect("reads"), "what it showed may go");
    assert!(list(&bench, "a", false).is_empty());
    let shown = &list(&bench, "a", true)[0];
    assert_eq!((shown.status(), shown.reason()), (SnapshotStatus::SnapshotAborted, "timed out during image upload"));
    let abort = AbortInstanceSnapshot {
        cloud_unique_id: "1:a:x".into(),
        snapshot_id: begun.snapshot_id.clone(),
        reason: "other".into(),
    };
    bench.run(&abort).expect("aborting again succeeds");
    assert_eq!(list(&bench, "a", true)[0].reason(), "timed out during image upload");
    check_indexes(&bench);
    bench.now_ms += crate::limits::ABORTED_SNAPSHOT_KEPT_MS + 1;
    assert_eq!(bench.run(&ExpireSnapshots::default()).expect("runs").snapshots_dropped, 1);
    assert!(list(&bench, "a", true).is_empty());
    let normal = snapshot_of(&mut bench, "a");
    let error = bench.run(&AbortInstanceSnapshot { snapshot_id: normal, ..abort }).expect_err("normal");
    assert_eq!(error.message, "snapshot is not in PREPARE state, current status=1");
}

#[test]
fn automatic_snapshots_beyond_the_number_to_keep_are_dropped_oldest_first() {
    let mut bench = bench();
    let keep = AlterInstanceRequest {
        instance_id: Some("a".into()),
        properties: [("max_reserved_snapshots".to_owned(), "2".to_owned())].into(),
        ..AlterInstanceRequest::default()
    };
    bench.run(&prepare::<SetSnapshotProperty>(keep).expect("well-formed")).expect("set");
    let manual = snapshot_of(&mut bench, "a");
    let mut made = Vec::new();
    for _ in 0..4 {
        let begun = begin(&mut bench, "a", |request| (request.auto_snapshot, request.ttl_seconds) = (Some(true), None)).expect("begun");
        commit(&mut bench, "a", &begun.snapshot_id).expect("committed");
        made.push(begun.snapshot_id);
    }
    let kept: Vec<_> = list(&bench, "a", true).into_iter().filter_map(|shown| shown.snapshot_id).collect();
    assert_eq!(kept, [manual, made[2].clone(), made[3].clone()]);
    check_indexes(&bench);
}

#[test]
fn a_read_only_clone_has_the_sources_stores_and_keeps_the_snapshot() {
    let mut bench = bench();
    let snapshot_id = snapshot_of(&mut bench, "a");
    let reply = clone(&mut bench, request("a", &snapshot_id, "b", CloneType::ReadOnly)).expect("cloned");
    assert_eq!(reply.image_url, format!("/snapshot/{snapshot_id}/"));
    assert_eq!(reply.obj_info.as_ref().map(|store| store.bucket()), Some("bucket"));
    let b = info(&bench, "b");
    assert_eq!((b.info.name(), b.info.user_id(), b.info.ready_only()), ("clone_read_only_b", "u", true));
    assert_eq!((b.info.source_instance_id(), b.info.source_snapshot_id()), ("a", snapshot_id.as_str()));
    assert_eq!(b.info.multi_version_status(), MultiVersionStatus::MultiVersionReadWrite);
    assert_eq!(b.info.snapshot_switch_status(), SnapshotSwitchStatus::SnapshotSwitchOff);
    assert_eq!(b.info.obj_info, info(&bench, "a").info.obj_info);
    let record = parent(&bench.store, b.scope).expect("reads").expect("a clone");
    assert_eq!((record.source_scope, record.depth, record.shares_stores), (info(&bench, "a").scope.0, 1, true));
    assert_eq!(list(&bench, "a", false)[0].derived_instance_ids, ["b"]);

    let before = bench.counters().revision;
    assert_eq!(clone(&mut bench, request("a", &snapshot_id, "b", CloneType::ReadOnly)).expect("again"), reply);
    assert_eq!(bench.counters().revision, before, "a repetition changes nothing");
    let mut other = request("a", &snapshot_id, "b", CloneType::Writable);
    other.obj_info = Some(store("own"));
    assert_eq!(clone(&mut bench, other).expect_err("another kind").message, "instance with id 'b' already exists");

    let error = drop_snapshot(&mut bench, "a", &snapshot_id).expect_err("cloned");
    assert_eq!(error.message, "cannot drop snapshot that is referenced by other instance, derived_instance_ids=b");
    let native = DropSnapshot {
        instance_id: "a".into(),
        snapshot: crate::snapshot_fixture::by_name("", "l"),
    };
    assert_eq!(bench.run(&native).expect_err("cloned").message, "snapshot l is read through by 1 clones: b; decouple or drop them first (a dropped one lets go when its history of 10 minutes has been collected and no clone of it reads through it or holds its files)");
    bench.now_ms += 3_600_001;
    assert_eq!(bench.run(&ExpireSnapshots::default()).expect("runs").put_off, 1, "its time to live waits for the clone");
    bench.run(&DropInstance { instance_id: "a".into() }).expect("a source may be dropped");
}

#[test]
fn a_writable_clone_gets_a_store_of_its_own() {
    let mut bench = bench();
    let snapshot_id = snapshot_of(&mut bench, "a");
    let with = |change: fn(&mut ObjectStoreInfoPb)| {
        let mut own = store("own");
        change(&mut own);
        CloneInstanceRequest {
            obj_info: Some(own),
            ..request("a", &snapshot_id, "b", CloneType::Writable)
        }
    };
    for (request, text) in [
        (request("a", &snapshot_id, "b", CloneType::Writable), "WRITABLE clone requires obj_info"),
        (with(|store| store.ak = None), "obj_info.ak is required"),
        (with(|store| store.sk = Some(String::new())), "obj_info.sk is required"),
        (with(|store| store.bucket = None), "obj_info.bucket is required"),
        (with(|store| store.endpoint = None), "obj_info.endpoint is required"),
        (
            with(|store| store.endpoint = Some("e ".into())),
            "obj_info endpoint has a blank, a control character or a letter that is not ASCII; give a host or a URL",
        ),
        (
            with(|store| store.bucket = Some("my bucket".into())),
            "obj_info bucket has a blank or a control character; give the bucket's name",
        ),
    ] {
        assert_eq!(clone(&mut bench, request).expect_err(text).message, text);
    }
    clone(&mut bench, with(|_| {})).expect("cloned");
    let b = info(&bench, "b").info;
    let stores: Vec<_> = b.obj_info.iter().map(|store| (store.id(), store.bucket())).collect();
    assert_eq!(stores, [("1", "bucket"), ("2", "own")]);
    assert_eq!((b.name(), b.ready_only()), ("clone_writable_b", false));
    assert!(!parent(&bench.store, info(&bench, "b").scope).expect("reads").expect("a clone").shares_stores);
}

#[test]
fn a_rollback_continues_its_source_once() {
    let mut bench = bench();
    let first = snapshot_of(&mut bench, "a");
    clone(&mut bench, request("a", &first, "b", CloneType::Rollback)).expect("rolled back");
    let b = info(&bench, "b").info;
    assert_eq!((b.original_instance_id(), b.predecessor_instance_id(), b.successor_instance_id()), ("a", "a", ""));
    assert_eq!(b.snapshot_switch_status(), SnapshotSwitchStatus::SnapshotSwitchOn);
    assert_eq!(info(&bench, "a").info.successor_instance_id(), "b");
    let error = clone(&mut bench, request("a", &first, "c", CloneType::Rollback)).expect_err("one successor");
    assert_eq!(error.message, "source instance already has a successor instance: b, ROLLBACK only one successor is allowed");
    let second = snapshot_of(&mut bench, "b");
    let ids = |bench: &Bench, instance_id: &str| list(bench, instance_id, false).into_iter().filter_map(|shown| shown.snapshot_id).collect::<Vec<_>>();
    assert_eq!(ids(&bench, "b"), [first.clone(), second], "the line's snapshots are its own");
    assert_eq!(ids(&bench, "a"), std::slice::from_ref(&first));
    clone(&mut bench, request("b", &first, "c", CloneType::Rollback)).expect("to a snapshot of an older member");
    let c = info(&bench, "c").info;
    assert_eq!((c.source_instance_id(), c.predecessor_instance_id(), c.original_instance_id()), ("a", "b", "a"));
    let error = clone(&mut bench, request("b", &first, "d", CloneType::ReadOnly)).expect_err("not of this instance");
    assert_eq!(error.message, format!("snapshot not found: instance_id=b snapshot_id={first}"));
}

#[test]
fn what_cannot_be_cloned_is_refused_by_name() {
    let mut bench = bench();
    let snapshot_id = snapshot_of(&mut bench, "a");
    let prepared = begin(&mut bench, "a", |_| {}).expect("begun").snapshot_id;
    let unset = |change: fn(&mut CloneInstanceRequest)| {
        let mut request = request("a", "00000000000000010000", "b", CloneType::ReadOnly);
        change(&mut request);
        request
    };
    for (request, text) in [
        (unset(|request| request.clone_type = None), "clone_type not specified".to_owned()),
        (unset(|request| request.clone_type = Some(0)), "invalid clone_type".to_owned()),
        (unset(|request| request.clone_type = Some(9)), "invalid clone_type".to_owned()),
        (unset(|request| request.from_instance_id = None), "from_instance_id not specified".to_owned()),
        (unset(|request| request.from_snapshot_id = None), "from_snapshot_id not specified".to_owned()),
        (unset(|request| request.new_instance_id = None), "new_instance_id not specified".to_owned()),
        (unset(|request| request.new_instance_id = Some("a".into())), "from_instance_id and new_instance_id must be different".to_owned()),
        (unset(|request| request.from_instance_id = Some("z".into())), "source instance not found: z".to_owned()),
        (unset(|request| request.from_snapshot_id = Some("z".into())), "failed to parse snapshot_id to versionstamp".to_owned()),
        (unset(|_| {}), "snapshot not found: instance_id=a snapshot_id=00000000000000010000".to_owned()),
        (
            request("a", &prepared, "b", CloneType::ReadOnly),
            "snapshot status is not NORMAL, current status: SNAPSHOT_PREPARE".to_owned(),
        ),
        (request("a", &snapshot_id, "warehouse", CloneType::ReadOnly), "instance with id 'warehouse' already exists".to_owned()),
    ] {
        assert_eq!(clone(&mut bench, request).expect_err(&text).message, text);
    }
    bench.run(&DropInstance { instance_id: "a".into() }).expect("dropped");
    let error = clone(&mut bench, request("a", &snapshot_id, "b", CloneType::ReadOnly)).expect_err("dropped");
    assert_eq!(error, MetaError::not_found("source instance status is not NORMAL: DELETED"));
}

#[test]
fn a_chain_ends_at_its_limit_and_is_compacted_from_its_source() {
    let mut bench = bench();
    let mut from = "a".to_owned();
    for number in 1..=limits::MAX_CLONE_DEPTH + 1 {
        let snapshot_id = snapshot_of(&mut bench, &from);
        let new = format!("c{number}");
        let cloned = clone(&mut bench, request(&from, &snapshot_id, &new, CloneType::ReadOnly));
        if number > limits::MAX_CLONE_DEPTH {
            assert_eq!(cloned.expect_err("too deep").code, ErrorCode::LimitReached);
            break;
        }
        cloned.expect("cloned");
        switch_on(&mut bench, &new);
        let scope = info(&bench, &new).scope;
        crate::versioned::Lineage::of(&bench.store, scope, Revision(u64::MAX)).expect("readable to its end");
        from = new;
    }
    let error = compact(&mut bench, "c2").expect_err("its source first");
    assert_eq!(error.message, "source instance c1 is a clone that has not been compacted; compact it first");
    let job = compact(&mut bench, "c1").expect("started");
    finish(&mut bench, job);
    compact(&mut bench, "c2").expect("now it can");
}

#[test]
fn a_compacted_clone_is_decoupled_and_its_source_is_free() {
    let mut bench = bench();
    let snapshot_id = snapshot_of(&mut bench, "a");
    clone(&mut bench, request("a", &snapshot_id, "b", CloneType::ReadOnly)).expect("cloned");
    assert_eq!(decouple(&mut bench, "").expect_err("no id").message, "instance_id is empty");
    assert_eq!(decouple(&mut bench, "z").expect_err("missing"), MetaError::not_found("instance not found, instance_id=z"));
    let not_cloned = "instance a was not a cloned instance (created via clone_instance)";
    assert_eq!(decouple(&mut bench, "a").expect_err("no clone").message, not_cloned);
    assert_eq!(compact(&mut bench, "a").expect_err("no clone").message, not_cloned);
    assert_eq!(compact(&mut bench, "").expect_err("no id").message, "instance_id is empty");
    assert_eq!(compact(&mut bench, "z").expect_err("missing").message, "instance not found, instance_id=z");
    let text = |status: &str| format!("instance b snapshot_compact_status is not SNAPSHOT_COMPACT_DONE, current status={status}");
    assert_eq!(decouple(&mut bench, "b").expect_err("not compacted").message, text("SNAPSHOT_COMPACT_UNKNOWN"));

    let job = compact(&mut bench, "b").expect("started");
    assert_eq!(compact(&mut bench, "b").expect("again"), job);
    assert_eq!(info(&bench, "b").info.snapshot_compact_status(), SnapshotCompactStatus::SnapshotCompactDoing);
    assert_eq!(decouple(&mut bench, "b").expect_err("not yet").message, text("SNAPSHOT_COMPACT_DOING"));
    let base = parent(&bench.store, info(&bench, "b").scope).expect("reads").expect("a clone").base_scope;
    bench.run(&FailJob { job, ..FailJob::default() }).expect("failed");
    assert_eq!(info(&bench, "b").info.snapshot_compact_status(), SnapshotCompactStatus::SnapshotCompactUnknown);
    let second = compact(&mut bench, "b").expect("another one");
    assert_ne!(parent(&bench.store, info(&bench, "b").scope).expect("reads").expect("a clone").base_scope, base);
    finish(&mut bench, second);
    assert_eq!(info(&bench, "b").info.snapshot_compact_status(), SnapshotCompactStatus::SnapshotCompactDone);

    assert!(decouple(&mut bench, "b").expect("decoupled"), "it shares the source's stores, so its files stay held");
    let b = info(&bench, "b");
    assert_eq!((b.info.source_instance_id(), b.info.source_snapshot_id()), ("", ""));
    assert_eq!(b.info.snapshot_compact_status(), SnapshotCompactStatus::SnapshotCompactDone);
    assert_eq!(decouple(&mut bench, "b").expect_err("twice").message, "instance b was not a cloned instance (created via clone_instance)");
    drop_snapshot(&mut bench, "a", &snapshot_id).expect("free");
    let revision = crate::snapshots::id::parse(&snapshot_id).expect("an id");
    bench
        .run(&RemoveSnapshot {
            scope: info(&bench, "a").scope.0,
            revision: revision.0,
        })
        .expect("removed");
    assert!(pins::is_pinned(&bench.store, info(&bench, "a").scope, revision).expect("reads"), "the hold stays");
    assert_eq!(bench.counters().pins, 1);
    check_indexes(&bench);
}

#[test]
fn a_caller_of_the_native_api_says_whether_files_are_copied() {
    let mut bench = bench();
    let snapshot_id = snapshot_of(&mut bench, "a");
    // What is not said is as the stores suggest: the last has one of its own.
    for (new, keep_files, holds_files) in [("b", Some(true), true), ("c", Some(false), false), ("d", None, true), ("e", None, false)] {
        let mut asked = request("a", &snapshot_id, new, CloneType::ReadOnly);
        if new == "e" {
            asked = request("a", &snapshot_id, new, CloneType::Writable);
            asked.obj_info = Some(store("own"));
        }
        clone(&mut bench, asked).expect("cloned");
        let call = CompactSnapshotCall::Native(CompactCloneRequest {
            instance_id: new.into(),
            keep_files,
        });
        let command = prepare::<CompactSnapshot>(call).expect("well-formed");
        let started = bench.run(&command).expect("started");
        assert_eq!(started.holds_files, holds_files);
        assert_eq!(CompactSnapshot::note(&started).is_empty(), !holds_files);
        assert_eq!(bench.run(&command).expect("again"), started);
        let job = started.job;
        let record = crate::jobs::find(&bench.store, job).expect("reads").expect("there");
        assert_eq!(record.copies_files, !holds_files);
        assert_eq!(crate::queries::jobs::just_started(job, &record).holds_files, holds_files);
        finish(&mut bench, job);
        assert_eq!(bench.run(&command).expect("compacted"), started);
        assert_eq!(decouple(&mut bench, new).expect("decoupled"), holds_files);
    }
    let holds = crate::snapshot_fixture::rows_of(&bench, &[crate::keys::space::HOLD]);
    assert_eq!(holds.len(), 2);
    let expected = crate::versioned::rows::hold(
        info(&bench, "a").scope,
        crate::snapshots::id::parse(&snapshot_id).expect("an id"),
        info(&bench, "b").scope.0,
    );
    assert!(holds.contains_key(&expected));
}

#[test]
fn a_compacted_clone_that_was_dropped_is_not_there_to_be_decoupled() {
    let mut bench = bench();
    let snapshot = snapshot_of(&mut bench, "a");
    clone(&mut bench, request("a", &snapshot, "b", CloneType::ReadOnly)).expect("cloned");
    let job = compact(&mut bench, "b").expect("started");
    finish(&mut bench, job);
    let drop = DropInstance { instance_id: "b".into() };
    bench.run(&drop).expect("dropped");
    let refused = decouple(&mut bench, "b").expect_err("dropped");
    assert_eq!(refused.message, "instance not found, instance_id=b");
}

#[test]
fn a_compacted_clone_of_what_is_no_snapshot_is_not_decoupled() {
    let mut bench = bench();
    let snapshot = snapshot_of(&mut bench, "a");
    clone(&mut bench, request("a", &snapshot, "b", CloneType::ReadOnly)).expect("cloned");
    let job = compact(&mut bench, "b").expect("started");
    finish(&mut bench, job);
    let key = crate::keys::record_by_name(crate::keys::RecordTable::Instance, b"b");
    let record = crate::command::read_record::<crate::record::InstanceRecord>(&bench.store, &key).expect("reads");
    let mut record = record.expect("there");
    let mut altered = info(&bench, "b").info;
    altered.source_snapshot_id = Some("x".into());
    record.info = prost::Message::encode_to_vec(&altered).into();
    bench.store.rows.insert(key, prost::Message::encode_to_vec(&record).into());
    bench.adopt_rows();
    let refused = decouple(&mut bench, "b").expect_err("no id of a snapshot");
    assert_eq!(refused, MetaError::internal("failed to parse source_snapshot_id=x to versionstamp"));
    assert_eq!(info(&bench, "b").info.source_instance_id(), "a");
}

#[test]
fn a_store_that_only_a_role_opens_takes_neither_an_image_nor_copies() {
    let mut bench = bench();
    let snapshot = snapshot_of(&mut bench, "a");
    clone(&mut bench, request("a", &snapshot, "b", CloneType::ReadOnly)).expect("cloned");
    for instance_id in ["a", "b"] {
        let mut instance = info(&bench, instance_id);
        crate::object_stores::take_role(&mut instance.info.obj_info[0], "role", None);
        crate::storage_fixture::change(&mut bench, |context| instances::put(context, &instance));
    }
    let refused = begin(&mut bench, "a", |_| {}).expect_err("nobody here could delete its image");
    assert!(refused.message.starts_with("vault \"1\" has a role and no keys"), "{refused}");
    assert_eq!(list(&bench, "a", true).len(), 1);
    let mut compact_keeping = |keep_files| {
        let call = CompactSnapshotCall::Native(CompactCloneRequest {
            instance_id: "b".into(),
            keep_files: Some(keep_files),
        });
        bench.run(&prepare::<CompactSnapshot>(call).expect("well-formed"))
    };
    let refused = compact_keeping(false).expect_err("nobody here could write copies");
    assert!(refused.message.starts_with("vault \"1\" has a role and no keys"), "{refused}");
    assert!(compact_keeping(true).expect("no file is written").holds_files);
}
