//! Golden bytes: a change here is a change of every data directory in the field.

use super::*;
use proptest::prelude::*;

fn log_id() -> LogId {
    LogId {
        leader: LeaderId { term: 7, peer: 3 },
        index: 300,
    }
}

fn membership() -> Membership {
    let member = Member {
        peer: 3,
        peer_address: "a:1".into(),
        public_address: "b:2".into(),
        incarnation: u64::MAX,
    };
    Membership {
        configs: vec![vec![1, 2], vec![3]],
        members: vec![member],
    }
}

fn encoded(entry: &LogEntry) -> Vec<u8> {
    let mut buffer = Vec::new();
    encode_entry(entry, &mut buffer);
    buffer
}

#[test]
fn vote_has_its_golden_bytes() {
    let vote = Vote {
        leader: LeaderId { term: 7, peer: 3 },
        committed: true,
    };
    assert_eq!(encode_vote(&vote), [7, 3, 1]);
    assert_eq!(decode_vote(&[7, 3, 1]), Ok(vote));
}

#[test]
fn log_id_has_its_golden_bytes() {
    assert_eq!(encode_log_id(&log_id()), [7, 3, 251, 44, 1]);
    assert_eq!(decode_log_id(&[7, 3, 251, 44, 1]), Ok(log_id()));
    assert_eq!(encode_optional_log_id(&None), [0]);
    assert_eq!(encode_optional_log_id(&Some(log_id())), [1, 7, 3, 251, 44, 1]);
    assert_eq!(decode_optional_log_id(&[1, 7, 3, 251, 44, 1]), Ok(Some(log_id())));
}

#[test]
fn membership_has_its_golden_bytes() {
    let golden = [
        2, 2, 1, 2, 1, 3, 1, 3, 3, b'a', b':', b'1', 3, b'b', b':', b'2', 253, 255, 255, 255, 255, 255, 255, 255, 255,
    ];
    assert_eq!(encode_membership(&membership()), golden);
    assert_eq!(decode_membership(&golden), Ok(membership()));
}

#[test]
fn entries_have_their_golden_bytes() {
    let blank = LogEntry {
        log_id: log_id(),
        payload: Payload::Blank,
    };
    assert_eq!(encoded(&blank), [7, 3, 251, 44, 1, 0]);
    let commands = LogEntry {
        log_id: log_id(),
        payload: Payload::Commands(Bytes::from_static(b"\x00raw")),
    };
    assert_eq!(encoded(&commands), [7, 3, 251, 44, 1, 1, 0, b'r', b'a', b'w']);
    let members = LogEntry {
        log_id: log_id(),
        payload: Payload::Membership(membership()),
    };
    let mut golden = vec![7, 3, 251, 44, 1, 2];
    golden.extend(encode_membership(&membership()));
    assert_eq!(encoded(&members), golden);
    for entry in [blank, commands, members] {
        let bytes = Bytes::from(encoded(&entry));
        assert_eq!(decode_entry(&bytes), Ok(entry.clone()));
        assert_eq!(decode_entry_log_id(&bytes), Ok(entry.log_id));
    }
}

#[test]
fn commands_are_not_copied_when_decoded() {
    let bytes = Bytes::from(encoded(&LogEntry {
        log_id: log_id(),
        payload: Payload::Commands(Bytes::from_static(b"abc")),
    }));
    let Payload::Commands(commands) = decode_entry(&bytes).unwrap().payload else {
        panic!("commands went in")
    };
    assert_eq!(commands.as_ptr(), bytes[6..].as_ptr());
}

#[test]
fn errors_name_what_is_wrong() {
    assert_eq!(
        decode_vote(&[7, 3, 1, 9]).unwrap_err().to_string(),
        "vote is followed by 1 unexpected bytes"
    );
    assert!(
        decode_log_id(&[7])
            .unwrap_err()
            .to_string()
            .starts_with("log id of 1 bytes cannot be decoded")
    );
    let blank_with_rest = Bytes::from_static(&[7, 3, 251, 44, 1, 0, 5]);
    assert_eq!(
        decode_entry(&blank_with_rest).unwrap_err().to_string(),
        "blank entry is followed by 1 unexpected bytes"
    );
}

#[test]
fn a_claimed_length_beyond_the_limit_reserves_nothing() {
    let claims_2_pow_60_voters = [1, 253, 0, 0, 0, 0, 0, 0, 0, 16];
    assert!(decode_membership(&claims_2_pow_60_voters).is_err());
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode_vote(&bytes);
        let _ = decode_optional_log_id(&bytes);
        let _ = decode_membership(&bytes);
        let _ = decode_entry_log_id(&bytes);
        let _ = decode_entry(&Bytes::from(bytes));
    }
}
