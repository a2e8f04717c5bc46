//! One run: faults, then healing, with every invariant looked at throughout.

use crate::faults::Faults;
use crate::invariants::{AcknowledgedWrites, AppliedOnce, EqualDigests, MonotoneReads, OneHistory};
use crate::peer::{self, Disk, PEERS};
use crate::{entropy, workload};
use quorate_consensus::Node;
use quorate_consensus::env::{Sources, replace_on_this_thread};
use quorate_model::StampedTime;
use quorate_state_machine::EntryInput;
use quorate_state_machine::queries::attributes::get_attribute;
use quorate_wire::quorate::v1::GetAttributeRequest;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};
use turmoil::{Builder, Sim};

const CLIENTS: usize = 3;
const FAULTS_FOR: Duration = Duration::from_secs(15);
/// Longest the healed cluster may take to take a write of every client and agree.
const HEALING_FOR: Duration = Duration::from_secs(20);
const OPERATOR: &str = "operator";
/// What the trace says when a peer got files instead of entries.
pub const CHECKPOINT_MARK: &str = "a checkpoint reached";
/// All digests remembered are compared this often; the newest ones at every step.
const STEPS_PER_COMPARISON: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Faults,
    Healing,
    Over,
}

/// What the parts of a run share: disks, running peers, what was observed.
pub struct World {
    pub disks: Vec<Disk>,
    seen: Mutex<Seen>,
}

struct Seen {
    phase: Phase,
    nodes: [Option<Node>; PEERS],
    /// Last entry each peer has applied, to see when one gets a checkpoint instead of entries.
    applied: [u64; PEERS],
    now_ms: u128,
    trace: String,
    acknowledged: AcknowledgedWrites,
    reads: MonotoneReads,
    digests: EqualDigests,
    history: OneHistory,
}

impl World {
    fn new() -> World {
        let seen = Seen {
            phase: Phase::Faults,
            nodes: [const { None }; PEERS],
            applied: [0; PEERS],
            now_ms: 0,
            trace: String::new(),
            acknowledged: AcknowledgedWrites::default(),
            reads: MonotoneReads::default(),
            digests: EqualDigests::default(),
            history: OneHistory::default(),
        };
        World {
            disks: (0..PEERS).map(|_| Disk::new()).collect(),
            seen: Mutex::new(seen),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no invariant was broken")
    }

    pub fn is_over(&self) -> bool {
        self.seen().phase == Phase::Over
    }

    pub fn faults_are_on(&self) -> bool {
        self.seen().phase == Phase::Faults
    }

    pub fn note(&self, what: String) {
        self.seen().note(what);
    }

    pub fn started(&self, position: usize, node: Node) {
        let mut seen = self.seen();
        seen.note(format!("{} runs from entry {}", peer::name(position), node.applied().index));
        seen.applied[position] = node.applied().index;
        seen.nodes[position] = Some(node);
    }

    pub fn crashed(&self, position: usize) {
        let node = self.seen().nodes[position].take();
        drop(node);
    }

    pub fn entries_applied(&self, position: usize, entries: &[EntryInput]) {
        let mut seen = self.seen();
        for entry in entries {
            let index = entry.position.index;
            if index > seen.applied[position] + 1 {
                seen.note(format!("{CHECKPOINT_MARK} {} before entry {index}", peer::name(position)));
            }
            seen.applied[position] = index;
            let line = seen.history.applied(position, entry);
            seen.note(line);
        }
    }

    pub fn append_acknowledged(&self, client: usize, value: u64, own: &[u8], shared: &[u8]) {
        let mut seen = self.seen();
        seen.note(format!("client {client} appended {value}"));
        seen.acknowledged.acknowledge(client, value, own);
        seen.reads.write_acknowledged(shared);
    }

    pub fn read_begins(&self) -> Vec<u8> {
        self.seen().reads.begins()
    }

    pub fn read_answered(&self, client: usize, floor: &[u8], value: &[u8]) {
        let mut seen = self.seen();
        seen.note(format!("client {client} read {} bytes", value.len()));
        seen.reads.answered(client, floor, value);
    }
}

impl Seen {
    fn note(&mut self, what: String) {
        let _ = writeln!(self.trace, "{:>6} {what}", self.now_ms);
    }
}

pub fn client_names() -> Vec<String> {
    (1..=CLIENTS)
        .map(|number| format!("client{number}"))
        .chain([OPERATOR.to_owned()])
        .collect()
}

fn simulated_clock() -> StampedTime {
    StampedTime(turmoil::since_epoch().unwrap_or_default().as_millis() as u64)
}

fn build(world: &Arc<World>) -> Sim<'static> {
    let mut builder = Builder::new();
    builder
        .rng_seed(entropy::next())
        .epoch(UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .simulation_duration(Duration::from_secs(600))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(8))
        .repair_rate(0.05)
        .tcp_capacity(1 << 14)
        .enable_random_order();
    let mut sim = builder.build();
    for position in 0..PEERS {
        let world = world.clone();
        sim.host(peer::name(position), move || peer::run(world.clone(), position));
    }
    for number in 1..=CLIENTS {
        sim.client(format!("client{number}"), workload::run(world.clone(), number));
    }
    sim.client(OPERATOR, workload::run_operator(world.clone()));
    sim
}

