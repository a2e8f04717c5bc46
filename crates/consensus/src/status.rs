//! Who leads, who lags, what is wrong and what to do about it.

use crate::level;
use crate::maintenance::{self, MAX_CLOCK_OFFSET_MS};
use crate::node::{Core, Node};
use quorate_wire::quorate::peer::{HelloReply, PeerFinding};
use quorate_wire::quorate::v1 as wire;
use std::time::Duration;

/// How long a status waits for the others' words: whoever looks at a cluster in trouble looks often.
const STATUS_PATIENCE: Duration = Duration::from_millis(200);
/// A follower this many entries behind is called lagging.
const LAGGING_ENTRIES: u64 = 10_000;
/// Findings of a peer's server that other peers are told: they travel each second.
const MAX_OWN_FINDINGS: usize = 16;

impl Node {
    /// Index of the newest checkpoint this peer holds.
    pub fn checkpoint_index(&self) -> Option<u64> {
        self.core().state_adapter.checkpoint_index()
    }

    /// What the server of this peer has found: any peer's status tells it, since each asks the others.
    pub fn set_findings(&self, findings: Vec<wire::Finding>) {
        let findings = findings.into_iter().take(MAX_OWN_FINDINGS).map(|finding| PeerFinding {
            severity: finding.severity,
            object: finding.object,
            text: finding.text,
            advice: finding.advice,
        });
        *self.core().own_findings.lock().expect("no panic while held") = findings.collect();
    }

    /// One screen about the cluster, with the other peers as they were when they were last asked: up to a second ago.
    pub fn status(&self) -> wire::StatusReply {
        self.status_with(|peer| self.core().health.answering(peer))
    }

    /// The same, and every other peer is asked now. One that is slow to answer is shown as it was when it was last asked.
    pub async fn fresh_status(&self) -> wire::StatusReply {
        let heard = maintenance::ask_members(self.core(), STATUS_PATIENCE).await;
        self.status_with(|peer| match heard.get(&peer) {
            Some(answer) => answer.clone(),
            None => self.core().health.answering(peer),
        })
    }

    /// `answer` is what another peer said when it was last asked, if it answered.
    fn status_with(&self, answer: impl Fn(u64) -> Option<HelloReply>) -> wire::StatusReply {
        let core = self.core();
        let metrics = core.metrics();
        let applied = core.applier.applied();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let (mut peers, mut told) = (Vec::new(), Vec::new());
        for (peer, member) in metrics.membership_config.nodes() {
            let own = *peer == core.peer;
            let hello = if own {
                Some(self.handle_hello(&Default::default()))
            } else {
                answer(*peer)
            };
            let matched = metrics
                .replication
                .as_ref()
                .and_then(|matched| matched.get(peer).cloned().flatten());
            let reachable = hello.is_some();
            let mut hello = hello.unwrap_or_default();
            told.append(&mut hello.findings);
            peers.push(wire::PeerStatus {
                peer_id: *peer,
                peer_address: member.peer_address.clone(),
                public_address: member.public_address.clone(),
                voter: voters.contains(peer),
                reachable,
                awaited: !reachable && core.health.is_awaited(*peer),
                last_log_index: hello.last_log_index,
                applied_index: hello.applied_index,
                matched_index: matched.map_or(0, |id| id.index),
                disk_free_bytes: hello.disk_free_bytes,
                append_p999_us: hello.append_p999_us,
                incarnation: format!("{:016x}", member.incarnation),
                version: hello.version,
                clock_offset_ms: if own { 0 } else { core.health.clock_offset_ms(*peer).unwrap_or(0) },
                diverged: hello.diverged,
                snapshot_index: hello.snapshot_index,
                purged_index: hello.purged_index,
                disk_low: hello.disk_low,
                disk_total_bytes: hello.disk_total_bytes,
                state_damaged: hello.state_damaged,
                last_contact_ms: if own { Some(0) } else { core.health.last_contact_ms(*peer) },
                level: if reachable { level::known(hello.level) } else { 0 },
            });
        }
        let (leader, last_leader) = leadership(metrics.current_leader, &peers);
        let mut findings = findings(leader, &peers, core.settings.timing.heartbeat_ms);
        findings.extend(cluster_findings(core));
        findings.extend(told.into_iter().map(as_told));
        findings.sort_by_key(|finding| finding.severity != "critical");
        wire::StatusReply {
            cluster_id: core.cluster.to_string(),
            peer_id: core.peer,
            leader_id: leader,
            term: metrics.current_term,
            revision: applied.revision.0,
            peers,
            findings,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            last_leader_id: last_leader,
            level: applied.level,
        }
    }
}

