//! Three peers and their clients in a simulated network, with a model of fsync, from one seed each.
//!
//! Each run has a phase of faults in which only safety is asked for, then everything heals and the cluster must converge.
//! What must hold is in `invariants`, one rule per file.
//!
//! A seed replays when it is alone in a process: the network, the timers, the clients and the faults draw from it, as do
//! the sources that libraries take from the operating system ([`entropy`]); but tokio also counts the runtimes of its
//! process. To see a seed again: `SIMULATION_SEED=7 SIMULATION_TRACE=/tmp/trace cargo test -p quorate-consensus --test
//! simulation one_seed`; with `SIMULATION_LOG=openraft=debug` the libraries say what they do. Not covered by the seed: names of temporary directories, which nothing looks at.

mod entropy;
mod faults;
mod invariants;
mod network;
mod peer;
mod run;
mod workload;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 20;
const SEED_VARIABLE: &str = "SIMULATION_SEED";
const TRACE_VARIABLE: &str = "SIMULATION_TRACE";
const LOG_VARIABLE: &str = "SIMULATION_LOG";

/// Runs one seed in a thread of its own, because libraries keep random state per thread, and gives its trace.
fn run_seed(seed: u64) -> String {
    let run = std::thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        entropy::seed(seed);
        run::run(seed)
    });
    run.expect("a thread starts")
        .join()
        .unwrap_or_else(|_| panic!("seed {seed} failed; see above"))
}

#[test]
fn twenty_seeds_hold_every_invariant() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let next = AtomicU64::new(1);
    let traces = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > SEEDS {
                        return;
                    }
                    let trace = replay(seed, &dir.path().join(seed.to_string()));
                    traces.lock().expect("not poisoned").push(trace);
                }
            });
        }
    });
    // Runs in which nothing happened prove nothing. The seeds are fixed and replay, so these counts move only with the code.
    let traces = traces.into_inner().expect("not poisoned");
    assert_eq!(traces.len() as u64, SEEDS);
    let count = |what: &str| traces.iter().map(|trace| trace.matches(what).count() as u64).sum::<u64>();
    for (what, least) in [("appended", 50 * SEEDS), ("crashes", 5 * SEEDS), (run::CHECKPOINT_MARK, SEEDS / 2)] {
        let seen = count(what);
        println!("{what}: {seen}");
        assert!(
            seen >= least,
            "{what:?} is seen {seen} times in {SEEDS} runs, at least {least} are needed"
        );
    }
}

#[test]
fn one_seed() {
    if let Ok(filter) = std::env::var(LOG_VARIABLE) {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .without_time()
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let seed = std::env::var(SEED_VARIABLE).map_or(1, |text| text.parse().expect("a number"));
    let trace = run_seed(seed);
    if let Some(path) = std::env::var_os(TRACE_VARIABLE) {
        std::fs::write(path, trace).expect("written");
    }
}

/// Runs one seed in a process of its own.
fn replay(seed: u64, trace: &Path) -> String {
    let mut child = Command::new(std::env::current_exe().expect("known"));
    child
        .args(["--exact", "one_seed", "--test-threads=1"])
        .env(SEED_VARIABLE, seed.to_string())
        .env(TRACE_VARIABLE, trace);
    let output = child.output().expect("the test starts again");
    let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "seed {seed} failed\n{told}\n{failed}");
    std::fs::read_to_string(trace).expect("it left its trace")
}

#[test]
fn a_seed_replays() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let trace = dir.path().join("trace");
    let (first, second) = (replay(1_001, &trace), replay(1_001, &trace));
    let difference = first
        .lines()
        .zip(second.lines())
        .enumerate()
        .find(|(_, (first, second))| first != second);
    assert_eq!(difference, None, "the first line that differs");
    assert_eq!(first, second);
    assert_ne!(first, replay(1_002, &trace), "another seed is another run");
}
