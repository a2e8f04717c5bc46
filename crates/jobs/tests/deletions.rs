//! What cannot be deleted stays noted, and holds up nothing else.

mod support;

use quorate_state_machine::commands::{CollectVersions, DropCollection};
use quorate_state_machine::limits::HISTORY_WINDOW_MS;
use quorate_wire::quorate::v1::DropCollectionRequest;
use std::fs;
use std::time::Duration;
use support::testing::INSTANCE;
use support::{Part, World};

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_deleted_holds_up_no_other() {
    let mut world = World::new().await;
    let names: Vec<String> = world.collection("logs", 3, 100).into_iter().map(|(name, _)| name).collect();
    // A directory that is not empty stands where a file was.
    let in_the_way = world.vaults.path().join(&names[0]);
    fs::remove_file(&in_the_way).expect("removed");
    fs::create_dir(&in_the_way).expect("made");
    fs::write(in_the_way.join("other"), b"x").expect("written");
    let drop = DropCollectionRequest {
        instance_id: INSTANCE.to_owned(),
        name: "logs".to_owned(),
        ..DropCollectionRequest::default()
    };
    world.state.call::<DropCollection>(drop).expect("dropped");
    tokio::time::sleep(Duration::from_millis(HISTORY_WINDOW_MS)).await;
    world.state.apply(&CollectVersions::default()).expect("runs");
    world.start(Part::Reconciler);
    let vaults = world.vaults.clone();
    let left = vec![format!("{}/other", names[0])];
    world.state.wait("the others are deleted", |_| vaults.files() == left).await;

    fs::remove_dir_all(&in_the_way).expect("removed");
    fs::write(&in_the_way, b"x").expect("written");
    world.cleaned_up().await;
    assert!(world.vaults.files().is_empty(), "{:?}", world.vaults.files());
}
