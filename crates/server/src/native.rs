//! The native API, package `quorate.v1`, on the public port: as gRPC, and as HTTP+JSON through [`crate::api`].

pub mod admin;
pub mod metadata;
pub mod reply;

use crate::app::App;
use admin::AdminService;
use metadata::MetadataService;
use quorate_wire::quorate::v1::admin_server::AdminServer;
use quorate_wire::quorate::v1::metadata_server::MetadataServer;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tonic::body::Body;
use tower::Service as _;

/// What begins the path of every native call.
pub const PATH_PREFIX: &str = "/quorate.v1.";

type Reply = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// Every service of the package. A new one gets a field here and a line in [`Services::call`]; both front ends go through it.
#[derive(Clone)]
pub struct Services {
    metadata: MetadataServer<MetadataService>,
    admin: AdminServer<AdminService>,
}

impl Services {
    pub fn new(app: &Arc<App>) -> Services {
        Services {
            metadata: MetadataServer::new(MetadataService { app: app.clone() }),
            admin: AdminServer::new(AdminService { app: app.clone() }),
        }
    }

    /// Serves a gRPC request whose path begins with [`PATH_PREFIX`]. One for a service that is not there is answered as
    /// gRPC answers it.
    pub fn call(&self, request: http::Request<Body>) -> Reply {
        let path = request.uri().path().strip_prefix(PATH_PREFIX).unwrap_or_default();
        match path.split('/').next().unwrap_or_default() {
            "Metadata" => self.metadata.clone().call(request),
            "Admin" => self.admin.clone().call(request),
            service => {
                let status = tonic::Status::unimplemented(format!("there is no service {}{service}", &PATH_PREFIX[1..]));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}
