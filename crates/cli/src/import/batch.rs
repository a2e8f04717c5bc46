//! One batch of an import: prepared, written, committed.
//!
//! What is whole when something goes wrong is committed all the same, and the rest is given up. A commit whose answer is lost is looked
//! for: its session is closed first, so that it cannot be made afterwards.

use super::parts::parts;
use super::sources::Source;
use super::{ImportArguments, Imported};
use crate::amounts::{distance, now_ms, number};
use crate::api::{path, posting};
use crate::doris::{Connection, InDoubt};
use crate::output::{list, text};
use anyhow::bail;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use quorate_objects::{Existing, ObjectPath, Vault};
use serde_json::{Value as Json, json};
use tokio::sync::watch;

/// Bytes of a commit's body: the cluster takes 256 KiB of content, which as JSON is longer.
const COMMIT_BYTES: u64 = 192 << 10;
/// Files written at once.
const FILES_AT_ONCE: usize = 8;

/// An import that is under way.
pub(super) struct Importer<'a> {
    pub arguments: &'a ImportArguments,
    pub connection: &'a Connection,
    pub vault: &'a Vault,
    pub bar: &'a ProgressBar,
    /// True once whoever runs the import wants it to end.
    pub interrupted: watch::Receiver<bool>,
    pub imported: Imported,
}

/// What of a batch is written.
#[derive(Default)]
struct Written {
    files: Vec<ObjectPath>,
    /// A segment each, as commits describe them.
    contents: Vec<Json>,
}

