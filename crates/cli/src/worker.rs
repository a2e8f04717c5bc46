//! `quorate worker`: works on jobs in a process of its own, over the peers' API. It needs the token, and the vaults: a local one as
//! a directory of this machine, an object store through the credentials the peers give it, over TLS or on their own machine.

use crate::channel::{self, TlsArguments};
use anyhow::{Context as _, bail};
use clap::Args;
use quorate_client::TlsOptions;
use quorate_jobs::{Counters, Settings, Vaults, Wanted, WorkSource, Worker};
use quorate_model::{ErrorCode, MetaError};
use quorate_objects::{BucketStyle, Http, LocalPlace, ObjectError, ObjectErrorKind, Patience, S3Place, Secret, Vault, VaultPlace};
use quorate_server::native::reply::{NO_WAIT, error_of};
use quorate_wire::quorate::v1 as wire;
use quorate_wire::quorate::v1::work_client::WorkClient;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// How long one question for work waits for some: no longer than the first pause of a task that failed.
const CLAIM_SLICE: Duration = Duration::from_secs(1);
/// How long any other call may take, and a claim beyond its wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what is under way may take to end at a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a worker's name.
const MAX_NAME_BYTES: usize = 255;
/// A task's rows, and the result of one.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

#[derive(Args)]
pub struct WorkerArguments {
    /// Any peers' public addresses, `https://` before them if they speak TLS, separated by commas.
    #[arg(long, env = "QUORATE_ENDPOINTS", default_value = "127.0.0.1:5000", value_delimiter = ',', value_parser = channel::endpoint)]
    peers: Vec<String>,
    #[command(flatten)]
    tls: TlsArguments,
    /// File with the token, which is also taken from QUORATE_TOKEN; an argument would show in process lists.
    #[arg(long, env = "QUORATE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How others see who works; no two workers may have the same. Made of machine and process when absent.
    #[arg(long, value_parser = worker_name)]
    name: Option<String>,
    /// Tasks worked on at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    tasks: u8,
    /// Where this machine has the directory of the local vault, if not where the peers have it.
    #[arg(long)]
    local_vault: Option<PathBuf>,
}

/// A name that the cluster accepts.
fn worker_name(text: &str) -> Result<String, String> {
    if (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(format!("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters"))
}

pub fn run(arguments: WorkerArguments) -> anyhow::Result<ExitCode> {
    crate::serve::log_to_stderr();
    let token = match &arguments.token_file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("token file {}", path.display()))?,
        None => std::env::var("QUORATE_TOKEN").unwrap_or_default(),
    };
    let token = token.trim();
    if token.is_empty() {
        bail!("no token: name its file with --token-file or QUORATE_TOKEN_FILE, or set QUORATE_TOKEN");
    }
    #[cfg(feature = "failpoints")]
    quorate_server::failpoints::arm_from_environment().map_err(anyhow::Error::msg)?;
    let peers = Peers {
        addresses: arguments.peers.into(),
        tls: arguments.tls.options(),
        token: token
            .parse()
            .map_err(|_| anyhow::anyhow!("the token has characters that gRPC cannot carry"))?,
        first: Arc::default(),
    };
    let name = match arguments.name {
        Some(name) => name,
        None => format!("{}-{}", machine(), std::process::id()),
    };
    let vaults = RemoteVaults {
        peers: peers.clone(),
        local_vault: arguments.local_vault,
    };
    let settings = Settings {
        tasks_at_once: arguments.tasks.into(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome: anyhow::Result<ExitCode> = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            // Nobody listens any more when the worker has ended by itself.
            let _ = stop.send(true);
        });
        // A worker whose token is wrong would only complain for ever.
        peers.check().await?;
        eprintln!("worker {name} asks {} for work", peers.addresses.join(", "));
        Worker::new(name, peers, vaults, settings, Arc::<Counters>::default())
            .run(stopped)
            .await;
        Ok(ExitCode::SUCCESS)
    });
    // What was copied is given up in any case; on a mount that hangs its thread would never end.
    runtime.shutdown_timeout(STOP_TIMEOUT);
    outcome
}

/// The machine's name; worker and process id tell workers apart where it has none.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "worker".to_owned(),
        name => name.to_owned(),
    }
}

/// The peers' API.
#[derive(Clone)]
struct Peers {
    addresses: Arc<[String]>,
    tls: TlsOptions,
    token: tonic::metadata::AsciiMetadataValue,
    /// The peer that answered last.
    first: Arc<AtomicUsize>,
}

impl Peers {
    fn request<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        request.metadata_mut().insert("quorate-token", self.token.clone());
        request.metadata_mut().insert(NO_WAIT, MetadataValue::from_static("1"));
        request
    }

    /// Asks one peer after the other. What is said twice is said once: that is what fences are for.
    async fn ask<T, F>(&self, timeout: Duration, call: impl Fn(WorkClient<Channel>) -> F + Send + Sync) -> Result<T, MetaError>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let first = self.first.load(Ordering::Relaxed);
        let mut failed = MetaError::new(ErrorCode::NoLeader, "no peer was asked");
        for step in 0..self.addresses.len() {
            let position = (first + step) % self.addresses.len();
            let address = &self.addresses[position];
            let attempt = async {
                let channel = channel::connect(address, &self.tls).await;
                let channel = channel.map_err(|error| Status::unavailable(format!("{error:#}")))?;
                let client = WorkClient::new(channel);
                let client = client
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES);
                call(client).await
            };
            let status = match tokio::time::timeout(timeout, attempt).await {
                Ok(Ok(reply)) => {
                    self.first.store(position, Ordering::Relaxed);
                    return Ok(reply.into_inner());
                }
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            match error_of(&status) {
                Some(error) if error.code.row().retry == quorate_model::RetryClass::Never => return Err(error),
                Some(error) => failed = error,
                None => failed = MetaError::new(ErrorCode::OutcomeUnknown, format!("{address}: {}", status.message())),
            }
        }
        Err(failed)
    }

    /// Whether the token is right, as far as a peer can be asked.
    async fn check(&self) -> anyhow::Result<()> {
        let checked = self
            .ask(CALL_TIMEOUT, |mut client| {
                let request = self.request(
                    wire::RenewClaimsRequest {
                        worker: "check".to_owned(),
                        claims: Vec::new(),
                    },
                    CALL_TIMEOUT,
                );
                async move { client.renew_claims(request).await }
            })
            .await;
        match checked {
            Err(error) if error.code == ErrorCode::Unauthenticated => bail!(crate::doris::WRONG_TOKEN),
            // Whatever else it is may pass.
            _ => Ok(()),
        }
    }
}

