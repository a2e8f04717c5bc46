//! `quorate segment import`: files of this machine become segments of a collection.
//!
//! ```text
//! walk -> groups -> per batch: prepare (ids and paths) -> write -> sync -> commit (segments visible as a whole)
//! ```
//!
//! What of a batch is whole when it fails, or when the import is interrupted, is committed too, and the rest is given up; what is cut off
//! the cluster gives up a day later. So an import that ends in between leaves whole segments, and files that nobody sees and that go by
//! themselves. The same command run again leaves out the files that are in those segments ([`present`]), unless it has `--again`.

mod batch;
mod parts;
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
    // With `--again` it only matters to an import that fails.
    let mut present = Present::of(&arguments.listed(connection).await?);
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
            return Err(error.context(importer.imported.so_far(&arguments, &present, &groups)));
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

    /// Said of an import of these groups that failed.
    fn so_far(&self, arguments: &ImportArguments, present: &Present, groups: &[Vec<Source>]) -> String {
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
        format!("{done}{doubt}; {}", self.next_step(arguments, present, groups))
    }

    /// How to import the rest, and nothing twice.
    fn next_step(&self, arguments: &ImportArguments, present: &Present, groups: &[Vec<Source>]) -> String {
        let has_begun = !(self.segments.is_empty() && self.in_doubt.is_empty());
        if !(arguments.again && has_begun) {
            return "the same command run again imports the rest".to_owned();
        }
        let had_some = groups.iter().flatten().any(|source| present.has_like(source));
        // Groups become segments in their order.
        let first_missing = groups.get(self.segments.len()).and_then(|group| group.first());
        match first_missing {
            // Without the flag those would be left out, though this import has not come to them.
            Some(source) if had_some => format!(
                "the same command would import these once more, and without --again it would leave out what the partition had before; \
                 import only what is missing, from {} on",
                source.file.display()
            ),
            _ => "run it again without --again, which would import these once more".to_owned(),
        }
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
            let missing = match self.again {
                true => of_directory,
                false => present.leave_out(of_directory)?,
            };
            groups.extend(match self.by_directory {
                true => sources::by_directory(missing)?,
                false => sources::by_count(&missing, usize::from(self.files_per_segment)),
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

    fn source(name: &str) -> Source {
        Source {
            file: PathBuf::from("/files").join(name),
            name: name.to_owned(),
            size: 1,
            ..Source::default()
        }
    }

    /// A partition with one file.
    fn having(name: &str, size: u64) -> Present {
        let file = json!({"name": name, "size_bytes": size.to_string(), "checksum": "5"});
        Present::of(&[json!({"segment_id": "3", "files": [file]})])
    }

    #[test]
    fn an_import_that_failed_says_what_there_is_and_how_to_go_on() {
        let (empty, groups) = (Present::default(), ["a", "b", "c"].map(|name| vec![source(name)]));
        let said = |imported: Imported, again| imported.so_far(&arguments(again), &empty, &groups);
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

    #[test]
    fn an_import_of_files_that_were_there_says_where_the_rest_begins() {
        let groups = ["a", "b", "c"].map(|name| vec![source(name)]);
        let said = |imported: Imported, present: &Present| imported.so_far(&arguments(true), present, &groups);
        let told = said(imported(&["7"], &[]), &having("c", 1));
        assert!(told.starts_with("imported so far: 1 segment (7); the same"), "{told}");
        assert!(told.ends_with("import only what is missing, from /files/b on"), "{told}");
        let told = said(imported(&[], &["9"]), &having("a", 1));
        assert!(told.contains("is not known: look with"), "{told}");
        assert!(told.ends_with("import only what is missing, from /files/a on"), "{told}");
        let told = said(imported(&["7"], &[]), &having("c", 2));
        assert!(told.contains("run it again without --again"), "of another size: {told}");
        let told = said(imported(&[], &[]), &having("c", 1));
        assert_eq!(told, "nothing is imported; the same command run again imports the rest");
    }

    #[test]
    fn an_import_that_is_made_again_leaves_nothing_out_and_reads_nothing_for_it() {
        let found = vec![vec![source("a"), source("c")]];
        let groups = arguments(true).groups(found, &mut having("c", 1));
        let groups = groups.expect("there is no file that could be read");
        assert_eq!(groups, [[source("a")], [source("c")]]);
    }
}
