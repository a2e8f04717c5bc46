//! `quorate status`: health first, then facts, then what to do.

use crate::channel::{self, TlsArguments};
use crate::output::{Form, printable};
use crate::yaml;
use anyhow::bail;
use clap::Args;
use comfy_table::{Table, presets};
use quorate_client::TlsOptions;
use quorate_client::tls;
use quorate_model::proto_json;
use quorate_wire::quorate::v1::admin_client::AdminClient;
use quorate_wire::quorate::v1::{StatusReply, StatusRequest};
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest wait for one peer, from connecting to its answer: the next one may be well.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub struct StatusArguments {
    /// Any peer's public address, `https://` before it if it speaks TLS; several are tried in turn.
    #[arg(long, env = "QUORATE_ENDPOINTS", default_value = "127.0.0.1:5000", value_delimiter = ',', value_parser = channel::endpoint)]
    endpoint: Vec<String>,
    #[command(flatten)]
    tls: TlsArguments,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

pub fn run(arguments: StatusArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(fetch(&arguments.endpoint, &arguments.tls.options()))?;
    let healthy = wrong(&status) == 0;
    match arguments.output {
        Form::Json => crate::print(&format!("{:#}\n", as_json(&status))),
        Form::Yaml => crate::print(&yaml::render(&as_json(&status))),
        Form::Table => crate::print(&render(&status)),
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Findings that say that something is wrong; advice does not.
fn wrong(status: &StatusReply) -> usize {
    status.findings.iter().filter(|finding| finding.severity != "advice").count()
}

fn as_json(status: &StatusReply) -> serde_json::Value {
    // Whole, as `/api/v1/status`: whoever asks for `reachable` finds it also where it is false.
    proto_json::render_whole(&proto_json::to_dynamic("quorate.v1.StatusReply", status))
}

async fn fetch(endpoints: &[String], tls: &TlsOptions) -> anyhow::Result<StatusReply> {
    let mut failures = Vec::new();
    for endpoint in endpoints {
        match fetch_one(endpoint, tls).await {
            Ok(status) => return Ok(status),
            Err(error) => failures.push(format!("{endpoint}: {error:#}")),
        }
    }
    bail!(
        "no peer answered ({}); is the cluster running, and is --endpoint right?",
        failures.join("; ")
    )
}

async fn fetch_one(address: &str, tls: &TlsOptions) -> anyhow::Result<StatusReply> {
    let asked = tokio::time::timeout(PEER_TIMEOUT, ask(address, tls)).await;
    asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", PEER_TIMEOUT.as_secs())))
}

async fn ask(address: &str, tls: &TlsOptions) -> anyhow::Result<StatusReply> {
    let channel = channel::connect(address, tls).await?;
    let mut request = tonic::Request::new(StatusRequest {});
    request.set_timeout(PEER_TIMEOUT);
    let reply = AdminClient::new(channel).status(request).await;
    // With TLS 1.3 a peer that refuses our certificate says so in answer to the first call.
    let reply = reply.map_err(|status| anyhow::anyhow!("{}", tls::advice(&status).unwrap_or(status.message())))?;
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

fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0..10 => format!("{} MiB", bytes >> 20),
        gib => format!("{gib} GiB"),
    }
}

fn render(status: &StatusReply) -> String {
    let mut out = String::new();
    let voters = status.peers.iter().filter(|peer| peer.voter).count();
    let reachable = status.peers.iter().filter(|peer| peer.voter && peer.reachable).count();
    let health = match (status.leader_id, wrong(status)) {
        (0, _) if status.last_leader_id != 0 => format!(
            "The cluster has no leader: writes wait. {reachable} of {voters} voters answer; peer {} led last.",
            status.last_leader_id
        ),
        (0, _) => "The cluster has no leader: writes wait.".to_owned(),
        (leader, 0) => format!("Healthy: peer {leader} leads, all {voters} voters answer."),
        (leader, findings) => format!("Peer {leader} leads, {reachable} of {voters} voters answer, {findings} finding(s)."),
    };
    out += &format!("{health}\n\n");
    out += &format!(
        "cluster {}   level {}   term {}   revision {}   seen by peer {}\n\n",
        status.cluster_id, status.level, status.term, status.revision, status.peer_id
    );
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["PEER", "ROLE", "ADDRESS", "STATE", "APPLIED", "BEHIND", "DISK FREE", "VERSION"]);
    let most = status.peers.iter().map(|peer| peer.applied_index).max().unwrap_or(0);
    for peer in &status.peers {
        let role = match peer.voter {
            _ if peer.peer_id == status.leader_id => "leader",
            true if peer.peer_id == status.last_leader_id => "led last",
            true => "voter",
            false => "learner",
        };
        let state = match (peer.reachable, peer.diverged, peer.disk_low) {
            (false, _, _) if peer.awaited => "awaited",
            (false, _, _) => "unreachable",
            (true, true, _) => "diverged",
            (true, false, true) => "disk low",
            (true, false, false) => "ok",
        };
        let facts = |text: String| if peer.reachable { text } else { "-".to_owned() };
        table.add_row([
            peer.peer_id.to_string(),
            role.to_owned(),
            peer.public_address.clone(),
            state.to_owned(),
            facts(peer.applied_index.to_string()),
            facts((most - peer.applied_index.min(most)).to_string()),
            facts(size(peer.disk_free_bytes)),
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
            finding.severity,
            printable(&finding.object),
            printable(&finding.text),
            printable(&finding.advice)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::quorate::v1::Finding;

    #[test]
    fn advice_is_shown_and_is_no_sign_of_ill_health() {
        let finding = |severity: &str| Finding {
            severity: severity.to_owned(),
            text: format!("a {severity}"),
            ..Default::default()
        };
        let mut status = StatusReply {
            leader_id: 1,
            findings: vec![finding("advice")],
            ..Default::default()
        };
        let shown = render(&status);
        assert!(shown.starts_with("Healthy") && shown.contains("a advice"), "{shown}");
        status.findings.push(finding("warning"));
        assert!(render(&status).contains("1 finding(s)"), "{}", render(&status));
        assert_eq!(wrong(&status), 1);
    }

    #[test]
    fn who_led_last_is_not_shown_as_the_leader() {
        let peer = |peer_id: u64| quorate_wire::quorate::v1::PeerStatus {
            peer_id,
            voter: true,
            reachable: peer_id == 1,
            ..Default::default()
        };
        let status = StatusReply {
            last_leader_id: 2,
            peers: (1..=3).map(peer).collect(),
            ..Default::default()
        };
        let shown = render(&status);
        assert!(shown.starts_with("The cluster has no leader"), "{shown}");
        assert!(
            shown.contains("1 of 3 voters answer; peer 2 led last") && shown.contains("led last"),
            "{shown}"
        );
        assert!(!shown.contains(" leader  "), "{shown}");
    }
}
