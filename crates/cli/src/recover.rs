//! `quorate recover`: the last resort, on a peer that does not run.

use crate::confirm;
use crate::output::{self, OutputArguments, Sheet};
use anyhow::Context;
use clap::Args;
use quorate_server::recover::{RecoveryPlan, Survivor};
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct RecoverArguments {
    /// Data directory of the survivor; the peer must not run.
    #[arg(long)]
    data_dir: PathBuf,
    /// Make a new cluster, with this peer as its only member, of what this peer holds.
    #[arg(long, required = true)]
    as_new_cluster: bool,
    /// Do not ask: the majority is lost for good, and what the survivor does not have is lost with it.
    #[arg(long)]
    yes_i_lost_the_majority: bool,
    /// Say what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArguments,
}

fn describe(plan: &RecoveryPlan) -> String {
    let lost: Vec<String> = plan
        .lost
        .iter()
        .map(|member| format!("peer {} at {}", member.peer, member.peer_address))
        .collect();
    let doubtful = plan.last_index.saturating_sub(plan.committed_index);
    let resumed = if plan.resumed {
        "This goes on with a recovery that was interrupted.\n"
    } else {
        ""
    };
    format!(
        "{resumed}This makes peer {} the only member of a new cluster, with everything it holds up to entry {}, {doubtful} of which it does \
         not know to be committed.\n\
         Given up, and kept out from now on: {}. Writes that only they have are lost.\n\
         Revisions and ids go on far above all that may have been given out. The old cluster is {}.\n\
         As long as a majority of its members can be started, start them instead.",
        plan.peer,
        plan.last_index,
        lost.join(", "),
        plan.parent
    )
}

/// Who recovers, and who and what is given up; the new cluster's id once there is one.
fn data(plan: &RecoveryPlan, is_made: bool) -> Json {
    let member = |peer: String, address: &str| json!({"peer_id": peer, "peer_address": address});
    let lost = plan.lost.iter().map(|lost| member(lost.peer.to_string(), &lost.peer_address));
    json!({
        "cluster_id": is_made.then(|| plan.cluster.to_string()), "parent_cluster_id": plan.parent.to_string(),
        "peer_id": plan.peer.to_string(), "lost": lost.collect::<Vec<_>>(), "last_index": plan.last_index.to_string(),
        "committed_index": plan.committed_index.to_string(), "resumed": plan.resumed
    })
}

pub fn run(arguments: RecoverArguments) -> anyhow::Result<ExitCode> {
    let survivor = Survivor::open(&arguments.data_dir).context("the recovery was not begun, and nothing was changed")?;
    let agreed = confirm::agreed_to_phrase(
        arguments.dry_run,
        arguments.yes_i_lost_the_majority,
        &describe(survivor.plan()),
        "I lost the majority",
    )?;
    if !agreed {
        output::data_only(&arguments.output, data(survivor.plan(), false));
        return Ok(ExitCode::SUCCESS);
    }
    let plan = survivor
        .recover()
        .context("the recovery was interrupted; run the same command again")?;
    let sentence = format!(
        "Peer {} is the only member of cluster {}. Start it as before; then start further peers, empty, with `quorate serve --join`.",
        plan.peer, plan.cluster
    );
    output::show(&arguments.output, data(&plan, true), |_| (sentence, Sheet::new([])));
    Ok(ExitCode::SUCCESS)
}
