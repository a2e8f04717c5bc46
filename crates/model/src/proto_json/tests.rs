//! What has to hold for parser and renderer together: every quirk of spec/doris-http.md 4, and both properties.

use proptest::prelude::*;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use quorate_wire::doris::{AlterClusterRequest, AlterInstanceRequest, ClusterPb, ClusterStatus, NodeInfoPb};

use super::*;

const ALTER_CLUSTER: &str = "doris.cloud.AlterClusterRequest";

/// Message name, body, and the parsed message in text format or the text of the refusal.
type Row = (&'static str, &'static str, Result<&'static str, &'static str>);

#[rustfmt::skip]
const QUIRKS: &[Row] = &[
    // Unknown fields, at any depth and of any shape.
    ("AlterClusterRequest", r#"{"nope":{"a":[1,{}]},"instance_id":"i","cluster":{"nope":null,"cluster_id":"c"}}"#, Ok(r#"instance_id: "i" cluster { cluster_id: "c" }"#)),
    // Unknown enum names leave the field unset, and an earlier value stands; numbers alike.
    ("ClusterPB", r#"{"cluster_status":"STOPPED"}"#, Ok("")),
    ("ClusterPB", r#"{"cluster_status":"normal","type":"SQL"}"#, Ok("type: SQL")),
    ("ObjectStoreInfoPB", r#"{"provider":"MINIO"}"#, Ok("")),
    ("ClusterPB", r#"{"cluster_status":"NORMAL","cluster_status":"STOPPED"}"#, Ok("cluster_status: NORMAL")),
    ("ClusterPB", r#"{"cluster_status":99}"#, Ok("")),
    ("ClusterPB", r#"{"cluster_status":"99"}"#, Ok("")),
    ("InstanceInfoPB", r#"{"migrated_key_sets":["NOPE","SINGLE_VERSION_META_ROWSET",77]}"#, Ok("migrated_key_sets: SINGLE_VERSION_META_ROWSET")),
    // Enum names, numbers and digit strings.
    ("ClusterPB", r#"{"cluster_status":"SUSPENDED"}"#, Ok("cluster_status: SUSPENDED")),
    ("ClusterPB", r#"{"cluster_status":2}"#, Ok("cluster_status: SUSPENDED")),
    ("ClusterPB", r#"{"cluster_status":"2"}"#, Ok("cluster_status: SUSPENDED")),
    ("ClusterPB", r#"{"cluster_status":2.0}"#, Ok("cluster_status: SUSPENDED")),
    ("ObjectStoreInfoPB", r#"{"provider":-1}"#, Ok("provider: UNKONWN")),
    ("ClusterPB", r#"{"cluster_status":1.5}"#, Err("(cluster_status): invalid value 1.5 for type TYPE_ENUM")),
    ("ClusterPB", r#"{"cluster_status":true}"#, Err("(cluster_status): invalid value true for type TYPE_ENUM")),
    // Integers as numbers, digit strings and integral floats.
    ("NodeInfoPB", r#"{"heartbeat_port":9050,"ctime":-1}"#, Ok("ctime: -1 heartbeat_port: 9050")),
    ("NodeInfoPB", r#"{"heartbeat_port":"9050","ctime":"-1"}"#, Ok("ctime: -1 heartbeat_port: 9050")),
    ("NodeInfoPB", r#"{"heartbeat_port":9050.0,"ctime":1e3}"#, Ok("ctime: 1000 heartbeat_port: 9050")),
    ("NodeInfoPB", r#"{"ctime":9223372036854775807,"mtime":"-9223372036854775808"}"#, Ok("ctime: 9223372036854775807 mtime: -9223372036854775808")),
    ("NodeInfoPB", r#"{"heartbeat_port":9050.5}"#, Err("(heartbeat_port): invalid value 9050.5 for type TYPE_INT32")),
    ("NodeInfoPB", r#"{"heartbeat_port":"9050.0"}"#, Err("(heartbeat_port): invalid value \"9050.0\" for type TYPE_INT32")),
    ("NodeInfoPB", r#"{"heartbeat_port":""}"#, Err("(heartbeat_port): invalid value \"\" for type TYPE_INT32")),
    ("NodeInfoPB", r#"{"heartbeat_port":" 1"}"#, Err("(heartbeat_port): invalid value \" 1\" for type TYPE_INT32")),
    ("NodeInfoPB", r#"{"heartbeat_port":true}"#, Err("(heartbeat_port): invalid value true for type TYPE_INT32")),
    ("AlterClusterRequest", r#"{"cluster":{"nodes":[{"heartbeat_port":"abc"}]}}"#, Err("(cluster.nodes[0].heartbeat_port): invalid value \"abc\" for type TYPE_INT32")),
    // Out of range.
    ("NodeInfoPB", r#"{"heartbeat_port":2147483648}"#, Err("(heartbeat_port): invalid value 2147483648 for type TYPE_INT32")),
    ("NodeInfoPB", r#"{"heartbeat_port":"-2147483649"}"#, Err("(heartbeat_port): invalid value \"-2147483649\" for type TYPE_INT32")),
    ("NodeInfoPB", r#"{"ctime":9223372036854775808}"#, Err("(ctime): invalid value 9223372036854775808 for type TYPE_INT64")),
    ("NodeInfoPB", r#"{"ctime":1e300}"#, Err("(ctime): invalid value 1e300 for type TYPE_INT64")),
    // Booleans.
    ("CreateInstanceRequest", r#"{"sse_enabled":true}"#, Ok("sse_enabled: true")),
    ("CreateInstanceRequest", r#"{"sse_enabled":"true"}"#, Ok("sse_enabled: true")),
    ("CreateInstanceRequest", r#"{"sse_enabled":"false"}"#, Ok("sse_enabled: false")),
    ("CreateInstanceRequest", r#"{"sse_enabled":"TRUE"}"#, Err("(sse_enabled): invalid value \"TRUE\" for type TYPE_BOOL")),
    ("CreateInstanceRequest", r#"{"sse_enabled":0}"#, Err("(sse_enabled): invalid value 0 for type TYPE_BOOL")),
    ("CreateInstanceRequest", r#"{"sse_enabled":1}"#, Err("(sse_enabled): invalid value 1 for type TYPE_BOOL")),
    // Strings are strings.
    ("AlterClusterRequest", r#"{"instance_id":123}"#, Err("(instance_id): invalid value 123 for type TYPE_STRING")),
    ("AlterClusterRequest", r#"{"instance_id":true}"#, Err("(instance_id): invalid value true for type TYPE_STRING")),
    ("AlterClusterRequest", r#"{"instance_id":{}}"#, Err("(instance_id): invalid value {...} for type TYPE_STRING")),
    ("AlterClusterRequest", r#"{"instance_id":["i"]}"#, Err("(instance_id): Proto field is not repeating, cannot start list.")),
    ("AlterClusterRequest", r#"{"cluster":"c"}"#, Err("(cluster): invalid value \"c\" for type TYPE_MESSAGE")),
    // Null is absent.
    ("AlterClusterRequest", r#"{"instance_id":null,"cluster":null,"op":null}"#, Ok("")),
    ("ClusterPB", r#"{"nodes":null,"properties":null,"mysql_user_name":["a",null],"ctime":null}"#, Ok("mysql_user_name: \"a\"")),
    ("ClusterPB", r#"{"cluster_id":"c","cluster_id":null}"#, Ok("cluster_id: \"c\"")),
    // Camel case.
    ("AlterClusterRequest", r#"{"instanceId":"i","cluster":{"publicEndpoint":"p"}}"#, Ok(r#"instance_id: "i" cluster { public_endpoint: "p" }"#)),
    ("AlterClusterRequest", r#"{"InstanceId":"i","INSTANCE_ID":"i"}"#, Ok("")),
    // Trailing commas, but no lone ones; the documented examples of three routes have them.
    ("AlterClusterRequest", "{\n  \"cloud_unique_id\":\"u\",\n  \"cluster\":{\n    \"cluster_id\":\"c\",\n    \"cluster_name\":\"n\",\n  },\n}", Ok(r#"cloud_unique_id: "u" cluster { cluster_id: "c" cluster_name: "n" }"#)),
    ("ClusterPB", r#"{"mysql_user_name":["a",],"cluster_id":"c",}"#, Ok(r#"cluster_id: "c" mysql_user_name: "a""#)),
    ("ClusterPB", "{,}", Err("Expected an object key or }.\n{,}\n ^")),
    ("ClusterPB", r#"{"nodes":[,]}"#, Err("Expected a value.\n{\"nodes\":[,]}\n          ^")),
    // Bare keys and single quotes.
    ("AlterClusterRequest", "{instance_id:'i', cluster: {'cluster_id':\"it's\"}}", Ok(r#"instance_id: "i" cluster { cluster_id: "it\'s" }"#)),
    ("AlterClusterRequest", "{instance_id:i}", Err("Expected a value.\n{instance_id:i}\n             ^")),
    // One value where a list is expected.
    ("GetClusterStatusRequest", r#"{"instance_ids":"a"}"#, Ok("instance_ids: \"a\"")),
    ("ClusterPB", r#"{"nodes":{"ip":"a"}}"#, Ok("nodes { ip: \"a\" }")),
    ("GetClusterStatusRequest", r#"{"instance_ids":[["a"]]}"#, Err("(instance_ids[0]): invalid value [...] for type TYPE_STRING")),
    // A repeated key: the last one wins, whichever spelling.
    ("AlterClusterRequest", r#"{"instance_id":"a","instance_id":"b"}"#, Ok("instance_id: \"b\"")),
    ("AlterClusterRequest", r#"{"instance_id":"a","instanceId":"b"}"#, Ok("instance_id: \"b\"")),
    ("AlterClusterRequest", r#"{"cluster":{"cluster_id":"a","cluster_name":"n"},"cluster":{"cluster_id":"b"}}"#, Ok(r#"cluster { cluster_id: "b" }"#)),
    ("GetClusterStatusRequest", r#"{"instance_ids":["a"],"instance_ids":["b"]}"#, Ok("instance_ids: \"b\"")),
    // What is no object.
    ("AlterClusterRequest", "", Err("Unexpected end of string. Expected a value.\n\n^")),
    ("AlterClusterRequest", " \n", Err("Unexpected end of string. Expected a value.\n \n\n  ^")),
    ("AlterClusterRequest", "hello", Err("Expected a value.\nhello\n^")),
    ("AlterClusterRequest", "[]", Err(": Root element must be a message.")),
    ("AlterClusterRequest", "5", Err(": Root element must be a message.")),
    ("AlterClusterRequest", "true", Err(": Root element must be a message.")),
    ("AlterClusterRequest", "'text'", Err(": Root element must be a message.")),
    ("AlterClusterRequest", "null", Err(": Root element must be a message.")),
    ("AlterClusterRequest", "{} x", Err("Parsing terminated before end of input.\n{} x\n   ^")),
    ("AlterClusterRequest", "{}{}", Err("Parsing terminated before end of input.\n{}{}\n  ^")),
    ("AlterClusterRequest", r#"{"instance_id""#, Err("Unexpected end of string. Expected : between key:value pair.\n{\"instance_id\"\n              ^")),
    ("AlterClusterRequest", r#"{"instance_id":"i"#, Err("Unexpected end of string. Closing quote expected in string.\n{\"instance_id\":\"i\n                 ^")),
    ("AlterClusterRequest", "{a:1 b:2}", Err("Expected , or } after key:value pair.\n{a:1 b:2}\n     ^")),
    ("AlterClusterRequest", "{a:[1 2]}", Err("Expected , or ] after array value.\n{a:[1 2]}\n      ^")),
    ("AlterClusterRequest", "{a:012}", Err("Octal/hex numbers are not valid JSON values.\n{a:012}\n   ^")),
    ("AlterClusterRequest", "{a:1-2}", Err("Unable to parse number.\n{a:1-2}\n   ^")),
    ("AlterClusterRequest", "{a:1e999}", Err("Number exceeds the range of double.\n{a:1e999}\n   ^")),
    // Surroundings of an error are cut between characters.
    ("AlterClusterRequest", "{ééééééééééééééééééééé}", Err("Expected an object key or }.\n{éééééééééé\n ^")),
    ("AlterClusterRequest", "{a:'éééééééééééé' é}", Err("Expected , or } after key:value pair.\nééééééééé' é}\n                    ^")),
    // Escapes.
    ("ClusterPB", r#"{"cluster_id":"\u00e9\ud83d\ude00\q\/"}"#, Ok(r#"cluster_id: "\303\251\360\237\230\200q/""#)),
    ("ClusterPB", r#"{"cluster_id":"\é\'\"\v"}"#, Ok(r#"cluster_id: "\303\251\'\"\013""#)),
    ("ClusterPB", r#"{"a":"\ud83d"}"#, Err("Missing low surrogate.\n{\"a\":\"\\ud83d\"}\n            ^")),
    ("ClusterPB", r#"{"a":"\ud83d\u0041"}"#, Err("Invalid low surrogate.\n{\"a\":\"\\ud83d\\u0041\"}\n                  ^")),
    ("ClusterPB", r#"{"a":"\ude00"}"#, Err("Invalid unicode code point.\n{\"a\":\"\\ude00\"}\n            ^")),
    ("ClusterPB", r#"{"a":"\u12"}"#, Err("Invalid escape sequence.\n{\"a\":\"\\u12\"}\n        ^")),
    // Maps.
    ("AlterInstanceRequest", r#"{"properties":{"b":"2","a":"1","a":"3","n":null}}"#, Ok(r#"properties { key: "a" value: "3" } properties { key: "b" value: "2" }"#)),
    ("AlterInstanceRequest", r#"{"properties":{"a":1}}"#, Err("(properties[\"a\"]): invalid value 1 for type TYPE_STRING")),
    ("AlterInstanceRequest", r#"{"properties":[]}"#, Err("(properties): invalid value [...] for type TYPE_MESSAGE")),
    // What may be a secret is not quoted, nor is anything of a body that may have one and is not well-formed.
    ("AlterObjStoreInfoRequest", r#"{"obj":{"sk":918273645}}"#, Err("(obj.sk): invalid value (hidden) for type TYPE_STRING")),
    ("AlterObjStoreInfoRequest", r#"{"obj":"{\"sk\":\"s\"}"}"#, Err("(obj): invalid value (hidden) for type TYPE_MESSAGE")),
    ("AlterObjStoreInfoRequest", r#"{"vault":{"hdfs_info":{"build_conf":{"hdfs_confs":[{"key":"password","value":918273645}]}}}}"#, Err("(vault.hdfs_info.build_conf.hdfs_confs[0].value): invalid value (hidden) for type TYPE_STRING")),
    ("AlterObjStoreInfoRequest", r#"{"vault":{"hdfs_info":{"build_conf":{"hdfs_kerberos_keytab":918273645}}}}"#, Err("(vault.hdfs_info.build_conf.hdfs_kerberos_keytab): invalid value (hidden) for type TYPE_STRING")),
    ("AlterObjStoreInfoRequest", r#"{"obj":{"secret_key":918273645}}"#, Ok("obj { }")),
    ("AlterObjStoreInfoRequest", "{obj:{SecretKey:918273645 }", Err("Unexpected end of string. Expected , or } after key:value pair. At byte 27.")),
    ("AlterObjStoreInfoRequest", "{obj:{SecretKey:91827364_5}}", Err("Expected , or } after key:value pair. At byte 24.")),
    ("AlterObjStoreInfoRequest", "{vault:{hdfs_info:{password:hunter2}}}", Err("Expected a value. At byte 28.")),
    ("CreateInstanceRequest", r#"{"ram_user":{"password":"hunter2}}"#, Err("Unexpected end of string. Closing quote expected in string. At byte 34.")),
    ("AlterObjStoreInfoRequest", "", Err("Unexpected end of string. Expected a value. At byte 0.")),
    // Required fields.
    ("StorageVaultPB", r#"{"hdfs_info":{"build_conf":{"hdfs_confs":[{"key":"k"}]}}}"#, Err("(hdfs_info.build_conf.hdfs_confs[0]): missing field value")),
];

#[test]
fn every_quirk_of_the_protobuf_json_parser_is_reproduced() {
    for (message, body, expected) in QUIRKS {
        let found = parse(body.as_bytes(), &format!("doris.cloud.{message}"));
        let found = found.map(|message| text::one_line(&message)).map_err(|failure| failure.text);
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{message} from {body}");
    }
}

#[test]
fn body_that_is_not_utf_8_is_refused() {
    let failure = parse(b"{\"instance_id\":\"\xff\"}", ALTER_CLUSTER).expect_err("not UTF-8");
    assert_eq!(failure.text, "Encountered non UTF-8 code points.");
}

#[test]
fn nesting_is_bounded_also_in_ignored_fields() {
    let nested = |levels: usize| format!("{{\"nope\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(parse(nested(MAX_NESTING - 1).as_bytes(), ALTER_CLUSTER).is_ok());
    let failure = parse(nested(MAX_NESTING).as_bytes(), ALTER_CLUSTER).expect_err("too deep");
    assert!(failure.text.starts_with("Message too deep."), "{failure}");
    assert!(parse("[{a:".repeat(1_000_000).as_bytes(), ALTER_CLUSTER).is_err());
}

#[test]
fn long_values_are_quoted_in_part() {
    let body = format!("{{\"cluster\":\"{}\"}}", "é".repeat(1000));
    let failure = parse(body.as_bytes(), ALTER_CLUSTER).expect_err("string for a message");
    let expected = format!(
        "(cluster): invalid value \"{}... (2000 bytes)\" for type TYPE_MESSAGE",
        "é".repeat(256)
    );
    assert_eq!(failure.text, expected);
}

#[test]
fn generated_types_are_parsed() {
    let body = br#"{"instance_id":"i","cluster":{"cluster_status":"SUSPENDED","nodes":[{"heartbeat_port":"9050"}]}}"#;
    let node = NodeInfoPb {
        heartbeat_port: Some(9050),
        ..NodeInfoPb::default()
    };
    let cluster = ClusterPb {
        cluster_status: Some(ClusterStatus::Suspended as i32),
        nodes: vec![node],
        ..ClusterPb::default()
    };
    let expected = AlterClusterRequest {
        instance_id: Some("i".into()),
        cluster: Some(cluster),
        ..AlterClusterRequest::default()
    };
    assert_eq!(parse_into::<AlterClusterRequest>(body, ALTER_CLUSTER), Ok(expected));
}

#[test]
fn map_fields_reach_generated_types() {
    let parsed: AlterInstanceRequest = parse_into(br#"{"properties":{"a":"1"}}"#, "doris.cloud.AlterInstanceRequest").expect("valid body");
    assert_eq!(parsed.properties.get("a").map(String::as_str), Some("1"));
}

/// Turns random numbers into a message with random fields set, whatever the message is.
struct Filler<'a> {
    randoms: std::iter::Cycle<std::slice::Iter<'a, u64>>,
}

impl Filler<'_> {
    const MAX_LEVELS: usize = 6;

    fn next(&mut self) -> u64 {
        self.randoms.next().copied().unwrap_or(0)
    }

    fn message(&mut self, descriptor: &MessageDescriptor, level: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            let too_deep = level >= Self::MAX_LEVELS && field.kind().as_message().is_some();
            if field.is_required() || (!too_deep && self.next().is_multiple_of(3)) {
                let value = self.field(&field, level);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, level: usize) -> Value {
        let count = self.next() % 3 + 1;
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let key_kind = entry.map_entry_key_field().kind();
                let value_kind = entry.map_entry_value_field().kind();
                let entries = (0..count).map(|_| (self.key(&key_kind, level), self.value(&value_kind, level)));
                Value::Map(entries.collect())
            }
            kind if field.is_list() => Value::List((0..count).map(|_| self.value(&kind, level)).collect()),
            kind => self.value(&kind, level),
        }
    }

    fn key(&mut self, kind: &Kind, level: usize) -> MapKey {
        self.value(kind, level)
            .into_map_key()
            .expect("map keys have a kind that can be a key")
    }

    fn value(&mut self, kind: &Kind, level: usize) -> Value {
        let random = self.next();
        match kind {
            Kind::Double => Value::F64(random as f64 / 7.0),
            Kind::Float => Value::F32(random as f32 / 7.0),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(random as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(random as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(random as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(random),
            Kind::Bool => Value::Bool(random.is_multiple_of(2)),
            Kind::String => Value::String(String::from_utf8_lossy(&random.to_le_bytes()).replace('1', "\\\"'<é\n")),
            Kind::Bytes => Value::Bytes(random.to_le_bytes()[..random as usize % 9].to_vec().into()),
            Kind::Enum(values) => {
                let index = random as usize % values.values().len();
                Value::EnumNumber(values.values().nth(index).expect("the index is below the length").number())
            }
            Kind::Message(descriptor) => Value::Message(self.message(descriptor, level + 1)),
        }
    }
}

/// Pieces a body is made of, so that random bodies get past the first byte.
const BODY_PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "'",
    "\\",
    "\\u12",
    "\\ud83d",
    "null",
    "true",
    "-",
    "0",
    "1e9",
    ".5",
    " ",
    "é",
    "instance_id",
    "\"cluster\":",
    "nodes:",
    "'heartbeat_port':",
    "properties:",
    "op:",
    "type:",
    "\"a\"",
    "{\"cluster\":{\"nodes\":[{",
];

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body, ALTER_CLUSTER);
    }

    #[test]
    fn no_mangled_body_makes_the_parser_panic(pieces in proptest::collection::vec(0..BODY_PIECES.len(), 0..40)) {
        let body: String = pieces.into_iter().map(|piece| BODY_PIECES[piece]).collect();
        let _ = parse(body.as_bytes(), ALTER_CLUSTER);
    }

    #[test]
    fn what_is_rendered_parses_back(index in any::<prop::sample::Index>(), randoms in proptest::collection::vec(any::<u64>(), 1..200)) {
        let messages: Vec<_> = descriptors().all_messages().filter(|message| !message.is_map_entry()).collect();
        let descriptor = &messages[index.index(messages.len())];
        let message = Filler { randoms: randoms.iter().cycle() }.message(descriptor, 0);
        let json = render(&message);
        let enveloped: serde_json::Value = serde_json::from_str(&envelope("OK", "", Some(json.clone()))).expect("an envelope is JSON");
        prop_assert_eq!(&enveloped["result"], &json);
        let parsed = parse(compact(&json).as_bytes(), descriptor.full_name());
        prop_assert_eq!(parsed.as_ref().map(render), Ok(json));
        let _ = (text::multi_line(&message), text::one_line(&message));
    }
}
