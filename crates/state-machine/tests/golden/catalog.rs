//! Golden bytes of the catalog's commands and records.

use super::{Golden, command, record};
use quorate_state_machine::commands::*;
use quorate_state_machine::condemned::DeletionKey;
use quorate_state_machine::record::*;
use quorate_wire::quorate::v1::{FileKind, IndexFile, SegmentContent, SegmentFile};

fn text(text: &str) -> String {
    text.to_owned()
}

fn properties() -> std::collections::BTreeMap<String, String> {
    [(text("k"), text("v"))].into()
}

fn file() -> SegmentFile {
    SegmentFile {
        name: text("f"),
        size_bytes: 300,
        checksum: 7,
        kind: FileKind::Index as i32,
        field_id: 8,
        rows: 9,
        index: Some(IndexFile {
            index_id: 1,
            build_id: 2,
            index_name: text("n"),
        }),
    }
}

fn stats() -> StatsRecord {
    StatsRecord {
        segments: 1,
        rows: 2,
        files: 3,
        bytes: 300,
    }
}

pub fn commands() -> Vec<Golden> {
    let mut rows = objects();
    rows.extend(segments());
    rows
}

fn objects() -> Vec<Golden> {
    let (instance_id, database, collection, name, new_name) = (text("i"), text("d"), text("c"), text("n"), text("m"));
    vec![
        command(
            CreateDatabase {
                instance_id: instance_id.clone(),
                name: name.clone(),
                properties: properties(),
            },
            "0a016912016e1a060a016b120176",
        ),
        command(
            RenameDatabase {
                instance_id: instance_id.clone(),
                name: name.clone(),
                new_name: new_name.clone(),
            },
            "0a016912016e1a016d",
        ),
        command(
            DropDatabase {
                instance_id: instance_id.clone(),
                name: name.clone(),
            },
            "0a016912016e",
        ),
        command(
            CreateCollection {
                instance_id: instance_id.clone(),
                database: database.clone(),
                name: name.clone(),
                schema: "s".into(),
                properties: properties(),
                vault: text("v"),
                partitions: vec![text("p")],
            },
            "0a01691201641a016e2201732a060a016b1201763201763a0170",
        ),
        command(
            RenameCollection {
                instance_id: instance_id.clone(),
                database: database.clone(),
                name: name.clone(),
                new_name: new_name.clone(),
                new_database: text("e"),
            },
            "0a01691201641a016e22016d2a0165",
        ),
        command(
            DropCollection {
                instance_id: instance_id.clone(),
                database: database.clone(),
                name: name.clone(),
                ends_restore: false,
            },
            "0a01691201641a016e",
        ),
        command(
            DropCollection {
                ends_restore: true,
                ..DropCollection::default()
            },
            "2001",
        ),
        command(
            CreatePartition {
                instance_id: instance_id.clone(),
                database: database.clone(),
                collection: collection.clone(),
                name: name.clone(),
            },
            "0a01691201641a016322016e",
        ),
        command(
            RenamePartition {
                instance_id: instance_id.clone(),
                database: database.clone(),
                collection: collection.clone(),
                name: name.clone(),
                new_name,
            },
            "0a01691201641a016322016e2a016d",
        ),
        command(
            DropPartition {
                instance_id,
                database,
                collection,
                name,
            },
            "0a01691201641a016322016e",
        ),
    ]
}

