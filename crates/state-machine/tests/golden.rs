//! Golden bytes: what is in a log or in a state must decode the same for ever, so a change of an encoding must be seen.
//!
//! A new command or record needs one row here: a sample with every field set to something that is not its default, and the
//! bytes it encodes to. Leave the bytes empty and run the test: it prints them. A row is never changed afterwards; a new
//! field is added to the sample of a further row.

#[path = "golden/catalog.rs"]
mod catalog;
#[path = "golden/jobs.rs"]
mod jobs;
#[path = "golden/snapshots.rs"]
mod snapshots;
mod support;

use bytes::Bytes;
use prost::Message;
use quorate_state_machine::cluster_request::ClusterRequest;
use quorate_state_machine::command::{SealedSecret, SecretMark};
use quorate_state_machine::commands::append_attributes::AppendAttribute;
use quorate_state_machine::commands::set_instance_status::InstanceStatusChange;
use quorate_state_machine::commands::*;
use quorate_state_machine::object_store_keys::StoreKeys;
use quorate_state_machine::record::*;
use quorate_state_machine::recoveries::Lineage;
use quorate_state_machine::sealed::{SealedStore, SealedUser};
use quorate_state_machine::versioned::pins::PinKind;
use quorate_wire::doris::storage_vault_pb::PathFormat;
use quorate_wire::doris::{ClusterPb, HdfsBuildConf, ObjectStoreInfoPb, RamUserPb, StorageVaultPb};
use std::fmt::Debug;

/// One sample and its bytes.
struct Golden {
    /// A command's name in the table, or a record's type.
    name: &'static str,
    golden: &'static str,
    actual: Vec<u8>,
    comes_back: bool,
}

fn sample<M: Message + Default + PartialEq>(name: &'static str, message: M, golden: &'static str) -> Golden {
    let actual = message.encode_to_vec();
    Golden {
        name,
        golden,
        comes_back: M::decode(actual.as_slice()).is_ok_and(|back| back == message),
        actual,
    }
}

fn command<C: Numbered + PartialEq + Debug>(command: C, golden: &'static str) -> Golden {
    sample(C::NAME, command, golden)
}

fn record<M: Message + Default + PartialEq>(message: M, golden: &'static str) -> Golden {
    sample(std::any::type_name::<M>().rsplit(':').next().unwrap_or_default(), message, golden)
}

fn commands() -> Vec<Golden> {
    let pin = CreatePin {
        scope: 1,
        kind: PinKind::Read as i32,
        revision: 300,
        lifetime_ms: 60_000,
        holder: 5,
    };
    let release = ReleasePin {
        scope: 1,
        kind: PinKind::Hold as i32,
        revision: 300,
        pin: 7,
    };
    let put = PutAttribute {
        instance_id: "i".into(),
        name: "a".into(),
        value: "v".into(),
        if_revision: Some(0),
    };
    let delete = DeleteAttribute {
        instance_id: "i".into(),
        name: "a".into(),
        if_revision: Some(9),
    };
    let append = AppendAttribute {
        instance_id: "i".into(),
        name: "a".into(),
        suffix: "s".into(),
    };
    vec![
        command(OpenSession::default(), ""),
        command(
            OpenSession {
                for_peer: true,
                is_apart: false,
            },
            "0801",
        ),
        command(OpenSession::of_peer(), "08011001"),
        command(CloseSession { session: 300 }, "08ac02"),
        command(ExpireSessions { after: 300 }, "08ac02"),
        command(pin, "0801100618ac0220e0d4032805"),
        command(release, "0801100318ac022007"),
        command(CollectVersions { max_keys: 300 }, "08ac02"),
        command(
            AllocatePeer {
                highest_member: 3,
                incarnation: 171,
            },
            "080310ab01",
        ),
        command(
            RegisterRootKey {
                key_id: 1,
                check_value: vec![1, 2],
            },
            "080112020102",
        ),
        command(
            RecoverCluster {
                cluster: vec![2],
                parent: vec![1],
                highest_member: 3,
                is_counted: false,
            },
            "0a01021201011803",
        ),
        command(
            RecoverCluster {
                is_counted: true,
                ..RecoverCluster::default()
            },
            "2001",
        ),
        command(put, "0a01691201611a01762000"),
        command(delete, "0a01691201611809"),
        command(AppendAttributes { appends: vec![append] }, "0a090a01691201611a0173"),
    ]
}

/// A request about a cluster; what a cluster message encodes to is the business of the protocol.
fn cluster_request() -> ClusterRequest {
    ClusterRequest {
        instance_id: "i".into(),
        cloud_unique_id: "u".into(),
        cluster: Some(cluster()),
        check_cluster_name: true,
        check_instance_id: true,
        frontend_drop_safe_seconds: 300,
    }
}

