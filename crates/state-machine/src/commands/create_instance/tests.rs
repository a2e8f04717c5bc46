//! What create_instance accepts, refuses and writes, and that no secret gets past `prepare`.

use super::*;
use crate::keys::RecordTable;
use crate::object_stores::ENCRYPTION_METHOD;
use crate::resource_fixture::{START_SECONDS, World};
use prost::Message;
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument};
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{CredProviderTypePb, HdfsBuildConf, HdfsVaultInfo};

const SECRET: &str = "plain-secret-0123456789";

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn store() -> ObjectStoreInfoPb {
    ObjectStoreInfoPb {
        ak: text("ak"),
        sk: text(SECRET),
        bucket: text("bucket"),
        prefix: text(" /a/b//\t"),
        endpoint: text("endpoint"),
        region: text("region"),
        external_endpoint: text("external"),
        provider: Some(Provider::S3 as i32),
        ..Default::default()
    }
}

fn user() -> RamUserPb {
    RamUserPb {
        user_id: text("user"),
        ak: text("ak"),
        sk: text(SECRET),
        ..Default::default()
    }
}

fn call(change: impl FnOnce(&mut CreateInstanceRequest)) -> CreateInstanceCall {
    let mut request = CreateInstanceRequest {
        instance_id: text("i"),
        ..Default::default()
    };
    change(&mut request);
    CreateInstanceCall {
        request,
        hdfs_prefix_suffix: "0123".to_owned(),
    }
}

#[test]
fn an_instance_without_storage_has_vaults_enabled_and_no_times() {
    let mut world = World::new();
    world.run::<CreateInstance>(call(|_| {})).expect("accepted");
    let info = world.instance("i");
    let expected = InstanceInfoPb {
        instance_id: text("i"),
        user_id: text(""),
        name: text(""),
        status: Some(Status::Normal as i32),
        sse_enabled: Some(false),
        enable_storage_vault: Some(true),
        iam_user: info.iam_user.clone(),
        ..Default::default()
    };
    assert_eq!(info, expected);
}

#[test]
fn settings_decide_whether_a_new_instance_has_snapshots() {
    use SnapshotSwitchStatus::{SnapshotSwitchDisabled, SnapshotSwitchOff, SnapshotSwitchOn};
    let read_write = MultiVersionStatus::MultiVersionReadWrite;
    let unset = MultiVersionStatus::MultiVersionDisabled;
    for (multi_version, snapshots, expected) in [
        (false, false, (unset, SnapshotSwitchDisabled, None, None)),
        (false, true, (unset, SnapshotSwitchDisabled, None, None)),
        (true, false, (read_write, SnapshotSwitchOff, None, None)),
        (true, true, (read_write, SnapshotSwitchOn, Some(3_600), Some(1))),
    ] {
        let mut world = World::new();
        world.settings.multi_version_instances = multi_version;
        world.settings.snapshot_instances = snapshots;
        world.run::<CreateInstance>(call(|_| {})).expect("accepted");
        let info = world.instance("i");
        let found = (
            info.multi_version_status(),
            info.snapshot_switch_status(),
            info.snapshot_interval_seconds,
            info.max_reserved_snapshot,
        );
        assert_eq!(found, expected, "{multi_version} {snapshots}");
        assert_eq!(info.multi_version_status.is_some(), multi_version, "unset, not a default");
    }
}

#[test]
fn the_object_store_is_completed_and_its_secret_shown_only_unsealed() {
    let mut world = World::new();
    let request = call(|request| {
        request.obj_info = Some(store());
        request.ram_user = Some(user());
        request.sse_enabled = Some(true);
    });
    world.run::<CreateInstance>(request).expect("accepted");
    let info = world.instance("i");
    let shown = &info.obj_info[0];
    assert_eq!((shown.id(), shown.prefix(), shown.sse_enabled()), ("1", "a/b", true));
    assert_eq!((shown.ctime(), shown.mtime()), (START_SECONDS, START_SECONDS));
    assert_eq!((shown.ak(), shown.sk()), ("ak", SECRET));
    let encryption = shown.encryption_info.as_ref().expect("shown beside the secret");
    assert_eq!((encryption.encryption_method(), encryption.key_id()), (ENCRYPTION_METHOD, 7));
    assert_eq!(info.ram_user.as_ref().map(RamUserPb::sk), Some(SECRET));
    assert!(!info.enable_storage_vault());
}

