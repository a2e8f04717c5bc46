//! Reads the `audit.log` of several peers and says where they break a promise.
//!
//! Of one peer: entries follow each other without a gap, but for a checkpoint that was installed; what is applied again
//! after a crash is the same as the first time. Of all: an index holds the same entry with the same results at every peer
//! that has it; revisions go up by one; a request is executed once, and repeated with its first answer. Of the load: every
//! acknowledged write was executed, at the acknowledged revision.

use crate::load::AcknowledgedRequest;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// One peer's file.
#[derive(Debug, Default)]
pub struct AuditLog {
    /// By index: the entry's text, as every peer must have it.
    entries: BTreeMap<u64, String>,
    /// Entries told again after a restart.
    pub repeated: usize,
    /// Places where a checkpoint took the place of entries.
    pub checkpoints: usize,
}

/// A task under one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    pub job: u64,
    pub task: u64,
    pub fence: u64,
}

/// One command of an entry, as it was executed the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    pub session: u64,
    pub number: u64,
    /// Number of the command in the product's table.
    pub command: u64,
    pub hash: u64,
    /// The revision it took; that of the state it saw if it changed nothing.
    pub revision: u64,
    /// 0, or the number of the error it was refused with.
    pub result: u64,
    /// Of a command that ends one.
    pub claim: Option<Claim>,
}

/// Answers a session remembers: a number takes the place of the one that many before it (README, retries).
const SLOTS_PER_SESSION: u64 = 128;
/// `session_expired`.
const SESSION_EXPIRED: u64 = 8;

/// All that the peers executed.
#[derive(Debug, Default)]
pub struct Executions {
    pub by_request: HashMap<(u64, u64), Executed>,
    /// Those that changed something, in the order of their revisions: revision r is at position r - 1.
    pub writes: Vec<Executed>,
    /// Commands that came again and got their first answer, or came so late that it was forgotten and were refused.
    pub repeats: usize,
    /// The newest number of each slot of a session.
    newest: HashMap<(u64, u64), u64>,
}

impl Executions {
    /// Whether a command took the revision it was answered with.
    pub fn took_revision(&self, executed: &Executed) -> bool {
        let position = executed.revision.checked_sub(1).map(|position| position as usize);
        position.and_then(|position| self.writes.get(position)) == Some(executed)
    }
}

impl AuditLog {
    pub fn read(path: &Path) -> Result<AuditLog, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        AuditLog::parse(&text)
    }

    /// Fails at a gap, at an entry that is not what it was before, at a line that no crash explains.
    pub fn parse(text: &str) -> Result<AuditLog, String> {
        let mut log = AuditLog::default();
        // What must come next; unknown before the first `loaded`.
        let mut next = None;
        let mut torn = None;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let Some(line) = line.strip_suffix(" .") else {
                torn = Some(line);
                continue;
            };
            if let Some(state) = line.strip_prefix("loaded ") {
                next = Some(log.load(state)?);
                torn = None;
                continue;
            }
            if let Some(torn) = torn {
                return Err(format!("\"{torn}\" was torn, but the peer went on"));
            }
            let (index, entry) = line.split_once(' ').ok_or_else(|| format!("\"{line}\" is no entry"))?;
            let index = number(index)?;
            if next != Some(index) {
                return Err(format!("entry {index} was applied where {next:?} was to come"));
            }
            next = Some(index + 1);
            match log.entries.get(&index) {
                None => drop(log.entries.insert(index, entry.to_owned())),
                Some(before) if before == entry => log.repeated += 1,
                Some(before) => return Err(format!("entry {index} was \"{before}\" and, applied again, \"{entry}\"")),
            }
        }
        match torn {
            Some(torn) => Err(format!("the file ends with \"{torn}\"")),
            None => Ok(log),
        }
    }

    /// The index that comes after a state that was found.
    fn load(&mut self, state: &str) -> Result<u64, String> {
        let applied = match state.split(' ').next() {
            Some("-") => return Ok(0),
            Some(index) => number(index)?,
            None => return Err("a state without an index".to_owned()),
        };
        let last = self.entries.last_key_value().map(|(index, _)| *index);
        if last.is_none_or(|last| applied > last) {
            self.checkpoints += 1;
        }
        Ok(applied + 1)
    }
}

/// Checks all peers against each other; returns how many commands were repeats. The peers together must have every entry.
pub fn check(logs: &[AuditLog], acknowledged: &[AcknowledgedRequest]) -> Result<usize, String> {
    let executions = executions(logs)?;
    for write in acknowledged {
        let executed = executions.by_request.get(&(write.session, write.number));
        if executed.is_none_or(|executed| executed.revision != write.revision || executed.result != 0) {
            return Err(format!("acknowledged was {write:?}, executed {executed:?}"));
        }
    }
    Ok(executions.repeats)
}

