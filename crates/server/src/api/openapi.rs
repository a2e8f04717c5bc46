//! The OpenAPI document, made from the route table and from the descriptors with their comments.
//!
//! `openapi.json` beside this file is what it makes, so that a change of the API shows in a review; `QUORATE_BLESS=1` on the
//! test that compares them writes it anew.

mod schemas;

use super::routes::{self, Answer, Method, Parameters, Resolved, Segment};
use http::StatusCode;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use quorate_model::error::{ERROR_TABLE, Outcome, RetryClass};
use schemas::{Schemas, comment, schema_of_field, single_line};
use serde_json::{Map, Value as Json, json};
use std::sync::LazyLock;

/// How deep a query may name fields of fields.
const MAX_QUERY_DEPTH: usize = 4;

const DESCRIPTION: &str = "Every call of the native gRPC API as HTTP and JSON, at any peer. Names are those of the .proto files \
(lowerCamelCase is accepted too), 64-bit integers are strings, bytes are base64. Unknown fields and parameters are refused. \
Requests may carry the headers listed with each operation; every reply carries quorate-revision and quorate-term. A peer that \
cannot take a call itself answers 307 and the leader's address.";

/// The document as JSON text.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let document = build();
        serde_json::to_string_pretty(&document).expect("a JSON value has a text") + "\n"
    });
    &DOCUMENT
}

fn build() -> Json {
    let pool = DescriptorPool::decode(quorate_wire::DOCUMENTED_DESCRIPTOR_SET)
        .expect("the descriptor set was checked by the compiler that wrote it");
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    for resolved in routes::resolved() {
        let path = paths.entry(resolved.route.path).or_insert_with(|| json!({}));
        path[resolved.route.method.name().to_ascii_lowercase()] = operation(&pool, resolved, &mut schemas);
    }
    let mut schemas = schemas.finish();
    schemas.insert("Error".to_owned(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Quorate Admin API",
            "version": "v1",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": header_parameters(),
            "headers": reply_headers(),
            "responses": {
                "Error": {
                    "description": "What went wrong, whether a write can have happened, and what to do. Codes are listed at /api/v1/errors.",
                    "headers": reply_header_references(),
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
                },
                "Redirect": {
                    "description": "The leader's address: for callers that ask for it, and for calls only the leader takes.",
                    "headers": {"location": {"schema": {"type": "string"}}},
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
                }
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The token of the cluster. On loopback, calls that do not change the cluster itself may do without."},
                "token": {"type": "apiKey", "in": "header", "name": "quorate-token", "description": "The same in a header of its own, which clients keep when they follow a redirect."}
            }
        }
    })
}

fn operation(pool: &DescriptorPool, resolved: &Resolved, schemas: &mut Schemas) -> Json {
    let (method, parameters) = match &resolved.answer {
        Answer::Errors => return document_operation("listErrors", "Every error the API answers, with its number, statuses and advice."),
        Answer::OpenApi => return document_operation("getOpenApi", "This document."),
        Answer::Call { method, parameters } => (documented(pool, method), *parameters),
    };
    let description = comment(method.parent_file().file_descriptor_proto(), method.path());
    let mut operation = json!({
        "operationId": format!("{}.{}", method.parent_service().name(), method.name()),
        "tags": [method.parent_service().name()],
    });
    if !description.is_empty() {
        operation["summary"] = Json::from(single_line(&description));
    }
    let input = method.input();
    let mut listed: Vec<Json> = resolved
        .segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Variable(name) => Some(path_parameter(&input, name)),
            Segment::Literal(_) => None,
        })
        .collect();
    if parameters == Parameters::Query {
        let in_path: Vec<&str> = resolved.variables().collect();
        query_parameters(&input, "", &in_path, MAX_QUERY_DEPTH, &mut listed);
    }
    let is_read = resolved.route.method == Method::Get;
    listed.extend(header_names(is_read).map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
    operation["parameters"] = Json::from(listed);
    if parameters == Parameters::Body {
        operation["requestBody"] = json!({
            "required": !resolved.needs_no_body(),
            "content": {"application/json": {"schema": schemas.reference(&input)}}
        });
    }
    operation["responses"] = json!({
        "200": {
            "description": "Done.",
            "headers": reply_header_references(),
            "content": {"application/json": {"schema": schemas.reference(&method.output())}}
        },
        "307": {"$ref": "#/components/responses/Redirect"},
        "default": {"$ref": "#/components/responses/Error"}
    });
    operation
}

