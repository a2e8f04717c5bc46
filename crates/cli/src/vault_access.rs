//! Opening a vault from this machine. The cluster says where it is; keys are the caller's own.

use crate::api::path;
use crate::doris::Connection;
use crate::output::{list, text};
use anyhow::{Context as _, bail};
use clap::Args;
use quorate_objects::{BucketStyle, Http, LocalPlace, Patience, S3Place, Secret, Vault, VaultPlace};
use serde_json::Value as Json;
use std::path::PathBuf;

/// Names of the environment that have the caller's keys of object stores.
const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";

#[derive(Clone, Args)]
pub struct VaultAccessArguments {
    /// Where this machine has the directory of a local vault, if not where the peers have it.
    #[arg(long)]
    pub local_vault: Option<PathBuf>,
}

/// Opens a vault of an instance; an empty name is the peers' local directory.
pub async fn open(connection: &Connection, instance: &str, vault: &str, arguments: &VaultAccessArguments) -> anyhow::Result<Vault> {
    let described = connection
        .get(&path(&["instances", instance, "vault"]), &[("vault", vault.to_owned())])
        .await?;
    let place = match (&described["local"], &described["s3"]) {
        (local, _) if local.is_object() => VaultPlace::Local(LocalPlace {
            root: arguments.local_vault.clone().unwrap_or_else(|| PathBuf::from(text(local, "root"))),
            cluster_id: text(local, "cluster_id"),
            vault_id: text(local, "vault_id"),
        }),
        (_, s3) if s3.is_object() => VaultPlace::S3(s3_place(s3)?),
        _ => bail!("this version does not know the kind of vault {vault:?}; upgrade it"),
    };
    let opened = Vault::open(&place, Patience::default()).await;
    opened.context("the vault cannot be opened from this machine")
}

fn s3_place(described: &Json) -> anyhow::Result<S3Place> {
    let key = |name: &str| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty());
        value.with_context(|| {
            format!("the vault is an object store, and {name} is not set: set {ACCESS_KEY} and {SECRET_KEY} to keys of your own")
        })
    };
    let is = |name: &str| described[name].as_bool().unwrap_or_default();
    Ok(S3Place {
        endpoint: text(described, "endpoint"),
        region: text(described, "region"),
        bucket: text(described, "bucket"),
        prefix: text(described, "prefix"),
        access_key: key(ACCESS_KEY)?,
        secret_key: Secret::new(key(SECRET_KEY)?),
        bucket_style: if is("path_style") {
            BucketStyle::Path
        } else {
            BucketStyle::VirtualHost
        },
        http: if is("allow_http") { Http::Allow } else { Http::Refuse },
        cluster_id: text(described, "cluster_id"),
        former_clusters: list(described, "former_clusters")
            .iter()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect(),
    })
}
