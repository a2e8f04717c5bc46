//! `quorate segment import`: files of this machine become segments of a collection.
//!
//! ```text
//! walk -> groups -> per batch: prepare (ids and paths) -> write -> sync -> commit (segments visible as a whole)
//! ```
//!
//! What of a batch is whole when it fails, or when the import is interrupted, is committed too, and the rest is given up; what is cut off
//! the cluster gives up a day later. So an import that ends in between leaves whole segments, and files that nobody sees and that go by
//! themselves. The same command run again leaves out the files that are in those segments ([`present`]).

mod batch;
mod present;
mod sources;

use crate::amounts::{bytes, counted, number};
use crate::context::Context;
use crate::doris::Connection;
use crate::names::DEFAULT_DATABASE;
use crate::output::{self, Sheet, list, text};
use crate::segment::Place;
use crate::serve::stop_signal;
use crate::vault_access::{self, VaultAccessArguments};
use batch::Importer;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use present::Present;
use serde_json::{Value as Json, json};
use sources::Source;
use std::path::PathBuf;
use tokio::sync::watch;

#[derive(Args)]
pub struct ImportArguments {
    #[command(flatten)]
    place: Place,
    /// Directories; every file below them is imported under its path from there.
    #[arg(required = true)]
    directories: Vec<PathBuf>,
    /// Files that make a segment.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000), conflicts_with = "by_directory")]
    files_per_segment: u16,
    /// Make one segment of each directory directly below those that are named, and one of the files beside them.
    #[arg(long)]
    by_directory: bool,
    /// Import all files, also those that the partition has already with the same name, size and checksum.
    #[arg(long)]
    again: bool,
    /// Rows of each file, if the cluster is to know.
    #[arg(long, default_value_t = 0)]
    rows_per_file: u64,
    #[command(flatten)]
    access: VaultAccessArguments,
}

/// What an import has made visible so far.
#[derive(Default)]
struct Imported {
    segments: Vec<Json>,
    files: usize,
    bytes: u64,
    revision: String,
    /// Segments of which nobody knows whether they are visible.
    in_doubt: Vec<Json>,
}

pub async fn run(arguments: ImportArguments, connection: &Connection, context: &Context) -> anyhow::Result<()> {
    let found = sources::below(&arguments.directories)?;
    // What is looked at on this machine may take longer than a call.
    let collection = connection.anew().get(&arguments.place.collection(), &[]).await?;
    let mut present = arguments.present(connection).await?;
    let groups = arguments.groups(found, &mut present)?;
    let vault = vault_access::open(
        &connection.anew(),
        &arguments.place.instance,
        &text(&collection, "vault"),
        &arguments.access,
    )
    .await?;
    let bar = ProgressBar::new(groups.iter().flatten().map(|source| source.size).sum());
    bar.set_style(
        ProgressStyle::with_template("Import [{bar:32}] {percent:>3}% {bytes} of {total_bytes}, {bytes_per_sec}")?.progress_chars("=> "),
    );
    let mut importer = Importer {
        arguments: &arguments,
        connection,
        vault: &vault,
        bar: &bar,
        interrupted: interrupted(&bar),
        imported: Imported::default(),
    };
    for batch in sources::batches(&groups) {
        if let Err(error) = importer.import(batch).await {
            bar.finish_and_clear();
            return Err(error.context(importer.imported.so_far(&arguments)));
        }
    }
    bar.finish_and_clear();
    importer.imported.show(&arguments, &present, context);
    Ok(())
}

/// Becomes true when whoever runs the import wants it to end. A second Ctrl-C does not wait for what is whole.
fn interrupted(bar: &ProgressBar) -> watch::Receiver<bool> {
    let (sender, interrupted) = watch::channel(false);
    let bar = bar.clone();
    tokio::spawn(async move {
        stop_signal().await;
        bar.suspend(|| eprintln!("stopping; segments that are whole are imported first"));
        let _ = sender.send(true);
        stop_signal().await;
        std::process::exit(130);
    });
    interrupted
}

