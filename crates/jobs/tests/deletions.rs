//! What cannot be deleted stays noted, and holds up nothing else.

mod support;

use quorate_model::{Revision, ScopeId};
use quorate_state_machine::access::Query;
use quorate_state_machine::commands::create_instance::CreateInstanceCall;
use quorate_state_machine::commands::{
    AbandonDeletions, CollectVersions, CreateCollection, CreateInstance, CreateSnapshot, DropCollection, DropInstance, DropSnapshot,
    FailSnapshot,
};
use quorate_state_machine::instances;
use quorate_state_machine::limits::HISTORY_WINDOW_MS;
use quorate_wire::doris::CreateInstanceRequest;
use quorate_wire::quorate::v1::{
    CreateCollectionRequest, CreateSnapshotRequest, DropCollectionRequest, DropSnapshotRequest, SnapshotRef, SnapshotState,
};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use support::testing::{INSTANCE, OTHER_INSTANCE};
use support::{Part, State, Trouble, World};

/// Puts a directory that is not empty where a file is; answers its path.
fn block(world: &World, name: &str) -> PathBuf {
    let file = world.vaults.path().join(name);
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("made");
    fs::write(file.join("other"), b"x").expect("written");
    file
}

/// Lets what was dropped be deleted, but for the file that is blocked.
async fn all_but_the_blocked_go(world: &mut World, blocked: &str) {
    tokio::time::sleep(Duration::from_millis(HISTORY_WINDOW_MS)).await;
    world.state.apply(&CollectVersions::default()).expect("runs");
    world.start(Part::Reconciler);
    let vaults = world.vaults.clone();
    let left = vec![format!("{blocked}/other")];
    world.state.wait("the others are deleted", |_| vaults.files() == left).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_deleted_holds_up_no_other() {
    let mut world = World::new().await;
    let names: Vec<String> = world.collection("logs", 3, 100).into_iter().map(|(name, _)| name).collect();
    let in_the_way = block(&world, &names[0]);
    drop_logs(&world.state);
    all_but_the_blocked_go(&mut world, &names[0]).await;

    fs::remove_dir_all(&in_the_way).expect("removed");
    fs::write(&in_the_way, b"x").expect("written");
    world.cleaned_up().await;
    assert!(world.vaults.files().is_empty(), "{:?}", world.vaults.files());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_found_in_a_share_that_went_away_is_not_deleted() {
    let mut world = World::new().await;
    let names: Vec<String> = world.collection("logs", 3, 100).into_iter().map(|(name, _)| name).collect();
    drop_logs(&world.state);
    tokio::time::sleep(Duration::from_millis(HISTORY_WINDOW_MS)).await;
    world.state.apply(&CollectVersions::default()).expect("runs");
    let root = world.vaults.path().to_owned();
    let moves: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (root.join(name), root.join(format!("away-{at}"))))
        .collect();
    moves.iter().for_each(|(file, away)| fs::rename(file, away).expect("moved"));
    // For the look before; afterwards the mount is known to be gone.
    world.vaults.trouble(Trouble::NoMarkerAfter(1));
    world.start(Part::Reconciler);
    tokio::time::sleep(Duration::from_secs(60)).await;
    for (file, away) in &moves {
        fs::create_dir_all(file.parent().expect("below the vault")).expect("made");
        fs::rename(away, file).expect("moved back");
    }
    world.vaults.open_again();
    world.cleaned_up().await;
    assert_eq!(world.vaults.files(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_page_of_files_that_cannot_be_deleted_holds_up_none_behind_it() {
    let mut world = World::new().await;
    let names: Vec<String> = world.collection("logs", 150, 10).into_iter().map(|(name, _)| name).collect();
    // More than are looked at together.
    let in_the_way = &names[..70];
    for name in in_the_way {
        block(&world, name);
    }
    drop_logs(&world.state);
    tokio::time::sleep(Duration::from_millis(HISTORY_WINDOW_MS)).await;
    world.state.apply(&CollectVersions::default()).expect("runs");
    let began = tokio::time::Instant::now();
    world.start(Part::Reconciler);
    let vaults = world.vaults.clone();
    world
        .state
        .wait("the others are deleted", |_| vaults.files().len() == in_the_way.len())
        .await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "the vault itself is fine, it needs no pause"
    );
}

fn drop_logs(state: &State) {
    let drop = DropCollectionRequest {
        instance_id: INSTANCE.to_owned(),
        name: "logs".to_owned(),
        ..DropCollectionRequest::default()
    };
    state.call::<DropCollection>(drop).expect("dropped");
}

/// Takes a snapshot of `logs`; answers its revision.
fn snapshot_logs(state: &State, instance_id: &str) -> u64 {
    let create = CreateSnapshotRequest {
        instance_id: instance_id.to_owned(),
        collection: "logs".to_owned(),
        name: "s".to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let reply = state.call::<CreateSnapshot>(create).expect("created");
    reply.snapshot.expect("a success has it").revision
}

fn state_of(state: &State, scope: u64, revision: u64) -> Option<SnapshotState> {
    state.read(|reader| {
        let found = quorate_state_machine::snapshots::find(reader, ScopeId(scope), Revision(revision)).expect("reads");
        found.map(|snapshot| snapshot.state())
    })
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_hangs_holds_up_no_other_ones_snapshots_and_deletions() {
    let mut world = World::new().await;
    world.collection("logs", 3, 100);
    world.give_store(OTHER_INSTANCE, "1");
    let create = CreateCollectionRequest {
        instance_id: OTHER_INSTANCE.to_owned(),
        name: "logs".to_owned(),
        vault: "1".to_owned(),
        ..CreateCollectionRequest::default()
    };
    world.state.call::<CreateCollection>(create).expect("created");
    world.vaults.trouble_in(2, Trouble::Hangs);
    world.start(Part::Reconciler);
    let hung = snapshot_logs(&world.state, OTHER_INSTANCE);
    world.state.leave_unanswered::<FailSnapshot>();
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(
        state_of(&world.state, 2, hung),
        Some(SnapshotState::Pending),
        "it cannot be given up now"
    );

    let fine = snapshot_logs(&world.state, INSTANCE);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(state_of(&world.state, 1, fine), Some(SnapshotState::Committed));
    let drop = DropSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(SnapshotRef {
            collection: "logs".to_owned(),
            name: "s".to_owned(),
            ..SnapshotRef::default()
        }),
    };
    world.state.call::<DropSnapshot>(drop).expect("dropped");
    drop_logs(&world.state);
    tokio::time::sleep(Duration::from_millis(HISTORY_WINDOW_MS)).await;
    world.state.apply(&CollectVersions::default()).expect("runs");
    let vaults = world.vaults.clone();
    world
        .state
        .wait("files of the vault that works are deleted", |_| vaults.files().is_empty())
        .await;
    assert_ne!(state_of(&world.state, 2, hung), Some(SnapshotState::Committed));
    let given_up = |state: &State| !matches!(state_of(state, 2, hung), Some(SnapshotState::Pending));
    world.state.answer_again();
    world.state.wait("the snapshot whose vault hangs is given up", given_up).await;
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_dropped_instance_goes_when_its_last_file_is_deleted() {
    let scope = |state: &State| state.read(|reader| instances::scope_of(reader, INSTANCE).expect("reads"));
    let mut world = World::new().await;
    let names: Vec<String> = world.collection("logs", 3, 100).into_iter().map(|(name, _)| name).collect();
    let in_the_way = block(&world, &names[0]);
    let drop = DropInstance {
        instance_id: INSTANCE.to_owned(),
    };
    world.state.apply(&drop).expect("dropped");
    all_but_the_blocked_go(&mut world, &names[0]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(scope(&world.state), Some(ScopeId(1)), "the deleter needs it");

    fs::remove_dir_all(&in_the_way).expect("removed");
    fs::write(&in_the_way, b"x").expect("written");
    world.cleaned_up().await;
    world.state.wait("the record goes", |state| scope(state).is_none()).await;
    let request = CreateInstanceRequest {
        instance_id: Some(INSTANCE.to_owned()),
        ..CreateInstanceRequest::default()
    };
    let call = CreateInstanceCall {
        request,
        ..CreateInstanceCall::default()
    };
    world.state.call::<CreateInstance>(call).expect("the id is free");
    assert!(scope(&world.state).is_some_and(|scope| scope.0 > 3), "and its scope a new one");
    world.collection("logs", 2, 100);
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_dropped_instance_goes_when_files_of_a_lost_vault_are_given_up() {
    let scope = |state: &State| state.read(|reader| instances::scope_of(reader, INSTANCE).expect("reads"));
    let mut world = World::new().await;
    world.collection("logs", 3, 100);
    let drop = DropInstance {
        instance_id: INSTANCE.to_owned(),
    };
    world.state.apply(&drop).expect("dropped");
    world.vaults.close();
    tokio::time::sleep(Duration::from_millis(HISTORY_WINDOW_MS)).await;
    world.state.apply(&CollectVersions::default()).expect("runs");
    world.start(Part::Reconciler);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(scope(&world.state), Some(ScopeId(1)), "the deleter tries it again and again");

    let abandon = AbandonDeletions {
        instance_id: INSTANCE.to_owned(),
        ..AbandonDeletions::default()
    };
    let reply = world.state.apply(&abandon).expect("given up");
    assert_eq!((reply.directories, reply.files), (3, 3));
    world.state.wait("the record goes", |state| scope(state).is_none()).await;
    assert_eq!(world.vaults.files().len(), 3, "nothing was deleted");
    let opened = world.vaults.opened();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.vaults.opened(), opened, "nobody tries it any more");
}
