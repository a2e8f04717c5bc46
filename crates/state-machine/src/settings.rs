//! Settings of the cluster that an operator may change while it runs: one row, the same for every peer.
//!
//! What apply decides by them it reads here, out of the state, so a value holds from the entry on that sets it, and at every peer alike.
//! A setting that nobody changed has its default; bounds and times have theirs in [`limits`]. A peer's own configuration is not asked.
//!
//! Names, defaults and ranges are part of what entries mean ([`crate::level`]): settings are added, and what one of them takes changes
//! from a level on only.

use crate::command::read_record;
use crate::keys::{self, RecordTable};
use crate::limits;
use crate::record::SettingsRecord;
use crate::store::{Reader, StoreError};
use bytes::Bytes;
use quorate_model::MetaError;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Ends with the unit of times.
    pub name: &'static str,
    /// What its value counts.
    pub unit: &'static str,
    pub default: u64,
    /// The smallest value that it takes, and the largest.
    pub least: u64,
    pub greatest: u64,
    pub meaning: &'static str,
}

/// Shorter ones would end while a leader is elected, and each third of one is a log entry; behind longer ones everybody waits for a worker
/// that has died.
pub const CLAIM_LEASE_MS: Setting = Setting {
    name: "claim_lease_ms",
    unit: "milliseconds",
    default: limits::CLAIM_LEASE_MS,
    least: 3_000,
    greatest: 600_000,
    meaning: "a task whose worker is not heard of for so long is given to another one; of tasks that are claimed from now on",
};

/// Whoever waits for a job's end, or for the pause after its failure, finds its record: both take less than an hour.
pub const JOB_RETENTION_SECONDS: Setting = Setting {
    name: "job_retention_seconds",
    unit: "seconds",
    default: limits::JOB_RETENTION_MS / 1_000,
    least: 3_600,
    greatest: 31_536_000,
    meaning: "the record of a job is kept for so long after its end; also of jobs that have ended already",
};

/// One for manifests and one beside it are the fewest; every claim and every round of the leader reads all of them.
pub const MAX_ACTIVE_JOBS: Setting = Setting {
    name: "max_active_jobs",
    unit: "jobs",
    default: limits::MAX_ACTIVE_JOBS,
    least: 2,
    greatest: 4_000,
    meaning: "jobs that have not ended; no more than half of them write manifests of snapshots",
};

/// Where the instance has fewer, nobody counts.
pub const MAX_SNAPSHOTS_PER_COLLECTION: Setting = Setting {
    name: "max_snapshots_per_collection",
    unit: "snapshots",
    default: limits::MAX_SNAPSHOTS_PER_INSTANCE,
    least: 1,
    greatest: MAX_SNAPSHOTS_PER_INSTANCE.greatest,
    meaning: "snapshots of one collection that are not being deleted; those of the whole instance do not count",
};

/// Some commands read all snapshots of an instance.
pub const MAX_SNAPSHOTS_PER_INSTANCE: Setting = Setting {
    name: "max_snapshots_per_instance",
    unit: "snapshots",
    default: limits::MAX_SNAPSHOTS_PER_INSTANCE,
    least: 1,
    greatest: 20_000,
    meaning: "snapshots of one instance and of its collections, those being deleted included",
};

/// A task has at least one segment, so no more tasks than segments come of the smallest.
pub const MAX_TASK_BYTES: Setting = Setting {
    name: "max_task_bytes",
    unit: "bytes",
    default: limits::MAX_TASK_FILE_BYTES,
    least: 64 << 10,
    greatest: 64 << 30,
    meaning: "files of one task of a job that copies, unless one segment has more: what one worker copies, reports, and another one copies \
              again when it dies; of tasks that are planned from now on",
};

/// Claims tell it to workers, which know nothing else of the state. Where it is 0, a disk that keeps other bytes than it was given is found
/// out by whoever reads the copy.
pub const READ_BACK_COPIES: Setting = Setting {
    name: "read_back_copies",
    unit: "readings",
    default: 1,
    least: 0,
    greatest: 1,
    meaning: "1: what a job has copied is read from the disk and compared before its task is done; 0: the bytes are checked while they are \
              read from the source, written and synced, and not read again; of tasks that are claimed from now on",
};

/// Every setting, by name.
pub const SETTINGS: &[Setting] = &[
    CLAIM_LEASE_MS,
    JOB_RETENTION_SECONDS,
    MAX_ACTIVE_JOBS,
    MAX_SNAPSHOTS_PER_COLLECTION,
    MAX_SNAPSHOTS_PER_INSTANCE,
    MAX_TASK_BYTES,
    READ_BACK_COPIES,
];

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The row of a name that a caller gave; refused with the names there are.
pub fn require(name: &str) -> Result<&'static Setting, MetaError> {
    find(name).ok_or_else(|| {
        let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        MetaError::not_found(format!("there is no setting {name:?}; there are {}", names.join(", ")))
    })
}

