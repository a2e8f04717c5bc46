//! Load generator: one workload definition, one driver per system (Quorate, etcd), both over the same kind of gRPC channel.
//!
//! `quorate-bench run` loads a cluster that is already there; `quorate-bench compare` starts three peers of each system,
//! runs every workload on both in turn and prints the ratios, with the CPU time each operation took; `quorate-bench growth`
//! shows what Quorate costs as the number of records grows.
//!
//! A closed loop: each of N clients sends its next call when the last one is answered, so latency and rate are two views of
//! one run. Values are random bytes, new for each write. What an operation is in each system is said in `workload.rs`.
//!
//! Refuses to know anything about a system beyond its public API and its processes. Start reading at `compare.rs`.

pub mod args;
pub mod compare;
pub mod driver;
pub mod etcd;
pub mod etcd_api;
pub mod failover;
pub mod growth;
pub mod http;
pub mod instances;
pub mod job_files;
pub mod jobs;
pub mod load;
pub mod machine;
pub mod processes;
pub mod quorate;
pub mod random;
pub mod recovery;
pub mod report;
pub mod run;
pub mod system;
pub mod transfer;
pub mod workload;
