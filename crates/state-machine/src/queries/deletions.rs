//! What is to be deleted from vaults, in the order in which it goes.

use super::QueryError;
use crate::command::decode_record;
use crate::condemned;
use crate::instances;
use crate::keys::{RecordTable, record_prefix};
use crate::limits;
use crate::record::CondemnedRecord;
use crate::store::{Reader, prefix_end};
use bytes::Bytes;
use quorate_model::{MetaError, ScopeId};
use quorate_wire::quorate::v1::{Deletion, ListDeletionsReply, ListDeletionsRequest};

/// One page. What is deleted between two pages is not shown twice, and nothing else is left out.
pub fn list_deletions(reader: &dyn Reader, request: &ListDeletionsRequest) -> Result<ListDeletionsReply, QueryError> {
    let prefix = record_prefix(RecordTable::Condemned);
    let mut start = prefix.to_vec();
    if !request.page_token.is_empty() {
        start = condemned::key(from_token(&request.page_token)?).to_vec();
        // Behind the row that the token names.
        start.push(0);
    }
    let rows = match request.page_size as usize {
        0 => limits::MAX_PAGE_ROWS,
        rows => rows.min(limits::MAX_PAGE_ROWS),
    };
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
            instance_id: instances::id_of_scope(reader, ScopeId(record.scope))?,
            reason: reason(&record),
            vault: record.vault,
            path: record.path,
            files: record.files,
            not_before_ms: place.not_before_ms,
            sweeps_left: record.sweeps_left,
        });
        cursor.next()?;
        if (reply.deletions.len() >= rows || bytes > limits::MAX_PAGE_BYTES) && cursor.row().is_some() {
            reply.next_page_token = format!("{}-{}", place.not_before_ms, place.number);
            break;
        }
    }
    Ok(reply)
}

/// The record does not say why; the path tells whose files it names.
fn reason(record: &CondemnedRecord) -> String {
    let mut parts = record.path.split('/');
    let of_job = parts.find(|part| is_numbered(part, 'j'));
    match (of_job, record.files.is_empty()) {
        (Some(job), true) => format!("what job {} wrote and nothing refers to", &job[1..]),
        (Some(job), false) => format!(
            "segments that job {} made were dropped, and nothing can see them any more",
            &job[1..]
        ),
        (None, true) => "uploads that were given up, or a collection that nothing can see any more".to_owned(),
        (None, false) => "segments were dropped, and nothing can see them any more".to_owned(),
    }
}

fn is_numbered(part: &str, letter: char) -> bool {
    let digits = part.strip_prefix(letter).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn from_token(text: &str) -> Result<condemned::DeletionKey, MetaError> {
    let parts = text.split_once('-');
    let numbers = parts.and_then(|(not_before_ms, number)| Some((not_before_ms.parse().ok()?, number.parse().ok()?)));
    let (not_before_ms, number) =
        numbers.ok_or_else(|| MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew"))?;
    Ok(condemned::DeletionKey { not_before_ms, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_says_why() {
        let reason_of = |path: &str, files: &[&str]| {
            reason(&CondemnedRecord {
                path: path.to_owned(),
                files: files.iter().map(|name| (*name).to_owned()).collect(),
                ..CondemnedRecord::default()
            })
        };
        assert_eq!(reason_of("s1/j7", &[]), "what job 7 wrote and nothing refers to");
        assert!(reason_of("s1/j7/t1-f1/g9", &["a"]).starts_with("segments that job 7 made"));
        assert!(reason_of("s1/c2/p3/g4", &["a"]).starts_with("segments were dropped"));
        assert!(reason_of("s1/c2", &[]).starts_with("uploads that were given up"));
    }
}
