//! The machine: a group of log entries becomes one batch of writes, one answer per command and new digests.

use crate::changes::{Change, ChangeList};
use crate::command::{Answer, ApplyContext, ApplyError, read_record};
use crate::commands::{Numbered, RaiseLevel};
use crate::digest::{self, Digests};
use crate::frame::{self, Frame};
use crate::keys::{COUNTERS_KEY, DIGESTS_KEY};
use crate::record::{CleanupRecord, CleanupVersion, Counters, DigestRecord};
use crate::session::{self, Admission};
use crate::store::{Reader, StoreError};
use crate::versioned::rows::{cleanup_row, encode_hash};
use crate::view::View;
use crate::{commands, level, limits};
use bytes::Bytes;
use prost::Message;
use quorate_model::{ErrorCode, MetaError, Revision, StampedTime};

/// Where an entry stands in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub term: u64,
    pub peer: u64,
    pub index: u64,
}

/// One committed entry.
#[derive(Clone, Debug)]
pub struct EntryInput {
    pub position: Position,
    pub kind: EntryKind,
}

#[derive(Clone, Debug)]
pub enum EntryKind {
    /// Packed commands ([`frame`]).
    Commands(Bytes),
    /// A leader's first entry, or a membership that the storage layer records: changes no row of ours.
    Other,
}

/// What a group did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Rows to write in one batch, in key order.
    pub writes: Vec<(Bytes, Option<Bytes>)>,
    /// One list of answers per entry, one answer per command that was executed. An entry whose commands change more than
    /// it may ([`limits::MAX_BYTES_PER_ENTRY`]) is cut short: the commands behind the last answer have not happened, and
    /// the leader proposes them again.
    pub answers: Vec<Vec<Answer>>,
    /// Digests after each entry.
    pub digests: Vec<Digests>,
}

/// Why the peer must stop instead of going on.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("entry {index} holds command {number}, which this build does not know; install a newer build")]
    UnknownCommand { index: u64, number: u32 },
    #[error("the cluster is at level {level}, this build knows up to {known}; install a newer build")]
    UnknownLevel { level: u32, known: u32 },
    #[error("entry {index}: {error}")]
    Malformed { index: u64, error: frame::FrameError },
    #[error("entry {index} follows entry {expected_after}: entries must be applied in order")]
    OutOfOrder { index: u64, expected_after: u64 },
}

impl MachineError {
    /// Whether a newer build can go on where this one must stop.
    pub fn wants_newer_build(&self) -> bool {
        matches!(self, MachineError::UnknownCommand { .. } | MachineError::UnknownLevel { .. })
    }
}

/// The in-memory part of the state: what every command needs, kept equal to its rows.
#[derive(Clone, Debug)]
pub struct Machine {
    counters: Counters,
    digests: Digests,
    level: u32,
    /// The highest level this build knows.
    known_level: u32,
}

impl Machine {
    /// Reads the machine's rows from a state as it was left.
    pub fn open(reader: &dyn Reader) -> Result<Machine, MachineError> {
        Machine::open_knowing(reader, level::LEVEL)
    }

    /// As a build that knows levels up to this one.
    pub fn open_knowing(reader: &dyn Reader, known_level: u32) -> Result<Machine, MachineError> {
        // First of all: a state of a later level may hold what this build misreads.
        let level = read_level(reader, known_level)?;
        let counters = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default();
        let digests = match read_record::<DigestRecord>(reader, DIGESTS_KEY)? {
            None => Digests::default(),
            Some(record) => Digests::from_record(&record).ok_or_else(|| StoreError("digest row is damaged".to_owned()))?,
        };
        Ok(Machine {
            counters,
            digests,
            level,
            known_level,
        })
    }

    pub fn revision(&self) -> Revision {
        Revision(self.counters.revision)
    }

    pub fn stamped_time(&self) -> StampedTime {
        StampedTime(self.counters.stamped_ms)
    }

