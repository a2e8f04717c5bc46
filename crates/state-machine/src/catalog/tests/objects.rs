use crate::catalog::{row_keys, storage};
use crate::catalog_fixture::{
    add_segments, bench_with_collection, call, collection_names, create_collection, drop_collection, drop_partition,
};
use crate::commands::*;
use crate::instances;
use crate::keys::{self, VersionedTable};
use crate::limits;
use crate::queries::catalog;
use crate::storage_fixture::change;
use crate::testing::{Bench, DROPPED, INSTANCE, OTHER_INSTANCE};
use bytes::Bytes;
use quorate_model::{ErrorCode, Revision, ScopeId};
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{HdfsVaultInfo, ObjectStoreInfoPb, StorageVaultPb};
use quorate_wire::quorate::v1::*;

const NOW: Revision = Revision(0);

fn database(bench: &mut Bench, name: &str) -> Result<Database, ErrorCode> {
    let request = CreateDatabaseRequest {
        instance_id: INSTANCE.into(),
        name: name.into(),
        properties: [("k".to_owned(), "v".to_owned())].into(),
    };
    call::<CreateDatabase>(bench, request).map_err(|error| error.code)
}

fn rename_database(bench: &mut Bench, name: &str, new_name: &str) -> Result<Database, ErrorCode> {
    let request = RenameDatabaseRequest {
        instance_id: INSTANCE.into(),
        name: name.into(),
        new_name: new_name.into(),
    };
    call::<RenameDatabase>(bench, request).map_err(|error| error.code)
}

fn drop_database(bench: &mut Bench, name: &str) -> Result<DropReply, ErrorCode> {
    let request = DropDatabaseRequest {
        instance_id: INSTANCE.into(),
        name: name.into(),
    };
    call::<DropDatabase>(bench, request).map_err(|error| error.code)
}

fn rename(bench: &mut Bench, from: (&str, &str), to: (&str, &str)) -> Result<Collection, ErrorCode> {
    let request = RenameCollectionRequest {
        instance_id: INSTANCE.into(),
        database: from.0.into(),
        name: from.1.into(),
        new_database: to.0.into(),
        new_name: to.1.into(),
    };
    call::<RenameCollection>(bench, request).map_err(|error| error.code)
}

fn describe(bench: &Bench, database: &str, name: &str) -> Option<Collection> {
    let request = DescribeCollectionRequest {
        instance_id: INSTANCE.into(),
        database: database.into(),
        name: name.into(),
        ..DescribeCollectionRequest::default()
    };
    catalog::describe_collection(&bench.store, &request).ok()
}

#[test]
fn a_database_is_created_renamed_and_dropped() {
    let mut bench = Bench::new();
    let created = database(&mut bench, "d").expect("creates");
    assert_eq!(
        (created.database_id, created.name.as_str(), created.properties["k"].as_str()),
        (1, "d", "v")
    );
    assert_eq!(database(&mut bench, "d"), Err(ErrorCode::AlreadyExists));
    database(&mut bench, "e").expect("creates");
    assert_eq!(rename_database(&mut bench, "d", "e"), Err(ErrorCode::AlreadyExists));
    assert_eq!(rename_database(&mut bench, "x", "y"), Err(ErrorCode::NotFound));
    let renamed = rename_database(&mut bench, "d", "f").expect("renames");
    assert_eq!((renamed.database_id, renamed.name.as_str()), (1, "f"));
    assert!(!drop_database(&mut bench, "d").expect("nothing to drop").existed);
    assert!(drop_database(&mut bench, "f").expect("drops").existed);
    assert!(!drop_database(&mut bench, "f").expect("again").existed);
    assert_eq!(database(&mut bench, "f").expect("the name is free").database_id, 3);
    bench.check_content();
}

#[test]
fn the_default_database_is_there_as_soon_as_it_is_used_and_stays() {
    let mut bench = Bench::new();
    let request = DescribeDatabaseRequest {
        instance_id: INSTANCE.into(),
        ..DescribeDatabaseRequest::default()
    };
    let unused = catalog::describe_database(&bench.store, &request).expect("is there");
    assert_eq!((unused.name.as_str(), unused.database_id), ("default", 0));
    assert!(collection_names(&bench, INSTANCE, NOW).is_empty());
    assert!(!drop_collection(&mut bench, INSTANCE, "c").expect("nothing to drop").existed);
    let created = create_collection(&mut bench, INSTANCE, "c", &[]).expect("creates");
    assert_eq!(created.database, "default");
    assert_ne!(catalog::describe_database(&bench.store, &request).expect("is there").database_id, 0);
    for result in [
        drop_database(&mut bench, "").err(),
        rename_database(&mut bench, "default", "d").err(),
    ] {
        assert_eq!(result, Some(ErrorCode::InvalidArgument));
    }
}

