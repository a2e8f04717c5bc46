//! The route table: one line per native call.
//!
//! Adding a call: `get`, `put`, `post` or `delete`, the path, and `Service.Method` of package `quorate.v1`. A variable of the
//! path is named as the field of the request it sets (`{cluster.id}` sets a field of a field). The other fields come from the
//! query (`get`, `delete`) or from a JSON body (`put`, `post`). A test asks for a line for every call.

use crate::nearest::nearest;
use percent_encoding::percent_decode_str;
use prost_reflect::MethodDescriptor;
use quorate_model::{MetaError, proto_json};
use std::sync::LazyLock;

/// HTTP methods that routes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

/// Where the fields that are not in the path come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    Query,
    Body,
}

/// What stands behind a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `Service.Method` of package `quorate.v1`.
    Call(&'static str, Parameters),
    /// The error table.
    Errors,
    /// The OpenAPI document.
    OpenApi,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub target: Target,
}

const fn route(method: Method, path: &'static str, target: Target) -> Route {
    Route { method, path, target }
}

const fn get(path: &'static str, call: &'static str) -> Route {
    route(Method::Get, path, Target::Call(call, Parameters::Query))
}

const fn put(path: &'static str, call: &'static str) -> Route {
    route(Method::Put, path, Target::Call(call, Parameters::Body))
}

const fn post(path: &'static str, call: &'static str) -> Route {
    route(Method::Post, path, Target::Call(call, Parameters::Body))
}

const fn delete(path: &'static str, call: &'static str) -> Route {
    route(Method::Delete, path, Target::Call(call, Parameters::Query))
}

