//! What whoever makes a snapshot waits for comes soon, whatever else there is to do.

mod support;

use bytes::Bytes;
use quorate_jobs::settings::{PAGE_TRIES, VAULT_PAUSE};
use quorate_model::{Revision, ScopeId};
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::commands::{CreateSnapshot, PutAttribute, StartManifests};
use quorate_state_machine::snapshots::{self, Snapshot};
use quorate_wire::quorate::v1::{CreateSnapshotRequest, JobState, SnapshotState};
use std::time::Duration;
use support::testing::INSTANCE;
use support::{Part, State, World};
use tokio::time::Instant;

/// From the creation of a snapshot to its commit, in the test's own time: a pause between two looks, and an entry.
const SOON: Duration = Duration::from_millis(10);

/// Makes a snapshot of the collection `source`; its revision.
fn create(world: &World, name: &str) -> u64 {
    let request = CreateSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        collection: "source".to_owned(),
        name: name.to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let made = world.state.call::<CreateSnapshot>(request).expect("created");
    made.snapshot.expect("shown").revision
}

fn find(state: &State, revision: u64) -> Snapshot {
    let found = state.read(|reader| snapshots::find(reader, ScopeId(1), Revision(revision)));
    found.expect("reads").expect("is there")
}

async fn committed(world: &World, revision: u64) {
    let is_committed = |state: &State| find(state, revision).state() == SnapshotState::Committed;
    world.state.wait("the snapshot is committed", is_committed).await;
}

#[tokio::test(start_paused = true)]
async fn snapshots_that_are_made_one_after_the_other_are_committed_soon() {
    let mut world = World::new().await;
    world.collection("source", 0, 0);
    world.start(Part::Reconciler);
    for number in 0..10 {
        let began = Instant::now();
        let revision = create(&world, &format!("s{number}"));
        committed(&world, revision).await;
        assert!(began.elapsed() <= SOON, "snapshot {number} took {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_does_not_wait_for_the_start_of_another_one_s_job() {
    let mut world = World::new().await;
    world.collection("source", 1, 10);
    world.state.leave_hanging::<StartManifests>();
    world.start(Part::Reconciler);
    let first = create(&world, "first");
    committed(&world, first).await;
    world.state.wait("its job is started", |state| state.hung() > 0).await;
    let second = create(&world, "second");
    committed(&world, second).await;
}

/// How many looks for work on snapshots there are in so long a time.
async fn looks_in(world: &World, time: Duration) -> u64 {
    let before = world.state.snapshot_looks();
    tokio::time::sleep(time).await;
    world.state.snapshot_looks() - before
}

#[tokio::test(start_paused = true)]
async fn looks_at_snapshots_do_not_follow_what_concerns_none() {
    let mut world = World::new().await;
    world.start(Part::Reconciler);
    let (state, first) = (world.state.clone(), world.state.revision());
    let writer = tokio::spawn(async move {
        loop {
            let put = PutAttribute {
                instance_id: INSTANCE.to_owned(),
                name: "a".to_owned(),
                value: Bytes::from_static(b"v"),
                if_revision: None,
            };
            state.propose(&put).await.expect("put");
        }
    });
    let looks = looks_in(&world, Duration::from_secs(1)).await;
    writer.abort();
    assert!(world.state.revision().0 > first.0 + 500, "much is written meanwhile");
    assert!(looks < 10, "{looks} looks in a second");
}

/// A world in which so many snapshots wait for their manifests, which nobody writes.
async fn waiting(snapshots: u64) -> World {
    let mut world = World::new().await;
    let source = world.snapshot("source", 1, 10);
    let job = world.restore(&source, "copy", 0).expect("started");
    world.state.await_manifests(snapshots, job);
    world.start(Part::Reconciler);
    // Until their pauses have spread.
    tokio::time::sleep(Duration::from_secs(60)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn looks_at_snapshots_that_only_wait_do_not_grow_with_their_number() {
    let world = waiting(2_000).await;
    let looks = looks_in(&world, Duration::from_secs(10)).await;
    assert!(looks < 500, "{looks} looks in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_begun_soon_however_many_wait_for_their_manifests() {
    let world = waiting(400).await;
    for number in 0..10 {
        let began = Instant::now();
        let revision = create(&world, &format!("s{number}"));
        committed(&world, revision).await;
        assert!(began.elapsed() <= SOON, "snapshot {number} took {:?}", began.elapsed());
    }
}

/// Makes a snapshot whose manifests are planned and wait for a worker; its revision.
async fn planned(world: &World) -> u64 {
    let revision = create(world, "s");
    let is_planned = |state: &State| {
        let job = find(state, revision).record.manifest_job;
        job != 0 && state.describe(job).state() == JobState::JobRunning
    };
    world.state.wait("a plan", is_planned).await;
    revision
}

async fn listed(world: &World, revision: u64) {
    let are_listed = |state: &State| find(state, revision).record.manifests_listed;
    world.state.wait("the lists", are_listed).await;
}

#[tokio::test(start_paused = true)]
async fn plans_and_long_lists_are_read_away_from_the_thread_that_asks() {
    let mut world = World::new().await;
    world.collection("source", 3, 10);
    world.start(Part::Reconciler);
    let revision = planned(&world).await;
    let planning = world.state.large_reads();
    assert!(planning > 0, "a plan is made of many rows");
    world.start(Part::Worker);
    listed(&world, revision).await;
    assert!(world.state.large_reads() > planning, "and so are the lists");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_finds_no_place_is_read_again_before_its_file_is_begun_anew() {
    let tries = u64::from(PAGE_TRIES);
    for (refusals, is_begun_anew) in [(tries - 1, false), (tries, true)] {
        let mut world = World::new().await;
        world.collection("source", 3, 10);
        world.start(Part::Reconciler);
        let revision = planned(&world).await;
        world.state.refuse_large_reads(refusals);
        world.start(Part::Worker);
        let began = Instant::now();
        listed(&world, revision).await;
        assert_eq!(world.state.large_reads_to_refuse(), 0);
        assert_eq!(began.elapsed() >= VAULT_PAUSE, is_begun_anew, "{refusals}: {:?}", began.elapsed());
    }
}