    pub fn digests(&self) -> Digests {
        self.digests
    }

    /// The level of the state.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Applies entries in order. The caller must write the batch before it applies more or answers anyone; after an
    /// error the machine must not be used again.
    pub fn apply_group(&mut self, reader: &dyn Reader, entries: &[EntryInput]) -> Result<Applied, MachineError> {
        let mut view = View::new(reader);
        let mut applied = Applied::default();
        for entry in entries {
            let answers = self.apply_entry(&mut view, entry)?;
            applied.answers.push(answers);
            applied.digests.push(self.digests);
        }
        applied.writes = view.into_writes();
        let place = applied.writes.partition_point(|(key, _)| key.as_ref() < DIGESTS_KEY);
        let digests = self.digests.to_record().encode_to_vec().into();
        applied.writes.insert(place, (Bytes::from_static(DIGESTS_KEY), Some(digests)));
        Ok(applied)
    }

    fn apply_entry(&mut self, view: &mut View<'_>, entry: &EntryInput) -> Result<Vec<Answer>, MachineError> {
        let index = entry.position.index;
        // The first entry a fresh state sees may have any index; after it a gap is a lost entry.
        if self.digests != Digests::default() && index != self.digests.index + 1 {
            return Err(MachineError::OutOfOrder {
                index,
                expected_after: self.digests.index,
            });
        }
        let payload = match &entry.kind {
            EntryKind::Other => Bytes::new(),
            EntryKind::Commands(payload) => payload.clone(),
        };
        let mut work = EntryWork::new(
            index,
            digest::Link::new(self.digests.history, [entry.position.term, entry.position.peer, index], &payload),
        );
        let mut answers = Vec::new();
        if let EntryKind::Commands(payload) = &entry.kind {
            let (time, frames) = frame::unpack(payload).map_err(|error| MachineError::Malformed { index, error })?;
            self.counters.stamped_ms = self.counters.stamped_ms.max(time.0);
            work.superseded.superseded_ms = self.counters.stamped_ms;
            answers.reserve(frames.len());
            for frame in &frames {
                match self.apply_frame(view, &mut work, frame)? {
                    Some(answer) => answers.push(answer),
                    None => break,
                }
            }
            if let Some((key, value)) = cleanup_row(&work.superseded) {
                self.write(view, &mut work, Change::fresh(key, value))?;
            }
            let counters = self.counters.encode_to_vec().into();
            self.write(view, &mut work, Change::put(Bytes::from_static(COUNTERS_KEY), counters))?;
        }
        self.digests.history = work.link.finish();
        self.digests.index = index;
        Ok(answers)
    }

    /// `None` if the entry has no room for what the command changes.
    fn apply_frame(&mut self, view: &mut View<'_>, work: &mut EntryWork, frame: &Frame) -> Result<Option<Answer>, MachineError> {
        let now = self.stamped_time();
        let remembered = frame.request.session.0 != 0;
        if remembered {
            match session::admit(view, frame, now)? {
                Admission::Repeat(answer) => return Ok(Some(answer)),
                Admission::Refuse(error) => {
                    return Ok(Some(Answer {
                        revision: self.revision(),
                        body: Err(error),
                    }));
                }
                Admission::Execute { touch: None } => {}
                Admission::Execute { touch: Some(record) } => {
                    let key = crate::keys::session(frame.request.session);
                    self.write(view, work, Change::put(key, record.encode_to_vec().into()))?;
                }
            }
        }
        let Some(answer) = self.execute(view, work, frame)? else {
            return Ok(None);
        };
        work.executed += 1;
        // A command may end the session it came in (close, expire): an answer written then would be left for ever.
        if remembered && !view.is_removed(&crate::keys::session(frame.request.session)) {
            let (key, value) = session::remember(frame, &answer);
            self.write(view, work, Change::put(key, value.into()))?;
        }
        Ok(Some(answer))
    }

