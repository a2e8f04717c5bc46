//! `quorate segment`: the units in which files come and go.

use crate::amounts::{bytes, counted, distance, number};
use crate::api::{path, posting};
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::doris::{Connection, not_found};
use crate::import::{self, ImportArguments};
use crate::names::{DatabaseArguments, PastArguments};
use crate::output::{self, Sheet, list, text};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

#[derive(Subcommand)]
pub enum SegmentVerb {
    /// Write files of this machine into a collection's vault, and make them visible as segments.
    Import(ImportArguments),
    /// Show a segment with its files.
    Describe {
        #[command(flatten)]
        place: Place,
        segment_id: u64,
        #[command(flatten)]
        past: PastArguments,
    },
    /// List the segments of a collection, or of one of its partitions.
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        past: PastArguments,
    },
    /// Drop segments; their files go when nothing can see them any more.
    Drop {
        #[command(flatten)]
        place: Place,
        #[arg(required = true)]
        segment_ids: Vec<u64>,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

/// Where segments are.
#[derive(Args)]
pub struct Place {
    pub instance: String,
    #[arg(long, short)]
    pub collection: String,
    #[command(flatten)]
    pub database: DatabaseArguments,
    /// Partition; for lists all when absent, else `_default`.
    #[arg(long, short, default_value = "")]
    pub partition: String,
}

impl Place {
    /// The path of a collection, and what is below it.
    fn below_collection(&self, parts: &[&str]) -> String {
        let of = [
            "instances",
            &self.instance,
            "databases",
            &self.database.database,
            "collections",
            &self.collection,
        ];
        path(&[&of, parts].concat())
    }

    /// The path of a partition's segments, and what is below it.
    pub fn segments(&self, parts: &[&str]) -> String {
        self.below_collection(&[&["partitions", self.partition_or_default(), "segments"], parts].concat())
    }

    pub fn partition_or_default(&self) -> &str {
        if self.partition.is_empty() { "_default" } else { &self.partition }
    }

    /// The path of the list of a collection's segments.
    pub fn all_segments(&self) -> String {
        self.below_collection(&["segments"])
    }

    pub fn collection(&self) -> String {
        self.below_collection(&[])
    }
}

pub async fn run(verb: SegmentVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        SegmentVerb::Import(arguments) => return import::run(arguments, &connection, context).await,
        SegmentVerb::Describe { place, segment_id, past } => {
            let shown = connection
                .get(&place.segments(&[&segment_id.to_string()]), &[past.parameter()])
                .await?;
            output::show(&context.output, shown, describe);
        }
        SegmentVerb::List { place, past } => {
            let parameters = [past.parameter(), ("partition", place.partition.clone())];
            let mut found = connection.all(&place.all_segments(), &parameters, "segments").await?;
            name_partitions(&mut found, &place, &past, &connection).await?;
            output::show(&context.output, Json::Array(found), |found| list_sheet(&place.collection, found));
        }
        SegmentVerb::Drop {
            place,
            segment_ids,
            confirm,
        } => {
            let count = counted(segment_ids.len() as u64, "segment");
            let what = format!("This drops {count} of collection {}.", place.collection);
            let change = posting(&place.segments(&["drop"]), &json!({"segment_ids": segment_ids}));
            let answer = confirm::change(&connection, &confirm, &what, change).await?;
            let dropped = number(&answer.result, "dropped");
            let absent = absent(&segment_ids, dropped, &place);
            if let Some(message) = absent.as_ref().filter(|_| dropped == 0) {
                return Err(confirm::missing(&answer, message));
            }
            output::done(&context.output, &format!("{} dropped", counted(dropped, "segment")), &answer);
            if let Some(message) = absent {
                return Err(not_found(&message));
            }
        }
    }
    Ok(())
}

/// Says of segments which were to be dropped that not all of them are there, if that is so.
fn absent(ids: &[u64], dropped: u64, place: &Place) -> Option<String> {
    let (partition, collection) = (place.partition_or_default(), &place.collection);
    let named: Vec<String> = ids.iter().map(u64::to_string).collect();
    let named = named.join(", ");
    let place = format!("partition {partition} of collection {collection}");
    match (ids.len() as u64).saturating_sub(dropped) {
        0 => None,
        _ if ids.len() == 1 => Some(format!("segment {named} was not found in {place}")),
        _ if dropped == 0 => Some(format!("segments {named} were not found in {place}")),
        1 => Some(format!("1 of segments {named} was not found in {place}")),
        count => Some(format!("{count} of segments {named} were not found in {place}")),
    }
}

/// Other commands take a partition by its name, so that is what a list says.
async fn name_partitions(segments: &mut [Json], place: &Place, past: &PastArguments, connection: &Connection) -> anyhow::Result<()> {
    let partitions = connection
        .anew()
        .all(&place.below_collection(&["partitions"]), &[past.parameter()], "partitions")
        .await?;
    for segment in segments {
        let id = text(segment, "partition_id");
        let named = partitions.iter().find(|partition| text(partition, "partition_id") == id);
        segment["partition"] = named.map_or(json!(null), |partition| partition["name"].clone());
    }
    Ok(())
}

fn total(segment: &Json) -> u64 {
    list(segment, "files").iter().map(|file| number(file, "size_bytes")).sum()
}

fn describe(shown: &Json) -> (String, Sheet) {
    let files = list(shown, "files");
    let sentence = format!(
        "Segment {} has {} and {} in {}, at {}.",
        text(shown, "segment_id"),
        counted(number(shown, "rows"), "row"),
        bytes(total(shown)),
        counted(files.len() as u64, "file"),
        text(shown, "path")
    );
    let mut sheet = Sheet::new(["FILE", "KIND", "BYTES", "CRC-64"]);
    for file in files {
        sheet.row([
            text(file, "name"),
            text(file, "kind").to_lowercase(),
            text(file, "size_bytes"),
            format!("{:016x}", number(file, "checksum")),
        ]);
    }
    (sentence, sheet)
}

fn list_sheet(collection: &str, found: &Json) -> (String, Sheet) {
    let found = found.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new(["SEGMENT", "PARTITION", "ROWS", "FILES", "BYTES", "CREATED"]);
    for segment in found {
        sheet.row([
            text(segment, "segment_id"),
            text(segment, "partition"),
            text(segment, "rows"),
            list(segment, "files").len().to_string(),
            bytes(total(segment)),
            distance(number(segment, "created_ms")),
        ]);
    }
    (
        format!("Collection {collection} has {}.", counted(found.len() as u64, "segment")),
        sheet,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_are_not_there_are_named() {
        let place = Place {
            instance: "i".to_owned(),
            collection: "c".to_owned(),
            database: DatabaseArguments { database: "d".to_owned() },
            partition: "p".to_owned(),
        };
        let told = |ids: &[u64], dropped| absent(ids, dropped, &place).unwrap_or_default();
        assert_eq!(told(&[7, 8], 2), "");
        assert_eq!(told(&[7], 0), "segment 7 was not found in partition p of collection c");
        assert_eq!(told(&[7, 8], 0), "segments 7, 8 were not found in partition p of collection c");
        assert_eq!(told(&[7, 8], 1), "1 of segments 7, 8 was not found in partition p of collection c");
        assert_eq!(
            told(&[7, 8, 9], 1),
            "2 of segments 7, 8, 9 were not found in partition p of collection c"
        );
    }
}
