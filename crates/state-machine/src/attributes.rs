//! What the attribute commands and queries share: bounds of names and values, which scope an instance's name means, and
//! how one attribute is written.
//!
//! Attributes are named bytes of an instance. They are versioned; beside them an index row says which instances have a
//! given attribute now, and what its next write must know of the version that it supersedes:
//!
//! ```text
//! AttributeIndex  name' | scope u64 -> revision u64 | hash u128    the newest version, and the hash of its row for the content digest
//!                                      revision u64                as earlier builds wrote it
//! ```

use crate::command::{ApplyContext, ApplyError, read_record};
use crate::keys::{self, RecordTable, VersionedTable};
use crate::limits;
use crate::record::InstanceRecord;
use crate::store::{Reader, StoreError};
use crate::versioned::{self, FoundRow, Level, Lineage, Newest};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};

/// An index row: a revision and a hash.
const INDEX_BYTES: usize = 24;

/// Refuses names that are wrong whatever the state is.
pub fn check_names(instance_id: &str, name: &str) -> Result<(), MetaError> {
    if instance_id.is_empty() {
        return Err(MetaError::invalid("instance_id is empty; name the instance"));
    }
    if name.is_empty() || name.len() > limits::MAX_ATTRIBUTE_NAME_BYTES {
        let message = format!(
            "attribute name has {} bytes, allowed are 1 to {}",
            name.len(),
            limits::MAX_ATTRIBUTE_NAME_BYTES
        );
        return Err(MetaError::invalid(message));
    }
    Ok(())
}

/// Refuses values that are too long.
pub fn check_value(name: &str, value_bytes: usize) -> Result<(), MetaError> {
    if value_bytes <= limits::MAX_ATTRIBUTE_VALUE_BYTES {
        return Ok(());
    }
    let limit = limits::MAX_ATTRIBUTE_VALUE_BYTES;
    let message = format!("value of attribute {name:?} has {value_bytes} bytes, limit {limit}; split it over several attributes");
    Err(MetaError::new(ErrorCode::TooLarge, message))
}

/// The scope of an instance that lives, also of a read-only clone: what may be written is [`crate::instances::writable_scope`].
pub fn live_scope(reader: &dyn Reader, instance_id: &str) -> Result<ScopeId, ApplyError> {
    scope_at(reader, instance_id, Revision(u64::MAX))
}

/// The scope of an instance as of a revision: one that was dropped later is still seen.
pub fn scope_at(reader: &dyn Reader, instance_id: &str, revision: Revision) -> Result<ScopeId, ApplyError> {
    let key = keys::record_by_name(RecordTable::Instance, instance_id.as_bytes());
    match read_record::<InstanceRecord>(reader, &key)? {
        Some(record) if record.dropped_at == 0 || revision.0 < record.dropped_at => Ok(ScopeId(record.scope)),
        Some(record) => Err(MetaError::not_found(format!("instance {instance_id:?} was dropped at revision {}", record.dropped_at)).into()),
        None => Err(MetaError::not_found(format!("instance {instance_id:?} does not exist")).into()),
    }
}

/// What a write needs to know of an attribute: not its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The newest version in the instance's own scope, tombstones included: what a write supersedes.
    pub newest: Option<Newest>,
    /// Where the value is, if there is one: a clone may inherit it.
    pub live: Option<Level>,
}

impl Current {
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// The revision callers see: 0 for an attribute that is absent.
    pub fn live_revision(&self) -> u64 {
        self.live.map_or(0, |level| level.revision.0)
    }
}

/// Compare-and-set: refuses unless the attribute was last written at `expected` (0: is absent).
pub fn check_revision(name: &str, current: Current, expected: Option<u64>) -> Result<(), MetaError> {
    let actual = current.live_revision();
    match expected {
        Some(expected) if expected != actual => {
            let found = if actual == 0 {
                "it does not exist".to_owned()
            } else {
                format!("it was written at {actual}")
            };
            let wanted = if expected == 0 {
                "not to exist".to_owned()
            } else {
                format!("to be of revision {expected}")
            };
            Err(MetaError::new(
                ErrorCode::PreconditionFailed,
                format!("attribute {name:?} was expected {wanted}, but {found}"),
            ))
        }
        _ => Ok(()),
    }
}

