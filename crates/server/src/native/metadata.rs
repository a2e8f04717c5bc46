//! `quorate.v1.Metadata`: sessions and attributes.

use super::reply::{CallInfo, call_info, check_redirect, check_token, request_id, response, status};
use crate::app::App;
use quorate_consensus::Node;
use quorate_model::{MetaError, Revision};
use quorate_state_machine::command::{ApplyError, Prepare};
use quorate_state_machine::commands::{CloseSession, DeleteAttribute, Numbered, OpenSession, PutAttribute};
use quorate_state_machine::{Reader, queries};
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// Serves the calls of one peer.
pub struct MetadataService {
    pub app: Arc<App>,
}

/// The store failed under a query: this peer cannot answer, another can.
pub fn query_error(error: ApplyError) -> MetaError {
    match error {
        ApplyError::Refused(error) => error,
        ApplyError::Store(error) => {
            tracing::error!(%error, "a read of the state failed");
            MetaError::internal("this peer cannot read its state")
        }
    }
}

impl MetadataService {
    /// Admission, metadata, metrics around one call.
    async fn around<Req, Rep, Fut>(
        &self,
        call: &'static str,
        request: Request<Req>,
        work: impl FnOnce(Node, Req, CallInfo) -> Fut,
    ) -> Result<Response<Rep>, Status>
    where
        Fut: Future<Output = Result<(Revision, Rep), MetaError>>,
    {
        let started = Instant::now();
        let app = &self.app;
        let id = request_id(request.metadata()).ok().flatten();
        let result = async {
            let _permit = app.admit().map_err(|error| status(app, error))?;
            check_token(app, request.metadata()).map_err(|error| status(app, error))?;
            let info = call_info(app, request.metadata()).map_err(|error| status(app, error))?;
            check_redirect(app, &info)?;
            let node = app.node().map_err(|error| status(app, error))?.clone();
            let (revision, reply) = work(node, request.into_inner(), info).await.map_err(|error| status(app, error))?;
            Ok(response(app, reply, revision))
        }
        .await;
        app.served(call, if result.is_ok() { "ok" } else { "error" }, id, started);
        result
    }

    /// A write: prepared here, decided in the log.
    async fn write<C: Prepare + Numbered>(&self, request: Request<C::Request>) -> Result<Response<C::Reply>, Status> {
        let app = self.app.clone();
        self.around(C::NAME, request, |node, request, info| async move {
            let command = C::prepare(request, &app.prepare_context())?;
            node.execute(&command, info.request, info.deadline).await
        })
        .await
    }
}

/// Makes the local state fresh enough for a read.
pub async fn before_read(node: &Node, consistency: wire::Consistency, info: &CallInfo) -> Result<(), MetaError> {
    if let Some(revision) = info.min_revision {
        return node.wait_revision(revision, info.deadline).await;
    }
    match consistency {
        wire::Consistency::Linearizable => node.read_barrier(info.deadline).await,
        wire::Consistency::Stale => node.check_serving(),
    }
}

/// Runs a query on a consistent view.
fn query<R>(node: &Node, run: impl Fn(&dyn Reader) -> Result<R, ApplyError>) -> Result<R, MetaError> {
    node.read(|reader| run(reader)).map_err(query_error)
}

#[tonic::async_trait]
impl wire::metadata_server::Metadata for MetadataService {
    async fn open_session(&self, request: Request<wire::OpenSessionRequest>) -> Result<Response<wire::OpenSessionReply>, Status> {
        self.around(OpenSession::NAME, request, |node, _, info| async move {
            let (revision, reply) = node.execute(&OpenSession {}, info.request, info.deadline).await?;
            Ok((revision, wire::OpenSessionReply { session_id: reply.session }))
        })
        .await
    }

    async fn close_session(&self, request: Request<wire::CloseSessionRequest>) -> Result<Response<wire::CloseSessionReply>, Status> {
        self.around(CloseSession::NAME, request, |node, request, info| async move {
            let (revision, _) = node
                .execute(
                    &CloseSession {
                        session: request.session_id,
                    },
                    info.request,
                    info.deadline,
                )
                .await?;
            Ok((revision, wire::CloseSessionReply {}))
        })
        .await
    }

    async fn put_attribute(&self, request: Request<wire::PutAttributeRequest>) -> Result<Response<wire::PutAttributeReply>, Status> {
        self.write::<PutAttribute>(request).await
    }

    async fn delete_attribute(
        &self,
        request: Request<wire::DeleteAttributeRequest>,
    ) -> Result<Response<wire::DeleteAttributeReply>, Status> {
        self.write::<DeleteAttribute>(request).await
    }

    async fn get_attribute(&self, request: Request<wire::GetAttributeRequest>) -> Result<Response<wire::GetAttributeReply>, Status> {
        self.around("get_attribute", request, |node, request, info| async move {
            before_read(&node, request.consistency(), &info).await?;
            let reply = query(&node, |reader| queries::attributes::get_attribute(reader, &request))?;
            Ok((Revision(reply.revision), reply))
        })
        .await
    }

    async fn list_attributes(&self, request: Request<wire::ListAttributesRequest>) -> Result<Response<wire::ListAttributesReply>, Status> {
        self.around("list_attributes", request, |node, request, info| async move {
            before_read(&node, request.consistency(), &info).await?;
            let page = query(&node, |reader| queries::attributes::list_attributes(reader, &request))?;
            if let Some(pin) = page.pin {
                // Without it this page is still right; whether the next one can be read, the next call finds out.
                if let Err(error) = node.execute(&pin, None, info.deadline).await {
                    tracing::debug!(%error, "a list did not get its pin");
                }
            }
            Ok((Revision(page.reply.revision), page.reply))
        })
        .await
    }
    async fn list_instances(&self, request: Request<wire::ListInstancesRequest>) -> Result<Response<wire::ListInstancesReply>, Status> {
        self.around("list_instances", request, |node, request, info| async move {
            before_read(&node, request.consistency(), &info).await?;
            let reply = query(&node, |reader| queries::instance_list::list_instances(reader, &request))?;
            Ok((Revision(reply.revision), reply))
        })
        .await
    }
}
