//! What is to be deleted from vaults, in the order in which it goes; if asked for, then what was dropped and will be.

mod waiting;

use super::QueryError;
use crate::command::decode_record;
use crate::condemned::{self, DeletionKey};
use crate::instances;
use crate::keys::{RecordTable, record_prefix};
use crate::limits;
use crate::record::{CondemnedCause, CondemnedRecord};
use crate::snapshots;
use crate::store::{Reader, prefix_end};
use bytes::Bytes;
use quorate_model::{Revision, ScopeId};
use quorate_wire::quorate::v1::{Deletion, DeletionState, ListDeletionsReply, ListDeletionsRequest};

/// One page. What is deleted between two pages is not shown twice, and nothing else is left out.
pub fn list_deletions(reader: &dyn Reader, request: &ListDeletionsRequest) -> Result<ListDeletionsReply, QueryError> {
    let rows = match request.page_size as usize {
        0 => limits::MAX_PAGE_ROWS,
        rows => rows.min(limits::MAX_PAGE_ROWS),
    };
    if let Some(at) = waiting::At::parse(&request.page_token).filter(|_| request.include_waiting) {
        let (deletions, next) = waiting::page(reader, at, rows)?;
        return Ok(ListDeletionsReply {
            deletions,
            next_page_token: next.map_or_else(String::new, |next| next.token()),
        });
    }
    let prefix = record_prefix(RecordTable::Condemned);
    let mut start = prefix.to_vec();
    if !request.page_token.is_empty() {
        start = condemned::key(DeletionKey::from_token(&request.page_token)?).to_vec();
        // Behind the row that the token names.
        start.push(0);
    }
    let mut reply = ListDeletionsReply::default();
    let mut cursor = reader.cursor(&start, &prefix_end(&prefix))?;
    let mut bytes = 0;
    while let Some((key, value)) = cursor.row() {
        let place = condemned::read_key(key)?;
        let record: CondemnedRecord = decode_record(key, Bytes::copy_from_slice(value))?;
        bytes += value.len();
        reply.deletions.push(Deletion {
            number: place.number,
            scope: record.scope,
            instance_id: instances::find_id_of_scope(reader, ScopeId(record.scope))?.unwrap_or_default(),
            reason: reason(&record),
            vault: record.vault,
            path: record.path,
            files: record.files,
            not_before_ms: place.not_before_ms,
            sweeps_left: record.sweeps_left,
            state: DeletionState::Condemned as i32,
            condemned_ms: record.condemned_ms,
            ..Deletion::default()
        });
        cursor.next()?;
        if (reply.deletions.len() >= rows || bytes > limits::MAX_PAGE_BYTES) && cursor.row().is_some() {
            reply.next_page_token = place.token();
            return Ok(reply);
        }
    }
    if request.include_waiting {
        reply.next_page_token = waiting::At::START.token();
    }
    Ok(reply)
}

/// What the record says the files were condemned for.
fn reason(record: &CondemnedRecord) -> String {
    let id = record.cause_id;
    match CondemnedCause::try_from(record.cause).unwrap_or(CondemnedCause::Unspecified) {
        CondemnedCause::Upload => format!("segment {id} was prepared and given up"),
        CondemnedCause::Claim => format!("a task of job {id} was done again under a later claim"),
        CondemnedCause::Job => format!("job {id} ended without being published"),
        CondemnedCause::Snapshot => format!("snapshot {} was dropped or given up", snapshots::id::text(Revision(id))),
        CondemnedCause::Segment => format!("segment {id} was dropped, and nothing sees it any more"),
        CondemnedCause::Collection => format!("collection {id} was dropped, and nothing sees it any more"),
        CondemnedCause::Partition => format!("partition {id} was dropped, and nothing sees it any more"),
        CondemnedCause::Scope => "its instance was dropped, and nothing sees it any more".to_owned(),
        CondemnedCause::Unspecified => "an older version condemned it and did not record what for".to_owned(),
    }
}

#[cfg(test)]
mod tests;
