//! W5: snapshots, from creation to deletion, by clients that get in each other's way.
//!
//! Two kinds. A *shelf* is a collection whose snapshots are committed by the leader's reconciler: clients create, pin, unpin and
//! drop them. An *image* is a Doris snapshot of an instance, which clients themselves begin, and commit or abort in
//! competition: one of the two wins. A committed image is made *clones* of, instances that read through it: an album has a mark that
//! clients overwrite, and a clone goes on showing the one of its image, which cannot be dropped meanwhile. No files of segments are
//! involved; those are `copies`' matter.

use super::keys::Keys;
use super::{Stage, Workload, in_clients, number_in, setup};
use crate::checker::fates::Fates;
use crate::checker::lifecycle::{self, SnapshotRules};
use crate::checker::witness;
use crate::client::{Client, Effect, Open, refusal_in};
use crate::contract::Failed;
use crate::history::Op;
use crate::send;
use crate::verdict::Verdict;
use async_trait::async_trait;
use quorate_tests::http;
use quorate_wire::doris::alter_instance_request::Operation as Change;
use quorate_wire::doris::clone_instance_request::CloneType;
use quorate_wire::doris::meta_service_client::MetaServiceClient;
use quorate_wire::doris::{
    AbortSnapshotRequest, AlterInstanceRequest, BeginSnapshotRequest, CloneInstanceRequest, CommitSnapshotRequest,
    DropSnapshotRequest as DropImageRequest,
};
use quorate_wire::quorate::v1::catalog_client::CatalogClient;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::snapshots_client::SnapshotsClient;
use quorate_wire::quorate::v1::{
    CreateCollectionRequest, CreateSnapshotRequest, DropSnapshotRequest, GetAttributeRequest, ListSnapshotsReply, ListSnapshotsRequest,
    PinSnapshotRequest, PutAttributeRequest, Snapshot, SnapshotRef, SnapshotState, UnpinSnapshotRequest,
};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::{Arc, Mutex};

const INSTANCE: &str = "jepsen-shelves";
/// Collections are made beforehand; one is used up after so many operations.
const SHELVES: u64 = 100;
const OPERATIONS_PER_SHELF: u64 = 120;
/// Instances with images, likewise.
const ALBUMS: u64 = 12;
const OPERATIONS_PER_ALBUM: u64 = 300;
/// The attribute of an album by which its clones are known.
const MARK: &str = "mark";
/// They are there for everybody, to get in each other's way: one group.
const ALL: usize = 0;
/// What clients tell each other of is forgotten beyond this: the newest matter.
const REMEMBERED: usize = 12;

#[derive(Default)]
pub struct Snapshots {
    board: Arc<Board>,
}

/// What clients know of each other's snapshots: to get in each other's way.
#[derive(Default)]
struct Board {
    shelves: Keys,
    albums: Keys,
    snapshots: Mutex<Vec<(u64, String)>>,
    pins: Mutex<Vec<(u64, String, i64)>>,
    images: Mutex<Vec<(u64, String)>>,
    committed: Mutex<Vec<(u64, String)>>,
    /// Each with its image.
    clones: Mutex<Vec<(String, String)>>,
}

fn remember<T>(list: &Mutex<Vec<T>>, one: T) {
    let mut list = list.lock().expect("no panic while held");
    list.push(one);
    if list.len() > REMEMBERED {
        list.remove(0);
    }
}

struct Actor {
    client: Client,
    board: Arc<Board>,
}

impl Actor {
    /// Most operations are lists: a creation waits for the reconciler, and lists show what all others have done.
    async fn run(mut self) {
        while self.client.turn().await {
            let shelf = self.board.shelves.pick(ALL, &mut self.client.random) % SHELVES;
            let album = self.board.albums.pick(ALL, &mut self.client.random) % ALBUMS;
            match self.client.random.below(100) {
                0..8 => self.create(shelf).await,
                8..16 => self.drop_snapshot(shelf).await,
                16..24 => self.pin(shelf).await,
                24..32 => self.unpin(shelf).await,
                32..60 => self.list("list-snapshots", shelf).await,
                60..64 => drop(self.begin_image(album).await),
                64..70 => self.end_any_image("commit-image", album).await,
                70..74 => self.end_any_image("abort-image", album).await,
                74..77 => self.end_any_image("drop-image", album).await,
                77..79 => self.mark(album).await,
                79..82 => self.clone_any_image(album).await,
                82..86 => self.read_any_clone(album).await,
                86..88 => self.drop_clone(album).await,
                _ => self.list("list-images", album).await,
            }
        }
    }

