//! W4: a warehouse's topology. Compute nodes are taken out of one cluster and put into another, several at once; clusters
//! come with nodes and go with those they have; the whole is read in one call.
//!
//! No command of the product moves a node in one step, so a node is for a moment in no cluster. What must hold: a node is in
//! one cluster at most, a command moves all of its nodes or none, every read is the whole state of its revision, and the
//! number of clusters that lists tell is that of the clusters there are.

use super::{Stage, Workload, in_clients, setup};
use crate::checker::fates::Fates;
use crate::checker::topology as invariants;
use crate::checker::witness::{self, Role, Rules};
use crate::client::{Answered, Client, Effect, refusal_in};
use crate::contract::Failed;
use crate::history::Op;
use crate::operation::Operation;
use crate::send;
use crate::verdict::Verdict;
use async_trait::async_trait;
use quorate_wire::doris::alter_cluster_request::Operation as Change;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::meta_service_client::MetaServiceClient;
use quorate_wire::doris::{AlterClusterRequest, AlterClusterResponse, ClusterPb, GetInstanceRequest, GetInstanceResponse, NodeInfoPb};
use quorate_wire::quorate::v1::ListInstancesRequest;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const INSTANCE: &str = "jepsen-topology";
pub const NODES: u64 = 12;
/// Clusters that are always there; others come and go.
pub const CLUSTERS: u64 = 3;
/// Nodes one command takes at most.
const MAX_MOVED: u64 = 3;

#[derive(Default)]
pub struct Topology {
    board: Arc<Board>,
}

/// Which nodes each cluster has.
type Clusters = BTreeMap<String, BTreeSet<u64>>;

/// What clients tell each other: of what each has seen by itself most is out of date when it acts upon it.
#[derive(Default)]
struct Board {
    /// Numbers clusters that come and go.
    next: AtomicU64,
    seen: Mutex<Seen>,
}

/// The topology as somebody saw it last, and the revision of that.
#[derive(Default)]
struct Seen {
    revision: u64,
    clusters: Clusters,
}

impl Board {
    fn clusters(&self) -> Clusters {
        self.seen.lock().expect("no panic while held").clusters.clone()
    }

    /// Nodes in no cluster.
    fn idle(&self) -> Vec<u64> {
        let clusters = self.clusters();
        (0..NODES)
            .filter(|node| !clusters.values().any(|nodes| nodes.contains(node)))
            .collect()
    }

    fn see(&self, revision: u64, clusters: Clusters) {
        let mut seen = self.seen.lock().expect("no panic while held");
        if revision >= seen.revision {
            *seen = Seen { revision, clusters };
        }
    }

    /// Notes a change that was acknowledged, unless what was seen has it.
    fn apply(&self, revision: u64, f: &str, cluster: &str, nodes: &[u64]) {
        let mut seen = self.seen.lock().expect("no panic while held");
        if revision <= seen.revision {
            return;
        }
        seen.revision = revision;
        match f {
            "drop-cluster" => drop(seen.clusters.remove(cluster)),
            "drop-nodes" => {
                let of = seen.clusters.entry(cluster.to_owned()).or_default();
                of.retain(|node| !nodes.contains(node));
            }
            _ => seen.clusters.entry(cluster.to_owned()).or_default().extend(nodes),
        }
    }
}

struct Mover {
    client: Client,
    board: Arc<Board>,
}

impl Mover {
    fn new(client: Client, board: &Arc<Board>) -> Mover {
        Mover {
            client,
            board: board.clone(),
        }
    }

    async fn run(mut self) {
        while self.client.turn().await {
            match self.client.random.below(100) {
                0..40 => self.read().await,
                40..50 => self.count().await,
                50..85 => self.move_nodes().await,
                85..93 => self.add_cluster().await,
                _ => self.drop_cluster().await,
            }
        }
    }

    async fn read(&mut self) {
        let mut open = self.client.begin("topology", Json::Null, Effect::Reads).await;
        let message = GetInstanceRequest {
            cloud_unique_id: Some(unique_id("reader")),
            ..GetInstanceRequest::default()
        };
        let refusal = |reply: &GetInstanceResponse| refusal_in(reply.status.as_ref());
        match self
            .client
            .call_judged(&mut open, message, &[], send!(MetaServiceClient, get_instance), refusal)
            .await
        {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match shown(&answered.body) {
                Err(what) => self.client.unexpected(open, &what),
                Ok(found) => {
                    // A list, not a map of sets: a node that is twice in a cluster must stay visible.
                    self.client.ok(open, json!(found), &answered);
                    let clusters = found.into_iter().map(|(cluster, nodes)| (cluster, BTreeSet::from_iter(nodes)));
                    self.board.see(answered.revision.unwrap_or(0), clusters.collect());
                }
            },
        }
    }

