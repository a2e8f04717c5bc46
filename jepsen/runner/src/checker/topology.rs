//! Invariants of a topology, by the values of each read alone: a node is in one cluster at most and once, there are no nodes
//! and clusters that nobody added, and a cluster that stays is always there. In the end, a node that is in no cluster was
//! taken out by some operation and put into none since.

use crate::history::{Kind, Op, Phase};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use crate::workload::topology::{CLUSTERS, NODES};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

const NAME: &str = "topology-invariants";

type Broken = (u64, String);

pub fn check(history: &[Op]) -> Verdict {
    let all = operations(history);
    let reads: Vec<&Operation<'_>> = all
        .iter()
        .filter(|operation| operation.f() == "topology" && operation.is_ok())
        .collect();
    let Some(last) = reads.iter().rfind(|read| read.phase() == Phase::Final) else {
        return Verdict::unknown(NAME, "the topology was not read at the end");
    };
    // When each cluster began to be added: absent, it must not be shown.
    let mut added: HashMap<&str, u64> = HashMap::new();
    for operation in all
        .iter()
        .filter(|operation| operation.f() == "add-cluster" && operation.kind() != Kind::Fail)
    {
        added
            .entry(operation.input()[0].as_str().unwrap_or_default())
            .or_insert(operation.from());
    }
    for read in &reads {
        if let Err((index, what)) = check_read(read, &added) {
            return Verdict::invalid(NAME, Some(index), what);
        }
    }
    if let Err((index, what)) = check_idle(last, &all) {
        return Verdict::invalid(NAME, Some(index), what);
    }
    let what = format!("{} reads show each of {NODES} nodes in one cluster at most", reads.len());
    Verdict::valid(NAME, what).with(json!({"reads": reads.len()}))
}

fn shown(read: &Operation<'_>) -> BTreeMap<String, Vec<u64>> {
    read.output()
        .and_then(|output| serde_json::from_value(output.clone()).ok())
        .unwrap_or_default()
}

fn check_read(read: &Operation<'_>, added: &HashMap<&str, u64>) -> Result<(), Broken> {
    let broken = |what: String| Err((read.from(), format!("{}: {what}", read.name())));
    let shown = shown(read);
    let mut homes: HashMap<u64, &str> = HashMap::new();
    for (cluster, nodes) in &shown {
        if added.get(cluster.as_str()).is_none_or(|added| *added > read.to()) {
            return broken(format!("nobody has added cluster {cluster}"));
        }
        for node in nodes {
            if *node >= NODES {
                return broken(format!("nobody has added node {node}"));
            }
            if let Some(other) = homes.insert(*node, cluster) {
                return broken(format!("node {node} is in {other} and in {cluster}"));
            }
        }
    }
    match (0..CLUSTERS)
        .map(|cluster| format!("base-{cluster}"))
        .find(|cluster| !shown.contains_key(cluster))
    {
        Some(cluster) => broken(format!("cluster {cluster} is gone, and nobody drops it")),
        None => Ok(()),
    }
}

/// Every node that is in no cluster was dropped, alone or with its cluster, and no acknowledged operation that began after
/// all of these had ended has added it.
fn check_idle(last: &Operation<'_>, all: &[Operation<'_>]) -> Result<(), Broken> {
    let homes: BTreeSet<u64> = shown(last).into_values().flatten().collect();
    let names = |operation: &Operation<'_>, node: u64| operation.input()[1].as_array().is_some_and(|nodes| nodes.contains(&json!(node)));
    let before = |operation: &&Operation<'_>| operation.from() < last.to() && operation.kind() != Kind::Fail;
    for node in (0..NODES).filter(|node| !homes.contains(node)) {
        let adds = |operation: &&Operation<'_>| matches!(operation.f(), "add-nodes" | "add-cluster") && names(operation, node);
        let adding = all.iter().filter(before).filter(adds);
        let carriers: HashSet<&str> = adding.map(|operation| operation.input()[0].as_str().unwrap_or_default()).collect();
        let (mut gone, mut back) = (0, None);
        for operation in all.iter().filter(before) {
            match operation.f() {
                "add-nodes" | "add-cluster" if names(operation, node) => {
                    back = back.max(operation.is_ok().then_some(operation.from()));
                }
                "drop-nodes" if names(operation, node) => gone = gone.max(operation.to()),
                "drop-cluster" if operation.input()[0].as_str().is_some_and(|cluster| carriers.contains(cluster)) => {
                    gone = gone.max(operation.to())
                }
                _ => {}
            }
        }
        if back.is_some_and(|back| back > gone) {
            let what = format!("{}: node {node} is lost: it was added and taken out by nobody since", last.name());
            return Err((last.from(), what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;
    use serde_json::Value as Json;

    fn change(story: &mut Story, f: &str, cluster: &str, nodes: &[u64]) {
        story.done(0, f, json!([cluster, nodes]), json!([cluster, nodes]), 1);
    }

    fn read(story: &mut Story, clusters: Json) {
        story.done(1, "topology", Json::Null, clusters, 1);
    }

    fn good() -> Story {
        let mut story = Story::default();
        for cluster in 0..CLUSTERS {
            let nodes: Vec<u64> = (0..NODES).filter(|node| node % CLUSTERS == cluster).collect();
            change(&mut story, "add-cluster", &format!("base-{cluster}"), &nodes);
        }
        change(&mut story, "drop-nodes", "base-0", &[0, 3]);
        change(&mut story, "add-nodes", "base-1", &[3]);
        story.enter(Phase::Final);
        story
    }

    fn end(base_1: &[u64]) -> Json {
        json!({"base-0": [6, 9], "base-1": base_1, "base-2": [2, 5, 8, 11]})
    }

    fn assert_invalid(story: &Story, rule: &str) {
        let verdict = check(&story.ops);
        assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
        assert!(verdict.what.contains(rule), "{}", verdict.what);
    }

    #[test]
    fn a_good_history_passes_and_an_unread_one_proves_nothing() {
        let mut story = good();
        assert_eq!(check(&story.ops).valid, Validity::Unknown);
        read(&mut story, end(&[1, 3, 4, 7, 10]));
        let verdict = check(&story.ops);
        assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
    }

    #[test]
    fn a_node_in_two_clusters_is_found() {
        let mut story = good();
        read(&mut story, json!({"base-0": [3, 6, 9], "base-1": [1, 3], "base-2": [2]}));
        assert_invalid(&story, "node 3 is in base-0 and in base-1");
    }

    #[test]
    fn a_node_that_is_lost_on_its_way_is_found() {
        let mut story = good();
        read(&mut story, end(&[1, 4, 7, 10]));
        assert_invalid(&story, "node 3 is lost");
    }

    #[test]
    fn what_nobody_added_and_what_nobody_dropped_is_found() {
        let mut strange = good();
        read(&mut strange, json!({"base-0": [], "base-1": [], "base-2": [], "spare-7": []}));
        assert_invalid(&strange, "nobody has added cluster spare-7");
        let mut gone = good();
        read(&mut gone, json!({"base-0": [], "base-1": []}));
        assert_invalid(&gone, "base-2 is gone");
    }
}
