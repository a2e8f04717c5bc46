//! `quorate segment import`: files of this machine become segments of a collection.
//!
//! ```text
//! walk -> groups -> per batch: prepare (ids and paths) -> write -> sync -> commit (all visible at once)
//! ```
//!
//! What does not get as far as its commit is given up; what is cut off is given up by the cluster a day later. So an import that ends
//! in between leaves whole segments, and files that nobody sees and that go by themselves. The same command run again leaves out the
//! files that are in those segments ([`present`]).

mod present;

use crate::amounts::{bytes, counted, number};
use crate::api::path;
use crate::context::Context;
use crate::doris::Connection;
use crate::output::{self, Sheet, list, text};
use crate::segment::Place;
use crate::vault_access::{self, VaultAccessArguments};
use anyhow::{Context as _, bail};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use present::Present;
use quorate_objects::{Existing, ObjectPath, Vault};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

/// Segments prepared and committed at once.
const SEGMENTS_PER_BATCH: usize = 64;
/// Bytes of a commit's body: the cluster takes 256 KiB of content, which as JSON is longer.
const COMMIT_BYTES: usize = 192 << 10;
/// Files written at once.
const FILES_AT_ONCE: usize = 8;
/// Bytes of one segment's content: the cluster takes 64 KiB.
const SEGMENT_BYTES: usize = 56 << 10;
/// What a file takes of these beside its name.
const FILE_BYTES: usize = 40;

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

/// A file to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    file: PathBuf,
    /// Below the segment's directory.
    name: String,
    size: u64,
}

/// What an import has made visible so far.
#[derive(Default)]
struct Imported {
    segments: Vec<Json>,
    files: usize,
    bytes: u64,
    revision: String,
}

pub async fn run(arguments: ImportArguments, connection: &Connection, context: &Context) -> anyhow::Result<()> {
    let sources = arguments.sources()?;
    // What is looked at on this machine may take longer than a call.
    let collection = connection.anew().get(&arguments.place.collection(), &[]).await?;
    let mut present = arguments.present(connection).await?;
    let groups = arguments.groups(sources, &mut present)?;
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
    let mut imported = Imported::default();
    for batch in groups.chunks(SEGMENTS_PER_BATCH) {
        if let Err(error) = arguments.import(connection, &vault, batch, &bar, &mut imported).await {
            bar.finish_and_clear();
            return Err(error.context(imported.so_far()));
        }
    }
    bar.finish_and_clear();
    imported.show(&arguments, &present, context);
    Ok(())
}

