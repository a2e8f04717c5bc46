//! Stories: a state, the entries that were applied to it and what came of each, in bytes that outlive the build that told them.
//!
//! With `QUORATE_RECORD=DIR` every machine of every test leaves its story in DIR. `tests/frozen.rs` keeps some for ever.

use bytes::Bytes;
use prost::Message;
use quorate_state_machine::frame::{self, Frame};
use quorate_state_machine::keys::space;
use quorate_state_machine::store::MapStore;
use quorate_state_machine::{Answer, Applied, EntryInput, EntryKind, Machine, Position};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use xxhash_rust::xxh3::Xxh3;

/// Of a test that tries many cases, only the first are told.
const MOST_STORIES_A_TEST: u32 = 4;
/// A story that is longer repeats itself.
const MOST_BYTES: usize = 32 << 10;

#[derive(Clone, PartialEq, Message)]
pub struct Story {
    /// The test that told it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The state before the first entry.
    #[prost(message, repeated, tag = "2")]
    pub rows: Vec<Row>,
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<Told>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Row {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// An entry and what came of it.
#[derive(Clone, PartialEq, Message)]
pub struct Told {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub peer: u64,
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// Packed commands; unset for an entry that changes no row.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub commands: Option<Bytes>,
    /// [`Digests::to_bytes`] after it.
    #[prost(bytes = "vec", tag = "5")]
    pub digests: Vec<u8>,
    /// Hash of what its commands were answered: a session remembers that, texts included.
    #[prost(fixed64, tag = "6")]
    pub answers: u64,
}

/// A table (the first bytes of a row's key), and whether rows were written there or removed.
type Kind = ([u8; 2], bool);

fn kind(key: &[u8]) -> [u8; 2] {
    // Outside of these two spaces the second byte is one of a number.
    match key {
        [first @ (space::RECORD | space::VERSIONED), table, ..] => [*first, *table],
        _ => [key.first().copied().unwrap_or_default(), 0],
    }
}

/// What one command did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Done {
    pub number: u32,
    /// Number of the error with which it was refused.
    pub refusal: Option<u32>,
    /// Of all commands of its entry.
    pub changed: BTreeSet<Kind>,
}

impl Told {
    fn entry(&self) -> EntryInput {
        let (term, peer, index) = (self.term, self.peer, self.index);
        EntryInput {
            position: Position { term, peer, index },
            kind: self.commands.clone().map_or(EntryKind::Other, EntryKind::Commands),
        }
    }

    fn frames(&self) -> Vec<Frame> {
        let unpacked = self.commands.as_ref().map(frame::unpack);
        unpacked.and_then(Result::ok).map_or(Vec::new(), |(_, frames)| frames)
    }
}

impl Story {
    /// Applies it all again: what each command did, or where this build does something else.
    pub fn replay(&self) -> Result<Vec<Done>, String> {
        let mut store = MapStore::default();
        store.rows.extend(self.rows.iter().map(|row| (row.key.clone(), row.value.clone())));
        let mut machine = Machine::open(&store).map_err(|error| format!("{}: its state does not open: {error}", self.name))?;
        let mut done = Vec::new();
        for told in &self.entries {
            let frames = told.frames();
            let numbers: Vec<u32> = frames.iter().map(|frame| frame.number).collect();
            let place = || format!("{}: entry {} with commands {numbers:?}", self.name, told.index);
            let applied = machine.apply_group(&store, &[told.entry()]);
            let mut applied = applied.map_err(|error| format!("{} is not applied: {error}", place()))?;
            store.write(&applied.writes);
            let answers = applied.answers.remove(0);
            if applied.digests.last().map(|digests| digests.to_bytes().to_vec()).as_ref() != Some(&told.digests) {
                return Err(format!("{} leaves another state than when it was told", place()));
            }
            if hash(&answers) != told.answers {
                return Err(format!("{} are answered otherwise: {answers:?}", place()));
            }
            let changed: BTreeSet<Kind> = applied.writes.iter().map(|(key, value)| (kind(key), value.is_some())).collect();
            done.extend(frames.iter().zip(answers).map(|(frame, answer)| Done {
                number: frame.number,
                refusal: answer.body.err().map(|error| error.code.row().number),
                changed: changed.clone(),
            }));
        }
        Ok(done)
    }
}

fn hash(answers: &[Answer]) -> u64 {
    let mut hasher = Xxh3::new();
    for Answer { revision, body } in answers {
        let (code, content) = match body {
            Ok(body) => (0, body.as_ref()),
            Err(error) => (error.code.row().number, error.message.as_bytes()),
        };
        hasher.update(&revision.0.to_le_bytes());
        hasher.update(&code.to_le_bytes());
        hasher.update(&(content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    hasher.digest()
}

/// Writes down what one machine of a test applies, if the environment asks for it.
pub struct Recorder {
    directory: Option<PathBuf>,
    story: Story,
    /// The state after the last entry of the story.
    after: MapStore,
}

thread_local! {
    /// Every test has a thread of its own.
    static STORIES: Cell<u32> = const { Cell::new(0) };
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder {
            directory: std::env::var_os("QUORATE_RECORD").map(PathBuf::from),
            story: Story::default(),
            after: MapStore::default(),
        }
    }

    /// `before` is the state that the entries met. If it is not what the last one left, the test has changed rows by hand, and this
    /// begins another story.
    pub fn tell(&mut self, before: &MapStore, entries: &[EntryInput], applied: &Applied) {
        if self.directory.is_none() {
            return;
        }
        if self.story.entries.is_empty() || self.after.rows != before.rows {
            self.keep();
            let rows = before.rows.iter().map(|(key, value)| (key.clone(), value.clone()));
            self.story.rows = rows.map(|(key, value)| Row { key, value }).collect();
            self.after.rows = before.rows.clone();
        }
        let outcomes = applied.digests.iter().zip(&applied.answers);
        let told = entries.iter().zip(outcomes).map(|(entry, (digests, answers))| Told {
            term: entry.position.term,
            peer: entry.position.peer,
            index: entry.position.index,
            commands: match &entry.kind {
                EntryKind::Commands(commands) => Some(commands.clone()),
                EntryKind::Other => None,
            },
            digests: digests.to_bytes().to_vec(),
            answers: hash(answers),
        });
        self.story.entries.extend(told);
        self.after.write(&applied.writes);
    }

    /// Ends the story. What this build would not tell again, as it is of a machine that knows another level, is no story.
    fn keep(&mut self) {
        let mut story = std::mem::take(&mut self.story);
        let Some(directory) = self.directory.as_ref().filter(|_| !story.entries.is_empty()) else {
            return;
        };
        let nth = STORIES.replace(STORIES.get() + 1);
        story.name = format!("{}-{nth}", std::thread::current().name().unwrap_or("main"));
        if nth >= MOST_STORIES_A_TEST || story.encoded_len() > MOST_BYTES || story.replay().is_err() {
            return;
        }
        let file = format!("{}-{}.story", story.name.replace("::", "."), std::process::id());
        std::fs::create_dir_all(directory).expect("a directory for stories");
        std::fs::write(directory.join(file), story.encode_to_vec()).expect("a story is written");
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.keep();
        }
    }
}
