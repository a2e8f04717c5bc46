//! Gives a setting of the cluster a value, or takes it back to its default. It holds from this entry on.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::{settings, text_bounds};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::SettingChange;

#[derive(Clone, PartialEq, prost::Message)]
pub struct ChangeSetting {
    #[prost(string, tag = "1")]
    pub name: String,
    /// In the setting's unit; none: the default.
    #[prost(uint64, optional, tag = "2")]
    pub value: Option<u64>,
}

impl Prepare for ChangeSetting {
    type Request = ChangeSetting;

    fn prepare(request: ChangeSetting, _: &PrepareContext<'_>) -> Result<ChangeSetting, MetaError> {
        text_bounds::check_text("name", &request.name)?;
        let setting = settings::require(&request.name)?;
        if let Some(value) = request.value {
            setting.check(value)?;
        }
        Ok(request)
    }
}

impl Command for ChangeSetting {
    type Reply = SettingChange;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<SettingChange, ApplyError> {
        let Some(setting) = settings::find(&self.name) else {
            return Err(MetaError::not_found(format!("there is no setting {}", self.name)).into());
        };
        let mut record = settings::load(context.reader())?;
        let value_before = record.value(setting);
        match self.value {
            Some(value) => record.values.insert(self.name.clone(), value),
            None => record.values.remove(&self.name),
        };
        record.changed_at = context.revision().0;
        context.put_record(settings::key(), &record);
        Ok(SettingChange {
            value: record.value(setting),
            value_before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{CLAIM_LEASE_MS, MAX_ACTIVE_JOBS};
    use crate::testing::{Bench, prepare};
    use quorate_model::ErrorCode;

    fn change(name: &str, value: Option<u64>) -> ChangeSetting {
        ChangeSetting {
            name: name.to_owned(),
            value,
        }
    }

    #[test]
    fn a_value_holds_until_another_one_or_the_default_takes_its_place() {
        let mut bench = Bench::new();
        let mut run = |name: &str, value| {
            let changed = bench.run(&prepare::<ChangeSetting>(change(name, value)).expect("accepted")).expect("known");
            (changed.value_before, changed.value, settings::load(&bench.store).expect("reads"))
        };
        assert_eq!(settings_of(run("claim_lease_ms", Some(20_000))), (10_000, 20_000, vec![20_000]));
        assert_eq!(settings_of(run("max_active_jobs", Some(2))), (1_000, 2, vec![20_000, 2]));
        assert_eq!(settings_of(run("claim_lease_ms", Some(3_000))), (20_000, 3_000, vec![3_000, 2]));
        let (before, now, record) = run("claim_lease_ms", None);
        assert_eq!((before, now, record.given(&CLAIM_LEASE_MS)), (3_000, 10_000, None));
        assert_eq!(record.given(&MAX_ACTIVE_JOBS), Some(2), "the others stay");
        assert_eq!(record.changed_at, bench.counters().revision);
        bench.check_content();
    }

    fn settings_of((before, now, record): (u64, u64, crate::record::SettingsRecord)) -> (u64, u64, Vec<u64>) {
        (before, now, record.values.into_values().collect())
    }

    #[test]
    fn what_no_state_would_take_is_refused_before_it_enters_the_log() {
        let refused = |name: &str, value| prepare::<ChangeSetting>(change(name, value)).expect_err("refused");
        for (name, value, code, part) in [
            ("", None, ErrorCode::NotFound, "there is no setting \"\""),
            ("lease", Some(1), ErrorCode::NotFound, "there are claim_lease_ms, "),
            ("claim_lease_ms", Some(2_999), ErrorCode::InvalidArgument, "claim_lease_ms is 2999, limits 3000 and 600000"),
            ("max_active_jobs", Some(1), ErrorCode::InvalidArgument, "max_active_jobs is 1, limits 2 and 4000 jobs"),
            ("max_snapshots_per_collection", Some(0), ErrorCode::InvalidArgument, "limits 1 and 20000 snapshots"),
        ] {
            let error = refused(name, value);
            assert!(error.code == code && error.message.contains(part), "{name}: {error:?}");
        }
        assert_eq!(refused(&"n".repeat(1_025), None).code, ErrorCode::InvalidArgument);
        assert_eq!(Bench::new().refusal(&change("of_tomorrow", Some(1))), ErrorCode::NotFound);
    }
}
