//! Lists of databases, collections, partitions and segments, page by page.

use super::QueryError;
use super::catalog::{collection, instance};
use super::page_token::{ListPage, ListRequest, Listing};
use crate::catalog::{DEFAULT_DATABASE, FoundCollection, FoundDatabase, FoundPartition, bounds, find, row_keys, show, storage};
use crate::keys::VersionedTable;
use crate::limits;
use crate::record::{DatabaseRecord, NameRecord, PartitionRecord};
use crate::store::{Reader, StoreError};
use crate::versioned::{FoundRow, LineagePage, LineageScan, PageLimit};
use prost::Message;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{
    ListCollectionsReply, ListCollectionsRequest, ListDatabasesReply, ListDatabasesRequest, ListPartitionsReply, ListPartitionsRequest,
    ListSegmentsReply, ListSegmentsRequest, Segment,
};

/// By name.
pub fn list_databases(reader: &dyn Reader, request: &ListDatabasesRequest) -> Result<ListPage<ListDatabasesReply>, QueryError> {
    let listing = Listing::open(reader, &request.into())?;
    let page = scan(reader, &listing, VersionedTable::Database, b"")?;
    let mut databases = Vec::with_capacity(page.rows.len());
    for row in &page.rows {
        let record: DatabaseRecord = find::decode(row)?;
        let name = String::from_utf8(row.key.clone()).map_err(|error| StoreError(format!("database name is not text: {error}")))?;
        databases.push(show::database(&FoundDatabase {
            name,
            record,
            revision: row.revision,
        }));
    }
    let revision = listing.place.revision.0;
    Ok(listing.page(page.resume_after, |next_page_token| ListDatabasesReply {
        databases,
        next_page_token,
        revision,
    }))
}

/// By name, without schemas and sums.
pub fn list_collections(reader: &dyn Reader, request: &ListCollectionsRequest) -> Result<ListPage<ListCollectionsReply>, QueryError> {
    let listing = Listing::open(reader, &request.into())?;
    let database = bounds::database_name(request.database.clone())?;
    let place = &listing.place;
    let (mut collections, mut resume_after) = (Vec::new(), None);
    match find::look_up_database(reader, &place.lineage, &database)? {
        None if database == DEFAULT_DATABASE => {}
        None => return Err(MetaError::not_found(format!("database {database:?} does not exist")).into()),
        Some(found) => {
            let instance = instance(reader, &request.instance_id)?;
            let prefix = row_keys::collection_name(found.record.database_id, "");
            let page = scan(reader, &listing, VersionedTable::CollectionName, &prefix)?;
            resume_after = page.resume_after;
            let (mut bytes, mut last_key) = (0, None);
            for row in page.rows {
                let name: NameRecord = find::decode(&row)?;
                let collection = find::collection_by_id(reader, &place.lineage, name.id)?;
                let collection: FoundCollection = collection.ok_or_else(|| unnamed(&row, "collection"))?;
                let mut shown = show::collection(&database, &collection);
                shown.vault = storage::display_name(&instance, &shown.vault);
                bytes += shown.encoded_len();
                // Properties are not in the rows that were scanned, so the page is measured here.
                if bytes > limits::MAX_PAGE_BYTES && last_key.is_some() {
                    resume_after = last_key;
                    break;
                }
                last_key = Some(row.key);
                collections.push(shown);
            }
        }
    }
    let revision = listing.place.revision.0;
    Ok(listing.page(resume_after, |next_page_token| ListCollectionsReply {
        collections,
        next_page_token,
        revision,
    }))
}

/// By name.
pub fn list_partitions(reader: &dyn Reader, request: &ListPartitionsRequest) -> Result<ListPage<ListPartitionsReply>, QueryError> {
    let listing = Listing::open(reader, &request.into())?;
    let place = &listing.place;
    let (_, collection) = collection(reader, place, &request.database, &request.collection)?;
    let page = scan(
        reader,
        &listing,
        VersionedTable::PartitionName,
        &row_keys::collection(collection.id),
    )?;
    let mut partitions = Vec::with_capacity(page.rows.len());
    for row in &page.rows {
        let name: NameRecord = find::decode(row)?;
        let found = find::partition_by_id(reader, &place.lineage, collection.id, name.id)?;
        partitions.push(show::partition(&found.ok_or_else(|| unnamed(row, "partition"))?));
    }
    let revision = place.revision.0;
    Ok(listing.page(page.resume_after, |next_page_token| ListPartitionsReply {
        partitions,
        next_page_token,
        revision,
    }))
}

