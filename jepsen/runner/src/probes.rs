//! Small reads and writes at every node, all the time, besides the load: they give up after a quarter of a second and come again within a
//! tenth, so that they tell when a majority served again far more exactly than clients do, which stay with a node that is silent.
//!
//! They change nothing: the read asks for what is not there, and the write ends a session that nobody opened, which goes through the log
//! as any write does. They are no part of the history, but have its clock: `probes.jsonl`.

use crate::contract::{Outcome, judge};
use crate::workload::Stage;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{CloseSessionRequest, GetAttributeRequest};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A probe that was not answered for so long is given up, and its connection with it.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// From one to the next at a node, unless it takes longer.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Told to the peer: it shall answer before we stop listening.
const PEERS_SHARE: f64 = 0.9;
/// Nobody opened it: numbers begin at 1 and go up by one.
const NO_SESSION: u64 = 1 << 60;
const FILE: &str = "probes.jsonl";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Read,
    Write,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub kind: Kind,
    /// The node that was asked: `n1` and so on.
    pub node: String,
    /// As the history's times.
    pub begun: u64,
    pub ended: u64,
    /// Why it was not answered well; absent if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Probes under way.
pub struct Probing {
    end: watch::Sender<bool>,
    tasks: JoinSet<Vec<Probe>>,
}

/// Begins to probe every node, from the clients' network.
pub fn start(stage: &Stage) -> Probing {
    let (end, ending) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for node in 0..stage.field.size() {
        for kind in [Kind::Read, Kind::Write] {
            let prober = Prober {
                stage: stage.clone(),
                node,
                kind,
                link: None,
            };
            tasks.spawn_on(prober.run(ending.clone()), &stage.field.client_runtime());
        }
    }
    Probing { end, tasks }
}

impl Probing {
    /// Ends them and writes what they saw.
    pub async fn end(mut self, dir: &Path) -> anyhow::Result<()> {
        let _ = self.end.send(true);
        let mut all = Vec::new();
        while let Some(probes) = self.tasks.join_next().await {
            all.extend(probes?);
        }
        all.sort_by_key(|probe| probe.begun);
        write(dir, &all)?;
        Ok(())
    }
}

fn write(dir: &Path, probes: &[Probe]) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(dir.join(FILE))?);
    for probe in probes {
        writeln!(file, "{}", serde_json::to_string(probe)?)?;
    }
    file.flush()
}

/// What a run's probes saw; nothing of runs of before there were any. An error names the line.
pub fn read(dir: &Path) -> Result<Vec<Probe>, String> {
    let path = dir.join(FILE);
    let file = match std::fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let parsed = |(number, line): (usize, std::io::Result<String>)| {
        let probe = line.and_then(|line| Ok(serde_json::from_str(&line)?));
        probe.map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))
    };
    std::io::BufReader::new(file).lines().enumerate().map(parsed).collect()
}

/// Probes of one kind at one node.
struct Prober {
    stage: Stage,
    node: usize,
    kind: Kind,
    /// Made anew after a probe that was not answered: a connection that was cut waits long before it tries again.
    link: Option<Channel>,
}

impl Prober {
    async fn run(mut self, mut ending: watch::Receiver<bool>) -> Vec<Probe> {
        let mut probes = Vec::new();
        loop {
            let next = Instant::now() + INTERVAL;
            probes.push(self.probe().await);
            tokio::select! {
                () = sleep_until(next) => {}
                _ = ending.wait_for(|end| *end) => return probes,
            }
        }
    }

    async fn probe(&mut self) -> Probe {
        let begun = self.stage.recorder.now();
        let error = match timeout(PATIENCE, self.ask()).await {
            Ok(Ok(())) => None,
            Ok(Err(status)) => Some(format!("{:?}: {}", status.code(), status.message())),
            Err(_) => Some("timeout".to_owned()),
        };
        if error.is_some() {
            self.link = None;
        }
        Probe {
            kind: self.kind,
            node: self.stage.field.name(self.node),
            begun,
            ended: self.stage.recorder.now(),
            error,
        }
    }

    async fn ask(&mut self) -> Result<(), Status> {
        let link = match self.link.clone() {
            Some(link) => link,
            None => self.connect().await?,
        };
        let mut client = MetadataClient::new(link);
        match self.kind {
            Kind::Read => {
                let absent = GetAttributeRequest {
                    instance_id: "nobody-s".to_owned(),
                    name: "probe".to_owned(),
                    ..GetAttributeRequest::default()
                };
                match client.get_attribute(self.dress(absent)?).await {
                    // The state says that it is not there.
                    Err(status) if judge(&status).outcome == Outcome::Refused => {}
                    answered => drop(answered?),
                }
            }
            Kind::Write => {
                let nobodys = CloseSessionRequest { session_id: NO_SESSION };
                client.close_session(self.dress(nobodys)?).await?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<Channel, Status> {
        let address = format!("http://{}", self.stage.field.public(self.node));
        let endpoint = Endpoint::from_shared(address).map_err(|error| Status::internal(error.to_string()))?;
        let connected = endpoint.connect_timeout(PATIENCE).tcp_nodelay(true).connect().await;
        let link = connected.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(self.link.insert(link).clone())
    }

    fn dress<Q>(&self, message: Q) -> Result<Request<Q>, Status> {
        let mut request = Request::new(message);
        let map = request.metadata_mut();
        map.insert("quorate-deadline-ms", (PATIENCE.mul_f64(PEERS_SHARE).as_millis() as u64).into());
        map.insert("quorate-no-wait", 1u64.into());
        let token = self.stage.field.token().parse();
        map.insert("quorate-token", token.map_err(|_| Status::internal("the token is no header"))?);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_back_as_they_were_written_and_older_runs_have_none() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(read(dir.path()), Ok(Vec::new()));
        let probe = |kind, error: Option<&str>| Probe {
            kind,
            node: "n2".to_owned(),
            begun: 5,
            ended: 9,
            error: error.map(str::to_owned),
        };
        let probes = vec![probe(Kind::Read, None), probe(Kind::Write, Some("timeout"))];
        write(dir.path(), &probes).expect("written");
        assert_eq!(read(dir.path()), Ok(probes));
        std::fs::write(dir.path().join(FILE), "{\n").expect("written");
        assert!(read(dir.path()).is_err_and(|error| error.contains("probes.jsonl:1: ")));
    }
}