fn cluster() -> ClusterPb {
    ClusterPb {
        cluster_id: Some("c".into()),
        r#type: Some(1),
        ..Default::default()
    }
}

fn resource_commands() -> Vec<Golden> {
    let id = || Some("1".to_owned());
    let store = || ObjectStoreInfoPb {
        id: id(),
        ..Default::default()
    };
    let create = CreateInstance {
        instance_id: "i".into(),
        user_id: "u".into(),
        name: "n".into(),
        sse_enabled: true,
        obj_info: Some(store()),
        ram_user: Some(RamUserPb {
            user_id: id(),
            ..Default::default()
        }),
        vault: Some(StorageVaultPb {
            id: id(),
            obj_info: Some(store()),
            ..Default::default()
        }),
        ..CreateInstance::default()
    };
    let create_with_snapshots = CreateInstance {
        multi_version: true,
        snapshots: true,
        ..CreateInstance::default()
    };
    let status = SetInstanceStatus {
        instance_id: "i".into(),
        change: InstanceStatusChange::Drop as i32,
    };
    let request = cluster_request;
    let cluster_golden = "0a140a01691201751a050a016318012001280130ac02";
    vec![
        command(create, "0a01691201751a016e20012a031a013132030a01313a080a013122031a0131"),
        command(create_with_snapshots, "40014801"),
        command(DropInstance { instance_id: "i".into() }, "0a0169"),
        command(status, "0a01691003"),
        command(AddCluster { request: request() }, cluster_golden),
        command(DropCluster { request: request() }, cluster_golden),
        command(SetClusterStatus { request: request() }, cluster_golden),
        command(AddNode { request: request() }, cluster_golden),
        command(DropNode { request: request() }, cluster_golden),
    ]
}

fn later_resource_commands() -> Vec<Golden> {
    let request = cluster_request;
    let cluster_golden = "0a140a01691201751a050a016318012001280130ac02";
    let instance_id = || "i".to_owned();
    let rename = RenameInstance {
        instance_id: instance_id(),
        name: "n".into(),
    };
    let rename_cluster = RenameCluster {
        request: request(),
        replace_empty_target: true,
    };
    vec![
        command(rename, "0a016912016e"),
        command(
            EnableInstanceSse {
                instance_id: instance_id(),
            },
            "0a0169",
        ),
        command(
            DisableInstanceSse {
                instance_id: instance_id(),
            },
            "0a0169",
        ),
        command(rename_cluster, "0a140a01691201751a050a016318012001280130ac021001"),
        command(UpdateClusterEndpoint { request: request() }, cluster_golden),
        command(UpdateClusterMysqlUserName { request: request() }, cluster_golden),
        command(DecommissionNode { request: request() }, cluster_golden),
        command(NotifyDecommissioned { request: request() }, cluster_golden),
        command(AlterVclusterInfo { request: request() }, cluster_golden),
    ]
}

fn front_commands() -> Vec<Golden> {
    let pair = || [("n".to_owned(), "v".to_owned())].into();
    let snapshot = SetSnapshotProperty {
        instance_id: "i".into(),
        properties: pair(),
        max_reserved: 300,
        min_interval_seconds: 3_600,
    };
    let multi_version = SetMultiVersionStatus {
        instance_id: "i".into(),
        status: 2,
    };
    let limit = AdjustRateLimit {
        rpc: "r".into(),
        instance_id: "i".into(),
        qps: 300,
    };
    let config = UpdateConfig {
        values: pair(),
        reason: "r".into(),
    };
    let setting = |value| ChangeSetting { name: "n".into(), value };
    vec![
        command(snapshot, "0a016912060a016e12017618ac0220901c"),
        command(multi_version, "0a01691002"),
        command(limit, "0a017212016918ac02"),
        command(config, "0a060a016e120176120172"),
        command(setting(Some(300)), "0a016e10ac02"),
        command(setting(None), "0a016e"),
    ]
}

fn front_records() -> Vec<Golden> {
    let limit = || RateLimit {
        rpc: "r".into(),
        instance_id: "i".into(),
        qps: 300,
    };
    vec![
        record(
            FrontSettingsRecord {
                values: [("n".to_owned(), "v".to_owned())].into(),
                changed_at: 300,
                reason: "r".into(),
            },
            "0a060a016e12017610ac021a0172",
        ),
        record(
            SettingsRecord {
                values: [("n".to_owned(), 300)].into(),
                changed_at: 7,
            },
            "0a060a016e10ac021007",
        ),
        record(RateLimitsRecord { limits: vec![limit()] }, "0a090a017212016918ac02"),
        record(limit(), "0a017212016918ac02"),
    ]
}

