//! Many instances with clusters and nodes, as Doris's frontends and backends know them: how fast one cluster is found over
//! HTTP, how long an instance with many nodes takes, and how soon a restarted cluster answers again.

use crate::args::InstancesArguments;
use crate::driver::System;
use crate::http::Connection;
use crate::machine::{self, cpu_seconds};
use crate::quorate::TOKEN;
use crate::random::Random;
use crate::recovery::{largest_memory, restart_all};
use crate::report::{table, write_json};
use crate::system::Cluster;
use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The instance that has many nodes, and how many.
const LARGE: &str = "large";
const LARGE_NODES: u64 = 2_000;
/// Calls by which the time of one `get_instance` is told.
const SINGLE_CALLS: usize = 100;
/// Time the clients run before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shape {
    pub instances: u64,
    pub clusters: u64,
    pub nodes: u64,
}

/// Milliseconds of many calls.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    median_ms: f64,
    p99_ms: f64,
    worst_ms: f64,
}

#[derive(Debug, Serialize)]
struct InstancesResult {
    machine: String,
    shape: Shape,
    fill_seconds: f64,
    get_cluster_clients: usize,
    get_cluster_per_second: f64,
    get_cluster: Latency,
    /// Processor time of all peers.
    get_cluster_cpu_us: f64,
    get_instance_nodes: u64,
    get_instance: Latency,
    restart_seconds: f64,
    largest_rss_bytes: u64,
}

fn instance_id(instance: u64) -> String {
    format!("instance{instance:05}")
}

fn node_id(instance: u64, cluster: u64, node: u64) -> String {
    format!("node-{instance}-{cluster}-{node}")
}

/// The body that adds a cluster with its nodes.
fn cluster_body(instance_id: &str, instance: u64, cluster: u64, nodes: u64) -> String {
    let nodes: Vec<_> = (0..nodes)
        .map(|node| {
            let ip = format!("10.{}.{}.{}", instance % 256, cluster % 256, node % 256);
            serde_json::json!({"cloud_unique_id": node_id(instance, cluster, node), "ip": ip, "heartbeat_port": 9050 + node / 256})
        })
        .collect();
    let cluster = serde_json::json!({
        "cluster_id": format!("cluster{cluster}"), "cluster_name": format!("name{cluster}"), "type": "COMPUTE", "nodes": nodes
    });
    serde_json::json!({"instance_id": instance_id, "cluster": cluster}).to_string()
}

/// The body that asks for one cluster, as a backend does: by its own id and the cluster's.
fn get_cluster_body(instance: u64, cluster: u64, node: u64) -> String {
    format!(
        r#"{{"cloud_unique_id":"{}","cluster_id":"cluster{cluster}"}}"#,
        node_id(instance, cluster, node)
    )
}

/// Adds an instance with its clusters.
async fn add(connection: &mut Connection, instance_id: &str, instance: u64, clusters: u64, nodes: u64) -> anyhow::Result<()> {
    let body = serde_json::json!({"instance_id": instance_id, "user_id": "u", "name": instance_id}).to_string();
    connection.ok("create_instance", body).await?;
    for cluster in 0..clusters {
        connection
            .ok("add_cluster", cluster_body(instance_id, instance, cluster, nodes))
            .await?;
    }
    Ok(())
}

/// Writes everything; every writer has its own share of the instances.
async fn fill(endpoints: &[String], shape: Shape, writers: u64) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let mut connection = Connection::open(&endpoints[writer as usize % endpoints.len()], TOKEN).await?;
        tasks.spawn(async move {
            for instance in (writer..shape.instances).step_by(writers as usize) {
                add(&mut connection, &instance_id(instance), instance, shape.clusters, shape.nodes).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(writer) = tasks.join_next().await {
        writer.context("a writer ended early")??;
    }
    let mut connection = Connection::open(&endpoints[0], TOKEN).await?;
    // Its number is that of no other instance, so neither are the ids of its nodes.
    let clusters = 10;
    add(&mut connection, LARGE, shape.instances, clusters, LARGE_NODES / clusters).await?;
    Ok(started.elapsed())
}

/// One client that asks for random clusters.
async fn ask(
    mut connection: Connection,
    shape: Shape,
    mut random: Random,
    from: Instant,
    until: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = new_histogram()?;
    loop {
        let (instance, cluster) = (random.below(shape.instances), random.below(shape.clusters));
        let body = get_cluster_body(instance, cluster, random.below(shape.nodes));
        let sent = Instant::now();
        let answer = connection.ok("get_cluster", body).await?;
        let now = Instant::now();
        anyhow::ensure!(
            answer.len() > shape.nodes as usize * 20,
            "get_cluster answered too little: {} bytes",
            answer.len()
        );
        if now >= until {
            return Ok(latencies);
        }
        if now >= from {
            latencies.saturating_record((now - sent).as_micros() as u64);
        }
    }
}

fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).context("three digits up to a minute")
}

fn latency(microseconds: &Histogram<u64>) -> Latency {
    let ms = |quantile: f64| microseconds.value_at_quantile(quantile) as f64 / 1e3;
    Latency {
        median_ms: ms(0.5),
        p99_ms: ms(0.99),
        worst_ms: ms(1.0),
    }
}