    /// One of those that clients told of; what is to be done with one lists a `known` place until there is one.
    fn any<T: Clone>(&mut self, of: impl Fn(&Board) -> &Mutex<Vec<T>>) -> Option<T> {
        let known = of(&self.board).lock().expect("no panic while held").clone();
        (!known.is_empty()).then(|| self.client.random.pick(&known).clone())
    }

    async fn create(&mut self, shelf: u64) {
        let name = format!("s{}", self.board.shelves.value());
        let mut open = self.client.begin("create-snapshot", json!([shelf, name]), Effect::Writes).await;
        let message = CreateSnapshotRequest {
            instance_id: INSTANCE.into(),
            collection: collection(shelf),
            name: name.clone(),
            ..CreateSnapshotRequest::default()
        };
        match self.client.call(&mut open, message, send!(SnapshotsClient, create_snapshot)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => {
                let Snapshot { snapshot_id, revision, .. } = answered.body;
                // The answer may wait until the snapshot is committed; the command's own revision is the one it shows.
                self.client
                    .ok_at(open, json!([shelf, name, snapshot_id]), Some(revision), answered.term);
                remember(&self.board.snapshots, (shelf, snapshot_id));
            }
        }
    }

    async fn drop_snapshot(&mut self, known: u64) {
        let Some((shelf, id)) = self.any(|board| &board.snapshots) else {
            return self.list("list-snapshots", known).await;
        };
        let mut open = self.client.begin("drop-snapshot", json!([shelf, id]), Effect::Writes).await;
        let message = DropSnapshotRequest {
            instance_id: INSTANCE.into(),
            snapshot: Some(by_id(&id)),
        };
        match self.client.call(&mut open, message, send!(SnapshotsClient, drop_snapshot)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => self.client.ok(open, json!([shelf, id, answered.body.existed]), &answered),
        }
    }

    async fn pin(&mut self, known: u64) {
        let Some((shelf, id)) = self.any(|board| &board.snapshots) else {
            return self.list("list-snapshots", known).await;
        };
        let mut open = self.client.begin("pin-snapshot", json!([shelf, id]), Effect::Writes).await;
        let message = PinSnapshotRequest {
            instance_id: INSTANCE.into(),
            snapshot: Some(by_id(&id)),
            ttl_seconds: 0,
        };
        match self.client.call(&mut open, message, send!(SnapshotsClient, pin_snapshot)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => {
                let pin = answered.body.pin_id;
                self.client.ok(open, json!([shelf, id, pin]), &answered);
                remember(&self.board.pins, (shelf, id, pin));
            }
        }
    }

    async fn unpin(&mut self, known: u64) {
        let Some((shelf, id, pin)) = self.any(|board| &board.pins) else {
            return self.list("list-snapshots", known).await;
        };
        let mut open = self.client.begin("unpin-snapshot", json!([shelf, id, pin]), Effect::Writes).await;
        let message = UnpinSnapshotRequest {
            instance_id: INSTANCE.into(),
            pin_id: pin,
        };
        match self.client.call(&mut open, message, send!(SnapshotsClient, unpin_snapshot)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => self.client.ok(open, json!([shelf, id, pin, answered.body.existed]), &answered),
        }
    }

    async fn list(&mut self, f: &'static str, place: u64) {
        let mut open = self.client.begin(f, json!([place, null]), Effect::Reads).await;
        let message = match f {
            "list-images" => ListSnapshotsRequest {
                instance_id: album(place),
                ..ListSnapshotsRequest::default()
            },
            _ => ListSnapshotsRequest {
                instance_id: INSTANCE.into(),
                database: "default".into(),
                collection: collection(place),
                ..ListSnapshotsRequest::default()
            },
        };
        match self.client.call(&mut open, message, send!(SnapshotsClient, list_snapshots)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match listed(&answered.body) {
                Ok(snapshots) => self.client.ok(open, json!([place, snapshots]), &answered),
                Err(what) => self.client.unexpected(open, &what),
            },
        }
    }

