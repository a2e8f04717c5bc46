//! Deletes one attribute of an instance. Deleting one that is gone succeeds and changes nothing.

use crate::{attributes, instances};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{DeleteAttributeReply, DeleteAttributeRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteAttribute {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    /// Present: refuse unless last written at this revision (0: unless absent).
    #[prost(uint64, optional, tag = "3")]
    pub if_revision: Option<u64>,
}

impl Prepare for DeleteAttribute {
    type Request = DeleteAttributeRequest;

    fn prepare(request: DeleteAttributeRequest, _context: &PrepareContext<'_>) -> Result<DeleteAttribute, MetaError> {
        let DeleteAttributeRequest {
            instance_id,
            name,
            if_revision,
        } = request;
        attributes::check_names(&instance_id, &name)?;
        Ok(DeleteAttribute {
            instance_id,
            name,
            if_revision,
        })
    }
}

impl Command for DeleteAttribute {
    type Reply = DeleteAttributeReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DeleteAttributeReply, ApplyError> {
        let scope = instances::writable_scope(context.reader(), &self.instance_id)?;
        let current = attributes::current(context.reader(), scope, &self.name)?;
        attributes::check_revision(&self.name, current, self.if_revision)?;
        if !current.is_live() {
            return Ok(DeleteAttributeReply {
                revision: context.counters.revision,
                existed: false,
            });
        }
        attributes::write(context, scope, &self.name, None, current);
        Ok(DeleteAttributeReply {
            revision: context.revision().0,
            existed: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::VersionedTable;
    use crate::versioned;
    use crate::commands::PutAttribute;
    use crate::testing::{Bench, DROPPED, INSTANCE};
    use quorate_model::{ErrorCode, Revision};

    fn delete(instance: &str, if_revision: Option<u64>) -> DeleteAttribute {
        DeleteAttribute {
            instance_id: instance.into(),
            name: "a".into(),
            if_revision,
        }
    }

    #[test]
    fn delete_leaves_history_and_no_index_row() {
        let mut bench = Bench::new();
        let put = PutAttribute {
            instance_id: INSTANCE.into(),
            name: "a".into(),
            value: "x".into(),
            if_revision: None,
        };
        let written = bench.run(&put).expect("put").revision;
        let index = attributes::index_key("a", bench.scope());
        assert!(bench.store.rows.contains_key(&index));
        assert_eq!(bench.refusal(&delete(INSTANCE, Some(0))), ErrorCode::PreconditionFailed);
        let deleted = bench.run(&delete(INSTANCE, Some(written))).expect("delete");
        assert_eq!(
            deleted,
            DeleteAttributeReply {
                revision: written + 1,
                existed: true
            }
        );
        assert!(!bench.store.rows.contains_key(&index));
        let at =
            |revision| versioned::get_at(&bench.store, VersionedTable::Attribute, bench.scope(), b"a", Revision(revision)).expect("read");
        assert_eq!(at(written), Some((Revision(written), "x".into())));
        assert_eq!(at(written + 1), None);
    }

    #[test]
    fn deleting_what_is_gone_takes_no_revision() {
        let mut bench = Bench::new();
        let before = bench.machine.revision().0;
        let reply = bench.run(&delete(INSTANCE, Some(0))).expect("absent, as expected");
        assert_eq!(
            reply,
            DeleteAttributeReply {
                revision: before,
                existed: false
            }
        );
        assert_eq!(bench.machine.revision().0, before);
        assert_eq!(bench.refusal(&delete(INSTANCE, Some(7))), ErrorCode::PreconditionFailed);
        assert_eq!(bench.refusal(&delete(DROPPED, None)), ErrorCode::NotFound);
    }
}
