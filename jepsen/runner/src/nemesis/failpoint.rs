//! A node dies at a step that makes something durable, or between two steps of a job, wherever the load next brings one there.
//!
//! Some steps no load brings about: for votes the leader is asked to hand over, and for a log that is cut back the leader is cut
//! off until others have gone on without it.

use super::modes::Modes;
use super::purge::cut_off;
use super::targets::{names, start_all, take};
use super::transfer::hand_over;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;
use std::time::Duration;

/// Sites that every workload reaches, at every node.
pub const MODES: &[&str] = &[
    "log_append_before",
    "log_append_after",
    "log_write_group",
    "log_sync_group",
    "log_prepare_segment",
    "log_write_segment_header",
    "log_name_segment",
    "log_write_high_water",
    "log_unlink_segment",
    "log_purge_before",
    "log_purge_after",
    "log_truncate_before",
    "log_truncate_after",
    "vote_save_before",
    "vote_save_after",
    "apply_commit_before",
    "apply_commit_after",
    "checkpoint_before",
    "checkpoint_after",
];
/// Sites that copy jobs reach: of the peers' own workers, and of the leader, which plans, publishes and deletes.
pub const JOBS: &[&str] = &[
    "job_task_claimed",
    "job_copy_start",
    "job_file_copied",
    "job_copy_synced",
    "job_complete_before",
    "job_complete_after",
    "job_plan_before",
    "job_plan_after",
    "job_publish_before",
    "job_publish_after",
    "delete_read",
    "delete_files_after",
    "delete_finish_before",
    "delete_finish_after",
];
/// Sites that the leader reaches when snapshots are made and dropped.
pub const SNAPSHOTS: &[&str] = &["snapshot_metadata_written", "snapshot_commit_after", "snapshot_files_deleted"];
/// First words of sites that only the leader comes to.
const OF_THE_LEADER: &[&str] = &["job_plan_", "job_publish_", "delete_", "snapshot_", "log_truncate_"];
/// First words of sites that are come to once in a while.
const RARE: &[&str] = &["delete_", "snapshot_", "log_truncate_", "vote_save_"];
/// Others go on within this without a leader that is cut off.
const GO_ON: Duration = Duration::from_secs(15);
/// Longest wait for the step to come about.
const PATIENCE: Duration = Duration::from_secs(8);

pub struct Failpoint {
    /// Its own name: which of the tables above it goes through.
    fault: &'static str,
    modes: Modes,
    site: &'static str,
    taken: Vec<usize>,
    /// Whether what was taken is cut off.
    is_cut: bool,
}

impl Failpoint {
    pub fn new(fault: &'static str, modes: Modes) -> Failpoint {
        Failpoint {
            fault,
            modes,
            site: "",
            taken: Vec::new(),
            is_cut: false,
        }
    }

    fn is_one_of(&self, beginnings: &[&str]) -> bool {
        beginnings.iter().any(|beginning| self.site.starts_with(beginning))
    }

    /// Cuts a leader off until another one leads: what clients still bring to it is then cut back when it returns.
    async fn fall_behind(&mut self, field: &Field, node: usize) -> anyhow::Result<()> {
        self.is_cut = true;
        cut_off(field, node, true)?;
        let went_on = field.wait_for("others go on without the leader", GO_ON, async || {
            field.leader().await.filter(|leader| *leader != node)
        });
        went_on.await.map(drop)
    }

    /// Does what brings a node to a site that load does not bring it to.
    async fn provoke(&mut self, field: &Field, node: usize) -> anyhow::Result<()> {
        if self.is_cut {
            cut_off(field, node, false)?;
            self.is_cut = false;
        }
        if self.site.starts_with("vote_save_")
            && let Some(leader) = field.leader().await
        {
            let status = field.statuses().await.swap_remove(node);
            let to_peer = status.filter(|_| leader != node).map_or(0, |status| status.peer_id);
            // Whatever it says: what counts is whether the node dies.
            let _ = hand_over(field, leader, to_peer).await;
        }
        Ok(())
    }
}

/// Waits until a node has died, and says whether it was at a site; what it says is looked at from `said_before` on.
async fn see_death(field: &Field, node: usize, site: &'static str, said_before: usize) -> Outcome {
    let ended = field.wait_for("the node dies", PATIENCE, async || {
        let _ = field.look_for_exits();
        (!field.node(node).is_running()).then_some(())
    });
    if ended.await.is_err() {
        return Outcome::Indeterminate {
            why: format!("{} did not come to {site} in {} s", field.name(node), PATIENCE.as_secs()),
        };
    }
    let died_there = format!("failpoint {site} panic");
    match field.node(node).log().get(said_before..).unwrap_or_default().contains(&died_there) {
        true => Outcome::installed(site, field, &[node], format!("{} said \"{died_there}\"", field.name(node))),
        false => Outcome::Indeterminate {
            why: format!("{} died elsewhere: {}", field.name(node), field.node(node).log_tail(3)),
        },
    }
}

#[async_trait(?Send)]
impl Nemesis for Failpoint {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        self.site = self.modes.next(random);
        let falls_behind = self.site.starts_with("log_truncate_");
        if falls_behind && field.network().is_none() {
            return Ok(Outcome::skipped("plain processes cannot be cut off"));
        }
        let whom = match self.is_one_of(OF_THE_LEADER) || random.chance(50) {
            true => "leader",
            false => "one",
        };
        self.taken = match take(field, self.fault, whom, true, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(self.site);
                return Ok(skipped);
            }
        };
        let node = self.taken[0];
        let said_before = field.node(node).log().len();
        if falls_behind && let Err(error) = self.fall_behind(field, node).await {
            return Ok(Outcome::Indeterminate { why: format!("{error:#}") });
        }
        // It dies at one of the first hits, not always at the same one.
        let hits = if self.is_one_of(RARE) { 0 } else { random.below(4) };
        if let Err(error) = field.arm(node, &format!("{}={hits}*off->panic", self.site)).await {
            return Ok(Outcome::skipped(format!("{} cannot be armed: {error:#}", field.name(node))));
        }
        self.provoke(field, node).await?;
        Ok(see_death(field, node, self.site, said_before).await)
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        for node in &taken {
            if std::mem::take(&mut self.is_cut) {
                cut_off(field, *node, false)?;
            }
            if field.node(*node).is_running() {
                // Should it end here after all, it is started below.
                let _ = field.arm(*node, &format!("{}=off", self.site)).await;
            }
        }
        let started = start_all(field, &taken).await;
        field.release(&taken);
        Ok(format!("started {}", names(field, &started?)))
    }
}
