//! The root keys that peers have registered: what tells a peer whether its own belong to this cluster.

use crate::command::decode_record;
use crate::commands::RegisterRootKey;
use crate::keys::{RecordTable, record_prefix};
use crate::store::{Reader, StoreError, prefix_end};
use std::collections::BTreeMap;

/// The check value of each key, by its id. None is ever taken out: a key that was rotated away stays known.
pub fn registered(reader: &dyn Reader) -> Result<BTreeMap<i64, Vec<u8>>, StoreError> {
    let prefix = record_prefix(RecordTable::RootKey);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut known = BTreeMap::new();
    while let Some((key, value)) = cursor.row() {
        let registered: RegisterRootKey = decode_record(key, value)?;
        known.insert(registered.key_id, registered.check_value);
        cursor.next()?;
    }
    Ok(known)
}
