//! Configuration of one peer: one TOML file, then flags, then the environment for secrets. Unknown keys are errors.

use crate::nearest::nearest;
use crate::networks::Network;
use quorate_consensus::disk::DiskBounds;
use quorate_consensus::{Settings, Timing};
use quorate_state_machine::service_account::ConfiguredAccount;
use serde::Deserialize;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Doris's documented default token: everyone knows it.
pub const WELL_KNOWN_TOKEN: &str = "greedisgood9999";

/// Environment variables with secrets.
pub const TOKEN_VARIABLE: &str = "QUORATE_TOKEN";
pub const CLUSTER_SECRET_VARIABLE: &str = "QUORATE_CLUSTER_SECRET";
pub const ROOT_KEYS_VARIABLE: &str = "QUORATE_ROOT_KEYS";

/// A smaller log file would be replaced all the time; a larger one cannot be addressed.
const LOG_SEGMENT_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 30;
/// A disk of which all is to be free is low for ever.
pub const DISK_LOW_PERCENT: RangeInclusive<u64> = 0..=99;

/// Configuration of a peer. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Directory of log, state and identity; may be left to the flag. Needs a restart.
    #[serde(default)]
    pub data_dir: PathBuf,
    /// Address the public port listens on. Default 127.0.0.1:5000.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// Address the peer port listens on. Default 127.0.0.1:5001.
    #[serde(default = "default_peer_listen")]
    pub peer_listen: String,
    /// `host:port` clients reach this peer at; default `listen`, which will not do when that is every address (0.0.0.0).
    #[serde(default)]
    pub advertise: Option<String>,
    /// `host:port` peers reach this peer at; default `peer_listen`, as above.
    #[serde(default)]
    pub peer_advertise: Option<String>,
    /// Peer addresses of all founders, this one's own included as `peer_advertise` has it. Alone when empty.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Doris token; required unless `token_file` is given. Or in [`TOKEN_VARIABLE`].
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
    /// The secret itself. Or in [`CLUSTER_SECRET_VARIABLE`].
    #[serde(default)]
    pub cluster_secret: Option<String>,
    /// TLS on the public port.
    #[serde(default)]
    pub tls: PublicTlsFiles,
    /// Mutual TLS on the peer port.
    #[serde(default)]
    pub peer_tls: PeerTlsFiles,
    /// File with root keys, one `id base64` a line, newest last.
    #[serde(default)]
    pub root_keys_file: Option<PathBuf>,
    /// The lines of such a file, out of [`ROOT_KEYS_VARIABLE`]; the configuration file does not take them.
    #[serde(skip)]
    pub root_keys: Option<Hidden>,
    /// The cluster's root keys are lost for good: go on with others. Default false.
    #[serde(default)]
    pub root_keys_lost: bool,
    /// Cloud account that `get_instance` shows as `iam_user` until `alter_iam` stores one. Default: empty.
    #[serde(default)]
    pub iam_user: Option<IamUser>,
    /// `lan` (default) or `wan`: timing of elections.
    #[serde(default)]
    pub profile: Profile,
    /// Take a new id in a running cluster instead of refusing to start empty beside one.
    #[serde(default)]
    pub replace: bool,
    /// Peer addresses of a running cluster that this peer joins while it has no place in one. Instead of `peers`.
    #[serde(default)]
    pub join: Vec<String>,
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
    /// Bytes a second at which a checkpoint is sent to one peer; 0 is as fast as it goes. Default 67108864.
    #[serde(default)]
    pub checkpoint_bytes_per_second: Option<u64>,
    /// Free bytes of the data disk below which it counts as low. Default 1073741824.
    #[serde(default)]
    pub disk_low_bytes: Option<u64>,
    /// Free percentage of the data disk below which it counts as low. Default 5.
    #[serde(default)]
    pub disk_low_percent: Option<u64>,
    /// Bytes of a file that is given back when the disk is full; at most a twentieth of the file system. Default 268435456.
    #[serde(default)]
    pub ballast_bytes: Option<u64>,
    /// Seconds between two scans of the whole state against its digest. Default 86400.
    #[serde(default)]
    pub content_scan_seconds: Option<u64>,
    /// Size of one log file in bytes, 65536 to 1073741824. Default 67108864.
    #[serde(default)]
    pub log_segment_bytes: Option<u32>,
    /// Milliseconds from which a request is called slow and gets a line in the log; 0 for none. Default 1000.
    #[serde(default)]
    pub slow_request_ms: Option<u64>,
    /// Directory that all peers see, for files of collections without a vault. Default: none.
    #[serde(default)]
    pub local_vault: Option<PathBuf>,
    /// Tasks of jobs this peer works on at once, 0 to 64; 0 for none. Default 4.
    #[serde(default)]
    pub workers: Option<usize>,
    /// Append every applied entry to `audit.log` (builds with the `audit` feature only).
    #[serde(default)]
    pub audit: bool,
}