impl Importer<'_> {
    /// Imports a batch, or of one that fails what was whole by then.
    pub async fn import(&mut self, batch: &[Vec<Source>]) -> anyhow::Result<()> {
        let count = json!({"count": batch.len()});
        let reply = self.connection.anew().post(&self.arguments.place.segments(&[]), &count).await?;
        let prepared = list(&reply.result, "segments");
        let mut written = Written::default();
        let ended = self.write(batch, prepared, &mut written).await;
        let committed = self.commit(written, number(&reply.result, "expires_ms")).await;
        let outcome = match (ended, committed) {
            (Err(why), Err(error)) => Err(error.context(format!("{why:#}; nor could what was whole by then be imported"))),
            (ended, committed) => ended.and(committed),
        };
        if outcome.is_err() {
            self.give_up(prepared).await;
        }
        outcome
    }

    /// Writes the files of a batch, segment by segment.
    async fn write(&self, batch: &[Vec<Source>], prepared: &[Json], written: &mut Written) -> anyhow::Result<()> {
        if prepared.len() != batch.len() {
            bail!("{} segments were asked for and {} prepared", batch.len(), prepared.len());
        }
        for (sources, segment) in batch.iter().zip(prepared) {
            let directory = ObjectPath::new(text(segment, "path"))?;
            let writes = stream::iter(sources.iter().map(|source| write_file(self.vault, &directory, source, self.bar)));
            let files = tokio::select! {
                files = writes.buffered(FILES_AT_ONCE).try_collect::<Vec<_>>() => files?,
                () = interruption(self.interrupted.clone()) => bail!("interrupted"),
            };
            let (paths, files): (Vec<_>, Vec<_>) = files.into_iter().unzip();
            written.files.extend(paths);
            let rows = self.arguments.rows_per_file.saturating_mul(sources.len() as u64);
            let files: Vec<Json> = files.into_iter().map(|file| self.with_rows(file)).collect();
            let content = json!({"segment_id": segment["segment_id"], "rows": rows.to_string(), "files": files});
            written.contents.push(content);
        }
        Ok(())
    }

    fn with_rows(&self, mut file: Json) -> Json {
        file["rows"] = json!(self.arguments.rows_per_file.to_string());
        file
    }

    /// Makes visible what is written.
    async fn commit(&mut self, written: Written, expires_ms: u64) -> anyhow::Result<()> {
        if written.contents.is_empty() {
            return Ok(());
        }
        // What is visible must survive a crash.
        self.vault.sync(&written.files).await?;
        for part in parts(&written.contents, usize::MAX, COMMIT_BYTES, |content| {
            content.to_string().len() as u64
        }) {
            let path = path(&["instances", &self.arguments.place.instance, "segments", "commit"]);
            let commit = posting(&path, &json!({"segments": part}));
            let connection = self.connection.anew();
            let session = connection.open_session().await?;
            let answer = connection.send(&commit, Some(session)).await;
            // Closed it lets nothing pass that is still on its way; left open it ends by itself an hour later.
            let closed = self.connection.anew().close_session(session).await;
            match answer {
                Ok(answer) => self.imported.add(part, &answer.revision),
                Err(error) if error.is::<InDoubt>() => self.look_for(part, closed, error).await?,
                Err(error) if is_over(expires_ms, now_ms()) => return Err(error.context(too_late(expires_ms))),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Counts what is there of a commit whose answer was lost. If its session could not be closed it may be made yet.
    async fn look_for(&mut self, part: &[Json], closed: anyhow::Result<()>, error: anyhow::Error) -> anyhow::Result<()> {
        let listed = match closed {
            Ok(()) => self.arguments.listed(self.connection).await,
            Err(open) => Err(open),
        };
        let Ok(listed) = listed else {
            let ids = part.iter().map(|content| content["segment_id"].clone());
            self.imported.in_doubt.extend(ids);
            return Err(error);
        };
        let found = there(part, &listed);
        let Some(first) = found.first() else {
            bail!("the commit was not made ({})", error.root_cause());
        };
        let revision = text(first, "revision");
        self.imported.add(found, &revision);
        Ok(())
    }

    /// Has the files of segments that are not visible deleted soon instead of a day later; not of those that may become so.
    async fn give_up(&self, prepared: &[Json]) {
        let imported = &self.imported;
        let ids = prepared.iter().map(|segment| &segment["segment_id"]);
        let ids: Vec<&Json> = ids
            .filter(|id| !imported.segments.contains(id) && !imported.in_doubt.contains(id))
            .collect();
        if ids.is_empty() {
            return;
        }
        let path = path(&["instances", &self.arguments.place.instance, "segments", "abort"]);
        if let Err(error) = self.connection.anew().post(&path, &json!({"segment_ids": ids})).await {
            eprintln!("what was written is not given up yet ({error:#}); the cluster does so a day from now");
        }
    }
}

/// Waits until the import is to end.
async fn interruption(mut interrupted: watch::Receiver<bool>) {
    let _ = interrupted.wait_for(|interrupted| *interrupted).await;
}

async fn write_file(vault: &Vault, directory: &ObjectPath, source: &Source, bar: &ProgressBar) -> anyhow::Result<(ObjectPath, Json)> {
    let path = directory.join(&source.name)?;
    let uploaded = vault.upload(&source.file, &path, Existing::Refuse).await?;
    let written = uploaded.written;
    if written.size != source.size || !source.is_still(&uploaded.source) {
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

/// The listed segments that a commit was about.
fn there<'a>(part: &[Json], listed: &'a [Json]) -> Vec<&'a Json> {
    let is_of_part = |segment: &&Json| part.iter().any(|content| content["segment_id"] == segment["segment_id"]);
    listed.iter().filter(is_of_part).collect()
}

/// Whether the cluster has given up by now what it prepared.
fn is_over(expires_ms: u64, now_ms: u64) -> bool {
    expires_ms != 0 && now_ms >= expires_ms
}

fn too_late(expires_ms: u64) -> String {
    let ended = distance(expires_ms);
    format!(
        "the time for which the cluster keeps what is prepared ended {ended}, before all files of these segments were written; \
         make segments of fewer files, or import from nearer to the vault"
    )
}

#[cfg(test)]
mod tests {
    use super::super::sources;
    use super::*;
    use quorate_objects::{LocalPlace, Patience, VaultPlace};

    #[test]
    fn what_is_there_of_a_commit_is_told_from_what_was_there_before() {
        let part = [json!({"segment_id": "7"}), json!({"segment_id": "8"})];
        let listed = [json!({"segment_id": "6"}), json!({"segment_id": "8"})];
        assert_eq!(there(&part, &listed), [&listed[1]]);
        assert!(there(&part, &listed[..1]).is_empty());
    }

    #[test]
    fn an_import_that_took_too_long_is_told_so() {
        assert!(!is_over(0, 5) && !is_over(6, 5) && is_over(5, 5));
        let told = too_late(now_ms() - 2 * 3_600_000);
        assert!(told.contains("ended 2 hours ago") && told.contains("fewer files"), "{told}");
    }

    #[tokio::test]
    async fn a_file_that_is_written_meanwhile_is_refused_though_its_size_is_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, files) = (dir.path().join("vault"), dir.path().join("files"));
        for directory in [&root, &files] {
            std::fs::create_dir(directory).expect("made");
        }
        let place = LocalPlace {
            root,
            cluster_id: "c".to_owned(),
            vault_id: "local".to_owned(),
        };
        Vault::create_marker(&place).await.expect("marked");
        let vault = Vault::open(&VaultPlace::Local(place), Patience::default()).await.expect("opened");
        let file = files.join("a");
        std::fs::write(&file, b"old").expect("written");
        let found = sources::below(&[files]).expect("walked").concat();
        let source = found.first().expect("one file");
        let bar = ProgressBar::hidden();
        let write = async |segment: &str| {
            let directory = ObjectPath::new(segment).expect("a path");
            write_file(&vault, &directory, source, &bar).await
        };
        let (path, described) = write("s1/g1").await.expect("nobody has written it");
        assert_eq!((path.as_str(), number(&described, "size_bytes")), ("s1/g1/a", 3));

        let before = std::fs::metadata(&file).and_then(|metadata| metadata.modified()).expect("a time");
        std::fs::write(&file, b"new").expect("written");
        let opened = std::fs::File::options().write(true).open(&file).expect("opens");
        // The clock of a file system may stand still for longer than this test takes.
        opened.set_modified(before + std::time::Duration::from_millis(1)).expect("set");
        let refused = write("s1/g2").await.expect_err("it was written");
        assert!(refused.to_string().contains("has changed while it was imported"), "{refused}");
    }
}
