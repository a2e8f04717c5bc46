//! Metric names, kinds, units, labels and help in one table.
//!
//! A new metric is a field of [`Metrics`], a row of the table, and a row of the list in the README; the tests say which is
//! missing.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};
use quorate_consensus::steps::{Step, StepObserver};
use quorate_wire::quorate::v1::{JobKind, JobState};
use std::sync::Arc;

/// Labels of a served call.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CallLabels {
    /// Route or RPC, from the RPC table.
    pub call: &'static str,
    /// `ok` or the error's name.
    pub outcome: &'static str,
}

/// Labels of a call's duration.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DurationLabels {
    pub call: &'static str,
}

/// Labels of jobs that ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct JobLabels {
    pub kind: &'static str,
    pub outcome: &'static str,
}

impl JobLabels {
    const KINDS: [(JobKind, &'static str); 3] = [
        (JobKind::Restore, "restore"),
        (JobKind::CompactClone, "compact_clone"),
        (JobKind::Manifests, "manifests"),
    ];
    const OUTCOMES: [(JobState, &'static str); 3] = [
        (JobState::JobCompleted, "completed"),
        (JobState::JobFailed, "failed"),
        (JobState::JobCancelled, "cancelled"),
    ];

    /// Of a job of this kind that ended in this state; `None` for one that has not ended, or that is of a kind from a later version.
    pub fn of(kind: JobKind, state: JobState) -> Option<JobLabels> {
        let (_, kind) = Self::KINDS.into_iter().find(|(other, _)| *other == kind)?;
        let (_, outcome) = Self::OUTCOMES.into_iter().find(|(other, _)| *other == state)?;
        Some(JobLabels { kind, outcome })
    }

    /// All there are: a rate is of something from the start on only if that is shown as 0.
    fn all() -> impl Iterator<Item = JobLabels> {
        Self::KINDS
            .into_iter()
            .flat_map(|(_, kind)| Self::OUTCOMES.into_iter().map(move |(_, outcome)| JobLabels { kind, outcome }))
    }
}

/// Labels of a job's duration.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabels {
    pub kind: &'static str,
}

/// Labels of failures of tasks.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CauseLabels {
    pub cause: &'static str,
}

impl CauseLabels {
    /// Another try may succeed.
    pub const RETRYABLE: CauseLabels = CauseLabels { cause: "retryable" };
    /// No other try can: a file that is missing.
    pub const FATAL: CauseLabels = CauseLabels { cause: "fatal" };
}

/// Labels of a step's duration.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StepLabels {
    /// From [`Step::name`].
    pub step: &'static str,
}

type StepDurations = Family<StepLabels, Histogram, fn() -> Histogram>;
type JobDurations = Family<KindLabels, Histogram, fn() -> Histogram>;
type Durations = Family<DurationLabels, Histogram, fn() -> Histogram>;

/// Everything this process counts.
pub struct Metrics {
    registry: Registry,
    pub calls: Family<CallLabels, Counter>,
    pub call_duration: Durations,
    pub step_duration: StepDurations,
    pub slow_requests: Counter,
    pub connections: Gauge,
    pub large_reads: Gauge,
    pub applied_index: Gauge,
    pub revision: Gauge,
    pub level: Gauge,
    pub term: Gauge,
    pub is_leader: Gauge,
    pub log_bytes: Gauge,
    pub state_bytes: Gauge,
    pub state_memory: Gauge,
    pub uncompacted_files: Gauge,
    pub compaction_pending: Gauge,
    pub writes_held: Gauge,
    pub peers_reachable: Gauge,
    pub diverged: Gauge,
    pub state_damaged: Gauge,
    pub content_scans: Counter,
    pub digest_disagreements: Gauge,
    pub disk_free: Gauge,
    pub disk_low: Gauge,
    pub growth_refused: Gauge,
    pub ballast: Gauge,
    pub jobs_planning: Gauge,
    pub jobs_running: Gauge,
    pub jobs_ended: Family<JobLabels, Counter>,
    pub job_duration: JobDurations,
    pub tasks_open: Gauge,
    pub tasks_claimed: Gauge,
    pub tasks_completed: Counter,
    pub tasks_failed: Family<CauseLabels, Counter>,
    pub task_duration: Histogram,
    pub claims_expired: Counter,
    pub copied: Counter,
    pub pins: Gauge,
    pub condemned_waiting: Gauge,
    pub files_deleted: Counter,
    pub delete_errors: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// What a metric is, and where its value is kept. The kind of a family brings its labels.
#[derive(Clone, Copy)]
enum Source {
    Calls(fn(&Metrics) -> &Family<CallLabels, Counter>),
    Durations(fn(&Metrics) -> &Durations),
    StepDurations(fn(&Metrics) -> &StepDurations),
    Jobs(fn(&Metrics) -> &Family<JobLabels, Counter>),
    JobDurations(fn(&Metrics) -> &JobDurations),
    Causes(fn(&Metrics) -> &Family<CauseLabels, Counter>),
    Histogram(fn(&Metrics) -> &Histogram),
    Counter(fn(&Metrics) -> &Counter),
    Gauge(fn(&Metrics) -> &Gauge),
}

/// Units of Prometheus's conventions: never a multiple.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BaseUnit {
    None,
    Bytes,
    Seconds,
}

