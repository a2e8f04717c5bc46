//! Each kind of damage at each place of the state, and what is promised for it. What must never happen in any row: a state opens that
//! has less than it says, or what is left of one is deleted. Damage within a table shows in no opening: whoever reads it is told, and
//! the state does not open again.

use bytes::Bytes;
use quorate_storage::codec::{LeaderId, LogId};
use quorate_storage::state::{RocksState, RocksStateOptions, StateEngine, is_damage};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const ROWS: u32 = 1_000;
/// Written and flushed one after the other, one row each; few enough to stay apart.
const GROUPS: u32 = 3;

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
    state.commit(&rows, group(1), None).expect("written");
    state.flush().expect("flushed");
}

fn table(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("gen-1")).expect("a generation");
    let mut tables: Vec<PathBuf> = files.map(|file| file.expect("an entry").path()).collect();
    tables.retain(|file| file.extension().is_some_and(|extension| extension == "sst"));
    tables.remove(0)
}

fn group(index: u32) -> LogId {
    LogId {
        leader: LeaderId::default(),
        index: u64::from(index),
    }
}

/// A state of a few groups, each in a table of its own.
fn groups() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let state = open(dir.path()).expect("an empty state opens");
    for index in 1..=GROUPS {
        let row = (key(index), Some(Bytes::from_static(b"row")));
        state.commit(&[row], group(index), None).expect("written");
        state.flush().expect("flushed");
    }
    drop(state);
    dir
}

/// How many groups the state has, which must be the first ones, and as many as it says.
fn groups_in(state: &RocksState) -> u32 {
    let applied = state.raft_rows().expect("readable").applied.map_or(0, |id| id.index as u32);
    state.read(&mut |reader| {
        for index in 1..=GROUPS {
            let row = reader.get(&key(index)).expect("readable");
            assert_eq!(row.is_some(), index <= applied, "row {index} of a state that says {applied}");
        }
    });
    applied
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory") {
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).expect("copied")),
        }
    }
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let made = tempfile::tempdir().expect("a temporary directory");
    copy(dir, made.path());
    made
}

/// All files below `dir` with what is in them.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).expect("readable"))),
        }
    }
    found
}

fn manifest(dir: &Path) -> PathBuf {
    let name = fs::read_to_string(dir.join("gen-1/CURRENT")).expect("a name");
    dir.join("gen-1").join(name.trim())
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).expect("readable");
    change(&mut bytes);
    fs::write(file, bytes).expect("written");
}

/// Flips a bit of the byte at that part of the file, in hundredths.
fn flip(file: &Path, part: usize) {
    change(file, |bytes| {
        let at = bytes.len() * part / 100;
        bytes[at] ^= 1;
    });
}

fn zero(file: &Path, stretch: usize) {
    change(file, |bytes| {
        let begin = bytes.len() / 2;
        let end = bytes.len().min(begin + stretch);
        bytes[begin..end].fill(0);
    });
}

fn cut(file: &Path, bytes_left_out: usize) {
    change(file, |bytes| bytes.truncate(bytes.len() - bytes_left_out));
}

fn remove(file: &Path) {
    fs::remove_file(file).expect("removed");
}

fn empty(file: &Path) {
    fs::write(file, "").expect("written");
}

fn current(dir: &Path) -> PathBuf {
    dir.join("gen-1/CURRENT")
}

