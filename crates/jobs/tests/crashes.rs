//! A reconciler or a worker dies at each step, alone or together with all others. Whoever comes next goes on: the job ends, completed with
//! every file right, or failed with nothing to be seen and nothing left.

mod support;

use fail::FailScenario;
use quorate_jobs::Settings;
use quorate_model::{Revision, ScopeId};
use quorate_objects::manifest::{FORMAT_VERSION, ManifestEntry};
use quorate_objects::metadata::SnapshotMetadata;
use quorate_state_machine::access::Query;
use quorate_state_machine::commands::clone_instance::CloneInstanceCall;
use quorate_state_machine::commands::compact_snapshot::CompactSnapshotCall;
use quorate_state_machine::commands::decouple_instance::DecoupleInstanceCall;
use quorate_state_machine::commands::{
    CancelJob, CloneInstance, CollectVersions, CompactSnapshot, CreateSnapshot, DecoupleInstance, DropInstance, DropSnapshot,
};
use quorate_state_machine::limits::HISTORY_WINDOW_MS;
use quorate_state_machine::versioned::cleanup;
use quorate_state_machine::{instances, snapshots};
use quorate_wire::doris::CloneInstanceRequest;
use quorate_wire::doris::clone_instance_request::CloneType;
use quorate_wire::quorate::v1::{
    CompactCloneRequest, CreateSnapshotRequest, DecoupleCloneRequest, DropSnapshotRequest, JobState, SnapshotRef, SnapshotState,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::testing::INSTANCE;
use support::{State, World, sorted};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Sites that the tasks of every job pass, whatever they do.
const OF_TASKS: &[&str] = &[
    "job_plan_before",
    "job_plan_after",
    "job_task_claimed",
    "job_complete_before",
    "job_complete_after",
];
/// Sites that a task passes which copies files.
const OF_COPIES: &[&str] = &["job_copy_start", "job_file_copied", "job_copy_synced"];
/// Sites that a job passes which completes.
const OF_A_PUBLICATION: &[&str] = &["job_publish_before", "job_publish_after"];
/// Sites that a task passes which cannot be done.
const OF_A_FAILURE: &[&str] = &["job_fail_before", "job_fail_after"];
/// Sites that a job passes whose target is gone, or whose time is over.
const OF_GIVING_UP: &[&str] = &["job_give_up_before", "job_give_up_after"];
/// Sites that the clean-up passes of a job that did not complete, and of an instance that was dropped.
const OF_A_CLEANUP: &[&str] = &[
    "upkeep_before",
    "upkeep_after",
    "delete_read",
    "delete_files_after",
    "delete_finish_before",
    "delete_finish_after",
];
/// Sites that the snapshots of an instance pass when it was dropped.
const OF_A_DROPPED_INSTANCE: &[&str] = &["snapshot_files_deleted"];
/// Sites that a snapshot passes, from its creation until it is gone.
const OF_A_SNAPSHOT: &[&str] = &[
    "snapshot_metadata_written",
    "snapshot_commit_after",
    "job_manifests_before",
    "job_manifests_after",
    "snapshot_files_deleted",
];

/// The instance that is cloned from the other.
const CLONE: &str = "clone";
/// More than one task may have: the last of them are in a second one.
const SEGMENTS_OF_TWO_TASKS: u32 = 260;

/// Who dies at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dying {
    WhoComesThere,
    /// And everybody else at that moment.
    All,
}

