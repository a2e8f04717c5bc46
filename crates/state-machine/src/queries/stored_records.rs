//! Records of ours under upstream's names, as upstream's tools show them: compact JSON, secrets as ciphertext.

use super::QueryError;
use super::instances::get_instance;
use crate::command::read_record;
use crate::instances;
use crate::keys::{self, RecordTable};
use crate::object_stores::Secrets;
use crate::service_account::ConfiguredAccount;
use crate::store::Reader;
use quorate_model::proto_json;
use quorate_wire::doris::{GetInstanceRequest, InstanceInfoPb, StorageVaultPb};

/// An instance with its clusters and nodes, which upstream keeps in one record; `None` when there is none of that id.
pub fn instance(reader: &dyn Reader, instance_id: &str) -> Result<Option<String>, QueryError> {
    if instance_id.is_empty() || !instances::exists(reader, instance_id)? {
        return Ok(None);
    }
    let request = GetInstanceRequest {
        instance_id: Some(instance_id.to_owned()),
        ..GetInstanceRequest::default()
    };
    let shown = get_instance(reader, &request, Secrets::Sealed, &ConfiguredAccount::default())?;
    // The account of the peers is added to replies; it is not part of the record.
    let stored = InstanceInfoPb { iam_user: None, ..shown };
    Ok(Some(json(&stored)))
}

/// A vault of an instance.
pub fn vault(reader: &dyn Reader, instance_id: &str, vault_id: &str) -> Result<Option<String>, QueryError> {
    let Some(scope) = instances::scope_of(reader, instance_id)? else {
        return Ok(None);
    };
    let mut key = keys::record_in_scope(RecordTable::Vault, scope);
    keys::put_escaped(&mut key, vault_id.as_bytes());
    let found: Option<StorageVaultPb> = read_record(reader, &key)?;
    Ok(found.as_ref().map(json))
}

fn json<M: prost::Message + prost::Name>(message: &M) -> String {
    proto_json::compact(&proto_json::render_message(&M::full_name(), message))
}
