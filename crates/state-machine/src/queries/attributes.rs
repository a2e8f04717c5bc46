//! An instance's attributes, now or as of a revision.
//!
//! A list is of one revision however many pages it has: the first page's. The token carries it, with the scope, so that a
//! list does not go on in another instance that got the same name meanwhile, and the time the list began: while the history
//! window keeps its revision anyway, a list writes nothing; one that takes longer pins it, page by page.

use super::QueryError;
use crate::attributes;
use crate::command::read_record;
use crate::commands::CreatePin;
use crate::keys::{COUNTERS_KEY, VersionedTable};
use crate::limits;
use crate::record::Counters;
use crate::store::Reader;
use crate::versioned::pins::PinKind;
use crate::versioned::{self, PageLimit, Row, Scan};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{Attribute, GetAttributeReply, GetAttributeRequest, ListAttributesReply, ListAttributesRequest};

/// Reads one attribute. The consistency the caller asks for is the server's matter: it chooses when to take the reader.
pub fn get_attribute(reader: &dyn Reader, request: &GetAttributeRequest) -> Result<GetAttributeReply, QueryError> {
    attributes::check_names(&request.instance_id, &request.name)?;
    let (scope, revision) = place(reader, &request.instance_id, request.at_revision)?;
    let found = if request.at_revision == 0 {
        attributes::newest(reader, scope, &request.name)?
    } else {
        versioned::get_at(reader, VersionedTable::Attribute, scope, request.name.as_bytes(), revision)?
    };
    let attribute = found.map(|(written, value)| Attribute {
        name: request.name.clone(),
        value,
        revision: written.0,
    });
    Ok(GetAttributeReply {
        attribute,
        revision: revision.0,
    })
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    pub reply: ListAttributesReply,
    /// What must be proposed before the page is given out, so that the next one can still be read.
    pub pin: Option<CreatePin>,
}

/// Lists attributes by name, one page. A page may be short, or empty, and still have a token: deleted names take time too.
pub fn list_attributes(reader: &dyn Reader, request: &ListAttributesRequest) -> Result<ListPage, QueryError> {
    let token = if request.page_token.is_empty() {
        None
    } else {
        Some(PageToken::parse(&request.page_token)?)
    };
    if let Some(token) = &token
        && request.at_revision != 0
        && request.at_revision != token.revision.0
    {
        let message = format!(
            "page token is of revision {}, at_revision says {}; leave one out",
            token.revision, request.at_revision
        );
        return Err(MetaError::invalid(message).into());
    }
    let at_revision = token.as_ref().map_or(request.at_revision, |token| token.revision.0);
    let (scope, revision) = place(reader, &request.instance_id, at_revision)?;
    if token.as_ref().is_some_and(|token| token.scope != scope) {
        return Err(MetaError::invalid(format!(
            "page token is of another instance than {:?}; list anew",
            request.instance_id
        ))
        .into());
    }
    let rows = match request.page_size as usize {
        0 => limits::MAX_PAGE_ROWS,
        rows => rows.min(limits::MAX_PAGE_ROWS),
    };
    let scan = Scan {
        table: VersionedTable::Attribute,
        scope,
        prefix: request.prefix.as_bytes(),
        after_key: token.as_ref().map(|token| token.after_key.as_slice()),
        revision,
        limit: PageLimit {
            rows,
            ..PageLimit::default()
        },
    };
    let page = versioned::scan_at(reader, &scan)?;
    let now_ms = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default().stamped_ms;
    let next = page.resume_after.map(|after_key| PageToken {
        revision,
        scope,
        began_ms: token.map_or(now_ms, |token| token.began_ms),
        after_key,
    });
    let attributes = page.rows.into_iter().map(attribute).collect::<Result<_, _>>()?;
    Ok(ListPage {
        pin: next.as_ref().and_then(|next| next.pin(now_ms)),
        reply: ListAttributesReply {
            attributes,
            next_page_token: next.map(|next| next.text()).unwrap_or_default(),
            revision: revision.0,
        },
    })
}

fn attribute(row: Row) -> Result<Attribute, QueryError> {
    let name = String::from_utf8(row.key).map_err(|error| crate::StoreError(format!("attribute name is not text: {error}")))?;
    Ok(Attribute {
        name,
        value: row.value,
        revision: row.revision.0,
    })
}

/// The scope and revision a request means. The current revision needs no check; an older one must still be readable.
fn place(reader: &dyn Reader, instance_id: &str, at_revision: u64) -> Result<(ScopeId, Revision), QueryError> {
    let counters = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default();
    let revision = Revision(if at_revision == 0 { counters.revision } else { at_revision });
    let scope = attributes::scope_at(reader, instance_id, revision)?;
    versioned::readable_with(reader, &counters, scope, revision)?;
    Ok((scope, revision))
}

/// Where the next page begins: `revision u64 | scope u64 | time ms u64 | last name`, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PageToken {
    revision: Revision,
    scope: ScopeId,
    /// Stamped time of the first page.
    began_ms: u64,
    after_key: Vec<u8>,
}

/// Bytes of the numbers in front of the name.
const TOKEN_HEAD_BYTES: usize = 24;

impl PageToken {
    /// A list younger than this needs none: what its revision shows was superseded after it began, or kept by whoever gave
    /// the revision out.
    fn pin(&self, now_ms: u64) -> Option<CreatePin> {
        let age_ms = now_ms.saturating_sub(self.began_ms);
        (age_ms + 2 * limits::LIST_PIN_MS >= limits::HISTORY_WINDOW_MS).then_some(CreatePin {
            scope: self.scope.0,
            kind: PinKind::Read as i32,
            revision: self.revision.0,
            lifetime_ms: limits::LIST_PIN_MS,
            holder: 0,
        })
    }

    fn text(&self) -> String {
        let numbers = [self.revision.0, self.scope.0, self.began_ms].map(u64::to_be_bytes).concat();
        numbers.iter().chain(&self.after_key).map(|byte| format!("{byte:02x}")).collect()
    }

    fn parse(text: &str) -> Result<PageToken, MetaError> {
        let refused = || MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew");
        if !text.is_ascii() || !text.len().is_multiple_of(2) || text.len() > 2 * (TOKEN_HEAD_BYTES + limits::MAX_ATTRIBUTE_NAME_BYTES) {
            return Err(refused());
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let pairs = text
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
        let bytes: Vec<u8> = pairs.collect::<Option<_>>().ok_or_else(refused)?;
        let (revision, rest) = bytes.split_first_chunk::<8>().ok_or_else(refused)?;
        let (scope, rest) = rest.split_first_chunk::<8>().ok_or_else(refused)?;
        let (began, after_key) = rest.split_first_chunk::<8>().ok_or_else(refused)?;
        let (revision, scope) = (Revision(u64::from_be_bytes(*revision)), ScopeId(u64::from_be_bytes(*scope)));
        if revision.0 == 0 {
            return Err(refused());
        }
        Ok(PageToken {
            revision,
            scope,
            began_ms: u64::from_be_bytes(*began),
            after_key: after_key.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests;