/// Each site with each way to die there.
fn cases(sites: &[&[&'static str]]) -> Vec<(&'static str, Dying)> {
    let both = |site: &'static str| [(site, Dying::WhoComesThere), (site, Dying::All)];
    sites.concat().into_iter().flat_map(both).collect()
}

/// Lets parts that run die when one comes to a site for the first time; answers how many that will be.
fn arm(world: &World, site: &'static str, dying: Dying) -> usize {
    match dying {
        Dying::WhoComesThere => {
            fail::cfg(site, "1*panic->off").expect("a site");
            1
        }
        Dying::All => {
            let (parts, was_hit) = (world.abort_handles(), AtomicBool::new(false));
            let count = parts.len();
            let die = move || {
                if !was_hit.swap(true, Ordering::SeqCst) {
                    parts.iter().for_each(AbortHandle::abort);
                    panic!("failpoint {site} panic");
                }
            };
            fail::cfg_callback(site, die).expect("a site");
            count
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_completes_though_its_runner_dies_at_any_step() {
    for (site, dying) in cases(&[OF_TASKS, OF_COPIES, OF_A_PUBLICATION]) {
        let scenario = FailScenario::setup();
        let (mut world, source, job) = World::restoring(4, 10_000).await;
        world.start_all();
        let dead = arm(&world, site, dying);
        let (shown, mut deaths) = world.end_of(job).await;
        assert_eq!(shown.state(), JobState::JobCompleted, "{site}, {dying:?}: {}", shown.reason);
        assert_eq!(
            sorted(world.visible_files("copy").expect("visible")),
            source.contents(),
            "{site}, {dying:?}"
        );
        deaths += world.swept().await;
        assert_eq!(deaths, dead, "somebody dies at {site}, {dying:?}");
        assert_eq!(
            world.vaults.files().len(),
            8,
            "{site}, {dying:?}: sources and copies, and nothing of a lost claim"
        );
        assert_eq!(sorted(world.visible_files("copy").expect("still visible")), source.contents());
        scenario.teardown();
    }
}

/// What is wrong with a file of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Missing,
    Damaged,
}

#[tokio::test(start_paused = true)]
async fn a_restore_whose_source_is_damaged_fails_though_its_runner_dies_at_any_step() {
    for (site, dying) in cases(&[OF_TASKS, OF_COPIES, OF_A_FAILURE, OF_A_CLEANUP]) {
        for wrong in [Wrong::Missing, Wrong::Damaged] {
            fails_of_its_source(site, dying, wrong).await;
        }
    }
}

/// The first task of the job can be done, the second one cannot.
async fn fails_of_its_source(site: &'static str, dying: Dying, wrong: Wrong) {
    let case = format!("{site}, {dying:?}, {wrong:?}");
    let scenario = FailScenario::setup();
    let mut world = World::new().await;
    // One after the other: what the first passes is passed before the second ends the job.
    world.settings = Settings { tasks_at_once: 1 };
    let source = world.snapshot("source", SEGMENTS_OF_TWO_TASKS, 100);
    let (name, _) = source.files.last().expect("some");
    let file = world.vaults.path().join(name);
    let reason = match wrong {
        Wrong::Missing => {
            std::fs::remove_file(&file).expect("removed");
            file.display().to_string()
        }
        Wrong::Damaged => {
            std::fs::write(&file, vec![7; 100]).expect("written");
            "checksum".to_owned()
        }
    };
    let (before, pins) = (world.vaults.files(), world.state.bench().counters().pins);
    let job = world.restore(&source, "copy", 0).expect("started");
    world.start_all();
    let dead = arm(&world, site, dying);
    let (shown, mut deaths) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobFailed, "{case}");
    assert!(shown.reason.contains(&reason), "{case}: {}", shown.reason);
    assert_eq!(world.visible_files("copy"), None, "{case}");
    deaths += world.swept().await;
    assert_eq!(deaths, dead, "somebody dies: {case}");
    assert_eq!(world.visible_files("copy"), None, "{case}");
    assert_eq!(world.vaults.files(), before, "{case}: the source as it was, and nothing else");
    assert_eq!(world.state.bench().counters().pins, pins, "{case}: the job keeps nothing any more");
    assert!(world.restore(&source, "copy", 0).is_ok(), "{case}: the name is free again");
    scenario.teardown();
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_leaves_nothing_though_its_runner_dies_at_any_step() {
    for (site, dying) in cases(&[OF_A_CLEANUP]) {
        let scenario = FailScenario::setup();
        let (mut world, source, job) = World::restoring(4, 10_000).await;
        world.start_all();
        world.state.wait("a task", |state| is_worked_on(state, job)).await;
        let dead = arm(&world, site, dying);
        let cancel = CancelJob {
            job,
            reason: String::new(),
        };
        world.state.apply(&cancel).expect("cancelled");
        let deaths = world.swept().await;
        assert_eq!(deaths, dead, "somebody dies at {site}, {dying:?}");
        assert_eq!(world.vaults.files(), source.names(), "{site}, {dying:?}");
        assert_eq!(world.visible_files("copy"), None, "{site}, {dying:?}");
        scenario.teardown();
    }
}

fn is_worked_on(state: &State, job: u64) -> bool {
    state.describe(job).progress.expect("shown").tasks_running > 0
}

/// Whether a compaction copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    Copied,
    Held,
}

#[tokio::test(start_paused = true)]
async fn a_clone_with_copies_outlives_its_source_though_its_runner_dies_at_any_step() {
    for (site, dying) in cases(&[OF_TASKS, OF_COPIES, OF_A_PUBLICATION, OF_A_CLEANUP, OF_A_DROPPED_INSTANCE]) {
        outlives_its_source(site, dying, Files::Copied).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_holds_files_outlives_its_source_though_its_runner_dies_at_any_step() {
    for (site, dying) in cases(&[OF_TASKS, OF_A_PUBLICATION, OF_A_CLEANUP, OF_A_DROPPED_INSTANCE]) {
        outlives_its_source(site, dying, Files::Held).await;
    }
}

/// A clone is compacted and decoupled, and its source dropped; in the end the clone, too.
async fn outlives_its_source(site: &'static str, dying: Dying, files: Files) {
    let case = format!("{site}, {dying:?}, {files:?}");
    let scenario = FailScenario::setup();
    let mut world = World::new().await;
    let (names, contents) = names_and_contents(world.collection("source", 4, 10_000));
    world.start_all();
    let scope = make_clone(&world).await;
    let dead = arm(&world, site, dying);
    let job = compact(&world.state, files);
    let (shown, mut deaths) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{case}: {}", shown.reason);
    let shown_by = |world: &World, scope| sorted(world.files_in(scope, "source").expect("visible"));
    assert_eq!(shown_by(&world, scope), contents, "{case}: compacted");
    assert_eq!(shown_by(&world, 1), contents, "{case}: what is copied or held stays the source's");

    // What the source shows at its end is kept as long as every history, and what the clone holds for longer.
    let decouple = DecoupleInstanceCall::Native(DecoupleCloneRequest {
        instance_id: CLONE.to_owned(),
    });
    let decoupled = world.state.call::<DecoupleInstance>(decouple).expect("decoupled");
    assert_eq!(decoupled.holds_files, files == Files::Held, "{case}");
    drop_instance(&world.state, INSTANCE);
    world.state.apply(&CollectVersions::default()).expect("runs");
    deaths += world.revive_until("two minutes", after(Duration::from_secs(120))).await;
    let is_there = |world: &World, name: &String| world.vaults.path().join(name).is_file();
    assert!(names.iter().all(|name| is_there(&world, name)), "{case}: nothing of it is due");
    deaths += collect_all(&mut world).await;
    let left = world.vaults.files();
    match files {
        Files::Held => assert_eq!(left, names, "{case}: what is held, and nothing else"),
        Files::Copied => {
            assert_eq!(left.len(), contents.len(), "{case}: the copies, and nothing else: {left:?}");
            assert!(!names.iter().any(|name| is_there(&world, name)), "{case}: the source is gone");
        }
    }
    assert_eq!(shown_by(&world, scope), contents, "{case}: decoupled");

    drop_instance(&world.state, CLONE);
    deaths += collect_all(&mut world).await;
    assert_eq!(world.vaults.files(), Vec::<String>::new(), "{case}: nobody sees anything any more");
    assert_eq!(world.state.bench().counters().pins, 0, "{case}");
    assert_eq!(deaths, dead, "somebody dies: {case}");
    scenario.teardown();
}

#[tokio::test(start_paused = true)]
async fn a_compaction_whose_clone_is_dropped_fails_though_its_runner_dies_at_any_step() {
    for (site, dying) in cases(&[OF_GIVING_UP, OF_A_CLEANUP]) {
        let scenario = FailScenario::setup();
        let mut world = World::new().await;
        let (_, contents) = names_and_contents(world.collection("source", 4, 10_000));
        world.start_all();
        let pins = world.state.bench().counters().pins;
        make_clone(&world).await;
        let before = world.vaults.files();
        let job = compact(&world.state, Files::Copied);
        world.state.wait("a task", |state| is_worked_on(state, job)).await;
        let dead = arm(&world, site, dying);
        drop_instance(&world.state, CLONE);
        let (shown, mut deaths) = world.end_of(job).await;
        assert_eq!(shown.state(), JobState::JobFailed, "{site}, {dying:?}");
        assert!(shown.reason.ends_with("was dropped"), "{site}, {dying:?}: {}", shown.reason);
        deaths += world.swept().await;
        deaths += collect_all(&mut world).await;
        assert_eq!(deaths, dead, "somebody dies at {site}, {dying:?}");
        assert_eq!(
            world.vaults.files(),
            before,
            "{site}, {dying:?}: no copy, and all that the source has"
        );
        assert_eq!(
            sorted(world.visible_files("source").expect("visible")),
            contents,
            "{site}, {dying:?}"
        );
        let left = world.state.bench().counters().pins;
        assert_eq!(left, pins + 1, "{site}, {dying:?}: nothing but the snapshot's pin");
        scenario.teardown();
    }
}

fn names_and_contents(files: Vec<(String, Vec<u8>)>) -> (Vec<String>, Vec<Vec<u8>>) {
    let (names, contents): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    (sorted(names), sorted(contents))
}

/// Makes a clone of the whole instance as it is now, which shares its places; its scope.
async fn make_clone(world: &World) -> u64 {
    let create = CreateSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        name: "all".to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let created = world.state.call::<CreateSnapshot>(create).expect("created");
    let revision = Revision(created.snapshot.expect("shown").revision);
    let is_whole = |state: &State| {
        let found = state.read(|reader| snapshots::find(reader, ScopeId(1), revision)).expect("reads");
        found.is_some_and(|snapshot| snapshot.state() == SnapshotState::Committed && snapshot.record.manifests_listed)
    };
    world.state.wait("the snapshot and its manifests", is_whole).await;
    let request = CloneInstanceRequest {
        from_instance_id: Some(INSTANCE.to_owned()),
        from_snapshot_id: Some(snapshots::id::text(revision)),
        new_instance_id: Some(CLONE.to_owned()),
        clone_type: Some(CloneType::Writable as i32),
        ..CloneInstanceRequest::default()
    };
    let call = CloneInstanceCall {
        request,
        ..CloneInstanceCall::default()
    };
    world.state.call::<CloneInstance>(call).expect("cloned");
    let found = world.state.read(|reader| instances::find(reader, CLONE)).expect("reads");
    found.expect("there").scope.0
}

fn compact(state: &State, files: Files) -> u64 {
    let call = CompactSnapshotCall::Native(CompactCloneRequest {
        instance_id: CLONE.to_owned(),
        keep_files: Some(files == Files::Held),
    });
    state.call::<CompactSnapshot>(call).expect("started").job
}

fn drop_instance(state: &State, instance_id: &str) {
    let drop = DropInstance {
        instance_id: instance_id.to_owned(),
    };
    state.apply(&drop).expect("dropped");
}

/// True once so much of the test's own time has passed.
fn after(time: Duration) -> impl FnMut(&World) -> bool {
    let until = Instant::now() + time;
    move |_| Instant::now() >= until
}

/// Lets the history pass, and all go that nobody can see then; how many died meanwhile.
async fn collect_all(world: &mut World) -> usize {
    let mut deaths = world
        .revive_until("the end of the history", after(Duration::from_millis(HISTORY_WINDOW_MS)))
        .await;
    loop {
        // Each round may release what another scope kept.
        let now = world.state.now();
        let is_due = world.state.read(|reader| cleanup::behind_ms(reader, now)).expect("reads").is_some();
        if is_due {
            world.state.apply(&CollectVersions::default()).expect("runs");
        }
        deaths += world.swept().await;
        if !is_due {
            return deaths;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_written_and_deleted_though_its_runner_dies_at_any_step() {
    for (site, dying) in cases(&[OF_A_SNAPSHOT]) {
        let scenario = FailScenario::setup();
        let mut world = World::new().await;
        let files = world.collection("source", 4, 10_000);
        world.start_all();
        let dead = arm(&world, site, dying);
        let create = CreateSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            collection: "source".to_owned(),
            name: "s".to_owned(),
            ..CreateSnapshotRequest::default()
        };
        let created = world.state.call::<CreateSnapshot>(create).expect("created");
        let revision = created.snapshot.expect("shown").revision;
        let find = |world: &World| {
            let found = world.state.read(|reader| snapshots::find(reader, ScopeId(1), Revision(revision)));
            found.expect("reads")
        };
        let mut deaths = 0;
        while find(&world).is_some_and(|snapshot| !snapshot.record.manifests_listed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            deaths += world.revive().await;
        }
        let record = find(&world).expect("not dropped").record;
        let text = std::fs::read(world.vaults.path().join(&record.location)).expect("written");
        let metadata = SnapshotMetadata::from_json(&text).expect("whole");
        assert_eq!((metadata.manifest_list.len(), metadata.segment_ids.len()), (4, 4), "{site}");
        let created_ms = metadata.snapshot_info.create_ts >> 18;
        assert_eq!(
            created_ms, record.created_ms as i64,
            "{site}: milliseconds above 18 bits of counter"
        );
        for manifest in &metadata.manifest_list {
            assert!(world.vaults.path().join(manifest).is_file(), "{site}: {manifest}");
        }
        let drop = DropSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            snapshot: Some(SnapshotRef {
                collection: "source".to_owned(),
                name: "s".to_owned(),
                ..SnapshotRef::default()
            }),
        };
        world.state.call::<DropSnapshot>(drop).expect("dropped");
        while find(&world).is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            deaths += world.revive().await;
        }
        deaths += world.swept().await;
        assert_eq!(deaths, dead, "somebody dies at {site}, {dying:?}");
        assert_eq!(
            world.vaults.files(),
            sorted(files.into_iter().map(|(name, _)| name).collect()),
            "{site}"
        );
        scenario.teardown();
    }
}

/// Each collection's metadata file, as it was found, names so many manifests, all of which are there; how many collections have one.
fn described_collections(world: &World, revision: u64) -> Vec<usize> {
    let is_metadata = |name: &String| name.ends_with(&format!("/metadata/{revision}.json")) && !name.starts_with("snapshots/0/");
    let mut counts = Vec::new();
    for name in world.vaults.files().iter().filter(|name| is_metadata(name)) {
        let text = std::fs::read(world.vaults.path().join(name)).expect("written");
        let metadata = SnapshotMetadata::from_json(&text).expect("whole");
        assert!(
            metadata
                .manifest_list
                .iter()
                .all(|manifest| world.vaults.path().join(manifest).is_file()),
            "{name}"
        );
        counts.push(metadata.manifest_list.len());
    }
    sorted(counts)
}

#[tokio::test(start_paused = true)]
async fn manifests_of_an_instance_are_written_and_deleted_though_their_runner_dies_at_any_step() {
    for (site, dying) in cases(&[OF_A_SNAPSHOT, OF_TASKS, OF_A_PUBLICATION]) {
        let case = format!("{site}, {dying:?}");
        let scenario = FailScenario::setup();
        let mut world = World::new().await;
        let mut files = world.collection("one", 4, 100);
        files.extend(world.collection("two", 3, 100));
        world.collection("empty", 0, 0);
        world.start_all();
        let dead = arm(&world, site, dying);
        let create = CreateSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            name: "whole".to_owned(),
            ..CreateSnapshotRequest::default()
        };
        let created = world
            .state
            .call::<CreateSnapshot>(create)
            .expect("created")
            .snapshot
            .expect("shown");
        let find = |world: &World| {
            let found = world
                .state
                .read(|reader| snapshots::find(reader, ScopeId(1), Revision(created.revision)));
            found.expect("reads")
        };
        let is_listed = |world: &World| find(world).expect("not dropped").record.manifests_listed;
        let mut deaths = world.revive_until("the manifests", is_listed).await;
        assert_eq!(described_collections(&world, created.revision), [0, 3, 4], "{case}");
        let drop = DropSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            snapshot: Some(SnapshotRef {
                snapshot_id: created.snapshot_id.clone(),
                ..SnapshotRef::default()
            }),
        };
        world.state.call::<DropSnapshot>(drop).expect("dropped");
        deaths += world.revive_until("the snapshot is gone", |world| find(world).is_none()).await;
        deaths += world.swept().await;
        assert_eq!(deaths, dead, "somebody dies: {case}");
        let names = files.into_iter().map(|(name, _)| name).collect();
        assert_eq!(world.vaults.files(), sorted(names), "{case}: nothing of the snapshot");
        scenario.teardown();
    }
}

/// The data files that the manifests of a snapshot name, in order.
fn named_by_manifests(world: &World, snapshot: &snapshots::Snapshot) -> Vec<String> {
    let read = |name: &str| std::fs::read(world.vaults.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let metadata = SnapshotMetadata::from_json(&read(&snapshot.record.location)).expect("whole");
    let mut named = Vec::new();
    for manifest in &metadata.manifest_list {
        let entry = ManifestEntry::decode(FORMAT_VERSION, &read(manifest)).expect("whole");
        let listed = entry.binlog_files.into_iter().flat_map(|field| field.binlogs);
        named.extend(listed.map(|file| file.log_path));
    }
    sorted(named)
}

#[tokio::test(start_paused = true)]
async fn manifests_of_a_clone_outlive_its_source_though_their_runner_dies_at_any_step() {
    // All but its deletion.
    let of_manifests = &OF_A_SNAPSHOT[..OF_A_SNAPSHOT.len() - 1];
    for (site, dying) in cases(&[of_manifests, OF_A_PUBLICATION]) {
        let case = format!("{site}, {dying:?}");
        let scenario = FailScenario::setup();
        let mut world = World::new().await;
        let (names, contents) = names_and_contents(world.collection("source", 4, 1_000));
        world.start_all();
        let scope = make_clone(&world).await;
        let create = CreateSnapshotRequest {
            instance_id: CLONE.to_owned(),
            collection: "source".to_owned(),
            name: "kept".to_owned(),
            ..CreateSnapshotRequest::default()
        };
        let created = world.state.call::<CreateSnapshot>(create).expect("created");
        let revision = Revision(created.snapshot.expect("shown").revision);
        let find = |world: &World| {
            let found = world.state.read(|reader| snapshots::find(reader, ScopeId(scope), revision));
            found.expect("reads").expect("is kept")
        };
        let is_listed = |world: &World| find(world).record.manifests_listed;
        world.revive_until("the manifests", is_listed).await;
        assert_eq!(named_by_manifests(&world, &find(&world)), names, "{case}: it inherits them");

        let dead = arm(&world, site, dying);
        let job = compact(&world.state, Files::Copied);
        let (shown, mut deaths) = world.end_of(job).await;
        assert_eq!(shown.state(), JobState::JobCompleted, "{case}: {}", shown.reason);
        deaths += world.revive_until("the list of the manifests", is_listed).await;
        let decouple = DecoupleInstanceCall::Native(DecoupleCloneRequest {
            instance_id: CLONE.to_owned(),
        });
        world.state.call::<DecoupleInstance>(decouple).expect("decoupled");
        drop_instance(&world.state, INSTANCE);
        deaths += collect_all(&mut world).await;
        let is_there = |name: &String| world.vaults.path().join(name).is_file();
        assert!(!names.iter().any(is_there), "{case}: the source is gone");
        let named = named_by_manifests(&world, &find(&world));
        let read = |name: &String| std::fs::read(world.vaults.path().join(name)).unwrap_or_else(|error| panic!("{case}: {name}: {error}"));
        assert_eq!(sorted(named.iter().map(read).collect()), contents, "{case}");
        assert_eq!(deaths, dead, "somebody dies: {case}");
        scenario.teardown();
    }
}

/// Names in calls of `fail_point!` below a directory.
fn sites_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory of the source").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sites_below(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).expect("source is text");
            let calls = text.split("fail_point!(\"").skip(1);
            found.extend(calls.filter_map(|call| call.split('"').next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_site_of_this_crate_has_a_case() {
    let mut in_source = BTreeSet::new();
    sites_below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut in_source);
    let sites = [
        OF_TASKS,
        OF_COPIES,
        OF_A_PUBLICATION,
        OF_A_FAILURE,
        OF_GIVING_UP,
        OF_A_CLEANUP,
        OF_A_DROPPED_INSTANCE,
        OF_A_SNAPSHOT,
    ];
    assert_eq!(in_source, sites.concat().into_iter().map(str::to_owned).collect());
}