#[test]
fn a_vault_is_a_row_of_its_own_and_gets_the_next_id() {
    let mut world = World::new();
    let vault = StorageVaultPb {
        name: text("ignored"),
        obj_info: Some(store()),
        ..Default::default()
    };
    let request = call(|request| {
        request.obj_info = Some(store());
        request.vault = Some(vault);
    });
    world.run::<CreateInstance>(request).expect("accepted");
    let info = world.instance("i");
    assert_eq!(
        (info.resource_ids.as_slice(), info.storage_vault_names.as_slice()),
        (&["2".to_owned()][..], &["built_in_storage_vault".to_owned()][..])
    );
    assert_eq!(world.rows_of(RecordTable::Vault), 1);
    let key = vaults::key(quorate_model::ScopeId(1), "2");
    let stored = StorageVaultPb::decode(world.store.rows[&key].clone()).expect("decodes");
    assert_eq!((stored.id(), stored.name()), ("2", "built_in_storage_vault"));
    assert!(stored.obj_info.expect("S3").sse_enabled(), "a vault always encrypts at the store");
}

#[test]
fn an_hdfs_vault_gets_a_directory_of_its_own() {
    let build_conf = HdfsBuildConf {
        fs_name: text("hdfs://a:8020//"),
        ..Default::default()
    };
    let hdfs = |prefix: &str, build_conf: &HdfsBuildConf| StorageVaultPb {
        hdfs_info: Some(HdfsVaultInfo {
            prefix: text(prefix),
            build_conf: Some(build_conf.clone()),
        }),
        obj_info: Some(store()),
        ..Default::default()
    };
    let world = World::new();
    let command: CreateInstance = world
        .prepare(call(|request| request.vault = Some(hdfs("/a/", &build_conf))))
        .expect("accepted");
    let vault = command.vault.expect("kept");
    let info = vault.hdfs_info.expect("kept");
    let fs_name = info.build_conf.as_ref().map(HdfsBuildConf::fs_name);
    assert_eq!((info.prefix(), fs_name), ("a_0123", Some("hdfs://a:8020")));
    assert_eq!(vault.obj_info, None, "an object store beside it was never checked");

    let mut world = World::new();
    world.refuse::<CreateInstance>(
        call(|request| request.vault = Some(hdfs("s3://a", &build_conf))),
        InvalidArgument,
        "invalid prefix: s3://a",
    );
    world.refuse::<CreateInstance>(
        call(|request| request.vault = Some(hdfs("a", &HdfsBuildConf::default()))),
        InvalidArgument,
        "invalid fs_name: ",
    );
}

#[test]
fn the_first_fault_in_the_order_of_the_contract_is_reported() {
    let mut world = World::with_instance();
    let mut refuse = |change: fn(&mut CreateInstanceRequest), text: &str| {
        let faulty = call(|request| {
            request.instance_id = None;
            request.vault = Some(StorageVaultPb::default());
            change(request);
        });
        world.refuse::<CreateInstance>(faulty, InvalidArgument, text);
    };
    refuse(
        |request| {
            request.ram_user = Some(RamUserPb { sk: None, ..user() });
            request.obj_info = Some(Default::default());
        },
        "ram user info err, please check it",
    );
    refuse(
        |request| request.obj_info = Some(Default::default()),
        "s3 conf info err, please check it",
    );
    refuse(|_| {}, "instance id not set");
    refuse(|request| request.instance_id = text("i"), "s3 conf info err, please check it");
    world.refuse::<CreateInstance>(call(|_| {}), AlreadyExists, "instance already existed, instance_id=i, err=Ok");
}

#[test]
fn every_required_field_of_an_object_store_is_required() {
    let mut world = World::new();
    let clear: [fn(&mut ObjectStoreInfoPb); 8] = [
        |store| store.ak = None,
        |store| store.sk = text(""),
        |store| store.bucket = None,
        |store| store.endpoint = None,
        |store| store.region = None,
        |store| store.provider = None,
        |store| store.provider = Some(77),
        |store| store.external_endpoint = None,
    ];
    for change in clear {
        let request = call(|request| change(request.obj_info.insert(store())));
        world.refuse::<CreateInstance>(request, InvalidArgument, "s3 conf info err, please check it");
    }
    let oss = call(|request| {
        request.obj_info = Some(ObjectStoreInfoPb {
            provider: Some(Provider::Oss as i32),
            external_endpoint: None,
            ..store()
        });
    });
    world.run::<CreateInstance>(oss).expect("OSS needs no external endpoint");
    assert_eq!(world.instance("i").obj_info[0].external_endpoint.as_deref(), Some(""));
}

