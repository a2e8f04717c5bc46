//! The closed loop: N clients over a bounded number of connections, and what they measured.

use crate::driver::{Driver, System, connect};
use crate::machine::cpu_seconds;
use crate::random::Random;
use crate::workload::{CONNECTIONS, Group, Operation};
use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::ops::Range;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Longest latency that is told apart; longer ones count as this long.
const MAX_LATENCY_US: u64 = 60_000_000;
/// A client waits this long after an error, so that a dead peer does not turn the loop into a flood.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);
/// Part of a run that is not counted: connections fill their windows, caches warm up.
const WARM_UP_SHARE: f64 = 0.2;
const MAX_WARM_UP: Duration = Duration::from_secs(2);

/// What clients of one kind measured in one run.
#[derive(Clone, Debug, Serialize)]
pub struct GroupResult {
    pub operation: Operation,
    pub clients: usize,
    pub operations_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub errors: u64,
    /// The first error, as an example.
    pub error: Option<String>,
}

/// One run of one workload on one system.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
    pub system: System,
    pub groups: Vec<GroupResult>,
    /// CPU time of all server processes per operation; 0 if their pids are not known.
    pub server_cpu_us_per_operation: f64,
    pub load_cpu_us_per_operation: f64,
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct Load {
    pub system: System,
    /// Connections are spread over these.
    pub endpoints: Vec<String>,
    pub groups: Vec<Group>,
    /// Operations go to random keys below this number, all of which are there.
    pub keys: u64,
    pub duration: Duration,
    pub seed: u64,
    pub server_pids: Vec<u32>,
}

struct Measured {
    latencies_us: Histogram<u64>,
    errors: u64,
    error: Option<String>,
}

impl Measured {
    fn new() -> anyhow::Result<Measured> {
        let latencies_us = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).context("three digits up to a minute")?;
        Ok(Measured {
            latencies_us,
            errors: 0,
            error: None,
        })
    }
}

/// Opens the connections clients share, spread over the endpoints.
pub async fn open_connections(system: System, endpoints: &[String], count: usize) -> anyhow::Result<Vec<Driver>> {
    anyhow::ensure!(!endpoints.is_empty(), "no endpoint to connect to");
    let mut connections = Vec::with_capacity(count);
    for endpoint in endpoints.iter().cycle().take(count) {
        let channel = connect(endpoint)
            .await
            .with_context(|| format!("connect to {} at {endpoint}", system.name()))?;
        connections.push(Driver::new(system, channel));
    }
    Ok(connections)
}

/// Runs the load once.
pub async fn run(load: &Load) -> anyhow::Result<RunResult> {
    let connections = open_connections(load.system, &load.endpoints, CONNECTIONS).await?;
    let warm_up = load.duration.mul_f64(WARM_UP_SHARE).min(MAX_WARM_UP);
    let from = Instant::now() + warm_up;
    let until = from + load.duration;
    let mut clients = JoinSet::new();
    for (group, kind) in load.groups.iter().enumerate() {
        for _ in 0..kind.clients {
            let client = clients.len() as u64;
            let driver = connections[client as usize % connections.len()].clone();
            let random = Random::new(load.seed.wrapping_add(client << 32));
            let (operation, keys) = (kind.operation, load.keys);
            clients.spawn(async move { (group, closed_loop(driver, operation, keys, random, from..until).await) });
        }
    }
    tokio::time::sleep_until(from).await;
    let (server_before, own_before) = (cpu_seconds(&load.server_pids), cpu_seconds(&[std::process::id()]));
    tokio::time::sleep_until(until).await;
    let (server_after, own_after) = (cpu_seconds(&load.server_pids), cpu_seconds(&[std::process::id()]));

    let mut measured = load
        .groups
        .iter()
        .map(|_| Measured::new())
        .collect::<anyhow::Result<Vec<Measured>>>()?;
    while let Some(client) = clients.join_next().await {
        let (group, of_client) = client.context("a client ended early")?;
        merge(&mut measured[group], of_client?)?;
    }
    let operations: u64 = measured.iter().map(|group| group.latencies_us.len()).sum();
    let per_operation = |seconds: f64| if operations == 0 { 0.0 } else { seconds * 1e6 / operations as f64 };
    let groups = load
        .groups
        .iter()
        .zip(measured)
        .map(|(group, measured)| summary(group, measured, load.duration))
        .collect();
    Ok(RunResult {
        system: load.system,
        groups,
        server_cpu_us_per_operation: per_operation(server_after - server_before),
        load_cpu_us_per_operation: per_operation(own_after - own_before),
    })
}

