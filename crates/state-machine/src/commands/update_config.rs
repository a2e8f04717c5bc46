//! Changes settings of the Doris fronts for the whole cluster, all that are named or none.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::front_settings;
use crate::record::FrontSettingsRecord;
use crate::text_bounds;
use quorate_model::MetaError;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateConfig {
    /// Checked by the peer that received the call.
    #[prost(btree_map = "string, string", tag = "1")]
    pub values: BTreeMap<String, String>,
    /// Why, in the caller's words.
    #[prost(string, tag = "2")]
    pub reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateConfigReply {}

/// The parameters as they were sent. Upstream's `persist` is not among them: every change survives.
#[derive(Clone, Debug, Default)]
pub struct UpdateConfigCall {
    /// `name=value`, separated by commas.
    pub configs: String,
    pub reason: String,
}

impl Prepare for UpdateConfig {
    type Request = UpdateConfigCall;

    fn prepare(call: UpdateConfigCall, _: &PrepareContext<'_>) -> Result<UpdateConfig, MetaError> {
        text_bounds::check_text("configs", &call.configs)?;
        text_bounds::check_text("reason", &call.reason)?;
        if call.configs.is_empty() {
            return Err(MetaError::invalid("query param `config` should not be empty"));
        }
        let mut values = BTreeMap::new();
        for entry in call.configs.split(',') {
            let Some((name, value)) = entry.split_once('=') else {
                return Err(MetaError::invalid(format!("config {entry} is invalid")));
            };
            let Some(setting) = front_settings::find(name) else {
                return Err(MetaError::invalid(format!("config field={name} not exists")));
            };
            setting.check_change(value)?;
            values.insert(name.to_owned(), value.to_owned());
        }
        Ok(UpdateConfig {
            values,
            reason: call.reason,
        })
    }
}

impl Command for UpdateConfig {
    type Reply = UpdateConfigReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<UpdateConfigReply, ApplyError> {
        let key = front_settings::key();
        let mut record: FrontSettingsRecord = context.record(&key)?.unwrap_or_default();
        record.values.extend(self.values.clone());
        record.changed_at = context.revision().0;
        record.reason.clone_from(&self.reason);
        context.put_record(key, &record);
        Ok(UpdateConfigReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::AddCluster;
    use crate::front_settings::FrontSettings;
    use crate::resource_fixture::{World, cluster, on_instance};
    use quorate_model::ErrorCode::InvalidArgument;
    use quorate_wire::doris::cluster_pb::Type;

    fn change(configs: &str) -> UpdateConfigCall {
        UpdateConfigCall {
            configs: configs.to_owned(),
            reason: "a test".to_owned(),
        }
    }

    #[test]
    fn changes_add_up_and_decide_what_is_prepared() {
        let mut world = World::with_instance();
        let both = change("enable_cluster_name_check=true,snapshot_max_reserved_num=7");
        assert_eq!(world.run::<UpdateConfig>(both).expect("known"), 1);
        world.run::<UpdateConfig>(change("enable_check_fe_drop_in_safe_time=false")).expect("known");
        let settings = FrontSettings::load(&world.store).expect("reads").prepare();
        assert_eq!((settings.check_cluster_name, settings.frontend_drop_safe_seconds), (true, 0));
        assert_eq!((settings.snapshot_max_reserved, settings.snapshot_min_interval_seconds), (7, 3_600));
        world.settings = settings;
        let mut odd = cluster(Type::Compute, "c", Vec::new());
        odd.cluster_name = Some("9".to_owned());
        let text = "cluster name not regex with ^[a-zA-Z][a-zA-Z0-9_]*$, please check it";
        world.refuse::<AddCluster>(on_instance(odd), InvalidArgument, text);
        world.run::<UpdateConfig>(change("enable_cluster_name_check=false")).expect("known");
        let settings = FrontSettings::load(&world.store).expect("reads").prepare();
        assert_eq!((settings.check_cluster_name, settings.snapshot_max_reserved), (false, 7));
    }

    #[test]
    fn one_wrong_entry_refuses_all() {
        let mut world = World::new();
        for (configs, text) in [
            ("", "query param `config` should not be empty"),
            ("enable_rate_limit", "config enable_rate_limit is invalid"),
            ("enable_rate_limit=true,", "config  is invalid"),
            ("enable_rate_limit=false,http_token=x", "config field=http_token not exists"),
            ("=true", "config field= not exists"),
            ("encryption_method=NONE", "config field=encryption_method is immutable"),
            ("enable_rate_limit=1", "not supported to modify field=enable_rate_limit, value=1"),
            ("default_max_qps_limit=-1", "not supported to modify field=default_max_qps_limit, value=-1"),
            ("default_max_qps_limit=9x", "not supported to modify field=default_max_qps_limit, value=9x"),
            (
                "specific_max_qps_limit=no_such_rpc:5",
                "not supported to modify field=specific_max_qps_limit, value=no_such_rpc:5",
            ),
        ] {
            world.refuse::<UpdateConfig>(change(configs), InvalidArgument, text);
        }
        world
            .run::<UpdateConfig>(change("specific_max_qps_limit=get_cluster:5;begin_txn:6"))
            .expect("two that upstream has");
        let limits = FrontSettings::load(&world.store).expect("reads").limits_by_rpc();
        assert_eq!(
            limits,
            BTreeMap::from([("get_cluster", 5), ("begin_txn", 6)].map(|(rpc, limit)| (rpc.to_owned(), limit)))
        );
    }
}