/// Every route of the API. A row is a line, however long.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    get("/api/v1/status", "Admin.Status"),
    post("/api/v1/leader", "Admin.TransferLeader"),
    post("/api/v1/members", "Admin.AddMember"),
    post("/api/v1/members/{peer_id}/promote", "Admin.PromoteMember"),
    delete("/api/v1/members/{peer_id}", "Admin.RemoveMember"),
    post("/api/v1/sessions", "Metadata.OpenSession"),
    delete("/api/v1/sessions/{session_id}", "Metadata.CloseSession"),
    get("/api/v1/instances", "Metadata.ListInstances"),
    get("/api/v1/instances/{instance_id}/attributes", "Metadata.ListAttributes"),
    get("/api/v1/instances/{instance_id}/attributes/{name}", "Metadata.GetAttribute"),
    put("/api/v1/instances/{instance_id}/attributes/{name}", "Metadata.PutAttribute"),
    delete("/api/v1/instances/{instance_id}/attributes/{name}", "Metadata.DeleteAttribute"),
    post("/api/v1/attributes/append", "Metadata.AppendAttributes"),
    post("/api/v1/instances/{instance_id}/databases", "Catalog.CreateDatabase"),
    get("/api/v1/instances/{instance_id}/databases", "Catalog.ListDatabases"),
    get("/api/v1/instances/{instance_id}/databases/{name}", "Catalog.DescribeDatabase"),
    post("/api/v1/instances/{instance_id}/databases/{name}/rename", "Catalog.RenameDatabase"),
    delete("/api/v1/instances/{instance_id}/databases/{name}", "Catalog.DropDatabase"),
    post("/api/v1/instances/{instance_id}/databases/{database}/collections", "Catalog.CreateCollection"),
    get("/api/v1/instances/{instance_id}/databases/{database}/collections", "Catalog.ListCollections"),
    get("/api/v1/instances/{instance_id}/databases/{database}/collections/{name}", "Catalog.DescribeCollection"),
    post("/api/v1/instances/{instance_id}/databases/{database}/collections/{name}/rename", "Catalog.RenameCollection"),
    delete("/api/v1/instances/{instance_id}/databases/{database}/collections/{name}", "Catalog.DropCollection"),
    post("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/partitions", "Catalog.CreatePartition"),
    get("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/partitions", "Catalog.ListPartitions"),
    get("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/partitions/{name}", "Catalog.DescribePartition"),
    post("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/partitions/{name}/rename", "Catalog.RenamePartition"),
    delete("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/partitions/{name}", "Catalog.DropPartition"),
    post("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/partitions/{partition}/segments", "Catalog.PrepareSegments"),
    post("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/partitions/{partition}/segments/drop", "Catalog.DropSegments"),
    get("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/partitions/{partition}/segments/{segment_id}", "Catalog.DescribeSegment"),
    get("/api/v1/instances/{instance_id}/databases/{database}/collections/{collection}/segments", "Catalog.ListSegments"),
    post("/api/v1/instances/{instance_id}/segments/commit", "Catalog.CommitSegments"),
    post("/api/v1/instances/{instance_id}/segments/abort", "Catalog.AbortSegments"),
    get("/api/v1/instances/{instance_id}/vault", "Catalog.DescribeVault"),
    get("/api/v1/instances/{instance_id}/vault/files", "Catalog.ScanVault"),
    get("/api/v1/instances/{instance_id}/vault/manifests", "Catalog.ScanManifests"),
    post("/api/v1/instances/{instance_id}/vault/abandon", "Catalog.AbandonDeletions"),
    get("/api/v1/deletions", "Catalog.ListDeletions"),
    post("/api/v1/instances/{instance_id}/snapshots", "Snapshots.CreateSnapshot"),
    get("/api/v1/instances/{instance_id}/snapshots", "Snapshots.ListSnapshots"),
    get("/api/v1/instances/{instance_id}/snapshots/{snapshot.snapshot_id}", "Snapshots.DescribeSnapshot"),
    delete("/api/v1/instances/{instance_id}/snapshots/{snapshot.snapshot_id}", "Snapshots.DropSnapshot"),
    post("/api/v1/instances/{instance_id}/snapshots/{snapshot.snapshot_id}/pins", "Snapshots.PinSnapshot"),
    delete("/api/v1/instances/{instance_id}/pins/{pin_id}", "Snapshots.UnpinSnapshot"),
    post("/api/v1/instances/{instance_id}/snapshots/{snapshot.snapshot_id}/restore", "Snapshots.RestoreSnapshot"),
    post("/api/v1/instances/{instance_id}/clone", "Snapshots.CloneInstance"),
    post("/api/v1/instances/{instance_id}/compact", "Snapshots.CompactClone"),
    post("/api/v1/instances/{instance_id}/decouple", "Snapshots.DecoupleClone"),
    get("/api/v1/jobs", "Jobs.ListJobs"),
    get("/api/v1/jobs/{job_id}", "Jobs.DescribeJob"),
    get("/api/v1/jobs/{job_id}/tasks", "Jobs.ListTasks"),
    post("/api/v1/jobs/{job_id}/cancel", "Jobs.CancelJob"),
    get("/api/v1/settings", "Settings.ListSettings"),
    put("/api/v1/settings/{name}", "Settings.SetSetting"),
    delete("/api/v1/settings/{name}", "Settings.ResetSetting"),
    route(Method::Get, "/api/v1/errors", Target::Errors),
    route(Method::Get, "/api/openapi.json", Target::OpenApi),
];

/// Calls that have no route, each with the reason.
#[cfg(test)]
pub const WITHOUT_ROUTE: &[(&str, &str)] = &[
    ("Work.ClaimTasks", WORKERS),
    ("Work.RenewClaims", WORKERS),
    ("Work.CompleteTask", WORKERS),
    ("Work.FailTask", WORKERS),
    ("Work.ReadTask", WORKERS),
    ("Work.OpenVault", WORKERS),
];
#[cfg(test)]
const WORKERS: &str = "for worker processes, which speak gRPC; people look at jobs and their tasks";

/// Package of all calls.
pub const PACKAGE: &str = "quorate.v1";

/// A part of a path between slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    Literal(&'static str),
    /// Path of the request field it sets.
    Variable(&'static str),
}

/// What stands behind a route, found among the descriptors.
#[derive(Clone, Debug)]
pub enum Answer {
    Call { method: MethodDescriptor, parameters: Parameters },
    Errors,
    OpenApi,
}

/// A row with everything that can be known before a call.
#[derive(Debug)]
pub struct Resolved {
    pub route: &'static Route,
    pub segments: Vec<Segment>,
    pub answer: Answer,
}

