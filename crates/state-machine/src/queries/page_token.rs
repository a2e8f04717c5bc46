//! Where a read looks, and where a list goes on.
//!
//! A list is of one revision however many pages it has: the first page's. The token carries it, with the scope, so that a
//! list does not go on in another instance that got the same name meanwhile, and the time the list began: while the history
//! window keeps its revision anyway, a list writes nothing; one that takes longer pins it, page by page.

use super::QueryError;
use crate::attributes;
use crate::command::read_record;
use crate::commands::CreatePin;
use crate::keys::COUNTERS_KEY;
use crate::limits;
use crate::record::Counters;
use crate::store::Reader;
use crate::versioned::lineage::check_readable;
use crate::versioned::pins::PinKind;
use crate::versioned::{Lineage, PageLimit};
use quorate_model::{MetaError, Revision, ScopeId};

/// What a read sees: one instance, with what it inherits, as of one revision.
#[derive(Clone, Debug)]
pub struct ReadPlace {
    pub scope: ScopeId,
    pub revision: Revision,
    pub lineage: Lineage,
    /// Stamped time of the state that is read.
    now_ms: u64,
}

impl ReadPlace {
    /// The place a request means (revision 0: now). The current revision needs no check; an older one must still be readable.
    pub fn of(reader: &dyn Reader, instance_id: &str, at_revision: u64) -> Result<ReadPlace, QueryError> {
        let counters = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default();
        let revision = Revision(if at_revision == 0 { counters.revision } else { at_revision });
        let scope = attributes::scope_at(reader, instance_id, revision)?;
        if at_revision != 0 {
            check_readable(reader, &counters, scope, revision)?;
        }
        Ok(ReadPlace {
            scope,
            revision,
            lineage: Lineage::of(reader, scope, revision)?,
            now_ms: counters.stamped_ms,
        })
    }
}

/// One page of a list, as it is asked for.
#[derive(Clone, Debug)]
pub struct ListRequest<'a> {
    pub instance_id: &'a str,
    pub page_size: u32,
    pub page_token: &'a str,
    pub at_revision: u64,
}

/// One page of a list, as it is given out.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage<R> {
    pub reply: R,
    /// What must be proposed before the page is given out, so that the next one can still be read.
    pub pin: Option<CreatePin>,
}

/// A list that is under way.
#[derive(Clone, Debug)]
pub struct Listing {
    pub place: ReadPlace,
    pub limit: PageLimit,
    token: Option<PageToken>,
}

impl Listing {
    pub fn open(reader: &dyn Reader, request: &ListRequest<'_>) -> Result<Listing, QueryError> {
        let token = match request.page_token {
            "" => None,
            text => Some(PageToken::parse(text)?),
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
        let place = ReadPlace::of(reader, request.instance_id, at_revision)?;
        if token.as_ref().is_some_and(|token| token.scope != place.scope) {
            let message = format!("page token is of another instance than {:?}; list anew", request.instance_id);
            return Err(MetaError::invalid(message).into());
        }
        let rows = match request.page_size as usize {
            0 => limits::MAX_PAGE_ROWS,
            rows => rows.min(limits::MAX_PAGE_ROWS),
        };
        let limit = PageLimit {
            rows,
            ..PageLimit::default()
        };
        Ok(Listing { place, limit, token })
    }

    /// The key the page before ended with; one outside of `prefix` is of another list.
    pub fn after_key(&self, prefix: &[u8]) -> Result<Option<&[u8]>, MetaError> {
        match &self.token {
            Some(token) if !token.after_key.starts_with(prefix) => Err(MetaError::invalid("page token is of another list; list anew")),
            token => Ok(token.as_ref().map(|token| token.after_key.as_slice())),
        }
    }

    /// The page's end: `make` puts the next page's token into the reply.
    pub fn page<R>(self, resume_after: Option<Vec<u8>>, make: impl FnOnce(String) -> R) -> ListPage<R> {
        let (place, token) = (self.place, self.token);
        let next = resume_after.map(|after_key| PageToken {
            revision: place.revision,
            scope: place.scope,
            began_ms: token.map_or(place.now_ms, |token| token.began_ms),
            after_key,
        });
        ListPage {
            pin: next.as_ref().and_then(|next| next.pin(place.now_ms)),
            reply: make(next.map(|next| next.text()).unwrap_or_default()),
        }
    }
}

/// Where the next page begins: `revision u64 | scope u64 | time ms u64 | last key`, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageToken {
    pub revision: Revision,
    pub scope: ScopeId,
    /// Stamped time of the first page.
    pub began_ms: u64,
    pub after_key: Vec<u8>,
}

/// Bytes of the numbers in front of the key.
pub(super) const TOKEN_HEAD_BYTES: usize = 24;

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

    pub fn text(&self) -> String {
        let numbers = [self.revision.0, self.scope.0, self.began_ms].map(u64::to_be_bytes).concat();
        numbers.iter().chain(&self.after_key).map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn parse(text: &str) -> Result<PageToken, MetaError> {
        let refused = || MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew");
        let bytes = hex_bytes(text, TOKEN_HEAD_BYTES + limits::MAX_LISTED_KEY_BYTES).ok_or_else(refused)?;
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

/// Reads hex of at most `limit` bytes.
pub(super) fn hex_bytes(text: &str, limit: usize) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) || text.len() > 2 * limit {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
