//! Configuration of one peer: one TOML file, then flags. Unknown keys are errors.

use crate::networks::Network;
use quorate_consensus::Timing;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Doris's documented default token: everyone knows it.
pub const WELL_KNOWN_TOKEN: &str = "greedisgood9999";

/// Configuration of a peer. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Directory of log, state and identity. Needs a restart.
    pub data_dir: PathBuf,
    /// Address the public port listens on. Default 127.0.0.1:5000.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// Address the peer port listens on. Default 127.0.0.1:5001.
    #[serde(default = "default_peer_listen")]
    pub peer_listen: String,
    /// `host:port` clients reach this peer at; default `listen`.
    #[serde(default)]
    pub advertise: Option<String>,
    /// `host:port` peers reach this peer at; default `peer_listen`.
    #[serde(default)]
    pub peer_advertise: Option<String>,
    /// Peer addresses of all founders, this one included. Alone when empty.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Doris token; required unless `token_file` is given.
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Accept Doris's well-known default token. Default false.
    #[serde(default)]
    pub allow_well_known_token: bool,
    /// File with the secret that peers authenticate each other by.
    #[serde(default)]
    pub cluster_secret_file: Option<PathBuf>,
    #[serde(default)]
    pub cluster_secret: Option<String>,
    /// File with root keys, one `id base64` a line, newest last.
    #[serde(default)]
    pub root_keys_file: Option<PathBuf>,
    /// `lan` (default) or `wan`: timing of elections.
    #[serde(default)]
    pub profile: Profile,
    /// Take a new id in a running cluster instead of refusing to start empty beside one.
    #[serde(default)]
    pub replace: bool,
    /// Tokio worker threads; 0 means one per core.
    #[serde(default)]
    pub worker_threads: usize,
    /// Networks (`address/bits`) that may use the Doris gRPC service, which has no token. Default: loopback and the private
    /// ranges. Needs a restart.
    #[serde(default = "Network::private")]
    pub doris_grpc_allow: Vec<Network>,
    /// Log bytes after which a checkpoint is made. Default 268435456.
    #[serde(default)]
    pub checkpoint_log_bytes: Option<u64>,
    /// Log entries after which a checkpoint is made. Default 1000000.
    #[serde(default)]
    pub checkpoint_log_entries: Option<u64>,
    /// Append every applied entry to `audit.log` (builds with the `audit` feature only).
    #[serde(default)]
    pub audit: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    #[default]
    Lan,
    Wan,
}

fn default_listen() -> String {
    "127.0.0.1:5000".to_owned()
}

fn default_peer_listen() -> String {
    "127.0.0.1:5001".to_owned()
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ServerConfig {
    /// Defaults for a peer in `data_dir`.
    pub fn new(data_dir: PathBuf) -> ServerConfig {
        ServerConfig {
            data_dir,
            listen: default_listen(),
            peer_listen: default_peer_listen(),
            advertise: None,
            peer_advertise: None,
            peers: Vec::new(),
            token: None,
            token_file: None,
            allow_well_known_token: false,
            cluster_secret_file: None,
            cluster_secret: None,
            root_keys_file: None,
            profile: Profile::Lan,
            replace: false,
            worker_threads: 0,
            doris_grpc_allow: Network::private(),
            checkpoint_log_bytes: None,
            checkpoint_log_entries: None,
            audit: false,
        }
    }

    /// Reads a TOML file.
    pub fn load(path: &Path) -> Result<ServerConfig, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError(format!("config file {}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| ConfigError(format!("config file {}: {error}", path.display())))
    }

    pub fn public_address(&self) -> &str {
        self.advertise.as_deref().unwrap_or(&self.listen)
    }

    pub fn peer_address(&self) -> &str {
        self.peer_advertise.as_deref().unwrap_or(&self.peer_listen)
    }

    pub fn timing(&self) -> Timing {
        match self.profile {
            Profile::Lan => Timing::LAN,
            Profile::Wan => Timing::WAN,
        }
    }

    /// The Doris token, checked: none is made up, and the well-known one must be asked for.
    pub fn resolve_token(&self) -> Result<String, ConfigError> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), None) => token.clone(),
            (None, Some(path)) => read_secret(path)?,
            (None, None) => return Err(ConfigError("no token: set `token_file` (--token-file) or QUORATE_TOKEN".to_owned())),
            (Some(_), Some(_)) => return Err(ConfigError("both `token` and `token_file` are set; keep one".to_owned())),
        };
        if token.is_empty() {
            return Err(ConfigError("the token is empty".to_owned()));
        }
        if token == WELL_KNOWN_TOKEN && !self.allow_well_known_token {
            let text =
                "the token is Doris's well-known default; choose another, or set `allow_well_known_token` (--allow-well-known-token)";
            return Err(ConfigError(text.to_owned()));
        }
        Ok(token)
    }

    /// The secret peers authenticate by. On loopback alone one is not required; anywhere else it is.
    pub fn resolve_cluster_secret(&self) -> Result<Vec<u8>, ConfigError> {
        let secret = match (&self.cluster_secret, &self.cluster_secret_file) {
            (Some(secret), None) => secret.clone(),
            (None, Some(path)) => read_secret(path)?,
            (Some(_), Some(_)) => {
                return Err(ConfigError(
                    "both `cluster_secret` and `cluster_secret_file` are set; keep one".to_owned(),
                ));
            }
            (None, None) if is_loopback(&self.peer_listen) => String::new(),
            (None, None) => {
                let text = format!(
                    "the peer port listens on {} without a cluster secret: anyone there could join; set `cluster_secret_file` (--cluster-secret-file) to the same file content on every peer",
                    self.peer_listen
                );
                return Err(ConfigError(text));
            }
        };
        Ok(secret.into_bytes())
    }
}

/// Whether an address can only be reached from this machine.
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn read_secret(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError(format!("secret file {}: {error}", path.display())))?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(ConfigError(format!("secret file {} is empty", path.display())));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_in_the_file_is_named() {
        let error = toml::from_str::<ServerConfig>("data_dir = \"/x\"\npeer_listn = \"127.0.0.1:1\"\n").expect_err("refused");
        assert!(
            error.to_string().contains("peer_listn") && error.to_string().contains("peer_listen"),
            "{error}"
        );
    }

    #[test]
    fn networks_are_read_from_the_file_and_one_that_is_none_is_named() {
        let config: ServerConfig = toml::from_str("data_dir = \"/x\"\ndoris_grpc_allow = [\"10.0.0.0/8\"]\n").expect("fine");
        assert_eq!(config.doris_grpc_allow, ["10.0.0.0/8".parse().expect("a network")]);
        let error = toml::from_str::<ServerConfig>("data_dir = \"/x\"\ndoris_grpc_allow = [\"ten\"]\n").expect_err("refused");
        assert!(error.to_string().contains("\"ten\" is no network"), "{error}");
    }

    #[test]
    fn the_well_known_token_must_be_asked_for() {
        let mut config = ServerConfig::new("/x".into());
        config.token = Some(WELL_KNOWN_TOKEN.to_owned());
        assert!(config.resolve_token().is_err());
        config.allow_well_known_token = true;
        assert_eq!(config.resolve_token().expect("allowed"), WELL_KNOWN_TOKEN);
    }

    #[test]
    fn an_open_peer_port_needs_a_secret() {
        let mut config = ServerConfig::new("/x".into());
        assert!(config.resolve_cluster_secret().expect("loopback").is_empty());
        config.peer_listen = "0.0.0.0:5001".to_owned();
        assert!(config.resolve_cluster_secret().is_err());
    }
}