fn sealed_store() -> SealedStore {
    SealedStore {
        store: ObjectStoreInfoPb {
            id: Some("1".into()),
            ..Default::default()
        },
        older: vec![older_form()],
        older_marks: Vec::new(),
    }
}

fn sealed_user() -> SealedUser {
    SealedUser {
        user: RamUserPb {
            user_id: Some("1".into()),
            ..Default::default()
        },
        older: vec![older_form()],
        older_marks: Vec::new(),
    }
}

fn older_form() -> SealedSecret {
    SealedSecret {
        ciphertext: "c".into(),
        key_id: 7,
    }
}

/// What commands carry since nothing that an older key decrypts travels any more.
fn marked() -> Vec<Golden> {
    let older_marks = vec![SecretMark {
        mark: "k".into(),
        key_id: 7,
    }];
    let store = SealedStore {
        older: Vec::new(),
        older_marks: older_marks.clone(),
        ..sealed_store()
    };
    let user = SealedUser {
        older: Vec::new(),
        older_marks,
        ..sealed_user()
    };
    vec![record(store, "0a031a01311a050a016b1007"), record(user, "0a030a01311a050a016b1007")]
}

fn store_commands() -> Vec<Golden> {
    let keys = || StoreKeys {
        cloud_unique_id: "u".into(),
        given: sealed_store(),
    };
    let update = UpdateAkSk {
        instance_id: "i".into(),
        bucket_users: vec![sealed_user()],
        ram_user: Some(sealed_user()),
    };
    let ram_user = AlterRamUser {
        instance_id: "i".into(),
        ram_user: sealed_user().user,
    };
    let add = AddObjInfo {
        cloud_unique_id: "u".into(),
        added: sealed_store(),
    };
    vec![
        command(add, "0a0175120c0a031a013112050a01631007"),
        command(LegacyUpdateAkSk { keys: keys() }, "0a110a0175120c0a031a013112050a01631007"),
        command(AlterObjInfo { keys: keys() }, "0a110a0175120c0a031a013112050a01631007"),
        command(update, "0a0169120c0a030a013112050a016310071a0c0a030a013112050a01631007"),
        command(ram_user, "0a016912030a0131"),
        command(AlterIam { account: sealed_user() }, "0a0c0a030a013112050a01631007"),
    ]
}

fn vault_commands() -> Vec<Golden> {
    let add_s3 = AddS3Vault {
        cloud_unique_id: "u".into(),
        name: "v".into(),
        added: sealed_store(),
        path_format: Some(PathFormat {
            path_version: Some(1),
            shard_num: Some(2),
        }),
        becomes_default: true,
    };
    let alter_s3 = AlterS3Vault {
        cloud_unique_id: "u".into(),
        name: "v".into(),
        alter_name: Some("w".into()),
        given: sealed_store(),
    };
    let add_hdfs = AddHdfsVault {
        cloud_unique_id: "u".into(),
        vault: StorageVaultPb {
            name: Some("v".into()),
            ..Default::default()
        },
        becomes_default: true,
        fault: Some("f".into()),
    };
    let alter_hdfs = AlterHdfsVault {
        cloud_unique_id: "u".into(),
        name: "v".into(),
        alter_name: Some("w".into()),
        given: HdfsBuildConf {
            user: Some("h".into()),
            ..Default::default()
        },
    };
    let drop_hdfs = DropHdfsVault {
        cloud_unique_id: "u".into(),
        name: "v".into(),
    };
    let set_default = SetDefaultVault {
        cloud_unique_id: "u".into(),
        name: "v".into(),
    };
    vec![
        command(add_s3, "0a01751201761a0c0a031a013112050a016310072204080110022801"),
        command(alter_s3, "0a01751201761a0177220c0a031a013112050a01631007"),
        command(add_hdfs, "0a017512031201761801220166"),
        command(drop_hdfs, "0a0175120176"),
        command(set_default, "0a0175120176"),
        command(
            UnsetDefaultVault {
                cloud_unique_id: "u".into(),
            },
            "0a0175",
        ),
        command(alter_hdfs, "0a01751201761a01772203120168"),
    ]
}

fn counters() -> Counters {
    Counters {
        revision: 300,
        stamped_ms: 2,
        next_scope: 3,
        next_session: 4,
        sessions: 5,
        last_peer: 6,
        next_pin: 7,
        collected_before: 8,
        pins: 9,
        queue_worked_off: 10,
        queue_versions_done: 11,
        ..Counters::default()
    }
}

