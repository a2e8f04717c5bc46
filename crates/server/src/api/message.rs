//! The request message of a call, from the path, the query and the body of an HTTP request.

use super::json::{self, Refused};
use percent_encoding::percent_decode_str;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value};
use quorate_model::{ErrorCode, MetaError};

/// Builds the message. What the path says cannot be said differently elsewhere.
pub fn build(
    descriptor: &MessageDescriptor,
    variables: &[(&'static str, String)],
    query: &str,
    body: Option<&[u8]>,
) -> Result<DynamicMessage, MetaError> {
    let mut message = match body {
        Some(body) => parse_body(descriptor, body)?,
        None => DynamicMessage::new(descriptor.clone()),
    };
    let query = parse_query(query)?;
    if let (Some(_), Some((name, _))) = (body, query.first()) {
        return Err(MetaError::invalid(format!(
            "query parameter {name:?} beside a body; put all parameters into the body"
        )));
    }
    for (name, text) in variables {
        let refused = |refused: Refused| MetaError::invalid(refused.sentence(&format!("path variable {name}")));
        set_variable(&mut message, name, text).map_err(refused)?;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (name, text) in &query {
        let refused = |refused: Refused| MetaError::invalid(refused.sentence(&format!("query parameter {name}")));
        if variables.iter().any(|(variable, _)| variable == name) {
            return Err(MetaError::invalid(format!(
                "query parameter {name} is in the path already; leave it out"
            )));
        }
        let (holder, field) = field_at(&mut message, name).map_err(|fault| MetaError::invalid(fault.sentence("the query")))?;
        if field.is_map() {
            return Err(MetaError::invalid(format!(
                "query parameter {name} is a map, which a query cannot say"
            )));
        }
        let value = json::read_text(&field.kind(), text).map_err(refused)?;
        if field.is_list() {
            if let Value::List(items) = holder.get_field_mut(&field) {
                items.push(value);
            }
            continue;
        }
        if seen.contains(&name.as_str()) {
            return Err(MetaError::invalid(format!("query parameter {name} is there twice; keep one")));
        }
        seen.push(name);
        holder.set_field(&field, value);
    }
    Ok(message)
}

fn parse_body(descriptor: &MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, MetaError> {
    // Errors of syntax come with line and column and quote nothing.
    let json =
        serde_json::from_slice(body).map_err(|error| MetaError::new(ErrorCode::ParseError, format!("the body is not JSON: {error}")))?;
    json::read_message(descriptor, &json).map_err(|refused| MetaError::new(ErrorCode::ParseError, refused.sentence("the body")))
}

fn set_variable(message: &mut DynamicMessage, name: &str, text: &str) -> Result<(), Refused> {
    let (holder, field) = field_at(message, name)?;
    let value = json::read_text(&field.kind(), text)?;
    if holder.has_field(&field) && *holder.get_field(&field) != value {
        return Err(Refused::new("says something else than the body does; leave it out of the body"));
    }
    holder.set_field(&field, value);
    Ok(())
}

/// The field at a path of names separated by dots, and the message that has it.
fn field_at<'a>(message: &'a mut DynamicMessage, path: &str) -> Result<(&'a mut DynamicMessage, FieldDescriptor), Refused> {
    let mut holder = message;
    let mut names = path.split('.').peekable();
    loop {
        let name = names.next().unwrap_or_default();
        let field = json::field_named(&holder.descriptor(), name)?;
        if names.peek().is_none() {
            return Ok((holder, field));
        }
        let is_single_message = matches!(field.kind(), Kind::Message(_)) && !field.is_list() && !field.is_map();
        match holder.get_field_mut(&field) {
            Value::Message(inner) if is_single_message => holder = inner,
            _ => return Err(Refused::new(format!("has no fields within {name}"))),
        }
    }
}

/// Names and values, decoded; `+` is a blank.
fn parse_query(query: &str) -> Result<Vec<(String, String)>, MetaError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    });
    pairs.collect()
}

