//! Every bound of this crate, with its reason.

use std::time::Duration;
use tokio::sync::Semaphore;

/// Files being copied at once by this process beside the first of each task: bounds memory, open files and requests under way.
pub const FILES_AT_ONCE: usize = 16;
/// One read or write. Larger ones gain nothing on local disks.
pub const BUFFER_BYTES: usize = 1 << 20;
/// Objects up to this size go up in one request; S3 allows parts from 5 MiB on.
pub const MULTIPART_THRESHOLD_BYTES: usize = 16 << 20;
/// The smallest part we send.
pub const PART_BYTES: usize = 8 << 20;
/// Parts of up to [`MULTIPART_THRESHOLD_BYTES`] on their way to S3 at once in this process: at most 256 MiB.
pub const PARTS_AT_ONCE: usize = 16;
/// MiB of larger parts, which objects from 140 GiB on need, in this process: those being filled and those on their way. Two of the largest fit.
pub const LARGE_PARTS_MIB: usize = 1_200;
/// Parts on their way for one file, so that one large file is not bound by one connection and does not starve the others either.
pub const PARTS_AT_ONCE_PER_FILE: usize = 4;
/// S3 takes 10,000 parts per object; some are left for sizes that were announced too low.
pub const PARTS_PER_OBJECT: u64 = 9_000;
/// The largest object S3 takes.
pub const OBJECT_BYTES: u64 = 5 << 40;
/// The largest object S3 copies in one request.
pub const COPY_IN_ONE_BYTES: u64 = 5 << 30;
/// A piece of a server-side copy by parts.
pub const COPY_PART_BYTES: u64 = 1 << 30;
/// A path within a vault. S3 allows 1,024 bytes for the whole key, of which the prefix takes some.
pub const PATH_BYTES: usize = 900;
/// Prefix of all keys of an S3 vault.
pub const PREFIX_BYTES: usize = 100;
/// Small objects written at once by one call: each holds a thread or a request that mostly waits.
pub const SMALL_OBJECTS_AT_ONCE: usize = 8;
/// From so many files on, one `syncfs` is faster than a sync of each.
pub const SYNC_EACH_UP_TO_FILES: usize = 64;
/// A whole key, as S3 allows it.
pub const KEY_BYTES: usize = 1_024;
/// Objects listed before they are deleted: S3's stores list as many in a page.
pub const LISTED_AT_ONCE: usize = 1_000;
/// Deletions on their way to S3 at once for one call, each a request of its own: so many hide what a request takes, and are far below
/// the thousands a second from which stores ask for a slower pace.
pub const DELETES_AT_ONCE: usize = 20;
/// Entries of one directory of a local vault that are read before they are removed: a few MiB of names, and a directory with a million files
/// is read a hundred times.
pub const DELETE_BATCH_ENTRIES: usize = 10_000;
/// A store's reply that is no object's content: a page of 1,000 keys as long as keys may be takes 7 MiB, if every letter is escaped.
pub const REPLY_BYTES: usize = 16 << 20;
/// What a store gives to go on with a list or an upload by: some hundred bytes. In an address, which has 64 KiB at most, each may take three.
pub const TOKEN_BYTES: usize = 8 << 10;
/// The largest marker of an S3 vault; ours have less than fifty.
pub const MARKER_BYTES: u64 = 1_000;
/// Markers of local vaults that this process reads or writes at once. Each on a mount that hangs holds a thread until the mount is back,
/// whoever has given up waiting, and of threads there are some hundreds for all that may wait. Where another mount took its place, and all
/// of these wait for the former one, the process must be started anew.
pub const LOCAL_MARKERS_AT_ONCE: usize = 16;
/// An S3 vault's marker that was right is not read again for this long.
pub const MARKER_TRUSTED: Duration = Duration::from_secs(60);
/// How often the caller hears of progress.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) static FILES: Semaphore = Semaphore::const_new(FILES_AT_ONCE);
pub(crate) static LOCAL_MARKERS: Semaphore = Semaphore::const_new(LOCAL_MARKERS_AT_ONCE);
pub(crate) static PARTS: Semaphore = Semaphore::const_new(PARTS_AT_ONCE);
pub(crate) static LARGE_PARTS: Semaphore = Semaphore::const_new(LARGE_PARTS_MIB);
