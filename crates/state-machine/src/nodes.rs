//! Nodes: one row each, beside a row under the id it registered and a row under the endpoint it takes.
//!
//! ```text
//! place     scope | cluster | added | position
//! Node      place                                       -> NodeInfoPB
//! NodeIndex cloud_unique_id' | place                    -> ()
//! Endpoint  scope | type | address:port' | rest of place -> ()
//! ```
//! `added` is the revision of the command that added the node, so key order is the order of addition and adding one of
//! 2,000 nodes writes three rows. Several nodes may share an id or an endpoint: rows end in the node's place.

use crate::command::{ApplyContext, decode_record};
use crate::keys::{self, RecordTable};
use crate::store::{Reader, StoreError, prefix_end};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::ScopeId;
use quorate_wire::doris::NodeInfoPb;
use quorate_wire::doris::cluster_pb::Type;

/// Where a node's row is: unique, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub scope: ScopeId,
    /// The cluster it belongs to, by the revision at which that was added.
    pub cluster: u64,
    pub added: u64,
    /// Tells nodes of one command apart.
    pub position: u32,
}

/// Bytes of a place behind its scope.
const PLACE_IN_SCOPE_BYTES: usize = 20;

impl Place {
    fn put_in_scope(&self, key: &mut BytesMut) {
        key.put_u64(self.cluster);
        key.put_u64(self.added);
        key.put_u32(self.position);
    }

    /// Reads the place that ends a key of the Node or the NodeIndex table.
    fn at_end_of(key: &[u8]) -> Result<Place, StoreError> {
        let damaged = || StoreError(format!("key of {} bytes does not end in the place of a node", key.len()));
        let start = key.len().checked_sub(8 + PLACE_IN_SCOPE_BYTES).ok_or_else(damaged)?;
        let number = |at: usize| {
            key[start + at..start + at + 8]
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| damaged())
        };
        let position = key[start + 24..].try_into().map(u32::from_be_bytes).map_err(|_| damaged())?;
        Ok(Place {
            scope: ScopeId(number(0)?),
            cluster: number(8)?,
            added: number(16)?,
            position,
        })
    }

    fn node_key(&self) -> Bytes {
        let mut key = keys::record_in_scope(RecordTable::Node, self.scope);
        self.put_in_scope(&mut key);
        key.freeze()
    }

    fn index_key(&self, cloud_unique_id: &str) -> Bytes {
        let mut key = index_prefix(cloud_unique_id);
        key.put_u64(self.scope.0);
        self.put_in_scope(&mut key);
        key.freeze()
    }

    fn endpoint_key(&self, cluster_type: Type, endpoint: &str) -> Bytes {
        let mut key = endpoint_prefix(self.scope, cluster_type, endpoint);
        self.put_in_scope(&mut key);
        key.freeze()
    }
}

/// A node with its place.
#[derive(Clone, Debug)]
pub struct StoredNode {
    pub place: Place,
    pub info: NodeInfoPb,
}

/// All nodes of a cluster, in order of addition.
pub fn of_cluster(reader: &dyn Reader, scope: ScopeId, cluster: u64) -> Result<Vec<StoredNode>, StoreError> {
    let mut prefix = keys::record_in_scope(RecordTable::Node, scope);
    prefix.put_u64(cluster);
    let mut nodes = Vec::new();
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    while let Some((key, value)) = cursor.row() {
        let info = decode_record(key, Bytes::copy_from_slice(value))?;
        nodes.push(StoredNode {
            place: Place::at_end_of(key)?,
            info,
        });
        cursor.next()?;
    }
    Ok(nodes)
}

/// Nodes registered under an id. An empty id says nothing about who uses it, so it is looked up in `scope` only.
pub fn registered(reader: &dyn Reader, cloud_unique_id: &str, scope: ScopeId) -> Result<Vec<NodeInfoPb>, StoreError> {
    let mut prefix = index_prefix(cloud_unique_id);
    if cloud_unique_id.is_empty() {
        prefix.put_u64(scope.0);
    }
    let mut nodes = Vec::new();
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    while let Some((key, _)) = cursor.row() {
        nodes.push(at(reader, Place::at_end_of(key)?)?);
        cursor.next()?;
    }
    Ok(nodes)
}

/// Nodes registered under an id in one instance, with their places.
pub fn registered_in(reader: &dyn Reader, cloud_unique_id: &str, scope: ScopeId) -> Result<Vec<StoredNode>, StoreError> {
    let mut prefix = index_prefix(cloud_unique_id);
    prefix.put_u64(scope.0);
    let mut nodes = Vec::new();
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    while let Some((key, _)) = cursor.row() {
        let place = Place::at_end_of(key)?;
        let info = at(reader, place)?;
        nodes.push(StoredNode { place, info });
        cursor.next()?;
    }
    Ok(nodes)
}