fn as_told(finding: PeerFinding) -> wire::Finding {
    wire::Finding {
        severity: finding.severity,
        object: finding.object,
        text: finding.text,
        advice: finding.advice,
    }
}

/// Who leads, and while nobody can, who did when that was last heard of. openraft goes on naming the last leader it followed.
fn leadership(known: Option<u64>, peers: &[wire::PeerStatus]) -> (u64, u64) {
    let known = known.unwrap_or(0);
    let (reachable, needed) = quorum(peers);
    if reachable >= needed { (known, 0) } else { (0, known) }
}

/// Voters that answer or are still awaited, and how many must answer.
fn quorum(peers: &[wire::PeerStatus]) -> (usize, usize) {
    let voters = peers.iter().filter(|peer| peer.voter);
    let reachable = voters.clone().filter(|peer| peer.reachable || peer.awaited).count();
    (reachable, voters.count() / 2 + 1)
}

fn finding(critical: bool, object: String, text: String, advice: &str) -> wire::Finding {
    wire::Finding {
        severity: if critical { "critical" } else { "warning" }.to_owned(),
        object,
        text,
        advice: advice.to_owned(),
    }
}

/// What this peer knows beyond what each peer says of itself.
fn cluster_findings(core: &Core) -> Vec<wire::Finding> {
    let mut found = Vec::new();
    if let Some(text) = core.disk.refusal() {
        let advice = "free space on the data disks of these peers, or delete data";
        found.push(finding(true, "cluster".to_owned(), text, advice));
    }
    for (peer, index) in core.health.disagreements() {
        let text = format!("it and peer {} disagree about the state after entry {index}", core.peer);
        let advice = "a majority decides which of them is wrong: see that all peers run; keep both data directories for a bug report";
        found.push(finding(true, format!("peer {peer}"), text, advice));
    }
    for peer in core.acknowledged.lost().into_iter().filter(|peer| core.node_of(*peer).is_some()) {
        found.push(lost(peer));
    }
    found
}

fn lost(peer: u64) -> wire::Finding {
    let text = "came back without entries it had acknowledged; it takes no part any more".to_owned();
    finding(true, format!("peer {peer}"), text, "start it empty with --replace")
}

fn no_leader(voters: usize, reachable: usize, needed: usize) -> wire::Finding {
    let text = format!("no leader: {reachable} of {voters} voters are reachable, {needed} are needed");
    let advice = if reachable >= needed {
        "an election is under way; look again in a second"
    } else {
        "start the missing peers"
    };
    finding(true, "cluster".to_owned(), text, advice)
}

/// What the peers' own words say needs an operator's attention.
fn findings(leader: u64, peers: &[wire::PeerStatus], heartbeat_ms: u64) -> Vec<wire::Finding> {
    let mut found = Vec::new();
    let voters = peers.iter().filter(|peer| peer.voter).count();
    let (reachable, needed) = quorum(peers);
    if leader == 0 {
        found.push(no_leader(voters, reachable, needed));
    }
    let most_applied = peers.iter().map(|peer| peer.applied_index).max().unwrap_or(0);
    for peer in peers {
        if peer.reachable {
            found.extend(damage(peer));
            found.extend(distance(peer, most_applied));
            found.extend(surroundings(peer, heartbeat_ms));
        } else {
            found.push(silence(peer, reachable.checked_sub(needed)));
        }
    }
    found.extend(older_builds(peers));
    found
}

