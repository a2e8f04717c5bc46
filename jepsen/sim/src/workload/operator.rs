//! Somebody who moves leadership about, and has peers join and leave.

use super::lists::Outcome;
use crate::entropy::Dice;
use crate::network::{self, Kind};
use crate::peer::address;
use crate::world::{Phase, World};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// What the operator waits for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Fewest members the operator leaves.
const FEWEST_MEMBERS: usize = 3;

/// Works until the run is over.
pub async fn run(world: Arc<World>) -> turmoil::Result {
    let mut dice = Dice::new();
    while !world.is_over() {
        tokio::time::sleep(Duration::from_millis(500 + dice.roll(1_500))).await;
        if world.phase() != Phase::Faults {
            continue;
        }
        let asked = dice.roll(world.plan.hosts() as u64) as usize;
        match dice.roll(4) {
            0 => call_spare(&world),
            1 if world.plan.spares > 0 => remove_somebody(&world, &mut dice, asked).await,
            _ => {
                let moved = network::ask(&address(asked), Kind::ClientMoveLeader, &[], PATIENCE).await;
                if let Some(Outcome { error: 0, body }) = moved.ok().and_then(|answer| Outcome::decode(answer).ok()) {
                    world.note(format!("leadership was moved to {body:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Has a spare peer join, if there is one that has not.
fn call_spare(world: &World) {
    if let Some(spare) = (world.plan.founders..world.plan.hosts()).find(|spare| !world.is_called(*spare)) {
        world.note(format!("{} is to join", crate::peer::name(spare)));
        world.call(spare, true);
    }
}

/// Asks a peer to remove another one, which only a leader does, and only if enough are left.
async fn remove_somebody(world: &World, dice: &mut Dice, asked: usize) {
    let Some(node) = world.node(asked).filter(|node| node.is_leader()) else {
        return;
    };
    let members = node.core().members();
    let victims: Vec<u64> = members
        .iter()
        .map(|(peer, _)| *peer)
        .filter(|peer| *peer != node.peer().0)
        .collect();
    if victims.len() < FEWEST_MEMBERS {
        return;
    }
    let victim = dice.pick(&victims);
    let answer = network::ask(&address(asked), Kind::ClientRemoveMember, &victim.to_le_bytes(), PATIENCE).await;
    let answer = answer.ok().and_then(|answer| Outcome::decode(answer).ok());
    world.note(format!("peer {victim} is to leave: {:?}", answer.map(|answer| answer.error)));
}