impl Imported {
    /// Counts segments that are visible, as commits or lists describe them.
    fn add<'a>(&mut self, segments: impl IntoIterator<Item = &'a Json>, revision: &str) {
        for segment in segments {
            let files = list(segment, "files");
            self.segments.push(segment["segment_id"].clone());
            self.files += files.len();
            self.bytes += files.iter().map(|file| number(file, "size_bytes")).sum::<u64>();
        }
        revision.clone_into(&mut self.revision);
    }

    /// Said of an import that failed.
    fn so_far(&self, arguments: &ImportArguments) -> String {
        let done = match (self.segments.as_slice(), self.in_doubt.as_slice()) {
            ([], []) => "nothing is imported".to_owned(),
            ([], _) => "nothing is known to be imported".to_owned(),
            (segments, _) => format!("imported so far: {}", named(segments)),
        };
        let doubt = match self.in_doubt.as_slice() {
            [] => String::new(),
            ids => format!(
                "; whether {} came to be is not known: look with `{}` first",
                named(ids),
                arguments.list_command()
            ),
        };
        let may_repeat = arguments.again && !(self.segments.is_empty() && self.in_doubt.is_empty());
        let next = match may_repeat {
            true => "run it again without --again, which would import these once more",
            false => "the same command run again imports the rest",
        };
        format!("{done}{doubt}; {next}")
    }

    fn show(self, arguments: &ImportArguments, present: &Present, context: &Context) {
        let collection = &arguments.place.collection;
        let already: Vec<&String> = present.segments.iter().collect();
        let result = json!({
            "collection": collection, "segments": self.segments, "files": self.files.to_string(), "bytes": self.bytes.to_string(),
            "revision": self.revision, "present_files": present.files.to_string(), "present_segments": already
        });
        output::show(&context.output, result, |_| {
            let there = match present.files {
                0 => String::new(),
                count => {
                    let ids: Vec<&str> = already.iter().map(|id| id.as_str()).collect();
                    let files = counted(count as u64, "file");
                    format!(
                        " Left out: {files} that it has already, in {} ({}).",
                        counted(ids.len() as u64, "segment"),
                        ids.join(", ")
                    )
                }
            };
            let (files, total, count) = (counted(self.files as u64, "file"), bytes(self.bytes), self.segments.len() as u64);
            (
                format!(
                    "{files}, {total}, imported into {collection} as {}.{there}",
                    counted(count, "segment")
                ),
                Sheet::new([]),
            )
        });
    }
}

/// How many segments, and which.
fn named(ids: &[Json]) -> String {
    let count = counted(ids.len() as u64, "segment");
    let ids: Vec<String> = ids.iter().map(plain).collect();
    format!("{count} ({})", ids.join(", "))
}

/// An id as people write it.
fn plain(id: &Json) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

impl ImportArguments {
    /// What the partition has already, unless that does not matter.
    async fn present(&self, connection: &Connection) -> anyhow::Result<Present> {
        match self.again {
            true => Ok(Present::default()),
            false => Ok(Present::of(&self.listed(connection).await?)),
        }
    }

    /// The segments of the partition as it is now.
    async fn listed(&self, connection: &Connection) -> anyhow::Result<Vec<Json>> {
        let parameters = [("partition", self.place.partition_or_default().to_owned())];
        connection.anew().all(&self.place.all_segments(), &parameters, "segments").await
    }

    /// What somebody types to see them.
    fn list_command(&self) -> String {
        let Place {
            instance,
            collection,
            database,
            ..
        } = &self.place;
        let database = match database.database.as_str() {
            DEFAULT_DATABASE => String::new(),
            name => format!(" --database {name}"),
        };
        let partition = self.place.partition_or_default();
        format!("quorate segment list {instance} --collection {collection}{database} --partition {partition}")
    }

    /// What goes into each segment.
    fn groups(&self, found: Vec<Vec<Source>>, present: &mut Present) -> anyhow::Result<Vec<Vec<Source>>> {
        let mut groups = Vec::new();
        for of_directory in found {
            let missing = present.leave_out(of_directory)?;
            groups.extend(match self.by_directory {
                true => sources::by_directory(missing)?,
                false => sources::by_count(missing, usize::from(self.files_per_segment)),
            });
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::DatabaseArguments;

    fn arguments(again: bool) -> ImportArguments {
        ImportArguments {
            place: Place {
                instance: "i".to_owned(),
                collection: "c".to_owned(),
                database: DatabaseArguments { database: "d".to_owned() },
                partition: String::new(),
            },
            directories: Vec::new(),
            files_per_segment: 1,
            by_directory: false,
            again,
            rows_per_file: 0,
            access: VaultAccessArguments { local_vault: None },
        }
    }

    fn imported(segments: &[&str], in_doubt: &[&str]) -> Imported {
        let ids = |ids: &[&str]| ids.iter().map(|id| json!(id)).collect::<Vec<Json>>();
        Imported {
            segments: ids(segments),
            in_doubt: ids(in_doubt),
            ..Imported::default()
        }
    }

    #[test]
    fn an_import_that_failed_says_what_there_is_and_how_to_go_on() {
        let said = |imported: Imported, again| imported.so_far(&arguments(again));
        for again in [false, true] {
            let told = "nothing is imported; the same command run again imports the rest";
            assert_eq!(said(imported(&[], &[]), again), told);
        }
        let told = "imported so far: 2 segments (7, 8); the same command run again imports the rest";
        assert_eq!(said(imported(&["7", "8"], &[]), false), told);
        let told = "imported so far: 1 segment (7); run it again without --again, which would import these once more";
        assert_eq!(said(imported(&["7"], &[]), true), told);
        let list = "quorate segment list i --collection c --database d --partition _default";
        let doubt = format!("whether 1 segment (9) came to be is not known: look with `{list}` first; ");
        for (again, next) in [(false, "the same command run again"), (true, "run it again without --again")] {
            let told = said(imported(&[], &["9"]), again);
            assert!(told.starts_with("nothing is known to be imported"), "{told}");
            assert!(told.contains(&format!("{doubt}{next}")), "{told}");
        }
    }
}
