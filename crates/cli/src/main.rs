//! `quorate`: one binary that serves a peer, runs a development cluster and looks at a running one.

mod dev;
mod serve;
mod status;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// Under many small allocations from several threads glibc's allocator spends more time than the work itself: with it the
/// write rate at 64 clients was half.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Replicated metadata for cloud data warehouses and vector databases.
#[derive(Parser)]
#[command(name = "quorate", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run one peer.
    Serve(Box<serve::ServeArguments>),
    /// Run three peers on this machine, to try things out.
    Dev(dev::DevArguments),
    /// Say who leads, who lags, what is wrong and what to do about it.
    Status(status::StatusArguments),
}

/// Prints to standard output. A reader that has gone away (`| head`) is the end, not an error.
pub fn print(text: &str) {
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
        std::process::exit(if gone { 0 } else { 1 });
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Serve(arguments) => serve::run(*arguments),
        Verb::Dev(arguments) => dev::run(arguments),
        Verb::Status(arguments) => status::run(arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quorate: {error:#}");
            ExitCode::FAILURE
        }
    }
}
