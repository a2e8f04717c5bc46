//! Names of snapshots: what is allowed, and which snapshot a caller's reference means.
//!
//! A name is unique per collection. A reference by name looks at the collection that has the given name now; if that is gone, or has
//! no such snapshot, the names that snapshots were given at their creation decide: so a snapshot is found after its collection was
//! dropped or renamed. What fits several snapshots is refused, never guessed.

use super::{Snapshot, id, name_key, names_prefix};
use crate::catalog::{DEFAULT_DATABASE, find};
use crate::command::ApplyError;
use crate::limits::MAX_NAME_BYTES;
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::Lineage;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotRef;

/// The database a caller means.
pub fn database_or_default(database: &str) -> &str {
    if database.is_empty() { DEFAULT_DATABASE } else { database }
}

/// Refuses names that are wrong whatever the state is, in the contract's words (spec/milvus-snapshot.md a.5, b.1).
pub fn check_name(name: &str) -> Result<(), MetaError> {
    if name.trim().is_empty() {
        let text = format!("snapshot name should be not empty: invalid parameter[expected=not empty][actual={name}]");
        return Err(MetaError::invalid(text));
    }
    let bytes = name.len();
    if bytes > MAX_NAME_BYTES {
        let text = format!(
            "the length of snapshot name must be not greater than limit: invalid parameter[{bytes} out of range 0 <= value <= {MAX_NAME_BYTES}]"
        );
        return Err(MetaError::invalid(text));
    }
    let first = name.chars().next().unwrap_or_default();
    if !(first == '_' || first.is_ascii_alphabetic()) {
        let text = format!(
            "the first character of snapshot name must be an underscore or letter: invalid parameter[expected=underscore or \
             letter][actual={first}]"
        );
        return Err(MetaError::invalid(text));
    }
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || "_$".contains(character);
    match name.char_indices().find(|(_, character)| !is_allowed(*character)) {
        None => Ok(()),
        Some((at, found)) => Err(MetaError::invalid(format!(
            "snapshot name can only contain numbers, letters, underscores, and allowed characters ($), found {found} at {at}: invalid \
             parameter"
        ))),
    }
}

/// Refuses a reference that is wrong whatever the state is. The name of a collection's snapshot comes back without the blanks around
/// it, as creation takes it; a label that Doris gave to a snapshot of an instance may be anything.
pub fn checked_reference(mut reference: SnapshotRef) -> Result<SnapshotRef, MetaError> {
    match (reference.snapshot_id.is_empty(), reference.name.is_empty()) {
        (true, true) => {
            return Err(MetaError::invalid(
                "snapshot is not named; pass its id, or its name with its collection",
            ));
        }
        (false, false) => return Err(MetaError::invalid("snapshot is named by id and by name; leave one out")),
        (false, true) => {
            parse_id(&reference.snapshot_id)?;
        }
        (true, false) if reference.collection.is_empty() => {}
        (true, false) => {
            reference.name = reference.name.trim().to_owned();
            check_name(&reference.name)?;
        }
    }
    let SnapshotRef {
        database,
        collection,
        name,
        ..
    } = &reference;
    for (what, text) in [("database", database), ("collection", collection), ("snapshot name", name)] {
        if text.len() > MAX_NAME_BYTES {
            let bytes = text.len();
            return Err(MetaError::invalid(format!(
                "{what} is {bytes} bytes, limit {MAX_NAME_BYTES} bytes; shorten it"
            )));
        }
    }
    Ok(reference)
}

/// The revision an id stands for.
pub fn parse_id(snapshot_id: &str) -> Result<Revision, MetaError> {
    id::parse(snapshot_id).ok_or_else(|| MetaError::invalid("invalid snapshot_id format: not 20 hex digits"))
}

/// The snapshot a reference means; `None` when there is none. One that is being deleted has given its name back and is found by id
/// only.
pub fn resolve(reader: &dyn Reader, scope: ScopeId, reference: &SnapshotRef) -> Result<Option<Snapshot>, ApplyError> {
    if !reference.snapshot_id.is_empty() {
        return Ok(super::find(reader, scope, parse_id(&reference.snapshot_id)?)?);
    }
    if !reference.collection.is_empty()
        && let Some(collection) = collection_id(reader, scope, database_or_default(&reference.database), &reference.collection)?
        && let Some(revision) = only_one(reference, named(reader, scope, collection, &reference.name)?)?
    {
        return Ok(super::find(reader, scope, revision)?);
    }
    let mut fitting = Vec::new();
    for revision in named_anywhere(reader, scope, &reference.name)? {
        let Some(snapshot) = super::find(reader, scope, revision)? else {
            continue;
        };
        let fits = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
        if fits(&reference.collection, &snapshot.record.collection) && fits(&reference.database, &snapshot.record.database) {
            fitting.push(revision);
        }
    }
    match only_one(reference, fitting)? {
        Some(revision) => Ok(super::find(reader, scope, revision)?),
        None => Ok(None),
    }
}

