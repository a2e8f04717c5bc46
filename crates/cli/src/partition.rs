//! `quorate partition`: the parts of a collection that come and go as a whole.

use crate::amounts::{counted, distance, number};
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::database::dropped;
use crate::names::{self, DatabaseArguments, PastArguments};
use crate::output::{self, Sheet, text};
use clap::Subcommand;
use serde_json::{Value as Json, json};

#[derive(Subcommand)]
pub enum PartitionVerb {
    /// Create a partition.
    Create {
        instance: String,
        collection: String,
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Show a partition.
    Describe {
        instance: String,
        collection: String,
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        past: PastArguments,
    },
    /// List the partitions of a collection.
    List {
        instance: String,
        collection: String,
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        past: PastArguments,
    },
    /// Change a partition's name.
    Rename {
        instance: String,
        collection: String,
        name: String,
        new_name: String,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Drop a partition with all that is in it.
    Drop {
        instance: String,
        collection: String,
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

pub async fn run(verb: PartitionVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        PartitionVerb::Create {
            instance,
            collection,
            name,
            database,
        } => {
            let path = names::partitions(&instance, &database.database, &collection);
            let answer = connection.post(&path, &json!({"name": name})).await?;
            output::done(&context.output, &format!("partition {name} created"), &answer.revision);
        }
        PartitionVerb::Describe {
            instance,
            collection,
            name,
            database,
            past,
        } => {
            let path = names::partition(&instance, &database.database, &collection, &name);
            let shown = connection.get(&path, &[past.parameter()]).await?;
            output::show(&context.output, shown, |shown| {
                (
                    format!("Partition {} of collection {collection}.", text(shown, "name")),
                    sheet(std::slice::from_ref(shown)),
                )
            });
        }
        PartitionVerb::List {
            instance,
            collection,
            database,
            past,
        } => {
            let path = names::partitions(&instance, &database.database, &collection);
            let found = connection.all(&path, &[past.parameter()], "partitions").await?;
            output::show(&context.output, Json::Array(found), |found| {
                let found = found.as_array().map_or(&[][..], Vec::as_slice);
                (
                    format!("Collection {collection} has {}.", counted(found.len() as u64, "partition")),
                    sheet(found),
                )
            });
        }
        PartitionVerb::Rename {
            instance,
            collection,
            name,
            new_name,
            database,
        } => {
            let path = names::partition(&instance, &database.database, &collection, &name) + "/rename";
            let answer = connection.post(&path, &json!({"new_name": new_name})).await?;
            output::done(
                &context.output,
                &format!("partition {name} renamed to {new_name}"),
                &answer.revision,
            );
        }
        PartitionVerb::Drop {
            instance,
            collection,
            name,
            database,
            confirm,
        } => {
            let what = format!("This drops partition {name} of collection {collection} with all its segments. What snapshots show stays.");
            if !confirm::agreed(&confirm, &what)? {
                return Ok(());
            }
            let path = names::partition(&instance, &database.database, &collection, &name);
            let answer = connection.delete(&path).await?;
            output::done(&context.output, &dropped(&answer.result, "partition", &name), &answer.revision);
        }
    }
    Ok(())
}

fn sheet(partitions: &[Json]) -> Sheet {
    let mut sheet = Sheet::new(["ID", "PARTITION", "CREATED"]);
    for partition in partitions {
        sheet.row([
            text(partition, "partition_id"),
            text(partition, "name"),
            distance(number(partition, "created_ms")),
        ]);
    }
    sheet
}
