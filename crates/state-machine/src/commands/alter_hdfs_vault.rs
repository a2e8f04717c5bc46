//! Renames an HDFS vault, or changes how it is accessed; its place never changes, because table data is there.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::storage_request::{self, StorageCall};
use crate::{instances, limits, vaults};
use prost::Message;
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::doris::HdfsBuildConf;
use quorate_wire::doris::alter_obj_store_info_request::Operation;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterHdfsVault {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, optional, tag = "3")]
    pub alter_name: Option<String>,
    /// What is set here changes; `hdfs_confs` are added to those there are, by key.
    #[prost(message, required, tag = "4")]
    pub given: HdfsBuildConf,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterHdfsVaultReply {
    #[prost(string, tag = "1")]
    pub vault_id: String,
}

impl Prepare for AlterHdfsVault {
    type Request = StorageCall;

    fn prepare(call: StorageCall, _: &PrepareContext<'_>) -> Result<AlterHdfsVault, MetaError> {
        let request = call.request_for(Operation::AlterHdfsVault);
        let vault = request.vault.clone().unwrap_or_default();
        let Some(hdfs) = &vault.hdfs_info else {
            return Err(MetaError::invalid("There is no hdfs vault provided"));
        };
        let given = hdfs.build_conf.clone().unwrap_or_default();
        if hdfs.prefix.is_some() || given.fs_name.is_some() {
            let message = "You can not alter prefix or fs name because it might lose previoud written data";
            return Err(MetaError::invalid(message));
        }
        let cloud_unique_id = storage_request::caller(&request)?;
        vaults::check_bounds(&vault)?;
        Ok(AlterHdfsVault {
            cloud_unique_id,
            name: vault.name.unwrap_or_default(),
            alter_name: vault.alter_name,
            given,
        })
    }
}

impl Command for AlterHdfsVault {
    type Reply = AlterHdfsVaultReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AlterHdfsVaultReply, ApplyError> {
        let mut instance = storage_request::instance_to_change(context.reader(), &self.cloud_unique_id)?;
        let position = vaults::find_to_alter(&instance.info, &self.name)?;
        let mut vault = vaults::read(context.reader(), &instance, position)?;
        let Some(hdfs) = &mut vault.hdfs_info else {
            return Err(MetaError::invalid(format!("{} is not hdfs storage vault", self.name)).into());
        };
        self.change(hdfs.build_conf.get_or_insert_default());
        let bytes = vault.encoded_len();
        if bytes > limits::MAX_VAULT_BYTES {
            let (name, limit) = (&self.name, limits::MAX_VAULT_BYTES);
            let message = format!("vault {name} would be {bytes} bytes, limit {limit} bytes; add fewer settings");
            return Err(MetaError::new(ErrorCode::TooLarge, message).into());
        }
        if let Some(new_name) = &self.alter_name {
            vaults::rename(&mut instance.info, position, &mut vault, new_name)?;
            instances::put(context, &instance);
        }
        context.put_record(vaults::key(instance.scope, vault.id()), &vault);
        Ok(AlterHdfsVaultReply {
            vault_id: vault.id.unwrap_or_default(),
        })
    }
}

impl AlterHdfsVault {
    fn change(&self, stored: &mut HdfsBuildConf) {
        let given = self.given.clone();
        stored.user = given.user.or(stored.user.take());
        stored.hdfs_kerberos_principal = given.hdfs_kerberos_principal.or(stored.hdfs_kerberos_principal.take());
        stored.hdfs_kerberos_keytab = given.hdfs_kerberos_keytab.or(stored.hdfs_kerberos_keytab.take());
        for conf in given.hdfs_confs {
            match stored.hdfs_confs.iter_mut().find(|other| other.key == conf.key) {
                Some(other) => other.value = conf.value,
                None => stored.hdfs_confs.push(conf),
            }
        }
    }
}

#[cfg(test)]
mod tests;
