//! One peer from start to stop.

use crate::app::App;
use crate::config::{ConfigError, ROOT_KEYS_VARIABLE, ServerConfig};
use crate::listener;
use crate::open_files;
use crate::peer::client::TcpTransport;
use crate::peer::service::{self, PeerPort};
use crate::peer::{Identity as PeerIdentity, OwnIdentity};
use crate::root_keys;
use crate::secrets::SecretBox;
use crate::tls;
use quorate_consensus::acknowledged;
use quorate_consensus::applier::Audit;
use quorate_consensus::bootstrap::{self, Newcomer, Place};
use quorate_consensus::disk::DiskSpace;
use quorate_consensus::rebuild;
use quorate_consensus::transport::Transport;
use quorate_consensus::{Node, NodeParts, Settings, env};
use quorate_model::{ClusterId, Incarnation, PeerId};
use quorate_storage::ballast::{Ballast, BallastPlan};
use quorate_storage::identity::{Identity, with_advice};
use quorate_storage::log::{FileLog, FileLogOptions, LogStore};
use quorate_storage::recovery::Recovery;
use quorate_storage::state::{RaftRows, RocksState, RocksStateOptions, StateEngine};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Size of the file that is given back when the disk is full.
const BALLAST_BYTES: u64 = 256 << 20;
/// How often free space is compared with the ballast.
const BALLAST_INTERVAL: Duration = Duration::from_millis(500);

/// Where a damaged state is kept, the last one only, for whoever wants to know what happened to it.
const DAMAGED_STATE: &str = "state.damaged";

/// How long what goes on on other threads at the end may take, a checkpoint for instance.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// How long closing the state may take then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a peer does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Data(#[from] io::Error),
    #[error("port {address} cannot be used: {error}; stop what uses it or choose another with {flag}")]
    Port {
        address: String,
        flag: &'static str,
        error: io::Error,
    },
    #[error("{0}")]
    Place(String),
    #[error("peer {peer} has failed: {failure}; nothing was acknowledged since; free space or replace the disk, then start it again")]
    Failed { peer: PeerId, failure: String },
}

/// Runs a peer until `stop` turns true; `ready` is called when it has its place and serves.
pub async fn run(config: ServerConfig, stop: watch::Receiver<bool>, ready: impl FnOnce(&Node)) -> Result<(), StartError> {
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm_from_environment().map_err(ConfigError)?;
    open_files::raise()?;
    config.check()?;
    let token = config.resolve_token()?;
    let secret = config.resolve_cluster_secret()?;
    let iam_user = config.resolve_iam_user()?;
    let (secrets, identity) = open_directory(&config)?;
    let public_tls = tls::open_public(&config.tls)?.map(Arc::new);
    let peer_tls = tls::open_peer(&config.peer_tls)?.map(Arc::new);
    let public = bind(&config.listen, "--listen").await?;
    let peers = bind(&config.peer_listen, "--peer-listen").await?;
    let own = OwnIdentity::new(peer_identity(&identity));
    let transport: Arc<dyn Transport> = Arc::new(TcpTransport::new(own.clone(), secret.clone(), peer_tls.clone()));
    let newcomer = Arc::new(newcomer(&config, &identity));
    let app = Arc::new(App::new(config.clone(), token, secrets).with_iam_user(iam_user));
    let port = PeerPort {
        app: app.clone(),
        own: own.clone(),
        secret: Arc::new(secret),
        tls: peer_tls,
        newcomer: newcomer.clone(),
        refused: Arc::default(),
    };
    // Before anybody can call.
    if identity.member.is_some() {
        app.expect_node();
    }
    tokio::spawn(service::accept(port, peers));
    // Turns true with `stop`, or when the peer has handed over: calls under way need a node that answers.
    let (close, closed) = watch::channel(false);
    let serving = tokio::spawn(listener::serve(app.clone(), public, public_tls, closed));
    let mut stopped = stop.clone();
    let place = tokio::select! {
        place = settle(&config.data_dir, identity, &newcomer, &transport) => place?,
        _ = stopped.wait_for(|stop| *stop) => return Ok(()),
    };
    own.set(PeerIdentity {
        cluster: place.cluster,
        peer: place.peer.0,
        incarnation: newcomer.incarnation,
    });
    app.expect_node();
    let node = tokio::select! {
        node = start_node(&app, &place, &newcomer, transport.clone()) => node?,
        _ = stopped.wait_for(|stop| *stop) => return Ok(()),
    };
    app.set_node(node.clone());
    let mut stopped = stop.clone();
    if place.founder {
        tokio::select! {
            founded = bootstrap::found(&node, &newcomer, &transport) => founded.map_err(|error| StartError::Place(error.message))?,
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    }
    let work = crate::jobs::start(&app, &node, stop.clone())?;
    ready(&node);
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => {}
        reason = reason_to_end(&app, &node, &place) => return Err(reason),
    }
    tracing::info!(peer = place.peer.0, "stopping");
    drop(work);
    app.close();
    node.hand_over().await;
    close.send_replace(true);
    let _ = serving.await;
    node.shutdown().await;
    Ok(())
}

