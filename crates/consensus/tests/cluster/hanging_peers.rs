//! A peer that lives and does not get on, because its disk hangs, say: its connections do not break, and it answers nothing.

use crate::checkpoints::{leave_behind, small_checkpoints};
use crate::support::{Cluster, calm, soon};
use futures::StreamExt;
use quorate_consensus::settings::TransferPatience;
use quorate_consensus::{Node, Settings};
use quorate_model::ErrorCode;
use quorate_wire::quorate::peer as wire;
use std::time::Duration;

/// How long others are waited for here. What needs longer on a loaded machine is tried again.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_gets_its_checkpoint_at_another_try() {
    for step in ["prepare_install", "install"] {
        let settings = Settings {
            transfer: TransferPatience {
                answer: PATIENCE,
                piece: PATIENCE,
            },
            ..small_checkpoints()
        };
        let cluster = Cluster::start(settings).await;
        let leader = cluster.leader().await;
        let away = (leader + 1) % 3;
        cluster.isolate(away);
        leave_behind(&cluster, leader, away, 0).await;
        cluster.links.hang_next(step);
        cluster.links.heal();
        cluster.converge().await;
        assert!(!cluster.links.is_to_hang(step), "{step}: it caught up without a checkpoint");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_is_answered_though_the_leader_hangs_and_has_its_place_at_another_try() {
    let cluster = Cluster::start(calm()).await;
    let follower = cluster.follower().await;
    let request = wire::JoinRequest {
        peer_address: "peer4:5001".to_owned(),
        public_address: "peer4:5000".to_owned(),
        incarnation: 104,
        new_address: true,
        forwarded: false,
        ..Default::default()
    };
    cluster.links.hang_next("join");
    let refused = cluster.node(follower).handle_join(request.clone()).await;
    let error = refused.error.expect("the leader did not answer");
    assert_eq!(error.code, ErrorCode::NotLeader.row().number);
    assert!(error.message.contains("did not answer"), "{}", error.message);
    let taken = cluster.node(follower).handle_join(request).await;
    assert!(taken.error.is_none() && taken.peer_id > 3, "{taken:?}");
}

/// The last entry of the state that a peer gives to one that asks for it and then goes away.
async fn given(node: &Node, at_least: u64) -> u64 {
    let request = wire::FetchCheckpointRequest { at_least };
    let mut pieces = node.handle_fetch_checkpoint(request, "a peer").await.expect("given");
    let first = pieces
        .next()
        .await
        .and_then(|piece| piece.manifest)
        .expect("it begins with its manifest");
    first.log_id.expect("something is applied").index
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_was_read_for_one_question_is_given_to_the_next_if_it_reaches_far_enough() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    cluster.put(leader, "name", "1", None, soon()).await.expect("written");
    let first = given(cluster.node(leader), 0).await;
    cluster.put(leader, "name", "2", None, soon()).await.expect("written");
    assert_eq!(given(cluster.node(leader), first).await, first, "it is not read anew");
    assert!(given(cluster.node(leader), first + 1).await > first);
}