impl Resolved {
    fn of(route: &'static Route) -> Resolved {
        let answer = match route.target {
            Target::Errors => Answer::Errors,
            Target::OpenApi => Answer::OpenApi,
            Target::Call(call, parameters) => Answer::Call {
                method: method_named(call).unwrap_or_else(|| panic!("{call} is a call of {PACKAGE}: a test resolves every row")),
                parameters,
            },
        };
        let segments = route.path.split('/').map(|segment| {
            let variable = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            variable.map_or(Segment::Literal(segment), Segment::Variable)
        });
        Resolved {
            route,
            segments: segments.collect(),
            answer,
        }
    }

    /// Fields that the path sets.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(name) => Some(*name),
            Segment::Literal(_) => None,
        })
    }

    /// Whether the path says all there is to say.
    pub fn needs_no_body(&self) -> bool {
        match &self.answer {
            Answer::Call { method, .. } => method
                .input()
                .fields()
                .all(|field| self.variables().any(|variable| variable == field.name())),
            Answer::Errors | Answer::OpenApi => true,
        }
    }

    /// The values of its variables, still encoded, if the path is this route's.
    fn matches<'a>(&self, parts: &[&'a str]) -> Option<Vec<(&'static str, &'a str)>> {
        if parts.len() != self.segments.len() {
            return None;
        }
        let mut values = Vec::new();
        for (segment, part) in self.segments.iter().zip(parts) {
            match segment {
                Segment::Literal(literal) if literal == part => {}
                Segment::Variable(name) if !part.is_empty() => values.push((*name, *part)),
                _ => return None,
            }
        }
        Some(values)
    }

    /// The route's path with the caller's words in the place of variables: what is compared to find the nearest.
    fn resembling(&self, parts: &[&str]) -> String {
        let words = self.segments.iter().enumerate().map(|(position, segment)| match segment {
            Segment::Literal(literal) => literal,
            Segment::Variable(name) => parts.get(position).unwrap_or(name),
        });
        words.copied().collect::<Vec<_>>().join("/")
    }
}

fn method_named(call: &str) -> Option<MethodDescriptor> {
    let (service, method) = call.split_once('.')?;
    let service = proto_json::descriptors().get_service_by_name(&format!("{PACKAGE}.{service}"))?;
    service.methods().find(|found| found.name() == method)
}

/// All rows, resolved.
pub fn resolved() -> &'static [Resolved] {
    static RESOLVED: LazyLock<Vec<Resolved>> = LazyLock::new(|| ROUTES.iter().map(Resolved::of).collect());
    &RESOLVED
}

/// What a request's path and method lead to.
#[derive(Debug)]
pub enum Found {
    /// A route, with the values of its variables.
    Route(&'static Resolved, Vec<(&'static str, String)>),
    /// The path is right; these methods are.
    WrongMethod(Vec<Method>),
    /// No route; the path of the one that may have been meant.
    Nothing(Option<&'static str>),
}

/// Finds the route of a request. A literal wins over a variable.
pub fn find(method: &str, path: &str) -> Result<Found, MetaError> {
    let parts: Vec<&str> = path.split('/').collect();
    let mut found: Vec<_> = resolved()
        .iter()
        .filter_map(|resolved| Some((resolved, resolved.matches(&parts)?)))
        .collect();
    let fewest = found.iter().map(|(_, values)| values.len()).min();
    found.retain(|(_, values)| Some(values.len()) == fewest);
    if found.is_empty() {
        return Ok(Found::Nothing(nearest_route(&parts)));
    }
    let Some(position) = found.iter().position(|(resolved, _)| resolved.route.method.name() == method) else {
        let mut allowed: Vec<Method> = found.iter().map(|(resolved, _)| resolved.route.method).collect();
        allowed.sort_unstable();
        return Ok(Found::WrongMethod(allowed));
    };
    let (resolved, values) = found.swap_remove(position);
    let decoded = values
        .into_iter()
        .map(|(name, value)| match percent_decode_str(value).decode_utf8() {
            Ok(value) => Ok((name, value.into_owned())),
            Err(_) => Err(MetaError::invalid(format!(
                "path variable {name} is not UTF-8 once its %xx are decoded"
            ))),
        });
    Ok(Found::Route(resolved, decoded.collect::<Result<_, _>>()?))
}