#[test]
fn a_database_that_holds_a_collection_is_not_dropped() {
    let mut bench = bench_with_collection();
    database(&mut bench, "d").expect("creates");
    rename(&mut bench, ("", "c"), ("d", "c")).expect("moves");
    assert_eq!(drop_database(&mut bench, "d"), Err(ErrorCode::PreconditionFailed));
    rename(&mut bench, ("d", "c"), ("default", "c")).expect("moves");
    assert!(drop_database(&mut bench, "d").expect("is empty").existed);
    assert_eq!(describe(&bench, "", "c").expect("is there").name, "c");
}

#[test]
fn a_database_of_too_many_dropped_collections_is_refused_for_good_under_its_request_id() {
    let mut bench = Bench::new();
    let created = database(&mut bench, "d").expect("creates");
    let dropped = |number: usize| {
        let name = row_keys::collection_name(created.database_id, &format!("c{number}"));
        keys::versioned(VersionedTable::CollectionName, ScopeId(1), &name, Revision(1))
    };
    for number in 0..=limits::MAX_KEYS_TO_DROP_DATABASE {
        bench.store.rows.insert(dropped(number), Bytes::from_static(&[0]));
    }
    bench.adopt_rows();
    // A refusal is remembered: its code must not promise that the same call is answered otherwise later.
    assert_eq!(drop_database(&mut bench, "d"), Err(ErrorCode::LimitReached));
    bench.store.rows.remove(&dropped(0));
    bench.adopt_rows();
    assert!(drop_database(&mut bench, "d").expect("no more than are looked at").existed);
}

#[test]
fn a_collection_keeps_its_id_and_content_under_another_name() {
    let mut bench = bench_with_collection();
    add_segments(&mut bench, INSTANCE, "c", "p", 2).expect("adds");
    let before = describe(&bench, "", "c").expect("is there");
    assert_eq!(before.stats.expect("sums").segments, 2);
    let renamed = rename(&mut bench, ("", "c"), ("", "d")).expect("renames");
    assert_eq!((renamed.collection_id, renamed.name.as_str()), (before.collection_id, "d"));
    assert!(describe(&bench, "", "c").is_none());
    let after = describe(&bench, "", "d").expect("is there");
    assert_eq!(after.stats, before.stats);
    assert_eq!(collection_names(&bench, INSTANCE, NOW), ["d"]);
    assert_eq!(collection_names(&bench, INSTANCE, Revision(before.revision)), ["c"]);
    create_collection(&mut bench, INSTANCE, "c", &[]).expect("the name is free");
    assert_eq!(rename(&mut bench, ("", "c"), ("", "d")), Err(ErrorCode::AlreadyExists));
    assert_eq!(rename(&mut bench, ("", "c"), ("", "c")), Err(ErrorCode::AlreadyExists));
    assert_eq!(rename(&mut bench, ("", "x"), ("", "y")), Err(ErrorCode::NotFound));
    assert_eq!(rename(&mut bench, ("", "c"), ("nowhere", "y")), Err(ErrorCode::NotFound));
    bench.check_content();
}

#[test]
fn a_dropped_name_is_free_at_once_and_stands_for_a_new_collection() {
    let mut bench = bench_with_collection();
    let old = describe(&bench, "", "c").expect("is there");
    assert_eq!(
        create_collection(&mut bench, INSTANCE, "c", &[]).expect_err("is taken").code,
        ErrorCode::AlreadyExists
    );
    assert!(drop_collection(&mut bench, INSTANCE, "c").expect("drops").existed);
    let new = create_collection(&mut bench, INSTANCE, "c", &[]).expect("is free");
    assert_ne!(new.collection_id, old.collection_id);
    assert_eq!(describe(&bench, "", "c").expect("is there").collection_id, new.collection_id);
}

#[test]
fn a_name_that_a_restore_will_give_is_taken() {
    let mut bench = bench_with_collection();
    let default_id = 1;
    let key = row_keys::reserved_name(bench.scope(), default_id, "restored");
    bench.store.rows.insert(key.clone(), Bytes::copy_from_slice(&77u64.to_be_bytes()));
    bench.adopt_rows();
    let refused = create_collection(&mut bench, INSTANCE, "restored", &[]).expect_err("is reserved");
    assert_eq!(refused.code, ErrorCode::AlreadyExists);
    assert!(refused.message.contains("restore job 77"), "{refused}");
    assert_eq!(rename(&mut bench, ("", "c"), ("", "restored")), Err(ErrorCode::AlreadyExists));
    bench.store.rows.remove(&key);
    bench.adopt_rows();
    create_collection(&mut bench, INSTANCE, "restored", &[]).expect("is free");
}

