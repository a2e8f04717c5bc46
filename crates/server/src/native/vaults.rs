//! Where vaults are, as callers are told: without credentials, but for workers.

use quorate_model::{ErrorCode, MetaError};
use quorate_objects::{BucketStyle, Http, ObjectError, ObjectErrorKind, VaultPlace};
use quorate_wire::quorate::v1 as wire;

/// Without credentials.
pub fn described(place: &VaultPlace) -> wire::VaultDescription {
    match place {
        VaultPlace::Local(place) => wire::VaultDescription {
            local: Some(wire::LocalVault {
                root: place.root.display().to_string(),
                cluster_id: place.cluster_id.clone(),
                vault_id: place.vault_id.clone(),
            }),
            s3: None,
        },
        VaultPlace::S3(place) => wire::VaultDescription {
            local: None,
            s3: Some(wire::S3Vault {
                endpoint: place.endpoint.clone(),
                region: place.region.clone(),
                bucket: place.bucket.clone(),
                prefix: place.prefix.clone(),
                path_style: place.bucket_style == BucketStyle::Path,
                allow_http: place.http == Http::Allow,
            }),
        },
    }
}

/// Why a vault cannot be used, as an error of a call.
pub fn vault_error(error: ObjectError) -> MetaError {
    let code = match error.kind {
        ObjectErrorKind::NotFound => ErrorCode::VaultNotFound,
        _ => ErrorCode::PreconditionFailed,
    };
    MetaError::new(code, error.message)
}
