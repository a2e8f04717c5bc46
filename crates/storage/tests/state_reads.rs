//! Reads of the RocksDB state give what a plain sorted map gives, whatever filters its files have.

use bytes::Bytes;
use quorate_state_machine::keys::{RecordTable, record_prefix};
use quorate_storage::codec::{LeaderId, LogId};
use quorate_storage::state::{MemoryState, RocksState, RocksStateOptions, StateEngine};

fn first(state: &dyn StateEngine, prefix: &[u8], key: &[u8]) -> Option<Bytes> {
    let mut found = None;
    state.read(&mut |reader| found = reader.first_in_prefix(prefix, key).expect("reads").map(|(key, _)| key));
    found
}

/// In files, a filter covers whole keys: of the prefix itself it says that there is no such key.
#[test]
fn the_first_row_below_a_prefix_is_found_wherever_the_search_begins() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let rocks = RocksState::open(&dir.path().join("state"), RocksStateOptions::default()).expect("an empty state opens");
    let memory = MemoryState::new(dir.path());
    let table = record_prefix(RecordTable::OpenTask).freeze();
    let below = |numbers: &[u64]| {
        let mut key = table.to_vec();
        numbers.iter().for_each(|number| key.extend(number.to_be_bytes()));
        Bytes::from(key)
    };
    let rows: Vec<(Bytes, Option<Bytes>)> = [[1, 5], [2, 3], [2, 7]].map(|row| (below(&row), Some(Bytes::from("x")))).into();
    let applied = LogId {
        leader: LeaderId::default(),
        index: 1,
    };
    for state in [&rocks as &dyn StateEngine, &memory] {
        state.commit(&rows, applied, None).expect("written");
        state.flush().expect("flushed");
    }
    for prefix in [&[][..], &[1], &[2], &[3]] {
        for key in [&[][..], &[1], &[2], &[2, 3], &[2, 4], &[2, 8], &[3]] {
            let (prefix, key) = (below(prefix), below(key));
            if key.starts_with(&prefix) {
                assert_eq!(
                    first(&rocks, &prefix, &key),
                    first(&memory, &prefix, &key),
                    "{prefix:02x?} from {key:02x?}"
                );
            }
        }
    }
    assert_eq!(first(&rocks, &below(&[2]), &below(&[2])), Some(below(&[2, 3])));
}
