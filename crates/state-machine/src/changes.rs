//! What one command wants to write. It joins the group only if the command succeeds.

use bytes::Bytes;

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Bytes,
    /// `None` removes the row.
    pub value: Option<Bytes>,
    /// The key cannot have existed before (it ends in this command's revision), so no old value needs to be looked up.
    pub fresh: bool,
}

/// A command's writes, in the order it made them.
#[derive(Debug, Default)]
pub struct ChangeList {
    changes: Vec<Change>,
    bytes: usize,
}

impl ChangeList {
    pub fn put(&mut self, key: Bytes, value: impl Into<Bytes>) {
        self.push(Change {
            key,
            value: Some(value.into()),
            fresh: false,
        });
    }

    /// Writes a row whose key is new by construction.
    pub fn put_fresh(&mut self, key: Bytes, value: impl Into<Bytes>) {
        self.push(Change {
            key,
            value: Some(value.into()),
            fresh: true,
        });
    }

    pub fn remove(&mut self, key: Bytes) {
        self.push(Change {
            key,
            value: None,
            fresh: false,
        });
    }

    fn push(&mut self, change: Change) {
        self.bytes += change.key.len() + change.value.as_ref().map_or(0, Bytes::len);
        self.changes.push(change);
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }
}
