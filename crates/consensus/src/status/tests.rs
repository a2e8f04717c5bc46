//! Each fault that an operator can meet has one finding that names the object and says what to do.

use super::{LAGGING_ENTRIES, findings, leadership, lost};
use crate::maintenance::MAX_CLOCK_OFFSET_MS;
use quorate_wire::quorate::v1 as wire;

const HEARTBEAT_MS: u64 = 60;

/// Three voters of which peer 1 leads, all well.
fn healthy() -> Vec<wire::PeerStatus> {
    let peer = |peer_id: u64| wire::PeerStatus {
        peer_id,
        peer_address: format!("peer-{peer_id}:5001"),
        voter: true,
        reachable: true,
        applied_index: 50_000,
        disk_free_bytes: 10 << 30,
        disk_total_bytes: 20 << 30,
        append_p999_us: HEARTBEAT_MS * 1_000,
        ..Default::default()
    };
    (1..=3).map(peer).collect()
}

struct Fault {
    name: &'static str,
    leader: u64,
    /// Applied to the healthy cluster.
    harm: fn(&mut Vec<wire::PeerStatus>),
    severity: &'static str,
    object: &'static str,
    text: &'static str,
    advice: &'static str,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "a peer is down, or ended because of its root keys or because it was removed",
        leader: 1,
        harm: |peers| peers[1].reachable = false,
        severity: "critical",
        object: "peer 2",
        text: "does not answer at peer-2:5001; the cluster survives 0 more failures",
        advice: "start it; it says why if it ends again (other root keys, a place it has lost)",
    },
    Fault {
        name: "a peer was not asked yet, in the first second of the one that is asked",
        leader: 1,
        harm: |peers| (peers[1].reachable, peers[1].awaited) = (false, true),
        severity: "warning",
        object: "peer 2",
        text: "has not answered yet",
        advice: "look again in two seconds",
    },
    Fault {
        name: "a peer lags",
        leader: 1,
        harm: |peers| peers[2].applied_index -= LAGGING_ENTRIES + 1,
        severity: "warning",
        object: "peer 3",
        text: "is 10001 entries behind",
        advice: "look at its disk and CPU",
    },
    Fault {
        name: "a clock is off",
        leader: 1,
        harm: |peers| peers[1].clock_offset_ms = -MAX_CLOCK_OFFSET_MS - 1,
        severity: "warning",
        object: "peer 2",
        text: "its clock is -2001 ms off",
        advice: "synchronise its clock (NTP)",
    },
    Fault {
        name: "a disk is low",
        leader: 1,
        harm: |peers| {
            peers[1].disk_low = true;
            peers[1].disk_free_bytes = 100 << 20;
        },
        severity: "critical",
        object: "peer 2",
        text: "has 100 of 20480 MiB of disk left",
        advice: "free space on its data disk",
    },
    Fault {
        name: "a digest differs",
        leader: 1,
        harm: |peers| peers[2].diverged = true,
        severity: "critical",
        object: "peer 3",
        text: "its state differs from the majority's",
        advice: "keep its data directory for a bug report and start it empty with --replace",
    },
    Fault {
        name: "a scan found damage, which also counts as a digest that differs",
        leader: 1,
        harm: |peers| {
            peers[2].diverged = true;
            peers[2].state_damaged = true;
        },
        severity: "critical",
        object: "peer 3",
        text: "its state is damaged",
        advice: "start it again",
    },
    Fault {
        name: "the heartbeat is below the 99.9th percentile of an append",
        leader: 1,
        harm: |peers| peers[0].append_p999_us = HEARTBEAT_MS * 1_000 + 1,
        severity: "warning",
        object: "peer 1",
        text: "its slowest synced appends take 60 ms, the heartbeat is 60 ms",
        advice: "use a faster disk, or start all peers with --profile wan",
    },
    Fault {
        name: "no leader, with a quorum",
        leader: 0,
        harm: |_| (),
        severity: "critical",
        object: "cluster",
        text: "no leader: 3 of 3 voters are reachable, 2 are needed",
        advice: "an election is under way",
    },
    Fault {
        name: "no leader, without a quorum",
        leader: 0,
        harm: |peers| {
            peers[1].reachable = false;
            peers[2].reachable = false;
        },
        severity: "critical",
        object: "cluster",
        text: "no leader: 1 of 3 voters are reachable, 2 are needed",
        advice: "start the missing peers",
    },
    Fault {
        name: "a peer has an older build than the others, in the middle of an upgrade",
        leader: 1,
        harm: |peers| (peers[0].level, peers[1].level, peers[2].level) = (2, 1, 2),
        severity: "advice",
        object: "peer 2",
        text: "its build knows levels up to 1, another's up to 2: it holds the cluster's level back",
        advice: "install the newer build on it",
    },
    Fault {
        name: "a learner is not promoted",
        leader: 1,
        harm: |peers| {
            let learner = wire::PeerStatus {
                peer_id: 4,
                voter: false,
                applied_index: 49_500,
                ..peers[2].clone()
            };
            peers.push(learner);
        },
        severity: "warning",
        object: "peer 4",
        text: "has no vote yet; it is 500 entries behind",
        advice: "it becomes a voter by itself when it has caught up",
    },
];

