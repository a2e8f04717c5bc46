//! Golden bytes of the commands and records of snapshots and clones.

use super::{Golden, command, record, sealed_store};
use quorate_state_machine::commands::*;
use quorate_state_machine::record::{ParentRecord, SnapshotCountRecord, SnapshotPinRecord, SnapshotRecord, StatsRecord};
use quorate_wire::doris::{SnapshotPb, StorageVaultPb};
use quorate_wire::quorate::v1::SnapshotRef;

fn reference() -> SnapshotRef {
    SnapshotRef {
        snapshot_id: "s".into(),
        database: "d".into(),
        collection: "c".into(),
        name: "n".into(),
    }
}

pub fn commands() -> Vec<Golden> {
    vec![
        command(
            CreateSnapshot {
                instance_id: "i".into(),
                database: "d".into(),
                collection: "c".into(),
                name: "n".into(),
                description: "t".into(),
                ttl_seconds: 300,
                describes_collections: true,
            },
            "0a01691201641a016322016e2a017430ac023801",
        ),
        command(
            CommitSnapshot {
                scope: 1,
                revision: 300,
                location: "l".into(),
                manifests_listed: true,
            },
            "080110ac021a016c2001",
        ),
        command(FailSnapshot { scope: 1, revision: 300 }, "080110ac02"),
        command(
            DropSnapshot {
                instance_id: "i".into(),
                snapshot: reference(),
            },
            "0a0169120c0a01731201641a016322016e",
        ),
        command(RemoveSnapshot { scope: 1, revision: 300 }, "080110ac02"),
        command(ExpireSnapshots { max_rows: 300 }, "08ac02"),
        command(
            PinSnapshot {
                instance_id: "i".into(),
                snapshot: reference(),
                ttl_seconds: 300,
                pin_id: 301,
            },
            "0a0169120c0a01731201641a016322016e18ac0220ad02",
        ),
        command(
            UnpinSnapshot {
                instance_id: "i".into(),
                pin_id: 301,
            },
            "0a016910ad02",
        ),
    ]
}

pub fn instance_commands() -> Vec<Golden> {
    vec![
        command(
            BeginInstanceSnapshot {
                cloud_unique_id: "u".into(),
                label: "l".into(),
                auto: true,
                timeout_seconds: 300,
                ttl_seconds: 301,
                request_ip: "p".into(),
                vault_name: "v".into(),
            },
            "0a017512016c180120ac0228ad023201703a0176",
        ),
        command(
            UpdateInstanceSnapshot {
                cloud_unique_id: "u".into(),
                snapshot_id: "s".into(),
                upload_file: "f".into(),
                upload_id: "d".into(),
            },
            "0a01751201731a0166220164",
        ),
        command(
            CommitInstanceSnapshot {
                cloud_unique_id: "u".into(),
                snapshot_id: "s".into(),
                image_url: "m".into(),
                last_journal_id: 300,
                meta_image_bytes: 301,
                logical_data_bytes: 302,
                succeeds_again: false,
            },
            "0a01751201731a016d20ac0228ad0230ae02",
        ),
        command(
            CommitInstanceSnapshot {
                succeeds_again: true,
                ..CommitInstanceSnapshot::default()
            },
            "3801",
        ),
        command(
            AbortInstanceSnapshot {
                cloud_unique_id: "u".into(),
                snapshot_id: "s".into(),
                reason: "r".into(),
            },
            "0a01751201731a0172",
        ),
        command(
            DropInstanceSnapshot {
                instance_id: "i".into(),
                cloud_unique_id: "u".into(),
                snapshot_id: "s".into(),
            },
            "0a01691201751a0173",
        ),
    ]
}

pub fn clone_commands() -> Vec<Golden> {
    vec![
        command(
            CloneInstance {
                from_instance_id: "i".into(),
                from_snapshot_id: "s".into(),
                new_instance_id: "j".into(),
                name: "n".into(),
                kind: 2,
                store: Some(sealed_store().store),
                vault: Some(StorageVaultPb {
                    name: Some("v".into()),
                    ..StorageVaultPb::default()
                }),
            },
            "0a01691201731a016a22016e280232031a01313a03120176",
        ),
        command(
            CompactSnapshot {
                instance_id: "i".into(),
                cloud_unique_id: "u".into(),
                keep_files: Some(true),
                native: false,
                rewrites_manifests: true,
                minds_source: true,
                names_own_places: true,
            },
            "0a01691201751801280130013801",
        ),
        command(
            CompactSnapshot {
                instance_id: "i".into(),
                native: true,
                ..CompactSnapshot::default()
            },
            "0a01692001",
        ),
        command(
            DecoupleInstance {
                instance_id: "i".into(),
                native: false,
            },
            "0a0169",
        ),
        command(
            DecoupleInstance {
                instance_id: "i".into(),
                native: true,
            },
            "0a01691001",
        ),
    ]
}

pub fn records() -> Vec<Golden> {
    let snapshot = SnapshotRecord {
        name: "n".into(),
        description: "t".into(),
        state: 2,
        collection_id: 300,
        database: "d".into(),
        collection: "c".into(),
        created_ms: 301,
        expires_ms: 302,
        pin: 303,
        vault: "v".into(),
        location: "l".into(),
        stats: Some(StatsRecord {
            segments: 1,
            rows: 2,
            files: 3,
            bytes: 4,
        }),
        manifest_job: 304,
        manifests_complete: true,
        manifests_listed: true,
        due_ms: 305,
        doris: Some(SnapshotPb {
            label: Some("n".into()),
            auto: Some(true),
            ..SnapshotPb::default()
        }),
        manifests_since: 306,
        replaces_manifests: true,
        manifests_given_up: 308,
    };
    let parent = ParentRecord {
        source_scope: 1,
        source_revision: 300,
        source_pin: 301,
        base_scope: 2,
        base_complete: true,
        created_at: 302,
        holds_files: true,
        depth: 3,
        job: 303,
        shares_stores: true,
    };
    let pin = SnapshotPinRecord {
        scope: 1,
        revision: 300,
        expires_ms: 301,
        job: 302,
    };
    vec![
        record(
            snapshot,
            "0a016e120174180220ac022a016432016338ad0240ae0248af025201765a016c6208080110021803200468b002700178018001b1028a010550016a016e9001b202980101a001b402",
        ),
        record(parent, "080110ac0218ad022002280130ae023801400348af025001"),
        record(pin, "080110ac0218ad0220ae02"),
        record(SnapshotCountRecord { snapshots: 300 }, "08ac02"),
    ]
}
