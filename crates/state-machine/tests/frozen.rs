//! What has been applied once is applied so for ever. Peers of two builds apply one log while a cluster is upgraded, and a build reads
//! the logs of those before it; so stories that an earlier build told (a state, entries, digests and answers after each) are replayed here.
//!
//! A story that ends otherwise is a cluster whose peers disagree: raise the level (crates/ARCHITECTURE.md) and do below it what was done.
//! A new command, or one that can be refused or change rows in a new way, needs stories. Tests tell them, and those that show something
//! new are kept:
//!
//! ```text
//! QUORATE_RECORD=DIR cargo test --no-fail-fast -p quorate-state-machine
//! QUORATE_RECORD=DIR QUORATE_BLESS=1 cargo test -p quorate-state-machine --test frozen
//! ```
//!
//! The second adds a file to `tests/frozen`, to be committed. No file there is ever changed; only until the first release, when level 1 may still change its
//! meaning (`src/level.rs`), may they be removed and made anew.

mod support;

use prost::Message;
use quorate_state_machine::commands::COMMANDS;
use quorate_state_machine::level::{FIRST, LEVEL};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use support::testing::recording::{Done, Story};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen")
}

/// The files of a directory with this extension, in order of their names.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|it| it == extension)).collect();
    files.sort();
    files
}

fn frozen() -> Vec<Story> {
    let mut stories = Vec::new();
    for file in files(&home(), "stories") {
        let bytes = fs::read(&file).expect("reads");
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            stories.push(Story::decode_length_delimited(&mut rest).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
        }
    }
    stories
}

fn done(story: &Story) -> Vec<Done> {
    story.replay().unwrap_or_else(|difference| panic!("{difference}"))
}

#[test]
fn what_was_applied_once_is_applied_so_again() {
    let stories = frozen();
    assert!(!stories.is_empty(), "{} is empty", home().display());
    let differences: Vec<String> = stories.iter().filter_map(|story| story.replay().err()).collect();
    assert!(
        differences.is_empty(),
        "{} of {}:\n{}",
        differences.len(),
        stories.len(),
        differences.join("\n")
    );
}

#[test]
fn every_command_has_succeeded_in_a_story() {
    if std::env::var_os("QUORATE_BLESS").is_some() {
        keep_what_shows_something_new();
    }
    let all: Vec<Done> = frozen().iter().flat_map(done).collect();
    let without: Vec<&str> = COMMANDS
        .iter()
        .filter(|info| !all.iter().any(|done| done.number == info.number && done.refusal.is_none()))
        .map(|info| info.name)
        // Nobody can raise the level to one that this build does not know.
        .filter(|name| *name != "raise_level" || LEVEL > FIRST)
        .collect();
    assert!(
        without.is_empty(),
        "no frozen story shows {without:?}; how to keep one stands at the top of tests/frozen.rs"
    );
}

/// Adds a file with those of the recorded stories that show what no frozen one does, if there are any.
fn keep_what_shows_something_new() {
    let recorded = std::env::var_os("QUORATE_RECORD").expect("QUORATE_RECORD names the directory with what was told");
    let mut known: BTreeSet<Done> = frozen().iter().flat_map(done).collect();
    let read = |file: PathBuf| Story::decode(fs::read(file).expect("reads").as_slice()).expect("a story");
    let mut told: Vec<Story> = files(Path::new(&recorded), "story").into_iter().map(read).collect();
    told.sort_by_key(|story| (story.encoded_len(), story.name.clone()));
    told.retain(|story| {
        let before = known.len();
        known.extend(done(story));
        known.len() > before
    });
    if told.is_empty() {
        return;
    }
    told.sort_by(|one, other| one.name.cmp(&other.name));
    let bytes: Vec<u8> = told.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    let number = files(&home(), "stories").len() + 1;
    let file = home().join(format!("{number:03}-level-{LEVEL}.stories"));
    // Named when it is whole: the test beside this one reads the directory meanwhile.
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, bytes).expect("writes");
    fs::rename(&unfinished, &file).expect("renames");
}