/// As [`resolve`], for a call that may be the repetition of one that has succeeded: by the names of a collection and a snapshot, only a
/// snapshot of the collection that has that name now is meant. One of a former collection may be somebody's backup: it goes by its id.
pub fn resolve_to_drop(reader: &dyn Reader, scope: ScopeId, reference: &SnapshotRef) -> Result<Option<Snapshot>, ApplyError> {
    if !reference.snapshot_id.is_empty() || reference.collection.is_empty() {
        return resolve(reader, scope, reference);
    }
    let database = database_or_default(&reference.database);
    let collection = collection_id(reader, scope, database, &reference.collection)?;
    if let Some(collection) = collection {
        let revision = only_one(reference, named(reader, scope, collection, &reference.name)?)?;
        return Ok(revision.map(|revision| super::find(reader, scope, revision)).transpose()?.flatten());
    }
    let Some(former) = resolve(reader, scope, reference)? else {
        return Ok(None);
    };
    let (name, id) = (&reference.name, id::text(former.revision));
    let text = format!(
        "there is no collection {} now; snapshot {name} is one of a former collection of that name: to drop it, name it by its id {id}",
        reference.collection
    );
    Err(MetaError::new(ErrorCode::PreconditionFailed, text).into())
}

/// As [`resolve`]; what is missing of database, collection and snapshot is refused in the contract's words.
pub fn require(reader: &dyn Reader, scope: ScopeId, reference: &SnapshotRef) -> Result<Snapshot, ApplyError> {
    if let Some(found) = resolve(reader, scope, reference)? {
        return Ok(found);
    }
    let SnapshotRef {
        snapshot_id,
        database,
        collection,
        name,
    } = reference;
    let text = if name.is_empty() {
        format!("snapshot not found[snapshot={snapshot_id}]")
    } else if collection.is_empty() {
        format!("snapshot not found[snapshot={name}]")
    } else {
        let id = require_collection(reader, scope, database_or_default(database), collection)?;
        format!("collection {id}: snapshot not found[snapshot={name}]")
    };
    Err(MetaError::not_found(text).into())
}

/// The id of the collection that has the name now, or a refusal in the contract's words.
pub fn require_collection(reader: &dyn Reader, scope: ScopeId, database: &str, collection: &str) -> Result<u64, ApplyError> {
    check_database(reader, scope, database)?;
    let found = collection_id(reader, scope, database, collection)?;
    found.ok_or_else(|| MetaError::not_found(format!("collection not found[database={database}][collection={collection}]")).into())
}

/// Refuses a database that does not exist. The default one does as soon as it is used, so it is never what is missing.
pub fn check_database(reader: &dyn Reader, scope: ScopeId, database: &str) -> Result<(), ApplyError> {
    let lineage = Lineage::of(reader, scope, Revision(u64::MAX))?;
    if database != DEFAULT_DATABASE && find::look_up_database(reader, &lineage, database)?.is_none() {
        return Err(MetaError::not_found(format!("database not found[database={database}]")).into());
    }
    Ok(())
}

/// Whether the name is taken in the collection.
pub fn is_taken(reader: &dyn Reader, scope: ScopeId, collection: u64, name: &str) -> Result<bool, StoreError> {
    Ok(reader.get(&name_key(scope, collection, name))?.is_some())
}

/// Whether a collection has so many snapshots that have not given their names back.
pub fn are_at_least(reader: &dyn Reader, scope: ScopeId, collection: u64, most: u64) -> Result<bool, StoreError> {
    let prefix = names_prefix(scope, Some(collection));
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut count = 0;
    while count < most && cursor.row().is_some() {
        count += 1;
        cursor.next()?;
    }
    Ok(count >= most)
}

