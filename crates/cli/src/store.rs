//! An object store as the command line describes one.

use crate::secret::KeyArguments;
use clap::Args;
use serde_json::{Map, Value as Json, json};

#[derive(Clone, Args)]
pub struct StoreArguments {
    /// Bucket that holds the data.
    #[arg(long)]
    bucket: Option<String>,
    /// Prefix of everything in the bucket.
    #[arg(long)]
    prefix: Option<String>,
    /// Endpoint of the object store as compute nodes reach it.
    #[arg(long)]
    store_endpoint: Option<String>,
    /// Endpoint as clients outside of the network reach it; a new instance has --store-endpoint where this is not given.
    #[arg(long)]
    external_endpoint: Option<String>,
    /// Region of the bucket.
    #[arg(long)]
    region: Option<String>,
    /// Provider: S3, OSS, COS, OBS, BOS, GCP, AZURE or TOS.
    #[arg(long, value_parser = ["S3", "OSS", "COS", "OBS", "BOS", "GCP", "AZURE", "TOS"], ignore_case = true)]
    provider: Option<String>,
    #[command(flatten)]
    access: AccessArguments,
}

/// How an object store lets one in.
#[derive(Clone, Args)]
pub struct AccessArguments {
    #[command(flatten)]
    keys: KeyArguments,
    /// Role to assume instead of keys.
    #[arg(long)]
    role_arn: Option<String>,
    /// External id of that role.
    #[arg(long, requires = "role_arn")]
    external_id: Option<String>,
    /// Put the bucket into the path instead of the host name.
    #[arg(long)]
    path_style: Option<bool>,
}

impl StoreArguments {
    /// Doris's message; `None` when nothing was given. Refused when it lacks what no store goes without: a peer would not say which.
    pub fn message(&self) -> anyhow::Result<Option<Json>> {
        let mut store = self.access.message()?;
        let texts = [
            ("bucket", &self.bucket),
            ("prefix", &self.prefix),
            ("endpoint", &self.store_endpoint),
            ("external_endpoint", &self.external_endpoint),
            ("region", &self.region),
        ];
        put_texts(&mut store, &texts);
        if let Some(provider) = &self.provider {
            store.insert("provider".to_owned(), json!(provider.to_ascii_uppercase()));
        }
        if store.contains_key("role_arn") {
            store.insert("cred_provider_type".to_owned(), json!("INSTANCE_PROFILE"));
        }
        if store.is_empty() {
            return Ok(None);
        }
        let needed = [
            ("--bucket", "bucket"),
            ("--store-endpoint", "endpoint"),
            ("--region", "region"),
            ("--provider", "provider"),
        ];
        let mut missing: Vec<&str> = needed
            .iter()
            .filter(|(_, field)| !store.contains_key(*field))
            .map(|(flag, _)| *flag)
            .collect();
        if !store.contains_key("ak") && !store.contains_key("role_arn") {
            missing.push("--ak with --sk-file, or --role-arn");
        }
        anyhow::ensure!(
            missing.is_empty(),
            "an object store needs more than was given: {}",
            missing.join(", ")
        );
        Ok(Some(Json::Object(store)))
    }
}

impl AccessArguments {
    /// The members of Doris's message that were given.
    pub fn message(&self) -> anyhow::Result<Map<String, Json>> {
        let mut store = Map::new();
        if let Some((ak, sk)) = self.keys.read()? {
            store.insert("ak".to_owned(), json!(ak));
            store.insert("sk".to_owned(), json!(sk));
        }
        put_texts(&mut store, &[("role_arn", &self.role_arn), ("external_id", &self.external_id)]);
        if let Some(path_style) = self.path_style {
            store.insert("use_path_style".to_owned(), json!(path_style));
        }
        Ok(store)
    }
}

fn put_texts(store: &mut Map<String, Json>, texts: &[(&str, &Option<String>)]) {
    for (name, text) in texts {
        if let Some(text) = text {
            store.insert((*name).to_owned(), json!(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        store: StoreArguments,
    }

    fn message(arguments: &[&str]) -> anyhow::Result<Option<Json>> {
        Given::parse_from([&["store"], arguments].concat()).store.message()
    }

    #[test]
    fn what_a_store_lacks_is_named() {
        assert_eq!(message(&[]).expect("nothing is no store"), None);
        let whole = [
            "--bucket",
            "b",
            "--store-endpoint",
            "e",
            "--region",
            "r",
            "--provider",
            "s3",
            "--role-arn",
            "a",
        ];
        let store = message(&whole).expect("whole").expect("a store");
        assert_eq!(
            (&store["provider"], &store["cred_provider_type"]),
            (&json!("S3"), &json!("INSTANCE_PROFILE"))
        );
        for (position, named) in [
            (0, "--bucket"),
            (2, "--store-endpoint"),
            (4, "--region"),
            (6, "--provider"),
            (8, "--role-arn"),
        ] {
            let mut without = whole.to_vec();
            without.drain(position..position + 2);
            let refused = message(&without).expect_err("something is missing").to_string();
            assert!(refused.contains(named), "{refused}");
        }
    }
}