    fn execute(&mut self, view: &mut View<'_>, work: &mut EntryWork, frame: &Frame) -> Result<Option<Answer>, MachineError> {
        let mut context = ApplyContext::new(view, self.counters, self.stamped_time());
        let result = commands::dispatch(frame.number, frame.payload.clone(), &mut context).ok_or(MachineError::UnknownCommand {
            index: work.index,
            number: frame.number,
        })?;
        let (changes, counters) = (std::mem::take(&mut context.changes), context.counters);
        let body = match result.and_then(|body| check_extent(&changes).map(|()| body).map_err(ApplyError::from)) {
            Err(ApplyError::Store(error)) => return Err(error.into()),
            Err(ApplyError::Refused(error)) => Err(error),
            Ok(body) if !work.has_room(changes.len(), changes.bytes() + body.len()) => return Ok(None),
            Ok(body) => {
                self.counters = counters;
                if !changes.is_empty() {
                    self.counters.revision += 1;
                }
                let (changes, superseded) = changes.into_parts();
                for change in changes {
                    self.write(view, work, change)?;
                }
                let superseded_at = self.counters.revision;
                work.rows += superseded.len();
                work.bytes += superseded.iter().map(|version| version.name.len()).sum::<usize>();
                work.superseded
                    .versions
                    .extend(superseded.into_iter().map(|version| CleanupVersion {
                        name: version.name,
                        written_at: version.written_at.0,
                        superseded_at,
                        replaced: version.replaced,
                        row_hash: encode_hash(version.row_hash),
                    }));
                if frame.number == RaiseLevel::NUMBER {
                    self.level = read_level(view, self.known_level)?;
                }
                Ok(body)
            }
        };
        Ok(Some(Answer {
            revision: self.revision(),
            body,
        }))
    }

    fn write(&mut self, view: &mut View<'_>, work: &mut EntryWork, change: Change) -> Result<(), StoreError> {
        work.rows += 1;
        work.bytes += change.key.len() + change.value.as_ref().map_or(0, Bytes::len);
        work.link.write(&change.key, change.value.as_deref());
        view.write(change, |key, before, after| self.digests.row_changed(key, before, after))
    }
}

/// The level of a state that a build which knows levels up to `known` may go on with.
fn read_level(reader: &dyn Reader, known: u32) -> Result<u32, MachineError> {
    match level::of(reader)? {
        level if level > known => Err(MachineError::UnknownLevel { level, known }),
        level => Ok(level),
    }
}

/// Refuses what is more than one command may change.
pub(crate) fn check_extent(changes: &ChangeList) -> Result<(), MetaError> {
    if changes.len() <= limits::MAX_ROWS_PER_COMMAND && changes.bytes() <= limits::MAX_BYTES_PER_COMMAND {
        return Ok(());
    }
    let message = format!(
        "the command changes {} rows and {} bytes, limit {} rows and {} bytes; split the request",
        changes.len(),
        changes.bytes(),
        limits::MAX_ROWS_PER_COMMAND,
        limits::MAX_BYTES_PER_COMMAND
    );
    Err(MetaError::new(ErrorCode::TooLarge, message))
}

/// What comes together while one entry is applied. It must not depend on how entries are grouped.
struct EntryWork {
    index: u64,
    link: digest::Link,
    superseded: CleanupRecord,
    executed: usize,
    /// Rows and their bytes, counted at each write, and superseded versions.
    rows: usize,
    bytes: usize,
}

impl EntryWork {
    fn new(index: u64, link: digest::Link) -> EntryWork {
        EntryWork {
            index,
            link,
            superseded: CleanupRecord::default(),
            executed: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// The first command always has: what it may change is bounded by itself.
    fn has_room(&self, rows: usize, bytes: usize) -> bool {
        let fits = self.rows + rows <= limits::MAX_ROWS_PER_ENTRY && self.bytes + bytes <= limits::MAX_BYTES_PER_ENTRY;
        self.executed == 0 || fits
    }
}