fn only_one(reference: &SnapshotRef, fitting: Vec<Revision>) -> Result<Option<Revision>, MetaError> {
    if fitting.len() > 1 {
        let ids: Vec<_> = fitting.iter().take(10).map(|revision| id::text(*revision)).collect();
        let text = format!(
            "{} snapshots are named {:?}; name one by its id: {}",
            fitting.len(),
            reference.name,
            ids.join(", ")
        );
        return Err(MetaError::invalid(text));
    }
    Ok(fitting.first().copied())
}

/// The snapshots of a collection with this name: one, unless it is a label.
fn named(reader: &dyn Reader, scope: ScopeId, collection: u64, name: &str) -> Result<Vec<Revision>, StoreError> {
    let prefix = name_key(scope, collection, name);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, value)) = cursor.row() {
        found.push(revision_of(key, value)?);
        cursor.next()?;
    }
    Ok(found)
}

/// The snapshots with this name in any collection: one seek for each collection that has snapshots.
fn named_anywhere(reader: &dyn Reader, scope: ScopeId, name: &str) -> Result<Vec<Revision>, StoreError> {
    let prefix = names_prefix(scope, None);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, _)) = cursor.row() {
        let collection = key.get(prefix.len()..).and_then(|rest| rest.first_chunk::<8>()).copied();
        let collection = collection.ok_or_else(|| StoreError(format!("name row {key:02x?} has no collection")))?;
        let collection = u64::from_be_bytes(collection);
        found.extend(named(reader, scope, collection, name)?);
        let Some(next) = collection.checked_add(1) else { break };
        cursor.seek(&names_prefix(scope, Some(next)))?;
    }
    Ok(found)
}

/// The revision a name's row holds.
pub fn revision_of(key: &[u8], value: &[u8]) -> Result<Revision, StoreError> {
    let bytes = value
        .try_into()
        .map_err(|_| StoreError(format!("name row {key:02x?} holds no revision")))?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

/// The id of the collection that has the name now.
pub fn collection_id(reader: &dyn Reader, scope: ScopeId, database: &str, collection: &str) -> Result<Option<u64>, StoreError> {
    let lineage = Lineage::of(reader, scope, Revision(u64::MAX))?;
    let Some(database) = find::look_up_database(reader, &lineage, database)? else {
        return Ok(None);
    };
    let found = find::look_up_collection(reader, &lineage, database.record.database_id, collection)?;
    Ok(found.map(|found| found.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_in_the_words_of_the_contract() {
        for name in ["a", "_", "_a$1", "Z9", &"n".repeat(255)] {
            check_name(name).expect(name);
        }
        for (name, text) in [
            (
                "",
                "snapshot name should be not empty: invalid parameter[expected=not empty][actual=]",
            ),
            (
                " \t",
                "snapshot name should be not empty: invalid parameter[expected=not empty][actual= \t]",
            ),
            (
                &"n".repeat(256),
                "the length of snapshot name must be not greater than limit: invalid parameter[256 out of range 0 <= value <= 255]",
            ),
            (
                "1a",
                "the first character of snapshot name must be an underscore or letter: invalid parameter[expected=underscore or letter][actual=1]",
            ),
            (
                "a-b",
                "snapshot name can only contain numbers, letters, underscores, and allowed characters ($), found - at 1: invalid parameter",
            ),
            (
                "aé",
                "snapshot name can only contain numbers, letters, underscores, and allowed characters ($), found é at 1: invalid parameter",
            ),
        ] {
            assert_eq!(check_name(name), Err(MetaError::invalid(text)));
        }
    }

    #[test]
    fn a_reference_names_a_snapshot_one_way() {
        let reference = |id: &str, name: &str| SnapshotRef {
            snapshot_id: id.to_owned(),
            name: name.to_owned(),
            ..SnapshotRef::default()
        };
        checked_reference(reference("00000000000000ab0000", "")).expect("an id");
        checked_reference(reference("", "s")).expect("a name");
        for wrong in [
            reference("", ""),
            reference("00000000000000ab0000", "s"),
            reference("ab", ""),
            reference("", &"n".repeat(256)),
        ] {
            checked_reference(wrong).expect_err("not one snapshot");
        }
        let of_collection = |name: &str| SnapshotRef {
            collection: "c".to_owned(),
            ..reference("", name)
        };
        assert_eq!(checked_reference(of_collection(" s\t")), Ok(of_collection("s")));
        assert_eq!(checked_reference(reference("", " label ")), Ok(reference("", " label ")));
        for wrong in [" ", "1s", "a-b"] {
            assert_eq!(checked_reference(of_collection(wrong)).err(), check_name(wrong.trim()).err());
        }
    }
}
