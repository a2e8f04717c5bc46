//! Sets the cloud account that peers work under, for all instances. It replaces the configured one.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::commands::update_ak_sk::check_user_bounds;
use crate::sealed::SealedUser;
use crate::service_account;
use quorate_model::MetaError;
use quorate_wire::doris::{AlterIamRequest, RamUserPb};

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterIam {
    #[prost(message, required, tag = "1")]
    pub account: SealedUser,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterIamReply {}

impl Prepare for AlterIam {
    type Request = AlterIamRequest;

    fn prepare(request: AlterIamRequest, context: &PrepareContext<'_>) -> Result<AlterIam, MetaError> {
        let account = RamUserPb {
            user_id: request.account_id,
            ak: request.ak,
            sk: request.sk,
            ..Default::default()
        };
        check_user_bounds(&account)?;
        let account = SealedUser::seal(context.secrets, account)?;
        if !account.is_complete() {
            return Err(MetaError::invalid("invalid argument"));
        }
        Ok(AlterIam { account })
    }
}

impl Command for AlterIam {
    type Reply = AlterIamReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AlterIamReply, ApplyError> {
        if let Some(stored) = service_account::stored(context.reader())?
            && stored.user_id() == self.account.user.user_id()
            && self.account.has_keys_of(&stored)
        {
            return Err(MetaError::invalid("already has the same arn info").into());
        }
        service_account::put(context, &self.account.user);
        Ok(AlterIamReply {})
    }
}

#[cfg(test)]
mod tests;