fn active(dir: &Path) -> PathBuf {
    dir.join("ACTIVE")
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// As damage, in these words: `serve` puts the state aside and builds it anew, or says what to do.
    Refused(&'static str),
    /// Opens as it was at an earlier flush: the log leads on from there, or the state is fetched from another member.
    Earlier,
}

use Outcome::*;

type Wrong = fn(&Path);

const TABLE: &[(&str, Wrong, Outcome)] = &[
    ("a table is cut", |dir| cut(&table(dir), 100), Refused("cannot be opened")),
    ("a table is gone", |dir| remove(&table(dir)), Refused("cannot be opened")),
    (
        "MANIFEST, a flipped bit",
        |dir| flip(&manifest(dir), 50),
        Refused("holds no record at byte"),
    ),
    (
        "MANIFEST, a zeroed stretch",
        |dir| zero(&manifest(dir), 64),
        Refused("holds no record at byte"),
    ),
    (
        "MANIFEST, cut",
        |dir| change(&manifest(dir), |bytes| bytes.truncate(bytes.len() / 2)),
        Earlier,
    ),
    ("MANIFEST, empty", |dir| empty(&manifest(dir)), Refused("cannot be opened")),
    ("MANIFEST, gone", |dir| remove(&manifest(dir)), Refused("cannot be opened")),
    (
        "CURRENT, a flipped bit in its name",
        |dir| flip(&current(dir), 10),
        Refused("cannot be opened"),
    ),
    (
        "CURRENT, a flipped bit in its number",
        |dir| flip(&current(dir), 90),
        Refused("cannot be opened"),
    ),
    ("CURRENT, zeroed", |dir| zero(&current(dir), 64), Refused("cannot be opened")),
    ("CURRENT, cut", |dir| cut(&current(dir), 3), Refused("cannot be opened")),
    ("CURRENT, empty", |dir| empty(&current(dir)), Refused("cannot be opened")),
    ("CURRENT, gone", |dir| remove(&current(dir)), Refused("cannot be opened")),
    (
        "ACTIVE, a flipped bit",
        |dir| flip(&active(dir), 40),
        Refused("does not say which generation"),
    ),
    (
        "ACTIVE, zeroed",
        |dir| zero(&active(dir), 64),
        Refused("does not say which generation"),
    ),
    ("ACTIVE, cut", |dir| cut(&active(dir), 1), Refused("does not say which generation")),
    ("ACTIVE, empty", |dir| empty(&active(dir)), Refused("does not say which generation")),
    (
        "ACTIVE, gone",
        |dir| remove(&active(dir)),
        Refused("is missing beside existing generations"),
    ),
    (
        "ACTIVE of an older version, another number",
        |dir| fs::write(active(dir), "3\n").expect("written"),
        Refused("gen-3 is the generation in use and is not there"),
    ),
    (
        "the generation is gone",
        |dir| fs::remove_dir_all(dir.join("gen-1")).expect("removed"),
        Refused("gen-1 is the generation in use and is not there"),
    ),
    (
        "the generation is empty",
        |dir| {
            fs::remove_dir_all(dir.join("gen-1")).expect("removed");
            fs::create_dir(dir.join("gen-1")).expect("made");
        },
        Refused("cannot be opened"),
    ),
];

#[test]
fn every_damage_has_its_promised_outcome_and_nothing_is_deleted() {
    let whole = groups();
    for (what, harm, promised) in TABLE {
        let dir = copy_of(whole.path());
        let dir = dir.path();
        harm(dir);
        let before = files(dir);
        // Who recovers a cluster looks first, and may decide not to.
        let rows = RocksState::rows_at_rest(dir);
        assert_eq!(files(dir), before, "{what}: looking changes nothing");
        match (promised, open(dir)) {
            (Refused(words), Err(refused)) => {
                assert!(is_damage(&refused) && refused.to_string().contains(words), "{what}: {refused}");
                assert!(rows.is_err(), "{what}: {rows:?}");
                let after = files(dir);
                for (file, bytes) in before.iter().filter(|(file, _)| is_data(file)) {
                    assert_eq!(after.get(file), Some(bytes), "{what}: {}", file.display());
                }
            }
            (Earlier, Ok(state)) => {
                let groups = groups_in(&state);
                assert!(groups < GROUPS, "{what}: {groups}");
                assert_eq!(
                    rows.expect("readable").applied.map_or(0, |id| id.index),
                    u64::from(groups),
                    "{what}"
                );
            }
            (promised, opened) => panic!("{what}: promised {promised:?}, found {:?}", opened.map(|state| groups_in(&state))),
        }
    }
    assert_eq!(groups_in(&open(whole.path()).expect("opens")), GROUPS);
}

/// Neither RocksDB's own account of what it does, which an opening that fails adds to, nor its lock.
fn is_data(file: &Path) -> bool {
    let name = file.file_name().expect("a name").to_string_lossy();
    !name.starts_with("LOG") && name != "LOCK"
}

/// What becomes of a file at a position of it.
type WrongAt = fn(&mut Vec<u8>, usize);

#[test]
fn a_manifest_that_is_wrong_anywhere_is_refused_or_leads_to_an_earlier_flush() {
    let whole = groups();
    let length = fs::read(manifest(whole.path())).expect("readable").len();
    let wrongs: [(&str, WrongAt); 3] = [
        ("a flipped bit", |bytes, at| bytes[at] ^= 4),
        ("a zeroed stretch", |bytes, at| {
            let end = bytes.len().min(at + 64);
            bytes[at..end].fill(0);
        }),
        ("a cut", |bytes, at| bytes.truncate(at)),
    ];
    for (what, wrong) in wrongs {
        for at in (0..length).step_by(19) {
            let dir = copy_of(whole.path());
            change(&manifest(dir.path()), |bytes| wrong(bytes, at));
            match open(dir.path()) {
                Ok(state) => drop(groups_in(&state)),
                Err(refused) => assert!(is_damage(&refused), "{what} at {at}: {refused}"),
            }
        }
    }
}

#[test]
fn every_byte_of_active_and_current_counts() {
    let whole = groups();
    for file in [active(whole.path()), current(whole.path())] {
        let good = fs::read(&file).expect("readable");
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            for bad in [&flipped[..], &good[..at]] {
                fs::write(&file, bad).expect("written");
                let refused = open(whole.path()).err().expect("refused");
                assert!(is_damage(&refused), "byte {at} of {}: {refused}", file.display());
            }
        }
        fs::write(&file, good).expect("written");
    }
    assert_eq!(groups_in(&open(whole.path()).expect("opens")), GROUPS);
}

