//! Receives checkpoints: one at a time, into the directory for incoming ones, each file verified before openraft installs them.
//!
//! A sender that falls silent must not keep the next leader from sending: without it there may be no quorum. So a checkpoint
//! that is announced under the same vote or a later one takes the place of one that is still being received.

use crate::convert;
use crate::node::Core;
use crate::state_adapter::{SnapshotHandle, run_blocking};
use crate::types::{SnapshotMeta, Vote};
use futures::{Stream, StreamExt};
use openraft::storage::Snapshot;
use quorate_storage::codec;
use quorate_storage::state::RaftRows;
use quorate_wire::quorate::peer as wire;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, OwnedMutexGuard};

/// Files one checkpoint may have; RocksDB at 64 MiB a file stays far below.
const MAX_CHECKPOINT_FILES: usize = 100_000;
/// Longest pause between two pieces of a checkpoint.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
const INSTALL_UNDER_WAY: &str = "another checkpoint is being received";
/// How long a sender that is told to make room may take: it looks after each piece.
const MAKE_ROOM_TIMEOUT: Duration = Duration::from_secs(1);

/// The place in which one checkpoint at a time is received and installed.
#[derive(Default)]
pub(crate) struct Place {
    taken: Arc<tokio::sync::Mutex<()>>,
    /// Whose it is, until everything has been received.
    receiving: Mutex<Option<Sender>>,
}

#[derive(Clone)]
struct Sender {
    vote: Vote,
    /// Told when another one takes its place.
    makes_room: Arc<Notify>,
}

impl Place {
    /// Takes it for a sender with this vote; an error while it is a later one's, or what was received is being installed.
    async fn take(&self, vote: Vote, own: Vote) -> Result<(OwnedMutexGuard<()>, Arc<Notify>), String> {
        if vote < own {
            return Err(format!(
                "its sender leads no more: this peer has heard of term {}",
                own.leader_id.term
            ));
        }
        if let Some(sender) = self.receiving().clone().filter(|sender| sender.vote <= vote) {
            sender.makes_room.notify_one();
        }
        let taken = tokio::time::timeout(MAKE_ROOM_TIMEOUT, self.taken.clone().lock_owned()).await;
        let taken = taken.map_err(|_| INSTALL_UNDER_WAY.to_owned())?;
        let makes_room = Arc::new(Notify::new());
        *self.receiving() = Some(Sender {
            vote,
            makes_room: makes_room.clone(),
        });
        Ok((taken, makes_room))
    }

    /// From now on nobody takes its place.
    fn received(&self) {
        *self.receiving() = None;
    }

    fn receiving(&self) -> std::sync::MutexGuard<'_, Option<Sender>> {
        self.receiving.lock().expect("no panic while held")
    }
}

/// Compares an announced checkpoint with the files already here, and removes leftovers of others; says which files are wanted.
pub(crate) async fn plan(core: &Core, manifest: wire::InstallManifest) -> Result<Vec<String>, String> {
    let vote = convert::vote_from_wire(manifest.vote).map_err(|error| error.to_string())?;
    // An announcement removes files: not while another checkpoint is being received or installed.
    let (taken, _) = core.health.installing.take(vote, core.metrics().vote).await?;
    core.health.installing.received();
    let dir = core.applier.engine().incoming_dir();
    let wanted = run_blocking(core.settings.inline_apply, move || {
        // Held by the work itself: it goes on when the caller hangs up.
        let _taken = taken;
        plan_install(&dir, &manifest)
    });
    let wanted = wanted.await;
    wanted.map_err(|error| error.to_string())
}

/// A name that stays inside its directory.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.len() < 256 && !name.contains(['/', '\\', '\0']) && name != "." && name != ".."
}

fn check_announced(manifest: &wire::InstallManifest) -> std::io::Result<()> {
    if manifest.files.len() > MAX_CHECKPOINT_FILES || manifest.files.iter().any(|file| !is_plain_name(&file.name)) {
        return Err(std::io::Error::other(
            "the announced checkpoint has too many files or a file name with a path",
        ));
    }
    Ok(())
}

