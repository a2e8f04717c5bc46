//! Which nodes a fault is done to.

use super::Outcome;
use crate::field::Field;
use crate::seeded::Random;

/// Takes the nodes a mode names, as far as no other fault has them: `one`, `leader`, `follower`, `minority`,
/// `majority`, `all`. The last two are taken whole or not at all.
pub async fn take(field: &Field, fault: &str, mode: &str, may_end: bool, random: &mut Random) -> Result<Vec<usize>, Outcome> {
    let free = field.unclaimed();
    let running: Vec<usize> = free.into_iter().filter(|node| field.node(*node).is_running()).collect();
    let wanted = match mode {
        "all" => running,
        "minority" => random.choose((field.size() - 1) / 2, &running),
        "majority" => random.choose(majority(field.size()), &running),
        "leader" => field.leader().await.into_iter().collect(),
        "follower" => {
            let leader = field.leader().await.ok_or_else(|| Outcome::skipped("nobody leads"))?;
            let others: Vec<usize> = running.into_iter().filter(|node| *node != leader).collect();
            random.choose(1, &others)
        }
        _ => random.choose(1, &running),
    };
    let least = least(mode, field.size());
    if wanted.len() < least {
        return Err(Outcome::skipped("another fault has some of them, or they do not run"));
    }
    let taken = field.claim(fault, &wanted, may_end);
    if taken.len() < least {
        field.release(&taken);
        return Err(Outcome::skipped(format!("another fault took some of the {mode} meanwhile")));
    }
    match (wanted.is_empty(), taken.is_empty()) {
        (true, _) => Err(Outcome::skipped(format!("there is no {mode} that another fault does not have"))),
        (false, true) => Err(Outcome::skipped(format!("another fault has the {mode}"))),
        (false, false) => Ok(taken),
    }
}

/// The smallest majority of so many.
fn majority(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// How many nodes a mode must have to be what it is called.
fn least(mode: &str, nodes: usize) -> usize {
    match mode {
        "all" => nodes,
        "majority" => majority(nodes),
        _ => 0,
    }
}

/// As [`take`] of one node, when all that other faults leave alone are a majority without it: for faults that need the others
/// to go on. Those that are gone from the cluster count as left out.
pub async fn take_of_minority(field: &Field, fault: &str, mode: &str, random: &mut Random) -> Result<usize, Outcome> {
    let node = take(field, fault, mode, true, random).await?[0];
    let left = field
        .unclaimed()
        .into_iter()
        .filter(|other| field.node(*other).is_running())
        .count();
    if left <= field.size() / 2 {
        field.release(&[node]);
        return Err(Outcome::skipped("other faults leave no majority that goes on without it"));
    }
    Ok(node)
}

pub fn names(field: &Field, nodes: &[usize]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| field.name(*node)).collect();
    names.join(", ")
}

/// Starts those that do not run; which these are.
pub async fn start_all(field: &Field, nodes: &[usize]) -> anyhow::Result<Vec<usize>> {
    field.look_for_exits()?;
    let ended: Vec<usize> = nodes.iter().copied().filter(|node| !field.node(*node).is_running()).collect();
    for node in &ended {
        field.start(*node).await?;
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_leaves_somebody_and_nobody_who_could_go_on() {
        for nodes in [3, 5, 7] {
            let left = nodes - majority(nodes);
            assert!(left > 0 && left < majority(nodes), "{left} of {nodes} are left");
            assert_eq!((least("majority", nodes), least("all", nodes)), (majority(nodes), nodes));
        }
        assert_eq!(least("minority", 5), 0, "fewer of a minority are one, too");
    }
}
