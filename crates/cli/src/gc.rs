//! `quorate gc`: what is to be deleted from vaults, and whether a vault holds what it should.

mod abandon;
mod manifests;

use crate::amounts::{counted, distance, number};
use crate::api::path;
use crate::confirm::ConfirmArguments;
use crate::context::Context;
use crate::output::{self, Sheet, list, text};
use crate::vault_access::{self, VaultAccessArguments};
use clap::Subcommand;
use futures::TryStreamExt as _;
use manifests::Manifests;
use quorate_model::vault_paths::is_of_a_cluster;
use quorate_objects::{ObjectInfo, Vault};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum GcVerb {
    /// Say what will be deleted, when and why: what is decided, then what was dropped and can still be seen. Changes nothing.
    Plan,
    /// Compare a vault with what the cluster knows of it: files that are missing, manifests of snapshots among them, and files that nothing
    /// refers to, though they are called as the cluster calls its own. Others are counted. Changes nothing; the exit code is 1 when
    /// something is missing or damaged.
    Verify {
        instance: String,
        /// Name or id of the vault; the peers' local directory when absent.
        #[arg(long, default_value = "")]
        vault: String,
        #[command(flatten)]
        access: VaultAccessArguments,
    },
    /// Forget what is to be deleted from a vault that is gone for ever, such as a bucket that was deleted or a disk that was lost: it would be
    /// tried again for ever, and the records of dropped instances wait for it. Refused while anything is kept in the vault. Nothing is
    /// deleted: what is there after all stays there.
    Abandon {
        /// An instance that has the vault, dropped or not. What others wanted deleted from the same store is forgotten, too.
        instance: String,
        /// Name or id of the vault; the peers' local directory when absent.
        #[arg(long, default_value = "")]
        vault: String,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

pub async fn run(verb: GcVerb, context: &Context) -> anyhow::Result<ExitCode> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        GcVerb::Plan => {
            let deletions = connection
                .all(&path(&["deletions"]), &[("include_waiting", "true".to_owned())], "deletions")
                .await?;
            output::show(&context.output, Json::Array(deletions), plan_sheet);
            Ok(ExitCode::SUCCESS)
        }
        GcVerb::Verify { instance, vault, access } => {
            let opened = vault_access::open(&connection, &instance, &vault, &access).await?;
            let files = path(&["instances", &instance, "vault", "files"]);
            let known = connection.all(&files, &[("vault", vault.clone())], "known").await?;
            let Listed { found, of_others } = listed(&opened, &directories_of_snapshots(&known)).await?;
            let mut compared = compare(&found, &known);
            if !compared.is_clean() {
                // What came or went meanwhile is not out of place: only what two looks agree on is.
                let known = connection.all(&files, &[("vault", vault.clone())], "known").await?;
                compared = compared.confirmed_by(&compare(&found, &known));
                compared.missing = still_missing(&opened, compared.missing).await?;
            }
            let manifests = manifests::look_for(&connection, &instance, &vault, &opened).await?;
            let is_whole = compared.missing.is_empty() && compared.damaged.is_empty() && manifests.missing == 0;
            output::show(&context.output, compared.json(&manifests, of_others), verify_sheet);
            Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        GcVerb::Abandon { instance, vault, confirm } => {
            abandon::run(&instance, &vault, &confirm, &connection, context).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is in a vault.
#[derive(Default)]
struct Listed {
    /// What may be the cluster's and needs to be compared.
    found: Vec<ObjectInfo>,
    /// How many files are nothing of a cluster's, such as Doris's own data and what is in a vault below this one.
    of_others: u64,
}

/// Lists a vault, without what is below directories of which whatever is there is accounted for. Of what is not a cluster's no more is
/// kept than the number: there may be any amount of it.
async fn listed(vault: &Vault, whole: &BTreeSet<String>) -> anyhow::Result<Listed> {
    let mut listed = Listed::default();
    let mut objects = vault.list(None);
    while let Some(info) = objects.try_next().await? {
        if is_below(&info.path, whole) {
            continue;
        }
        match is_of_a_cluster(&info.path) {
            true => listed.found.push(info),
            false => listed.of_others += 1,
        }
    }
    Ok(listed)
}

/// What a vault and the cluster say differently.
#[derive(Debug, Default, PartialEq)]
struct Compared {
    known: u64,
    missing: Vec<String>,
    /// Of another size than the cluster knows.
    damaged: Vec<String>,
    unreferenced: Vec<String>,
}

impl Compared {
    fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.damaged.is_empty() && self.unreferenced.is_empty()
    }

    /// What both looks found.
    fn confirmed_by(self, other: &Compared) -> Compared {
        let both = |one: Vec<String>, other: &[String]| one.into_iter().filter(|name| other.contains(name)).collect();
        Compared {
            known: self.known,
            missing: both(self.missing, &other.missing),
            damaged: both(self.damaged, &other.damaged),
            unreferenced: both(self.unreferenced, &other.unreferenced),
        }
    }

    /// Missing manifests are missing files; whose they are is said beside.
    fn json(&self, manifests: &Manifests, of_others: u64) -> Json {
        let named = manifests.named();
        let mut missing = self.missing.clone();
        missing.extend(named.iter().map(|manifest| text(manifest, "file")));
        json!({
            "files": self.known.to_string(), "manifests": manifests.known.to_string(), "missing": missing, "damaged": self.damaged,
            "unreferenced": self.unreferenced, "missing_manifests": named, "further_missing_manifests": manifests.unnamed().to_string(),
            "files_of_others": of_others.to_string()
        })
    }
}

/// Directories of snapshots of which whatever is there is accounted for: they may hold a file for each segment, which need not be
/// remembered.
fn directories_of_snapshots(known: &[Json]) -> BTreeSet<String> {
    let whole = known
        .iter()
        .filter(|entry| text(entry, "kind") == "KNOWN_SNAPSHOT" && list(entry, "files").is_empty());
    whole.map(|entry| text(entry, "path")).collect()
}

/// `found` may lack what is below [`directories_of_snapshots`].
fn compare(found: &[ObjectInfo], known: &[Json]) -> Compared {
    let mut expected = BTreeMap::new();
    // Directories of which whatever is there is accounted for.
    let mut whole = BTreeSet::new();
    let mut condemned = BTreeSet::new();
    for entry in known {
        let directory = text(entry, "path");
        let files = list(entry, "files");
        if files.is_empty() {
            whole.insert(directory.clone());
        }
        for file in files {
            let name = format!("{directory}/{}", text(file, "name"));
            match text(entry, "kind").as_str() {
                "KNOWN_SEGMENT" => drop(expected.insert(name, Some(number(file, "size_bytes")))),
                // Written again with its lists, so of no size that anybody knows.
                "KNOWN_SNAPSHOT" => drop(expected.insert(name, None)),
                _ => drop(condemned.insert(name)),
            }
        }
    }
    let sizes: BTreeMap<&str, u64> = found.iter().map(|info| (info.path.as_str(), info.size)).collect();
    let mut compared = Compared {
        known: expected.len() as u64,
        ..Compared::default()
    };
    for (name, size) in &expected {
        match sizes.get(name.as_str()) {
            None => compared.missing.push(name.clone()),
            Some(actual) if size.is_some_and(|size| size != *actual) => compared.damaged.push(name.clone()),
            Some(_) => {}
        }
    }
    for name in sizes.keys() {
        let is_known = expected.contains_key(*name) || condemned.contains(*name) || is_below(name, &whole);
        if !is_known {
            compared.unreferenced.push((*name).to_owned());
        }
    }
    compared
}

/// Those that are not there when they are asked for one by one either.
async fn still_missing(vault: &Vault, names: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for name in names {
        if manifests::is_absent(vault, &name).await? {
            missing.push(name);
        }
    }
    Ok(missing)
}

fn is_below(name: &str, directories: &BTreeSet<String>) -> bool {
    let ends = name.match_indices('/').map(|(at, _)| at);
    ends.into_iter().any(|end| directories.contains(&name[..end]))
}

fn plan_sheet(found: &Json) -> (String, Sheet) {
    let found = found.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new(["INSTANCE", "VAULT", "DIRECTORY", "FILES", "WHEN", "WHY"]);
    for deletion in found {
        sheet.row([
            text(deletion, "instance_id"),
            text(deletion, "vault"),
            text(deletion, "path"),
            files(deletion),
            when(deletion),
            text(deletion, "reason"),
        ]);
    }
    let decided = found.iter().filter(|deletion| text(deletion, "state") == "CONDEMNED").count();
    let waiting = match found.len() - decided {
        0 => "nothing else was dropped".to_owned(),
        count => format!(
            "{} can still be seen or wait to be collected",
            counted(count as u64, "dropped object")
        ),
    };
    let sentence = match decided {
        0 => format!("Nothing is to be deleted now; {waiting}."),
        1 => format!("1 directory is to be deleted, whole or in part; {waiting}."),
        count => format!("{count} directories are to be deleted, whole or in part; {waiting}."),
    };
    (sentence, sheet)
}

fn files(deletion: &Json) -> String {
    match (list(deletion, "files").len(), number(deletion, "file_count")) {
        (0, 0) if text(deletion, "state") == "CONDEMNED" => "all".to_owned(),
        (0, 0) => String::new(),
        (0, count) => count.to_string(),
        (count, _) => count.to_string(),
    }
}

/// From when on its files can go, or who keeps them.
fn when(deletion: &Json) -> String {
    let time = distance(number(deletion, "not_before_ms"));
    let pinned_by: Vec<&str> = list(deletion, "pinned_by").iter().filter_map(Json::as_str).collect();
    match text(deletion, "state").as_str() {
        "PINNED" => format!("after {}", pinned_by.join(", ")),
        "COLLECTING" => "soon".to_owned(),
        _ if time.ends_with("ago") => "now".to_owned(),
        _ => time,
    }
}

fn verify_sheet(compared: &Json) -> (String, Sheet) {
    let [named, damaged, unreferenced] = ["missing", "damaged", "unreferenced"].map(|what| list(compared, what).len() as u64);
    let unnamed = number(compared, "further_missing_manifests");
    let of_others = match number(compared, "files_of_others") {
        0 => String::new(),
        count => format!(" Not this cluster's, to go by the name: {}.", counted(count, "file")),
    };
    let sentence = format!(
        "Of {} and {} that the cluster knows, {} are missing and {damaged} have another size; {} nothing refers to.{of_others}",
        counted(number(compared, "files"), "file"),
        counted(number(compared, "manifests"), "manifest"),
        named + unnamed,
        counted(unreferenced, "further file")
    );
    let of_snapshots: BTreeMap<String, String> = list(compared, "missing_manifests").iter().map(owner).collect();
    let mut sheet = Sheet::new(["WHAT", "FILE", "SNAPSHOT"]);
    for what in ["missing", "damaged", "unreferenced"] {
        for file in list(compared, what) {
            let file = file.as_str().unwrap_or_default().to_owned();
            let snapshot = of_snapshots.get(&file).cloned().unwrap_or_default();
            sheet.row([what.to_owned(), file, snapshot]);
        }
    }
    if unnamed > 0 {
        sheet.row(["missing".to_owned(), counted(unnamed, "further manifest"), String::new()]);
    }
    (sentence, sheet)
}

/// A missing manifest, and the snapshot that it belongs to.
fn owner(manifest: &Json) -> (String, String) {
    let [name, id, instance] = ["snapshot_name", "snapshot_id", "instance_id"].map(|member| text(manifest, member));
    (text(manifest, "file"), format!("{name} ({id}) of {instance}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_objects::{LocalPlace, Patience, VaultPlace};

    #[test]
    fn a_plan_says_when_each_goes_and_who_keeps_the_others() {
        let found = json!([
            {"state": "CONDEMNED", "path": "s1/j7", "not_before_ms": "1", "reason": "job 7 ended without being published"},
            {"state": "IN_HISTORY", "not_before_ms": "99999999999999", "file_count": "3"},
            {"state": "PINNED", "not_before_ms": "1", "pinned_by": ["snapshot at revision 5"], "files": ["a"]},
        ]);
        assert_eq!(
            plan_sheet(&found).0,
            "1 directory is to be deleted, whole or in part; 2 dropped objects can still be seen or wait to be collected."
        );
        let shown = |at: usize| (files(&found[at]), when(&found[at]));
        assert_eq!(shown(0), ("all".to_owned(), "now".to_owned()));
        assert!(shown(1).0 == "3" && shown(1).1.starts_with("in "), "{:?}", shown(1));
        assert_eq!(shown(2), ("1".to_owned(), "after snapshot at revision 5".to_owned()));
        assert_eq!(plan_sheet(&json!([])).0, "Nothing is to be deleted now; nothing else was dropped.");
    }

    #[test]
    fn missing_damaged_and_unreferenced_files_are_told_apart() {
        let info = |path: &str, size| ObjectInfo {
            path: path.to_owned(),
            size,
            checksum: None,
        };
        let found = [
            info("s1/c2/p3/g4/a", 5),
            info("s1/c2/p3/g4/short", 1),
            info("s1/c2/p3/g9/upload", 5),
            info("s1/c2/p3/g5/condemned", 5),
            info("s1/c2/p3/g4/stray", 5),
            info("s1/j7/t1-f1/g9/orphan", 5),
            info("s1/j8/t1-f1/g9/copy", 5),
            info("snapshot/0000000000000003/image", 5),
            info("snapshots/2/manifests/7/4.avro", 5),
            info("snapshots/2/metadata/6.json", 5),
            info("snapshots/2/metadata/7.json", 5),
        ];
        let known = [
            json!({"kind": "KNOWN_SEGMENT", "path": "s1/c2/p3/g4", "files": [
                {"name": "a", "size_bytes": "5"}, {"name": "gone", "size_bytes": "5"}, {"name": "short", "size_bytes": "5"}
            ]}),
            json!({"kind": "KNOWN_UPLOAD", "path": "s1/c2/p3/g9"}),
            json!({"kind": "KNOWN_CONDEMNED", "path": "s1/c2/p3/g5", "files": [{"name": "condemned"}]}),
            json!({"kind": "KNOWN_UPLOAD", "path": "s1/j8"}),
            json!({"kind": "KNOWN_SNAPSHOT", "path": "snapshot/0000000000000003"}),
            json!({"kind": "KNOWN_SNAPSHOT", "path": "snapshots/2/manifests/7"}),
            json!({"kind": "KNOWN_SNAPSHOT", "path": "snapshots/2/metadata", "files": [{"name": "7.json"}, {"name": "8.json"}]}),
        ];
        let compared = compare(&found, &known);
        assert_eq!(compared.missing, ["s1/c2/p3/g4/gone", "snapshots/2/metadata/8.json"]);
        assert_eq!(compared.damaged, ["s1/c2/p3/g4/short"]);
        let unreferenced = ["s1/c2/p3/g4/stray", "s1/j7/t1-f1/g9/orphan", "snapshots/2/metadata/6.json"];
        assert_eq!(compared.unreferenced, unreferenced);
        assert_eq!(compared.known, 5);
        let of_snapshots = directories_of_snapshots(&known);
        let others = found.into_iter().filter(|info| !is_below(&info.path, &of_snapshots));
        let others: Vec<ObjectInfo> = others.collect();
        assert_eq!(others.len(), 9, "the manifest and the image need not be remembered");
        assert_eq!(compare(&others, &known), compared);
    }

    #[tokio::test]
    async fn files_of_others_are_counted_and_not_called_unreferenced() {
        let root = tempfile::tempdir().expect("a directory");
        let place = LocalPlace {
            root: root.path().to_owned(),
            cluster_id: "c".to_owned(),
            vault_id: "v".to_owned(),
        };
        Vault::create_marker(&place).await.expect("marked");
        let vault = Vault::open(&VaultPlace::Local(place), Patience::default()).await.expect("opened");
        for file in [
            "data/10005/020000000000002a_0.dat",
            "other/s1/c2/p3/g4/a",
            "s1/c2/p3/g4/a",
            "s1/j7/t1-f1/g9/orphan",
            "snapshots/2/manifests/7/4.avro",
        ] {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().expect("has one")).expect("made");
            std::fs::write(file, b"bytes").expect("written");
        }
        let known = [
            json!({"kind": "KNOWN_SEGMENT", "path": "s1/c2/p3/g4", "files": [{"name": "a", "size_bytes": "5"}]}),
            json!({"kind": "KNOWN_SNAPSHOT", "path": "snapshots/2/manifests/7"}),
        ];
        let listed = listed(&vault, &directories_of_snapshots(&known)).await.expect("listed");
        assert_eq!(listed.of_others, 2);
        let compared = compare(&listed.found, &known);
        assert_eq!(compared.unreferenced, ["s1/j7/t1-f1/g9/orphan"]);
        assert_eq!((compared.missing.len(), compared.damaged.len()), (0, 0));
        let shown = compared.json(&Manifests::default(), listed.of_others);
        assert_eq!(shown["files_of_others"], "2");
        let (sentence, sheet) = verify_sheet(&shown);
        assert!(
            sentence.ends_with("1 further file nothing refers to. Not this cluster's, to go by the name: 2 files."),
            "{sentence}"
        );
        assert!(!sheet.render().contains(".dat"), "whoever cleans up by the list leaves it alone");
    }

    #[test]
    fn a_missing_manifest_stands_beside_its_snapshot() {
        let compared = json!({
            "files": "3", "manifests": "1200", "missing": ["s1/g", "snapshots/2/manifests/7/5.avro"], "damaged": [], "unreferenced": ["x"],
            "missing_manifests": [
                {"file": "snapshots/2/manifests/7/5.avro", "instance_id": "i", "snapshot_id": "07", "snapshot_name": "nightly"}
            ],
            "further_missing_manifests": "9"
        });
        let (sentence, sheet) = verify_sheet(&compared);
        assert_eq!(
            sentence,
            "Of 3 files and 1200 manifests that the cluster knows, 11 are missing and 0 have another size; \
             1 further file nothing refers to."
        );
        let rows = sheet.render();
        let row = |file: &str| rows.lines().find(|line| line.contains(file)).map(str::to_owned).unwrap_or_default();
        assert!(row("5.avro").ends_with("nightly (07) of i"), "{rows}");
        assert!(row("s1/g").ends_with("s1/g") && row("9 further").starts_with("missing"), "{rows}");
    }
}
