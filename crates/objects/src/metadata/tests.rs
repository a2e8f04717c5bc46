use super::*;
use crate::manifest::{manifest_path, metadata_path};
use crate::{Existing, LocalPlace, ObjectErrorKind, Patience, Vault, VaultPlace};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

async fn vault(dir: &TempDir) -> Vault {
    let place = LocalPlace {
        root: dir.path().to_owned(),
        cluster_id: "c".to_owned(),
        vault_id: "v".to_owned(),
    };
    Vault::create_marker(&place).await.expect("marker");
    Vault::open(&VaultPlace::Local(place), Patience::default()).await.expect("vault")
}

fn head() -> MetadataHead {
    MetadataHead {
        format_version: 4,
        snapshot_info: SnapshotInfo {
            name: "daily \"1\"".to_owned(),
            id: 9_007_199_254_740_993,
            collection_id: 5,
            partition_ids: vec![6, 7],
            create_ts: 459_000_000_000_000_000,
            state: STATE_COMMITTED,
            pin_expire_at_ms: BTreeMap::from([(3, 0), (20, 1_700_000_000_000)]),
            ..SnapshotInfo::default()
        },
        collection: CollectionDescription {
            schema: json!({"name": "books", "fields": [{"fieldID": "100", "name": "id", "is_primary_key": true}]}),
            num_partitions: 2,
            num_shards: 1,
            consistency_level: 2,
            properties: vec![Property {
                key: "collection.ttl.seconds".to_owned(),
                value: "10".to_owned(),
            }],
            partitions: BTreeMap::from([("_default".to_owned(), 6), ("old".to_owned(), 7)]),
            virtual_channel_names: vec!["ch-0".to_owned()],
            schema_as_given: Value::Null,
        },
        indexes: vec![json!({"indexID": "11", "index_name": "vec"})],
        instance: None,
    }
}

const GOLDEN: &str = r#"{
  "format_version": 4,
  "snapshot_info": {
    "name": "daily \"1\"",
    "id": "9007199254740993",
    "collection_id": "5",
    "partition_ids": [
      "6",
      "7"
    ],
    "create_ts": "459000000000000000",
    "state": 2,
    "pin_expire_at_ms": {
      "3": "0",
      "20": "1700000000000"
    }
  },
  "collection": {
    "schema": {
      "name": "books",
      "fields": [
        {
          "fieldID": "100",
          "name": "id",
          "is_primary_key": true
        }
      ]
    },
    "num_partitions": "2",
    "num_shards": "1",
    "consistency_level": 2,
    "properties": [
      {
        "key": "collection.ttl.seconds",
        "value": "10"
      }
    ],
    "partitions": {
      "_default": "6",
      "old": "7"
    },
    "virtual_channel_names": [
      "ch-0"
    ]
  },
  "indexes": [
    {
      "indexID": "11",
      "index_name": "vec"
    }
  ],
  "manifest_list": [
    "snapshots/5/manifests/9/31.avro",
    "snapshots/5/manifests/9/32.avro"
  ],
  "storagev2_manifest_list": [
    {
      "segment_id": "31",
      "manifest": "{\"base\":1}"
    }
  ],
  "segment_ids": [
    "31",
    "32"
  ],
  "build_ids": [
    "12"
  ],
  "layout": 1
}"#;

#[tokio::test]
async fn the_text_is_the_agreed_one_and_is_read_back() {
    let dir = TempDir::new().expect("directory");
    let vault = vault(&dir).await;
    let path = metadata_path(5, 9).expect("path");
    let object = vault.writer(&path, Existing::Refuse, None).await.expect("writer");
    let mut writer = MetadataWriter::begin(object, &head()).await.expect("begun");
    for segment_id in [31, 32] {
        writer
            .manifest_path(manifest_path(5, 9, segment_id).expect("path").as_str())
            .await
            .expect("written");
    }
    let v2 = StorageV2Manifest {
        segment_id: 31,
        manifest: "{\"base\":1}".to_owned(),
    };
    writer.storage_v2_manifest(&v2).await.expect("written");
    writer.segment_id(31).await.expect("written");
    writer.segment_id(32).await.expect("written");
    writer.build_id(12).await.expect("written");
    let refused = writer.segment_id(33).await.expect_err("segment ids come before build ids");
    assert_eq!(refused.kind, ObjectErrorKind::Invalid);
    let written = writer.finish(LAYOUT_REFERENCED).await.expect("finished");
    let bytes = vault.get(&path, 1 << 20).await.expect("read");
    assert_eq!(written.size, bytes.len() as u64);
    assert_eq!(std::str::from_utf8(&bytes).expect("text"), GOLDEN);

    let read = SnapshotMetadata::from_json(&bytes).expect("read");
    assert_eq!(
        (read.format_version, &read.snapshot_info, &read.collection, &read.indexes),
        (4, &head().snapshot_info, &head().collection, &head().indexes)
    );
    assert_eq!(
        (read.segment_ids, read.build_ids, read.layout),
        (vec![31, 32], vec![12], LAYOUT_REFERENCED)
    );
    assert_eq!((read.manifest_list.len(), read.storagev2_manifest_list), (2, vec![v2]));
}

