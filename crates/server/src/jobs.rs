//! Long work in a peer's process: its worker, the reconcilers while it leads, and the vaults both of them use.

use crate::app::App;
use crate::config::ConfigError;
use crate::ended_jobs;
use crate::metrics::CauseLabels;
use quorate_consensus::Node;
use quorate_jobs::complaints::Complaints;
use quorate_jobs::vault_health::Trouble;
use quorate_jobs::{Counters, LocalWork, Reconciler, Settings, Vaults, Worker};
use quorate_model::{ClusterId, ScopeId};
use quorate_objects::{BucketStyle, Http, LocalPlace, ObjectError, ObjectErrorKind, Patience, S3Place, Secret, Vault, VaultPlace};
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::catalog::storage::{self, StoredVault};
use quorate_state_machine::command::{ApplyError, read_record};
use quorate_state_machine::commands::{MarkLocalVault, mark_local_vault};
use quorate_state_machine::keys::{self, RecordTable};
use quorate_state_machine::queries::files;
use quorate_state_machine::{Reader, StoreError, jobs, object_stores, record, recoveries, store};
use quorate_wire::doris::ObjectStoreInfoPb;
use quorate_wire::quorate::v1::{Finding, JobState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often leadership is looked at: a reconciler that runs too long does no harm.
const LEADER_INTERVAL: Duration = Duration::from_millis(100);
/// How old what peers tell of their vaults may be.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a marker could not be made.
const MARKER_RETRY: Duration = Duration::from_millis(500);
/// How long a new leader waits for the marker before it does anything else: not for ever, since the directory may hang.
const MARKER_FIRST: Duration = Duration::from_secs(2);
/// Tasks of one worker: their files share one bound, more only hide more waiting.
const WORKERS_MAX: usize = 64;
/// Condemned rows that `/metrics` counts at most.
const CONDEMNED_COUNTED: usize = 10_000;
/// How often it is looked at whether the local vault is there, and how long that may take.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Stands for all instances where the local vault itself is meant; no instance has it.
const LOCAL_SCOPE: u64 = 0;
/// What the shared directory's marker names it; there is one to a cluster.
const LOCAL_VAULT: &str = "local";

/// Starts this peer's worker and watches for its leadership. What is returned ends them when it is dropped.
pub fn start(app: &Arc<App>, node: &Node, stop: watch::Receiver<bool>) -> Result<JoinSet<()>, ConfigError> {
    let tasks_at_once = app.config.workers.unwrap_or(Settings::default().tasks_at_once);
    if tasks_at_once > WORKERS_MAX {
        return Err(ConfigError(format!(
            "workers is {tasks_at_once}, allowed are 0 to {WORKERS_MAX}; 4 is enough for one disk"
        )));
    }
    if let Some(directory) = app.config.local_vault.as_ref().filter(|directory| !directory.is_absolute()) {
        return Err(ConfigError(format!(
            "local_vault {} is not an absolute path; every peer must name the same directory",
            directory.display()
        )));
    }
    let vaults = PeerVaults::new(app, node);
    let mut work = JoinSet::new();
    if tasks_at_once > 0 {
        let worker = Worker::new(
            format!("peer-{}", node.peer()),
            LocalWork::new(node.clone()),
            vaults.clone(),
            Settings { tasks_at_once },
            app.job_counters.clone(),
        );
        work.spawn(worker.run(stop));
    }
    work.spawn(look_at_local_vault(vaults.clone()));
    work.spawn(lead(vaults));
    work.spawn(tell(app.clone(), node.clone()));
    work.spawn(ended_jobs::count(app.clone(), node.clone()));
    Ok(work)
}

/// Hands on what the work of this peer has met, for the status of every peer.
async fn tell(app: Arc<App>, node: Node) {
    loop {
        node.set_findings(vault_findings(&app, &node));
        tokio::time::sleep(TELL_INTERVAL).await;
    }
}

/// Notes whether the local vault is there: nothing but its marker tells a mount that is missing from a directory that nobody uses yet.
async fn look_at_local_vault(vaults: PeerVaults) {
    let Some(place) = vaults.local_place().map(VaultPlace::Local) else {
        return;
    };
    let health = &vaults.app.job_counters.vaults;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let is_marked = Query::read(&vaults.node, |reader| {
            Ok::<_, StoreError>(mark_local_vault::find(reader)?.is_some())
        });
        if !is_marked.unwrap_or(false) {
            continue;
        }
        let opening = tokio::time::timeout(LOOK_INTERVAL, Vault::open(&place, Patience::default()));
        let opened = opening.await.unwrap_or_else(|_| {
            let text = format!(
                "its marker could not be read within {} s; the mount may hang: bring it back, and if another one took its place, \
                 restart this peer, whose threads may wait for the former one for ever",
                LOOK_INTERVAL.as_secs()
            );
            Err(ObjectError::new(ObjectErrorKind::StoreDown, text))
        });
        health.opened(LOCAL_SCOPE, "", &opened);
        if opened.is_ok() {
            // It is one directory for all instances.
            let met = health.troubles().into_iter().filter(|trouble| trouble.vault.is_empty());
            met.for_each(|trouble| health.worked(trouble.scope, ""));
        }
    }
}

