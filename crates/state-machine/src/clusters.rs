//! Clusters: their rows, and how commands find and judge them.
//!
//! A cluster is a row without its nodes (see [`crate::nodes`]), under the revision at which it was added: ids may be empty
//! and names change, the revision is unique and key order is the order of addition. Most checks look at all clusters of
//! an instance, of which there are few.

use crate::cluster_request::check_id_given;
use crate::command::{ApplyContext, ApplyError, decode_record};
use crate::instances::{self, Instance, Route};
use crate::keys::{self, RecordTable};
use crate::nodes::{self, StoredNode};
use crate::record::ClusterRecord;
use crate::store::{Reader, StoreError, prefix_end};
use bytes::{BufMut, Bytes};
use prost::Message as _;
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::node_info_pb::NodeType;
use quorate_wire::doris::{ClusterPb, NodeInfoPb};

/// A cluster as stored; its nodes are elsewhere.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Revision of its addition: its name in keys.
    pub added: u64,
    pub record: ClusterRecord,
}

impl Cluster {
    pub fn info(&self) -> &ClusterPb {
        &self.record.info
    }

    pub fn cluster_type(&self) -> Option<Type> {
        self.record.info.r#type.and_then(|number| Type::try_from(number).ok())
    }

    /// Counts a node that joins.
    pub fn count_added(&mut self, node: &NodeInfoPb) {
        self.record.nodes += 1;
        self.record.masters += u64::from(node.node_type() == NodeType::FeMaster);
        self.record.followers += u64::from(node.node_type() == NodeType::FeFollower);
    }

    /// Counts a node that leaves.
    pub fn count_removed(&mut self, node: &NodeInfoPb) {
        self.record.nodes -= 1;
        self.record.masters -= u64::from(node.node_type() == NodeType::FeMaster);
        self.record.followers -= u64::from(node.node_type() == NodeType::FeFollower);
    }

    /// Whether it has the name or the id that a request for nodes gives: an unset one of either side does not count,
    /// an empty one does, as upstream.
    pub fn is_named_by(&self, request: &ClusterPb) -> bool {
        let info = self.info();
        info.cluster_name.as_deref() == Some(request.cluster_name()) || info.cluster_id.as_deref() == Some(request.cluster_id())
    }

    /// The cluster with its nodes, as replies and texts show it.
    pub fn with_nodes(&self, nodes: impl IntoIterator<Item = StoredNode>) -> ClusterPb {
        let mut info = self.record.info.clone();
        info.nodes = nodes.into_iter().map(|node| node.info).collect();
        info
    }
}

/// All clusters of an instance, in order of addition.
pub fn all(reader: &dyn Reader, scope: ScopeId) -> Result<Vec<Cluster>, StoreError> {
    let prefix = keys::record_in_scope(RecordTable::Cluster, scope);
    let mut clusters = Vec::new();
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    while let Some((key, value)) = cursor.row() {
        clusters.push(Cluster {
            added: added_of(key, prefix.len())?,
            record: decode_record(key, Bytes::copy_from_slice(value))?,
        });
        cursor.next()?;
    }
    Ok(clusters)
}

/// What a cluster's row is picked by: the fields of its [`ClusterRecord`] that callers name clusters by. Everything else of
/// the row, which grows with what is configured, is passed over without being decoded.
#[derive(Clone, PartialEq, prost::Message)]
struct NamesRecord {
    #[prost(message, optional, tag = "1")]
    info: Option<ClusterNames>,
}

/// Field numbers are those of `ClusterPB`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClusterNames {
    #[prost(string, optional, tag = "1")]
    pub cluster_id: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub cluster_name: Option<String>,
    #[prost(string, repeated, tag = "6")]
    pub mysql_user_name: Vec<String>,
}

/// The first cluster of an instance, in order of addition, that is wanted by its names. One pass over the few rows of the
/// instance, of which one is decoded: a row that leads from an id to its cluster would be one more to keep, and ids may be
/// empty or shared.
pub fn first(reader: &dyn Reader, scope: ScopeId, is_wanted: impl Fn(&ClusterNames) -> bool) -> Result<Option<Cluster>, StoreError> {
    let prefix = keys::record_in_scope(RecordTable::Cluster, scope);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    while let Some((key, value)) = cursor.row() {
        let names =
            NamesRecord::decode(value).map_err(|error| StoreError(format!("row {key:02x?} does not decode as a cluster: {error}")))?;
        if is_wanted(&names.info.unwrap_or_default()) {
            return Ok(Some(Cluster {
                added: added_of(key, prefix.len())?,
                record: decode_record(key, Bytes::copy_from_slice(value))?,
            }));
        }
        cursor.next()?;
    }
    Ok(None)
}

fn added_of(key: &[u8], prefix_bytes: usize) -> Result<u64, StoreError> {
    let added = key[prefix_bytes..].try_into().map(u64::from_be_bytes);
    added.map_err(|_| StoreError(format!("cluster key of {} bytes, expected {}", key.len(), prefix_bytes + 8)))
}

