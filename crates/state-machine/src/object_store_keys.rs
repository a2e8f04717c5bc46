//! New keys, or a role instead of keys, for one of an instance's object stores: what `legacy_update_ak_sk` and
//! `alter_obj_info` share. They differ only in what they are called.

use crate::command::{ApplyContext, ApplyError, PrepareContext};
use crate::sealed::SealedStore;
use crate::storage_request::{self, StorageCall};
use crate::{instances, object_stores, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::ObjectStoreInfoPb;
use quorate_wire::doris::alter_obj_store_info_request::Operation;

#[derive(Clone, PartialEq, prost::Message)]
pub struct StoreKeys {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    /// `id` names the object store; `ak` and `sk`, or `role_arn` and `external_id`, are what it gets.
    #[prost(message, required, tag = "2")]
    pub given: SealedStore,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StoreKeysReply {
    /// The object store had these keys already; nothing was written.
    #[prost(bool, tag = "1")]
    pub unchanged: bool,
}

impl StoreKeysReply {
    /// What upstream's reply says.
    pub fn note(&self) -> &'static str {
        if self.unchanged { "ak/sk not changed" } else { "" }
    }
}

impl StoreKeys {
    pub fn prepare(call: &StorageCall, operation: Operation, context: &PrepareContext<'_>) -> Result<StoreKeys, MetaError> {
        let request = call.request_for(operation);
        let store = storage_request::given_store(&request)?;
        let is_empty = |text: &Option<String>| text.as_deref() == Some("");
        if is_empty(&store.ak) || is_empty(&store.sk) || is_empty(&store.role_arn) {
            let message = format!("s3 obj info err {}", storage_request::quoted(&request));
            return Err(MetaError::invalid(message));
        }
        let given = ObjectStoreInfoPb {
            id: store.id,
            ak: store.ak,
            sk: store.sk,
            role_arn: store.role_arn,
            external_id: store.external_id,
            ..Default::default()
        };
        let command = StoreKeys {
            cloud_unique_id: storage_request::caller(&request)?,
            given: SealedStore::seal(context.secrets, given)?,
        };
        text_bounds::check_command_size("object store keys", &command)?;
        Ok(command)
    }

    pub fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<StoreKeysReply, ApplyError> {
        let mut instance = storage_request::instance_to_rekey(context.reader(), &self.cloud_unique_id)?;
        let given = &self.given.store;
        // Upstream takes ids up to the number of object stores only, so that one added beside a vault could not be altered.
        let id = given.id().parse::<u64>().ok().map(|id| id.to_string());
        let store = instance.info.obj_info.iter_mut().find(|store| store.id == id);
        let Some(store) = store.filter(|_| id.is_some()) else {
            return Err(MetaError::invalid("id invalid, please check it").into());
        };
        if let Some(role_arn) = &given.role_arn {
            if !object_stores::can_assume_roles(store) {
                return Err(MetaError::invalid("role_arn is only supported for S3 and OSS providers").into());
            }
            object_stores::take_role(store, role_arn, given.external_id.as_deref());
        } else {
            if self.given.has_keys_of(store) {
                return Ok(StoreKeysReply { unchanged: true });
            }
            self.given.give_keys_to(store);
        }
        store.mtime = Some(context.now().seconds());
        instances::put(context, &instance);
        Ok(StoreKeysReply { unchanged: false })
    }
}
