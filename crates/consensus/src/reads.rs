//! Linearizable reads: one question for all reads that wait.
//!
//! A read may be answered from the local state once this peer has applied everything that was committed when the read
//! began. The leader learns that index by confirming its leadership with a quorum; a follower asks the leader, where its
//! question waits beside the leader's own readers. Reads that come while a question is under way wait for the next one: an
//! answer covers only those who waited before it was asked.

use crate::node::Core;
use crate::settings::{LEADER_RETRY, MAX_WAITING_COMMANDS, READ_INDEX_TIMEOUT};
use openraft::ReadPolicy;
use quorate_model::{ErrorCode, MetaError, mutant};
use quorate_wire::quorate::peer as wire;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Index a reader must have applied, or why it cannot be known.
pub type ReadIndexResult = Result<u64, MetaError>;

type Waiting = mpsc::Receiver<oneshot::Sender<ReadIndexResult>>;

/// Answers waiting readers in rounds, until every sender is gone.
pub async fn run(core: Arc<Core>, mut waiting: Waiting) {
    while let Some(first) = waiting.recv().await {
        let mut readers = vec![first];
        gather(&mut readers, &mut waiting);
        let result = ask(&core, &mut readers, &mut waiting).await;
        for reader in readers {
            let _ = reader.send(result.clone());
        }
    }
}

/// Takes whoever waits by now into the next question, and leaves out whose callers are gone: without an answer for long, the queue
/// would fill with them and refuse the living.
fn gather(readers: &mut Vec<oneshot::Sender<ReadIndexResult>>, waiting: &mut Waiting) {
    readers.retain(|reader| !reader.is_closed());
    while readers.len() < MAX_WAITING_COMMANDS
        && let Ok(reader) = waiting.try_recv()
    {
        if !reader.is_closed() {
            readers.push(reader);
        }
    }
}

/// Asks until there is an answer or nobody waits for it any more: each reader brings its own deadline.
async fn ask(core: &Core, readers: &mut Vec<oneshot::Sender<ReadIndexResult>>, waiting: &mut Waiting) -> ReadIndexResult {
    loop {
        if mutant!("leader-local-reads") && core.leader() == Some(core.peer) {
            return Ok(core.applier.applied().index);
        }
        let result = match core.leader() {
            Some(leader) if leader == core.peer => ask_here(core).await,
            Some(leader) => tokio::select! {
                result = ask_leader(core, leader) => result,
                () = core.leader_lost(leader) => Err(MetaError::new(ErrorCode::NoLeader, "the leader changed before it answered")),
            },
            None => Err(MetaError::new(ErrorCode::NoLeader, "no leader is known")),
        };
        if result.is_ok() {
            return result;
        }
        gather(readers, waiting);
        if readers.is_empty() || core.is_stopping() {
            return result;
        }
        tokio::time::sleep(LEADER_RETRY).await;
    }
}

/// A follower's question, put together with those of the leader's own readers and of other followers: each round with a quorum is
/// a message to every peer. It may wait for the round before; whoever stops leading meanwhile asks the next leader for all of them.
pub async fn ask_with_own(core: &Core) -> ReadIndexResult {
    if core.leader() != Some(core.peer) {
        // While two peers take each other for the leader, each would ask the other.
        return Err(MetaError::new(ErrorCode::NotLeader, format!("peer {} does not lead", core.peer)));
    }
    match tokio::time::timeout(READ_INDEX_TIMEOUT, core.read_index()?).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(MetaError::new(ErrorCode::ShuttingDown, "this peer is stopping")),
        Err(_) => Err(unconfirmed()),
    }
}

fn unconfirmed() -> MetaError {
    MetaError::new(ErrorCode::NoLeader, "no quorum confirmed leadership in time")
}

/// The leader's own question: confirms leadership with a quorum after the call began.
async fn ask_here(core: &Core) -> ReadIndexResult {
    if mutant!("lease-read-after-transfer") && core.leads_a_quorum() {
        return Ok(core.applier.applied().index);
    }
    let policy = match mutant!("lease-reads") {
        true => ReadPolicy::LeaseRead,
        false => ReadPolicy::ReadIndex,
    };
    let asked = tokio::time::timeout(READ_INDEX_TIMEOUT, core.raft().get_read_log_id(policy)).await;
    match asked {
        Ok(Ok((read, _))) => Ok(read.index()),
        Ok(Err(error)) => Err(MetaError::new(
            ErrorCode::NotLeader,
            format!("leadership was not confirmed: {error}"),
        )),
        Err(_) => Err(unconfirmed()),
    }
}

async fn ask_leader(core: &Core, leader: u64) -> ReadIndexResult {
    let Some(client) = core.client_of(leader) else {
        return Err(MetaError::new(
            ErrorCode::NoLeader,
            format!("the address of leader {leader} is not known yet"),
        ));
    };
    match tokio::time::timeout(READ_INDEX_TIMEOUT, client.read_index(wire::ReadIndexRequest {})).await {
        Ok(Ok(wire::ReadIndexReply { error: None, index, .. })) => Ok(index),
        Ok(Ok(wire::ReadIndexReply { error: Some(error), .. })) => Err(MetaError::new(ErrorCode::from_number(error.code), error.message)),
        Ok(Err(error)) => Err(MetaError::new(
            ErrorCode::NoLeader,
            format!("leader {leader} did not answer: {error}"),
        )),
        Err(_) => Err(MetaError::new(
            ErrorCode::NoLeader,
            format!("leader {leader} did not answer in time"),
        )),
    }
}
