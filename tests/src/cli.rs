//! `quorate` as somebody types it, against a cluster of the suite.

use crate::cluster::{Cluster, TOKEN};
use crate::peer::binary;
use serde_json::Value as Json;
use std::io::Write;
use std::process::{Command, Stdio};

/// What a command said, and whether it succeeded.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub out: String,
    pub err: String,
}

/// Runs a command with `--endpoint` at all peers of the cluster, the token, and `typed` on its standard input.
pub fn run(cluster: &Cluster, arguments: &[&str], typed: &str) -> Said {
    run_with(cluster, &[], arguments, typed)
}

/// A command that knows all peers of the cluster and the token.
pub fn command(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env("QUORATE_ENDPOINTS", cluster.addresses().join(","))
        .env_remove("QUORATE_TOKEN_FILE")
        .env("QUORATE_TOKEN", TOKEN);
    command
}

/// As [`run`], in an environment that has these variables too.
pub fn run_with(cluster: &Cluster, variables: &[(&str, &str)], arguments: &[&str], typed: &str) -> Said {
    let mut child = command(cluster, arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut input = child.stdin.take().expect("it was piped");
    // A command that asks nothing has ended before it reads.
    let _ = input.write_all(typed.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said {
        success: output.status.success(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    };
    assert!(!said.err.contains("panicked"), "{said:?}");
    said
}

/// Runs a command that must succeed, off the test's own threads: its peers and its load go on meanwhile.
pub async fn ok(cluster: &Cluster, arguments: &[&str]) -> Said {
    let said = tokio::task::block_in_place(|| run(cluster, arguments, ""));
    assert!(said.success, "{arguments:?}: {said:?}");
    said
}

/// Runs a command that must fail and print no data; what it says has all of `parts`.
pub async fn refused(cluster: &Cluster, arguments: &[&str], typed: &str, parts: &[&str]) -> Said {
    let said = tokio::task::block_in_place(|| run(cluster, arguments, typed));
    assert!(!said.success && said.out.is_empty(), "{arguments:?}: {said:?}");
    for part in parts {
        assert!(said.err.contains(part), "{arguments:?}: \"{part}\" is not in {said:?}");
    }
    said
}

/// The data a command prints as JSON.
pub async fn json(cluster: &Cluster, arguments: &[&str]) -> Json {
    let said = ok(cluster, &[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{arguments:?} is not JSON ({error}): {said:?}"))
}
