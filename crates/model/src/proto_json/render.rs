//! Messages into protobuf JSON (spec/doris-http.md 5.2): original field names in ascending field-number order, exactly
//! the fields that are set, 64-bit integers as strings.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};
use serde_json::{Map, Number, Value as Json};

use super::{descriptor, sorted_entries};

/// Which fields are shown.
#[derive(Clone, Copy)]
enum Shown {
    /// Those that are set, be it to their default.
    Set,
    /// Those, and of the others all that cannot be told from being set to their default.
    Whole,
}

/// The message as a JSON object. An unset field is left out, a field set to its default is not.
pub fn render(message: &DynamicMessage) -> Json {
    render_fields(message, Shown::Set)
}

/// The same with every field that does not know whether it is set: readers find zeros, empty texts and empty lists instead
/// of nothing.
pub fn render_whole(message: &DynamicMessage) -> Json {
    render_fields(message, Shown::Whole)
}

fn render_fields(message: &DynamicMessage, shown: Shown) -> Json {
    let kind_of = |field: &FieldDescriptor| match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let member = |field: FieldDescriptor, value: &Value| (field.name().to_owned(), render_value(value, &kind_of(&field), shown));
    // Fields come in ascending field-number order.
    let members: Map<String, Json> = match shown {
        Shown::Set => message.fields().map(|(field, value)| member(field, value)).collect(),
        Shown::Whole => {
            let descriptor = message.descriptor();
            let fields = descriptor
                .fields()
                .filter(|field| !field.supports_presence() || message.has_field(field));
            fields
                .map(|field| (message.get_field(&field), field))
                .map(|(value, field)| member(field, &value))
                .collect()
        }
    };
    Json::Object(members)
}

/// Renders a generated message. The name has to be that of `M`.
pub fn render_message<M: prost::Message>(message_full_name: &str, message: &M) -> Json {
    render(&to_dynamic(message_full_name, message))
}

/// One line without blanks. `<` and `>` are escaped as the protobuf library escapes them in raw JSON.
pub fn compact(json: &Json) -> String {
    // Outside of strings JSON has neither character, so replacing them in the whole text is safe.
    json.to_string().replace('<', "\\u003c").replace('>', "\\u003e")
}

/// A generated message in its dynamic form. The name has to be that of `M`.
pub fn to_dynamic<M: prost::Message>(message_full_name: &str, message: &M) -> DynamicMessage {
    let mut dynamic = DynamicMessage::new(descriptor(message_full_name));
    dynamic
        .transcode_from(message)
        .expect("a message decodes by its own descriptor: both come from one descriptor set");
    dynamic
}

fn render_value(value: &Value, kind: &Kind, shown: Shown) -> Json {
    match value {
        Value::Bool(value) => Json::Bool(*value),
        Value::I32(value) => Json::from(*value),
        Value::U32(value) => Json::from(*value),
        Value::I64(value) => Json::String(value.to_string()),
        Value::U64(value) => Json::String(value.to_string()),
        // The shortest decimal that reads back as the same float, not the double nearest to it.
        Value::F32(value) => render_float(value.to_string().parse().unwrap_or(f64::from(*value))),
        Value::F64(value) => render_float(*value),
        Value::String(value) => Json::String(value.clone()),
        Value::Bytes(value) => Json::String(BASE64_STANDARD.encode(value)),
        Value::EnumNumber(number) => render_enum(*number, kind.as_enum()),
        Value::Message(message) => render_fields(message, shown),
        Value::List(values) => values.iter().map(|value| render_value(value, kind, shown)).collect(),
        Value::Map(_) => {
            let entries = sorted_entries(value);
            let members: Map<String, Json> = entries
                .into_iter()
                .map(|(key, value)| (key_text(key), render_value(value, kind, shown)))
                .collect();
            Json::Object(members)
        }
    }
}

fn render_float(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => Json::from("NaN"),
        None if value > 0.0 => Json::from("Infinity"),
        None => Json::from("-Infinity"),
    }
}

