//! What apply and queries read: a sorted map of bytes, consistent for as long as the reader lives.

use bytes::Bytes;

/// The store could not answer: damage or an I/O error. Never "not found".
#[derive(Clone, Debug, thiserror::Error)]
#[error("state store: {0}")]
pub struct StoreError(pub String);

/// A position in a sorted map that moves forward only.
pub trait Cursor {
    /// Moves to the first row at or after `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), StoreError>;
    /// Moves to the following row.
    fn next(&mut self) -> Result<(), StoreError>;
    /// The row the cursor stands on; `None` past the end.
    fn row(&self) -> Option<(&[u8], &[u8])>;
}

/// A consistent, read-only sorted map.
pub trait Reader {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// As [`Reader::get`] for who only looks at the value: what lies in memory is not copied or shared. `look` is called at
    /// most once, exactly once unless an error is returned, and must not read from this reader.
    fn look_at(&self, key: &[u8], look: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), StoreError> {
        look(self.get(key)?.as_deref());
        Ok(())
    }

    /// A cursor over keys in `start..end`, standing on the first.
    fn cursor<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError>;

    /// As [`Reader::cursor`], for reading all there is once: stores with a cache leave it to others.
    fn sweep<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        self.cursor(start, end)
    }

    /// The first row at or after `key` whose key begins with `prefix`. Stores with prefix filters answer this faster
    /// than a cursor does.
    fn first_in_prefix(&self, prefix: &[u8], key: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let end = prefix_end(prefix);
        let cursor = self.cursor(key.max(prefix), &end)?;
        Ok(cursor
            .row()
            .map(|(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))))
    }
}

/// The smallest key greater than every key that begins with `prefix`; for a prefix of 0xff bytes, a key above all of ours.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; 16]
}

/// A plain map: the model in property tests and the simulation's state.
#[derive(Clone, Debug, Default)]
pub struct MapStore {
    pub rows: std::collections::BTreeMap<Bytes, Bytes>,
}

impl MapStore {
    /// Applies one batch of writes; `None` removes the key.
    pub fn write(&mut self, writes: &[(Bytes, Option<Bytes>)]) {
        for (key, value) in writes {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
    }
}

struct MapCursor<'a> {
    rows: &'a std::collections::BTreeMap<Bytes, Bytes>,
    end: Vec<u8>,
    current: Option<(&'a Bytes, &'a Bytes)>,
}

impl Cursor for MapCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), StoreError> {
        use std::ops::Bound::{Excluded, Included};
        self.current = if key >= self.end.as_slice() {
            None
        } else {
            self.rows.range::<[u8], _>((Included(key), Excluded(self.end.as_slice()))).next()
        };
        Ok(())
    }

    fn next(&mut self) -> Result<(), StoreError> {
        use std::ops::Bound::Excluded;
        if let Some((key, _)) = self.current {
            self.current = self
                .rows
                .range::<[u8], _>((Excluded(key.as_ref()), Excluded(self.end.as_slice())))
                .next();
        }
        Ok(())
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.current.map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

impl Reader for MapStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.rows.get(key).cloned())
    }

    fn cursor<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        let mut cursor = MapCursor {
            rows: &self.rows,
            end: end.to_vec(),
            current: None,
        };
        cursor.seek(start)?;
        Ok(Box::new(cursor))
    }
}

#[cfg(test)]
pub(crate) mod noting;
