//! What the parts of a run share: disks, running peers, what was observed; and the first broken rule.

use crate::disk::Disk;
use crate::entropy;
use crate::invariants::{
    AcknowledgedWrites, DurableMajority, EqualDigests, Held, LogMatching, MonotonePeers, MonotoneReads, MonotoneRevisions, OneHistory,
    RegisterFloor, RegisterSeen, Registers, check_append, check_found, check_repeated, check_vote,
};
use crate::plan::Plan;
use quorate_consensus::Node;
use quorate_model::{ErrorCode, PeerId, StampedTime};
use quorate_state_machine::EntryInput;
use quorate_wire::quorate::peer as wire;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Clients that append to lists, and as many that use registers.
pub const CLIENTS: usize = 3;

/// What the trace says when a peer got files instead of entries.
pub const CHECKPOINT_MARK: &str = "a checkpoint reached";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Faults,
    Healing,
    Over,
}

/// The first rule that was broken, and how.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Broken {
    pub rule: String,
    pub what: String,
}

pub struct World {
    pub plan: Plan,
    disks: Mutex<Vec<Arc<Disk>>>,
    seen: Mutex<Seen>,
}

struct Seen {
    phase: Phase,
    nodes: Vec<Option<Node>>,
    /// Whether a spare has been asked to join; founders always have.
    called: Vec<bool>,
    /// Peers that have ended by themselves; true for those that were removed.
    ended: Vec<Option<bool>>,
    /// Peers whose process has died on a host that lives.
    dead: Vec<bool>,
    /// Peers whose calls are refused, whomever they call.
    refused: Vec<bool>,
    /// Last entry each peer has applied, to see when one gets a checkpoint instead of entries.
    applied: Vec<u64>,
    now_ms: u128,
    trace: String,
    broken: Option<Broken>,
    acknowledged: AcknowledgedWrites,
    /// Acknowledged writes of the clients that use registers.
    registers_written: [u64; CLIENTS],
    /// Whether the creation of everybody's instance was acknowledged.
    is_instance_there: bool,
    reads: MonotoneReads,
    registers: Registers,
    digests: EqualDigests,
    history: OneHistory,
    durable: DurableMajority,
    logs: LogMatching,
    revisions: MonotoneRevisions,
    peers: MonotonePeers,
}

impl World {
    pub fn new(plan: Plan) -> World {
        let hosts = plan.hosts();
        let seen = Seen {
            phase: Phase::Faults,
            nodes: (0..hosts).map(|_| None).collect(),
            called: (0..hosts).map(|position| position < plan.founders).collect(),
            ended: vec![None; hosts],
            dead: vec![false; hosts],
            refused: vec![false; hosts],
            applied: vec![0; hosts],
            now_ms: 0,
            trace: format!("{plan:?}\n"),
            broken: None,
            acknowledged: AcknowledgedWrites::default(),
            registers_written: [0; CLIENTS],
            is_instance_there: false,
            reads: MonotoneReads::default(),
            registers: Registers::default(),
            digests: EqualDigests::default(),
            history: OneHistory::default(),
            durable: DurableMajority::default(),
            logs: LogMatching::default(),
            revisions: MonotoneRevisions::default(),
            peers: MonotonePeers::default(),
        };
        World {
            disks: Mutex::new((0..hosts).map(|_| Arc::new(Disk::new(false))).collect()),
            plan,
            seen: Mutex::new(seen),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while the lock is held")
    }

    pub fn disk(&self, position: usize) -> Arc<Disk> {
        self.disks()[position].clone()
    }

    fn disks(&self) -> MutexGuard<'_, Vec<Arc<Disk>>> {
        self.disks.lock().expect("nothing panics while the lock is held")
    }

    /// A new disk for a peer that does not run; whoever has its address in the membership is to leave.
    pub fn empty_disk(&self, position: usize) {
        let emptied = std::mem::replace(&mut self.disks()[position], Arc::new(Disk::new(true)));
        let mut seen = self.seen();
        seen.peers.forget(position);
        seen.durable.emptied(position, emptied);
    }

    pub fn phase(&self) -> Phase {
        self.seen().phase
    }

    pub fn enter(&self, phase: Phase) {
        self.seen().phase = phase;
    }

    pub fn is_over(&self) -> bool {
        self.phase() == Phase::Over
    }

    /// Moves the clocks of everything that runs in this simulation.
    pub fn set_now(&self, elapsed: Duration) {
        self.seen().now_ms = elapsed.as_millis();
        entropy::set_now(elapsed);
    }

    pub fn note(&self, what: impl AsRef<str>) {
        self.seen().note(what.as_ref());
    }

    /// Ends the run: a rule is broken.
    pub fn broken(&self, rule: &str, what: String) {
        self.seen().hold(rule, Err(what));
    }

    pub fn first_broken(&self) -> Option<Broken> {
        self.seen().broken.clone()
    }

    pub fn take_trace(&self) -> String {
        std::mem::take(&mut self.seen().trace)
    }

