//! `quorate`: one binary that serves a peer, runs a development cluster, and looks at and changes what a running one holds.
//!
//! Nouns have a file each and speak to any peer's public API: Doris's HTTP routes through `doris.rs`, gRPC where those have
//! no route. Nothing here knows how a cluster works inside.

mod admin;
mod amounts;
mod api;
mod channel;
mod cluster;
mod collection;
mod config;
mod confirm;
mod context;
mod database;
mod dev;
mod documents;
mod doris;
mod explain;
mod gc;
mod import;
mod instance;
mod job;
mod key;
mod member;
mod names;
mod node;
mod output;
mod partition;
mod recover;
mod secret;
mod segment;
mod serve;
mod session;
mod settings;
mod snapshot;
mod status;
mod store;
mod vault;
mod vault_access;
mod worker;
mod yaml;

use clap::{CommandFactory, Parser, Subcommand};
use context::Context;
use output::OutputArguments;
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
    /// Work on jobs in a process of its own, beside or instead of the peers' workers.
    Worker(worker::WorkerArguments),
    /// Make a new cluster of what one stopped peer holds, when the majority is lost for good.
    Recover(recover::RecoverArguments),
    /// The peers of this cluster: who belongs to it, who leads.
    Member(Noun<member::MemberVerb>),
    /// Warehouses.
    Instance(Noun<instance::InstanceVerb>),
    /// Compute clusters of an instance.
    Cluster(Noun<cluster::ClusterVerb>),
    /// Frontends and backends of a cluster.
    Node(Noun<node::NodeVerb>),
    /// Databases of an instance.
    Database(Noun<database::DatabaseVerb>),
    /// Collections of a database.
    Collection(Noun<collection::CollectionVerb>),
    /// Partitions of a collection.
    Partition(Noun<partition::PartitionVerb>),
    /// Segments of a collection: files that come and go together.
    Segment(Noun<segment::SegmentVerb>),
    /// States of a collection or an instance that are kept.
    Snapshot(Noun<snapshot::SnapshotVerb>),
    /// Restores and other long work.
    Job(Noun<job::JobVerb>),
    /// Files that are to be deleted, and files that nobody knows.
    Gc(Noun<gc::GcVerb>),
    /// Where an instance's data rests.
    Vault(Noun<vault::VaultVerb>),
    /// Keys that open object stores.
    Key(Noun<key::KeyVerb>),
    /// Sessions, in which a repeated write is executed once.
    Session(Noun<session::SessionVerb>),
    /// Settings of the whole cluster, which can change while it runs.
    Settings(Noun<settings::SettingsVerb>),
    /// Settings of a peer.
    Config {
        #[command(subcommand)]
        verb: config::ConfigVerb,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Say what an error means and what to do; needs no cluster.
    Explain {
        /// Name or number of the error; all are listed when absent.
        code: Option<String>,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Print completions for a shell.
    Completions(documents::CompletionsArguments),
    /// Print the manual.
    Man(documents::ManArguments),
}

/// What all nouns that need a cluster have in common.
#[derive(clap::Args)]
struct Noun<V: Subcommand> {
    #[command(subcommand)]
    verb: V,
    #[command(flatten)]
    context: Context,
}

/// Runs one verb against a cluster.
fn against_cluster<V: Subcommand>(noun: Noun<V>, run: impl AsyncFnOnce(V, &Context) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    with_outcome(noun, async |verb, context| {
        run(verb, context).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The same for verbs whose exit code says more than that they went wrong.
fn with_outcome<V: Subcommand>(noun: Noun<V>, run: impl AsyncFnOnce(V, &Context) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(noun.verb, &noun.context))
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Serve(arguments) => return serve::run(*arguments),
        Verb::Dev(arguments) => return dev::run(arguments),
        Verb::Status(arguments) => return status::run(arguments),
        Verb::Worker(arguments) => return worker::run(arguments),
        Verb::Recover(arguments) => return recover::run(arguments),
        Verb::Member(noun) => return with_outcome(noun, member::run),
        Verb::Instance(noun) => return with_outcome(noun, instance::run),
        Verb::Cluster(noun) => return against_cluster(noun, cluster::run),
        Verb::Node(noun) => return against_cluster(noun, node::run),
        Verb::Database(noun) => return against_cluster(noun, database::run),
        Verb::Collection(noun) => return against_cluster(noun, collection::run),
        Verb::Partition(noun) => return against_cluster(noun, partition::run),
        Verb::Segment(noun) => return against_cluster(noun, segment::run),
        Verb::Gc(noun) => return with_outcome(noun, gc::run),
        Verb::Snapshot(noun) => return with_outcome(noun, snapshot::run),
        Verb::Job(noun) => return with_outcome(noun, job::run),
        Verb::Vault(noun) => return against_cluster(noun, vault::run),
        Verb::Key(noun) => return against_cluster(noun, key::run),
        Verb::Session(noun) => return against_cluster(noun, session::run),
        Verb::Settings(noun) => return against_cluster(noun, settings::run),
        Verb::Config { verb, output } => config::run(verb, &output)?,
        Verb::Explain { code, output } => explain::run(code.as_deref(), &output)?,
        Verb::Completions(arguments) => documents::completions(&arguments, Arguments::command()),
        Verb::Man(arguments) => documents::manual(&arguments, Arguments::command())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The exit code for arguments that are none of ours: 2 is an outcome of several verbs.
const USAGE: u8 = 64;

/// Prints to standard output. A reader that has gone away (`| head`) is the end, not an error.
pub fn print(text: &str) {
    let mut out = std::io::stdout();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("quorate: the command was carried out, but its output cannot be written: {error}");
        std::process::exit(1);
    }
}

fn arguments() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().map_err(|refused| {
        let _ = refused.print();
        // Help and version are asked for by arguments, too.
        ExitCode::from(if refused.use_stderr() { USAGE } else { 0 })
    })
}

fn main() -> ExitCode {
    #[cfg(feature = "mutants")]
    if let Err(why) = quorate_model::mutants::check() {
        eprintln!("quorate: {why}");
        return ExitCode::from(2);
    }
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match run(arguments.verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quorate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_the_command_line_are_sound() {
        Arguments::command().debug_assert();
    }
}
