//! Ports of peers on loopback.
//!
//! They lie below the range the system hands out to outgoing connections: while a peer is down, such a connection could
//! otherwise take its port, or even connect to itself through it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};

const FIRST: u64 = 10_000;
const COUNT: u64 = 10_000;
/// Attempts before a machine without free ports is assumed.
const ATTEMPTS: usize = 1_000;

/// Tests of one process never get the same port twice; those of two processes start at random places.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The first of `count` ports in a row on which nobody listens now. Somebody else may still take one first: whoever starts
/// a peer tries again with others.
pub fn free_ports(count: u16) -> u16 {
    let start = RandomState::new().build_hasher().finish() % COUNT;
    let _ = NEXT.compare_exchange(0, start + 1, Ordering::Relaxed, Ordering::Relaxed);
    for _ in 0..ATTEMPTS {
        let first = (FIRST + NEXT.fetch_add(u64::from(count), Ordering::Relaxed) % COUNT) as u16;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} free ports in a row on loopback from {FIRST} on");
}

/// An address on loopback with a free port.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_ports(1))
}
