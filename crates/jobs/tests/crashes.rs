//! A reconciler or a worker dies at each step. Whoever comes next goes on: the job ends, completed with every file right, or failed
//! with nothing to be seen and nothing left.

mod support;

use fail::FailScenario;
use quorate_model::{Revision, ScopeId};
use quorate_objects::metadata::SnapshotMetadata;
use quorate_state_machine::access::Query;
use quorate_state_machine::commands::{CancelJob, CreateSnapshot, DropSnapshot};
use quorate_state_machine::snapshots;
use quorate_wire::quorate::v1::{CreateSnapshotRequest, DropSnapshotRequest, JobState, SnapshotRef};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use support::testing::INSTANCE;
use support::{World, sorted};

/// Sites that a restore passes.
const OF_A_RESTORE: &[&str] = &[
    "job_plan_before",
    "job_plan_after",
    "job_task_claimed",
    "job_copy_start",
    "job_file_copied",
    "job_copy_synced",
    "job_complete_before",
    "job_complete_after",
    "job_publish_before",
    "job_publish_after",
];
/// Sites that the clean-up of a cancelled job passes.
const OF_A_CLEANUP: &[&str] = &["delete_read", "delete_files_after", "delete_finish_before", "delete_finish_after"];
/// Sites that a snapshot passes, from its creation until it is gone.
const OF_A_SNAPSHOT: &[&str] = &[
    "snapshot_metadata_written",
    "snapshot_commit_after",
    "job_manifests_before",
    "job_manifests_after",
    "snapshot_files_deleted",
];

#[tokio::test(start_paused = true)]
async fn a_restore_completes_though_its_runner_dies_at_any_step() {
    for site in OF_A_RESTORE {
        let scenario = FailScenario::setup();
        let (mut world, source, job) = World::restoring(4, 10_000).await;
        fail::cfg(*site, "1*panic->off").expect("a site");
        world.start_all();
        let (shown, mut deaths) = world.end_of(job).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        deaths += world.revive().await;
        assert_eq!(deaths, 1, "somebody dies at {site}");
        assert_eq!(shown.state(), JobState::JobCompleted, "{site}: {}", shown.reason);
        assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents(), "{site}");
        world.cleaned_up().await;
        assert_eq!(
            world.vaults.files().len(),
            8,
            "{site}: sources and copies, and nothing of a lost claim"
        );
        scenario.teardown();
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_leaves_nothing_though_its_runner_dies_at_any_step() {
    for site in OF_A_CLEANUP {
        let scenario = FailScenario::setup();
        let (mut world, source, job) = World::restoring(4, 10_000).await;
        world.start_all();
        world
            .state
            .wait("a task", |state| state.describe(job).progress.expect("shown").tasks_running > 0)
            .await;
        fail::cfg(*site, "1*panic->off").expect("a site");
        let cancel = CancelJob {
            job,
            reason: String::new(),
        };
        world.state.apply(&cancel).expect("cancelled");
        let mut deaths = 0;
        while deaths == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            deaths += world.revive().await;
        }
        world.cleaned_up().await;
        assert_eq!(world.vaults.files(), source.names(), "{site}");
        assert_eq!(world.visible_files("copy"), None, "{site}");
        scenario.teardown();
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_written_and_deleted_though_its_runner_dies_at_any_step() {
    for site in OF_A_SNAPSHOT {
        let scenario = FailScenario::setup();
        let mut world = World::new().await;
        let files = world.collection("source", 4, 10_000);
        fail::cfg(*site, "1*panic->off").expect("a site");
        world.start_all();
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
        assert_eq!(deaths, 1, "somebody dies at {site}");
        world.cleaned_up().await;
        assert_eq!(
            world.vaults.files(),
            sorted(files.into_iter().map(|(name, _)| name).collect()),
            "{site}"
        );
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
    let cases = [OF_A_RESTORE, OF_A_CLEANUP, OF_A_SNAPSHOT].concat();
    assert_eq!(in_source, cases.into_iter().map(str::to_owned).collect());
}