fn document_operation(id: &str, summary: &str) -> Json {
    json!({
        "operationId": id,
        "tags": ["Documents"],
        "summary": summary,
        "security": [{}],
        "responses": {"200": {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}}}
    })
}

/// The same method among the descriptors that have comments.
fn documented(pool: &DescriptorPool, method: &MethodDescriptor) -> MethodDescriptor {
    let service = pool.get_service_by_name(method.parent_service().full_name());
    let found = service.and_then(|service| service.methods().find(|found| found.name() == method.name()));
    found.expect("both descriptor sets are of the same files")
}

fn path_parameter(input: &MessageDescriptor, name: &str) -> Json {
    let mut message = input.clone();
    let mut schema = json!({"type": "string"});
    let mut description = String::new();
    for step in name.split('.') {
        let Some(field) = message.get_field_by_name(step) else { break };
        schema = schema_of_field(&field, None);
        description = field_comment(&field);
        if let Kind::Message(inner) = field.kind() {
            message = inner;
        }
    }
    parameter("path", name, true, schema, &description)
}

/// A parameter for each field that is a single value or a list of such, down to fields of fields.
fn query_parameters(message: &MessageDescriptor, prefix: &str, in_path: &[&str], depth: usize, listed: &mut Vec<Json>) {
    for field in message.fields() {
        let name = format!("{prefix}{}", field.name());
        match field.kind() {
            _ if in_path.contains(&name.as_str()) || field.is_map() => {}
            Kind::Message(_) if field.is_list() || depth == 0 => {}
            Kind::Message(inner) => query_parameters(&inner, &format!("{name}."), in_path, depth - 1, listed),
            _ => listed.push(parameter(
                "query",
                &name,
                false,
                schema_of_field(&field, None),
                &field_comment(&field),
            )),
        }
    }
}

fn parameter(place: &str, name: &str, required: bool, schema: Json, description: &str) -> Json {
    let mut parameter = json!({"name": name, "in": place, "required": required, "schema": schema});
    if !description.is_empty() {
        parameter["description"] = Json::from(description);
    }
    parameter
}

fn field_comment(field: &FieldDescriptor) -> String {
    single_line(&comment(field.parent_file().file_descriptor_proto(), field.path()))
}

/// Headers of requests: name, whether reads understand it, whether writes do, type and meaning.
const HEADERS: &[(&str, bool, bool, &str, &str)] = &[
    (
        "quorate-redirect",
        true,
        true,
        "string",
        "1: a peer that does not lead answers 307 and the leader's address instead of forwarding.",
    ),
    (
        "quorate-deadline-ms",
        true,
        true,
        "integer",
        "How long the call may take, in milliseconds; 10,000 when absent, at most 120,000.",
    ),
    (
        "quorate-no-wait",
        true,
        true,
        "string",
        "1: a peer that is starting or catching up refuses with not_ready at once; without, it waits up to the deadline.",
    ),
    (
        "quorate-min-revision",
        true,
        false,
        "string",
        "A state that has this revision is fresh enough; any peer answers from its own.",
    ),
    (
        "quorate-session",
        false,
        true,
        "string",
        "Session of a write that is to be executed at most once; goes with quorate-request.",
    ),
    (
        "quorate-request",
        false,
        true,
        "string",
        "Number of the write in its session, from 1; repeated, it gets the first answer.",
    ),
    (
        "quorate-dry-run",
        false,
        true,
        "string",
        "1: the write is checked and answered as if it were made now, and nothing is changed; the reply carries the same header.",
    ),
];

fn header_names(is_read: bool) -> impl Iterator<Item = &'static str> {
    HEADERS
        .iter()
        .filter(move |(_, reads, writes, ..)| if is_read { *reads } else { *writes })
        .map(|(name, ..)| *name)
}