/// One client. Counts operations that ended within the measured time.
async fn closed_loop(
    driver: Driver,
    operation: Operation,
    keys: u64,
    mut random: Random,
    counted: Range<Instant>,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::new()?;
    loop {
        let started = Instant::now();
        if started >= counted.end {
            return Ok(measured);
        }
        let number = random.below(keys);
        let result = driver.run(operation, number, &mut random).await;
        let ended = Instant::now();
        if let Err(status) = result {
            measured.errors += 1;
            measured.error.get_or_insert_with(|| status.to_string());
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        } else if counted.contains(&ended) {
            measured.latencies_us.saturating_record((ended - started).as_micros() as u64);
        }
    }
}

fn merge(into: &mut Measured, from: Measured) -> anyhow::Result<()> {
    into.latencies_us
        .add(&from.latencies_us)
        .context("histograms have the same bounds")?;
    into.errors += from.errors;
    into.error = into.error.take().or(from.error);
    Ok(())
}

fn summary(group: &Group, measured: Measured, duration: Duration) -> GroupResult {
    let at = |quantile: f64| measured.latencies_us.value_at_quantile(quantile) as f64 / 1e3;
    GroupResult {
        operation: group.operation,
        clients: group.clients,
        operations_per_second: measured.latencies_us.len() as f64 / duration.as_secs_f64(),
        p50_ms: at(0.50),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        errors: measured.errors,
        error: measured.error,
    }
}

/// Clients that fill keys.
const FILL_CLIENTS: u64 = 256;

/// Writes the keys with these numbers, each once; returns how long it took.
pub async fn fill(system: System, endpoints: &[String], numbers: Range<u64>, seed: u64) -> anyhow::Result<Duration> {
    let connections = open_connections(system, endpoints, CONNECTIONS).await?;
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..FILL_CLIENTS {
        let driver = connections[client as usize % connections.len()].clone();
        let own = (numbers.start + client..numbers.end).step_by(FILL_CLIENTS as usize);
        clients.spawn(async move {
            let mut random = Random::new(seed.wrapping_add(client));
            for number in own {
                put_until_done(&driver, number, &mut random)
                    .await
                    .with_context(|| format!("write key {number}"))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client.context("a client ended early")??;
    }
    Ok(started.elapsed())
}

/// Tries of one write while filling: a change of leader must not end an hour's run.
const FILL_TRIES: u32 = 100;

async fn put_until_done(driver: &Driver, number: u64, random: &mut Random) -> Result<(), tonic::Status> {
    let mut tries = 0;
    loop {
        tries += 1;
        match driver.put(number, random.value()).await {
            Err(_) if tries < FILL_TRIES => tokio::time::sleep(PAUSE_AFTER_ERROR * tries.min(10)).await,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_rate_and_quantiles() {
        let mut measured = Measured::new().expect("bounds are constant");
        for latency_us in 1..=1000 {
            measured.latencies_us.saturating_record(latency_us);
        }
        let summary = summary(
            &Group {
                operation: Operation::Put,
                clients: 1,
            },
            measured,
            Duration::from_secs(2),
        );
        assert_eq!(summary.operations_per_second, 500.0);
        assert!((summary.p50_ms - 0.5).abs() < 0.01, "{summary:?}");
        assert!((summary.p99_ms - 0.99).abs() < 0.01, "{summary:?}");
        assert_eq!(summary.errors, 0);
    }
}
