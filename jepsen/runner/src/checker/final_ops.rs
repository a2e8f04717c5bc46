//! The last phase: everything has been healed, so every operation succeeds, at every node.

use super::Asked;
use crate::history::{Op, Phase};
use crate::operation::operations;
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::BTreeMap;

const NAME: &str = "final-operations";

pub fn check(history: &[Op], asked: &Asked) -> Verdict {
    let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
    for operation in operations(history).iter().filter(|operation| operation.phase() == Phase::Final) {
        if !operation.is_ok() {
            let error = operation.error().unwrap_or("no answer");
            let node = operation.node().unwrap_or("some node");
            return Verdict::invalid(
                NAME,
                Some(operation.from()),
                format!("{} at {node}, after everything was healed: {error}", operation.name()),
            );
        }
        *by_node.entry(operation.node().unwrap_or_default().to_owned()).or_default() += 1;
    }
    if by_node.len() < asked.nodes {
        return Verdict::unknown(NAME, format!("{} nodes of {} were asked in the end", by_node.len(), asked.nodes));
    }
    let count: usize = by_node.values().sum();
    Verdict::valid(NAME, format!("{count} operations succeeded, at each of {} nodes", by_node.len())).with(json!(by_node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    fn verdict(nodes: &[&str], fails: bool) -> Verdict {
        let mut story = Story::default();
        story
            .invoke(0, "read", json!(1))
            .fail(0, "read", json!(1), "timeout")
            .enter(Phase::Final);
        for node in nodes {
            story.done(0, "read", json!(1), json!(2), 3).at(node);
        }
        if fails {
            story.invoke(0, "read", json!(1)).fail(0, "read", json!(1), "timeout");
        }
        let asked = Asked {
            nodes: 2,
            seconds: 1,
            rate: 1,
            ..Asked::by_hand(&[])
        };
        check(&story.ops, &asked)
    }

    #[test]
    fn every_node_answers_everything_in_the_end() {
        assert_eq!(verdict(&["n1", "n2"], false).valid, Validity::Valid);
        assert_eq!(verdict(&["n1", "n2"], true).valid, Validity::Invalid);
        assert_eq!(verdict(&["n1", "n1"], false).valid, Validity::Unknown);
    }
}