#[test]
fn other_generations_go_once_the_one_in_use_is_open() {
    let whole = groups();
    let made = |in_use: &str| {
        let dir = copy_of(whole.path());
        copy(&dir.path().join("gen-1"), &dir.path().join("gen-2"));
        fs::write(active(dir.path()), in_use).expect("written");
        fs::write(dir.path().join("ACTIVE.new"), "gener").expect("written");
        dir
    };
    // An installation that was interrupted before it replaced ACTIVE, and one after it, as older versions wrote it.
    for (in_use, goes) in [("1\n", "gen-2"), ("2\n", "gen-1")] {
        let dir = made(in_use);
        for _ in 0..2 {
            assert_eq!(groups_in(&open(dir.path()).expect("opens")), GROUPS);
            assert!(!dir.path().join(goes).exists(), "{goes}");
            let now = fs::read_to_string(active(dir.path())).expect("text");
            assert!(now.starts_with(&format!("generation {in_use}crc32c ")), "{now}");
        }
    }
    let dir = made("2\n");
    remove(&dir.path().join("gen-2/CURRENT"));
    assert!(is_damage(&open(dir.path()).err().expect("refused")));
    fs::write(active(dir.path()), "1\n").expect("written");
    assert_eq!(groups_in(&open(dir.path()).expect("the other one is there yet")), GROUPS);
}

#[test]
fn a_generation_that_was_never_made_is_begun_anew() {
    let lines = "generation 1\nbegins\n";
    let begins = format!("{lines}crc32c {:08x}\n", crc32c::crc32c(lines.as_bytes()));
    for half_made in [false, true] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(active(dir.path()), &begins).expect("written");
        if half_made {
            fs::create_dir(dir.path().join("gen-1")).expect("made");
            fs::write(dir.path().join("gen-1/MANIFEST-000001"), "half").expect("written");
        }
        assert_eq!(RocksState::rows_at_rest(dir.path()).expect("nothing yet").applied, None);
        let state = open(dir.path()).expect("begun");
        assert_eq!(groups_in(&state), 0);
        state
            .commit(&[(key(1), Some(Bytes::from_static(b"row")))], group(1), None)
            .expect("written");
        state.flush().expect("flushed");
        drop(state);
        assert_eq!(groups_in(&open(dir.path()).expect("opens")), 1);
    }
}

#[test]
fn a_state_that_never_was_is_not_made_by_looking_for_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("state");
    assert_eq!(RocksState::rows_at_rest(&dir).expect("nothing there").applied, None);
    assert!(!dir.exists());
    RocksState::forget_damage(&dir).expect("nothing to forget");
    assert!(!dir.exists());
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
    let rows = RocksState::rows_at_rest(&dir).expect("readable for who takes what is there");
    assert_eq!(rows.applied, Some(group(1)));
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