fn render_enum(number: i32, descriptor: Option<&EnumDescriptor>) -> Json {
    match descriptor.and_then(|descriptor| descriptor.get_value(number)) {
        Some(value) => Json::from(value.name()),
        None => Json::from(number),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use quorate_wire::doris::{self, ClusterPb, GetClusterStatusResponse, InstanceInfoPb, NodeInfoPb, ObjectStoreInfoPb};

    use super::*;

    #[test]
    fn set_fields_are_shown_in_number_order_even_when_default() {
        let store = ObjectStoreInfoPb {
            external_endpoint: Some(String::new()),
            provider: Some(doris::object_store_info_pb::Provider::Oss as i32),
            sse_enabled: Some(false),
            ctime: Some(1_669_260_437),
            ..ObjectStoreInfoPb::default()
        };
        let expected = r#"{"ctime":"1669260437","provider":"OSS","external_endpoint":"","sse_enabled":false}"#;
        assert_eq!(render_message("doris.cloud.ObjectStoreInfoPB", &store).to_string(), expected);
    }

    #[test]
    fn a_whole_message_has_its_defaults_but_not_what_is_known_to_be_unset() {
        let reply = quorate_wire::quorate::v1::GetAttributeReply::default();
        let shown = render_whole(&to_dynamic("quorate.v1.GetAttributeReply", &reply));
        assert_eq!(shown.to_string(), r#"{"revision":"0"}"#);
        let reply = quorate_wire::quorate::v1::ListAttributesReply {
            attributes: vec![Default::default()],
            ..Default::default()
        };
        let shown = render_whole(&to_dynamic("quorate.v1.ListAttributesReply", &reply));
        let expected = r#"{"attributes":[{"name":"","value":"","revision":"0"}],"next_page_token":"","revision":"0"}"#;
        assert_eq!(shown.to_string(), expected);
    }

    #[test]
    fn long_integers_are_strings_short_ones_numbers() {
        let node = NodeInfoPb {
            mtime: Some(i64::MIN),
            heartbeat_port: Some(9050),
            ..NodeInfoPb::default()
        };
        let expected = r#"{"mtime":"-9223372036854775808","heartbeat_port":9050}"#;
        assert_eq!(render_message("doris.cloud.NodeInfoPB", &node).to_string(), expected);
    }

    #[test]
    fn empty_lists_and_unset_fields_are_left_out() {
        let instance = InstanceInfoPb {
            instance_id: Some("i".into()),
            ..InstanceInfoPb::default()
        };
        assert_eq!(
            render_message("doris.cloud.InstanceInfoPB", &instance).to_string(),
            r#"{"instance_id":"i"}"#
        );
    }

    #[test]
    fn maps_are_objects_ordered_by_key() {
        let properties = [("b", "2"), ("a", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let cluster = ClusterPb {
            properties: properties.into(),
            ..ClusterPb::default()
        };
        assert_eq!(
            render_message("doris.cloud.ClusterPB", &cluster).to_string(),
            r#"{"properties":{"a":"1","b":"2"}}"#
        );
    }

    #[test]
    fn lists_and_nested_messages_keep_their_order() {
        let cluster = |id: &str| ClusterPb {
            cluster_id: Some(id.into()),
            ..ClusterPb::default()
        };
        let detail = doris::get_cluster_status_response::GetClusterStatusResponseDetail {
            instance_id: None,
            clusters: vec![cluster("b"), cluster("a")],
        };
        let response = GetClusterStatusResponse {
            details: vec![detail],
            ..GetClusterStatusResponse::default()
        };
        let expected = r#"{"details":[{"clusters":[{"cluster_id":"b"},{"cluster_id":"a"}]}]}"#;
        assert_eq!(
            render_message("doris.cloud.GetClusterStatusResponse", &response).to_string(),
            expected
        );
    }

    #[test]
    fn enum_numbers_of_newer_versions_are_numbers() {
        let cluster = ClusterPb {
            r#type: Some(77),
            ..ClusterPb::default()
        };
        assert_eq!(render_message("doris.cloud.ClusterPB", &cluster).to_string(), r#"{"type":77}"#);
    }

    #[test]
    fn bytes_are_base64_and_floats_shortest() {
        assert_eq!(
            render_value(&Value::Bytes(vec![0xfb, 0xff].into()), &Kind::Bytes, Shown::Set),
            Json::from("+/8=")
        );
        assert_eq!(render_value(&Value::F32(0.1), &Kind::Float, Shown::Set).to_string(), "0.1");
        assert_eq!(
            render_value(&Value::F64(f64::NEG_INFINITY), &Kind::Double, Shown::Set),
            Json::from("-Infinity")
        );
        assert_eq!(render_value(&Value::F32(f32::NAN), &Kind::Float, Shown::Set), Json::from("NaN"));
    }

    #[test]
    fn compact_escapes_angle_brackets() {
        let cluster = ClusterPb {
            cluster_name: Some("<a>".into()),
            ..ClusterPb::default()
        };
        let json = render_message("doris.cloud.ClusterPB", &cluster);
        assert_eq!(compact(&json), r#"{"cluster_name":"\u003ca\u003e"}"#);
    }
}