/// Writes an attribute (`None` deletes it) and its index row, over what the caller has looked up. What supersedes the version later finds
/// its row's hash there; of a tombstone, which has no index row, nobody keeps it.
pub fn write(context: &mut ApplyContext<'_, '_>, scope: ScopeId, name: &str, value: Option<&[u8]>, current: Current) {
    let row_hash = versioned::write(context, VersionedTable::Attribute, scope, name.as_bytes(), value, current.newest);
    let index = index_key(name, scope);
    match value {
        Some(_) => {
            let mut newest = BytesMut::with_capacity(INDEX_BYTES);
            newest.put_u64(context.revision().0);
            newest.put_u128(row_hash);
            context.changes().put(index, newest);
        }
        None => context.changes().remove(index),
    }
}

fn decode_index(row: &[u8], stored: &[u8]) -> Result<Newest, StoreError> {
    let Some((revision, hash)) = stored.split_first_chunk::<8>() else {
        return Err(StoreError(format!(
            "index row {row:02x?} has {} bytes and no revision",
            stored.len()
        )));
    };
    Ok(Newest {
        revision: Revision(u64::from_be_bytes(*revision)),
        row_hash: hash.try_into().ok().map(u128::from_be_bytes),
    })
}

/// Looks an attribute up. Its index row says where the newest version of a live one is, so that costs one point read; only an
/// attribute that was deleted or never set in this scope needs a seek, and the scopes it is inherited from.
pub fn current(reader: &dyn Reader, scope: ScopeId, name: &str) -> Result<Current, StoreError> {
    let index = index_key(name, scope);
    let mut indexed = Ok(None);
    reader.look_at(&index, &mut |stored| {
        indexed = stored.map(|stored| decode_index(&index, stored)).transpose()
    })?;
    if let Some(newest) = indexed? {
        let revision = newest.revision;
        return Ok(Current {
            newest: Some(newest),
            live: Some(Level { scope, revision }),
        });
    }
    let newest = versioned::newest(reader, VersionedTable::Attribute, scope, name.as_bytes())?;
    let live = match newest {
        Some(_) => None,
        None => inherited(reader, scope, name)?,
    };
    Ok(Current {
        newest: newest.as_ref().map(|version| version.revision.into()),
        live: live.map(|row| Level {
            scope: row.scope,
            revision: row.revision,
        }),
    })
}

fn inherited(reader: &dyn Reader, scope: ScopeId, name: &str) -> Result<Option<FoundRow>, StoreError> {
    let lineage = Lineage::of(reader, scope, Revision(u64::MAX))?;
    match lineage.levels() {
        [_] => Ok(None),
        _ => lineage.get(reader, VersionedTable::Attribute, name.as_bytes()),
    }
}

/// The value a live attribute has.
pub fn value(reader: &dyn Reader, name: &str, current: Current) -> Result<Option<Bytes>, StoreError> {
    let Some(Level { scope, revision }) = current.live else {
        return Ok(None);
    };
    let version = versioned::written_at(reader, VersionedTable::Attribute, scope, name.as_bytes(), revision)?;
    Ok(version.and_then(|version| version.value))
}

/// An attribute as it is now, and the revision that wrote it: two point reads, where a read of the past has to search among
/// versions.
pub fn newest(reader: &dyn Reader, scope: ScopeId, name: &str) -> Result<Option<(Revision, Bytes)>, StoreError> {
    let current = current(reader, scope, name)?;
    let found = value(reader, name, current)?;
    Ok(current.live.map(|level| level.revision).zip(found))
}

/// `name' | scope`: all instances that have an attribute lie together.
pub fn index_key(name: &str, scope: ScopeId) -> Bytes {
    let mut key = keys::record_prefix(RecordTable::AttributeIndex);
    keys::put_escaped(&mut key, name.as_bytes());
    key.put_u64(scope.0);
    key.freeze()
}

/// Refuses what clients name twice: a command writes a key at most once.
pub fn check_distinct<'a>(names: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), MetaError> {
    let mut seen = std::collections::BTreeSet::new();
    for (instance_id, name) in names {
        if !seen.insert((instance_id, name)) {
            return Err(MetaError::invalid(format!(
                "attribute {name:?} of instance {instance_id:?} is named twice; join what is appended"
            )));
        }
    }
    Ok(())
}
