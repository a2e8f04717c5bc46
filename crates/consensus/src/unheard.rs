//! A peer that was removed before the log had reached it knows no member that could tell it so: it asks where it looked for
//! its cluster when it was new.

use crate::maintenance::hello_request;
use crate::node::Core;
use crate::settings::HELLO_INTERVAL;
use crate::transport::Channel;
use quorate_wire::quorate::peer as wire;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Ends when this peer has heard of a membership, which names those who can tell it everything else, or is told that it has no place
/// in any.
pub(crate) async fn watch(core: Arc<Core>) {
    // A leader that is cut off may not have heard of this peer; it says that it leads only while a quorum confirms it. What is left
    // is a leader that was overthrown a moment ago.
    let certain_after = 2 * Duration::from_millis(core.settings.timing.quorum_loss_probe_ms);
    let mut unknown_since = None;
    while !core.is_stopping() && core.metrics().membership_config.nodes().next().is_none() {
        if is_unknown_to_leader(&core).await {
            let since = *unknown_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= certain_after {
                core.tell_removed();
                return;
            }
        } else {
            unknown_since = None;
        }
        tokio::time::sleep(HELLO_INTERVAL).await;
    }
}

/// Whether a peer that leads this cluster says that it does not know this one, and nobody says that he does.
async fn is_unknown_to_leader(core: &Core) -> bool {
    let seeds = core.seeds.iter().filter(|address| **address != core.peer_address);
    let mut replies = ask(core, seeds).await;
    // The leader need not be one of those this peer was started with.
    let leaders: BTreeSet<String> = replies.iter().map(|reply| reply.leader_peer_address.clone()).collect();
    let others = leaders
        .iter()
        .filter(|address| !address.is_empty() && !core.seeds.contains(address));
    replies.extend(ask(core, others).await);
    let leads = replies.iter().any(|reply| reply.leader != 0 && reply.leader == reply.peer_id);
    leads && replies.iter().all(|reply| reply.your_peer_id == 0)
}

/// What members of this cluster at these addresses answer.
pub(crate) async fn ask(core: &Core, addresses: impl Iterator<Item = &String>) -> Vec<wire::HelloReply> {
    let calls = addresses.map(|address| {
        let client = core.transport.client(address, 0, 0, Channel::Forward);
        let request = hello_request(core, core.applier.applied().digests);
        async move { tokio::time::timeout(HELLO_INTERVAL, client.hello(request)).await }
    });
    let cluster = core.cluster.to_string();
    let replies = futures::future::join_all(calls).await;
    let replies = replies.into_iter().flatten().flatten();
    replies.filter(|reply| reply.in_cluster && reply.cluster_id == cluster).collect()
}
