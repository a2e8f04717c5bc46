//! A write is executed once, however often it is sent.

use crate::support::cluster::INSTANCE;
use crate::support::{Cluster, calm, soon, within};
use bytes::Bytes;
use prost::Message as _;
use quorate_consensus::{Deadline, Node, Settings};
use quorate_model::{ErrorCode, MetaError, PeerId, RequestId, SessionId};
use quorate_state_machine::commands::{
    AppendAttributes, COMMANDS, CloseSession, Numbered as _, OpenSession, PutAttribute, append_attributes::AppendAttribute,
};
use quorate_state_machine::frame::{self, Frame};
use quorate_wire::quorate::peer as wire;

async fn append(node: &Node, suffix: &'static str, request: Option<RequestId>, deadline: Deadline) -> Result<String, MetaError> {
    let append = AppendAttribute {
        instance_id: INSTANCE.into(),
        name: "list".into(),
        suffix: Bytes::from_static(suffix.as_bytes()),
    };
    let (_, reply) = node.execute(&AppendAttributes { appends: vec![append] }, request, deadline).await?;
    Ok(String::from_utf8(reply.attributes[0].value.to_vec()).expect("tests write text"))
}

async fn open(node: &Node) -> SessionId {
    let (_, reply) = node.execute(&OpenSession::default(), None, soon()).await.expect("opened");
    SessionId(reply.session)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_sent_to_every_peer_is_executed_once() {
    let cluster = Cluster::start(Settings::default()).await;
    let request = Some(RequestId {
        session: open(cluster.node(0)).await,
        number: 1,
    });
    for position in [0, 1, 2, 0] {
        assert_eq!(
            append(cluster.node(position), "x", request, soon())
                .await
                .expect("the first answer"),
            "x"
        );
    }
    let leader = cluster.leader().await;
    cluster.node(leader).transfer_leader(None, soon()).await.expect("transferred");
    assert_eq!(
        append(cluster.node(leader), "x", request, soon()).await.expect("the first answer"),
        "x"
    );
    let other = append(cluster.node(0), "y", request, soon())
        .await
        .expect_err("another request under the same number");
    assert_eq!(other.code, ErrorCode::RequestIdReused);
    assert_eq!(append(cluster.node(0), "", None, soon()).await.expect("read"), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_write_whose_answer_is_lost_is_answered_by_the_next_leader() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let (follower, third) = ((leader + 1) % 3, (leader + 2) % 3);
    append(cluster.node(follower), "a", None, soon())
        .await
        .expect("the follower has a session");

    // What the follower sends arrives; what the leader says is lost.
    cluster.links.cut(cluster.address(leader), cluster.address(follower));
    let node = cluster.node(follower).clone();
    let write = tokio::spawn(async move { append(&node, "b", None, soon()).await });
    crate::support::until("the leader has executed it", || {
        let log = cluster.node(leader).applied().revision;
        log > cluster.node(follower).applied().revision
    })
    .await;
    cluster
        .node(leader)
        .transfer_leader(Some(PeerId(third as u64 + 1)), soon())
        .await
        .expect("transferred");
    assert_eq!(write.await.expect("the call ends").expect("answered"), "ab");
    cluster.links.heal();
    assert_eq!(append(cluster.node(leader), "", None, soon()).await.expect("read"), "ab");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_write_survives_the_death_of_the_leader() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    append(cluster.node(follower), "a", None, soon())
        .await
        .expect("the follower has a session");
    let node = cluster.node(follower).clone();
    let writes = tokio::spawn(async move {
        for _ in 0..200 {
            append(&node, "b", None, soon())
                .await
                .expect("retried until the next leader answers");
        }
    });
    crate::support::until("writes are under way", || cluster.node(leader).applied().index > 20).await;
    cluster.kill(leader).await;
    writes.await.expect("every write is answered");
    let value = append(cluster.node(follower), "", None, soon()).await.expect("read");
    assert_eq!(value, format!("a{}", "b".repeat(200)), "each was executed once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_session_executes_nothing_and_a_peer_opens_itself_another() {
    let cluster = Cluster::start(Settings::default()).await;
    let session = open(cluster.node(0)).await;
    for position in 0..3 {
        append(cluster.node(position), "a", None, soon())
            .await
            .expect("every peer has a session of its own");
    }
    // Sessions count from 1: this ends all there are, those of the peers included.
    let mut ended = 0;
    for number in 1..=session.0 + 8 {
        for SessionId(session) in [SessionId(number), SessionId::of_peer(number)] {
            let closed = cluster.node(0).execute(&CloseSession { session }, None, soon()).await;
            let (_, reply) = closed.expect("closed, or not there");
            ended += u64::from(reply.existed);
        }
    }
    assert!(ended >= 4, "{ended} sessions have ended, of the caller and three peers");
    let late = append(cluster.node(1), "x", Some(RequestId { session, number: 1 }), soon())
        .await
        .expect_err("its session has ended");
    assert_eq!(late.code, ErrorCode::SessionExpired);
    for position in 0..3 {
        append(cluster.node(position), "b", None, soon()).await.expect("in a new session");
    }
    assert_eq!(append(cluster.node(0), "", None, soon()).await.expect("read"), "aaabbb");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_without_ids_share_few_sessions() {
    let cluster = Cluster::start(Settings::default()).await;
    let node = cluster.node(cluster.follower().await).clone();
    let calls = (0..500).map(|_| append(&node, "x", None, soon()));
    for answer in futures::future::join_all(calls).await {
        answer.expect("written");
    }
    assert_eq!(append(&node, "", None, soon()).await.expect("read").len(), 500);
    let newest = open(&node).await;
    assert!(newest.0 <= 20, "{} sessions were opened for 500 calls at once", newest.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_without_a_session_is_still_executed_once() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    let unremembered = Some(RequestId {
        session: SessionId(0),
        number: 5,
    });
    append(cluster.node(leader), "a", None, soon())
        .await
        .expect("the peer has a session");
    cluster.isolate(leader);
    let unknown = append(cluster.node(leader), "b", unremembered, within(800))
        .await
        .expect_err("no quorum");
    assert_eq!(unknown.code, ErrorCode::OutcomeUnknown);
    cluster.links.heal();
    append(cluster.node(leader), "c", unremembered, soon()).await.expect("written");
    let value = append(cluster.node(leader), "", None, soon()).await.expect("read");
    assert!(["ac", "abc", "acb"].contains(&value.as_str()), "{value}");
}

/// The machine's own tests say what one entry may change (`entry_budget.rs`); here nothing of the rest may get lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_change_too_much_for_one_entry_are_spread_over_several() {
    const APPENDS: usize = 100;
    /// Each append changes this much and answers with as much: a hundred are more than five times what an entry may change.
    const VALUE_BYTES: usize = 120 << 10;
    let cluster = Cluster::start(Settings::default()).await;
    let node = cluster.node(cluster.leader().await).clone();
    let put = PutAttribute {
        instance_id: INSTANCE.into(),
        name: "list".into(),
        value: vec![b'.'; VALUE_BYTES].into(),
        if_revision: None,
    };
    node.execute(&put, None, soon()).await.expect("written");
    let before = node.applied().index;
    let writes: Vec<_> = (0..APPENDS)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { append(&node, "x", None, soon()).await })
        })
        .collect();
    let mut lengths = Vec::new();
    for write in writes {
        lengths.push(write.await.expect("the call ends").expect("answered").len());
    }
    lengths.sort_unstable();
    let expected: Vec<usize> = (1..=APPENDS).map(|appended| VALUE_BYTES + appended).collect();
    assert_eq!(lengths, expected, "each was executed once");
    let entries = node.applied().index - before;
    assert!(entries > 5, "{APPENDS} appends to a large value took {entries} entries");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_of_a_forwarded_batch_come_in_messages_that_the_channel_carries() {
    const BATCH: u64 = 60;
    const CHANNEL_BYTES: usize = 9 << 20;
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.node(cluster.leader().await).clone();
    let value = "v".repeat(120 << 10);
    let mut appends = Vec::new();
    for name in ["one", "other"] {
        cluster.put(0, name, &value, None, soon()).await.expect("written");
        appends.push(AppendAttribute {
            instance_id: INSTANCE.into(),
            name: name.into(),
            suffix: Bytes::new(),
        });
    }
    let session = open(&leader).await;
    let payload: Bytes = AppendAttributes { appends }.encode_to_vec().into();
    let framed = |number| {
        frame::encode_frame(&Frame {
            number: AppendAttributes::NUMBER,
            request: RequestId { session, number },
            fingerprints: Vec::new(),
            payload: payload.clone(),
        })
    };
    let mut waiting: Vec<u64> = (1..=BATCH).collect();
    let mut rounds = 0;
    // The second time all are repetitions, whose answers come from memory and count for nothing in an entry.
    for _ in 0..2 {
        while !waiting.is_empty() {
            rounds += 1;
            let commands = waiting.iter().map(|number| framed(*number)).collect();
            let reply = leader.handle_propose(wire::ProposeRequest { commands }).await;
            assert!(reply.encoded_len() < CHANNEL_BYTES, "{} bytes", reply.encoded_len());
            assert_eq!(reply.answers.len(), waiting.len(), "{:?}", reply.error);
            let (answered, unknown): (Vec<_>, Vec<_>) = reply.answers.iter().partition(|answer| answer.error.is_none());
            assert!(!answered.is_empty() && answered.iter().all(|answer| answer.body.len() > 2 * value.len()));
            let why = |answer: &wire::Answer| answer.error.as_ref().map(|error| ErrorCode::from_number(error.code));
            assert!(
                unknown.iter().all(|answer| why(answer) == Some(ErrorCode::OutcomeUnknown)),
                "it is asked again"
            );
            let mut answers = reply.answers.iter();
            waiting.retain(|_| answers.next().is_some_and(|answer| answer.error.is_some()));
        }
        waiting = (1..=BATCH).collect();
    }
    assert_eq!(rounds, 4, "14 MiB of answers, twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_command_that_the_leader_does_not_know_never_gets_into_the_log() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.node(cluster.leader().await).clone();
    let put = PutAttribute {
        instance_id: INSTANCE.into(),
        name: "name".into(),
        value: Bytes::from_static(b"value"),
        if_revision: None,
    };
    let unknown = COMMANDS.iter().map(|info| info.number).max().expect("there are commands") + 1;
    let session = open(&leader).await;
    let framed = |number, command| {
        frame::encode_frame(&Frame {
            number: command,
            request: RequestId { session, number },
            fingerprints: Vec::new(),
            payload: put.encode_to_vec().into(),
        })
    };
    // Those beside it go on.
    let commands = vec![framed(1, unknown), framed(2, PutAttribute::NUMBER)];
    let reply = leader.handle_propose(wire::ProposeRequest { commands }).await;
    assert_eq!(reply.error, None);
    let codes: Vec<_> = reply
        .answers
        .iter()
        .map(|answer| answer.error.as_ref().map(|error| ErrorCode::from_number(error.code)))
        .collect();
    assert_eq!(codes, [Some(ErrorCode::UnknownCommand), None]);
    cluster.put(0, "later", "value", None, soon()).await.expect("all go on");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_batch_is_never_forwarded_again() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let put = PutAttribute {
        instance_id: INSTANCE.into(),
        name: "name".into(),
        value: Bytes::from_static(b"value"),
        if_revision: None,
    };
    let frame = frame::encode_frame(&Frame {
        number: PutAttribute::NUMBER,
        request: RequestId::default(),
        fingerprints: Vec::new(),
        payload: put.encode_to_vec().into(),
    });
    let forwarded = cluster.links.calls(cluster.address(follower), "propose");
    let batch = wire::ProposeRequest { commands: vec![frame] };
    let reply = cluster.node(follower).handle_propose(batch).await;
    let refusal = reply.error.expect("it does not lead");
    assert_eq!(
        (ErrorCode::from_number(refusal.code), refusal.leader),
        (ErrorCode::NotLeader, leader as u64 + 1)
    );
    assert_eq!(cluster.links.calls(cluster.address(follower), "propose"), forwarded);
    assert_eq!(cluster.get(leader, "name", soon()).await.expect("read"), None);
}
