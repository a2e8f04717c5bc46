//! The command line against a cluster that `quorate dev` runs: what people type, what they see, and what happens to a
//! cluster when they mistype.

use quorate_tests::peer::binary;
use quorate_tests::ports::free_ports;
use quorate_tests::waiting::{LOOK_AGAIN, PATIENCE, phase};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const SECRET: &str = "a-secret-of-the-suite";

/// Three peers started by `quorate dev --detach`; stopped when dropped.
struct Dev {
    dir: TempDir,
    base: u16,
}

impl Dev {
    fn start() -> Dev {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("sk"), format!("{SECRET}\n")).expect("written");
        let dev = Dev { base: free_ports(22), dir };
        let base = dev.base.to_string();
        let output = Command::new(binary())
            .args(["dev", "--detach", "--token", "cli-token", "--base-port", &base, "--dir"])
            .arg(dev.dir.path().join("dev"))
            .stderr(Stdio::null())
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        dev
    }

    fn endpoints(&self) -> String {
        [0, 10, 20].map(|offset| format!("127.0.0.1:{}", self.base + offset)).join(",")
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env_remove("QUORATE_TOKEN")
            .env_remove("QUORATE_SK")
            .env("QUORATE_ENDPOINTS", self.endpoints())
            .env("QUORATE_TOKEN_FILE", self.path("dev/token"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed; its standard output.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the binary runs");
        assert!(output.status.success(), "{arguments:?}: {}", texts(&output).1);
        texts(&output).0
    }

    /// Runs a command that must fail, printing nothing to standard output; what it says.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the binary runs");
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "{arguments:?} succeeded: {out}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(!err.contains("panicked"), "{err}");
        err
    }

    /// The data a command prints as JSON.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Json {
        let text = self.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?} is not JSON ({error}): {text}"))
    }

    /// Runs a command that asks, with an answer; whether it succeeded, and what it said.
    fn ask(&self, arguments: &[&str], answer: &str) -> (bool, String) {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        child.stdin.take().expect("a pipe").write_all(answer.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        (output.status.success(), texts(&output).1)
    }

    /// Kills the peer that leads, as `quorate status` says; kill -9.
    fn kill_leader(&self) {
        let deadline = Instant::now() + PATIENCE;
        let leader = loop {
            let status = self.command(&["status", "-o", "json"]).output().expect("the binary runs");
            let status: Json = serde_json::from_slice(&status.stdout).unwrap_or_default();
            let leader = status["peers"].as_array().into_iter().flatten().find_map(|peer| {
                let leads = peer["peer_id"] == status["leader_id"] && status["leader_id"] != "0";
                leads.then(|| peer["public_address"].as_str().expect("an address").to_owned())
            });
            if let Some(leader) = leader {
                break leader;
            }
            assert!(Instant::now() < deadline, "no leader: {status}");
            std::thread::sleep(LOOK_AGAIN);
        };
        let peers: Json = serde_json::from_slice(&fs::read(self.path("dev/dev.json")).expect("who runs")).expect("JSON");
        let peer = peers
            .as_array()
            .expect("a list")
            .iter()
            .find(|peer| peer["public"] == leader.as_str());
        let pid = peer.expect("the leader runs")["pid"].as_i64().expect("a pid");
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::KILL).expect("the leader can be killed");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = Command::new(binary())
            .args(["dev", "stop", "--dir"])
            .arg(self.dir.path().join("dev"))
            .output();
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs a command that needs no cluster.
fn offline(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(binary())
        .args(arguments)
        .env("QUORATE_ENDPOINTS", "127.0.0.1:1")
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let (out, err) = texts(&output);
    (output.status.success(), out, err)
}

/// The cells of a table's row that begins with `first`.
fn row<'a>(table: &'a str, first: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(first));
    line.unwrap_or_else(|| panic!("no row {first} in\n{table}"))
        .split_whitespace()
        .collect()
}

#[test]
fn a_warehouse_is_built_looked_at_and_taken_down() {
    let dev = Dev::start();
    build_clusters(&dev);
    list_instances(&dev);
    build_vaults(&dev);
    look_at_all(&dev);
    take_down(&dev);
}