/// One metric. What is exported is registered from these rows and from nowhere else.
struct Row {
    /// Without prefix, unit and `_total`, which the exporter adds.
    name: &'static str,
    unit: BaseUnit,
    help: &'static str,
    source: Source,
}

const fn row(name: &'static str, source: Source, help: &'static str) -> Row {
    Row {
        name,
        unit: BaseUnit::None,
        help,
        source,
    }
}

const fn bytes(name: &'static str, source: Source, help: &'static str) -> Row {
    Row {
        unit: BaseUnit::Bytes,
        ..row(name, source, help)
    }
}

const fn seconds(name: &'static str, source: Source, help: &'static str) -> Row {
    Row {
        unit: BaseUnit::Seconds,
        ..row(name, source, help)
    }
}

/// Every metric, in the order of `/metrics`. The README has the same list, and a test compares them.
const TABLE: &[Row] = &[
    row(
        "calls",
        Source::Calls(|metrics| &metrics.calls),
        "Calls served, by route and outcome",
    ),
    seconds(
        "call_duration",
        Source::Durations(|metrics| &metrics.call_duration),
        "Time from a call's arrival to its reply",
    ),
    seconds(
        "step_duration",
        Source::StepDurations(|metrics| &metrics.step_duration),
        "Time of each step of writing at this peer: append, sync, replicate, apply; flush and checkpoint of the state",
    ),
    row(
        "slow_requests",
        Source::Counter(|metrics| &metrics.slow_requests),
        "Calls that took slow_request_ms or longer",
    ),
    row(
        "connections",
        Source::Gauge(|metrics| &metrics.connections),
        "Open connections on the public port",
    ),
    row(
        "large_reads",
        Source::Gauge(|metrics| &metrics.large_reads),
        "Reads of many rows under way",
    ),
    row(
        "applied_index",
        Source::Gauge(|metrics| &metrics.applied_index),
        "Last log entry applied here",
    ),
    row("revision", Source::Gauge(|metrics| &metrics.revision), "Revision of the state here"),
    row(
        "level",
        Source::Gauge(|metrics| &metrics.level),
        "The cluster's level here: what its commands mean; rises when all peers are newer",
    ),
    row("term", Source::Gauge(|metrics| &metrics.term), "Term of the last applied entry"),
    row("is_leader", Source::Gauge(|metrics| &metrics.is_leader), "1 while this peer leads"),
    bytes("log", Source::Gauge(|metrics| &metrics.log_bytes), "Size of the Raft log's files"),
    bytes("state", Source::Gauge(|metrics| &metrics.state_bytes), "Size of the state's files"),
    bytes(
        "state_memory",
        Source::Gauge(|metrics| &metrics.state_memory),
        "Rows of the state that only memory and the log hold until the next flush",
    ),
    row(
        "uncompacted_files",
        Source::Gauge(|metrics| &metrics.uncompacted_files),
        "Flushed files of the state that wait for their first compaction: 12 are merged at once, and from 32 on writes are slowed down",
    ),
    bytes(
        "compaction_pending",
        Source::Gauge(|metrics| &metrics.compaction_pending),
        "What compaction of the state has still to rewrite, estimated",
    ),
    row(
        "writes_held",
        Source::Gauge(|metrics| &metrics.writes_held),
        "1 while the state holds writes back because flushes and compactions cannot keep up",
    ),
    row(
        "peers_reachable",
        Source::Gauge(|metrics| &metrics.peers_reachable),
        "Other peers that answered within the last seconds",
    ),
    row(
        "diverged",
        Source::Gauge(|metrics| &metrics.diverged),
        "1 when this peer disagrees with the majority about the state",
    ),
    row(
        "state_damaged",
        Source::Gauge(|metrics| &metrics.state_damaged),
        "1 when a scan found other content in the state than was applied",
    ),
    row(
        "content_scans",
        Source::Counter(|metrics| &metrics.content_scans),
        "Scans of the whole state since the start",
    ),
    row(
        "digest_disagreements",
        Source::Gauge(|metrics| &metrics.digest_disagreements),
        "Other peers that disagreed about the state in the latest exchange",
    ),
    bytes(
        "disk_free",
        Source::Gauge(|metrics| &metrics.disk_free),
        "Free space of the data disk",
    ),
    row(
        "disk_low",
        Source::Gauge(|metrics| &metrics.disk_low),
        "1 while the data disk's free space is below its bounds",
    ),
    row(
        "growth_refused",
        Source::Gauge(|metrics| &metrics.growth_refused),
        "1 while a majority is short of disk and the leader refuses what adds data",
    ),
    bytes(
        "ballast",
        Source::Gauge(|metrics| &metrics.ballast),
        "Space that can be given back when the disk is full",
    ),
    row(
        "jobs_planning",
        Source::Gauge(|metrics| &metrics.jobs_planning),
        "Jobs whose source is still being divided into tasks",
    ),
    row(
        "jobs_running",
        Source::Gauge(|metrics| &metrics.jobs_running),
        "Jobs that are planned and have not ended",
    ),
    row(
        "jobs_ended",
        Source::Jobs(|metrics| &metrics.jobs_ended),
        "Jobs this peer has seen end since its start, by kind and outcome",
    ),
    seconds(
        "job_duration",
        Source::JobDurations(|metrics| &metrics.job_duration),
        "Time from a job's start to its end, however it ended",
    ),
    row(
        "tasks_open",
        Source::Gauge(|metrics| &metrics.tasks_open),
        "Tasks of these jobs that nobody works on",
    ),
    row(
        "tasks_claimed",
        Source::Gauge(|metrics| &metrics.tasks_claimed),
        "Tasks of these jobs that a worker has",
    ),
    row(
        "tasks_completed",
        Source::Counter(|metrics| &metrics.tasks_completed),
        "Tasks whose result counted, of this peer's worker and of worker processes that called this peer",
    ),
    row(
        "tasks_failed",
        Source::Causes(|metrics| &metrics.tasks_failed),
        "Failures of tasks, of the same workers: retryable ones may pass, fatal ones end the job",
    ),
    seconds(
        "task_duration",
        Source::Histogram(|metrics| &metrics.task_duration),
        "Time from the claim of a task by this peer's worker until its result counted",
    ),
    row(
        "claims_expired",
        Source::Counter(|metrics| &metrics.claims_expired),
        "Claims this peer has taken, as leader, from workers that were not heard of",
    ),
    bytes(
        "copied",
        Source::Counter(|metrics| &metrics.copied),
        "Bytes this peer's worker has copied for tasks that counted",
    ),
    row("pins", Source::Gauge(|metrics| &metrics.pins), "Pins and holds in the state here"),
    row(
        "condemned_waiting",
        Source::Gauge(|metrics| &metrics.condemned_waiting),
        "Places whose files are to be deleted, sweeps to come included; counted to 10,000",
    ),
    row(
        "files_deleted",
        Source::Counter(|metrics| &metrics.files_deleted),
        "Condemned files this peer has deleted as leader",
    ),
    row(
        "delete_errors",
        Source::Counter(|metrics| &metrics.delete_errors),
        "Batches of condemned files this peer could not delete",
    ),
];

