//! What one command wants to write. It joins the group only if the command succeeds.

use crate::digest::row_hash;
use bytes::Bytes;
use quorate_model::Revision;

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Bytes,
    /// `None` removes the row.
    pub value: Option<Bytes>,
    pub before: Before,
    /// The [`row_hash`] of what is written, where it has been computed already.
    pub hash: Option<u128>,
}

/// What is known of a row as it was. The content digest must know, and looking it up in the store costs a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it is looked up.
    Unknown,
    /// There was none: the key ends in this command's revision.
    Absent,
    /// It was there with this [`row_hash`].
    Hash(u128),
}

impl Change {
    pub fn put(key: Bytes, value: Bytes) -> Change {
        Change {
            key,
            value: Some(value),
            before: Before::Unknown,
            hash: None,
        }
    }

    /// Writes a row whose key is new by construction.
    pub fn fresh(key: Bytes, value: Bytes) -> Change {
        Change {
            before: Before::Absent,
            ..Change::put(key, value)
        }
    }

    fn removal(key: Bytes, before: Before) -> Change {
        Change {
            key,
            value: None,
            before,
            hash: None,
        }
    }
}

/// A version that the command supersedes: to be looked at by clean-up some day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupersededVersion {
    /// Versioned key without the revision.
    pub name: Bytes,
    /// The version's own revision.
    pub written_at: Revision,
    /// A value superseded it: its going leaves no tombstone that hides nothing.
    pub replaced: bool,
    /// The [`row_hash`] of its row, if whoever supersedes it knows it: then clean-up removes the row without reading it.
    pub row_hash: Option<u128>,
}

/// A command's writes, in the order it made them.
#[derive(Debug, Default)]
pub struct ChangeList {
    changes: Vec<Change>,
    superseded: Vec<SupersededVersion>,
    bytes: usize,
}

impl ChangeList {
    pub fn put(&mut self, key: Bytes, value: impl Into<Bytes>) {
        self.push(Change::put(key, value.into()));
    }

    /// Writes a row whose key is new by construction.
    pub fn put_fresh(&mut self, key: Bytes, value: impl Into<Bytes>) {
        self.push(Change::fresh(key, value.into()));
    }

    /// As [`ChangeList::put_fresh`], for who keeps the row's [`row_hash`], which is returned: it is computed this once.
    pub fn put_fresh_hashed(&mut self, key: Bytes, value: Bytes) -> u128 {
        let hash = row_hash(&key, &value);
        self.push(Change {
            hash: Some(hash),
            ..Change::fresh(key, value)
        });
        hash
    }

    pub fn remove(&mut self, key: Bytes) {
        self.push(Change::removal(key, Before::Unknown));
    }

    /// Removes a row that is there and has this [`row_hash`], which the caller must be sure of: nobody looks, and the content digest would
    /// be wrong from then on.
    pub fn remove_known(&mut self, key: Bytes, hash: u128) {
        self.push(Change::removal(key, Before::Hash(hash)));
    }

    /// Queues a version for clean-up. All that one log entry supersedes shares a row.
    pub fn supersede(&mut self, version: SupersededVersion) {
        self.bytes += version.name.len();
        self.superseded.push(version);
    }

    fn push(&mut self, change: Change) {
        self.bytes += change.key.len() + change.value.as_ref().map_or(0, Bytes::len);
        self.changes.push(change);
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Rows and superseded versions.
    pub fn len(&self) -> usize {
        self.changes.len() + self.superseded.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn into_parts(self) -> (Vec<Change>, Vec<SupersededVersion>) {
        (self.changes, self.superseded)
    }
}
