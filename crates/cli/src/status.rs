//! `quorate status`: health first, then facts, then what to do.

use crate::output::Form;
use crate::yaml;
use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{Table, presets};
use quorate_model::proto_json;
use quorate_wire::quorate::v1::admin_client::AdminClient;
use quorate_wire::quorate::v1::{StatusReply, StatusRequest};
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Args)]
pub struct StatusArguments {
    /// Any peer's public address; several are tried in turn.
    #[arg(long, env = "QUORATE_ENDPOINTS", default_value = "127.0.0.1:5000", value_delimiter = ',')]
    endpoint: Vec<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

pub fn run(arguments: StatusArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(fetch(&arguments.endpoint))?;
    let healthy = status.findings.is_empty();
    match arguments.output {
        Form::Json => crate::print(&format!("{:#}\n", as_json(&status))),
        Form::Yaml => crate::print(&yaml::render(&as_json(&status))),
        Form::Table => crate::print(&render(&status)),
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn as_json(status: &StatusReply) -> serde_json::Value {
    proto_json::render_message("quorate.v1.StatusReply", status)
}

async fn fetch(endpoints: &[String]) -> anyhow::Result<StatusReply> {
    let mut failures = Vec::new();
    for endpoint in endpoints {
        match fetch_one(endpoint).await {
            Ok(status) => return Ok(status),
            Err(error) => failures.push(format!("{endpoint}: {error:#}")),
        }
    }
    bail!(
        "no peer answered ({}); is the cluster running, and is --endpoint right?",
        failures.join("; ")
    )
}

async fn fetch_one(endpoint: &str) -> anyhow::Result<StatusReply> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{endpoint}"))?
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(5))
        .connect()
        .await
        .context("cannot connect")?;
    let reply = AdminClient::new(channel)
        .status(StatusRequest {})
        .await
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    Ok(reply.into_inner())
}

/// Whether a peer's `/readyz` answers 200.
pub async fn is_ready(address: &str) -> bool {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream
            .write_all(format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        Ok::<bool, std::io::Error>(reply.starts_with(b"HTTP/1.1 200"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(3), ask).await, Ok(Ok(true)))
}

fn render(status: &StatusReply) -> String {
    let mut out = String::new();
    let voters = status.peers.iter().filter(|peer| peer.voter).count();
    let reachable = status.peers.iter().filter(|peer| peer.voter && peer.reachable).count();
    let health = match (status.leader_id, status.findings.len()) {
        (0, _) => "The cluster has no leader: writes wait.".to_owned(),
        (leader, 0) => format!("Healthy: peer {leader} leads, all {voters} voters answer."),
        (leader, findings) => format!("Peer {leader} leads, {reachable} of {voters} voters answer, {findings} finding(s)."),
    };
    out += &format!("{health}\n\n");
    out += &format!(
        "cluster {}   term {}   revision {}   seen by peer {}\n\n",
        status.cluster_id, status.term, status.revision, status.peer_id
    );
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["PEER", "ROLE", "ADDRESS", "STATE", "APPLIED", "BEHIND", "DISK FREE", "VERSION"]);
    let most = status.peers.iter().map(|peer| peer.applied_index).max().unwrap_or(0);
    for peer in &status.peers {
        let role = match (peer.peer_id == status.leader_id, peer.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        let state = match (peer.reachable, peer.diverged) {
            (false, _) => "unreachable",
            (true, true) => "diverged",
            (true, false) => "ok",
        };
        let facts = |text: String| if peer.reachable { text } else { "-".to_owned() };
        table.add_row([
            peer.peer_id.to_string(),
            role.to_owned(),
            peer.public_address.clone(),
            state.to_owned(),
            facts(peer.applied_index.to_string()),
            facts((most - peer.applied_index.min(most)).to_string()),
            facts(format!("{} GiB", peer.disk_free_bytes >> 30)),
            facts(peer.version.clone()),
        ]);
    }
    out += &format!("{table}\n");
    if !status.findings.is_empty() {
        out += "\nWhat to do\n";
    }
    for finding in &status.findings {
        out += &format!(
            "  {} {}: {}\n      {}\n",
            finding.severity, finding.object, finding.text, finding.advice
        );
    }
    out
}
