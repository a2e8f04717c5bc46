use super::*;
use crate::catalog_fixture::{add_segments, bench_with_collection, collect_later, collect_records, delete_files, records};
use crate::command::read_record;
use crate::commands::{AbandonDeletions, AdjustRateLimit, CollectInstance, DropInstance};
use crate::jobs::rows;
use crate::record::{JobProgressRecord, JobRecord, RateLimitsRecord};
use crate::testing::{Bench, INSTANCE, OTHER_INSTANCE};
use crate::vaults;
use prost::Message;
use quorate_model::ErrorCode;

const SCOPE: ScopeId = ScopeId(1);

/// A bench whose instance has a vault and files, and was dropped so long ago that its rows have been collected.
fn collected() -> Bench {
    let mut bench = bench_with_collection();
    add_segments(&mut bench, INSTANCE, "c", "p", 2).expect("added");
    put(&mut bench, vaults::key(SCOPE, "1"), Bytes::new());
    let drop = DropInstance {
        instance_id: INSTANCE.to_owned(),
    };
    bench.run(&drop).expect("dropped");
    assert_eq!(records(&bench, RecordTable::CollectedScope), 0);
    collect_later(&mut bench);
    assert_eq!(waiting(&bench.store, ScopeId(0), 10).expect("reads"), [SCOPE]);
    bench
}

fn put(bench: &mut Bench, row: Bytes, value: Bytes) {
    bench.store.rows.insert(row, value);
    bench.adopt_rows();
}

fn take(bench: &mut Bench, row: &Bytes) {
    bench.store.rows.remove(row);
    bench.adopt_rows();
}

fn is_removed(bench: &mut Bench) -> bool {
    let reply = bench.run(&CollectInstance { scope: SCOPE.0 }).expect("runs");
    bench.check_content();
    reply.removed
}

#[test]
fn a_record_goes_with_its_vaults_when_its_files_are_deleted() {
    let mut bench = collected();
    assert_ne!(records(&bench, RecordTable::Condemned), 0);
    assert_eq!(collect_records(&mut bench), 0, "the deleter needs it");
    delete_files(&mut bench);
    let (instance_rows, scope_rows) = (records(&bench, RecordTable::Instance), records(&bench, RecordTable::Scope));
    assert_eq!(collect_records(&mut bench), 1);
    assert_eq!(instances::find_id_of_scope(&bench.store, SCOPE).expect("reads"), None);
    assert!(!instances::exists(&bench.store, INSTANCE).expect("reads"));
    assert_eq!(records(&bench, RecordTable::Instance), instance_rows - 1);
    assert_eq!(records(&bench, RecordTable::Scope), scope_rows - 1);
    for table in [RecordTable::Vault, RecordTable::CollectedScope] {
        assert_eq!(records(&bench, table), 0, "{table:?}");
    }
    assert!(!is_removed(&mut bench), "it has gone already");
}

#[test]
fn a_record_goes_also_when_its_files_are_given_up_as_lost() {
    let mut bench = collected();
    let abandon = AbandonDeletions {
        instance_id: INSTANCE.to_owned(),
        ..AbandonDeletions::default()
    };
    let reply = bench.run(&abandon).expect("runs");
    assert_eq!((reply.directories, reply.files), (2, 2));
    assert_eq!(records(&bench, RecordTable::Condemned), 0);
    assert_eq!(collect_records(&mut bench), 1);
    assert!(!instances::exists(&bench.store, INSTANCE).expect("reads"));
    assert_eq!(bench.refusal(&abandon), ErrorCode::NotFound);
}

#[test]
fn the_rate_limits_of_an_instance_go_with_its_record_and_all_others_stay() {
    let mut bench = collected();
    delete_files(&mut bench);
    let limits = |bench: &Bench| {
        let record = read_record::<RateLimitsRecord>(&bench.store, &rate_limits::key()).expect("reads");
        let limits = record.unwrap_or_default().limits;
        limits.into_iter().map(|limit| (limit.rpc, limit.instance_id)).collect::<Vec<_>>()
    };
    for (rpc, instance_id) in [("", ""), ("", INSTANCE), ("get_cluster", INSTANCE), ("get_cluster", OTHER_INSTANCE)] {
        let adjust = AdjustRateLimit {
            rpc: rpc.to_owned(),
            instance_id: instance_id.to_owned(),
            qps: 5,
        };
        bench.run(&adjust).expect("set");
    }
    assert_eq!(limits(&bench).len(), 4);
    assert!(is_removed(&mut bench));
    let left = [("", ""), ("get_cluster", OTHER_INSTANCE)].map(|(rpc, instance_id)| (rpc.to_owned(), instance_id.to_owned()));
    assert_eq!(limits(&bench), left);
}

#[test]
fn a_record_stays_while_anything_may_condemn_files_of_its_scope() {
    let mut bench = collected();
    for table in NEEDING {
        let mut row = keys::record_in_scope(table, SCOPE);
        row.put_u64(7);
        let row = row.freeze();
        put(&mut bench, row.clone(), Bytes::new());
        assert!(!is_removed(&mut bench), "{table:?}");
        take(&mut bench, &row);
    }
    let job = JobRecord {
        target_scope: SCOPE.0,
        ..JobRecord::default()
    };
    put(&mut bench, rows::job(9), job.encode_to_vec().into());
    put(&mut bench, rows::active(9), JobProgressRecord::default().encode_to_vec().into());
    assert!(!is_removed(&mut bench), "a job fills it");
    take(&mut bench, &rows::active(9));
    assert!(is_removed(&mut bench));
}

#[test]
fn an_instance_that_was_not_dropped_keeps_its_record() {
    let mut bench = Bench::new();
    let remove = CollectInstance { scope: SCOPE.0 };
    assert!(!bench.run(&remove).expect("runs").removed, "it has not been collected");
    put(&mut bench, key(SCOPE), Bytes::new());
    assert_eq!(bench.refusal(&remove), ErrorCode::Internal);
    assert!(instances::exists(&bench.store, INSTANCE).expect("reads"));
}

#[test]
fn scopes_that_wait_come_in_order_and_in_pages() {
    let mut bench = Bench::new();
    for scope in [300, 5, 4] {
        put(&mut bench, key(ScopeId(scope)), Bytes::new());
    }
    let page = |after, limit| -> Vec<u64> {
        let scopes = waiting(&bench.store, ScopeId(after), limit).expect("reads");
        scopes.into_iter().map(|scope| scope.0).collect()
    };
    assert_eq!(page(0, 10), [4, 5, 300]);
    assert_eq!(page(0, 2), [4, 5]);
    assert_eq!(page(5, 2), [300]);
    assert_eq!(page(300, 2), [0; 0]);
}
