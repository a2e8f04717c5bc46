//! `quorate.v1.Jobs`: long work, for those who asked for it.

use super::call::Calls;
use crate::app::App;
use quorate_state_machine::commands::CancelJob;
use quorate_state_machine::queries::jobs;
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves the calls of one peer.
pub struct JobsService {
    calls: Calls,
}

impl JobsService {
    pub fn new(app: &Arc<App>) -> JobsService {
        JobsService { calls: Calls::new(app) }
    }
}

#[tonic::async_trait]
impl wire::jobs_server::Jobs for JobsService {
    async fn describe_job(&self, request: Request<wire::DescribeJobRequest>) -> Result<Response<wire::Job>, Status> {
        let consistency = wire::DescribeJobRequest::consistency;
        self.calls.read("describe_job", request, consistency, jobs::describe_job).await
    }

    async fn list_jobs(&self, request: Request<wire::ListJobsRequest>) -> Result<Response<wire::ListJobsReply>, Status> {
        let consistency = wire::ListJobsRequest::consistency;
        self.calls.read_large("list_jobs", request, consistency, jobs::list_jobs).await
    }

    async fn list_tasks(&self, request: Request<wire::ListTasksRequest>) -> Result<Response<wire::ListTasksReply>, Status> {
        let consistency = wire::ListTasksRequest::consistency;
        self.calls.read_large("list_tasks", request, consistency, jobs::list_tasks).await
    }

    async fn cancel_job(&self, request: Request<wire::CancelJobRequest>) -> Result<Response<wire::Job>, Status> {
        self.calls.write::<CancelJob>(request).await
    }
}
