//! Forgets what is to be deleted from a vault that is gone for ever, so that nobody tries it again and no record waits for it. An operator's
//! decision: the deleter itself never takes a vault that does not answer for gone.
//!
//! That nothing is kept in the vault has been looked at before ([`crate::queries::store_uses`]); it is no matter of what follows, because
//! what is condemned stays so. A page at a time, the next one from where the last has stopped.

use crate::catalog::bounds;
use crate::catalog::storage::{self, SameStore};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::condemned::{self, DeletionKey};
use crate::text_bounds;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{AbandonDeletionsReply, AbandonDeletionsRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct AbandonDeletions {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// Id or name; empty: the local directory.
    #[prost(string, tag = "2")]
    pub vault: String,
    /// The last row of the page before; none: begin.
    #[prost(message, optional, tag = "3")]
    pub after: Option<DeletionKey>,
    /// Who asked: kept with the log, changes nothing.
    #[prost(string, tag = "4")]
    pub by: String,
}

impl Prepare for AbandonDeletions {
    type Request = AbandonDeletionsRequest;

    fn prepare(request: AbandonDeletionsRequest, _: &PrepareContext<'_>) -> Result<AbandonDeletions, MetaError> {
        bounds::check_instance(&request.instance_id)?;
        text_bounds::check_text("vault", &request.vault)?;
        text_bounds::check_text("by", &request.by)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(DeletionKey::from_token(token)?),
        };
        Ok(AbandonDeletions {
            instance_id: request.instance_id,
            vault: request.vault,
            after,
            by: request.by,
        })
    }
}

impl Command for AbandonDeletions {
    type Reply = AbandonDeletionsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AbandonDeletionsReply, ApplyError> {
        let store = storage::known_store(context.reader(), &self.instance_id, &self.vault)?;
        let abandoned = condemned::abandon(context, &mut SameStore::new(store), self.after)?;
        Ok(AbandonDeletionsReply {
            directories: abandoned.directories,
            whole_directories: abandoned.whole_directories,
            files: abandoned.files,
            next_page_token: abandoned.next.map_or_else(String::new, |next| next.token()),
        })
    }
}

#[cfg(test)]
mod tests;
