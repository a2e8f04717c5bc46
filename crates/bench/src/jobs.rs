//! Snapshots and jobs: how long a snapshot of a large collection takes, how fast restores copy beside `cp`, what a task
//! costs beside its copying, what 1,000 small tasks add to it, how evenly jobs share the workers, and how soon the work of a killed
//! leader is taken over.

use crate::args::JobsArguments;
use crate::driver::{System, connect_lazy};
use crate::job_files::{Tree, copy_with_cp};
use crate::machine;
use crate::recovery::largest_memory;
use crate::report::{table, write_json};
use crate::system::Cluster;
use crate::workload::INSTANCE;
use anyhow::Context;
use quorate_wire::quorate::v1::catalog_client::CatalogClient;
use quorate_wire::quorate::v1::jobs_client::JobsClient;
use quorate_wire::quorate::v1::settings_client::SettingsClient;
use quorate_wire::quorate::v1::snapshots_client::SnapshotsClient;
use quorate_wire::quorate::v1::{self as v1, JobState, TaskState};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::transport::Channel;

/// How often a job is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// A job that takes longer has failed in some other way.
const LONGEST_JOB: Duration = Duration::from_secs(900);
/// Segments of one prepare and commit.
const SEGMENTS_PER_CALL: u64 = 1_000;
/// Clients that register segments.
const WRITERS: u64 = 8;
const SNAPSHOTS: usize = 5;
const PAGES: usize = 100;
const JOBS_AT_ONCE: usize = 10;
/// Part of a job that is done when its leader is killed.
const KILL_AT_PERCENT: u32 = 25;
const MANY: &str = "many";
const SMALL_TASKS: &str = "tasks";

/// Seconds of a copy by `cp -r` and `sync -f`, and by a restore of the same files.
#[derive(Debug, Serialize)]
struct Copying {
    files: u64,
    file_bytes: u64,
    cp_seconds: Vec<f64>,
    restore_seconds: Vec<f64>,
    /// With the setting `read_back_copies` at 0.
    restore_without_reading_back_seconds: Vec<f64>,
}

impl Copying {
    /// Speed of these restores as a part of cp's: of the means.
    fn ratio(&self, restores: &[f64]) -> f64 {
        mean(&self.cp_seconds) / mean(restores)
    }
}

/// The same segments restored in few tasks and in many, in turn.
#[derive(Debug, Serialize)]
struct SmallTasks {
    files: u64,
    in_few: Restores,
    in_many: Restores,
}

#[derive(Debug, Default, Serialize)]
struct Restores {
    tasks: u64,
    seconds: Vec<f64>,
}

impl SmallTasks {
    /// What tasks add to the copying, as a part of it.
    fn added_percent(&self) -> f64 {
        (mean(&self.in_many.seconds) / mean(&self.in_few.seconds) - 1.0) * 100.0
    }
}

#[derive(Debug, Serialize)]
struct Takeover {
    /// Tasks that were claimed when the leader died.
    claimed: usize,
    /// Until all of them were claimed again or done.
    seconds: f64,
    /// Until the job had ended.
    job_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Metadata {
    segments: u64,
    register_seconds: f64,
    /// Nothing else was at work.
    lone_snapshot_ms: Vec<f64>,
    /// While the workers wrote the manifests of others.
    snapshot_ms: Vec<f64>,
    page_ms: Vec<f64>,
    /// Of a compaction that copies rows and no files.
    rows_tasks: u64,
    rows_seconds: f64,
    largest_rss_bytes: u64,
}

#[derive(Debug, Serialize)]
struct JobsResult {
    machine: String,
    copying: Vec<Copying>,
    /// Progress of the other jobs when the first of them ended.
    percent_when_first_ended: Vec<u32>,
    /// From the start of each of them to its end.
    seconds_at_once: Vec<f64>,
    takeover: Takeover,
    small_tasks: SmallTasks,
    metadata: Metadata,
}

/// The native API at one peer.
#[derive(Clone)]
struct Api(Channel);

impl Api {
    fn catalog(&self) -> CatalogClient<Channel> {
        CatalogClient::new(self.0.clone())
    }

    async fn create_collection(&self, name: &str) -> anyhow::Result<()> {
        let request = v1::CreateCollectionRequest {
            instance_id: INSTANCE.to_owned(),
            name: name.to_owned(),
            ..Default::default()
        };
        self.catalog().create_collection(request).await?;
        Ok(())
    }

