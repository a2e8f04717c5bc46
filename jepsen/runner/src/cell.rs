//! One run: a workload under faults, from empty nodes to verdicts.
//!
//! Phases. *Bootstrap*: empty nodes become a cluster, the workload makes what it needs. *Main*: load, and every fault on a
//! schedule of its own from the seed; they may overlap. *Heal*: all faults end, all nodes are started, load goes on for longer
//! than recovery may take. *Final*: everything is read through every node. Then the nodes are asked to end, and what they left is
//! judged.
//!
//! Two kinds of bad news are kept apart: what the product did is an anomaly, what the suite could not do is a harness
//! failure. After the first harness failure no more load is issued; healing, stopping and judging go on.

mod begin;
mod final_state;
mod interrupt;
mod results;
mod schedule;
mod watch;

pub use begin::CellOptions;
pub use results::{FaultCount, Results, commit, count_faults};

use crate::field::Field;
use crate::history::{Phase, Recorder};
use crate::probes;
use crate::workload::{Stage, Workload};
use anyhow::Context;
use interrupt::Interrupt;
use schedule::Schedules;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Empty nodes become a cluster within this.
const BOOTSTRAP: Duration = Duration::from_secs(60);
/// All nodes serve again within this after the last fault, or something is wrong.
const RECOVERY: Duration = Duration::from_secs(60);
/// Load after every node serves again, at least.
const HEALED_LOAD: Duration = Duration::from_secs(4);
/// It goes on for so much longer than recovery may take: faults in the main phase follow each other faster than that, and the bound
/// would be asked in few short runs.
const BEYOND_RECOVERY: Duration = Duration::from_secs(1);
/// Processes of a workload end their last operation within this.
const LOAD_ENDS: Duration = Duration::from_secs(30);
/// Reading everything through every node; hundreds of copies at seven nodes take minutes.
const FINAL_READS: Duration = Duration::from_secs(300);
/// What has the nodes when they are asked to end.
const STOP: &str = "stop";
/// A node that was asked to end.
const NODE_ENDS: Duration = Duration::from_secs(30);

/// What a run came to, before it is judged.
#[derive(Default)]
pub struct Ran {
    /// What the product did that it must never do, seen by the runner itself.
    pub anomalies: Vec<String>,
    /// What the suite could not do.
    pub failures: Vec<String>,
    /// From the end of the last fault until every node answered a linearizable read.
    pub recovery: Option<Duration>,
    /// Somebody asked the run to end.
    pub interrupted: bool,
}

/// What a run is done with.
struct Cast<'a> {
    field: &'a Arc<Field>,
    workload: &'a Arc<dyn Workload>,
    stage: &'a Stage,
    interrupt: Interrupt,
    /// Length of the main phase.
    main: Duration,
    /// How long recovery may take, at most.
    recovery_asked: Duration,
}

/// Runs all phases; whatever goes wrong is in the result.
async fn run_phases(cast: &Cast<'_>, schedules: Schedules) -> Ran {
    let Cast {
        field,
        workload,
        stage,
        interrupt,
        main,
        recovery_asked,
    } = cast;
    let mut ran = Ran::default();
    let began = tokio::select! {
        began = bootstrap(field, workload, stage) => began,
        () = interrupt.asked() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = began {
        ran.failures.push(format!("bootstrap: {error:#}"));
        return ran;
    }
    let watch = watch::start((*field).clone(), stage.recorder.clone());
    stage.recorder.enter(Phase::Main);
    let load = {
        let (workload, stage) = ((*workload).clone(), (*stage).clone());
        field.client_runtime().spawn(async move { workload.run(&stage).await })
    };
    let probing = probes::start(stage);
    let running = schedules.start((*field).clone(), stage.recorder.clone());
    tokio::select! {
        () = sleep(*main) => {}
        () = running.failed() => {}
        () = interrupt.asked() => ran.interrupted = true,
    }
    stage.recorder.enter(Phase::Heal);
    ran.failures.extend(running.end().await);
    let asked = Instant::now() + *recovery_asked + BEYOND_RECOVERY;
    heal(field, &stage.recorder, &mut ran).await;
    if ran.failures.is_empty() && !ran.interrupted {
        tokio::select! {
            () = sleep_until(asked.max(Instant::now() + HEALED_LOAD)) => {}
            () = interrupt.asked() => ran.interrupted = true,
        }
    }
    stage.stop();
    match timeout(LOAD_ENDS, load).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => ran.failures.push(format!("the load failed: {error:#}")),
        Ok(Err(error)) => ran.failures.push(format!("the load failed: {error}")),
        Err(_) => ran.failures.push(format!("the load did not end within {} s", LOAD_ENDS.as_secs())),
    }
    if let Err(error) = probing.end(field.dir()).await {
        ran.failures.push(format!("the probes failed: {error:#}"));
    }
    if ran.failures.is_empty() && ran.anomalies.is_empty() && !ran.interrupted {
        final_reads(field, workload, stage, &mut ran).await;
    } else {
        // Evidence, as far as there is any: why nothing can be read is known already.
        let _ = final_state::metrics(field).await;
    }
    watch.end().await;
    ran
}

