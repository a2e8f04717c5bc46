//! Each kind of damage at each place, and what is promised for it. What must never happen in any row: the log opens and
//! entries that were acknowledged are gone.

mod support;

use quorate_storage::log::{FileLog, LogStore, OpenError};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use support::{append, entry, id, image, small, wait};

const SEGMENT_BYTES: u32 = 16 << 10;
const ENTRY_BYTES: usize = 300;
/// Enough for two full files and a third that is half full.
const ENTRIES: u64 = 100;

#[derive(Clone, Copy, Debug)]
enum Damage {
    FlipBit,
    Zero,
    /// Everything from there to the end of the file.
    ZeroRest,
    Cut,
    Remove,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    OldestSegment,
    MiddleSegment,
    ActiveMiddle,
    LastGroup,
    SegmentHeader,
    ActiveHeader,
    HeaderPadding,
    HighWater,
}

/// How the log ended before the damage.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Closed, or idle for a second: the high-water file is up to date.
    Settled,
    /// Killed while the last group was being written: nobody was told about that group.
    InLastGroup,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    AllEntries,
    /// Everything but the last, unacknowledged group.
    TailCut,
    Refuses(&'static str),
}

use Damage::*;
use End::*;
use Outcome::*;
use Place::*;

const ROWS: &[(Place, Damage, End, Outcome)] = &[
    (OldestSegment, FlipBit, Settled, Refuses("acknowledged data is damaged")),
    (OldestSegment, Zero, Settled, Refuses("acknowledged data is damaged")),
    (OldestSegment, Cut, Settled, Refuses("acknowledged data is damaged")),
    (OldestSegment, Remove, Settled, Refuses("0000000000000001.segment is missing")),
    (MiddleSegment, FlipBit, Settled, Refuses("later files follow")),
    (MiddleSegment, Zero, Settled, Refuses("later files follow")),
    (MiddleSegment, Cut, Settled, Refuses("its header says 16384")),
    (MiddleSegment, Remove, Settled, Refuses("0000000000000002.segment is missing")),
    (ActiveMiddle, FlipBit, Settled, Refuses("a later group follows")),
    (ActiveMiddle, FlipBit, InLastGroup, Refuses("a later group follows")),
    (ActiveMiddle, Zero, Settled, Refuses("a later group follows")),
    (ActiveMiddle, Zero, InLastGroup, Refuses("a later group follows")),
    (ActiveMiddle, ZeroRest, Settled, Refuses("end of the log is lost")),
    (ActiveMiddle, Cut, Settled, Refuses("its header says 16384")),
    (ActiveMiddle, Remove, Settled, Refuses("end of the log is lost")),
    (LastGroup, FlipBit, Settled, Refuses("end of the log is lost")),
    (LastGroup, FlipBit, InLastGroup, TailCut),
    (LastGroup, Zero, Settled, Refuses("end of the log is lost")),
    (LastGroup, Zero, InLastGroup, TailCut),
    (LastGroup, Cut, Settled, Refuses("its header says 16384")),
    (LastGroup, Cut, InLastGroup, Refuses("its header says 16384")),
    (SegmentHeader, FlipBit, Settled, Refuses("segment header")),
    (SegmentHeader, Zero, Settled, Refuses("segment header")),
    (SegmentHeader, Cut, Settled, Refuses("its header alone takes 4096")),
    (ActiveHeader, FlipBit, Settled, Refuses("segment header")),
    (ActiveHeader, FlipBit, InLastGroup, Refuses("segment header")),
    (ActiveHeader, Zero, Settled, Refuses("segment header")),
    (ActiveHeader, Cut, Settled, Refuses("its header alone takes 4096")),
    (HeaderPadding, FlipBit, Settled, AllEntries),
    (HighWater, FlipBit, Settled, Refuses("is damaged")),
    (HighWater, Zero, Settled, Refuses("is damaged")),
    (HighWater, Cut, Settled, Refuses("is damaged")),
    (HighWater, Remove, Settled, Refuses("high-water is missing")),
    (HighWater, Remove, InLastGroup, Refuses("high-water is missing")),
];

