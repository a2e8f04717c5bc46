//! Bytes of a stopped minority's files change: it must refuse, or repair itself, and never answer wrongly.
//!
//! Whether a log must refuse is decided by crates/storage/LOG.md: a high-water file that is not what it was, and an older segment whose
//! groups are not, were acknowledged and are never opened. Damage in the newest segment may look like a write that never finished,
//! for the node was killed; a damaged state is built anew, also when what names its files is damaged, and a damaged checkpoint sent
//! again. An identity that is not what it was is never taken for another one, or for none.
//!
//! A refusal is an end with the exit code of one and a word about why. A signal or another exit code is an anomaly: a node
//! that dies of what it reads has not judged it. One that does neither in time fails the run.

use super::members::{JOINS, begin_anew, member, wait_voter};
use super::modes::Modes;
use super::purge::wait_purged;
use super::targets::take_of_minority;
use super::{Nemesis, Outcome};
use crate::field::{Exit, Field};
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const MODES: &[&str] = &["log", "high-water", "manifest", "current", "active", "sst", "snapshot", "identity"];
/// A node refuses, or serves, within this.
const DECIDES: Duration = Duration::from_secs(30);
/// A checkpoint has arrived within this.
const RECEIVED: Duration = Duration::from_secs(30);

pub struct Corrupt {
    modes: Modes,
    victim: Option<Victim>,
}

struct Victim {
    node: usize,
    old_id: u64,
    /// How often it had ended by itself before it was damaged, once it is.
    ends_before: Option<usize>,
}

impl Corrupt {
    pub fn new(modes: Modes) -> Corrupt {
        Corrupt { modes, victim: None }
    }
}

/// Of a segment, what is in front of its groups: a header, and padding that nobody misses.
const FIRST_GROUP_OFFSET: u64 = 4_096;

/// What was done to a file: some of its bytes are not what they were.
struct Damage {
    what: String,
    offset: u64,
}

impl Damage {
    /// Whether it is of what was acknowledged, beyond doubt, or of who the node is. `files` are all of the mode, in order.
    fn must_be_refused(&self, mode: &str, path: &Path, files: &[PathBuf]) -> bool {
        match mode {
            "high-water" | "identity" => true,
            "log" => files.last().is_some_and(|newest| newest != path) && self.offset >= FIRST_GROUP_OFFSET,
            _ => false,
        }
    }
}

/// What a node did with damaged files.
enum Decided {
    Ended(Exit),
    Serves,
}

/// How the product ends when it refuses (README: "what is refused or cannot be done ends with 1"), and how it begins to say why.
const REFUSES_WITH: &str = "exit code 1";
const SAYS: &str = "quorate: ";

/// Whether a node ended because it chose to.
fn is_refusal(exit: &Exit) -> bool {
    exit.how == REFUSES_WITH && exit.last_said.lines().any(|line| line.starts_with(SAYS))
}

/// How a node ended by itself, each time.
fn ends(field: &Field, node: usize) -> Vec<Exit> {
    let name = field.name(node);
    field.exits().into_iter().filter(|exit| exit.node == name).collect()
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
            "identity" => path.parent() == Some(data_dir) && name == "identity",
            "active" => name == "ACTIVE",
            "current" => name == "CURRENT" && text.contains("/gen-"),
            "manifest" => name.starts_with("MANIFEST") && text.contains("/gen-"),
            "sst" => name.ends_with(".sst") && text.contains("/gen-"),
            _ => text.contains("/incoming/"),
        }
    };
    let has_bytes = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|facts| facts.len() > 0);
    all.into_iter().filter(belongs).filter(has_bytes).collect()
}

/// Changes bytes in front of the file's last byte that is not zero. Where zeros would change nothing, bits flip.
fn damage(path: &Path, random: &mut Random) -> anyhow::Result<Damage> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let offset = random.below(used as u64);
    let rest = &bytes[offset as usize..];
    let file = OpenOptions::new().write(true).open(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let zeroed = &rest[..rest.len().min(512)];
    let what = match random.below(3) {
        0 => {
            file.set_len(offset)?;
            format!("{name} cut to {offset} of {used} bytes")
        }
        1 if zeroed.iter().any(|byte| *byte != 0) => {
            file.write_all_at(&vec![0; zeroed.len()], offset)?;
            format!("{} bytes of {name} zeroed at {offset} of {used}", zeroed.len())
        }
        _ => {
            let flipped: Vec<u8> = rest.iter().take(4).map(|byte| byte ^ 0x5a).collect();
            file.write_all_at(&flipped, offset)?;
            format!("{} bytes of {name} flipped at {offset} of {used}", flipped.len())
        }
    };
    file.sync_all()?;
    Ok(Damage { what, offset })
}

/// Waits until a node that was just started ends or answers; an error if it does neither.
async fn wait_decided(field: &Field, node: usize, ends_before: usize) -> anyhow::Result<Decided> {
    let decided = field.wait_for("the node refuses or serves", DECIDES, async || {
        let _ = field.look_for_exits();
        match ends(field, node).into_iter().nth(ends_before) {
            Some(exit) => Some(Decided::Ended(exit)),
            None => field.is_ready(node).await.then_some(Decided::Serves),
        }
    });
    decided.await
}

