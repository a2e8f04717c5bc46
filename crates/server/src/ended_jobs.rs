//! Counts jobs as this peer sees them end, for its metrics, with the time they took; and hands on how long tasks of its worker took.
//!
//! Ended jobs whose records are kept have rows in the order of their ends: what stands behind the last one that was counted is new. Nothing
//! is kept over a restart, as of every counter, and what ended before it is not counted.

use crate::app::App;
use crate::metrics::{JobLabels, KindLabels, Metrics};
use quorate_consensus::Node;
use quorate_model::StampedTime;
use quorate_state_machine::access::Query;
use quorate_state_machine::jobs::{self, rows};
use quorate_state_machine::record::JobRecord;
use quorate_state_machine::store::prefix_end;
use quorate_state_machine::{Reader, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How old the counters may be.
const INTERVAL: Duration = Duration::from_secs(1);
/// Jobs that one look counts: it holds a reader.
const JOBS_PER_LOOK: usize = 1_000;

/// A job that has ended.
struct Ended {
    labels: JobLabels,
    took: Duration,
}

impl Ended {
    /// `None` for a job of a kind from a later version.
    fn of(record: &JobRecord) -> Option<Ended> {
        Some(Ended {
            labels: JobLabels::of(record.kind(), record.state())?,
            took: Duration::from_millis(record.ended_ms.saturating_sub(record.created_ms)),
        })
    }

    fn count_in(&self, metrics: &Metrics) {
        metrics.jobs_ended.get_or_create(&self.labels).inc();
        let kind = KindLabels { kind: self.labels.kind };
        metrics.job_duration.get_or_create(&kind).observe(self.took.as_secs_f64());
    }
}

/// Which ended jobs have been counted.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counted {
    /// When the last of them ended.
    ended_ms: u64,
    /// Those that ended in the same millisecond: others may follow.
    jobs: BTreeSet<u64>,
}

impl Counted {
    /// What ended before this stamped time.
    fn before(stamped: StampedTime) -> Counted {
        Counted {
            ended_ms: stamped.0,
            jobs: BTreeSet::new(),
        }
    }

    /// The jobs that have ended since, some at a time, and what has been counted with them.
    fn next(&self, reader: &dyn Reader) -> Result<(Counted, Vec<Ended>), StoreError> {
        let (mut counted, mut found) = (self.clone(), Vec::new());
        let mut cursor = reader.cursor(&rows::retention(self.ended_ms, 0), &prefix_end(&rows::all_retention()))?;
        while let Some((key, _)) = cursor.row() {
            let (ended_ms, job) = rows::parts_of_retention(key)?;
            if ended_ms > counted.ended_ms {
                counted = Counted {
                    ended_ms,
                    jobs: BTreeSet::new(),
                };
            }
            if counted.jobs.insert(job) {
                let record = jobs::find(reader, job)?;
                found.extend(record.as_ref().and_then(Ended::of));
            }
            if found.len() >= JOBS_PER_LOOK {
                break;
            }
            cursor.next()?;
        }
        Ok((counted, found))
    }
}

/// Counts for as long as the peer runs.
pub async fn count(app: Arc<App>, node: Node) {
    // What was applied before the restart may be applied again: it is no news.
    while node.check_serving().is_err() {
        tokio::time::sleep(INTERVAL).await;
    }
    let mut counted = Counted::before(node.applied().stamped);
    loop {
        match Query::read(&node, |reader| counted.next(reader)) {
            Ok((now, ended)) => {
                for job in ended {
                    job.count_in(&app.metrics);
                }
                counted = now;
            }
            Err(error) => tracing::error!(%error, "jobs that ended cannot be counted for the metrics"),
        }
        for took in app.job_counters.task_times.take() {
            app.metrics.task_duration.observe(took.as_secs_f64());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prost::Message as _;
    use quorate_state_machine::store::MapStore;
    use quorate_wire::quorate::v1::{JobKind, JobState};

    fn end(store: &mut MapStore, ended_ms: u64, job: u64, kind: JobKind, state: JobState) {
        let record = JobRecord {
            kind: kind as i32,
            state: state as i32,
            created_ms: 50,
            ended_ms,
            ..JobRecord::default()
        };
        store.rows.insert(rows::retention(ended_ms, job), Bytes::new());
        store.rows.insert(rows::job(job), record.encode_to_vec().into());
    }

    #[test]
    fn every_job_that_ends_is_counted_once_by_kind_and_outcome() {
        let (mut store, metrics) = (MapStore::default(), Metrics::new());
        end(&mut store, 99, 1, JobKind::Restore, JobState::JobFailed);
        let mut counted = Counted::before(StampedTime(100));
        let mut look = |store: &MapStore| {
            let (now, ended) = counted.next(store).expect("reads");
            for job in &ended {
                job.count_in(&metrics);
            }
            counted = now;
            ended.len()
        };
        assert_eq!(look(&store), 0, "it ended before");
        end(&mut store, 200, 7, JobKind::Restore, JobState::JobCompleted);
        assert_eq!((look(&store), look(&store)), (1, 0));
        // In the same millisecond, and before the other one in the order of keys.
        end(&mut store, 200, 5, JobKind::Restore, JobState::JobCompleted);
        end(&mut store, 300, 6, JobKind::Manifests, JobState::JobCancelled);
        assert_eq!((look(&store), look(&store)), (2, 0));
        // Records that are forgotten take nothing away.
        store.rows.clear();
        end(&mut store, 400, 9, JobKind::CompactClone, JobState::JobFailed);
        assert_eq!((look(&store), look(&store)), (1, 0));
        let shown = metrics.render();
        for line in [
            r#"quorate_jobs_ended_total{kind="restore",outcome="completed"} 2"#,
            r#"quorate_jobs_ended_total{kind="restore",outcome="failed"} 0"#,
            r#"quorate_jobs_ended_total{kind="manifests",outcome="cancelled"} 1"#,
            r#"quorate_jobs_ended_total{kind="compact_clone",outcome="failed"} 1"#,
            r#"quorate_job_duration_seconds_count{kind="restore"} 2"#,
            r#"quorate_job_duration_seconds_bucket{le="0.16",kind="restore"} 2"#,
            r#"quorate_job_duration_seconds_bucket{le="0.16",kind="compact_clone"} 0"#,
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is missing in\n{shown}");
        }
    }

    #[test]
    fn one_look_counts_a_bounded_number_and_the_next_goes_on() {
        let mut store = MapStore::default();
        for job in 1..=JOBS_PER_LOOK as u64 + 1 {
            end(&mut store, 200, job, JobKind::Manifests, JobState::JobCompleted);
        }
        let (counted, ended) = Counted::before(StampedTime(100)).next(&store).expect("reads");
        assert_eq!(ended.len(), JOBS_PER_LOOK);
        let (counted, ended) = counted.next(&store).expect("reads");
        assert_eq!(ended.len(), 1);
        assert!(counted.next(&store).expect("reads").1.is_empty());
    }
}
