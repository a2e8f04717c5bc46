//! What is read, and what is refused with which words.

use super::*;
use quorate_model::proto_json;

fn read(message: &str, text: &str) -> Result<String, String> {
    let descriptor = proto_json::descriptors().get_message_by_name(message).expect("a message");
    let json: Json = serde_json::from_str(text).expect("JSON");
    match read_message(&descriptor, &json) {
        Ok(message) => Ok(proto_json::render(&message).to_string()),
        Err(refused) => Err(refused.sentence("the body")),
    }
}

#[test]
fn every_kind_of_value_is_read_in_its_spellings() {
    for (message, text, made) in [
        // Field names of both spellings; numbers as numbers, texts and floats without a fraction.
        (
            "quorate.v1.PutAttributeRequest",
            r#"{"instanceId":"i","if_revision":7}"#,
            r#"{"instance_id":"i","if_revision":"7"}"#,
        ),
        (
            "quorate.v1.PutAttributeRequest",
            r#"{"if_revision":"18446744073709551615"}"#,
            r#"{"if_revision":"18446744073709551615"}"#,
        ),
        (
            "quorate.v1.PutAttributeRequest",
            r#"{"if_revision":18446744073709551615}"#,
            r#"{"if_revision":"18446744073709551615"}"#,
        ),
        (
            "quorate.v1.PutAttributeRequest",
            r#"{"if_revision":2e3}"#,
            r#"{"if_revision":"2000"}"#,
        ),
        (
            "quorate.v1.PeerStatus",
            r#"{"clock_offset_ms":"-5"}"#,
            r#"{"clock_offset_ms":"-5"}"#,
        ),
        // Bytes in both alphabets, padded or not.
        ("quorate.v1.Attribute", r#"{"value":"+/8="}"#, r#"{"value":"+/8="}"#),
        ("quorate.v1.Attribute", r#"{"value":"-_8"}"#, r#"{"value":"+/8="}"#),
        // Enums by name and by number; null is unset; lists and messages.
        (
            "quorate.v1.GetAttributeRequest",
            r#"{"consistency":"STALE"}"#,
            r#"{"consistency":"STALE"}"#,
        ),
        (
            "quorate.v1.GetAttributeRequest",
            r#"{"consistency":1,"name":null}"#,
            r#"{"consistency":"STALE"}"#,
        ),
        (
            "quorate.v1.StatusReply",
            r#"{"peers":[{"voter":true},{}],"findings":[]}"#,
            r#"{"peers":[{"voter":true},{}]}"#,
        ),
    ] {
        assert_eq!(read(message, text), Ok(made.to_owned()), "{text}");
    }
}

#[test]
fn every_fault_names_its_field_and_quotes_no_value() {
    let status = "quorate.v1.StatusReply";
    let put = "quorate.v1.PutAttributeRequest";
    for (message, text, expected) in [
        (put, "[]", "the body must be an object, not a list"),
        (
            put,
            r#"{"instnce_id":"i"}"#,
            "the body has no field \"instnce_id\"; the nearest is instance_id",
        ),
        (
            put,
            r#"{"xyzzy":1}"#,
            "the body has no field \"xyzzy\"; there are instance_id, name, value, if_revision",
        ),
        (
            put,
            r#"{"instance_id":"i","instanceId":"j"}"#,
            "the body has the field instance_id twice",
        ),
        (put, r#"{"value":"no base64!"}"#, "the body: value is not base64"),
        (put, r#"{"name":7}"#, "the body: name must be a text, not a number"),
        (
            put,
            r#"{"if_revision":1.5}"#,
            "the body: if_revision must be a whole number from 0 to 18446744073709551615",
        ),
        (
            put,
            r#"{"if_revision":"secret"}"#,
            "the body: if_revision must be a whole number from 0 to 18446744073709551615",
        ),
        (
            put,
            r#"{"if_revision":[]}"#,
            "the body: if_revision must be a whole number from 0 to 18446744073709551615, not a list",
        ),
        (status, r#"{"peers":{}}"#, "the body: peers must be a list, not an object"),
        (
            status,
            r#"{"peers":[{},{"voter":"yes"}]}"#,
            "the body: peers[1].voter must be true or false, not a text",
        ),
        (
            status,
            r#"{"peers":[{"votr":true}]}"#,
            "the body: peers[0] has no field \"votr\"; the nearest is voter",
        ),
        (status, r#"{"peers":[null]}"#, "the body: peers[0] must be an object, not null"),
        (
            "quorate.v1.OpenSessionRequest",
            r#"{"a":1}"#,
            "the body has no field \"a\"; there is none",
        ),
        (
            "quorate.v1.GetAttributeRequest",
            r#"{"consistency":"WEAK"}"#,
            "the body: consistency must be one of LINEARIZABLE, STALE",
        ),
        (
            "quorate.v1.GetAttributeRequest",
            r#"{"consistency":9}"#,
            "the body: consistency must be one of LINEARIZABLE, STALE",
        ),
    ] {
        assert_eq!(read(message, text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn a_long_made_up_name_is_not_repeated_whole() {
    let text = format!(r#"{{"{}":1}}"#, "\u{e9}".repeat(1_000));
    let refused = read("quorate.v1.PutAttributeRequest", &text).expect_err("refused");
    assert!(refused.chars().count() < 200, "{refused}");
}
