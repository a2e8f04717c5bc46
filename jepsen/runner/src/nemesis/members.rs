//! Changing who belongs to the cluster, for faults that take nodes out and in.

use crate::field::Field;
use anyhow::Context;
use quorate_tests::native::{call, channel};
use quorate_wire::quorate::v1::admin_client::AdminClient;
use quorate_wire::quorate::v1::{PeerStatus, RemoveMemberRequest};
use std::time::Duration;

/// A newcomer is sent a checkpoint and becomes a voter within this, with other faults around.
pub const JOINS: Duration = Duration::from_secs(75);
/// Attempts of a removal, and the pause between them.
const REMOVALS: usize = 5;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(500);
/// A removed peer is told so, and ends, within this.
pub const ENDS: Duration = Duration::from_secs(15);

/// A node as a member, in the words of the leader.
pub async fn member(field: &Field, node: usize) -> Option<PeerStatus> {
    let leader = field.leader_or_spare().await?;
    let status = field.statuses().await.into_iter().nth(leader)??;
    let address = field.peer_address(node);
    status.peers.into_iter().find(|peer| peer.peer_address == address)
}

/// Waits until a node votes under another id than `not`; under which.
pub async fn wait_voter(field: &Field, node: usize, not: u64, within: Duration) -> anyhow::Result<u64> {
    let what = format!("{} votes under a new id", field.name(node));
    let voter = field.wait_for(&what, within, async || {
        member(field, node).await.filter(|peer| peer.voter && peer.peer_id != not)
    });
    let voter = voter
        .await
        .with_context(|| format!("it said last: {}", field.node(node).log_tail(3)))?;
    Ok(voter.peer_id)
}

/// Takes a member out; what the leader says to it.
pub async fn remove(field: &Field, peer_id: u64) -> anyhow::Result<String> {
    let mut refused = None;
    for _ in 0..REMOVALS {
        let leader = field.leader_or_spare().await.context("nobody leads")?;
        let mut request = call(RemoveMemberRequest {
            peer_id,
            ..Default::default()
        });
        request.metadata_mut().insert("quorate-token", field.token().parse()?);
        match AdminClient::new(channel(&field.control(leader))).remove_member(request).await {
            Ok(reply) => return Ok(reply.into_inner().explanation),
            // A leader that is to leave hands over and says so: the next one takes it out.
            Err(status) => refused = Some(status),
        }
        tokio::time::sleep(BETWEEN_REMOVALS).await;
    }
    anyhow::bail!(
        "peer {peer_id} is not removed: {}",
        refused.map_or_else(String::new, |status| status.message().to_owned())
    )
}

/// Waits until a node has ended by itself.
pub async fn wait_end(field: &Field, node: usize, within: Duration) -> anyhow::Result<()> {
    let ended = field.wait_for("the node ends", within, async || {
        let _ = field.look_for_exits();
        (!field.node(node).is_running()).then_some(())
    });
    ended.await
}

/// Gives a node that lost what it had, or its place, an empty directory and a new id, whatever state it is in.
pub async fn begin_anew(field: &Field, node: usize, how: &[&str]) -> anyhow::Result<()> {
    field.kill(node).await?;
    field.node(node).wipe()?;
    field.start_with(node, how, "")
}