/// What is kept of recoveries.
fn recoveries() -> Vec<Golden> {
    let lineage = Lineage {
        cluster: vec![2],
        parent: vec![1],
        parent_revision: 300,
        recovered_ms: 7,
        passed_over: 0,
    };
    let counted = Lineage {
        passed_over: 300,
        ..Lineage::default()
    };
    let counters = Counters {
        recoveries: 300,
        ..Counters::default()
    };
    vec![
        record(lineage, "0a010212010118ac022007"),
        record(counted, "28ac02"),
        record(counters, "8801ac02"),
    ]
}

fn records() -> Vec<Golden> {
    let slot = SlotRecord {
        number: 1,
        request_hash: 2,
        revision: 3,
        body: "b".into(),
        error: 5,
        message: "m".into(),
        other_hashes: Vec::new(),
    };
    let fingerprinted = SlotRecord {
        other_hashes: vec![7],
        ..slot.clone()
    };
    let superseded = CleanupVersion {
        name: "n".into(),
        written_at: 2,
        superseded_at: 3,
        replaced: false,
        row_hash: Bytes::new(),
    };
    let replaced = CleanupVersion {
        replaced: true,
        ..superseded.clone()
    };
    let hashed = CleanupVersion {
        row_hash: "h".into(),
        ..replaced.clone()
    };
    vec![
        record(counters(), "08ac0210021803200428053006380740084809500a580b"),
        record(
            SessionRecord {
                opened_ms: 1,
                used_ms: 300,
            },
            "080110ac02",
        ),
        record(slot, "08011102000000000000001803220162280532016d"),
        record(fingerprinted, "08011102000000000000001803220162280532016d3a080700000000000000"),
        record(
            DigestRecord {
                index: 1,
                history: vec![2],
                content: vec![3],
            },
            "08011201021a0103",
        ),
        record(
            SupersededRecord {
                written_at: 300,
                superseded_ms: 2,
                row_hash: Bytes::new(),
            },
            "08ac021002",
        ),
        record(
            SupersededRecord {
                row_hash: "h".into(),
                ..SupersededRecord::default()
            },
            "1a0168",
        ),
        record(superseded.clone(), "0a016e10021803"),
        record(replaced, "0a016e100218032001"),
        record(hashed, "0a016e1002180320012a0168"),
        record(
            CleanupRecord {
                superseded_ms: 300,
                versions: vec![superseded],
            },
            "08ac0212070a016e10021803",
        ),
        record(
            PinRecord {
                kind: PinKind::Backup as i32,
                created_ms: 300,
                expires_ms: 3,
            },
            "080510ac021803",
        ),
        record(HoldRecord { created_ms: 300 }, "08ac02"),
        record(
            InstanceRecord {
                scope: 1,
                dropped_at: 300,
                info: "i".into(),
                ..InstanceRecord::default()
            },
            "080110ac021a0169",
        ),
        record(
            ClusterRecord {
                info: cluster(),
                nodes: 300,
                masters: 2,
                followers: 3,
            },
            "0a050a0163180110ac0218022003",
        ),
    ]
}

fn check(rows: &[Golden]) {
    let mut wrong = Vec::new();
    for row in rows {
        let actual: String = row.actual.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(row.comes_back, "{} does not decode to what was encoded", row.name);
        if actual != row.golden {
            wrong.push(format!("{}: \"{actual}\", golden is \"{}\"", row.name, row.golden));
        }
    }
    assert!(wrong.is_empty(), "encodings differ from the golden bytes:\n{}", wrong.join("\n"));
}

#[test]
fn every_command_has_golden_bytes() {
    let mut rows = commands();
    rows.extend(resource_commands());
    rows.extend(later_resource_commands());
    rows.extend(front_commands());
    rows.extend(store_commands());
    rows.extend(vault_commands());
    rows.extend(catalog::commands());
    rows.extend(jobs::commands());
    rows.extend(snapshots::commands());
    rows.extend(snapshots::instance_commands());
    rows.extend(snapshots::clone_commands());
    rows.push(command(RaiseLevel { level: 300 }, "08ac02"));
    check(&rows);
    let missing: Vec<_> = COMMANDS
        .iter()
        .filter(|info| rows.iter().all(|row| row.name != info.name))
        .map(|info| info.name)
        .collect();
    assert!(missing.is_empty(), "commands without a golden row: {missing:?}");
}

