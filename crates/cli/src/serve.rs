//! `quorate serve`: one peer, from flags over a file over the environment.

use anyhow::{Context, anyhow};
use clap::Args;
use quorate_server::config::{DISK_LOW_PERCENT, Profile, ServerConfig};
use quorate_server::networks::Network;
use quorate_server::serve;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

#[derive(Args)]
pub struct ServeArguments {
    /// TOML file with the settings below; flags win over it.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Directory of log, state and identity; made if absent.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Address of the public port [default: 127.0.0.1:5000].
    #[arg(long)]
    listen: Option<String>,
    /// Address of the peer port [default: 127.0.0.1:5001].
    #[arg(long)]
    peer_listen: Option<String>,
    /// `host:port` clients reach this peer at; needed when --listen is 0.0.0.0 [default: --listen].
    #[arg(long)]
    advertise: Option<String>,
    /// `host:port` peers reach this peer at; needed when --peer-listen is 0.0.0.0 [default: --peer-listen].
    #[arg(long)]
    peer_advertise: Option<String>,
    /// Peer addresses of all founders, this one included, separated by commas. The same on every peer.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// File with the Doris token. The token itself is also taken from QUORATE_TOKEN.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Accept Doris's well-known default token.
    #[arg(long)]
    allow_well_known_token: bool,
    /// File with the secret peers authenticate each other by. The same on every peer. The secret itself is also taken from
    /// QUORATE_CLUSTER_SECRET, instead of a file.
    #[arg(long)]
    cluster_secret_file: Option<PathBuf>,
    /// PEM file with the certificate of the public port: it speaks TLS. Files of certificates are read again when they change.
    #[arg(long)]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of --tls-cert.
    #[arg(long)]
    tls_key: Option<PathBuf>,
    /// PEM file with the CA that callers' certificates must be signed by.
    #[arg(long)]
    tls_client_ca: Option<PathBuf>,
    /// Serve callers without TLS on the public port as well.
    #[arg(long)]
    tls_allow_plain: bool,
    /// PEM file with this peer's certificate: the peer port speaks mutual TLS. On every peer or on none.
    #[arg(long)]
    peer_tls_cert: Option<PathBuf>,
    /// PEM file with the private key of --peer-tls-cert.
    #[arg(long)]
    peer_tls_key: Option<PathBuf>,
    /// PEM file with the CA of all peers' certificates.
    #[arg(long)]
    peer_tls_ca: Option<PathBuf>,
    /// File with the keys secrets are encrypted by. The same on every peer. Its lines are also taken from QUORATE_ROOT_KEYS, with line
    /// ends or commas between them, instead of a file.
    #[arg(long)]
    root_keys_file: Option<PathBuf>,
    /// The cluster's root keys are lost for good: go on with others. What the lost ones encrypted cannot be read any more.
    #[arg(long)]
    root_keys_lost: bool,
    /// Timing of elections: lan or wan.
    #[arg(long)]
    profile: Option<String>,
    /// Start empty beside a running cluster: get a new id and take this address's old place.
    #[arg(long)]
    replace: bool,
    /// Peer addresses of a running cluster to join as a further peer, separated by commas; one that answers is enough.
    #[arg(long, value_delimiter = ',', conflicts_with = "peers")]
    join: Vec<String>,
    /// Worker threads; 0 is one per core, 1 is best when several peers share a small machine.
    #[arg(long)]
    worker_threads: Option<usize>,
    /// Networks that may use the Doris gRPC service, which has no token, separated by commas [default: loopback and private].
    #[arg(long, value_delimiter = ',')]
    doris_grpc_allow: Vec<Network>,
    /// Log bytes after which a checkpoint is made.
    #[arg(long)]
    checkpoint_log_bytes: Option<u64>,
    /// Log entries after which a checkpoint is made.
    #[arg(long)]
    checkpoint_log_entries: Option<u64>,
    /// Bytes a second at which a checkpoint is sent to one peer; 0 is as fast as it goes.
    #[arg(long)]
    checkpoint_bytes_per_second: Option<u64>,
    /// Free bytes of the data disk below which it counts as low.
    #[arg(long)]
    disk_low_bytes: Option<u64>,
    /// Free percentage of the data disk below which it counts as low.
    #[arg(long, value_parser = clap::value_parser!(u64).range(DISK_LOW_PERCENT))]
    disk_low_percent: Option<u64>,
    /// Bytes of a file that is given back when the disk is full; 0 for none.
    #[arg(long)]
    ballast_bytes: Option<u64>,
    /// Seconds between two scans of the whole state against its digest.
    #[arg(long)]
    content_scan_seconds: Option<u64>,
    /// Size of one log file in bytes [default: 67108864].
    #[arg(long)]
    log_segment_bytes: Option<u32>,
    /// Milliseconds from which a request is called slow and gets a line in the log; 0 for none [default: 1000].
    #[arg(long)]
    slow_request_ms: Option<u64>,
    /// Directory that all peers see, for files of collections without a vault.
    #[arg(long)]
    local_vault: Option<PathBuf>,
    /// Tasks of jobs this peer works on at once, 0 to 64; 0 for none [default: 4].
    #[arg(long)]
    workers: Option<usize>,
    /// Append every applied entry to audit.log (builds with the `audit` feature).
    #[arg(long)]
    audit: bool,
}

