//! A repeated write gets its first answer, and nothing is executed twice or after its session has ended.

mod support;

use quorate_model::{ErrorCode, RequestId, SessionId};
use quorate_state_machine::commands::{
    AppendAttributes, CloseSession, ExpireSessions, OpenSession, PutAttribute, append_attributes::AppendAttribute,
};
use quorate_state_machine::commands::{expire_sessions::ExpireSessionsReply, open_session::OpenSessionReply};
use quorate_state_machine::frame::Frame;
use quorate_state_machine::keys::{self, space};
use quorate_state_machine::record::SessionRecord;
use quorate_state_machine::{Answer, limits, session};
use support::testing::{Bench, INSTANCE, command_frame};

fn open(bench: &mut Bench) -> u64 {
    let OpenSessionReply { session } = bench.run(&OpenSession::default()).expect("opens");
    session
}

fn append(suffix: &str) -> AppendAttributes {
    let append = AppendAttribute {
        instance_id: INSTANCE.into(),
        name: "log".into(),
        suffix: suffix.to_owned().into(),
    };
    AppendAttributes { appends: vec![append] }
}

fn send(bench: &mut Bench, session: u64, number: u64, suffix: &str) -> Answer {
    let answer = bench.send(command_frame(session, number, &append(suffix)));
    bench.check_content();
    answer
}

fn code(answer: &Answer) -> Option<ErrorCode> {
    answer.body.as_ref().err().map(|error| error.code)
}

fn rows(bench: &Bench, space: u8) -> usize {
    bench.store.rows.keys().filter(|key| key[0] == space).count()
}

#[test]
fn a_repeat_gets_the_first_answer_also_within_one_entry_and_after_later_writes() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    let frame = command_frame(session, 1, &append("x"));
    let answers = bench.entry(&[frame.clone(), frame.clone()]);
    assert_eq!(answers[0], answers[1]);
    send(&mut bench, session, 2, "y");
    let revision = bench.machine.revision();
    assert_eq!(bench.send(frame), answers[0], "the same revision and value as the first time");
    assert_eq!(bench.machine.revision(), revision);
}

#[test]
fn a_number_is_answered_once_it_or_a_later_one_of_its_slot_was_executed() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    let answered = |bench: &Bench, number| {
        let request = RequestId {
            session: SessionId(session),
            number,
        };
        session::is_answered(&bench.store, request).expect("a map reads")
    };
    assert!(!answered(&bench, 1));
    send(&mut bench, session, 1, "x");
    assert!(answered(&bench, 1));
    assert!(!answered(&bench, 1 + limits::SLOTS_PER_SESSION), "another number of the same slot");
}

#[test]
fn a_remembered_refusal_is_repeated_though_it_would_succeed_now() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    let put = |if_revision| PutAttribute {
        instance_id: INSTANCE.into(),
        name: "a".into(),
        value: "v".into(),
        if_revision,
    };
    let wanted = bench.machine.revision().0 + 1;
    let early = command_frame(session, 1, &put(Some(wanted)));
    let refused = bench.send(early.clone());
    assert_eq!(code(&refused), Some(ErrorCode::PreconditionFailed));
    assert_eq!(bench.run(&put(None)).expect("put").revision, wanted);
    assert_eq!(bench.send(early), refused);
}

#[test]
fn another_request_under_the_same_number_is_refused_and_leaves_the_answer() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    let first = send(&mut bench, session, 1, "x");
    assert_eq!(code(&send(&mut bench, session, 1, "y")), Some(ErrorCode::RequestIdReused));
    assert_eq!(send(&mut bench, session, 1, "x"), first);
}

#[test]
fn numbers_may_come_out_of_order_within_the_window_and_not_below_it() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    for number in [2, 1, limits::SLOTS_PER_SESSION] {
        assert_eq!(code(&send(&mut bench, session, number, "x")), None, "{number}");
    }
    send(&mut bench, session, limits::SLOTS_PER_SESSION + 1, "x");
    assert_eq!(
        code(&send(&mut bench, session, 1, "x")),
        Some(ErrorCode::SessionExpired),
        "its slot has moved on"
    );
    assert_eq!(code(&send(&mut bench, session, 2, "x")), None, "still remembered");
}