#[test]
fn partitions_come_go_and_change_their_names() {
    let mut bench = bench_with_collection();
    let create = |bench: &mut Bench, name: &str| {
        let request = CreatePartitionRequest {
            instance_id: INSTANCE.into(),
            collection: "c".into(),
            name: name.into(),
            ..CreatePartitionRequest::default()
        };
        call::<CreatePartition>(bench, request).map_err(|error| error.code)
    };
    let rename = |bench: &mut Bench, name: &str, new_name: &str| {
        let request = RenamePartitionRequest {
            instance_id: INSTANCE.into(),
            collection: "c".into(),
            name: name.into(),
            new_name: new_name.into(),
            ..RenamePartitionRequest::default()
        };
        call::<RenamePartition>(bench, request).map_err(|error| error.code)
    };
    let created = create(&mut bench, "r").expect("creates");
    assert_eq!(create(&mut bench, "r"), Err(ErrorCode::AlreadyExists));
    assert_eq!(rename(&mut bench, "r", "p"), Err(ErrorCode::AlreadyExists));
    assert_eq!(rename(&mut bench, "x", "y"), Err(ErrorCode::NotFound));
    let renamed = rename(&mut bench, "r", "s").expect("renames");
    assert_eq!((renamed.partition_id, renamed.name.as_str()), (created.partition_id, "s"));
    let drop = |bench: &mut Bench, name: &str| drop_partition(bench, INSTANCE, "c", name).expect("drops").existed;
    add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
    add_segments(&mut bench, INSTANCE, "c", "s", 2).expect("adds");
    assert!(!drop(&mut bench, "r") && drop(&mut bench, "p") && !drop(&mut bench, "p"));
    let stats = describe(&bench, "", "c").and_then(|collection| collection.stats).expect("sums");
    assert_eq!((stats.segments, stats.rows, stats.files), (2, 20, 2));
    assert_ne!(create(&mut bench, "p").expect("the name is free").partition_id, 0);
    bench.check_content();
}

#[test]
fn a_collection_has_no_more_partitions_than_allowed() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..1_024).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    create_collection(&mut bench, INSTANCE, "c", &names).expect("as many as allowed");
    let request = |name: &str| CreatePartitionRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        name: name.into(),
        ..CreatePartitionRequest::default()
    };
    let refused = call::<CreatePartition>(&mut bench, request("one_more")).expect_err("one too many");
    assert_eq!(refused.code, ErrorCode::LimitReached);
    drop_partition(&mut bench, INSTANCE, "c", "p7").expect("drops");
    call::<CreatePartition>(&mut bench, request("one_more")).expect("there is room");
}

#[test]
fn what_is_dropped_absent_or_a_read_only_clone_is_not_written_to() {
    let mut bench = Bench::new();
    for instance in [DROPPED, "nobody"] {
        let refused = create_collection(&mut bench, instance, "c", &[]).expect_err("no instance");
        assert_eq!(refused.code, ErrorCode::NotFound, "{refused}");
        assert!(refused.message.contains(instance), "{refused}");
    }
    let mut other = instances::find(&bench.store, OTHER_INSTANCE).expect("reads").expect("is there");
    other.info.ready_only = Some(true);
    let view = crate::view::View::new(&bench.store);
    let mut context = crate::ApplyContext::new(&view, bench.counters(), quorate_model::StampedTime(1));
    instances::put(&mut context, &other);
    let (changes, _) = std::mem::take(context.changes()).into_parts();
    let writes: Vec<_> = changes.into_iter().map(|change| (change.key, change.value)).collect();
    bench.store.write(&writes);
    bench.adopt_rows();
    let refused = create_collection(&mut bench, OTHER_INSTANCE, "c", &[]).expect_err("read-only");
    assert_eq!(refused.code, ErrorCode::PreconditionFailed);
    let put = PutAttribute {
        instance_id: OTHER_INSTANCE.into(),
        name: "a".into(),
        ..PutAttribute::default()
    };
    assert_eq!(bench.refusal(&put), ErrorCode::PreconditionFailed);
}

