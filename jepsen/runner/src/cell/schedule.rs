//! When faults begin and end: each on a schedule of its own, drawn from the run's seed and the fault's name.

use crate::field::Field;
use crate::history::Recorder;
use crate::nemesis::{Chosen, Outcome};
use crate::seeded::Random;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// By how much the time that a fault lasts differs at least from one time to the next.
const LEAST_CHOICE_MS: u64 = 1_000;
/// Pause before a fault that could not be done is tried again.
const AFTER_SKIPPED_MS: u64 = 1_200;
/// Shortest pause between two faults of a kind. The longest grows with the number of kinds: the cluster is to serve most of
/// the time, or little is written that could be lost.
const SHORTEST_PAUSE_MS: u64 = 2_000;
const PAUSE_MS_PER_KIND: u64 = 2_000;
/// In the middle of a run of this length or longer all faults rest for so long: with many kinds there is otherwise no moment at
/// which the cluster must be whole again within its bound.
const RESTS_FROM_SECONDS: u64 = 60;
const REST: Duration = Duration::from_secs(14);
/// A fault begins and ends within this, or the suite is broken.
const LONGEST_STEP: Duration = Duration::from_secs(90);

/// Faults that have not begun.
pub struct Schedules {
    all: Vec<(Chosen, Random)>,
    seconds: u64,
}

/// Faults under way.
pub struct Running {
    tasks: Vec<JoinHandle<Result<(), String>>>,
    end: watch::Sender<bool>,
    failed: watch::Receiver<bool>,
}

impl Schedules {
    pub fn new(chosen: Vec<Chosen>, seed: u64, seconds: u64) -> Schedules {
        let random = |spec: &str| Random::new(spec.bytes().fold(seed, |mixed, byte| mixed.rotate_left(9) ^ u64::from(byte)));
        let all = chosen.into_iter().map(|one| {
            let random = random(&one.spec);
            (one, random)
        });
        Schedules {
            all: all.collect(),
            seconds,
        }
    }

    pub fn start(self, field: Arc<Field>, recorder: Recorder) -> Running {
        let (end, ending) = watch::channel(false);
        let (fail, failed) = watch::channel(false);
        let seconds = self.seconds;
        let pauses_ms = PAUSE_MS_PER_KIND * self.all.len() as u64;
        let rest = (seconds >= RESTS_FROM_SECONDS).then(|| Instant::now() + Duration::from_secs(seconds / 2));
        let tasks = self.all.into_iter().map(|(chosen, random)| {
            let one = OneSchedule {
                field: field.clone(),
                recorder: recorder.clone(),
                ending: ending.clone(),
                lasts_ms: lasts_ms(&chosen, seconds),
                pauses_ms,
                rest,
                chosen,
                random,
            };
            let fail = fail.clone();
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || {
                let ended = runtime.block_on(one.run());
                if ended.is_err() {
                    let _ = fail.send(true);
                }
                ended
            })
        });
        Running {
            tasks: tasks.collect(),
            end,
            failed,
        }
    }
}

impl Running {
    /// Returns when a fault could not be done or undone because the suite is broken.
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        if failed.wait_for(|failed| *failed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends all faults; returns what failed.
    pub async fn end(self) -> Vec<String> {
        let _ = self.end.send(true);
        let mut failures = Vec::new();
        for task in self.tasks {
            match task.await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => failures.push(failure),
                Err(error) => failures.push(format!("a schedule failed: {error}")),
            }
        }
        failures
    }
}

/// How long a fault lasts: a third of the run at most, or there is no time without it, unless it proves nothing if it is shorter.
fn lasts_ms(chosen: &Chosen, seconds: u64) -> (u64, u64) {
    let shortest = chosen.shortest_seconds * 1_000;
    let longest = (chosen.longest_seconds * 1_000).min(seconds * 1_000 / 3);
    (shortest, longest.max(shortest + LEAST_CHOICE_MS))
}

