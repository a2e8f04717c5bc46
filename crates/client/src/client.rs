//! The calls of a client.

use crate::attempts::{CallShape, Caller};
use crate::error::ClientError;
use crate::options::{Answer, ClientOptions, ListPage, Read};
use crate::peers::{Peers, Prefer};
use crate::session::Session;
use prost::bytes::Bytes;
use quorate_model::{ErrorCode, Outcome, RequestId, SessionId};
use quorate_wire::quorate::v1 as wire;
use quorate_wire::quorate::v1::admin_client::AdminClient;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Sessions opened for one write because the cluster had ended the one before. One is normal after an idle hour; more than
/// a few mean that sessions are being ended as fast as they are opened.
const MAX_RENEWALS: u32 = 3;

/// Beyond it a deadline is none; instants that far ahead can be told on every machine.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 86_400);

/// A client of one cluster. Cheap to clone; clones share connections, leader and session.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
}

#[derive(Debug)]
struct Shared {
    caller: Caller,
    /// Opened by the first write. The lock is held while one is being opened, so that a burst opens one.
    session: Mutex<Option<Arc<Session>>>,
}

impl Client {
    /// A client of the cluster that the peers at these public addresses (`host:port`) belong to, with default options.
    /// Connects on first use; must be called within a Tokio runtime.
    pub fn open(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Result<Client, ClientError> {
        Client::open_with(endpoints, ClientOptions::default())
    }

    /// As [`Client::open`], with options.
    pub fn open_with(endpoints: impl IntoIterator<Item = impl Into<String>>, options: ClientOptions) -> Result<Client, ClientError> {
        let peers = Peers::new(endpoints.into_iter().map(Into::into).collect(), &options)?;
        let deadline = options.deadline.min(LONGEST_DEADLINE);
        let caller = Caller {
            peers,
            options,
            last_revision: AtomicU64::new(0),
        };
        Ok(Client {
            shared: Arc::new(Shared {
                caller,
                session: Mutex::new(None),
            }),
            deadline,
        })
    }

    /// The same client with another deadline for its calls; of those over a year, a year.
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client {
            shared: self.shared.clone(),
            deadline: deadline.min(LONGEST_DEADLINE),
        }
    }

    /// The highest revision any answer to this client carried: what `Read::at_least` needs to see its own writes.
    pub fn last_revision(&self) -> u64 {
        self.shared.caller.last_revision.load(Ordering::Relaxed)
    }

    /// Sets an attribute.
    pub async fn put(&self, instance: &str, name: &str, value: impl Into<Bytes>) -> Result<Answer<()>, ClientError> {
        self.put_request(instance, name, value.into(), None).await
    }

    /// Sets an attribute if it was last written at `if_revision` (0: if there is none); else `precondition_failed`.
    pub async fn put_if(&self, instance: &str, name: &str, value: impl Into<Bytes>, if_revision: u64) -> Result<Answer<()>, ClientError> {
        self.put_request(instance, name, value.into(), Some(if_revision)).await
    }

    async fn put_request(&self, instance: &str, name: &str, value: Bytes, if_revision: Option<u64>) -> Result<Answer<()>, ClientError> {
        let message = wire::PutAttributeRequest {
            instance_id: instance.to_owned(),
            name: name.to_owned(),
            value,
            if_revision,
        };
        let answer = self
            .write(&message, |channel, request| async move {
                MetadataClient::new(channel).put_attribute(request).await
            })
            .await?;
        Ok(Answer {
            value: (),
            revision: answer.value.revision,
        })
    }

    /// Deletes an attribute; the value says whether there was one.
    pub async fn delete(&self, instance: &str, name: &str) -> Result<Answer<bool>, ClientError> {
        self.delete_request(instance, name, None).await
    }

    /// Deletes an attribute if it was last written at `if_revision`; else `precondition_failed`.
    pub async fn delete_if(&self, instance: &str, name: &str, if_revision: u64) -> Result<Answer<bool>, ClientError> {
        self.delete_request(instance, name, Some(if_revision)).await
    }

    async fn delete_request(&self, instance: &str, name: &str, if_revision: Option<u64>) -> Result<Answer<bool>, ClientError> {
        let message = wire::DeleteAttributeRequest {
            instance_id: instance.to_owned(),
            name: name.to_owned(),
            if_revision,
        };
        let answer = self
            .write(&message, |channel, request| async move {
                MetadataClient::new(channel).delete_attribute(request).await
            })
            .await?;
        Ok(Answer {
            value: answer.value.existed,
            revision: answer.value.revision,
        })
    }

    /// Reads an attribute; `None` if there is none.
    pub async fn get(&self, instance: &str, name: &str, read: Read) -> Result<Answer<Option<wire::Attribute>>, ClientError> {
        let message = wire::GetAttributeRequest {
            instance_id: instance.to_owned(),
            name: name.to_owned(),
            consistency: read.consistency.into(),
            at_revision: read.at_revision,
        };
        let answer = self
            .read(read.min_revision, &message, |channel, request| async move {
                MetadataClient::new(channel).get_attribute(request).await
            })
            .await?;
        Ok(Answer {
            revision: answer.value.revision,
            value: answer.value.attribute,
        })
    }

