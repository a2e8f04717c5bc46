use super::*;
use crate::catalog_fixture::{call, records};
use crate::instances;
use crate::keys::RecordTable;
use crate::limits::MAX_ABANDONED_PER_COMMAND;
use crate::record::CondemnedRecord;
use crate::storage_fixture::{change, store};
use crate::testing::{Bench, INSTANCE, OTHER_INSTANCE};
use crate::vaults;
use quorate_model::ErrorCode;
use quorate_wire::doris::{HdfsVaultInfo, StorageVaultPb};

/// Gives an instance vaults under the next ids, in these buckets.
fn add_vaults(bench: &mut Bench, instance_id: &str, buckets: &[&str]) {
    for bucket in buckets {
        let vault = StorageVaultPb {
            name: Some(format!("in_{bucket}")),
            obj_info: Some(store(bucket)),
            ..StorageVaultPb::default()
        };
        add_vault(bench, instance_id, &vault);
    }
}

fn add_vault(bench: &mut Bench, instance_id: &str, vault: &StorageVaultPb) {
    let mut instance = instances::find(&bench.store, instance_id).expect("reads").expect("is there");
    let vault = vaults::register(&bench.counters(), &mut instance.info, vault, 1, false);
    change(bench, |context| {
        instances::put(context, &instance);
        context.put_record(vaults::key(instance.scope, vault.id()), &vault);
    });
}

fn condemn(bench: &mut Bench, scope: u64, vault: &str, files: &[&str]) {
    let record = CondemnedRecord {
        scope,
        vault: vault.to_owned(),
        path: format!("s{scope}/c2/p3/g4"),
        files: files.iter().map(|file| (*file).to_owned()).collect(),
        not_before_ms: u64::MAX / 2,
        sweeps_left: 1,
        ..CondemnedRecord::default()
    };
    // Counters are not what `change` keeps: each row needs its own number.
    let number = records(bench, RecordTable::Condemned) as u64;
    change(bench, |context| {
        context.counters.last_condemned = number;
        condemned::add(context, &record);
    });
}

fn request(instance_id: &str, vault: &str) -> AbandonDeletionsRequest {
    AbandonDeletionsRequest {
        instance_id: instance_id.to_owned(),
        vault: vault.to_owned(),
        by: "operator@host".to_owned(),
        ..AbandonDeletionsRequest::default()
    }
}

#[test]
fn what_is_to_be_deleted_from_one_store_is_forgotten_and_nothing_else() {
    let mut bench = Bench::new();
    add_vaults(&mut bench, INSTANCE, &["shared"]);
    add_vaults(&mut bench, OTHER_INSTANCE, &["own", "shared"]);
    condemn(&mut bench, 1, "1", &["a", "b"]);
    condemn(&mut bench, 2, "1", &["c"]);
    condemn(&mut bench, 2, "2", &[]);
    condemn(&mut bench, 1, "", &["d"]);
    condemn(&mut bench, 2, "", &[]);
    let mut abandon = |instance_id: &str, vault: &str| {
        let reply = call::<AbandonDeletions>(&mut bench, request(instance_id, vault)).expect("runs");
        assert_eq!(reply.next_page_token, "");
        bench.check_content();
        let left = records(&bench, RecordTable::Condemned);
        (reply.directories, reply.whole_directories, reply.files, left)
    };
    assert_eq!(abandon(INSTANCE, "in_shared"), (2, 1, 2, 3), "in whatever instance, by name");
    assert_eq!(abandon(INSTANCE, "1"), (0, 0, 0, 3), "and by id");
    assert_eq!(abandon(INSTANCE, ""), (2, 1, 1, 1), "the local directory is one for all");
    assert_eq!(abandon(OTHER_INSTANCE, "in_own"), (1, 0, 1, 0));
}

#[test]
fn a_page_ends_at_its_bound_and_the_next_one_goes_on() {
    let mut bench = Bench::new();
    change(&mut bench, |context| {
        for number in 0..=MAX_ABANDONED_PER_COMMAND as u64 {
            let place = DeletionKey {
                not_before_ms: 5_000 + number % 3,
                number,
            };
            context.put_record(
                condemned::key(place),
                &CondemnedRecord {
                    scope: 1,
                    path: format!("s1/j{number}"),
                    ..CondemnedRecord::default()
                },
            );
        }
    });
    let first = call::<AbandonDeletions>(&mut bench, request(INSTANCE, "")).expect("runs");
    assert_eq!(first.directories, MAX_ABANDONED_PER_COMMAND as u64);
    assert_eq!(records(&bench, RecordTable::Condemned), 1);
    let next = AbandonDeletionsRequest {
        page_token: first.next_page_token,
        ..request(INSTANCE, "")
    };
    let last = call::<AbandonDeletions>(&mut bench, next).expect("runs");
    assert_eq!((last.directories, last.next_page_token.as_str()), (1, ""));
    assert_eq!(records(&bench, RecordTable::Condemned), 0);
}

#[test]
fn what_names_no_store_with_files_is_refused() {
    let mut bench = Bench::new();
    let hdfs = StorageVaultPb {
        name: Some("h".to_owned()),
        hdfs_info: Some(HdfsVaultInfo::default()),
        ..StorageVaultPb::default()
    };
    add_vault(&mut bench, INSTANCE, &hdfs);
    let mut refused = |request| call::<AbandonDeletions>(&mut bench, request).expect_err("refused").code;
    assert_eq!(refused(request("nobody", "")), ErrorCode::NotFound);
    assert_eq!(refused(request(INSTANCE, "nowhere")), ErrorCode::VaultNotFound);
    assert_eq!(refused(request(INSTANCE, "h")), ErrorCode::InvalidArgument);
    assert_eq!(refused(request("", "")), ErrorCode::InvalidArgument);
    let malformed = AbandonDeletionsRequest {
        page_token: "x".to_owned(),
        ..request(INSTANCE, "")
    };
    assert_eq!(refused(malformed), ErrorCode::InvalidArgument);
}
