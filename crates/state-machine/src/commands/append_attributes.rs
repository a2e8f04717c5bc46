//! Appends bytes to attributes of several instances, all or none, and returns what they hold then: a transaction over
//! several keys. Appending nothing reads: it writes no version, so a transaction may mix reads and writes.

use crate::attributes::{self, Current};
use crate::instances;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::limits;

use bytes::{Bytes, BytesMut};
use quorate_model::{ErrorCode, MetaError, ScopeId};
use quorate_wire::quorate::v1::AppendAttributesRequest;
use quorate_wire::quorate::v1::append_attributes_reply::Appended;
use quorate_wire::quorate::v1::append_attributes_request::Append;

/// What it answers is the call's reply.
pub use quorate_wire::quorate::v1::AppendAttributesReply;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendAttributes {
    #[prost(message, repeated, tag = "1")]
    pub appends: Vec<AppendAttribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendAttribute {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    /// Empty: only read.
    #[prost(bytes = "bytes", tag = "3")]
    pub suffix: Bytes,
}

impl Prepare for AppendAttributes {
    type Request = AppendAttributesRequest;

    fn prepare(request: AppendAttributesRequest, _context: &PrepareContext<'_>) -> Result<AppendAttributes, MetaError> {
        let append = |append: Append| AppendAttribute {
            instance_id: append.instance_id,
            name: append.name,
            suffix: append.suffix,
        };
        let appends: Vec<AppendAttribute> = request.appends.into_iter().map(append).collect();
        for append in &appends {
            attributes::check_names(&append.instance_id, &append.name)?;
            attributes::check_value(&append.name, append.suffix.len())?;
        }
        let command = AppendAttributes { appends };
        command.check()?;
        check_total(command.appends.iter().map(|append| append.suffix.len()).sum())?;
        Ok(command)
    }
}

impl AppendAttributes {
    fn check(&self) -> Result<(), MetaError> {
        if self.appends.is_empty() || self.appends.len() > limits::MAX_APPEND_KEYS {
            let message = format!(
                "append names {} attributes, allowed are 1 to {}",
                self.appends.len(),
                limits::MAX_APPEND_KEYS
            );
            return Err(MetaError::invalid(message));
        }
        attributes::check_distinct(
            self.appends
                .iter()
                .map(|append| (append.instance_id.as_str(), append.name.as_str())),
        )
    }
}

fn check_total(bytes: usize) -> Result<(), MetaError> {
    if bytes <= limits::MAX_APPEND_REPLY_BYTES {
        return Ok(());
    }
    let limit = limits::MAX_APPEND_REPLY_BYTES;
    Err(MetaError::new(
        ErrorCode::TooLarge,
        format!("the appended attributes hold {bytes} bytes together, limit {limit}; split the request"),
    ))
}

/// An attribute as it is and as it shall be.
struct Step {
    scope: ScopeId,
    current: Current,
    value: Bytes,
}

impl Command for AppendAttributes {
    type Reply = AppendAttributesReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AppendAttributesReply, ApplyError> {
        self.check()?;
        let steps = self
            .appends
            .iter()
            .map(|append| look_up(context, append))
            .collect::<Result<Vec<Step>, ApplyError>>()?;
        check_total(steps.iter().map(|step| step.value.len()).sum())?;
        let mut reply = AppendAttributesReply::default();
        for (append, step) in self.appends.iter().zip(steps) {
            let mut revision = step.current.live_revision();
            if !append.suffix.is_empty() {
                attributes::write(context, step.scope, &append.name, Some(&step.value), step.current);
                revision = context.revision().0;
            }
            reply.attributes.push(Appended {
                value: step.value,
                revision,
            });
        }
        Ok(reply)
    }
}

fn look_up(context: &ApplyContext<'_, '_>, append: &AppendAttribute) -> Result<Step, ApplyError> {
    let scope = instances::writable_scope(context.reader(), &append.instance_id)?;
    let current = attributes::current(context.reader(), scope, &append.name)?;
    let mut value = BytesMut::new();
    if let Some(before) = attributes::value(context.reader(), &append.name, current)? {
        value.extend_from_slice(&before);
    }
    value.extend_from_slice(&append.suffix);
    attributes::check_value(&append.name, value.len())?;
    Ok(Step {
        scope,
        current,
        value: value.freeze(),
    })
}

#[cfg(test)]
mod tests;