/// The files that declare stored records: each of their types needs a row.
const RECORD_SOURCES: &[&str] = &[
    include_str!("../src/record.rs"),
    include_str!("../src/record/catalog.rs"),
    include_str!("../src/record/job.rs"),
    include_str!("../src/record/snapshot.rs"),
];

#[test]
fn every_stored_record_has_golden_bytes() {
    let mut rows = records();
    rows.extend(recoveries());
    rows.push(record(LevelRecord { level: 300 }, "08ac02"));
    rows.extend(front_records());
    rows.extend(marked());
    rows.extend(jobs::records());
    rows.extend(catalog::records());
    rows.extend(snapshots::records());
    check(&rows);
    let declared = RECORD_SOURCES
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| line.strip_prefix("pub struct "))
        .filter_map(|rest| rest.split([' ', '{', '<']).next());
    let missing: Vec<_> = declared.filter(|name| rows.iter().all(|row| row.name != *name)).collect();
    assert!(missing.is_empty(), "records without a golden row: {missing:?}");
}

/// Numbers are stored in every log: none may change, none may go.
#[test]
fn command_numbers_are_frozen() {
    let frozen = [
        (1, "open_session"),
        (2, "close_session"),
        (3, "expire_sessions"),
        (4, "create_pin"),
        (5, "release_pin"),
        (6, "collect_versions"),
        (7, "allocate_peer"),
        (8, "register_root_key"),
        (9, "recover_cluster"),
        (10, "create_instance"),
        (11, "drop_instance"),
        (12, "set_instance_status"),
        (13, "add_cluster"),
        (14, "drop_cluster"),
        (15, "set_cluster_status"),
        (16, "add_node"),
        (17, "drop_node"),
        (20, "put_attribute"),
        (21, "delete_attribute"),
        (22, "append_attributes"),
        (30, "rename_instance"),
        (31, "enable_instance_sse"),
        (32, "disable_instance_sse"),
        (33, "rename_cluster"),
        (34, "update_cluster_endpoint"),
        (35, "update_cluster_mysql_user_name"),
        (36, "decommission_node"),
        (37, "notify_decommissioned"),
        (38, "alter_vcluster_info"),
        (39, "set_snapshot_property"),
        (40, "set_multi_version_status"),
        (41, "adjust_rate_limit"),
        (42, "update_config"),
        (43, "change_setting"),
        (60, "add_obj_info"),
        (61, "legacy_update_ak_sk"),
        (62, "alter_obj_info"),
        (63, "update_ak_sk"),
        (64, "add_s3_vault"),
        (65, "alter_s3_vault"),
        (66, "add_hdfs_vault"),
        (67, "drop_hdfs_vault"),
        (68, "alter_ram_user"),
        (69, "alter_iam"),
        (70, "set_default_vault"),
        (71, "unset_default_vault"),
        (72, "alter_hdfs_vault"),
        (100, "create_database"),
        (101, "rename_database"),
        (102, "drop_database"),
        (103, "create_collection"),
        (104, "rename_collection"),
        (105, "drop_collection"),
        (106, "create_partition"),
        (107, "rename_partition"),
        (108, "drop_partition"),
        (109, "prepare_segments"),
        (110, "commit_segments"),
        (111, "abort_segments"),
        (112, "drop_segments"),
        (113, "expire_uploads"),
        (114, "collect_dropped"),
        (115, "finish_deletion"),
        (116, "collect_instance"),
        (117, "abandon_deletions"),
        (120, "create_snapshot"),
        (121, "commit_snapshot"),
        (122, "fail_snapshot"),
        (123, "drop_snapshot"),
        (124, "remove_snapshot"),
        (125, "expire_snapshots"),
        (126, "pin_snapshot"),
        (127, "unpin_snapshot"),
        (130, "create_restore"),
        (131, "plan_tasks"),
        (132, "claim_tasks"),
        (133, "renew_claims"),
        (134, "expire_claim"),
        (135, "complete_task"),
        (136, "fail_task"),
        (137, "publish_job"),
        (138, "cancel_job"),
        (139, "fail_job"),
        (140, "remove_jobs"),
        (141, "mark_local_vault"),
        (142, "start_manifests"),
        (150, "begin_instance_snapshot"),
        (151, "update_instance_snapshot"),
        (152, "commit_instance_snapshot"),
        (153, "abort_instance_snapshot"),
        (154, "drop_instance_snapshot"),
        (155, "clone_instance"),
        (156, "compact_snapshot"),
        (157, "decouple_instance"),
        (158, "raise_level"),
    ];
    for (number, name) in frozen {
        assert_eq!(info(number).map(|info| info.name), Some(name));
    }
}
