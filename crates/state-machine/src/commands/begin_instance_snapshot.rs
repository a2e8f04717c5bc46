//! Begins a snapshot of an instance for a frontend of Doris, which then uploads its image: pins the revision, and says where to.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::record::SnapshotRecord;
use crate::snapshots::{id, lifecycle};
use crate::{instance_snapshots, limits, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::{BeginSnapshotRequest, ObjectStoreInfoPb, SnapshotPb, SnapshotStatus, SnapshotSwitchStatus, SnapshotType};
use quorate_wire::quorate::v1::SnapshotState;
use core::net::IpAddr;

#[derive(Clone, PartialEq, prost::Message)]
pub struct BeginInstanceSnapshot {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub label: String,
    #[prost(bool, tag = "3")]
    pub auto: bool,
    #[prost(int64, tag = "4")]
    pub timeout_seconds: i64,
    #[prost(int64, tag = "5")]
    pub ttl_seconds: i64,
    #[prost(string, tag = "6")]
    pub request_ip: String,
    /// Empty: the instance's own choice.
    #[prost(string, tag = "7")]
    pub vault_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct BeginInstanceSnapshotReply {
    #[prost(string, tag = "1")]
    pub snapshot_id: String,
    #[prost(string, tag = "2")]
    pub image_url: String,
    /// Secrets as ciphertext.
    #[prost(message, optional, tag = "3")]
    pub obj_info: Option<ObjectStoreInfoPb>,
}

impl Prepare for BeginInstanceSnapshot {
    type Request = BeginSnapshotRequest;

    fn prepare(request: BeginSnapshotRequest, _: &PrepareContext<'_>) -> Result<BeginInstanceSnapshot, MetaError> {
        instance_snapshots::check_caller(request.cloud_unique_id())?;
        text_bounds::check_texts(&[("request_ip", &request.request_ip), ("vault_name", &request.vault_name)])?;
        let bytes = request.snapshot_label().len();
        if bytes > limits::MAX_NAME_BYTES {
            let limit = limits::MAX_NAME_BYTES;
            return Err(MetaError::invalid(format!("snapshot_label is {bytes} bytes, limit {limit} bytes; shorten it")));
        }
        Ok(BeginInstanceSnapshot {
            label: request.snapshot_label().to_owned(),
            auto: request.auto_snapshot(),
            timeout_seconds: request.timeout_seconds(),
            ttl_seconds: request.ttl_seconds(),
            cloud_unique_id: request.cloud_unique_id.unwrap_or_default(),
            request_ip: request.request_ip.unwrap_or_default(),
            vault_name: request.vault_name.unwrap_or_default(),
        })
    }
}

impl BeginInstanceSnapshot {
    /// What is wrong whatever the state is; upstream looks at it after it has found the instance.
    fn check(&self) -> Result<(), MetaError> {
        if self.timeout_seconds <= 0 {
            return Err(MetaError::invalid("timeout_seconds must be positive"));
        }
        if self.ttl_seconds < 0 || (self.ttl_seconds == 0 && !self.auto) {
            return Err(MetaError::invalid("ttl_seconds must be positive"));
        }
        for (what, seconds, limit) in [
            ("timeout_seconds", self.timeout_seconds, limits::MAX_SNAPSHOT_TIMEOUT_SECONDS),
            ("ttl_seconds", self.ttl_seconds, limits::MAX_SNAPSHOT_TTL_SECONDS),
        ] {
            if seconds as u64 > limit {
                return Err(MetaError::invalid(format!("{what} is {seconds}, limit {limit}")));
            }
        }
        if self.label.is_empty() {
            return Err(MetaError::invalid("snapshot_label cannot be empty"));
        }
        if !self.request_ip.is_empty() && self.request_ip.parse::<IpAddr>().is_err() {
            return Err(MetaError::invalid("invalid request IP address format"));
        }
        Ok(())
    }
}

impl Command for BeginInstanceSnapshot {
    type Reply = BeginInstanceSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<BeginInstanceSnapshotReply, ApplyError> {
        let instance = instance_snapshots::instance_of_caller(context.reader(), &self.cloud_unique_id)?;
        self.check()?;
        let (info, instance_id) = (&instance.info, instance.info.instance_id());
        if info.snapshot_switch_status() != SnapshotSwitchStatus::SnapshotSwitchOn {
            let status = info.snapshot_switch_status().as_str_name();
            let text = format!("snapshots are not enabled, current status is {status}; set_snapshot_property with status ENABLED first, instance_id: {instance_id}");
            return Err(MetaError::invalid(text).into());
        }
        let store = instance_snapshots::store_for_image(context.reader(), &instance, &self.vault_name)?;
        let now_ms = context.now().0;
        let snapshot_id = id::text(context.revision());
        let image_url = instance_snapshots::given_image_url(context.revision());
        let doris = SnapshotPb {
            status: Some(SnapshotStatus::SnapshotPrepare as i32),
            r#type: Some(SnapshotType::SnapshotReference as i32),
            image_url: Some(image_url.clone()),
            create_at: Some(context.now().seconds()),
            timeout_seconds: Some(self.timeout_seconds),
            instance_id: Some(instance_id.to_owned()),
            snapshot_ancestor: info.source_snapshot_id.clone(),
            auto: Some(self.auto),
            ttl_seconds: Some(self.ttl_seconds),
            label: Some(self.label.clone()),
            resource_id: store.id.clone(),
            ..SnapshotPb::default()
        };
        let record = SnapshotRecord {
            name: self.label.clone(),
            state: SnapshotState::Pending as i32,
            created_ms: now_ms,
            vault: store.id().to_owned(),
            location: image_url.clone(),
            manifests_complete: true,
            manifests_listed: true,
            due_ms: now_ms + 1_000 * self.timeout_seconds as u64,
            doris: Some(doris),
            ..SnapshotRecord::default()
        };
        lifecycle::create(context, instance.scope, record)?;
        Ok(BeginInstanceSnapshotReply {
            snapshot_id,
            image_url,
            obj_info: Some(store),
        })
    }
}