#[test]
fn a_collection_is_kept_in_a_vault_that_files_can_be_moved_from() {
    let mut bench = Bench::new();
    let mut instance = instances::find(&bench.store, INSTANCE).expect("reads").expect("is there");
    let store = |id: &str| ObjectStoreInfoPb {
        id: Some(id.into()),
        ..ObjectStoreInfoPb::default()
    };
    instance.info.obj_info.push(store("1"));
    instance.info.resource_ids = vec!["2".into(), "3".into()];
    instance.info.storage_vault_names = vec!["main".into(), "hdfs".into()];
    let main = StorageVaultPb {
        id: Some("2".into()),
        obj_info: Some(store("2")),
        ..StorageVaultPb::default()
    };
    let hdfs = StorageVaultPb {
        id: Some("3".into()),
        hdfs_info: Some(HdfsVaultInfo::default()),
        ..StorageVaultPb::default()
    };
    change(&mut bench, |context| {
        instances::put(context, &instance);
        context.put_record(crate::vaults::key(instance.scope, "2"), &main);
        context.put_record(crate::vaults::key(instance.scope, "3"), &hdfs);
    });
    let create = |bench: &mut Bench, name: &str, vault: &str| {
        let request = CreateCollectionRequest {
            instance_id: INSTANCE.into(),
            name: name.into(),
            vault: vault.into(),
            ..CreateCollectionRequest::default()
        };
        call::<CreateCollection>(bench, request).map_err(|error| error.code)
    };
    assert_eq!(create(&mut bench, "a", "main").expect("by name").vault, "main");
    assert_eq!(create(&mut bench, "b", "2").expect("by id").vault, "main");
    assert_eq!(create(&mut bench, "c", "1").expect("an object store").vault, "1");
    assert_eq!(create(&mut bench, "d", "").expect("local").vault, "");
    assert_eq!(create(&mut bench, "e", "hdfs"), Err(ErrorCode::InvalidArgument));
    assert_eq!(create(&mut bench, "e", "nowhere"), Err(ErrorCode::VaultNotFound));
    let prepared = crate::catalog_fixture::prepare_segments(&mut bench, INSTANCE, "a", "", 1).expect("prepares");
    assert_eq!(prepared.vault, "2", "segments keep the store's id");
    let found = storage::resolve(&bench.store, &instance, "2").expect("is there");
    assert_eq!(found.id(), "2");
    let resolve = |vault| crate::queries::files::resolve_vault(&bench.store, bench.scope(), vault);
    assert_eq!(resolve("main").expect("an object store"), found);
    let mut renamed = instance.clone();
    renamed.info.storage_vault_names[1] = "2".to_owned();
    let of_rows = storage::resolve(&bench.store, &renamed, "2").expect("is there");
    assert_eq!(
        of_rows, found,
        "a vault with another one's id as its name does not take that one's files over"
    );
    assert_eq!(resolve("").expect("local"), storage::StoredVault::Local { scope: bench.scope() });
    assert!(resolve("hdfs").expect_err("refused").to_string().contains("HDFS"));
}

#[test]
fn a_store_of_azure_is_known_and_not_opened() {
    let mut bench = Bench::new();
    let mut instance = instances::find(&bench.store, INSTANCE).expect("reads").expect("is there");
    let store = |id: &str, provider: Provider| ObjectStoreInfoPb {
        id: Some(id.into()),
        provider: Some(provider as i32),
        ..ObjectStoreInfoPb::default()
    };
    instance.info.obj_info = vec![store("1", Provider::Azure), store("2", Provider::Gcp)];
    change(&mut bench, |context| instances::put(context, &instance));
    let opened = |id: &str| crate::queries::files::resolve_vault(&bench.store, bench.scope(), id);
    let refused = opened("1").expect_err("no S3").to_string();
    assert!(refused.contains("vault \"1\"") && refused.contains("AZURE"), "{refused}");
    assert_eq!(opened("2").expect("S3").id(), "2");
    storage::known_store(&bench.store, INSTANCE, "1").expect("its deletions can be given up");
}

#[test]
fn a_store_that_only_a_role_opens_holds_no_collection() {
    let mut bench = Bench::new();
    let mut instance = instances::find(&bench.store, INSTANCE).expect("reads").expect("is there");
    let with_role = ObjectStoreInfoPb {
        id: Some("1".into()),
        role_arn: Some("role".into()),
        ..ObjectStoreInfoPb::default()
    };
    let with_both = ObjectStoreInfoPb {
        id: Some("2".into()),
        ak: Some("ak".into()),
        sk: Some("sk".into()),
        ..with_role.clone()
    };
    instance.info.obj_info.extend([with_role, with_both]);
    change(&mut bench, |context| instances::put(context, &instance));
    let create = |bench: &mut Bench, vault: &str| {
        let request = CreateCollectionRequest {
            instance_id: INSTANCE.into(),
            name: "c".into(),
            vault: vault.into(),
            ..CreateCollectionRequest::default()
        };
        call::<CreateCollection>(bench, request)
    };
    let refused = create(&mut bench, "1").expect_err("nobody here can assume its role");
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    assert!(refused.message.contains("set its ak and sk"), "{refused}");
    assert_eq!(create(&mut bench, "2").expect("has keys beside its role").vault, "2");
}
