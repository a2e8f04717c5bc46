//! A reconciler or a worker dies at each step. Whoever comes next goes on: the job ends, completed with every file right, or failed
//! with nothing to be seen and nothing left.

mod support;

use fail::FailScenario;
use quorate_state_machine::commands::CancelJob;
use quorate_wire::quorate::v1::JobState;
use support::{Part, World, sorted};

/// Sites that a restore passes.
const OF_A_RESTORE: &[&str] = &[
    "job_plan_before",
    "job_plan_after",
    "job_task_claimed",
    "job_copy_start",
    "job_file_copied",
    "job_copy_synced",
    "job_complete_before",
    "job_complete_after",
    "job_publish_before",
    "job_publish_after",
];
/// Sites that the clean-up of a cancelled job passes.
const OF_A_CLEANUP: &[&str] = &["delete_read", "delete_files_after", "delete_finish_before", "delete_finish_after"];

#[tokio::test(start_paused = true)]
async fn a_restore_completes_though_its_runner_dies_at_any_step() {
    for site in OF_A_RESTORE {
        let scenario = FailScenario::setup();
        let mut world = World::new().await;
        let source = world.snapshot("source", 4, 10_000);
        let job = world.restore(&source, "copy", 0).expect("started");
        fail::cfg(*site, "1*panic->off").expect("a site");
        world.start(Part::Reconciler);
        world.start(Part::Worker);
        let (shown, mut deaths) = world.end_of(job).await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        deaths += world.revive().await;
        assert_eq!(deaths, 1, "somebody dies at {site}");
        assert_eq!(shown.state(), JobState::JobCompleted, "{site}: {}", shown.reason);
        assert_eq!(sorted(world.visible_files("copy").expect("visible")), source.contents(), "{site}");
        world.cleaned_up().await;
        assert_eq!(
            world.vaults.files().len(),
            8,
            "{site}: sources and copies, and nothing of a lost claim"
        );
        scenario.teardown();
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_leaves_nothing_though_its_runner_dies_at_any_step() {
    for site in OF_A_CLEANUP {
        let scenario = FailScenario::setup();
        let mut world = World::new().await;
        let source = world.snapshot("source", 4, 10_000);
        let job = world.restore(&source, "copy", 0).expect("started");
        world.start(Part::Reconciler);
        world.start(Part::Worker);
        world
            .state
            .wait("a task", |state| state.describe(job).progress.expect("shown").tasks_running > 0)
            .await;
        fail::cfg(*site, "1*panic->off").expect("a site");
        let cancel = CancelJob {
            job,
            reason: String::new(),
        };
        world.state.apply(&cancel).expect("cancelled");
        let mut deaths = 0;
        while deaths == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            deaths += world.revive().await;
        }
        world.cleaned_up().await;
        assert_eq!(world.vaults.files(), source.names(), "{site}");
        assert_eq!(world.visible_files("copy"), None, "{site}");
        scenario.teardown();
    }
}