/// What a peer must find in its data directory before anybody may call it.
fn open_directory(config: &ServerConfig) -> Result<(SecretBox, Identity), StartError> {
    let data_dir = &config.data_dir;
    std::fs::create_dir_all(data_dir)
        .map_err(|error| io::Error::other(format!("data directory {}: {}", data_dir.display(), with_advice(&error))))?;
    let secrets = open_secrets(config)?;
    secrets.hold();
    Recovery::refuse_unfinished(data_dir)?;
    let identity = load_identity(data_dir)?;
    if identity.member.is_none() {
        config.check_newcomer()?;
    }
    Ok((secrets, identity))
}

/// Waits for what makes a peer end by itself.
async fn reason_to_end(app: &App, node: &Node, place: &Settled) -> StartError {
    let data_dir = &app.config.data_dir;
    tokio::select! {
        refused = root_keys::check(app, node) => refused,
        () = node.core().health.removed() => StartError::Place(format!(
            "peer {} was removed from cluster {}; to come back, move {} away and start it with --replace",
            place.peer,
            place.cluster,
            data_dir.display()
        )),
        failure = node.failed() => match node.core().applier.outdated() {
            Some(why) => StartError::Place(why.to_owned()),
            None => StartError::Failed { peer: place.peer, failure },
        },
        loss = node.core().own_log.lost() => retire(data_dir, &loss),
    }
}

/// Sees to it that this data directory never takes part again.
fn retire(data_dir: &Path, loss: &str) -> StartError {
    if let Err(error) = Identity::retire(data_dir, loss) {
        tracing::error!(%error, "the data directory cannot be marked as retired; do not start this peer on it again");
    }
    let advice = "the peer must not vote under its id again: move the directory away and start it with --replace";
    StartError::Place(format!("{}: {loss}; {advice}", data_dir.display()))
}

/// The keys secrets are encrypted by. A peer that is alone makes its own; several must be given the same.
fn open_secrets(config: &ServerConfig) -> Result<SecretBox, StartError> {
    let opened = match (&config.root_keys, &config.root_keys_file) {
        (Some(keys), _) => SecretBox::of_variable(ROOT_KEYS_VARIABLE, &keys.0),
        (None, Some(path)) => SecretBox::load(path),
        (None, None) if config.peers.len() <= 1 && config.join.is_empty() => SecretBox::load_or_create(&config.data_dir.join("root-keys")),
        (None, None) => {
            let text = "no root keys: every peer needs the same ones, lines of `id base64-of-32-bytes`; set `root_keys_file` (--root-keys-file) or QUORATE_ROOT_KEYS";
            return Err(ConfigError(text.to_owned()).into());
        }
    };
    opened.map_err(|error| StartError::Place(error.to_string()))
}

/// Ends the runtime that ran [`run`], and waits until the state's files are closed. A thread that waits for a mount that hangs is left
/// behind: the process ends all the same.
pub fn end(runtime: Runtime) {
    runtime.shutdown_timeout(END_TIMEOUT);
    if !quorate_storage::state::wait_closed(CLOSE_TIMEOUT) {
        tracing::warn!("the state was not closed in time; the log has everything");
    }
}

async fn bind(address: &str, flag: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Port {
        address: address.to_owned(),
        flag,
        error,
    })
}

fn load_identity(data_dir: &Path) -> io::Result<Identity> {
    if let Some(identity) = Identity::load(data_dir)? {
        return Ok(identity);
    }
    // Zero means "nobody in particular" in the handshake.
    let incarnation = Incarnation(env::random_u64().max(1));
    let identity = Identity {
        incarnation,
        member: None,
        log_begun: false,
    };
    identity.store(data_dir)?;
    Ok(identity)
}

