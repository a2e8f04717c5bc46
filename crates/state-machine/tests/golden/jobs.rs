//! Commands and records of jobs.

use super::{Golden, command, record};
use quorate_state_machine::commands::plan_tasks::PlannedTask;
use quorate_state_machine::commands::*;
use quorate_state_machine::record::*;
use quorate_wire::quorate::v1::{ClaimProgress, SnapshotRef, StagedRow};

fn stats() -> StatsRecord {
    StatsRecord {
        segments: 1,
        rows: 300,
        files: 2,
        bytes: 3,
    }
}

pub fn commands() -> Vec<Golden> {
    let planned = PlannedTask {
        table: 8,
        first_key: "a".into(),
        last_key: "b".into(),
        expected: Some(stats()),
    };
    let plan = PlanTasks {
        job: 300,
        after_table: 7,
        after_key: "k".into(),
        tasks: vec![planned],
        planned_table: 8,
        planned_key: "l".into(),
        done: true,
        collections: vec![300],
    };
    let claim = ClaimTasks {
        worker: "w".into(),
        max: 4,
        avoid_jobs: Vec::new(),
        min_age_ms: 0,
    };
    let progress = ClaimProgress {
        job_id: 300,
        task: 1,
        fence: 2,
        files_done: 3,
        bytes_done: 4,
    };
    let renew = RenewClaims {
        worker: "w".into(),
        claims: vec![progress],
    };
    let expire = ExpireClaim {
        job: 300,
        task: 1,
        fence: 2,
        renewals: 3,
    };
    let row = StagedRow {
        table: 8,
        key: "k".into(),
        value: "v".into(),
    };
    let complete = CompleteTask {
        job: 300,
        task: 1,
        fence: 2,
        rows: vec![row],
        files: 3,
        bytes: 4,
    };
    let fail = FailTask {
        job: 300,
        task: 1,
        fence: 2,
        reason: "r".into(),
        can_retry: true,
        is_of_the_vault: false,
    };
    let reason = || "r".to_owned();
    let restore = CreateRestore {
        instance_id: "i".into(),
        snapshot: Some(SnapshotRef {
            name: "s".into(),
            ..SnapshotRef::default()
        }),
        target_instance_id: "t".into(),
        target_database: "d".into(),
        target_collection: "c".into(),
        target_vault: "v".into(),
        timeout_ms: 300,
        ..CreateRestore::default()
    };
    let restore_one = CreateRestore {
        source_collection: "sc".into(),
        source_database: "sd".into(),
        source_collection_id: 300,
        ..restore.clone()
    };
    vec![
        command(restore, "0a016912032201731a01742201642a016332017638ac02"),
        command(restore_one, "0a016912032201731a01742201642a016332017638ac02420273634a02736450ac02"),
        command(
            plan,
            "08ac0210071a016b221308081201611a01622209080110ac0218022003280832016c38014202ac02",
        ),
        command(claim.clone(), "0a01771004"),
        command(
            ClaimTasks {
                avoid_jobs: vec![300, 7],
                ..claim.clone()
            },
            "0a017710041a03ac0207",
        ),
        command(ClaimTasks { min_age_ms: 300, ..claim }, "0a0177100420ac02"),
        command(renew, "0a0177120b08ac021001180220032804"),
        command(expire, "08ac02100118022003"),
        command(complete, "08ac02100118022208080812016b1a017628033004"),
        command(fail, "08ac02100118022201722801"),
        command(PublishJob { job: 300 }, "08ac02"),
        command(
            CancelJob {
                job: 300,
                reason: reason(),
            },
            "08ac02120172",
        ),
        command(
            FailJob {
                job: 300,
                reason: reason(),
                deadline_ms: None,
            },
            "08ac02120172",
        ),
        command(
            FailJob {
                job: 300,
                reason: reason(),
                deadline_ms: Some(300),
            },
            "08ac0212017218ac02",
        ),
        command(RemoveJobs {}, ""),
        command(
            StartManifests {
                scope: 1,
                revision: 300,
                since: None,
            },
            "080110ac02",
        ),
        command(
            StartManifests {
                scope: 1,
                revision: 300,
                since: Some(0),
            },
            "080110ac021800",
        ),
        command(MarkLocalVault { vault_id: "v".into() }, "0a0176"),
    ]
}

pub fn records() -> Vec<Golden> {
    let mapping = PartitionMapping {
        source_id: 300,
        target_id: 2,
        name: "p".into(),
    };
    let progress = JobProgressRecord {
        started_ms: 300,
        planned_table: 8,
        planned_key: "k".into(),
        tasks_planned: 4,
        tasks_done: 3,
        tasks_claimed: 1,
        planned: Some(stats()),
        done: Some(stats()),
        // Records of before it was kept are read, and stay as they are.
        claimed_at: 0,
    };
    let collection = CollectionRecord {
        name: "c".into(),
        ..CollectionRecord::default()
    };
    let job = JobRecord {
        kind: 1,
        state: 2,
        reason: "r".into(),
        source_scope: 300,
        source_revision: 5,
        source_pin: 6,
        source_collection_id: 7,
        target_scope: 8,
        target_collection_id: 9,
        target_vault: "v".into(),
        copies_files: true,
        snapshot_revision: 12,
        snapshot_pin: 13,
        snapshot_name: "s".into(),
        source_instance_id: "i".into(),
        source_collection: "sc".into(),
        target_instance_id: "t".into(),
        target_database: "d".into(),
        target_collection: "tc".into(),
        collection_row: Some(collection),
        partitions: vec![mapping.clone()],
        created_ms: 22,
        progress: Some(progress.clone()),
        ended_ms: 24,
        deadline_ms: 25,
        clone_scope: 26,
        rewrites_manifests: true,
        base_published_at: 28,
        names_own_places: true,
    };
    let task = TaskRecord {
        state: 2,
        table: 8,
        first_key: "a".into(),
        last_key: "b".into(),
        expected: Some(stats()),
        first_target_id: 300,
        worker: "w".into(),
        fence: 8,
        renewals: 9,
        attempts: 10,
        expirations: 11,
        reason: "r".into(),
        not_before_ms: 13,
        files_done: 14,
        bytes_done: 15,
        vault_failures: 16,
        former_fences: Vec::new(),
        lease_ms: 0,
    };
    let leased_task = TaskRecord {
        lease_ms: 300,
        ..TaskRecord::default()
    };
    let recovered_task = TaskRecord {
        former_fences: vec![17, 300],
        ..TaskRecord::default()
    };
    let vault = LocalVaultRecord {
        vault_id: "v".into(),
        marked_ms: 300,
    };
    vec![
        record(vault, "0a017610ac02"),
        record(
            job,
            "080110021a017220ac02280530063807400848095201765801600c680d7201737a016982010273638a010174920101649a01027463a20103120163aa010808ac0210021a0170b00116ba012408ac0210081a016b2004280330013a09080110ac02180220034209080110ac0218022003c00118c80119d0011ad80101e0011ce80101",
        ),
        record(progress, "08ac0210081a016b2004280330013a09080110ac02180220034209080110ac0218022003"),
        record(mapping, "08ac0210021a0170"),
        record(
            task,
            "080210081a01612201622a09080110ac021802200330ac023a017740084809500a580b620172680d700e780f800110",
        ),
        record(recovered_task, "8a010311ac02"),
        record(leased_task, "9001ac02"),
    ]
}
