//! A cluster, its disks and its clients in one thread, from one seed: state machine, consensus, the native front end and the
//! client as they are, over simulated sockets and over disks in memory that know what they have synced.
//!
//! Each run has a phase of faults in which only safety is asked for; then everything heals and the cluster must converge.
//! What a seed makes of a run is in [`plan`], what goes wrong in [`faults`], what must hold in [`invariants`], one rule a file.
//!
//! A seed replays to the byte when it is alone in a process: the network, timers, clients and faults draw from it, and so
//! do the sources that libraries take from the operating system ([`entropy`]); but tokio also counts the runtimes of its
//! process. So `quorate-sim` starts one process a seed. Not covered by the seed: names of temporary directories, which
//! nothing looks at.
//!
//! Real are: RocksDB and the log's files, threads, TLS, vaults. They are not here; the runner beside this crate has them.

mod disk;
pub mod entropy;
mod faults;
mod front;
mod fuzzer;
mod invariants;
mod network;
mod peer;
mod plan;
mod run;
mod workload;
mod world;

pub use fuzzer::{Fuzzer, Summary};
pub use run::Report;
pub use world::Broken;

/// Runs one seed in a thread of its own, because libraries keep random state per thread.
pub fn run_seed(seed: u64) -> Report {
    let run = std::thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        entropy::seed(seed);
        run::run(seed)
    });
    match run.map(|thread| thread.join()) {
        Ok(Ok(report)) => report,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().cloned();
            Report::failed(seed, text.unwrap_or_else(|| "see standard error".to_owned()))
        }
        Err(error) => Report::failed(seed, format!("no thread: {error}")),
    }
}

impl Report {
    /// Of a run that did not come to its end.
    fn failed(seed: u64, why: String) -> Report {
        Report {
            seed,
            broken: Some(Broken {
                rule: "nothing panics".to_owned(),
                what: why,
            }),
            simulated_ms: 0,
            writes: 0,
            checkpoints: 0,
            recovered_ms: 0,
            faults: Default::default(),
            trace: String::new(),
        }
    }
}
