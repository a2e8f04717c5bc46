//! Receivers of checkpoints that do not get on.

use super::*;
use crate::fake_peer::FakePeer;
use crate::types::LeaderIdOf;
use quorate_storage::state::RaftRows;
use tempfile::TempDir;

/// Manifest, two pieces and the end of one file, one piece and the end of the other, and the end of all.
const TAKES_ALL: usize = 7;

/// Two files, one of them of two pieces.
fn checkpoint() -> (TempDir, Arc<Checkpoint>) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let files = dir.path().join("checkpoint");
    std::fs::create_dir(&files).expect("made");
    std::fs::write(files.join("large"), vec![7; PIECE_BYTES + 1]).expect("written");
    std::fs::write(files.join("small"), b"small").expect("written");
    let checkpoint = Arc::new(Checkpoint::new(files, RaftRows::default()));
    (dir, checkpoint)
}

fn vote() -> Vote {
    Vote {
        leader_id: LeaderIdOf { term: 2, node_id: 1 },
        committed: true,
    }
}

fn installed() -> Option<wire::InstallReply> {
    Some(wire::InstallReply {
        vote: Some(convert::vote_to_wire(&vote())),
        ..Default::default()
    })
}

/// The way to peer 2.
fn network(receiver: FakePeer) -> Network {
    Network {
        target: 2,
        client: Arc::new(receiver),
        acknowledged: Arc::default(),
        own_log: Arc::default(),
        core: Arc::default(),
        checkpoint_bytes_per_second: 0,
        transfer: TransferPatience::DEFAULT,
        inline_disk: true,
    }
}

fn wants_all() -> Option<wire::InstallPlan> {
    Some(wire::InstallPlan {
        wanted: vec!["large".to_owned(), "small".to_owned()],
        ..Default::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_at_any_step_is_given_up_by_name() {
    let hangs = [
        (FakePeer::default(), "peer 2 has not said which files of a checkpoint it lacks"),
        (
            FakePeer {
                plan: wants_all(),
                takes: 2,
                ..FakePeer::default()
            },
            "no piece of a checkpoint got from this disk to peer 2 for",
        ),
        (
            FakePeer {
                plan: wants_all(),
                takes: TAKES_ALL,
                ..FakePeer::default()
            },
            "peer 2 has not installed a checkpoint within",
        ),
    ];
    for (receiver, told) in hangs {
        let (_dir, checkpoint) = checkpoint();
        let network = network(receiver);
        let sent = send_checkpoint(&network, vote(), SnapshotHandle::Held(checkpoint.clone())).await;
        let error = sent.expect_err("given up").to_string();
        assert!(error.starts_with(told), "{error}");
        assert_eq!(
            Arc::strong_count(&checkpoint),
            1,
            "{told}: it must not stay because a transport keeps what it could not send"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_slow_and_gets_on_is_waited_for() {
    let (_dir, checkpoint) = checkpoint();
    let network = network(FakePeer {
        plan: wants_all(),
        takes: TAKES_ALL,
        needs: TransferPatience::DEFAULT.piece - Duration::from_secs(1),
        installed: installed(),
        ..FakePeer::default()
    });
    let sent = send_checkpoint(&network, vote(), SnapshotHandle::Held(checkpoint)).await;
    assert_eq!(sent.expect("installed").vote, vote());
}

#[tokio::test(start_paused = true)]
async fn the_pause_between_pieces_that_a_rate_asks_for_is_no_silence() {
    let (_dir, checkpoint) = checkpoint();
    let network = Network {
        // A piece takes twice as long as a receiver is waited for.
        checkpoint_bytes_per_second: PIECE_BYTES as u64 / (2 * TransferPatience::DEFAULT.piece.as_secs()),
        ..network(FakePeer {
            plan: wants_all(),
            takes: TAKES_ALL,
            installed: installed(),
            ..FakePeer::default()
        })
    };
    let sent = send_checkpoint(&network, vote(), SnapshotHandle::Held(checkpoint)).await;
    assert_eq!(sent.expect("installed").vote, vote());
}
