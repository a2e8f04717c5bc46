use super::*;
use crate::changes::ChangeList;
use crate::store::MapStore;
use proptest::prelude::*;

fn rows(reader: &dyn Reader, start: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut cursor = reader.cursor(start, &[0xff]).expect("cursor");
    while let Some((key, value)) = cursor.row() {
        found.push((key.to_vec(), value.to_vec()));
        cursor.next().expect("next");
    }
    found
}

/// Writes, checks what is accounted for as new and tells the value before.
fn write(view: &mut View<'_>, change: Change) -> Option<Bytes> {
    let expected = change.clone();
    let mut told = None;
    view.write(change, |key, before, after| {
        assert_eq!((key, after), (expected.key.as_ref(), RowState::from(expected.value.as_deref())));
        told = match before {
            RowState::Absent => None,
            RowState::Value(value) => Some(Bytes::copy_from_slice(value)),
            RowState::Hash(hash) => panic!("nobody has told the hash {hash}"),
        };
    })
    .expect("write");
    told
}

proptest! {
    #[test]
    fn view_equals_the_map_with_the_writes_applied(
        base in prop::collection::btree_map(0u8..40, 0u8..4, 0..20),
        writes in prop::collection::vec((0u8..40, prop::option::of(0u8..4)), 0..30),
        start in 0u8..40,
    ) {
        let mut store = MapStore::default();
        for (key, value) in base {
            store.rows.insert(vec![key].into(), vec![value].into());
        }
        let mut model = store.clone();
        let mut view = View::new(&store);
        for (key, value) in writes {
            let (key, value): (Bytes, Option<Bytes>) = (vec![key].into(), value.map(|value| vec![value].into()));
            let change = Change { key: key.clone(), value: value.clone(), before: Before::Unknown, hash: None };
            let before = write(&mut view, change);
            prop_assert_eq!(before, model.rows.get(&key).cloned());
            model.write(&[(key, value)]);
        }
        prop_assert_eq!(rows(&view, &[start]), rows(&model, &[start]));
        let mut cursor = view.cursor(&[], &[0xff]).expect("cursor");
        cursor.seek(&[start]).expect("seek");
        let sought = cursor.row().map(|(key, _)| key.to_vec());
        prop_assert_eq!(sought, rows(&model, &[start]).first().map(|(key, _)| key.clone()));
    }
}

#[test]
fn a_fresh_row_written_twice_tells_its_first_value_to_the_second_write() {
    let store = MapStore::default();
    let mut view = View::new(&store);
    let mut set = |value: Option<&'static [u8]>| {
        let change = Change {
            key: Bytes::from_static(b"k"),
            value: value.map(Bytes::from_static),
            before: Before::Absent,
            hash: None,
        };
        write(&mut view, change)
    };
    assert_eq!(set(Some(b"1")), None);
    assert_eq!(set(Some(b"2")).as_deref(), Some(&b"1"[..]));
    assert_eq!(set(None).as_deref(), Some(&b"2"[..]));
    assert_eq!(set(Some(b"3")), None);
    assert!(!view.is_removed(b"k"));
}

/// A store that must not be asked what a row holds; debug builds compare hashes with it, by `get`.
struct Unasked<'a>(&'a MapStore);

impl Reader for Unasked<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(key)
    }

    fn look_at(&self, key: &[u8], _: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), StoreError> {
        panic!("row {key:02x?} is looked up")
    }

    fn cursor<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        self.0.cursor(start, end)
    }
}

#[test]
fn a_known_row_is_accounted_for_by_its_hash_unless_the_group_has_written_it() {
    let row = |number: u8| Bytes::from(vec![number]);
    let mut store = MapStore::default();
    store.rows.insert(row(0), Bytes::from_static(b"a"));
    let hash = row_hash(&row(0), b"a");
    let mut changes = ChangeList::default();
    changes.remove_known(row(0), hash);
    changes.remove_known(row(0), hash);
    let written = changes.put_fresh_hashed(row(1), Bytes::from_static(b"b"));
    changes.remove_known(row(1), written);
    assert_eq!(written, row_hash(&row(1), b"b"));
    let unasked = Unasked(&store);
    let mut view = View::new(&unasked);
    let mut told = Vec::new();
    for change in changes.into_parts().0 {
        view.write(change, |key, before, after| {
            let hash = |state: RowState<'_>| match state {
                RowState::Absent => None,
                RowState::Value(value) => Some(row_hash(key, value)),
                RowState::Hash(hash) => Some(hash),
            };
            told.push((hash(before), hash(after)));
        })
        .expect("write");
    }
    let gone_before = (None, None);
    assert_eq!(
        told,
        [(Some(hash), None), gone_before, (None, Some(written)), (Some(written), None)]
    );
    assert!(rows(&view, &[]).is_empty());
}

#[test]
fn first_in_prefix_finds_nothing_outside_of_the_prefix_wherever_the_search_begins() {
    let mut store = MapStore::default();
    for key in [&b"a1"[..], b"b2", b"c3"] {
        store.rows.insert(Bytes::from_static(key), Bytes::new());
    }
    let mut view = View::new(&store);
    write(&mut view, Change::fresh(Bytes::from_static(b"b4"), Bytes::new()));
    let first = |reader: &dyn Reader, key: &[u8]| reader.first_in_prefix(b"b", key).expect("reads").map(|(key, _)| key.to_vec());
    for (key, in_store, in_view) in [
        (&b""[..], Some(b"b2".to_vec()), Some(b"b2".to_vec())),
        (b"b3", None, Some(b"b4".to_vec())),
        (b"c", None, None),
    ] {
        assert_eq!(first(&store, key), in_store);
        assert_eq!(first(&view, key), in_view);
    }
}
