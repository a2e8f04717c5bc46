//! Sets how many calls per second an instance may make: of one RPC or all, for one instance or all.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::record::{RateLimit, RateLimitsRecord};
use crate::{limits, rate_limits, text_bounds};
use quorate_model::{ErrorCode, MetaError};

#[derive(Clone, PartialEq, prost::Message)]
pub struct AdjustRateLimit {
    /// Empty: all.
    #[prost(string, tag = "1")]
    pub rpc: String,
    /// Empty: all. Need not exist.
    #[prost(string, tag = "2")]
    pub instance_id: String,
    /// 0 refuses every call.
    #[prost(int64, tag = "3")]
    pub qps: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AdjustRateLimitReply {}

/// The parameters as they were sent.
#[derive(Clone, Debug, Default)]
pub struct AdjustRateLimitCall {
    pub qps_limit: String,
    pub rpc_name: String,
    pub instance_id: String,
}

impl Prepare for AdjustRateLimit {
    type Request = AdjustRateLimitCall;

    fn prepare(call: AdjustRateLimitCall, _: &PrepareContext<'_>) -> Result<AdjustRateLimit, MetaError> {
        let AdjustRateLimitCall {
            qps_limit,
            rpc_name,
            instance_id,
        } = call;
        for (name, text) in [("qps_limit", &qps_limit), ("rpc_name", &rpc_name), ("instance_id", &instance_id)] {
            text_bounds::check_text(name, text)?;
        }
        if qps_limit.is_empty() {
            return Err(MetaError::invalid(format!(
                "invalid argument: qps_limit(required)={qps_limit}, rpc_name(optional)={rpc_name}, instance_id(optional)={instance_id}"
            )));
        }
        let qps: i64 = qps_limit
            .parse()
            .map_err(|error| MetaError::invalid(format!("param `qps_limit` is not a legal int64 type:{error}")))?;
        if qps < 0 {
            return Err(MetaError::invalid("`qps_limit` should not be less than 0"));
        }
        if !rpc_name.is_empty() && !rate_limits::is_rpc(&rpc_name) {
            return Err(MetaError::invalid(format!(
                "failed to adjust rate limit for qps_limit={qps_limit}, rpc_name={rpc_name}, instance_id={instance_id}, \
                 plz ensure correct rpc/instance name"
            )));
        }
        Ok(AdjustRateLimit {
            rpc: rpc_name,
            instance_id,
            qps,
        })
    }
}

impl Command for AdjustRateLimit {
    type Reply = AdjustRateLimitReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AdjustRateLimitReply, ApplyError> {
        let key = rate_limits::key();
        let mut record: RateLimitsRecord = context.record(&key)?.unwrap_or_default();
        let of = |limit: &RateLimit| (limit.rpc.clone(), limit.instance_id.clone());
        let wanted = (self.rpc.clone(), self.instance_id.clone());
        match record.limits.binary_search_by_key(&wanted, of) {
            Ok(position) => record.limits[position].qps = self.qps,
            Err(_) if record.limits.len() >= limits::MAX_RATE_LIMITS => {
                let most = limits::MAX_RATE_LIMITS;
                let text = format!("the cluster has {most} rate limits, which is the limit; limit all instances of an RPC instead");
                return Err(MetaError::new(ErrorCode::TooLarge, text).into());
            }
            Err(position) => record.limits.insert(
                position,
                RateLimit {
                    rpc: wanted.0,
                    instance_id: wanted.1,
                    qps: self.qps,
                },
            ),
        }
        context.put_record(key, &record);
        Ok(AdjustRateLimitReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front_settings::FrontSettings;
    use crate::rate_limits::RateLimits;
    use crate::resource_fixture::World;
    use quorate_model::ErrorCode::{InvalidArgument, TooLarge};
    use std::collections::BTreeMap;

    fn limit(qps_limit: &str, rpc_name: &str, instance_id: &str) -> AdjustRateLimitCall {
        AdjustRateLimitCall {
            qps_limit: qps_limit.to_owned(),
            rpc_name: rpc_name.to_owned(),
            instance_id: instance_id.to_owned(),
        }
    }

    fn loaded(world: &World) -> RateLimits {
        let settings = FrontSettings::load(&world.store).expect("reads");
        RateLimits::load(&world.store, &settings).expect("reads")
    }

    #[test]
    fn the_most_special_limit_holds_in_whatever_order_they_were_set() {
        let mut world = World::new();
        assert_eq!((loaded(&world).of("get_cluster", "i"), loaded(&world).of("get_instance", "i")), (5_000_000, 1_000_000));
        for call in [
            limit("1", "get_cluster", "i"),
            limit("2", "", "i"),
            limit("3", "get_cluster", ""),
            limit("9", "", ""),
            limit("4", "", ""),
        ] {
            assert_eq!(world.run::<AdjustRateLimit>(call).expect("fine"), 1);
        }
        let limits = loaded(&world);
        for (rpc, instance_id, expected) in [
            ("get_cluster", "i", 1),
            ("get_instance", "i", 2),
            ("get_cluster", "j", 3),
            ("get_instance", "j", 4),
        ] {
            assert_eq!(limits.of(rpc, instance_id), expected, "{rpc} {instance_id}");
        }
        assert_eq!((limits.of_rpc("get_cluster"), limits.of_rpc("get_instance")), (3, 4));
        assert_eq!(limits.of_instances("get_cluster"), BTreeMap::from([("i", 1)]));
        assert_eq!(limits.of_instances("alter_cluster"), BTreeMap::from([("i", 2)]));
    }

    #[test]
    fn faults_have_their_words() {
        let mut world = World::new();
        for (call, text) in [
            (
                limit("", "r", "i"),
                "invalid argument: qps_limit(required)=, rpc_name(optional)=r, instance_id(optional)=i",
            ),
            (
                limit("ten", "", ""),
                "param `qps_limit` is not a legal int64 type:invalid digit found in string",
            ),
            (limit("-1", "no_such", ""), "`qps_limit` should not be less than 0"),
            (
                limit("5", "no_such", "i"),
                "failed to adjust rate limit for qps_limit=5, rpc_name=no_such, instance_id=i, plz ensure correct rpc/instance name",
            ),
        ] {
            world.refuse::<AdjustRateLimit>(call, InvalidArgument, text);
        }
    }

    #[test]
    fn the_number_of_limits_is_bounded() {
        let mut world = World::new();
        for number in 0..limits::MAX_RATE_LIMITS {
            world.run::<AdjustRateLimit>(limit("5", "", &number.to_string())).expect("room");
        }
        let text = "the cluster has 1000 rate limits, which is the limit; limit all instances of an RPC instead";
        world.refuse::<AdjustRateLimit>(limit("5", "", "one more"), TooLarge, text);
        world.run::<AdjustRateLimit>(limit("6", "", "7")).expect("one that is there");
        assert_eq!(loaded(&world).of("get_cluster", "7"), 6);
    }
}
