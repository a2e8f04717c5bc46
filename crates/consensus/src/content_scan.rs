//! The scan of the whole state: reads every row and compares what they sum up to with the digest that apply keeps.
//!
//! Peers compare digests every second, but a digest is only what apply has written; a row that the disk changed shows
//! when somebody reads it. The scan reads all of them once a day, and after a checkpoint was installed, on a view of one
//! moment, in small steps with pauses between them, past the block cache.

use crate::node::{Core, Node};
use crate::state_adapter::run_blocking;
use quorate_state_machine::{Machine, MachineError, digest};
use quorate_storage::state::read_with;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Rows read at once.
const STEP_ROWS: usize = 1_000;
/// Pause after each step: the scan takes about a fifth of one core, a million rows take a few seconds.
const STEP_PAUSE: Duration = Duration::from_millis(4);
/// The first scan comes this long after a start at the latest: a peer that is restarted every day is scanned too.
const FIRST_SCAN: Duration = Duration::from_secs(3_600);

/// What scans have found, and when the next is due before its time.
#[derive(Debug, Default)]
pub struct ContentScan {
    damaged: AtomicBool,
    completed: AtomicU64,
    wanted: Notify,
}

impl ContentScan {
    /// A scan has found other content than the digest says.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Scans of the whole state completed since the start.
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    /// The state was replaced: it is scanned soon.
    pub fn want(&self) {
        self.wanted.notify_one();
    }
}

/// Scans until the node stops. A mismatch is remembered; the exchange of health does the rest.
pub(crate) async fn run(node: Node) {
    let core = node.core().clone();
    let interval = core.settings.content_scan_interval;
    let mut pause = interval.min(FIRST_SCAN);
    while !core.is_stopping() {
        // Whether time has passed or a checkpoint was installed, the scan is the same.
        let _ = tokio::time::timeout(pause, core.content_scan.wanted.notified()).await;
        pause = interval;
        match scan(&core).await {
            Ok(Some(finding)) => {
                core.content_scan.damaged.store(true, Ordering::Release);
                core.applier.engine().mark_damaged("a scan found other content than was applied");
                tracing::error!(
                    index = finding.index,
                    expected = format!("{:032x}", finding.expected),
                    found = format!("{:032x}", finding.found),
                    "the state is damaged: its rows are not what was applied"
                );
                crate::maintenance::stop_serving(&node).await;
            }
            Ok(None) => {}
            // A row that cannot be read is damage too, but one that a failing disk may take back.
            Err(error) => tracing::error!(%error, "the state could not be scanned"),
        }
    }
}

struct Mismatch {
    index: u64,
    expected: u128,
    found: u128,
}

async fn scan(core: &Arc<Core>) -> io::Result<Option<Mismatch>> {
    let (engine, watched) = (core.applier.engine().clone(), Arc::downgrade(core));
    let (inline, known_level) = (core.settings.inline_apply, core.settings.level);
    let scanned = run_blocking(inline, move || {
        // A simulation has no other thread that could use the pause.
        let mut go_on = || {
            if !inline {
                std::thread::sleep(STEP_PAUSE);
            }
            watched.upgrade().is_some_and(|core| !core.is_stopping())
        };
        read_with(engine.as_ref(), |reader| {
            let digests = Machine::open_knowing(reader, known_level)?.digests();
            Ok(digest::recompute_content_in_steps(reader, STEP_ROWS, &mut go_on)?.map(|found| (digests, found)))
        })
        .map_err(|error: MachineError| io::Error::other(error))
    });
    let Some((digests, found)) = scanned.await? else {
        return Ok(None);
    };
    core.content_scan.completed.fetch_add(1, Ordering::AcqRel);
    Ok((found != digests.content).then_some(Mismatch {
        index: digests.index,
        expected: digests.content,
        found,
    }))
}
