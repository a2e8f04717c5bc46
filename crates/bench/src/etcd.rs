//! etcd's processes: defaults everywhere, so heartbeat 100 ms, election 1 s, every write synced.

use crate::driver::System;
use crate::etcd_api::{STATUS, StatusRequest, StatusResponse, call};
use crate::processes::{Program, free_ports};
use crate::system::{Cluster, PEERS, Peer};
use std::path::Path;
use tonic::Status;
use tonic::transport::Channel;

/// Offsets of the ports from a common base: clients, then peers.
const PORTS: [u16; 2 * PEERS] = [0, 1, 10, 11, 20, 21];

/// Starts three members.
pub fn start(binary: &Path, directory: &Path) -> anyhow::Result<Cluster> {
    let base = free_ports(30_000, &PORTS)?;
    let mut cluster = Cluster {
        system: System::Etcd,
        peers: Vec::new(),
        starter: None,
    };
    for number in 0..PEERS {
        let program = program(binary, directory, base, number);
        let process = program.start()?;
        let address = format!("127.0.0.1:{}", client_port(base, number));
        cluster.peers.push(Peer {
            address,
            pid: process.pid(),
            program,
            process: Some(process),
        });
    }
    Ok(cluster)
}

fn client_port(base: u16, number: usize) -> u16 {
    base + PORTS[2 * number]
}

fn peer_url(base: u16, number: usize) -> String {
    format!("http://127.0.0.1:{}", base + PORTS[2 * number + 1])
}

fn program(binary: &Path, directory: &Path, base: u16, number: usize) -> Program {
    let client_url = format!("http://127.0.0.1:{}", client_port(base, number));
    let members: Vec<String> = (0..PEERS).map(|other| format!("peer{other}={}", peer_url(base, other))).collect();
    let data = directory.join(format!("peer{number}")).display().to_string();
    let arguments = [
        ("--name", format!("peer{number}")),
        ("--data-dir", data),
        ("--listen-client-urls", client_url.clone()),
        ("--advertise-client-urls", client_url),
        ("--listen-peer-urls", peer_url(base, number)),
        ("--initial-advertise-peer-urls", peer_url(base, number)),
        ("--initial-cluster", members.join(",")),
        // A member that starts again finds its data and ignores this.
        ("--initial-cluster-state", "new".to_owned()),
        ("--log-level", "warn".to_owned()),
        ("--logger", "zap".to_owned()),
    ];
    Program {
        binary: binary.to_owned(),
        arguments: arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect(),
        log: directory.join(format!("peer{number}.log")),
    }
}

/// Whether this member says that it leads.
pub async fn leads(channel: Channel) -> Result<bool, Status> {
    let status: StatusResponse = call(channel, STATUS, StatusRequest {}).await?;
    Ok(status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_share_one_list_and_nothing_else() {
        let programs: Vec<Program> = (0..PEERS)
            .map(|number| program(Path::new("etcd"), Path::new("/d"), 30_000, number))
            .collect();
        let value = |program: &Program, name: &str| {
            let at = program
                .arguments
                .iter()
                .position(|argument| argument == name)
                .expect("the flag is given");
            program.arguments[at + 1].clone()
        };
        assert_eq!(value(&programs[0], "--initial-cluster"), value(&programs[2], "--initial-cluster"));
        for flag in ["--data-dir", "--listen-client-urls", "--listen-peer-urls", "--name"] {
            assert_ne!(value(&programs[0], flag), value(&programs[1], flag), "{flag}");
        }
        assert!(
            !programs[0]
                .arguments
                .iter()
                .any(|argument| argument.contains("heartbeat") || argument.contains("election"))
        );
    }
}
