//! Dependencies point one way, and pure crates stay pure (ARCHITECTURE.md, invariants 1 and 2); every invariant there has its tests.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Workspace crates each crate may use. A crate that is not listed here has not been thought about.
const MAY_USE: &[(&str, &[&str])] = &[
    ("quorate-wire", &[]),
    ("quorate-model", &["quorate-wire"]),
    ("quorate-state-machine", &["quorate-wire", "quorate-model"]),
    ("quorate-storage", &["quorate-model", "quorate-state-machine"]),
    (
        "quorate-consensus",
        &["quorate-wire", "quorate-model", "quorate-state-machine", "quorate-storage"],
    ),
    (
        "quorate-server",
        &[
            "quorate-wire",
            "quorate-model",
            "quorate-state-machine",
            "quorate-storage",
            "quorate-consensus",
            "quorate-objects",
            "quorate-jobs",
        ],
    ),
    ("quorate-objects", &["quorate-wire", "quorate-model"]),
    (
        "quorate-jobs",
        &["quorate-wire", "quorate-model", "quorate-state-machine", "quorate-objects"],
    ),
    ("quorate-client", &["quorate-wire", "quorate-model"]),
    (
        "quorate",
        &[
            "quorate-wire",
            "quorate-model",
            "quorate-objects",
            "quorate-jobs",
            "quorate-server",
            "quorate-client",
        ],
    ),
    ("quorate-bench", &["quorate-wire", "quorate-client"]),
    ("quorate-tests", &["quorate-wire", "quorate-client", "quorate-objects"]),
    (
        "quorate-jepsen",
        &[
            "quorate-wire",
            "quorate-model",
            "quorate-objects",
            "quorate-client",
            "quorate-tests",
        ],
    ),
    ("quorate-jepsen-netq", &[]),
    ("quorate-jepsen-shim", &[]),
    (
        "quorate-sim",
        &[
            "quorate-wire",
            "quorate-model",
            "quorate-state-machine",
            "quorate-storage",
            "quorate-consensus",
            "quorate-server",
            "quorate-client",
        ],
    ),
];

/// Crates that decide or define, and what must never reach them, directly or through another crate of ours.
const PURE: &[&str] = &["quorate-model", "quorate-state-machine"];
const IMPURE: &[&str] = &[
    "tokio",
    "rocksdb",
    "openraft",
    "rand",
    "getrandom",
    "chrono",
    "time",
    "reqwest",
    "hyper",
];

/// Direct, non-development dependencies of every workspace crate.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let used = package["dependencies"].as_array().expect("dependencies").iter();
            let used = used.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
            let name = package["name"].as_str().expect("name").to_owned();
            (
                name,
                used.map(|dependency| dependency["name"].as_str().expect("name").to_owned())
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let dependencies = dependencies();
    for (name, used) in &dependencies {
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(crate_name, _)| crate_name == name)
            .unwrap_or_else(|| panic!("{name} has no row in MAY_USE"));
        for dependency in used.iter().filter(|dependency| dependencies.contains_key(*dependency)) {
            assert!(allowed.contains(&dependency.as_str()), "{name} may not use {dependency}");
        }
    }
}

#[test]
fn pure_crates_have_no_impure_dependency() {
    let dependencies = dependencies();
    for name in PURE {
        let used = &dependencies[*name];
        for impure in IMPURE {
            assert!(!used.contains(*impure), "{name} may not use {impure}");
        }
    }
}

#[test]
fn openraft_rocksdb_and_object_store_are_named_by_one_crate_each() {
    for (name, used) in dependencies() {
        assert_eq!(used.contains("openraft"), name == "quorate-consensus", "{name} and openraft");
        assert_eq!(used.contains("rocksdb"), name == "quorate-storage", "{name} and rocksdb");
        assert_eq!(used.contains("object_store"), name == "quorate-objects", "{name} and object_store");
    }
}

/// Files under `dir` whose text contains one of `words`, by path.
fn sources_with(dir: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(dir)];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                std::fs::read_dir(&path)
                    .expect("readable")
                    .map(|entry| entry.expect("entry").path()),
            );
        } else if let Ok(text) = std::fs::read_to_string(&path)
            && words.iter().any(|word| text.contains(word))
        {
            found.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn consensus_asks_for_clock_and_randomness_in_one_module() {
    let found = sources_with(
        "crates/consensus/src",
        &["SystemTime::now", "std::time::Instant", "getrandom::", "tokio::net"],
    );
    assert_eq!(found, ["env.rs"]);
    let found = sources_with(
        "crates/state-machine/src",
        &["SystemTime", "Instant::now", "rand::", "std::fs", "std::net", "std::thread"],
    );
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).expect("readable");
    let listed = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next());
    let listed = listed.expect("the list is there").lines();
    let of_others = listed.filter(|line| line.contains(" = ") && !line.starts_with('#') && !line.starts_with("quorate-"));
    let without: Vec<&str> = of_others.filter(|line| !line.contains(" # ")).collect();
    assert!(without.is_empty(), "{without:#?}");
}

/// Number and text of an invariant, if the line is one.
fn invariant(line: &str) -> Option<(&str, &str)> {
    let (number, text) = line.split_once(". ")?;
    let digits = number.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((number, text))
}

/// The tests that an invariant names, each with the file it names before.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let mut file = "";
    let mut named = Vec::new();
    for quoted in text.split('`').skip(1).step_by(2) {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if quoted.ends_with(".rs") {
            file = quoted;
        } else if quoted.contains('_') && quoted.bytes().all(is_name) {
            named.push((file, quoted));
        }
    }
    named
}

/// Names of the functions behind a `#[test]` or `#[tokio::test]`; none where there is no such file.
fn tests_in(file: &Path) -> BTreeSet<String> {
    let source = std::fs::read_to_string(file).unwrap_or_default();
    let mut tests = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, function)) = line.split_once("fn ")
            && is_test
            && !line.starts_with("//")
        {
            tests.extend(function.split('(').next().map(str::to_owned));
            is_test = false;
        }
    }
    tests
}

#[test]
fn every_invariant_names_tests_that_are_where_it_says() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let text = std::fs::read_to_string(root.join("crates/ARCHITECTURE.md")).expect("readable");
    let section = text.split("\n## Invariants\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let invariants: Vec<(&str, &str)> = section.expect("the list is there").lines().filter_map(invariant).collect();
    assert!(invariants.len() > 100, "only {} are recognised", invariants.len());
    let mut wrong = Vec::new();
    for (number, text) in invariants {
        let named = named_tests(text);
        if named.is_empty() {
            wrong.push(format!("{number} names no test"));
        }
        for (file, test) in named {
            let below = if file.starts_with("tests/") || file.starts_with("jepsen/") {
                ""
            } else {
                "crates"
            };
            if !tests_in(&root.join(below).join(file)).contains(test) {
                wrong.push(format!("{number}: there is no test {test} in {file:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
