//! What applying costs, without network, log or other peers: CPU time of the apply thread per command.
//!
//! `cargo run --release -p quorate-consensus --example apply -- [commands per entry] [thousands of commands]`

use bytes::Bytes;
use quorate_consensus::applier::{Applier, Group};
use quorate_model::{RequestId, SessionId, StampedTime};
use quorate_state_machine::commands::{CreateInstance, Numbered, OpenSession, PutAttribute};
use quorate_state_machine::frame::{self, Frame};
use quorate_state_machine::level::LEVEL;
use quorate_state_machine::{EntryInput, EntryKind, Position};
use quorate_storage::codec::{LeaderId, LogId};
use quorate_storage::state::{RocksState, RocksStateOptions};
use std::sync::Arc;

const KEYS: u64 = 10_000;
const SESSIONS: u64 = 3;

fn frame<C: Numbered>(session: u64, number: u64, command: &C) -> Bytes {
    frame::encode_frame(&Frame {
        number: C::NUMBER,
        request: RequestId {
            session: SessionId(session),
            number,
        },
        fingerprints: Vec::new(),
        payload: command.encode_to_vec().into(),
    })
}

fn apply(applier: &Applier, index: u64, frames: &[Bytes]) {
    let (term, peer) = (1, 1);
    let entry = EntryInput {
        position: Position { term, peer, index },
        kind: EntryKind::Commands(frame::pack(StampedTime(index), frames)),
    };
    let last = LogId {
        leader: LeaderId { term, peer },
        index,
    };
    let group = Group {
        entries: vec![entry],
        last,
        membership: None,
    };
    let answers = applier.apply(&group).expect("applies");
    assert!(
        answers[0].iter().all(|answer| answer.body.is_ok()),
        "every command succeeds: {answers:?}"
    );
}

fn thread_cpu_us() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let per_entry = arguments.next().unwrap_or(64);
    let total = arguments.next().unwrap_or(300) * 1_000;
    let dir = tempfile::tempdir().expect("temporary directory");
    let engine = RocksState::open(dir.path(), RocksStateOptions::default()).expect("opens");
    let applier = Applier::open(Arc::new(engine), LEVEL, None).expect("opens");
    let create = CreateInstance {
        instance_id: "bench".to_owned(),
        ..CreateInstance::default()
    };
    let mut first = vec![frame(0, 0, &create)];
    first.extend((0..SESSIONS).map(|_| frame(0, 0, &OpenSession::default())));
    apply(&applier, 1, &first);
    let (mut index, mut done, mut spent) = (1, 0, 0.0);
    let mut random = 88_172_645_463_325_252u64;
    while done < total {
        let frames: Vec<Bytes> = (done..done + per_entry)
            .map(|count| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let value: Vec<u8> = (0..32u64)
                    .flat_map(|part| (random ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes())
                    .collect();
                let put = PutAttribute {
                    instance_id: "bench".to_owned(),
                    name: format!("k{:08}", random % KEYS),
                    value: value.into(),
                    if_revision: None,
                };
                frame(1 + count % SESSIONS, 1 + count / SESSIONS, &put)
            })
            .collect();
        index += 1;
        let before = thread_cpu_us();
        apply(&applier, index, &frames);
        spent += thread_cpu_us() - before;
        done += per_entry;
    }
    println!(
        "{per_entry} commands an entry, {done} commands: {:.2} us of CPU each",
        spent / done as f64
    );
}
