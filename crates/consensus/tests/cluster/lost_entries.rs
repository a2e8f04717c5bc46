//! A peer that comes back without entries it had acknowledged takes no part any more.

use crate::support::{Cluster, calm, soon, until, within};
use futures::StreamExt;
use quorate_consensus::acknowledged::lost_entries;
use quorate_consensus::{Node, Settings};
use quorate_model::ErrorCode;
use quorate_wire::quorate::peer as wire;

/// A vote of a term far above all others.
fn high_vote(peer: u64) -> wire::Vote {
    wire::Vote {
        leader: Some(wire::LeaderId { term: 1_000, peer }),
        committed: false,
    }
}

/// It neither votes nor acknowledges, whoever asks, and says why.
async fn assert_takes_no_part(node: &Node, loss: &str, candidate: u64) {
    let request = wire::VoteRequest {
        vote: Some(high_vote(candidate)),
        last_log_id: Some(wire::LogId {
            leader: Some(wire::LeaderId { term: 1_000, peer: 1 }),
            index: 1_000_000,
        }),
        leadership_transfer: false,
    };
    for reply in [node.handle_vote(request).await, node.handle_pre_vote(request).await] {
        assert!(!reply.granted && reply.error == loss, "{reply:?}");
    }
    let append = wire::AppendRequest {
        vote: Some(high_vote(candidate)),
        ..Default::default()
    };
    let answers: Vec<_> = node.handle_append(futures::stream::iter([append])).collect().await;
    assert!(answers.len() == 1 && answers[0].error == loss, "{answers:?}");
    let plan = node.handle_prepare_install(wire::InstallManifest::default()).await;
    assert_eq!(plan.error, loss, "nor does it take a checkpoint, which would hide the loss");
}

