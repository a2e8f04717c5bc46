//! Restores from start to end over real files: what comes of them when all goes well, and when it does not.

mod support;

use quorate_model::{Revision, ScopeId};
use quorate_objects::manifest::{FORMAT_VERSION, ManifestEntry};
use quorate_objects::metadata::SnapshotMetadata;
use quorate_state_machine::access::Query;
use quorate_state_machine::catalog::find_collection;
use quorate_state_machine::commands::{CancelJob, ChangeSetting, ClaimTasks, CreateCollection, CreateRestore, CreateSnapshot, RenewClaims};
use quorate_state_machine::snapshots;
use quorate_state_machine::versioned::Lineage;
use quorate_wire::quorate::v1::{
    ClaimProgress, CreateCollectionRequest, CreateSnapshotRequest, JobState, RestoreSnapshotRequest, SnapshotRef, SnapshotState,
};
use serde_json::json;
use std::time::Duration;
use support::testing::INSTANCE;
use support::{Part, State, Trouble, World, sorted};

#[tokio::test(start_paused = true)]
async fn a_restore_copies_every_file_and_appears_when_all_is_there() {
    let (mut world, source, job) = World::restoring(7, 100_000).await;
    assert_eq!(world.visible_files("copy"), None);
    world.start_all();
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents());
    let progress = shown.progress.expect("shown");
    assert_eq!((progress.percent, progress.bytes_done, progress.files_done), (100, 700_000, 7));
    world.cleaned_up().await;
    assert_eq!(world.vaults.files().len(), 14, "originals and copies");
    let counted = quorate_jobs::Counters::get(&world.counters.tasks_completed);
    assert_eq!(
        (counted, world.counters.task_times.take().len() as u64),
        (progress.tasks_total, progress.tasks_total)
    );
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_reads_nothing_back_copies_every_file_too() {
    let (mut world, source, job) = World::restoring(7, 100_000).await;
    let change = ChangeSetting {
        name: "read_back_copies".to_owned(),
        value: Some(0),
    };
    world.state.apply(&change).expect("set");
    world.start_all();
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents());
}