impl Imported {
    /// Said of an import that failed.
    fn so_far(&self) -> String {
        let done = match self.segments.as_slice() {
            [] => "nothing is imported".to_owned(),
            segments => {
                let ids: Vec<String> = segments.iter().map(plain).collect();
                format!("imported so far: {} ({})", counted(ids.len() as u64, "segment"), ids.join(", "))
            }
        };
        format!("{done}; the same command run again imports the rest")
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

/// An id as people write it.
fn plain(id: &Json) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

impl ImportArguments {
    /// All files, directory by directory.
    fn sources(&self) -> anyhow::Result<Vec<Vec<Source>>> {
        let mut all = Vec::new();
        for directory in &self.directories {
            let mut sources = Vec::new();
            walk(directory, directory, &mut sources)?;
            if sources.is_empty() {
                bail!("there is no file below {}", directory.display());
            }
            all.push(sources);
        }
        Ok(all)
    }

    /// What the partition has already, unless that does not matter.
    async fn present(&self, connection: &Connection) -> anyhow::Result<Present> {
        if self.again {
            return Ok(Present::default());
        }
        let parameters = [("partition", self.place.partition_or_default().to_owned())];
        let segments = connection.anew().all(&self.place.all_segments(), &parameters, "segments").await?;
        Ok(Present::of(&segments))
    }

    /// What goes into each segment.
    fn groups(&self, sources: Vec<Vec<Source>>, present: &mut Present) -> anyhow::Result<Vec<Vec<Source>>> {
        let mut groups = Vec::new();
        for of_directory in sources {
            let missing = present.leave_out(of_directory)?;
            groups.extend(match self.by_directory {
                true => by_directory(missing)?,
                false => by_count(missing, usize::from(self.files_per_segment)),
            });
        }
        Ok(groups)
    }

    /// Imports a batch. What of it does not become visible is given up.
    async fn import(
        &self,
        connection: &Connection,
        vault: &Vault,
        batch: &[Vec<Source>],
        bar: &ProgressBar,
        imported: &mut Imported,
    ) -> anyhow::Result<()> {
        let count = json!({"count": batch.len()});
        let prepared = connection.anew().post(&self.place.segments(&[]), &count).await?.result;
        let prepared = list(&prepared, "segments");
        let outcome = self.write(connection, vault, batch, prepared, bar, imported).await;
        if outcome.is_err() {
            let is_left = |segment: &&Json| !imported.segments.contains(&segment["segment_id"]);
            self.give_up(connection, prepared.iter().filter(is_left)).await;
        }
        outcome
    }

    /// Writes the files of a batch and makes its segments visible.
    async fn write(
        &self,
        connection: &Connection,
        vault: &Vault,
        batch: &[Vec<Source>],
        prepared: &[Json],
        bar: &ProgressBar,
        imported: &mut Imported,
    ) -> anyhow::Result<()> {
        if prepared.len() != batch.len() {
            bail!("{} segments were asked for and {} prepared", batch.len(), prepared.len());
        }
        let mut contents = Vec::with_capacity(batch.len());
        let mut written = Vec::new();
        for (sources, segment) in batch.iter().zip(prepared) {
            let directory = ObjectPath::new(text(segment, "path"))?;
            let writes = stream::iter(sources.iter().map(|source| write_file(vault, &directory, source, bar)));
            let files: Vec<(ObjectPath, Json)> = writes.buffered(FILES_AT_ONCE).try_collect().await?;
            let (paths, files): (Vec<_>, Vec<_>) = files.into_iter().unzip();
            written.extend(paths);
            let rows = self.rows_per_file.saturating_mul(sources.len() as u64);
            let files: Vec<Json> = files.into_iter().map(|file| self.with_rows(file)).collect();
            contents.push(json!({"segment_id": segment["segment_id"], "rows": rows.to_string(), "files": files}));
        }
        // What is visible must survive a crash.
        vault.sync(&written).await?;
        for part in commits(contents) {
            let path = path(&["instances", &self.place.instance, "segments", "commit"]);
            imported.revision = connection.anew().post(&path, &json!({"segments": part})).await?.revision;
            for content in &part {
                let files = list(content, "files");
                imported.segments.push(content["segment_id"].clone());
                imported.files += files.len();
                imported.bytes += files.iter().map(|file| number(file, "size_bytes")).sum::<u64>();
            }
        }
        Ok(())
    }

    fn with_rows(&self, mut file: Json) -> Json {
        file["rows"] = json!(self.rows_per_file.to_string());
        file
    }

    /// Has the files of segments that were not committed deleted soon instead of a day later.
    async fn give_up(&self, connection: &Connection, prepared: impl Iterator<Item = &Json>) {
        let ids: Vec<&Json> = prepared.map(|segment| &segment["segment_id"]).collect();
        let path = path(&["instances", &self.place.instance, "segments", "abort"]);
        if let Err(error) = connection.anew().post(&path, &json!({"segment_ids": ids})).await {
            eprintln!("what was written is not given up yet ({error:#}); the cluster does so a day from now");
        }
    }
}

async fn write_file(vault: &Vault, directory: &ObjectPath, source: &Source, bar: &ProgressBar) -> anyhow::Result<(ObjectPath, Json)> {
    let path = directory.join(&source.name)?;
    let written = vault.upload(&source.file, &path, Existing::Refuse).await?;
    if written.size != source.size {
        bail!(
            "{} has changed while it was imported; import it when nobody writes it",
            source.file.display()
        );
    }
    bar.inc(source.size);
    let described = json!({
        "name": source.name, "size_bytes": written.size.to_string(), "checksum": written.checksum.0.to_string(), "kind": "DATA"
    });
    Ok((path, described))
}

/// All files below a directory, by name. What is neither file nor directory is refused: it would be missing without a word.
fn walk(top: &Path, directory: &Path, found: &mut Vec<Source>) -> anyhow::Result<()> {
    let read = std::fs::read_dir(directory).with_context(|| format!("directory {}", directory.display()))?;
    let mut entries = read
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("directory {}", directory.display()))?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let file = entry.path();
        let metadata = std::fs::symlink_metadata(&file).with_context(|| format!("file {}", file.display()))?;
        if metadata.is_dir() {
            walk(top, &file, found)?;
            continue;
        }
        if !metadata.is_file() {
            bail!("{} is neither a file nor a directory; leave it out", file.display());
        }
        let name = file.strip_prefix(top).ok().and_then(Path::to_str).map(str::to_owned);
        let name = name.with_context(|| format!("the name of {} is not UTF-8; rename it", file.display()))?;
        let size = metadata.len();
        found.push(Source { file, name, size });
    }
    Ok(())
}

