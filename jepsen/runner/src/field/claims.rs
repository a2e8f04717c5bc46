//! Which fault has which node, and which nodes ended by themselves.

use super::Field;
use super::node::describe;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Lines of a node's log that are kept of its end.
const LAST_LINES: usize = 15;

/// A node that ended by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exit {
    pub node: String,
    pub how: String,
    /// The fault that had the node and says that it may end.
    pub allowed_by: Option<String>,
    pub last_said: String,
}

/// Nodes in the hands of faults.
#[derive(Default)]
pub(super) struct Claims(Mutex<BTreeMap<usize, Claim>>);

#[derive(Clone)]
struct Claim {
    fault: String,
    may_end: bool,
}

impl Claims {
    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Claim>> {
        self.0.lock().expect("no user of the claims panics")
    }
}

impl Field {
    /// Takes those of `wanted` that no fault has; which these are. `may_end` says that they may end by themselves.
    pub fn claim(&self, fault: &str, wanted: &[usize], may_end: bool) -> Vec<usize> {
        // Ends that nobody has seen yet are nobody's but the node's.
        let _ = self.look_for_exits();
        let mut held = self.claims.held();
        let free: Vec<usize> = wanted.iter().copied().filter(|node| !held.contains_key(node)).collect();
        for node in &free {
            let fault = fault.to_owned();
            held.insert(*node, Claim { fault, may_end });
        }
        free
    }

    /// Takes all of `wanted` or none.
    pub fn claim_all(&self, fault: &str, wanted: &[usize], may_end: bool) -> bool {
        let claimed = self.claim(fault, wanted, may_end);
        let all = claimed.len() == wanted.len();
        if !all {
            self.release(&claimed);
        }
        all
    }

    pub fn release(&self, nodes: &[usize]) {
        // Ends that nobody has seen yet belong to the fault that lets go.
        let _ = self.look_for_exits();
        let mut held = self.claims.held();
        for node in nodes {
            held.remove(node);
        }
    }

    /// Nodes that no fault has.
    pub fn unclaimed(&self) -> Vec<usize> {
        let held = self.claims.held();
        (0..self.size()).filter(|node| !held.contains_key(node)).collect()
    }

    /// Notes nodes and workers that ended by themselves.
    pub fn look_for_exits(&self) -> anyhow::Result<()> {
        for position in 0..self.total() {
            let node = self.node(position);
            let Some(status) = node.ended()? else { continue };
            let claim = self.claims.held().get(&position).cloned();
            let exit = Exit {
                node: node.name.clone(),
                how: describe(status),
                allowed_by: claim.filter(|claim| claim.may_end).map(|claim| claim.fault),
                last_said: node.log_tail(LAST_LINES),
            };
            self.exits.lock().expect("no user of the exits panics").push(exit);
        }
        for which in 0..self.workers() {
            let Some(status) = self.worker_ended(which)? else { continue };
            let exit = Exit {
                node: format!("worker-{}", which + 1),
                how: describe(status),
                allowed_by: None,
                last_said: self.worker_log(which).lines().last().unwrap_or_default().to_owned(),
            };
            self.exits.lock().expect("no user of the exits panics").push(exit);
        }
        Ok(())
    }

    /// All nodes that ended by themselves so far.
    pub fn exits(&self) -> Vec<Exit> {
        self.exits.lock().expect("no user of the exits panics").clone()
    }
}
