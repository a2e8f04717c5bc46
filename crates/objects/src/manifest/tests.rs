use super::*;
use proptest::prelude::*;
use quorate_model::{Revision, vault_paths};

fn binlog(number: i64) -> FieldBinlog {
    FieldBinlog {
        field_id: 100 + number,
        child_fields: vec![number, -1],
        format: "parquet".to_owned(),
        binlogs: vec![Binlog {
            entries_num: 3,
            timestamp_from: 10,
            timestamp_to: 20,
            log_path: format!("insert_log/1/2/{number}"),
            log_size: 4096,
            log_id: number,
            memory_size: 8192,
        }],
    }
}

fn entry() -> ManifestEntry {
    ManifestEntry {
        segment_id: 7,
        partition_id: 2,
        segment_level: 1,
        channel_name: "ch-0".to_owned(),
        num_of_rows: 300,
        start_position: MsgPosition {
            channel_name: "ch-0".to_owned(),
            msg_id: vec![0, 255, 7],
            msg_group: "g".to_owned(),
            timestamp: 1 << 60,
        },
        dml_position: MsgPosition::default(),
        storage_version: 2,
        is_sorted: true,
        commit_timestamp: -5,
        binlog_files: vec![binlog(1), binlog(2)],
        deltalog_files: vec![],
        statslog_files: vec![binlog(3)],
        bm25_statslog_files: vec![],
        index_files: vec![IndexFilePathInfo {
            segment_id: 7,
            field_id: 101,
            index_id: 11,
            build_id: 12,
            index_name: "vec".to_owned(),
            index_params: vec![KeyValuePair {
                key: "metric_type".to_owned(),
                value: "L2".to_owned(),
            }],
            index_file_paths: vec!["index/12/a".to_owned(), "index/12/b".to_owned()],
            serialized_size: 55,
            index_version: 1,
            num_rows: 300,
            current_index_version: 6,
            mem_size: 77,
            current_scalar_index_version: 1,
            index_store_path_version: 2,
        }],
        text_index_files: vec![TextIndexEntry {
            field_id: 102,
            stats: TextIndexStats {
                field_id: 102,
                version: 1,
                files: vec!["text/1".to_owned()],
                log_size: 1,
                memory_size: 2,
                build_id: 3,
            },
        }],
        json_key_index_files: vec![JsonKeyIndexEntry {
            field_id: 103,
            stats: JsonKeyStats {
                field_id: 103,
                version: 1,
                files: vec!["json/1".to_owned()],
                log_size: 4,
                memory_size: 5,
                build_id: 6,
                json_key_stats_data_format: 2,
            },
        }],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Written with version 4's schema by another implementation of Avro (fastavro), from the same values.
const GOLDEN: &str = "0e04020863682d30d8040863682d300600ff0702678080808080808080200000000004010904ca01040201000e706172717565740206142820696e736572745f6c6f672f312f322f3180400280800100cc01040401000e706172717565740206142820696e736572745f6c6f672f312f322f3280400480800100000002ce01040601000e706172717565740206142820696e736572745f6c6f672f312f322f33804006808001000000020eca0116180676656302166d65747269635f74797065044c32000414696e6465782f31322f6114696e6465782f31322f62006e02d8040c9a0102040002cc01cc0102020c746578742f31000204060002ce01ce0102020c6a736f6e2f3100080a0c0400";

#[test]
fn the_bytes_are_those_another_implementation_writes() {
    assert_eq!(hex(&entry().encode().expect("encoded")), GOLDEN);
    assert_eq!(
        ManifestEntry::decode(4, &entry().encode().expect("encoded")).expect("read"),
        entry()
    );
}

/// What `entry` becomes when it is written in an older version and read again.
fn without_newer_members(version: i32) -> ManifestEntry {
    let mut entry = entry();
    let ManifestEntry {
        binlog_files,
        statslog_files,
        ..
    } = &mut entry;
    for file in binlog_files.iter_mut().chain(statslog_files).filter(|_| version < 4) {
        file.child_fields = Vec::new();
        file.format = String::new();
    }
    if version < 3 {
        entry.commit_timestamp = 0;
    }
    if version < 2 {
        entry.index_files[0].index_store_path_version = 0;
    }
    entry
}

#[test]
fn older_versions_are_read_with_the_defaults_of_what_they_lack() {
    for version in 0..=4 {
        let schema = schema::of_version(version).expect("known");
        // A value has members the older schema lacks; resolving leaves them out, as an older writer would have.
        let bytes = older_bytes(schema, &entry());
        let read = ManifestEntry::decode(version, &bytes).expect("read");
        assert_eq!(read, without_newer_members(version.max(1)), "version {version}");
        if version < 4 {
            assert_ne!(hex(&bytes), GOLDEN);
            assert!(ManifestEntry::decode(4, &bytes).is_err(), "version {version} is not version 4");
        }
    }
}

/// Reads version 4's bytes as values, and writes those an older schema knows.
fn older_bytes(schema: &apache_avro::Schema, entry: &ManifestEntry) -> Vec<u8> {
    let newest = schema::of_version(4).expect("known");
    let reader = GenericDatumReader::builder(newest).reader_schema(schema).build().expect("reader");
    let value = reader.read_value(&mut entry.encode().expect("encoded").as_slice()).expect("read");
    GenericDatumWriter::builder(schema)
        .build()
        .expect("writer")
        .write_value_to_vec(value)
        .expect("written")
}

#[test]
fn what_is_no_manifest_is_refused() {
    let bytes = entry().encode().expect("encoded");
    for length in 0..bytes.len() {
        assert!(ManifestEntry::decode(4, &bytes[..length]).is_err(), "the first {length} bytes");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(
        ManifestEntry::decode(4, &longer)
            .expect_err("longer")
            .message
            .contains("1 bytes follow")
    );
    for version in [-1, 5, i32::MAX] {
        let error = ManifestEntry::decode(version, &bytes).expect_err("unknown");
        assert_eq!(error.kind, ObjectErrorKind::Malformed);
        assert!(error.message.contains(&format!("version {version} is not known")), "{error}");
    }
}

#[test]
fn paths_follow_from_the_ids() {
    assert_eq!(metadata_path(1, 2).expect("path").as_str(), "snapshots/1/metadata/2.json");
    assert_eq!(manifest_path(1, 2, 3).expect("path").as_str(), "snapshots/1/manifests/2/3.avro");
    assert_eq!(
        manifest_prefix(1, 2).expect("path").as_str(),
        vault_paths::manifests_directory(1, Revision(2))
    );
    for path in [metadata_path(1, 2), manifest_path(1, 2, 3)] {
        assert!(vault_paths::is_of_a_cluster(path.expect("path").as_str()));
    }
}

prop_compose! {
    fn any_binlog()(numbers in prop::array::uniform6(any::<i64>()), path in ".{0,20}", format in "[a-z]{0,5}",
                    children in prop::collection::vec(any::<i64>(), 0..4), count in 0..4usize) -> FieldBinlog {
        let binlog = Binlog {
            entries_num: numbers[0], timestamp_from: numbers[1], timestamp_to: numbers[2],
            log_path: path, log_size: numbers[3], log_id: numbers[4], memory_size: numbers[5],
        };
        FieldBinlog { field_id: numbers[0] ^ numbers[5], child_fields: children, format, binlogs: vec![binlog; count] }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(binlogs in prop::collection::vec(any_binlog(), 0..5), deltas in prop::collection::vec(any_binlog(), 0..3),
                               numbers in prop::array::uniform8(any::<i64>()), version in any::<i32>(), sorted in any::<bool>(),
                               names in prop::collection::vec(".{0,12}", 4), id in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut written = entry();
        written.segment_id = numbers[0];
        written.num_of_rows = numbers[1];
        written.is_sorted = sorted;
        written.channel_name = names[0].clone();
        written.dml_position = MsgPosition { channel_name: names[1].clone(), msg_id: id, msg_group: names[2].clone(), timestamp: numbers[2] };
        written.binlog_files = binlogs;
        written.deltalog_files = deltas;
        written.index_files[0].current_index_version = version;
        written.index_files[0].index_file_paths = names;
        written.json_key_index_files[0].stats.json_key_stats_data_format = numbers[3];
        let bytes = written.encode().expect("encoded");
        prop_assert_eq!(ManifestEntry::decode(4, &bytes).expect("read"), written);
    }

    #[test]
    fn random_bytes_are_refused_or_read_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0..5i32) {
        if let Ok(entry) = ManifestEntry::decode(version, &bytes) {
            prop_assert!(entry.encode().is_ok());
        }
    }
}

#[test]
fn the_schema_text_names_records_and_members_as_agreed() {
    let text = schema::text(4);
    for name in [
        "ManifestEntry",
        "AvroMsgPosition",
        "AvroFieldBinlog",
        "AvroBinlog",
        "AvroIndexFilePathInfo",
        "AvroKeyValuePair",
        "AvroTextIndexEntry",
        "AvroTextIndexStats",
        "AvroJSONKeyIndexEntry",
        "AvroJSONKeyStats",
    ] {
        assert!(text.contains(&format!("\"name\":\"{name}\"")), "{name}");
    }
    for (name, version) in [("index_store_path_version", 2), ("commit_timestamp", 3), ("child_fields", 4)] {
        assert!(
            !schema::text(version - 1).contains(name) && schema::text(version).contains(name),
            "{name}"
        );
    }
}
