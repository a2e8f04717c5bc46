//! The native API, package `quorate.v1`, on the public port: as gRPC, and as HTTP+JSON through [`crate::api`].

pub mod admin;
pub mod call;
pub mod catalog;
pub mod jobs;
pub mod metadata;
pub mod reply;
pub mod snapshots;
mod vaults;
pub mod work;

use crate::app::App;
use admin::AdminService;
use catalog::CatalogService;
use jobs::JobsService;
use metadata::MetadataService;
use quorate_wire::quorate::v1::admin_server::AdminServer;
use quorate_wire::quorate::v1::catalog_server::CatalogServer;
use quorate_wire::quorate::v1::jobs_server::JobsServer;
use quorate_wire::quorate::v1::metadata_server::MetadataServer;
use quorate_wire::quorate::v1::snapshots_server::SnapshotsServer;
use quorate_wire::quorate::v1::work_server::WorkServer;
use snapshots::SnapshotsService;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tonic::body::Body;
use tower::Service as _;
use work::WorkService;

/// What begins the path of every native call.
pub const PATH_PREFIX: &str = "/quorate.v1.";

type Reply = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// Every service of the package. A new one gets a field here and a line in [`Services::call`]; both front ends go through it.
#[derive(Clone)]
pub struct Services {
    metadata: MetadataServer<MetadataService>,
    admin: AdminServer<AdminService>,
    catalog: CatalogServer<CatalogService>,
    jobs: JobsServer<JobsService>,
    snapshots: SnapshotsServer<SnapshotsService>,
    work: WorkServer<WorkService>,
}

impl Services {
    pub fn new(app: &Arc<App>) -> Services {
        Services {
            metadata: MetadataServer::new(MetadataService::new(app)),
            admin: AdminServer::new(AdminService { app: app.clone() }),
            catalog: CatalogServer::new(CatalogService::new(app)),
            jobs: JobsServer::new(JobsService::new(app)),
            snapshots: SnapshotsServer::new(SnapshotsService::new(app)),
            work: WorkServer::new(WorkService::new(app)),
        }
    }

    /// Serves a gRPC request whose path begins with [`PATH_PREFIX`]. One for a service that is not there is answered as
    /// gRPC answers it.
    pub fn call(&self, request: http::Request<Body>) -> Reply {
        let path = request.uri().path().strip_prefix(PATH_PREFIX).unwrap_or_default();
        match path.split('/').next().unwrap_or_default() {
            "Metadata" => self.metadata.clone().call(request),
            "Admin" => self.admin.clone().call(request),
            "Catalog" => self.catalog.clone().call(request),
            "Jobs" => self.jobs.clone().call(request),
            "Snapshots" => self.snapshots.clone().call(request),
            "Work" => self.work.clone().call(request),
            service => {
                let status = tonic::Status::unimplemented(format!("there is no service {}{service}", &PATH_PREFIX[1..]));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

#[cfg(test)]
mod tests;
