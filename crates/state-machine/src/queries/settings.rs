//! The settings of the cluster, for those who operate it.

use super::QueryError;
use crate::settings::{self, SETTINGS};
use crate::store::Reader;
use quorate_wire::quorate::v1::{ListSettingsReply, ListSettingsRequest, Setting};

/// All of them, by name, with what holds in this state.
pub fn list_settings(reader: &dyn Reader, _: &ListSettingsRequest) -> Result<ListSettingsReply, QueryError> {
    let record = settings::load(reader)?;
    let shown = SETTINGS.iter().map(|setting| Setting {
        name: setting.name.to_owned(),
        value: record.value(setting),
        unit: setting.unit.to_owned(),
        default_value: setting.default,
        least: setting.least,
        greatest: setting.greatest,
        is_set: record.given(setting).is_some(),
        meaning: setting.meaning.to_owned(),
    });
    Ok(ListSettingsReply {
        settings: shown.collect(),
        changed_at: record.changed_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ChangeSetting;
    use crate::testing::Bench;

    #[test]
    fn every_setting_is_shown_with_what_holds_and_what_it_may_be() {
        let mut bench = Bench::new();
        let list = |bench: &Bench| list_settings(&bench.store, &ListSettingsRequest::default()).expect("reads");
        let before = list(&bench);
        assert_eq!((before.settings.len(), before.changed_at), (SETTINGS.len(), 0));
        for shown in &before.settings {
            assert!(!shown.is_set && shown.value == shown.default_value, "{shown:?}");
            assert!((shown.least..=shown.greatest).contains(&shown.value), "{shown:?}");
        }
        let change = ChangeSetting {
            name: "max_active_jobs".to_owned(),
            value: Some(1_000),
        };
        bench.run(&change).expect("known");
        let after = list(&bench);
        let set: Vec<_> = after.settings.iter().filter(|shown| shown.is_set).collect();
        assert_eq!((set.len(), set[0].name.as_str(), set[0].value), (1, "max_active_jobs", 1_000));
        assert_eq!(after.changed_at, bench.counters().revision);
    }
}
