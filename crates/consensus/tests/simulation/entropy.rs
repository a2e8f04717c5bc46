//! Randomness from a seed, also for the libraries that ask the operating system for theirs.
//!
//! Defining `getrandom` here takes the place of libc's in this test's binary: std seeds its hash maps with it, the `rand`
//! generator that openraft times elections with is seeded by it. Both are per thread, and so is this.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0x5eed) };
}

/// Starts this thread's sequence anew.
pub fn seed(seed: u64) {
    STATE.set(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d);
}

/// The next number of this thread's sequence (SplitMix64).
pub fn next() -> u64 {
    STATE.set(STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    let mut mixed = STATE.get();
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A generator of its own for one part of a run, so that what one part draws does not shift the others.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Dice {
        Dice(next())
    }

    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % below
    }
}

/// # Safety
/// As libc's: `buffer` must be valid for writes of `length` bytes.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    for offset in 0..length {
        // SAFETY: the caller promises `length` writable bytes at `buffer`.
        unsafe { buffer.add(offset).write(next() as u8) };
    }
    length as isize
}