#[test]
fn a_store_whose_address_is_none_is_refused_by_field_and_what_works_is_not() {
    type Change = fn(&mut ObjectStoreInfoPb);
    let mut world = World::new();
    let endpoint = "obj_info endpoint has a blank, a control character or a letter that is not ASCII; give a host or a URL";
    let bucket = "obj_info bucket has a blank or a control character; give the bucket's name";
    let wrong: [(Change, &str); 7] = [
        (|store| store.endpoint = text("s3.example.org "), endpoint),
        (|store| store.endpoint = text("s3.example\t.org"), endpoint),
        (|store| store.endpoint = text("bücher.example"), endpoint),
        (|store| store.bucket = text("my bucket"), bucket),
        (|store| store.bucket = text("bucket\n"), bucket),
        (|store| store.bucket = text("a\u{3000}b"), bucket),
        // What is missing is told first, as the contract has it.
        (
            |store| (store.endpoint, store.region) = (text(" "), None),
            "s3 conf info err, please check it",
        ),
    ];
    for (change, words) in wrong {
        let outside = call(|request| change(request.obj_info.insert(store())));
        world.refuse::<CreateInstance>(outside, InvalidArgument, words);
        let within = call(|request| change(request.vault.get_or_insert_default().obj_info.insert(store())));
        world.refuse::<CreateInstance>(within, InvalidArgument, words);
    }
    for good in ["s3.example.org/", "http://10.0.0.5:9000", "https://s3.example.org/below/here/"] {
        let accepted = call(|request| {
            request.instance_id = text(good);
            request.obj_info.insert(store()).endpoint = text(good);
        });
        world.run::<CreateInstance>(accepted).expect(good);
        assert_eq!(world.instance(good).obj_info[0].endpoint(), good, "as it was given");
    }
}

#[test]
fn a_role_replaces_keys() {
    let by_role = || ObjectStoreInfoPb {
        ak: None,
        sk: None,
        external_endpoint: None,
        role_arn: text("role"),
        cred_provider_type: Some(CredProviderTypePb::InstanceProfile as i32),
        ..store()
    };
    let mut world = World::new();
    let clear: [fn(&mut ObjectStoreInfoPb); 4] = [
        |store| store.role_arn = text(""),
        |store| store.cred_provider_type = None,
        |store| store.provider = Some(Provider::Cos as i32),
        |store| store.region = None,
    ];
    for change in clear {
        let request = call(|request| change(request.obj_info.insert(by_role())));
        world.refuse::<CreateInstance>(
            request,
            InvalidArgument,
            "object storage conf info err with role_arn, please check it",
        );
    }
    world
        .run::<CreateInstance>(call(|request| request.obj_info = Some(by_role())))
        .expect("accepted");
    assert_eq!(world.instance("i").obj_info[0].encryption_info, None);
    let profile = call(|request| {
        request.instance_id = text("profile");
        request.obj_info = Some(ObjectStoreInfoPb {
            role_arn: None,
            ..by_role()
        });
    });
    world.run::<CreateInstance>(profile).expect("a profile needs neither role nor keys");
}

#[test]
fn no_plain_secret_is_in_the_command_or_in_a_row() {
    let mut world = World::new();
    let request = || {
        call(|request| {
            request.obj_info = Some(ObjectStoreInfoPb { role_arn: None, ..store() });
            request.ram_user = Some(user());
            request.vault = Some(StorageVaultPb {
                obj_info: Some(store()),
                ..Default::default()
            });
        })
    };
    let holds_secret = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    let command: CreateInstance = world.prepare(request()).expect("accepted");
    assert!(!holds_secret(&command.encode_to_vec()));
    assert!(!format!("{command:?}").contains(SECRET));
    world.run::<CreateInstance>(request()).expect("accepted");
    assert!(world.store.rows.values().all(|row| !holds_secret(row)));
}

#[test]
fn a_secret_beside_a_role_is_sealed_too() {
    let world = World::new();
    let request = call(|request| {
        request.obj_info = Some(ObjectStoreInfoPb {
            role_arn: text("role"),
            cred_provider_type: Some(CredProviderTypePb::InstanceProfile as i32),
            ..store()
        });
    });
    let command: CreateInstance = world.prepare(request).expect("accepted");
    assert_ne!(command.obj_info.expect("kept").sk(), SECRET);
}

#[test]
fn scopes_are_never_used_again_and_ids_are_bounded() {
    let mut world = World::new();
    for (number, name) in (1..).zip(["a", "b", "c"]) {
        world.create(name);
        let instance = instances::find(&world.store, name).expect("reads").expect("exists");
        assert_eq!(instance.scope.0, number);
        assert_eq!(instances::id_of_scope(&world.store, instance.scope).expect("has a row"), name);
    }
    let long = call(|request| request.instance_id = Some("i".repeat(1_025)));
    world.refuse::<CreateInstance>(long, InvalidArgument, "instance_id is 1025 bytes, limit 1024 bytes; shorten it");
}