struct OneSchedule {
    field: Arc<Field>,
    recorder: Recorder,
    ending: watch::Receiver<bool>,
    chosen: Chosen,
    random: Random,
    /// Shortest and longest.
    lasts_ms: (u64, u64),
    /// By how much a pause is longer than the shortest, at most.
    pauses_ms: u64,
    /// When all faults rest.
    rest: Option<Instant>,
}

impl OneSchedule {
    async fn run(mut self) -> Result<(), String> {
        let mut pause_ms = 500 + self.random.below(2_000);
        while !self.wait(pause_ms).await {
            let now = Instant::now();
            if let Some(over) = self.rest.map(|rest| rest + REST).filter(|over| now < *over && now + REST >= *over) {
                self.wait((over - now).as_millis() as u64).await;
                continue;
            }
            let installed = self.begin().await?;
            if installed {
                let (shortest, longest) = self.lasts_ms;
                let on_ms = shortest + self.random.below(longest - shortest);
                self.wait(on_ms.min(self.until_rest_ms())).await;
            }
            self.undo(installed).await?;
            pause_ms = match installed {
                true => SHORTEST_PAUSE_MS + self.random.below(self.pauses_ms),
                false => AFTER_SKIPPED_MS,
            };
        }
        Ok(())
    }

    fn until_rest_ms(&self) -> u64 {
        let rest = self.rest.and_then(|rest| rest.checked_duration_since(Instant::now()));
        rest.map_or(u64::MAX, |left| left.as_millis() as u64)
    }

    /// Waits, but not beyond the end; whether that has come.
    async fn wait(&mut self, ms: u64) -> bool {
        let ended = timeout(Duration::from_millis(ms), self.ending.wait_for(|end| *end)).await;
        ended.is_ok()
    }

    /// Whether the fault is there.
    async fn begin(&mut self) -> Result<bool, String> {
        let name = self.chosen.name;
        // Harm is there before what shows it.
        self.recorder.fault(&format!("begin-{name}"), serde_json::Value::Null);
        let began = timeout(LONGEST_STEP, self.chosen.nemesis.start(&self.field, &mut self.random)).await;
        let outcome = match began {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                let failure = format!("{name} cannot be done: {error:#}");
                // Half of it may be there.
                let _ = self.undo(true).await;
                return Err(failure);
            }
            Err(_) => return Err(format!("{name} was not there after {} s", LONGEST_STEP.as_secs())),
        };
        let value = serde_json::to_value(&outcome).map_err(|error| error.to_string())?;
        self.recorder.fault(&format!("start-{name}"), value);
        Ok(!matches!(outcome, Outcome::Skipped { .. }))
    }

    /// Nothing is recorded of one that was never there.
    async fn undo(&mut self, installed: bool) -> Result<(), String> {
        let name = self.chosen.name;
        let undone = timeout(LONGEST_STEP, self.chosen.nemesis.stop(&self.field, &mut self.random)).await;
        let evidence = match undone {
            Ok(Ok(evidence)) => evidence,
            Ok(Err(error)) => return Err(format!("{name} cannot be undone: {error:#}")),
            Err(_) => return Err(format!("{name} was not undone after {} s", LONGEST_STEP.as_secs())),
        };
        if installed {
            self.recorder.fault(&format!("stop-{name}"), json!({"evidence": evidence}));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis;

    #[test]
    fn a_worker_is_away_for_longer_than_its_lease_also_in_a_short_run() {
        let lasts = |spec: &str, seconds| lasts_ms(&nemesis::by_name(spec, 3).expect("a fault"), seconds);
        assert_eq!(lasts("workers", 30), (12_000, 13_000));
        assert_eq!(lasts("workers", 300), (12_000, 20_000));
        assert_eq!(lasts("partition", 30), (1_000, 10_000));
        assert_eq!(lasts("transfer", 30), (1_000, 2_000));
    }
}
