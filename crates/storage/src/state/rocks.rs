//! The state in RocksDB: one column family, no write-ahead log, generations that a received checkpoint replaces.
//!
//! ```text
//! state/ACTIVE        the generation in use, replaced by rename; see `active.rs`
//! state/gen-<n>/      a RocksDB directory
//! state/checkpoints/  images for slow peers; removed at start
//! state/incoming/     files of a checkpoint being received; kept between attempts
//! state/gen-<n>/DAMAGED  why it must not be used any more
//! ```

use super::active::{self, Active, Stage, generation_dir};
use super::checkpoint::Checkpoint;
use super::damage::{Damage, damaged};
use super::manifest;
use super::rocks_view::RocksView;
use super::{RaftRows, StateEngine, StateSizes, raft_keys};
use crate::codec::{self, LogId, StoredMembership};
use bytes::Bytes;
use quorate_model::mutant;
use quorate_state_machine::{Reader, keys};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, Env, FlushOptions, Options, ReadOptions, ReadTier,
    SliceTransform, WriteBatch, WriteOptions,
};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// Memtables that exist at once; writes wait when all are full.
const MEMTABLES: i32 = 32;

/// Full memtables that make one file. Small skip lists stay in the processor's caches, which is most of what an insert costs;
/// flushed together, they make the files, and forget the overwritten rows, of one large list. A write of 64 clients took 8 to 12 %
/// less of the processor with 16 of 2 MiB than with 4 of 8 MiB, and nothing less with 32 of 1 MiB; point reads and cursors ask each.
const FLUSHED_TOGETHER: i32 = 16;

/// Flushed files that are merged into the level below, which each time is written anew as a whole, for it has names from everywhere: with 4,
/// RocksDB's default, a write of 64 clients spent a tenth of its processor on that after two minutes of load and a sixth after ten,
/// with 12 half as much. A read asks the filter of each.
const FILES_MERGED_TOGETHER: i32 = 12;
/// Flushed files at which RocksDB slows writes down, and at which it stops them: a merge takes as long as some flushes, and waits for
/// everything else that wants the processor.
const FILES_THAT_SLOW_WRITES: i32 = 32;
const FILES_THAT_STOP_WRITES: i32 = 48;

/// Memory the state may use.
#[derive(Clone, Debug)]
pub struct RocksStateOptions {
    pub block_cache_bytes: usize,
    /// One memtable, which may be larger by one group of entries; up to [`MEMTABLES`] exist at once, [`FLUSHED_TOGETHER`] are flushed
    /// together.
    pub memtable_bytes: usize,
}

impl Default for RocksStateOptions {
    fn default() -> RocksStateOptions {
        RocksStateOptions {
            block_cache_bytes: 64 << 20,
            memtable_bytes: 2 << 20,
        }
    }
}

/// The state of one peer.
pub struct RocksState {
    dir: PathBuf,
    options: RocksStateOptions,
    cache: Cache,
    active: RwLock<Arc<Generation>>,
    /// The state as it was last read, while nothing has been written since.
    view: Mutex<Option<Arc<RocksView>>>,
    next_checkpoint: AtomicU64,
}

/// One RocksDB directory; removed when it was replaced and its last reader is gone.
pub(super) struct Generation {
    db: Option<DB>,
    number: u64,
    dir: PathBuf,
    replaced: AtomicBool,
    pub(super) damage: Damage,
}

impl Generation {
    pub(super) fn db(&self) -> &DB {
        self.db.as_ref().expect("the handle is taken only in drop")
    }

    /// A defect: the answers remembered for repeated requests are not part of a checkpoint.
    fn forget_slots(&self) -> io::Result<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let mut batch = WriteBatch::default();
        batch.delete_range([keys::space::SLOT], [keys::space::SLOT + 1]);
        self.db().write_opt(batch, &options).map_err(to_io)
    }
}

/// What a row costs in a batch beside its key and value, at most.
const ROW_OVERHEAD_BYTES: usize = 16;
/// Header of a batch and Raft's own rows; a membership may take more and makes the batch grow.
const RAFT_ROWS_BYTES: usize = 128;

/// RocksDB handles open in this process.
static OPEN_HANDLES: AtomicU64 = AtomicU64::new(0);