/// Groups of at most `count` files that a segment can describe.
fn by_count(sources: Vec<Source>, count: usize) -> Vec<Vec<Source>> {
    let mut groups: Vec<Vec<Source>> = Vec::new();
    let mut described = 0;
    for source in sources {
        let takes = source.name.len() + FILE_BYTES;
        match groups.last_mut() {
            Some(group) if group.len() < count && described + takes <= SEGMENT_BYTES => {
                described += takes;
                group.push(source);
            }
            _ => {
                described = takes;
                groups.push(vec![source]);
            }
        }
    }
    groups
}

/// One group for each first part of the names, and one for those without.
fn by_directory(sources: Vec<Source>) -> anyhow::Result<Vec<Vec<Source>>> {
    let mut groups: Vec<(Option<String>, Vec<Source>)> = Vec::new();
    for source in sources {
        let first = source.name.split_once('/').map(|(first, _)| first.to_owned());
        match groups.iter_mut().find(|(of, _)| *of == first) {
            Some((_, group)) => group.push(source),
            None => groups.push((first, vec![source])),
        }
    }
    for (directory, group) in &groups {
        let described: usize = group.iter().map(|source| source.name.len() + FILE_BYTES).sum();
        if group.len() > 1_000 || described > SEGMENT_BYTES {
            let name = directory.as_deref().unwrap_or("the top directory");
            bail!(
                "{name} has {} files, more than a segment can have; use --files-per-segment",
                group.len()
            );
        }
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

/// Commands that are small enough.
fn commits(contents: Vec<Json>) -> Vec<Vec<Json>> {
    let mut parts: Vec<Vec<Json>> = Vec::new();
    let mut taken = 0;
    for content in contents {
        let takes = content.to_string().len();
        match parts.last_mut() {
            Some(part) if taken + takes <= COMMIT_BYTES => {
                taken += takes;
                part.push(content);
            }
            _ => {
                taken = takes;
                parts.push(vec![content]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> Source {
        Source {
            file: PathBuf::from(name),
            name: name.to_owned(),
            size: 1,
        }
    }

    fn names(groups: &[Vec<Source>]) -> Vec<Vec<&str>> {
        groups
            .iter()
            .map(|group| group.iter().map(|source| source.name.as_str()).collect())
            .collect()
    }

    #[test]
    fn groups_are_no_larger_than_a_segment_may_be() {
        let three = by_count(vec![source("a"), source("b"), source("c")], 2);
        assert_eq!(names(&three), [vec!["a", "b"], vec!["c"]]);
        let long: Vec<Source> = (0..600).map(|n| source(&format!("{n:0200}"))).collect();
        let groups = by_count(long, 1_000);
        assert!(groups.len() > 1 && groups.iter().all(|group| group.len() * 240 <= SEGMENT_BYTES));
        assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), 600);
    }

    #[test]
    fn a_directory_is_a_segment_and_files_beside_them_are_another() {
        let groups = by_directory(["a/1", "a/b/2", "c/1", "top"].map(source).to_vec()).expect("small");
        assert_eq!(names(&groups), [vec!["a/1", "a/b/2"], vec!["c/1"], vec!["top"]]);
        assert!(by_directory((0..1_001).map(|n| source(&format!("a/{n}"))).collect()).is_err());
    }

    #[test]
    fn a_walk_finds_files_in_order_and_refuses_what_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("b")).expect("made");
        for name in ["b/x", "a", "c"] {
            std::fs::write(dir.path().join(name), name).expect("written");
        }
        let mut found = Vec::new();
        walk(dir.path(), dir.path(), &mut found).expect("walked");
        assert_eq!(
            found.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(),
            ["a", "b/x", "c"]
        );
        std::os::unix::fs::symlink("a", dir.path().join("link")).expect("made");
        let error = walk(dir.path(), dir.path(), &mut Vec::new()).expect_err("a link");
        assert!(error.to_string().contains("link is neither a file nor a directory"), "{error}");
    }

    #[test]
    fn commits_are_cut_by_size_and_lose_nothing() {
        let contents: Vec<Json> = (0..20).map(|n| json!({"n": n, "fill": "x".repeat(30 << 10)})).collect();
        let parts = commits(contents);
        assert!(
            parts
                .iter()
                .all(|part| part.iter().map(|content| content.to_string().len()).sum::<usize>() <= COMMIT_BYTES)
        );
        assert_eq!(
            parts.concat().iter().map(|content| number(content, "n")).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
    }
}
