//! `quorate config`: what a peer would be started with, and why.

use crate::output::{self, OutputArguments, Sheet, text};
use anyhow::{Context, bail};
use clap::Subcommand;
use quorate_server::config::ServerConfig;
use quorate_server::config_table::{SETTINGS, Setting};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum ConfigVerb {
    /// Print settings with their values and where each came from: the file, the environment, or the default. A flag of
    /// `quorate serve` wins over all three.
    Explain {
        /// One setting; all when absent.
        name: Option<String>,
        /// TOML file a peer would be started with.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

pub fn run(verb: ConfigVerb, arguments: &OutputArguments) -> anyhow::Result<()> {
    let ConfigVerb::Explain { name, config } = verb;
    let file = config.as_deref().map(read).transpose()?;
    let chosen: Vec<&Setting> = SETTINGS
        .iter()
        .filter(|setting| name.as_deref().is_none_or(|name| setting.name == name.replace('-', "_")))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        bail!("there is no setting {:?}; there are {}", name.unwrap_or_default(), names.join(", "));
    }
    let rows = chosen
        .iter()
        .map(|setting| explain(setting, file.as_ref(), |name| std::env::var(name).ok()));
    output::show(arguments, Json::Array(rows.collect()), |rows| {
        let mut sheet = Sheet::new(["SETTING", "VALUE", "FROM", "FLAG", "MEANING"]);
        for row in rows.as_array().map_or(&[][..], Vec::as_slice) {
            sheet.row(["name", "value", "from", "flag", "meaning"].map(|column| text(row, column)));
        }
        (
            "Settings of a peer; a change takes effect when it is started again.".to_owned(),
            sheet,
        )
    });
    Ok(())
}

/// Reads a file as a peer would, so that a misspelled key is an error here too.
fn read(path: &Path) -> anyhow::Result<toml::Table> {
    ServerConfig::load(path)?;
    let text = std::fs::read_to_string(path).with_context(|| format!("config file {}", path.display()))?;
    text.parse().with_context(|| format!("config file {}", path.display()))
}

fn explain(setting: &Setting, file: Option<&toml::Table>, environment: impl Fn(&str) -> Option<String>) -> Json {
    let in_file = file.and_then(|file| file.get(setting.name)).map(|value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    // The variable counts only when the file has neither the token nor the name of its file.
    let has_token = file.is_some_and(|file| file.contains_key("token_file"));
    let in_environment = match setting.environment {
        "" => None,
        _ if has_token => None,
        name => environment(name),
    };
    let (value, from) = match (in_file, in_environment) {
        (Some(value), _) => (value, "file".to_owned()),
        (None, Some(value)) => (value, format!("environment {}", setting.environment)),
        (None, None) => (setting.default.to_owned(), "default".to_owned()),
    };
    let value = if setting.is_secret && from != "default" {
        "(hidden)".to_owned()
    } else {
        value
    };
    json!({
        "name": setting.name, "value": value, "from": from, "default": setting.default, "flag": setting.flag,
        "environment": setting.environment, "meaning": setting.meaning, "since": setting.since, "needs_restart": true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(name: &str) -> &'a Setting {
        SETTINGS.iter().find(|setting| setting.name == name).expect("a setting")
    }

    fn seen(name: &str, file: &str, environment: Option<&str>) -> (String, String) {
        let file: toml::Table = file.parse().expect("TOML");
        let shown = explain(row(name), Some(&file), |_| environment.map(str::to_owned));
        (text(&shown, "value"), text(&shown, "from"))
    }

    fn pair(value: &str, from: &str) -> (String, String) {
        (value.to_owned(), from.to_owned())
    }

    #[test]
    fn each_value_says_where_it_came_from() {
        assert_eq!(seen("listen", "listen = \"a:1\"", None), pair("a:1", "file"));
        assert_eq!(seen("listen", "", Some("ignored")), pair("127.0.0.1:5000", "default"));
        assert_eq!(seen("worker_threads", "worker_threads = 3", None), pair("3", "file"));
        assert_eq!(
            seen("peers", "peers = [\"a:1\", \"b:1\"]", None),
            pair("[\"a:1\", \"b:1\"]", "file")
        );
    }

    #[test]
    fn secrets_are_named_but_not_shown() {
        assert_eq!(seen("token", "token = \"the-token\"", None), pair("(hidden)", "file"));
        assert_eq!(seen("token", "", Some("the-token")), pair("(hidden)", "environment QUORATE_TOKEN"));
        assert_eq!(seen("token", "token_file = \"/t\"", Some("the-token")).1, "default");
        assert_eq!(seen("cluster_secret", "cluster_secret = \"s\"", None), pair("(hidden)", "file"));
    }
}
