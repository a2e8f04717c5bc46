//! `results.json`: what one run came to; and its line in the ledger.

use super::{CellOptions, Ran, STOP};
use crate::checker::coverage::answered_per_second;
use crate::field::{Exit, Field};
use crate::history::{Kind, Op, Process, Recorder};
use crate::operation::operations;
use crate::verdict::{Validity, Verdict};
use crate::workload::Workload;
use crate::{checker, health, history, ledger};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

/// How often a fault was there, by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FaultCount {
    pub installed: u64,
    pub skipped: u64,
    pub indeterminate: u64,
    /// Installed, by mode.
    pub modes: BTreeMap<String, u64>,
}

/// What one run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// `true`, `false` or `"unknown"`.
    pub valid: Json,
    pub workload: String,
    pub nemeses: Vec<String>,
    pub nodes: usize,
    pub seed: u64,
    /// Operations a second that were asked for.
    pub rate: u64,
    /// Of the main phase, faults and all; 0 in results of before it was counted.
    #[serde(default)]
    pub answered_per_second: u64,
    pub profile: String,
    /// Seconds of the main phase, as asked for.
    pub asked_seconds: u64,
    /// Of the source the runner was called in, `-dirty` if that was changed since; empty outside a repository.
    pub commit: String,
    /// SHA-256 of the binary under test.
    pub binary: String,
    /// Clients' operations by `ok`, `fail` and `info`.
    pub ops: BTreeMap<String, u64>,
    pub faults: BTreeMap<String, FaultCount>,
    pub recovery_seconds: Option<f64>,
    pub exits: Vec<Exit>,
    /// What the runner and the faults saw the product do that it must never do; absent in results of before it was kept.
    #[serde(default)]
    pub anomalies: Vec<String>,
    /// What the suite could not do: then nothing was proved.
    pub harness_failures: Vec<String>,
    pub verdicts: Vec<Verdict>,
    /// Seconds since 1970.
    pub began: u64,
    /// Of the whole run.
    pub seconds: f64,
    /// Of these, the checkers'.
    pub check_seconds: f64,
    /// One-minute load of the machine at the end.
    pub host_load: String,
    /// Calls the run again.
    pub repeat: String,
}

impl Results {
    /// Writes the history, lets all checkers judge it, and writes the results and the ledger's line.
    pub(super) fn judge(
        cell: &CellOptions,
        field: &Field,
        workload: &dyn Workload,
        recorder: &Recorder,
        asked: &[(&'static str, Vec<&'static str>)],
        ran: Ran,
        began: SystemTime,
    ) -> anyhow::Result<Results> {
        let history = recorder.ops();
        let dir = &cell.dir;
        history::write(dir, &history)?;
        let checking = std::time::Instant::now();
        let mut failures = ran.failures;
        if ran.interrupted {
            failures.push("the run was interrupted".to_owned());
        }
        let faults = count_faults(&history);
        let exits = field.exits().into_iter().filter(|exit| exit.allowed_by.as_deref() != Some(STOP));
        let exits: Vec<Exit> = exits.collect();
        let anomalies = [ran.anomalies, field.anomalies()].concat();
        let is_damaged = asked.iter().any(|(name, _)| *name == "corrupt");
        let mut verdicts = vec![health::faults(&faults, asked), health::nodes(dir, &exits, &anomalies, is_damaged)];
        verdicts.extend(checker::common(&history, dir));
        verdicts.extend(workload.check(&history, dir));
        let check_seconds = checking.elapsed().as_secs_f64();
        let results = Results {
            valid: valid(&verdicts, &failures),
            workload: cell.workload.clone(),
            nemeses: cell.nemeses.clone(),
            nodes: cell.nodes,
            seed: cell.seed,
            rate: cell.rate,
            answered_per_second: answered_per_second(&operations(&history), cell.seconds),
            profile: cell.profile.clone(),
            asked_seconds: cell.seconds,
            commit: commit(),
            binary: hash(&cell.binary)?,
            ops: count_ops(&history),
            faults,
            recovery_seconds: ran.recovery.map(|took| took.as_secs_f64()),
            exits,
            anomalies,
            harness_failures: failures,
            verdicts,
            began: began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            seconds: began.elapsed().map_or(0.0, |took| took.as_secs_f64()),
            check_seconds,
            host_load: std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned(),
            repeat: repeat(cell),
        };
        std::fs::write(dir.join("results.json"), serde_json::to_string_pretty(&results)?)?;
        ledger::append(dir, &results)?;
        Ok(results)
    }
}

/// A run proves nothing if the suite itself failed, and that is not a pass.
fn valid(verdicts: &[Verdict], failures: &[String]) -> Json {
    let worst = verdicts.iter().map(|verdict| verdict.valid).max().unwrap_or(Validity::Unknown);
    match (worst, failures.is_empty()) {
        (Validity::Invalid, _) => Json::Bool(false),
        (Validity::Valid, true) => Json::Bool(true),
        _ => json!("unknown"),
    }
}

fn count_ops(history: &[Op]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for op in history.iter().filter(|op| matches!(op.process, Process::Client(_))) {
        let name = match op.kind {
            Kind::Invoke => continue,
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        };
        *counts.entry(name.to_owned()).or_insert(0) += 1;
    }
    counts
}