    /// How many clusters the list of instances says there are.
    async fn count(&mut self) {
        let mut open = self.client.begin("count-clusters", Json::Null, Effect::Reads).await;
        let message = ListInstancesRequest {
            prefix: INSTANCE.into(),
            ..ListInstancesRequest::default()
        };
        match self.client.call(&mut open, message, send!(MetadataClient, list_instances)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match &answered.body.instances[..] {
                [instance] => self.client.ok(open, json!(instance.clusters), &answered),
                instances => {
                    let what = format!("{} instances are listed under one name", instances.len());
                    self.client.unexpected(open, &what);
                }
            },
        }
    }

    /// Takes nodes out of a cluster and puts them into another, or puts those in that are in none.
    async fn move_nodes(&mut self) {
        let (clusters, idle) = (self.board.clusters(), self.board.idle());
        let count = 1 + self.client.random.below(MAX_MOVED) as usize;
        let names: Vec<String> = clusters.keys().cloned().collect();
        if names.is_empty() {
            return self.read().await;
        }
        let to = self.client.random.pick(&names).clone();
        if !idle.is_empty() && self.client.random.chance(50) {
            let nodes = self.client.random.choose(count, &idle);
            self.change("add-nodes", Change::AddNode, &to, &nodes).await;
            return;
        }
        let from = self.client.random.pick(&names).clone();
        let nodes: Vec<u64> = clusters[&from].iter().copied().collect();
        let nodes = self.client.random.choose(count, &nodes);
        if nodes.is_empty() {
            return self.read().await;
        }
        if self.change("drop-nodes", Change::DropNode, &from, &nodes).await {
            self.change("add-nodes", Change::AddNode, &to, &nodes).await;
        }
    }

    async fn add_cluster(&mut self) {
        if self.board.clusters().len() >= 2 * CLUSTERS as usize {
            return self.read().await;
        }
        let idle = self.board.idle();
        let nodes = self.client.random.choose(MAX_MOVED as usize, &idle);
        let name = format!("spare-{:06}", self.board.next.fetch_add(1, Ordering::Relaxed));
        self.change("add-cluster", Change::AddCluster, &name, &nodes).await;
    }

    async fn drop_cluster(&mut self) {
        let mut spare: Vec<String> = self.board.clusters().into_keys().collect();
        spare.retain(|name| name.starts_with("spare"));
        if spare.is_empty() {
            return self.read().await;
        }
        let name = self.client.random.pick(&spare).clone();
        self.change("drop-cluster", Change::DropCluster, &name, &[]).await;
    }

    /// One command; true if it was acknowledged.
    async fn change(&mut self, f: &'static str, change: Change, cluster: &str, nodes: &[u64]) -> bool {
        let mut open = self.client.begin(f, json!([cluster, nodes]), Effect::Writes).await;
        let message = request(change, cluster, nodes);
        let refusal = |reply: &AlterClusterResponse| refusal_in(reply.status.as_ref());
        let answer: Result<Answered<_>, Failed> = self
            .client
            .call_judged(&mut open, message, &[], send!(MetaServiceClient, alter_cluster), refusal)
            .await;
        match answer {
            Err(failed) => {
                self.client.failed(open, failed);
                false
            }
            Ok(answered) => {
                self.client.ok(open, json!([cluster, nodes]), &answered);
                self.board.apply(answered.revision.unwrap_or(0), f, cluster, nodes);
                true
            }
        }
    }
}

fn unique_id(who: &str) -> String {
    format!("1:{INSTANCE}:{who}")
}

fn compute_node(node: u64) -> NodeInfoPb {
    NodeInfoPb {
        cloud_unique_id: Some(unique_id(&format!("node-{node}"))),
        ip: Some(format!("10.99.0.{node}")),
        heartbeat_port: Some(9_050),
        ..NodeInfoPb::default()
    }
}

fn request(change: Change, cluster: &str, nodes: &[u64]) -> AlterClusterRequest {
    AlterClusterRequest {
        instance_id: Some(INSTANCE.to_owned()),
        op: Some(change as i32),
        cluster: Some(ClusterPb {
            cluster_id: Some(format!("id-{cluster}")),
            cluster_name: Some(cluster.to_owned()),
            r#type: Some(Type::Compute as i32),
            nodes: nodes.iter().copied().map(compute_node).collect(),
            ..ClusterPb::default()
        }),
        ..AlterClusterRequest::default()
    }
}