/// What the peers, checked against each other, have executed. Together they must have every entry.
pub fn executions(logs: &[AuditLog]) -> Result<Executions, String> {
    let mut all: BTreeMap<u64, &str> = BTreeMap::new();
    for log in logs {
        for (index, entry) in &log.entries {
            match all.insert(*index, entry) {
                Some(other) if other != entry => return Err(format!("entry {index} is \"{other}\" here and \"{entry}\" there")),
                _ => {}
            }
        }
    }
    let mut executions = Executions::default();
    for (position, (index, entry)) in (0..).zip(&all) {
        if *index != position {
            return Err(format!("entry {position} is at no peer, entry {index} is"));
        }
        for command in entry.split(' ').skip(1) {
            executions.add(*index, parse_command(command)?)?;
        }
    }
    Ok(executions)
}

impl Executions {
    fn add(&mut self, index: u64, command: Executed) -> Result<(), String> {
        let request = (command.session, command.number);
        let revision = self.writes.len() as u64;
        match self.by_request.get(&request).filter(|_| command.session != 0) {
            Some(first) if *first == command => self.repeats += 1,
            // What a network held back for long may come after the answer's place was given to a later request.
            Some(first)
                if command.result == SESSION_EXPIRED
                    && first.hash == command.hash
                    && command.revision == revision
                    && self.is_forgotten(request) =>
            {
                self.repeats += 1;
            }
            Some(first) => return Err(format!("entry {index} executed or answered {first:?} again: {command:?}")),
            None if command.revision == revision => drop(self.by_request.insert(request, command)),
            None if command.revision == revision + 1 && command.result == 0 => {
                self.writes.push(command);
                self.by_request.insert(request, command);
            }
            None => return Err(format!("entry {index} follows revision {revision}: {command:?}")),
        }
        if command.result != SESSION_EXPIRED {
            let newest = self
                .newest
                .entry((command.session, command.number % SLOTS_PER_SESSION))
                .or_default();
            *newest = command.number.max(*newest);
        }
        Ok(())
    }

