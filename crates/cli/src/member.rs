//! `quorate member`: the peers of the cluster itself.

use crate::admin::Refusal;
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::doris::{Connection, DRY_RUN, ROUND_PAUSE};
use crate::output::{self, Sheet, list, text};
use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use quorate_model::ErrorCode;
use quorate_wire::quorate::v1 as wire;
use serde_json::{Value as Json, json};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;

/// Longer than an election takes when a majority answers.
const ELECTION: Duration = Duration::from_secs(2);
/// The exit code when a new peer has joined and does not vote yet.
const NOT_YET: u8 = 2;

#[derive(Subcommand)]
pub enum MemberVerb {
    /// List the members: who votes, who leads, who lags, who was heard from last and when.
    List,
    /// Take in a peer that was started empty with `quorate serve --join`, and wait until it votes. The exit code is 2 when it has joined
    /// and does not vote within --timeout.
    Add {
        /// The peer's own peer address, `host:port`.
        address: String,
        /// Take the place of the member that has this address.
        #[arg(long)]
        replace: bool,
        /// Do not wait until it has caught up; it becomes a voter by itself.
        #[arg(long)]
        no_wait: bool,
    },
    /// Make a learner that has caught up a voter at once.
    Promote {
        /// The member's id.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
    },
    /// Take a member out. It is told so and stops; its id is never used again.
    Remove {
        /// The member's id.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        /// Even if the voters that stay and answer are no quorum.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
    /// Put a new peer in the place of a member, dead or alive: the new one joins and catches up, then the old one leaves.
    /// Interrupted, it goes on when it is called again. The exit code is 2 when the new one does not vote within --timeout; the old one
    /// then stays.
    Replace {
        /// The id of the member that is to leave.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        /// The new peer's own peer address, `host:port`; started empty with `quorate serve --join`.
        address: String,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
    /// Hand leadership over without an election; no call fails.
    TransferLeader {
        /// Id of the next leader; the voter that is furthest when absent.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        to: Option<u64>,
    },
}

pub async fn run(verb: MemberVerb, context: &Context) -> anyhow::Result<ExitCode> {
    if let MemberVerb::List = verb {
        let status = settled_status(&context.open_with_token_if_any()?).await?;
        output::show(&context.output, members(&status), sheet);
        return Ok(ExitCode::SUCCESS);
    }
    let connection = context.open()?;
    let done = match verb {
        MemberVerb::List => return Ok(ExitCode::SUCCESS),
        MemberVerb::Add { address, replace, no_wait } => add(&connection, &address, replace, no_wait).await?,
        MemberVerb::Promote { id } => promote(&connection, id).await?,
        MemberVerb::Remove { id, force, confirm } => remove(&connection, id, force, &confirm).await?,
        MemberVerb::Replace { id, address, confirm } => replace(&connection, id, &address, &confirm).await?,
        MemberVerb::TransferLeader { to } => transfer_leader(&connection, to).await?,
    };
    match done.was_dry_run {
        true => output::data_only(&context.output, done.data),
        false => output::show(&context.output, done.data, |_| (done.sentence, Sheet::new([]))),
    }
    Ok(if done.is_over { ExitCode::SUCCESS } else { ExitCode::from(NOT_YET) })
}

/// What a change came to.
struct Done {
    /// For people.
    sentence: String,
    /// For programs.
    data: Json,
    /// Nothing that was waited for is still to come.
    is_over: bool,
    /// Nothing was changed, and people have been told what would be.
    was_dry_run: bool,
}

impl Done {
    fn over(sentence: String, data: Json) -> Done {
        Done {
            sentence,
            data,
            is_over: true,
            was_dry_run: false,
        }
    }

    fn dry_run(data: Json) -> Done {
        Done {
            was_dry_run: true,
            ..Done::over(String::new(), data)
        }
    }
}

async fn status(connection: &Connection) -> Result<wire::StatusReply, Refusal> {
    connection
        .ask(
            "say who belongs to the cluster",
            wire::StatusRequest {},
            async |mut client, request| client.status(request).await,
        )
        .await
}

/// The status once a leader is known to the peer that answers. During an election, and right after leadership moved, that
/// takes a moment; without a majority it never comes, and the list is shown as it is.
async fn settled_status(connection: &Connection) -> Result<wire::StatusReply, Refusal> {
    let deadline = Instant::now() + ELECTION;
    loop {
        let status = status(connection).await?;
        if status.leader_id != 0 || Instant::now() >= deadline {
            return Ok(status);
        }
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}

/// Whether `peer` votes, and how far it is behind; `None` while nobody has heard of it.
async fn progress(connection: &Connection, peer: u64) -> Result<Option<(bool, u64)>, Refusal> {
    let status = status(connection).await?;
    let end = status.peers.iter().map(|peer| peer.last_log_index).max().unwrap_or(0);
    let member = status.peers.iter().find(|member| member.peer_id == peer);
    Ok(member.map(|member| (member.voter, end.saturating_sub(member.applied_index))))
}

async fn add(connection: &Connection, address: &str, replace: bool, no_wait: bool) -> anyhow::Result<Done> {
    let (added, voter) = join(connection, address, replace, !no_wait).await?;
    let peer = added.peer_id;
    let joined = if added.was_member {
        "belongs to the cluster already"
    } else {
        "has joined"
    };
    let role = match voter {
        true => "it votes".to_owned(),
        false => "it is a learner and becomes a voter by itself when it has caught up; see `quorate member list`".to_owned(),
    };
    let mut data = output::whole(&added);
    data["voter"] = json!(voter);
    Ok(Done {
        is_over: voter || no_wait,
        ..Done::over(format!("Peer {peer} at {address} {joined}: {role}."), data)
    })
}

/// Adds the peer at `address`, and waits until it votes or the deadline has come; says whether it votes.
async fn join(connection: &Connection, address: &str, replace: bool, wait: bool) -> anyhow::Result<(wire::AddMemberReply, bool)> {
    let request = wire::AddMemberRequest {
        peer_address: address.to_owned(),
        replace,
    };
    let added = connection
        .admin("add the peer", request, async |mut client, request| {
            client.add_member(request).await
        })
        .await?;
    let mut told = None;
    loop {
        let seen = match progress(connection, added.peer_id).await {
            Ok(seen) => seen,
            // Time is over while nobody answered; it has joined all the same.
            Err(refusal) if refusal.code.is_none() => None,
            Err(refusal) => return Err(refusal.into()),
        };
        if let Some((true, _)) = seen {
            return Ok((added, true));
        }
        if !wait || Instant::now() + ROUND_PAUSE >= connection.deadline {
            return Ok((added, false));
        }
        let behind = seen.map(|(_, behind)| behind);
        if behind != told {
            eprintln!("peer {} catches up: {} entries behind", added.peer_id, behind.unwrap_or(0));
            told = behind;
        }
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}

async fn promote(connection: &Connection, peer_id: u64) -> anyhow::Result<Done> {
    let request = wire::PromoteMemberRequest { peer_id };
    let reply = connection
        .admin("promote the peer", request, async |mut client, request| {
            client.promote_member(request).await
        })
        .await?;
    let sentence = match reply.was_voter {
        true => format!("Peer {peer_id} votes already."),
        false => format!("Peer {peer_id} votes now."),
    };
    let mut data = output::whole(&reply);
    data["peer_id"] = json!(peer_id.to_string());
    Ok(Done::over(sentence, data))
}

/// What a removal would come to.
async fn plan_removal(connection: &Connection, peer_id: u64) -> Result<wire::RemoveMemberReply, Refusal> {
    let request = wire::RemoveMemberRequest {
        peer_id,
        dry_run: true,
        force: false,
    };
    let what = "say what the peer's removal would come to";
    connection
        .ask(what, request, async |mut client, request| client.remove_member(request).await)
        .await
}

async fn ask_removal(connection: &Connection, peer_id: u64, force: bool) -> Result<wire::RemoveMemberReply, Refusal> {
    let request = wire::RemoveMemberRequest {
        peer_id,
        dry_run: false,
        force,
    };
    connection
        .admin("remove the peer", request, async |mut client, request| {
            client.remove_member(request).await
        })
        .await
}

/// What a removal came to, or would come to: then nobody is removed.
fn removal(removed: Option<u64>, reply: &wire::RemoveMemberReply) -> Json {
    let mut data = output::whole(reply);
    data["removed_peer_id"] = json!(removed.map(|id| id.to_string()));
    data["voters"] = json!(reply.voters_after);
    data
}

async fn remove(connection: &Connection, id: u64, force: bool, confirm: &ConfirmArguments) -> anyhow::Result<Done> {
    let plan = plan_removal(connection, id).await?;
    let leads = if plan.leads { " It leads: leadership moves first." } else { "" };
    let what = format!(
        "This removes peer {id}: {}.{leads} The peer is told so and stops; its id is not used again.",
        plan.explanation
    );
    let agreed = match (plan.loses_quorum, force) {
        (true, false) => bail!(
            "removing peer {id} would lose the quorum, so nothing was changed: {}; start the voters that do not answer, or replace \
             them, or pass --force",
            plan.explanation
        ),
        (true, true) => confirm::agreed_by_typing(confirm, &what, &format!("remove peer {id} and lose the quorum"))?,
        (false, _) => confirm::agreed(confirm, &what)?,
    };
    if !agreed {
        return Ok(Done::dry_run(removal(None, &plan)));
    }
    // Whoever reads the plan and answers takes none of the change's time.
    let reply = take_out(&connection.anew(), id, force).await?.unwrap_or(plan);
    let sentence = format!("Peer {id} is removed; {} voters stay.", reply.voters_after);
    Ok(Done::over(sentence, removal(Some(id), &reply)))
}

/// `None`: it was done by a try whose answer was lost.
async fn take_out(connection: &Connection, id: u64, force: bool) -> anyhow::Result<Option<wire::RemoveMemberReply>> {
    match ask_removal(connection, id, force).await {
        Ok(reply) => Ok(Some(reply)),
        Err(refusal) if refusal.in_doubt && refusal.code == Some(ErrorCode::NotFound) => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

async fn replace(connection: &Connection, id: u64, address: &str, confirm: &ConfirmArguments) -> anyhow::Result<Done> {
    let before = status(connection).await?;
    let Some(old) = before.peers.iter().find(|member| member.peer_id == id) else {
        // The leader takes out who has the newcomer's own address as soon as that votes. Later peers have higher ids.
        let is_newcomer = |member: &&wire::PeerStatus| member.voter && member.peer_id > id && member.peer_address == address;
        let Some(new) = before.peers.iter().find(is_newcomer) else {
            bail!("peer {id} is not a member, so there is nothing to replace; see `quorate member list`");
        };
        let added = wire::AddMemberReply {
            peer_id: new.peer_id,
            was_member: true,
        };
        return Ok(replaced(id, &added, address));
    };
    let what = format!(
        "This adds the peer at {address} as a learner, waits until it has caught up and votes, and then removes peer {id} at {}.",
        old.peer_address
    );
    if !confirm::agreed(confirm, &what)? {
        let planned = plan_addition(connection, address, old.peer_address == address).await;
        let planned = planned.map_err(not_planned)?;
        if planned.peer_id == id {
            return Err(is_itself(id, address)).context(confirm::WOULD_BE_REFUSED);
        }
        eprintln!("{}", output::printable(&forecast(&before, old, &planned, address)));
        return Ok(Done::dry_run(replacement(None, &planned)));
    }
    // Whoever reads the plan and answers takes none of the change's time.
    let (added, voter) = join(&connection.anew(), address, old.peer_address == address, true).await?;
    let new = added.peer_id;
    if new == id {
        return Err(is_itself(id, address));
    }
    if !voter {
        let sentence = format!(
            "Peer {new} at {address} has joined and does not vote yet, and peer {id} stays; call this again to go on, or with a longer \
             --timeout."
        );
        return Ok(Done {
            is_over: false,
            ..Done::over(sentence, replacement(None, &added))
        });
    }
    // Who takes the place of its own address has taken the old member out already.
    let connection = connection.anew();
    if progress(&connection, id).await?.is_some() {
        take_out(&connection, id, false).await?;
    }
    Ok(replaced(id, &added, address))
}

/// Why a dry run does not say what would be done: the cluster would refuse it, or nobody has said so or otherwise.
fn not_planned(refusal: Refusal) -> anyhow::Error {
    let what = match refusal.code {
        Some(_) => confirm::WOULD_BE_REFUSED,
        None => confirm::NOT_ANSWERED,
    };
    anyhow::Error::new(refusal).context(what)
}

fn is_itself(id: u64, address: &str) -> anyhow::Error {
    anyhow!("the peer at {address} is peer {id} itself; start the new one empty, at another address or with --replace")
}

/// Has the leader ask the peer at `address` who it is, as it does before it takes it in.
async fn plan_addition(connection: &Connection, address: &str, replace: bool) -> Result<wire::AddMemberReply, Refusal> {
    let request = wire::AddMemberRequest {
        peer_address: address.to_owned(),
        replace,
    };
    connection
        .ask("ask the new peer who it is", request, async |mut client, mut request| {
            request.metadata_mut().insert(DRY_RUN, MetadataValue::from_static("1"));
            client.add_member(request).await
        })
        .await
}

/// How a replacement would begin, as the newcomer is now.
fn forecast(before: &wire::StatusReply, old: &wire::PeerStatus, planned: &wire::AddMemberReply, address: &str) -> String {
    let (new, id) = (planned.peer_id, old.peer_id);
    let votes = |peer: u64| before.peers.iter().any(|member| member.peer_id == peer && member.voter);
    match (planned.was_member, votes(new)) {
        (false, _) => format!("The peer at {address} waits there, empty: it would be taken in."),
        (true, false) => format!("The peer at {address} is peer {new} already, a learner: it would be waited for."),
        (true, true) => {
            let voters = before.peers.iter().filter(|member| member.voter && member.peer_id != id).count();
            format!("The peer at {address} is peer {new} already and votes: peer {id} would be removed at once, and {voters} voters stay.")
        }
    }
}

fn replaced(id: u64, added: &wire::AddMemberReply, address: &str) -> Done {
    let sentence = format!("Peer {} at {address} has taken the place of peer {id}.", added.peer_id);
    Done::over(sentence, replacement(Some(id), added))
}

/// Who was removed for a new peer, if that is done.
fn replacement(removed: Option<u64>, added: &wire::AddMemberReply) -> Json {
    let mut data = output::whole(added);
    data["removed_peer_id"] = json!(removed.map(|id| id.to_string()));
    data
}

async fn transfer_leader(connection: &Connection, to: Option<u64>) -> anyhow::Result<Done> {
    let request = wire::TransferLeaderRequest { to_peer: to.unwrap_or(0) };
    let reply = connection
        .admin("hand leadership over", request, async |mut client, request| {
            client.transfer_leader(request).await
        })
        .await?;
    if to.is_some_and(|to| to != reply.leader_id) {
        bail!(
            "peer {} leads now: it was elected before leadership could move; call this again",
            reply.leader_id
        );
    }
    let sentence = format!("Peer {} leads now.", reply.leader_id);
    Ok(Done::over(sentence, output::whole(&reply)))
}

/// The status with what it says of each member in words; the sheet is made from it.
fn members(status: &wire::StatusReply) -> Json {
    let end = status.peers.iter().map(|peer| peer.last_log_index).max().unwrap_or(0);
    let members: Vec<Json> = status.peers.iter().map(|peer| member(status, peer, end)).collect();
    let mut data = output::whole(status);
    if let Some(fields) = data.as_object_mut() {
        fields.remove("peers");
    }
    data["seen_by"] = json!(status.peer_id.to_string());
    data["members"] = json!(members);
    data
}

fn member(status: &wire::StatusReply, peer: &wire::PeerStatus, end: u64) -> Json {
    let role = match (peer.peer_id == status.leader_id, peer.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    let health = match peer {
        peer if peer.awaited => "awaited",
        peer if !peer.reachable => "unreachable",
        peer if peer.state_damaged => "state damaged",
        peer if peer.diverged => "diverged",
        peer if peer.disk_low => "disk low",
        _ => "ok",
    };
    let lag = peer.reachable.then(|| end.saturating_sub(peer.applied_index).to_string());
    let mut data = output::whole(peer);
    data["role"] = json!(role);
    data["lag_entries"] = json!(lag);
    data["health"] = json!(health);
    // Null where there was none.
    data["last_contact_ms"] = json!(peer.last_contact_ms.map(|ms| ms.to_string()));
    data
}

fn sheet(data: &Json) -> (String, Sheet) {
    let members = list(data, "members");
    let voters = members.iter().filter(|member| member["role"] != "learner").count();
    let answering = members
        .iter()
        .filter(|member| member["role"] != "learner" && member["health"] != "unreachable")
        .count();
    let needed = voters / 2 + 1;
    let sentence = match answering.checked_sub(needed) {
        Some(spare) => format!("{voters} voters, {answering} answer, {needed} are needed: the cluster survives {spare} more failures."),
        None => format!("{voters} voters, {answering} answer, {needed} are needed: writes wait until more voters answer."),
    };
    let mut sheet = Sheet::new(["ID", "ROLE", "PEER ADDRESS", "PUBLIC ADDRESS", "LAG", "HEALTH", "LAST CONTACT"]);
    for member in members {
        let contact = match text(member, "last_contact_ms").parse::<u64>() {
            _ if member["peer_id"] == data["seen_by"] => "answers now".to_owned(),
            Ok(ms) => format!("{}.{} s ago", ms / 1_000, ms % 1_000 / 100),
            Err(_) => "never".to_owned(),
        };
        let lag = match text(member, "lag_entries") {
            lag if lag.is_empty() => "-".to_owned(),
            lag => lag,
        };
        let cell = |name: &str| text(member, name);
        let (peer_address, public_address) = (cell("peer_address"), cell("public_address"));
        sheet.row([
            cell("peer_id"),
            cell("role"),
            peer_address,
            public_address,
            lag,
            cell("health"),
            contact,
        ]);
    }
    (sentence, sheet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doris::fake_peer::{FakePeer, Said, connection};
    use clap::Parser;

    /// Time that only a test that fails uses up.
    const LONG: Duration = Duration::from_secs(60);
    /// Time that is used up, with a few looks in it.
    const SHORT: Duration = Duration::from_secs(2);
    /// What is left of the time when a plan is agreed to, and answers that take longer than that to come to an end.
    const NEARLY_OVER: Duration = Duration::from_secs(2);
    const ANSWERS_BEYOND: usize = 16;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        confirm: ConfirmArguments,
    }

    fn yes() -> ConfirmArguments {
        Typed::parse_from(["member", "--yes"]).confirm
    }

    fn dry_run() -> ConfirmArguments {
        Typed::parse_from(["member", "--dry-run"]).confirm
    }

    fn joined() -> Said {
        Said::message(&wire::AddMemberReply {
            peer_id: 4,
            was_member: false,
        })
    }

    /// These members: id, address, and whether it votes.
    fn status_of(members: &[(u64, &str, bool)]) -> Said {
        let peer = |(peer_id, address, voter): &(u64, &str, bool)| wire::PeerStatus {
            peer_id: *peer_id,
            peer_address: (*address).to_owned(),
            voter: *voter,
            ..Default::default()
        };
        Said::message(&wire::StatusReply {
            peers: members.iter().map(peer).collect(),
            ..Default::default()
        })
    }

    /// Peer 2 votes at b:5001, and peer 4 learns or votes at d:5001.
    fn members(voter: bool) -> Said {
        status_of(&[(2, "b:5001", true), (4, "d:5001", voter)])
    }

    fn removed() -> Said {
        Said::message(&wire::RemoveMemberReply::default())
    }

    #[tokio::test]
    async fn a_peer_that_joins_and_does_not_vote_in_time_is_not_the_end_of_the_addition() {
        let peer = FakePeer::start([joined(), members(false)]).await;
        let done = add(&connection(&[&peer.address], SHORT), "d:5001", false, false).await;
        let done = done.expect("it has joined");
        assert!(!done.is_over && done.sentence.contains("it is a learner"), "{}", done.sentence);
        assert_eq!(done.data["voter"], false);

        let peer = FakePeer::start([joined(), members(false)]).await;
        let done = add(&connection(&[&peer.address], LONG), "d:5001", false, true).await;
        assert!(done.expect("it has joined").is_over, "nobody waits for its vote");

        let peer = FakePeer::start([joined(), members(false), members(true)]).await;
        let done = add(&connection(&[&peer.address], LONG), "d:5001", false, false).await;
        let done = done.expect("it has joined");
        assert!(done.is_over && done.sentence.contains("it votes"), "{}", done.sentence);
    }

    #[tokio::test]
    async fn a_peer_that_joined_has_joined_also_if_nobody_tells_whether_it_votes() {
        let peer = FakePeer::start([joined(), Said::status(ErrorCode::NotReady)]).await;
        let done = add(&connection(&[&peer.address], SHORT), "d:5001", false, false).await;
        assert!(!done.expect("it has joined").is_over);
    }

    #[tokio::test]
    async fn a_member_stays_while_the_one_in_its_place_does_not_vote() {
        let peer = FakePeer::start([members(false), joined(), members(false)]).await;
        let done = replace(&connection(&[&peer.address], SHORT), 2, "d:5001", &yes()).await;
        let done = done.expect("it has joined");
        assert!(!done.is_over && done.sentence.contains("peer 2 stays"), "{}", done.sentence);
        assert_eq!(done.data["removed_peer_id"], Json::Null);
        assert!(!peer.calls().iter().any(|call| call.ends_with("/RemoveMember")));
    }

    #[tokio::test]
    async fn a_replacement_at_the_same_address_that_is_called_again_has_been_made() {
        let again = async |member: (u64, &str, bool), id: u64| {
            let peer = FakePeer::start([status_of(&[member])]).await;
            replace(&connection(&[&peer.address], LONG), id, "b:5001", &yes()).await
        };
        let done = again((4, "b:5001", true), 2).await;
        let done = done.expect("it votes");
        assert!(done.is_over);
        assert_eq!(done.sentence, "Peer 4 at b:5001 has taken the place of peer 2.");
        assert_eq!(done.data["removed_peer_id"], "2");
        assert_eq!(done.data["peer_id"], "4");
        for (member, id) in [((4, "b:5001", true), 5), ((4, "b:5001", false), 2), ((4, "d:5001", true), 2)] {
            let refused = again(member, id).await.err().map(|error| error.to_string());
            let told = refused.unwrap_or_default();
            assert!(told.contains(&format!("peer {id} is not a member")), "{member:?}: {told}");
        }
    }

    #[tokio::test]
    async fn a_removal_has_its_whole_time_once_it_is_agreed_to() {
        let mut answers = vec![removed()];
        answers.resize_with(1 + ANSWERS_BEYOND, || Said::status(ErrorCode::NoLeader));
        answers.push(removed());
        let peer = FakePeer::start(answers).await;
        let mut connection = connection(&[&peer.address], LONG);
        connection.deadline = Instant::now() + NEARLY_OVER;
        let done = remove(&connection, 2, false, &yes()).await;
        assert!(done.expect("there is time left").is_over);
    }

    #[tokio::test]
    async fn a_replacement_has_its_whole_time_once_it_is_agreed_to() {
        let mut answers = vec![members(false), joined()];
        answers.resize_with(2 + ANSWERS_BEYOND, || members(false));
        // It votes, peer 2 is still there, and is removed.
        answers.extend([members(true), members(true), removed()]);
        let peer = FakePeer::start(answers).await;
        let mut connection = connection(&[&peer.address], LONG);
        connection.deadline = Instant::now() + NEARLY_OVER;
        let done = replace(&connection, 2, "d:5001", &yes()).await;
        assert!(done.expect("there is time left").is_over);
    }

    #[tokio::test]
    async fn a_dry_run_of_a_removal_tells_programs_what_the_leader_said() {
        let plan = wire::RemoveMemberReply {
            explanation: "of 3 voters, 2 would stay".to_owned(),
            is_voter: true,
            voters_after: 2,
            answering_after: 2,
            quorum_after: 2,
            ..Default::default()
        };
        let peer = FakePeer::start([Said::message(&plan)]).await;
        let done = remove(&connection(&[&peer.address], LONG), 2, false, &dry_run()).await;
        let done = done.expect("it would be removed");
        assert!(done.was_dry_run && done.is_over);
        let expected = json!({
            "explanation": "of 3 voters, 2 would stay", "loses_quorum": false, "is_voter": true, "leads": false, "voters_after": 2,
            "answering_after": 2, "quorum_after": 2, "removed_peer_id": null, "voters": 2
        });
        assert_eq!(done.data, expected);
        assert_eq!(peer.calls().len(), 1, "it was not asked to remove anybody");
    }

    #[tokio::test]
    async fn a_dry_run_of_a_replacement_asks_the_new_peer_and_changes_nothing() {
        let preview = async |said: Said| {
            let peer = FakePeer::start([members(false), said]).await;
            let done = replace(&connection(&[&peer.address], LONG), 2, "d:5001", &dry_run()).await;
            assert_eq!(peer.calls(), ["/quorate.v1.Admin/Status", "/quorate.v1.Admin/AddMember"]);
            assert_eq!(peer.dry_runs(), ["/quorate.v1.Admin/AddMember"]);
            done
        };
        let planned = |peer_id, was_member| Said::message(&wire::AddMemberReply { peer_id, was_member });
        let done = preview(planned(4, true)).await.expect("it would be done");
        assert!(done.was_dry_run && done.is_over);
        assert_eq!(done.data, json!({"peer_id": "4", "was_member": true, "removed_peer_id": null}));
        for (said, part) in [
            (Said::status(ErrorCode::InvalidArgument), "so said the peer"),
            (planned(2, true), "is peer 2 itself"),
        ] {
            let refused = preview(said).await.err().map(|error| format!("{error:#}"));
            let told = refused.expect("it would be refused");
            assert!(told.starts_with(confirm::WOULD_BE_REFUSED) && told.contains(part), "{told}");
        }
    }

    #[tokio::test]
    async fn a_dry_run_that_nobody_answers_says_so_and_not_that_it_would_be_refused() {
        // The second one may have got through, which changes nothing either.
        for said in [Said::status(ErrorCode::NoLeader), Said::plain(502, "upstream failed")] {
            let peer = FakePeer::start([members(false), said.clone()]).await;
            let done = replace(&connection(&[&peer.address], SHORT), 2, "d:5001", &dry_run()).await;
            let told = done.err().map(|error| format!("{error:#}")).expect("nobody has answered");
            assert!(told.starts_with(confirm::NOT_ANSWERED), "{told}");
            assert!(told.contains("no peer could ask the new peer who it is"), "{told}");
            assert!(!told.contains("may have been done"), "{told}");

            let peer = FakePeer::start([said]).await;
            let done = remove(&connection(&[&peer.address], SHORT), 2, false, &dry_run()).await;
            let told = done.err().map(|error| format!("{error:#}")).expect("nobody has answered");
            assert!(told.contains("no peer could say what the peer's removal would come to"), "{told}");
            assert!(!told.contains("may have been done"), "{told}");
        }
    }

    #[test]
    fn a_forecast_tells_what_becomes_of_a_newcomer_and_of_who_is_none() {
        let peer = |peer_id, voter| wire::PeerStatus {
            peer_id,
            voter,
            ..Default::default()
        };
        let before = wire::StatusReply {
            peers: vec![peer(1, true), peer(2, true), peer(3, true), peer(4, false)],
            ..Default::default()
        };
        let told = |peer_id, was_member| {
            let planned = wire::AddMemberReply { peer_id, was_member };
            forecast(&before, &before.peers[1], &planned, "d:5001")
        };
        assert!(told(0, false).ends_with("waits there, empty: it would be taken in."));
        assert!(told(4, true).ends_with("is peer 4 already, a learner: it would be waited for."));
        assert!(told(3, true).ends_with("is peer 3 already and votes: peer 2 would be removed at once, and 2 voters stay."));
    }

    #[test]
    fn a_member_is_listed_with_all_that_is_known_of_it() {
        let peer = wire::PeerStatus {
            peer_id: 2,
            voter: true,
            reachable: true,
            last_log_index: 9,
            applied_index: 7,
            disk_free_bytes: 5,
            ..Default::default()
        };
        let status = wire::StatusReply {
            cluster_id: "c".to_owned(),
            peer_id: 1,
            leader_id: 2,
            term: 4,
            peers: vec![peer],
            ..Default::default()
        };
        let data = super::members(&status);
        assert_eq!(
            (&data["term"], &data["seen_by"], &data["findings"]),
            (&json!("4"), &json!("1"), &json!([]))
        );
        assert!(data.get("peers").is_none(), "they are the members: {data}");
        let member = &data["members"][0];
        assert_eq!((&member["role"], &member["lag_entries"]), (&json!("leader"), &json!("2")));
        assert_eq!((&member["disk_free_bytes"], &member["last_contact_ms"]), (&json!("5"), &Json::Null));
    }
}
