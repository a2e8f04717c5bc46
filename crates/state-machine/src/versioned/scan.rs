//! A range of a versioned table as of one revision, page by page.
//!
//! Versions of a key lie together, newest first, so the answer for a key is the first version at or before the revision.
//! Most keys have few versions and a step is far cheaper than a seek; a key with many would make stepping cost what its
//! history costs. So a scan steps a few versions and then seeks.

use crate::keys::{self, REVISION_BYTES, VersionedTable};
use crate::limits;
use crate::store::{Cursor, Reader, StoreError, prefix_end};
use bytes::Bytes;
use quorate_model::{Revision, ScopeId};

use super::{Version, rows};

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    pub table: VersionedTable,
    pub scope: ScopeId,
    /// Only keys that begin with it.
    pub prefix: &'a [u8],
    /// Only keys greater than this one: where the page before ended.
    pub after_key: Option<&'a [u8]>,
    pub revision: Revision,
    pub limit: PageLimit,
}

/// How much one page may hold; it holds at least one row if there is one within reach.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit {
    pub rows: usize,
    /// Of keys and values.
    pub bytes: usize,
    /// Keys looked at, deleted ones included: a page may come back short, or empty, with a key to resume after.
    pub keys: usize,
}

impl Default for PageLimit {
    fn default() -> PageLimit {
        PageLimit {
            rows: limits::MAX_PAGE_ROWS,
            bytes: limits::MAX_PAGE_BYTES,
            keys: limits::MAX_PAGE_KEYS,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: Vec<u8>,
    /// Of the write that set it.
    pub revision: Revision,
    pub value: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Pass it as `after_key` to go on; `None` when nothing is left.
    pub resume_after: Option<Vec<u8>>,
}

/// Reads one page. Does not ask whether the revision may be read: [`super::readable`] does.
pub fn scan_at(reader: &dyn Reader, scan: &Scan<'_>) -> Result<Page, StoreError> {
    let mut versions = VersionScan::open(reader, scan)?;
    let (mut page, mut page_bytes, mut last_key) = (Page::default(), 0, None);
    for _ in 0..scan.limit.keys.max(1) {
        let Some((key, version)) = versions.next()? else {
            return Ok(page);
        };
        if let Some(Version {
            revision,
            value: Some(value),
        }) = version
        {
            page_bytes += key.len() + value.len();
            if page.rows.len() >= scan.limit.rows.max(1) || (page_bytes > scan.limit.bytes && !page.rows.is_empty()) {
                page.resume_after = last_key;
                return Ok(page);
            }
            page.rows.push(Row {
                key: key.clone(),
                revision,
                value,
            });
        }
        last_key = Some(key);
    }
    if !versions.is_done() {
        page.resume_after = last_key;
    }
    Ok(page)
}

/// A key, and its newest version at or before a revision; a tombstone is a version, a key that was written later only has none.
pub(super) type KeyVersion = (Vec<u8>, Option<Version>);

/// The keys of a range in order, each with its version at one revision.
pub(super) struct VersionScan<'a> {
    cursor: Box<dyn Cursor + 'a>,
    head_bytes: usize,
    revision: Revision,
}

impl<'a> VersionScan<'a> {
    pub(super) fn open(reader: &'a dyn Reader, scan: &Scan<'_>) -> Result<VersionScan<'a>, StoreError> {
        let (start, end) = bounds(scan);
        Ok(VersionScan {
            cursor: reader.cursor(&start, &end)?,
            head_bytes: start_of_table(scan).len(),
            revision: scan.revision,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<KeyVersion>, StoreError> {
        let Some(name) = next_name(self.cursor.as_ref())? else {
            return Ok(None);
        };
        let version = find_version(self.cursor.as_mut(), &name, self.revision)?;
        let Some((key, _)) = keys::take_escaped(&name[self.head_bytes..]) else {
            return Err(StoreError(format!("key {name:02x?} is not a versioned key")));
        };
        leave_name(self.cursor.as_mut(), &name)?;
        Ok(Some((key, version)))
    }

    pub(super) fn is_done(&self) -> bool {
        self.cursor.row().is_none()
    }
}

fn start_of_table(scan: &Scan<'_>) -> Vec<u8> {
    let mut start = keys::versioned_prefix(scan.table, scan.scope, b"");
    start.truncate(start.len() - 2);
    start.to_vec()
}

fn bounds(scan: &Scan<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut first = bytes::BytesMut::from(start_of_table(scan).as_slice());
    keys::put_escaped_prefix(&mut first, scan.prefix);
    let end = prefix_end(&first);
    let first = first.to_vec();
    match scan.after_key {
        None => (first, end),
        Some(after) => (first.max(prefix_end(&keys::versioned_prefix(scan.table, scan.scope, after))), end),
    }
}

/// The key without revision of the row the cursor stands on.
fn next_name(cursor: &dyn Cursor) -> Result<Option<Vec<u8>>, StoreError> {
    match cursor.row() {
        None => Ok(None),
        Some((row, _)) if row.len() > REVISION_BYTES => Ok(Some(row[..row.len() - REVISION_BYTES].to_vec())),
        Some((row, _)) => Err(StoreError(format!("key {row:02x?} is not a versioned key"))),
    }
}

fn stands_on(cursor: &dyn Cursor, name: &[u8]) -> bool {
    cursor
        .row()
        .is_some_and(|(row, _)| row.len() == name.len() + REVISION_BYTES && row.starts_with(name))
}

/// Moves along one key's versions to the newest at or before `revision`.
fn find_version(cursor: &mut dyn Cursor, name: &[u8], revision: Revision) -> Result<Option<Version>, StoreError> {
    let mut steps = 0;
    while stands_on(cursor, name) {
        let Some((row, stored)) = cursor.row() else {
            break;
        };
        let written = rows::revision_of(row)?;
        if written <= revision {
            let value = super::decode_value(row, &Bytes::copy_from_slice(stored))?;
            return Ok(Some(Version { revision: written, value }));
        }
        steps += 1;
        if steps > limits::STEPS_BEFORE_SEEK {
            let mut target = name.to_vec();
            target.extend_from_slice(&(!revision.0).to_be_bytes());
            cursor.seek(&target)?;
        } else {
            cursor.next()?;
        }
    }
    Ok(None)
}

/// Moves past the key's remaining versions.
fn leave_name(cursor: &mut dyn Cursor, name: &[u8]) -> Result<(), StoreError> {
    for _ in 0..limits::STEPS_BEFORE_SEEK {
        if !stands_on(cursor, name) {
            return Ok(());
        }
        cursor.next()?;
    }
    if stands_on(cursor, name) {
        cursor.seek(&prefix_end(name))
    } else {
        Ok(())
    }
}