fn build_clusters(dev: &Dev) {
    phase("instance, cluster and nodes");
    let created = dev.ok(&["instance", "create", "i", "--name", "one", "--user-id", "me"]);
    assert!(created.starts_with("instance i created (revision "), "{created}");
    dev.ok(&[
        "cluster",
        "add",
        "i",
        "c",
        "--name",
        "compute",
        "--node-id",
        "1:i:a",
        "--ip",
        "10.0.0.1",
        "--port",
        "9050",
    ]);
    dev.ok(&["node", "add", "i", "c", "--node-id", "1:i:b", "--ip", "10.0.0.2", "--port", "9050"]);
    let fe = ["--node-id", "1:i:f", "--ip", "10.0.0.3", "--port", "9010"];
    dev.ok(&[&["cluster", "add", "i", "fe", "--type", "sql"], &fe[..]].concat());
    assert_eq!(
        row(&dev.ok(&["cluster", "list", "i"]), "c"),
        ["c", "compute", "COMPUTE", "NORMAL", "2"]
    );
    let nodes = dev.ok(&["node", "list", "i", "--cluster", "c"]);
    assert_eq!(nodes.lines().filter(|line| line.starts_with("c ")).count(), 2, "{nodes}");
    assert!(nodes.contains("10.0.0.2:9050") && nodes.contains("RUNNING"), "{nodes}");
    dev.ok(&["cluster", "set-status", "i", "c", "suspended"]);
    assert_eq!(dev.json(&["cluster", "show", "i", "c"])["cluster_status"], "SUSPENDED");
}

fn list_instances(dev: &Dev) {
    phase("instances are listed; dropped ones when they are asked for");
    let table = dev.ok(&["instance", "list"]);
    assert!(table.starts_with("There is 1 instance.\n"), "{table}");
    assert_eq!(row(&table, "i"), ["i", "one", "NORMAL", "2"]);
    dev.ok(&["instance", "create", "gone"]);
    dev.ok(&["instance", "drop", "gone", "--yes"]);
    let ids = |arguments: &[&str]| -> Vec<Json> {
        let listed = dev.json(&[&["instance", "list"], arguments].concat());
        let listed = listed.as_array().expect("a list").iter();
        listed.map(|instance| instance["instance_id"].clone()).collect()
    };
    assert_eq!(ids(&[]), ["i"]);
    assert_eq!(ids(&["--all"]), ["gone", "i"]);
    assert_eq!(ids(&["--all", "--prefix", "g"]), ["gone"]);
    assert_eq!(ids(&["--prefix", "g"]), [""; 0]);
    let long = "x".repeat(2_000);
    let said = dev.refused(&["instance", "list", "--prefix", &long]);
    assert!(said.contains("prefix") && said.contains("1024"), "{said}");
}

fn build_vaults(dev: &Dev) {
    let sk_file = dev.path("sk");
    phase("vaults and keys; secrets are hidden unless asked for");
    let place = ["--bucket", "b", "--store-endpoint", "e", "--region", "r", "--provider", "s3"];
    let keys = ["--ak", "an-ak", "--sk-file", &sk_file];
    dev.ok(&[&["vault", "add-s3", "i", "s3", "--prefix", "p", "--default"], &place[..], &keys[..]].concat());
    dev.ok(&["vault", "add-hdfs", "i", "h", "--fs-name", "hdfs://a:8020", "--conf", "k=v=w"]);
    let vaults = dev.json(&["vault", "list", "i"]);
    assert_eq!(vaults["storage_vault"][0]["obj_info"]["sk"], "(hidden)");
    assert_eq!(
        vaults["storage_vault"][1]["hdfs_info"]["build_conf"]["hdfs_confs"][0]["value"],
        "v=w"
    );
    let clear = dev.json(&["vault", "list", "i", "--show-secrets"]);
    assert_eq!(clear["storage_vault"][0]["obj_info"]["sk"], SECRET);
    let table = dev.ok(&["vault", "list", "i"]);
    assert_eq!(row(&table, "1"), ["1", "s3", "S3", "b/p", "key", "an-ak", "yes"]);
    assert!(!table.contains(SECRET));
    dev.ok(&["vault", "alter-s3", "i", "s3", "--rename", "renamed", "--path-style", "true"]);
    assert_eq!(dev.json(&["vault", "show", "i", "renamed"])["obj_info"]["use_path_style"], true);
    dev.ok(&[&["key", "set-account", "arn"], &keys[..]].concat());
    let listed = dev.json(&["key", "list", "i"]);
    let owners: Vec<_> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| (&key["of"], &key["id"]))
        .collect();
    assert_eq!(
        owners,
        [(&"vault".into(), &"renamed".into()), (&"peer account".into(), &"arn".into())] as [(&Json, &Json); 2]
    );
}

fn look_at_all(dev: &Dev) {
    phase("the instance in all three forms");
    let instance = dev.json(&["instance", "show", "i"]);
    assert_eq!(
        (&instance["name"], &instance["iam_user"]["sk"]),
        (&"one".into(), &"(hidden)".into())
    );
    let yaml = dev.ok(&["instance", "show", "i", "-o", "yaml"]);
    assert!(
        yaml.contains("instance_id: i\n") && yaml.contains("clusters:\n  - cluster_id: c\n"),
        "{yaml}"
    );
    let table = dev.ok(&["instance", "show", "i"]);
    assert!(table.starts_with("Instance i is NORMAL.\n"), "{table}");
}

