//! An instance's attributes, now or as of a revision, those it inherits included.

use super::QueryError;
use super::page_token::{ListPage, ListRequest, Listing, ReadPlace};
use crate::attributes;
use crate::keys::VersionedTable;
use crate::store::Reader;
use crate::versioned::{FoundRow, LineageScan};
use quorate_wire::quorate::v1::{Attribute, GetAttributeReply, GetAttributeRequest, ListAttributesReply, ListAttributesRequest};

/// Reads one attribute. The consistency the caller asks for is the server's matter: it chooses when to take the reader.
pub fn get_attribute(reader: &dyn Reader, request: &GetAttributeRequest) -> Result<GetAttributeReply, QueryError> {
    attributes::check_names(&request.instance_id, &request.name)?;
    let place = ReadPlace::of(reader, &request.instance_id, request.at_revision)?;
    let found = if request.at_revision == 0 {
        attributes::newest(reader, place.scope, &request.name)?
    } else {
        let row = place.lineage.get(reader, VersionedTable::Attribute, request.name.as_bytes())?;
        row.map(|row| (row.revision, row.value))
    };
    let attribute = found.map(|(written, value)| Attribute {
        name: request.name.clone(),
        value,
        revision: written.0,
    });
    Ok(GetAttributeReply {
        attribute,
        revision: place.revision.0,
    })
}

/// Lists attributes by name, one page. A page may be short, or empty, and still have a token: deleted names take time too.
pub fn list_attributes(reader: &dyn Reader, request: &ListAttributesRequest) -> Result<ListPage<ListAttributesReply>, QueryError> {
    let listing = Listing::open(
        reader,
        &ListRequest {
            instance_id: &request.instance_id,
            page_size: request.page_size,
            page_token: &request.page_token,
            at_revision: request.at_revision,
        },
    )?;
    let scan = LineageScan {
        table: VersionedTable::Attribute,
        prefix: request.prefix.as_bytes(),
        after_key: listing.after_key(b"")?,
        limit: listing.limit,
    };
    let page = listing.place.lineage.scan(reader, &scan)?;
    let attributes = page.rows.into_iter().map(attribute).collect::<Result<_, _>>()?;
    let revision = listing.place.revision.0;
    Ok(listing.page(page.resume_after, |next_page_token| ListAttributesReply {
        attributes,
        next_page_token,
        revision,
    }))
}

fn attribute(row: FoundRow) -> Result<Attribute, QueryError> {
    let name = String::from_utf8(row.key).map_err(|error| crate::StoreError(format!("attribute name is not text: {error}")))?;
    Ok(Attribute {
        name,
        value: row.value,
        revision: row.revision.0,
    })
}

#[cfg(test)]
mod tests;