/// Prefix of every name.
const PREFIX: &str = "quorate";

impl Metrics {
    pub fn new() -> Metrics {
        // Buckets from 50 us to 13 s.
        let new_histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_05, 2.0, 18));
        // Buckets from 10 ms to 12 hours, for jobs and their tasks.
        let new_long_histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.01, 4.0, 12));
        let mut metrics = Metrics {
            calls: Family::default(),
            call_duration: Family::new_with_constructor(new_histogram),
            step_duration: Family::new_with_constructor(new_histogram),
            slow_requests: Counter::default(),
            connections: Gauge::default(),
            large_reads: Gauge::default(),
            applied_index: Gauge::default(),
            revision: Gauge::default(),
            level: Gauge::default(),
            term: Gauge::default(),
            is_leader: Gauge::default(),
            log_bytes: Gauge::default(),
            state_bytes: Gauge::default(),
            state_memory: Gauge::default(),
            uncompacted_files: Gauge::default(),
            compaction_pending: Gauge::default(),
            writes_held: Gauge::default(),
            peers_reachable: Gauge::default(),
            diverged: Gauge::default(),
            state_damaged: Gauge::default(),
            content_scans: Counter::default(),
            digest_disagreements: Gauge::default(),
            disk_free: Gauge::default(),
            disk_low: Gauge::default(),
            growth_refused: Gauge::default(),
            ballast: Gauge::default(),
            jobs_planning: Gauge::default(),
            jobs_running: Gauge::default(),
            jobs_ended: Family::default(),
            job_duration: Family::new_with_constructor(new_long_histogram),
            tasks_open: Gauge::default(),
            tasks_claimed: Gauge::default(),
            tasks_completed: Counter::default(),
            tasks_failed: Family::default(),
            task_duration: new_long_histogram(),
            claims_expired: Counter::default(),
            copied: Counter::default(),
            pins: Gauge::default(),
            condemned_waiting: Gauge::default(),
            files_deleted: Counter::default(),
            delete_errors: Counter::default(),
            registry: Registry::default(),
        };
        metrics.show_all_labels();
        let mut registry = Registry::with_prefix(PREFIX);
        for row in TABLE {
            match row.source {
                Source::Calls(of) => register(&mut registry, row, of(&metrics).clone()),
                Source::Durations(of) => register(&mut registry, row, of(&metrics).clone()),
                Source::StepDurations(of) => register(&mut registry, row, of(&metrics).clone()),
                Source::Jobs(of) => register(&mut registry, row, of(&metrics).clone()),
                Source::JobDurations(of) => register(&mut registry, row, of(&metrics).clone()),
                Source::Causes(of) => register(&mut registry, row, of(&metrics).clone()),
                Source::Histogram(of) => register(&mut registry, row, of(&metrics).clone()),
                Source::Counter(of) => register(&mut registry, row, of(&metrics).clone()),
                Source::Gauge(of) => register(&mut registry, row, of(&metrics).clone()),
            }
        }
        metrics.registry = registry;
        metrics
    }

    /// Jobs, steps and causes are shown from the start on, before there was one.
    fn show_all_labels(&self) {
        for labels in JobLabels::all() {
            self.jobs_ended.get_or_create(&labels).inc_by(0);
            drop(self.job_duration.get_or_create(&KindLabels { kind: labels.kind }));
        }
        for step in Step::ALL {
            drop(self.step_duration.get_or_create(&StepLabels { step: step.name() }));
        }
        for labels in [CauseLabels::RETRYABLE, CauseLabels::FATAL] {
            self.tasks_failed.get_or_create(&labels).inc_by(0);
        }
    }

    /// Counts the steps of writing. Each has its histogram at hand: a look into the family takes a lock.
    pub fn step_observer(&self) -> StepObserver {
        let of = |step: Step| self.step_duration.get_or_create_owned(&StepLabels { step: step.name() });
        let durations = Step::ALL.map(of);
        Arc::new(move |step, time| durations[step as usize].observe(time.as_secs_f64()))
    }

    /// Counts one served call.
    pub fn served(&self, call: &'static str, outcome: &'static str, started: tokio::time::Instant) {
        self.calls.get_or_create(&CallLabels { call, outcome }).inc();
        self.call_duration
            .get_or_create(&DurationLabels { call })
            .observe(started.elapsed().as_secs_f64());
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be written as text");
        }
        text
    }
}

fn register(registry: &mut Registry, row: &Row, metric: impl Metric) {
    match row.unit {
        BaseUnit::Bytes => registry.register_with_unit(row.name, row.help, Unit::Bytes, metric),
        BaseUnit::Seconds => registry.register_with_unit(row.name, row.help, Unit::Seconds, metric),
        BaseUnit::None => registry.register(row.name, row.help, metric),
    }
}

#[cfg(test)]
mod tests;
