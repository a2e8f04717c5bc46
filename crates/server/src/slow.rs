//! One line in the log for a request that took long: where its time went, as far as this peer can know, and what to look at.
//!
//! A line holds names from our tables, numbers and nothing of a caller's body, URL or headers but its request id.

use quorate_consensus::Node;
use quorate_consensus::write_path::EntryTimes;
use quorate_model::RequestId;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Threshold unless `slow_request_ms` says otherwise.
pub const DEFAULT_SLOW_REQUEST_MS: u64 = 1_000;
/// At most one line in this time: a disk that hangs makes every request slow.
const PAUSE: Duration = Duration::from_secs(1);

/// Decides which requests get a line.
pub struct SlowLog {
    /// `None`: no line for any.
    threshold: Option<Duration>,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    latest: Option<Instant>,
    /// Slow requests since that got none.
    left_out: u64,
}

/// A request that has been answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Route or RPC, from the RPC table.
    pub call: &'static str,
    pub outcome: &'static str,
    /// The caller's, if it brought one.
    pub request: Option<RequestId>,
    pub started: Instant,
    pub ended: Instant,
}

/// Who leads, as the peer that answers sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    Own,
    Other(u64),
    Unknown,
}

impl SlowLog {
    /// With 0, no request is called slow.
    pub fn new(threshold_ms: u64) -> SlowLog {
        SlowLog {
            threshold: (threshold_ms > 0).then(|| Duration::from_millis(threshold_ms)),
            lines: Mutex::default(),
        }
    }

    pub fn is_slow(&self, answered: &Answered) -> bool {
        let took = answered.ended.saturating_duration_since(answered.started);
        self.threshold.is_some_and(|threshold| took >= threshold)
    }

    /// Whether a line may be written now, and how many requests got none since the one before.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().expect("no panic while held");
        if lines.latest.is_some_and(|latest| now.saturating_duration_since(latest) < PAUSE) {
            lines.left_out += 1;
            return None;
        }
        lines.latest = Some(now);
        Some(std::mem::take(&mut lines.left_out))
    }

    /// Writes the line of a slow request, unless the one before is too recent.
    pub fn write(&self, answered: &Answered, node: Option<&Node>) {
        let Some(left_out) = self.admit(answered.ended) else { return };
        let leader = match node.map(|node| (node.is_leader(), node.leader())) {
            Some((true, _)) => Leader::Own,
            Some((false, Some((peer, _)))) => Leader::Other(peer.0),
            _ => Leader::Unknown,
        };
        let entry = node.and_then(|node| node.core().write_path.slowest(answered.started, answered.ended));
        let total = answered.ended.saturating_duration_since(answered.started);
        let cause = cause(total, leader, entry);
        let (session, number) = answered.request.map_or((0, 0), |request| (request.session.0, request.number));
        let times = entry.unwrap_or_default();
        tracing::warn!(
            call = answered.call,
            outcome = answered.outcome,
            session,
            request = number,
            total_ms = ms(total),
            entry = times.index,
            queue_ms = ms(times.queue),
            append_ms = ms(times.append),
            sync_ms = ms(times.sync),
            replicate_ms = ms(times.replicate),
            apply_ms = ms(times.apply),
            left_out,
            "slow request: {cause}"
        );
    }
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// What probably took the time, and what to look at.
fn cause(total: Duration, leader: Leader, entry: Option<EntryTimes>) -> String {
    let entry = entry.unwrap_or_default();
    let steps = [entry.queue, entry.append, entry.sync, entry.replicate, entry.apply];
    // What a follower knows of its own log says nothing about a write that the leader answers; what it applies late, it
    // reads late.
    let own = |step: usize| leader == Leader::Own || step == 4;
    let (step, took) = (0..steps.len())
        .filter(|step| own(*step))
        .map(|step| (step, steps[step]))
        .max_by_key(|(_, took)| *took)
        .unwrap_or_default();
    if took < total / 4 {
        return match leader {
            Leader::Own => "no entry of the log was slow meanwhile: look at this peer's CPU".to_owned(),
            Leader::Other(peer) => format!("it waited for the leader, peer {peer}: look at its log and at the network"),
            Leader::Unknown => "no leader is known: see `quorate status`".to_owned(),
        };
    }
    let took = ms(took);
    match step {
        0 => format!("it waited {took} ms for a place in an entry: more writes than the leader takes, look at its CPU"),
        1 => format!("the entry waited {took} ms before it went to the log: look at the CPU"),
        2 => format!("sync of the log took {took} ms: look at the disk"),
        3 => format!("a majority had the entry {took} ms later than this peer: look at the other peers and the network"),
        _ => format!("applying took {took} ms: look at the disk and the CPU"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn entry(step: usize, took: Duration) -> EntryTimes {
        let mut steps = [Duration::from_millis(2); 5];
        steps[step] = took;
        let [queue, append, sync, replicate, apply] = steps;
        EntryTimes {
            index: 7,
            queue,
            append,
            sync,
            replicate,
            apply,
        }
    }

    #[test]
    fn the_slowest_step_is_named_with_what_to_look_at() {
        let long = Duration::from_millis(900);
        let own = [
            (0, "it waited 900 ms for a place in an entry"),
            (1, "the entry waited 900 ms before it went to the log: look at the CPU"),
            (2, "sync of the log took 900 ms: look at the disk"),
            (3, "a majority had the entry 900 ms later than this peer: look at the other peers"),
            (4, "applying took 900 ms: look at the disk"),
        ];
        for (step, text) in own {
            let said = cause(SECOND, Leader::Own, Some(entry(step, long)));
            assert!(said.starts_with(text), "{said}");
            let said = cause(SECOND, Leader::Other(3), Some(entry(step, long)));
            let expected = if step == 4 { text } else { "it waited for the leader, peer 3" };
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn without_a_slow_entry_no_step_is_blamed() {
        let short = Some(entry(2, Duration::from_millis(100)));
        for found in [None, short] {
            assert!(cause(SECOND, Leader::Own, found).starts_with("no entry of the log was slow"));
            assert!(cause(SECOND, Leader::Unknown, found).starts_with("no leader is known"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lines_keep_their_distance_and_count_what_they_left_out() {
        let log = SlowLog::new(10);
        assert_eq!(log.admit(Instant::now()), Some(0));
        for _ in 0..5 {
            assert_eq!(log.admit(Instant::now()), None);
        }
        tokio::time::advance(PAUSE).await;
        assert_eq!(log.admit(Instant::now()), Some(5));
        tokio::time::advance(PAUSE).await;
        assert_eq!(log.admit(Instant::now()), Some(0));
    }

    #[test]
    fn a_request_is_slow_from_the_threshold_on_and_never_without_one() {
        let started = Instant::now();
        let took = |ms| Answered {
            call: "c",
            outcome: "ok",
            request: None,
            started,
            ended: started + Duration::from_millis(ms),
        };
        assert!(SlowLog::new(10).is_slow(&took(10)) && !SlowLog::new(10).is_slow(&took(9)));
        assert!(!SlowLog::new(0).is_slow(&took(1_000_000)));
    }
}