fn plan_install(dir: &Path, manifest: &wire::InstallManifest) -> std::io::Result<Vec<String>> {
    check_announced(manifest)?;
    std::fs::create_dir_all(dir)?;
    let announced: BTreeMap<&str, &wire::FileInfo> = manifest.files.iter().map(|file| (file.name.as_str(), file)).collect();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let same = match announced.get(name.as_str()) {
            Some(file) => quorate_storage::state::checksum(&entry.path())? == (file.bytes, file.crc32c),
            None => false,
        };
        if !same {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(manifest
        .files
        .iter()
        .filter(|file| !dir.join(&file.name).exists())
        .map(|file| file.name.clone())
        .collect())
}

/// Receives what [`plan`] has asked for, and installs it; the vote this peer has afterwards. In a task of its own: the caller may
/// hang up, but nobody else may touch the files before what has begun is over.
pub(crate) async fn receive_and_install(
    core: Arc<Core>,
    chunks: impl Stream<Item = wire::InstallChunk> + Send + Unpin + 'static,
) -> Result<wire::Vote, String> {
    let installed = tokio::spawn(async move { install(&core, chunks).await });
    installed.await.map_err(|error| error.to_string())?
}

async fn install(core: &Core, mut chunks: impl Stream<Item = wire::InstallChunk> + Send + Unpin) -> Result<wire::Vote, String> {
    core.takes_part()?;
    let manifest = take_manifest(&mut chunks).await?;
    let vote = convert::vote_from_wire(manifest.vote).map_err(|error| error.to_string())?;
    let (_taken, makes_room) = core.health.installing.take(vote, core.metrics().vote).await?;
    let log_id = manifest.log_id.ok_or("the manifest has no log id")?;
    let log_id = convert::log_id_from_wire(log_id).map_err(|error| error.to_string())?;
    let dir = core.applier.engine().incoming_dir();
    let rows = receive_files(&dir, core.settings.inline_apply, manifest, chunks, &makes_room).await?;
    core.health.installing.received();
    let last_membership = convert::stored_membership_from_disk(&rows.membership).map_err(|error| error.to_string())?;
    let meta = SnapshotMeta {
        last_log_id: Some(log_id),
        last_membership,
    };
    fail::fail_point!("snapshot_received");
    tracing::info!(index = log_id.index, "installing a received checkpoint");
    let snapshot = Snapshot {
        meta,
        snapshot: SnapshotHandle::Received(rows),
    };
    let kept = core.kept_tail.installing(log_id.index);
    let reply = core
        .raft()
        .install_full_snapshot(vote, snapshot)
        .await
        .map_err(|error| error.to_string())?;
    drop(kept);
    // A later vote in the answer says no to the sender, and promises nothing.
    if reply.vote == vote {
        see_durable(core, log_id.index).await?;
    }
    core.content_scan.want();
    Ok(convert::vote_to_wire(&reply.vote))
}

/// openraft ignores a checkpoint of what is committed here already, and answers as if it were installed. But to answer is to
/// promise: the leader counts this peer as one that has everything up to there, and what is applied may still wait for its sync.
async fn see_durable(core: &Core, index: u64) -> Result<(), String> {
    if core.applier.applied().index < index {
        return Err("what the checkpoint holds is being applied from the log; ask again".to_owned());
    }
    let engine = core.applier.engine().clone();
    let durable = move || {
        let durable = engine.durable_applied()?.map_or(0, |id| id.index);
        if durable < index { engine.flush() } else { Ok(()) }
    };
    let durable = run_blocking(core.settings.inline_apply, durable).await;
    durable.map_err(|error| error.to_string())
}

async fn take_manifest(chunks: &mut (impl Stream<Item = wire::InstallChunk> + Unpin)) -> Result<wire::InstallManifest, String> {
    let first = next_chunk(chunks).await?.ok_or("the stream ended before its manifest")?;
    let manifest = first.manifest.ok_or("the stream does not begin with a manifest")?;
    check_announced(&manifest).map_err(|error| error.to_string())?;
    Ok(manifest)
}

/// Receives a whole checkpoint into `dir` and verifies it; says what it promises to hold.
pub(crate) async fn receive(
    dir: &Path,
    inline: bool,
    mut chunks: impl Stream<Item = wire::InstallChunk> + Unpin,
) -> Result<RaftRows, String> {
    let manifest = take_manifest(&mut chunks).await?;
    receive_files(dir, inline, manifest, chunks, &Notify::new()).await
}

/// Writes the pieces behind a manifest into `dir`, and verifies all files it names. Told to make room, it ends between two
/// pieces, so that nothing is written after it has ended.
async fn receive_files(
    dir: &Path,
    inline: bool,
    manifest: wire::InstallManifest,
    mut chunks: impl Stream<Item = wire::InstallChunk> + Unpin,
    makes_room: &Notify,
) -> Result<RaftRows, String> {
    let membership = codec::decode_stored_membership(&manifest.membership).map_err(|error| error.to_string())?;
    let log_id = manifest.log_id.ok_or("the manifest has no log id")?;
    let log_id = convert::log_id_from_wire(log_id).map_err(|error| error.to_string())?;
    let rows = RaftRows {
        applied: Some(convert::log_id_to_disk(&log_id)),
        membership,
    };
    let known: BTreeMap<String, (u64, u32)> = manifest
        .files
        .iter()
        .map(|file| (file.name.clone(), (file.bytes, file.crc32c)))
        .collect();
    let mut writer = FileWriter {
        dir: dir.to_owned(),
        current: None,
    };
    loop {
        let chunk = tokio::select! {
            chunk = next_chunk(&mut chunks) => chunk?,
            () = makes_room.notified() => return Err("another sender has taken its place".to_owned()),
        };
        let Some(chunk) = chunk else { break };
        if !known.contains_key(&chunk.file) {
            return Err(format!("file {} is not in the manifest", chunk.file));
        }
        writer = run_blocking(inline, move || {
            writer
                .write(&chunk)
                .map_err(|error| name_file(&chunk.file, &error))
                .map(|()| writer)
        })
        .await
        .map_err(|error| error.to_string())?;
    }
    let dir = dir.to_owned();
    run_blocking(inline, move || verify_files(&dir, &known))
        .await
        .map_err(|error| error.to_string())?;
    Ok(rows)
}

/// The next piece, in time: a sender that hangs must not keep others from sending.
async fn next_chunk(chunks: &mut (impl Stream<Item = wire::InstallChunk> + Unpin)) -> Result<Option<wire::InstallChunk>, String> {
    let next = tokio::time::timeout(CHUNK_TIMEOUT, chunks.next()).await;
    next.map_err(|_| format!("no piece of the checkpoint came for {} s", CHUNK_TIMEOUT.as_secs()))
}

fn name_file(name: &str, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("file {name}: {error}"))
}

