//! Where vaults are, as callers are told: without credentials, but for workers.

use super::call::{at_one_revision_large, before_read};
use super::reply::CallInfo;
use crate::jobs::{PeerVaults, shown_vault};
use quorate_consensus::{Deadline, Node};
use quorate_model::{ErrorCode, MetaError, ScopeId};
use quorate_objects::{BucketStyle, Http, ObjectError, ObjectErrorKind, Patience, VaultPlace};
use quorate_state_machine::catalog::storage;
use quorate_state_machine::command::ApplyError;
use quorate_state_machine::limits::MAX_NAMED_USERS;
use quorate_state_machine::queries::store_uses::store_uses;
use quorate_state_machine::{Reader, attributes};
use quorate_wire::quorate::v1 as wire;
use std::convert::identity;
use std::time::Duration;
use tokio::time::Instant;

/// Without credentials.
pub fn described(place: &VaultPlace) -> wire::VaultDescription {
    match place {
        VaultPlace::Local(place) => wire::VaultDescription {
            local: Some(wire::LocalVault {
                root: place.root.display().to_string(),
                cluster_id: place.cluster_id.clone(),
                vault_id: place.vault_id.clone(),
            }),
            s3: None,
        },
        VaultPlace::S3(place) => wire::VaultDescription {
            local: None,
            s3: Some(wire::S3Vault {
                endpoint: place.endpoint.clone(),
                region: place.region.clone(),
                bucket: place.bucket.clone(),
                prefix: place.prefix.clone(),
                path_style: place.bucket_style == BucketStyle::Path,
                allow_http: place.http == Http::Allow,
                cluster_id: place.cluster_id.clone(),
                former_clusters: place.former_clusters.clone(),
            }),
        },
    }
}

/// The scope of an instance that lives and has this vault. One that it has not is no vault that cannot be used now.
pub fn scope_with_vault(reader: &dyn Reader, instance_id: &str, vault: &str) -> Result<ScopeId, ApplyError> {
    let scope = attributes::live_scope(reader, instance_id)?;
    match storage::resolve(reader, &storage::owner(reader, scope)?, vault) {
        Ok(_) => Ok(scope),
        Err(ApplyError::Refused(error)) if error.code == ErrorCode::VaultNotFound => {
            let message = format!("{error}; `quorate vault list {instance_id}` shows those it has");
            Err(MetaError::new(error.code, message).into())
        }
        Err(error) => Err(error),
    }
}

/// Opens a vault and asks its store, for at most half of what is left of the call, so that there is time to say what is wrong.
pub async fn check_access(node: &Node, vaults: &PeerVaults, scope: ScopeId, vault: &str, deadline: Deadline) -> Result<(), MetaError> {
    let patience = deadline.saturating_duration_since(Instant::now()) / 2;
    // Whoever waits for the answer would rather hear at once what the store says; a job has the patience to ask again.
    let once = Patience {
        attempts: 1,
        ..Patience::default()
    };
    let look = async { vaults.open_within(scope.0, vault, once).await?.check_access().await };
    let looked = tokio::time::timeout(patience, look).await;
    looked
        .unwrap_or_else(|_| Err(no_answer(&shown_vault(node, scope, vault), patience)))
        .map_err(vault_error)
}

/// Refuses while anything is kept in the store that an instance means by a vault, and says what: a store that is used is not gone for ever.
pub async fn check_unused(node: &Node, instance_id: &str, vault: &str, info: &CallInfo) -> Result<(), MetaError> {
    before_read(node, wire::Consistency::Linearizable, info).await?;
    let mut after = Vec::new();
    loop {
        let (instance, name) = (instance_id.to_owned(), vault.to_owned());
        let look = move |reader: &dyn Reader| store_uses(reader, &instance, &name, &after);
        let (_, page) = at_one_revision_large(node, info.deadline, look, identity).await?;
        if !page.uses.is_empty() {
            let message = in_use(instance_id, vault, page.uses.into_iter().collect());
            return Err(MetaError::new(ErrorCode::PreconditionFailed, message));
        }
        if page.next.is_empty() {
            return Ok(());
        }
        after = page.next;
    }
}

fn in_use(instance_id: &str, vault: &str, users: Vec<String>) -> String {
    let vault = match vault {
        "" => "the local vault".to_owned(),
        vault => format!("vault {vault} of instance {instance_id}"),
    };
    let more = if users.len() < MAX_NAMED_USERS { "" } else { " and perhaps others" };
    format!(
        "{vault} is in use by {}{more}; drop these first if it is gone for ever, and see `quorate gc plan` for when nothing shows them any more",
        users.join(", ")
    )
}

fn no_answer(vault: &str, waited: Duration) -> ObjectError {
    let message = format!(
        "the store of {vault} does not answer within {} ms; check that its endpoint is reachable from this peer",
        waited.as_millis()
    );
    ObjectError::new(ObjectErrorKind::StoreDown, message)
}

/// Why a vault cannot be used, as an error of a call.
pub fn vault_error(error: ObjectError) -> MetaError {
    let code = match error.kind {
        ObjectErrorKind::NotFound => ErrorCode::VaultNotFound,
        _ => ErrorCode::VaultUnusable,
    };
    MetaError::new(code, error.message)
}