#[test]
fn a_healthy_cluster_has_no_findings() {
    assert_eq!(findings(1, &healthy(), HEARTBEAT_MS), []);
}

#[test]
fn every_fault_is_named_with_what_to_do() {
    for fault in FAULTS {
        let mut peers = healthy();
        (fault.harm)(&mut peers);
        let found = findings(fault.leader, &peers, HEARTBEAT_MS);
        let about: Vec<_> = found.iter().filter(|finding| finding.object == fault.object).collect();
        let [finding] = about.as_slice() else {
            panic!("{}: one finding about {} is expected: {found:#?}", fault.name, fault.object);
        };
        assert_eq!(finding.severity, fault.severity, "{}", fault.name);
        assert!(finding.text.starts_with(fault.text), "{}: {}", fault.name, finding.text);
        assert!(finding.advice.contains(fault.advice), "{}: {}", fault.name, finding.advice);
        // What is not harmed is not blamed.
        let others = found.iter().filter(|finding| finding.object != fault.object);
        let down = peers.iter().filter(|peer| !peer.reachable).count();
        assert!(others.count() <= down, "{}: {found:#?}", fault.name);
    }
}

#[test]
fn a_peer_that_must_not_come_back_is_told_how_it_may() {
    let finding = lost(2);
    assert_eq!((finding.severity.as_str(), finding.object.as_str()), ("critical", "peer 2"));
    assert!(finding.advice.contains("--replace"), "{}", finding.advice);
}

#[test]
fn who_led_is_not_taken_for_who_leads_when_a_majority_is_gone() {
    let mut peers = healthy();
    assert_eq!(leadership(Some(1), &peers), (1, 0));
    for peer in &mut peers[1..] {
        (peer.reachable, peer.awaited) = (false, true);
    }
    assert_eq!(leadership(Some(1), &peers), (1, 0), "they were only just asked");
    assert!(
        findings(1, &peers, HEARTBEAT_MS)
            .iter()
            .all(|finding| finding.severity == "warning")
    );
    for peer in &mut peers {
        (peer.reachable, peer.awaited) = (true, false);
    }
    peers[1].reachable = false;
    assert_eq!(leadership(Some(1), &peers), (1, 0), "two of three are a majority");
    peers[2].reachable = false;
    assert_eq!(leadership(Some(1), &peers), (0, 1));
    assert_eq!(leadership(None, &peers), (0, 0));
    // A learner that answers is no voter.
    peers[0].voter = false;
    assert_eq!(leadership(Some(1), &peers), (0, 1));
}
