//! Writers and readers that go on whatever happens to the peers, and a ledger of what was acknowledged.
//!
//! One writer and one reader per peer. Writer *w* puts each attribute `w<w>-<n>` once, on the condition that it is absent,
//! and counts in `count-<w>`, each time on the condition that nobody wrote since its last acknowledged write. A call that
//! got no answer is repeated at the next peer under the same session and number, so that a condition that fails can only
//! mean that a write was executed twice or lost. Readers read the counters linearizably and demand at least what was
//! acknowledged, or read by anybody, before they asked.

use crate::native::{CALL_TIMEOUT, call, get, metadata, metadata_value};
use crate::random::up_to;
use crate::waiting::{LOOK_AGAIN, PATIENCE, until};
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{OpenSessionRequest, PutAttributeRequest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Longest a writer may wait whose own peer runs, however busy the machine is: less than the five seconds after which a peer gives up a
/// call that it has forwarded.
pub const LONGEST_GAP: Duration = Duration::from_millis(4_500);
/// Deadline of writes where gaps are measured: more than [`LONGEST_GAP`], so that a call that is never answered is not taken for one
/// that was held up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a call that failed is repeated elsewhere.
const BEFORE_REPEAT: Duration = Duration::from_millis(10);
/// Most writes of every writer between two faults.
const WRITES_BETWEEN: u64 = 30;
/// Refusals that must never answer a write of ours: each would mean that it was executed twice, or forgotten.
const VIOLATIONS: [&str; 4] = ["precondition_failed", "request_id_reused", "session_expired", "not_found"];

/// What all writers and readers share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// The instance whose attributes are written.
    instance: String,
    /// By writer: the highest count acknowledged, or read by anybody.
    floors: Vec<AtomicU64>,
    /// By writer: writes acknowledged.
    writes: Vec<AtomicU64>,
    /// By reader: reads answered.
    reads: Vec<AtomicU64>,
}

/// Running writers and readers.
pub struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Written>>,
    readers: Vec<JoinHandle<()>>,
}

/// An acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcknowledgedRequest {
    pub session: u64,
    pub number: u64,
    pub revision: u64,
}

/// What one writer had acknowledged: revision by attribute, and by request.
struct Written {
    acknowledged: BTreeMap<String, u64>,
    requests: Vec<AcknowledgedRequest>,
    longest_gap: Duration,
    repeats: u64,
}

/// What all writers had acknowledged.
pub struct Ledger {
    /// Revision of the last acknowledged write, by attribute.
    pub acknowledged: BTreeMap<String, u64>,
    /// Every acknowledged write, by the request it came in.
    pub requests: Vec<AcknowledgedRequest>,
    /// Longest time any writer went between two acknowledged writes.
    pub longest_gap: Duration,
    /// Calls that got no answer, or a bad one, and were repeated.
    pub repeats: u64,
    /// Reads answered.
    pub reads: u64,
}

impl Load {
    /// Starts a writer and a reader at each of `addresses`. The instance must exist, and have no attributes yet.
    pub fn start(addresses: &[String], instance: &str) -> Load {
        Load::start_within(CALL_TIMEOUT, addresses, instance)
    }

    /// As [`Load::start`], to compare the longest gap with [`LONGEST_GAP`].
    pub fn start_measured(addresses: &[String], instance: &str) -> Load {
        Load::start_within(WRITE_TIMEOUT, addresses, instance)
    }

    fn start_within(write_timeout: Duration, addresses: &[String], instance: &str) -> Load {
        let zeros = || addresses.iter().map(|_| AtomicU64::new(0)).collect();
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared {
            stop,
            instance: instance.to_owned(),
            floors: zeros(),
            writes: zeros(),
            reads: zeros(),
        });
        let session = |home: usize| Session {
            write_timeout,
            ..Session::new(addresses, instance, home)
        };
        let writers = (0..addresses.len()).map(|writer| tokio::spawn(write(session(writer), writer, shared.clone())));
        let readers = addresses
            .iter()
            .enumerate()
            .map(|(reader, address)| tokio::spawn(read(address.clone(), reader, shared.clone())));
        Load {
            writers: writers.collect(),
            readers: readers.collect(),
            shared,
        }
    }

    /// Waits until every writer had `writes` more writes acknowledged.
    pub async fn wait_writes(&self, writes: u64) {
        self.wait_grown("every writer goes on", &self.shared.writes, writes).await;
    }

    /// Waits for a few more writes of every writer, another number each time: what comes next comes at another moment.
    pub async fn some_writes(&self) {
        self.wait_writes(1 + up_to(WRITES_BETWEEN)).await;
    }

    /// Waits until every reader, and so every peer, had `reads` more reads answered.
    pub async fn wait_reads(&self, reads: u64) {
        self.wait_grown("every reader goes on", &self.shared.reads, reads).await;
    }

    async fn wait_grown(&self, what: &str, counts: &[AtomicU64], by: u64) {
        let goals: Vec<u64> = counts.iter().map(|count| count.load(Ordering::SeqCst) + by).collect();
        until(what, async || {
            // A writer or reader ends early only by failing; its message comes with `finish`.
            let broken = self.writers.iter().any(JoinHandle::is_finished) || self.readers.iter().any(JoinHandle::is_finished);
            let grown = counts.iter().zip(&goals).all(|(count, goal)| count.load(Ordering::SeqCst) >= *goal);
            (broken || grown).then_some(())
        })
        .await;
    }

    /// Lets every call end, and tells what was acknowledged. Fails if a write was refused or a read went back.
    pub async fn finish(self) -> Ledger {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut ledger = Ledger {
            acknowledged: BTreeMap::new(),
            requests: Vec::new(),
            longest_gap: Duration::ZERO,
            repeats: 0,
            reads: 0,
        };
        for writer in self.writers {
            let written = writer.await.expect("a writer found nothing wrong");
            ledger.acknowledged.extend(written.acknowledged);
            ledger.requests.extend(written.requests);
            ledger.longest_gap = ledger.longest_gap.max(written.longest_gap);
            ledger.repeats += written.repeats;
        }
        for reader in self.readers {
            reader.await.expect("a reader found nothing wrong");
        }
        ledger.reads = self.shared.reads.iter().map(|count| count.load(Ordering::SeqCst)).sum();
        ledger
    }
}