/// Clusters with their nodes, as they are listed.
fn shown(reply: &GetInstanceResponse) -> Result<BTreeMap<String, Vec<u64>>, String> {
    let instance = reply.instance.as_ref().ok_or("the instance is not shown")?;
    let mut clusters = BTreeMap::new();
    for cluster in &instance.clusters {
        let node = |info: &NodeInfoPb| {
            let number = info.ip().strip_prefix("10.99.0.").and_then(|number| number.parse().ok());
            number.ok_or_else(|| format!("a node at {:?} is shown", info.ip()))
        };
        let mut nodes = cluster.nodes.iter().map(node).collect::<Result<Vec<u64>, _>>()?;
        nodes.sort_unstable();
        if clusters.insert(cluster.cluster_name().to_owned(), nodes).is_some() {
            return Err(format!("cluster {} is shown twice", cluster.cluster_name()));
        }
    }
    Ok(clusters)
}

#[async_trait]
impl Workload for Topology {
    /// The clusters that stay are made by recorded operations, so that the history knows what there is.
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        setup::instance(stage, INSTANCE).await?;
        let board = self.board.clone();
        let within = stage.field.client_runtime();
        let stage = stage.clone();
        let made = within.spawn(async move {
            let mut mover = Mover::new(Client::patient(&stage, 0), &board);
            let mut all_made = true;
            for cluster in 0..CLUSTERS {
                let nodes: Vec<u64> = (0..NODES).filter(|node| node % CLUSTERS == cluster).collect();
                all_made &= mover
                    .change("add-cluster", Change::AddCluster, &format!("base-{cluster}"), &nodes)
                    .await;
            }
            all_made
        });
        match made.await? {
            true => Ok(()),
            false => anyhow::bail!("the first clusters could not be made"),
        }
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let board = self.board.clone();
        in_clients(stage, move |client| Mover::new(client, &board).run()).await
    }

    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        let board = self.board.clone();
        super::at_every_node(stage, move |client, node| {
            let board = board.clone();
            async move {
                let mut mover = Mover::new(client, &board);
                mover.read().await;
                // Through every node a write as well: a cluster comes and goes.
                let name = format!("last-{node}");
                mover.change("add-cluster", Change::AddCluster, &name, &[]).await;
                mover.change("drop-cluster", Change::DropCluster, &name, &[]).await;
                mover.count().await;
                mover.read().await;
            }
        })
        .await
    }

    fn check(&self, history: &[Op], dir: &Path) -> Vec<Verdict> {
        let fates = Fates::read(dir);
        let witness = witness::check("witness-topology", &TopologyRules, history, fates.as_ref().map_err(String::as_str));
        vec![witness, invariants::check(history)]
    }
}

/// The meaning of changes `[cluster nodes]` and of what is shown.
pub struct TopologyRules;

fn cluster_of(operation: &Operation<'_>) -> String {
    operation.input()[0].as_str().unwrap_or_default().to_owned()
}

fn nodes_of(value: &Json) -> Vec<u64> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|node| node.as_u64().unwrap_or(u64::MAX))
        .collect()
}

/// Why a change cannot be made in this state.
fn obstacle(state: &Clusters, operation: &Operation<'_>) -> Option<String> {
    let (cluster, nodes) = (cluster_of(operation), nodes_of(&operation.input()[1]));
    let found = state.get(&cluster);
    let taken = nodes.iter().find(|node| state.values().any(|others| others.contains(node)));
    match operation.f() {
        "add-cluster" if found.is_some() => Some("the cluster was there already".to_owned()),
        "add-nodes" | "drop-nodes" | "drop-cluster" if found.is_none() => Some("there was no such cluster".to_owned()),
        "add-cluster" | "add-nodes" => taken.map(|node| format!("node {node} was in a cluster")),
        "drop-nodes" => {
            let missing = nodes.iter().find(|node| !found.is_some_and(|of| of.contains(node)));
            missing.map(|node| format!("node {node} was not in the cluster"))
        }
        _ => None,
    }
}

impl Rules for TopologyRules {
    type State = Clusters;

    fn role(&self, operation: &Operation<'_>, _: Option<&Json>) -> Role {
        match operation.f() {
            "add-cluster" | "drop-cluster" | "add-nodes" | "drop-nodes" => Role::Write,
            "topology" | "count-clusters" => Role::Read,
            _ => Role::Other,
        }
    }

