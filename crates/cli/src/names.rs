//! How the nouns of the catalog are named on the command line: instance, database, collection.

use crate::api::path;
use clap::Args;

/// The database that is always there.
pub const DEFAULT_DATABASE: &str = "default";

/// Which database, for nouns below it.
#[derive(Clone, Args)]
pub struct DatabaseArguments {
    /// Database of the collection. `default` is always there; others are made with `quorate database create`.
    #[arg(long, short, default_value = DEFAULT_DATABASE)]
    pub database: String,
}

/// As of when.
#[derive(Clone, Args)]
pub struct PastArguments {
    /// As of this revision instead of now.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    at_revision: u64,
}

impl PastArguments {
    /// The query parameter; empty for now.
    pub fn parameter(&self) -> (&'static str, String) {
        let revision = match self.at_revision {
            0 => String::new(),
            revision => revision.to_string(),
        };
        ("at_revision", revision)
    }
}

pub fn databases(instance: &str) -> String {
    path(&["instances", instance, "databases"])
}

pub fn database(instance: &str, name: &str) -> String {
    path(&["instances", instance, "databases", name])
}

pub fn collections(instance: &str, database: &str) -> String {
    path(&["instances", instance, "databases", database, "collections"])
}

pub fn collection(instance: &str, database: &str, name: &str) -> String {
    path(&["instances", instance, "databases", database, "collections", name])
}

pub fn partitions(instance: &str, database: &str, collection: &str) -> String {
    path(&[
        "instances",
        instance,
        "databases",
        database,
        "collections",
        collection,
        "partitions",
    ])
}

pub fn partition(instance: &str, database: &str, collection: &str, name: &str) -> String {
    path(&[
        "instances",
        instance,
        "databases",
        database,
        "collections",
        collection,
        "partitions",
        name,
    ])
}

/// `key=value`, for properties.
pub fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}