#[test]
fn every_damage_has_its_promised_outcome() {
    let settled = settled_log();
    let (killed, last_group) = killed_log();
    println!("| place | damage | log ended | outcome |\n|---|---|---|---|");
    for (place, damage, end, promised) in ROWS {
        let source = match end {
            Settled => settled.path(),
            InLastGroup => killed.path(),
        };
        let copy = image(source);
        inflict(copy.path(), *place, *damage, last_group);
        let found = outcome(copy.path(), *end);
        println!(
            "| {place:?} | {damage:?} | {end:?} | {} |",
            found.replace(&copy.path().display().to_string(), ".")
        );
        let kept = match promised {
            AllEntries => found == format!("opens with {ENTRIES} entries"),
            TailCut => found == format!("opens with {} entries, tail cut", ENTRIES - 1),
            Refuses(text) => found.starts_with("refuses") && found.contains(text),
        };
        assert!(kept, "{place:?} {damage:?} {end:?}: promised {promised:?}, found: {found}");
    }
}

#[test]
fn undamaged_logs_open_whole_however_they_ended() {
    assert_eq!(
        outcome(image(settled_log().path()).path(), Settled),
        format!("opens with {ENTRIES} entries")
    );
    assert_eq!(
        outcome(image(killed_log().0.path()).path(), InLastGroup),
        format!("opens with {ENTRIES} entries")
    );
}

#[test]
fn a_cut_tail_leaves_a_log_that_goes_on_and_opens_again() {
    let (killed, last_group) = killed_log();
    let copy = image(killed.path());
    inflict(copy.path(), LastGroup, FlipBit, last_group);
    {
        let log = FileLog::open(copy.path(), small(SEGMENT_BYTES)).unwrap();
        let torn = log.recovery().torn_tail.clone().unwrap();
        assert_eq!((torn.offset, torn.bytes > 300), (u64::from(last_group), true));
        append(&log, vec![entry(ENTRIES - 1, ENTRY_BYTES)]).unwrap();
    }
    assert_eq!(outcome(copy.path(), InLastGroup), format!("opens with {ENTRIES} entries"));
}

#[test]
fn every_byte_of_the_last_group_can_be_torn() {
    let (killed, last_group) = killed_log();
    let active = newest(killed.path());
    let bytes = fs::read(&active).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for torn_at in (last_group as usize..end).step_by(17) {
        let copy = image(killed.path());
        let file = OpenOptions::new().write(true).open(newest(copy.path())).unwrap();
        file.write_all_at(&vec![0; end - torn_at], torn_at as u64).unwrap();
        let found = outcome(copy.path(), InLastGroup);
        assert!(
            found.starts_with(&format!("opens with {} entries", ENTRIES - 1)),
            "torn at {torn_at}: {found}"
        );
    }
}

#[test]
fn every_flipped_byte_of_the_active_file_is_refused_or_harmless() {
    let settled = settled_log();
    let length = fs::metadata(newest(settled.path())).unwrap().len();
    for at in (0..length).step_by(37) {
        let copy = image(settled.path());
        flip(&newest(copy.path()), at);
        let found = outcome(copy.path(), Settled);
        let harmless = [
            format!("opens with {ENTRIES} entries"),
            format!("opens with {ENTRIES} entries, tail cut"),
        ];
        assert!(found.starts_with("refuses") || harmless.contains(&found), "byte {at}: {found}");
    }
}

#[test]
fn all_segment_files_gone_is_not_a_new_log() {
    let copy = image(settled_log().path());
    for path in segments(copy.path()) {
        fs::remove_file(path).unwrap();
    }
    assert!(outcome(copy.path(), Settled).contains("is missing"));
}

