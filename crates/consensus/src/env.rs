//! The only place where this crate asks for the wall clock or for randomness, so that a simulation can replace both.

use quorate_model::StampedTime;

/// Milliseconds since 1970 by this machine's clock.
pub fn wall_clock() -> StampedTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    StampedTime(since.as_millis() as u64)
}

/// A random number from the operating system.
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness; without it no identity is safe");
    u64::from_le_bytes(bytes)
}

/// A random number from the operating system.
pub fn random_u128() -> u128 {
    u128::from(random_u64()) << 64 | u128::from(random_u64())
}
