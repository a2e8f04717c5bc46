//! `jepsen-netq`: takes packets from queue 0 of the network namespace it runs in, and lets them go late, out of order or not
//! at all. For kernels without `netem`.
//!
//! A packet is dropped by chance, or held for the delay and a random part of the jitter; a jitter longer than the gap
//! between packets reorders them. Counts are rewritten a few times a second: `seen N`, `harmed N` (dropped or held), `overtaken N`
//! (let go after a later packet of the same flow), a line each. When the program ends, the kernel lets packets pass
//! (`--queue-bypass` in the rule).

mod flows;

use anyhow::Context;
use clap::Parser;
use flows::Flows;
use nfq::{Message, Queue, Verdict};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Pause when there is nothing to do: the resolution of delays.
const TICK: Duration = Duration::from_micros(500);
const COUNTS_EVERY: Duration = Duration::from_millis(200);
/// More packets are held by nobody: the kernel drops what comes then.
const MOST_HELD: u32 = 100_000;

#[derive(Parser)]
#[command(name = "jepsen-netq", about = "Loses, delays and reorders packets of a queue")]
struct Arguments {
    /// Packets of a hundred that are dropped.
    #[arg(long, default_value_t = 0)]
    loss_percent: u64,
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Longest further delay, drawn for each packet.
    #[arg(long, default_value_t = 0)]
    jitter_ms: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File the counts go to.
    #[arg(long)]
    counts: PathBuf,
}

/// A packet and when it goes on.
struct Held {
    due: Instant,
    /// Packets that are due at once go on in the order in which they came.
    number: u64,
    message: Message,
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.number == other.number
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Below `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut queue = Queue::open().context("the kernel gives no queue; it needs root and NFQUEUE")?;
    queue.bind(0).context("queue 0 of this namespace is taken")?;
    queue.set_queue_max_len(0, MOST_HELD)?;
    queue.set_nonblocking(true);
    let mut random = Random(arguments.seed);
    let mut held: BinaryHeap<Reverse<Held>> = BinaryHeap::new();
    let (mut seen, mut harmed) = (0_u64, 0_u64);
    let mut flows = Flows::default();
    let mut counted = Instant::now();
    loop {
        let mut idle = true;
        match queue.recv() {
            Ok(mut message) => {
                idle = false;
                seen += 1;
                if random.below(100) < arguments.loss_percent {
                    harmed += 1;
                    message.set_verdict(Verdict::Drop);
                    queue.verdict(message)?;
                } else {
                    let wait_ms = arguments.delay_ms + random.below(arguments.jitter_ms + 1);
                    harmed += u64::from(wait_ms > 0);
                    let due = Instant::now() + Duration::from_millis(wait_ms);
                    held.push(Reverse(Held {
                        due,
                        number: seen,
                        message,
                    }));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The kernel had more than its buffer for us: those packets are lost, as on a network.
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => {}
            Err(error) => return Err(error).context("the queue broke"),
        }
        while let Some(Reverse(first)) = held.peek()
            && first.due <= Instant::now()
            && let Some(Reverse(mut first)) = held.pop()
        {
            idle = false;
            flows.let_go(first.message.get_payload(), first.number);
            first.message.set_verdict(Verdict::Accept);
            queue.verdict(first.message)?;
        }
        if counted.elapsed() >= COUNTS_EVERY {
            counted = Instant::now();
            let next = arguments.counts.with_extension("next");
            let overtaken = flows.overtaken();
            std::fs::write(&next, format!("seen {seen}\nharmed {harmed}\novertaken {overtaken}\n"))?;
            std::fs::rename(&next, &arguments.counts)?;
        }
        if idle {
            std::thread::sleep(TICK);
        }
    }
}

/// "No buffer space available".
const ENOBUFS: i32 = 105;
