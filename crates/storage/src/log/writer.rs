//! The one thread that writes the files.
//!
//! Takes what waits, writes it as one group, syncs once, completes. The next group is not written before that sync: this
//! is what lets recovery tell damage from a write that never finished. The first failure ends the thread for good: after
//! a failed sync nobody knows what is on disk, and a second sync may report success without having written anything.

use super::group::{GroupBuilder, Position};
use super::high_water::{self, HighWater};
use super::preparer::{Prepared, Preparer};
use super::queue::{Request, Shared, Work};
use super::record::Kind;
use super::recovery::Recovered;
use super::segment::{self, SegmentHeader};
use super::transition::{self, Change};
use super::{FileLogOptions, LogState, Step, directory};
use crate::codec;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A writer that panics must not leave callers waiting for ever.
struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&io::Error::other("writer thread of the log panicked"), Vec::new());
        }
    }
}

/// The file groups go to.
struct Active {
    file: Arc<File>,
    bytes: u32,
    salt: u64,
}

pub(crate) struct Writer {
    dir: PathBuf,
    shared: Arc<Shared>,
    preparer: Preparer,
    active: Active,
    end: Position,
    /// The log as the files say.
    written: LogState,
    builder: GroupBuilder,
    high_water_at: Instant,
    high_water_behind: bool,
    /// Held until the last byte is written.
    _lock: File,
}

impl Writer {
    pub fn new(dir: &Path, shared: Arc<Shared>, recovered: Recovered, lock: File) -> io::Result<Self> {
        let active = Active {
            file: recovered.file,
            bytes: recovered.file_bytes,
            salt: recovered.salt,
        };
        let preparer = Preparer::start(dir, &shared.options)?;
        high_water::write(dir, &HighWater::of(recovered.end, &recovered.state), &shared.options)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            shared,
            preparer,
            active,
            end: recovered.end,
            written: recovered.state,
            builder: GroupBuilder::default(),
            high_water_at: Instant::now(),
            high_water_behind: false,
            _lock: lock,
        })
    }

    pub fn unlink(&self, obsolete: Vec<u64>) {
        self.preparer.unlink(obsolete);
    }

    /// Until the log is closed or a step fails.
    pub fn run(mut self) {
        let _guard = PanicGuard(self.shared.clone());
        loop {
            let interval = self.shared.options.high_water_interval;
            let idle_after = self
                .high_water_behind
                .then(|| interval.saturating_sub(self.high_water_at.elapsed()));
            let outcome = match self.shared.next_work(idle_after) {
                Work::Group(group) => self.write_group(group),
                Work::Idle => self.write_high_water().map_err(|error| (error, Vec::new())),
                Work::Closed => break,
            };
            if let Err((error, group)) = outcome {
                return self.shared.fail(&error, group);
            }
        }
        if self.high_water_behind
            && let Err(error) = self.write_high_water()
        {
            self.shared.fail(&error, Vec::new());
        }
    }

    /// On failure the requests come back, to be failed.
    fn write_group(&mut self, group: Vec<Request>) -> Result<(), (io::Error, Vec<Request>)> {
        match self.make_durable(&group) {
            Ok(obsolete) => {
                group.into_iter().for_each(|request| (request.done)(Ok(())));
                self.preparer.unlink(obsolete);
            }
            Err(error) => return Err((error, group)),
        }
        // After the completions, so that nobody waits for it; a vote's is written before.
        if self.high_water_behind && self.high_water_at.elapsed() >= self.shared.options.high_water_interval {
            return self.write_high_water().map_err(|error| (error, Vec::new()));
        }
        Ok(())
    }

    fn make_durable(&mut self, group: &[Request]) -> io::Result<Vec<u64>> {
        let mut offsets = Vec::new();
        let state = self.build(group, &mut offsets);
        if self.builder.is_empty() {
            return Ok(self.shared.made_durable(group, &[]));
        }
        if u64::from(self.end.offset) + self.builder.stored_bytes() as u64 > u64::from(self.active.bytes) {
            self.next_segment(self.builder.stored_bytes() as u32)?;
        }
        let (bytes, end) = self.builder.seal(self.end, self.active.salt);
        let file = &self.active.file;
        let options = &self.shared.options;
        options.with_room(|| options.perform(Step::WriteGroup, || file.write_all_at(bytes, self.end.offset.into())))?;
        if !group.iter().all(|request| transition::forgets_sync(&request.change)) {
            options.perform(Step::SyncGroup, || file.sync_data())?;
        }
        offsets.iter_mut().for_each(|offset| *offset += self.end.offset);
        (self.end, self.written, self.high_water_behind) = (end, state, true);
        if group.iter().any(|request| matches!(request.change, Change::Vote(_))) {
            self.write_high_water()?;
        }
        Ok(self.shared.made_durable(group, &offsets))
    }

    /// Collects the records; returns the state after them. Offsets of entries count from the start of the group.
    fn build(&mut self, group: &[Request], offsets: &mut Vec<u32>) -> LogState {
        let mut state = self.written;
        self.builder.clear();
        for request in group {
            transition::apply(&mut state, &request.change);
            match &request.change {
                Change::Append(entries) => offsets.extend(
                    entries
                        .iter()
                        .map(|entry| self.builder.push(Kind::Entry, |body| codec::encode_entry(entry, body)) as u32),
                ),
                Change::Vote(vote) => push(&mut self.builder, Kind::Vote, &codec::encode_vote(vote)),
                Change::TruncateAfter(last) => push(&mut self.builder, Kind::TruncateAfter, &codec::encode_optional_log_id(last)),
                Change::Purge(upto) => push(&mut self.builder, Kind::Purge, &codec::encode_log_id(upto)),
            }
        }
        let committed = self
            .shared
            .committed_to_write()
            .filter(|committed| transition::may_write_committed(&state, committed));
        if let Some(committed) = committed
            && !self.builder.is_empty()
            && state.committed != Some(committed)
        {
            state.committed = Some(committed);
            push(&mut self.builder, Kind::Committed, &codec::encode_log_id(&committed));
        }
        state
    }

    fn next_segment(&mut self, group_bytes: u32) -> io::Result<()> {
        let prepared = self.preparer.take(segment::FIRST_GROUP_OFFSET + group_bytes)?;
        let (active, end) = begin_segment(&self.dir, prepared, self.end, &self.written, &self.shared.options)?;
        (self.active, self.end) = (active, end);
        self.preparer.prepare_next();
        let obsolete = self.shared.add_segment(self.end.segment, self.active.file.clone());
        self.write_high_water()?;
        self.preparer.unlink(obsolete);
        Ok(())
    }

    fn write_high_water(&mut self) -> io::Result<()> {
        high_water::write(&self.dir, &HighWater::of(self.end, &self.written), &self.shared.options)?;
        (self.high_water_at, self.high_water_behind) = (Instant::now(), false);
        Ok(())
    }
}

