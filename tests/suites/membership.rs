//! Members come and go while writes go on: no acknowledged write is lost, nobody waits for long, and what
//! would cost the quorum is refused with its arithmetic.

use quorate_tests::cli::{self, json, ok, refused};
use quorate_tests::cluster::{Cluster, TOKEN};
use quorate_tests::load::{LONGEST_GAP, Ledger, Load};
use quorate_tests::native;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::verdict::{self, assert_has_exactly};
use quorate_tests::waiting::{phase, until};
use quorate_wire::quorate::v1::PeerStatus;
use serde_json::Value as Json;
use std::fs;

/// Seconds a command may wait for a newcomer to catch up.
const WAIT: &str = "50";

async fn id_of(cluster: &Cluster, peer: usize) -> u64 {
    native::status(&cluster.peers[peer].public)
        .await
        .expect("a peer that runs answers")
        .peer_id
}

/// Waits until the peer at `witness` sees exactly these members, all of them voters.
async fn wait_members(cluster: &Cluster, witness: usize, mut expected: Vec<u64>) {
    expected.sort_unstable();
    until(&format!("the members are {expected:?}"), async || {
        let (mut voters, mut members) = cluster.members(witness).await;
        voters.sort_unstable();
        members.sort_unstable();
        (voters == expected && members == expected).then_some(())
    })
    .await;
}

/// Waits until the peer at `witness` hears from all members but this one.
async fn wait_only_dead(cluster: &Cluster, witness: usize, dead_id: u64) {
    until("nobody but the dead peer is silent", async || {
        let status = native::status(&cluster.peers[witness].public).await.ok()?;
        let as_is = |member: &PeerStatus| member.reachable != (member.peer_id == dead_id);
        status.peers.iter().all(as_is).then_some(())
    })
    .await;
}

/// Starts a further peer that joins by itself, and waits until it votes.
async fn grow(cluster: &mut Cluster, expected: Vec<u64>) {
    let leader = cluster.leader().await;
    let follower = cluster.peers[(leader + 1) % cluster.peers.len()].peer_address.clone();
    // It knows a follower only: that one hands its request on.
    let mut newcomer = cluster.newcomer_of(&[&follower]);
    newcomer.start();
    cluster.peers.push(newcomer);
    wait_members(cluster, leader, expected).await;
    cluster.wait_ready().await;
}

/// Starts a fifth peer and adds it by hand, twice.
async fn add_a_fifth(cluster: &mut Cluster) {
    let mut fifth = cluster.newcomer();
    fifth.start();
    let address = fifth.peer_address.clone();
    cluster.peers.push(fifth);
    let added = until("the fifth peer listens, and is added", async || {
        let said = tokio::task::block_in_place(|| cli::run(cluster, &["member", "add", &address, "--timeout", WAIT, "-o", "json"], ""));
        said.success.then(|| serde_json::from_str::<Json>(&said.out).expect("JSON"))
    })
    .await;
    assert_eq!((&added["peer_id"], &added["voter"]), (&"5".into(), &true.into()), "{added}");
    let again = json(cluster, &["member", "add", &address, "--timeout", WAIT]).await;
    assert_eq!((&again["peer_id"], &again["was_member"]), (&"5".into(), &true.into()), "{again}");
}

