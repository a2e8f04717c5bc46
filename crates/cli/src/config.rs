//! `quorate config`: what a peer would be started with, and why.

use crate::output::{self, OutputArguments, Sheet, text};
use crate::serve::ServeArguments;
use anyhow::{Context, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};
use quorate_server::config::{ServerConfig, TOKEN_VARIABLE};
use quorate_server::config_table::{SETTINGS, Setting};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum ConfigVerb {
    /// Print settings with their values and where each came from: a flag, the file, the environment, or the default. Takes
    /// the flags that `quorate serve` takes: put its whole command line behind it.
    Explain {
        /// One setting; all when absent.
        name: Option<String>,
        #[command(flatten)]
        given: Box<Given>,
    },
}

/// The flags of `quorate serve` that were given, with their values as they were typed.
#[derive(Clone, Debug, Default)]
pub struct Given {
    config: Option<PathBuf>,
    /// By flag.
    values: BTreeMap<String, String>,
}

impl Args for Given {
    fn augment_args(command: clap::Command) -> clap::Command {
        ServeArguments::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        ServeArguments::augment_args_for_update(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Given, clap::Error> {
        let mut given = Given::default();
        let flags = SETTINGS.iter().flat_map(flags_of);
        for flag in flags {
            let id = flag.trim_start_matches('-').replace('-', "_");
            if matches.value_source(&id) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values = matches.get_raw(&id).into_iter().flatten();
            let values: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
            given.values.insert(flag.to_owned(), values.join(","));
        }
        given.config = matches.get_one("config").cloned();
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Given::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Given {
    /// What the flags of a setting say, and which they are.
    fn of(&self, setting: &Setting) -> Option<(String, String)> {
        let flags: Vec<&str> = flags_of(setting).filter(|flag| self.values.contains_key(*flag)).collect();
        let source = format!("flag {}", flags.join(", "));
        match flags.as_slice() {
            [] => None,
            // A setting of several flags is a group of values.
            _ if flags_of(setting).count() > 1 => {
                let values: Vec<String> = flags.iter().map(|flag| format!("{flag} {}", self.values[*flag])).collect();
                Some((values.join(" "), source))
            }
            [flag, ..] => Some((self.values[*flag].clone(), source)),
        }
    }
}

fn flags_of(setting: &Setting) -> impl Iterator<Item = &'static str> + use<> {
    setting.flag.split(", ").filter(|flag| !flag.is_empty())
}

pub fn run(verb: ConfigVerb, arguments: &OutputArguments) -> anyhow::Result<()> {
    let ConfigVerb::Explain { name, given } = verb;
    let file = given.config.as_deref().map(read).transpose()?;
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
        .map(|setting| explain(setting, &given, file.as_ref(), |name| std::env::var(name).ok()));
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

/// Reads a file as a peer would, so that a misspelled key, or a number that no peer can serve with, is an error here too.
fn read(path: &Path) -> anyhow::Result<toml::Table> {
    let config = ServerConfig::load(path)?;
    config.check_bounds().with_context(|| format!("config file {}", path.display()))?;
    let text = std::fs::read_to_string(path).with_context(|| format!("config file {}", path.display()))?;
    text.parse().with_context(|| format!("config file {}", path.display()))
}

fn explain(setting: &Setting, given: &Given, file: Option<&toml::Table>, environment: impl Fn(&str) -> Option<String>) -> Json {
    let by_flag = given.of(setting);
    let in_file = file.and_then(|file| file.get(setting.name)).map(|value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let in_environment = match setting.environment {
        "" => None,
        name => environment(name),
    };
    let is_elsewhere = in_file.is_some() || names_file(setting, given, file);
    let is_refused = setting.environment != TOKEN_VARIABLE && is_elsewhere && in_environment.is_some();
    // Where something else gives the token or the name of its file, the variable does not count.
    let in_environment = in_environment.filter(|_| !is_elsewhere || is_refused);
    let (value, from) = match (by_flag, in_file, in_environment) {
        // Of a group, the file's values hold where no flag says otherwise.
        (Some((value, flag)), Some(in_file), _) if flags_of(setting).count() > 1 => {
            (format!("{value} over {in_file}"), format!("{flag}, file"))
        }
        (Some((value, flag)), ..) => (value, flag),
        (None, _, Some(value)) if is_refused => {
            let from = format!(
                "environment {}, refused beside a value or a file given elsewhere",
                setting.environment
            );
            (value, from)
        }
        (None, Some(value), _) => (value, "file".to_owned()),
        (None, None, Some(value)) => (value, format!("environment {}", setting.environment)),
        (None, None, None) => (setting.default.to_owned(), "default".to_owned()),
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

/// Whether a file with the setting's value is named: as `NAME_file`, or by the flag of that.
fn names_file(setting: &Setting, given: &Given, file: Option<&toml::Table>) -> bool {
    let key = format!("{}_file", setting.name);
    let flag = format!("--{}", key.replace('_', "-"));
    given.values.contains_key(&flag) || file.is_some_and(|file| file.contains_key(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(name: &str) -> &'a Setting {
        SETTINGS.iter().find(|setting| setting.name == name).expect("a setting")
    }

    fn seen(name: &str, file: &str, environment: Option<&str>) -> (String, String) {
        let file: toml::Table = file.parse().expect("TOML");
        let shown = explain(row(name), &Given::default(), Some(&file), |_| environment.map(str::to_owned));
        (text(&shown, "value"), text(&shown, "from"))
    }

    /// With flags, as they would be typed.
    fn seen_with(name: &str, file: &str, flags: &[&str]) -> (String, String) {
        let command = Given::augment_args(clap::Command::new("explain"));
        let matches = command
            .try_get_matches_from([&["explain"], flags].concat())
            .expect("flags of serve");
        let given = Given::from_arg_matches(&matches).expect("read");
        let file: toml::Table = file.parse().expect("TOML");
        let shown = explain(row(name), &given, Some(&file), |_| Some("of the environment".to_owned()));
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
    fn a_flag_wins_over_the_file_and_the_environment() {
        let flags = [
            "--listen",
            "b:1",
            "--worker-threads=2",
            "--audit",
            "--peers",
            "a:1,b:1",
            "--tls-cert",
            "c.pem",
        ];
        let listen = seen_with("listen", "listen = \"a:1\"", &flags);
        assert_eq!(listen, pair("b:1", "flag --listen"));
        assert_eq!(seen_with("worker_threads", "", &flags), pair("2", "flag --worker-threads"));
        assert_eq!(seen_with("audit", "", &flags), pair("true", "flag --audit"));
        assert_eq!(seen_with("peers", "peers = []", &flags), pair("a:1,b:1", "flag --peers"));
        assert_eq!(seen_with("tls", "", &flags), pair("--tls-cert c.pem", "flag --tls-cert"));
        let over = seen_with("tls", "[tls]\nkey = \"k.pem\"", &flags);
        assert_eq!(over, pair("--tls-cert c.pem over { key = \"k.pem\" }", "flag --tls-cert, file"));
        assert_eq!(seen_with("profile", "profile = \"wan\"", &flags), pair("wan", "file"));
        assert_eq!(seen_with("data_dir", "", &[]).1, "default");
        assert_eq!(seen_with("token", "", &["--token-file", "t"]).1, "default");
    }

    #[test]
    fn every_flag_of_the_table_is_a_flag_of_serve() {
        let command = Given::augment_args(clap::Command::new("explain"));
        let flags: Vec<String> = command
            .get_arguments()
            .filter_map(|flag| Some(format!("--{}", flag.get_long()?)))
            .collect();
        for flag in SETTINGS.iter().flat_map(flags_of) {
            assert!(flags.iter().any(|known| known == flag), "{flag}");
        }
    }

    #[test]
    fn secrets_are_named_but_not_shown() {
        assert_eq!(seen("token", "token = \"the-token\"", None), pair("(hidden)", "file"));
        assert_eq!(seen("token", "", Some("the-token")), pair("(hidden)", "environment QUORATE_TOKEN"));
        assert_eq!(seen("token", "token_file = \"/t\"", Some("the-token")).1, "default");
        assert_eq!(seen("cluster_secret", "cluster_secret = \"s\"", None), pair("(hidden)", "file"));
        for (name, variable) in [("cluster_secret", "QUORATE_CLUSTER_SECRET"), ("root_keys", "QUORATE_ROOT_KEYS")] {
            let from = format!("environment {variable}");
            assert_eq!(seen(name, "", Some("hunter2")), pair("(hidden)", &from));
            let beside = seen(name, &format!("{name}_file = \"/f\""), Some("hunter2"));
            assert!(beside.0 == "(hidden)" && beside.1.contains("refused beside"), "{beside:?}");
        }
    }
}
