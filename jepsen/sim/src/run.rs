//! One run: a cluster forms, faults, healing, every rule looked at throughout.

use crate::faults::{self, Faults};
use crate::invariants::AppliedOnce;
use crate::plan::Plan;
use crate::workload::{self, lists};
use crate::world::{Broken, CLIENTS, Phase, World, wall_clock};
use crate::{entropy, peer};
use quorate_consensus::Node;
use quorate_consensus::env::{Sources, replace_on_this_thread};
use quorate_state_machine::queries::attributes::get_attribute;
use quorate_wire::quorate::v1::GetAttributeRequest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use turmoil::{Builder, Sim};

/// Longest a cluster may take to form and to answer every client.
const FORMING_FOR: Duration = Duration::from_secs(20);
/// Longest the healed cluster may take to take a write of every client and agree.
const HEALING_FOR: Duration = Duration::from_secs(40);
/// Longest five peers that only a bridge connects may take to serve again: six times the longest election timeout, and what a
/// leader that has lost its quorum takes to notice.
const BRIDGE_FOR: Duration = Duration::from_millis(6 * 320 + 2 * 1_280);
/// All digests remembered are compared this often; the newest ones at every step.
const STEPS_PER_COMPARISON: u64 = 100;

/// What a run came to.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Report {
    pub seed: u64,
    pub broken: Option<Broken>,
    pub simulated_ms: u64,
    /// Acknowledged writes.
    pub writes: u64,
    /// Peers that got a checkpoint instead of entries.
    pub checkpoints: u64,
    /// From healing until every client was answered.
    pub recovered_ms: u64,
    pub faults: BTreeMap<String, u64>,
    #[serde(skip)]
    pub trace: String,
}

/// A run under way.
struct Run {
    world: Arc<World>,
    sim: Sim<'static>,
    faults: Faults,
    steps: u64,
}

/// Runs the seed this thread was given.
pub fn run(seed: u64) -> Report {
    replace_on_this_thread(Sources {
        wall_clock,
        random_u64: entropy::next,
    });
    let world = Arc::new(World::new(Plan::draw()));
    let faults = Faults::new(&world);
    let mut run = Run {
        sim: build(&world),
        world,
        faults,
        steps: 0,
    };
    let recovered_ms = run.all_phases().unwrap_or(0);
    let (world, faults) = (run.world, run.faults);
    let simulated_ms = run.sim.elapsed().as_millis() as u64;
    let writes = world.progress().iter().sum();
    world.note(format!(
        "seed {seed} ends after {} steps: {writes} writes, {:?}",
        run.steps, faults.counts
    ));
    // Nodes are dropped with the simulation, not after it.
    (0..world.plan.hosts()).for_each(|position| world.stopped(position));
    drop(run.sim);
    let trace = world.take_trace();
    Report {
        seed,
        broken: world.first_broken(),
        simulated_ms,
        writes,
        checkpoints: trace.matches(crate::world::CHECKPOINT_MARK).count() as u64,
        recovered_ms,
        faults: faults.counts,
        trace,
    }
}

fn build(world: &Arc<World>) -> Sim<'static> {
    let mut builder = Builder::new();
    builder
        .rng_seed(entropy::next())
        .epoch(UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .simulation_duration(Duration::from_secs(600))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(world.plan.max_latency)
        .tcp_capacity(1 << 14)
        .enable_random_order();
    let mut sim = builder.build();
    for position in 0..world.plan.hosts() {
        let world = world.clone();
        sim.host(peer::name(position), move || peer::run(world.clone(), position));
    }
    for number in 1..=CLIENTS {
        sim.client(format!("client{number}"), lists::run(world.clone(), number));
        sim.client(format!("user{number}"), workload::registers::run(world.clone(), number));
    }
    sim.client("operator", workload::operator::run(world.clone()));
    sim
}

impl Run {
    /// `None` as soon as a rule is broken; else how long recovery took.
    fn all_phases(&mut self) -> Option<u64> {
        let world = self.world.clone();
        world.note("first phase: a cluster forms");
        self.until("a cluster forms and answers", FORMING_FOR, |world| {
            world.progress().iter().all(|writes| *writes > 0)
        })?;
        world.note("second phase: faults; only safety is asked for");
        let end = self.sim.elapsed() + world.plan.faults_for;
        while self.sim.elapsed() < end {
            self.faults.step(&mut self.sim, &world);
            self.step()?;
        }
        world.note("third phase: everything heals; all must converge");
        self.faults.heal(&mut self.sim, &world);
        world.enter(Phase::Healing);
        let (healed, before) = (self.sim.elapsed(), world.progress());
        self.until("every client is answered after healing", HEALING_FOR, |world| {
            world.progress().iter().zip(&before).all(|(now, before)| now > before)
        })?;
        let recovered = self.sim.elapsed() - healed;
        self.until("everybody is a member again", HEALING_FOR, is_complete)?;
        if world.plan.founders == 5 && world.plan.spares == 0 {
            self.across_a_bridge()?;
        }
        world.enter(Phase::Over);
        self.until("the peers agree in the end", HEALING_FOR, agree)?;
        world.look(true);
        check_lists(&world);
        world.first_broken().is_none().then_some(recovered.as_millis() as u64)
    }