#[test]
fn unknown_and_closed_sessions_execute_nothing() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    send(&mut bench, session, 1, "x");
    assert!(bench.run(&CloseSession { session }).expect("close").existed);
    assert!(!bench.run(&CloseSession { session }).expect("close").existed);
    let revision = bench.machine.revision();
    for session in [session, session + 1] {
        assert_eq!(code(&send(&mut bench, session, 1, "x")), Some(ErrorCode::SessionExpired));
    }
    assert_eq!(bench.machine.revision(), revision);
    assert_eq!(rows(&bench, space::SLOT) + rows(&bench, space::SESSION), 0);
    assert_eq!(open(&mut bench), session + 1, "an id is never given twice");
}

#[test]
fn a_session_that_closes_itself_leaves_no_slot_behind() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    send(&mut bench, session, 1, "x");
    assert_eq!(code(&bench.send(command_frame(session, 2, &CloseSession { session }))), None);
    assert_eq!(rows(&bench, space::SLOT) + rows(&bench, space::SESSION), 0);
    bench.check_content();
}

#[test]
fn sessions_end_by_stamped_time_unless_they_were_used() {
    let mut bench = Bench::new();
    let (idle, used) = (open(&mut bench), open(&mut bench));
    bench.now_ms += limits::SESSION_IDLE_MS;
    send(&mut bench, used, 1, "x");
    assert_eq!(
        bench.run(&ExpireSessions::default()).expect("expire").expired,
        0,
        "an hour is not more than an hour"
    );
    bench.now_ms += 1;
    assert_eq!(bench.run(&ExpireSessions::default()).expect("expire").expired, 1);
    assert_eq!(code(&send(&mut bench, idle, 1, "x")), Some(ErrorCode::SessionExpired));
    assert_eq!(code(&send(&mut bench, used, 2, "x")), None);
    assert_eq!(bench.counters().sessions, 1);
}

#[test]
fn a_leader_whose_clock_is_behind_ends_nothing_sooner_or_later() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    bench.now_ms -= 500_000;
    send(&mut bench, session, 1, "x");
    assert_eq!(bench.machine.stamped_time().0, bench.now_ms + 500_000);
    bench.now_ms += 500_000 + limits::SESSION_IDLE_MS;
    assert_eq!(bench.run(&ExpireSessions::default()).expect("expire").expired, 0);
}

#[test]
fn expiry_is_bounded_and_goes_on_where_it_ended() {
    let mut bench = Bench::new();
    let count = 3 * limits::SESSIONS_PER_EXPIRY as u64 + 1;
    let full = open(&mut bench);
    for number in 0..limits::SLOTS_PER_SESSION {
        send(&mut bench, full, number + 1, "x");
    }
    for _ in 1..count {
        open(&mut bench);
    }
    bench.now_ms += limits::SESSION_IDLE_MS + 1;
    let (mut expired, mut after) = (Vec::new(), 0);
    loop {
        let ExpireSessionsReply {
            expired: ended,
            resume_after,
        } = bench.run(&ExpireSessions { after }).expect("expire");
        expired.push(ended);
        after = resume_after;
        if after == 0 {
            break;
        }
    }
    assert_eq!(expired, [64, 64, 64, 1]);
    assert_eq!(rows(&bench, space::SLOT) + rows(&bench, space::SESSION), 0);
    assert_eq!(bench.counters().sessions, 0);
    bench.check_content();
}