fn decode(text: &str) -> Result<String, MetaError> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().map(|text| text.into_owned());
    decoded.map_err(|_| MetaError::invalid("the query is not UTF-8 once its %xx are decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_model::proto_json;

    fn built(message: &str, variables: &[(&'static str, &str)], query: &str, body: Option<&str>) -> Result<String, String> {
        let descriptor = proto_json::descriptors().get_message_by_name(message).expect("a message");
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        match build(&descriptor, &variables, query, body.map(str::as_bytes)) {
            Ok(message) => Ok(proto_json::render(&message).to_string()),
            Err(error) => Err(error.message),
        }
    }

    #[test]
    fn path_and_query_make_a_message() {
        let list = "quorate.v1.ListAttributesRequest";
        assert_eq!(
            built(
                list,
                &[("instance_id", "i")],
                "prefix=a%2Fb+c&page_size=7&consistency=STALE&at_revision=12",
                None
            ),
            Ok(r#"{"instance_id":"i","prefix":"a/b c","page_size":7,"consistency":"STALE","at_revision":"12"}"#.to_owned())
        );
        assert_eq!(built(list, &[], "pageSize=7&&", None), Ok(r#"{"page_size":7}"#.to_owned()));
    }

    #[test]
    fn fields_of_fields_and_lists_can_be_said_in_a_query() {
        let query = "attribute.name=n&attribute.value=aGk";
        let made = r#"{"attribute":{"name":"n","value":"aGk="}}"#;
        assert_eq!(built("quorate.v1.GetAttributeReply", &[], query, None), Ok(made.to_owned()));
        let query = "mysql_user_name=a&mysql_user_name=b";
        assert_eq!(
            built("doris.cloud.ClusterPB", &[], query, None),
            Ok(r#"{"mysql_user_name":["a","b"]}"#.to_owned())
        );
    }

    #[test]
    fn faults_of_path_and_query_are_named() {
        let list = "quorate.v1.ListAttributesRequest";
        for (query, expected) in [
            ("pagesize=1", "the query has no field \"pagesize\"; the nearest is page_size"),
            (
                "page_size=x",
                "query parameter page_size must be a whole number from 0 to 4294967295",
            ),
            ("page_size=1&page_size=1", "query parameter page_size is there twice; keep one"),
            ("instance_id=j", "query parameter instance_id is in the path already; leave it out"),
            ("consistency=weak", "query parameter consistency must be one of LINEARIZABLE, STALE"),
            ("prefix.x=1", "the query has no fields within prefix"),
            ("prefix=%ff", "the query is not UTF-8 once its %xx are decoded"),
        ] {
            assert_eq!(
                built(list, &[("instance_id", "i")], query, None),
                Err(expected.to_owned()),
                "{query}"
            );
        }
        assert_eq!(
            built("quorate.v1.CloseSessionRequest", &[("session_id", "-1")], "", None),
            Err("path variable session_id must be a whole number from 0 to 18446744073709551615".to_owned())
        );
    }

    #[test]
    fn a_body_may_repeat_what_the_path_says_and_not_contradict_it() {
        let put = "quorate.v1.PutAttributeRequest";
        let path = [("instance_id", "i"), ("name", "n")];
        let made = r#"{"instance_id":"i","name":"n","value":"aGk="}"#;
        for body in [
            r#"{"value":"aGk="}"#,
            r#"{"name":"n","value":"aGk"}"#,
            r#"{"value":"aGk=","if_revision":null}"#,
        ] {
            assert_eq!(built(put, &path, "", Some(body)), Ok(made.to_owned()), "{body}");
        }
        assert_eq!(
            built(put, &path, "", Some(r#"{"name":"other"}"#)),
            Err("path variable name says something else than the body does; leave it out of the body".to_owned())
        );
        assert_eq!(
            built(put, &path, "value=aGk", Some("{}")),
            Err("query parameter \"value\" beside a body; put all parameters into the body".to_owned())
        );
    }
}
