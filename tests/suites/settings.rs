//! Settings of the cluster as who operates it changes them: the command line and the API, three peers as processes, and jobs, claims and
//! snapshots that feel it.

use quorate_tests::archive::{Archive, INSTANCE};
use quorate_tests::cluster::TOKEN;
use quorate_tests::native::{call, channel};
use quorate_tests::peer::Peer;
use quorate_tests::waiting::{phase, until};
use quorate_tests::worker::WorkerProcess;
use quorate_tests::{cli, http};
use quorate_wire::quorate::v1::work_client::WorkClient;
use quorate_wire::quorate::v1::{ClaimTasksRequest, TaskAssignment};
use serde_json::Value as Json;

/// A setting as one peer shows it.
async fn shown_at(archive: &Archive, peer: usize, name: &str) -> Json {
    let endpoint = archive.cluster.peers[peer].public.as_str();
    let listed = archive.json(&["settings", "show", name, "--endpoint", endpoint]).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    listed[0].clone()
}

async fn refuse_wrong_changes(archive: &Archive) {
    for (arguments, parts) in [
        (
            &["settings", "set", "lease", "1"][..],
            &["there is no setting \"lease\"; there are claim_lease_ms, ", "not_found"][..],
        ),
        (
            &["settings", "set", "claim_lease_ms", "2s"],
            &["claim_lease_ms is 2000, limits 3000 and 600000 milliseconds", "invalid_argument"],
        ),
        (
            &["settings", "set", "job-retention-seconds", "9999d"],
            &["job_retention_seconds is 863913600, limits 3600 and 31536000 seconds"],
        ),
        (&["settings", "set", "max_active_jobs", "many"], &["max_active_jobs takes a number"]),
        (
            &["settings", "set", "read-back-copies", "2"],
            &["read_back_copies is 2, limits 0 and 1 readings", "invalid_argument"],
        ),
        (&["settings", "reset", "lease"], &["there is no setting \"lease\""]),
        (
            &["settings", "show", "lease"],
            &["there is no setting \"lease\"", "max_active_jobs"],
        ),
    ] {
        cli::refused(&archive.cluster, arguments, "", parts).await;
    }
    let headers = [("quorate-token", TOKEN), ("content-type", "application/json")];
    let address = &archive.cluster.peers[0].public;
    let reply = http::send(address, "PUT", "/api/v1/settings/claim_lease_ms", &headers, "{}").await;
    let reply = reply.expect("the peer answers");
    assert!(reply.status == 400 && reply.body.contains("value is absent"), "{reply:?}");
    let dry = [&headers[..], &[("quorate-dry-run", "1")]].concat();
    let reply = http::send(address, "PUT", "/api/v1/settings/claim_lease_ms", &dry, r#"{"value":"5000"}"#).await;
    let reply = reply.expect("the peer answers").json();
    assert_eq!(
        (&reply["value"], &reply["value_before"]),
        (&"5000".into(), &"10000".into()),
        "{reply}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_holds_at_every_peer_and_when_all_were_killed() {
    let mut archive = Archive::start(4, 1_000).await;
    archive.import(INSTANCE, "logs").await;

    phase("wrong changes are refused with the limits, and nothing was changed");
    refuse_wrong_changes(&archive).await;
    let listed = archive.json(&["settings", "show"]).await;
    let listed = listed.as_array().expect("a list");
    let is_untouched = |setting: &Json| setting["is_set"] == false && setting["value"] == setting["default_value"];
    assert!(listed.len() >= 5 && listed.iter().all(is_untouched), "{listed:?}");

    phase("a quota for the snapshots of each collection");
    let create = |name: &'static str| ["snapshot", "create", INSTANCE, name, "--collection", "logs"];
    archive.ok(&create("first")).await;
    let said = archive.ok(&["settings", "set", "max_snapshots_per_collection", "1"]).await;
    assert!(
        said.starts_with("max_snapshots_per_collection is 1, it was 10000 (revision "),
        "{said}"
    );
    let full: &[&str] = &["collection logs", "limit 1 (setting max_snapshots_per_collection)", "limit_reached"];
    cli::refused(&archive.cluster, &create("second"), "", full).await;
    let told = |peer: &Peer| peer.log().contains("a setting of the cluster was changed");
    assert!(archive.cluster.peers.iter().any(told), "the peer that was asked leaves word");

    phase("all peers are killed: each shows it again");
    archive.cluster.peers.iter_mut().for_each(Peer::kill);
    archive.cluster.peers.iter_mut().for_each(Peer::start);
    archive.cluster.wait_ready().await;
    for peer in 0..3 {
        let shown = shown_at(&archive, peer, "max-snapshots-per-collection").await;
        assert!(shown["value"] == "1" && shown["is_set"] == true, "{shown}");
    }
    cli::refused(&archive.cluster, &create("second"), "", full).await;

    phase("the default again, and a quota for the whole instance");
    let said = archive.ok(&["settings", "reset", "max_snapshots_per_collection"]).await;
    assert!(said.starts_with("max_snapshots_per_collection is 10000, it was 1"), "{said}");
    archive.ok(&create("second")).await;
    archive.ok(&["settings", "set", "max_snapshots_per_instance", "2"]).await;
    let full: &[&str] = &["has 2 snapshots, limit 2 (setting max_snapshots_per_instance)", "limit_reached"];
    cli::refused(&archive.cluster, &create("third"), "", full).await;
    cli::refused(&archive.cluster, &["snapshot", "create", INSTANCE, "whole"], "", full).await;
}

/// Claims all tasks for a worker that is never heard of again.
async fn claim_and_fall_silent(archive: &Archive) -> Vec<TaskAssignment> {
    let mut client = WorkClient::new(channel(&archive.cluster.peers[0].public));
    until("there are tasks to claim", async || {
        let mut request = call(ClaimTasksRequest {
            worker: "silent".into(),
            tasks: 16,
            ..ClaimTasksRequest::default()
        });
        let token = TOKEN.parse().expect("a header value");
        request.metadata_mut().insert("quorate-token", token);
        let claimed = client.claim_tasks(request).await.ok()?.into_inner().tasks;
        (!claimed.is_empty()).then_some(claimed)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_have_the_places_and_claims_the_leases_that_were_set() {
    // Nothing is done but what this test has done.
    let archive = Archive::start_with(4, 10_000, &["--workers", "0"]).await;
    let helper = WorkerProcess::start(&archive.cluster, "helper", TOKEN);
    archive.import_and_snapshot("logs").await;
    until("the snapshot has its manifests, and no job is active", async || {
        let shown = archive.json(&["snapshot", "describe", INSTANCE, "first"]).await;
        let active = archive.json(&["job", "list", "--active"]).await;
        let is_idle = active.as_array().is_some_and(Vec::is_empty);
        (shown["manifests"] == shown["segments"] && is_idle).then_some(())
    })
    .await;
    drop(helper);

    phase("two jobs are as many as there may be");
    archive.ok(&["settings", "set", "max_active_jobs", "2"]).await;
    let (one, two) = (archive.restore("one").await, archive.restore("two").await);
    let third = ["snapshot", "restore", INSTANCE, "first", "--to", "three"];
    let full: &[&str] = &["2 jobs have not ended, limit 2 (setting max_active_jobs)", "limit_reached"];
    cli::refused(&archive.cluster, &third, "", full).await;
    archive.ok(&["job", "cancel", &two, "--yes"]).await;
    let three = archive.restore("three").await;
    archive.ok(&["job", "cancel", &three, "--yes"]).await;

    phase("a claim says how it is to be copied, and ends with the lease that it was made with");
    archive.ok(&["settings", "set", "read_back_copies", "0"]).await;
    archive.ok(&["settings", "set", "claim_lease_ms", "3s"]).await;
    let claimed = claim_and_fall_silent(&archive).await;
    let as_set = |task: &TaskAssignment| task.lease_ms == 3_000 && task.skip_read_back;
    assert!(claimed.iter().all(as_set), "{claimed:?}");
    archive.ok(&["settings", "set", "claim_lease_ms", "10m"]).await;
    until("its task is open again", async || {
        let shown = archive.job(&one).await;
        let task = &shown["tasks"][0];
        let reason = task["reason"].as_str()?;
        (reason == "worker silent was not heard of for 3000 ms" && task["state"] == "TASK_OPEN").then_some(())
    })
    .await;

    phase("whoever comes next does it");
    let _worker = WorkerProcess::start(&archive.cluster, "next", TOKEN);
    let ended = archive.ended(&one).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    assert_eq!(archive.verified(INSTANCE, "one").await, archive.verified(INSTANCE, "logs").await);
}
