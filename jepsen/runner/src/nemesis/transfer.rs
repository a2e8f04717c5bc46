//! Leadership is handed over: to the best candidate, to any peer, to one that is dead.

use super::modes::Modes;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;
use quorate_tests::native::{channel, metadata_value};
use quorate_wire::quorate::v1::TransferLeaderRequest;
use quorate_wire::quorate::v1::admin_client::AdminClient;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Request;

/// How long the leader shall try, and within which time it says what came of that.
const TRIES_MS: u64 = 3_000;
const ANSWERS: Duration = Duration::from_secs(5);
/// Somebody leads within this.
const LEADS: Duration = Duration::from_secs(10);

pub struct Transfer {
    modes: Modes,
    /// Killed to be the target.
    dead: Option<usize>,
}

impl Transfer {
    pub fn new(modes: Modes) -> Transfer {
        Transfer { modes, dead: None }
    }
}

/// What a leader that was to hand over said.
pub struct Said {
    text: String,
    /// Whether it tried: it led, and told what came of it.
    tried: bool,
}

/// Asks the leader to hand over; what it says.
pub async fn hand_over(field: &Field, leader: usize, to_peer: u64) -> Said {
    let mut request = Request::new(TransferLeaderRequest { to_peer });
    // Not gRPC's own deadline: with that the client library would give up before the leader has said what it knows.
    request.metadata_mut().insert("quorate-deadline-ms", TRIES_MS.into());
    if let Ok(token) = field.token().parse() {
        request.metadata_mut().insert("quorate-token", token);
    }
    let mut client = AdminClient::new(channel(&field.control(leader)));
    match timeout(ANSWERS, client.transfer_leader(request)).await {
        Ok(Ok(reply)) => Said {
            text: format!("peer {} leads", reply.into_inner().leader_id),
            tried: true,
        },
        Ok(Err(status)) => Said {
            text: format!("refused: {}", status.message()),
            tried: !matches!(metadata_value(&status, "quorate-error"), "" | "not_leader"),
        },
        Err(_) => Said {
            text: "no answer".to_owned(),
            tried: false,
        },
    }
}

#[async_trait(?Send)]
impl Nemesis for Transfer {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let mode = self.modes.next(random);
        let statuses = field.statuses().await;
        let leader = field.leader().await;
        let Some(leader) = leader.filter(|leader| statuses[*leader].is_some()) else {
            self.modes.put_back(mode);
            return Ok(Outcome::skipped("nobody leads"));
        };
        let others: Vec<usize> = (0..field.size())
            .filter(|node| *node != leader && statuses[*node].is_some())
            .collect();
        if others.is_empty() {
            return Ok(Outcome::skipped("there is nobody to hand over to"));
        }
        let target = *random.pick(&others);
        let id = statuses[target].as_ref().map_or(0, |status| status.peer_id);
        if mode == "dead" {
            if !field.claim_all("transfer", &[target], false) {
                self.modes.put_back(mode);
                return Ok(Outcome::skipped(format!("another fault has {}", field.name(target))));
            }
            self.dead = Some(target);
            field.kill(target).await?;
        }
        let said = hand_over(field, leader, if mode == "best" { 0 } else { id }).await;
        let before = statuses[leader].as_ref().map_or(0, |status| status.term);
        let now = field.wait_for("somebody leads", LEADS, async || {
            let next = field.leader().await?;
            let term = field.statuses().await[next].as_ref()?.term;
            Some((next, term))
        });
        match now.await {
            Ok((next, term)) => {
                let evidence = format!(
                    "{}; {} led in term {before}, {} leads in term {term}",
                    said.text,
                    field.name(leader),
                    field.name(next)
                );
                if !said.tried || (mode != "dead" && next == leader) {
                    return Ok(Outcome::Indeterminate { why: evidence });
                }
                Ok(Outcome::installed(mode, field, &[leader, target], evidence))
            }
            Err(_) => Ok(Outcome::Indeterminate {
                why: format!("{}; nobody led within {} s", said.text, LEADS.as_secs()),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let Some(dead) = self.dead.take() else {
            return Ok("nothing to undo".to_owned());
        };
        let started = field.start(dead).await;
        field.release(&[dead]);
        started.map(|()| format!("started {}", field.name(dead)))
    }
}