/// Waits until every RocksDB handle of this process is closed, at most `patience`; says whether all are.
///
/// The last holder may be a thread that is just ending. A process that exits meanwhile destroys RocksDB's global locks
/// under it and aborts, after everything was stopped in order.
pub fn wait_closed(patience: std::time::Duration) -> bool {
    let deadline = std::time::Instant::now() + patience;
    while OPEN_HANDLES.load(Ordering::Acquire) > 0 {
        if std::time::Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    true
}

impl Drop for Generation {
    fn drop(&mut self) {
        drop(self.db.take());
        OPEN_HANDLES.fetch_sub(1, Ordering::AcqRel);
        if self.replaced.load(Ordering::Acquire) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn to_io(error: rocksdb::Error) -> io::Error {
    io::Error::other(format!("state store: {error}"))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

impl RocksState {
    /// Opens the generation in use under `dir`, or begins an empty one where there has never been a state. Only once it is open are
    /// other generations removed: a state that is refused as damaged stays as it is.
    pub fn open(dir: &Path, options: RocksStateOptions) -> io::Result<RocksState> {
        fs::create_dir_all(dir)?;
        let active = match Active::read(dir)? {
            Some(active) => active,
            None => {
                Active::FIRST.write(dir)?;
                Active::FIRST
            }
        };
        // They hold tables that are obsolete, which a disk that is full has no room for.
        let _ = fs::remove_dir_all(dir.join("checkpoints"));
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let path = generation_dir(dir, active.number);
        let generation = match active.stage {
            Stage::Begins => begin_generation(dir, active.number, (&options, &cache))?,
            Stage::Made | Stage::MadeByOlder => {
                if let Some(why) = Damage::marked(&path)? {
                    return Err(damaged(&path, &format!("was found to be wrong, as its file DAMAGED says ({why})")));
                }
                open_generation(dir, active.number, (&options, &cache))?
            }
        };
        if active.stage != Stage::Made {
            Active::made(active.number).write(dir)?;
        }
        for other in active::generations(dir)? {
            if other != path {
                fs::remove_dir_all(other)?;
            }
        }
        fs::create_dir_all(dir.join("checkpoints"))?;
        sync_dir(dir)?;
        Ok(RocksState {
            dir: dir.to_owned(),
            options,
            cache,
            active: RwLock::new(Arc::new(generation)),
            view: Mutex::new(None),
            next_checkpoint: AtomicU64::new(1),
        })
    }

    /// What reads see: one view for all of them until something is written. To make one for each read would take RocksDB's
    /// central lock twice a read.
    fn view(&self) -> Arc<RocksView> {
        let mut view = self.view.lock().expect("nobody panics while holding this lock");
        view.get_or_insert_with(|| Arc::new(RocksView::of(self.current()))).clone()
    }

    /// Lets the next read see what has been written.
    fn forget_view(&self) {
        *self.view.lock().expect("nobody panics while holding this lock") = None;
    }

    /// Damage is an error of its own: whoever opens a peer's state reads Raft's rows first.
    fn failed(&self, error: rocksdb::Error) -> io::Error {
        self.current().damage.note(&error);
        match error.kind() {
            rocksdb::ErrorKind::Corruption => io::Error::new(io::ErrorKind::InvalidData, format!("state store: {error}")),
            _ => to_io(error),
        }
    }

    /// Whether there has been a state in `dir`.
    pub fn exists(dir: &Path) -> bool {
        dir.join(active::NAME).exists() || active::generations(dir).is_ok_and(|found| !found.is_empty())
    }

    /// Raft's rows of the state in `dir`, which nobody has open; of one that is marked as damaged, too. Changes nothing there, and
    /// finds no rows where there has never been a state.
    pub fn rows_at_rest(dir: &Path) -> io::Result<RaftRows> {
        let number = match Active::read(dir)? {
            Some(active) if active.stage != Stage::Begins => active.number,
            _ => return Ok(RaftRows::default()),
        };
        let path = generation_dir(dir, number);
        refuse_unreadable(&path)?;
        let options = RocksStateOptions::default();
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let db = DB::open_for_read_only(&db_options(&options, &cache), &path, false).map_err(|error| cannot_open(&path, &error))?;
        read_raft_rows(&db, &ReadOptions::default(), to_io)
    }

    /// Takes away the mark that says that the state in `dir` is damaged: for who has no other one and goes on with what can be read.
    pub fn forget_damage(dir: &Path) -> io::Result<()> {
        match Active::read(dir)? {
            Some(active) => Damage::forget(&generation_dir(dir, active.number)),
            None => Ok(()),
        }
    }

    fn current(&self) -> Arc<Generation> {
        self.active.read().expect("nobody panics while holding this lock").clone()
    }
}

/// Whether a state that does not open is damaged, rather than in use, out of reach or without room: another one has to take
/// its place.
pub fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// RocksDB says that a file is missing in one of two ways: an argument if it is the one that names the others.
fn cannot_open(path: &Path, error: &rocksdb::Error) -> io::Error {
    let missing = error.kind() == rocksdb::ErrorKind::IOError && error.as_ref().contains("No such file");
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument => io::ErrorKind::InvalidData,
        _ if missing => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("the state in {} cannot be opened: {error}", path.display()))
}

fn db_options(options: &RocksStateOptions, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In pieces: the cache is cut into shards of about 1 MiB, so the whole index or filter of a large file fits into none, and
    // every read of a row would read and unpack it anew.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(4 << 10);
    table.set_pin_top_level_index_and_filter(true);
    table.set_format_version(5);
    let mut db = Options::default();
    db.set_block_based_table_factory(&table);
    db.set_prefix_extractor(SliceTransform::create("quorate.key-without-revision", keys::filter_prefix, None));
    db.set_memtable_prefix_bloom_ratio(0.05);
    // A name that is written often is in every memtable: without this, a read of one of its old versions looks into all of them.
    db.set_memtable_whole_key_filtering(true);
    db.set_compression_type(DBCompressionType::Lz4);
    db.set_write_buffer_size(options.memtable_bytes);
    db.set_min_write_buffer_number_to_merge(FLUSHED_TOGETHER);
    db.set_max_write_buffer_number(MEMTABLES);
    db.set_level_zero_file_num_compaction_trigger(FILES_MERGED_TOGETHER);
    db.set_level_zero_slowdown_writes_trigger(FILES_THAT_SLOW_WRITES);
    db.set_level_zero_stop_writes_trigger(FILES_THAT_STOP_WRITES);
    db.set_max_background_jobs(2);
    // Compaction can wait for everything else. A flush cannot: the memtables behind it would fill up and stop all writes.
    if let Ok(mut env) = Env::new() {
        env.lower_thread_pool_cpu_priority();
        db.set_env(&env);
    }
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(1 << 20);
    db.set_bytes_per_sync(1 << 20);
    db
}

/// An empty generation. What is there already holds nothing: nobody has been told that it was made.
fn begin_generation(dir: &Path, number: u64, (options, cache): (&RocksStateOptions, &Cache)) -> io::Result<Generation> {
    let path = generation_dir(dir, number);
    if path.try_exists()? {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir(&path)?;
    let mut db_options = db_options(options, cache);
    db_options.create_if_missing(true);
    let generation = open_db(path, number, &db_options)?;
    sync_dir(dir)?;
    Ok(generation)
}

/// A generation that was made. RocksDB would make an empty one where none is.
fn open_generation(dir: &Path, number: u64, (options, cache): (&RocksStateOptions, &Cache)) -> io::Result<Generation> {
    let path = generation_dir(dir, number);
    refuse_unreadable(&path)?;
    open_db(path, number, &db_options(options, cache))
}

fn refuse_unreadable(path: &Path) -> io::Result<()> {
    match path.try_exists()? {
        true => manifest::check(path),
        false => Err(damaged(path, "is the generation in use and is not there")),
    }
}

fn open_db(path: PathBuf, number: u64, db_options: &Options) -> io::Result<Generation> {
    let db = DB::open(db_options, &path).map_err(|error| cannot_open(&path, &error))?;
    OPEN_HANDLES.fetch_add(1, Ordering::AcqRel);
    Ok(Generation {
        db: Some(db),
        number,
        damage: Damage::new(&path),
        dir: path,
        replaced: AtomicBool::new(false),
    })
}

fn read_raft_rows(db: &DB, options: &ReadOptions, failed: impl Fn(rocksdb::Error) -> io::Error) -> io::Result<RaftRows> {
    let get = |key| db.get_opt(key, options).map_err(&failed);
    let bad = |error: codec::CodecError| io::Error::other(format!("state store: a row of Raft's own is damaged: {error}"));
    let mut rows = RaftRows::default();
    if let Some(value) = get(raft_keys::APPLIED)? {
        rows.applied = Some(codec::decode_log_id(&value).map_err(bad)?);
    }
    if let Some(value) = get(raft_keys::MEMBERSHIP)? {
        rows.membership = codec::decode_stored_membership(&value).map_err(bad)?;
    }
    Ok(rows)
}

impl StateEngine for RocksState {
    fn read(&self, read: &mut dyn FnMut(&dyn Reader)) {
        self.view().read(|reader| read(reader));
    }

    fn commit(&self, writes: &[(Bytes, Option<Bytes>)], applied: LogId, membership: Option<&StoredMembership>) -> io::Result<()> {
        let bytes: usize = writes
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + ROW_OVERHEAD_BYTES)
            .sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes + RAFT_ROWS_BYTES);
        for (key, value) in writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch.put(raft_keys::APPLIED, codec::encode_log_id(&applied));
        if let Some(membership) = membership {
            batch.put(raft_keys::MEMBERSHIP, codec::encode_stored_membership(membership));
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.current().db().write_opt(batch, &options).map_err(|error| self.failed(error))?;
        self.forget_view();
        Ok(())
    }

    fn raft_rows(&self) -> io::Result<RaftRows> {
        read_raft_rows(self.current().db(), &ReadOptions::default(), |error| self.failed(error))
    }

    fn durable_applied(&self) -> io::Result<Option<LogId>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        Ok(read_raft_rows(self.current().db(), &options, |error| self.failed(error))?.applied)
    }

    fn flush(&self) -> io::Result<()> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.current().db().flush_opt(&options).map_err(|error| self.failed(error))
    }

    fn checkpoint(&self) -> io::Result<Arc<Checkpoint>> {
        let generation = self.current();
        let dir = self
            .dir
            .join("checkpoints")
            .join(self.next_checkpoint.fetch_add(1, Ordering::Relaxed).to_string());
        let _ = fs::remove_dir_all(&dir);
        // Flushes first: without a write-ahead log that is what makes the image complete and durable.
        rocksdb::checkpoint::Checkpoint::new(generation.db())
            .and_then(|maker| maker.create_checkpoint(&dir))
            .map_err(to_io)?;
        let image = DB::open_for_read_only(&db_options(&self.options, &self.cache), &dir, false).map_err(to_io)?;
        let mut raft = read_raft_rows(&image, &ReadOptions::default(), to_io)?;
        drop(image);
        if mutant!("checkpoint-index-remembered") {
            // What the state is at now, which the image need not be.
            raft = self.raft_rows()?;
        }
        Ok(Arc::new(Checkpoint::new(dir, raft)))
    }

    fn incoming_dir(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    fn install(&self, expected: &RaftRows) -> io::Result<()> {
        let number = self.current().number + 1;
        let (incoming, target) = (self.incoming_dir(), generation_dir(&self.dir, number));
        if mutant!("install-not-atomic") {
            Active::made(number).write(&self.dir)?;
        }
        for entry in fs::read_dir(&incoming)? {
            File::open(entry?.path())?.sync_all()?;
        }
        sync_dir(&incoming)?;
        let _ = fs::remove_dir_all(&target);
        fs::rename(&incoming, &target)?;
        sync_dir(&self.dir)?;
        let generation = open_generation(&self.dir, number, (&self.options, &self.cache))?;
        let found = read_raft_rows(generation.db(), &ReadOptions::default(), to_io)?;
        if mutant!("sessions-missing-from-checkpoint") {
            generation.forget_slots()?;
        }
        if &found != expected && !mutant!("checkpoint-index-remembered") {
            generation.replaced.store(true, Ordering::Release);
            return Err(io::Error::other(format!(
                "the received checkpoint holds {found:?}, promised was {expected:?}"
            )));
        }
        fail::fail_point!("install_named");
        Active::made(number).write(&self.dir)?;
        fail::fail_point!("install_activated");
        let old = std::mem::replace(
            &mut *self.active.write().expect("nobody panics while holding this lock"),
            Arc::new(generation),
        );
        self.forget_view();
        old.replaced.store(true, Ordering::Release);
        Ok(())
    }

    fn sizes(&self) -> StateSizes {
        let generation = self.current();
        let property = |name: &str| generation.db().property_int_value(name).ok().flatten().unwrap_or(0);
        let level0 = generation.db().property_value("rocksdb.num-files-at-level0").ok().flatten();
        StateSizes {
            disk_bytes: property("rocksdb.total-sst-files-size"),
            memtable_bytes: property("rocksdb.cur-size-all-mem-tables"),
            rows_estimate: property("rocksdb.estimate-num-keys"),
            level0_files: level0.and_then(|files| files.parse().ok()).unwrap_or(0),
            compaction_pending_bytes: property("rocksdb.estimate-pending-compaction-bytes"),
            writes_held: property("rocksdb.is-write-stopped") + property("rocksdb.actual-delayed-write-rate") > 0,
        }
    }

    fn damage(&self) -> Option<String> {
        self.active.read().expect("nobody panics while holding this lock").damage.met()
    }

    fn mark_damaged(&self, what: &str) {
        self.current().damage.mark(what);
    }
}
