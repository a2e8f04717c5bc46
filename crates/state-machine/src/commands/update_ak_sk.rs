//! Rotates the keys of an instance's cloud account and of the accounts that its object stores belong to. All or nothing: one entry that cannot be changed leaves all as they were.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::sealed::SealedUser;
use crate::{limits, storage_request, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::{InstanceInfoPb, RamUserPb, UpdateAkSkRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateAkSk {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// Accounts of object stores, by `user_id`.
    #[prost(message, repeated, tag = "2")]
    pub bucket_users: Vec<SealedUser>,
    /// The instance's own account.
    #[prost(message, optional, tag = "3")]
    pub ram_user: Option<SealedUser>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateAkSkReply {}

impl Prepare for UpdateAkSk {
    type Request = UpdateAkSkRequest;

    fn prepare(request: UpdateAkSkRequest, context: &PrepareContext<'_>) -> Result<UpdateAkSk, MetaError> {
        text_bounds::check_texts(&[("instance_id", &request.instance_id)])?;
        if request.instance_id().is_empty() {
            return Err(MetaError::invalid("instance id not set"));
        }
        if request.internal_bucket_user.is_empty() && request.ram_user.is_none() {
            return Err(MetaError::invalid("nothing to update"));
        }
        let (users, limit) = (request.internal_bucket_user.len(), limits::MAX_BUCKET_USERS);
        if users > limit {
            let message = format!("internal_bucket_user has {users} entries, limit {limit}; split the request");
            return Err(MetaError::invalid(message));
        }
        let seal = |user: RamUserPb| {
            check_user_bounds(&user)?;
            SealedUser::seal(context.secrets, user)
        };
        let command = UpdateAkSk {
            bucket_users: request.internal_bucket_user.into_iter().map(seal).collect::<Result<_, _>>()?,
            ram_user: request.ram_user.map(seal).transpose()?,
            instance_id: request.instance_id.unwrap_or_default(),
        };
        text_bounds::check_command_size("update_ak_sk", &command)?;
        Ok(command)
    }
}

/// Refuses texts of an account that are too long.
pub(crate) fn check_user_bounds(user: &RamUserPb) -> Result<(), MetaError> {
    text_bounds::check_texts(&[
        ("user_id", &user.user_id),
        ("ak", &user.ak),
        ("sk", &user.sk),
        ("external_id", &user.external_id),
    ])
}

impl Command for UpdateAkSk {
    type Reply = UpdateAkSkReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<UpdateAkSkReply, ApplyError> {
        // No store is opened with the instance's own account.
        let route = match self.ram_user {
            Some(_) => Route::ChangeStorage,
            None => Route::ChangeKeys,
        };
        let mut instance = instances::require(context.reader(), &self.instance_id, route)?;
        if let Some(given) = &self.ram_user {
            self.change_own_account(&mut instance.info, given)?;
        }
        if !self.bucket_users.is_empty() {
            self.change_stores(&mut instance.info, context.now().seconds())?;
        }
        instances::put(context, &instance);
        Ok(UpdateAkSkReply {})
    }
}

impl UpdateAkSk {
    fn change_own_account(&self, info: &mut InstanceInfoPb, given: &SealedUser) -> Result<(), MetaError> {
        if !given.is_complete() {
            return Err(MetaError::invalid(format!("ram user info err {}", self.quoted())));
        }
        let Some(stored) = &mut info.ram_user else {
            return Err(MetaError::invalid("instance doesn't have ram user info"));
        };
        if stored.user_id() != given.user.user_id() {
            return Err(MetaError::invalid("ram user_id err"));
        }
        if given.has_keys_of(stored) {
            return Err(unchanged());
        }
        // What the request leaves out of an account stays.
        let external_id = given.user.external_id.clone().or(stored.external_id.take());
        *stored = RamUserPb {
            external_id,
            ..given.user.clone()
        };
        Ok(())
    }

    fn change_stores(&self, info: &mut InstanceInfoPb, now_seconds: i64) -> Result<(), MetaError> {
        let mut found = false;
        for given in &self.bucket_users {
            if !given.is_complete() {
                return Err(MetaError::invalid(format!("s3 bucket info err {}", self.quoted())));
            }
            for store in &mut info.obj_info {
                if store.user_id().is_empty() {
                    if self.bucket_users.len() > 1 {
                        let message = format!("fail to update old instance's obj_info, s3 obj info err {}", self.quoted());
                        return Err(MetaError::invalid(message));
                    }
                    // A store from before accounts had ids belongs to the only one there is.
                    store.user_id = given.user.user_id.clone();
                }
                if store.user_id() != given.user.user_id() {
                    continue;
                }
                if given.has_keys_of_store(store) {
                    return Err(unchanged());
                }
                given.give_keys_to(store);
                store.mtime = Some(now_seconds);
                found = true;
            }
        }
        if found {
            Ok(())
        } else {
            Err(MetaError::invalid("fail to find the alter obj info"))
        }
    }

    /// The request as error texts quote it, but for its secrets.
    fn quoted(&self) -> String {
        let users = self.bucket_users.iter();
        text_bounds::json_text(&UpdateAkSkRequest {
            instance_id: Some(self.instance_id.clone()),
            internal_bucket_user: users.map(|given| storage_request::hidden_user(&given.user)).collect(),
            ram_user: self.ram_user.as_ref().map(|given| storage_request::hidden_user(&given.user)),
            request_ip: None,
        })
    }
}

fn unchanged() -> MetaError {
    MetaError::invalid("ak sk eq original, please check it")
}

#[cfg(test)]
mod tests;
