//! `quorate collection`: what holds segments of files.

use crate::amounts::{bytes, counted, distance, number};
use crate::api::deleting;
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::database::properties;
use crate::doris::Connection;
use crate::names::{self, DatabaseArguments, PastArguments, key_and_value};
use crate::output::{self, Sheet, text};
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum CollectionVerb {
    /// Create a collection with its partitions.
    Create {
        instance: String,
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
        /// Vault or object store of the instance that keeps its files; the peers' local directory when absent.
        #[arg(long, default_value = "")]
        vault: String,
        /// A partition; may be repeated. `_default` when there is none.
        #[arg(long = "partition")]
        partitions: Vec<String>,
        /// File with the schema, which is kept as it is; up to 64 KiB.
        #[arg(long)]
        schema_file: Option<PathBuf>,
        /// A property, as `key=value`; may be repeated.
        #[arg(long = "property", value_parser = key_and_value)]
        properties: Vec<(String, String)>,
    },
    /// Show a collection with what is in it.
    Describe {
        instance: String,
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        past: PastArguments,
    },
    /// List the collections of a database.
    List {
        instance: String,
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        past: PastArguments,
    },
    /// Change a collection's name, its database, or both.
    Rename {
        instance: String,
        name: String,
        new_name: String,
        #[command(flatten)]
        database: DatabaseArguments,
        /// Database it moves to; it stays where it is when absent.
        #[arg(long, default_value = "")]
        new_database: String,
    },
    /// Drop a collection with all that is in it. Its snapshots stay, with the files they show.
    Drop {
        instance: String,
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

pub async fn run(verb: CollectionVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        CollectionVerb::Create {
            instance,
            name,
            database,
            vault,
            partitions,
            schema_file,
            properties: pairs,
        } => {
            let schema = match schema_file {
                None => Vec::new(),
                Some(path) => std::fs::read(&path).with_context(|| format!("schema file {}", path.display()))?,
            };
            let body = json!({
                "name": name, "vault": vault, "partitions": partitions, "schema": base64(&schema), "properties": properties(pairs)
            });
            let answer = connection.post(&names::collections(&instance, &database.database), &body).await?;
            output::done(&context.output, &format!("collection {name} created"), &answer);
        }
        CollectionVerb::Describe {
            instance,
            name,
            database,
            past,
        } => {
            let path = names::collection(&instance, &database.database, &name);
            let shown = connection.get(&path, &[past.parameter()]).await?;
            output::show(&context.output, shown, describe);
        }
        CollectionVerb::List { instance, database, past } => {
            let path = names::collections(&instance, &database.database);
            let found = connection.all(&path, &[past.parameter()], "collections").await?;
            output::show(&context.output, Json::Array(found), |found| list_sheet(&database.database, found));
        }
        CollectionVerb::Rename {
            instance,
            name,
            new_name,
            database,
            new_database,
        } => {
            let path = names::collection(&instance, &database.database, &name) + "/rename";
            let body = json!({"new_name": new_name, "new_database": new_database});
            let answer = connection.post(&path, &body).await?;
            output::done(&context.output, &format!("collection {name} renamed to {new_name}"), &answer);
        }
        CollectionVerb::Drop {
            instance,
            name,
            database,
            confirm,
        } => {
            drop_collection(&connection, context, (&instance, &database.database, &name), &confirm).await?;
        }
    }
    Ok(())
}

/// Says what it comes to, asks, and drops it.
async fn drop_collection(
    connection: &Connection,
    context: &Context,
    (instance, database, name): (&str, &str, &str),
    confirm: &ConfirmArguments,
) -> anyhow::Result<()> {
    let path = names::collection(instance, database, name);
    let shown = connection.get(&path, &[]).await?;
    let content = content(&shown["stats"]);
    let what = format!("This drops collection {name} of database {database} with {content}. What its snapshots show stays.");
    let answer = confirm::change(connection, confirm, &what, deleting(&path)).await?;
    confirm::found(&answer, &format!("collection {name} of database {database}"))?;
    output::done(&context.output, &format!("collection {name} dropped"), &answer);
    Ok(())
}

/// Standard base64, as protobuf JSON has bytes.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What is in a collection or a snapshot, in words.
pub fn content(stats: &Json) -> String {
    format!(
        "{}, {}, {} in {}",
        counted(number(stats, "segments"), "segment"),
        counted(number(stats, "rows"), "row"),
        bytes(number(stats, "bytes")),
        counted(number(stats, "files"), "file")
    )
}

fn describe(shown: &Json) -> (String, Sheet) {
    let sentence = format!(
        "Collection {}.{} has {}.",
        text(shown, "database"),
        text(shown, "name"),
        content(&shown["stats"])
    );
    let mut sheet = Sheet::new(["WHAT", "VALUE"]);
    let vault = match text(shown, "vault") {
        vault if vault.is_empty() => "the peers' local directory".to_owned(),
        vault => vault,
    };
    for (what, value) in [
        ("id", text(shown, "collection_id")),
        ("vault", vault),
        ("created", distance(number(shown, "created_ms"))),
        ("changed at revision", text(shown, "revision")),
    ] {
        sheet.row([what.to_owned(), value]);
    }
    for (key, value) in shown["properties"].as_object().into_iter().flatten() {
        sheet.row([key.clone(), value.as_str().unwrap_or_default().to_owned()]);
    }
    (sentence, sheet)
}

fn list_sheet(database: &str, found: &Json) -> (String, Sheet) {
    let found = found.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new(["ID", "COLLECTION", "VAULT", "CREATED"]);
    for collection in found {
        sheet.row([
            text(collection, "collection_id"),
            text(collection, "name"),
            text(collection, "vault"),
            distance(number(collection, "created_ms")),
        ]);
    }
    (
        format!("Database {database} has {}.", counted(found.len() as u64, "collection")),
        sheet,
    )
}
