//! What surrounds every admitted call of the native services: request metadata, redirect, metrics; and the three shapes calls have:
//! a write, a read, a page of a list.

use super::reply::{CallInfo, DRY_RUN, call_info, check_redirect, request_id, response, status};
use crate::app::App;
use quorate_consensus::{Deadline, Node};
use quorate_model::{MetaError, Revision, mutant};
use quorate_state_machine::Reader;
use quorate_state_machine::access::Query;
use quorate_state_machine::command::{ApplyError, Prepare, read_record};
use quorate_state_machine::commands::{CreatePin, Numbered};
use quorate_state_machine::keys::COUNTERS_KEY;
use quorate_state_machine::preview::preview;
use quorate_state_machine::record::Counters;
use quorate_wire::quorate::v1 as wire;
use std::convert::identity;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

/// The calls of one service at one peer.
#[derive(Clone)]
pub struct Calls {
    pub app: Arc<App>,
    /// Whether its calls wait for something to happen.
    waits: bool,
}

impl Calls {
    pub fn new(app: &Arc<App>) -> Calls {
        Calls {
            app: app.clone(),
            waits: false,
        }
    }

    /// The same for calls that wait for something to happen: however long that takes, they are not slow.
    pub fn waiting(&self) -> Calls {
        Calls {
            waits: true,
            ..self.clone()
        }
    }

    /// Metadata and metrics around one call.
    pub async fn around<Req, Rep, Fut>(
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
            let info = call_info(app, request.metadata()).map_err(|error| status(app, error))?;
            let node = app.started_node(info.ready_by).await.map_err(|error| status(app, error))?.clone();
            check_redirect(app, &info)?;
            app.wait_ready(&node, info.ready_by).await;
            let (revision, reply) = work(node, request.into_inner(), info).await.map_err(|error| status(app, error))?;
            let mut response = response(app, reply, revision);
            if info.dry_run {
                response.metadata_mut().insert(DRY_RUN, MetadataValue::from_static("1"));
            }
            Ok(response)
        }
        .await;
        let outcome = if result.is_ok() { "ok" } else { "error" };
        match self.waits {
            true => app.metrics.served(call, outcome, started),
            false => app.served(call, outcome, id, started),
        }
        result
    }

    /// A write: prepared here, decided in the log.
    pub async fn write<C: Prepare + Numbered>(&self, request: Request<C::Request>) -> Result<Response<C::Reply>, Status> {
        self.write_as::<C, C::Request, C::Reply>(request, |request| request, |reply| reply)
            .await
    }

    /// A write whose command adds to the request, or whose answer is not the reply itself.
    pub async fn write_as<C: Prepare + Numbered, Req, Rep>(
        &self,
        request: Request<Req>,
        ask: impl FnOnce(Req) -> C::Request,
        answer: impl FnOnce(C::Reply) -> Rep,
    ) -> Result<Response<Rep>, Status> {
        let app = self.app.clone();
        self.around(C::NAME, request, |node, request, info| async move {
            let command = C::prepare(ask(request), &app.prepare_context())?;
            let (revision, reply) = decide(&node, &command, &info).await?;
            Ok((revision, answer(reply)))
        })
        .await
    }

    /// A read of one thing.
    pub async fn read<Req, Rep>(
        &self,
        call: &'static str,
        request: Request<Req>,
        consistency: impl FnOnce(&Req) -> wire::Consistency,
        run: impl Fn(&dyn Reader, &Req) -> Result<Rep, ApplyError>,
    ) -> Result<Response<Rep>, Status> {
        self.around(call, request, |node, request, info| async move {
            before_read(&node, consistency(&request), &info).await?;
            at_one_revision(&node, |reader| run(reader, &request))
        })
        .await
    }

    /// A read of what may have many rows: away from the threads that serve calls.
    pub async fn read_large<Req, Rep>(
        &self,
        call: &'static str,
        request: Request<Req>,
        consistency: impl FnOnce(&Req) -> wire::Consistency,
        run: impl Fn(&dyn Reader, &Req) -> Result<Rep, ApplyError> + Send + 'static,
    ) -> Result<Response<Rep>, Status>
    where
        Req: Send + 'static,
        Rep: Send + 'static,
    {
        self.around(call, request, |node, request, info| async move {
            before_read(&node, consistency(&request), &info).await?;
            at_one_revision_large(&node, info.deadline, move |reader| run(reader, &request), identity).await
        })
        .await
    }

    /// A page of a list that goes on at its first page's revision, read as [`Calls::read_large`] does. `run` also answers the pin
    /// the next page may need.
    pub async fn list<Req, Rep>(
        &self,
        call: &'static str,
        request: Request<Req>,
        consistency: impl FnOnce(&Req) -> wire::Consistency,
        run: impl Fn(&dyn Reader, &Req) -> Result<(Rep, Option<CreatePin>), ApplyError> + Send + 'static,
    ) -> Result<Response<Rep>, Status>
    where
        Req: Send + 'static,
        Rep: Send + 'static,
    {
        self.around(call, request, |node, request, info| async move {
            before_read(&node, consistency(&request), &info).await?;
            let page = at_one_revision_large(&node, info.deadline, move |reader| run(reader, &request), identity);
            let (revision, (reply, pin)) = page.await?;
            if let Some(pin) = pin {
                // Without it this page is still right; whether the next one can be read, the next call finds out.
                if let Err(error) = node.execute(&pin, None, info.deadline).await {
                    tracing::debug!(%error, "a list did not get its pin");
                }
            }
            Ok((revision, reply))
        })
        .await
    }
}