/// Runs the seed this thread was given; panics where an invariant is broken, else returns what happened.
pub fn run(seed: u64) -> String {
    replace_on_this_thread(Sources {
        wall_clock: simulated_clock,
        random_u64: entropy::next,
    });
    let world = Arc::new(World::new());
    let mut sim = build(&world);
    let mut faults = Faults::new();
    let mut steps = 0u64;
    let mut step = |sim: &mut Sim<'_>| {
        sim.step().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        steps += 1;
        world.seen().now_ms = sim.elapsed().as_millis();
        compare_digests(&world, steps.is_multiple_of(STEPS_PER_COMPARISON));
    };

    world.note("first phase: a cluster forms".to_owned());
    while !progressed(&world, &[0; CLIENTS]) {
        assert!(
            sim.elapsed() < HEALING_FOR,
            "seed {seed}: no client was ever answered\n{}",
            world.seen().trace
        );
        step(&mut sim);
    }
    world.note("second phase: faults; only safety is asked for".to_owned());
    let end = sim.elapsed() + FAULTS_FOR;
    while sim.elapsed() < end {
        faults.step(&mut sim, &world);
        step(&mut sim);
    }
    world.note("third phase: everything heals; all must converge".to_owned());
    faults.heal(&mut sim, &world);
    world.seen().phase = Phase::Healing;
    let (before, end) = (acknowledged(&world), sim.elapsed() + HEALING_FOR);
    while !progressed(&world, &before) {
        assert!(
            sim.elapsed() < end,
            "seed {seed}: not every client is answered after healing\n{}",
            tail(&world)
        );
        step(&mut sim);
    }
    world.seen().phase = Phase::Over;
    while !agree(&world) {
        assert!(
            sim.elapsed() < end,
            "seed {seed}: the peers do not agree after healing\n{}",
            tail(&world)
        );
        step(&mut sim);
    }
    compare_digests(&world, true);
    check_lists(&world);
    let mut trace = std::mem::take(&mut world.seen().trace);
    // Nodes are dropped with the simulation, not after it.
    (0..PEERS).for_each(|position| world.crashed(position));
    drop(sim);
    let _ = writeln!(trace, "seed {seed} ends after {steps} steps");
    trace
}

/// What to read first when a run fails.
fn tail(world: &World) -> String {
    let seen = world.seen();
    let trace = &seen.trace;
    let lines: Vec<&str> = trace.lines().collect();
    let mut text = lines[lines.len().saturating_sub(60)..].join("\n");
    for node in seen.nodes.iter().flatten() {
        let _ = write!(text, "\n{} serves: {:?}, {:?}", node.peer(), node.check_serving(), node.status());
    }
    text
}

fn acknowledged(world: &World) -> [u64; CLIENTS] {
    let seen = world.seen();
    std::array::from_fn(|client| seen.acknowledged.last(client + 1))
}

/// Whether every client got a further write through.
fn progressed(world: &World, before: &[u64; CLIENTS]) -> bool {
    acknowledged(world).iter().zip(before).all(|(now, before)| now > before)
}

fn agree(world: &World) -> bool {
    let seen = world.seen();
    let digests: Vec<_> = seen.nodes.iter().flatten().map(|node| node.applied().digests).collect();
    digests.len() == PEERS && digests.windows(2).all(|pair| pair[0] == pair[1])
}

fn compare_digests(world: &World, all: bool) {
    let mut seen = world.seen();
    let seen = &mut *seen;
    for (position, node) in seen
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(position, node)| Some((position, node.as_ref()?)))
    {
        assert!(
            !node
                .check_serving()
                .is_err_and(|error| error.code == quorate_model::ErrorCode::Diverged),
            "{} diverged",
            peer::name(position)
        );
        seen.digests.compare(position, node.applied().digests);
        if all {
            node.core()
                .applier
                .recent_digests(1_000)
                .into_iter()
                .for_each(|digests| seen.digests.compare(position, digests));
        }
    }
}

fn check_lists(world: &World) {
    let seen = world.seen();
    for node in seen.nodes.iter().flatten() {
        let list = |name: &str| {
            let request = GetAttributeRequest {
                instance_id: workload::INSTANCE.into(),
                name: name.into(),
                ..Default::default()
            };
            let reply = node.read(|reader| get_attribute(reader, &request)).expect("readable");
            reply.attribute.map(|attribute| attribute.value.to_vec()).unwrap_or_default()
        };
        let mut once = AppliedOnce::default();
        for client in 1..=CLIENTS {
            let own = list(&workload::own_list(client));
            seen.acknowledged.check(client, &own);
            once.check_own(client, &own);
        }
        once.check_shared(&list(workload::SHARED));
    }
}
