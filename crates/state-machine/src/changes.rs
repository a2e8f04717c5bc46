//! What one command wants to write. It joins the group only if the command succeeds.

use bytes::Bytes;
use quorate_model::Revision;

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Bytes,
    /// `None` removes the row.
    pub value: Option<Bytes>,
    /// The key cannot have existed before (it ends in this command's revision), so no old value needs to be looked up.
    pub fresh: bool,
}

impl Change {
    pub fn put(key: Bytes, value: Bytes) -> Change {
        Change {
            key,
            value: Some(value),
            fresh: false,
        }
    }

    /// Writes a row whose key is new by construction.
    pub fn fresh(key: Bytes, value: Bytes) -> Change {
        Change {
            key,
            value: Some(value),
            fresh: true,
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

    pub fn remove(&mut self, key: Bytes) {
        self.push(Change {
            key,
            value: None,
            fresh: false,
        });
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
