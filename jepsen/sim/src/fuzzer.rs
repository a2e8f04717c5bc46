//! Many seeds, one process each: only there a seed replays.

use crate::{Broken, Report, run_seed};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells a child process which seed is its own, and where to leave `<path>.json` and `<path>.trace`.
const SEED_VARIABLE: &str = "QUORATE_SIM_SEED";
const OUT_VARIABLE: &str = "QUORATE_SIM_OUT";
/// With it set, the libraries say on standard error what they do: `openraft=debug`.
const LOG_VARIABLE: &str = "QUORATE_SIM_LOG";
/// Longest one seed may take; one that hangs is broken.
const PATIENCE: Duration = Duration::from_secs(240);

/// Runs seeds.
pub struct Fuzzer {
    /// Runs [`Fuzzer::be_child`] when it is started with `arguments`.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub from: u64,
    pub seeds: u64,
    /// Processes at a time.
    pub jobs: usize,
    /// Traces and reports are left here.
    pub out: PathBuf,
    /// Stop at the first broken seed: what a mutant needs.
    pub until_broken: bool,
}

/// What all of them came to.
#[derive(Debug, Default, serde::Serialize)]
pub struct Summary {
    /// The first of them.
    pub from: u64,
    pub seeds: u64,
    pub seconds: f64,
    pub seeds_per_minute: f64,
    pub simulated_seconds: u64,
    pub writes: u64,
    pub checkpoints: u64,
    /// Slowest recovery after healing, with all that had to start again.
    pub slowest_recovery_ms: u64,
    pub faults: BTreeMap<String, u64>,
    pub broken: Vec<(u64, Broken)>,
}

impl Fuzzer {
    /// What a child process does with the seed it was given; false if it was given none.
    pub fn be_child() -> io::Result<bool> {
        let (Ok(seed), Some(out)) = (std::env::var(SEED_VARIABLE), std::env::var_os(OUT_VARIABLE)) else {
            return Ok(false);
        };
        let seed = seed.parse().map_err(io::Error::other)?;
        if let Ok(filter) = std::env::var(LOG_VARIABLE) {
            let log = tracing_subscriber::fmt().with_env_filter(filter).without_time();
            log.with_ansi(false).with_writer(io::stderr).init();
        }
        let report = run_seed(seed);
        let out = PathBuf::from(out);
        std::fs::write(out.with_extension("trace"), &report.trace)?;
        std::fs::write(out.with_extension("json"), serde_json::to_vec(&report)?)?;
        Ok(true)
    }

    /// Runs one seed in a process of its own; the report and the trace.
    pub fn one(&self, seed: u64) -> io::Result<Report> {
        let out = self.out.join(format!("seed-{seed}"));
        // What a run that was ended has left must not be taken for this one's.
        forget(&out);
        let errors = std::fs::File::create(out.with_extension("err"))?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env(SEED_VARIABLE, seed.to_string())
            .env(OUT_VARIABLE, &out)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait()? {
                Some(status) if status.success() => break Ok(()),
                Some(status) => break Err(format!("its process ended with {status}")),
                None if Instant::now() > deadline => {
                    child.kill()?;
                    child.wait()?;
                    break Err(format!("it was not done within {PATIENCE:?}"));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if let Err(why) = status {
            return Ok(Report::failed(seed, why));
        }
        let report = std::fs::read(out.with_extension("json"))?;
        let trace = std::fs::read_to_string(out.with_extension("trace"))?;
        Ok(Report {
            trace,
            ..serde_json::from_slice(&report)?
        })
    }

    /// Runs all of them; `told` hears of each.
    pub fn run(&self, told: impl Fn(&Report) + Sync) -> io::Result<Summary> {
        std::fs::create_dir_all(&self.out)?;
        let (began, next, stop) = (Instant::now(), AtomicU64::new(self.from), AtomicBool::new(false));
        let summary = Mutex::new(Summary::default());
        let work = || -> io::Result<()> {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.from + self.seeds || stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let report = self.one(seed)?;
                told(&report);
                if report.broken.is_none() {
                    forget(&self.out.join(format!("seed-{seed}")));
                } else if self.until_broken {
                    stop.store(true, Ordering::Relaxed);
                }
                summary.lock().expect("nobody panics with it").add(&report);
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            let results = workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| io::Error::other("a worker panicked")));
            results.into_iter().try_for_each(|result| result?)
        })?;
        let mut summary = summary.into_inner().expect("nobody panics with it");
        summary.from = self.from;
        summary.seconds = began.elapsed().as_secs_f64();
        summary.seeds_per_minute = 60.0 * summary.seeds as f64 / summary.seconds.max(0.001);
        Ok(summary)
    }
}

/// A seed that holds leaves nothing.
fn forget(out: &Path) {
    for extension in ["json", "trace", "err"] {
        // It is in the way of nothing if it stays.
        drop(std::fs::remove_file(out.with_extension(extension)));
    }
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.simulated_seconds += report.simulated_ms / 1_000;
        self.writes += report.writes;
        self.checkpoints += report.checkpoints;
        self.slowest_recovery_ms = self.slowest_recovery_ms.max(report.recovered_ms);
        for (fault, count) in &report.faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
        self.broken.extend(report.broken.clone().map(|broken| (report.seed, broken)));
    }
}
