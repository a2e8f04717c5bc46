//! Whether every manifest that snapshots must have is in its vault.
//!
//! A page of them is asked for at a time and each is looked for by its name, so that it takes no more memory for a million segments than
//! for a thousand. What is missing is named up to a bound, and counted beyond.

use crate::api::path;
use crate::doris::Connection;
use crate::output::{list, text};
use futures::{StreamExt as _, TryStreamExt as _};
use quorate_objects::{ObjectErrorKind, ObjectPath, Vault};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// Manifests that are looked for at once.
const AT_ONCE: usize = 16;
/// Missing ones that are named.
const MOST_NAMED: usize = 1_000;

/// A manifest, and the snapshot that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Manifest {
    instance_id: String,
    snapshot_id: String,
    snapshot_name: String,
    /// From the vault's root.
    file: String,
}

/// What was found of all.
#[derive(Debug, Default, PartialEq)]
pub struct Manifests {
    pub known: u64,
    pub missing: u64,
    named: Vec<Manifest>,
}

impl Manifests {
    /// The missing ones, as many as are named: file, and whose it is.
    pub fn named(&self) -> Vec<Json> {
        let shown = |manifest: &Manifest| {
            let Manifest {
                instance_id,
                snapshot_id,
                snapshot_name,
                file,
            } = manifest;
            json!({"file": file, "instance_id": instance_id, "snapshot_id": snapshot_id, "snapshot_name": snapshot_name})
        };
        self.named.iter().map(shown).collect()
    }

    /// How many are missing beyond these.
    pub fn unnamed(&self) -> u64 {
        self.missing - self.named.len() as u64
    }

    fn add_missing(&mut self, missing: Vec<Manifest>) {
        self.missing += missing.len() as u64;
        let room = MOST_NAMED - self.named.len();
        self.named.extend(missing.into_iter().take(room));
    }
}

