//! The `quorate-bench` program.

use clap::Parser;
use quorate_bench::args::{Arguments, Verb};
use quorate_bench::{compare, growth, instances, jobs, processes, run};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    processes::kill_children_on_panic();
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    // One thread: on a machine with few cores a second one takes from the servers what it gives the load.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // A signal ends the work by dropping it, and with it every process it has started.
        tokio::select! {
            result = work(arguments) => result,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; every started process was stopped")),
            _ = terminate.recv() => Err(anyhow::anyhow!("terminated; every started process was stopped")),
        }
    })
}

async fn work(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.verb {
        Verb::Run(arguments) => run::run(arguments).await,
        Verb::Compare(arguments) => compare::run(arguments).await,
        Verb::Instances(arguments) => instances::run(arguments).await,
        Verb::Jobs(arguments) => jobs::run(arguments).await,
        Verb::Growth(arguments) => growth::run(arguments).await,
    }
}
