//! A row that the disk has changed is found by reading it, not by comparing digests.

use crate::support::{Cluster, soon, until};
use bytes::Bytes;
use quorate_consensus::Settings;
use quorate_model::{ErrorCode, PeerId};
use quorate_state_machine::keys::space;
use quorate_storage::state::{StateEngine, read_with};
use std::time::Duration;

/// Changes one byte of the last row in the space of records: nothing that is written later looks at it.
fn change_a_row(state: &dyn StateEngine) {
    let row = read_with(state, |reader| {
        let mut cursor = reader.cursor(&[space::RECORD], &[space::RECORD + 1]).expect("readable");
        let mut last = None;
        while let Some((key, value)) = cursor.row() {
            last = Some((Bytes::copy_from_slice(key), value.to_vec()));
            cursor.next().expect("readable");
        }
        last
    });
    let (key, mut value) = row.expect("the instance is a record");
    *value.last_mut().expect("a record is not empty") ^= 1;
    let applied = state.raft_rows().expect("readable").applied.expect("something was applied");
    state.commit(&[(key, Some(value.into()))], applied, None).expect("written");
}

fn scans_every(interval: Duration) -> Settings {
    Settings {
        content_scan_interval: interval,
        ..Settings::default()
    }
}

fn is_out(cluster: &Cluster, position: usize) -> bool {
    matches!(cluster.node(position).check_serving(), Err(error) if error.code == ErrorCode::Diverged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_changed_behind_a_peers_back_is_found_by_the_scan() {
    let mut cluster = Cluster::start(scans_every(Duration::from_millis(100))).await;
    for position in 0..3 {
        until("healthy peers are scanned too", || {
            cluster.node(position).core().content_scan.completed() >= 2
        })
        .await;
        assert!(!cluster.node(position).core().content_scan.is_damaged(), "nothing is wrong yet");
    }
    let damaged = cluster.follower().await;
    cluster.tamper(damaged, change_a_row).await;
    until("the damaged peer stops serving", || is_out(&cluster, damaged)).await;
    let honest = [(damaged + 1) % 3, (damaged + 2) % 3];
    let leader = cluster.leader_among(&honest).await;
    until("the others are told", || {
        let status = cluster.node(leader).status();
        status
            .findings
            .iter()
            .any(|finding| finding.text.contains("its state is damaged") && finding.object == format!("peer {}", damaged + 1))
    })
    .await;
    let moved = cluster.node(leader).transfer_leader(None, soon()).await.expect("transferred");
    assert_ne!(moved, PeerId(damaged as u64 + 1), "leadership does not go to it");
    for position in honest {
        let scanned = cluster.node(position).core().content_scan.completed();
        until("they are scanned again", || {
            cluster.node(position).core().content_scan.completed() > scanned
        })
        .await;
        assert!(!cluster.node(position).core().content_scan.is_damaged());
    }
    cluster
        .put(honest[0], "name", "value", None, soon())
        .await
        .expect("the others go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_state_that_was_received_as_a_checkpoint_is_found_at_once() {
    let settings = Settings {
        checkpoint_log_entries: 20,
        max_log_bytes: 1,
        ..scans_every(Duration::from_secs(86_400))
    };
    let mut cluster = Cluster::start(settings).await;
    let sender = cluster.follower().await;
    cluster.tamper(sender, change_a_row).await;
    cluster.converge().await;
    // Nobody suspects it.
    cluster.lead(sender).await;
    let receiver = (sender + 1) % 3;
    cluster.isolate(receiver);
    let needed = cluster.node(receiver).applied().index + 1;
    let purged = |cluster: &Cluster| {
        let status = cluster.node(sender).status();
        status
            .peers
            .iter()
            .find(|peer| peer.peer_id == sender as u64 + 1)
            .map_or(0, |peer| peer.purged_index)
    };
    let deadline = soon();
    while purged(&cluster) <= needed {
        assert!(tokio::time::Instant::now() < deadline, "the log is never purged");
        cluster
            .put(sender, "name", "value", None, soon())
            .await
            .expect("two peers are a quorum");
    }
    cluster.links.heal();
    until("the receiver stops serving", || is_out(&cluster, receiver)).await;
    assert!(cluster.node(receiver).core().content_scan.is_damaged());
    assert_eq!(
        cluster.node(sender).core().content_scan.completed(),
        0,
        "without a checkpoint it waits for its time"
    );
}