/// How many clusters an instance has.
pub fn count(reader: &dyn Reader, scope: ScopeId) -> Result<usize, StoreError> {
    let prefix = keys::record_in_scope(RecordTable::Cluster, scope);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = 0;
    while cursor.row().is_some() {
        found += 1;
        cursor.next()?;
    }
    Ok(found)
}

/// Whether an instance has clusters.
pub fn any(reader: &dyn Reader, scope: ScopeId) -> Result<bool, StoreError> {
    let prefix = keys::record_in_scope(RecordTable::Cluster, scope);
    Ok(reader.cursor(&prefix, &prefix_end(&prefix))?.row().is_some())
}

/// The cluster that a place in the node index belongs to.
pub fn of_place(reader: &dyn Reader, place: nodes::Place) -> Result<ClusterPb, StoreError> {
    let key = key(place.scope, place.cluster);
    let row = reader
        .get(&key)?
        .ok_or_else(|| StoreError(format!("no cluster at {key:02x?}, but a node of it has a row")))?;
    Ok(decode_record::<ClusterRecord>(&key, row)?.info)
}

/// Writes a cluster's row.
pub fn put(context: &mut ApplyContext<'_, '_>, scope: ScopeId, cluster: &Cluster) {
    debug_assert!(cluster.record.info.nodes.is_empty(), "nodes are rows of their own");
    context.put_record(key(scope, cluster.added), &cluster.record);
}

/// Removes a cluster's row and those of its nodes.
pub fn remove(context: &mut ApplyContext<'_, '_>, scope: ScopeId, cluster: &Cluster) -> Result<(), StoreError> {
    for node in nodes::of_cluster(context.reader(), scope, cluster.added)? {
        nodes::remove(context, &node, cluster.cluster_type());
    }
    context.changes().remove(key(scope, cluster.added));
    Ok(())
}

/// Finds an instance's cluster by id, or refuses as the routes that update one cluster do.
pub fn find_to_update(reader: &dyn Reader, instance_id: &str, wanted: &ClusterPb) -> Result<(Instance, Cluster), ApplyError> {
    check_id_given(wanted)?;
    let instance = instances::require(reader, instance_id, Route::ChangeCluster)?;
    let found = all(reader, instance.scope)?
        .into_iter()
        .find(|cluster| cluster.info().cluster_id() == wanted.cluster_id());
    let Some(cluster) = found else {
        let message = format!(
            "failed to find cluster to update, instance_id={instance_id} cluster_id={} cluster_name={}",
            wanted.cluster_id(),
            wanted.cluster_name()
        );
        return Err(MetaError::invalid(message).into());
    };
    Ok((instance, cluster))
}

/// Refuses a change that leaves the instance's first frontend cluster with two masters, or with nobody to follow.
pub fn check_first_frontends(clusters: &[Cluster]) -> Result<(), MetaError> {
    let first = clusters.iter().find(|cluster| cluster.cluster_type() == Some(Type::Sql));
    match first.map(|cluster| (cluster.record.masters, cluster.record.followers)) {
        Some((2.., _) | (0, 0)) => Err(MetaError::invalid("instance invalid, cant modify, plz check")),
        _ => Ok(()),
    }
}

fn key(scope: ScopeId, added: u64) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::Cluster, scope);
    key.put_u64(added);
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MapStore;

    #[test]
    fn a_cluster_is_picked_by_the_names_of_its_record() {
        let record = ClusterRecord {
            info: ClusterPb {
                cluster_id: Some("id".into()),
                cluster_name: Some("name".into()),
                desc: Some("description".into()),
                mysql_user_name: vec!["one".into(), "other".into()],
                ..Default::default()
            },
            nodes: 3,
            ..Default::default()
        };
        let names = NamesRecord::decode(record.encode_to_vec().as_slice()).expect("decodes").info;
        let expected = ClusterNames {
            cluster_id: record.info.cluster_id,
            cluster_name: record.info.cluster_name,
            mysql_user_name: record.info.mysql_user_name,
        };
        assert_eq!(names, Some(expected));
    }

    #[test]
    fn the_first_of_those_that_are_wanted_is_found() {
        let mut store = MapStore::default();
        for (scope, added, id) in [(1, 5, "a"), (1, 7, "b"), (1, 9, "b"), (2, 6, "c")] {
            let record = ClusterRecord {
                info: ClusterPb {
                    cluster_id: Some(id.into()),
                    ..Default::default()
                },
                ..Default::default()
            };
            store.rows.insert(key(ScopeId(scope), added), record.encode_to_vec().into());
        }
        let found = |wanted: &str| {
            let first = first(&store, ScopeId(1), |names| names.cluster_id.as_deref() == Some(wanted));
            first
                .expect("reads")
                .map(|cluster| (cluster.added, cluster.info().cluster_id().to_owned()))
        };
        assert_eq!(found("a"), Some((5, "a".into())));
        assert_eq!(found("b"), Some((7, "b".into())));
        assert_eq!(found("c"), None, "it is another instance's");
    }
}