impl Setting {
    fn accepts(&self, value: u64) -> bool {
        (self.least..=self.greatest).contains(&value)
    }

    /// Refuses a value that this setting does not take.
    pub fn check(&self, value: u64) -> Result<(), MetaError> {
        let Setting {
            name,
            unit,
            least,
            greatest,
            ..
        } = self;
        match self.accepts(value) {
            true => Ok(()),
            false => Err(MetaError::invalid(format!(
                "{name} is {value}, limits {least} and {greatest} {unit}; choose a value between them"
            ))),
        }
    }

    /// The limit as refusals name it. What they say under the defaults is remembered and must stay as it is, so only one that was changed
    /// names its setting.
    pub fn limit_text(&self, limit: u64) -> String {
        match limit == self.default {
            true => limit.to_string(),
            false => format!("{limit} (setting {})", self.name),
        }
    }
}

impl SettingsRecord {
    /// The value that a setting was given; `None` when it has its default. One that this build does not accept, because another wrote it,
    /// counts as not given.
    pub fn given(&self, setting: &Setting) -> Option<u64> {
        let value = self.values.get(setting.name).copied();
        value.filter(|value| setting.accepts(*value))
    }

    /// The value that holds.
    pub fn value(&self, setting: &Setting) -> u64 {
        self.given(setting).unwrap_or(setting.default)
    }
}

pub fn load(reader: &dyn Reader) -> Result<SettingsRecord, StoreError> {
    Ok(read_record(reader, &key())?.unwrap_or_default())
}

/// The value of one setting that holds in this state.
pub fn value(reader: &dyn Reader, setting: &Setting) -> Result<u64, StoreError> {
    Ok(load(reader)?.value(setting))
}

/// How long records of ended jobs are kept.
pub fn job_retention_ms(reader: &dyn Reader) -> Result<u64, StoreError> {
    Ok(value(reader, &JOB_RETENTION_SECONDS)?.saturating_mul(1_000))
}

/// Where the row is.
pub(crate) fn key() -> Bytes {
    keys::record_prefix(RecordTable::Settings).freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_its_defaults_are_accepted() {
        assert!(SETTINGS.is_sorted_by(|one, other| one.name < other.name));
        for setting in SETTINGS {
            assert!(setting.check(setting.default).is_ok(), "{}", setting.name);
            assert!(!setting.unit.is_empty() && !setting.meaning.is_empty(), "{}", setting.name);
            assert_eq!(find(setting.name), Some(setting));
        }
    }

    #[test]
    fn values_out_of_range_are_refused_with_name_and_limits() {
        for value in [CLAIM_LEASE_MS.least, CLAIM_LEASE_MS.greatest] {
            assert_eq!(CLAIM_LEASE_MS.check(value), Ok(()));
        }
        for value in [0, CLAIM_LEASE_MS.least - 1, CLAIM_LEASE_MS.greatest + 1, u64::MAX] {
            let text = format!("claim_lease_ms is {value}, limits 3000 and 600000 milliseconds; choose a value between them");
            assert_eq!(CLAIM_LEASE_MS.check(value), Err(MetaError::invalid(text)));
        }
        let error = require("claim_lease").expect_err("no such setting");
        assert!(
            error
                .message
                .starts_with("there is no setting \"claim_lease\"; there are claim_lease_ms, job_"),
            "{error}"
        );
    }

    #[test]
    fn what_another_build_wrote_and_this_one_does_not_accept_counts_as_not_given() {
        let values = [("claim_lease_ms", 1), ("max_active_jobs", 7), ("of_tomorrow", 7)];
        let record = SettingsRecord {
            values: values.map(|(name, value)| (name.to_owned(), value)).into(),
            changed_at: 1,
        };
        assert_eq!((record.given(&CLAIM_LEASE_MS), record.value(&CLAIM_LEASE_MS)), (None, 10_000));
        assert_eq!((record.given(&MAX_ACTIVE_JOBS), record.value(&MAX_ACTIVE_JOBS)), (Some(7), 7));
        assert_eq!(record.value(&JOB_RETENTION_SECONDS), 7 * 86_400);
    }

    #[test]
    fn a_limit_names_its_setting_when_that_was_changed() {
        assert_eq!(MAX_ACTIVE_JOBS.limit_text(limits::MAX_ACTIVE_JOBS), "1000");
        assert_eq!(MAX_ACTIVE_JOBS.limit_text(5), "5 (setting max_active_jobs)");
    }
}