/// The node at a place that another row names.
fn at(reader: &dyn Reader, place: Place) -> Result<NodeInfoPb, StoreError> {
    let key = place.node_key();
    let row = reader
        .get(&key)?
        .ok_or_else(|| StoreError(format!("no node at {key:02x?}, but its id has a row")))?;
    decode_record(&key, row)
}

/// The scope in which an id is registered; the first one, should an import have brought several.
pub fn first_scope_of(reader: &dyn Reader, cloud_unique_id: &str) -> Result<Option<ScopeId>, StoreError> {
    Ok(first_place_of(reader, cloud_unique_id)?.map(|place| place.scope))
}

/// The first node registered under an id. An empty id is nobody's.
pub fn first_place_of(reader: &dyn Reader, cloud_unique_id: &str) -> Result<Option<Place>, StoreError> {
    if cloud_unique_id.is_empty() {
        return Ok(None);
    }
    let prefix = index_prefix(cloud_unique_id);
    first_place(reader, &prefix, &prefix)
}

/// A node registered under the same id outside of `own`, if there is one.
pub fn occupied_elsewhere(reader: &dyn Reader, cloud_unique_id: &str, own: Option<ScopeId>) -> Result<Option<Place>, StoreError> {
    if cloud_unique_id.is_empty() {
        return Ok(None);
    }
    let prefix = index_prefix(cloud_unique_id);
    let first = first_place(reader, &prefix, &prefix)?;
    match (first, own) {
        (Some(place), Some(own)) if place.scope == own => {
            let mut behind_own = prefix.clone();
            behind_own.put_u64(own.0 + 1);
            first_place(reader, &prefix, &behind_own)
        }
        (first, _) => Ok(first),
    }
}

fn first_place(reader: &dyn Reader, prefix: &[u8], start: &[u8]) -> Result<Option<Place>, StoreError> {
    let cursor = reader.cursor(start, &prefix_end(prefix))?;
    cursor.row().map(|(key, _)| Place::at_end_of(key)).transpose()
}

/// Whether a node of a cluster of this type has the endpoint.
pub fn endpoint_taken(reader: &dyn Reader, scope: ScopeId, cluster_type: Type, endpoint: &str) -> Result<bool, StoreError> {
    let prefix = endpoint_prefix(scope, cluster_type, endpoint);
    Ok(reader.cursor(&prefix, &prefix_end(&prefix))?.row().is_some())
}

/// Writes a node's rows. `cluster_type` is that of the cluster it is in; the place must be new.
pub fn put(context: &mut ApplyContext<'_, '_>, place: Place, cluster_type: Option<Type>, info: &NodeInfoPb) {
    debug_assert_eq!(
        place.added,
        context.revision().0,
        "a place is new only if it holds this command's revision"
    );
    let changes = context.changes();
    changes.put_fresh(place.node_key(), prost::Message::encode_to_vec(info));
    changes.put_fresh(place.index_key(info.cloud_unique_id()), Bytes::new());
    if let Some((cluster_type, endpoint)) = endpoint_in(cluster_type, info) {
        changes.put_fresh(place.endpoint_key(cluster_type, &endpoint), Bytes::new());
    }
}

/// Rewrites a node where it is. Its id, address and ports must be as they were: they are in the keys of its other rows.
pub fn update(context: &mut ApplyContext<'_, '_>, node: &StoredNode) {
    context.put_record(node.place.node_key(), &node.info);
}

/// Removes a node's rows.
pub fn remove(context: &mut ApplyContext<'_, '_>, node: &StoredNode, cluster_type: Option<Type>) {
    let changes = context.changes();
    changes.remove(node.place.node_key());
    changes.remove(node.place.index_key(node.info.cloud_unique_id()));
    if let Some((cluster_type, endpoint)) = endpoint_in(cluster_type, &node.info) {
        changes.remove(node.place.endpoint_key(cluster_type, &endpoint));
    }
}

/// The address a node is reached at; empty when it has none.
pub fn address(node: &NodeInfoPb) -> &str {
    node.host.as_deref().or(node.ip.as_deref()).unwrap_or_default()
}

/// `address:port` as a cluster of this type uses the node.
pub fn endpoint(cluster_type: Type, node: &NodeInfoPb) -> String {
    let port = match cluster_type {
        Type::Sql => node.edit_log_port(),
        Type::Compute => node.heartbeat_port(),
        Type::Virtual => -1,
    };
    format!("{}:{port}", address(node))
}

