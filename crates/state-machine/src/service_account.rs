//! The cloud account that peers work under (`iam_user`): what `alter_iam` stored, else what the peer was configured with.
//!
//! ```text
//! ServiceAccount -> RamUserPB (user_id, ak, sk as ciphertext, encryption_info)
//! ```

use crate::command::{ApplyContext, read_record};
use crate::keys::{RecordTable, record_prefix};
use crate::object_stores::{self, Secrets};
use crate::queries::QueryError;
use crate::store::{Reader, StoreError};
use bytes::Bytes;
use quorate_wire::doris::RamUserPb;

/// An account by configuration, used until `alter_iam` has stored one. Holds a secret: it has no `Debug`.
#[derive(Clone, Default)]
pub struct ConfiguredAccount {
    pub user_id: String,
    pub ak: String,
    pub sk: String,
}

fn key() -> Bytes {
    record_prefix(RecordTable::ServiceAccount).freeze()
}

/// The stored account, its secret as ciphertext.
pub fn stored(reader: &dyn Reader) -> Result<Option<RamUserPb>, StoreError> {
    read_record(reader, &key())
}

/// Stores an account.
pub fn put(context: &mut ApplyContext<'_, '_>, account: &RamUserPb) {
    context.put_record(key(), account);
}

/// The account as shown with an instance. The configured one's secret is shown only where the instance's own are, and it
/// is told apart from others' by the instance's id.
pub fn shown(
    reader: &dyn Reader,
    instance_id: &str,
    configured: &ConfiguredAccount,
    secrets: Secrets<'_>,
) -> Result<RamUserPb, QueryError> {
    if let Some(mut account) = stored(reader)? {
        if let Secrets::Unsealed(secrets) = secrets {
            object_stores::unseal_user(secrets, &mut account)?;
            account.encryption_info = None;
        }
        return Ok(account);
    }
    let sk = match secrets {
        Secrets::Sealed => String::new(),
        Secrets::Unsealed(_) => configured.sk.clone(),
    };
    Ok(RamUserPb {
        user_id: Some(configured.user_id.clone()),
        ak: Some(configured.ak.clone()),
        sk: Some(sk),
        external_id: Some(instance_id.to_owned()),
        encryption_info: None,
    })
}
