//! Bytes of a stopped minority's files change: it must refuse, or repair itself, and never answer wrongly.

use super::members::{JOINS, begin_anew, member, wait_voter};
use super::modes::Modes;
use super::purge::wait_purged;
use super::targets::take_of_minority;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const MODES: &[&str] = &["log", "high-water", "manifest", "sst", "snapshot"];
/// A node refuses, or serves, within this.
const DECIDES: Duration = Duration::from_secs(30);
/// A checkpoint has arrived within this.
const RECEIVED: Duration = Duration::from_secs(30);

pub struct Corrupt {
    modes: Modes,
    victim: Option<(usize, u64)>,
}

impl Corrupt {
    pub fn new(modes: Modes) -> Corrupt {
        Corrupt { modes, victim: None }
    }
}

/// Files below `dir`, in order.
fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => files_below(&path, found),
            false => found.push(path),
        }
    }
}

/// Files of a mode that have any bytes.
fn candidates(data_dir: &Path, mode: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files_below(data_dir, &mut all);
    let belongs = |path: &PathBuf| {
        let (text, name) = (path.to_string_lossy(), path.file_name().unwrap_or_default().to_string_lossy());
        match mode {
            "log" => name.ends_with(".segment"),
            "high-water" => name == "high-water",
            "manifest" => name.starts_with("MANIFEST") && text.contains("/gen-"),
            "sst" => name.ends_with(".sst") && text.contains("/gen-"),
            _ => text.contains("/incoming/"),
        }
    };
    let has_bytes = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|facts| facts.len() > 0);
    all.into_iter().filter(belongs).filter(has_bytes).collect()
}

/// Changes bytes in front of the file's last byte that is not zero; what was done.
fn damage(path: &Path, random: &mut Random) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let offset = random.below(used as u64);
    let file = OpenOptions::new().write(true).open(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let done = match random.below(3) {
        0 => {
            let flipped: Vec<u8> = bytes[offset as usize..].iter().take(4).map(|byte| byte ^ 0x5a).collect();
            file.write_all_at(&flipped, offset)?;
            format!("{} bytes of {name} flipped at {offset} of {used}", flipped.len())
        }
        1 => {
            let count = bytes.len().min(offset as usize + 512) - offset as usize;
            file.write_all_at(&vec![0; count], offset)?;
            format!("{count} bytes of {name} zeroed at {offset} of {used}")
        }
        _ => {
            file.set_len(offset)?;
            format!("{name} cut to {offset} of {used} bytes")
        }
    };
    file.sync_all()?;
    Ok(done)
}

/// Leaves a checkpoint in the victim's directory that has arrived and was not taken in.
async fn receive(field: &Field, node: usize, had: u64) -> anyhow::Result<()> {
    field.kill(node).await?;
    wait_purged(field, node, had).await?;
    field.start_with(node, &[], "snapshot_received=panic")?;
    super::members::wait_end(field, node, RECEIVED).await
}

#[async_trait(?Send)]
impl Nemesis for Corrupt {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let mode = self.modes.next(random);
        let whom = if mode == "snapshot" { "follower" } else { "one" };
        let node = match take_of_minority(field, "corrupt", whom, random).await {
            Ok(node) => node,
            Err(skipped) => {
                self.modes.put_back(mode);
                return Ok(skipped);
            }
        };
        let (state, peer) = (field.raft_state(node).await, member(field, node).await);
        let (Some(state), Some(peer)) = (state, peer) else {
            field.release(&[node]);
            self.modes.put_back(mode);
            return Ok(Outcome::skipped(format!("{} does not answer, or nobody leads", field.name(node))));
        };
        self.victim = Some((node, peer.peer_id));
        if mode == "snapshot" {
            if let Err(error) = receive(field, node, state.last).await {
                return Ok(Outcome::Indeterminate {
                    why: format!("no checkpoint was received: {error:#}"),
                });
            }
        } else {
            field.kill(node).await?;
        }
        let files = candidates(&field.data_dir(node), mode);
        if files.is_empty() {
            return Ok(Outcome::Indeterminate {
                why: format!("{} has no file for {mode}", field.name(node)),
            });
        }
        let done = damage(random.pick(&files).as_path(), random)?;
        field.start(node).await?;
        let decided = field.wait_for("the node refuses or serves", DECIDES, async || {
            let _ = field.look_for_exits();
            match field.node(node).is_running() {
                false => Some(format!("it refused: {}", field.node(node).log_tail(1))),
                true => field.is_ready(node).await.then(|| "it serves".to_owned()),
            }
        });
        let decided = decided.await.unwrap_or_else(|_| "it neither refused nor served yet".to_owned());
        Ok(Outcome::installed(mode, field, &[node], format!("{done}; {decided}")))
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let Some((node, old_id)) = self.victim.take() else {
            return Ok("nothing was done".to_owned());
        };
        // Also when it runs: damage may lie where nobody has read yet, and end it later.
        let anew = begin_anew(field, node, &["--replace"]).await;
        let voter = wait_voter(field, node, old_id, JOINS).await;
        let done = anew.and(voter).map(|id| format!("its disk was replaced: it is peer {id}"));
        field.release(&[node]);
        done
    }
}