/// How often each fault was there, as a history has it.
pub fn count_faults(history: &[Op]) -> BTreeMap<String, FaultCount> {
    let mut counts: BTreeMap<String, FaultCount> = BTreeMap::new();
    for op in history.iter().filter(|op| matches!(op.process, Process::Nemesis(_))) {
        let Some(name) = op.f.strip_prefix("start-") else { continue };
        let count = counts.entry(name.to_owned()).or_default();
        match op.value["status"].as_str() {
            Some("installed") => {
                count.installed += 1;
                *count
                    .modes
                    .entry(op.value["mode"].as_str().unwrap_or_default().to_owned())
                    .or_insert(0) += 1;
            }
            Some("skipped") => count.skipped += 1,
            _ => count.indeterminate += 1,
        }
    }
    counts
}

/// Of the source the runner was called in, with `-dirty` behind it if a file of that source is not as the commit has it; empty outside
/// a repository. What the binary was built from only its hash tells.
pub fn commit() -> String {
    commit_in(Path::new("."))
}

fn commit_in(dir: &Path) -> String {
    let git = |arguments: &[&str]| {
        let said = std::process::Command::new("git").current_dir(dir).args(arguments).output();
        said.map_or(String::new(), |said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--verify", "--quiet", "HEAD"]);
    let is_dirty = !commit.is_empty() && !git(&["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"]).is_empty();
    commit + if is_dirty { "-dirty" } else { "" }
}

fn hash(binary: &Path) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut std::fs::File::open(binary)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The call that makes this cell again, whatever the defaults are then.
fn repeat(cell: &CellOptions) -> String {
    let mut words = vec!["jepsen test --workload".to_owned(), quoted(&cell.workload)];
    let mut option = |flag: &str, value: &str| words.extend([flag.to_owned(), quoted(value)]);
    if !cell.nemeses.is_empty() {
        option("--nemesis", &cell.nemeses.join(","));
    }
    option("--nodes", &cell.nodes.to_string());
    option("--seconds", &cell.seconds.to_string());
    option("--seed", &cell.seed.to_string());
    option("--rate", &cell.rate.to_string());
    option("--profile", &cell.profile);
    option("--workers", &cell.workers.to_string());
    option("--ground", cell.ground.name());
    for pair in &cell.environment {
        option("--env", pair);
    }
    if !is_beside(&cell.binary) {
        option("--binary", &cell.binary.display().to_string());
    }
    if cell.lying_disks {
        words.push("--lying-disks".to_owned());
    }
    words.join(" ")
}

/// Whether the runner takes this server when none is named.
fn is_beside(binary: &Path) -> bool {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("quorate") == binary
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.,:/=+@%".contains(letter);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Ground;
    use std::path::PathBuf;

    #[test]
    fn a_source_that_is_not_as_its_commit_has_it_is_marked() {
        let dir = tempfile::tempdir().expect("a directory");
        let git = |arguments: &[&str]| {
            let mut git = std::process::Command::new("git");
            git.current_dir(dir.path())
                .args(["-c", "user.name=Q", "-c", "user.email=q@localhost"]);
            assert!(git.args(arguments).status().expect("git runs").success(), "{arguments:?}");
        };
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        git(&["init", "-q"]);
        assert_eq!(commit_in(dir.path()), "", "there is no commit yet");
        write("source", "as committed");
        git(&["add", "source"]);
        git(&["commit", "-q", "--no-gpg-sign", "-m", "first"]);
        write("notes", "which no commit has");
        let clean = commit_in(dir.path());
        assert!(
            clean.len() >= 40 && clean.chars().all(|letter| letter.is_ascii_hexdigit()),
            "{clean}"
        );
        write("source", "changed since");
        assert_eq!(commit_in(dir.path()), clean + "-dirty");
    }

    #[test]
    fn what_repeats_a_run_names_all_that_made_it_what_it_was() {
        let cell = CellOptions {
            workload: "copies".to_owned(),
            nemeses: vec!["kill:one/leader".to_owned(), "workers".to_owned()],
            nodes: 3,
            seconds: 30,
            seed: 7,
            rate: 200,
            ground: Ground::Processes,
            profile: "lan".to_owned(),
            workers: 2,
            dir: PathBuf::from("/gone"),
            binary: PathBuf::from("/built with defects/quorate"),
            environment: vec!["QUORATE_MUTANT=drop-in-use".to_owned(), "SAID=it's so".to_owned()],
            lying_disks: true,
        };
        let expected = "jepsen test --workload copies --nemesis kill:one/leader,workers --nodes 3 --seconds 30 --seed 7 --rate 200 \
                        --profile lan --workers 2 --ground processes --env QUORATE_MUTANT=drop-in-use --env 'SAID=it'\\''s so' \
                        --binary '/built with defects/quorate' --lying-disks";
        assert_eq!(repeat(&cell), expected);
        let beside = std::env::current_exe().expect("a path").with_file_name("quorate");
        let plain = CellOptions {
            binary: beside,
            environment: Vec::new(),
            lying_disks: false,
            ..cell
        };
        assert!(repeat(&plain).ends_with("--ground processes"), "{}", repeat(&plain));
    }
}
