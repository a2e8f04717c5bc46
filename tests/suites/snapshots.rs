//! Snapshots, restores and clones as a user has them: real files in a shared directory, three peers as processes, the command
//! line. Peers die in the middle of the copy; those that die at every step have a suite of their own (`job_crashes`).

use quorate_tests::archive::{Archive, HELD, INSTANCE, RELEASED, files_below};
use quorate_tests::cli;
use quorate_tests::cluster::TOKEN;
use quorate_tests::s3_server::S3Server;
use quorate_tests::waiting::{phase, until};
use quorate_tests::worker::WorkerProcess;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_collection_comes_back_under_another_name_though_the_leader_dies_in_the_middle() {
    // A task has at most 256 segments: these are three.
    let mut archive = Archive::start(600, 5_000).await;

    phase("import, snapshot, drop");
    archive.import_by(INSTANCE, "logs", "1").await;
    archive.ok(&["snapshot", "create", INSTANCE, "first", "--collection", "logs"]).await;
    let before = archive.verified(INSTANCE, "logs").await;
    assert_eq!(before.len(), 600);
    let shown = archive.json(&["snapshot", "describe", INSTANCE, "first"]).await;
    assert_eq!(
        (shown["state"].as_str(), shown["segments"].as_str()),
        (Some("COMMITTED"), Some("600")),
        "{shown}"
    );
    archive.ok(&["collection", "drop", INSTANCE, "logs", "--yes"]).await;
    cli::refused(&archive.cluster, &["collection", "describe", INSTANCE, "logs"], "", &["logs"]).await;

    phase("restore, make a peer that copies the leader, and kill it");
    archive.arm(HELD).await;
    let job = archive.restore("again").await;
    let worker = until("somebody copies", async || {
        let shown = archive.job(&job).await;
        let name = shown["workers"][0].as_str()?.to_owned();
        (!archive.files_of(&job).is_empty()).then_some(name)
    })
    .await;
    let id = worker.strip_prefix("peer-").expect("workers of peers are named after them");
    // Whoever does not say within a second that it is there is not made leader.
    until("the peer that copies leads", async || {
        let to = ["member", "transfer-leader", "--to", id];
        let said = tokio::task::block_in_place(|| cli::run(&archive.cluster, &to, ""));
        said.success.then_some(())
    })
    .await;
    cli::refused(&archive.cluster, &["collection", "describe", INSTANCE, "again"], "", &["again"]).await;
    let leader = archive.cluster.leader().await;
    archive.cluster.peers[leader].kill();
    let shown = archive.job(&job).await;
    assert_eq!(shown["state"].as_str(), Some("JOB_RUNNING"), "{shown}");

    phase("the others finish it");
    archive.release_all_but(leader).await;
    let ended = archive.ended(&job).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    assert_eq!(ended["progress"]["percent"].as_u64(), Some(100));
    assert_eq!(archive.verified(INSTANCE, "again").await, before);

    phase("what the watch says, and how it exits");
    let watched = cli::ok(&archive.cluster, &["job", "watch", &job]).await;
    assert!(watched.out.contains("restore of first into again completed"), "{}", watched.out);
    for (collection, expected) in [("again", vec![job.as_str()]), ("nowhere", vec![])] {
        let listed = archive
            .json(&[
                "job",
                "list",
                "--instance",
                INSTANCE,
                "--database",
                "default",
                "--collection",
                collection,
            ])
            .await;
        let ids: Vec<&str> = listed
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|job| job["job_id"].as_str())
            .collect();
        assert_eq!(ids, expected, "{listed}");
    }
    archive.cluster.peers[leader].start();
    archive.cluster.wait_ready().await;
    let verified = archive.json(&["gc", "verify", INSTANCE]).await;
    assert_eq!(verified["missing"].as_array().map(Vec::len), Some(0), "{verified}");

    phase("a check of the vault tells what is a snapshot's from what is nobody's");
    let shown = archive.json(&["snapshot", "describe", INSTANCE, "first"]).await;
    let location = shown["location"].as_str().expect("a location").to_owned();
    let metadata = archive.vault.path().join(&location);
    until("the metadata file is written for the last time", async || {
        let written = std::fs::read_to_string(&metadata).ok()?;
        written.contains("manifest_list").then_some(())
    })
    .await;
    std::fs::remove_file(&metadata).expect("removed");
    let orphan = "s1/j999999/t1-f1/orphan";
    let file = archive.vault.path().join(orphan);
    std::fs::create_dir_all(file.parent().expect("has one")).expect("made");
    std::fs::write(&file, b"nobody's").expect("written");
    let said = tokio::task::block_in_place(|| cli::run(&archive.cluster, &["gc", "verify", INSTANCE, "-o", "json"], ""));
    assert!(!said.success, "{said:?}");
    let verified: Json = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(verified["missing"], json!([location]), "{verified}");
    assert_eq!(verified["unreferenced"], json!([orphan]), "{verified}");
    a_missing_manifest_is_named(&archive, &location).await;
}

