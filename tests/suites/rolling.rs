//! All peers are restarted one after the other, as for a new version, and nobody who calls notices.
//!
//! Two kinds of callers go on meanwhile: our own client, none of whose calls may fail, and callers with the manners of
//! Doris's frontends, which try three times, a second apart, at whichever peer, and must never give up.

use quorate_client::{Client, Read};
use quorate_tests::cluster::{Cluster, TOKEN};
use quorate_tests::http;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::{phase, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const INSTANCE: &str = "rolling";
const CALLERS: usize = 2;
/// Rounds over all peers.
const ROUNDS: u64 = 2;
/// Calls that every caller makes between two steps.
const CALLS_BETWEEN: u64 = 5;
/// What Doris's frontends do at least.
const TRIES: usize = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// What all callers share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// By caller.
    calls: [AtomicU64; 2 * CALLERS],
    /// Tries of the callers over HTTP after the first.
    repeats: AtomicU64,
    longest_ms: AtomicU64,
}

impl Shared {
    fn ended(&self, caller: usize, started: Instant) {
        self.calls[caller].fetch_add(1, Ordering::SeqCst);
        self.longest_ms.fetch_max(started.elapsed().as_millis() as u64, Ordering::SeqCst);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }
}

/// Writes and reads back through our client.
async fn use_client(client: Client, caller: usize, shared: Arc<Shared>) {
    let name = format!("caller-{caller}");
    let mut count = 0_u64;
    while shared.goes_on() {
        count += 1;
        let started = Instant::now();
        let written = client.put(INSTANCE, &name, count.to_string()).await;
        assert!(written.is_ok(), "write {count} of {name} failed: {written:?}");
        let read = client.get(INSTANCE, &name, Read::linearizable()).await;
        let found = read.unwrap_or_else(|error| panic!("read {count} of {name} failed: {error}"));
        let value = found.value.map(|attribute| attribute.value);
        assert_eq!(value.as_deref(), Some(count.to_string().as_bytes()), "{name} was not read back");
        shared.ended(caller, started);
    }
}

/// One call as Doris makes it; the reply of the first peer that serves it.
async fn patiently(addresses: &[String], first: usize, route: &str, body: &str, shared: &Shared) -> http::Reply {
    let path = format!("/MetaService/http/{route}token={TOKEN}");
    let mut met = Vec::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            shared.repeats.fetch_add(1, Ordering::SeqCst);
            sleep(BETWEEN_TRIES).await;
        }
        let address = &addresses[(first + attempt) % addresses.len()];
        match http::send(address, "POST", &path, &[], body).await {
            Ok(reply) if reply.status == 200 => return reply,
            // The try before was executed, and its answer lost.
            Ok(reply) if attempt > 0 && reply.body.contains("ALREADY_EXISTED") => return reply,
            Ok(reply) => met.push(format!("{address}: {} {}", reply.status, reply.body)),
            Err(error) => met.push(format!("{address}: {error}")),
        }
    }
    panic!("a caller of Doris's kind gives {route} up: {met:#?}");
}

/// Creates instances and reads them back, at another peer each time.
async fn use_http(addresses: Vec<String>, caller: usize, shared: Arc<Shared>) {
    let mut count = 0;
    while shared.goes_on() {
        count += 1;
        let started = Instant::now();
        let instance = format!("http-{caller}-{count}");
        let body = format!("{{\"instance_id\":\"{instance}\"}}");
        patiently(&addresses, count, "create_instance?", &body, &shared).await;
        let route = format!("get_instance?instance_id={instance}&");
        let read = patiently(&addresses, count + 1, &route, "", &shared).await;
        assert!(read.body.contains(&instance), "{instance} was not read back: {}", read.body);
        shared.ended(caller, started);
    }
}

/// Waits until every caller has made some more calls, or one has failed: its message comes in the end.
async fn some_calls(shared: &Shared, callers: &[JoinHandle<()>]) {
    let read = || shared.calls.iter().map(|calls| calls.load(Ordering::SeqCst));
    let goals: Vec<u64> = read().map(|calls| calls + CALLS_BETWEEN).collect();
    until("every caller goes on", async || {
        let failed = callers.iter().any(JoinHandle::is_finished);
        let grown = read().zip(&goals).all(|(calls, goal)| calls >= *goal);
        (failed || grown).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rolling_restart_fails_no_call() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance(INSTANCE).await;
    let shared = Arc::new(Shared::default());
    let client = Client::open(cluster.addresses()).expect("a client");
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        callers.push(tokio::spawn(use_client(client.clone(), caller, shared.clone())));
        callers.push(tokio::spawn(use_http(cluster.addresses(), CALLERS + caller, shared.clone())));
    }
    some_calls(&shared, &callers).await;
    for round in 0..ROUNDS {
        for position in 0..cluster.peers.len() {
            phase(&format!("round {round}: peer {position} is stopped and started, the others go on"));
            cluster.peers[position].terminate();
            let status = cluster.peers[position].wait_exit().await;
            assert!(status.success(), "a stop that was asked for is no failure: {status}");
            some_calls(&shared, &callers).await;
            cluster.peers[position].start();
            cluster.wait_ready().await;
            some_calls(&shared, &callers).await;
        }
    }
    shared.stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.expect("no call failed");
    }
    let (repeats, longest) = (shared.repeats.load(Ordering::SeqCst), shared.longest_ms.load(Ordering::SeqCst));
    eprintln!(
        "{:?} calls, {repeats} repeats over HTTP, longest write and read {longest} ms",
        shared.calls
    );
    assert!(repeats > 0, "no call met a stopped peer: nothing was tested");
    assert_peers_agree(&cluster).await;
}