/// The endpoint a node takes in a cluster; only frontends and backends take one.
fn endpoint_in(cluster_type: Option<Type>, node: &NodeInfoPb) -> Option<(Type, String)> {
    let cluster_type = cluster_type.filter(|cluster_type| *cluster_type != Type::Virtual)?;
    Some((cluster_type, endpoint(cluster_type, node)))
}

/// Whether both are the same process, as drop_node decides it: same ip or same host, and same port.
pub fn same_process(left: &NodeInfoPb, right: &NodeInfoPb) -> bool {
    let port = |node: &NodeInfoPb| node.heartbeat_port.or(node.edit_log_port).unwrap_or_default();
    let same_address = (left.ip.is_some() && left.ip == right.ip) || (left.host.is_some() && left.host == right.host);
    same_address && port(left) == port(right)
}

fn index_prefix(cloud_unique_id: &str) -> BytesMut {
    let mut key = keys::record_prefix(RecordTable::NodeIndex);
    keys::put_escaped(&mut key, cloud_unique_id.as_bytes());
    key
}

fn endpoint_prefix(scope: ScopeId, cluster_type: Type, endpoint: &str) -> BytesMut {
    let mut key = keys::record_in_scope(RecordTable::Endpoint, scope);
    key.put_u8(cluster_type as u8);
    keys::put_escaped(&mut key, endpoint.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ip: Option<&str>, host: Option<&str>, heartbeat: Option<i32>, edit_log: Option<i32>) -> NodeInfoPb {
        let (ip, host) = (ip.map(str::to_owned), host.map(str::to_owned));
        NodeInfoPb {
            ip,
            host,
            heartbeat_port: heartbeat,
            edit_log_port: edit_log,
            ..Default::default()
        }
    }

    #[test]
    fn place_is_read_back_from_the_end_of_both_keys() {
        let place = Place {
            scope: ScopeId(7),
            cluster: 9,
            added: 300,
            position: 2,
        };
        assert_eq!(Place::at_end_of(&place.node_key()).expect("node key"), place);
        assert_eq!(Place::at_end_of(&place.index_key("1:i:\0x")).expect("index key"), place);
        assert!(Place::at_end_of(&[0; 27]).is_err());
    }

    #[test]
    fn an_id_is_occupied_by_whoever_else_registered_it() {
        let mut store = crate::store::MapStore::default();
        let place = |scope| Place {
            scope: ScopeId(scope),
            cluster: 1,
            added: 1,
            position: 0,
        };
        let mut register = |id: &str, scope| store.rows.insert(place(scope).index_key(id), Bytes::new());
        // Only an import can bring an id into two instances.
        for (id, scope) in [("one", 2), ("two", 2), ("two", 3), ("", 9)] {
            register(id, scope);
        }
        let owner = |id: &str, own: Option<u64>| {
            occupied_elsewhere(&store, id, own.map(ScopeId))
                .expect("reads")
                .map(|place| place.scope.0)
        };
        assert_eq!(
            (owner("one", Some(2)), owner("one", Some(1)), owner("one", None)),
            (None, Some(2), Some(2))
        );
        assert_eq!(
            (owner("two", Some(2)), owner("two", Some(3)), owner("two", None)),
            (Some(3), Some(2), Some(2))
        );
        assert_eq!(
            (owner("on", Some(1)), owner("", Some(1))),
            (None, None),
            "a prefix is another id, and no id is nobody's"
        );
    }

    #[test]
    fn host_wins_over_ip_even_when_empty() {
        assert_eq!(address(&node(Some("10.0.0.1"), Some("fe1"), None, None)), "fe1");
        assert_eq!(address(&node(Some("10.0.0.1"), Some(""), None, None)), "");
        assert_eq!(address(&node(Some("10.0.0.1"), None, None, None)), "10.0.0.1");
        assert_eq!(endpoint(Type::Sql, &node(Some("a"), None, Some(1), Some(2))), "a:2");
        assert_eq!(endpoint(Type::Compute, &node(Some("a"), None, None, Some(2))), "a:0");
    }

    #[test]
    fn a_process_is_known_by_address_and_the_port_it_names() {
        let stored = node(Some("a"), Some("h"), Some(1), Some(2));
        assert!(same_process(&stored, &node(Some("a"), None, Some(1), None)));
        assert!(same_process(&stored, &node(Some("x"), Some("h"), Some(1), Some(9))));
        assert!(
            !same_process(&stored, &node(Some("a"), None, None, Some(2))),
            "the stored node's port is its heartbeat port"
        );
        assert!(
            !same_process(&node(None, None, Some(1), None), &node(None, None, Some(1), None)),
            "no address, no match"
        );
    }
}