/// By partition and id, of one partition or of all.
pub fn list_segments(reader: &dyn Reader, request: &ListSegmentsRequest) -> Result<ListPage<ListSegmentsReply>, QueryError> {
    let listing = Listing::open(reader, &request.into())?;
    let place = &listing.place;
    let (_, collection) = collection(reader, place, &request.database, &request.collection)?;
    let partitions = if request.partition.is_empty() {
        all_partitions(reader, &listing, collection.id)?
    } else {
        bounds::check_name("partition", &request.partition)?;
        vec![find::find_partition(reader, &place.lineage, &collection, &request.partition)?]
    };
    let (rows, resume_after) = segments_of(reader, &listing, &partitions)?;
    let mut segments = rows.iter().map(show::segment).collect::<Result<Vec<Segment>, _>>()?;
    if request.without_files {
        segments.iter_mut().for_each(|segment| segment.files.clear());
    }
    let revision = place.revision.0;
    Ok(listing.page(resume_after, |next_page_token| ListSegmentsReply {
        segments,
        next_page_token,
        revision,
    }))
}

/// A collection's partitions by id, from the one on in which the page before ended.
fn all_partitions(reader: &dyn Reader, listing: &Listing, collection_id: u64) -> Result<Vec<FoundPartition>, QueryError> {
    let prefix = row_keys::collection(collection_id);
    let first = match listing.after_key(&prefix)? {
        Some(after) => row_keys::read_numbers::<3>(after).map_err(|_| MetaError::invalid("page token is of another list; list anew"))?[1],
        None => 0,
    };
    let before_first = first.checked_sub(1).map(|before| row_keys::partition(collection_id, before));
    let scan = LineageScan {
        table: VersionedTable::Partition,
        prefix: &prefix,
        after_key: before_first.as_deref(),
        limit: PageLimit {
            rows: limits::MAX_PARTITIONS as usize,
            ..PageLimit::default()
        },
    };
    let mut partitions = Vec::new();
    for row in listing.place.lineage.scan(reader, &scan)?.rows {
        let [_, id] = row_keys::read_numbers::<2>(&row.key)?;
        partitions.push(FoundPartition {
            collection_id,
            id,
            record: find::decode::<PartitionRecord>(&row)?,
            revision: row.revision,
        });
    }
    Ok(partitions)
}

/// One page of the segments of partitions that are visible: rows of dropped ones may lie between them, and are not looked at.
fn segments_of(
    reader: &dyn Reader,
    listing: &Listing,
    partitions: &[FoundPartition],
) -> Result<(Vec<FoundRow>, Option<Vec<u8>>), QueryError> {
    let (mut rows, mut left) = (Vec::new(), listing.limit);
    for (position, partition) in partitions.iter().enumerate() {
        if partition.record.stats.is_none_or(|stats| stats.segments == 0) {
            continue;
        }
        let prefix = row_keys::partition(partition.collection_id, partition.id);
        let scan = LineageScan {
            table: VersionedTable::Segment,
            prefix: &prefix,
            after_key: listing
                .after_key(&row_keys::collection(partition.collection_id))?
                .filter(|after| *after > prefix.as_slice()),
            limit: left,
        };
        let page = listing.place.lineage.scan(reader, &scan)?;
        left.rows -= page.rows.len().min(left.rows);
        left.bytes -= page
            .rows
            .iter()
            .map(|row| row.key.len() + row.value.len())
            .sum::<usize>()
            .min(left.bytes);
        rows.extend(page.rows);
        if page.resume_after.is_some() {
            return Ok((rows, page.resume_after));
        }
        let more = partitions.get(position + 1..).is_some_and(|others| !others.is_empty());
        if more && (left.rows == 0 || left.bytes == 0) {
            let end_of_partition = row_keys::segment(partition.collection_id, partition.id, u64::MAX);
            return Ok((rows, Some(end_of_partition)));
        }
    }
    Ok((rows, None))
}

/// What every request for a list has.
macro_rules! list_requests {
    ($($request:ident)*) => {
        $(impl<'a> From<&'a $request> for ListRequest<'a> {
            fn from(request: &'a $request) -> ListRequest<'a> {
                ListRequest {
                    instance_id: &request.instance_id,
                    page_size: request.page_size,
                    page_token: &request.page_token,
                    at_revision: request.at_revision,
                }
            }
        })*
    };
}

list_requests! { ListDatabasesRequest ListCollectionsRequest ListPartitionsRequest ListSegmentsRequest }

fn scan(reader: &dyn Reader, listing: &Listing, table: VersionedTable, prefix: &[u8]) -> Result<LineagePage, QueryError> {
    let scan = LineageScan {
        table,
        prefix,
        after_key: listing.after_key(prefix)?,
        limit: listing.limit,
    };
    Ok(listing.place.lineage.scan(reader, &scan)?)
}

fn unnamed(row: &FoundRow, kind: &str) -> StoreError {
    StoreError(format!("name {:02x?} stands for a {kind} that has no row", row.key))
}

#[cfg(test)]
mod tests;