    /// The id of the image, if it was begun.
    async fn begin_image(&mut self, place: u64) -> Option<String> {
        let label = format!("i{}", self.board.albums.value());
        let mut open = self.client.begin("begin-image", json!([place, label]), Effect::Writes).await;
        let message = BeginSnapshotRequest {
            cloud_unique_id: Some(unique_id(place)),
            snapshot_label: Some(label.clone()),
            timeout_seconds: Some(3_600),
            ttl_seconds: Some(36_000),
            ..BeginSnapshotRequest::default()
        };
        let call = self
            .client
            .call_judged(&mut open, message, &[], send!(MetaServiceClient, begin_snapshot), |reply| {
                refusal_in(reply.status.as_ref())
            });
        match call.await {
            Err(failed) => {
                self.client.failed(open, failed);
                None
            }
            Ok(answered) => {
                let id = answered.body.snapshot_id().to_owned();
                self.client.ok(open, json!([place, label, id]), &answered);
                remember(&self.board.images, (place, id.clone()));
                Some(id)
            }
        }
    }

    /// Commits, aborts or drops an image that somebody began.
    async fn end_any_image(&mut self, f: &'static str, known: u64) {
        match self.any(|board| &board.images) {
            Some((place, id)) => self.end_image(f, place, id).await,
            None => self.list("list-images", known).await,
        }
    }

    async fn end_image(&mut self, f: &'static str, place: u64, id: String) {
        let mut open = self.client.begin(f, json!([place, id]), Effect::Writes).await;
        let done = match f {
            "commit-image" => self.commit(&mut open, place, &id).await,
            "abort-image" => self.abort(&mut open, place, &id).await,
            _ => self.drop_image(&mut open, place, &id).await,
        };
        match done {
            Err(failed) => self.client.failed(open, failed),
            Ok((revision, term)) => {
                self.client.ok_at(open, json!([place, id]), revision, term);
                if f == "commit-image" {
                    remember(&self.board.committed, (place, id));
                }
            }
        }
    }

    async fn commit(&mut self, open: &mut Open, place: u64, id: &str) -> Result<(Option<u64>, Option<u64>), Failed> {
        let message = CommitSnapshotRequest {
            cloud_unique_id: Some(unique_id(place)),
            snapshot_id: Some(id.to_owned()),
            last_journal_id: Some(1),
            ..CommitSnapshotRequest::default()
        };
        let call = self
            .client
            .call_judged(open, message, &[], send!(MetaServiceClient, commit_snapshot), |reply| {
                refusal_in(reply.status.as_ref())
            });
        call.await.map(|answered| (answered.revision, answered.term))
    }

    async fn abort(&mut self, open: &mut Open, place: u64, id: &str) -> Result<(Option<u64>, Option<u64>), Failed> {
        let message = AbortSnapshotRequest {
            cloud_unique_id: Some(unique_id(place)),
            snapshot_id: Some(id.to_owned()),
            ..AbortSnapshotRequest::default()
        };
        let call = self
            .client
            .call_judged(open, message, &[], send!(MetaServiceClient, abort_snapshot), |reply| {
                refusal_in(reply.status.as_ref())
            });
        call.await.map(|answered| (answered.revision, answered.term))
    }

    async fn drop_image(&mut self, open: &mut Open, place: u64, id: &str) -> Result<(Option<u64>, Option<u64>), Failed> {
        let message = DropImageRequest {
            cloud_unique_id: Some(unique_id(place)),
            snapshot_id: Some(id.to_owned()),
            ..DropImageRequest::default()
        };
        let call = self
            .client
            .call_judged(open, message, &[], send!(MetaServiceClient, drop_snapshot), |reply| {
                refusal_in(reply.status.as_ref())
            });
        call.await.map(|answered| (answered.revision, answered.term))
    }

    /// Overwrites the mark of an album.
    async fn mark(&mut self, place: u64) {
        let mark = self.board.albums.value();
        let mut open = self.client.begin("mark-album", json!([place, mark]), Effect::Writes).await;
        let message = PutAttributeRequest {
            instance_id: album(place),
            name: MARK.into(),
            value: mark.to_string().into_bytes().into(),
            ..PutAttributeRequest::default()
        };
        match self.client.call(&mut open, message, send!(MetadataClient, put_attribute)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => self.client.ok(open, json!([place, mark]), &answered),
        }
    }

