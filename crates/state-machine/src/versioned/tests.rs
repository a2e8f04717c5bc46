use super::*;
use crate::keys::space;
use crate::record::{CleanupRecord, CleanupVersion, Counters};
use crate::store::MapStore;
use crate::view::View;
use quorate_model::StampedTime;

const TABLE: VersionedTable = VersionedTable::Attribute;
const SCOPE: ScopeId = ScopeId(4);

/// A key, a revision and what it is set to.
type Write<'a> = (&'a [u8], u64, Option<&'a [u8]>);

/// Writes versions of keys at given revisions (`None` deletes), as commands of their own.
fn store_of(versions: &[Write<'_>]) -> MapStore {
    let mut store = MapStore::default();
    for (key, revision, value) in versions {
        let writes = {
            let view = View::new(&store);
            let counters = Counters {
                revision: revision - 1,
                ..Counters::default()
            };
            let mut context = ApplyContext::new(&view, counters, StampedTime(revision * 10));
            match value {
                Some(value) => put(&mut context, TABLE, SCOPE, key, value),
                None => remove(&mut context, TABLE, SCOPE, key),
            }
            .expect("writes");
            let (changes, superseded) = std::mem::take(context.changes()).into_parts();
            let queued = rows::cleanup_row(&CleanupRecord {
                superseded_ms: revision * 10,
                versions: superseded.iter().map(|version| cleanup_version(version, *revision)).collect(),
            });
            let changes = changes.into_iter().map(|change| (change.key, change.value));
            changes.chain(queued.map(|(key, value)| (key, Some(value)))).collect::<Vec<_>>()
        };
        store.write(&writes);
    }
    store
}

fn cleanup_version(version: &SupersededVersion, superseded_at: u64) -> CleanupVersion {
    CleanupVersion {
        name: version.name.clone(),
        written_at: version.written_at.0,
        superseded_at,
        replaced: version.replaced,
        row_hash: rows::encode_hash(version.row_hash),
    }
}

fn queued(store: &MapStore) -> Vec<(u64, u64, u64)> {
    let rows = store.rows.iter().filter(|(key, _)| key[0] == space::CLEANUP);
    rows.flat_map(|(key, value)| {
        let batch = rows::CleanupBatch::read(key, value).expect("well-formed");
        batch
            .versions
            .into_iter()
            .map(|version| (version.written_at.0, version.superseded_at.0, version.superseded_ms))
    })
    .collect()
}

#[test]
fn a_read_sees_writes_of_its_own_revision_and_before() {
    let store = store_of(&[
        (b"a", 3, Some(b"x")),
        (b"a", 5, Some(b"")),
        (b"a", 9, None),
        (b"a\x00", 4, Some(b"other")),
    ]);
    let at = |revision| {
        get_at(&store, TABLE, SCOPE, b"a", Revision(revision))
            .expect("reads")
            .map(|(at, value)| (at.0, value.to_vec()))
    };
    assert_eq!([at(2), at(3), at(4)], [None, Some((3, b"x".to_vec())), Some((3, b"x".to_vec()))]);
    assert_eq!(
        [at(5), at(8), at(9), at(u64::MAX)],
        [Some((5, vec![])), Some((5, vec![])), None, None]
    );
    assert_eq!(
        newest(&store, TABLE, SCOPE, b"a").expect("reads"),
        Some(Version {
            revision: Revision(9),
            value: None
        })
    );
}

#[test]
fn superseding_queues_the_old_version_with_the_stamped_time() {
    let store = store_of(&[
        (b"a", 3, Some(b"x")),
        (b"b", 4, Some(b"x")),
        (b"a", 5, Some(b"y")),
        (b"a", 9, None),
        (b"a", 11, Some(b"z")),
    ]);
    assert_eq!(queued(&store), [(3, 5, 50), (5, 9, 90), (9, 11, 110)]);
}

#[test]
fn removing_what_is_not_there_writes_nothing() {
    let store = store_of(&[(b"a", 3, None), (b"b", 4, Some(b"x")), (b"b", 5, None), (b"b", 6, None)]);
    assert_eq!(store.rows.len(), 3, "two versions and one queue row");
}

#[test]
fn a_scan_answers_the_same_for_short_and_long_histories() {
    let mut versions: Vec<Write<'_>> = vec![(b"a", 1, Some(b"a1")), (b"c", 2, Some(b"c2"))];
    versions.extend((3..40).map(|revision| (&b"b"[..], revision, Some(&b"b"[..]))));
    versions.push((b"c", 41, None));
    let store = store_of(&versions);
    let scan = |revision, after: Option<&'static [u8]>| {
        let limit = PageLimit::default();
        let scan = Scan {
            table: TABLE,
            scope: SCOPE,
            prefix: b"",
            after_key: after,
            revision: Revision(revision),
            limit,
        };
        let page = scan_at(&store, &scan).expect("scans");
        assert_eq!(page.resume_after, None);
        page.rows.into_iter().map(|row| (row.key, row.revision.0)).collect::<Vec<_>>()
    };
    let row = |key: &[u8], revision| (key.to_vec(), revision);
    assert_eq!(scan(2, None), [row(b"a", 1), row(b"c", 2)]);
    assert_eq!(scan(3, None), [row(b"a", 1), row(b"b", 3), row(b"c", 2)]);
    assert_eq!(scan(38, Some(b"a")), [row(b"b", 38), row(b"c", 2)]);
    assert_eq!(scan(41, Some(b"a")), [row(b"b", 39)]);
}