fn take_down(dev: &Dev) {
    phase("everything is taken down");
    let drop_node = ["node", "drop", "i", "c", "--node-id", "1:i:b", "--ip", "10.0.0.2", "--port", "9050"];
    let (success, said) = dev.ask(&drop_node, "n\n");
    assert!(
        !success && said.contains("removes node 1:i:b at 10.0.0.2:9050") && said.contains("nothing was changed"),
        "{said}"
    );
    assert!(dev.ask(&drop_node, "y\n").0);
    assert_eq!(dev.json(&["cluster", "show", "i", "c"])["nodes"].as_array().map(Vec::len), Some(1));
    let dry = dev.command(&["cluster", "drop", "i", "c", "--dry-run"]).output().expect("runs");
    assert!(
        dry.status.success() && texts(&dry).1.contains("removes COMPUTE cluster c"),
        "{dry:?}"
    );
    dev.json(&["cluster", "show", "i", "c"]);
    dev.ok(&["cluster", "drop", "i", "c", "--yes"]);
    dev.ok(&["vault", "drop", "i", "h", "--yes"]);
    let kept = dev.refused(&["vault", "drop", "i", "renamed", "--yes"]);
    assert!(
        kept.contains("the default") && kept.contains("invalid request op, op=104"),
        "{kept}"
    );
    let young = dev.refused(&["cluster", "drop", "i", "fe", "--yes"]);
    assert!(young.contains("not in safe time"), "{young}");
    let left = dev.refused(&["instance", "drop", "i", "--yes"]);
    assert!(
        left.contains("instance has clusters") && left.contains("invalid_argument"),
        "{left}"
    );
    dev.ok(&["instance", "create", "bare"]);
    dev.ok(&["instance", "drop", "bare", "--yes"]);
    assert_eq!(dev.json(&["instance", "show", "bare"])["status"], "DELETED");
}

#[test]
fn mistakes_are_named_and_change_nothing() {
    let dev = Dev::start();
    dev.ok(&["instance", "create", "i"]);
    let before = dev.ok(&["instance", "show", "i", "-o", "json"]);
    for (arguments, parts) in [
        (
            &["instance", "create", "i"][..],
            &["instance already existed", "already_exists", "choose another name"][..],
        ),
        (&["instance", "show", "x"], &["instance_id=x", "key_missing"]),
        (&["instance", "drop", "x", "--yes"], &["instance_id=x"]),
        (&["instance", "drop", "i"], &["not confirmed", "--yes"]),
        (&["cluster", "show", "i", "c"], &["fail to get cluster", "not_found"]),
        (&["cluster", "show", "a:b", "c"], &["a:b", "no colon"]),
        (&["cluster", "set-status", "i", "c", "faster"], &["faster", "manual_shutdown"]),
        (
            &["node", "add", "i", "c", "--node-id", "n", "--ip", "1", "--port", "0"],
            &["--port"],
        ),
        (&["vault", "show", "i", "v"], &["no vault v", "vault list i"]),
        (&["vault", "add-s3", "i", "v"], &["--bucket"]),
        (
            &["vault", "add-s3", "i", "v", "--bucket", "b", "--provider", "s4"],
            &["s4", "AZURE"],
        ),
        (&["vault", "add-s3", "i", "v", "--ak", "a"], &["--sk-file", "QUORATE_SK"]),
        (&["vault", "add-hdfs", "i", "v", "--fs-name", "f", "--conf", "k"], &["key=value"]),
        (&["vault", "alter-s3", "i", "v"], &["nothing to change"]),
        (&["key", "set-store", "i", "1", "--sk-file", "/x"], &["--ak"]),
        (
            &["key", "set-store", "i", "1", "--ak", "a", "--sk-file", "/no/such/file"],
            &["/no/such/file"],
        ),
        (&["session", "close", "0"], &["0"]),
        (&["instance", "shwo", "i"], &["shwo", "show"]),
        (&["instance", "show", "i", "--token-file", "/no/such/file"], &["/no/such/file"]),
        (&["instance", "show", "i", "--timeout", "0"], &["--timeout"]),
    ] {
        let said = dev.refused(arguments);
        for part in parts {
            assert!(said.contains(part), "{arguments:?} does not say {part:?}: {said}");
        }
    }
    let wrong_token = dev.path("wrong-token");
    fs::write(&wrong_token, "guess").expect("written");
    let said = dev.refused(&["instance", "show", "i", "--token-file", &wrong_token]);
    assert!(said.contains("does not accept this token") && !said.contains("guess\n"), "{said}");
    let output = dev
        .command(&["instance", "show", "i"])
        .env_remove("QUORATE_TOKEN_FILE")
        .output()
        .expect("runs");
    assert!(texts(&output).1.contains("no token"), "{output:?}");
    let output = dev
        .command(&["instance", "show", "i"])
        .env("QUORATE_ENDPOINTS", "127.0.0.1:1")
        .args(["--timeout", "1"])
        .output();
    let said = texts(&output.expect("runs")).1;
    assert!(
        said.contains("127.0.0.1:1: cannot connect") && said.contains("nothing was changed"),
        "{said}"
    );
    assert_eq!(dev.ok(&["instance", "show", "i", "-o", "json"]), before);
}