impl WorkSource for Peers {
    async fn claim(&self, wanted: Wanted) -> Result<Vec<wire::TaskAssignment>, MetaError> {
        let until = Instant::now() + wanted.wait();
        loop {
            // What fails here meanwhile is not to be taken again by a question from before.
            let wait = until.saturating_duration_since(Instant::now()).min(CLAIM_SLICE);
            let message = wire::ClaimTasksRequest {
                worker: wanted.worker.clone(),
                tasks: wanted.tasks,
                wait_ms: wait.as_millis() as u64,
                avoid_jobs: wanted.avoid_jobs(),
                min_age_ms: wanted.min_age_ms(),
            };
            let timeout = wait + CALL_TIMEOUT;
            let call = |mut client: WorkClient<Channel>| {
                let request = self.request(message.clone(), timeout);
                async move { client.claim_tasks(request).await }
            };
            let tasks = self.ask(timeout, call).await?.tasks;
            if !tasks.is_empty() || Instant::now() >= until {
                return Ok(tasks);
            }
        }
    }

    async fn renew(&self, worker: &str, claims: Vec<wire::ClaimProgress>) -> Result<Vec<wire::ClaimProgress>, MetaError> {
        let message = wire::RenewClaimsRequest {
            worker: worker.to_owned(),
            claims,
        };
        let call = |mut client: WorkClient<Channel>| {
            let request = self.request(message.clone(), CALL_TIMEOUT);
            async move { client.renew_claims(request).await }
        };
        Ok(self.ask(CALL_TIMEOUT, call).await?.lost)
    }

    async fn read(&self, task: &wire::TaskAssignment) -> Result<Vec<wire::SourceRow>, MetaError> {
        let message = wire::ReadTaskRequest {
            job_id: task.job_id,
            task: task.task,
            fence: task.fence,
        };
        let call = |mut client: WorkClient<Channel>| {
            let request = self.request(message, CALL_TIMEOUT);
            async move { client.read_task(request).await }
        };
        Ok(self.ask(CALL_TIMEOUT, call).await?.rows)
    }

    async fn complete(&self, result: wire::CompleteTaskRequest) -> Result<bool, MetaError> {
        let call = |mut client: WorkClient<Channel>| {
            let request = self.request(result.clone(), CALL_TIMEOUT);
            async move { client.complete_task(request).await }
        };
        Ok(self.ask(CALL_TIMEOUT, call).await?.accepted)
    }

    async fn fail(&self, report: wire::FailTaskRequest) -> Result<bool, MetaError> {
        let call = |mut client: WorkClient<Channel>| {
            let request = self.request(report.clone(), CALL_TIMEOUT);
            async move { client.fail_task(request).await }
        };
        Ok(self.ask(CALL_TIMEOUT, call).await?.accepted)
    }
}

/// Vaults as the peers describe them to workers.
#[derive(Clone)]
struct RemoteVaults {
    peers: Peers,
    local_vault: Option<PathBuf>,
}

impl RemoteVaults {
    fn place(&self, opened: wire::OpenedVault) -> Option<VaultPlace> {
        let described = opened.vault?;
        if let Some(local) = described.local {
            return Some(VaultPlace::Local(LocalPlace {
                root: self.local_vault.clone().unwrap_or_else(|| PathBuf::from(local.root)),
                cluster_id: local.cluster_id,
                vault_id: local.vault_id,
            }));
        }
        let s3 = described.s3?;
        Some(VaultPlace::S3(S3Place {
            endpoint: s3.endpoint,
            region: s3.region,
            bucket: s3.bucket,
            prefix: s3.prefix,
            access_key: opened.access_key,
            secret_key: Secret::new(opened.secret_key),
            bucket_style: if s3.path_style {
                BucketStyle::Path
            } else {
                BucketStyle::VirtualHost
            },
            http: if s3.allow_http { Http::Allow } else { Http::Refuse },
            cluster_id: s3.cluster_id,
            former_clusters: s3.former_clusters,
        }))
    }
}

impl Vaults for RemoteVaults {
    async fn open(&self, scope: u64, vault: &str) -> Result<Vault, ObjectError> {
        let message = wire::OpenVaultRequest {
            scope,
            vault: vault.to_owned(),
        };
        let call = |mut client: WorkClient<Channel>| {
            let request = self.peers.request(message.clone(), CALL_TIMEOUT);
            async move { client.open_vault(request).await }
        };
        let opened = self.peers.ask(CALL_TIMEOUT, call).await;
        let opened = opened.map_err(|error| ObjectError::new(ObjectErrorKind::StoreDown, error.message))?;
        let place = self.place(opened);
        let place =
            place.ok_or_else(|| ObjectError::invalid("the peer described a kind of vault this worker does not know; upgrade it"))?;
        Vault::open(&place, Patience::default()).await
    }
}
