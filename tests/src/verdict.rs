//! What must hold at the end of every run in which peers were harmed.

use crate::cluster::Cluster;
use crate::load::{Ledger, Load};
use crate::native::list_patiently;
use crate::peer::Peer;
use crate::raft_state::assert_peers_agree;
use crate::waiting::phase;
use std::collections::BTreeMap;

/// Ends the load and demands: no acknowledged write lost, none applied twice, none that nobody wrote, no read that went
/// back, equal digests at all peers; and the same again after one more start of all of them from disk.
pub async fn finish(cluster: &mut Cluster, load: Load, instance: &str) -> Ledger {
    let ledger = load.finish().await;
    let (attributes, gap_ms) = (ledger.acknowledged.len(), ledger.longest_gap.as_millis());
    eprintln!(
        "{attributes} attributes, {} repeats, {} reads, longest gap {gap_ms} ms",
        ledger.repeats, ledger.reads
    );
    assert!(ledger.repeats > 0, "no call was ever in doubt: nothing was tested");

    phase("every peer has exactly what was acknowledged, at the acknowledged revisions");
    assert_has_exactly(cluster, instance, &ledger).await;
    assert_peers_agree(cluster).await;

    phase("and still so after one more start from disk");
    cluster.peers.iter_mut().for_each(Peer::kill);
    cluster.peers.iter_mut().for_each(Peer::start);
    cluster.wait_ready().await;
    assert_has_exactly(cluster, instance, &ledger).await;
    assert_peers_agree(cluster).await;
    ledger
}

/// A write executed twice would have a later revision than the one acknowledged; one never acknowledged does not exist,
/// because writers repeat each until it is.
pub async fn assert_has_exactly(cluster: &Cluster, instance: &str, ledger: &Ledger) {
    for address in cluster.addresses() {
        let found = list_patiently(&address, instance).await;
        let found: BTreeMap<String, u64> = found.into_iter().map(|(name, attribute)| (name, attribute.revision)).collect();
        let differing = |(name, revision): &(&String, &u64)| found.get(*name) != Some(*revision);
        let lost: Vec<_> = ledger.acknowledged.iter().filter(differing).take(10).collect();
        assert!(
            lost.is_empty(),
            "the peer at {address} does not have, or has at another revision: {lost:?}"
        );
        assert_eq!(
            found.len(),
            ledger.acknowledged.len(),
            "the peer at {address} has what nobody wrote"
        );
    }
}
