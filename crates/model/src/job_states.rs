//! Which state of a job or task may follow which: the only place that says so.

use quorate_wire::quorate::v1::{JobState, TaskState};

/// Every allowed change of a job's state. What is not here is a bug of whoever asks for it.
pub const JOB_TRANSITIONS: &[(JobState, JobState)] = &[
    (JobState::JobPlanning, JobState::JobRunning),
    (JobState::JobPlanning, JobState::JobFailed),
    (JobState::JobPlanning, JobState::JobCancelled),
    (JobState::JobRunning, JobState::JobCompleted),
    (JobState::JobRunning, JobState::JobFailed),
    (JobState::JobRunning, JobState::JobCancelled),
];

/// Every allowed change of a task's state.
pub const TASK_TRANSITIONS: &[(TaskState, TaskState)] = &[
    (TaskState::TaskOpen, TaskState::TaskClaimed),
    // The claim ended by itself, or failed and may be tried again.
    (TaskState::TaskClaimed, TaskState::TaskOpen),
    (TaskState::TaskClaimed, TaskState::TaskCompleted),
    (TaskState::TaskClaimed, TaskState::TaskFailed),
];

/// Whether a job may go from one state to the other.
pub fn job_may_become(from: JobState, to: JobState) -> bool {
    JOB_TRANSITIONS.contains(&(from, to))
}

/// Whether a task may go from one state to the other.
pub fn task_may_become(from: TaskState, to: TaskState) -> bool {
    TASK_TRANSITIONS.contains(&(from, to))
}

/// Whether a job in this state has ended: nothing changes it any more.
pub fn job_has_ended(state: JobState) -> bool {
    matches!(state, JobState::JobCompleted | JobState::JobFailed | JobState::JobCancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB_STATES: [JobState; 6] = [
        JobState::Unspecified,
        JobState::JobPlanning,
        JobState::JobRunning,
        JobState::JobCompleted,
        JobState::JobFailed,
        JobState::JobCancelled,
    ];
    const TASK_STATES: [TaskState; 5] = [
        TaskState::Unspecified,
        TaskState::TaskOpen,
        TaskState::TaskClaimed,
        TaskState::TaskCompleted,
        TaskState::TaskFailed,
    ];

    #[test]
    fn every_pair_of_job_states_is_allowed_or_refused_as_intended() {
        for from in JOB_STATES {
            for to in JOB_STATES {
                let allowed = match from {
                    JobState::JobPlanning => matches!(to, JobState::JobRunning | JobState::JobFailed | JobState::JobCancelled),
                    JobState::JobRunning => job_has_ended(to),
                    _ => false,
                };
                assert_eq!(job_may_become(from, to), allowed, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn every_pair_of_task_states_is_allowed_or_refused_as_intended() {
        for from in TASK_STATES {
            for to in TASK_STATES {
                let allowed = match from {
                    TaskState::TaskOpen => to == TaskState::TaskClaimed,
                    TaskState::TaskClaimed => !matches!(to, TaskState::Unspecified | TaskState::TaskClaimed),
                    _ => false,
                };
                assert_eq!(task_may_become(from, to), allowed, "{from:?} to {to:?}");
            }
        }
    }

    /// Numbers the wire may carry and no state has: a new state must be thought of here.
    #[test]
    fn no_state_is_missing_from_these_tests() {
        assert!(JobState::try_from(JOB_STATES.len() as i32).is_err());
        // What follows the states that are stored is only shown.
        let shown = TASK_STATES.len() as i32;
        assert_eq!(TaskState::try_from(shown), Ok(TaskState::TaskCancelled));
        assert!(TaskState::try_from(shown + 1).is_err());
    }
}