/// Has a command decided: in the log or, for a caller who only wants to know, on the state as it is.
pub async fn decide<C: Numbered>(node: &Node, command: &C, info: &CallInfo) -> Result<(Revision, C::Reply), MetaError> {
    match info.dry_run {
        true => dry_run(node, command, info.deadline).await,
        false => node.execute(command, info.request, info.deadline).await,
    }
}

/// What a command would come to now, with the revision of the state that says so. Changes nothing.
pub async fn dry_run<C: Numbered>(node: &Node, command: &C, deadline: Deadline) -> Result<(Revision, C::Reply), MetaError> {
    node.read_barrier(deadline).await?;
    at_one_revision(node, |reader| preview(reader, command, Query::now(node)))
}

/// Makes the local state fresh enough for a read.
pub async fn before_read(node: &Node, consistency: wire::Consistency, info: &CallInfo) -> Result<(), MetaError> {
    if let Some(revision) = info.min_revision.filter(|_| !mutant!("min-revision-ignored")) {
        return node.wait_revision(revision, info.deadline).await;
    }
    match consistency {
        wire::Consistency::Linearizable => node.read_barrier(info.deadline).await,
        wire::Consistency::Stale => node.check_serving(),
    }
}

/// Runs a query on a consistent view.
pub fn query<R>(node: &Node, run: impl Fn(&dyn Reader) -> Result<R, ApplyError>) -> Result<R, MetaError> {
    node.read(|reader| run(reader)).map_err(|error| query_error(node, error))
}

/// The same, with the revision of the state it saw.
pub fn at_one_revision<R>(node: &Node, run: impl Fn(&dyn Reader) -> Result<R, ApplyError>) -> Result<(Revision, R), MetaError> {
    query(node, |reader| {
        let counters = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default();
        Ok((Revision(counters.revision), run(reader)?))
    })
}

/// As [`at_one_revision`], for a query that may go through many rows ([`Node::run_large`]). `show` makes of what was found what is
/// wanted of it, over there too: rendering a large answer takes as long as reading it.
pub async fn at_one_revision_large<R, S: Send + 'static>(
    node: &Node,
    deadline: Deadline,
    run: impl Fn(&dyn Reader) -> Result<R, ApplyError> + Send + 'static,
    show: impl FnOnce(R) -> S + Send + 'static,
) -> Result<(Revision, S), MetaError> {
    let reading = node.clone();
    let work = move || at_one_revision(&reading, run).map(|(revision, found)| (revision, show(found)));
    node.run_large(deadline, work).await?
}

fn query_error(node: &Node, error: ApplyError) -> MetaError {
    match error {
        ApplyError::Refused(error) => error,
        ApplyError::Store(error) => crate::app::unreadable(node, &error),
    }
}
