//! `quorate.v1.Settings`: bounds and times of the whole cluster.

use super::call::{Calls, decide};
use super::reply::CallInfo;
use crate::app::App;
use quorate_consensus::Node;
use quorate_model::MetaError;
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::{ChangeSetting, Numbered};
use quorate_state_machine::queries::settings;
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves the calls of one peer.
pub struct SettingsService {
    calls: Calls,
}

impl SettingsService {
    pub fn new(app: &Arc<App>) -> SettingsService {
        SettingsService { calls: Calls::new(app) }
    }

    /// A change, of which the peer that was asked leaves word in its log.
    async fn change<Req>(
        &self,
        request: Request<Req>,
        ask: impl FnOnce(Req) -> Result<ChangeSetting, MetaError>,
    ) -> Result<Response<wire::SettingChange>, Status> {
        let app = self.calls.app.clone();
        let work = |node: Node, request: Req, info: CallInfo| async move {
            let command = ChangeSetting::prepare(ask(request)?, &app.prepare_context())?;
            let (revision, reply) = decide(&node, &command, &info).await?;
            if !info.dry_run {
                tracing::info!(
                    setting = %command.name, value = reply.value, before = reply.value_before, revision = revision.0,
                    "a setting of the cluster was changed"
                );
            }
            Ok((revision, reply))
        };
        self.calls.around(ChangeSetting::NAME, request, work).await
    }
}

#[tonic::async_trait]
impl wire::settings_server::Settings for SettingsService {
    async fn list_settings(&self, request: Request<wire::ListSettingsRequest>) -> Result<Response<wire::ListSettingsReply>, Status> {
        let consistency = wire::ListSettingsRequest::consistency;
        self.calls
            .read("list_settings", request, consistency, settings::list_settings)
            .await
    }

    async fn set_setting(&self, request: Request<wire::SetSettingRequest>) -> Result<Response<wire::SettingChange>, Status> {
        let ask = |wire::SetSettingRequest { name, value }| match value {
            Some(_) => Ok(ChangeSetting { name, value }),
            None => Err(MetaError::invalid("value is absent; give one, or reset the setting to its default")),
        };
        self.change(request, ask).await
    }

    async fn reset_setting(&self, request: Request<wire::ResetSettingRequest>) -> Result<Response<wire::SettingChange>, Status> {
        let ask = |wire::ResetSettingRequest { name }| Ok(ChangeSetting { name, value: None });
        self.change(request, ask).await
    }
}
