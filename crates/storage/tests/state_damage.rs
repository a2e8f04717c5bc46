//! Damage within a table, which no opening shows: whoever reads it is told, and the state does not open again.

use bytes::Bytes;
use quorate_storage::codec::{LeaderId, LogId};
use quorate_storage::state::{RocksState, RocksStateOptions, StateEngine, is_damage};
use std::fs;
use std::path::{Path, PathBuf};

const ROWS: u32 = 1_000;

fn key(number: u32) -> Bytes {
    Bytes::from([&[0x10, 0xff][..], &number.to_be_bytes()].concat())
}

fn open(dir: &Path) -> std::io::Result<RocksState> {
    RocksState::open(dir, RocksStateOptions::default())
}

/// Rows that nothing makes smaller, in a table.
fn write(dir: &Path) {
    let state = open(dir).expect("an empty state opens");
    let mut noise = 1_u64;
    let mut value = || {
        let mut bytes = Vec::new();
        for _ in 0..64 {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            bytes.extend((noise >> 16).to_be_bytes());
        }
        Bytes::from(bytes)
    };
    let rows: Vec<_> = (0..ROWS).map(|number| (key(number), Some(value()))).collect();
    let applied = LogId {
        leader: LeaderId::default(),
        index: 1,
    };
    state.commit(&rows, applied, None).expect("written");
    state.flush().expect("flushed");
}

fn table(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("gen-1")).expect("a generation");
    let mut tables: Vec<PathBuf> = files.map(|file| file.expect("an entry").path()).collect();
    tables.retain(|file| file.extension().is_some_and(|extension| extension == "sst"));
    tables.remove(0)
}

type Harm = fn(&mut [u8]);

const HARMS: [(&str, Harm); 2] = [
    ("a flipped bit", |bytes| bytes[0] ^= 4),
    ("a zeroed stretch", |bytes| bytes[..4_096].fill(0)),
];

#[test]
fn damage_within_a_table_is_met_once_and_refused_from_then_on() {
    for (what, harm) in HARMS {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dir = dir.path().join("state");
        write(&dir);
        let table = table(&dir);
        let mut bytes = fs::read(&table).expect("readable");
        let middle = bytes.len() / 2;
        harm(&mut bytes[middle..]);
        fs::write(&table, bytes).expect("written");

        let state = open(&dir).expect("the damage does not show yet");
        assert_eq!(state.damage(), None, "{what}");
        let mut failed = 0;
        state.read(&mut |reader| failed = (0..ROWS).filter(|number| reader.get(&key(*number)).is_err()).count());
        assert!(failed > 0 && failed < ROWS as usize / 2, "{what}: {failed} rows cannot be read");
        assert!(state.damage().is_some_and(|damage| damage.contains("orruption")), "{what}");
        drop(state);
        let refused = open(&dir).err().expect("refused");
        assert!(
            is_damage(&refused) && refused.to_string().contains("orruption"),
            "{what}: {refused}"
        );
    }
}

#[test]
fn a_state_that_is_marked_does_not_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("state");
    write(&dir);
    let state = open(&dir).expect("opens");
    state.mark_damaged("a scan says so");
    assert_eq!(state.damage(), None, "what is open goes on");
    drop(state);
    let refused = open(&dir).err().expect("refused");
    assert!(is_damage(&refused) && refused.to_string().contains("a scan says so"), "{refused}");
    // Who has no other one goes on with it.
    let accepting = RocksStateOptions {
        accept_damage: true,
        ..RocksStateOptions::default()
    };
    drop(RocksState::open(&dir, accepting).expect("opens for who takes what is there"));
    assert!(open(&dir).is_err(), "looking at it changes nothing");
    RocksState::forget_damage(&dir).expect("forgotten");
    open(&dir).expect("opens again");
}

#[test]
fn a_received_state_is_not_marked_by_who_still_reads_the_one_before() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("state");
    write(&dir);
    let state = open(&dir).expect("opens");
    let checkpoint = state.checkpoint().expect("made");
    checkpoint.copy_to(&state.incoming_dir()).expect("copied");
    state.mark_damaged("the state before was wrong");
    state.install(checkpoint.raft()).expect("installed");
    drop((checkpoint, state));
    open(&dir).expect("another state has taken its place");
}
