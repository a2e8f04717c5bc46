//! `fsync` and `fdatasync`.
//!
//! All that the product makes durable on a node's disk goes through these two: log, identity and state write through the page
//! cache, none with O_DIRECT, O_DSYNC or into mapped memory. RocksDB's `sync_file_range` promises nothing; the `syncfs` of a local
//! vault goes past libc, and no vault lies on a node's disk. What syncs otherwise one day escapes every fault of syncs, a lie too.

use crate::page::{Page, page};
use libc::{c_int, c_void};
use std::sync::atomic::Ordering;

const SLOW: u64 = 1;
const HANG: u64 = 2;
const FAIL: u64 = 3;
const FAIL_ONCE: u64 = 4;
const LIE: u64 = 5;
/// How often a call that hangs looks whether it may go on.
const LOOK_AGAIN_US: u64 = 5_000;

/// Takes the place of libc's.
///
/// # Safety
/// As libc's: any number may be passed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

/// Takes the place of libc's.
///
/// # Safety
/// As libc's: any number may be passed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

fn sync(fd: c_int, call: libc::c_long) -> c_int {
    // A process that was to be harmed and has no page fails: that is noticed, a fault that is not there is not.
    let Some(page) = page() else { return fail() };
    page.syncs.fetch_add(1, Ordering::Relaxed);
    let mode = page.mode.load(Ordering::SeqCst);
    // Whoever takes the mode back is the one that fails.
    let failing_one = mode == FAIL_ONCE && page.mode.compare_exchange(FAIL_ONCE, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if failing_one || matches!(mode, SLOW | HANG | FAIL | LIE) {
        page.harmed.fetch_add(1, Ordering::Relaxed);
    }
    match mode {
        SLOW => sleep(page.microseconds.load(Ordering::SeqCst)),
        HANG => {
            while page.mode.load(Ordering::SeqCst) == HANG {
                sleep(LOOK_AGAIN_US);
            }
        }
        FAIL => return fail_at(page, fd),
        FAIL_ONCE if failing_one => return fail_at(page, fd),
        LIE => return 0,
        _ => {}
    }
    // SAFETY: a system call that takes any number.
    unsafe { libc::syscall(call, fd) as c_int }
}

/// Fails, and counts it if it is the log that fails: nothing may be acknowledged after that. Other files may be written again.
fn fail_at(page: &Page, fd: c_int) -> c_int {
    let is_log =
        std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|path| path.extension().is_some_and(|ending| ending == "segment"));
    if is_log {
        page.failed_logs.fetch_add(1, Ordering::SeqCst);
    }
    fail()
}

/// What a disk says that cannot do it.
fn fail() -> c_int {
    // SAFETY: the location of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = libc::EIO };
    -1
}

/// The system call itself, so that no clock of ours makes a slow disk fast.
fn sleep(microseconds: u64) {
    let wait = libc::timespec {
        tv_sec: (microseconds / 1_000_000) as libc::time_t,
        tv_nsec: (microseconds % 1_000_000 * 1_000) as libc::c_long,
    };
    let none = std::ptr::null::<c_void>();
    // SAFETY: no sets and no mask are passed, and `wait` lives until the call returns.
    unsafe { libc::syscall(libc::SYS_pselect6, 0, none, none, none, &raw const wait, none) };
}
