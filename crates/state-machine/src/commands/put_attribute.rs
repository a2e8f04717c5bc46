//! Sets one attribute of an instance.

use crate::{attributes, instances};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use bytes::Bytes;
use quorate_model::{MetaError, mutant};
use quorate_wire::quorate::v1::{PutAttributeReply, PutAttributeRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct PutAttribute {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub value: Bytes,
    /// Present: refuse unless last written at this revision (0: unless absent).
    #[prost(uint64, optional, tag = "4")]
    pub if_revision: Option<u64>,
}

impl Prepare for PutAttribute {
    type Request = PutAttributeRequest;

    fn prepare(request: PutAttributeRequest, _context: &PrepareContext<'_>) -> Result<PutAttribute, MetaError> {
        let PutAttributeRequest {
            instance_id,
            name,
            value,
            if_revision,
        } = request;
        attributes::check_names(&instance_id, &name)?;
        attributes::check_value(&name, value.len())?;
        Ok(PutAttribute {
            instance_id,
            name,
            value,
            if_revision,
        })
    }
}

impl Command for PutAttribute {
    type Reply = PutAttributeReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<PutAttributeReply, ApplyError> {
        let scope = instances::writable_scope(context.reader(), &self.instance_id)?;
        let current = attributes::current(context.reader(), scope, &self.name)?;
        if !mutant!("blind-compare-and-set") {
            attributes::check_revision(&self.name, current, self.if_revision)?;
        }
        attributes::write(context, scope, &self.name, Some(&self.value), current);
        Ok(PutAttributeReply {
            revision: context.revision().0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::row_hash;
    use crate::keys::{self, VersionedTable};
    use crate::testing::{Bench, DROPPED, INSTANCE};
    use quorate_model::{ErrorCode, Revision};

    fn put(name: &str, value: &[u8], if_revision: Option<u64>) -> PutAttribute {
        PutAttribute {
            instance_id: INSTANCE.into(),
            name: name.into(),
            value: Bytes::copy_from_slice(value),
            if_revision,
        }
    }

    #[test]
    fn compare_and_set_sees_the_last_write_and_absence() {
        let mut bench = Bench::new();
        let first = bench.run(&put("a", b"1", Some(0))).expect("absent").revision;
        assert_eq!(bench.refusal(&put("a", b"2", Some(0))), ErrorCode::PreconditionFailed);
        assert_eq!(bench.refusal(&put("a", b"2", Some(first + 1))), ErrorCode::PreconditionFailed);
        let second = bench.run(&put("a", b"2", Some(first))).expect("matches").revision;
        assert_eq!(second, first + 1, "refusals take no revision");
        let third = bench.run(&put("a", b"3", None)).expect("unconditional").revision;
        assert_eq!(third, second + 1);
    }

    #[test]
    fn the_index_row_says_where_the_newest_version_is_and_what_it_adds_to_the_digest() {
        let mut bench = Bench::new();
        for value in [b"1", b"2"] {
            let revision = bench.run(&put("a", value, None)).expect("put").revision;
            let row = keys::versioned(VersionedTable::Attribute, bench.scope(), b"a", Revision(revision));
            let hash = row_hash(&row, &bench.store.rows[&row]);
            let index = &bench.store.rows[&attributes::index_key("a", bench.scope())];
            assert_eq!(index[..], [&revision.to_be_bytes()[..], &hash.to_be_bytes()].concat());
        }
    }

    #[test]
    fn missing_and_dropped_instances_are_not_found() {
        let mut bench = Bench::new();
        for instance in ["nobody", DROPPED] {
            let command = PutAttribute {
                instance_id: instance.into(),
                ..put("a", b"", None)
            };
            assert_eq!(bench.refusal(&command), ErrorCode::NotFound, "{instance}");
        }
    }

    #[test]
    fn prepare_refuses_names_and_values_out_of_bounds() {
        let prepare = |name: String, value: usize, instance: &str| {
            let request = PutAttributeRequest {
                instance_id: instance.into(),
                name,
                value: vec![0; value].into(),
                if_revision: None,
            };
            crate::testing::prepare::<PutAttribute>(request).map_err(|error| error.code)
        };
        assert!(prepare("x".repeat(512), 128 << 10, "i").is_ok());
        assert_eq!(prepare("x".repeat(513), 0, "i"), Err(ErrorCode::InvalidArgument));
        assert_eq!(prepare(String::new(), 0, "i"), Err(ErrorCode::InvalidArgument));
        assert_eq!(prepare("x".into(), 0, ""), Err(ErrorCode::InvalidArgument));
        assert_eq!(prepare("x".into(), (128 << 10) + 1, "i"), Err(ErrorCode::TooLarge));
    }
}
