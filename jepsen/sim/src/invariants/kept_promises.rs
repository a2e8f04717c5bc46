//! What a peer promises to another one is on its disk before the promise leaves it: votes, and entries it acknowledges.

use super::{Held, holds};
use crate::disk::Disk;
use quorate_storage::codec::{LeaderId, LogId};
use quorate_wire::quorate::peer as wire;

fn leader(leader: &Option<wire::LeaderId>) -> LeaderId {
    leader.as_ref().map_or(LeaderId { term: 0, peer: 0 }, |leader| LeaderId {
        term: leader.term,
        peer: leader.peer,
    })
}

/// `reply` is about to answer a request for a vote.
pub fn check_vote(disk: &Disk, reply: &wire::VoteReply) -> Held {
    let Some(vote) = reply.vote.as_ref().filter(|_| reply.granted) else {
        return Ok(());
    };
    let promised = leader(&vote.leader);
    let kept = disk.log.durable_state().vote.map(|vote| (vote.leader.term, vote.leader.peer));
    holds!(
        kept >= Some((promised.term, promised.peer)),
        "a vote for {promised:?} is granted; on the disk is {kept:?}"
    );
    Ok(())
}

/// `reply` is about to acknowledge entries.
pub fn check_append(disk: &Disk, reply: &wire::AppendReply) -> Held {
    use wire::append_reply::Kind;
    let Some(id) = reply
        .log_id
        .as_ref()
        .filter(|_| matches!(reply.kind(), Kind::Success | Kind::Partial))
    else {
        return Ok(());
    };
    let id = LogId {
        leader: leader(&id.leader),
        index: id.index,
    };
    holds!(disk.keeps(&id), "entry {id:?} is acknowledged and not on the disk");
    Ok(())
}
