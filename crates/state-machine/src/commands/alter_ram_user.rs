//! Sets or replaces the cloud account of an instance. Equal to what is stored is no error.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::commands::update_ak_sk::check_user_bounds;
use crate::instances::{self, Route};
use crate::{object_stores, storage_request, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::{AlterRamUserRequest, RamUserPb};

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterRamUser {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// `sk` is ciphertext.
    #[prost(message, required, tag = "2")]
    pub ram_user: RamUserPb,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterRamUserReply {}

impl Prepare for AlterRamUser {
    type Request = AlterRamUserRequest;

    fn prepare(request: AlterRamUserRequest, context: &PrepareContext<'_>) -> Result<AlterRamUser, MetaError> {
        if request.instance_id().is_empty() {
            return Err(MetaError::invalid("empty instance_id"));
        }
        text_bounds::check_texts(&[("instance_id", &request.instance_id)])?;
        let given = request.ram_user.clone().unwrap_or_default();
        if given.user_id().is_empty() || given.ak().is_empty() || given.sk().is_empty() {
            return Err(MetaError::invalid(format!("ram user info err {}", quoted(request))));
        }
        check_user_bounds(&given)?;
        let mut ram_user = given;
        object_stores::seal_user(context.secrets, &mut ram_user)?;
        Ok(AlterRamUser {
            instance_id: request.instance_id.unwrap_or_default(),
            ram_user,
        })
    }
}

fn quoted(mut request: AlterRamUserRequest) -> String {
    request.ram_user = request.ram_user.as_ref().map(storage_request::hidden_user);
    text_bounds::json_text(&request)
}

impl Command for AlterRamUser {
    type Reply = AlterRamUserReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AlterRamUserReply, ApplyError> {
        let mut instance = instances::require(context.reader(), &self.instance_id, Route::ChangeStorage)?;
        instance.info.ram_user = Some(self.ram_user.clone());
        instances::put(context, &instance);
        Ok(AlterRamUserReply {})
    }
}

#[cfg(test)]
mod tests;