/// Writes chunks; a file gets its name only when it is complete.
struct FileWriter {
    dir: PathBuf,
    current: Option<(String, std::fs::File)>,
}

impl FileWriter {
    fn write(&mut self, chunk: &wire::InstallChunk) -> std::io::Result<()> {
        fail::fail_point!("snapshot_receive_chunk", crate::failpoints::fail);
        let partial = self.dir.join(format!("{}.partial", chunk.file));
        let matches = self.current.as_ref().is_some_and(|(name, _)| *name == chunk.file);
        if !matches {
            self.current = Some((chunk.file.clone(), std::fs::File::create(&partial)?));
        }
        if let Some((_, file)) = &mut self.current {
            file.write_all(&chunk.data)?;
            if chunk.end_of_file {
                file.sync_all()?;
                fail::fail_point!("snapshot_receive_file");
                self.current = None;
                std::fs::rename(&partial, self.dir.join(&chunk.file))?;
            }
        }
        Ok(())
    }
}

fn verify_files(dir: &Path, expected: &BTreeMap<String, (u64, u32)>) -> std::io::Result<()> {
    for (name, facts) in expected {
        let path = dir.join(name);
        if quorate_storage::state::checksum(&path)? != *facts {
            std::fs::remove_file(&path)?;
            return Err(std::io::Error::other(format!(
                "file {name} does not match its checksum; it is fetched again"
            )));
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !expected.contains_key(entry.file_name().to_string_lossy().as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