/// Calls a second, their latencies, and the peers' processor time for one, in microseconds.
async fn measure_get_cluster(cluster: &Cluster, shape: Shape, clients: usize, seconds: f64) -> anyhow::Result<(f64, Latency, f64)> {
    let endpoints = cluster.endpoints();
    let from = Instant::now() + WARM_UP;
    let until = from + Duration::from_secs_f64(seconds);
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let connection = Connection::open(&endpoints[client % endpoints.len()], TOKEN).await?;
        tasks.spawn(ask(connection, shape, Random::new(client as u64 + 1), from, until));
    }
    tokio::time::sleep_until(from).await;
    let before = cpu_seconds(&cluster.pids());
    tokio::time::sleep_until(until).await;
    let used = cpu_seconds(&cluster.pids()) - before;
    let mut all = new_histogram()?;
    while let Some(client) = tasks.join_next().await {
        all.add(client.context("a client ended early")??)?;
    }
    anyhow::ensure!(!all.is_empty(), "no call was answered within {seconds} s");
    Ok((all.len() as f64 / seconds, latency(&all), used * 1e6 / all.len() as f64))
}

async fn measure_get_instance(endpoint: &str) -> anyhow::Result<Latency> {
    let mut connection = Connection::open(endpoint, TOKEN).await?;
    let mut latencies = new_histogram()?;
    for _ in 0..SINGLE_CALLS {
        let sent = Instant::now();
        let answer = connection.ok(&format!("get_instance?instance_id={LARGE}"), "").await?;
        latencies.saturating_record(sent.elapsed().as_micros() as u64);
        anyhow::ensure!(answer.len() > LARGE_NODES as usize * 20, "get_instance answered too little");
    }
    Ok(latency(&latencies))
}

/// Starts three peers, fills them, measures, and starts them again.
pub async fn run(arguments: &InstancesArguments) -> anyhow::Result<()> {
    let shape = arguments.shape();
    let few = shape.instances > 0 && shape.clusters > 0 && shape.nodes > 0 && arguments.clients > 0 && arguments.writers > 0;
    anyhow::ensure!(
        few && arguments.seconds > 0.0,
        "instances, clusters, nodes, clients, writers and seconds start at 1"
    );
    let mut cluster = Cluster::start(System::Quorate, &arguments.quorate_bin, &arguments.dir).await?;
    eprintln!(
        "filling {} instances of {} clusters of {} nodes",
        shape.instances, shape.clusters, shape.nodes
    );
    let filled = fill(&cluster.endpoints(), shape, arguments.writers).await?;
    eprintln!("measuring after {:.1} s", filled.as_secs_f64());
    let (per_second, get_cluster, cpu_us) = measure_get_cluster(&cluster, shape, arguments.clients, arguments.seconds).await?;
    let get_instance = measure_get_instance(&cluster.endpoints()[0]).await?;
    let restart_seconds = restart_all(&mut cluster).await?;
    let result = InstancesResult {
        machine: machine::describe(),
        shape,
        fill_seconds: filled.as_secs_f64(),
        get_cluster_clients: arguments.clients,
        get_cluster_per_second: per_second,
        get_cluster,
        get_cluster_cpu_us: cpu_us,
        get_instance_nodes: LARGE_NODES,
        get_instance,
        restart_seconds,
        largest_rss_bytes: largest_memory(&cluster)?.rss_bytes,
    };
    println!("{}", shown(&result));
    arguments.json.as_ref().map_or(Ok(()), |path| write_json(path, &result))
}

fn shown(result: &InstancesResult) -> comfy_table::Table {
    let mut rows = table(&["measure", "value"]);
    let of = |latency: &Latency| {
        let Latency {
            median_ms,
            p99_ms,
            worst_ms,
        } = latency;
        format!("{median_ms:.2} / {p99_ms:.2} / {worst_ms:.2}")
    };
    rows.add_row([
        "get_cluster by id, calls a second".to_owned(),
        format!("{:.0}", result.get_cluster_per_second),
    ]);
    rows.add_row(["get_cluster, ms: median / p99 / worst".to_owned(), of(&result.get_cluster)]);
    rows.add_row([
        "get_cluster, processor us a call, all peers".to_owned(),
        format!("{:.0}", result.get_cluster_cpu_us),
    ]);
    rows.add_row([
        format!("get_instance with {} nodes, ms: median / p99 / worst", result.get_instance_nodes),
        of(&result.get_instance),
    ]);
    rows.add_row([
        "all peers killed and started, s to a linearizable read".to_owned(),
        format!("{:.2}", result.restart_seconds),
    ]);
    rows.add_row([
        "largest peer after the restart, MiB".to_owned(),
        format!("{}", result.largest_rss_bytes >> 20),
    ]);
    rows.add_row(["fill, s".to_owned(), format!("{:.1}", result.fill_seconds)]);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_was_added() {
        let added: serde_json::Value = serde_json::from_str(&cluster_body("i", 7, 3, 300)).expect("JSON");
        let asked: serde_json::Value = serde_json::from_str(&get_cluster_body(7, 3, 299)).expect("JSON");
        let nodes = added["cluster"]["nodes"].as_array().expect("nodes");
        assert_eq!(nodes.len(), 300);
        assert_eq!(asked["cluster_id"], added["cluster"]["cluster_id"]);
        assert_eq!(asked["cloud_unique_id"], nodes[299]["cloud_unique_id"]);
        let places: std::collections::BTreeSet<String> = nodes
            .iter()
            .map(|node| format!("{}:{}", node["ip"], node["heartbeat_port"]))
            .collect();
        assert_eq!(places.len(), 300, "no two nodes are at one place");
    }
}