#[test]
fn pages_are_bounded_by_rows_bytes_and_keys_looked_at() {
    let store = store_of(&[
        (b"a", 1, Some(b"12345")),
        (b"b", 2, Some(b"12345")),
        (b"c", 3, Some(b"1")),
        (b"c", 4, None),
        (b"d", 5, Some(b"1")),
    ]);
    let page = |limit, after_key| {
        let scan = Scan {
            table: TABLE,
            scope: SCOPE,
            prefix: b"",
            after_key,
            revision: Revision(9),
            limit,
        };
        let page = scan_at(&store, &scan).expect("scans");
        (page.rows.into_iter().map(|row| row.key).collect::<Vec<_>>(), page.resume_after)
    };
    let by_rows = PageLimit {
        rows: 1,
        ..PageLimit::default()
    };
    assert_eq!(page(by_rows, None), (vec![b"a".to_vec()], Some(b"a".to_vec())));
    assert_eq!(page(by_rows, Some(b"b")), (vec![b"d".to_vec()], None));
    let by_bytes = PageLimit {
        bytes: 1,
        ..PageLimit::default()
    };
    assert_eq!(
        page(by_bytes, Some(b"a")).0,
        vec![b"b".to_vec()],
        "a row that is too long alone still comes"
    );
    let by_keys = PageLimit {
        keys: 1,
        ..PageLimit::default()
    };
    assert_eq!(page(by_keys, Some(b"b")), (vec![], Some(b"c".to_vec())), "an empty page goes on");
    assert_eq!(page(by_keys, Some(b"c")), (vec![b"d".to_vec()], None));
}

#[test]
fn damage_is_an_error_and_not_an_absence() {
    let mut store = store_of(&[(b"a", 3, Some(b"x"))]);
    let key = keys::versioned(TABLE, SCOPE, b"a", Revision(3));
    for stored in [&b""[..], b"\x00x", b"\x02"] {
        store.rows.insert(key.clone(), Bytes::copy_from_slice(stored));
        assert!(get_at(&store, TABLE, SCOPE, b"a", Revision(9)).is_err());
    }
}

#[test]
fn clean_up_rows_have_golden_bytes() {
    let name = keys::versioned_prefix(TABLE, SCOPE, b"a\x00");
    let superseded = rows::Superseded {
        name: name.clone().freeze(),
        scope: SCOPE,
        written_at: Revision(2),
        superseded_at: Revision(3),
        superseded_ms: 0,
        replaced: false,
        row_hash: None,
    };
    let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let tail = "0000000000000003 01 0000000000000004 6100ff0001".replace(' ', "");
    let version = SupersededVersion {
        name: name.clone().freeze(),
        written_at: Revision(2),
        replaced: false,
        row_hash: None,
    };
    let record = CleanupRecord {
        superseded_ms: 7,
        versions: vec![cleanup_version(&version, 3), cleanup_version(&version, 4)],
    };
    let (key, value) = rows::cleanup_row(&record).expect("it has versions");
    assert_eq!(hex(key.clone()), "300000000000000003");
    let version = "120f".to_owned() + "200100000000000000046100ff0001";
    let versions = ["0a", "1002 1803", "1002 1804"].map(|part| part.replace(' ', ""));
    let item = |end: &str| format!("1215{}{}{end}", &versions[0], &version[2..]);
    assert_eq!(hex(value.clone()), format!("0807{}{}", item(&versions[1]), item(&versions[2])));
    let batch = rows::CleanupBatch::read(&key, &value).expect("well-formed");
    assert_eq!(batch.versions[0].scope, SCOPE);
    assert_eq!(batch.versions[1].superseded_at, Revision(4));
    assert_eq!(
        rows::cleanup_row(&CleanupRecord::default()),
        None,
        "an entry that supersedes nothing queues nothing"
    );
    assert_eq!(
        hex(rows::parked(Revision(2), &superseded)),
        format!("3100000000000000040000000000000002{tail}")
    );
    assert_eq!(hex(superseded.version_key()), "200100000000000000046100ff0001fffffffffffffffd");
    assert_eq!(hex(rows::released(SCOPE, Revision(2))), "3200000000000000040000000000000002");
    assert_eq!(
        hex(rows::pin(SCOPE, Revision(2), 1)),
        "40000000000000000400000000000000020000000000000001"
    );
    assert_eq!(
        hex(rows::hold(SCOPE, Revision(2), 1)),
        "41000000000000000400000000000000020000000000000001"
    );
    assert_eq!(
        hex(rows::pin_expiry(9, SCOPE, Revision(2), 1)),
        "420000000000000009000000000000000400000000000000020000000000000001"
    );
}