#[tokio::test]
async fn an_empty_collection_has_a_file_without_lists() {
    let dir = TempDir::new().expect("directory");
    let vault = vault(&dir).await;
    let path = metadata_path(5, 9).expect("path");
    let object = vault.writer(&path, Existing::Refuse, None).await.expect("writer");
    let head = MetadataHead {
        format_version: 4,
        ..MetadataHead::default()
    };
    let writer = MetadataWriter::begin(object, &head).await.expect("begun");
    writer.finish(0).await.expect("finished");
    let bytes = vault.get(&path, 1 << 20).await.expect("read");
    assert_eq!(
        &bytes[..],
        b"{\n  \"format_version\": 4,\n  \"snapshot_info\": {},\n  \"collection\": {}\n}"
    );
    assert_eq!(SnapshotMetadata::from_json(&bytes).expect("read").format_version, 4);
}

#[tokio::test]
async fn the_file_of_an_instance_lists_its_collections_and_says_what_it_lacks() {
    let dir = TempDir::new().expect("directory");
    let vault = vault(&dir).await;
    let path = metadata_path(0, 9).expect("path");
    let object = vault.writer(&path, Existing::Refuse, None).await.expect("writer");
    let logs = CollectionSummary {
        database: "default".to_owned(),
        name: "logs".to_owned(),
        id: 5,
        num_partitions: 1,
        num_segments: 2,
        num_rows: 30,
        num_files: 4,
        num_bytes: 500,
        s3_location: "snapshots/5/metadata/9.json".to_owned(),
    };
    let instance = InstanceDescription {
        collections: vec![logs],
        more_collections: true,
        lacks: vec!["segment_ids".to_owned()],
    };
    let head = MetadataHead {
        format_version: 4,
        instance: Some(instance.clone()),
        ..MetadataHead::default()
    };
    let writer = MetadataWriter::begin(object, &head).await.expect("begun");
    writer.finish(LAYOUT_REFERENCED).await.expect("finished");
    let bytes = vault.get(&path, 1 << 20).await.expect("read");
    let golden = r#"{
  "format_version": 4,
  "snapshot_info": {},
  "collection": {},
  "instance": {
    "collections": [
      {
        "database": "default",
        "name": "logs",
        "id": "5",
        "num_partitions": "1",
        "num_segments": "2",
        "num_rows": "30",
        "num_files": "4",
        "num_bytes": "500",
        "s3_location": "snapshots/5/metadata/9.json"
      }
    ],
    "more_collections": true,
    "lacks": [
      "segment_ids"
    ]
  },
  "layout": 1
}"#;
    assert_eq!(std::str::from_utf8(&bytes).expect("text"), golden);
    assert_eq!(SnapshotMetadata::from_json(&bytes).expect("read").instance, Some(instance));
}

#[test]
fn a_schema_is_a_message_or_stands_apart() {
    for message in [
        json!({"name": "books", "fields": [{"name": "id"}]}),
        json!({"fields": []}),
        json!({"columns": 5}),
        json!({}),
    ] {
        assert!(is_schema_message(&message), "{message}");
    }
    for other in [
        json!([{"name": "id"}]),
        json!({"fields": {"id": "int"}}),
        json!({"fields": ["id"]}),
        json!({"fields": [{"name": "id"}, null]}),
        json!({"fields": null}),
        json!("text"),
        json!(7),
        json!(null),
    ] {
        assert!(!is_schema_message(&other), "{other}");
    }
    let apart = CollectionDescription {
        schema_as_given: json!([{"name": "id"}]),
        ..CollectionDescription::default()
    };
    let written = serde_json::to_value(&apart).expect("writes");
    assert_eq!(written, json!({"schema_as_given": [{"name": "id"}]}));
}