fn assert_nobody_waited(ledger: &Ledger) {
    let gap_ms = ledger.longest_gap.as_millis();
    eprintln!("longest gap {gap_ms} ms, {} repeats, {} reads", ledger.repeats, ledger.reads);
    assert!(ledger.longest_gap < LONGEST_GAP, "a writer waited {gap_ms} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_cluster_grows_to_five_and_shrinks_to_three_others_while_writes_go_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("growing").await;
    cluster.create_instance("shrinking").await;
    let load = Load::start_measured(&cluster.addresses(), "growing");
    load.wait_writes(20).await;

    phase("a fourth peer joins by itself");
    grow(&mut cluster, vec![1, 2, 3, 4]).await;
    phase("a fifth one is added by hand, and again, which is harmless");
    add_a_fifth(&mut cluster).await;
    wait_members(&cluster, 0, vec![1, 2, 3, 4, 5]).await;
    cluster.wait_ready().await;
    load.wait_writes(20).await;
    let grown = load.finish().await;
    assert_nobody_waited(&grown);
    assert_has_exactly(&cluster, "growing", &grown).await;

    phase("the leader is removed while the others serve");
    let leader = cluster.leader().await;
    let other = (0..3).find(|peer| *peer != leader).expect("there are three");
    let (leader_id, other_id) = (id_of(&cluster, leader).await, id_of(&cluster, other).await);
    let staying = |peer: &usize| *peer != leader && *peer != other;
    let addresses: Vec<String> = (0..5).filter(staying).map(|peer| cluster.peers[peer].public.clone()).collect();
    let load = Load::start_measured(&addresses, "shrinking");
    load.wait_writes(20).await;
    let said = ok(&cluster, &["member", "remove", &leader_id.to_string(), "--yes"]).await;
    assert!(
        said.err.contains("of 5 voters, 4 would stay; a decision needs 3 of them"),
        "{said:?}"
    );
    cluster.peers[leader]
        .wait_refusal()
        .await
        .assert_says(&["was removed from cluster", "--replace"]);
    load.wait_writes(20).await;

    phase("and a follower after it");
    ok(&cluster, &["member", "remove", &other_id.to_string(), "--yes"]).await;
    cluster.peers[other]
        .wait_refusal()
        .await
        .assert_says(&["was removed from cluster", "--replace"]);
    load.wait_writes(20).await;
    let shrunk = load.finish().await;
    assert_nobody_waited(&shrunk);

    phase("three others are left with everything that was acknowledged, also after one more start");
    let mut position = 0;
    cluster.peers.retain(|_| {
        position += 1;
        staying(&(position - 1))
    });
    let left: Vec<u64> = (1..=5).filter(|id| *id != leader_id && *id != other_id).collect();
    wait_members(&cluster, 0, left.clone()).await;
    cluster.peers.iter_mut().for_each(|peer| peer.kill());
    cluster.peers.iter_mut().for_each(|peer| peer.start());
    cluster.wait_ready().await;
    wait_members(&cluster, 1, left).await;
    assert_has_exactly(&cluster, "growing", &grown).await;
    assert_has_exactly(&cluster, "shrinking", &shrunk).await;
    assert_peers_agree(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_id_of_a_founder_that_left_before_anybody_joined_is_not_given_out_again() {
    let mut cluster = Cluster::start(3).await;
    let mut ids = Vec::new();
    for peer in 0..3 {
        ids.push(id_of(&cluster, peer).await);
    }
    let last = ids.iter().position(|id| *id == 3).expect("founders have the ids 1 to 3");
    until("all have heard of each other, and the last founder is removed", async || {
        let said = tokio::task::block_in_place(|| cli::run(&cluster, &["member", "remove", "3", "--yes"], ""));
        let not_yet = said.err.contains("would lose the quorum");
        assert!(said.success || not_yet, "{said:?}");
        said.success.then_some(())
    })
    .await;
    cluster.peers[last].wait_refusal().await.assert_says(&["was removed from cluster"]);
    fs::remove_dir_all(&cluster.peers[last].data_dir).expect("its directory is moved away");
    let known = cluster.peers[(last + 1) % 3].peer_address.clone();
    cluster.peers[last].start_joining(&known);
    cluster.wait_ready().await;
    let id = id_of(&cluster, last).await;
    assert!(id > 3, "it came back as peer {id}, an id that somebody else has voted under");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dead_peer_is_replaced_under_load_and_a_healthy_one_cannot_be_removed_before() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let load = Load::start(&cluster.addresses(), "i");
    load.wait_writes(20).await;

    phase("a follower dies for good");
    let (leader, dead) = cluster.leader_and_follower().await;
    let healthy = 3 - leader - dead;
    let (dead_id, healthy_id) = (id_of(&cluster, dead).await, id_of(&cluster, healthy).await);
    let dead_text = dead_id.to_string();
    cluster.peers[dead].kill();
    fs::remove_dir_all(&cluster.peers[dead].data_dir).expect("its disk is gone");
    // Both of them: whoever leads judges by what it has heard itself.
    for survivor in [leader, healthy] {
        wait_only_dead(&cluster, survivor, dead_id).await;
    }

    phase("now neither healthy voter may be removed");
    let (healthy_text, leader_text) = (healthy_id.to_string(), id_of(&cluster, leader).await.to_string());
    let arithmetic = format!("of 3 voters, 2 would stay; a decision needs 2 of them, and 1 answer now (not: {dead_id})");
    for id in [&healthy_text, &leader_text] {
        refused(
            &cluster,
            &["member", "remove", id, "--yes"],
            "",
            &["would lose the quorum", &arithmetic, "--force"],
        )
        .await;
    }
    let force = ["member", "remove", &healthy_text, "--force", "--yes"];
    refused(
        &cluster,
        &force,
        "y\n",
        &[&arithmetic, "not confirmed", "--yes does not stand for it"],
    )
    .await;
    let said = ok(&cluster, &["member", "remove", &healthy_text, "--force", "--dry-run"]).await;
    assert!(
        said.err.contains(&arithmetic) && said.err.contains("nothing was changed"),
        "{said:?}"
    );
    let planned = json(&cluster, &["member", "remove", &healthy_text, "--force", "--dry-run"]).await;
    assert_eq!(
        (&planned["loses_quorum"], &planned["removed_peer_id"]),
        (&true.into(), &Json::Null),
        "{planned}"
    );
    let explanation = planned["explanation"].as_str().unwrap_or_default();
    assert!(explanation.contains(&arithmetic) && planned["voters_after"] == 2, "{planned}");
    assert_eq!(cluster.members(leader).await.0, [1, 2, 3]);

    phase("a new peer takes the dead one's place, at another address");
    let mut newcomer = cluster.newcomer_of(&[&cluster.peers[healthy].peer_address.clone()]);
    let address = newcomer.peer_address.clone();
    let preview = ["member", "replace", &dead_text, &address, "--dry-run", "-o", "json"];
    let nobody = [
        "--dry-run: nothing was changed, and this would be refused",
        "no peer could be asked at",
    ];
    refused(&cluster, &preview, "", &nobody).await;
    newcomer.start();
    let planned = until("the new peer listens, and a dry run has found it", async || {
        let said = tokio::task::block_in_place(|| cli::run(&cluster, &preview, ""));
        let not_yet = said.err.contains("no peer could be asked at");
        assert!(said.success || not_yet, "{said:?}");
        said.success.then(|| serde_json::from_str::<Json>(&said.out).expect("JSON"))
    })
    .await;
    assert_eq!(planned["removed_peer_id"], Json::Null, "{planned}");
    assert!(cluster.members(leader).await.1.contains(&dead_id), "a dry run removes nobody");
    let replace = ["member", "replace", &dead_text, &address, "--yes", "--timeout", WAIT];
    until("the new peer listens, and replaces the dead one", async || {
        let said = tokio::task::block_in_place(|| cli::run(&cluster, &replace, ""));
        let not_yet = said.err.contains("no peer could be asked at");
        assert!(said.success || not_yet, "{said:?}");
        said.success.then_some(())
    })
    .await;
    let again = tokio::task::block_in_place(|| cli::run(&cluster, &replace, ""));
    assert!(again.success && again.out.contains("has taken the place of"), "{again:?}");
    let elsewhere = ["member", "replace", &dead_text, "127.0.0.1:1", "--yes"];
    refused(&cluster, &elsewhere, "", &["is not a member", "nothing to replace"]).await;
    cluster.peers[dead] = newcomer;
    let expected = (1..=4).filter(|id| *id != dead_id).collect();
    wait_members(&cluster, leader, expected).await;
    cluster.wait_ready().await;
    load.wait_writes(20).await;
    verdict::finish(&mut cluster, load, "i").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::start(3).await;
    let other = Cluster::start(1).await;

    let (leader, follower) = cluster.leader_and_follower().await;
    let own_id = id_of(&cluster, follower).await.to_string();
    let own_address = cluster.peers[follower].peer_address.clone();
    phase("members that are none, and peers that are nowhere or somebody else's");
    for (arguments, parts) in [
        (
            &["member", "remove", "9", "--yes"][..],
            &["peer 9 is not a member", "member list"][..],
        ),
        (&["member", "promote", "9"], &["peer 9 is not a member"]),
        (&["member", "transfer-leader", "--to", "9"], &["peer 9 is not a voter"]),
        (
            &["member", "add", "127.0.0.1:1"],
            &["no peer could be asked at 127.0.0.1:1", "--join"],
        ),
        (
            &["member", "add", &other.peers[0].peer_address],
            &["no peer could be asked at", "belongs to cluster"],
        ),
        (&["member", "replace", "9", "127.0.0.1:1", "--yes"], &["peer 9 is not a member"]),
        (
            &["member", "replace", "2", "127.0.0.1:1", "--dry-run"],
            &["this would be refused", "no peer could be asked at 127.0.0.1:1"],
        ),
        (
            &["member", "replace", "2", &other.peers[0].peer_address, "--dry-run"],
            &["this would be refused", "belongs to cluster"],
        ),
        (
            &["member", "replace", &own_id, &own_address, "--dry-run"],
            &["this would be refused", "itself; start the new one empty"],
        ),
    ] {
        refused(&cluster, arguments, "", parts).await;
    }
    refused(&other, &["member", "remove", "1", "--yes"], "", &["peer 1 is the last voter"]).await;

    phase("a dry run tells that the peer which is to come is there already");
    let other_follower = 3 - leader - follower;
    let next = id_of(&cluster, other_follower).await;
    let next_address = cluster.peers[other_follower].peer_address.clone();
    let preview = ["member", "replace", &own_id, &next_address, "--dry-run"];
    let said = ok(&cluster, &preview).await;
    let told = format!("is peer {next} already and votes: peer {own_id} would be removed at once, and 2 voters stay");
    assert!(said.err.contains(&told) && said.out.is_empty(), "{said:?}");
    assert_eq!(cluster.members(0).await.1.len(), 3);

    phase("without a yes, and without the token");
    refused(
        &cluster,
        &["member", "remove", "2"],
        "",
        &["of 3 voters, 2 would stay", "not confirmed"],
    )
    .await;
    refused(
        &cluster,
        &["member", "replace", "2", "127.0.0.1:1"],
        "no\n",
        &["removes peer 2", "not confirmed"],
    )
    .await;
    let wrong = cluster.dir().join("wrong-token");
    fs::write(&wrong, "guess").expect("written");
    let wrong = wrong.display().to_string();
    let said = refused(
        &cluster,
        &["member", "promote", "2", "--token-file", &wrong],
        "",
        &["does not accept this token"],
    )
    .await;
    assert!(!said.err.contains("guess") && !said.err.contains(TOKEN), "{said:?}");

    phase("an emptied peer that says it is a further one, at an address that is taken");
    let (leader, follower) = cluster.leader_and_follower().await;
    let follower_id = id_of(&cluster, follower).await;
    cluster.peers[follower].kill();
    fs::remove_dir_all(&cluster.peers[follower].data_dir).expect("emptied");
    let known = cluster.peers[leader].peer_address.clone();
    cluster.peers[follower].start_joining(&known);
    let refusal = cluster.peers[follower].wait_refusal().await;
    refusal.assert_says(&[&format!("is peer {follower_id}'s"), "with --replace the newcomer takes its place"]);
    let mut members = cluster.members(leader).await;
    members.0.sort_unstable();
    assert_eq!((members.0, members.1.len()), (vec![1, 2, 3], 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn members_are_listed_promoted_and_given_leadership() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = cluster.leader_and_follower().await;
    let follower_id = id_of(&cluster, follower).await.to_string();

    phase("leadership goes where it is sent");
    let moved = json(&cluster, &["member", "transfer-leader", "--to", &follower_id]).await;
    assert_eq!(moved["leader_id"], follower_id.as_str());
    assert_eq!(cluster.leader().await, follower);
    let moved = json(&cluster, &["member", "transfer-leader"]).await;
    assert_ne!(moved["leader_id"], follower_id.as_str());

    phase("who votes already is promoted without a change");
    // Not by the revision: peers write now and then by themselves.
    let members = async || {
        let peers = native::status(&cluster.peers[leader].public).await.expect("answered").peers;
        peers.into_iter().map(|peer| (peer.peer_id, peer.voter)).collect::<Vec<_>>()
    };
    let before = members().await;
    let promoted = json(&cluster, &["member", "promote", &follower_id]).await;
    assert_eq!(promoted["was_voter"], true);
    assert_eq!(before, members().await);

    phase("the list shows addresses, roles and health, in every form");
    let members = until("all are healthy", async || {
        let data = json(&cluster, &["member", "list"]).await;
        let members = data["members"].as_array().expect("a list").clone();
        members.iter().all(|member| member["health"] == "ok").then_some(members)
    })
    .await;
    assert_eq!(members.len(), 3);
    assert_eq!(members.iter().filter(|member| member["role"] == "leader").count(), 1);
    for peer in &cluster.peers {
        let member = members.iter().find(|member| member["peer_address"] == peer.peer_address.as_str());
        let member = member.unwrap_or_else(|| panic!("{} is not in {members:?}", peer.peer_address));
        assert_eq!(member["public_address"], peer.public.as_str());
        for number in ["lag_entries", "last_contact_ms"] {
            let text = member[number].as_str().unwrap_or_else(|| panic!("{number} of {member}"));
            text.parse::<u64>().unwrap_or_else(|error| panic!("{number} is {text}: {error}"));
        }
    }
    let table = until("the table says so too", async || {
        let table = ok(&cluster, &["member", "list"]).await.out;
        let healthy = table.starts_with("3 voters, 3 answer, 2 are needed: the cluster survives 1 more failures.");
        healthy.then_some(table)
    })
    .await;
    assert_eq!(
        table
            .lines()
            .filter(|line| line.contains(" voter ") || line.contains(" leader "))
            .count(),
        3,
        "{table}"
    );
    let yaml = ok(&cluster, &["member", "list", "-o", "yaml"]).await.out;
    assert!(yaml.contains("role: leader"), "{yaml}");
}