fn peer_identity(identity: &Identity) -> PeerIdentity {
    let (cluster, peer) = identity.member.map_or((ClusterId(0), 0), |(cluster, peer)| (cluster, peer.0));
    PeerIdentity {
        cluster,
        peer,
        incarnation: identity.incarnation,
    }
}

fn newcomer(config: &ServerConfig, identity: &Identity) -> Newcomer {
    let own = config.peer_address().to_owned();
    let mut peers = if config.join.is_empty() {
        config.peers.clone()
    } else {
        config.join.clone()
    };
    if !peers.contains(&own) {
        peers.push(own.clone());
    }
    // Whoever takes a place in a cluster that names it nowhere must not count itself among the founders of another.
    let replaces_only = config.replace && !config.peers.is_empty() && !config.lists_itself();
    peers.sort_by(|a, b| bootstrap::address_order(a).cmp(&bootstrap::address_order(b)));
    peers.dedup();
    Newcomer {
        incarnation: identity.incarnation,
        peer_address: own,
        public_address: config.public_address().to_owned(),
        peers,
        replace: config.replace,
        join: !config.join.is_empty() || replaces_only,
    }
}

/// A peer's place, written to its identity file before it votes.
struct Settled {
    identity: Identity,
    cluster: ClusterId,
    peer: PeerId,
    founder: bool,
}

async fn settle(data_dir: &Path, identity: Identity, newcomer: &Newcomer, transport: &Arc<dyn Transport>) -> Result<Settled, StartError> {
    if let Some((cluster, peer)) = identity.member {
        // The founder may have stopped before the first membership was written; founding again is safe and does nothing otherwise.
        let founder = peer == PeerId(1) && newcomer.peers.first() == Some(&newcomer.peer_address);
        return Ok(Settled {
            identity,
            cluster,
            peer,
            founder,
        });
    }
    let (cluster, peer, founder) = match bootstrap::find_place(newcomer, transport).await {
        Place::Founder { cluster, peer } => (cluster, peer, true),
        Place::Member { cluster, peer } => (cluster, peer, false),
        Place::Stranger { .. } if newcomer.replace || newcomer.join => {
            let (cluster, peer) = bootstrap::join(newcomer, transport).await.map_err(StartError::Place)?;
            (cluster, peer, false)
        }
        Place::Itself { at } => return Err(StartError::Place(bootstrap::greeted_itself(newcomer, &at))),
        Place::Stranger { cluster, at } => {
            let text = format!(
                "this data directory is empty, but the peer at {at} belongs to cluster {cluster}, which does not know it; \
                 if this peer lost its disk, start it with --replace: it gets a new id and takes its address's old place; \
                 if it is a further one, start it with --join {at}"
            );
            return Err(StartError::Place(text));
        }
    };
    let identity = Identity {
        member: Some((cluster, peer)),
        ..identity
    };
    identity.store(data_dir)?;
    Ok(Settled {
        identity,
        cluster,
        peer,
        founder,
    })
}

async fn start_node(app: &App, place: &Settled, newcomer: &Newcomer, transport: Arc<dyn Transport>) -> Result<Node, StartError> {
    let config = &app.config;
    let settings = config.settings();
    let ballast = Arc::new(prepare_ballast(config, &settings)?);
    let mut others = newcomer.peers.clone();
    others.retain(|address| *address != newcomer.peer_address);
    let (log, state) = open_stores(config, place.identity, ballast.clone(), &mut others).await?;
    place.identity.remember_log(&config.data_dir)?;
    let loss = acknowledged::lost_entries(log.as_ref(), state.as_ref(), &transport, newcomer.incarnation.0, others.iter()).await?;
    if let Some(loss) = loss {
        return Err(retire(&config.data_dir, &loss));
    }
    let rebuilt = rebuild_state(app, &others, log.as_ref(), state.as_ref(), &transport).await?;
    let disk = config.data_dir.clone();
    let parts = NodeParts {
        cluster: place.cluster,
        peer: place.peer,
        incarnation: newcomer.incarnation,
        peer_address: newcomer.peer_address.clone(),
        public_address: newcomer.public_address.clone(),
        seeds: newcomer.peers.clone(),
        settings,
        log,
        state,
        transport,
        audit: audit(config)?,
        disk_space: Arc::new(move || disk_space(&disk)),
        step_observer: app.metrics.step_observer(),
    };
    let node = Node::start(parts).await?;
    if rebuilt {
        node.core().content_scan.want();
    }
    tokio::spawn(watch_ballast(config.data_dir.clone(), ballast.clone()));
    app.set_ballast(ballast);
    Ok(node)
}