/// A follower whose log has forgotten its last acknowledged group, stopped; and the index it had acknowledged.
async fn with_a_forgetful_follower(cluster: &mut Cluster) -> (usize, u64) {
    let leader = cluster.leader().await;
    let forgetful = (leader + 1) % 3;
    for write in 0..5 {
        cluster
            .put(leader, "name", &write.to_string(), None, soon())
            .await
            .expect("written");
    }
    cluster.converge().await;
    let acknowledged = cluster.log(forgetful).state().last.expect("entries").index;
    until("the leader has its acknowledgement", || {
        let status = cluster.node(leader).status();
        status
            .peers
            .iter()
            .any(|peer| peer.peer_id == forgetful as u64 + 1 && peer.matched_index >= acknowledged)
    })
    .await;
    cluster.kill(forgetful).await;
    cluster.lose_last_group(forgetful);
    (forgetful, acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_lost_acknowledged_entries_neither_votes_nor_acknowledges() {
    let mut cluster = Cluster::start(calm()).await;
    let (forgetful, acknowledged) = with_a_forgetful_follower(&mut cluster).await;
    let (leader, third) = ((forgetful + 2) % 3, (forgetful + 1) % 3);
    // The leader goes on meanwhile: what it sends next is not what the peer lacks.
    cluster
        .put(leader, "name", "meanwhile", None, soon())
        .await
        .expect("two peers are a quorum");
    cluster.start_peer(forgetful).await;
    let short = cluster.log(forgetful).state().last.expect("entries").index;
    assert!(
        short < acknowledged,
        "the log opened without its last group: {short} of {acknowledged}"
    );
    let node = cluster.node(forgetful).clone();
    until("the first message of the leader tells it", || node.core().own_log.loss().is_some()).await;
    let loss = node.core().own_log.loss().expect("just seen").to_owned();
    assert!(loss.contains(&format!("acknowledged entry {acknowledged}")), "{loss}");

    assert_takes_no_part(&node, &loss, third as u64 + 1).await;
    assert_eq!(node.check_serving().expect_err("it has no part").code, ErrorCode::Diverged);

    until("the leader shows it", || {
        let findings = cluster.node(leader).status().findings;
        findings.iter().any(|finding| {
            finding.object == format!("peer {}", forgetful + 1) && finding.text.contains("without entries it had acknowledged")
        })
    })
    .await;
    // The other two go on, and nothing more reaches its log.
    cluster
        .put(third, "name", "afterwards", None, soon())
        .await
        .expect("two peers are a quorum");
    assert_eq!(cluster.leader_among(&[leader, third]).await, leader, "nobody was disturbed");
    assert_eq!(cluster.log(forgetful).state().last.expect("entries").index, short);

    // Without it one peer is left, which is no quorum.
    cluster.kill(leader).await;
    let refused = cluster
        .put(third, "name", "alone", None, within(1_500))
        .await
        .expect_err("one of three");
    assert!(
        matches!(refused.code, ErrorCode::NoLeader | ErrorCode::OutcomeUnknown),
        "{refused:?}"
    );
    cluster.start_peer(leader).await;
    cluster
        .put(third, "name", "two again", None, soon())
        .await
        .expect("two peers are a quorum");
    assert_eq!(
        cluster.get(third, "name", soon()).await.expect("read").as_deref(),
        Some("two again")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_takes_no_answer_of_a_peer_that_does_not_see_its_loss() {
    let mut cluster = Cluster::start(calm()).await;
    let (forgetful, _) = with_a_forgetful_follower(&mut cluster).await;
    let (leader, third) = ((forgetful + 2) % 3, (forgetful + 1) % 3);
    cluster.links.withhold_memory();
    cluster.start_peer(forgetful).await;
    let short = cluster.log(forgetful).state().last.expect("entries").index;
    // Given that conflict, openraft's own leader would panic in this build.
    until("the leader has seen the conflict", || {
        cluster.node(leader).core().acknowledged.lost() == [forgetful as u64 + 1]
    })
    .await;
    cluster
        .put(leader, "name", "afterwards", None, soon())
        .await
        .expect("two peers are a quorum");
    assert_eq!(cluster.leader_among(&[leader, third]).await, leader);
    assert_eq!(
        cluster.log(forgetful).state().last.expect("entries").index,
        short,
        "it is sent nothing that would hide the loss"
    );
    assert_eq!(cluster.node(forgetful).core().own_log.loss(), None, "it was not told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starting_peer_asks_what_it_had_acknowledged() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let (forgetful, acknowledged) = with_a_forgetful_follower(&mut cluster).await;
    let incarnation = cluster.peers[forgetful].newcomer.incarnation.0;
    let (log, state) = cluster.open_stores(forgetful);
    let transport = cluster.transport(forgetful);
    let ask = || async { lost_entries(&log, &state, &transport, incarnation, &cluster.peers[forgetful].newcomer.peers).await };
    let loss = ask().await.expect("readable").expect("lost");
    assert!(loss.contains(&format!("acknowledged entry {acknowledged}")), "{loss}");

    // A leader that is not there remembers nothing, and keeps nobody from starting.
    let leader = cluster.address((forgetful + 2) % 3).to_owned();
    cluster.links.listen(&leader, None);
    assert_eq!(ask().await.expect("readable"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_a_later_leader_had_truncated_are_not_missed() {
    let mut cluster = Cluster::start(calm()).await;
    let old = cluster.leader().await;
    let survivors = [(old + 1) % 3, (old + 2) % 3];
    cluster.converge().await;
    cluster.isolate(old);
    let unknown = cluster.put(old, "name", "nobody hears this", None, within(300)).await;
    assert_eq!(unknown.expect_err("no quorum").code, ErrorCode::OutcomeUnknown);
    let next = cluster.leader_among(&survivors).await;
    cluster.put(next, "name", "heard", None, soon()).await.expect("written");
    cluster.links.heal();
    cluster.converge().await;
    // Each in turn comes back from a crash; nobody had acknowledged what is gone.
    for position in 0..3 {
        cluster.kill(position).await;
        let other = (position + 1) % 3;
        cluster
            .put(other, "name", &position.to_string(), None, soon())
            .await
            .expect("written");
        cluster.start_peer(position).await;
        cluster.converge().await;
    }
    for position in 0..3 {
        assert_eq!(cluster.node(position).core().own_log.loss(), None);
        assert!(cluster.node(position).core().acknowledged.lost().is_empty());
    }
}
