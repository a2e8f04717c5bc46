//! One build with all defects in it: the server, the simulation, and the tests that the list names.

use super::list::{Catcher, Mutant};
use anyhow::{Context, bail, ensure};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Packages whose defects a build takes in, by the feature of the lowest of them that a test needs.
const WITH_DEFECTS: &[&str] = &[
    "quorate",
    "quorate-consensus",
    "quorate-jobs",
    "quorate-objects",
    "quorate-sim",
    "quorate-state-machine",
    "quorate-storage",
];
/// What the real processes of suites and cells are built with besides.
const HOOKS: &str = "quorate/failpoints,quorate/audit";

/// Executables, kept apart from those of other builds.
pub struct Built {
    /// `deps` in it holds the tests: suites look for the server in the directory above their own.
    dir: PathBuf,
    tests: BTreeMap<(String, String), PathBuf>,
}

impl Built {
    pub fn make(mutants: &[Mutant], out: &Path) -> anyhow::Result<Built> {
        let dir = out.join("bin");
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(dir.join("deps"))?;
        let mut wanted = BTreeSet::new();
        let mut binaries = BTreeSet::new();
        for mutant in mutants {
            match &mutant.catcher {
                Catcher::Sim { .. } => drop(binaries.insert("quorate-sim")),
                Catcher::Cell { .. } => drop(binaries.insert("quorate")),
                Catcher::Test { package, target, .. } => {
                    wanted.insert((package.clone(), target.clone()));
                    if package == "quorate-tests" {
                        binaries.insert("quorate");
                    }
                }
            }
        }
        let mut tests = BTreeMap::new();
        for message in compile(&wanted, &binaries)? {
            let Some((package, target, executable, is_test)) = artifact(&message) else {
                continue;
            };
            let place = match is_test {
                true => dir.join("deps").join(format!("{package}-{target}")),
                false => dir.join(&target),
            };
            let wants = if is_test {
                wanted.contains(&(package.clone(), target.clone()))
            } else {
                binaries.contains(target.as_str())
            };
            if wants {
                std::fs::copy(&executable, &place).with_context(|| executable.display().to_string())?;
                if is_test {
                    tests.insert((package, target), place);
                }
            }
        }
        let missing: Vec<_> = wanted.iter().filter(|test| !tests.contains_key(test)).collect();
        ensure!(missing.is_empty(), "cargo made no executable of {missing:?}");
        Ok(Built { dir, tests })
    }

    /// What to run; `dir` is the run's own.
    pub fn command(&self, catcher: &Catcher, chosen: &str, dir: &Path) -> anyhow::Result<Command> {
        let mut command;
        match catcher {
            Catcher::Sim { from, seeds } => {
                command = Command::new(self.dir.join("quorate-sim"));
                command.args(["--until-broken", "--from", &from.to_string(), "--seeds", &seeds.to_string()]);
                command.arg("--out").arg(dir.join("seeds"));
            }
            Catcher::Test { package, target, filter } => {
                let executable = self.tests.get(&(package.clone(), target.clone())).context("it was built")?;
                command = Command::new(executable);
                command.arg(filter).current_dir(manifest_dir(package)?);
            }
            Catcher::Cell {
                workload,
                nemeses,
                nodes,
                seconds,
                seed,
                lying_disks,
                ..
            } => {
                command = Command::new(std::env::current_exe()?);
                command.args(["test", "--workload", workload, "--nodes", &nodes.to_string()]);
                command.args(["--seconds", &seconds.to_string(), "--seed", &seed.to_string()]);
                command.args(["--nemesis", &nemeses.join(","), "--env", &format!("{}={chosen}", super::VARIABLE)]);
                if workload == "copies" {
                    command.args(["--workers", "2"]);
                }
                if *lying_disks {
                    command.arg("--lying-disks");
                }
                command.arg("--binary").arg(self.dir.join("quorate"));
                command.arg("--out").arg(dir.join("cell"));
            }
        }
        Ok(command)
    }
}

/// Tests are run where cargo runs them.
fn manifest_dir(package: &str) -> anyhow::Result<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let dir = match package.strip_prefix("quorate-") {
        Some("tests") => root.join("tests"),
        Some("sim") => root.join("jepsen/sim"),
        Some(name) => root.join("crates").join(name),
        None => root.join("crates/cli"),
    };
    ensure!(dir.join("Cargo.toml").exists(), "{package} is not at {}", dir.display());
    Ok(dir)
}

/// Builds all of it with the same features, so that nothing is compiled twice; cargo's messages about what it made.
fn compile(tests: &BTreeSet<(String, String)>, binaries: &BTreeSet<&str>) -> anyhow::Result<Vec<Json>> {
    let mut messages = Vec::new();
    let mut targets = Vec::new();
    // Several packages may have a target of one name; cargo wants each name once.
    let names: BTreeSet<&str> = tests.iter().map(|(_, target)| target.as_str()).collect();
    for name in names {
        match name {
            "lib" => targets.push("--lib".to_owned()),
            name => targets.extend(["--test".to_owned(), name.to_owned()]),
        }
    }
    let mut packages: BTreeSet<&str> = tests.iter().map(|(package, _)| package.as_str()).collect();
    if packages.contains("quorate-tests") {
        // One of its suites stands on the simulation: with the same features nothing is compiled a second time.
        packages.insert("quorate-sim");
    }
    if !packages.is_empty() {
        messages.extend(cargo(&["test", "--no-run"], &packages, &targets)?);
    }
    // After the tests: what a suite starts must not be what cargo has made beside them.
    if !binaries.is_empty() {
        messages.extend(cargo(&["build", "--bins"], binaries, &[])?);
    }
    Ok(messages)
}

fn cargo(verb: &[&str], packages: &BTreeSet<&str>, targets: &[String]) -> anyhow::Result<Vec<Json>> {
    let mut features: Vec<String> = packages
        .iter()
        .filter(|package| WITH_DEFECTS.contains(package))
        .map(|package| format!("{package}/mutants"))
        .collect();
    if packages.contains("quorate") {
        features.push(HOOKS.to_owned());
    }
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command
        .args(verb)
        .args(["--message-format", "json-render-diagnostics"])
        .args(targets);
    for package in packages {
        command.args(["-p", package]);
    }
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    println!("building: {command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo starts")?;
    if !output.status.success() {
        bail!("the build with the defects failed");
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{"));
    lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}

/// Package, target, executable, and whether it is a test, if the message is about one.
fn artifact(message: &Json) -> Option<(String, String, PathBuf, bool)> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    let is_test = message["profile"]["test"].as_bool()?;
    let kind = message["target"]["kind"][0].as_str()?;
    // `path+file:///somewhere/crates/model#quorate-model@0.1.0`, or without the name where the directory has it.
    let id = message["package_id"].as_str()?;
    let manifest = message["manifest_path"].as_str()?;
    let package = std::fs::read_to_string(manifest).ok().and_then(|text| {
        let name = text.lines().find_map(|line| line.strip_prefix("name = "))?;
        Some(name.trim_matches('"').to_owned())
    });
    let package = package.unwrap_or_else(|| id.to_owned());
    let target = match kind {
        "lib" => "lib".to_owned(),
        _ => message["target"]["name"].as_str()?.to_owned(),
    };
    Some((package, target, executable, is_test))
}
