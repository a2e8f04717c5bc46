//! The page of shared memory.

use libc::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering};

/// As the runner lays it out.
#[repr(C)]
pub struct Page {
    pub mode: AtomicU64,
    pub microseconds: AtomicU64,
    pub syncs: AtomicU64,
    pub harmed: AtomicU64,
    pub setting: AtomicU64,
    pub wrong_readings: AtomicU64,
    pub settings: [Clocks; 2],
    pub failed_logs: AtomicU64,
}

/// One setting of clocks.
#[repr(C)]
pub struct Clocks {
    pub wall_offset_ns: AtomicI64,
    pub monotonic_offset_ns: AtomicI64,
    pub since_ns: AtomicI64,
    /// 0, as in a new page, is right: 1000.
    pub rate_permille: AtomicI64,
    pub moves_monotonic: AtomicI64,
}

impl Clocks {
    const fn right() -> Clocks {
        Clocks {
            wall_offset_ns: AtomicI64::new(0),
            monotonic_offset_ns: AtomicI64::new(0),
            since_ns: AtomicI64::new(0),
            rate_permille: AtomicI64::new(0),
            moves_monotonic: AtomicI64::new(0),
        }
    }
}

/// The page of a process that is to be left alone.
static NO_HARM: Page = Page {
    mode: AtomicU64::new(0),
    microseconds: AtomicU64::new(0),
    syncs: AtomicU64::new(0),
    harmed: AtomicU64::new(0),
    setting: AtomicU64::new(0),
    wrong_readings: AtomicU64::new(0),
    settings: [Clocks::right(), Clocks::right()],
    failed_logs: AtomicU64::new(0),
};

static PAGE: AtomicPtr<Page> = AtomicPtr::new(null_mut());

/// The page; `None` when there should be one and cannot.
pub fn page() -> Option<&'static Page> {
    let known = PAGE.load(Ordering::Acquire);
    let found = if known.is_null() { find()? } else { known };
    // Two threads that come first both map it: one mapping is as good as the other.
    PAGE.store(found, Ordering::Release);
    // SAFETY: it is `NO_HARM` or a mapping that is never undone, and only read and written as atomics.
    Some(unsafe { &*found })
}

fn find() -> Option<*mut Page> {
    // SAFETY: nobody changes the environment of a process this early; the name ends with a zero.
    let path = unsafe { libc::getenv(c"QUORATE_SHIM_PAGE".as_ptr()) };
    if path.is_null() {
        return Some((&raw const NO_HARM).cast_mut());
    }
    // SAFETY: what `getenv` gives ends with a zero.
    let fd: c_int = unsafe { libc::open(path, libc::O_RDWR | libc::O_CLOEXEC) };
    if fd < 0 {
        return None;
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, anywhere, of a file the runner made one page long.
    let mapped: *mut c_void = unsafe { libc::mmap(null_mut(), size_of::<Page>(), access, libc::MAP_SHARED, fd, 0) };
    // SAFETY: ours, and no longer needed.
    unsafe { libc::close(fd) };
    (mapped != libc::MAP_FAILED).then(|| mapped.cast())
}
