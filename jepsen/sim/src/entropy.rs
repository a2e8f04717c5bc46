//! Randomness and time from the seed, also for the libraries that ask the operating system for theirs.
//!
//! Defining `getrandom` and `clock_gettime` here takes the place of libc's in every binary this crate is linked into: std
//! seeds its hash maps with the one, so do the generators openraft and the client draw from; HTTP/2 measures the age of
//! streams by the other. Both answer from the seed on threads that a simulation runs on, and from the system on all others.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    /// `None` on threads that simulate nothing.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    /// Time since the simulation began, as of its current step.
    static NOW: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Starts this thread's sequence, and stops its clock: from now on it moves by [`set_now`] alone.
pub fn seed(seed: u64) {
    STATE.set(Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d));
    NOW.set(Some(Duration::ZERO));
}

/// Moves this thread's clock.
pub fn set_now(elapsed: Duration) {
    NOW.set(Some(elapsed));
}

/// The next number of this thread's sequence (SplitMix64).
pub fn next() -> u64 {
    let state = STATE.get().unwrap_or(0x5eed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(Some(state));
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A generator of its own for one part of a run, so that what one part draws does not shift the others.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Dice {
        Dice(next())
    }

    /// A number below `below`, which is not 0.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % below
    }

    /// True `percent` times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

impl Default for Dice {
    fn default() -> Dice {
        Dice::new()
    }
}

/// # Safety
/// As libc's: `buffer` must be valid for writes of `length` bytes.
#[allow(unsafe_code, reason = "it takes the place of a function of libc")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if STATE.get().is_none() {
        // SAFETY: the caller promises `length` writable bytes at `buffer`.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
        return system_random(bytes);
    }
    for offset in 0..length {
        // SAFETY: the caller promises `length` writable bytes at `buffer`.
        unsafe { buffer.add(offset).write(next() as u8) };
    }
    length as isize
}

fn system_random(bytes: &mut [u8]) -> isize {
    match rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(read) => read as isize,
        Err(_) => -1,
    }
}

/// As libc has it on 64-bit Linux.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// So that no clock ever shows zero.
const BOOTED_SECONDS: i64 = 1_000_000;

/// # Safety
/// As libc's: `time` must be valid for a write.
#[allow(unsafe_code, reason = "it takes the place of a function of libc")]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: i32, time: *mut Timespec) -> i32 {
    let told = match NOW.get() {
        Some(now) => Timespec {
            seconds: BOOTED_SECONDS + now.as_secs() as i64,
            nanoseconds: i64::from(now.subsec_nanos()),
        },
        None => {
            let system = match clock {
                0 => rustix::time::clock_gettime(rustix::time::ClockId::Realtime),
                _ => rustix::time::clock_gettime(rustix::time::ClockId::Monotonic),
            };
            Timespec {
                seconds: system.tv_sec,
                nanoseconds: system.tv_nsec,
            }
        }
    };
    // SAFETY: the caller promises a place to write to.
    unsafe { time.write(told) };
    0
}
