//! The native API, package `quorate.v1`, on the public port: as gRPC, and as HTTP+JSON through [`crate::api`].
//!
//! ```text
//! path and headers --token, admission--> body --> service --> reply
//! ```
//!
//! Token and place among the calls in work are asked for here ([`Services::admit`]), in front of all services: none of them asks again,
//! and whoever is refused has no body kept for it.

pub mod admin;
pub mod call;
pub mod catalog;
pub mod jobs;
pub mod metadata;
pub mod reply;
pub mod settings;
pub mod snapshots;
mod timely;
mod vaults;
pub mod work;

use crate::app::{App, LetIn, Place};
use crate::limits::{DEFAULT_DEADLINE, MAX_ADMIN_MESSAGE_BYTES, MAX_BODY_BYTES};
use admin::AdminService;
use axum::BoxError;
use bytes::Bytes;
use catalog::CatalogService;
use http::HeaderMap;
use hyper::body::Body as HttpBody;
use jobs::JobsService;
use metadata::MetadataService;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::admin_server::AdminServer;
use quorate_wire::quorate::v1::catalog_server::CatalogServer;
use quorate_wire::quorate::v1::jobs_server::JobsServer;
use quorate_wire::quorate::v1::metadata_server::MetadataServer;
use quorate_wire::quorate::v1::settings_server::SettingsServer;
use quorate_wire::quorate::v1::snapshots_server::SnapshotsServer;
use quorate_wire::quorate::v1::work_server::WorkServer;
use reply::{check_token, require_token, status};
use settings::SettingsService;
use snapshots::SnapshotsService;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
pub(crate) use timely::Timely;
use tokio::time::Instant;
use tonic::body::Body;
use tower::Service as _;
use work::WorkService;

/// What begins the path of every native call.
pub const PATH_PREFIX: &str = "/quorate.v1.";

/// Label in the metrics of gRPC calls that are refused before they reach their service, which counts them itself from there on.
const REFUSED_CALL: &str = "native";

type Reply = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenRule {
    Anybody,
    /// On loopback a caller may do without the token.
    BeyondLoopback,
    Always,
}

impl TokenRule {
    /// `call` is `Service/Method`.
    fn of(call: &str) -> TokenRule {
        match call.split_once('/') {
            Some(("Admin", "Status")) => TokenRule::Anybody,
            Some(("Admin" | "Work", _)) => TokenRule::Always,
            _ => TokenRule::BeyondLoopback,
        }
    }
}

/// A call that may be made.
#[derive(Debug)]
pub struct Admitted {
    place: Option<Place>,
    /// Its caller has the token, or comes from where none is needed.
    is_known: bool,
}

impl Admitted {
    /// Sends along with the call's answer what is given back when that has been sent, and whose call it was.
    pub fn go_with<B>(self, answer: &mut http::Response<B>) {
        match self.place {
            Some(place) => place.go_with(answer),
            None if self.is_known => drop(answer.extensions_mut().insert(LetIn)),
            None => {}
        }
    }
}

/// Every service of the package. A new one gets a field here and a line in `call_admitted`; both front ends go through it.
#[derive(Clone)]
pub struct Services {
    app: Arc<App>,
    metadata: MetadataServer<MetadataService>,
    admin: AdminServer<AdminService>,
    catalog: CatalogServer<CatalogService>,
    jobs: JobsServer<JobsService>,
    settings: SettingsServer<SettingsService>,
    snapshots: SnapshotsServer<SnapshotsService>,
    work: WorkServer<WorkService>,
}

impl Services {
    pub fn new(app: &Arc<App>) -> Services {
        Services {
            metadata: MetadataServer::new(MetadataService::new(app)).max_decoding_message_size(MAX_BODY_BYTES),
            admin: AdminServer::new(AdminService { app: app.clone() }).max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES),
            catalog: CatalogServer::new(CatalogService::new(app)).max_decoding_message_size(MAX_BODY_BYTES),
            jobs: JobsServer::new(JobsService::new(app)).max_decoding_message_size(MAX_BODY_BYTES),
            settings: SettingsServer::new(SettingsService::new(app)).max_decoding_message_size(MAX_BODY_BYTES),
            snapshots: SnapshotsServer::new(SnapshotsService::new(app)).max_decoding_message_size(MAX_BODY_BYTES),
            work: WorkServer::new(WorkService::new(app)).max_decoding_message_size(MAX_BODY_BYTES),
            app: app.clone(),
        }
    }

    /// Lets a call in by its path and headers: its token is right, and it has a place among the calls in work for as long as that
    /// is kept. Calls of `Admin` need no place: who looks at an overloaded peer, or mends it, must get at it.
    pub fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Admitted, MetaError> {
        let call = path.strip_prefix(PATH_PREFIX).unwrap_or_default();
        let is_known = match TokenRule::of(call) {
            TokenRule::Anybody => check_token(&self.app, headers).is_ok(),
            TokenRule::BeyondLoopback => check_token(&self.app, headers).map(|()| true)?,
            TokenRule::Always => require_token(&self.app, headers).map(|()| true)?,
        };
        let place = match call.starts_with("Admin/") {
            true => None,
            false => Some(self.app.admit()?),
        };
        Ok(Admitted { place, is_known })
    }

    /// Serves a gRPC request whose path begins with [`PATH_PREFIX`]. Its message must come within [`DEFAULT_DEADLINE`], whatever time
    /// the call has.
    pub fn call<B>(&self, request: http::Request<B>) -> impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + use<B>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let started = Instant::now();
        let timely = |body| Body::new(Timely::new(body, started + DEFAULT_DEADLINE, self.app.clone()));
        let app = self.app.clone();
        let admitted = match self.admit(request.uri().path(), request.headers()) {
            Ok(admitted) => Ok((self.call_admitted(request.map(timely)), admitted)),
            Err(error) => {
                self.app.served(REFUSED_CALL, error.code.row().name, None, started);
                Err(status(&self.app, error).into_http())
            }
        };
        async move {
            match admitted {
                Ok((answering, admitted)) => {
                    let mut answer = reply::with_own_refusals(&app, answering.await?);
                    admitted.go_with(&mut answer);
                    Ok(answer)
                }
                Err(refused) => Ok(refused),
            }
        }
    }

    /// The same for a call that is admitted. One for a service that is not there is answered as gRPC answers it.
    pub(crate) fn call_admitted(&self, request: http::Request<Body>) -> Reply {
        let path = request.uri().path().strip_prefix(PATH_PREFIX).unwrap_or_default();
        match path.split('/').next().unwrap_or_default() {
            "Metadata" => self.metadata.clone().call(request),
            "Admin" => self.admin.clone().call(request),
            "Catalog" => self.catalog.clone().call(request),
            "Jobs" => self.jobs.clone().call(request),
            "Settings" => self.settings.clone().call(request),
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