#[test]
fn expiry_looks_at_a_bounded_number_of_sessions() {
    let mut bench = Bench::new();
    let count = limits::SESSIONS_SCANNED_PER_EXPIRY as u64 + 5;
    for session in 1..=count {
        let record = SessionRecord {
            opened_ms: 0,
            used_ms: bench.now_ms,
        };
        bench
            .store
            .rows
            .insert(keys::session(SessionId(session)), prost::Message::encode_to_vec(&record).into());
    }
    bench.adopt_rows();
    let first = bench.run(&ExpireSessions::default()).expect("expire");
    assert_eq!(first.resume_after, limits::SESSIONS_SCANNED_PER_EXPIRY as u64);
    assert_eq!(
        bench
            .run(&ExpireSessions { after: first.resume_after })
            .expect("expire")
            .resume_after,
        0
    );
}

#[test]
fn a_full_set_of_sessions_refuses_more() {
    let mut bench = Bench::new();
    bench.set_counters(|counters| counters.sessions = limits::MAX_SESSIONS);
    assert_eq!(bench.refusal(&OpenSession::default()), ErrorCode::TooManyRequests);
    // A peer without one could end no idle session, and the limit would be for ever.
    bench.run(&OpenSession::of_peer()).expect("kept for peers");
    bench.set_counters(|counters| counters.sessions = limits::MAX_SESSIONS + limits::SESSIONS_KEPT_FOR_PEERS);
    assert_eq!(bench.refusal(&OpenSession::of_peer()), ErrorCode::TooManyRequests);
}

#[test]
fn a_caller_names_no_session_of_a_peer() {
    let mut bench = Bench::new();
    let own = SessionId(bench.run(&OpenSession::of_peer()).expect("opens").session);
    let callers = SessionId(open(&mut bench));
    let number = callers.0 - 1;
    assert_eq!(own, SessionId::of_peer(number));
    assert_eq!(session::of_caller(callers), Ok(callers));
    let refused = session::of_caller(own).expect_err("a peer's own");
    assert_eq!(refused.code, ErrorCode::SessionExpired);

    let unopened = send(&mut bench, number, 1, "x");
    assert_eq!(code(&unopened), Some(ErrorCode::SessionExpired), "its number alone is no session");
    assert_eq!(code(&send(&mut bench, own.0, 1, "x")), None);
    bench.now_ms += limits::SESSION_IDLE_MS + 1;
    assert_eq!(bench.run(&ExpireSessions::default()).expect("expire").expired, 2);
    assert_eq!(code(&send(&mut bench, own.0, 2, "x")), Some(ErrorCode::SessionExpired));
}

#[test]
fn a_peers_session_of_an_earlier_build_has_the_id_it_had() {
    let mut bench = Bench::new();
    let before = open(&mut bench);
    let earlier = OpenSession {
        for_peer: true,
        is_apart: false,
    };
    let session = bench.run(&earlier).expect("opens").session;
    assert_eq!(session, before + 1);
    assert_eq!(code(&send(&mut bench, session, 1, "x")), None);
}

#[test]
fn a_request_is_known_by_what_was_asked_whatever_its_receiver_made_of_it() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    let asked = |payload: &str, fingerprints: &[u64]| Frame {
        fingerprints: fingerprints.to_vec(),
        ..command_frame(session, 1, &append(payload))
    };
    let first = bench.send(asked("sealed here", &[1, 2]));
    assert_eq!(code(&first), None);
    for (payload, fingerprints, why) in [
        ("sealed there", &[1][..], "a peer without the second key"),
        ("sealed there", &[2], "a peer without the first key"),
        ("sealed there", &[3, 2], "a peer with a third key"),
    ] {
        assert_eq!(bench.send(asked(payload, fingerprints)), first, "{why}");
    }
    for fingerprints in [&[][..], &[3], &[0]] {
        let other = bench.send(asked("sealed there", fingerprints));
        assert_eq!(code(&other), Some(ErrorCode::RequestIdReused), "{fingerprints:?}");
    }
}

#[test]
fn a_slot_written_before_there_were_fingerprints_knows_its_request() {
    let mut bench = Bench::new();
    let session = open(&mut bench);
    let old = command_frame(session, 1, &append("x"));
    let first = bench.send(old.clone());
    let repeated = Frame {
        fingerprints: vec![1, 2],
        ..old
    };
    assert_eq!(bench.send(repeated), first);
}
