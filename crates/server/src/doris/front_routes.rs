//! Routes about the fronts themselves: settings and rate limits, for the whole cluster.

use super::call::{Call, Success};
use super::query_string::QueryString;
use super::read::{at_one_revision, success, wait_until_fresh};
use super::write::{QueryRequest, command_of};
use futures::future::BoxFuture;
use quorate_model::MetaError;
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::adjust_rate_limit::AdjustRateLimitCall;
use quorate_state_machine::commands::set_multi_version_status::SetMultiVersionStatusCall;
use quorate_state_machine::commands::update_config::UpdateConfigCall;
use quorate_state_machine::commands::{AdjustRateLimit, Numbered, UpdateConfig};
use quorate_state_machine::front_settings::{FrontSettings, SETTINGS};
use quorate_state_machine::queries::{self, snapshots::SnapshotProperties};
use quorate_state_machine::rate_limits::{RPC_NAMES, RateLimits};
use quorate_wire::doris::GetInstanceRequest;
use serde_json::{Map, Value as Json, json};

impl QueryRequest for AdjustRateLimitCall {
    /// Upstream's spelling.
    const SUCCESS_MESSAGE: &'static str = "sucess to adjust rate limit";

    fn receive(query: &QueryString) -> AdjustRateLimitCall {
        AdjustRateLimitCall {
            qps_limit: query.text("qps_limit"),
            rpc_name: query.text("rpc_name"),
            instance_id: query.text("instance_id"),
        }
    }
}

impl QueryRequest for UpdateConfigCall {
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(query: &QueryString) -> UpdateConfigCall {
        UpdateConfigCall {
            configs: query.text("configs"),
            reason: query.text("reason"),
        }
    }
}

impl QueryRequest for SetMultiVersionStatusCall {
    const SUCCESS_MESSAGE: &'static str = "success";

    fn receive(query: &QueryString) -> SetMultiVersionStatusCall {
        SetMultiVersionStatusCall {
            instance_id: query.text("instance_id"),
            multi_version_status: query.text("multi_version_status"),
        }
    }
}

/// Sets a limit, which holds at this peer from the answer on.
pub fn adjust_rate_limit(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    changed_here::<AdjustRateLimit>(call)
}

/// Changes settings, which hold at this peer from the answer on.
pub fn update_config(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    changed_here::<UpdateConfig>(call)
}

fn changed_here<C>(call: Call) -> BoxFuture<'static, Result<Success, MetaError>>
where
    C: Numbered + Prepare + Send + Sync + 'static,
    C::Request: QueryRequest,
{
    Box::pin(async move {
        let success = command_of::<C>(&call).await?;
        // The answer may come from the leader before this peer has applied the change. Should that take too long, the change
        // is made nonetheless, and holds here a little later.
        let _ = call.node.wait_revision(success.revision, call.info.deadline).await;
        call.app.cluster_settings.forget();
        Ok(success)
    })
}

/// Every limit that is not the default of all, by RPC.
pub fn list_rate_limit(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        wait_until_fresh(&call).await?;
        let (revision, limits) = at_one_revision(&call, |reader| {
            let settings = FrontSettings::load(reader)?;
            Ok(RateLimits::load(reader, &settings)?)
        })?;
        let of_rpc = |rpc: &&'static str| {
            let shown = json!({
                "RPC qps limit": limits.of_rpc(rpc),
                "instance specific qps limit": limits.of_instances(rpc),
            });
            ((*rpc).to_owned(), shown)
        };
        let shown: Map<String, Json> = RPC_NAMES.iter().map(of_rpc).collect();
        Ok(success(revision, Json::from(shown).into()))
    })
}

/// Settings as name, type, value and whether `update_config` takes it: one, or all when none is named.
pub fn show_config(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let wanted = call.query.text("conf_key");
        wait_until_fresh(&call).await?;
        let (revision, settings) = at_one_revision(&call, |reader| Ok(FrontSettings::load(reader)?))?;
        let shown = SETTINGS.iter().filter(|setting| wanted.is_empty() || setting.name == wanted);
        let rows = shown.map(|setting| json!([setting.name, setting.type_name(), settings.text(setting), setting.can_change]));
        Ok(success(revision, rows.collect::<Json>().into()))
    })
}

/// Whether an instance's snapshots are on, and their bounds.
pub fn get_snapshot_property(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let request = GetInstanceRequest {
            instance_id: Some(call.query.text("instance_id")),
            cloud_unique_id: Some(call.query.text("cloud_unique_id")),
            request_ip: None,
        };
        wait_until_fresh(&call).await?;
        let (revision, found) = at_one_revision(&call, |reader| queries::snapshots::get_snapshot_property(reader, &request))?;
        let SnapshotProperties {
            status,
            max_reserved_snapshots,
            snapshot_interval_seconds,
        } = found;
        let mut shown = Map::from_iter([("status".to_owned(), json!(status))]);
        // Numbers, unlike elsewhere: this result is no message.
        for (name, value) in [
            ("max_reserved_snapshots", max_reserved_snapshots),
            ("snapshot_interval_seconds", snapshot_interval_seconds),
        ] {
            if let Some(value) = value {
                shown.insert(name.to_owned(), json!(value));
            }
        }
        Ok(success(revision, Json::from(shown).into()))
    })
}
