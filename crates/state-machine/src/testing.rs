//! A machine over a plain map, with instances in it, for tests.
//!
//! Shared by the crate's own tests and those in `tests/`, so it names the crate as an outsider does.

#[path = "../tests/support/recording.rs"]
pub mod recording;

use bytes::Bytes;
use prost::Message;
use quorate_model::{ErrorCode, MetaError, RequestId, ScopeId, SessionId, StampedTime};
use quorate_state_machine::command::{Prepare, PrepareContext, PrepareSettings, SealSecret, SealedSecret, SecretMark, read_record};
use quorate_state_machine::commands::Numbered;
use quorate_state_machine::digest::{self, Digests};
use quorate_state_machine::frame::{self, Frame};
use quorate_state_machine::keys::{self, COUNTERS_KEY, DIGESTS_KEY, RecordTable};
use quorate_state_machine::record::{Counters, InstanceRecord};
use quorate_state_machine::store::MapStore;
use quorate_state_machine::{Answer, Applied, EntryInput, EntryKind, Machine, MachineError, Position};
use quorate_wire::doris::InstanceInfoPb;
use recording::Recorder;

/// Lives, scope 1.
pub const INSTANCE: &str = "warehouse";
/// Lives, scope 2.
pub const OTHER_INSTANCE: &str = "other";
/// Was dropped at [`DROPPED_AT`], scope 3.
pub const DROPPED: &str = "gone";
pub const DROPPED_AT: u64 = 5;
/// The state's revision at the start.
pub const FIRST_REVISION: u64 = 10;

pub struct Bench {
    pub store: MapStore,
    pub machine: Machine,
    /// Stamped into the next entry.
    pub now_ms: u64,
    pub index: u64,
    recorder: Recorder,
}

impl Default for Bench {
    fn default() -> Bench {
        Bench::new()
    }
}

impl Bench {
    pub fn new() -> Bench {
        let mut store = MapStore::default();
        let names = [(INSTANCE, 1, 0), (OTHER_INSTANCE, 2, 0), (DROPPED, 3, DROPPED_AT)];
        for (name, scope, dropped_at) in names {
            let info = InstanceInfoPb {
                instance_id: Some(name.to_owned()),
                ..InstanceInfoPb::default()
            };
            let record = InstanceRecord {
                scope,
                dropped_at,
                info: info.encode_to_vec().into(),
                ..InstanceRecord::default()
            };
            store.rows.insert(
                keys::record_by_name(RecordTable::Instance, name.as_bytes()),
                record.encode_to_vec().into(),
            );
            let scope_row = keys::record_in_scope(RecordTable::Scope, ScopeId(scope)).freeze();
            store.rows.insert(scope_row, Bytes::from_static(name.as_bytes()));
        }
        let mut bench = Bench {
            machine: Machine::open(&store).expect("opens"),
            store,
            now_ms: 1_000_000,
            index: 0,
            recorder: Recorder::new(),
        };
        bench.set_counters(|counters| (counters.revision, counters.next_scope) = (FIRST_REVISION, 4));
        bench
    }

    /// Changes the counters behind the machine's back and opens it again.
    pub fn set_counters(&mut self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters();
        change(&mut counters);
        self.store
            .rows
            .insert(Bytes::from_static(COUNTERS_KEY), counters.encode_to_vec().into());
        self.adopt_rows();
    }

    /// Makes the digests those of the rows, after a test has put rows in by hand.
    pub fn adopt_rows(&mut self) {
        let content = digest::recompute_content(&self.store).expect("reads");
        let record = Digests {
            content,
            ..self.machine.digests()
        }
        .to_record();
        self.store
            .rows
            .insert(Bytes::from_static(DIGESTS_KEY), record.encode_to_vec().into());
        self.machine = Machine::open(&self.store).expect("opens");
    }

    pub fn counters(&self) -> Counters {
        read_record(&self.store, COUNTERS_KEY).expect("reads").unwrap_or_default()
    }

    /// Scope of [`INSTANCE`].
    pub fn scope(&self) -> ScopeId {
        ScopeId(1)
    }

    /// Applies a group and writes its batch.
    pub fn apply(&mut self, entries: &[EntryInput]) -> Result<Applied, MachineError> {
        let applied = self.machine.apply_group(&self.store, entries)?;
        assert!(
            applied.writes.is_sorted_by(|a, b| a.0 < b.0),
            "a batch is in key order and names a row once"
        );
        self.recorder.tell(&self.store, entries, &applied);
        self.store.write(&applied.writes);
        Ok(applied)
    }

    /// Applies one entry of these frames as a group of its own.
    pub fn entry(&mut self, frames: &[Frame]) -> Vec<Answer> {
        self.index += 1;
        let entry = entry(self.index, self.now_ms, frames);
        self.apply(&[entry]).expect("applies").answers.remove(0)
    }

    /// Applies one frame as an entry of its own.
    pub fn send(&mut self, frame: Frame) -> Answer {
        self.entry(&[frame]).remove(0)
    }

    /// Applies one command outside of any session.
    pub fn run<C: Numbered>(&mut self, command: &C) -> Result<C::Reply, MetaError> {
        let answer = self.send(command_frame(0, 0, command));
        answer.body.map(|body| C::Reply::decode(body).expect("reply decodes"))
    }

    /// The code with which a command is refused.
    pub fn refusal<C: Numbered>(&mut self, command: &C) -> ErrorCode {
        match self.run(command) {
            Ok(_) => panic!("{} must be refused", C::NAME),
            Err(error) => error.code,
        }
    }

    /// The running content digest is that of the rows.
    pub fn check_content(&self) {
        let content = digest::recompute_content(&self.store).expect("reads");
        assert_eq!(self.machine.digests().content, content, "content digest differs from the rows");
    }
}

pub fn command_frame<C: Numbered>(session: u64, number: u64, command: &C) -> Frame {
    let request = RequestId {
        session: SessionId(session),
        number,
    };
    Frame {
        number: C::NUMBER,
        request,
        fingerprints: Vec::new(),
        payload: command.encode_to_vec().into(),
    }
}

pub fn entry(index: u64, time_ms: u64, frames: &[Frame]) -> EntryInput {
    let frames: Vec<Bytes> = frames.iter().map(frame::encode_frame).collect();
    let kind = EntryKind::Commands(frame::pack(StampedTime(time_ms), &frames));
    EntryInput {
        position: Position { term: 1, peer: 1, index },
        kind,
    }
}

/// Prepares with default settings and a seal that changes nothing.
pub fn prepare<C: Prepare>(request: C::Request) -> Result<C, MetaError> {
    struct NoSeal;
    impl SealSecret for NoSeal {
        fn seal(&self, secret: &str) -> Result<SealedSecret, MetaError> {
            Ok(SealedSecret {
                ciphertext: secret.to_owned(),
                key_id: 1,
            })
        }

        fn marks_under_older_keys(&self, _: &str) -> Result<Vec<SecretMark>, MetaError> {
            Ok(Vec::new())
        }
    }
    C::prepare(
        request,
        &PrepareContext {
            secrets: &NoSeal,
            settings: &PrepareSettings::default(),
        },
    )
}
