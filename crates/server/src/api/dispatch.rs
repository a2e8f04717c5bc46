//! One call of a native service, from within the process: gRPC's frame and headers, without HTTP/2 beneath.
//!
//! ```text
//! request body:  0 | length u32 | message          reply: the same, then trailers; or headers alone on an error
//! ```
//!
//! The service does not know the difference, so whatever it does around a call holds for HTTP too.

use crate::app::App;
use crate::config::{host_of, is_loopback};
use crate::native::{Admitted, Services, reply};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use quorate_consensus::Deadline;
use quorate_model::error::Outcome;
use quorate_model::{ErrorCode, MetaError};
use std::net::IpAddr;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// Beginning of the headers that native calls understand, and of those they answer with.
const OWN_HEADERS: &str = "quorate-";
const TOKEN: HeaderName = HeaderName::from_static("quorate-token");
const DEADLINE: HeaderName = HeaderName::from_static("quorate-deadline-ms");
/// Flag and length in front of a message.
const FRAME_HEAD_BYTES: usize = 5;

/// What a caller said in headers.
pub struct CallHeaders {
    /// As the native service reads them. Holds the token: no `Debug`.
    headers: HeaderMap,
    pub deadline: Deadline,
}

impl CallHeaders {
    pub fn of(app: &App, given: &HeaderMap) -> Result<CallHeaders, MetaError> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            if name.as_str().starts_with(OWN_HEADERS) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let (Some(authorization), false) = (given.get(AUTHORIZATION), headers.contains_key(TOKEN)) {
            headers.insert(TOKEN, bearer(authorization)?);
        }
        if !headers.contains_key(TOKEN) {
            check_host(app, given)?;
        }
        let deadline = reply::call_info(app, &MetadataMap::from_headers(headers.clone()))?.deadline;
        Ok(CallHeaders { headers, deadline })
    }
}

/// On loopback a call needs no token, so it must be meant for this machine: a web page whose name was made to lead here has the browser
/// of its reader call in its place, under that name.
fn check_host(app: &App, given: &HeaderMap) -> Result<(), MetaError> {
    let Some(named) = given.get(HOST).filter(|_| is_loopback(&app.config.listen)) else {
        return Ok(());
    };
    let named = named.to_str().unwrap_or_default();
    let authority = named.parse::<Authority>().ok();
    let host = authority.as_ref().map_or("", |authority| authority.host());
    let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if host == "localhost" || is_address || host == host_of(app.config.public_address()) {
        return Ok(());
    }
    let message = format!("header host names {named:?}, by which nobody calls without a token; send the token, or call 127.0.0.1");
    Err(MetaError::new(ErrorCode::Unauthenticated, message))
}

fn bearer(authorization: &HeaderValue) -> Result<HeaderValue, MetaError> {
    let token = authorization.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let mut token = token.and_then(|token| HeaderValue::from_str(token).ok()).ok_or_else(|| {
        let message = "header authorization is not of the form `Bearer TOKEN`";
        MetaError::new(ErrorCode::Unauthenticated, message)
    })?;
    token.set_sensitive(true);
    Ok(token)
}

/// What came back.
pub struct Answered {
    /// Ours only: revision, term, and on errors name, outcome and leader.
    pub headers: HeaderMap,
    /// The message as the service encoded it: what is large is decoded where it is rendered ([`message_of`]).
    pub result: Result<Bytes, CallFailed>,
}

/// An error of the service.
pub struct CallFailed {
    pub error: MetaError,
    pub outcome: Outcome,
}

/// Lets a call of a method in before its body is read ([`Services::admit`]).
pub fn admit(services: &Services, method: &MethodDescriptor, given: &CallHeaders) -> Result<Admitted, MetaError> {
    services.admit(&path_of(method), &given.headers)
}

fn path_of(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// Calls a method of a native service, which has admitted the call.
pub async fn call(services: &Services, method: &MethodDescriptor, message: &DynamicMessage, given: CallHeaders) -> Answered {
    let mut request = http::Request::new(Body::new(Full::new(frame(message))));
    let path = path_of(method);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse().expect("names of protobuf are letters, digits, dots and underscores");
    let left = given.deadline.saturating_duration_since(Instant::now());
    *request.headers_mut() = given.headers;
    // The body has taken its part of the time.
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    request.headers_mut().insert(DEADLINE, left_ms.into());
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let Ok(response) = services.call_admitted(request).await;
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    let body = match body.collect().await {
        Ok(body) => body,
        Err(status) => return answered(headers, Err(status)),
    };
    headers.extend(body.trailers().cloned().unwrap_or_default());
    let status = Status::from_header_map(&headers).unwrap_or_else(|| Status::internal("the service gave no status"));
    let result = match status.code() {
        Code::Ok => unframe(body.to_bytes()),
        _ => Err(status),
    };
    answered(headers, result)
}

fn answered(mut headers: HeaderMap, result: Result<Bytes, Status>) -> Answered {
    let others = headers.keys().filter(|name| !name.as_str().starts_with(OWN_HEADERS));
    for name in others.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
    Answered {
        headers,
        result: result.map_err(|status| failed(&status)),
    }
}

fn failed(status: &Status) -> CallFailed {
    // What is not of our own making comes from the machinery of gRPC, before the call's work.
    let error = reply::error_of(status).unwrap_or_else(|| {
        let code = match status.code() {
            Code::Unimplemented => ErrorCode::UnknownCommand,
            Code::ResourceExhausted | Code::OutOfRange => ErrorCode::TooLarge,
            Code::InvalidArgument => ErrorCode::InvalidArgument,
            _ => ErrorCode::Internal,
        };
        MetaError::new(code, status.message())
    });
    let said = status.metadata().get("quorate-outcome").and_then(|value| value.to_str().ok());
    let outcome = match said {
        Some(name) if name == Outcome::NotApplied.name() => Outcome::NotApplied,
        Some(_) => Outcome::Unknown,
        None => error.code.row().outcome,
    };
    CallFailed { error, outcome }
}

fn frame(message: &DynamicMessage) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(FRAME_HEAD_BYTES + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).expect("a message is about as long as its body, which is bounded far below 4 GiB"));
    message.encode(&mut framed).expect("a growing buffer takes every message");
    framed.freeze()
}

fn unframe(mut body: Bytes) -> Result<Bytes, Status> {
    if body.len() < FRAME_HEAD_BYTES || body.get_u8() != 0 || body.get_u32() as usize != body.len() {
        return Err(Status::internal("the service gave no whole message"));
    }
    Ok(body)
}

/// The message that a method answered.
pub fn message_of(method: &MethodDescriptor, encoded: Bytes) -> Result<DynamicMessage, CallFailed> {
    let decoded = DynamicMessage::decode(method.output(), encoded);
    decoded.map_err(|error| failed(&Status::internal(format!("the service's message: {error}"))))
}