fn nearest_route(parts: &[&str]) -> Option<&'static str> {
    let candidates: Vec<(String, &'static str)> = resolved()
        .iter()
        .map(|resolved| (resolved.resembling(parts), resolved.route.path))
        .collect();
    let near = nearest(&parts.join("/"), candidates.iter().map(|(words, _)| words.as_str()))?.to_owned();
    candidates.into_iter().find(|(words, _)| *words == near).map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_call_has_exactly_one_route_or_a_reason() {
        let mut calls = BTreeSet::new();
        for service in proto_json::descriptors()
            .services()
            .filter(|service| service.package_name() == PACKAGE)
        {
            for method in service.methods() {
                calls.insert(format!("{}.{}", service.name(), method.name()));
            }
        }
        assert!(calls.len() >= 12, "{calls:?}");
        for call in &calls {
            let routes = ROUTES
                .iter()
                .filter(|route| matches!(route.target, Target::Call(name, _) if name == call));
            let reasons = WITHOUT_ROUTE.iter().filter(|(name, reason)| name == call && !reason.is_empty());
            assert_eq!(
                routes.count() + reasons.count(),
                1,
                "{call} needs one line in ROUTES, or a reason in WITHOUT_ROUTE"
            );
        }
        for (call, _) in WITHOUT_ROUTE {
            assert!(calls.contains(*call), "{call} does not exist");
        }
    }

    #[test]
    fn every_row_resolves_and_its_variables_are_fields() {
        for resolved in resolved() {
            let Answer::Call { method, .. } = &resolved.answer else { continue };
            assert!(
                !method.is_client_streaming() && !method.is_server_streaming(),
                "{}",
                method.full_name()
            );
            for variable in resolved.variables() {
                let mut message = method.input();
                let mut names = variable.split('.').peekable();
                while let Some(name) = names.next() {
                    let field = message.get_field_by_name(name);
                    let field = field.unwrap_or_else(|| panic!("{}: no field {variable}", resolved.route.path));
                    assert!(!field.is_list() && !field.is_map(), "{variable}");
                    match (names.peek(), field.kind()) {
                        (Some(_), prost_reflect::Kind::Message(inner)) => message = inner,
                        (None, kind) => assert!(kind.as_message().is_none(), "{variable} is no single value"),
                        (Some(_), _) => panic!("{variable} has no fields"),
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_rows_answer_one_request() {
        let shape = |resolved: &Resolved| {
            let shapes = resolved.segments.iter().map(|segment| match segment {
                Segment::Literal(literal) => *literal,
                Segment::Variable(_) => "{}",
            });
            (resolved.route.method, shapes.collect::<Vec<_>>())
        };
        let shapes: BTreeSet<_> = resolved().iter().map(shape).collect();
        assert_eq!(shapes.len(), ROUTES.len());
        assert!(ROUTES.iter().all(|route| route.path.starts_with("/api/")));
    }

    #[test]
    fn paths_find_their_route_with_decoded_variables() {
        let found = find("PUT", "/api/v1/instances/a%20b/attributes/x%2Fy").expect("well-formed");
        let Found::Route(resolved, values) = found else {
            panic!("{found:?}")
        };
        assert_eq!(resolved.route.target, Target::Call("Metadata.PutAttribute", Parameters::Body));
        assert_eq!(values, [("instance_id", "a b".to_owned()), ("name", "x/y".to_owned())]);
        assert!(find("PUT", "/api/v1/instances/%ff/attributes/x").is_err());
    }

    #[test]
    fn a_wrong_path_names_the_nearest_route() {
        for (path, expected) in [
            ("/api/v1/instance", Some("/api/v1/instances")),
            ("/api/v1/instances/", Some("/api/v1/instances")),
            (
                "/api/v1/instances/warehouse/attribute",
                Some("/api/v1/instances/{instance_id}/attributes"),
            ),
            ("/api/v2/status", Some("/api/v1/status")),
            ("/api/openapi.yaml", Some("/api/openapi.json")),
            ("/api/something/else/that/is/not/here/at/all", None),
        ] {
            match find("GET", path) {
                Ok(Found::Nothing(nearest)) => assert_eq!(nearest, expected, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_path_with_a_long_word_names_no_route() {
        for (chars, expected) in [(100, Some("/api/v1/instances/{instance_id}/vault")), (1_000, None)] {
            let path = format!("/api/v1/instances/{}/vult", "a".repeat(chars));
            match find("GET", &path) {
                Ok(Found::Nothing(nearest)) => assert_eq!(nearest, expected, "{chars}"),
                other => panic!("{chars}: {other:?}"),
            }
        }
    }
}
