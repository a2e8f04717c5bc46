//! Renames an S3 vault, or gives it new keys, a role, or another style of addressing; its place never changes, because
//! table data is there.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances;
use crate::sealed::SealedStore;
use crate::storage_request::{self, StorageCall};
use crate::{object_stores, text_bounds, vaults};
use quorate_model::MetaError;
use quorate_wire::doris::alter_obj_store_info_request::Operation;
use quorate_wire::doris::ObjectStoreInfoPb;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterS3Vault {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, optional, tag = "3")]
    pub alter_name: Option<String>,
    /// What is set here of `ak`, `sk`, `role_arn`, `external_id` and `use_path_style` changes.
    #[prost(message, required, tag = "4")]
    pub given: SealedStore,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterS3VaultReply {
    #[prost(string, tag = "1")]
    pub vault_id: String,
}

impl Prepare for AlterS3Vault {
    type Request = StorageCall;

    fn prepare(call: StorageCall, context: &PrepareContext<'_>) -> Result<AlterS3Vault, MetaError> {
        let request = call.request_for(Operation::AlterS3Vault);
        let vault = request.vault.clone().unwrap_or_default();
        let Some(store) = &vault.obj_info else {
            return Err(MetaError::invalid("There is no s3 vault provided"));
        };
        if store.bucket.is_some() || store.endpoint.is_some() || store.prefix.is_some() || store.provider.is_some() {
            return Err(MetaError::invalid("Bucket, endpoint, prefix and provider can not be altered"));
        }
        let cloud_unique_id = storage_request::caller(&request)?;
        vaults::check_bounds(&vault)?;
        let given = ObjectStoreInfoPb {
            ak: store.ak.clone(),
            sk: store.sk.clone(),
            role_arn: store.role_arn.clone(),
            external_id: store.external_id.clone(),
            use_path_style: store.use_path_style,
            ..Default::default()
        };
        let command = AlterS3Vault {
            cloud_unique_id,
            name: vault.name.unwrap_or_default(),
            alter_name: vault.alter_name,
            given: SealedStore::seal(context.secrets, given)?,
        };
        text_bounds::check_command_size("alter_s3_vault", &command)?;
        Ok(command)
    }
}

impl Command for AlterS3Vault {
    type Reply = AlterS3VaultReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AlterS3VaultReply, ApplyError> {
        let find = match self.gives_access_only() {
            true => storage_request::instance_to_rekey,
            false => storage_request::instance_to_change,
        };
        let mut instance = find(context.reader(), &self.cloud_unique_id)?;
        let name = &self.name;
        let position = vaults::find_to_alter(&instance.info, name)?;
        let mut vault = vaults::read(context.reader(), &instance, position)?;
        if vault.obj_info.is_none() {
            return Err(MetaError::invalid(format!("{name} is not s3 storage vault")).into());
        }
        if let Some(new_name) = &self.alter_name {
            vaults::rename(&mut instance.info, position, &mut vault, new_name)?;
        }
        if let Some(store) = &mut vault.obj_info {
            self.change_access(store)?;
            store.mtime = Some(context.now().seconds());
        }
        context.put_record(vaults::key(instance.scope, vault.id()), &vault);
        if self.alter_name.is_some() {
            instances::put(context, &instance);
        }
        Ok(AlterS3VaultReply {
            vault_id: vault.id.unwrap_or_default(),
        })
    }
}

impl AlterS3Vault {
    /// Whether keys or a role are all that changes.
    fn gives_access_only(&self) -> bool {
        let given = &self.given.store;
        let gives_access = given.ak.is_some() || given.sk.is_some() || given.role_arn.is_some();
        gives_access && self.alter_name.is_none() && given.use_path_style.is_none()
    }

    fn change_access(&self, store: &mut ObjectStoreInfoPb) -> Result<(), MetaError> {
        let given = &self.given.store;
        match (given.role_arn.as_deref(), given.ak.as_deref(), given.sk.as_deref()) {
            (None, None, None) => {}
            (Some(_), None, None) if !object_stores::can_assume_roles(store) => {
                return Err(MetaError::invalid("role_arn is only supported for S3 and OSS providers"));
            }
            (Some(role_arn), None, None) if !role_arn.is_empty() => {
                object_stores::take_role(store, role_arn, given.external_id.as_deref());
            }
            (Some(_), None, None) => return Err(MetaError::invalid("object storage conf info err with role_arn, please check it")),
            (Some(_), _, _) => return Err(storage_request::keys_and_role()),
            (None, Some(ak), Some(sk)) if !ak.is_empty() && !sk.is_empty() => self.given.give_keys_to(store),
            (None, _, _) => return Err(MetaError::invalid("Accesskey and secretkey must be alter together")),
        }
        if given.use_path_style.is_some() {
            store.use_path_style = given.use_path_style;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
