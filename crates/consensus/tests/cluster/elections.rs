//! Traps in openraft's defaults: each of these must really happen, or really not.

use crate::support::{Cluster, calm, soon, until, within};
use quorate_consensus::Settings;
use quorate_consensus::env::wall_clock;
use quorate_consensus::settings::Timing;
use quorate_model::{ErrorCode, PeerId};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_cut_off_returns_without_disturbing_the_leader() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    let cut_off = (leader + 1) % 3;
    let before = cluster.node(leader).status();
    let address = cluster.address(cut_off).to_owned();

    // Long enough for many elections: the peer asks whether it would be elected, again and again.
    let asked = cluster.links.calls(&address, "pre_vote");
    let stood = cluster.links.calls(&address, "vote");
    cluster.isolate(cut_off);
    until("the cut-off peer has asked five times", || {
        cluster.links.calls(&address, "pre_vote") >= asked + 5
    })
    .await;
    assert_eq!(
        cluster.links.calls(&address, "vote"),
        stood,
        "nobody would elect it, so it never stands"
    );
    cluster
        .put(leader, "meanwhile", "written", None, soon())
        .await
        .expect("two peers are a quorum");

    cluster.links.heal();
    assert_eq!(
        cluster.get(cut_off, "meanwhile", soon()).await.expect("read").as_deref(),
        Some("written")
    );
    let after = cluster.node(leader).status();
    assert_eq!((after.term, after.leader_id), (before.term, before.leader_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hears_a_living_leader_elects_nobody_else() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    let deaf = (leader + 1) % 3;
    let before = cluster.node(leader).status();
    let address = cluster.address(deaf).to_owned();

    // It hears nothing from the leader and all from the third peer, which could make it leader with its one vote.
    let asked = cluster.links.calls(&address, "pre_vote");
    let stood = cluster.links.calls(&address, "vote");
    cluster.links.cut(cluster.address(leader), &address);
    until("the deaf peer has asked five times", || {
        cluster.links.calls(&address, "pre_vote") >= asked + 5
    })
    .await;
    assert_eq!(
        cluster.links.calls(&address, "vote"),
        stood,
        "the third peer hears the leader and says no"
    );
    cluster
        .put(leader, "meanwhile", "written", None, soon())
        .await
        .expect("two peers are a quorum");
    cluster.links.heal();
    cluster.converge().await;
    let after = cluster.node(leader).status();
    assert_eq!((after.term, after.leader_id), (before.term, before.leader_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_sent_and_the_new_leader_is_named() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    for step in 1..=5 {
        let (from, to) = ((leader + step - 1) % 3, (leader + step) % 3);
        let target = PeerId(to as u64 + 1);
        let term = cluster.node(from).status().term;
        let named = cluster.node(from).transfer_leader(Some(target), soon()).await.expect("transferred");
        assert_eq!(named, target);
        assert_eq!(cluster.leader().await, to);
        assert_eq!(cluster.node(to).status().term, term + 1, "one election, won by the target");
    }
    let follower = cluster.follower().await;
    let refused = cluster
        .node(follower)
        .transfer_leader(None, soon())
        .await
        .expect_err("it has nothing to hand over");
    assert_eq!(refused.code, ErrorCode::NotLeader);
    assert!(
        cluster
            .node(cluster.leader().await)
            .transfer_leader(Some(PeerId(9)), soon())
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_not_sent_to_a_peer_that_does_not_answer() {
    let mut cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    let (dead, alive) = ((leader + 1) % 3, (leader + 2) % 3);
    let term = cluster.node(leader).status().term;
    cluster.kill(dead).await;
    let refused = cluster.node(leader).transfer_leader(Some(PeerId(dead as u64 + 1)), soon()).await;
    assert_eq!(refused.expect_err("it is dead").code, ErrorCode::PreconditionFailed);
    cluster.put(leader, "name", "value", None, soon()).await.expect("written");
    assert_eq!(cluster.node(leader).status().term, term, "nobody was elected");
    assert_eq!(
        cluster.node(leader).transfer_leader(None, soon()).await,
        Ok(PeerId(alive as u64 + 1))
    );
    cluster.kill(leader).await;
    let refused = cluster.node(alive).transfer_leader(None, soon()).await;
    assert_eq!(refused.expect_err("it is alone").code, ErrorCode::PreconditionFailed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_under_way_to_a_slow_peer_at_the_same_time() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let slow = (leader + 1) % 3;
    // From the next stream on; transferring there and back makes new ones.
    for (from, to) in [(leader, slow), (slow, leader)] {
        cluster
            .links
            .delay(cluster.address(from), cluster.address(to), Duration::from_millis(40));
    }
    cluster.lead((leader + 2) % 3).await;
    cluster.lead(leader).await;
    let deadline = soon();
    while cluster.links.most_unanswered_appends(cluster.address(slow)) < 5 {
        assert!(Instant::now() < deadline, "appends are sent one at a time");
        cluster
            .put(leader, "name", "value", None, soon())
            .await
            .expect("the fast peer is enough");
    }
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_comes_back_alone_does_not_lead() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let term = cluster.node(leader).status().term;
    for position in 0..3 {
        cluster.kill(position).await;
    }
    cluster.start_peer(leader).await;
    let address = cluster.address(leader).to_owned();
    let asked = cluster.links.calls(&address, "pre_vote");
    until("it has tried to be elected", || {
        assert!(!cluster.node(leader).is_leader(), "nobody has elected it since it came back");
        cluster.links.calls(&address, "pre_vote") >= asked + 6
    })
    .await;
    let refused = cluster
        .node(leader)
        .check_serving()
        .expect_err("it does not know what it had answered");
    assert_eq!(refused.code, ErrorCode::NotReady);
    let late = cluster.node(leader).wait_serving(within(50)).await.expect_err("nobody elects it");
    assert_eq!((late.code, late.code.row().outcome.name()), (ErrorCode::NotReady, "not_applied"));
    let waiting = cluster.node(leader).clone();
    let waiting = tokio::spawn(async move { waiting.wait_serving(soon()).await });

    cluster.start_peer((leader + 1) % 3).await;
    let again = cluster.leader_among(&[leader, (leader + 1) % 3]).await;
    assert!(cluster.node(again).status().term > term);
    waiting.await.expect("no panic").expect("it serves again");
    cluster.node(leader).check_serving().expect("that stays so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slow_peer_has_not_acknowledged_is_bounded() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let slow = (leader + 1) % 3;
    cluster.isolate(slow);
    let value = "x".repeat(120 << 10);
    for _ in 0..20 {
        let writes = (0..16).map(|number| {
            let (cluster, value) = (&cluster, &value);
            async move {
                cluster
                    .put(leader, &format!("large{number}"), value, None, soon())
                    .await
                    .expect("written")
            }
        });
        futures::future::join_all(writes).await;
    }
    // 38 MiB of log wait for it behind a link on which much is under way at a time.
    let delay = Duration::from_millis(300);
    cluster.links.delay(cluster.address(leader), cluster.address(slow), delay);
    cluster.links.delay(cluster.address(slow), cluster.address(leader), delay);
    cluster.links.heal();
    cluster.converge().await;
    let most = cluster.links.most_unanswered_bytes(cluster.address(slow));
    assert!(most > 6 << 20, "only {most} bytes were under way: this shows no bound");
    assert!(most <= 17 << 20, "{most} bytes were under way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_is_far_off_leads_no_longer() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    cluster.links.set_clocks_ahead_of(cluster.address(leader), 10_000);
    until("another one leads", || {
        (0..3).any(|position| position != leader && cluster.node(position).is_leader())
    })
    .await;
    until("it takes the majority's time for right", || {
        cluster.node(leader).core().now().0 > wall_clock().0 + 5_000
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_clocks_that_all_differ_the_one_in_the_middle_leads_on() {
    let mut cluster = Cluster::start(calm()).await;
    // In this order the one in the middle has never both others ahead of it, or behind it.
    for (position, ms) in [(2, 10_000), (1, 5_000)] {
        cluster.links.set_clock_ahead(cluster.address(position), ms);
    }
    until("the one in the middle leads", || cluster.node(1).is_leader()).await;
    let address = cluster.address(1).to_owned();
    let before = cluster.node(1).status();
    let asked = cluster.links.calls(&address, "hello");
    until("it has asked both others four times", || {
        cluster.links.calls(&address, "hello") >= asked + 8
    })
    .await;
    let after = cluster.node(1).status();
    assert_eq!((after.term, after.leader_id), (before.term, before.leader_id), "it is not off");

    cluster.kill(1).await;
    let next = cluster.leader_among(&[0, 2]).await;
    cluster
        .put(next, "name", "value", None, soon())
        .await
        .expect("of two nobody is the majority");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_whose_clocks_are_off_alike_do_not_hand_leadership_to_each_other() {
    let cluster = Cluster::start_of(5, calm()).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 5;
    for position in [other, leader] {
        cluster.links.set_clock_ahead(cluster.address(position), 3_600_000);
    }
    until("one with the right time leads", || {
        (0..5).any(|position| position != leader && position != other && cluster.node(position).is_leader())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hangs_makes_no_other_clock_look_wrong() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    let (own, hangs) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.links.cut(cluster.address(hangs), cluster.address(own));
    let health = &cluster.node(own).core().health;
    until("each round of questions waits for one that hangs", || {
        health.recent(hangs as u64 + 1).is_none()
    })
    .await;
    until("the leader's clock is known to be right", || {
        health.clock_offset_ms(leader as u64 + 1).is_some_and(|ms| ms.abs() < 500)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_clock_is_far_off_does_not_stand_for_election() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let first = cluster.leader().await;
    let (slow, other) = ((first + 1) % 3, (first + 2) % 3);
    let address = cluster.address(slow).to_owned();
    cluster.links.set_clocks_ahead_of(&address, 10_000);
    // Twice: whose patience ends first is a matter of luck.
    for (leader, next) in [(first, other), (other, first)] {
        until("it knows how far off its clock is", || {
            let health = &cluster.node(slow).core().health;
            let offset_ms = |position: usize| health.clock_offset_ms(position as u64 + 1);
            [leader, next]
                .iter()
                .all(|position| offset_ms(*position).is_some_and(|ms| ms > 5_000))
        })
        .await;
        // Two more rounds of questions to both: what the one before told has been acted upon, and both have just been heard.
        let asked = cluster.links.calls(&address, "hello");
        until("it has asked both again", || cluster.links.calls(&address, "hello") >= asked + 4).await;

        let campaigns = |cluster: &Cluster| cluster.links.calls(&address, "pre_vote") + cluster.links.calls(&address, "vote");
        let before = campaigns(&cluster);
        cluster.kill(leader).await;
        assert_eq!(cluster.leader_among(&[slow, next]).await, next);
        assert_eq!(campaigns(&cluster), before, "it did not stand");
        cluster.start_peer(leader).await;
        cluster.converge().await;
    }
}

/// A cluster, its leader and its followers; by their own timeouts these elect nobody in less than two elections of this length, which is longer
/// than anything is waited for.
async fn with_patient_followers(election_max_ms: u64) -> (Cluster, usize, [usize; 2]) {
    let mut cluster = Cluster::start(Settings::default()).await;
    let first = cluster.leader().await;
    let others = [(first + 1) % 3, (first + 2) % 3];
    cluster.settings.timing = Timing {
        election_min_ms: election_max_ms - 1_000,
        election_max_ms,
        quorum_loss_probe_ms: 2 * election_max_ms,
        ..Timing::LAN
    };
    for position in others {
        cluster.kill(position).await;
        cluster.start_peer(position).await;
        until("it serves again", || cluster.node(position).check_serving().is_ok()).await;
    }
    assert_eq!(cluster.leader().await, first);
    (cluster, first, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_process_has_died_is_succeeded_before_its_lease_runs_out() {
    let (mut cluster, first, others) = with_patient_followers(25_000).await;
    let term = cluster.node(first).status().term;
    cluster.kill(first).await;
    let next = cluster.leader_among(&others).await;
    assert_eq!(cluster.node(next).status().term, term + 1, "one election: they take turns");
    cluster
        .put(next, "name", "value", None, soon())
        .await
        .expect("two peers are a quorum");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_not_heard_for_longer_than_its_lease_hands_over_when_a_majority_answers() {
    let (cluster, first, others) = with_patient_followers(60_000).await;
    let term = cluster.node(first).status().term;
    cluster.isolate(first);
    let refused = cluster.put(first, "name", "lost?", None, within(1_000)).await;
    assert!(refused.is_err(), "its lease of a third of a second is over");
    assert_eq!(cluster.node(others[0]).status().term, term, "nobody else was elected");

    cluster.links.heal();
    let next = cluster.leader_among(&others).await;
    assert_eq!(cluster.node(next).status().term, term + 1, "one election, which it asked for");
    cluster.put(next, "name", "value", None, soon()).await.expect("written");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_alone_takes_the_leader_for_dead_elects_nobody() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    let before = cluster.node(leader).status();
    let mistaken = cluster.address((leader + 1) % 3).to_owned();
    let calls = |kind| cluster.links.calls(&mistaken, kind);
    let (asked, stood) = (calls("pre_vote"), calls("vote"));
    cluster.links.refuse(&mistaken, cluster.address(leader));
    cluster.links.close(before.leader_id, &mistaken);
    // The second time: what came of the first is decided.
    until("it has asked both others twice", || calls("pre_vote") >= asked + 4).await;
    cluster
        .put(leader, "name", "value", None, soon())
        .await
        .expect("the leader leads on");
    cluster.converge().await;
    assert_eq!(calls("vote"), stood, "the third peer said no");
    let after = cluster.node(leader).status();
    assert_eq!((after.term, after.leader_id), (before.term, before.leader_id));
}
