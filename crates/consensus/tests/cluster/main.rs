//! Three peers with real logs and states in one process, in real time. Each test is a story of one kind of trouble.

mod checkpoints;
mod content;
mod disks;
mod divergence;
mod elections;
mod hanging_peers;
mod large_reads;
mod levels;
mod lost_entries;
mod no_quorum;
mod restarts;
mod retries;
mod support;
mod writes_and_reads;