fn header_parameters() -> Json {
    let parameters = HEADERS.iter().map(|(name, _, _, kind, meaning)| {
        let shown = parameter("header", name, false, json!({"type": kind}), meaning);
        ((*name).to_owned(), shown)
    });
    Json::Object(parameters.collect())
}

fn reply_headers() -> Json {
    json!({
        "quorate-revision": {"schema": {"type": "string"}, "description": "Revision of the write, or of the state that was read."},
        "quorate-term": {"schema": {"type": "string"}, "description": "Term and peer, with a dot between, of the leader of the last entry this peer has applied."}
    })
}

fn reply_header_references() -> Json {
    let reference = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    json!({"quorate-revision": reference("quorate-revision"), "quorate-term": reference("quorate-term")})
}

fn error_schema() -> Json {
    let codes: Vec<&str> = ERROR_TABLE.iter().map(|row| row.name).collect();
    let outcomes = [Outcome::NotApplied, Outcome::Unknown].map(Outcome::name);
    let retries = [
        RetryClass::Never,
        RetryClass::SamePeer,
        RetryClass::OtherPeer,
        RetryClass::SameRequestId,
    ];
    let statuses = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::UNSUPPORTED_MEDIA_TYPE].map(|status| status.as_u16());
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["code", "number", "message", "advice", "outcome", "retry"],
            "properties": {
                "code": {"type": "string", "examples": codes, "description": format!(
                    "Stable name; new ones may be added. Its HTTP status is in /api/v1/errors, but for {} and {}, which are HTTP's own.",
                    statuses[0], statuses[1]
                )},
                "number": {"type": "integer", "description": "The same as a number, never reused."},
                "message": {"type": "string", "description": "What is wrong with which object."},
                "advice": {"type": "string", "description": "What to do next."},
                "outcome": {"type": "string", "enum": outcomes, "description": "Whether a write can have happened."},
                "retry": {"type": "string", "enum": retries.map(RetryClass::name), "description": "What may be tried again."}
            }
        }}
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn the_document_is_the_one_that_is_checked_in() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/openapi.json");
        if std::env::var_os("QUORATE_BLESS").is_some() {
            std::fs::write(&path, document()).expect("written");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            golden == document(),
            "the API has changed: run this test with QUORATE_BLESS=1, look at the difference, and commit it"
        );
    }

    #[test]
    fn every_reference_leads_somewhere_and_ids_are_unique() {
        let document = build();
        let mut references = BTreeSet::new();
        collect_references(&document, &mut references);
        assert!(references.len() > 10);
        for reference in &references {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let operations = document["paths"].as_object().expect("an object").values();
        let ids: Vec<&Json> = operations
            .flat_map(|path| path.as_object().expect("an object").values())
            .map(|operation| &operation["operationId"])
            .collect();
        let distinct: BTreeSet<String> = ids.iter().map(|id| id.to_string()).collect();
        assert_eq!((ids.len(), distinct.len()), (routes::ROUTES.len(), routes::ROUTES.len()));
    }

    fn collect_references(json: &Json, found: &mut BTreeSet<String>) {
        match json {
            Json::Object(members) => {
                for (name, value) in members {
                    match value.as_str() {
                        Some(text) if name == "$ref" => drop(found.insert(text.to_owned())),
                        _ => collect_references(value, found),
                    }
                }
            }
            Json::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn comments_and_types_come_from_the_proto_files() {
        let document = build();
        let put = &document["paths"]["/api/v1/instances/{instance_id}/attributes/{name}"]["put"];
        assert_eq!(put["summary"], "Sets one attribute of an instance.");
        let schema = &document["components"]["schemas"]["PutAttributeRequest"]["properties"];
        assert_eq!(schema["value"]["contentEncoding"], "base64");
        assert_eq!(schema["value"]["description"], "up to 128 KiB");
        assert_eq!(
            (&schema["if_revision"]["type"], &schema["if_revision"]["format"]),
            (&"string".into(), &"uint64".into())
        );
    }
}
