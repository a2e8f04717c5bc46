//! Whether this peer's root keys are the cluster's. Until that is known it encrypts nothing and is not ready: what it sealed
//! under a key of its own, no other peer could read.
//!
//! Keys are rotated by adding the new one to every file and taking the old one out later, so a peer of the cluster always has
//! one in common with those that were registered. A file without any is another cluster's, or was made anew.

use crate::app::App;
use crate::secrets::SecretBox;
use crate::serve::StartError;
use quorate_consensus::Node;
use quorate_model::{ErrorCode, MetaError};
use quorate_state_machine::commands::RegisterRootKey;
use quorate_state_machine::queries::root_keys;
use std::collections::BTreeMap;
use std::time::Duration;

/// Pause between two attempts. Followers of a new cluster wait in it for the leader's keys, and `/readyz` with them.
const RETRY: Duration = Duration::from_millis(50);

/// Compares until it is known, and lets the peer seal then. Ends only if the keys are refused.
pub async fn check(app: &App, node: &Node) -> StartError {
    let mut said = None;
    loop {
        match compare(app, node).await {
            Ok(()) => break,
            Err(error) if error.code == ErrorCode::AlreadyExists => return StartError::Place(error.message),
            Err(error) if said == Some(error.code) => {}
            Err(error) => {
                tracing::info!(%error, "root keys are not compared yet");
                said = Some(error.code);
            }
        }
        tokio::time::sleep(RETRY).await;
    }
    app.secrets.release();
    std::future::pending().await
}

async fn compare(app: &App, node: &Node) -> Result<(), MetaError> {
    node.read_barrier(app.default_deadline()).await?;
    let known = node.read(root_keys::registered);
    let known = known.map_err(|error| MetaError::internal(error.to_string()))?;
    // Somebody's must be the first. Were it whoever comes first, two files could both become the cluster's.
    if known.is_empty() && !node.is_leader() {
        return Err(MetaError::new(
            ErrorCode::NotReady,
            "the leader has not registered its root keys yet",
        ));
    }
    let new = unregistered(&app.secrets, &known, app.config.root_keys_lost)?;
    for command in &new {
        node.execute(command, None, app.default_deadline()).await?;
    }
    let absent: Vec<i64> = known
        .into_keys()
        .filter(|key_id| app.secrets.check_value(*key_id).is_none())
        .collect();
    if !absent.is_empty() {
        tracing::warn!(
            ?absent,
            "the cluster has used root keys that are not in this peer's file: what is still encrypted by them cannot be read here"
        );
    }
    Ok(())
}

/// The keys of this peer that the cluster does not know yet; an error when the two do not belong together.
fn unregistered(secrets: &SecretBox, known: &BTreeMap<i64, Vec<u8>>, lost: bool) -> Result<Vec<RegisterRootKey>, MetaError> {
    let (mut new, mut in_common) = (Vec::new(), 0);
    for key_id in secrets.key_ids() {
        let check_value = secrets.check_value(key_id).unwrap_or_default().as_bytes().to_vec();
        match known.get(&key_id) {
            None => new.push(RegisterRootKey { key_id, check_value }),
            Some(other) if *other == check_value => in_common += 1,
            Some(_) => {
                let text = format!(
                    "root key {key_id} differs from the cluster's; give every peer the same root key file; if the cluster's is lost for \
                     good, give the new one an id that was never used, and start with --root-keys-lost"
                );
                return Err(MetaError::exists(text));
            }
        }
    }
    if in_common == 0 && !known.is_empty() && !lost {
        let ids = |ids: Vec<i64>| ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        return Err(MetaError::exists(format!(
            "this peer's root keys file has none of the cluster's root keys ({}), only {}; give it the file of the other peers, or if the \
             cluster's keys are lost for good, start it with --root-keys-lost: what they encrypted cannot be read any more",
            ids(known.keys().copied().collect()),
            ids(secrets.key_ids().collect()),
        )));
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of 32 equal bytes, by id.
    fn boxed(keys: &[(i64, &str)]) -> SecretBox {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("root-keys");
        let lines: String = keys.iter().map(|(id, key)| format!("{id} {key}\n")).collect();
        std::fs::write(&path, lines).expect("written");
        SecretBox::load(&path).expect("well-formed")
    }

    const SEVENS: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    const EIGHTS: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

    #[test]
    fn a_file_with_one_key_in_common_belongs_to_the_cluster_and_one_with_none_does_not() {
        let registered = |keys: &[(i64, &str)]| {
            let new = unregistered(&boxed(keys), &BTreeMap::new(), false).expect("the first ones");
            new.into_iter().map(|key| (key.key_id, key.check_value)).collect::<BTreeMap<_, _>>()
        };
        let new = |keys: &[(i64, &str)], known: &BTreeMap<i64, Vec<u8>>| {
            let new = unregistered(&boxed(keys), known, false).map_err(|error| error.message)?;
            Ok::<_, String>(new.into_iter().map(|key| key.key_id).collect::<Vec<_>>())
        };
        let known = registered(&[(1, SEVENS)]);
        assert_eq!(new(&[(1, SEVENS)], &known), Ok(vec![]));
        assert_eq!(new(&[(1, SEVENS), (2, EIGHTS)], &known), Ok(vec![2]), "a key is added");
        let rotated = registered(&[(1, SEVENS), (2, EIGHTS)]);
        assert_eq!(new(&[(2, EIGHTS)], &rotated), Ok(vec![]), "the old one is gone from the file");
        assert_eq!(
            new(&[(1, SEVENS)], &rotated),
            Ok(vec![]),
            "a peer whose file has not been changed yet"
        );

        let refused = new(&[(2, EIGHTS)], &known).expect_err("none in common");
        assert!(
            refused.contains("root keys (1), only 2") && refused.contains("--root-keys-lost"),
            "{refused}"
        );
        let refused = new(&[(1, EIGHTS)], &known).expect_err("another key by the same name");
        assert!(refused.contains("root key 1 differs from the cluster's"), "{refused}");
        let lost = unregistered(&boxed(&[(2, EIGHTS)]), &known, true).expect("as its operator says");
        assert_eq!(lost.len(), 1);
        assert!(
            unregistered(&boxed(&[(1, EIGHTS)]), &known, true).is_err(),
            "a known id is never another key"
        );
    }
}