    /// The leader is left with one peer, which the other half can reach too: that half and the bridge are a majority and must
    /// serve, though the bridge still hears the old leader.
    fn across_a_bridge(&mut self) -> Option<()> {
        let world = self.world.clone();
        let leader = world
            .nodes()
            .iter()
            .find(|(_, node)| node.is_leader())
            .map_or(0, |(position, _)| *position);
        let (middle, mate) = ((leader + 1) % world.plan.hosts(), (leader + 4) % world.plan.hosts());
        self.faults.crash(&mut self.sim, &world, mate);
        faults::bridge(&mut self.sim, &world, middle);
        // What is under way may still be answered; what comes after it must be too.
        let settle = self.sim.elapsed() + Duration::from_millis(500);
        while self.sim.elapsed() < settle {
            self.step()?;
        }
        let before: u64 = world.progress().iter().sum();
        self.until("a majority connected by a bridge serves", BRIDGE_FOR, |world| {
            world.progress().iter().sum::<u64>() > before + CLIENTS as u64
        })?;
        self.faults.heal(&mut self.sim, &world);
        Some(())
    }

    /// `None` when a rule is broken.
    fn step(&mut self) -> Option<()> {
        if let Err(error) = self.sim.step() {
            self.world.broken("nothing panics", error.to_string());
        }
        self.steps += 1;
        if self.world.phase() != Phase::Faults {
            // What was decided before may still make a peer end: whoever runs it starts it again.
            self.faults.restart_ended(&mut self.sim, &self.world);
        }
        self.world.set_now(self.sim.elapsed());
        self.world.look(self.steps.is_multiple_of(STEPS_PER_COMPARISON));
        self.world.first_broken().is_none().then_some(())
    }

    /// Goes on until it is so; not being so in time breaks the rule.
    fn until(&mut self, rule: &str, within: Duration, reached: impl Fn(&World) -> bool) -> Option<()> {
        let end = self.sim.elapsed() + within;
        while !reached(&self.world) {
            if self.sim.elapsed() > end {
                self.world.broken(rule, format!("not within {within:?}\n{}", self.world.tail()));
            }
            self.step()?;
        }
        Some(())
    }
}

/// Whether every peer that is wanted runs, serves and votes, and the membership has nobody else.
pub fn is_complete(world: &World) -> bool {
    let nodes = world.nodes();
    let Some((_, leader)) = nodes.iter().find(|(_, node)| node.is_leader()) else {
        return false;
    };
    let wanted = (0..world.plan.hosts()).filter(|position| world.is_called(*position)).count();
    let votes = |node: &Node| leader.core().is_voter(node.peer().0) && node.check_serving().is_ok();
    nodes.len() == wanted && leader.core().members().len() == wanted && nodes.iter().all(|(_, node)| votes(node))
}

fn agree(world: &World) -> bool {
    let digests: Vec<_> = world.nodes().iter().map(|(_, node)| node.applied().digests).collect();
    is_complete(world) && digests.windows(2).all(|pair| pair[0] == pair[1])
}

/// What each peer holds in the end.
fn check_lists(world: &World) {
    for (_, node) in world.nodes() {
        let mut once = AppliedOnce::default();
        let mut check = || {
            for client in 1..=CLIENTS {
                let own = list(&node, &lists::own_list(client))?;
                world.check_acknowledged(client, &own);
                once.check_own(client, &own)?;
            }
            once.check_shared(&list(&node, lists::SHARED)?)
        };
        if let Err(what) = check() {
            world.broken("applied once", what);
        }
    }
}

fn list(node: &Node, name: &str) -> Result<Vec<u8>, String> {
    let request = GetAttributeRequest {
        instance_id: workload::INSTANCE.into(),
        name: name.into(),
        ..Default::default()
    };
    let reply = node.read(|reader| get_attribute(reader, &request));
    let reply = reply.map_err(|error| format!("{name} cannot be read: {error}"))?;
    Ok(reply.attribute.map(|attribute| attribute.value.to_vec()).unwrap_or_default())
}
