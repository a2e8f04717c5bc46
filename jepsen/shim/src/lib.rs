//! Stands in front of `fsync` and `fdatasync` of a process it is preloaded into (`LD_PRELOAD`), and makes them slow, hang,
//! fail or lie, as a page of shared memory says at each call.
//!
//! ```text
//! page   | mode 8 | microseconds 8 | calls 8 | harmed 8 |     a file named by QUORATE_SHIM_PAGE, mapped shared
//! mode     0 none   1 slow   2 hang   3 all fail   4 the next one fails   5 lie
//! ```
//! The runner writes the first two and reads the others. A process without the variable is left alone. Static binaries
//! escape: the product is linked to the system's libc.

// Taking the place of two functions of libc, and mapping a page, is what this library is.
#![allow(unsafe_code)]

use libc::{c_int, c_void};
use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const SLOW: u64 = 1;
const HANG: u64 = 2;
const FAIL: u64 = 3;
const FAIL_ONCE: u64 = 4;
const LIE: u64 = 5;
/// How often a call that hangs looks whether it may go on.
const LOOK_AGAIN_US: u64 = 5_000;

/// The page, as the runner lays it out.
#[repr(C)]
struct Page {
    mode: AtomicU64,
    microseconds: AtomicU64,
    calls: AtomicU64,
    harmed: AtomicU64,
}

type Sync = unsafe extern "C" fn(c_int) -> c_int;

/// Takes the place of libc's.
///
/// # Safety
/// As libc's: any number may be passed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    static REAL: OnceLock<Option<Sync>> = OnceLock::new();
    call(fd, *REAL.get_or_init(|| real(c"fsync")))
}

/// Takes the place of libc's.
///
/// # Safety
/// As libc's: any number may be passed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    static REAL: OnceLock<Option<Sync>> = OnceLock::new();
    call(fd, *REAL.get_or_init(|| real(c"fdatasync")))
}

fn call(fd: c_int, real: Option<Sync>) -> c_int {
    let (Some(real), Some(page)) = (real, page()) else {
        return fail();
    };
    page.calls.fetch_add(1, Ordering::Relaxed);
    match page.mode.load(Ordering::SeqCst) {
        SLOW => {
            page.harmed.fetch_add(1, Ordering::Relaxed);
            sleep(page.microseconds.load(Ordering::SeqCst));
        }
        HANG => {
            page.harmed.fetch_add(1, Ordering::Relaxed);
            while page.mode.load(Ordering::SeqCst) == HANG {
                sleep(LOOK_AGAIN_US);
            }
        }
        FAIL => {
            page.harmed.fetch_add(1, Ordering::Relaxed);
            return fail();
        }
        // Whoever takes the mode back is the one that fails.
        FAIL_ONCE if page.mode.compare_exchange(FAIL_ONCE, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() => {
            page.harmed.fetch_add(1, Ordering::Relaxed);
            return fail();
        }
        LIE => {
            page.harmed.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        _ => {}
    }
    // SAFETY: `real` is the function of libc of the same name, which takes any number.
    unsafe { real(fd) }
}

/// What a disk says that cannot do it.
fn fail() -> c_int {
    // SAFETY: the location of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = libc::EIO };
    -1
}

/// Not `std::thread::sleep`: a clock that is moved must not make a slow disk fast. The system call itself, past any other
/// preload.
fn sleep(microseconds: u64) {
    let wait = libc::timespec {
        tv_sec: (microseconds / 1_000_000) as libc::time_t,
        tv_nsec: (microseconds % 1_000_000 * 1_000) as libc::c_long,
    };
    let none = std::ptr::null::<c_void>();
    // SAFETY: no sets and no mask are passed, and `wait` lives until the call returns.
    unsafe { libc::syscall(libc::SYS_pselect6, 0, none, none, none, &raw const wait, none) };
}

/// The next function of that name after this library's.
fn real(name: &CStr) -> Option<Sync> {
    // SAFETY: the name ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    // SAFETY: libc's `fsync` and `fdatasync` have this type.
    (!found.is_null()).then(|| unsafe { std::mem::transmute::<*mut c_void, Sync>(found) })
}

/// The page; a process for which there is none gets one of its own that asks for nothing.
fn page() -> Option<&'static Page> {
    static PAGE: OnceLock<Option<&'static Page>> = OnceLock::new();
    *PAGE.get_or_init(|| match std::env::var_os("QUORATE_SHIM_PAGE") {
        None => Some(Box::leak(Box::new(Page {
            mode: AtomicU64::new(0),
            microseconds: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            harmed: AtomicU64::new(0),
        }))),
        Some(path) => map(&path),
    })
}

/// A process that was to be harmed and has no page fails all its syncs: that is noticed, a fault that is not there is not.
fn map(path: &std::ffi::OsStr) -> Option<&'static Page> {
    use std::os::fd::AsRawFd;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).ok()?;
    let flags = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, anywhere, of a file the runner made one page long.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Page>(),
            flags,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    // SAFETY: it is aligned to a page, never unmapped, and only read and written as atomics.
    (mapped != libc::MAP_FAILED).then(|| unsafe { &*mapped.cast::<Page>() })
}
