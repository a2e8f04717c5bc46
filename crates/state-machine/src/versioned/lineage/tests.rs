use super::*;
use crate::keys::versioned;
use crate::store::MapStore;
use proptest::prelude::*;
use prost::Message;

const TABLE: VersionedTable = VersionedTable::Collection;

fn put(store: &mut MapStore, scope: u64, key: &str, revision: u64, value: Option<&str>) {
    let stored = value.map_or(vec![0], |value| [b"\x01", value.as_bytes()].concat());
    store
        .rows
        .insert(versioned(TABLE, ScopeId(scope), key.as_bytes(), Revision(revision)), stored.into());
}

fn clone_of(store: &mut MapStore, scope: u64, parent: ParentRecord) {
    store.rows.insert(parent_key(ScopeId(scope)), parent.encode_to_vec().into());
}

/// A at 1000 -> B, B at 2000 -> C.
fn chain() -> MapStore {
    let mut store = MapStore::default();
    let parent = |source_scope, source_revision| ParentRecord {
        source_scope,
        source_revision,
        created_at: source_revision + 1,
        base_scope: source_scope + 100,
        ..ParentRecord::default()
    };
    clone_of(&mut store, 2, parent(1, 1000));
    clone_of(&mut store, 3, parent(2, 2000));
    store
}

fn get(store: &MapStore, scope: u64, revision: u64, key: &str) -> Option<String> {
    let lineage = Lineage::of(store, ScopeId(scope), Revision(revision)).expect("readable");
    let found = lineage.get(store, TABLE, key.as_bytes()).expect("readable");
    found.map(|row| String::from_utf8(row.value.to_vec()).expect("text"))
}

fn scan(store: &MapStore, scope: u64, revision: u64, rows: usize) -> Vec<(String, String, u64)> {
    let lineage = Lineage::of(store, ScopeId(scope), Revision(revision)).expect("readable");
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = lineage
            .scan(
                store,
                &LineageScan {
                    table: TABLE,
                    prefix: b"",
                    after_key: after.as_deref(),
                    limit: PageLimit {
                        rows,
                        keys: 3,
                        ..PageLimit::default()
                    },
                },
            )
            .expect("readable");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        all.extend(page.rows.iter().map(|row| (text(&row.key), text(&row.value), row.scope.0)));
        match page.resume_after {
            Some(key) => after = Some(key),
            None => return all,
        }
    }
}

#[test]
fn the_nearest_level_with_a_version_at_its_bound_wins() {
    let mut store = chain();
    put(&mut store, 1, "old", 100, Some("a"));
    put(&mut store, 1, "late", 1500, Some("a"));
    put(&mut store, 1, "shadowed", 100, Some("a"));
    put(&mut store, 2, "shadowed", 1500, Some("b"));
    put(&mut store, 1, "too late", 100, Some("a"));
    put(&mut store, 2, "too late", 2500, Some("b"));
    put(&mut store, 1, "dropped", 100, Some("a"));
    put(&mut store, 2, "dropped", 1500, None);
    assert_eq!(get(&store, 3, 9000, "old").as_deref(), Some("a"));
    assert_eq!(get(&store, 3, 9000, "late"), None);
    assert_eq!(get(&store, 3, 9000, "shadowed").as_deref(), Some("b"));
    assert_eq!(get(&store, 3, 9000, "too late").as_deref(), Some("a"));
    assert_eq!(get(&store, 3, 9000, "dropped"), None);
    assert_eq!(get(&store, 1, 9000, "dropped").as_deref(), Some("a"));
    let expected = [("old", "a", 1), ("shadowed", "b", 2), ("too late", "a", 1)];
    for rows in 1..5 {
        let found = scan(&store, 3, 9000, rows);
        let found: Vec<_> = found
            .iter()
            .map(|(key, value, scope)| (key.as_str(), value.as_str(), *scope))
            .collect();
        assert_eq!(found, expected, "pages of {rows}");
    }
}

#[test]
fn a_complete_base_layer_takes_the_sources_place() {
    let mut store = chain();
    put(&mut store, 1, "a", 100, Some("source"));
    put(&mut store, 101, "a", 5000, Some("base"));
    assert_eq!(get(&store, 3, 9000, "a").as_deref(), Some("source"));
    let mut record = parent(&store, ScopeId(2)).expect("readable").expect("a clone");
    record.base_complete = true;
    clone_of(&mut store, 2, record);
    assert_eq!(get(&store, 3, 9000, "a").as_deref(), Some("base"), "also for the clone's clone");
    assert_eq!(get(&store, 2, 1100, "a").as_deref(), Some("base"), "at any revision of the clone");
}

#[test]
fn a_clone_has_nothing_before_its_beginning() {
    let store = chain();
    let counters = crate::record::Counters {
        revision: 9000,
        ..Default::default()
    };
    assert!(check_readable(&store, &counters, ScopeId(2), Revision(1001)).is_ok());
    let refused = check_readable(&store, &counters, ScopeId(2), Revision(1000)).expect_err("older than the clone");
    assert!(refused.to_string().contains("begins at 1001"), "{refused}");
}

proptest! {
    /// Pages of a merged range equal point reads of every key.
    #[test]
    fn scans_equal_point_reads(
        writes in proptest::collection::vec((1u64..4, 0u8..6, 1u64..3000, any::<bool>()), 0..60), revision in 2001u64..4000, rows in 1usize..5,
    ) {
        let mut store = chain();
        for (scope, key, revision, is_value) in &writes {
            let value = format!("{scope}-{revision}");
            put(&mut store, *scope, &format!("k{key}"), *revision, is_value.then_some(value.as_str()));
        }
        let expected: Vec<(String, String)> = (0..6)
            .filter_map(|key| Some((format!("k{key}"), get(&store, 3, revision, &format!("k{key}"))?)))
            .collect();
        let found: Vec<_> = scan(&store, 3, revision, rows).into_iter().map(|(key, value, _)| (key, value)).collect();
        prop_assert_eq!(found, expected);
    }
}