async fn bootstrap(field: &Arc<Field>, workload: &Arc<dyn Workload>, stage: &Stage) -> anyhow::Result<()> {
    for node in 0..field.size() {
        field.start(node).await?;
    }
    field.wait_ready(BOOTSTRAP).await?;
    field.look_for_lies()?;
    for worker in 0..field.workers() {
        field.start_worker(worker).await?;
    }
    let (workload, stage) = (workload.clone(), stage.clone());
    let prepare = field.client_runtime().spawn(async move { workload.prepare(&stage).await });
    prepare.await?.context("the workload cannot begin")
}

/// Ends what is left of any fault and waits until every node serves.
async fn heal(field: &Arc<Field>, recorder: &Recorder, ran: &mut Ran) {
    let began = Instant::now();
    if let Err(error) = field.heal().await {
        ran.failures.push(format!("healing: {error:#}"));
        return;
    }
    recorder.fault("heal", serde_json::Value::Null);
    match field.wait_ready(RECOVERY).await {
        Ok(()) => ran.recovery = Some(began.elapsed()),
        Err(error) => ran.anomalies.push(format!("after healing: {error:#}")),
    }
}

async fn final_reads(field: &Arc<Field>, workload: &Arc<dyn Workload>, stage: &Stage, ran: &mut Ran) {
    stage.recorder.enter(Phase::Final);
    let (workload, stage) = (workload.clone(), stage.clone());
    let reads = field.client_runtime().spawn(async move { workload.read_all(&stage).await });
    match timeout(FINAL_READS, reads).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => ran.failures.push(format!("final reads: {error:#}")),
        Ok(Err(error)) => ran.failures.push(format!("final reads: {error}")),
        Err(_) => ran
            .anomalies
            .push(format!("the final reads did not end within {} s", FINAL_READS.as_secs())),
    }
    if let Err(error) = final_state::write(field).await {
        ran.anomalies.push(format!("the nodes do not come to the same state: {error:#}"));
    }
}

/// Asks all nodes to end; each must, without an error.
async fn stop_nodes(field: &Arc<Field>, ran: &mut Ran) {
    let known = field.exits().len();
    let all: Vec<usize> = (0..field.total()).filter(|node| field.node(*node).is_running()).collect();
    field.claim(STOP, &all, true);
    for node in &all {
        let _ = field.terminate(*node);
    }
    let ended = field.wait_for("all nodes end", NODE_ENDS, async || {
        let _ = field.look_for_exits();
        all.iter().all(|node| !field.node(*node).is_running()).then_some(())
    });
    if let Err(error) = ended.await {
        ran.anomalies.push(format!("asked to end: {error:#}"));
    }
    for exit in field.exits().into_iter().skip(known).filter(|exit| exit.how != "exit code 0") {
        ran.anomalies
            .push(format!("{}, asked to end, ended by {}: {}", exit.node, exit.how, exit.last_said));
    }
}
