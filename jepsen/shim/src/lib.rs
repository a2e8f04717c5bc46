//! Stands in front of a few functions of libc in a process it is preloaded into (`LD_PRELOAD`): syncs that are slow, hang, fail
//! or lie, and clocks that are wrong, as a page of shared memory says at each call.
//!
//! ```text
//! page   a file named by QUORATE_SHIM_PAGE, mapped shared; numbers of eight bytes
//!    0   what is done to syncs: 0 nothing  1 slow  2 hang  3 all fail  4 the next one fails  5 lie
//!    8   microseconds by which a sync is slow
//!   16   syncs so far                              24   syncs so far to which something was done
//!   32   which of the two settings of clocks holds 40   clock readings so far that were wrong
//!   48   first setting                             88   second setting
//! setting of clocks: offset of the wall clock, offset of the monotonic clock, both in nanoseconds; the monotonic time since
//!   which the rate holds; the rate in thousandths; whether the rate is also the monotonic clock's
//! ```
//! The runner writes what is set and reads what is counted; a setting of clocks is written where it does not hold and then
//! made the one that does. A process without the variable is left alone. Static binaries escape: the product is linked to
//! the system's libc.
//!
//! Clocks are asked while an allocator starts: nothing on their path may allocate or wait. (libfaketime does, and the
//! product, whose allocator is jemalloc, never comes up under it.) What sleeps until an absolute time of the monotonic clock
//! knows nothing of its offset, so that offset must stay small.

// Taking the place of functions of libc, and mapping a page, is what this library is.
#![allow(unsafe_code)]

mod clocks;
mod page;
mod syncs;