/// Leaves a checkpoint in the victim's directory that has arrived and was not taken in.
async fn receive(field: &Field, node: usize, had: u64) -> anyhow::Result<()> {
    field.kill(node).await?;
    wait_purged(field, node, had).await?;
    let before = ends(field, node).len();
    field.start_with(node, &[], "snapshot_received=panic")?;
    // Noted, too: it is not to be taken for one of those that follow.
    let ended = field.wait_for("the node ends", RECEIVED, async || {
        let _ = field.look_for_exits();
        (ends(field, node).len() > before).then_some(())
    });
    ended.await
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
        let old_id = peer.peer_id;
        self.victim = Some(Victim {
            node,
            old_id,
            ends_before: None,
        });
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
        let path = random.pick(&files);
        let damage = damage(path, random)?;
        let ends_before = ends(field, node).len();
        self.victim = Some(Victim {
            node,
            old_id,
            ends_before: Some(ends_before),
        });
        field.start(node).await?;
        let what = damage.what.as_str();
        let decided = wait_decided(field, node, ends_before).await.with_context(|| what.to_owned())?;
        let did = match decided {
            Decided::Ended(exit) if is_refusal(&exit) => {
                format!("it refused: {}", exit.last_said.lines().last().unwrap_or_default())
            }
            Decided::Ended(exit) => format!("it ended by {}", exit.how),
            Decided::Serves => {
                if damage.must_be_refused(mode, path, &files) {
                    field.note_anomaly(format!(
                        "{} serves, though it must refuse what was done to it: {what}",
                        field.name(node)
                    ));
                }
                "it serves".to_owned()
            }
        };
        Ok(Outcome::installed(mode, field, &[node], format!("{what}; {did}")))
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let Some(Victim { node, old_id, ends_before }) = self.victim.take() else {
            return Ok("nothing was done".to_owned());
        };
        if let Some(before) = ends_before {
            // Also when it served at first: damage is met when it is read.
            field.look_for_exits()?;
            for exit in ends(field, node).into_iter().skip(before).filter(|exit| !is_refusal(exit)) {
                field.note_anomaly(format!(
                    "{} did not refuse what was done to it, but ended by {}: {}",
                    exit.node, exit.how, exit.last_said
                ));
            }
        }
        // Also when it runs: damage may lie where nobody has read yet, and end it later.
        let anew = begin_anew(field, node, &["--replace"]).await;
        let voter = wait_voter(field, node, old_id, JOINS).await;
        let done = anew.and(voter).map(|id| format!("its disk was replaced: it is peer {id}"));
        field.release(&[node]);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment: a header, padding, one group, and zeros up to its end.
    fn segment(dir: &Path, name: &str) -> PathBuf {
        let mut bytes = vec![0; 8_192];
        bytes[..100].fill(7);
        bytes[4_096..5_000].fill(9);
        let path = dir.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    #[test]
    fn damage_always_changes_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        for seed in 0..100 {
            let path = segment(dir.path(), "1.segment");
            let before = std::fs::read(&path).expect("read");
            let done = damage(&path, &mut Random::new(seed)).expect("damaged");
            let after = std::fs::read(&path).expect("read");
            assert_ne!(before, after, "{}", done.what);
            assert!(done.offset < 5_000, "{}", done.what);
        }
    }

    #[test]
    fn only_the_exit_code_of_a_refusal_with_a_word_about_it_is_one() {
        let exit = |how: &str, last_said: &str| Exit {
            node: "n1".to_owned(),
            how: how.to_owned(),
            allowed_by: Some("corrupt".to_owned()),
            last_said: last_said.to_owned(),
        };
        let said = "2026-11-21T13:58:53Z  INFO quorate::serve: begins\nquorate: acknowledged data is damaged: 1.segment at offset 7";
        assert!(is_refusal(&exit("exit code 1", said)));
        for how in ["signal 6", "signal 9", "signal 11", "exit code 101", "exit code 0"] {
            assert!(!is_refusal(&exit(how, said)), "{how}");
        }
        assert!(
            !is_refusal(&exit("exit code 1", "2026-11-21T13:58:53Z  INFO quorate::serve: begins")),
            "it does not say why"
        );
    }

    #[test]
    fn each_mode_finds_its_own_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = [
            ("log", "log/0001.segment"),
            ("high-water", "log/high-water"),
            ("active", "state/ACTIVE"),
            ("current", "state/gen-2/CURRENT"),
            ("manifest", "state/gen-2/MANIFEST-000004"),
            ("sst", "state/gen-2/000007.sst"),
            ("snapshot", "state/incoming/CURRENT"),
            ("identity", "identity"),
        ];
        for (_, file) in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(path, "something").expect("written");
        }
        for (mode, file) in files {
            assert_eq!(candidates(dir.path(), mode), [dir.path().join(file)], "{mode}");
        }
        assert_eq!(files.len(), MODES.len());
    }

    #[test]
    fn only_what_was_acknowledged_beyond_doubt_must_be_refused() {
        let files: Vec<PathBuf> = ["0001.segment", "0002.segment"].iter().map(PathBuf::from).collect();
        let damage = |offset| Damage {
            what: String::new(),
            offset,
        };
        let must = |damage: &Damage, mode, position: usize| damage.must_be_refused(mode, &files[position], &files);
        assert!(must(&damage(4_096), "log", 0));
        assert!(!must(&damage(4_096), "log", 1), "the newest may end in a write that never finished");
        assert!(!must(&damage(4_000), "log", 0), "nobody misses padding");
        assert!(must(&damage(3), "high-water", 0));
        assert!(must(&damage(3), "identity", 0));
        assert!(!must(&damage(0), "active", 0), "a state is built anew");
        assert!(!must(&damage(4_096), "sst", 0), "a state is built anew");
    }
}
