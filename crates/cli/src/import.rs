//! `quorate segment import`: files of this machine become segments of a collection.
//!
//! ```text
//! walk -> groups -> per batch: prepare (ids and paths) -> write -> sync -> commit (all visible at once)
//! ```
//!
//! A batch that does not get as far as its commit is given up; one that is cut off is given up by the cluster a day later. So an
//! import that ends in between leaves whole segments, and files that nobody sees and that go by themselves.

use crate::amounts::{bytes, counted};
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

pub async fn run(arguments: ImportArguments, connection: &Connection, context: &Context) -> anyhow::Result<()> {
    let groups = arguments.groups()?;
    let collection = connection.get(&arguments.place.collection(), &[]).await?;
    let vault = vault_access::open(
        connection,
        &arguments.place.instance,
        &text(&collection, "vault"),
        &arguments.access,
    )
    .await?;
    let total: u64 = groups.iter().flatten().map(|source| source.size).sum();
    let bar = ProgressBar::new(total);
    bar.set_style(
        ProgressStyle::with_template("Import [{bar:32}] {percent:>3}% {bytes} of {total_bytes}, {bytes_per_sec}")?.progress_chars("=> "),
    );
    let (mut segments, mut files, mut revision) = (Vec::new(), 0, String::new());
    for batch in groups.chunks(SEGMENTS_PER_BATCH) {
        let prepared = connection
            .anew()
            .post(&arguments.place.segments(&[]), &json!({"count": batch.len()}))
            .await?
            .result;
        let prepared = list(&prepared, "segments").to_vec();
        let outcome = arguments.write(connection, &vault, batch, &prepared, &bar).await;
        match outcome {
            Ok(committed) => revision = committed,
            Err(error) => {
                bar.finish_and_clear();
                arguments.give_up(connection, &prepared).await;
                let done = counted(segments.len() as u64, "segment");
                return Err(error.context(format!("{done} are imported; of the one that failed and those after it nothing is")));
            }
        }
        segments.extend(prepared.iter().map(|segment| segment["segment_id"].clone()));
        files += batch.iter().map(Vec::len).sum::<usize>();
    }
    bar.finish_and_clear();
    let (collection, count) = (&arguments.place.collection, segments.len() as u64);
    let result = json!({
        "collection": collection, "segments": segments, "files": files.to_string(), "bytes": total.to_string(), "revision": revision
    });
    output::show(&context.output, result, |_| {
        let (files, total) = (counted(files as u64, "file"), bytes(total));
        (
            format!("{files}, {total}, imported into {collection} as {}.", counted(count, "segment")),
            Sheet::new([]),
        )
    });
    Ok(())
}

impl ImportArguments {
    /// What goes into each segment.
    fn groups(&self) -> anyhow::Result<Vec<Vec<Source>>> {
        let mut groups = Vec::new();
        for directory in &self.directories {
            let mut sources = Vec::new();
            walk(directory, directory, &mut sources)?;
            if sources.is_empty() {
                bail!("there is no file below {}", directory.display());
            }
            groups.extend(match self.by_directory {
                true => by_directory(sources)?,
                false => by_count(sources, usize::from(self.files_per_segment)),
            });
        }
        Ok(groups)
    }

    /// Writes the files of a batch and makes its segments visible; answers the revision.
    async fn write(
        &self,
        connection: &Connection,
        vault: &Vault,
        batch: &[Vec<Source>],
        prepared: &[Json],
        bar: &ProgressBar,
    ) -> anyhow::Result<String> {
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
        let mut revision = String::new();
        for part in commits(contents) {
            let path = path(&["instances", &self.place.instance, "segments", "commit"]);
            revision = connection.anew().post(&path, &json!({"segments": part})).await?.revision;
        }
        Ok(revision)
    }

    fn with_rows(&self, mut file: Json) -> Json {
        file["rows"] = json!(self.rows_per_file.to_string());
        file
    }

    /// Has the files of segments that were not committed deleted soon instead of a day later.
    async fn give_up(&self, connection: &Connection, prepared: &[Json]) {
        let ids: Vec<&Json> = prepared.iter().map(|segment| &segment["segment_id"]).collect();
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
    use crate::amounts::number;

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