/// Runs the reconcilers while this peer leads.
async fn lead(vaults: PeerVaults) {
    let node = vaults.node.clone();
    loop {
        while !node.is_leader() {
            tokio::time::sleep(LEADER_INTERVAL).await;
        }
        // What is asked of a new cluster at once shall find its vault: one that does not open is left alone for a while.
        let is_marked = tokio::time::timeout(MARKER_FIRST, vaults.mark()).await.is_ok();
        let reconciler = Reconciler::new(node.clone(), vaults.clone(), vaults.app.job_counters.clone());
        let go_on_marking = async {
            if !is_marked {
                vaults.mark().await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = reconciler.run() => {}
            () = go_on_marking => {}
            () = follower(&node) => {}
        }
        vaults.app.job_counters.vaults.forget();
    }
}

/// Ends when this peer leads no more.
async fn follower(node: &Node) {
    while node.is_leader() {
        tokio::time::sleep(LEADER_INTERVAL).await;
    }
}

/// The vaults of all instances, as the state names them.
#[derive(Clone)]
pub struct PeerVaults {
    app: Arc<App>,
    node: Node,
}

impl PeerVaults {
    pub fn new(app: &Arc<App>, node: &Node) -> PeerVaults {
        PeerVaults {
            app: app.clone(),
            node: node.clone(),
        }
    }

    fn local_place(&self) -> Option<LocalPlace> {
        let root: PathBuf = self.app.config.local_vault.clone()?;
        Some(LocalPlace {
            root,
            cluster_id: self.node.core().cluster.to_string(),
            vault_id: LOCAL_VAULT.to_owned(),
        })
    }

    /// Makes the shared directory a vault, once in a cluster's life: a directory that lacks its marker later is not mounted. Ends when
    /// that is done.
    async fn mark(&self) {
        let Some(place) = self.local_place() else { return };
        let complaints = Complaints::default();
        while let Err(error) = self.try_mark(&place).await {
            complaints.log("make the local vault", &error);
            tokio::time::sleep(MARKER_RETRY).await;
        }
        tracing::info!(directory = %place.root.display(), "the local vault is marked as this cluster's");
    }

    async fn try_mark(&self, place: &LocalPlace) -> Result<(), String> {
        self.node.confirm().await.map_err(|error| error.message)?;
        let known = Query::read(&self.node, |reader| {
            Ok::<_, StoreError>((mark_local_vault::find(reader)?, recoveries::former_clusters(reader)?))
        });
        let (marked, former) = known.map_err(|error| error.to_string())?;
        let former: Vec<String> = former.iter().map(ToString::to_string).collect();
        let is_recovered = !former.is_empty();
        if is_recovered {
            Vault::take_over_marker(place, former).await.map_err(|error| error.message)?;
        }
        if marked.is_some() {
            if is_recovered {
                // A share that is mounted later has its former marker still.
                let is_ours = Vault::open(&VaultPlace::Local(place.clone()), Patience::default()).await;
                is_ours.map_err(|error| error.message)?;
            }
            return Ok(());
        }
        // First the marker: were it last, a crash in between would leave a vault that nobody may ever mark.
        Vault::create_marker(place).await.map_err(|error| error.message)?;
        let command = MarkLocalVault {
            vault_id: LOCAL_VAULT.to_owned(),
        };
        self.node.propose(&command).await.map_err(|error| error.message)?;
        Ok(())
    }

    /// Where a vault is, credentials included.
    pub fn place(&self, scope: u64, vault: &str) -> Result<VaultPlace, ObjectError> {
        let found = Query::read(&self.node, |reader| {
            Ok((
                files::resolve_vault(reader, ScopeId(scope), vault)?,
                recoveries::former_clusters(reader)?,
            ))
        });
        let (stored, former) = found.map_err(|error: ApplyError| ObjectError::new(ObjectErrorKind::PermissionDenied, error.to_string()))?;
        match stored {
            StoredVault::S3(store) => self.s3_place(*store, former).map(VaultPlace::S3),
            _ => self.local_place().map(VaultPlace::Local).ok_or_else(|| {
                let message = "this peer has no directory for files of collections without a vault; set local_vault (--local-vault)";
                ObjectError::new(ObjectErrorKind::WrongMarker, message)
            }),
        }
    }

    fn s3_place(&self, mut store: ObjectStoreInfoPb, former: Vec<ClusterId>) -> Result<S3Place, ObjectError> {
        object_stores::unseal_store(&self.app.secrets, &mut store)
            .map_err(|error| ObjectError::new(ObjectErrorKind::PermissionDenied, error.message))?;
        let plain = store.endpoint().starts_with("http://");
        let endpoint = match store.endpoint() {
            "" => String::new(),
            endpoint if endpoint.contains("://") => endpoint.to_owned(),
            endpoint => format!("https://{endpoint}"),
        };
        Ok(S3Place {
            endpoint,
            region: store.region().to_owned(),
            bucket: store.bucket().to_owned(),
            prefix: store.prefix().to_owned(),
            access_key: store.ak().to_owned(),
            secret_key: Secret::new(store.sk()),
            bucket_style: if store.use_path_style() {
                BucketStyle::Path
            } else {
                BucketStyle::VirtualHost
            },
            http: if plain { Http::Allow } else { Http::Refuse },
            cluster_id: self.node.core().cluster.to_string(),
            former_clusters: former.iter().map(ToString::to_string).collect(),
        })
    }

    /// As [`Vaults::open`], with a caller's patience instead of a job's.
    pub async fn open_within(&self, scope: u64, vault: &str, patience: Patience) -> Result<Vault, ObjectError> {
        let place = self.place(scope, vault)?;
        Vault::open(&place, patience).await
    }
}

impl Vaults for PeerVaults {
    async fn open(&self, scope: u64, vault: &str) -> Result<Vault, ObjectError> {
        self.open_within(scope, vault, Patience::default()).await
    }
}

/// A vault as people know it: by its name and its instance's.
pub fn shown_vault(node: &Node, scope: ScopeId, vault: &str) -> String {
    if scope == ScopeId(LOCAL_SCOPE) {
        return "local vault".to_owned();
    }
    let owner = Query::read(node, |reader| storage::owner(reader, scope));
    let (of, vault) = match owner {
        Ok(owner) => (
            format!("instance {}", owner.info.instance_id()),
            storage::display_name(&owner, vault),
        ),
        Err(_) => (format!("scope {scope}"), vault.to_owned()),
    };
    match vault.as_str() {
        "" => format!("local vault, for {of}"),
        vault => format!("vault {vault} of {of}"),
    }
}

/// Vaults that the work of this peer cannot use now.
pub fn vault_findings(app: &App, node: &Node) -> Vec<Finding> {
    let troubles = app.job_counters.vaults.troubles();
    let finding = |trouble: Trouble| Finding {
        severity: "warning".to_owned(),
        object: shown_vault(node, ScopeId(trouble.scope), &trouble.vault),
        text: format!(
            "peer {} cannot use it since {} s: {}",
            node.peer(),
            trouble.lasts.as_secs(),
            trouble.reason
        ),
        advice: "bring the store or the mount back, or mend the vault's credentials; jobs and deletions go on by themselves".to_owned(),
    };
    troubles.into_iter().map(finding).collect()
}

/// Brings the metrics of jobs up to date.
pub fn measure(app: &App, node: &Node) {
    let (metrics, counters) = (&app.metrics, &app.job_counters);
    let found = Query::read(node, |reader| {
        Ok::<_, StoreError>((Census::take(reader)?, condemned(reader)?, pins(reader)?))
    });
    match found {
        Ok((census, condemned, pins)) => {
            metrics.pins.set(pins);
            metrics.jobs_planning.set(census.planning);
            metrics.jobs_running.set(census.running);
            metrics.tasks_open.set(census.open);
            metrics.tasks_claimed.set(census.claimed);
            metrics.condemned_waiting.set(condemned);
        }
        Err(error) => tracing::error!(%error, "jobs cannot be counted for the metrics"),
    }
    // Counted over there; here it is only shown.
    for (shown, counted) in [
        (&metrics.tasks_completed, &counters.tasks_completed),
        (&metrics.claims_expired, &counters.claims_expired),
        (&metrics.copied, &counters.bytes_copied),
        (&metrics.files_deleted, &counters.files_deleted),
        (&metrics.delete_errors, &counters.delete_errors),
    ] {
        shown.inner().store(Counters::get(counted), Ordering::Relaxed);
    }
    for (labels, counted) in [
        (CauseLabels::RETRYABLE, &counters.failures_retryable),
        (CauseLabels::FATAL, &counters.failures_fatal),
    ] {
        let shown = metrics.tasks_failed.get_or_create(&labels);
        shown.inner().store(Counters::get(counted), Ordering::Relaxed);
    }
}

/// Jobs that have not ended, and their tasks.
#[derive(Default)]
struct Census {
    planning: i64,
    running: i64,
    open: i64,
    claimed: i64,
}

impl Census {
    fn take(reader: &dyn Reader) -> Result<Census, StoreError> {
        let mut census = Census::default();
        for (job, progress) in jobs::all_active(reader)? {
            match jobs::find(reader, job)?.map(|record| record.state()) {
                Some(JobState::JobPlanning) => census.planning += 1,
                _ => census.running += 1,
            }
            let [planned, done, claimed] = [progress.tasks_planned, progress.tasks_done, progress.tasks_claimed].map(i64::from);
            census.open += planned - done - claimed;
            census.claimed += claimed;
        }
        Ok(census)
    }
}

/// Pins and holds: the state counts them itself.
fn pins(reader: &dyn Reader) -> Result<i64, StoreError> {
    let counters: Option<record::Counters> = read_record(reader, keys::COUNTERS_KEY)?;
    Ok(counters.unwrap_or_default().pins as i64)
}

fn condemned(reader: &dyn Reader) -> Result<i64, StoreError> {
    let prefix = keys::record_prefix(RecordTable::Condemned);
    let mut cursor = reader.cursor(&prefix, &store::prefix_end(&prefix))?;
    let mut count = 0;
    while cursor.row().is_some() && count < CONDEMNED_COUNTED {
        count += 1;
        cursor.next()?;
    }
    Ok(count as i64)
}
