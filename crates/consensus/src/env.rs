//! The only place where this crate asks for the wall clock or for randomness, so that a simulation can replace both.

use quorate_model::StampedTime;
use std::cell::Cell;

/// Where a simulation takes time and randomness from.
#[derive(Clone, Copy)]
pub struct Sources {
    pub wall_clock: fn() -> StampedTime,
    pub random_u64: fn() -> u64,
}

thread_local! {
    static REPLACED: Cell<Option<Sources>> = const { Cell::new(None) };
}

/// Replaces both for the calling thread, which is all a simulation runs on.
pub fn replace_on_this_thread(sources: Sources) {
    REPLACED.set(Some(sources));
}

/// Milliseconds since 1970 by this machine's clock.
pub fn wall_clock() -> StampedTime {
    if let Some(sources) = REPLACED.get() {
        return (sources.wall_clock)();
    }
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    StampedTime(since.as_millis() as u64)
}

/// A random number from the operating system.
pub fn random_u64() -> u64 {
    if let Some(sources) = REPLACED.get() {
        return (sources.random_u64)();
    }
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness; without it no identity is safe");
    u64::from_le_bytes(bytes)
}

/// A random number from the operating system.
pub fn random_u128() -> u128 {
    u128::from(random_u64()) << 64 | u128::from(random_u64())
}