#[tokio::test(start_paused = true)]
async fn a_collection_without_segments_is_restored_too() {
    let (mut world, _, job) = World::restoring(0, 0).await;
    world.start(Part::Reconciler);
    assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
    assert_eq!(world.visible_files("copy"), Some(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_is_no_message_stands_apart_in_the_file_and_is_restored_byte_for_byte() {
    const SCHEMA: &str = " [ {\"name\": \"id\"} ]";
    let mut world = World::new().await;
    world.start_all();
    let create = CreateCollectionRequest {
        instance_id: INSTANCE.to_owned(),
        name: "source".to_owned(),
        schema: SCHEMA.into(),
        ..CreateCollectionRequest::default()
    };
    world.state.call::<CreateCollection>(create).expect("created");
    let create = CreateSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        collection: "source".to_owned(),
        name: "s".to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let made = world.state.call::<CreateSnapshot>(create).expect("created").snapshot;
    let made = made.expect("shown");
    let find = |state: &State| {
        let found = state.read(|reader| snapshots::find(reader, ScopeId(1), Revision(made.revision)));
        found.expect("reads").expect("is there")
    };
    let is_committed = |state: &State| find(state).state() == SnapshotState::Committed;
    world.state.wait("the snapshot is committed", is_committed).await;
    let file = world.vaults.path().join(find(&world.state).record.location);
    let metadata = SnapshotMetadata::from_json(&std::fs::read(file).expect("written")).expect("whole");
    assert_eq!(
        (metadata.collection.schema, metadata.collection.schema_as_given),
        (json!(null), json!([{"name": "id"}]))
    );

    let request = RestoreSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(SnapshotRef {
            snapshot_id: made.snapshot_id.clone(),
            ..SnapshotRef::default()
        }),
        target_collection: "copy".to_owned(),
        ..RestoreSnapshotRequest::default()
    };
    let job = world.state.call::<CreateRestore>(request).expect("started").job_id;
    assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
    let copy = world.state.read(|reader| {
        let lineage = Lineage::of(reader, ScopeId(1), Revision(u64::MAX)).expect("reads");
        find_collection(reader, &lineage, "default", "copy").expect("visible")
    });
    assert_eq!(&copy.record.schema[..], SCHEMA.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_restored_out_of_an_instance_s_snapshot_whose_file_lists_it() {
    let mut world = World::new().await;
    let files = world.collection("source", 3, 1_000);
    world.collection("empty", 0, 0);
    // Nobody writes manifests before a worker is there, and nobody waits for them.
    world.start(Part::Reconciler);
    let create = CreateSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        name: "whole".to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let made = world
        .state
        .call::<CreateSnapshot>(create)
        .expect("created")
        .snapshot
        .expect("shown");
    let find = |state: &State| {
        let found = state.read(|reader| snapshots::find(reader, ScopeId(1), Revision(made.revision)));
        found.expect("reads").expect("is there")
    };
    let is_committed = |state: &State| find(state).state() == SnapshotState::Committed;
    world.state.wait("the snapshot is committed", is_committed).await;
    assert!(world.state.large_reads() > 0, "what its file lists may be many rows");
    let file = world.vaults.path().join(find(&world.state).record.location);
    let metadata = SnapshotMetadata::from_json(&std::fs::read(file).expect("written")).expect("whole");
    let instance = metadata.instance.expect("of an instance");
    let sums = |position: usize| {
        let one = &instance.collections[position];
        (one.name.as_str(), one.num_segments, one.num_files, one.num_bytes)
    };
    assert_eq!((sums(0), sums(1)), (("empty", 0, 0, 0), ("source", 3, 3, 3_000)));
    assert_eq!((instance.collections.len(), instance.more_collections), (2, false));
    assert!(instance.lacks.contains(&"segment_ids".to_owned()), "{instance:?}");

    assert!(instance.collections.iter().all(|one| one.s3_location.is_empty()), "{instance:?}");
    world.start(Part::Worker);
    let is_listed = |state: &State| find(state).record.manifests_listed;
    world.state.wait("the manifests", is_listed).await;
    assert_eq!(
        find(&world.state).record.stats.map(|stats| (stats.segments, stats.files)),
        Some((3, 3))
    );
    describe_files_of_collections(&world, &find(&world.state), &files);

    let request = RestoreSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(SnapshotRef {
            snapshot_id: made.snapshot_id.clone(),
            ..SnapshotRef::default()
        }),
        source_collection: "source".to_owned(),
        target_collection: "copy".to_owned(),
        ..RestoreSnapshotRequest::default()
    };
    let job = world.state.call::<CreateRestore>(request).expect("started").job_id;
    assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
    let contents = files.into_iter().map(|(_, content)| content).collect();
    assert_eq!(sorted(world.visible_files("copy").expect("visible")), sorted(contents));
}

/// The file of an instance's snapshot, `empty` first, names a metadata file for each collection; that of `source` lists a manifest for each
/// segment, and these name its files.
fn describe_files_of_collections(world: &World, snapshot: &snapshots::Snapshot, files: &[(String, Vec<u8>)]) {
    let read = |name: &str| std::fs::read(world.vaults.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let metadata = |name: &str| SnapshotMetadata::from_json(&read(name)).expect("whole");
    let instance = metadata(&snapshot.record.location).instance.expect("of an instance");
    let (mut manifests, mut named) = (Vec::new(), Vec::new());
    for one in &instance.collections {
        let expected = format!("snapshots/{}/metadata/{}.json", one.id, snapshot.revision);
        assert_eq!(one.s3_location, expected);
        let described = metadata(&one.s3_location);
        assert_eq!(
            (described.snapshot_info.collection_id, described.snapshot_info.id),
            (one.id, snapshot.revision.0 as i64)
        );
        assert!(
            described.instance.is_none() && !described.collection.partitions.is_empty(),
            "{described:?}"
        );
        assert_eq!(described.segment_ids.len(), described.manifest_list.len());
        manifests.push(described.manifest_list.len());
        for manifest in &described.manifest_list {
            assert!(
                manifest.starts_with(&format!("snapshots/{}/manifests/{}/", one.id, snapshot.revision)),
                "{manifest}"
            );
            let entry = ManifestEntry::decode(FORMAT_VERSION, &read(manifest)).expect("whole");
            let listed = entry.binlog_files.into_iter().flat_map(|field| field.binlogs);
            named.extend(listed.map(|file| file.log_path));
        }
    }
    assert_eq!(manifests, [0, 3]);
    assert_eq!(sorted(named), sorted(files.iter().map(|(name, _)| name.clone()).collect()));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_small_segments_are_restored() {
    let (mut world, source, job) = World::restoring(1_000, 10).await;
    world.start_all();
    assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
    assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents());
}

/// Starts the reconciler and waits until it has divided the job.
async fn planned(world: &mut World, job: u64) {
    world.start(Part::Reconciler);
    world
        .state
        .wait("a plan", |state| state.describe(job).progress.expect("shown").tasks_total > 0)
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_claim_of_a_worker_that_died_is_taken_over() {
    let (mut world, source, job) = World::restoring(3, 1_000).await;
    planned(&mut world, job).await;
    // Somebody who claims and is never heard of again.
    let claim = ClaimTasks {
        worker: "dead".to_owned(),
        max: 16,
        avoid_jobs: Vec::new(),
        min_age_ms: 0,
    };
    assert!(!world.state.apply(&claim).expect("claimed").tasks.is_empty());
    let began = tokio::time::Instant::now();
    world.start(Part::Worker);
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    assert!(began.elapsed() >= Duration::from_secs(10), "not before its lease was over");
    assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents());
    world.cleaned_up().await;
    assert_eq!(world.vaults.files().len(), 6);
    assert!(quorate_jobs::Counters::get(&world.counters.claims_expired) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_claim_ends_with_the_lease_that_it_was_made_with_whatever_is_set_later() {
    for (lease_ms, set_later_ms) in [(3_000, 600_000), (60_000, 3_000)] {
        let (mut world, source, job) = World::restoring(3, 1_000).await;
        planned(&mut world, job).await;
        let set = |value| ChangeSetting {
            name: "claim_lease_ms".to_owned(),
            value: Some(value),
        };
        world.state.apply(&set(lease_ms)).expect("set");
        let claim = ClaimTasks {
            worker: "dead".to_owned(),
            max: 16,
            avoid_jobs: Vec::new(),
            min_age_ms: 0,
        };
        let claims = world.state.apply(&claim).expect("claimed").tasks;
        assert!(
            !claims.is_empty() && claims.iter().all(|claim| claim.lease_ms == lease_ms),
            "{claims:?}"
        );
        world.state.apply(&set(set_later_ms)).expect("set");
        let began = tokio::time::Instant::now();
        world.start(Part::Worker);
        let (shown, _) = world.end_of(job).await;
        assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
        let (lease, took) = (Duration::from_millis(lease_ms), began.elapsed());
        assert!(
            took >= lease && took < lease + Duration::from_secs(10),
            "a lease of {lease:?}, {took:?}"
        );
        assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents());
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_outlives_a_jump_of_the_wall_clock() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 3, 1_000);
    let job = world.restore(&source, "copy", 0).expect("started");
    planned(&mut world, job).await;
    let claim = ClaimTasks {
        worker: "slow".to_owned(),
        max: 16,
        avoid_jobs: Vec::new(),
        min_age_ms: 0,
    };
    let claims = world
        .state
        .apply(&claim)
        .expect("claimed")
        .tasks
        .into_iter()
        .map(|task| ClaimProgress {
            job_id: task.job_id,
            task: task.task,
            fence: task.fence,
            ..ClaimProgress::default()
        });
    let claims: Vec<_> = claims.collect();
    assert!(!claims.is_empty());
    let renew = RenewClaims {
        worker: "slow".to_owned(),
        claims,
    };
    // The leader has seen the claims; then somebody sets the clock.
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.state.jump(Duration::from_secs(300));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.state.apply(&renew).expect("renewed").lost.is_empty(), "its lease is not over");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(
        !world.state.apply(&renew).expect("answered").lost.is_empty(),
        "a lease without a renewal is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_result_whose_answer_was_lost_keeps_its_files() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 3, 1_000);
    let job = world.restore(&source, "copy", 0).expect("started");
    world.state.lose_a_result();
    world.start(Part::Reconciler);
    world.start(Part::Worker);
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    assert_eq!(world.state.results_to_lose(), 0, "an answer was lost");
    // The worker says it again, and is told that it did not count.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents());
}

#[tokio::test(start_paused = true)]
async fn a_missing_source_file_fails_the_job_at_once_and_by_name() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 3, 1_000);
    let missing = world.vaults.path().join(&source.files[1].0);
    std::fs::remove_file(&missing).expect("removed");
    failed_at_once(&mut world, &source, &missing.display().to_string(), 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_file_with_other_content_fails_the_job_at_once() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 3, 1_000);
    let damaged = world.vaults.path().join(&source.files[2].0);
    std::fs::write(&damaged, vec![7; 1_000]).expect("written");
    failed_at_once(&mut world, &source, "checksum", 3).await;
}

async fn failed_at_once(world: &mut World, source: &support::Source, reason: &str, left: usize) {
    let job = world.restore(source, "copy", 0).expect("started");
    world.start_all();
    let began = tokio::time::Instant::now();
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobFailed);
    assert!(shown.reason.contains(reason), "{}", shown.reason);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "no further try, it took {took:?}: {shown:?}");
    assert_eq!(world.visible_files("copy"), None);
    world.cleaned_up().await;
    assert_eq!(world.vaults.files().len(), left, "nothing but the sources is left");
    let failures = [&world.counters.failures_retryable, &world.counters.failures_fatal].map(quorate_jobs::Counters::get);
    assert_eq!(failures, [0, 1]);
    assert!(world.restore(source, "copy", 0).is_ok(), "the name is free again");
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_away_is_waited_for_until_the_job_s_time_is_over() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 1, 1_000);
    world.vaults.close();
    let job = world.restore(&source, "copy", 900).expect("started");
    world.start_all();
    let began = tokio::time::Instant::now();
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobFailed);
    assert!(
        shown.reason.contains("900 s") && shown.reason.contains("no marker"),
        "{}",
        shown.reason
    );
    assert!(began.elapsed() >= Duration::from_secs(900), "it was not given up");
    // Rows stay while the files cannot be deleted.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(quorate_jobs::Counters::get(&world.counters.delete_errors) > 0);
    assert!(quorate_jobs::Counters::get(&world.counters.failures_retryable) > 0);
    world.vaults.open_again();
    world.cleaned_up().await;
    assert_eq!(world.vaults.files(), source.names());
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_comes_back_in_time_is_used() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 1, 1_000);
    world.vaults.close();
    let job = world.restore(&source, "copy", 0).expect("started");
    world.start_all();
    // Far longer than the attempts of a task would last.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    world.vaults.open_again();
    assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
}