#[test]
fn a_log_that_has_begun_and_is_gone_is_not_begun_anew() {
    let refusal = |dir: &Path| FileLog::open_begun(dir, small(SEGMENT_BYTES)).err().unwrap().to_string();
    let copy = image(settled_log().path());
    drop(FileLog::open_begun(copy.path(), small(SEGMENT_BYTES)).unwrap());
    for path in segments(copy.path()) {
        fs::remove_file(path).unwrap();
    }
    assert!(refusal(copy.path()).contains("0000000000000001.segment is missing"));
    fs::remove_file(copy.path().join("high-water")).unwrap();
    assert!(refusal(copy.path()).contains("the log is missing"));
    let gone = copy.path().join("gone");
    assert!(refusal(&gone).contains("the log is missing"));
    assert!(!gone.exists(), "a log that turns up again finds its place free");
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _log = FileLog::open(dir.path(), small(SEGMENT_BYTES)).unwrap();
    assert!(matches!(
        FileLog::open(dir.path(), small(SEGMENT_BYTES)),
        Err(OpenError::Locked { .. })
    ));
}

fn settled_log() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open(dir.path(), small(SEGMENT_BYTES)).unwrap();
    (0..ENTRIES).for_each(|index| append(&log, vec![entry(index, ENTRY_BYTES)]).unwrap());
    drop(log);
    assert!(
        segments(dir.path()).len() >= 3,
        "the table needs an oldest, a middle and an active file"
    );
    dir
}

/// Like the settled one, but its last group was never acknowledged and no clean end followed. The place of that group
/// comes back too.
fn killed_log() -> (tempfile::TempDir, u32) {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open(dir.path(), small(SEGMENT_BYTES)).unwrap();
    (0..ENTRIES - 1).for_each(|index| append(&log, vec![entry(index, ENTRY_BYTES)]).unwrap());
    let bytes = fs::read(newest(dir.path())).unwrap();
    let last_group = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u32 + 1;
    append(&log, vec![entry(ENTRIES - 1, ENTRY_BYTES)]).unwrap();
    (image(dir.path()), last_group)
}

fn inflict(dir: &Path, place: Place, damage: Damage, last_group: u32) {
    let files = segments(dir);
    let (path, at) = match place {
        OldestSegment => (files[0].clone(), 8000),
        MiddleSegment => (files[1].clone(), 8000),
        SegmentHeader => (files[1].clone(), 20),
        ActiveHeader => (newest(dir), 20),
        HeaderPadding => (files[1].clone(), 3000),
        ActiveMiddle => (newest(dir), 6000),
        LastGroup => (newest(dir), u64::from(last_group) + 100),
        HighWater => (dir.join("high-water"), 14),
    };
    match damage {
        FlipBit => flip(&path, at),
        Zero => File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(&[0; 64][..zeroed(place)], at)
            .unwrap(),
        ZeroRest => {
            let file = File::options().write(true).open(&path).unwrap();
            let rest = file.metadata().unwrap().len() - at;
            file.write_all_at(&vec![0; rest as usize], at).unwrap();
        }
        Cut => File::options().write(true).open(&path).unwrap().set_len(at).unwrap(),
        Remove => fs::remove_file(&path).unwrap(),
    }
}

fn zeroed(place: Place) -> usize {
    if matches!(place, HighWater) { 8 } else { 64 }
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Opens and reads everything back; entries that come back must be what went in.
fn outcome(dir: &Path, end: End) -> String {
    let log = match FileLog::open(dir, small(SEGMENT_BYTES)) {
        Err(error) => return format!("refuses: {error}"),
        Ok(log) => log,
    };
    let entries = log.read(0, u64::MAX, usize::MAX).unwrap();
    for (index, found) in entries.iter().enumerate() {
        assert_eq!(*found, entry(index as u64, ENTRY_BYTES));
    }
    let acknowledged = match end {
        Settled => ENTRIES,
        InLastGroup => ENTRIES - 1,
    };
    assert!(
        entries.len() as u64 >= acknowledged,
        "acknowledged entries are gone: {} of {acknowledged}",
        entries.len()
    );
    // A log that opens must also go on.
    wait(|done| log.append(vec![entry(entries.len() as u64, 10)], done)).unwrap();
    wait(|done| log.truncate_after(Some(id(entries.len() as u64 - 1)), done)).unwrap();
    let cut = if log.recovery().torn_tail.is_some() { ", tail cut" } else { "" };
    format!("opens with {} entries{cut}", entries.len())
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "segment"));
    paths.sort();
    paths
}

fn newest(dir: &Path) -> PathBuf {
    segments(dir).pop().unwrap()
}