    async fn clone_any_image(&mut self, known: u64) {
        match self.any(|board| &board.committed) {
            Some((place, id)) => drop(self.clone_image(place, id).await),
            None => self.list("list-images", known).await,
        }
    }

    /// The name of the clone, if there is one.
    async fn clone_image(&mut self, place: u64, id: String) -> Option<String> {
        let clone = format!("jepsen-clone-{:06}", self.board.albums.value());
        let mut open = self.client.begin("clone-image", json!([place, id, clone]), Effect::Writes).await;
        let message = CloneInstanceRequest {
            from_instance_id: Some(album(place)),
            from_snapshot_id: Some(id.clone()),
            new_instance_id: Some(clone.clone()),
            clone_type: Some(CloneType::ReadOnly as i32),
            ..CloneInstanceRequest::default()
        };
        let call = self
            .client
            .call_judged(&mut open, message, &[], send!(MetaServiceClient, clone_instance), |reply| {
                refusal_in(reply.status.as_ref())
            });
        match call.await {
            Err(failed) => {
                self.client.failed(open, failed);
                None
            }
            Ok(answered) => {
                self.client.ok(open, json!([place, id, clone]), &answered);
                remember(&self.board.clones, (clone.clone(), id));
                Some(clone)
            }
        }
    }

    async fn read_any_clone(&mut self, known: u64) {
        match self.any(|board| &board.clones) {
            Some((clone, _)) => self.read_clone(clone).await,
            None => self.list("list-images", known).await,
        }
    }

    async fn read_clone(&mut self, clone: String) {
        let mut open = self.client.begin("read-clone", json!([clone, null]), Effect::Reads).await;
        let message = GetAttributeRequest {
            instance_id: clone.clone(),
            name: MARK.into(),
            ..GetAttributeRequest::default()
        };
        match self.client.call(&mut open, message, send!(MetadataClient, get_attribute)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => match number_in(&answered.body) {
                Ok(mark) => self.client.ok(open, json!([clone, mark]), &answered),
                Err(what) => self.client.unexpected(open, &what),
            },
        }
    }

    /// Nobody else drops the same one: dropping twice succeeds, and tells nothing.
    fn take_clone(&mut self) -> Option<(String, String)> {
        let mut clones = self.board.clones.lock().expect("no panic while held");
        if clones.is_empty() {
            return None;
        }
        let chosen = self.client.random.below(clones.len() as u64) as usize;
        Some(clones.swap_remove(chosen))
    }

    async fn drop_clone(&mut self, known: u64) {
        let Some((clone, id)) = self.take_clone() else {
            return self.list("list-images", known).await;
        };
        let mut open = self.client.begin("drop-clone", json!([clone, id]), Effect::Writes).await;
        let message = AlterInstanceRequest {
            instance_id: Some(clone.clone()),
            op: Some(Change::Drop as i32),
            ..AlterInstanceRequest::default()
        };
        let call = self
            .client
            .call_judged(&mut open, message, &[], send!(MetaServiceClient, alter_instance), |reply| {
                refusal_in(reply.status.as_ref())
            });
        match call.await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => self.client.ok(open, json!([clone, id]), &answered),
        }
    }

    /// A new image from its begin to a clone that shows the mark it was made with.
    async fn clone_anew(&mut self, place: u64) {
        self.mark(place).await;
        let Some(id) = self.begin_image(place).await else { return };
        self.end_image("commit-image", place, id.clone()).await;
        if let Some(clone) = self.clone_image(place, id).await {
            self.mark(place).await;
            self.read_clone(clone).await;
        }
    }
}

fn collection(shelf: u64) -> String {
    format!("shelf_{shelf:03}")
}

fn album(place: u64) -> String {
    format!("jepsen-album-{place:02}")
}

fn unique_id(place: u64) -> String {
    format!("1:{}:frontend", album(place))
}

fn by_id(id: &str) -> SnapshotRef {
    SnapshotRef {
        snapshot_id: id.to_owned(),
        ..SnapshotRef::default()
    }
}

