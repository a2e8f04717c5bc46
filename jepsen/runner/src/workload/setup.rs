//! What workloads need before their first operation. Nothing is recorded, and everything is repeated until it is there: no
//! fault has begun yet.

use super::Stage;
use crate::client::{FINAL_TIMEOUT, TIMEOUT};
use anyhow::{Context as _, bail};
use quorate_wire::doris::CreateInstanceRequest;
use quorate_wire::doris::meta_service_client::MetaServiceClient;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Longest any preparation may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Doris's number for what is there already.
const ALREADY_EXISTED: i32 = 3_002;

/// Creates an instance, or finds it.
pub async fn instance(stage: &Stage, instance_id: &str) -> anyhow::Result<()> {
    let message = CreateInstanceRequest {
        instance_id: Some(instance_id.to_owned()),
        user_id: Some("jepsen".to_owned()),
        name: Some(instance_id.to_owned()),
        ..CreateInstanceRequest::default()
    };
    let reply = until(stage, "create an instance", message, |link, request| async move {
        MetaServiceClient::new(link).create_instance(request).await
    })
    .await?;
    let status = reply.status.unwrap_or_default();
    match status.code.unwrap_or_default() {
        0 | ALREADY_EXISTED => Ok(()),
        code => bail!("instance {instance_id} cannot be created: {code} {}", status.msg()),
    }
}

/// Repeats a call, at one node after the other, until it is answered; what exists already counts as answered well only if
/// the caller says so.
pub async fn until<Q, R, F>(
    stage: &Stage,
    what: &str,
    message: Q,
    send: impl Fn(Channel, Request<Q>) -> F + Send + Sync + 'static,
) -> anyhow::Result<R>
where
    Q: Clone + Send + Sync + 'static,
    R: Send + 'static,
    F: Future<Output = Result<tonic::Response<R>, Status>> + Send,
{
    let (within, stage, named) = (stage.field.client_runtime(), stage.clone(), what.to_owned());
    let repeated = within.spawn(async move {
        let deadline = Instant::now() + PATIENCE;
        for node in (0..stage.field.size()).cycle() {
            let address = stage.field.public(node);
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(TIMEOUT);
            let mut request = Request::new(message.clone());
            request.metadata_mut().insert("quorate-token", stage.field.token().parse()?);
            let answer = tokio::time::timeout(FINAL_TIMEOUT, send(endpoint.connect_lazy(), request)).await;
            let error = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) if is_final(status.code()) => bail!("{named}: {status}"),
                Ok(Err(status)) => status.to_string(),
                Err(_) => format!("{address} did not answer"),
            };
            if Instant::now() > deadline {
                bail!("{named}: {error}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{named}: there are no nodes")
    });
    repeated.await.with_context(|| format!("{what}: the task failed"))?
}

fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}