#[test]
fn commands_go_on_when_the_leader_is_killed() {
    let dev = Dev::start();
    dev.ok(&["instance", "create", "i"]);
    let session = dev.json(&["session", "open"])["session_id"].as_str().expect("an id").to_owned();
    phase("the leader is killed, and the next commands are sent at once");
    dev.kill_leader();
    dev.ok(&["instance", "create", "j", "--timeout", "30"]);
    dev.ok(&["instance", "set-status", "i", "overdue", "--timeout", "30"]);
    assert_eq!(dev.json(&["instance", "show", "i"])["status"], "OVERDUE");
    dev.ok(&["session", "close", &session]);
    let closed = dev.refused(&["session", "close", &session]);
    assert!(closed.contains(&format!("session {session} was not found")), "{closed}");
    let again = dev.refused(&["instance", "create", "j"]);
    assert!(again.contains("already existed"), "one of two tries of a write, not both: {again}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = dev.command(&["status", "-o", "yaml"]).output().expect("runs");
        if status.status.code() == Some(2) && texts(&status).0.contains("findings:\n") {
            break;
        }
        assert!(Instant::now() < deadline, "the missing peer is not noticed: {status:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn errors_settings_completions_and_manual_need_no_cluster() {
    let (success, out, _) = offline(&["explain", "no-leader"]);
    assert!(success && out.contains("no_leader is error 12.") && out.contains("503"), "{out}");
    let (success, out, _) = offline(&["explain", "24", "-o", "json"]);
    let explained: Json = serde_json::from_str(&out).expect("JSON");
    assert!(
        success && explained["name"] == "vault_not_found" && explained["doris_number"] == 3004,
        "{out}"
    );
    let (success, out, err) = offline(&["explain", "no_such_error"]);
    assert!(!success && out.is_empty() && err.contains("no_such_error"), "{err}");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("quorate.toml");
    fs::write(&file, "data_dir = \"/x\"\nlisten = \"127.0.0.1:7000\"\ntoken = \"the-token\"\n").expect("written");
    let file = file.display().to_string();
    let (success, out, _) = offline(&["config", "explain", "--config", &file]);
    assert!(success && !out.contains("the-token"), "{out}");
    assert_eq!(&row(&out, "listen")[1..3], ["127.0.0.1:7000", "file"]);
    assert_eq!(&row(&out, "profile")[1..3], ["lan", "default"]);
    let (success, out, _) = offline(&["config", "explain", "token", "--config", &file, "-o", "yaml"]);
    assert!(
        success && out.contains("value: \"(hidden)\"") && out.contains("from: file"),
        "{out}"
    );
    let flags = ["--listen", "127.0.0.1:7001", "--profile", "wan"];
    let (success, out, _) = offline(&[&["config", "explain", "--config", &file], &flags[..]].concat());
    assert!(success, "{out}");
    assert_eq!(&row(&out, "listen")[1..4], ["127.0.0.1:7001", "flag", "--listen"]);
    assert_eq!(&row(&out, "profile")[1..4], ["wan", "flag", "--profile"]);
    fs::write(&file, "data_dir = \"/x\"\nlisen = 1\n").expect("written");
    let (success, _, err) = offline(&["config", "explain", "--config", &file]);
    assert!(!success && err.contains("lisen"), "{err}");
    let (success, _, err) = offline(&["config", "explain", "lisen"]);
    assert!(!success && err.contains("lisen") && err.contains("listen"), "{err}");

    for (shell, part) in [("bash", "_quorate()"), ("zsh", "#compdef quorate"), ("fish", "complete -c quorate")] {
        let (success, out, _) = offline(&["completions", shell]);
        assert!(success && out.contains(part) && out.contains("vault"), "{shell}");
    }
    let (success, out, _) = offline(&["man"]);
    assert!(success && out.contains(".TH") && out.contains("vault"), "{out}");
    let pages = dir.path().join("man");
    assert!(offline(&["man", "--dir", &pages.display().to_string()]).0);
    let page = |name: &str| fs::read_to_string(page_path(&pages, name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(page("quorate-vault-add-s3").contains("bucket"));
    assert!(page("quorate-config-explain").contains("quorate-config-explain"));
}

fn page_path(pages: &Path, name: &str) -> PathBuf {
    pages.join(format!("{name}.1"))
}