#[tokio::test(start_paused = true)]
async fn a_share_that_goes_away_in_the_middle_is_no_missing_file() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 1, 1_000);
    let name = source.names().swap_remove(0);
    let (file, away) = (world.vaults.path().join(&name), world.vaults.path().join("away"));
    std::fs::rename(&file, &away).expect("moved");
    // For the target and the source; what the copy finds after that is an empty mount point.
    world.vaults.trouble(Trouble::NoMarkerAfter(2));
    let job = world.restore(&source, "copy", 0).expect("started");
    world.start_all();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.state.describe(job).state(), JobState::JobRunning);
    std::fs::rename(&away, &file).expect("moved back");
    world.vaults.open_again();
    assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_the_vault_leaves_the_job_to_the_others() {
    // Twelve tasks; the worker that can do them needs a minute for all, four at a time.
    let (mut world, source, job) = World::restoring(3_000, 100).await;
    let (unmounted, slow) = (world.vaults.on_another_machine(), world.vaults.on_another_machine());
    unmounted.close();
    slow.trouble(Trouble::Slow(Duration::from_secs(20)));
    world.start(Part::Reconciler);
    world.start_worker(unmounted);
    world.start_worker(slow);
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents());
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_mount_hangs_gives_its_tasks_back_and_takes_no_further_ones() {
    let (mut world, source, job) = World::restoring(3, 1_000).await;
    let hung = world.vaults.on_another_machine();
    hung.trouble(Trouble::Hangs);
    world.start(Part::Reconciler);
    world.start_worker(hung.clone());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(hung.opened() > 0, "it has claimed");
    let began = tokio::time::Instant::now();
    world.start(Part::Worker);
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    assert!(
        began.elapsed() >= Duration::from_secs(270),
        "a large file of a slow store has its time"
    );
    assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents());
    // A claim that was waiting when it found out may still be answered.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let opened = hung.opened();
    let other = world.snapshot("other", 3, 1_000);
    let job = world.restore(&other, "second", 0).expect("started");
    assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
    assert_eq!(hung.opened(), opened, "it rests");
}

