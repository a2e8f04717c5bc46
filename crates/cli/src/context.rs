//! What every noun is given: where the cluster is, and how to print.

use crate::doris::{Connection, ConnectionArguments};
use crate::output::OutputArguments;
use clap::Args;

#[derive(Clone, Args)]
pub struct Context {
    #[command(flatten)]
    pub connection: ConnectionArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

impl Context {
    pub fn open(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.connection)
    }

    pub fn open_with_token_if_any(&self) -> anyhow::Result<Connection> {
        Connection::with_token_if_any(&self.connection)
    }
}

/// The id under which the routes that know callers by node get the instance: it needs no node of that name.
pub fn caller_of(instance: &str) -> anyhow::Result<String> {
    if instance.is_empty() || instance.contains(':') {
        anyhow::bail!("instance id {instance:?} cannot be used here: it must not be empty and must have no colon");
    }
    Ok(format!("1:{instance}:quorate-cli"))
}