/// A secret that `Debug` does not show.
#[derive(Clone)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// PEM files of the public port. They are read again when they change.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PublicTlsFiles {
    /// Certificate chain, the peer's own first. TLS is off without one.
    pub cert: Option<PathBuf>,
    /// Private key; nobody but its owner and group may read it.
    pub key: Option<PathBuf>,
    /// Certificates that callers' certificates must be signed by; without, callers need none.
    pub client_ca: Option<PathBuf>,
    /// Serve callers that speak no TLS as well, on the same port. Default false.
    #[serde(default)]
    pub allow_plain: bool,
}

/// PEM files of the peer port: all three or none. They are read again when they change.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PeerTlsFiles {
    /// Certificate chain, shown to peers on connections of both directions; names the host of the peer address.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Certificates that every peer's must be signed by.
    pub ca: Option<PathBuf>,
}

impl PeerTlsFiles {
    pub fn is_on(&self) -> bool {
        self.cert.is_some()
    }
}

/// A cloud account by configuration. Its secret stays in a file of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IamUser {
    pub user_id: String,
    pub ak: String,
    /// File with the secret key.
    pub sk_file: PathBuf,
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
            tls: PublicTlsFiles::default(),
            peer_tls: PeerTlsFiles::default(),
            root_keys_file: None,
            root_keys: None,
            root_keys_lost: false,
            iam_user: None,
            profile: Profile::Lan,
            replace: false,
            join: Vec::new(),
            worker_threads: 0,
            doris_grpc_allow: Network::private(),
            checkpoint_log_bytes: None,
            checkpoint_log_entries: None,
            checkpoint_bytes_per_second: None,
            disk_low_bytes: None,
            disk_low_percent: None,
            ballast_bytes: None,
            content_scan_seconds: None,
            log_segment_bytes: None,
            slow_request_ms: None,
            local_vault: None,
            workers: None,
            audit: false,
        }
    }

    /// Reads a TOML file.
    pub fn load(path: &Path) -> Result<ServerConfig, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError(format!("config file {}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| ConfigError(explain(path, &text, &error)))
    }

    /// Takes over the secrets of the environment, whose variables `read` looks up. The token's counts where nothing else gives one; the
    /// others are refused beside a file, because nobody could tell which of the two was meant.
    pub fn take_environment(&mut self, read: impl Fn(&str) -> Option<Result<String, OsString>>) -> Result<(), ConfigError> {
        if self.token.is_none() && self.token_file.is_none() {
            self.token = variable(TOKEN_VARIABLE, &read)?;
        }
        let elsewhere = match (&self.cluster_secret, &self.cluster_secret_file) {
            (Some(_), _) => Some("`cluster_secret`"),
            (None, Some(_)) => Some("`cluster_secret_file` (--cluster-secret-file)"),
            (None, None) => None,
        };
        if let Some(secret) = only_variable(CLUSTER_SECRET_VARIABLE, elsewhere, &read)? {
            self.cluster_secret = Some(secret);
        }
        let elsewhere = self.root_keys_file.as_ref().map(|_| "`root_keys_file` (--root-keys-file)");
        self.root_keys = only_variable(ROOT_KEYS_VARIABLE, elsewhere, &read)?.map(Hidden);
        Ok(())
    }

    pub fn public_address(&self) -> &str {
        self.advertise.as_deref().unwrap_or(&self.listen)
    }

    pub fn peer_address(&self) -> &str {
        self.peer_advertise.as_deref().unwrap_or(&self.peer_listen)
    }

    /// What a peer needs before it looks for its place; later its addresses are those the cluster knows it by.
    pub fn check_newcomer(&self) -> Result<(), ConfigError> {
        let told = [
            (self.public_address(), "clients", "`advertise` (--advertise)"),
            (self.peer_address(), "peers", "`peer_advertise` (--peer-advertise)"),
        ];
        for (address, who, setting) in told {
            if is_unspecified(address) {
                let text =
                    format!("{address} leads no other machine to this peer; set {setting} to the `host:port` at which {who} reach it");
                return Err(ConfigError(text));
            }
        }
        // One that joins or replaces founds nothing, and need not be named.
        if self.peers.is_empty() || self.lists_itself() || self.replace || !self.join.is_empty() {
            return Ok(());
        }
        // It would count as one founder more than there are.
        Err(ConfigError(format!(
            "`peers` (--peers) is {}, without this peer's own address {}; name it there in the same words, or set `peer_advertise` \
             (--peer-advertise) to how it is named; to join a running cluster use `join` (--join)",
            self.peers.join(","),
            self.peer_address()
        )))
    }

    /// Whether `peers` names this peer by its own address.
    pub fn lists_itself(&self) -> bool {
        self.peers.iter().any(|peer| peer == self.peer_address())
    }

    pub fn timing(&self) -> Timing {
        match self.profile {
            Profile::Lan => Timing::LAN,
            Profile::Wan => Timing::WAN,
        }
    }

    /// Consensus settings: defaults, and what this configuration says otherwise.
    pub fn settings(&self) -> Settings {
        let default = Settings::default();
        Settings {
            timing: self.timing(),
            checkpoint_log_bytes: self.checkpoint_log_bytes.unwrap_or(default.checkpoint_log_bytes),
            checkpoint_log_entries: self.checkpoint_log_entries.unwrap_or(default.checkpoint_log_entries),
            checkpoint_bytes_per_second: self.checkpoint_bytes_per_second.unwrap_or(default.checkpoint_bytes_per_second),
            content_scan_interval: self.content_scan_seconds.map_or(default.content_scan_interval, Duration::from_secs),
            disk: DiskBounds {
                low_bytes: self.disk_low_bytes.unwrap_or(default.disk.low_bytes),
                low_percent: self.disk_low_percent.unwrap_or(default.disk.low_percent),
            },
            ..default
        }
    }

    /// Refuses a peer without a directory, and what [`ServerConfig::check_bounds`] refuses.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError("no data directory: set `data_dir` (--data-dir)".to_owned()));
        }
        self.check_bounds()
    }

    /// Refuses numbers that no peer can serve with.
    pub fn check_bounds(&self) -> Result<(), ConfigError> {
        let bounds: [(&str, Option<u64>, RangeInclusive<u64>); 5] = [
            ("log_segment_bytes", self.log_segment_bytes.map(u64::from), LOG_SEGMENT_BYTES),
            ("disk_low_percent", self.disk_low_percent, DISK_LOW_PERCENT),
            ("checkpoint_log_bytes", self.checkpoint_log_bytes, 1..=u64::MAX),
            ("checkpoint_log_entries", self.checkpoint_log_entries, 1..=u64::MAX),
            ("content_scan_seconds", self.content_scan_seconds, 1..=u64::MAX),
        ];
        for (name, value, allowed) in bounds {
            let Some(value) = value.filter(|value| !allowed.contains(value)) else {
                continue;
            };
            let flag = name.replace('_', "-");
            let allowed = match *allowed.end() {
                u64::MAX => format!("{} or more", allowed.start()),
                end => format!("{} to {end}", allowed.start()),
            };
            return Err(ConfigError(format!("`{name}` (--{flag}) is {value}, allowed are {allowed}")));
        }
        Ok(())
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

    /// The configured cloud account with its secret; empty when there is none.
    pub fn resolve_iam_user(&self) -> Result<ConfiguredAccount, ConfigError> {
        let Some(account) = &self.iam_user else {
            return Ok(ConfiguredAccount::default());
        };
        Ok(ConfiguredAccount {
            user_id: account.user_id.clone(),
            ak: account.ak.clone(),
            sk: read_secret(&account.sk_file)?,
        })
    }

    /// The secret peers authenticate by. On loopback alone, or with mutual TLS, one is not required; anywhere else it is.
    pub fn resolve_cluster_secret(&self) -> Result<Vec<u8>, ConfigError> {
        let secret = match (&self.cluster_secret, &self.cluster_secret_file) {
            (Some(secret), None) if secret.trim().is_empty() => {
                return Err(ConfigError(
                    "`cluster_secret` is empty; give every peer the same secret, or leave the line out".to_owned(),
                ));
            }
            (Some(secret), None) => secret.clone(),
            (None, Some(path)) => read_secret(path)?,
            (Some(_), Some(_)) => {
                return Err(ConfigError(
                    "both `cluster_secret` and `cluster_secret_file` are set; keep one".to_owned(),
                ));
            }
            (None, None) if is_loopback(&self.peer_listen) || self.peer_tls.is_on() => String::new(),
            (None, None) => {
                let text = format!(
                    "the peer port listens on {} without a cluster secret or mutual TLS: anyone there could join; set `cluster_secret_file` (--cluster-secret-file) to the same file content on every peer, or QUORATE_CLUSTER_SECRET to the same text, or `peer_tls.cert`, `.key` and `.ca` (--peer-tls-cert, --peer-tls-key, --peer-tls-ca)",
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
    let host = host_of(address);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether an address means "every address of this machine": fit to listen on, not to be reached at.
fn is_unspecified(address: &str) -> bool {
    host_of(address)
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.to_canonical().is_unspecified())
}

/// An address without its port.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// One line: where it is, what it is, and what may have been meant. The values of the file, which may be secrets, are not
/// shown.
fn explain(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
    let line = if error.span().is_some_and(|span| text[..span.start].ends_with('\n')) {
        line + 1
    } else {
        line
    };
    let message = error.message().replace('\n', " ");
    // The text of serde: unknown field `a`, expected one of `b`, `c`.
    let mut names = message.split('`').skip(1).step_by(2);
    let what = match (message.starts_with("unknown field"), names.next()) {
        (true, Some(key)) => {
            let meant =
                nearest(key, names).map_or_else(|| "see `quorate serve --help`".to_owned(), |name| format!("did you mean `{name}`?"));
            format!("unknown key `{key}`; {meant}")
        }
        _ => without_values(&message),
    };
    format!("config file {}, line {line}: {what}", path.display())
}

/// What was expected, without what was found: serde quotes it, and it may be a token of digits.
fn without_values(message: &str) -> String {
    let quotes = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];
    match (
        quotes.iter().any(|begin| message.starts_with(begin)),
        message.rsplit_once(", expected "),
    ) {
        (true, Some((_, expected))) => format!("the value is of the wrong kind; expected {expected}"),
        (true, None) => "the value is of the wrong kind".to_owned(),
        (false, _) => message.to_owned(),
    }
}

/// The value of a variable, if it is set.
fn variable(name: &str, read: &dyn Fn(&str) -> Option<Result<String, OsString>>) -> Result<Option<String>, ConfigError> {
    read(name)
        .transpose()
        .map_err(|_| ConfigError(format!("the environment variable {name} is not UTF-8")))
}

/// The same for a secret that may not stand `elsewhere` too, without the blanks around it: as the file's content would be.
fn only_variable(
    name: &str,
    elsewhere: Option<&str>,
    read: &dyn Fn(&str) -> Option<Result<String, OsString>>,
) -> Result<Option<String>, ConfigError> {
    let Some(value) = variable(name, read)? else { return Ok(None) };
    if let Some(elsewhere) = elsewhere {
        let text = format!("both {elsewhere} and the environment variable {name} are set; keep one");
        return Err(ConfigError(text));
    }
    let value = value.trim();
    if value.is_empty() {
        let text = format!("the environment variable {name} is empty; give every peer the same value, or unset it");
        return Err(ConfigError(text));
    }
    Ok(Some(value.to_owned()))
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
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_typo_in_the_file_is_named() {
        let refusal = |text: &str| {
            let error = toml::from_str::<ServerConfig>(text).expect_err("refused");
            explain(Path::new("/etc/quorate.toml"), text, &error)
        };
        assert_eq!(
            refusal("data_dir = \"/x\"\npeer_listn = \"127.0.0.1:1\"\n"),
            "config file /etc/quorate.toml, line 2: unknown key `peer_listn`; did you mean `peer_listen`?"
        );
        assert_eq!(
            refusal("xyzzy_plugh = 1\ndata_dir = \"/x\"\n"),
            "config file /etc/quorate.toml, line 1: unknown key `xyzzy_plugh`; see `quorate serve --help`"
        );
        let wrong_type = refusal("data_dir = \"/x\"\n\n  worker_threads = \"many\"\n");
        assert!(
            wrong_type.starts_with("config file /etc/quorate.toml, line 3: ") && !wrong_type.contains('\n'),
            "{wrong_type}"
        );
        let secret = refusal("data_dir = \"/x\"\ntoken = \"hunter2\"\ntoken = \"hunter2\"\n");
        assert!(secret.contains("line 3: ") && !secret.contains("hunter2"), "{secret}");
        for value in [
            "918273645",
            "-918273645",
            "0x918273645",
            "918273645.5",
            "[918273645]",
            "{ a = 918273645 }",
            "918273645x",
            "\"918273645",
        ] {
            for key in ["token", "cluster_secret", "token_file", "worker_threads.a", "peers"] {
                let refused = refusal(&format!("data_dir = \"/x\"\n{key} = {value}\n"));
                assert!(
                    refused.contains("line 2: ") && !refused.contains("918273645"),
                    "{key} = {value}: {refused}"
                );
            }
        }
        assert_eq!(
            refusal("data_dir = \"/x\"\ntoken = 918273645\n"),
            "config file /etc/quorate.toml, line 2: the value is of the wrong kind; expected a string"
        );
        assert_eq!(
            refusal("data_dir = \"/x\"\nprofile = \"hunter2\"\n"),
            "config file /etc/quorate.toml, line 2: the value is of the wrong kind; expected `lan` or `wan`"
        );
    }

    #[test]
    fn numbers_no_peer_can_serve_with_are_refused_with_what_is_allowed() {
        let told = |text: &str| {
            let config = toml::from_str::<ServerConfig>(text).expect("of the right kinds");
            config.check().map_err(|ConfigError(told)| told)
        };
        for (text, wanted) in [
            ("", "no data directory: set `data_dir` (--data-dir)"),
            (
                "data_dir = \"/x\"\ndisk_low_percent = 100",
                "`disk_low_percent` (--disk-low-percent) is 100, allowed are 0 to 99",
            ),
            (
                "data_dir = \"/x\"\ncheckpoint_log_entries = 0",
                "`checkpoint_log_entries` (--checkpoint-log-entries) is 0, allowed are 1 or more",
            ),
            (
                "data_dir = \"/x\"\nlog_segment_bytes = 1",
                "`log_segment_bytes` (--log-segment-bytes) is 1, allowed are 65536 to 1073741824",
            ),
        ] {
            assert_eq!(told(text), Err(wanted.to_owned()));
        }
        for allowed in [
            "disk_low_percent = 0",
            "disk_low_percent = 99",
            "checkpoint_log_bytes = 1",
            "log_segment_bytes = 65536",
        ] {
            assert_eq!(told(&format!("data_dir = \"/x\"\n{allowed}")), Ok(()), "{allowed}");
        }
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
    fn the_cloud_account_takes_its_secret_from_a_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("sk");
        let text = format!(
            "data_dir = \"/x\"\n[iam_user]\nuser_id = \"u\"\nak = \"a\"\nsk_file = \"{}\"\n",
            path.display()
        );
        let config: ServerConfig = toml::from_str(&text).expect("well-formed");
        let error = config.resolve_iam_user().err().expect("the file is missing");
        assert!(error.to_string().contains("sk"), "{error}");
        std::fs::write(&path, "the-secret\n").expect("written");
        let account = config.resolve_iam_user().expect("complete");
        assert_eq!(
            (account.user_id.as_str(), account.ak.as_str(), account.sk.as_str()),
            ("u", "a", "the-secret")
        );
        assert!(!format!("{config:?}").contains("the-secret"));
        let inline = "data_dir = \"/x\"\n[iam_user]\nuser_id = \"u\"\nak = \"a\"\nsk = \"the-secret\"\n";
        assert!(
            toml::from_str::<ServerConfig>(inline).is_err(),
            "a secret does not belong into the file"
        );
        assert!(ServerConfig::new("/x".into()).resolve_iam_user().expect("none").sk.is_empty());
    }

    /// An environment with these variables.
    fn environment(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<Result<String, OsString>> {
        move |wanted: &str| {
            let (_, value) = variables.iter().find(|(name, _)| *name == wanted)?;
            Some(Ok((*value).to_owned()))
        }
    }

    #[test]
    fn secrets_are_taken_from_the_environment_as_from_files() {
        let variables = [
            (TOKEN_VARIABLE, "a-token"),
            (CLUSTER_SECRET_VARIABLE, " a-secret\n"),
            (ROOT_KEYS_VARIABLE, "1 a-key\n"),
        ];
        let mut config = ServerConfig::new("/x".into());
        config.peer_listen = "0.0.0.0:5001".to_owned();
        config.take_environment(environment(&[])).expect("nothing is there");
        assert!(config.resolve_cluster_secret().is_err() && config.root_keys.is_none());
        config.take_environment(environment(&variables)).expect("taken");
        assert_eq!(config.resolve_token().expect("a token"), "a-token");
        assert_eq!(config.resolve_cluster_secret().expect("a secret"), b"a-secret");
        assert_eq!(config.root_keys.as_ref().map(|keys| keys.0.as_str()), Some("1 a-key"));
        assert!(!format!("{config:?}").contains("a-key"));
        let in_file = toml::from_str::<ServerConfig>("data_dir = \"/x\"\nroot_keys = \"1 a-key\"\n");
        assert!(in_file.is_err(), "keys do not belong into the configuration file");
    }

    #[test]
    fn a_secret_of_the_environment_is_refused_beside_a_file_and_when_it_says_nothing() {
        let refused = |given: &str, variable: &str, value: &str| {
            let mut config: ServerConfig = toml::from_str(&format!("data_dir = \"/x\"\n{given}\n")).expect("well-formed");
            let error = config.take_environment(environment(&[(variable, value)])).expect_err("refused");
            error.to_string()
        };
        for (given, variable, named) in [
            ("cluster_secret_file = \"/s\"", CLUSTER_SECRET_VARIABLE, "--cluster-secret-file"),
            ("cluster_secret = \"hunter2\"", CLUSTER_SECRET_VARIABLE, "`cluster_secret`"),
            ("root_keys_file = \"/k\"", ROOT_KEYS_VARIABLE, "--root-keys-file"),
        ] {
            let error = refused(given, variable, "hunter3");
            assert!(error.contains(named) && error.contains(variable), "{error}");
            assert!(error.contains("keep one") && !error.contains("hunter"), "{error}");
        }
        for variable in [CLUSTER_SECRET_VARIABLE, ROOT_KEYS_VARIABLE] {
            for empty in ["", " \n"] {
                let error = refused("", variable, empty);
                assert!(error.contains(variable) && error.contains("is empty"), "{error}");
            }
            let mut config = ServerConfig::new("/x".into());
            let bytes = |name: &str| (name == variable).then(|| Err(OsString::from_vec(vec![0xff, 0x41])));
            let error = config.take_environment(bytes).expect_err("refused").to_string();
            assert!(error.contains(variable) && error.contains("not UTF-8"), "{error}");
        }
    }

    #[test]
    fn addresses_that_lead_nowhere_are_refused() {
        for (listen, advertise, fine) in [
            ("127.0.0.1:1", None, true),
            ("0.0.0.0:1", None, false),
            ("[::]:1", None, false),
            ("[::ffff:0.0.0.0]:1", None, false),
            ("0.0.0.0:1", Some("a:1"), true),
            ("10.0.0.1:1", Some("0.0.0.0:1"), false),
        ] {
            let mut config = ServerConfig::new("/x".into());
            (config.listen, config.advertise) = (listen.to_owned(), advertise.map(str::to_owned));
            assert_eq!(config.check_newcomer().is_ok(), fine, "public {listen} {advertise:?}");
            let mut config = ServerConfig::new("/x".into());
            (config.peer_listen, config.peer_advertise) = (listen.to_owned(), advertise.map(str::to_owned));
            assert_eq!(config.check_newcomer().is_ok(), fine, "peer {listen} {advertise:?}");
        }
    }

    #[test]
    fn a_founder_is_among_the_founders() {
        let mut config = ServerConfig::new("/x".into());
        config.check_newcomer().expect("alone");
        config.peers = vec!["a.example:5001".to_owned(), "b:5001".to_owned()];
        config.peer_advertise = Some("a:5001".to_owned());
        let error = config.check_newcomer().expect_err("an alias is another address").to_string();
        assert!(error.contains("own address a:5001"), "{error}");
        config.replace = true;
        config.check_newcomer().expect("it founds nothing");
        config.replace = false;
        config.peer_advertise = Some("b:5001".to_owned());
        config.check_newcomer().expect("named");
    }

    #[test]
    fn an_open_peer_port_needs_a_secret() {
        let mut config = ServerConfig::new("/x".into());
        assert!(config.resolve_cluster_secret().expect("loopback").is_empty());
        config.peer_listen = "0.0.0.0:5001".to_owned();
        assert!(config.resolve_cluster_secret().is_err());
        config.peer_tls.cert = Some("/cert".into());
        assert!(config.resolve_cluster_secret().expect("mutual TLS will do").is_empty());
    }

    #[test]
    fn an_empty_cluster_secret_is_none_wherever_it_stands() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("secret");
        for (content, is_fine) in [("", false), (" \n", false), ("s", true)] {
            let mut config = ServerConfig::new("/x".into());
            config.peer_listen = "0.0.0.0:5001".to_owned();
            config.cluster_secret = Some(content.to_owned());
            assert_eq!(config.resolve_cluster_secret().is_ok(), is_fine, "{content:?} in the configuration");
            std::fs::write(&path, content).expect("written");
            (config.cluster_secret, config.cluster_secret_file) = (None, Some(path.clone()));
            assert_eq!(config.resolve_cluster_secret().is_ok(), is_fine, "{content:?} in a file");
        }
    }
}