fn name(peer: &wire::PeerStatus) -> String {
    format!("peer {}", peer.peer_id)
}

/// A peer that does not answer; the cluster can spare `spare` more, or too many are missing already.
fn silence(peer: &wire::PeerStatus, spare: Option<usize>) -> wire::Finding {
    if peer.awaited {
        let text = "has not answered yet: it is being asked for the first time".to_owned();
        return finding(false, name(peer), text, "look again in two seconds");
    }
    let address = &peer.peer_address;
    let text = match spare {
        Some(spare) => format!("does not answer at {address}; the cluster survives {spare} more failures"),
        None => format!("does not answer at {address}, and without it too few do"),
    };
    let advice =
        "start it; it says why if it ends again (other root keys, a place it has lost); if its data is lost, start it empty with --replace";
    finding(spare.unwrap_or(0) == 0, name(peer), text, advice)
}

/// A state that is not the majority's.
fn damage(peer: &wire::PeerStatus) -> Option<wire::Finding> {
    let (text, advice) = if peer.state_damaged {
        (
            "its state is damaged: a scan found other content than was applied; it serves nothing",
            "look at its disk, and start it again: its state is built anew",
        )
    } else if peer.diverged {
        (
            "its state differs from the majority's; it serves nothing",
            "keep its data directory for a bug report and start it empty with --replace",
        )
    } else {
        return None;
    };
    Some(finding(true, name(peer), text.to_owned(), advice))
}

/// How far it is behind.
fn distance(peer: &wire::PeerStatus, most_applied: u64) -> Vec<wire::Finding> {
    let mut found = Vec::new();
    let behind = most_applied.saturating_sub(peer.applied_index);
    if !peer.voter {
        let text = format!("has no vote yet; it is {behind} entries behind");
        let advice = "it becomes a voter by itself when it has caught up; if it comes no nearer, look at its disk and the network";
        found.push(finding(false, name(peer), text, advice));
    }
    if behind > LAGGING_ENTRIES {
        let text = format!("is {behind} entries behind");
        let advice = "it catches up by itself; if it does not, look at its disk and CPU";
        found.push(finding(false, name(peer), text, advice));
    }
    found
}

/// Its disk and its clock.
fn surroundings(peer: &wire::PeerStatus, heartbeat_ms: u64) -> Vec<wire::Finding> {
    let mut found = Vec::new();
    if peer.disk_low {
        let (free, total) = (peer.disk_free_bytes >> 20, peer.disk_total_bytes >> 20);
        let text = format!("has {free} of {total} MiB of disk left; it stops when there is nothing left");
        found.push(finding(true, name(peer), text, "free space on its data disk"));
    }
    if peer.clock_offset_ms.abs() > MAX_CLOCK_OFFSET_MS {
        let text = format!("its clock is {} ms off", peer.clock_offset_ms);
        found.push(finding(false, name(peer), text, "synchronise its clock (NTP)"));
    }
    if peer.append_p999_us > heartbeat_ms * 1_000 {
        let slowest_ms = peer.append_p999_us / 1_000;
        let text = format!("its slowest synced appends take {slowest_ms} ms, the heartbeat is {heartbeat_ms} ms");
        let advice = "use a faster disk, or start all peers with --profile wan";
        found.push(finding(false, name(peer), text, advice));
    }
    found
}

/// Peers whose builds know no level as high as others' do: until they are newer, too, the cluster's goes no higher than theirs.
fn older_builds(peers: &[wire::PeerStatus]) -> Vec<wire::Finding> {
    let highest = peers.iter().map(|peer| peer.level).max().unwrap_or(0);
    let older = peers.iter().filter(|peer| peer.reachable && peer.level < highest);
    let told = older.map(|peer| wire::Finding {
        severity: "advice".to_owned(),
        object: name(peer),
        text: format!(
            "its build knows levels up to {}, another's up to {highest}: it holds the cluster's level back",
            peer.level
        ),
        advice: "install the newer build on it, too".to_owned(),
    });
    told.collect()
}

#[cfg(test)]
mod tests;
