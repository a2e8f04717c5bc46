//! What became of each write, as the peers' audit logs have it: so that an operation without an answer is no riddle.

use crate::operation::Operation;
use quorate_tests::audit::{self, AuditLog, Executed, Executions};
use std::path::Path;

/// The peers' audit logs of a run, checked against each other.
#[derive(Debug)]
pub struct Fates {
    executions: Executions,
    /// Places where a checkpoint took the place of entries.
    pub checkpoints: usize,
    pub peers: usize,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It changed something, and that got this revision.
    Applied(u64),
    /// It was executed and found nothing to change, in the state of this revision.
    Unchanged(u64),
    /// It was refused, in the state of this revision, with an error of this number.
    Refused(u64, u64),
    /// No peer ever executed it.
    Never,
}

impl Fates {
    /// Reads all audit logs of a run's directory, `audit/NODE.log`. An error is a broken promise of the product, or that there are none.
    pub fn read(dir: &Path) -> Result<Fates, String> {
        let found = std::fs::read_dir(dir.join("audit")).map_err(|error| format!("{}/audit: {error}", dir.display()))?;
        let mut paths: Vec<_> = found.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        let mut logs = Vec::new();
        for path in paths {
            logs.push(AuditLog::read(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
        match logs.is_empty() {
            true => Err("no node left an audit log".to_owned()),
            false => Fates::of(&logs),
        }
    }

    pub fn of(logs: &[AuditLog]) -> Result<Fates, String> {
        Ok(Fates {
            executions: audit::executions(logs)?,
            checkpoints: logs.iter().map(|log| log.checkpoints).sum(),
            peers: logs.len(),
        })
    }

    pub fn of_request(&self, request: (u64, u64)) -> Fate {
        match self.executions.by_request.get(&request) {
            None => Fate::Never,
            Some(executed) if executed.result != 0 => Fate::Refused(executed.revision, executed.result),
            Some(executed) if self.executions.took_revision(executed) => Fate::Applied(executed.revision),
            Some(executed) => Fate::Unchanged(executed.revision),
        }
    }

    /// `None` for an operation that had no request id: one that reads, or was never sent.
    pub fn of_operation(&self, operation: &Operation<'_>) -> Option<Fate> {
        Some(self.of_request(operation.request()?))
    }

    /// How many commands with this number changed something.
    pub fn applied(&self, command: u64) -> usize {
        self.executions.writes.iter().filter(|executed| executed.command == command).count()
    }

    /// Commands that changed something, in the order of their revisions.
    pub fn writes(&self) -> &[Executed] {
        &self.executions.writes
    }

    pub fn commands(&self) -> usize {
        self.executions.by_request.len()
    }

    pub fn repeats(&self) -> usize {
        self.executions.repeats
    }
}

#[cfg(test)]
pub mod by_hand {
    use super::*;

    /// Fates from lines `session.number:command:revision:result`, one entry each, with `:job.task.fence` behind those that
    /// end a claim.
    pub fn fates(commands: &[&str]) -> Fates {
        let mut text = "loaded - 0 .\n0 0.0 .\n".to_owned();
        for (index, command) in (1..).zip(commands) {
            let parts: Vec<&str> = command.split(':').collect();
            let [request, number, rest @ ..] = &parts[..] else {
                panic!("{command} is not written so")
            };
            text += &format!("{index} 1.1 {request}:{number}:ab:{} .\n", rest.join(":"));
        }
        Fates::of(&[AuditLog::parse(&text).expect("sound")]).expect("sound")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_is_told_from_the_others() {
        let fates = by_hand::fates(&["7.1:20:1:0", "7.2:20:1:21", "7.3:20:1:0", "7.4:20:2:0", "7.4:20:2:0"]);
        let fate = |number| fates.of_request((7, number));
        assert_eq!(fate(1), Fate::Applied(1));
        assert_eq!(fate(2), Fate::Refused(1, 21));
        assert_eq!(fate(3), Fate::Unchanged(1));
        assert_eq!(fate(4), Fate::Applied(2));
        assert_eq!(fate(5), Fate::Never);
        assert_eq!((fates.applied(20), fates.repeats(), fates.checkpoints), (2, 1, 0));
    }
}
