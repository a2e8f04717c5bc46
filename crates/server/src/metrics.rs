//! Metric names, kinds, units and help in one table.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicI64;

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

/// Everything this process counts.
pub struct Metrics {
    registry: Registry,
    pub calls: Family<CallLabels, Counter>,
    pub call_duration: Family<DurationLabels, Histogram, fn() -> Histogram>,
    pub connections: Gauge,
    pub applied_index: Gauge<i64, AtomicI64>,
    pub revision: Gauge<i64, AtomicI64>,
    pub term: Gauge<i64, AtomicI64>,
    pub is_leader: Gauge<i64, AtomicI64>,
    pub log_bytes: Gauge<i64, AtomicI64>,
    pub state_bytes: Gauge<i64, AtomicI64>,
    pub peers_reachable: Gauge<i64, AtomicI64>,
    pub diverged: Gauge<i64, AtomicI64>,
    pub state_damaged: Gauge<i64, AtomicI64>,
    pub content_scans: Gauge<i64, AtomicI64>,
    pub digest_disagreements: Gauge<i64, AtomicI64>,
    pub disk_free: Gauge<i64, AtomicI64>,
    pub disk_low: Gauge<i64, AtomicI64>,
    pub growth_refused: Gauge<i64, AtomicI64>,
    pub ballast: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("quorate");
        let new_histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_05, 2.0, 18));
        // Buckets from 50 us to 13 s.
        let call_duration = Family::new_with_constructor(new_histogram);
        let metrics = Metrics {
            calls: Family::default(),
            call_duration,
            connections: Gauge::default(),
            applied_index: Gauge::default(),
            revision: Gauge::default(),
            term: Gauge::default(),
            is_leader: Gauge::default(),
            log_bytes: Gauge::default(),
            state_bytes: Gauge::default(),
            peers_reachable: Gauge::default(),
            diverged: Gauge::default(),
            state_damaged: Gauge::default(),
            content_scans: Gauge::default(),
            digest_disagreements: Gauge::default(),
            disk_free: Gauge::default(),
            disk_low: Gauge::default(),
            growth_refused: Gauge::default(),
            ballast: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("calls", "Calls served, by route and outcome", metrics.calls.clone());
        registry.register_with_unit(
            "call_duration",
            "Time from a call's last byte to its reply",
            Unit::Seconds,
            metrics.call_duration.clone(),
        );
        registry.register("connections", "Open connections on the public port", metrics.connections.clone());
        registry.register("applied_index", "Last log entry applied here", metrics.applied_index.clone());
        registry.register("revision", "Revision of the state here", metrics.revision.clone());
        registry.register("term", "Term of the last applied entry", metrics.term.clone());
        registry.register("is_leader", "1 while this peer leads", metrics.is_leader.clone());
        registry.register_with_unit("log", "Size of the Raft log's files", Unit::Bytes, metrics.log_bytes.clone());
        registry.register_with_unit("state", "Size of the state's files", Unit::Bytes, metrics.state_bytes.clone());
        registry.register(
            "peers_reachable",
            "Other peers that answered within the last seconds",
            metrics.peers_reachable.clone(),
        );
        registry.register(
            "diverged",
            "1 when this peer disagrees with the majority about the state",
            metrics.diverged.clone(),
        );
        metrics.register_damage_and_disk(&mut registry);
        Metrics { registry, ..metrics }
    }

    fn register_damage_and_disk(&self, registry: &mut Registry) {
        registry.register(
            "state_damaged",
            "1 when a scan found other content in the state than was applied",
            self.state_damaged.clone(),
        );
        registry.register(
            "content_scans",
            "Scans of the whole state since the start",
            self.content_scans.clone(),
        );
        registry.register(
            "digest_disagreements",
            "Other peers that disagreed about the state in the latest exchange",
            self.digest_disagreements.clone(),
        );
        registry.register_with_unit("disk_free", "Free space of the data disk", Unit::Bytes, self.disk_free.clone());
        registry.register(
            "disk_low",
            "1 while the data disk's free space is below its bounds",
            self.disk_low.clone(),
        );
        registry.register(
            "growth_refused",
            "1 while a majority is short of disk and the leader refuses what adds data",
            self.growth_refused.clone(),
        );
        registry.register_with_unit(
            "ballast",
            "Space that can be given back when the disk is full",
            Unit::Bytes,
            self.ballast.clone(),
        );
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
