//! The peer port: connections authenticated by the cluster secret, Raft and forwarding over gRPC on them.

pub mod client;
pub mod handshake;
pub mod refusals;
pub mod service;
mod under_way;

use quorate_model::{ClusterId, Incarnation};
use std::sync::{Arc, RwLock};

/// Who this process says it is. Cluster and peer are 0 until it has a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub peer: u64,
    pub incarnation: Incarnation,
}

/// This process's identity, shared by the accept loop and all connections it makes.
#[derive(Clone, Debug, Default)]
pub struct OwnIdentity(Arc<RwLock<Identity>>);

impl OwnIdentity {
    pub fn new(identity: Identity) -> OwnIdentity {
        OwnIdentity(Arc::new(RwLock::new(identity)))
    }

    pub fn get(&self) -> Identity {
        *self.0.read().expect("no panic while held")
    }

    pub fn set(&self, identity: Identity) {
        *self.0.write().expect("no panic while held") = identity;
    }
}