fn segments() -> Vec<Golden> {
    let (instance_id, database, collection, partition) = (text("i"), text("d"), text("c"), text("p"));
    let content = SegmentContent {
        segment_id: 300,
        rows: 2,
        files: vec![file()],
    };
    let deletion = DeletionKey {
        not_before_ms: 300,
        number: 2,
    };
    vec![
        command(
            PrepareSegments {
                instance_id: instance_id.clone(),
                database: database.clone(),
                collection: collection.clone(),
                partition: partition.clone(),
                count: 300,
            },
            "0a01691201641a016322017028ac02",
        ),
        command(
            CommitSegments {
                instance_id: instance_id.clone(),
                segments: vec![content],
            },
            "0a0169122508ac0210021a1e0a016610ac021907000000000000002004280830093a07080110021a016e",
        ),
        command(
            AbortSegments {
                instance_id: instance_id.clone(),
                segment_ids: vec![1, 300],
            },
            "0a0169120301ac02",
        ),
        command(
            DropSegments {
                instance_id,
                database,
                collection,
                partition,
                segment_ids: vec![1, 300],
            },
            "0a01691201641a01632201702a0301ac02",
        ),
        command(ExpireUploads { max_uploads: 300 }, "08ac02"),
        command(CollectDropped { max_keys: 300 }, "08ac02"),
        command(FinishDeletion { deletions: vec![deletion] }, "0a0508ac021002"),
        command(CollectInstance { scope: 300 }, "08ac02"),
        command(
            AbandonDeletions {
                instance_id: text("i"),
                vault: text("v"),
                after: Some(deletion),
                by: text("b"),
            },
            "0a01691201761a0508ac021002220162",
        ),
    ]
}

pub fn records() -> Vec<Golden> {
    let mut rows = visible_records();
    rows.extend(waiting_records());
    rows
}

fn visible_records() -> Vec<Golden> {
    vec![
        record(
            DatabaseRecord {
                database_id: 300,
                properties: properties(),
                created_ms: 2,
            },
            "08ac0212060a016b1201761802",
        ),
        record(NameRecord { id: 300 }, "08ac02"),
        record(
            CollectionRecord {
                database_id: 300,
                name: text("n"),
                schema: "s".into(),
                properties: properties(),
                vault: text("v"),
                created_ms: 2,
                partitions: 3,
                created_at: 4,
            },
            "08ac0212016e1a017322060a016b1201762a0176300238034004",
        ),
        record(stats(), "08011002180320ac02"),
        record(
            PartitionRecord {
                name: text("n"),
                created_ms: 300,
                stats: Some(stats()),
                created_at: 4,
            },
            "0a016e10ac021a0908011002180320ac022004",
        ),
        record(
            SegmentRecord {
                path: text("p"),
                vault: text("v"),
                rows: 300,
                files: vec![file()],
                created_ms: 2,
                owner_scope: 3,
            },
            "0a017012017618ac02221e0a016610ac021907000000000000002004280830093a07080110021a016e28023003",
        ),
    ]
}

fn waiting_records() -> Vec<Golden> {
    vec![
        record(
            UploadRecord {
                collection_id: 300,
                partition_id: 2,
                path: text("p"),
                vault: text("v"),
                expires_ms: 3,
            },
            "08ac0210021a01702201762803",
        ),
        record(
            CondemnedRecord {
                scope: 300,
                vault: text("v"),
                path: text("p"),
                files: vec![text("f"), text("g")],
                not_before_ms: 2,
                sweeps_left: 3,
                cause: 0,
                cause_id: 0,
                condemned_ms: 0,
            },
            "08ac021201761a017022016622016728023003",
        ),
        record(
            CondemnedRecord {
                scope: 300,
                cause: CondemnedCause::Collection as i32,
                cause_id: 300,
                condemned_ms: 2,
                ..CondemnedRecord::default()
            },
            "08ac02380640ac024802",
        ),
        record(
            DroppedRecord {
                collection_id: 300,
                partition_id: 2,
                files_condemned: true,
                resume_at: "r".into(),
                inherited_drops: true,
            },
            "08ac02100220012a01723001",
        ),
        record(
            Counters {
                revision: 300,
                last_object: 12,
                last_condemned: 13,
                active_jobs: 14,
                uploads: 15,
                active_manifests: 16,
                ..Counters::default()
            },
            "08ac02600c680d700e780f800110",
        ),
        record(
            InstanceRecord {
                scope: 1,
                dropped_at: 300,
                info: "i".into(),
                read_only: true,
            },
            "080110ac021a01692001",
        ),
    ]
}
