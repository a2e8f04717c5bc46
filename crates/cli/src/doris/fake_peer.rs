//! A peer for tests: a real server on loopback, whose answers are written down beforehand. It opens and closes sessions by itself.

use super::{Connection, DRY_RUN};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use quorate_client::TlsOptions;
use quorate_model::ErrorCode;
use quorate_wire::quorate::v1::{CloseSessionReply, OpenSessionReply};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// One answer.
#[derive(Clone)]
pub(crate) struct Said {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Said {
    /// Over HTTP, without a word that peers add: success, or what a proxy says.
    pub(crate) fn plain(status: u16, body: &str) -> Said {
        Said {
            status,
            headers: Vec::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    /// This error, as a peer tells it over HTTP.
    pub(crate) fn error(code: ErrorCode) -> Said {
        Said {
            headers: named(code),
            ..Said::plain(code.row().http_status, r#"{"code":"X","msg":"so said the peer"}"#)
        }
    }

    /// This message over gRPC.
    pub(crate) fn message(message: &impl Message) -> Said {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.encoded_len()).expect("messages of tests are small"));
        message.encode(&mut framed).expect("a growing buffer takes every message");
        Said {
            status: 200,
            headers: vec![(GRPC.0, GRPC.1.to_owned()), ("grpc-status", "0".to_owned())],
            body: framed.freeze(),
        }
    }

    /// This error, as a peer tells it over gRPC.
    pub(crate) fn status(code: ErrorCode) -> Said {
        let row = code.row();
        let mut headers = named(code);
        headers.push((GRPC.0, GRPC.1.to_owned()));
        headers.push(("grpc-status", row.grpc_status.to_string()));
        headers.push(("grpc-message", format!("so said the peer; {}", row.advice)));
        Said {
            status: 200,
            headers,
            body: Bytes::new(),
        }
    }

    fn response(self) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response
            .body(Body::new(Full::new(self.body)))
            .expect("names and values of tests are valid")
    }
}

fn named(code: ErrorCode) -> Vec<(&'static str, String)> {
    let row = code.row();
    vec![
        ("quorate-error", row.name.to_owned()),
        ("quorate-outcome", row.outcome.name().to_owned()),
    ]
}

#[derive(Default)]
struct State {
    /// Paths of the calls, but for those of sessions that were opened and closed.
    calls: Vec<String>,
    /// What stood behind the question mark of each of these; mostly nothing.
    queries: Vec<String>,
    /// Those of them that were to change nothing.
    dry_runs: Vec<String>,
    answers: VecDeque<Said>,
    /// What who wants a session hears instead of getting one.
    no_session: Option<Said>,
    /// What who closes one hears in turn, before it is closed.
    not_closed: VecDeque<Said>,
}

pub(crate) struct FakePeer {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl FakePeer {
    /// Gives these answers in turn, the last one for ever.
    pub(crate) async fn start(answers: impl IntoIterator<Item = Said>) -> FakePeer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("the socket is bound").to_string();
        let state = Arc::new(Mutex::new(State {
            answers: answers.into_iter().collect(),
            ..State::default()
        }));
        let shared = state.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let shared = shared.clone();
            async move {
                let path = request.uri().path().to_owned();
                let query = request.uri().query().unwrap_or_default().to_owned();
                let is_dry_run = request.headers().get(DRY_RUN).is_some_and(|value| value == "1");
                let _ = request.into_body().collect().await;
                let mut state = shared.lock().expect("no test panics while it holds the state");
                if is_dry_run {
                    state.dry_runs.push(path.clone());
                }
                let said = state.answer(path, query);
                Ok::<Response<Body>, Infallible>(said.response())
            }
        });
        tokio::spawn(Server::builder().serve_with_incoming(service, TcpIncoming::from(listener)));
        FakePeer { address, state }
    }

    /// Answers who wants a session like this.
    pub(crate) fn give_no_session(&self, said: Said) {
        self.state.lock().expect("no test panics while it holds the state").no_session = Some(said);
    }

    /// Answers those who close a session like this, in turn, before it closes one.
    pub(crate) fn close_no_session(&self, answers: impl IntoIterator<Item = Said>) {
        let mut state = self.state.lock().expect("no test panics while it holds the state");
        state.not_closed = answers.into_iter().collect();
    }

    /// Paths of the calls so far, without those about sessions.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().expect("no test panics while it holds the state").calls.clone()
    }

    /// The query of each of these calls, as it was sent.
    pub(crate) fn queries(&self) -> Vec<String> {
        self.state.lock().expect("no test panics while it holds the state").queries.clone()
    }

    /// Paths of those that were dry runs.
    pub(crate) fn dry_runs(&self) -> Vec<String> {
        self.state.lock().expect("no test panics while it holds the state").dry_runs.clone()
    }
}

impl State {
    fn answer(&mut self, path: String, query: String) -> Said {
        match path.as_str() {
            "/quorate.v1.Metadata/OpenSession" => {
                let opened = Said::message(&OpenSessionReply { session_id: 7 });
                return self.no_session.clone().unwrap_or(opened);
            }
            "/quorate.v1.Metadata/CloseSession" => {
                let closed = Said::message(&CloseSessionReply {});
                return self.not_closed.pop_front().unwrap_or(closed);
            }
            _ => {
                self.calls.push(path);
                self.queries.push(query);
            }
        }
        let next = match self.answers.len() {
            0 | 1 => self.answers.front().cloned(),
            _ => self.answers.pop_front(),
        };
        next.unwrap_or_else(|| Said::plain(404, "no answer was written down"))
    }
}

/// A connection to these addresses with so much time.
pub(crate) fn connection(endpoints: &[&str], timeout: Duration) -> Connection {
    Connection {
        endpoints: endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(),
        tls: TlsOptions::default(),
        token: "token".to_owned(),
        timeout,
        deadline: Instant::now() + timeout,
        first: Arc::default(),
    }
}