/// Opens the log, then the state: a damaged state may go only when the log is known to be whole. What it knows of other members
/// goes to `others`, which can give this peer theirs.
async fn open_stores(
    config: &ServerConfig,
    identity: Identity,
    ballast: Arc<Ballast>,
    others: &mut Vec<String>,
) -> Result<Stores, StartError> {
    let on_fatal: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(|what| {
        // Nothing after a failed write or sync may be acknowledged: there is no state to go on from.
        tracing::error!(what, "the log cannot be written; stopping at once");
        eprintln!("quorate: the log cannot be written: {what}; stopping at once");
        std::process::abort();
    });
    let (data_dir, reserve) = (config.data_dir.clone(), ballast);
    let segment_bytes = config.log_segment_bytes;
    let mut known = others.clone();
    let opened = tokio::task::spawn_blocking(move || -> io::Result<(Stores, Vec<String>)> {
        let mut options = FileLogOptions {
            on_fatal,
            on_no_space: Arc::new(move || reserve.release()),
            ..FileLogOptions::default()
        };
        options.segment_bytes = segment_bytes.unwrap_or(options.segment_bytes);
        #[cfg(feature = "failpoints")]
        {
            options.before_step = crate::failpoints::before_log_step();
        }
        let log = identity.open_log(&data_dir, options).map_err(io::Error::other)?;
        let state = open_state(&data_dir, &log, identity.incarnation, &mut known)?;
        Ok(((Arc::new(log), Arc::new(state)), known))
    });
    let (stores, known) = opened.await.map_err(io::Error::other)??;
    *others = known;
    Ok(stores)
}

type Stores = (Arc<dyn LogStore>, Arc<dyn StateEngine>);

/// A state that is damaged is put aside and begun anew: what it held follows from the log, or is fetched from another member,
/// whose address is among `others` then. Where neither can be, it is all there is, and stays where it is.
fn open_state(data_dir: &Path, log: &FileLog, own: Incarnation, others: &mut Vec<String>) -> io::Result<RocksState> {
    let dir = data_dir.join("state");
    let error = match RocksState::open(&dir, RocksStateOptions::default()) {
        Err(error) if quorate_storage::state::is_damage(&error) => error,
        Err(error) => return Err(error),
        Ok(state) => {
            // It was begun anew at an earlier start, or is as at an earlier flush.
            if rebuild::missing(log, &state)?.is_some() {
                know_others(data_dir, log, state.raft_rows(), own, others);
            }
            return Ok(state);
        }
    };
    know_others(data_dir, log, RocksState::rows_at_rest(&dir), own, others);
    if others.is_empty() && log.state().purged.is_some() {
        let advice = "no other member is known that has another one, and the log does not reach back to its beginning: restore a backup, \
                      name a member with --peers, or go on with what can be read: remove its file DAMAGED, or if only ACTIVE is wrong, \
                      write the number of the newest generation and a line feed there";
        return Err(io::Error::other(format!("{error}; {advice}")));
    }
    let aside = data_dir.join(DAMAGED_STATE);
    tracing::error!(%error, aside = %aside.display(), "the state is damaged; it is put aside and built anew, under the same id");
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::rename(&dir, &aside)?;
    std::fs::File::open(data_dir)?.sync_all()?;
    RocksState::open(&dir, RocksStateOptions::default())
}

