//! A reader that notes how far its cursors may go, for tests: rows that were removed leave marks behind, and a store goes through these up
//! to where a cursor ends, or to the first row that is there.

use super::{Cursor, MapStore, Reader, StoreError};
use bytes::Bytes;
use std::cell::RefCell;

pub(crate) struct Noting<'a> {
    store: &'a MapStore,
    ends: RefCell<Vec<Vec<u8>>>,
}

impl Noting<'_> {
    pub(crate) fn over(store: &MapStore) -> Noting<'_> {
        Noting {
            store,
            ends: RefCell::default(),
        }
    }

    /// Whether there were cursors, and none of them may have gone beyond `key`.
    pub(crate) fn ended_before(&self, key: &[u8]) -> bool {
        let ends = self.ends.borrow();
        !ends.is_empty() && ends.iter().all(|end| end.as_slice() <= key)
    }
}

impl Reader for Noting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(key)
    }

    fn cursor<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        self.ends.borrow_mut().push(end.to_vec());
        self.store.cursor(start, end)
    }
}
