//! `quorate database`: what groups the collections of an instance.

use crate::amounts::{counted, distance, number};
use crate::api::deleting;
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::names::{self, PastArguments, key_and_value};
use crate::output::{self, Sheet, text};
use clap::Subcommand;
use serde_json::{Map, Value as Json, json};

#[derive(Subcommand)]
pub enum DatabaseVerb {
    /// Create a database. `default` needs no creation.
    Create {
        instance: String,
        name: String,
        /// A property, as `key=value`; may be repeated.
        #[arg(long = "property", value_parser = key_and_value)]
        properties: Vec<(String, String)>,
    },
    /// Show a database.
    Describe {
        instance: String,
        name: String,
        #[command(flatten)]
        past: PastArguments,
    },
    /// List an instance's databases.
    List {
        instance: String,
        #[command(flatten)]
        past: PastArguments,
    },
    /// Change a database's name.
    Rename { instance: String, name: String, new_name: String },
    /// Drop a database without collections.
    Drop {
        instance: String,
        name: String,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

/// Properties as the API takes them.
pub fn properties(pairs: Vec<(String, String)>) -> Json {
    Json::Object(
        pairs
            .into_iter()
            .map(|(key, value)| (key, Json::String(value)))
            .collect::<Map<_, _>>(),
    )
}

pub async fn run(verb: DatabaseVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        DatabaseVerb::Create {
            instance,
            name,
            properties: pairs,
        } => {
            let body = json!({"name": name, "properties": properties(pairs)});
            let answer = connection.post(&names::databases(&instance), &body).await?;
            output::done(&context.output, &format!("database {name} created"), &answer);
        }
        DatabaseVerb::Describe { instance, name, past } => {
            let shown = connection.get(&names::database(&instance, &name), &[past.parameter()]).await?;
            output::show(&context.output, shown, |shown| {
                (format!("Database {}.", text(shown, "name")), sheet(std::slice::from_ref(shown)))
            });
        }
        DatabaseVerb::List { instance, past } => {
            let found = connection
                .all(&names::databases(&instance), &[past.parameter()], "databases")
                .await?;
            output::show(&context.output, Json::Array(found), |found| {
                let found = found.as_array().map_or(&[][..], Vec::as_slice);
                (
                    format!("Instance {instance} has {}.", counted(found.len() as u64, "database")),
                    sheet(found),
                )
            });
        }
        DatabaseVerb::Rename { instance, name, new_name } => {
            let path = names::database(&instance, &name) + "/rename";
            let answer = connection.post(&path, &json!({"new_name": new_name})).await?;
            output::done(&context.output, &format!("database {name} renamed to {new_name}"), &answer);
        }
        DatabaseVerb::Drop { instance, name, confirm } => {
            let held = connection
                .all(&names::collections(&instance, &name), &[], "collections")
                .await?
                .len();
            let what = match held {
                0 => format!("This drops database {name} of instance {instance}, which is empty."),
                _ => format!(
                    "Database {name} of instance {instance} has {}: it is not dropped before these are.",
                    counted(held as u64, "collection")
                ),
            };
            let change = deleting(&names::database(&instance, &name));
            let answer = confirm::change(&connection, &confirm, &what, change).await?;
            confirm::found(&answer, &format!("database {name}"))?;
            output::done(&context.output, &format!("database {name} dropped"), &answer);
        }
    }
    Ok(())
}

fn sheet(databases: &[Json]) -> Sheet {
    let mut sheet = Sheet::new(["ID", "DATABASE", "CREATED", "PROPERTIES"]);
    for database in databases {
        let properties = database["properties"].as_object();
        let pairs = properties
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
        sheet.row([
            text(database, "database_id"),
            text(database, "name"),
            distance(number(database, "created_ms")),
            pairs.collect::<Vec<_>>().join(" "),
        ]);
    }
    sheet
}