/// Where the snapshot's metadata file is missing already.
async fn a_missing_manifest_is_named(archive: &Archive, location: &str) {
    phase("a manifest that is gone is named with its snapshot");
    let mut manifests = Vec::new();
    files_below(&archive.vault.path().join("snapshots"), &mut manifests);
    manifests.retain(|file| file.extension().is_some_and(|extension| extension == "avro"));
    assert_eq!(manifests.len(), 600);
    let verify = || tokio::task::block_in_place(|| cli::run(&archive.cluster, &["gc", "verify", INSTANCE, "-o", "json"], ""));
    // The file that lists them is there before the entry that says so.
    until("the manifests are known", async || {
        let verified: Json = serde_json::from_str(&verify().out).ok()?;
        (verified["manifests"] == "600").then_some(())
    })
    .await;
    std::fs::remove_file(&manifests[7]).expect("removed");
    let gone = manifests[7].strip_prefix(archive.vault.path()).expect("below the vault");
    let gone = gone.to_str().expect("UTF-8");
    let shown = archive.json(&["snapshot", "describe", INSTANCE, "first"]).await;
    let id = shown["snapshot_id"].as_str().expect("an id");
    let verified: Json = serde_json::from_str(&verify().out).expect("JSON");
    assert_eq!(verified["missing"], json!([location, gone]), "{verified}");
    let named = json!([{"file": gone, "instance_id": INSTANCE, "snapshot_id": id, "snapshot_name": "first"}]);
    assert_eq!(verified["missing_manifests"], named, "{verified}");
    let said = tokio::task::block_in_place(|| cli::run(&archive.cluster, &["gc", "verify", INSTANCE], ""));
    let line = said.out.lines().find(|line| line.contains(gone)).unwrap_or_default();
    assert!(!said.success && line.ends_with(&format!("first ({id}) of {INSTANCE}")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_comes_back_out_of_a_snapshot_of_the_whole_instance() {
    let archive = Archive::start(20, 10_000).await;
    archive.import(INSTANCE, "logs").await;
    archive.import(INSTANCE, "other").await;
    let before = archive.verified(INSTANCE, "logs").await;
    assert_eq!(before.len(), 20);
    archive.ok(&["snapshot", "create", INSTANCE, "first"]).await;

    phase("the collection is dropped, and another one has its name");
    archive.ok(&["collection", "drop", INSTANCE, "logs", "--yes"]).await;
    archive.ok(&["collection", "create", INSTANCE, "logs"]).await;

    phase("which one is to be said, and it must have been there");
    let restore = ["snapshot", "restore", INSTANCE, "first", "--to", "again"];
    cli::refused(&archive.cluster, &restore, "", &["whole instance", "--collection"]).await;
    let never: &[&str] = &["--collection", "never"];
    cli::refused(&archive.cluster, &[&restore[..], never].concat(), "", &["first", "never"]).await;
    let nowhere: &[&str] = &["--collection", "logs", "--database", "none"];
    cli::refused(&archive.cluster, &[&restore[..], nowhere].concat(), "", &["first", "none"]).await;

    phase("it comes back as it was");
    let logs: &[&str] = &["--collection", "logs"];
    let job = archive.json(&[&restore[..], logs].concat()).await;
    assert_eq!(job["source_collection"].as_str(), Some("logs"), "{job}");
    let ended = archive.ended(job["job_id"].as_str().expect("an id")).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    assert_eq!(archive.verified(INSTANCE, "again").await, before);
    assert_eq!(
        archive.verified(INSTANCE, "logs").await.len(),
        0,
        "the name's new owner is left alone"
    );

    phase("the snapshot can go, and what was restored stays");
    archive.ok(&["snapshot", "drop", INSTANCE, "first", "--yes"]).await;
    cli::refused(&archive.cluster, &["snapshot", "describe", INSTANCE, "first"], "", &["first"]).await;
    assert_eq!(archive.verified(INSTANCE, "again").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_input_is_refused_with_a_clear_error_and_changes_nothing() {
    let archive = Archive::start(4, 1_000).await;
    archive.import_and_snapshot("logs").await;
    archive.ok(&["collection", "create", INSTANCE, "taken"]).await;
    archive.ok(&["database", "create", INSTANCE, "held"]).await;
    archive.ok(&["collection", "create", INSTANCE, "c", "--database", "held"]).await;
    let unknown = "00000000000000ff0000";
    let table: &[(&[&str], &[&str])] = &[
        (&["snapshot", "restore", INSTANCE, "never", "--to", "x"], &["has no snapshot never"]),
        (&["snapshot", "restore", INSTANCE, unknown, "--to", "x"], &[unknown]),
        (&["snapshot", "restore", INSTANCE, "first", "--to", "taken"], &["taken"]),
        (
            &["snapshot", "restore", INSTANCE, "first", "--to", "1x"],
            &["target_collection", "letter"],
        ),
        (
            &["snapshot", "restore", INSTANCE, "first", "--to", "x", "--to-vault", "nowhere"],
            &["nowhere"],
        ),
        (
            &["snapshot", "restore", INSTANCE, "first", "--to", "x", "--to-database", "none"],
            &["none"],
        ),
        (
            &["snapshot", "restore", INSTANCE, "first", "--to", "x", "--to-instance", "none"],
            &["none"],
        ),
        (
            &["snapshot", "restore", INSTANCE, "first", "--to", "x", "--give-up-after", "99d"],
            &["2592000"],
        ),
        (
            &["snapshot", "create", INSTANCE, "first", "--collection", "logs"],
            &["first", "already exists"],
        ),
        (&["snapshot", "create", INSTANCE, "1 bad name", "--collection", "logs"], &["name"]),
        (&["snapshot", "create", INSTANCE, "second", "--collection", "none"], &["none"]),
        (
            &["snapshot", "create", INSTANCE, "second", "--collection", "logs", "--ttl", "9999d"],
            &["ttl_seconds", "ten years"],
        ),
        (&["snapshot", "pin", INSTANCE, "first", "--ttl", "31d"], &["2592000"]),
        (&["collection", "create", INSTANCE, "logs"], &["logs"]),
        (&["collection", "create", INSTANCE, "x", "--vault", "nowhere"], &["nowhere"]),
        (&["partition", "create", INSTANCE, "none", "p"], &["none"]),
        (&["database", "drop", INSTANCE, "default", "--yes"], &["default"]),
        (
            &["segment", "import", INSTANCE, "/nonexistent", "--collection", "logs"],
            &["/nonexistent"],
        ),
        (
            &["gc", "verify", INSTANCE, "--vault", "nowhere"],
            &["nowhere", "vault_not_found", "quorate vault list"],
        ),
        (&["job", "show", "99999"], &["99999"]),
        (&["job", "cancel", "99999", "--yes"], &["99999"]),
        (&["instance", "compact", INSTANCE], &["is no clone", "nothing to compact"]),
        (
            &["instance", "decouple", INSTANCE, "--yes"],
            &["is no clone", "nothing to decouple"],
        ),
        (&["snapshot", "list", INSTANCE, "--collection", "none"], &["none", "not_found"]),
        (&["job", "list", "--instance", "none"], &["none", "not_found"]),
        (&["job", "cancel", "99999", "--dry-run"], &["99999"]),
        (
            &["instance", "compact", INSTANCE, "--dry-run"],
            &["--dry-run: nothing was changed", "is no clone"],
        ),
        (
            &["instance", "decouple", INSTANCE, "--dry-run"],
            &["--dry-run: nothing was changed", "is no clone"],
        ),
        (
            &["partition", "drop", INSTANCE, "none", "p", "--dry-run"],
            &["--dry-run: nothing was changed", "none"],
        ),
        (
            &["database", "drop", INSTANCE, "held", "--dry-run"],
            &["--dry-run: nothing was changed", "collection"],
        ),
        (&["instance", "clone", INSTANCE, "copy", "--snapshot", unknown], &["snapshot"]),
        (&["database", "drop", INSTANCE, "none", "--yes"], &["none", "not_found"]),
        (&["collection", "drop", INSTANCE, "none", "--yes"], &["none", "not_found"]),
        (
            &["partition", "drop", INSTANCE, "logs", "none", "--yes"],
            &["partition none of collection logs was not found (not_found)"],
        ),
        (
            &["partition", "drop", INSTANCE, "logs", "none", "--dry-run"],
            &["--dry-run: nothing was changed", "partition none of collection logs was not found"],
        ),
        (
            &["segment", "drop", INSTANCE, "999999", "999998", "--collection", "logs", "--yes"],
            &["segments 999999, 999998 were not found in partition _default of collection logs"],
        ),
        (
            &["segment", "drop", INSTANCE, "999999", "--collection", "logs", "--dry-run"],
            &["--dry-run: nothing was changed", "segment 999999 was not found"],
        ),
        (&["snapshot", "drop", INSTANCE, "none", "--yes"], &["has no snapshot none"]),
        (
            &["snapshot", "unpin", INSTANCE, "999999"],
            &["pin 999999 was not found (not_found)"],
        ),
        (&["session", "close", "999999"], &["session 999999 was not found (not_found)"]),
    ];
    let before = state_of(&archive).await;
    for (arguments, parts) in table {
        cli::refused(&archive.cluster, arguments, "", parts).await;
    }
    assert_eq!(state_of(&archive).await, before);

    dry_runs_change_nothing(&archive, &before).await;
    what_is_there_is_dropped_though_another_is_not(&archive).await;
    let before = state_of(&archive).await;
    phase("a vault whose directory is gone, or is another one, is not restored into");
    let marker = archive.vault.path().join(".quorate-vault");
    let hidden = archive.vault.path().join("hidden");
    std::fs::rename(&marker, &hidden).expect("renamed");
    let restore: &[&str] = &["snapshot", "restore", INSTANCE, "first", "--to", "x"];
    cli::refused(&archive.cluster, restore, "", &["no marker file"]).await;
    std::fs::write(&marker, "cluster = another\nvault = local\n").expect("written");
    cli::refused(&archive.cluster, restore, "", &["belongs to another vault"]).await;
    std::fs::rename(&hidden, &marker).expect("renamed");
    assert_eq!(state_of(&archive).await, before);
    assert_eq!(archive.files_of_jobs(), Vec::<PathBuf>::new());
    a_renamed_collection_keeps_its_snapshots(&archive).await;
}

async fn dry_runs_change_nothing(archive: &Archive, before: &[Json]) {
    phase("a dry run of what would be done changes nothing either");
    for arguments in [
        &["collection", "drop", INSTANCE, "logs", "--dry-run"][..],
        &["partition", "drop", INSTANCE, "logs", "_default", "--dry-run"],
        &["snapshot", "drop", INSTANCE, "first", "--dry-run"],
        &["instance", "drop", INSTANCE, "--dry-run"],
    ] {
        let said = cli::ok(&archive.cluster, arguments).await;
        assert!(
            said.err.contains("--dry-run: nothing was changed; the cluster would do this"),
            "{said:?}"
        );
        assert_eq!(said.out, "", "people have been told: {arguments:?}");
        let told = archive.json(arguments).await;
        assert_eq!(told["result"], "nothing was changed; the cluster would do this", "{told}");
        assert!(told["revision"].is_string(), "{told}");
    }
    let dropped = archive.json(&["collection", "drop", INSTANCE, "logs", "--dry-run"]).await;
    assert_eq!(dropped["existed"], true, "the whole reply is there: {dropped}");
    assert_eq!(state_of(archive).await, before);
}

async fn what_is_there_is_dropped_though_another_is_not(archive: &Archive) {
    phase("of two segments, one of which is not there, the other is dropped, and the exit code tells");
    let listed = archive.json(&["segment", "list", INSTANCE, "--collection", "logs"]).await;
    let id = listed[0]["segment_id"].as_str().expect("an id").to_owned();
    let both = ["segment", "drop", INSTANCE, &id, "999999", "--collection", "logs"];
    for (flag, result) in [("--dry-run", "the cluster would do this"), ("--yes", "1 segment dropped")] {
        let arguments = [&both[..], &[flag, "-o", "json"]].concat();
        let said = tokio::task::block_in_place(|| cli::run(&archive.cluster, &arguments, ""));
        let named = format!("1 of segments {id}, 999999 was not found");
        assert!(!said.success && said.err.contains(&named), "{said:?}");
        let told: Json = serde_json::from_str(&said.out).expect("JSON");
        assert!(
            told["dropped"] == 1 && told["result"].as_str().is_some_and(|text| text.ends_with(result)),
            "{told}"
        );
    }
    let left = archive.json(&["segment", "list", INSTANCE, "--collection", "logs"]).await;
    assert_eq!(left.as_array().map(Vec::len), listed.as_array().map(|listed| listed.len() - 1));
}

async fn a_renamed_collection_keeps_its_snapshots(archive: &Archive) {
    phase("a collection is renamed, and another one gets its name: its snapshot is not dropped by that");
    archive.ok(&["collection", "rename", INSTANCE, "logs", "older"]).await;
    archive.ok(&["collection", "create", INSTANCE, "logs"]).await;
    let described = ["snapshot", "describe", INSTANCE, "first", "--collection", "older"];
    let shown = archive.json(&described).await;
    let id = shown["snapshot_id"].as_str().expect("an id");
    let drop_of = |collection: &'static str| ["snapshot", "drop", INSTANCE, "first", "--collection", collection, "--yes"];
    let parts = ["no collection default.logs has a snapshot first now", id];
    cli::refused(&archive.cluster, &drop_of("logs"), "", &parts).await;
    let listed = async |collection: &'static str| {
        let listed = archive.json(&["snapshot", "list", INSTANCE, "--collection", collection]).await;
        listed.as_array().map(Vec::len)
    };
    assert_eq!((listed("logs").await, listed("older").await), (Some(0), Some(1)));
    archive.ok(&drop_of("older")).await;
    assert_eq!(listed("older").await, Some(0));
}

/// What could have changed: collections, snapshots and restores.
async fn state_of(archive: &Archive) -> Vec<Json> {
    let mut jobs = archive.json(&["job", "list"]).await;
    if let Some(jobs) = jobs.as_array_mut() {
        jobs.retain(|job| job["kind"].as_str() == Some("RESTORE"));
    }
    let mut snapshots = archive.json(&["snapshot", "list", INSTANCE]).await;
    for snapshot in snapshots.as_array_mut().into_iter().flatten() {
        // Written by and by.
        snapshot["manifests"] = Json::Null;
    }
    vec![archive.json(&["collection", "list", INSTANCE]).await, snapshots, jobs]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_cannot_succeed_or_is_cancelled_leaves_nothing() {
    let archive = Archive::start(40, 20_000).await;
    archive.import_and_snapshot("logs").await;
    let segments = archive.json(&["segment", "list", INSTANCE, "--collection", "logs"]).await;
    let path = |position: usize| {
        let segment = &segments[position];
        let name = segment["files"][0]["name"].as_str().expect("a name").to_owned();
        (
            archive.vault.path().join(segment["path"].as_str().expect("a path")).join(&name),
            name,
        )
    };

    phase("a source file is missing");
    let (missing, name) = path(0);
    let kept = std::fs::read(&missing).expect("it is there");
    std::fs::remove_file(&missing).expect("removed");
    fails_naming(&archive, &name).await;
    let verify = tokio::task::block_in_place(|| cli::run(&archive.cluster, &["gc", "verify", INSTANCE], ""));
    assert!(
        !verify.success && verify.out.contains("missing") && verify.out.contains(&name),
        "{verify:?}"
    );
    std::fs::write(&missing, &kept).expect("written");

    phase("a source file is damaged");
    let (damaged, name) = path(3);
    let kept = std::fs::read(&damaged).expect("it is there");
    let mut flipped = kept.clone();
    flipped[7] ^= 1;
    std::fs::write(&damaged, &flipped).expect("written");
    fails_naming(&archive, &name).await;
    std::fs::write(&damaged, &kept).expect("written");

    phase("a restore is cancelled in its middle");
    archive.arm(HELD).await;
    let job = archive.restore("again").await;
    until("files are copied", async || (!archive.files_of(&job).is_empty()).then_some(())).await;
    let busy = ["snapshot", "drop", INSTANCE, "first", "--yes"];
    cli::refused(&archive.cluster, &busy, "", &["first"]).await;
    let cancelled = archive.json(&["job", "cancel", &job, "--reason", "a test", "--yes"]).await;
    assert_eq!(
        (cancelled["job_id"].as_str(), cancelled["state"].as_str()),
        (Some(job.as_str()), Some("JOB_CANCELLED")),
        "{cancelled}"
    );
    let ended = archive.job(&job).await;
    assert_eq!(
        (ended["state"].as_str(), ended["reason"].as_str()),
        (Some("JOB_CANCELLED"), Some("a test")),
        "{ended}"
    );
    let watched = tokio::task::block_in_place(|| cli::run(&archive.cluster, &["job", "watch", &job], ""));
    assert!(!watched.success, "{watched:?}");
    archive.arm(RELEASED).await;
    nothing_is_left(&archive).await;
    is_ended_by_a_drop_of_what_it_fills(&archive).await;

    phase("and the same name can be restored to afterwards");
    let job = archive.restore("again").await;
    let ended = archive.ended(&job).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    assert_eq!(archive.verified(INSTANCE, "again").await, archive.verified(INSTANCE, "logs").await);
}

async fn is_ended_by_a_drop_of_what_it_fills(archive: &Archive) {
    phase("the collection that a restore fills is dropped");
    archive.arm(HELD).await;
    let job = archive.restore("again").await;
    until("files are copied", async || (!archive.files_of(&job).is_empty()).then_some(())).await;
    archive.ok(&["collection", "drop", INSTANCE, "again", "--yes"]).await;
    let ended = archive.job(&job).await;
    assert_eq!(
        (ended["state"].as_str(), ended["reason"].as_str()),
        (Some("JOB_CANCELLED"), Some("collection again was dropped")),
        "{ended}"
    );
    archive.arm(RELEASED).await;
    nothing_is_left(archive).await;
}

/// A restore fails, and its reason names the file.
async fn fails_naming(archive: &Archive, file: &str) {
    let job = archive.restore("again").await;
    let ended = archive.ended(&job).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_FAILED"), "{ended}");
    assert!(
        ended["reason"].as_str().unwrap_or_default().contains(file),
        "{file} is not named: {ended}"
    );
    nothing_is_left(archive).await;
}

/// What ended jobs wrote is deleted, the name is free, and nothing of it is visible.
async fn nothing_is_left(archive: &Archive) {
    until("what the job wrote is deleted", async || {
        archive.files_of_jobs().is_empty().then_some(())
    })
    .await;
    cli::refused(&archive.cluster, &["collection", "describe", INSTANCE, "again"], "", &["again"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_restores_to_one_name_exactly_one_wins() {
    let archive = Archive::start(20, 10_000).await;
    archive.import_and_snapshot("logs").await;
    let restore = ["snapshot", "restore", INSTANCE, "first", "--to", "again", "-o", "json"];
    let both = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let one = scope.spawn(|| cli::run(&archive.cluster, &restore, ""));
            let other = cli::run(&archive.cluster, &restore, "");
            [one.join().expect("it ran"), other]
        })
    });
    let won: Vec<_> = both.iter().filter(|said| said.success).collect();
    let lost: Vec<_> = both.iter().filter(|said| !said.success).collect();
    assert_eq!((won.len(), lost.len()), (1, 1), "{both:?}");
    assert!(lost[0].err.contains("again"), "{lost:?}");
    let job: Json = serde_json::from_str(&won[0].out).expect("JSON");
    let ended = archive.ended(job["job_id"].as_str().expect("an id")).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    assert_eq!(archive.verified(INSTANCE, "again").await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_is_written_to_compacted_cut_off_and_outlives_its_source() {
    let archive = Archive::start(20, 10_000).await;
    archive.import(INSTANCE, "logs").await;
    let before = archive.verified(INSTANCE, "logs").await;
    let snapshot = archive.json(&["snapshot", "create", INSTANCE, "whole"]).await;
    let id = snapshot["snapshot_id"].as_str().expect("an id");

    phase("clone, and write to the clone: the source does not see it");
    let cloned = archive.json(&["instance", "clone", INSTANCE, "copy", "--snapshot", id]).await;
    assert_eq!(cloned["instance_id"], "copy", "{cloned}");
    assert_eq!(cloned["result"], format!("instance copy is a clone of {INSTANCE}"), "{cloned}");
    assert_eq!(archive.verified("copy", "logs").await, before);
    archive.import("copy", "own").await;
    archive.ok(&["collection", "drop", "copy", "own", "--yes"]).await;
    archive.import("copy", "more").await;
    cli::refused(&archive.cluster, &["collection", "describe", INSTANCE, "more"], "", &["more"]).await;
    let drop_snapshot = ["snapshot", "drop", INSTANCE, "whole", "--yes"];
    cli::refused(&archive.cluster, &drop_snapshot, "", &["copy"]).await;
    cli::refused(
        &archive.cluster,
        &["instance", "decouple", "copy", "--yes"],
        "",
        &["compact it first", "quorate instance compact copy"],
    )
    .await;
    let shown = cli::ok(&archive.cluster, &["instance", "show", "copy"]).await;
    assert!(
        shown.out.contains("clone of") && shown.out.contains(INSTANCE) && shown.out.contains("reads through it"),
        "{}",
        shown.out
    );

    phase("compact, decouple, drop the source's snapshot and the source");
    let compacted = cli::ok(&archive.cluster, &["instance", "compact", "copy", "--copy-files", "--wait"]).await;
    assert!(compacted.out.contains("completed"), "{}", compacted.out);
    let planned = archive.json(&["instance", "decouple", "copy", "--dry-run"]).await;
    assert_eq!(planned["holds_files"], false, "{planned}");
    archive.ok(&["instance", "decouple", "copy", "--yes"]).await;
    let shown = archive.json(&["instance", "show", "copy"]).await;
    assert!(shown.get("clone").is_none(), "it has copies of its own: {shown}");
    archive.ok(&drop_snapshot).await;
    archive.ok(&["collection", "drop", INSTANCE, "logs", "--yes"]).await;
    archive.ok(&["instance", "drop", INSTANCE, "--yes"]).await;
    assert_eq!(archive.verified("copy", "logs").await, before);
    assert_eq!(archive.verified("copy", "more").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_with_a_store_of_its_own_needs_nothing_of_its_source_s_once_it_is_cut_off() {
    let server = S3Server::start(&["own"]).await;
    let archive = Archive::start(20, 10_000).await;
    archive.import(INSTANCE, "logs").await;
    let before = archive.verified(INSTANCE, "logs").await;
    let in_bucket = async |collection: &str| {
        let read = |file: &str| server.object("own", &format!("data/{file}"));
        archive.verified_by("copy", collection, read).await
    };

    phase("clone into a bucket, and snapshot the clone while it reads through");
    archive.ok(&["snapshot", "create", INSTANCE, "whole"]).await;
    clone_into_bucket(&archive, &server);
    archive.ok(&["snapshot", "create", "copy", "early", "--collection", "logs"]).await;

    phase("compact, decouple, drop the source, and remove the directory that its files were in");
    let compacted = archive.ok(&["instance", "compact", "copy", "--wait"]).await;
    assert!(compacted.contains("completed"), "{compacted}");
    archive.ok(&["instance", "decouple", "copy", "--yes"]).await;
    archive.ok(&["snapshot", "drop", INSTANCE, "whole", "--yes"]).await;
    archive.ok(&["collection", "drop", INSTANCE, "logs", "--yes"]).await;
    archive.ok(&["instance", "drop", INSTANCE, "--yes"]).await;
    until("the directory is gone, whatever the peers still delete there", async || {
        let _ = std::fs::remove_dir_all(archive.vault.path());
        (!archive.vault.path().exists()).then_some(())
    })
    .await;
    assert_eq!(in_bucket("logs").await, before);

    phase("restore out of snapshots from before and after, and out of one of the whole clone");
    archive.ok(&["snapshot", "create", "copy", "late", "--collection", "logs"]).await;
    let all = archive.json(&["snapshot", "create", "copy", "all"]).await;
    let all = all["snapshot_id"].as_str().expect("an id");
    let of_all = ["snapshot", "restore", "copy", all, "--collection", "logs", "--to", "of_all"];
    for restore in [
        &["snapshot", "restore", "copy", "early", "--to", "of_early"][..],
        &["snapshot", "restore", "copy", "late", "--to", "of_late"],
        &of_all,
    ] {
        let job = archive.json(restore).await;
        let ended = archive.ended(job["job_id"].as_str().expect("an id")).await;
        assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    }
    for collection in ["of_early", "of_late", "of_all"] {
        assert_eq!(in_bucket(collection).await, before, "{collection}");
    }

    phase("the bucket has all that the cluster says it has");
    let segments = archive.json(&["segment", "list", "copy", "--collection", "logs"]).await;
    let vault = segments[0]["vault"].as_str().expect("an id");
    let keys = [
        ("AWS_ACCESS_KEY_ID", server.access_key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key.as_str()),
    ];
    let verify = ["gc", "verify", "copy", "--vault", vault, "-o", "json"];
    let said = tokio::task::block_in_place(|| cli::run_with(&archive.cluster, &keys, &verify, ""));
    assert!(said.success, "{said:?}");
    let verified: Json = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&verified["missing"], &verified["damaged"]), (&json!([]), &json!([])), "{verified}");
}

/// Makes `copy` of the snapshot `whole`, with a store of its own.
fn clone_into_bucket(archive: &Archive, server: &S3Server) {
    let place = server.place_flags("own");
    let mut clone = vec!["instance", "clone", INSTANCE, "copy", "--snapshot", "whole"];
    clone.extend(place.iter().map(String::as_str));
    let secret = [("QUORATE_SK", server.secret_key.as_str())];
    let said = tokio::task::block_in_place(|| cli::run_with(&archive.cluster, &secret, &clone, ""));
    assert!(said.success, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_in_processes_of_their_own_do_what_peers_without_workers_do_not() {
    let archive = Archive::start_with(20, 10_000, &["--workers", "0"]).await;
    archive.import_and_snapshot("logs").await;
    let job = archive.restore("again").await;

    phase("a wrong token ends a worker at once");
    let wrong = WorkerProcess::start(&archive.cluster, "stranger", "wrong");
    assert!(!tokio::task::block_in_place(|| wrong.ended()).success());

    phase("one is killed, another one does its work");
    let waiting = archive.job(&job).await;
    assert_eq!(waiting["progress"]["tasks_done"].as_u64().or(Some(0)), Some(0), "{waiting}");
    let first = WorkerProcess::start(&archive.cluster, "first", TOKEN);
    until("somebody works", async || {
        let shown = archive.job(&job).await;
        let has_ended = shown["state"].as_str() == Some("JOB_COMPLETED");
        let works = shown["workers"].as_array().is_some_and(|workers| !workers.is_empty());
        (works || has_ended).then_some(())
    })
    .await;
    drop(first);
    let _second = WorkerProcess::start(&archive.cluster, "second", TOKEN);
    let ended = archive.ended(&job).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    assert_eq!(archive.verified(INSTANCE, "again").await, archive.verified(INSTANCE, "logs").await);
}