#[tokio::test(start_paused = true)]
async fn a_small_job_does_not_wait_for_a_large_one_that_has_every_place() {
    // Twelve tasks, of which four hang in the only worker.
    let (mut world, _, large) = World::restoring(3_000, 10).await;
    let small = world.snapshot("small", 3, 10);
    world.vaults.trouble(Trouble::Hangs);
    world.start_all();
    let running = |state: &State| state.describe(large).progress.expect("shown").tasks_running;
    world.state.wait("four claims", |state| running(state) == 4).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.vaults.open_again();
    let began = tokio::time::Instant::now();
    for number in 0..10 {
        let job = world.restore(&small, &format!("small{number}"), 0).expect("started");
        assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "long before those are given back");
    assert_eq!(
        running(&world.state),
        4,
        "a job has no more places than a worker does tasks at once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_leaves_small_jobs_to_those_that_are_idle() {
    // Twelve tasks: four hang in the one, the other does the rest.
    let (mut world, _, large) = World::restoring(3_000, 10).await;
    let small = world.snapshot("small", 3, 10);
    let hung = world.vaults.on_another_machine();
    hung.trouble(Trouble::Hangs);
    world.start(Part::Reconciler);
    world.start_worker(hung.clone());
    let progress = |state: &State| state.describe(large).progress.expect("shown");
    world.state.wait("four claims", |state| progress(state).tasks_running == 4).await;
    world.start(Part::Worker);
    world.state.wait("the rest", |state| progress(state).tasks_done == 8).await;
    let (began, opened) = (tokio::time::Instant::now(), hung.opened());
    for number in 0..10 {
        let job = world.restore(&small, &format!("small{number}"), 0).expect("started");
        assert_eq!(world.end_of(job).await.0.state(), JobState::JobCompleted);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "none waited until it was given back");
    assert_eq!(hung.opened(), opened);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_while_it_copies_leaves_nothing() {
    let (mut world, source, job) = World::restoring(300, 1_000).await;
    world.start_all();
    world
        .state
        .wait("a claim", |state| state.describe(job).progress.expect("shown").tasks_running > 0)
        .await;
    let cancel = CancelJob {
        job,
        reason: "not needed".to_owned(),
    };
    world.state.apply(&cancel).expect("cancelled");
    let (shown, _) = world.end_of(job).await;
    assert_eq!((shown.state(), shown.reason.as_str()), (JobState::JobCancelled, "not needed"));
    world.cleaned_up().await;
    assert_eq!(world.vaults.files(), source.names());
    assert_eq!(world.visible_files("copy"), None);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_workers_fails_when_its_time_is_over() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 1, 1_000);
    let job = world.restore(&source, "copy", 60).expect("started");
    world.start(Part::Reconciler);
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobFailed);
    assert!(shown.reason.contains("within its 60 s"), "{}", shown.reason);
}

#[tokio::test(start_paused = true)]
async fn a_job_has_its_time_by_the_clock_that_stamps_entries() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 1, 1_000);
    let job = world.restore(&source, "copy", 60).expect("started");
    world.state.stamp_behind(Duration::from_secs(5));
    world.start(Part::Reconciler);
    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobFailed);
    assert!(shown.ended_ms >= shown.deadline_ms, "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn ten_jobs_end_though_their_leader_and_their_worker_change() {
    let mut world = World::new().await;
    let source = world.snapshot("source", 20, 1_000);
    let jobs: Vec<u64> = (0..10)
        .map(|number| world.restore(&source, &format!("copy{number}"), 0).expect("started"))
        .collect();
    world.start_all();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.kill(Part::Reconciler).await;
        world.kill(Part::Worker).await;
        world.start_all();
    }
    for (number, job) in jobs.iter().enumerate() {
        let (shown, _) = world.end_of(*job).await;
        assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
        assert_eq!(
            sorted(world.visible_files(&format!("copy{number}")).expect("visible")),
            source.contents()
        );
    }
    world.cleaned_up().await;
    assert_eq!(world.vaults.files().len(), 20 * 11);
}
