//! Quorate's processes, started by `quorate dev`, and the instance the load goes to.

use crate::driver::System;
use crate::http::Connection;
use crate::processes::{Process, Program, free_ports, watch};
use crate::system::{Cluster, PATIENCE, PEERS, POLL, Peer};
use crate::workload::INSTANCE;
use quorate_wire::quorate::v1::admin_client::AdminClient;
use quorate_wire::quorate::v1::{StatusRequest, TransferLeaderRequest};
use serde::Deserialize;
use std::fs;
use std::path::Path;
use tokio::time::{Instant, sleep};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Token of the benchmark's own cluster, which listens on loopback and ends with the run.
pub const TOKEN: &str = "bench";
/// Offsets of the ports from a common base: public, then peer.
const PORTS: [u16; 2 * PEERS] = [0, 1, 10, 11, 20, 21];

/// A peer, as `quorate dev` describes it in dev.json.
#[derive(Debug, Deserialize)]
struct DevPeer {
    peer: u64,
    pid: u32,
    public: String,
    args: Vec<String>,
}

/// Starts three peers with `quorate dev` and waits for its dev.json.
pub async fn start(binary: &Path, directory: &Path) -> anyhow::Result<Cluster> {
    let base = free_ports(20_000, &PORTS)?;
    let data = directory.join("dev");
    let arguments = [
        "dev",
        "--dir",
        &data.display().to_string(),
        "--peers",
        &PEERS.to_string(),
        "--base-port",
        &base.to_string(),
    ];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.extend(["--token".to_owned(), TOKEN.to_owned()]);
    let program = Program {
        binary: binary.to_owned(),
        arguments,
        log: directory.join("dev.log"),
    };
    let mut starter = program.start()?;
    let described = wait_for_description(&data.join("dev.json"), &mut starter, &program.log).await;
    // On an error `starter` is dropped here, and stops the peers it has started.
    let peers = described?.into_iter().map(|peer| known_peer(binary, directory, peer)).collect();
    Ok(Cluster {
        system: System::Quorate,
        peers,
        starter: Some(starter),
    })
}

fn known_peer(binary: &Path, directory: &Path, peer: DevPeer) -> Peer {
    watch(peer.pid);
    let log = directory.join(format!("peer{}-restarted.log", peer.peer));
    let program = Program {
        binary: binary.to_owned(),
        arguments: peer.args,
        log,
    };
    Peer {
        address: peer.public,
        pid: peer.pid,
        program,
        process: None,
    }
}

async fn wait_for_description(path: &Path, starter: &mut Process, log: &Path) -> anyhow::Result<Vec<DevPeer>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Half of a file that is being written does not parse, and is read again.
        if let Some(peers) = fs::read(path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Vec<DevPeer>>(&text).ok())
            && peers.len() == PEERS
        {
            return Ok(peers);
        }
        starter.check_runs(log)?;
        anyhow::ensure!(
            Instant::now() < deadline,
            "{} was not written within {} s",
            path.display(),
            PATIENCE.as_secs()
        );
        sleep(POLL).await;
    }
}

/// Whether this peer says that it leads.
pub async fn leads(channel: Channel) -> Result<bool, Status> {
    let status = AdminClient::new(channel).status(StatusRequest {}).await?.into_inner();
    Ok(status.leader_id != 0 && status.leader_id == status.peer_id)
}

/// Whether this peer says that it votes.
pub async fn votes(channel: Channel) -> Result<bool, Status> {
    let status = AdminClient::new(channel).status(StatusRequest {}).await?.into_inner();
    Ok(status.peers.iter().any(|peer| peer.peer_id == status.peer_id && peer.voter))
}

/// Has this leader hand leadership to the best candidate; answered when another one leads.
pub async fn transfer_leader(channel: Channel) -> Result<(), Status> {
    let mut request = Request::new(TransferLeaderRequest { to_peer: 0 });
    request.metadata_mut().insert("quorate-token", MetadataValue::from_static(TOKEN));
    AdminClient::new(channel).transfer_leader(request).await?;
    Ok(())
}

/// Makes the instance the load goes to; one that exists is taken as it is.
pub async fn create_instance(address: &str) -> anyhow::Result<()> {
    create_instance_with(address, TOKEN).await
}

/// As `create_instance`, on a cluster with another token.
pub async fn create_instance_with(address: &str, token: &str) -> anyhow::Result<()> {
    let mut connection = Connection::open(address, token).await?;
    let body = serde_json::json!({"instance_id": INSTANCE, "user_id": "u", "name": INSTANCE}).to_string();
    let (status, text) = connection.call("create_instance", body).await?;
    let created = status.is_success() || text.windows(15).any(|part| part == b"ALREADY_EXISTED");
    anyhow::ensure!(created, "create_instance answered {status}: {}", String::from_utf8_lossy(&text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers one HTTP request and returns it.
    async fn answer_once(listener: tokio::net::TcpListener, answer: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.expect("a connection comes");
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut part = [0; 1024];
            let count = stream.read(&mut part).await.expect("the request comes");
            request.extend_from_slice(&part[..count]);
        }
        stream.write_all(answer.as_bytes()).await.expect("the answer is taken");
        String::from_utf8(request).expect("the request is text")
    }

    #[tokio::test]
    async fn the_instance_is_posted_and_one_that_exists_is_no_error() {
        for (answer, created) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", true),
            (
                "HTTP/1.1 409 Conflict\r\ncontent-length: 26\r\n\r\n{\"code\":\"ALREADY_EXISTED\"}",
                true,
            ),
            ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}", false),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
            let address = listener.local_addr().expect("bound").to_string();
            let server = tokio::spawn(answer_once(listener, answer));
            assert_eq!(create_instance_with(&address, "t").await.is_ok(), created, "{answer}");
            let request = server.await.expect("the server does not panic");
            assert!(
                request.starts_with("POST /MetaService/http/create_instance?token=t HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(request.contains(r#""instance_id":"bench""#), "{request}");
        }
    }

    #[test]
    fn a_description_with_more_fields_than_we_need_is_read() {
        let text = r#"[{"peer":1,"pid":7,"public":"127.0.0.1:5000","peer_address":"127.0.0.1:5001","args":["serve"]}]"#;
        let peers: Vec<DevPeer> = serde_json::from_str(text).expect("the form dev.json has");
        assert_eq!((peers[0].peer, peers[0].pid, peers[0].args.len()), (1, 7, 1));
    }
}