/// Whom this peer can ask for a state: the members that its log names, or else its state, or the one that was put aside when this one
/// was begun, as far as they can be read. Who was given on the command line comes behind them, since he may be no member any more, and
/// is not asked by a peer that knows to be alone.
fn know_others(data_dir: &Path, log: &FileLog, rows: io::Result<RaftRows>, own: Incarnation, others: &mut Vec<String>) {
    let aside = RocksState::rows_at_rest(&data_dir.join(DAMAGED_STATE));
    let further = [rows, aside].into_iter().flatten().max_by_key(|rows| rows.applied);
    match rebuild::last_membership(log, &further.unwrap_or_default()) {
        Ok(membership) if membership.members.iter().any(|member| member.incarnation == own.0) => {
            let members = membership.members.into_iter().filter(|member| member.incarnation != own.0);
            let members: Vec<String> = members.map(|member| member.peer_address).collect();
            let given = std::mem::replace(others, members);
            if !others.is_empty() {
                others.extend(given);
            }
            let mut seen = BTreeSet::new();
            others.retain(|address| seen.insert(address.clone()));
        }
        Ok(_) => tracing::warn!(?others, "neither the log nor what is left of the state says who else is a member"),
        Err(unreadable) => tracing::warn!(%unreadable, ?others, "the log does not say who else is a member"),
    }
}

/// Fetches the state if the log does not lead on from the one there is. True if it did.
async fn rebuild_state(
    app: &App,
    others: &[String],
    log: &dyn LogStore,
    state: &dyn StateEngine,
    transport: &Arc<dyn Transport>,
) -> Result<bool, StartError> {
    let Some(at_least) = rebuild::missing(log, state)? else {
        return Ok(false);
    };
    if others.is_empty() {
        let text = format!(
            "{}: the state is gone, the log begins after entry {at_least}, and there is no other peer to ask; name one with --peers or \
             --join, or restore a backup",
            app.config.data_dir.display()
        );
        return Err(StartError::Place(text));
    }
    let asked = others.join(", ");
    app.set_awaits(format!(
        "this peer has lost its state, serves nothing, and asks for another one: {asked}"
    ));
    tracing::warn!(
        at_least,
        "this peer has no state to go on from: it serves nothing until another peer has given it one"
    );
    rebuild::rebuild(log, state, transport, others, at_least).await?;
    Ok(true)
}

/// What cannot be told counts as no space at all: an operator is to look.
fn disk_space(dir: &Path) -> DiskSpace {
    rustix::fs::statvfs(dir).map_or_else(
        |_| DiskSpace::default(),
        |facts| DiskSpace {
            free_bytes: facts.f_bavail * facts.f_frsize,
            total_bytes: facts.f_blocks * facts.f_frsize,
        },
    )
}

/// Before log and state are opened: at a start on a full disk they need its space.
fn prepare_ballast(config: &ServerConfig, settings: &Settings) -> io::Result<Ballast> {
    let space = disk_space(&config.data_dir);
    let plan = BallastPlan {
        wanted_bytes: config.ballast_bytes.unwrap_or(BALLAST_BYTES),
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
        keep_free_bytes: settings.disk.low_below(space.total_bytes),
    };
    Ballast::prepare(&config.data_dir, plan)
}

/// The log asks for the ballast when a write finds no space. The state cannot ask: RocksDB writes its files on threads of
/// its own, and would refuse all later writes after a failed one. So the ballast goes before that, when no more than a
/// quarter of it is free.
async fn watch_ballast(data_dir: PathBuf, ballast: Arc<Ballast>) {
    while ballast.held_bytes() > 0 {
        if disk_space(&data_dir).free_bytes < ballast.held_bytes() / 4 {
            ballast.release();
        }
        tokio::time::sleep(BALLAST_INTERVAL).await;
    }
}

#[cfg(feature = "audit")]
fn audit(config: &ServerConfig) -> io::Result<Option<Audit>> {
    match config.audit {
        true => crate::audit::open(&config.data_dir).map(Some),
        false => Ok(None),
    }
}

