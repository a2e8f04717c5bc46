//! Reads of object stores, vaults and stages, as the Doris routes answer them; and one write that is always refused, which
//! therefore needs no place in the log.

use super::QueryError;
use crate::instances::{self, Route};
use crate::object_stores::{self, Secrets};
use crate::storage_request::{self, StorageCall};
use crate::store::Reader;
use crate::{text_bounds, vaults};
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::doris::alter_obj_store_info_request::Operation;
use quorate_wire::doris::stage_pb::StageType;
use quorate_wire::doris::{GetObjStoreInfoRequest, GetObjStoreInfoResponse, GetStageRequest, GetStageResponse};

/// The object stores and vaults of the caller's instance. `status` is left to the caller.
pub fn get_obj_store_info(
    reader: &dyn Reader,
    request: &GetObjStoreInfoRequest,
    secrets: Secrets<'_>,
) -> Result<GetObjStoreInfoResponse, QueryError> {
    storage_request::check_caller(request.cloud_unique_id())?;
    let instance_id = storage_request::instance_id(reader, request.cloud_unique_id())?;
    let mut instance = instances::require(reader, &instance_id, Route::Read)?;
    object_stores::show_secrets(secrets, &mut instance.info)?;
    let mut storage_vault = vaults::all(reader, &instance)?;
    if let Secrets::Unsealed(secrets) = secrets {
        for store in storage_vault.iter_mut().filter_map(|vault| vault.obj_info.as_mut()) {
            object_stores::unseal_store(secrets, store)?;
        }
    }
    let info = instance.info;
    Ok(GetObjStoreInfoResponse {
        status: None,
        obj_info: info.obj_info,
        storage_vault,
        default_storage_vault_id: info.default_storage_vault_id,
        default_storage_vault_name: info.default_storage_vault_name,
        enable_storage_vault: Some(info.enable_storage_vault.unwrap_or_default()),
    })
}

/// Why an S3 vault is not dropped: whatever else is wrong with the request, else that no such operation exists.
pub fn drop_s3_vault(reader: &dyn Reader, call: &StorageCall) -> Result<(), QueryError> {
    let request = call.request_for(Operation::DropS3Vault);
    storage_request::given_store(&request)?;
    storage_request::instance_to_change(reader, &storage_request::caller(&request)?)?;
    Err(MetaError::invalid(format!("invalid request op, op={}", Operation::DropS3Vault as i32)).into())
}

/// The stages of an instance. None can be created yet, so no request finds one: what is left is to refuse in the contract's
/// words, and to list none.
pub fn get_stage(reader: &dyn Reader, request: &GetStageRequest) -> Result<GetStageResponse, QueryError> {
    storage_request::check_caller(request.cloud_unique_id())?;
    let instance_id = storage_request::instance_id(reader, request.cloud_unique_id())?;
    let stage_type = request.r#type.and_then(|number| StageType::try_from(number).ok());
    let stage_type = stage_type.ok_or_else(|| MetaError::invalid("stage type not set"))?;
    if stage_type == StageType::Internal {
        for (field, text) in [("name", request.mysql_user_name()), ("id", request.mysql_user_id())] {
            if text.is_empty() {
                return Err(MetaError::invalid(format!("mysql user {field} not set")).into());
            }
        }
    }
    let instance = instances::require(reader, &instance_id, Route::Read)?;
    let refused = |code, message: String| Err(MetaError::new(code, message).into());
    match stage_type {
        StageType::External if request.stage_name.is_none() => Ok(GetStageResponse::default()),
        StageType::External => {
            let message = format!("stage not found with {}", text_bounds::json_text(request));
            refused(ErrorCode::StageNotFound, message)
        }
        StageType::Internal if instance.info.obj_info.is_empty() => {
            let message = "impossible, instance must have at least one obj_info.";
            refused(ErrorCode::LimitReached, message.to_owned())
        }
        StageType::Internal => refused(ErrorCode::StageNotFound, "stage not found, create a new one".to_owned()),
    }
}

#[cfg(test)]
mod tests;
