//! Moves an instance between NORMAL and OVERDUE. The route also obeys DROP, because upstream's takes any operation.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Instance, Route};
use crate::text_bounds;
use quorate_model::MetaError;
use quorate_wire::doris::AlterInstanceRequest;
use quorate_wire::doris::alter_instance_request::Operation;
use quorate_wire::doris::instance_info_pb::Status;

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetInstanceStatus {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(enumeration = "InstanceStatusChange", tag = "2")]
    pub change: i32,
}

/// What to do with the instance. Numbers are stored in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum InstanceStatusChange {
    Unset = 0,
    SetNormal = 1,
    SetOverdue = 2,
    Drop = 3,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetInstanceStatusReply {}

impl Prepare for SetInstanceStatus {
    type Request = AlterInstanceRequest;

    fn prepare(request: AlterInstanceRequest, _: &PrepareContext<'_>) -> Result<SetInstanceStatus, MetaError> {
        text_bounds::check_texts(&[("instance_id", &request.instance_id)])?;
        let change = match request.op() {
            Operation::SetNormal => InstanceStatusChange::SetNormal,
            Operation::SetOverdue => InstanceStatusChange::SetOverdue,
            Operation::Drop => InstanceStatusChange::Drop,
            other => return Err(unknown_operation(other as i32)),
        };
        if request.instance_id().is_empty() {
            return Err(MetaError::invalid("instance id not set"));
        }
        Ok(SetInstanceStatus {
            instance_id: request.instance_id.unwrap_or_default(),
            change: change as i32,
        })
    }
}

fn unknown_operation(number: i32) -> MetaError {
    MetaError::invalid(format!("invalid request op, op={number}"))
}

impl Command for SetInstanceStatus {
    type Reply = SetInstanceStatusReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<SetInstanceStatusReply, ApplyError> {
        match self.change() {
            InstanceStatusChange::Unset => return Err(unknown_operation(0).into()),
            InstanceStatusChange::Drop => instances::drop(context, &self.instance_id)?,
            InstanceStatusChange::SetNormal => set_status(context, &self.instance_id, Status::Normal)?,
            InstanceStatusChange::SetOverdue => set_status(context, &self.instance_id, Status::Overdue)?,
        }
        Ok(SetInstanceStatusReply {})
    }
}

fn set_status(context: &mut ApplyContext<'_, '_>, instance_id: &str, wanted: Status) -> Result<(), ApplyError> {
    let mut instance = instances::require(context.reader(), instance_id, Route::AlterInstance)?;
    check_move(&instance, instance_id, wanted)?;
    instance.info.set_status(wanted);
    instance.info.mtime = Some(context.now().seconds());
    instances::put(context, &instance);
    Ok(())
}

fn check_move(instance: &Instance, instance_id: &str, wanted: Status) -> Result<(), MetaError> {
    let text = match (instance.info.status(), wanted) {
        (Status::Deleted, Status::Normal) => "can't set deleted instance to normal",
        (Status::Deleted, _) => "can't set deleted instance to overdue",
        (Status::Normal, Status::Normal) => "the instance is already normal",
        (Status::Overdue, Status::Overdue) => "the instance has already set  instance to overdue",
        _ => return Ok(()),
    };
    Err(MetaError::invalid(format!("{text}, instance_id = {instance_id}")))
}

#[cfg(test)]
mod tests;
