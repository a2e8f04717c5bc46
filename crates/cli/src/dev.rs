//! `quorate dev`: a cluster of peers on this machine, each a process of its own, so that killing one is like the real thing.
//!
//! ```text
//! DIR/token, cluster-secret, root-keys   made once, 0600
//! DIR/peer-<n>/                          data directory of a peer
//! DIR/peer-<n>.log                       its standard error
//! DIR/dev.json                           who runs: pids, addresses and command lines
//! ```

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use quorate_server::config::{CLUSTER_SECRET_VARIABLE, ROOT_KEYS_VARIABLE, WELL_KNOWN_TOKEN};
use quorate_server::secrets::SecretBox;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::{self, unix::SignalKind};

/// How long the peers may take until all of them serve.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a start waits for its vault.
const VAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a peer that was killed is waited for: its process ends when what it waits for in the kernel does.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a start in the foreground looks whether its peers still run.
const LOOK: Duration = Duration::from_millis(500);
/// The exit code of a start that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

#[derive(Args)]
pub struct DevArguments {
    #[command(subcommand)]
    verb: Option<DevVerb>,
    #[command(flatten)]
    start: StartArguments,
}

#[derive(Subcommand)]
enum DevVerb {
    /// Stop the peers of a directory.
    Stop {
        /// Directory the peers were started with.
        #[arg(long, default_value = "quorate-dev")]
        dir: PathBuf,
    },
}

#[derive(Args)]
struct StartArguments {
    /// Directory of the peers' data; starting again in it continues where it was.
    #[arg(long, default_value = "quorate-dev")]
    dir: PathBuf,
    /// Number of peers: 1, 3 or 5.
    #[arg(long, default_value_t = 3)]
    peers: u16,
    /// Public ports are P, P+10, P+20 and so on; peer ports one higher.
    #[arg(long, default_value_t = 5000)]
    base_port: u16,
    /// Doris token [default: Doris's well-known one].
    #[arg(long)]
    token: Option<String>,
    /// Return once the peers serve; stop them with `quorate dev stop`.
    #[arg(long)]
    detach: bool,
}

/// One running peer, as dev.json tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DevPeer {
    peer: u16,
    pid: u32,
    public: String,
    peer_address: String,
    args: Vec<String>,
}

pub fn run(arguments: DevArguments) -> anyhow::Result<ExitCode> {
    match arguments.verb {
        Some(DevVerb::Stop { dir }) => stop(&dir),
        None => start(arguments.start),
    }
}