    async fn prepare(&self, collection: &str, count: u64) -> anyhow::Result<Vec<v1::PreparedSegment>> {
        let request = v1::PrepareSegmentsRequest {
            instance_id: INSTANCE.to_owned(),
            collection: collection.to_owned(),
            count: count as u32,
            ..Default::default()
        };
        Ok(self.catalog().prepare_segments(request).await?.into_inner().segments)
    }

    async fn commit(&self, segments: Vec<v1::SegmentContent>) -> anyhow::Result<()> {
        let request = v1::CommitSegmentsRequest {
            instance_id: INSTANCE.to_owned(),
            segments,
        };
        self.catalog().commit_segments(request).await?;
        Ok(())
    }

    /// Id of a new snapshot; of the whole instance when no collection is named.
    async fn snapshot(&self, collection: &str, name: &str) -> anyhow::Result<String> {
        let request = v1::CreateSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            collection: collection.to_owned(),
            name: name.to_owned(),
            ..Default::default()
        };
        let made = SnapshotsClient::new(self.0.clone()).create_snapshot(request).await?.into_inner();
        anyhow::ensure!(
            made.state == v1::SnapshotState::Committed as i32,
            "snapshot {name} is not committed"
        );
        Ok(made.snapshot_id)
    }

    /// Drops a snapshot and waits until its manifests and its files are nobody's work any more.
    async fn snapshot_gone(&self, snapshot_id: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + LONGEST_JOB;
        let snapshot = Some(v1::SnapshotRef {
            snapshot_id: snapshot_id.to_owned(),
            ..Default::default()
        });
        let mut snapshots = SnapshotsClient::new(self.0.clone());
        let drop = v1::DropSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            snapshot: snapshot.clone(),
        };
        snapshots.drop_snapshot(drop).await?;
        let describe = v1::DescribeSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            snapshot,
            ..Default::default()
        };
        loop {
            match snapshots.describe_snapshot(describe.clone()).await {
                Err(status) if status.code() == Code::NotFound => return Ok(()),
                found => found?,
            };
            anyhow::ensure!(
                Instant::now() < deadline,
                "snapshot {snapshot_id} was not removed within {LONGEST_JOB:?}"
            );
            sleep(LOOK).await;
        }
    }

    /// Waits until the manifests of a snapshot are written, which takes the same workers.
    async fn manifests_written(&self, snapshot_id: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + LONGEST_JOB;
        loop {
            let request = v1::DescribeSnapshotRequest {
                instance_id: INSTANCE.to_owned(),
                snapshot: Some(v1::SnapshotRef {
                    snapshot_id: snapshot_id.to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let mut snapshots = SnapshotsClient::new(self.0.clone());
            let shown = snapshots.describe_snapshot(request).await?.into_inner();
            if shown.manifests >= shown.segments {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the manifests of {snapshot_id} were not written within {LONGEST_JOB:?}"
            );
            sleep(LOOK).await;
        }
    }

    async fn restore(&self, snapshot_id: &str, target: &str) -> anyhow::Result<u64> {
        let request = v1::RestoreSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            snapshot: Some(v1::SnapshotRef {
                snapshot_id: snapshot_id.to_owned(),
                ..Default::default()
            }),
            target_collection: target.to_owned(),
            ..Default::default()
        };
        Ok(SnapshotsClient::new(self.0.clone())
            .restore_snapshot(request)
            .await?
            .into_inner()
            .job_id)
    }

    /// Seconds of a restore until its collection is published.
    async fn restore_seconds(&self, snapshot_id: &str, target: &str) -> anyhow::Result<f64> {
        let started = Instant::now();
        let job = self.restore(snapshot_id, target).await?;
        self.completed(job).await?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// Gives a setting of the cluster a value, or its default.
    async fn set(&self, name: &str, value: Option<u64>) -> anyhow::Result<()> {
        let name = name.to_owned();
        let mut settings = SettingsClient::new(self.0.clone());
        match value {
            Some(_) => settings.set_setting(v1::SetSettingRequest { name, value }).await?,
            None => settings.reset_setting(v1::ResetSettingRequest { name }).await?,
        };
        Ok(())
    }

    async fn job(&self, job_id: u64) -> anyhow::Result<v1::Job> {
        let request = v1::DescribeJobRequest {
            job_id,
            ..Default::default()
        };
        Ok(JobsClient::new(self.0.clone()).describe_job(request).await?.into_inner())
    }

    async fn tasks(&self, job_id: u64) -> anyhow::Result<Vec<v1::Task>> {
        let request = v1::ListTasksRequest {
            job_id,
            ..Default::default()
        };
        Ok(JobsClient::new(self.0.clone()).list_tasks(request).await?.into_inner().tasks)
    }

    /// Waits until a job has completed.
    async fn completed(&self, job_id: u64) -> anyhow::Result<v1::Job> {
        let deadline = Instant::now() + LONGEST_JOB;
        loop {
            let job = self.job(job_id).await?;
            match job.state() {
                JobState::JobCompleted => return Ok(job),
                JobState::JobFailed | JobState::JobCancelled => anyhow::bail!("job {job_id} ended as {:?}: {}", job.state(), job.reason),
                _ => anyhow::ensure!(Instant::now() < deadline, "job {job_id} did not end within {LONGEST_JOB:?}"),
            }
            sleep(LOOK).await;
        }
    }
}

/// Writes the files of a tree where the catalog says, and commits them.
async fn import(api: &Api, vault: &Path, collection: &str, tree: Tree) -> anyhow::Result<Vec<PathBuf>> {
    api.create_collection(collection).await?;
    let mut directories = Vec::new();
    for (number, segment) in (0..).zip(api.prepare(collection, tree.segments()).await?) {
        let directory = vault.join(&segment.path);
        api.commit(vec![v1::SegmentContent {
            segment_id: segment.segment_id,
            rows: 1,
            files: tree.write_segment(number, &directory)?,
        }])
        .await?;
        directories.push(directory);
    }
    Ok(directories)
}

/// The same files by `cp`, by a restore, and by one that reads nothing back, in turn.
async fn copying(api: &Api, dir: &Path, collection: &str, tree: Tree, runs: usize) -> anyhow::Result<Copying> {
    eprintln!("copying {} files of {} KiB", tree.files, tree.file_bytes >> 10);
    let directories = import(api, &dir.join("dev/vault"), collection, tree).await?;
    let snapshot = api.snapshot(collection, "source").await?;
    let mut copying = Copying {
        files: tree.files,
        file_bytes: tree.file_bytes,
        cp_seconds: Vec::new(),
        restore_seconds: Vec::new(),
        restore_without_reading_back_seconds: Vec::new(),
    };
    for run in 0..runs {
        copying
            .cp_seconds
            .push(copy_with_cp(&directories, &dir.join(format!("cp-{collection}-{run}")))?);
        let target = format!("{collection}_{run}");
        copying.restore_seconds.push(api.restore_seconds(&snapshot, &target).await?);
        api.set("read_back_copies", Some(0)).await?;
        let unread = api.restore_seconds(&snapshot, &format!("{target}_not_read_back")).await?;
        copying.restore_without_reading_back_seconds.push(unread);
        api.set("read_back_copies", None).await?;
    }
    Ok(copying)
}

/// The files of a tree by restores with as few tasks as there are without a word, and with one for each segment.
async fn small_tasks(api: &Api, dir: &Path, tree: Tree, runs: usize) -> anyhow::Result<SmallTasks> {
    eprintln!("copying {} files in few tasks and in {}", tree.files, tree.segments());
    import(api, &dir.join("dev/vault"), SMALL_TASKS, tree).await?;
    let snapshot = api.snapshot(SMALL_TASKS, "source").await?;
    api.manifests_written(&snapshot).await?;
    let mut measured = SmallTasks {
        files: tree.files,
        in_few: Restores::default(),
        in_many: Restores::default(),
    };
    for run in 0..runs {
        for (max_task_bytes, restores) in [(None, &mut measured.in_few), (Some(tree.segment_bytes()), &mut measured.in_many)] {
            api.set("max_task_bytes", max_task_bytes).await?;
            let target = format!("{SMALL_TASKS}_{run}_{}", max_task_bytes.map_or("few", |_| "many"));
            let started = Instant::now();
            let done = api.completed(api.restore(&snapshot, &target).await?).await?;
            restores.seconds.push(started.elapsed().as_secs_f64());
            restores.tasks = done.progress.unwrap_or_default().tasks_total;
        }
    }
    api.set("max_task_bytes", None).await?;
    Ok(measured)
}

/// Percent of the other jobs when the first of several that were started together has ended, and the seconds of each.
async fn fairness(api: &Api, snapshot: &str) -> anyhow::Result<(Vec<u32>, Vec<f64>)> {
    eprintln!("{JOBS_AT_ONCE} jobs at once");
    let mut jobs = Vec::new();
    for number in 0..JOBS_AT_ONCE {
        jobs.push(api.restore(snapshot, &format!("together_{number}")).await?);
    }
    let (mut percents, mut seconds) = (None, Vec::new());
    for job in &jobs {
        while percents.is_none() {
            let mut now = Vec::new();
            for job in &jobs {
                now.push(api.job(*job).await?);
            }
            if now.iter().any(|job| job.state() == JobState::JobCompleted) {
                let others = now.iter().filter(|job| job.state() != JobState::JobCompleted);
                percents = Some(others.map(percent_of_bytes).collect());
            }
            sleep(LOOK).await;
        }
        let ended = api.completed(*job).await?;
        seconds.push(ended.ended_ms.saturating_sub(ended.created_ms) as f64 / 1e3);
    }
    Ok((percents.context("a job has ended")?, seconds))
}

fn percent_of_bytes(job: &v1::Job) -> u32 {
    let progress = job.progress.unwrap_or_default();
    (progress.bytes_done * 100 / progress.bytes_total.max(1)) as u32
}

/// Kills the leader while a job runs, and waits until others have what it had claimed.
async fn takeover(cluster: &mut Cluster, snapshot: &str) -> anyhow::Result<Takeover> {
    eprintln!("the leader dies while it copies");
    let leader = cluster.leader().await?;
    let api = Api(connect_lazy(&cluster.endpoints()[(leader + 1) % cluster.peers.len()])?);
    let job = api.restore(snapshot, "taken_over").await?;
    while percent_of_bytes(&api.job(job).await?) < KILL_AT_PERCENT {
        sleep(LOOK).await;
    }
    let claims = |tasks: Vec<v1::Task>| tasks.into_iter().filter(|task| task.state() == TaskState::TaskClaimed);
    let claimed: Vec<(u32, u64)> = claims(api.tasks(job).await?).map(|task| (task.task, task.fence)).collect();
    cluster.kill(leader).await?;
    let died = Instant::now();
    let seconds = loop {
        // While there is no leader there is no answer.
        if let Ok(tasks) = api.tasks(job).await
            && !claims(tasks).any(|task| claimed.contains(&(task.task, task.fence)))
        {
            break died.elapsed().as_secs_f64();
        }
        anyhow::ensure!(died.elapsed() < LONGEST_JOB, "nobody took over");
        sleep(LOOK).await;
    };
    api.completed(job).await?;
    let job_seconds = died.elapsed().as_secs_f64();
    cluster.restart(leader)?;
    cluster.wait_serving(leader).await?;
    Ok(Takeover {
        claimed: claimed.len(),
        seconds,
        job_seconds,
    })
}

/// Registers segments without any file behind them.
async fn register(api: &Api, segments: u64) -> anyhow::Result<f64> {
    let started = Instant::now();
    api.create_collection(MANY).await?;
    let calls = segments.div_ceil(SEGMENTS_PER_CALL);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let api = api.clone();
        writers.spawn(async move {
            for call in (writer..calls).step_by(WRITERS as usize) {
                let count = SEGMENTS_PER_CALL.min(segments - call * SEGMENTS_PER_CALL);
                let contents = api.prepare(MANY, count).await?.into_iter().map(|segment| v1::SegmentContent {
                    segment_id: segment.segment_id,
                    rows: 1_000,
                    files: vec![Tree::nominal_file()],
                });
                api.commit(contents.collect()).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.context("a writer ended early")??;
    }
    Ok(started.elapsed().as_secs_f64())
}

async fn metadata(cluster: &Cluster, api: &Api, segments: u64) -> anyhow::Result<Metadata> {
    eprintln!("registering {segments} segments");
    let register_seconds = register(api, segments).await?;
    let mut page_ms = Vec::new();
    let mut page_token = String::new();
    for _ in 0..PAGES {
        let request = v1::ListSegmentsRequest {
            instance_id: INSTANCE.to_owned(),
            collection: MANY.to_owned(),
            page_token,
            ..Default::default()
        };
        let started = Instant::now();
        let page = api.catalog().list_segments(request).await?.into_inner();
        page_ms.push(started.elapsed().as_secs_f64() * 1e3);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut lone_snapshot_ms = Vec::new();
    for number in 0..SNAPSHOTS {
        let started = Instant::now();
        let snapshot = api.snapshot(MANY, &format!("alone_{number}")).await?;
        lone_snapshot_ms.push(started.elapsed().as_secs_f64() * 1e3);
        api.snapshot_gone(&snapshot).await?;
    }
    eprintln!("a compaction of rows without files");
    let whole = api.snapshot("", "whole").await?;
    let (rows_tasks, rows_seconds) = compact_rows(api, &whole).await?;
    let mut snapshot_ms = Vec::new();
    for number in 0..SNAPSHOTS {
        let started = Instant::now();
        api.snapshot(MANY, &format!("number_{number}")).await?;
        snapshot_ms.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Metadata {
        segments,
        register_seconds,
        lone_snapshot_ms,
        snapshot_ms,
        page_ms,
        rows_tasks,
        rows_seconds,
        largest_rss_bytes: largest_memory(cluster)?.rss_bytes,
    })
}

/// Tasks and seconds of a clone's compaction that leaves the files where they are.
async fn compact_rows(api: &Api, snapshot_id: &str) -> anyhow::Result<(u64, f64)> {
    let clone = v1::CloneInstanceRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot_id: snapshot_id.to_owned(),
        new_instance_id: "bench-clone".to_owned(),
        kind: v1::CloneKind::Writable.into(),
        ..Default::default()
    };
    let mut snapshots = SnapshotsClient::new(api.0.clone());
    snapshots.clone_instance(clone).await?;
    let started = Instant::now();
    let compact = v1::CompactCloneRequest {
        instance_id: "bench-clone".to_owned(),
        keep_files: Some(true),
    };
    let job = snapshots.compact_clone(compact).await?.into_inner().job_id;
    let done = api.completed(job).await?;
    Ok((done.progress.unwrap_or_default().tasks_total, started.elapsed().as_secs_f64()))
}

/// Starts three peers and measures everything in one run.
pub async fn run(arguments: &JobsArguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.segments > 0 && arguments.runs > 0, "segments and runs start at 1");
    let mut cluster = Cluster::start(System::Quorate, &arguments.quorate_bin, &arguments.dir).await?;
    let api = Api(connect_lazy(&cluster.endpoints()[0])?);
    let (small, large) = (Tree::small(arguments.small_files), Tree::large(arguments.large_files));
    let copying = vec![
        copying(&api, &arguments.dir, "small", small, arguments.runs).await?,
        copying(&api, &arguments.dir, "large", large, arguments.runs).await?,
    ];
    let (percent_when_first_ended, seconds_at_once) = fairness(&api, &api.snapshot("small", "shared").await?).await?;
    let takeover = takeover(&mut cluster, &api.snapshot("large", "orphaned").await?).await?;
    let tasks = Tree::small_tasks(arguments.small_files);
    let small_tasks = small_tasks(&api, &arguments.dir, tasks, arguments.runs).await?;
    let result = JobsResult {
        machine: machine::describe(),
        copying,
        percent_when_first_ended,
        seconds_at_once,
        takeover,
        small_tasks,
        metadata: metadata(&cluster, &api, arguments.segments).await?,
    };
    println!("{}", shown(&result));
    arguments.json.as_ref().map_or(Ok(()), |path| write_json(path, &result))
}

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// Longest, shortest, and how many times that the longest is.
fn longest_and_shortest(seconds: &[f64]) -> String {
    let longest = seconds.iter().copied().fold(0.0, f64::max);
    let shortest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    format!("{longest:.2} / {shortest:.2} = {:.2}x", longest / shortest)
}

fn seconds(all: &[f64]) -> String {
    let all: Vec<String> = all.iter().map(|seconds| format!("{seconds:.2}")).collect();
    all.join(", ")
}

/// Median and worst.
fn spread(milliseconds: &[f64]) -> String {
    let mut sorted = milliseconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.last() {
        Some(worst) => format!("{:.1} / {worst:.1}", sorted[sorted.len() / 2]),
        None => "-".to_owned(),
    }
}

fn shown(result: &JobsResult) -> comfy_table::Table {
    let mut rows = table(&["measure", "value"]);
    for copying in &result.copying {
        let what = format!("{} files of {} KiB", copying.files, copying.file_bytes >> 10);
        let against_cp = |restores: &[f64]| format!("{:.2}x", copying.ratio(restores));
        let (restores, unread) = (&copying.restore_seconds, &copying.restore_without_reading_back_seconds);
        for (measure, value) in [
            (format!("{what}: cp -r and sync -f, s"), seconds(&copying.cp_seconds)),
            (format!("{what}: restored, read back and published, s"), seconds(restores)),
            ("restore against cp".to_owned(), against_cp(restores)),
            (format!("{what}: restored and published, without reading back, s"), seconds(unread)),
            ("restore without reading back against cp".to_owned(), against_cp(unread)),
        ] {
            rows.add_row([measure, value]);
        }
    }
    let percents = &result.percent_when_first_ended;
    rows.add_row([
        format!("{JOBS_AT_ONCE} jobs: the others' progress when the first ended, %"),
        format!(
            "{} to {}",
            percents.iter().min().unwrap_or(&100),
            percents.iter().max().unwrap_or(&100)
        ),
    ]);
    rows.add_row([
        format!("{JOBS_AT_ONCE} equal jobs at once, s: longest / shortest"),
        longest_and_shortest(&result.seconds_at_once),
    ]);
    let small = &result.small_tasks;
    for restores in [&small.in_few, &small.in_many] {
        rows.add_row([
            format!("{} files of 64 KiB in {} tasks: restored, s", small.files, restores.tasks),
            seconds(&restores.seconds),
        ]);
    }
    rows.add_row(["what the many tasks add, %".to_owned(), format!("{:.0}", small.added_percent())]);
    rows.add_row([
        format!(
            "leader killed: until its part of {} claimed tasks was taken over, s",
            result.takeover.claimed
        ),
        format!("{:.2}", result.takeover.seconds),
    ]);
    let metadata = &result.metadata;
    rows.add_row([
        format!("register {} segments, s", metadata.segments),
        format!("{:.1}", metadata.register_seconds),
    ]);
    rows.add_row([
        "snapshot of them, ms: median / worst".to_owned(),
        spread(&metadata.lone_snapshot_ms),
    ]);
    rows.add_row([
        "snapshot while manifests of others are written, ms: median / worst".to_owned(),
        spread(&metadata.snapshot_ms),
    ]);
    rows.add_row(["list page of 1,000, ms: median / worst".to_owned(), spread(&metadata.page_ms)]);
    let per_task = metadata.rows_seconds * 1e3 / metadata.rows_tasks.max(1) as f64;
    rows.add_row([
        format!(
            "a task of 256 rows without files, of {}: claim, copy, stage, complete, ms",
            metadata.rows_tasks
        ),
        format!("{per_task:.1}"),
    ]);
    rows.add_row([
        "largest peer at the end, MiB".to_owned(),
        format!("{}", metadata.largest_rss_bytes >> 20),
    ]);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_copies_compare_what_tasks_add_and_how_even_jobs_are() {
        let result = JobsResult {
            machine: String::new(),
            copying: vec![Copying {
                files: 3,
                file_bytes: 64 << 10,
                cp_seconds: vec![1.0, 3.0],
                restore_seconds: vec![3.0, 5.0],
                restore_without_reading_back_seconds: vec![2.0, 3.0],
            }],
            percent_when_first_ended: vec![90, 95],
            seconds_at_once: vec![2.0, 3.0, 2.5],
            takeover: Takeover {
                claimed: 1,
                seconds: 10.0,
                job_seconds: 11.0,
            },
            small_tasks: SmallTasks {
                files: 10_000,
                in_few: Restores {
                    tasks: 4,
                    seconds: vec![1.0, 1.0],
                },
                in_many: Restores {
                    tasks: 1_000,
                    seconds: vec![1.0, 1.5],
                },
            },
            metadata: Metadata {
                segments: 1,
                register_seconds: 1.0,
                lone_snapshot_ms: vec![2.0, 3.0, 4.0],
                snapshot_ms: vec![1.0],
                page_ms: vec![1.0],
                rows_tasks: 1,
                rows_seconds: 1.0,
                largest_rss_bytes: 1 << 20,
            },
        };
        let text = shown(&result).to_string();
        let row = |measure: &str| {
            let line = text.lines().find(|line| line.contains(measure)).expect("a row of the table");
            line.split('|').nth(2).expect("a value").trim().to_owned()
        };
        assert_eq!(row("3 files of 64 KiB: restored and published, without reading back"), "2.00, 3.00");
        assert_eq!(row("restore against cp"), "0.50x");
        assert_eq!(row("restore without reading back against cp"), "0.80x");
        assert_eq!(row("10 equal jobs at once"), "3.00 / 2.00 = 1.50x");
        assert_eq!(row("10000 files of 64 KiB in 1000 tasks"), "1.00, 1.50");
        assert_eq!(row("snapshot of them"), "3.0 / 4.0");
        assert_eq!(row("snapshot while manifests of others are written"), "1.0 / 1.0");
        assert_eq!(row("what the many tasks add"), "25");
    }
}