    /// One page of the attributes whose names start with `prefix`, in the order of their names. `page` is 1 to 1,000, 0 for
    /// as many as a page may hold; `after` is [`ListPage::next`] of the page before, and keeps to that page's revision.
    pub async fn list(
        &self,
        instance: &str,
        prefix: &str,
        page: u32,
        after: Option<String>,
        read: Read,
    ) -> Result<Answer<ListPage>, ClientError> {
        let message = wire::ListAttributesRequest {
            instance_id: instance.to_owned(),
            prefix: prefix.to_owned(),
            page_size: page,
            page_token: after.unwrap_or_default(),
            consistency: read.consistency.into(),
            at_revision: read.at_revision,
        };
        let answer = self
            .read(read.min_revision, &message, |channel, request| async move {
                MetadataClient::new(channel).list_attributes(request).await
            })
            .await?;
        let next = Some(answer.value.next_page_token).filter(|token| !token.is_empty());
        Ok(Answer {
            revision: answer.value.revision,
            value: ListPage {
                attributes: answer.value.attributes,
                next,
            },
        })
    }

    /// Health of the cluster as one peer sees it.
    pub async fn status(&self) -> Result<wire::StatusReply, ClientError> {
        let answer = self
            .read(None, &wire::StatusRequest {}, |channel, request| async move {
                AdminClient::new(channel).status(request).await
            })
            .await?;
        Ok(answer.value)
    }

    /// Ends the session, so that the cluster need not keep it for its idle hour. Best effort: a session left behind ends by
    /// itself. The client can be used afterwards and opens a new session.
    pub async fn close(&self) {
        let Some(session) = self.shared.session.lock().await.take() else {
            return;
        };
        let message = wire::CloseSessionRequest {
            session_id: session.id().0,
        };
        let shape = self.shape(Prefer::Leader, Instant::now() + self.deadline);
        let closed = self
            .shared
            .caller
            .call(shape, &message, |channel, request| async move {
                MetadataClient::new(channel).close_session(request).await
            })
            .await;
        if let Err(error) = closed {
            tracing::debug!(%error, "a session was left to end by itself");
        }
    }

    fn shape(&self, prefer: Prefer, deadline: Instant) -> CallShape {
        CallShape {
            prefer,
            request_id: None,
            min_revision: None,
            deadline,
            wait: self.deadline,
        }
    }

    async fn read<Req, Rep, Fut>(
        &self,
        min_revision: Option<u64>,
        message: &Req,
        send: impl Fn(Channel, Request<Req>) -> Fut,
    ) -> Result<Answer<Rep>, ClientError>
    where
        Req: Clone,
        Fut: Future<Output = Result<Response<Rep>, Status>>,
    {
        let shape = CallShape {
            min_revision,
            ..self.shape(Prefer::Current, Instant::now() + self.deadline)
        };
        self.shared.caller.call(shape, message, send).await
    }

    /// A write under a number of the session. A session the cluster has ended is replaced, and the write sent again under a
    /// new number, only while it is certain that no try of it took effect.
    async fn write<Req, Rep, Fut>(&self, message: &Req, send: impl Fn(Channel, Request<Req>) -> Fut) -> Result<Answer<Rep>, ClientError>
    where
        Req: Clone,
        Fut: Future<Output = Result<Response<Rep>, Status>>,
    {
        let deadline = Instant::now() + self.deadline;
        let mut renewals = 0;
        loop {
            let session = self.session(deadline).await?;
            let Ok(lane) = tokio::time::timeout_at(deadline, session.lane()).await else {
                return Err(self.no_lane());
            };
            let shape = CallShape {
                request_id: Some(lane.request_id()),
                ..self.shape(Prefer::Leader, deadline)
            };
            let result = self.shared.caller.call(shape, message, &send).await;
            let Err(error) = &result else { return result };
            if error.code() != Some(ErrorCode::SessionExpired) {
                return result;
            }
            self.forget_session(lane.request_id()).await;
            renewals += 1;
            if error.outcome() == Outcome::Unknown || renewals > MAX_RENEWALS {
                return result;
            }
        }
    }

    /// The open session; opens one if there is none.
    async fn session(&self, deadline: Instant) -> Result<Arc<Session>, ClientError> {
        let opening = async {
            let mut session = self.shared.session.lock().await;
            if let Some(open) = session.as_ref() {
                return Ok(open.clone());
            }
            // Repeated after a lost answer, this may open a second session; that one ends unused after an hour.
            let shape = self.shape(Prefer::Leader, deadline);
            let answer = self
                .shared
                .caller
                .call(shape, &wire::OpenSessionRequest {}, |channel, request| async move {
                    MetadataClient::new(channel).open_session(request).await
                })
                .await?;
            let opened = Session::new(SessionId(answer.value.session_id));
            *session = Some(opened.clone());
            Ok(opened)
        };
        match tokio::time::timeout_at(deadline, opening).await {
            Ok(result) => result,
            Err(_) => Err(self.timed_out("waiting for a session to open")),
        }
    }

    /// Forgets the session of this number, unless another write has replaced it already.
    async fn forget_session(&self, used: RequestId) {
        let mut session = self.shared.session.lock().await;
        if session.as_ref().is_some_and(|open| open.id() == used.session) {
            *session = None;
        }
    }

    fn no_lane(&self) -> ClientError {
        self.timed_out("waiting for one of the 128 writes in flight of this session to end")
    }

    /// The deadline passed before anything was sent.
    fn timed_out(&self, waiting: &str) -> ClientError {
        let failure = crate::error::Failure::Deadline {
            deadline: self.deadline,
            code: None,
            last: waiting.to_owned(),
        };
        ClientError::new(failure, Outcome::NotApplied, 0)
    }
}
