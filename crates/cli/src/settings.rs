//! `quorate settings`: bounds and times of the whole cluster, which can change while it runs.

use crate::amounts::{self, number};
use crate::api::{deleting, path, putting};
use crate::context::Context;
use crate::doris::Answer;
use crate::output::{self, Sheet, text};
use anyhow::{anyhow, bail};
use clap::Subcommand;
use serde_json::{Value as Json, json};

#[derive(Subcommand)]
pub enum SettingsVerb {
    /// Show settings with their values, defaults and limits.
    Show {
        /// One setting; all when absent.
        name: Option<String>,
    },
    /// Give a setting a value. It holds at every peer from then on, also after a restart.
    Set {
        name: String,
        /// A number in the setting's unit; of times also as 90s, 30m, 12h or 7d.
        value: String,
    },
    /// Take a setting back to its default.
    Reset { name: String },
}

pub async fn run(verb: SettingsVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        SettingsVerb::Show { name } => {
            let mut listed = connection.get(&path(&["settings"]), &[]).await?;
            let shown = chosen(listed["settings"].take(), name.as_deref().map(as_named).as_deref())?;
            output::show(&context.output, shown, sheet);
        }
        SettingsVerb::Set { name, value } => {
            let name = as_named(&name);
            let value = value_of(&name, &value)?;
            let change = putting(&path(&["settings", &name]), &json!({"value": value.to_string()}));
            let answer = connection.perform(&change).await?;
            output::done(&context.output, &told(&name, &answer), &answer);
        }
        SettingsVerb::Reset { name } => {
            let name = as_named(&name);
            let answer = connection.perform(&deleting(&path(&["settings", &name]))).await?;
            output::done(&context.output, &told(&name, &answer), &answer);
        }
    }
    Ok(())
}

/// A name as the cluster has it, however it was typed.
fn as_named(typed: &str) -> String {
    typed.replace('-', "_")
}

/// All settings, or the one of this name.
fn chosen(settings: Json, name: Option<&str>) -> anyhow::Result<Json> {
    let Some(name) = name else { return Ok(settings) };
    let all = settings.as_array().map_or(&[][..], Vec::as_slice);
    let Some(found) = all.iter().find(|setting| text(setting, "name") == name) else {
        let names: Vec<String> = all.iter().map(|setting| text(setting, "name")).collect();
        bail!("there is no setting {name:?}; there are {}", names.join(", "));
    };
    Ok(json!([found]))
}

/// What was typed as a value, in the unit with which the setting's name ends.
fn value_of(name: &str, typed: &str) -> anyhow::Result<u64> {
    if let Ok(value) = typed.parse() {
        return Ok(value);
    }
    let per_second = match name.rsplit('_').next() {
        Some("ms") => 1_000,
        Some("seconds") => 1,
        _ => bail!("{name} takes a number, not {typed:?}"),
    };
    let seconds = amounts::seconds(typed).map_err(|why| anyhow!("{name} does not take {typed:?}: {why}"))?;
    seconds
        .checked_mul(per_second)
        .ok_or_else(|| anyhow!("{name} does not take {typed:?}: it is too long"))
}

fn told(name: &str, answer: &Answer) -> String {
    let (value, before) = (number(&answer.result, "value"), number(&answer.result, "value_before"));
    match value == before {
        true => format!("{name} is {value}, as before"),
        false => format!("{name} is {value}, it was {before}"),
    }
}

fn sheet(settings: &Json) -> (String, Sheet) {
    let settings = settings.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new(["SETTING", "VALUE", "DEFAULT", "LEAST", "GREATEST", "UNIT", "MEANING"]);
    for setting in settings {
        sheet.row(["name", "value", "default_value", "least", "greatest", "unit", "meaning"].map(|column| text(setting, column)));
    }
    let changed = settings.iter().filter(|setting| setting["is_set"].as_bool() == Some(true)).count();
    let sentence = match changed {
        0 => "Settings of the cluster; all of these have their defaults.".to_owned(),
        1 => "Settings of the cluster; one of these was set.".to_owned(),
        count => format!("Settings of the cluster; {count} of these were set."),
    };
    (sentence, sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_in_the_unit_of_the_name_and_times_also_with_their_own() {
        for (name, typed, value) in [
            ("max_active_jobs", "20", 20),
            ("claim_lease_ms", "2500", 2_500),
            ("claim_lease_ms", "20s", 20_000),
            ("job_retention_seconds", "14d", 14 * 86_400),
            ("job_retention_seconds", "3600", 3_600),
        ] {
            assert_eq!(value_of(name, typed).expect("a value"), value, "{name} {typed}");
        }
        for (name, typed, part) in [
            ("max_active_jobs", "20s", "max_active_jobs takes a number, not \"20s\""),
            ("claim_lease_ms", "soon", "claim_lease_ms does not take \"soon\""),
            ("claim_lease_ms", "-1", "claim_lease_ms"),
            ("claim_lease_ms", "213503982334601d", "too long"),
        ] {
            let error = value_of(name, typed).expect_err("no value").to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn one_setting_is_found_by_its_name_and_a_wrong_one_is_told_which_there_are() {
        let all = || json!([{"name": "a_ms", "value": "1", "is_set": true}, {"name": "b", "value": "2", "is_set": false}]);
        assert_eq!(chosen(all(), None).expect("all"), all());
        assert_eq!(chosen(all(), Some(&as_named("a-ms"))).expect("one"), json!([all()[0]]));
        let error = chosen(all(), Some("c")).expect_err("none").to_string();
        assert_eq!(error, "there is no setting \"c\"; there are a_ms, b");
        assert_eq!(sheet(&all()).0, "Settings of the cluster; one of these was set.");
    }

    #[test]
    fn a_change_says_what_it_was_before() {
        let answer = |value: &str| Answer::by_hand(json!({"value": value, "value_before": "7"}), false);
        assert_eq!(told("n", &answer("8")), "n is 8, it was 7");
        assert_eq!(told("n", &answer("7")), "n is 7, as before");
    }
}