fn start(arguments: StartArguments) -> anyhow::Result<ExitCode> {
    if ![1, 3, 5].contains(&arguments.peers) {
        bail!("--peers is {}; choose 1, 3 or 5", arguments.peers);
    }
    if arguments.token.as_deref() == Some("") {
        bail!("--token is empty; leave it away for Doris's well-known one");
    }
    if arguments.base_port == 0 {
        bail!("--base-port is 0; peers find each other by their ports, so choose one");
    }
    if arguments.base_port.checked_add(10 * arguments.peers).is_none() {
        bail!(
            "--base-port {} leaves no room for {} peers below 65536",
            arguments.base_port,
            arguments.peers
        );
    }
    fs::create_dir_all(&arguments.dir).with_context(|| format!("directory {}", arguments.dir.display()))?;
    let dir = fs::canonicalize(&arguments.dir)?;
    refuse_second_start(&dir)?;
    refuse_used_ports(&arguments)?;
    refuse_other_layout(&dir, &arguments)?;
    let token = arguments.token.clone().unwrap_or_else(|| WELL_KNOWN_TOKEN.to_owned());
    write_secret(&dir.join("token"), &token)?;
    make_secret(&dir.join("cluster-secret"), &random_hex())?;
    SecretBox::load_or_create(&dir.join("root-keys"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(attend(&dir, &arguments, &token))
}

/// The peers of one start. They are stopped when this is dropped, whatever ended the start, unless they were left running.
struct Started {
    dir: PathBuf,
    peers: Vec<DevPeer>,
    children: Vec<Child>,
    /// What dev.json was written with: another start may have written its own since.
    written: Vec<u8>,
}

impl Started {
    fn new(dir: &Path) -> Started {
        Started {
            dir: dir.to_owned(),
            peers: Vec::new(),
            children: Vec::new(),
            written: Vec::new(),
        }
    }

    fn spawn(&mut self, number: u16, arguments: &StartArguments) -> anyhow::Result<()> {
        let args = peer_args(&self.dir, arguments, number);
        let child = spawn(&self.dir, number, &args)?;
        let public_port = arguments.base_port + 10 * (number - 1);
        self.peers.push(DevPeer {
            peer: number,
            pid: child.id(),
            public: format!("127.0.0.1:{public_port}"),
            peer_address: format!("127.0.0.1:{}", public_port + 1),
            args,
        });
        self.children.push(child);
        Ok(())
    }

    fn write_down(&mut self) -> anyhow::Result<()> {
        let name = self.dir.join("dev.json");
        self.written = serde_json::to_vec_pretty(&self.peers)?;
        fs::write(&name, &self.written).with_context(|| name.display().to_string())
    }

    /// Waits until all serve.
    async fn serving(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        for index in 0..self.peers.len() {
            while !crate::status::is_ready(&self.peers[index].public).await {
                // Any of them: one that lives cannot serve when too many others have ended.
                self.refuse_ended()?;
                if Instant::now() > deadline {
                    let DevPeer { peer, .. } = self.peers[index];
                    bail!(
                        "peer {peer} does not serve after {} s; see {}",
                        READY_TIMEOUT.as_secs(),
                        self.log_of(peer).display()
                    );
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        wait_vault(&self.dir).await;
        Ok(())
    }

    fn log_of(&self, peer: u16) -> PathBuf {
        self.dir.join(format!("peer-{peer}.log"))
    }

    fn refuse_ended(&mut self) -> anyhow::Result<()> {
        for index in 0..self.children.len() {
            let Some(status) = self.children[index].try_wait()? else { continue };
            let DevPeer { peer, .. } = self.peers[index];
            let log = self.log_of(peer);
            let text = fs::read_to_string(&log).unwrap_or_default();
            let last = text.lines().rev().find(|line| line.contains("quorate:"));
            let last = last.unwrap_or("no reason given");
            bail!("peer {peer} ended with {status}: {last} (see {})", log.display());
        }
        Ok(())
    }

    /// Waits until none of the directory's peers runs any more, those included that were started again by hand.
    async fn ended(&mut self) {
        loop {
            let all_ended = self.children.iter_mut().all(|child| matches!(child.try_wait(), Ok(Some(_))));
            if all_ended && running_peers(&self.dir).is_empty() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn leave_running(mut self) {
        self.children.clear();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.children.is_empty() {
            return;
        }
        stop_children(&mut self.children);
        let name = self.dir.join("dev.json");
        // Unless another start has the directory, whoever serves in it was started again by hand.
        if fs::read(&name).is_ok_and(|found| found == self.written) {
            let _ = end_all(&self.dir);
            let _ = fs::remove_file(name);
        }
    }
}

/// The peers of a directory know each other by their ports: on others they would look for each other in vain.
fn refuse_other_layout(dir: &Path, arguments: &StartArguments) -> anyhow::Result<()> {
    let (name, layout) = (
        dir.join("layout"),
        format!("--peers {} --base-port {}", arguments.peers, arguments.base_port),
    );
    match fs::read_to_string(&name) {
        Ok(before) if before.trim() != layout => {
            bail!(
                "{} was made with {}; start it with these, or name another directory",
                dir.display(),
                before.trim()
            )
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::write(&name, layout + "\n").with_context(|| name.display().to_string())
        }
        Err(error) => Err(error).with_context(|| name.display().to_string()),
    }
}

/// Whoever else serves at a port would be taken for the peer that could not have it.
fn refuse_used_ports(arguments: &StartArguments) -> anyhow::Result<()> {
    for port in (0..arguments.peers).flat_map(|number| [0, 1].map(|which| arguments.base_port + 10 * number + which)) {
        std::net::TcpListener::bind(("127.0.0.1", port))
            .with_context(|| format!("port 127.0.0.1:{port} cannot be used; stop what uses it, or choose another --base-port"))?;
    }
    Ok(())
}

/// The leader makes the vault just after it has begun to lead; it is not what the start depends on.
async fn wait_vault(dir: &Path) {
    let until = Instant::now() + VAULT_TIMEOUT;
    while !dir.join("vault").join(quorate_objects::MARKER_NAME).exists() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Starts the peers, waits until all serve, says how to reach them, and in the foreground waits for the end.
async fn attend(dir: &Path, arguments: &StartArguments, token: &str) -> anyhow::Result<ExitCode> {
    // From before the first peer on: a signal must not end this process and leave peers behind.
    let mut stop = std::pin::pin!(told_to_stop());
    let mut started = Started::new(dir);
    for number in 1..=arguments.peers {
        started.spawn(number, arguments)?;
    }
    started.write_down()?;
    tokio::select! {
        serving = started.serving() => serving?,
        () = &mut stop => return Ok(ExitCode::from(INTERRUPTED)),
    }
    let list: Vec<&str> = started.peers.iter().map(|peer| peer.public.as_str()).collect();
    let welcome = welcome(dir, &list, token, arguments.detach);
    if arguments.detach {
        started.leave_running();
        crate::print(&welcome);
        return Ok(ExitCode::SUCCESS);
    }
    say(&welcome);
    tokio::select! {
        () = &mut stop => say("stopping\n"),
        () = started.ended() => say("the peers have ended; what they said last is in their logs\n"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C, SIGTERM or the end of the terminal; for the last not where this was started to outlive it (`nohup`).
fn told_to_stop() -> impl Future<Output = ()> {
    let stop = crate::serve::stop_signal();
    let hangup = (!ignores_hangup()).then(|| signal::unix::signal(SignalKind::hangup()).expect("a signal handler can be installed"));
    async move {
        let hung_up = async {
            match hangup {
                Some(mut hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => {}
            _ = hung_up => {}
        }
    }
}

fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(ignores_first)
}

/// Whether the first signal, SIGHUP, is in a set as `/proc` shows it.
fn ignores_first(signals: &str) -> bool {
    u64::from_str_radix(signals.trim(), 16).is_ok_and(|signals| signals & 1 == 1)
}

/// Prints what may be lost: the peers must not outlive a reader of it that has gone.
fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What to do with a cluster that has just started.
fn welcome(dir: &Path, list: &[&str], token: &str, detach: bool) -> String {
    let body = r#"{"instance_id":"i1","name":"one","user_id":"me"}"#;
    let (first, last, dir) = (list[0], list[list.len() - 1], dir.display());
    let stop = if detach {
        format!("quorate dev stop --dir {dir}")
    } else {
        "Ctrl-C".to_owned()
    };
    format!(
        "{} peers are serving at {}\n\n\
         \x20 create an instance   curl -X PUT 'http://{first}/MetaService/http/create_instance?token={token}' -d '{body}'\n\
         \x20 read it elsewhere    curl 'http://{last}/MetaService/http/get_instance?token={token}&instance_id=i1'\n\
         \x20 look at the cluster  quorate status --endpoint {first}\n\
         \x20 data and logs        {dir}\n\
         \x20 stop                 {stop}\n",
        list.len(),
        list.join(", "),
    )
}

fn peer_args(dir: &Path, arguments: &StartArguments, number: u16) -> Vec<String> {
    let port = |number: u16| arguments.base_port + 10 * (number - 1);
    let peers: Vec<String> = (1..=arguments.peers)
        .map(|number| format!("127.0.0.1:{}", port(number) + 1))
        .collect();
    let path = |name: &str| dir.join(name).display().to_string();
    [
        "serve",
        "--data-dir",
        &path(&format!("peer-{number}")),
        "--listen",
        &format!("127.0.0.1:{}", port(number)),
        "--peer-listen",
        &format!("127.0.0.1:{}", port(number) + 1),
        "--peers",
        &peers.join(","),
        "--token-file",
        &path("token"),
        "--allow-well-known-token",
        "--cluster-secret-file",
        &path("cluster-secret"),
        "--root-keys-file",
        &path("root-keys"),
        "--worker-threads",
        "1",
        "--local-vault",
        &path("vault"),
        // On a machine for trying things out three peers take no space away, and a rather full disk is no trouble.
        "--ballast-bytes",
        "0",
        "--disk-low-percent",
        "0",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn spawn(dir: &Path, number: u16, args: &[String]) -> anyhow::Result<Child> {
    let name = dir.join(format!("peer-{number}.log"));
    let log = OpenOptions::new().create(true).append(true).open(&name);
    let log = log.with_context(|| name.display().to_string())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Its secrets are in files; a peer refuses to have them twice.
    command.env_remove(CLUSTER_SECRET_VARIABLE).env_remove(ROOT_KEYS_VARIABLE);
    // In a group of its own a peer does not get the terminal's Ctrl-C: this process stops it in order.
    command.process_group(0);
    command.spawn().with_context(|| format!("peer {number} cannot be started"))
}

fn stop_children(children: &mut [Child]) {
    for child in children.iter_mut() {
        // The pid of one that has ended may be somebody else's by now.
        if matches!(child.try_wait(), Ok(None)) {
            // One that cannot be told is killed below.
            let _ = send(child.id(), rustix::process::Signal::TERM);
        }
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    for child in children {
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Sends a signal to a process, which may have ended by now.
fn send(pid: u32, signal: rustix::process::Signal) -> anyhow::Result<()> {
    let known = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    match known.map(|pid| rustix::process::kill_process(pid, signal)) {
        Some(Err(error)) if error != rustix::io::Errno::SRCH => {
            Err(std::io::Error::from(error)).with_context(|| format!("pid {pid} cannot be stopped; stop it as the user who started it"))
        }
        _ => Ok(()),
    }
}

/// Whether `pid` is a peer that serves a data directory under `dir`: a pid alone may have been given to somebody else.
fn is_our_peer(pid: u32, dir: &Path) -> bool {
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    serves_under(&command_line, dir)
}

/// Whether this is the command line of a peer whose data directory is `DIR/peer-<n>`, as [`peer_args`] or somebody by hand makes them;
/// each argument ends with a NUL. An editor that has a peer's log open names the same paths.
fn serves_under(command_line: &[u8], dir: &Path) -> bool {
    let mut arguments = command_line.split(|byte| *byte == 0).map(OsStr::from_bytes).skip(1);
    if arguments.next() != Some(OsStr::new("serve")) {
        return false;
    }
    let Some(data_dir) = data_dir(arguments) else {
        return false;
    };
    let name = data_dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let number = name.strip_prefix("peer-").map(str::parse::<u16>);
    data_dir.parent() == Some(dir) && matches!(number, Some(Ok(_)))
}

/// The value of `--data-dir`, in a word of its own or in one with the flag.
fn data_dir<'a>(mut arguments: impl Iterator<Item = &'a OsStr>) -> Option<&'a Path> {
    while let Some(argument) = arguments.next() {
        if argument == "--data-dir" {
            return arguments.next().map(Path::new);
        }
        if let Some(value) = argument.as_bytes().strip_prefix(b"--data-dir=") {
            return Some(Path::new(OsStr::from_bytes(value)));
        }
    }
    None
}

/// Every process that serves a data directory under `dir`, also one that was started again by hand.
fn running_peers(dir: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    pids.filter(|pid| is_our_peer(*pid, dir)).collect()
}

fn refuse_second_start(dir: &Path) -> anyhow::Result<()> {
    if let Some(pid) = running_peers(dir).first() {
        let dir = dir.display();
        bail!("peers already run in {dir} (pid {pid}); stop them with `quorate dev stop --dir {dir}`");
    }
    Ok(())
}

fn stop(dir: &Path) -> anyhow::Result<ExitCode> {
    let dir = fs::canonicalize(dir).with_context(|| format!("directory {}", dir.display()))?;
    let ended = end_all(&dir)?;
    if ended == 0 {
        bail!("no peers run in {}", dir.display());
    }
    if let Some(pid) = left_after(KILL_TIMEOUT, &dir).first() {
        bail!("pid {pid} does not end, though it was killed: its disk may hang; look at `cat /proc/{pid}/stack`");
    }
    let _ = fs::remove_file(dir.join("dev.json"));
    crate::print(&format!("{ended} peers stopped; their data is in {}\n", dir.display()));
    Ok(ExitCode::SUCCESS)
}

/// Ends the peers under `dir`, however they were started; returns how many ran.
fn end_all(dir: &Path) -> anyhow::Result<usize> {
    let running = running_peers(dir);
    for pid in &running {
        send(*pid, rustix::process::Signal::TERM)?;
    }
    for pid in left_after(STOP_TIMEOUT, dir) {
        send(pid, rustix::process::Signal::KILL)?;
    }
    Ok(running.len())
}

/// The peers under `dir` that still run when so much time is over; none as soon as all have ended.
fn left_after(patience: Duration, dir: &Path) -> Vec<u32> {
    let deadline = Instant::now() + patience;
    loop {
        let left = running_peers(dir);
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn random_hex() -> String {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness; without it no secret is safe");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    if path.exists() { Ok(()) } else { write_secret(path, secret) }
}

fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| writeln!(file, "{secret}"));
    written.with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command line as `/proc` has it.
    fn line(arguments: &[&str]) -> Vec<u8> {
        arguments
            .iter()
            .flat_map(|argument| [argument.as_bytes(), b"\0"].concat())
            .collect()
    }

    #[test]
    fn whoever_was_started_to_outlive_its_terminal_is_told_apart() {
        for (signals, ignored) in [
            ("\t0000000000000001", true),
            ("\t0000000000001001", true),
            ("\t0000000000001000", false),
            ("", false),
        ] {
            assert_eq!(ignores_first(signals), ignored, "{signals:?}");
        }
    }

    #[test]
    fn only_a_peer_of_the_directory_is_taken_for_one() {
        let dir = Path::new("/home/me/quorate-dev");
        let arguments = StartArguments {
            dir: dir.to_owned(),
            peers: 3,
            base_port: 5000,
            token: None,
            detach: true,
        };
        for number in 1..=3 {
            let started = peer_args(dir, &arguments, number);
            let started: Vec<&str> = started.iter().map(String::as_str).collect();
            assert!(serves_under(&line(&[&["/usr/bin/quorate"], &started[..]].concat()), dir));
            assert!(!serves_under(&line(&[&["quorate"], &started[..]].concat()), Path::new("/home/me")));
            assert!(!serves_under(&line(&[&["strace", "quorate"], &started[..]].concat()), dir));
        }
        let by_hand = ["quorate", "serve", "--data-dir=/home/me/quorate-dev/peer-2"];
        assert!(serves_under(&line(&by_hand), dir));
        for other in [
            &[][..],
            &["tail", "-f", "/home/me/quorate-dev/peer-1.log"],
            &["vi", "/home/me/quorate-dev/peer-1.log", "serve"],
            &["grep", "serve", "/home/me/quorate-dev/peer-1.log"],
            &["grep", "serve", "--data-dir", "/home/me/quorate-dev/peer-1.log"],
            &["quorate", "serve"],
            &["quorate", "serve", "--data-dir"],
            &["quorate", "serve", "--data-dir", "/home/me/quorate-dev/peer-1/copy"],
            &["quorate", "serve", "--data-dir", "/home/me/quorate-dev/peer-one"],
            &["quorate", "serve", "--data-dir", "/home/me/quorate-dev-2/peer-1"],
            &["quorate", "serve", "--data-dir=/home/me/quorate-dev-2/peer-1"],
            &["quorate", "serve", "--data-dir="],
            &["quorate", "status", "serve", "--data-dir", "/home/me/quorate-dev/peer-1"],
        ] {
            assert!(!serves_under(&line(other), dir), "{other:?}");
        }
    }
}
