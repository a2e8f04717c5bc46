//! The cluster's level: what its commands mean.
//!
//! Peers of different builds apply one log. A build that does anything else with an entry than the builds before it does so from a
//! level on, and below it what they do. The level is a row of the state that the log itself raises, one at a time, when every
//! member's build knows the next: so an entry means the same at every peer. A build that does not know the level ends.
//!
//! | level | what it changed |
//! |---|---|
//! | 1 | nothing: what every command means in the first release |
//!
//! Until that release level 1 is what the newest commit does. Peers of such builds must not run beside each other, and are stopped in good
//! order, all of them, before a newer one is started: what one has applied the others must not apply otherwise.

use crate::command::read_record;
use crate::keys::{self, RecordTable};
use crate::record::LevelRecord;
use crate::store::{Reader, StoreError};
use bytes::Bytes;

/// The highest level that this build knows.
pub const LEVEL: u32 = 1;

/// The level of a state that has no row.
pub const FIRST: u32 = 1;

pub(crate) fn key() -> Bytes {
    keys::record_prefix(RecordTable::Level).freeze()
}

/// The level of this state.
pub fn of(reader: &dyn Reader) -> Result<u32, StoreError> {
    let record = read_record::<LevelRecord>(reader, &key())?;
    Ok(record.map_or(FIRST, |record| record.level))
}
