//! etcd's processes: defaults everywhere, so heartbeat 100 ms, election 1 s, every write synced.

use crate::driver::System;
use crate::etcd_api::{
    Done, MEMBER_ADD, MEMBER_LIST, MEMBER_REMOVE, MOVE_LEADER, MemberAddRequest, MemberListRequest, MemberListResponse,
    MemberRemoveRequest, MoveLeaderRequest, STATUS, StatusRequest, StatusResponse, call,
};
use crate::processes::{Program, free_ports};
use crate::system::{Cluster, PATIENCE, PEERS, Peer};
use anyhow::Context;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Offsets of the ports from a common base: clients, then peers.
const PORTS: [u16; 2 * PEERS] = [0, 1, 10, 11, 20, 21];

/// `--initial-cluster-state` of a founder, and of who joins what is there already.
const FOUNDER: &str = "new";
const NEWCOMER: &str = "existing";
/// Before a change of the members that was refused is asked for again.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(100);

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
        ("--initial-cluster-state", FOUNDER.to_owned()),
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

/// Has this leader hand leadership to another member; answered when that one leads.
pub async fn transfer_leader(leader: Channel, next: Channel) -> anyhow::Result<()> {
    let status: StatusResponse = call(next, STATUS, StatusRequest {}).await?;
    let target_id = status.header.context("etcd's status has no header")?.member_id;
    call::<_, Done>(leader, MOVE_LEADER, MoveLeaderRequest { target_id }).await?;
    Ok(())
}

/// Has another member, `asked`, take out one that was killed and take in one with nothing in its place, and the program start as that.
pub async fn replace_member(asked: &Channel, killed: &mut Peer) -> anyhow::Result<()> {
    let listed: MemberListResponse = call(asked.clone(), MEMBER_LIST, MemberListRequest {}).await?;
    let client_url = format!("http://{}", killed.address);
    let member = listed.members.into_iter().find(|member| member.client_urls.contains(&client_url));
    let member = member.with_context(|| format!("no member of etcd serves {client_url}"))?;
    change_members(asked, MEMBER_REMOVE, MemberRemoveRequest { id: member.id }).await?;
    let peer_urls = member.peer_urls;
    change_members(asked, MEMBER_ADD, MemberAddRequest { peer_urls }).await?;
    join_what_is_there(&mut killed.program);
    Ok(())
}

/// Asks until it is done: etcd refuses a change while members have been connected for less than five seconds.
async fn change_members<Req>(asked: &Channel, path: &'static str, request: Req) -> anyhow::Result<()>
where
    Req: prost::Message + Clone + 'static,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call::<_, Done>(asked.clone(), path, request.clone()).await {
            Ok(Done {}) => return Ok(()),
            Err(status) if status.code() == Code::Unavailable && Instant::now() < deadline => sleep(PAUSE_AFTER_REFUSAL).await,
            Err(status) => return Err(anyhow::Error::new(status).context(path)),
        }
    }
}

fn join_what_is_there(program: &mut Program) {
    for argument in program.arguments.iter_mut().filter(|argument| argument.as_str() == FOUNDER) {
        *argument = NEWCOMER.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_share_one_list_and_nothing_else() {
        let programs: Vec<Program> = (0..PEERS)
            .map(|number| program(Path::new("etcd"), Path::new("/d"), 30_000, number))
            .collect();
        let value = |program: &Program, name: &str| program.value_of(name).expect("the flag is given").to_owned();
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

    #[test]
    fn a_newcomer_differs_from_a_founder_in_one_word() {
        let founder = program(Path::new("etcd"), Path::new("/d"), 30_000, 1);
        let mut newcomer = founder.clone();
        join_what_is_there(&mut newcomer);
        assert_eq!(newcomer.value_of("--initial-cluster-state"), Some("existing"));
        let both = founder.arguments.iter().zip(&newcomer.arguments);
        assert_eq!(both.filter(|(before, after)| before != after).count(), 1);
    }
}
