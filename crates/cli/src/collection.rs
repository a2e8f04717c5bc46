//! `quorate collection`: what holds segments of files.

use crate::amounts::{bytes, counted, distance, number};
use crate::api::{deleting, path};
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::database::properties;
use crate::doris::{Connection, is_not_found};
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
    let title = format!("collection {name} of database {database}");
    let what = what_goes(connection, (instance, database, name), &title).await?;
    let change = deleting(&names::collection(instance, database, name));
    let answer = confirm::change(connection, confirm, &what, change).await?;
    confirm::found(&answer, &title)?;
    output::done(&context.output, &format!("collection {name} dropped"), &answer);
    Ok(())
}

/// What a drop comes to. A collection that a restore is filling is shown to nobody, but its job is.
async fn what_goes(connection: &Connection, (instance, database, name): (&str, &str, &str), title: &str) -> anyhow::Result<String> {
    let missing = match connection.get(&names::collection(instance, database, name), &[]).await {
        Ok(shown) => {
            let content = content(&shown["stats"]);
            return Ok(format!("This drops {title} with {content}. What its snapshots show stays."));
        }
        Err(error) if is_not_found(&error) => error,
        Err(error) => return Err(error),
    };
    let filling_it = [
        ("instance_id", instance.to_owned()),
        ("database", database.to_owned()),
        ("collection", name.to_owned()),
        ("only_active", "true".to_owned()),
    ];
    let jobs = connection.all(&path(&["jobs"]), &filling_it, "jobs").await.unwrap_or_default();
    match jobs.iter().find(|job| text(job, "kind") == "RESTORE") {
        Some(job) => Ok(format!(
            "This drops {title}, and cancels restore job {}, which is filling it.",
            text(job, "job_id")
        )),
        None => Err(missing),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doris::fake_peer::{FakePeer, Said, connection};
    use quorate_model::ErrorCode;
    use std::time::Duration;

    /// What is said before a drop of a collection that is not shown, when the jobs are listed like this.
    async fn said_of_hidden(jobs: Said) -> anyhow::Result<String> {
        let peer = FakePeer::start([Said::error(ErrorCode::NotFound), jobs]).await;
        let connection = connection(&[&peer.address], Duration::from_secs(60));
        let said = what_goes(&connection, ("i", "d", "c"), "collection c").await;
        let asked = ["/api/v1/instances/i/databases/d/collections/c", "/api/v1/jobs"];
        assert_eq!(peer.calls(), asked);
        said
    }

    #[tokio::test]
    async fn a_collection_that_a_restore_is_filling_is_dropped_and_one_that_is_not_there_is_an_error() {
        let listed = |jobs: Json| Said::plain(200, &json!({"jobs": jobs}).to_string());
        let manifests = json!({"job_id": "76", "kind": "MANIFESTS"});
        let restore = json!({"job_id": "77", "kind": "RESTORE"});
        let said = said_of_hidden(listed(json!([manifests, restore])))
            .await
            .expect("it can be dropped");
        assert_eq!(said, "This drops collection c, and cancels restore job 77, which is filling it.");
        for jobs in [
            listed(json!([])),
            listed(json!([manifests])),
            Said::error(ErrorCode::InvalidArgument),
        ] {
            let missing = said_of_hidden(jobs).await.expect_err("there is none").to_string();
            assert!(missing.contains("(not_found)"), "{missing}");
        }
    }
}