/// The first file of a log that was never used.
pub(crate) fn begin_log(dir: &Path, options: &FileLogOptions) -> io::Result<()> {
    let prepared = super::preparer::prepare_now(dir, options)?;
    begin_segment(dir, prepared, Position::default(), &LogState::default(), options).map(drop)
}

fn begin_segment(
    dir: &Path,
    prepared: Prepared,
    previous_end: Position,
    state: &LogState,
    options: &FileLogOptions,
) -> io::Result<(Active, Position)> {
    let header = SegmentHeader {
        number: previous_end.segment + 1,
        file_bytes: prepared.bytes,
        salt: RandomState::new().hash_one(previous_end.chain),
        previous_end,
        purged: state.purged,
        last: state.last,
        vote: state.vote,
        committed: state.committed,
    };
    let (bytes, first) = header.encode();
    options.perform(Step::WriteSegmentHeader, || {
        prepared.file.write_all_at(&bytes, 0)?;
        prepared.file.sync_all()
    })?;
    let path = segment::path(dir, header.number);
    options.perform(Step::NameSegment, || directory::publish(dir, &prepared.path, &path))?;
    Ok((
        Active {
            file: Arc::new(prepared.file),
            bytes: prepared.bytes,
            salt: header.salt,
        },
        first,
    ))
}

fn push(builder: &mut GroupBuilder, kind: Kind, body: &[u8]) {
    builder.push(kind, |buffer| buffer.extend_from_slice(body));
}
