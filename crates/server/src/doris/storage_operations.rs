//! The two gRPC calls that change object stores and vaults: `op` chooses the command. Over HTTP each has a route of its own.

use super::call::Call;
use super::read::refuse_to_drop_s3_vault;
use super::write::propose;
use quorate_model::{MetaError, Revision};
use quorate_state_machine::commands::{
    AddHdfsVault, AddObjInfo, AddS3Vault, AlterHdfsVault, AlterObjInfo, AlterS3Vault, DropHdfsVault, LegacyUpdateAkSk, SetDefaultVault,
    UnsetDefaultVault,
};
use quorate_state_machine::storage_request;
use quorate_state_machine::vaults::VaultReply;
use quorate_wire::doris::alter_obj_store_info_request::Operation;
use quorate_wire::doris::{AlterObjStoreInfoRequest, AlterObjStoreInfoResponse};

/// Revision, `msg`, and what is told beside it.
type Altered = (Revision, &'static str, AlterObjStoreInfoResponse);

/// Changes an object store outside of vaults as `op` says.
pub async fn alter_obj_store_info(request: AlterObjStoreInfoRequest, call: &Call) -> Result<Altered, MetaError> {
    let (revision, note) = match request.op() {
        Operation::AddObjInfo => (propose::<AddObjInfo>(request, call).await?.0, ""),
        Operation::LegacyUpdateAkSk => noted(propose::<LegacyUpdateAkSk>(request, call).await?),
        Operation::AlterObjInfo => noted(propose::<AlterObjInfo>(request, call).await?),
        Operation::UpdateAkSk => return Err(unknown_operation(&request)),
        Operation::Unknown => {
            let text = storage_request::quoted(&request);
            return Err(MetaError::invalid(format!("Unknown alter info {text}")));
        }
        _ => {
            let text = storage_request::quoted(&request);
            return Err(MetaError::invalid(format!("Unknown alter obj store info, request info {text}")));
        }
    };
    Ok((revision, note, AlterObjStoreInfoResponse::default()))
}

fn noted((revision, reply): (Revision, quorate_state_machine::object_store_keys::StoreKeysReply)) -> (Revision, &'static str) {
    (revision, reply.note())
}

/// Changes a vault, or which one is the default, as `op` says.
pub async fn alter_storage_vault(request: AlterObjStoreInfoRequest, call: &Call) -> Result<Altered, MetaError> {
    let vault_id = |id: String| AlterObjStoreInfoResponse {
        storage_vault_id: Some(id),
        ..AlterObjStoreInfoResponse::default()
    };
    let (revision, response) = match request.op() {
        Operation::AddS3Vault => added(propose::<AddS3Vault>(request, call).await?),
        Operation::AddHdfsInfo => added(propose::<AddHdfsVault>(request, call).await?),
        Operation::SetDefaultVault => added(propose::<SetDefaultVault>(request, call).await?),
        Operation::AlterS3Vault => {
            let (revision, reply) = propose::<AlterS3Vault>(request, call).await?;
            (revision, vault_id(reply.vault_id))
        }
        Operation::AlterHdfsVault => {
            let (revision, reply) = propose::<AlterHdfsVault>(request, call).await?;
            (revision, vault_id(reply.vault_id))
        }
        Operation::DropHdfsInfo => {
            let (revision, _) = propose::<DropHdfsVault>(request, call).await?;
            (revision, AlterObjStoreInfoResponse::default())
        }
        Operation::UnsetDefaultVault => {
            let (revision, _) = propose::<UnsetDefaultVault>(request, call).await?;
            (revision, AlterObjStoreInfoResponse::default())
        }
        Operation::DropS3Vault => {
            let (revision, ()) = refuse_to_drop_s3_vault(call, request).await?;
            (revision, AlterObjStoreInfoResponse::default())
        }
        _ => return Err(unknown_operation(&request)),
    };
    Ok((revision, "", response))
}

fn added((revision, reply): (Revision, VaultReply)) -> (Revision, AlterObjStoreInfoResponse) {
    let response = AlterObjStoreInfoResponse {
        status: None,
        storage_vault_id: Some(reply.vault_id),
        default_storage_vault_replaced: Some(reply.default_replaced),
    };
    (revision, response)
}

fn unknown_operation(request: &AlterObjStoreInfoRequest) -> MetaError {
    MetaError::invalid(format!("invalid request op, op={}", request.op.unwrap_or_default()))
}