/// A session whose writes are repeated at one peer after the other until one acknowledges them.
pub struct Session {
    clients: Vec<MetadataClient<Channel>>,
    instance: String,
    write_timeout: Duration,
    /// Where the next call goes.
    current: usize,
    /// 0 until it is open.
    id: u64,
    number: u64,
    repeats: u64,
    acknowledged: Vec<AcknowledgedRequest>,
}

impl Session {
    pub fn new(addresses: &[String], instance: &str, home: usize) -> Session {
        let clients = addresses.iter().map(|address| metadata(address)).collect();
        Session {
            clients,
            instance: instance.to_owned(),
            write_timeout: CALL_TIMEOUT,
            current: home,
            id: 0,
            number: 0,
            repeats: 0,
            acknowledged: Vec::new(),
        }
    }

    /// Puts one attribute; returns the acknowledged revision.
    pub async fn put(&mut self, name: &str, value: String, if_revision: Option<u64>) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        while self.id == 0 {
            match self.clients[self.current].open_session(call(OpenSessionRequest {})).await {
                Ok(reply) => self.id = reply.into_inner().session_id,
                Err(error) => self.elsewhere("open a session", &error, deadline).await,
            }
        }
        self.number += 1;
        let instance_id = self.instance.clone();
        let message = PutAttributeRequest {
            instance_id,
            name: name.into(),
            value: value.into_bytes().into(),
            if_revision,
        };
        loop {
            let request = self.numbered(message.clone());
            match self.clients[self.current].put_attribute(request).await {
                Ok(reply) => {
                    let revision = reply.into_inner().revision;
                    let (session, number) = (self.id, self.number);
                    self.acknowledged.push(AcknowledgedRequest { session, number, revision });
                    return revision;
                }
                Err(error) => self.elsewhere(name, &error, deadline).await,
            }
        }
    }

    fn numbered<T>(&self, message: T) -> Request<T> {
        let mut request = call(message);
        request.set_timeout(self.write_timeout);
        request.metadata_mut().insert("quorate-session", self.id.into());
        request.metadata_mut().insert("quorate-request", self.number.into());
        request
    }

    async fn elsewhere(&mut self, what: &str, error: &Status, deadline: Instant) {
        let name = metadata_value(error, "quorate-error");
        assert!(
            !VIOLATIONS.contains(&name),
            "{what}, number {} of session {}: {name}: {}",
            self.number,
            self.id,
            error.message()
        );
        assert!(
            Instant::now() < deadline,
            "{what} was not acknowledged within {} s: {error}",
            PATIENCE.as_secs()
        );
        self.repeats += 1;
        self.current = (self.current + 1) % self.clients.len();
        sleep(BEFORE_REPEAT).await;
    }
}

async fn write(mut session: Session, writer: usize, shared: Arc<Shared>) -> Written {
    let mut acknowledged = BTreeMap::new();
    let counter = format!("count-{writer}");
    let (mut count, mut counted_at) = (0, 0);
    let mut last = Instant::now();
    let mut longest_gap = Duration::ZERO;
    while !shared.stop.load(Ordering::SeqCst) {
        count += 1;
        let name = format!("w{writer}-{count}");
        let revision = session.put(&name, name.clone(), Some(0)).await;
        acknowledged.insert(name, revision);
        counted_at = session.put(&counter, count.to_string(), Some(counted_at)).await;
        acknowledged.insert(counter.clone(), counted_at);
        shared.floors[writer].fetch_max(count, Ordering::SeqCst);
        shared.writes[writer].fetch_add(2, Ordering::SeqCst);
        longest_gap = longest_gap.max(last.elapsed());
        last = Instant::now();
        // The next pair starts at this writer's own peer again: all peers have to forward.
        session.current = writer;
    }
    Written {
        acknowledged,
        requests: session.acknowledged,
        longest_gap,
        repeats: session.repeats,
    }
}

/// Reads all counters through one peer, again and again.
async fn read(address: String, reader: usize, shared: Arc<Shared>) {
    let mut client = metadata(&address);
    while !shared.stop.load(Ordering::SeqCst) {
        for (writer, floor) in shared.floors.iter().enumerate() {
            let at_least = floor.load(Ordering::SeqCst);
            let Ok(attribute) = get(&mut client, &shared.instance, &format!("count-{writer}")).await else {
                sleep(LOOK_AGAIN).await;
                continue;
            };
            let text = attribute.map(|attribute| attribute.value);
            let count = text.map_or(0, |text| std::str::from_utf8(&text).expect("a number").parse().expect("a number"));
            assert!(
                count >= at_least,
                "peer at {address} says count-{writer} is {count}; before, it was at least {at_least}"
            );
            floor.fetch_max(count, Ordering::SeqCst);
            shared.reads[reader].fetch_add(1, Ordering::SeqCst);
        }
    }
}
