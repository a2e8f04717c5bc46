//! `quorate partition`: the parts of a collection that come and go as a whole.

use crate::amounts::{counted, distance, number};
use crate::api::deleting;
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::doris::Answer;
use crate::names::{self, DatabaseArguments, PastArguments};
use crate::output::{self, Sheet, text};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

#[derive(Subcommand)]
pub enum PartitionVerb {
    /// Create a partition.
    Create {
        #[command(flatten)]
        which: Which,
    },
    /// Show a partition.
    Describe {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        past: PastArguments,
    },
    /// List the partitions of a collection.
    List {
        #[command(flatten)]
        of: OfCollection,
        #[command(flatten)]
        past: PastArguments,
    },
    /// Change a partition's name.
    Rename {
        #[command(flatten)]
        which: Which,
        new_name: String,
    },
    /// Drop a partition with all that is in it.
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

/// Which collection's partitions.
#[derive(Args)]
pub struct OfCollection {
    instance: String,
    collection: String,
    #[command(flatten)]
    database: DatabaseArguments,
}

impl OfCollection {
    fn path(&self) -> String {
        names::partitions(&self.instance, &self.database.database, &self.collection)
    }
}

/// Which partition.
#[derive(Args)]
pub struct Which {
    #[command(flatten)]
    of: OfCollection,
    name: String,
}

impl Which {
    fn path(&self) -> String {
        names::partition(&self.of.instance, &self.of.database.database, &self.of.collection, &self.name)
    }
}

pub async fn run(verb: PartitionVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open_with_token_if_any()?;
    let done = |sentence: String, answer: &Answer| output::done(&context.output, &sentence, answer);
    match verb {
        PartitionVerb::Create { which } => {
            let answer = connection.post(&which.of.path(), &json!({"name": which.name})).await?;
            done(format!("partition {} created", which.name), &answer);
        }
        PartitionVerb::Describe { which, past } => {
            let shown = connection.get(&which.path(), &[past.parameter()]).await?;
            output::show(&context.output, shown, |shown| {
                (
                    format!("Partition {} of collection {}.", text(shown, "name"), which.of.collection),
                    sheet(std::slice::from_ref(shown)),
                )
            });
        }
        PartitionVerb::List { of, past } => {
            let found = connection.all(&of.path(), &[past.parameter()], "partitions").await?;
            output::show(&context.output, Json::Array(found), |found| {
                let found = found.as_array().map_or(&[][..], Vec::as_slice);
                (
                    format!("Collection {} has {}.", of.collection, counted(found.len() as u64, "partition")),
                    sheet(found),
                )
            });
        }
        PartitionVerb::Rename { which, new_name } => {
            let body = json!({"new_name": new_name});
            let answer = connection.post(&(which.path() + "/rename"), &body).await?;
            done(format!("partition {} renamed to {new_name}", which.name), &answer);
        }
        PartitionVerb::Drop { which, confirm } => {
            let what = format!(
                "This drops partition {} of collection {} with all its segments. What snapshots show stays.",
                which.name, which.of.collection
            );
            let answer = confirm::change(&connection, &confirm, &what, deleting(&which.path())).await?;
            confirm::found(&answer, &format!("partition {} of collection {}", which.name, which.of.collection))?;
            done(format!("partition {} dropped", which.name), &answer);
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
