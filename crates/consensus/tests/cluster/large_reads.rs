//! Large reads run beside everything else.

use crate::support::{Cluster, PATIENCE, soon};
use quorate_consensus::settings::LARGE_READS_AT_ONCE;
use quorate_consensus::{Node, Settings};
use quorate_model::MetaError;
use std::sync::mpsc;
use tokio::task::JoinHandle;

/// A large read that goes on until its sender is dropped; whether it was.
struct Held {
    release: mpsc::Sender<()>,
    ended: JoinHandle<Result<bool, MetaError>>,
}

async fn hold(node: &Node) -> Held {
    let (release, released) = mpsc::channel::<()>();
    let (begins, begun) = tokio::sync::oneshot::channel();
    let node = node.clone();
    let ended = tokio::spawn(async move {
        let read = move || {
            let _ = begins.send(());
            // It does not wait for ever: on the only thread there is, nobody would be left to release it.
            released.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Disconnected)
        };
        node.run_large(soon(), read).await
    });
    begun.await.expect("it begins");
    Held { release, ended }
}

/// All three peers on one thread: whatever keeps it keeps every heartbeat from being sent.
#[tokio::test]
async fn heartbeats_writes_and_small_reads_go_on_while_large_ones_run() {
    let cluster = Cluster::start(Settings::default()).await;
    let mut held = Vec::new();
    for position in 0..3 {
        for _ in 0..LARGE_READS_AT_ONCE {
            held.push(hold(cluster.node(position)).await);
        }
    }
    for position in 0..3 {
        let value = position.to_string();
        cluster.put(position, "name", &value, None, soon()).await.expect("written");
        let read = cluster.get(position, "name", soon()).await.expect("read");
        assert_eq!(read.as_deref(), Some(value.as_str()));
        assert_eq!(cluster.node(position).core().large_reads.under_way(), LARGE_READS_AT_ONCE);
    }
    for Held { release, ended } in held {
        drop(release);
        assert_eq!(
            ended.await.expect("it ends"),
            Ok(true),
            "it was let go, and did not give up waiting for that"
        );
    }
}