#[cfg(not(feature = "audit"))]
fn audit(config: &ServerConfig) -> io::Result<Option<Audit>> {
    match config.audit {
        true => Err(io::Error::other(
            "this build has no audit log; build with --features audit, or unset `audit`",
        )),
        false => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_storage::codec::{LeaderId, LogEntry, LogId, Member, Membership, Payload, StoredMembership};
    use quorate_storage::log::Done;
    use std::fs;
    use std::sync::mpsc;

    const OWN: Incarnation = Incarnation(101);

    fn id(index: u64) -> LogId {
        LogId {
            leader: LeaderId { term: 1, peer: 1 },
            index,
        }
    }

    /// Of peers at these addresses, this one the first.
    fn membership(addresses: &[&str]) -> Membership {
        let members = addresses.iter().zip(1..).map(|(address, peer)| Member {
            peer,
            peer_address: (*address).to_owned(),
            public_address: String::new(),
            incarnation: 100 + peer,
        });
        Membership {
            configs: vec![(1..=addresses.len() as u64).collect()],
            members: members.collect(),
        }
    }

    fn durable(change: impl FnOnce(Done) -> io::Result<()>) {
        let (sender, receiver) = mpsc::channel();
        change(Box::new(move |result| drop(sender.send(result)))).expect("taken");
        receiver.recv().expect("answered").expect("durable");
    }

    /// A log of this membership and ten entries behind it, and a state that has applied them all.
    fn data_dir(addresses: &[&str]) -> (tempfile::TempDir, FileLog) {
        let dir = tempfile::tempdir().expect("a directory");
        let options = FileLogOptions {
            segment_bytes: 1 << 20,
            ..FileLogOptions::default()
        };
        let log = FileLog::open(dir.path().join("log"), options).expect("an empty log opens");
        let mut entries = vec![LogEntry {
            log_id: id(0),
            payload: Payload::Membership(membership(addresses)),
        }];
        entries.extend((1..=10).map(|index| LogEntry {
            log_id: id(index),
            payload: Payload::Blank,
        }));
        durable(|done| log.append(entries, done));
        let state = RocksState::open(&dir.path().join("state"), RocksStateOptions::default()).expect("an empty state opens");
        let known = StoredMembership {
            log_id: Some(id(0)),
            membership: membership(addresses),
        };
        state.commit(&[], id(10), Some(&known)).expect("committed");
        state.flush().expect("flushed");
        (dir, log)
    }

    /// Opens the state as a start does that was given these addresses; who can be asked then.
    fn others_of(dir: &Path, log: &FileLog, given: &[&str]) -> io::Result<Vec<String>> {
        let mut others = given.iter().map(|address| (*address).to_owned()).collect();
        open_state(dir, log, OWN, &mut others).map(|_| others)
    }

    fn spoil(dir: &Path) {
        fs::write(dir.join("state/ACTIVE"), "damaged\n").expect("written");
    }

    #[test]
    fn a_state_that_says_nothing_leaves_the_members_that_the_log_names() {
        let (dir, log) = data_dir(&["a:1", "b:1", "c:1"]);
        assert_eq!(others_of(dir.path(), &log, &["d:1"]).expect("opens"), ["d:1"], "nothing is wrong");
        spoil(dir.path());
        assert_eq!(others_of(dir.path(), &log, &["c:1", "d:1"]).expect("opens"), ["b:1", "c:1", "d:1"]);
        let changed = vec![LogEntry {
            log_id: id(11),
            payload: Payload::Membership(membership(&["a:1", "e:1"])),
        }];
        durable(|done| log.append(changed, done));
        durable(|done| log.purge(id(10), done));
        // It was interrupted before somebody gave it a state.
        assert_eq!(others_of(dir.path(), &log, &[]).expect("opens"), ["e:1"]);
    }

    #[test]
    fn a_state_that_was_put_aside_names_the_members_that_the_log_has_forgotten() {
        let (dir, log) = data_dir(&["a:1", "b:1"]);
        durable(|done| log.purge(id(10), done));
        fs::write(dir.path().join("state/gen-1/DAMAGED"), "a block's checksum is wrong\n").expect("written");
        for _ in 0..3 {
            assert_eq!(others_of(dir.path(), &log, &[]).expect("opens"), ["b:1"]);
            assert!(dir.path().join(DAMAGED_STATE).exists());
        }
    }

    #[test]
    fn a_state_that_nobody_can_give_again_stays_where_it_is() {
        for (addresses, given) in [(&["a:1"][..], &["lost:1"][..]), (&["a:1", "b:1"], &[])] {
            let (dir, log) = data_dir(addresses);
            if addresses.len() == 1 {
                let known = dir.path().join("state/gen-1/DAMAGED");
                fs::write(known, "a block's checksum is wrong\n").expect("written");
            } else {
                // Nothing says any more who else there is.
                spoil(dir.path());
            }
            durable(|done| log.purge(id(10), done));
            let refused = others_of(dir.path(), &log, given).expect_err("it is all there is");
            assert!(refused.to_string().contains("no other member is known"), "{refused}");
            assert!(dir.path().join("state").exists() && !dir.path().join(DAMAGED_STATE).exists());
        }
    }
}
