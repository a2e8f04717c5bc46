//! `clock_gettime`, `gettimeofday` and `time`.

use crate::page::{Clocks, page};
use libc::{c_int, c_void, clockid_t, time_t, timespec, timeval};
use std::sync::atomic::{AtomicI64, Ordering};

const SECOND_NS: i64 = 1_000_000_000;
const RIGHT: i64 = 1_000;
/// The latest that the monotonic clock has shown: it may be wrong, and still never goes back.
static SHOWN: AtomicI64 = AtomicI64::new(0);

/// Takes the place of libc's.
///
/// # Safety
/// As libc's: `into` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, into: *mut timespec) -> c_int {
    // SAFETY: the caller's promise.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) as c_int };
    let wall = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => true,
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_BOOTTIME => false,
        _ => return done,
    };
    let wrong_by = wrong_by_ns(wall);
    if done == 0 && (wrong_by != 0 || clock == libc::CLOCK_MONOTONIC) {
        // SAFETY: the kernel has just written there.
        let time = unsafe { &mut *into };
        let mut shown = time.tv_sec * SECOND_NS + time.tv_nsec + wrong_by;
        if clock == libc::CLOCK_MONOTONIC {
            // What a thread has read before it lost the processor, or under the setting of before, may be behind what others were shown.
            shown = SHOWN.fetch_max(shown, Ordering::Relaxed).max(shown);
        }
        time.tv_sec = shown.div_euclid(SECOND_NS);
        time.tv_nsec = shown.rem_euclid(SECOND_NS);
    }
    done
}

/// Takes the place of libc's.
///
/// # Safety
/// As libc's: `into` must be null or valid for a write; the second argument is not used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(into: *mut timeval, _: *mut c_void) -> c_int {
    let now = wall_now();
    if !into.is_null() {
        // SAFETY: the caller's promise.
        unsafe {
            (*into).tv_sec = now.tv_sec;
            (*into).tv_usec = now.tv_nsec / 1_000;
        }
    }
    0
}

/// Takes the place of libc's.
///
/// # Safety
/// As libc's: `into` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(into: *mut time_t) -> time_t {
    let now = wall_now().tv_sec;
    if !into.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *into = now };
    }
    now
}

fn wall_now() -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it lives until the call returns.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now
}

/// What a clock shows beyond the truth.
fn wrong_by_ns(wall: bool) -> i64 {
    let Some(page) = page() else { return 0 };
    let setting = &page.settings[page.setting.load(Ordering::Acquire) as usize % 2];
    let offset = match wall {
        true => setting.wall_offset_ns.load(Ordering::Relaxed),
        false => setting.monotonic_offset_ns.load(Ordering::Relaxed),
    };
    let moves = wall || setting.moves_monotonic.load(Ordering::Relaxed) != 0;
    let wrong_by = offset + if moves { gained_ns(setting) } else { 0 };
    if wrong_by != 0 {
        page.wrong_readings.fetch_add(1, Ordering::Relaxed);
    }
    wrong_by
}

/// What the rate has made of the time since it holds.
fn gained_ns(setting: &Clocks) -> i64 {
    let rate = setting.rate_permille.load(Ordering::Relaxed);
    if rate == 0 || rate == RIGHT {
        return 0;
    }
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it lives until the call returns.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now) };
    let since = now.tv_sec * SECOND_NS + now.tv_nsec - setting.since_ns.load(Ordering::Relaxed);
    // Rounded down to the nanosecond, and nothing before it began: in larger steps a slow clock would tick back.
    (i128::from(since.max(0)) * i128::from(rate - RIGHT)).div_euclid(i128::from(RIGHT)) as i64
}
