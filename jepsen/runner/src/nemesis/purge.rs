//! A follower is away until the log it needs is gone, and must be sent a checkpoint; in some modes it dies at a step of
//! taking it in, or the one that sends it does, or it is away again right after.

use super::modes::Modes;
use super::targets::take_of_minority;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::time::Duration;

/// `cut` and `twice` cut the network; all others kill, and are failpoints of the receiver but for the two of the
/// sender.
pub const MODES: &[&str] = &[
    "cut",
    "twice",
    "snapshot_send_before",
    "snapshot_send_piece",
    "snapshot_receive_chunk",
    "snapshot_receive_file",
    "snapshot_received",
    "install_before",
    "install_named",
    "install_activated",
    "install_after",
];
/// How a fault that is undone says that the victim was sent a checkpoint; the index of its state follows.
pub const SENT_STATE: &str = "it was sent the state at";
/// Load makes the others purge within this.
const PURGED: Duration = Duration::from_secs(30);
/// A checkpoint is sent and taken in within this.
const CAUGHT_UP: Duration = Duration::from_secs(40);
/// A step of taking it in is come to within this.
const DIES: Duration = Duration::from_secs(20);

pub struct Purge {
    modes: Modes,
    mode: &'static str,
    victim: Option<Victim>,
    /// What happened on the victim's way back, once it is.
    back: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Victim {
    node: usize,
    /// What it had applied when it went away.
    had: u64,
    /// Up to where the leader's log is gone, if what the victim needs is.
    purged: Option<u64>,
}

/// What a victim that is back has got.
#[derive(Debug, PartialEq, Eq)]
enum Caught {
    /// A checkpoint, with the state at this index.
    Checkpoint(u64),
    /// It has applied this entry, of the log of another leader, which reached back further.
    Entries(u64),
    Nothing,
}

impl Victim {
    /// Only entries beyond what was purged count: what was on its way when the victim was cut off may still have been applied.
    fn caught(&self, installed: Option<u64>, applied: Option<u64>) -> Caught {
        let beyond = applied.filter(|applied| self.purged.is_some_and(|purged| *applied > purged));
        match (installed, beyond) {
            (Some(index), _) => Caught::Checkpoint(index),
            (None, Some(index)) => Caught::Entries(index),
            (None, None) => Caught::Nothing,
        }
    }
}

impl Purge {
    pub fn new(modes: Modes) -> Purge {
        Purge {
            modes,
            mode: "",
            victim: None,
            back: None,
        }
    }

    fn is_cut(&self) -> bool {
        ["cut", "twice"].contains(&self.mode)
    }

    async fn away(&self, field: &Field, node: usize) -> anyhow::Result<()> {
        match self.is_cut() {
            true => cut_off(field, node, true),
            false => field.kill(node).await,
        }
    }

    /// Brings the victim back; what happened on the way, whether it is what the mode says, and who was started besides.
    async fn back(&self, field: &Field, victim: usize) -> anyhow::Result<(String, bool, usize)> {
        let mut dying = victim;
        if self.is_cut() {
            cut_off(field, victim, false)?;
            return Ok(("its network is whole again".to_owned(), true, dying));
        }
        if self.mode.starts_with("snapshot_send_") {
            dying = field.leader().await.unwrap_or(victim);
            let armed = dying != victim && field.claim_all("purge", &[dying], true);
            if armed {
                let _ = field.arm(dying, &format!("{}=panic", self.mode)).await;
            }
            field.start(victim).await?;
            if !armed {
                return Ok(("another fault has the sender, which did not die".to_owned(), false, dying));
            }
        } else {
            field.start_with(victim, &[], &format!("{}=panic", self.mode))?;
        }
        let died = field.wait_for("the node dies", DIES, async || {
            let _ = field.look_for_exits();
            (!field.node(dying).is_running()).then_some(())
        });
        let died = died.await.is_ok();
        if field.node(dying).is_running() {
            let _ = field.arm(dying, &format!("{}=off", self.mode)).await;
        }
        field.start(dying).await?;
        if dying != victim {
            field.release(&[dying]);
        }
        let name = field.name(dying);
        let what = if died { "died at" } else { "did not come to" };
        Ok((format!("{name} {what} {}", self.mode), died, dying))
    }
}

/// Cuts a node's network to all other nodes, or makes it whole.
pub fn cut_off(field: &Field, node: usize, cut: bool) -> anyhow::Result<()> {
    let network = field.network().context("cutting needs namespaces")?;
    let others: Vec<usize> = (1..=field.total()).filter(|place| cut && *place != node + 1).collect();
    network.away(node + 1, &others)
}

/// Waits until the leader's log no longer has what the victim needs; from where on it has it.
pub async fn wait_purged(field: &Field, node: usize, had: u64) -> anyhow::Result<u64> {
    let purged = field.wait_for("the leader has purged what the victim needs", PURGED, async || {
        let leader = field.leader().await.filter(|leader| *leader != node)?;
        let purged = field.raft_state(leader).await?.purged;
        (purged > had + 1).then_some(purged)
    });
    purged.await
}

/// Waits until a node has a state it was sent: the audit log then says that a later state was found.
pub async fn wait_installed(field: &Field, node: usize, had: u64) -> anyhow::Result<u64> {
    let audit = field.audit_log(node);
    let installed = field.wait_for("a checkpoint is taken in", CAUGHT_UP, async || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        let mut loaded = text
            .lines()
            .rev()
            .filter_map(|line| line.strip_prefix("loaded ")?.split(' ').next()?.parse::<u64>().ok());
        loaded.next().filter(|index| *index > had)
    });
    installed.await
}