    /// A peer serves from what its disk holds.
    pub fn started(&self, position: usize, node: Node) {
        let mut seen = self.seen();
        let place = format!(
            "{} runs as peer {} from entry {}",
            crate::peer::name(position),
            node.peer(),
            node.applied().index
        );
        seen.note(&place);
        seen.applied[position] = node.applied().index;
        seen.revisions.started(position);
        seen.nodes[position] = Some(node);
    }

    pub fn stopped(&self, position: usize) {
        let node = self.seen().nodes[position].take();
        drop(node);
    }

    /// A peer's process has ended by itself.
    pub fn ended(&self, position: usize, removed: bool) {
        let mut seen = self.seen();
        seen.ended[position] = Some(removed);
        seen.nodes[position] = None;
    }

    pub fn has_ended(&self, position: usize) -> bool {
        self.seen().ended[position].is_some()
    }

    pub fn was_removed(&self, position: usize) -> bool {
        self.seen().ended[position] == Some(true)
    }

    pub fn restarts(&self, position: usize) {
        let mut seen = self.seen();
        seen.ended[position] = None;
        seen.dead[position] = false;
    }

    /// The process of this peer has died: its connections to all others close.
    pub fn died(&self, position: usize, peer: PeerId) {
        let mut seen = self.seen();
        seen.dead[position] = true;
        seen.nodes.iter().flatten().for_each(|node| node.connection_closed(peer.0));
    }

    /// The connections of all others to this peer close, and those it makes are refused.
    pub fn refuse(&self, position: usize) {
        let mut seen = self.seen();
        seen.refused[position] = true;
        let peers: Vec<PeerId> = seen.nodes.iter().flatten().map(Node::peer).collect();
        if let Some(node) = &seen.nodes[position] {
            peers.iter().for_each(|peer| node.connection_closed(peer.0));
        }
    }

    pub fn refuse_nobody(&self) {
        self.seen().refused.fill(false);
    }

    /// Whether a connection of this peer to that address is refused.
    pub fn is_refused(&self, from: usize, to: &str) -> bool {
        let host = to.split(':').next().unwrap_or(to);
        let seen = self.seen();
        let is_dead = (0..seen.dead.len()).any(|peer| seen.dead[peer] && crate::peer::name(peer) == host);
        is_dead || seen.refused[from]
    }

    pub fn node(&self, position: usize) -> Option<Node> {
        self.seen().nodes[position].clone()
    }

    /// Running peers, with their positions.
    pub fn nodes(&self) -> Vec<(usize, Node)> {
        let seen = self.seen();
        let nodes = seen.nodes.iter().enumerate();
        nodes.filter_map(|(position, node)| Some((position, node.clone()?))).collect()
    }

    pub fn is_called(&self, position: usize) -> bool {
        self.seen().called[position]
    }

    pub fn call(&self, position: usize, wanted: bool) {
        self.seen().called[position] = wanted;
    }

    pub fn entries_applied(&self, position: usize, entries: &[EntryInput]) {
        let disks = self.disks().clone();
        let mut seen = self.seen();
        for entry in entries {
            let index = entry.position.index;
            if index > seen.applied[position] + 1 {
                let line = format!("{CHECKPOINT_MARK} {} before entry {index}", crate::peer::name(position));
                seen.note(&line);
            }
            seen.applied[position] = index;
            match seen.history.applied(position, entry) {
                Ok(line) => seen.note(&line),
                Err(what) => seen.hold("one history", Err(what)),
            }
            let held = seen.durable.applied(entry.position, &disks, self.plan.smallest_quorum());
            seen.hold("durable on a majority", held);
        }
    }

    pub fn vote_answered(&self, disk: &Disk, reply: &wire::VoteReply) {
        self.seen().hold("a vote is durable", check_vote(disk, reply));
    }

    pub fn append_answered(&self, disk: &Disk, reply: &wire::AppendReply) {
        self.seen().hold("an acknowledged entry is durable", check_append(disk, reply));
    }

    pub fn append_acknowledged(&self, client: usize, value: u64, own: &[u8], shared: &[u8]) {
        let mut seen = self.seen();
        seen.note(&format!("client {client} appended {value}"));
        let held = seen.acknowledged.acknowledge(client, value, own);
        seen.hold("acknowledged writes stay", held);
        let held = seen.reads.write_acknowledged(shared);
        seen.hold("reads do not go back", held);
    }

    pub fn repeated(&self, client: usize, first: &[u8], again: &[u8]) {
        self.seen()
            .hold("a repeated write gets its first answer", check_repeated(client, first, again));
    }

    pub fn read_begins(&self) -> Vec<u8> {
        self.seen().reads.begins()
    }

    pub fn read_answered(&self, client: usize, floor: &[u8], value: &[u8]) {
        let mut seen = self.seen();
        seen.note(&format!("client {client} read {} bytes", value.len()));
        let held = seen.reads.answered(client, floor, value);
        seen.hold("reads do not go back", held);
    }

    /// Everybody's instance is there, and stays.
    pub fn instance_acknowledged(&self) {
        self.seen().is_instance_there = true;
    }

    pub fn is_instance_there(&self) -> bool {
        self.seen().is_instance_there
    }