#[test]
fn what_others_write_is_read() {
    let text = r#"{"format_version":3,"new_member":{"a":[1]},"snapshot_info":{"id":5,"create_ts":"18446744073709551615","state":"SnapshotCommitted",
        "pin_expire_at_ms":{"7":"8"},"unknown":null},"segment_ids":[1,"2"],"layout":"SnapshotLayoutSelfContained","build_ids":null}"#;
    let read = SnapshotMetadata::from_json(text.as_bytes()).expect("read");
    assert_eq!((read.format_version, read.layout), (3, LAYOUT_SELF_CONTAINED));
    assert_eq!(
        (read.snapshot_info.id, read.snapshot_info.create_ts, read.snapshot_info.state),
        (5, -1, STATE_COMMITTED)
    );
    assert_eq!(read.snapshot_info.pin_expire_at_ms, BTreeMap::from([(7, 8)]));
    assert_eq!((read.segment_ids, read.build_ids), (vec![1, 2], vec![]));
    for wrong in [
        "",
        "[]",
        "{",
        r#"{"segment_ids":["x"]}"#,
        r#"{"format_version":5}"#,
        r#"{"layout":"Round"}"#,
    ] {
        let error = SnapshotMetadata::from_json(wrong.as_bytes()).expect_err(wrong);
        assert_eq!(error.kind, ObjectErrorKind::Malformed, "{wrong}");
    }
}

#[tokio::test]
async fn a_million_segments_are_written_and_read() {
    let dir = TempDir::new().expect("directory");
    let vault = vault(&dir).await;
    let path = metadata_path(5, 9).expect("path");
    let object = vault.writer(&path, Existing::Refuse, None).await.expect("writer");
    let mut writer = MetadataWriter::begin(object, &head()).await.expect("begun");
    for segment_id in 0..1_000_000 {
        writer.segment_id(segment_id).await.expect("written");
        assert!(writer.text_bytes() <= 64 << 10, "text is handed on");
    }
    let written = writer.finish(LAYOUT_REFERENCED).await.expect("finished");
    let bytes = vault.get(&path, written.size as usize).await.expect("read");
    let read = SnapshotMetadata::from_json(&bytes).expect("read");
    assert!(read.segment_ids.into_iter().eq(0..1_000_000));
}

proptest! {
    #[test]
    fn what_is_written_is_read(name in ".{0,30}", ids in prop::collection::vec(any::<i64>(), 0..40), numbers in prop::array::uniform4(any::<i64>()),
                               partitions in prop::collection::btree_map(".{0,8}", any::<i64>(), 0..6), paths in prop::collection::vec(".{0,20}", 0..6)) {
        let mut head = head();
        head.snapshot_info.name = name;
        head.snapshot_info.id = numbers[0];
        head.snapshot_info.pin_ids = ids.clone();
        head.snapshot_info.compaction_expire_time = numbers[1];
        head.collection.partitions = partitions;
        head.collection.num_shards = numbers[2];
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let read = runtime.block_on(async {
            let dir = TempDir::new().expect("directory");
            let vault = vault(&dir).await;
            let path = metadata_path(1, 2).expect("path");
            let object = vault.writer(&path, Existing::Refuse, None).await.expect("writer");
            let mut writer = MetadataWriter::begin(object, &head).await.expect("begun");
            for path in &paths { writer.manifest_path(path).await.expect("written"); }
            for id in &ids { writer.build_id(*id).await.expect("written"); }
            let written = writer.finish(LAYOUT_SELF_CONTAINED).await.expect("finished");
            SnapshotMetadata::from_json(&vault.get(&path, written.size as usize).await.expect("read")).expect("metadata")
        });
        prop_assert_eq!(read.snapshot_info, head.snapshot_info);
        prop_assert_eq!(read.collection, head.collection);
        prop_assert_eq!(read.manifest_list, paths);
        prop_assert_eq!(read.build_ids, ids);
    }
}
