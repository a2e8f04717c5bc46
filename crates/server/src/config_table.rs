//! What every setting of a peer means: one row per field of [`crate::config::ServerConfig`], for `quorate config explain`.
//!
//! No setting can be changed while a peer runs yet, so none says whether it needs a restart; only the files of certificates
//! are read again when they change.

use crate::config::{CLUSTER_SECRET_VARIABLE, ROOT_KEYS_VARIABLE, TOKEN_VARIABLE};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key in the file.
    pub name: &'static str,
    /// Flag of `quorate serve`; empty when only the file has it.
    pub flag: &'static str,
    /// Environment variable; empty when there is none.
    pub environment: &'static str,
    /// What holds when nobody says anything, with its unit.
    pub default: &'static str,
    pub meaning: &'static str,
    /// The value must not be shown.
    pub is_secret: bool,
    /// Version that had it first.
    pub since: &'static str,
}

const fn setting(name: &'static str, flag: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        flag,
        environment: "",
        default,
        meaning,
        is_secret: false,
        since: "0.1.0",
    }
}

const fn secret(name: &'static str, environment: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        environment,
        is_secret: true,
        ..setting(name, "", default, meaning)
    }
}

/// Every setting, in the order of the configuration's fields.
pub const SETTINGS: &[Setting] = &[
    setting(
        "data_dir",
        "--data-dir",
        "none, must be given",
        "directory of log, state and identity; made if absent",
    ),
    setting("listen", "--listen", "127.0.0.1:5000", "address of the public port"),
    setting("peer_listen", "--peer-listen", "127.0.0.1:5001", "address of the peer port"),
    setting(
        "advertise",
        "--advertise",
        "as listen",
        "host:port clients reach this peer at; not 0.0.0.0",
    ),
    setting(
        "peer_advertise",
        "--peer-advertise",
        "as peer_listen",
        "host:port peers reach this peer at; not 0.0.0.0",
    ),
    setting(
        "peers",
        "--peers",
        "none: alone",
        "peer addresses of all founders, this one's own (peer_advertise) included",
    ),
    secret(
        "token",
        TOKEN_VARIABLE,
        "none: token, its file or the variable must be given",
        "Doris token",
    ),
    setting("token_file", "--token-file", "none", "file with the Doris token"),
    setting(
        "allow_well_known_token",
        "--allow-well-known-token",
        "false",
        "accept Doris's well-known default token",
    ),
    setting(
        "cluster_secret_file",
        "--cluster-secret-file",
        "none: on loopback only",
        "file with the secret that peers authenticate each other by",
    ),
    secret(
        "cluster_secret",
        CLUSTER_SECRET_VARIABLE,
        "none: on loopback only",
        "the same secret itself; in one place only",
    ),
    setting(
        "tls",
        "--tls-cert, --tls-key, --tls-client-ca, --tls-allow-plain",
        "off",
        "TLS on the public port: cert, key, client_ca, allow_plain",
    ),
    setting(
        "peer_tls",
        "--peer-tls-cert, --peer-tls-key, --peer-tls-ca",
        "off",
        "mutual TLS on the peer port: cert, key, ca; on every peer or on none",
    ),
    setting(
        "root_keys_file",
        "--root-keys-file",
        "data_dir/root-keys for a peer alone, else none",
        "file with the keys that encrypt secrets, one `id base64` a line, newest last",
    ),
    secret(
        "root_keys",
        ROOT_KEYS_VARIABLE,
        "as root_keys_file",
        "the same lines, also with commas between them; from the environment only, instead of the file",
    ),
    setting(
        "root_keys_lost",
        "--root-keys-lost",
        "false",
        "the cluster's root keys are lost for good: go on with others; what the lost ones encrypted cannot be read any more",
    ),
    setting(
        "iam_user",
        "",
        "empty",
        "cloud account shown with every instance until `quorate key set-account`: user_id, ak, sk_file",
    ),
    setting("profile", "--profile", "lan", "timing of elections: lan or wan"),
    setting(
        "replace",
        "--replace",
        "false",
        "take a new id in a running cluster instead of refusing to start empty beside one",
    ),
    setting(
        "join",
        "--join",
        "none",
        "peer addresses of a running cluster to join while this peer has no place in one; instead of peers",
    ),
    setting("worker_threads", "--worker-threads", "0: one per core", "worker threads"),
    setting(
        "doris_grpc_allow",
        "--doris-grpc-allow",
        "loopback and private ranges",
        "networks that may use the Doris gRPC service, which has no token",
    ),
    setting(
        "checkpoint_log_bytes",
        "--checkpoint-log-bytes",
        "268435456 bytes",
        "log bytes after which a checkpoint is made",
    ),
    setting(
        "checkpoint_log_entries",
        "--checkpoint-log-entries",
        "1000000 entries",
        "log entries after which a checkpoint is made",
    ),
    setting(
        "checkpoint_bytes_per_second",
        "--checkpoint-bytes-per-second",
        "67108864 bytes a second",
        "speed at which a checkpoint is sent to one peer; 0 is as fast as it goes",
    ),
    setting(
        "disk_low_bytes",
        "--disk-low-bytes",
        "1073741824 bytes",
        "free space of the data disk below which it counts as low",
    ),
    setting(
        "disk_low_percent",
        "--disk-low-percent",
        "5 percent",
        "free share of the data disk below which it counts as low",
    ),
    setting(
        "ballast_bytes",
        "--ballast-bytes",
        "268435456 bytes",
        "a file that is given back when the disk is full; at most a twentieth of the file system",
    ),
    setting(
        "content_scan_seconds",
        "--content-scan-seconds",
        "86400 seconds",
        "time between two scans of the whole state against its digest",
    ),
    setting(
        "log_segment_bytes",
        "--log-segment-bytes",
        "67108864 bytes",
        "size of one log file, 65536 to 1073741824",
    ),
    setting(
        "slow_request_ms",
        "--slow-request-ms",
        "1000 milliseconds",
        "time from which a request is called slow and gets a line in the log, at most one a second; 0 for none",
    ),
    setting(
        "local_vault",
        "--local-vault",
        "none",
        "directory that all peers see, on one machine or on a shared mount: files of collections without a vault",
    ),
    setting(
        "workers",
        "--workers",
        "4 tasks",
        "tasks of jobs this peer works on at once, 0 to 64; 0 for none",
    ),
    setting(
        "audit",
        "--audit",
        "false",
        "append every applied entry to audit.log (builds with the audit feature)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_configuration_has_its_row_in_order() {
        let source = include_str!("config.rs");
        let fields = source
            .split("pub struct ServerConfig {")
            .nth(1)
            .and_then(|rest| rest.split("\n}").next());
        let fields: Vec<&str> = fields
            .expect("the struct is there")
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next())
            .collect();
        let rows: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(rows, fields);
    }
}
