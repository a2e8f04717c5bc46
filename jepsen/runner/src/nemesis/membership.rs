//! Members come and go: a node loses its disk and comes back under a new id, a further one joins and leaves, one is taken
//! out and joins again.

use super::members::{ENDS, JOINS, begin_anew, member, remove, wait_end, wait_voter};
use super::modes::Modes;
use super::targets::take;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;

pub struct Membership {
    modes: Modes,
    under_way: Option<Change>,
}

/// A change that has begun.
#[derive(Clone, Copy, Debug)]
struct Change {
    mode: &'static str,
    node: usize,
    /// What it was before; 0 for one that was no member.
    old_id: u64,
}

impl Membership {
    pub fn new(modes: Modes) -> Membership {
        Membership { modes, under_way: None }
    }

    /// Does the first half of a change; what shows it.
    async fn begin(field: &Field, change: Change) -> anyhow::Result<String> {
        let name = field.name(change.node);
        match change.mode {
            "replace" => {
                begin_anew(field, change.node, &["--replace"]).await?;
                let id = wait_voter(field, change.node, change.old_id, JOINS).await?;
                Ok(format!("{name} was peer {} and votes as peer {id}", change.old_id))
            }
            "grow" => {
                field.start(change.node).await?;
                let id = wait_voter(field, change.node, 0, JOINS).await?;
                Ok(format!("{name} votes as peer {id}"))
            }
            _ => {
                let said = remove(field, change.old_id).await?;
                wait_end(field, change.node, ENDS).await?;
                Ok(format!("peer {} is out: {said}", change.old_id))
            }
        }
    }

    /// Brings the cluster back to its founders' addresses.
    async fn end(field: &Field, change: Change) -> anyhow::Result<String> {
        match change.mode {
            "replace" => {
                let id = wait_voter(field, change.node, change.old_id, JOINS).await?;
                Ok(format!("it is peer {id}"))
            }
            "grow" => {
                let gone = field.wait_for("the further member is out", JOINS, async || {
                    match member(field, change.node).await {
                        Some(peer) => {
                            let _ = remove(field, peer.peer_id).await;
                            None
                        }
                        None => field.leader().await.map(|_| ()),
                    }
                });
                gone.await?;
                if wait_end(field, change.node, ENDS).await.is_err() {
                    // It may be cut off and not know.
                    field.kill(change.node).await?;
                }
                field.node(change.node).wipe()?;
                Ok("the further member is out again".to_owned())
            }
            _ => {
                // A removal whose answer was lost may still have happened.
                if member(field, change.node).await.is_some_and(|peer| peer.peer_id == change.old_id)
                    && field.node(change.node).is_running()
                {
                    return Ok("it was not taken out".to_owned());
                }
                field.node(change.node).joins_from_now_on();
                begin_anew(field, change.node, &["--replace"]).await?;
                let id = wait_voter(field, change.node, change.old_id, JOINS).await?;
                Ok(format!("it came back as peer {id}"))
            }
        }
    }
}

#[async_trait(?Send)]
impl Nemesis for Membership {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let mode = self.modes.next(random);
        let node = match mode {
            "grow" => {
                if field.claim("membership", &[field.size()], true).is_empty() {
                    self.modes.put_back(mode);
                    return Ok(Outcome::skipped("another fault keeps the further member away"));
                }
                field.size()
            }
            _ => match take(field, "membership", "one", true, random).await {
                Ok(taken) => taken[0],
                Err(skipped) => {
                    self.modes.put_back(mode);
                    return Ok(skipped);
                }
            },
        };
        let old_id = match (mode, member(field, node).await) {
            ("grow", _) => 0,
            (_, Some(peer)) => peer.peer_id,
            (_, None) => {
                field.release(&[node]);
                self.modes.put_back(mode);
                return Ok(Outcome::skipped("nobody leads who knows the members"));
            }
        };
        let change = Change { mode, node, old_id };
        self.under_way = Some(change);
        match Membership::begin(field, change).await {
            Ok(evidence) => Ok(Outcome::installed(mode, field, &[node], evidence)),
            Err(error) => Ok(Outcome::Indeterminate {
                why: format!("{mode} of {}: {error:#}", field.name(node)),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let Some(change) = self.under_way.take() else {
            return Ok("nothing was done".to_owned());
        };
        let ended = Membership::end(field, change).await;
        field.release(&[change.node]);
        ended
    }
}