    fn step(&self, state: &mut Clusters, operation: &Operation<'_>, output: Option<&Json>, _: u64) -> Result<(), String> {
        match (operation.f(), output) {
            ("topology", Some(output)) => {
                let shown: BTreeMap<String, Vec<u64>> = serde_json::from_value(output.clone()).map_err(|error| error.to_string())?;
                let expected: BTreeMap<String, Vec<u64>> = state
                    .iter()
                    .map(|(name, nodes)| (name.clone(), nodes.iter().copied().collect()))
                    .collect();
                if shown != expected {
                    return Err(format!("{} was shown, it was {}", json!(shown), json!(expected)));
                }
            }
            ("count-clusters", Some(output)) if output.as_u64() != Some(state.len() as u64) => {
                return Err(format!("{output} clusters were counted, there were {}", state.len()));
            }
            ("topology" | "count-clusters", _) => {}
            _ => change(state, operation)?,
        }
        Ok(())
    }

    fn explains(&self, state: &Clusters, operation: &Operation<'_>) -> bool {
        obstacle(state, operation).is_some()
    }
}

fn change(state: &mut Clusters, operation: &Operation<'_>) -> Result<(), String> {
    if let Some(obstacle) = obstacle(state, operation) {
        return Err(obstacle);
    }
    let (cluster, nodes) = (cluster_of(operation), nodes_of(&operation.input()[1]));
    match operation.f() {
        "drop-cluster" => drop(state.remove(&cluster)),
        "drop-nodes" => {
            let of = state.entry(cluster).or_default();
            of.retain(|node| !nodes.contains(node));
        }
        _ => state.entry(cluster).or_default().extend(nodes),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::fates::by_hand::fates;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    /// Two clusters; node 1 moves from the first to the second.
    fn good() -> Story {
        let mut story = Story::default();
        let mut change = |f, value: Json, revision| {
            story.done(0, f, value.clone(), value, revision);
        };
        change("add-cluster", json!(["a", [1, 2]]), 1);
        change("add-cluster", json!(["b", [3]]), 2);
        change("drop-nodes", json!(["a", [1]]), 3);
        change("add-nodes", json!(["b", [1]]), 4);
        story.done(1, "topology", Json::Null, json!({"a": [2], "b": [1, 3]}), 4);
        story.done(1, "count-clusters", Json::Null, json!(2), 4);
        story
    }

    fn check(story: &Story) -> Verdict {
        witness::check("witness", &TopologyRules, &story.ops, Ok(&fates(&[])))
    }

    fn assert_invalid(story: &Story, rule: &str) {
        let verdict = check(story);
        assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
        assert!(verdict.what.contains(rule), "{}", verdict.what);
    }

    #[test]
    fn a_good_history_is_proved() {
        let verdict = check(&good());
        assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
    }

    #[test]
    fn a_node_in_two_clusters_is_found() {
        let mut taken = good();
        taken.done(0, "add-nodes", json!(["a", [1]]), json!(["a", [1]]), 5);
        assert_invalid(&taken, "node 1 was in a cluster");
        let mut shown = good();
        shown.done(1, "topology", Json::Null, json!({"a": [1, 2], "b": [1, 3]}), 4);
        assert_invalid(&shown, "was shown, it was");
    }

    #[test]
    fn half_a_change_and_a_wrong_count_are_found() {
        let mut half = good();
        half.done(0, "drop-nodes", json!(["b", [1, 3]]), json!(["b", [1, 3]]), 5);
        half.done(1, "topology", Json::Null, json!({"a": [2], "b": [3]}), 5);
        assert_invalid(&half, "was shown, it was");
        let mut counted = good();
        counted.done(1, "count-clusters", Json::Null, json!(3), 4);
        assert_invalid(&counted, "clusters were counted");
    }

    #[test]
    fn a_refusal_that_no_state_explains_is_found() {
        let mut story = good();
        let value = json!(["b", [1]]);
        story
            .invoke(0, "add-nodes", value.clone())
            .fail(0, "add-nodes", value, "refused: doris 1001: taken");
        assert_eq!(check(&story).valid, Validity::Valid, "node 1 is in a cluster");
        let value = json!(["b", [3]]);
        story
            .invoke(0, "drop-nodes", value.clone())
            .fail(0, "drop-nodes", value, "refused: doris 3001: not found");
        assert_invalid(&story, "which was not so in any state");
    }

    #[test]
    fn a_read_that_is_refused_is_found() {
        for (f, refusal) in [
            ("topology", "refused: doris 1003: failed to get instance"),
            ("count-clusters", "refused: not_found: nothing here"),
        ] {
            let mut story = good();
            story.invoke(1, f, Json::Null).fail(1, f, Json::Null, refusal);
            assert_invalid(&story, "which was not so in any state");
        }
    }
}
