//! Bounds of what callers send, and of what error texts quote.
//!
//! Ids and addresses become parts of keys and come back in error texts, which are kept with the session that was refused:
//! without a bound one request could fill both.

use crate::limits;
use prost::Message;
use quorate_model::{ErrorCode, MetaError, proto_json};

/// Refuses a text that is too long; `name` says which one.
pub fn check_text(name: &str, text: &str) -> Result<(), MetaError> {
    if text.len() <= limits::MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(MetaError::invalid(format!(
        "{name} is {} bytes, limit {} bytes; shorten it",
        text.len(),
        limits::MAX_TEXT_BYTES
    )))
}

/// Refuses any of several texts that is too long; those that are absent pass.
pub fn check_texts(texts: &[(&str, &Option<String>)]) -> Result<(), MetaError> {
    texts
        .iter()
        .try_for_each(|(name, text)| check_text(name, text.as_deref().unwrap_or_default()))
}

/// Refuses a list with too many entries or with one that is too long.
pub fn check_list(name: &str, texts: &[String]) -> Result<(), MetaError> {
    if texts.len() > limits::MAX_LIST_ENTRIES {
        return Err(MetaError::invalid(format!(
            "{name} has {} entries, limit {}; send fewer",
            texts.len(),
            limits::MAX_LIST_ENTRIES
        )));
    }
    texts.iter().try_for_each(|text| check_text(name, text))
}

/// Refuses a command that would not share a log entry with others; `name` is the command's.
pub fn check_command_size(name: &str, command: &impl Message) -> Result<(), MetaError> {
    let bytes = command.encoded_len();
    if bytes <= limits::MAX_COMMAND_BYTES {
        return Ok(());
    }
    let message = format!(
        "{name} request is {bytes} bytes, limit {} bytes; split the request",
        limits::MAX_COMMAND_BYTES
    );
    Err(MetaError::new(ErrorCode::TooLarge, message))
}

/// The message as compact JSON, as error texts quote it.
pub fn json_text<M: Message + prost::Name>(message: &M) -> String {
    cut(proto_json::compact(&proto_json::render_message(&M::full_name(), message)))
}

/// The message in text format, one field a line.
pub fn debug_text<M: Message + prost::Name>(message: &M) -> String {
    cut(proto_json::text::multi_line(&proto_json::to_dynamic(&M::full_name(), message)))
}

/// The message in text format on one line.
pub fn short_debug_text<M: Message + prost::Name>(message: &M) -> String {
    cut(proto_json::text::one_line(&proto_json::to_dynamic(&M::full_name(), message)))
}

fn cut(mut text: String) -> String {
    if text.len() > limits::MAX_QUOTED_BYTES {
        let mut end = limits::MAX_QUOTED_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let left_out = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("... ({left_out} more bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::doris::NodeInfoPb;

    #[test]
    fn a_long_text_is_refused_by_name_and_limit() {
        assert!(check_text("instance_id", &"i".repeat(1_024)).is_ok());
        let error = check_text("instance_id", &"i".repeat(1_025)).expect_err("too long");
        assert_eq!(error, MetaError::invalid("instance_id is 1025 bytes, limit 1024 bytes; shorten it"));
        let error = check_list("mysql_user_name", &vec![String::new(); 1_001]).expect_err("too many");
        assert_eq!(
            error,
            MetaError::invalid("mysql_user_name has 1001 entries, limit 1000; send fewer")
        );
    }

    #[test]
    fn quoted_objects_are_cut_between_characters() {
        let node = NodeInfoPb {
            name: Some("é".repeat(5_000)),
            ..Default::default()
        };
        let text = json_text(&node);
        assert!(text.starts_with("{\"name\":\"éé"), "{text}");
        assert!(text.ends_with("é... (5916 more bytes)"), "{text}");
        assert!(text.len() < limits::MAX_QUOTED_BYTES + 40);
    }
}
