//! `quorate session`: sessions, in which a repeated write gets its first answer.

use crate::context::Context;
use crate::doris::not_found;
use crate::output::{self, Sheet};
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub enum SessionVerb {
    /// Open a session and print its id, for calls that are to be executed at most once.
    Open,
    /// Close a session before it ends by itself, an hour after its last use.
    Close {
        /// The session's id.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
    },
}

pub async fn run(verb: SessionVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        SessionVerb::Open => {
            let id = connection.open_session().await?;
            output::show(&context.output, json!({"session_id": id.to_string()}), |_| {
                let sentence = format!(
                    "Session {id} is open. Send it with each write as header quorate-session, and the write's number as \
                     quorate-request."
                );
                (sentence, Sheet::new([]))
            });
        }
        SessionVerb::Close { id } => {
            if !connection.end_session(id).await? {
                return Err(not_found(&format!("session {id} was not found")));
            }
            output::show(&context.output, json!({"closed_session_id": id.to_string()}), |_| {
                (format!("Session {id} is closed."), Sheet::new([]))
            });
        }
    }
    Ok(())
}