#[async_trait(?Send)]
impl Nemesis for Purge {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        self.mode = self.modes.next(random);
        let node = match take_of_minority(field, "purge", "follower", random).await {
            Ok(node) => node,
            Err(skipped) => {
                self.modes.put_back(self.mode);
                return Ok(skipped);
            }
        };
        let Some(state) = field.raft_state(node).await else {
            field.release(&[node]);
            self.modes.put_back(self.mode);
            return Ok(Outcome::skipped(format!("{} does not answer", field.name(node))));
        };
        let mut victim = Victim {
            node,
            had: state.last,
            purged: None,
        };
        self.victim = Some(victim);
        self.away(field, victim.node).await?;
        let mut purged = wait_purged(field, node, victim.had).await;
        if self.mode == "twice" && purged.is_ok() {
            cut_off(field, node, false)?;
            purged = match wait_installed(field, node, victim.had).await {
                Ok(installed) => {
                    self.away(field, node).await?;
                    let state = field.raft_state(node).await;
                    victim.had = state.map_or(installed, |state| state.last.max(installed));
                    wait_purged(field, node, victim.had).await
                }
                // It was away once.
                Err(error) => Err(error.context("the first time")),
            };
        }
        victim.purged = purged.as_ref().ok().copied();
        self.victim = Some(victim);
        match purged {
            Ok(purged) => {
                let evidence = format!(
                    "{} had up to {}, the leader's log begins after {purged}",
                    field.name(node),
                    victim.had
                );
                if self.is_cut() {
                    return Ok(Outcome::installed(self.mode, field, &[node], evidence));
                }
                // Whether the step was come to is seen on the way back.
                let (said, came, dying) = self.back(field, node).await?;
                let told = format!("{evidence}; {said}");
                self.back = Some(said);
                Ok(match came {
                    true if dying == node => Outcome::installed(self.mode, field, &[node], told),
                    true => Outcome::installed(self.mode, field, &[node, dying], told),
                    false => Outcome::Indeterminate { why: told },
                })
            }
            Err(error) => Ok(Outcome::Indeterminate { why: format!("{error:#}") }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let Some(victim) = self.victim.take() else {
            return Ok("nothing was done".to_owned());
        };
        if victim.purged.is_none() {
            cut_off(field, victim.node, false)?;
            field.start(victim.node).await?;
            field.release(&[victim.node]);
            return Ok("it is back, and nothing shows that it needed a checkpoint".to_owned());
        }
        let back = match self.back.take() {
            Some(said) => Ok(said),
            None => self.back(field, victim.node).await.map(|(said, ..)| said),
        };
        let installed = wait_installed(field, victim.node, victim.had).await;
        let applied = field.raft_state(victim.node).await.map(|state| state.applied);
        field.release(&[victim.node]);
        let back = back?;
        match victim.caught(installed.ok(), applied) {
            Caught::Checkpoint(index) => Ok(format!("{back}; {SENT_STATE} {index}")),
            Caught::Entries(index) => Ok(format!("{back}; it needed no checkpoint, and has applied {index}")),
            Caught::Nothing => anyhow::bail!(
                "{back}; within {} s {} got neither a checkpoint nor the entries",
                CAUGHT_UP.as_secs(),
                field.name(victim.node)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_checkpoint_or_entries_beyond_what_was_purged_bring_a_victim_back() {
        let victim = Victim {
            node: 0,
            had: 100,
            purged: Some(300),
        };
        assert_eq!(victim.caught(Some(310), Some(320)), Caught::Checkpoint(310));
        assert_eq!(
            victim.caught(None, Some(301)),
            Caught::Entries(301),
            "another leader's log has them all"
        );
        assert_eq!(
            victim.caught(None, Some(110)),
            Caught::Nothing,
            "these were on their way when it was cut off"
        );
        assert_eq!(victim.caught(None, None), Caught::Nothing);
    }
}
