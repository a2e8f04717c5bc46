//! A mount that hangs holds no more than a few threads of the process, however often the vault there is opened or marked. A test program of
//! its own: the threads stay until it ends.

use quorate_objects::limits::LOCAL_MARKERS_AT_ONCE;
use quorate_objects::{LocalPlace, MARKER_NAME, Patience, Vault, VaultPlace};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Each try is given up after this; none could succeed.
const A_MOMENT: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_mount_that_hangs_leaves_threads_for_everything_else() {
    let dir = TempDir::new().expect("directory");
    // Whoever opens it waits until somebody writes there.
    mkfifoat(CWD, dir.path().join(MARKER_NAME).as_path(), Mode::RUSR | Mode::WUSR).expect("made");
    let local = LocalPlace {
        root: dir.path().to_owned(),
        cluster_id: "c1".to_owned(),
        vault_id: "v1".to_owned(),
    };
    let place = VaultPlace::Local(local.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOCAL_MARKERS_AT_ONCE + 1)
        .build()
        .expect("a runtime");
    let (has_hung, other) = runtime.block_on(async {
        let mut has_hung = true;
        for _ in 0..2 * LOCAL_MARKERS_AT_ONCE {
            has_hung &= timeout(A_MOMENT, Vault::open(&place, Patience::default())).await.is_err();
            // As each new leader does.
            let former = vec!["c0".to_owned()];
            has_hung &= timeout(A_MOMENT, Vault::take_over_marker(&local, former)).await.is_err();
            has_hung &= timeout(A_MOMENT, Vault::create_marker(&local)).await.is_err();
        }
        (has_hung, timeout(PATIENCE, spawn_blocking(|| ())).await)
    });
    // Waiting for its threads would never end.
    runtime.shutdown_background();
    assert!(has_hung);
    other.expect("a thread is left").expect("no panic");
}