/// `[id, name, state, pins]` of each, by id.
fn listed(reply: &ListSnapshotsReply) -> Result<Vec<Json>, String> {
    if !reply.next_page_token.is_empty() {
        return Err("a list of a few snapshots came as several pages".to_owned());
    }
    let mut snapshots: Vec<&Snapshot> = reply.snapshots.iter().collect();
    snapshots.sort_by(|one, other| one.snapshot_id.cmp(&other.snapshot_id));
    let state = |snapshot: &Snapshot| match snapshot.state() {
        SnapshotState::Pending => Ok("pending"),
        SnapshotState::Committed => Ok("committed"),
        SnapshotState::Aborted => Ok("aborted"),
        other => Err(format!("snapshot {} is listed as {}", snapshot.snapshot_id, other.as_str_name())),
    };
    snapshots
        .into_iter()
        .map(|snapshot| Ok(json!([snapshot.snapshot_id, snapshot.name, state(snapshot)?, snapshot.pins])))
        .collect()
}

/// A store that nobody reaches: images are written by Doris's frontends, and nobody plays them here.
const STORE: &str = r#""ak":"a","sk":"s","bucket":"b","prefix":"p","endpoint":"127.0.0.1:9","external_endpoint":"127.0.0.1:9","region":"r","provider":"S3","use_path_style":true"#;

/// An instance that images can be made of.
async fn make_album(stage: &Stage, place: u64) -> anyhow::Result<()> {
    let id = album(place);
    doris(
        stage,
        "create_instance",
        &format!("{{\"instance_id\":\"{id}\",\"user_id\":\"u\",\"obj_info\":{{{STORE}}}}}"),
    )
    .await?;
    for status in ["MULTI_VERSION_WRITE_ONLY", "MULTI_VERSION_READ_WRITE"] {
        doris(
            stage,
            &format!("set_multi_version_status?instance_id={id}&multi_version_status={status}"),
            "",
        )
        .await?;
    }
    let properties = format!("{{\"instance_id\":\"{id}\",\"properties\":{{\"status\":\"ENABLED\"}}}}");
    doris(stage, "set_snapshot_property", &properties).await
}

/// A Doris route without a gRPC call of its own.
async fn doris(stage: &Stage, route: &str, body: &str) -> anyhow::Result<()> {
    let separator = if route.contains('?') { '&' } else { '?' };
    let path = format!("/MetaService/http/{route}{separator}token={}", stage.field.token());
    let reply = http::send(&stage.field.public(0), "POST", &path, &[], body).await?;
    anyhow::ensure!(reply.status == 200, "{route}: {} {}", reply.status, reply.body);
    Ok(())
}

#[async_trait]
impl Workload for Snapshots {
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        self.board.shelves.begin(1, 2, OPERATIONS_PER_SHELF);
        self.board.albums.begin(1, 1, OPERATIONS_PER_ALBUM);
        setup::instance(stage, INSTANCE).await?;
        for shelf in 0..SHELVES {
            let message = CreateCollectionRequest {
                instance_id: INSTANCE.into(),
                name: collection(shelf),
                ..CreateCollectionRequest::default()
            };
            setup::until(stage, "create a collection", message, |link, request| async move {
                CatalogClient::new(link).create_collection(request).await
            })
            .await?;
        }
        let within = stage.clone();
        let albums = stage.field.client_runtime().spawn(async move {
            for place in 0..ALBUMS {
                make_album(&within, place).await?;
            }
            anyhow::Ok(())
        });
        albums.await?
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let board = self.board.clone();
        in_clients(stage, move |client| {
            Actor {
                client,
                board: board.clone(),
            }
            .run()
        })
        .await
    }

    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        let board = self.board.clone();
        super::at_every_node(stage, move |client, node| {
            let board = board.clone();
            async move {
                let mut actor = Actor {
                    client,
                    board: board.clone(),
                };
                actor.create(node as u64).await;
                actor.clone_anew(node as u64).await;
                for shelf in board.shelves.all().into_iter().filter(|shelf| *shelf < SHELVES) {
                    actor.list("list-snapshots", shelf).await;
                }
                for place in board.albums.all().into_iter().filter(|place| *place < ALBUMS) {
                    actor.list("list-images", place).await;
                }
            }
        })
        .await
    }

    fn check(&self, history: &[Op], dir: &Path) -> Vec<Verdict> {
        let fates = Fates::read(dir);
        let witness = witness::check("witness", &SnapshotRules, history, fates.as_ref().map_err(String::as_str));
        vec![witness, lifecycle::check(history)]
    }
}
