//! `quorate.v1.Metadata`: sessions and attributes.

use super::call::{Calls, decide};
use crate::app::App;
use quorate_model::SessionId;
use quorate_state_machine::commands::{AppendAttributes, CloseSession, DeleteAttribute, Numbered, OpenSession, PutAttribute};
use quorate_state_machine::queries::{attributes, instance_list};
use quorate_state_machine::{Reader, session};
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves the calls of one peer.
pub struct MetadataService {
    calls: Calls,
}

impl MetadataService {
    pub fn new(app: &Arc<App>) -> MetadataService {
        MetadataService { calls: Calls::new(app) }
    }
}

#[tonic::async_trait]
impl wire::metadata_server::Metadata for MetadataService {
    async fn open_session(&self, request: Request<wire::OpenSessionRequest>) -> Result<Response<wire::OpenSessionReply>, Status> {
        self.calls
            .around(OpenSession::NAME, request, |node, _, info| async move {
                let (revision, reply) = decide(&node, &OpenSession::default(), &info).await?;
                Ok((revision, wire::OpenSessionReply { session_id: reply.session }))
            })
            .await
    }

    async fn close_session(&self, request: Request<wire::CloseSessionRequest>) -> Result<Response<wire::CloseSessionReply>, Status> {
        self.calls
            .around(CloseSession::NAME, request, |node, request, info| async move {
                let command = CloseSession {
                    session: session::of_caller(SessionId(request.session_id))?.0,
                };
                let (revision, _) = decide(&node, &command, &info).await?;
                Ok((revision, wire::CloseSessionReply {}))
            })
            .await
    }

    async fn put_attribute(&self, request: Request<wire::PutAttributeRequest>) -> Result<Response<wire::PutAttributeReply>, Status> {
        self.calls.write::<PutAttribute>(request).await
    }

    async fn delete_attribute(
        &self,
        request: Request<wire::DeleteAttributeRequest>,
    ) -> Result<Response<wire::DeleteAttributeReply>, Status> {
        self.calls.write::<DeleteAttribute>(request).await
    }

    async fn append_attributes(
        &self,
        request: Request<wire::AppendAttributesRequest>,
    ) -> Result<Response<wire::AppendAttributesReply>, Status> {
        self.calls.write::<AppendAttributes>(request).await
    }

    async fn get_attribute(&self, request: Request<wire::GetAttributeRequest>) -> Result<Response<wire::GetAttributeReply>, Status> {
        let consistency = wire::GetAttributeRequest::consistency;
        self.calls
            .read("get_attribute", request, consistency, attributes::get_attribute)
            .await
    }

    async fn list_attributes(&self, request: Request<wire::ListAttributesRequest>) -> Result<Response<wire::ListAttributesReply>, Status> {
        let page = |reader: &dyn Reader, request: &_| {
            let page = attributes::list_attributes(reader, request)?;
            Ok((page.reply, page.pin))
        };
        let consistency = wire::ListAttributesRequest::consistency;
        self.calls.list("list_attributes", request, consistency, page).await
    }

    async fn list_instances(&self, request: Request<wire::ListInstancesRequest>) -> Result<Response<wire::ListInstancesReply>, Status> {
        let consistency = wire::ListInstancesRequest::consistency;
        self.calls
            .read_large("list_instances", request, consistency, instance_list::list_instances)
            .await
    }
}
