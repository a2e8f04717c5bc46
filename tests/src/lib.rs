//! Harness of the suites that start real `quorate` processes and look at them only from outside: HTTP, gRPC, files, exit
//! codes.
//!
//! A test starts a [`cluster::Cluster`], harms some of its [`peer::Peer`]s, keeps a [`load::Load`] of writers and readers
//! going meanwhile, and compares what was acknowledged with what every peer says in the end. Everything that was started is
//! killed when its owner is dropped, and a failing test prints the logs of its peers.
//!
//! Nothing here sleeps for luck: [`waiting::until`] looks again until a condition holds or its deadline has passed.

pub mod archive;
pub mod audit;
pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod disk;
pub mod files;
pub mod http;
pub mod load;
pub mod lossy;
pub mod native;
pub mod peer;
pub mod ports;
pub mod raft_state;
pub mod random;
pub mod s3_server;
pub mod verdict;
pub mod waiting;
pub mod worker;
