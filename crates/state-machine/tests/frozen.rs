//! What has been applied once is applied so for ever. Peers of two builds apply one log while a cluster is upgraded, and a build reads
//! the logs of those before it; so stories that an earlier build told (a state, entries, digests and answers after each) are replayed here.
//!
//! A story that ends otherwise is a cluster whose peers disagree: raise the level (crates/ARCHITECTURE.md) and do below it what was done.
//! A new command, or one that can be refused or change rows in a new way, needs stories. Tests tell them, and those that show something
//! new are kept:
//!
//! ```text
//! QUORATE_RECORD=DIR cargo test --no-fail-fast -p quorate-state-machine
//! QUORATE_RECORD=DIR cargo test -p quorate-state-machine --test frozen -- --ignored
//! ```
//!
//! This adds a file to `tests/frozen`. No file there is ever changed; only until the first release, when level 1 may still change its
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

/// All files of a directory, in order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn frozen() -> Vec<Story> {
    let mut stories = Vec::new();
    for file in files(&home()) {
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

#[test]
#[ignore = "adds a file to tests/frozen"]
fn keep_what_shows_something_new() {
    let recorded = std::env::var_os("QUORATE_RECORD").expect("QUORATE_RECORD names the directory with what was told");
    let mut known: BTreeSet<Done> = frozen().iter().flat_map(done).collect();
    let read = |file: PathBuf| Story::decode(fs::read(file).expect("reads").as_slice()).expect("a story");
    let mut told: Vec<Story> = files(Path::new(&recorded)).into_iter().map(read).collect();
    told.sort_by_key(|story| (story.encoded_len(), story.name.clone()));
    told.retain(|story| {
        let before = known.len();
        known.extend(done(story));
        known.len() > before
    });
    assert!(!told.is_empty(), "no story shows anything new");
    told.sort_by(|one, other| one.name.cmp(&other.name));
    let bytes: Vec<u8> = told.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    let name = format!("{:03}-level-{LEVEL}.stories", files(&home()).len() + 1);
    fs::write(home().join(&name), bytes).expect("writes");
    println!("{name}: {} stories", told.len());
}