    /// Whether a later request has taken the place where its answer was.
    fn is_forgotten(&self, (session, number): (u64, u64)) -> bool {
        let newest = self.newest.get(&(session, number % SLOTS_PER_SESSION));
        newest.is_some_and(|newest| *newest > number)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a number"))
}

fn parse_command(text: &str) -> Result<Executed, String> {
    let malformed = || format!("\"{text}\" is no command");
    let mut parts = text.split([':', '.']);
    let mut next = || parts.next().ok_or_else(malformed);
    let (session, sequence, command) = (number(next()?)?, number(next()?)?, number(next()?)?);
    let hash = u64::from_str_radix(next()?, 16).map_err(|_| malformed())?;
    let (revision, result) = (number(next()?)?, number(next()?)?);
    let claim = match next() {
        Err(_) => None,
        Ok(job) => Some(Claim {
            job: number(job)?,
            task: number(next()?)?,
            fence: number(next()?)?,
        }),
    };
    Ok(Executed {
        session,
        number: sequence,
        command,
        hash,
        revision,
        result,
        claim,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "loaded - 0 .\n0 0.0 .\n1 1.1 0.0:1:aa:1:0 .\n2 1.1 7.1:3:ab:2:0 7.2:3:ac:3:0 .\n";

    fn acknowledged(number: u64, revision: u64) -> AcknowledgedRequest {
        AcknowledgedRequest {
            session: 7,
            number,
            revision,
        }
    }

    fn check_one(text: &str) -> Result<usize, String> {
        check(&[AuditLog::parse(text)?], &[acknowledged(1, 2), acknowledged(2, 3)])
    }

    #[test]
    fn a_sound_log_with_a_crash_a_repeat_and_a_checkpoint_is_accepted() {
        assert_eq!(check_one(GOOD), Ok(0));
        let crashed = format!("{GOOD}3 1.1 7.1:3:ab\nloaded 1 1 .\n2 1.1 7.1:3:ab:2:0 7.2:3:ac:3:0 .\n3 2.2 7.1:3:ab:2:0 .\n");
        assert_eq!(check_one(&crashed), Ok(1));
        let away = AuditLog::parse("loaded - 0 .\n0 0.0 .\nloaded 1 1 .\n2 1.1 7.1:3:ab:2:0 7.2:3:ac:3:0 .\n").expect("sound");
        assert_eq!(away.checkpoints, 1);
        let whole = AuditLog::parse(GOOD).expect("sound");
        assert_eq!(check(&[whole, away], &[acknowledged(1, 2)]), Ok(0));
    }

    #[test]
    fn what_changed_something_is_told_from_what_did_not() {
        let log = AuditLog::parse(&format!("{GOOD}3 1.1 7.3:3:ad:3:0 7.2:3:ac:3:0 7.4:3:ae:3:21 .\n")).expect("sound");
        let executions = executions(&[log]).expect("sound");
        let took = |number| executions.took_revision(&executions.by_request[&(7, number)]);
        assert_eq!([took(1), took(2), took(3), took(4)], [true, true, false, false]);
        assert_eq!((executions.writes.len(), executions.repeats), (3, 1));
    }

    #[test]
    fn a_command_that_ends_a_claim_says_which() {
        let log = AuditLog::parse(&format!("{GOOD}3 1.1 7.3:135:ad:4:0:11.0.2 .\n")).expect("sound");
        let executions = executions(&[log]).expect("sound");
        let claim = Claim {
            job: 11,
            task: 0,
            fence: 2,
        };
        assert_eq!(executions.by_request[&(7, 3)].claim, Some(claim));
        assert_eq!(executions.by_request[&(7, 2)].claim, None);
        assert!(parse_command("7.3:135:ad:4:0:11.0").is_err(), "half a claim");
    }

    #[test]
    fn a_repeat_is_refused_only_after_its_place_was_taken() {
        let late = "4 1.1 7.1:3:ab:4:8 .\n";
        assert_eq!(check_one(&format!("{GOOD}3 1.1 7.129:3:ad:4:0 .\n{late}")), Ok(1));
        let not_taken = ["3 1.1 7.128:3:ad:4:0 .\n", "3 1.1 8.129:3:ad:4:0 .\n", "3 1.1 7.129:3:ad:3:8 .\n"];
        for line in not_taken {
            assert!(check_one(&format!("{GOOD}{line}{late}")).is_err(), "{line}");
        }
        let other = late.replace("ab", "ff");
        assert!(
            check_one(&format!("{GOOD}3 1.1 7.129:3:ad:4:0 .\n{other}")).is_err(),
            "another request"
        );
    }

    #[test]
    fn every_broken_promise_of_one_peer_is_found() {
        let broken = [
            ("a gap", "loaded - 0 .\n0 0.0 .\n2 1.1 .\n"),
            ("a gap after a start", "loaded 3 0 .\n5 1.1 .\n"),
            ("an entry twice in a row", "loaded - 0 .\n0 0.0 .\n0 0.0 .\n"),
            (
                "another entry when applied again",
                "loaded - 0 .\n0 0.0 .\n1 1.1 .\nloaded 0 0 .\n1 2.2 .\n",
            ),
            (
                "another revision when applied again",
                "loaded - 0 .\n0 1.1 7.1:3:ab:1:0 .\nloaded - 0 .\n0 1.1 7.1:3:ab:2:0 .\n",
            ),
            ("a torn line without a crash", "loaded - 0 .\n0 0.\n0 0.0 .\n"),
            ("a torn end", "loaded - 0 .\n0 0.0"),
        ];
        for (what, text) in broken {
            assert!(AuditLog::parse(text).is_err(), "{what}");
        }
    }

    #[test]
    fn every_broken_promise_of_the_cluster_is_found() {
        let broken = [
            ("a request executed twice", "3 1.1 7.1:3:ab:4:0 .\n"),
            ("a request forgotten and refused", "3 1.1 7.1:3:ab:3:12 .\n"),
            ("another request under the number", "3 1.1 7.1:3:ff:2:0 .\n"),
            ("a revision left out", "3 1.1 7.3:3:ab:5:0 .\n"),
            ("a revision that goes back", "3 1.1 7.3:3:ab:2:0 .\n"),
            ("a refusal with a revision", "3 1.1 7.3:3:ab:4:5 .\n"),
        ];
        for (what, line) in broken {
            assert!(check_one(&format!("{GOOD}{line}")).is_err(), "{what}");
        }
        let logs = || vec![AuditLog::parse(GOOD).expect("sound")];
        assert!(check(&logs(), &[acknowledged(3, 4)]).is_err(), "an acknowledged write is lost");
        assert!(
            check(&logs(), &[acknowledged(2, 4)]).is_err(),
            "an acknowledged write is at another revision"
        );
        let mut two = logs();
        two.push(AuditLog::parse(&GOOD.replace("7.2:3:ac", "7.2:3:ad")).expect("sound alone"));
        assert!(check(&two, &[]).is_err(), "two peers disagree");
        let late = AuditLog::parse("loaded 1 1 .\n2 1.1 .\n").expect("sound alone");
        assert!(check(&[late], &[]).is_err(), "entries that no peer has");
    }
}
