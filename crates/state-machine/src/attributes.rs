//! What the attribute commands and queries share: bounds of names and values, which scope an instance's name means, and
//! how one attribute is written.
//!
//! Attributes are named bytes of an instance. They are versioned; beside them an index row says which instances have a
//! given attribute now.

use crate::command::{ApplyContext, ApplyError, read_record};
use crate::keys::{self, RecordTable, VersionedTable};
use crate::limits;
use crate::record::InstanceRecord;
use crate::store::{Reader, StoreError};
use crate::versioned::{self, Version};
use bytes::{BufMut, Bytes};
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};

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

/// The scope of an instance that lives.
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

/// The live value of a newest version, if it is one.
pub fn live(version: Option<&Version>) -> Option<(Revision, &Bytes)> {
    version.and_then(|version| Some((version.revision, version.value.as_ref()?)))
}

/// Compare-and-set: refuses unless the attribute was last written at `expected` (0: is absent).
pub fn check_revision(name: &str, current: Option<&Version>, expected: Option<u64>) -> Result<(), MetaError> {
    let actual = live(current).map_or(0, |(revision, _)| revision.0);
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

/// Writes an attribute (`None` deletes it) and its index row, over the version the caller has read.
pub fn write(context: &mut ApplyContext<'_, '_>, scope: ScopeId, name: &str, value: Option<&[u8]>, superseded: Option<&Version>) {
    versioned::write(context, VersionedTable::Attribute, scope, name.as_bytes(), value, superseded);
    let index = index_key(name, scope);
    match value {
        Some(_) => {
            let revision = context.revision().0.to_be_bytes();
            context.changes().put(index, Bytes::copy_from_slice(&revision));
        }
        None => context.changes().remove(index),
    }
}

/// The newest version of an attribute. Its index row says where that is, so a live attribute costs two point reads; only one
/// that was deleted or never set needs a seek.
pub fn current(reader: &dyn Reader, scope: ScopeId, name: &str) -> Result<Option<Version>, StoreError> {
    let (table, key) = (VersionedTable::Attribute, name.as_bytes());
    let indexed = reader.get(&index_key(name, scope))?;
    match indexed.as_deref().and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes) {
        Some(revision) => versioned::written_at(reader, table, scope, key, Revision(revision)),
        None => versioned::newest(reader, table, scope, key),
    }
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