impl ServeArguments {
    /// The settings of TLS on both ports that are given as flags.
    fn take_tls_files(&mut self, config: &mut ServerConfig) {
        let (tls, peer_tls) = (&mut config.tls, &mut config.peer_tls);
        for (setting, flag) in [
            (&mut tls.cert, self.tls_cert.take()),
            (&mut tls.key, self.tls_key.take()),
            (&mut tls.client_ca, self.tls_client_ca.take()),
            (&mut peer_tls.cert, self.peer_tls_cert.take()),
            (&mut peer_tls.key, self.peer_tls_key.take()),
            (&mut peer_tls.ca, self.peer_tls_ca.take()),
        ] {
            *setting = flag.or(setting.take());
        }
        tls.allow_plain |= self.tls_allow_plain;
    }

    fn into_config(mut self) -> anyhow::Result<ServerConfig> {
        let mut config = match (&self.config, &self.data_dir) {
            (Some(path), _) => ServerConfig::load(path)?,
            (None, Some(dir)) => ServerConfig::new(dir.clone()),
            (None, None) => return Err(anyhow!("--data-dir or --config is needed")),
        };
        self.take_tls_files(&mut config);
        set(&mut config.data_dir, self.data_dir);
        set(&mut config.listen, self.listen);
        set(&mut config.peer_listen, self.peer_listen);
        set(&mut config.worker_threads, self.worker_threads);
        config.advertise = self.advertise.or(config.advertise);
        config.peer_advertise = self.peer_advertise.or(config.peer_advertise);
        config.token_file = self.token_file.or(config.token_file);
        config.cluster_secret_file = self.cluster_secret_file.or(config.cluster_secret_file);
        config.root_keys_file = self.root_keys_file.or(config.root_keys_file);
        config.checkpoint_log_bytes = self.checkpoint_log_bytes.or(config.checkpoint_log_bytes);
        config.checkpoint_log_entries = self.checkpoint_log_entries.or(config.checkpoint_log_entries);
        config.checkpoint_bytes_per_second = self.checkpoint_bytes_per_second.or(config.checkpoint_bytes_per_second);
        config.disk_low_bytes = self.disk_low_bytes.or(config.disk_low_bytes);
        config.disk_low_percent = self.disk_low_percent.or(config.disk_low_percent);
        config.ballast_bytes = self.ballast_bytes.or(config.ballast_bytes);
        config.content_scan_seconds = self.content_scan_seconds.or(config.content_scan_seconds);
        config.log_segment_bytes = self.log_segment_bytes.or(config.log_segment_bytes);
        config.slow_request_ms = self.slow_request_ms.or(config.slow_request_ms);
        config.local_vault = self.local_vault.or(config.local_vault);
        config.workers = self.workers.or(config.workers);
        config.allow_well_known_token |= self.allow_well_known_token;
        config.replace |= self.replace;
        config.root_keys_lost |= self.root_keys_lost;
        config.audit |= self.audit;
        if !self.doris_grpc_allow.is_empty() {
            config.doris_grpc_allow = self.doris_grpc_allow;
        }
        if !self.peers.is_empty() {
            config.peers = self.peers;
        }
        if !self.join.is_empty() {
            config.join = self.join;
        }
        config.take_environment(|name| Some(std::env::var_os(name)?.into_string()))?;
        match self.profile.as_deref() {
            None => {}
            Some("lan") => config.profile = Profile::Lan,
            Some("wan") => config.profile = Profile::Wan,
            Some(other) => return Err(anyhow!("profile \"{other}\" is not known; choose lan or wan")),
        }
        Ok(config)
    }
}

fn set<T>(target: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *target = given;
    }
}

/// What this process logs goes to standard error, filtered by `QUORATE_LOG`.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

pub fn run(arguments: ServeArguments) -> anyhow::Result<ExitCode> {
    log_to_stderr();
    let config = arguments.into_config()?;
    let mut runtime = match config.worker_threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            if threads > 0 {
                builder.worker_threads(threads);
            }
            builder
        }
    };
    let runtime = runtime.enable_all().build().context("the async runtime cannot start")?;
    let outcome = runtime.block_on(async {
        let (sender, stop) = watch::channel(false);
        tokio::spawn(async move {
            stop_signal().await;
            let _ = sender.send(true);
            // A second signal does not wait for leadership to be handed over.
            stop_signal().await;
            std::process::exit(130);
        });
        let listen = config.public_address().to_owned();
        serve::run(config, stop, |node| {
            tracing::info!(peer = %node.peer(), address = %listen, "serving");
        })
        .await
    });
    serve::end(runtime);
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C or SIGTERM, those included that come after this call and before the wait. Needs a Tokio runtime.
pub fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).expect("a signal handler can be installed at start");
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