/// Looks for all of a vault of an instance, whosever snapshots they are of.
pub async fn look_for(connection: &Connection, instance: &str, vault_name: &str, vault: &Vault) -> anyhow::Result<Manifests> {
    let path = path(&["instances", instance, "vault", "manifests"]);
    let mut found = Manifests::default();
    let mut page_token = String::new();
    loop {
        let parameters = [("vault", vault_name.to_owned()), ("page_token", page_token)];
        // Each page has its whole time: there may be many.
        let page = connection.anew().get(&path, &parameters).await?;
        let expected = manifests_of(&page);
        found.known += expected.len() as u64;
        let missing = absent(vault, expected).await?;
        found.add_missing(still_expected(connection, missing).await?);
        page_token = text(&page, "next_page_token");
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

fn manifests_of(page: &Json) -> Vec<Manifest> {
    let mut manifests = Vec::new();
    for part in list(page, "manifests") {
        let directory = text(part, "path");
        let names = list(part, "files").iter().filter_map(Json::as_str);
        manifests.extend(names.map(|name| Manifest {
            instance_id: text(part, "instance_id"),
            snapshot_id: text(part, "snapshot_id"),
            snapshot_name: text(part, "snapshot_name"),
            file: format!("{directory}/{name}"),
        }));
    }
    manifests
}

/// Those that are not in the vault, by name.
async fn absent(vault: &Vault, manifests: Vec<Manifest>) -> anyhow::Result<Vec<Manifest>> {
    let asked = futures::stream::iter(manifests).map(|manifest| async move {
        let is_absent = is_absent(vault, &manifest.file).await?;
        Ok::<_, anyhow::Error>(is_absent.then_some(manifest))
    });
    let asked: Vec<Option<Manifest>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
    let mut absent: Vec<Manifest> = asked.into_iter().flatten().collect();
    absent.sort();
    Ok(absent)
}

/// Whether a vault has no file of this name. A vault that cannot be asked is an error.
pub async fn is_absent(vault: &Vault, file: &str) -> anyhow::Result<bool> {
    match vault.head(&ObjectPath::new(file)?).await {
        Ok(_) => Ok(false),
        Err(error) if error.kind == ObjectErrorKind::NotFound => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Those whose snapshots are still there: one that was dropped meanwhile has lost its manifests by right, and none is committed again.
async fn still_expected(connection: &Connection, missing: Vec<Manifest>) -> anyhow::Result<Vec<Manifest>> {
    let mut committed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Manifest { instance_id, .. } in &missing {
        if committed.contains_key(instance_id) {
            continue;
        }
        let snapshots = path(&["instances", instance_id, "snapshots"]);
        let snapshots = connection.anew().all(&snapshots, &[], "snapshots").await?;
        committed.insert(instance_id.clone(), committed_of(&snapshots));
    }
    let is_expected = |manifest: &Manifest| committed[&manifest.instance_id].contains(&manifest.snapshot_id);
    Ok(missing.into_iter().filter(is_expected).collect())
}

fn committed_of(snapshots: &[Json]) -> BTreeSet<String> {
    let committed = snapshots.iter().filter(|snapshot| text(snapshot, "state") == "COMMITTED");
    committed.map(|snapshot| text(snapshot, "snapshot_id")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_objects::{LocalPlace, Patience, VaultPlace};

    fn page() -> Json {
        let nightly = json!({
            "instance_id": "i", "snapshot_id": "7", "snapshot_name": "nightly", "path": "snapshots/2/manifests/7",
            "files": ["4.avro", "5.avro"]
        });
        let whole = json!({
            "instance_id": "j", "snapshot_id": "9", "snapshot_name": "whole", "path": "snapshots/3/manifests/9", "files": ["4.avro"]
        });
        json!({"next_page_token": "", "manifests": [nightly, whole]})
    }

    #[tokio::test]
    async fn manifests_that_are_not_there_are_named_with_their_snapshots() {
        let root = tempfile::tempdir().expect("a directory");
        let place = LocalPlace {
            root: root.path().to_owned(),
            cluster_id: "c".to_owned(),
            vault_id: "v".to_owned(),
        };
        Vault::create_marker(&place).await.expect("marked");
        let vault = Vault::open(&VaultPlace::Local(place), Patience::default()).await.expect("opened");
        let directory = root.path().join("snapshots/2/manifests/7");
        std::fs::create_dir_all(&directory).expect("made");
        std::fs::write(directory.join("4.avro"), b"m").expect("written");
        let expected = manifests_of(&page());
        assert_eq!(expected.len(), 3);
        let mut found = Manifests::default();
        found.add_missing(absent(&vault, expected.clone()).await.expect("looked for"));
        assert_eq!((found.missing, found.unnamed()), (2, 0));
        let named = json!([
            {"file": "snapshots/2/manifests/7/5.avro", "instance_id": "i", "snapshot_id": "7", "snapshot_name": "nightly"},
            {"file": "snapshots/3/manifests/9/4.avro", "instance_id": "j", "snapshot_id": "9", "snapshot_name": "whole"},
        ]);
        assert_eq!(Json::Array(found.named()), named);
        std::fs::remove_file(root.path().join(quorate_objects::MARKER_NAME)).expect("removed");
        assert!(
            absent(&vault, expected).await.is_err(),
            "a share that has gone away is missing no file"
        );
    }

    #[test]
    fn what_is_missing_is_counted_beyond_what_is_named() {
        let mut found = Manifests::default();
        let manifest = manifests_of(&page()).remove(0);
        for _ in 0..3 {
            found.add_missing(vec![manifest.clone(); 600]);
        }
        assert_eq!((found.missing, found.named().len(), found.unnamed()), (1_800, MOST_NAMED, 800));
    }

    #[test]
    fn only_committed_snapshots_must_have_their_manifests() {
        let snapshots = [
            json!({"snapshot_id": "7", "state": "COMMITTED"}),
            json!({"snapshot_id": "9", "state": "PENDING"}),
        ];
        assert_eq!(committed_of(&snapshots), BTreeSet::from(["7".to_owned()]));
    }
}
