//! `quorate worker` as a process.

use crate::cluster::Cluster;
use crate::peer::binary;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A worker as a process of its own; killed when dropped.
pub struct WorkerProcess(Child);

impl WorkerProcess {
    pub fn start(cluster: &Cluster, name: &str, token: &str) -> WorkerProcess {
        WorkerProcess::start_with(cluster, name, token, "")
    }

    /// With these failpoints armed.
    pub fn start_with(cluster: &Cluster, name: &str, token: &str, failpoints: &str) -> WorkerProcess {
        let peers = cluster.addresses().join(",");
        let mut command = Command::new(binary());
        command
            .args(["worker", "--peers", &peers, "--name", name])
            .env("QUORATE_TOKEN", token)
            .env("FAILPOINTS", failpoints)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        WorkerProcess(command.spawn().expect("the binary runs"))
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> ExitStatus {
        self.0.wait().expect("a process of ours")
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