    /// A call was refused; `was_there` says whether the instance was there before it began.
    pub fn call_refused(&self, was_there: bool, refusal: ErrorCode, who: &str) {
        self.seen().hold("what was created is found", check_found(was_there, refusal, who));
    }

    /// What a linearizable read of a register that begins now comes after.
    pub fn register_begins(&self, register: &str) -> RegisterFloor {
        self.seen().registers.begins(register)
    }

    pub fn register_write_begins(&self, register: &str, value: &str) -> u64 {
        self.seen().registers.write_begins(register, value)
    }

    pub fn register_written(&self, client: usize, register: &str, value: &str, revision: u64, floor: u64, expected: Option<u64>) {
        let mut seen = self.seen();
        seen.note(&format!("register client {client} wrote {register} at {revision}"));
        seen.registers_written[client - 1] += 1;
        let held = seen.registers.written(register, value, revision, floor, expected);
        seen.hold("registers are linearizable", held);
    }

    pub fn register_refused(&self, register: &str, value: &str) {
        let mut seen = self.seen();
        let held = seen.registers.refused(register, value);
        seen.hold("a refused write has not happened", held);
    }

    /// A conditional write was refused for its condition.
    pub fn register_outdated(&self, register: &str, value: &str, expected: u64) {
        let mut seen = self.seen();
        let held = seen.registers.outdated(register, value, expected);
        seen.hold("registers are linearizable", held);
    }

    pub fn register_read(&self, register: &str, value: RegisterSeen, revision: u64, floor: RegisterFloor, linearizable: bool) {
        let mut seen = self.seen();
        seen.note(&format!("{register} was read at {revision}"));
        let held = seen.registers.read(register, value, revision, floor, linearizable);
        seen.hold("registers are linearizable", held);
    }

    /// A read that may be old is asked of one peer.
    pub fn stale_begins(&self, position: usize) -> u64 {
        self.seen().peers.begins(position)
    }

    pub fn stale_answered(&self, position: usize, revision: u64, floor: u64) {
        let mut seen = self.seen();
        let held = seen.peers.answered(position, revision, floor);
        seen.hold("a peer does not go back", held);
    }

    /// Acknowledged writes of every client.
    pub fn progress(&self) -> Vec<u64> {
        let seen = self.seen();
        let lists = (1..=CLIENTS).map(|client| seen.acknowledged.last(client));
        lists.chain(seen.registers_written).collect()
    }

    pub fn check_acknowledged(&self, client: usize, list: &[u8]) {
        let mut seen = self.seen();
        let held = seen.acknowledged.check(client, list);
        seen.hold("acknowledged writes stay", held);
    }

    /// What must hold at every step; with `all`, also what costs more to look at.
    pub fn look(&self, all: bool) {
        let disks = self.disks().clone();
        let mut seen = self.seen();
        for (position, disk) in disks.iter().enumerate() {
            let held = seen.logs.look(position, disk.log.as_ref());
            seen.hold("logs match", held);
            let Some(node) = seen.nodes[position].clone() else { continue };
            let diverged = node.check_serving().is_err_and(|error| error.code == ErrorCode::Diverged);
            if diverged {
                let text = format!("{}: {:?}", crate::peer::name(position), node.check_serving());
                seen.hold("no peer diverges", Err(text));
            }
            let applied = node.applied();
            let held = seen.revisions.look(position, applied);
            seen.hold("a peer's state goes forward", held);
            let recent = if all {
                node.core().applier.recent_digests(1_000)
            } else {
                Vec::new()
            };
            for digests in recent.into_iter().chain([applied.digests]) {
                let held = seen.digests.compare(position, digests);
                seen.hold("equal states", held);
            }
        }
    }

    /// What to read first when a run fails.
    pub fn tail(&self) -> String {
        let seen = self.seen();
        let lines: Vec<&str> = seen.trace.lines().collect();
        let mut text = lines[lines.len().saturating_sub(60)..].join("\n");
        for node in seen.nodes.iter().flatten() {
            let _ = write!(text, "\n{} serves: {:?}, {:?}", node.peer(), node.check_serving(), node.status());
        }
        text
    }
}

impl Seen {
    fn note(&mut self, what: &str) {
        let _ = writeln!(self.trace, "{:>6} {what}", self.now_ms);
    }

    /// Remembers the first rule that does not hold.
    fn hold(&mut self, rule: &str, held: Held) {
        if let Err(what) = held
            && self.broken.is_none()
        {
            self.note(&format!("BROKEN {rule}: {what}"));
            self.broken = Some(Broken {
                rule: rule.to_owned(),
                what,
            });
        }
    }
}

thread_local! {
    /// How far the wall clocks are off.
    static JUMPED_MS: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

/// Puts every wall clock of this thread's simulation so far off; nobody's timers.
pub fn jump_clocks(to_ms: i64) {
    JUMPED_MS.set(to_ms);
}

/// What peers take for the time of day.
pub fn wall_clock() -> StampedTime {
    let since = turmoil::since_epoch().unwrap_or_default().as_millis() as i64;
    StampedTime((since + JUMPED_MS.get()) as u64)
}
