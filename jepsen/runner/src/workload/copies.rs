//! W6: copy jobs, exactly once, with real files. A collection of many small files is snapshotted once; clients then have it
//! restored, again and again, into new collections, while peers and worker processes die and stand still. A submission
//! without an answer is repeated at other nodes under its request id.
//!
//! In the end every job must have ended; what a completed one made is compared with the source byte for byte, as the vault has it
//! after all power cuts; what a cancelled one made must be visible to nobody.

use super::keys::Keys;
use super::{Stage, Workload, in_clients, setup};
use crate::checker::copies;
use crate::client::{Answered, Client, Effect, FINAL_TIMEOUT};
use crate::contract::REFUSED;
use crate::history::Op;
use crate::seeded::Random;
use crate::send;
use crate::verdict::Verdict;
use anyhow::Context as _;
use async_trait::async_trait;
use quorate_objects::Crc64;
use quorate_wire::quorate::v1::catalog_client::CatalogClient;
use quorate_wire::quorate::v1::jobs_client::JobsClient;
use quorate_wire::quorate::v1::snapshots_client::SnapshotsClient;
use quorate_wire::quorate::v1::{
    CancelJobRequest, CommitSegmentsRequest, CreateCollectionRequest, CreateSnapshotRequest, DescribeCollectionRequest, DescribeJobRequest,
    DescribeSnapshotRequest, FileKind, Job, JobKind, JobState, ListJobsRequest, ListSegmentsReply, ListSegmentsRequest,
    PrepareSegmentsRequest, RestoreSnapshotRequest, Segment, SegmentContent, SegmentFile, SnapshotRef, SnapshotState,
};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const INSTANCE: &str = "jepsen-copies";
const SOURCE: &str = "source";
/// A task has at most 256 segments: these are three tasks.
const SEGMENTS: u32 = 520;
const FILE_BYTES: usize = 3_000;
/// Jobs that are under way at once: some wait for a worker that was stopped, and others go on.
const MOST_AT_ONCE: usize = 6;
/// Of so many targets, one may be cancelled: if all could, no job would wait for a claim to expire.
const CANCELLED_OF: u64 = 5;
/// All jobs fit into one page of their list, which is of one revision.
const MOST_JOBS: u64 = 900;
/// Every job has ended so long after everything was healed.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Copies {
    board: Arc<Board>,
}

#[derive(Default)]
struct Board {
    targets: Keys,
    snapshot_id: Mutex<String>,
    /// Targets of jobs that may be under way, with the job's id where it is known.
    active: Mutex<BTreeMap<u64, u64>>,
    /// Every target and job that somebody was told of.
    told: Mutex<Vec<(u64, u64)>>,
}

impl Board {
    fn active(&self) -> BTreeMap<u64, u64> {
        self.active.lock().expect("no panic while held").clone()
    }

    fn set(&self, target: u64, job: u64) {
        self.active.lock().expect("no panic while held").insert(target, job);
    }

    fn forget(&self, target: u64) {
        self.active.lock().expect("no panic while held").remove(&target);
    }

    fn tell(&self, target: u64, job: u64) {
        self.set(target, job);
        self.told.lock().expect("no panic while held").push((target, job));
    }

    /// A target and its job: half of the time of those under way, if there are any.
    fn any_job(&self, random: &mut Random) -> Option<(u64, u64)> {
        let active: Vec<(u64, u64)> = self.active().into_iter().filter(|(_, job)| *job != 0).collect();
        if !active.is_empty() && random.chance(50) {
            return Some(*random.pick(&active));
        }
        let told = self.told.lock().expect("no panic while held");
        (!told.is_empty()).then(|| *random.pick(&told[..]))
    }

    /// One of all targets there were; 1 before there was any.
    fn any_target(&self, random: &mut Random) -> u64 {
        1 + random.below(self.targets.last_value().max(1))
    }
}

struct Restorer {
    client: Client,
    board: Arc<Board>,
}

impl Restorer {
    /// Most operations are reads of one row. A look at all segments of a target, and the list of all jobs, take long to answer
    /// and much room in the history.
    async fn run(mut self) {
        while self.client.turn().await {
            let active = self.board.active();
            match self.client.random.below(1_000) {
                0..8 if active.len() < MOST_AT_ONCE && self.board.targets.last_value() < MOST_JOBS => self.submit().await,
                8..20 if !active.is_empty() => self.cancel(&active).await,
                20..60 => drop(self.jobs().await),
                60..120 => {
                    let target = self.board.any_target(&mut self.client.random);
                    self.look(target).await;
                }
                120..560 => {
                    let target = self.board.any_target(&mut self.client.random);
                    self.describe(target).await;
                }
                _ => self.job().await,
            }
        }
    }

    async fn submit(&mut self) {
        let target = self.board.targets.value();
        self.board.set(target, 0);
        let mut open = self.client.begin("submit", json!([target]), Effect::Writes).await;
        let message = RestoreSnapshotRequest {
            instance_id: INSTANCE.into(),
            snapshot: Some(self.snapshot()),
            target_collection: collection(target),
            ..RestoreSnapshotRequest::default()
        };
        match self.client.call(&mut open, message, send!(SnapshotsClient, restore_snapshot)).await {
            Ok(answered) => {
                self.board.tell(target, answered.body.job_id);
                self.client.ok(open, json!([target, answered.body.job_id]), &answered);
            }
            Err(failed) => {
                // It may have been executed all the same. But most were not, and would take the places of those to come.
                self.board.forget(target);
                self.client.failed(open, failed);
            }
        }
    }

    async fn cancel(&mut self, active: &BTreeMap<u64, u64>) {
        let known: Vec<(u64, u64)> = active
            .iter()
            .map(|(target, job)| (*target, *job))
            .filter(|(target, job)| *job != 0 && target.is_multiple_of(CANCELLED_OF))
            .collect();
        if known.is_empty() {
            return self.job().await;
        }
        let (target, job) = *self.client.random.pick(&known);
        let mut open = self.client.begin("cancel", json!([target, job]), Effect::Writes).await;
        let message = CancelJobRequest {
            job_id: job,
            reason: "a client changed its mind".into(),
        };
        match self.client.call(&mut open, message, send!(JobsClient, cancel_job)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => self.client.ok(open, json!([target, job, state(&answered.body)]), &answered),
        }
    }

    /// All jobs there are; the number of those that have not ended, if it is known.
    async fn jobs(&mut self) -> Option<usize> {
        let mut open = self.client.begin("jobs", Json::Null, Effect::Reads).await;
        match self
            .client
            .call(&mut open, ListJobsRequest::default(), send!(JobsClient, list_jobs))
            .await
        {
            Err(failed) => {
                self.client.failed(open, failed);
                None
            }
            Ok(answered) if !answered.body.next_page_token.is_empty() => {
                self.client.unexpected(open, "a list of a few jobs came as several pages");
                None
            }
            Ok(answered) => {
                let jobs: Vec<Json> = answered.body.jobs.iter().map(job).collect();
                for job in answered.body.jobs.iter().filter(|job| has_ended(job)) {
                    target_of(job).into_iter().for_each(|target| self.board.forget(target));
                }
                self.client.ok(open, json!(jobs), &answered);
                Some(answered.body.jobs.iter().filter(|job| !has_ended(job)).count())
            }
        }
    }

    /// The state of one job that somebody was told of.
    async fn job(&mut self) {
        let Some((target, job)) = self.board.any_job(&mut self.client.random) else {
            self.jobs().await;
            return;
        };
        let mut open = self.client.begin("job", json!([target, job, null]), Effect::Reads).await;
        let message = DescribeJobRequest {
            job_id: job,
            ..DescribeJobRequest::default()
        };
        match self.client.call(&mut open, message, send!(JobsClient, describe_job)).await {
            Err(failed) => self.client.failed(open, failed),
            Ok(answered) => {
                if has_ended(&answered.body) {
                    self.board.forget(target);
                }
                self.client.ok(open, json!([target, job, state(&answered.body)]), &answered);
            }
        }
    }

    /// How much a target is said to have; nothing while it is not there.
    async fn describe(&mut self, target: u64) {
        let mut open = self.client.begin("describe", json!([target, null]), Effect::Reads).await;
        let message = DescribeCollectionRequest {
            instance_id: INSTANCE.into(),
            database: "default".into(),
            name: collection(target),
            ..DescribeCollectionRequest::default()
        };
        match self
            .client
            .call(&mut open, message, send!(CatalogClient, describe_collection))
            .await
        {
            Ok(answered) => {
                let sums = answered.body.stats.as_ref().map_or((0, 0), |sums| (sums.segments, sums.files));
                self.client
                    .ok(open, json!([target, {"segments": sums.0, "files": sums.1}]), &answered);
            }
            Err(failed) if failed.error.starts_with(&format!("{REFUSED}not_found")) => {
                self.client.ok_at(open, json!([target, null]), None, None)
            }
            Err(failed) => self.client.failed(open, failed),
        }
    }

    /// How many segments a target shows; nothing while it is not there.
    async fn look(&mut self, target: u64) {
        let mut open = self.client.begin("look", json!([target, null]), Effect::Reads).await;
        match self
            .client
            .call(&mut open, segments_of(&collection(target)), send!(CatalogClient, list_segments))
            .await
        {
            Ok(answered) => self.client.ok(open, json!([target, shown(&answered.body)]), &answered),
            Err(failed) if failed.error.starts_with(&format!("{REFUSED}not_found")) => {
                self.client.ok_at(open, json!([target, null]), None, None)
            }
            Err(failed) => self.client.failed(open, failed),
        }
    }

    /// Compares what a target shows with the source, on the disk.
    async fn compare(&mut self, target: u64, vault: &Path, source: &Path) {
        let mut open = self.client.begin("files", json!([target, null]), Effect::Reads).await;
        let answer: Result<Answered<ListSegmentsReply>, _> = self
            .client
            .call(&mut open, segments_of(&collection(target)), send!(CatalogClient, list_segments))
            .await;
        match answer {
            Ok(answered) => {
                let found = compared(&answered.body.segments, vault, source);
                self.client.ok(open, json!([target, found]), &answered);
            }
            Err(failed) if failed.error.starts_with(&format!("{REFUSED}not_found")) => {
                self.client.ok_at(open, json!([target, null]), None, None)
            }
            Err(failed) => self.client.failed(open, failed),
        }
    }

    fn snapshot(&self) -> SnapshotRef {
        SnapshotRef {
            snapshot_id: self.board.snapshot_id.lock().expect("no panic while held").clone(),
            ..SnapshotRef::default()
        }
    }
}

fn collection(target: u64) -> String {
    format!("target_{target:05}")
}

fn target_of(job: &Job) -> Option<u64> {
    job.collection.strip_prefix("target_")?.parse().ok()
}

fn has_ended(job: &Job) -> bool {
    !matches!(job.state(), JobState::JobPlanning | JobState::JobRunning)
}

fn state(job: &Job) -> &'static str {
    match job.state() {
        JobState::JobPlanning => "planning",
        JobState::JobRunning => "running",
        JobState::JobCompleted => "completed",
        JobState::JobFailed => "failed",
        JobState::JobCancelled => "cancelled",
        JobState::Unspecified => "unspecified",
    }
}

fn job(job: &Job) -> Json {
    let progress = job.progress.unwrap_or_default();
    json!({
        "job": job.job_id, "is_restore": job.kind() == JobKind::Restore, "target": target_of(job), "state": state(job),
        "tasks": progress.tasks_total, "done": progress.tasks_done, "reason": job.reason,
    })
}

fn segments_of(collection: &str) -> ListSegmentsRequest {
    ListSegmentsRequest {
        instance_id: INSTANCE.into(),
        database: "default".into(),
        collection: collection.to_owned(),
        ..ListSegmentsRequest::default()
    }
}

/// How many segments, and a checksum over all that is told of their files.
fn shown(reply: &ListSegmentsReply) -> Json {
    let mut files: Vec<String> = Vec::new();
    for segment in &reply.segments {
        files.extend(
            segment
                .files
                .iter()
                .map(|file| format!("{}/{}:{}:{:x}\n", segment.path, file.name, file.size_bytes, file.checksum)),
        );
    }
    files.sort();
    json!({"segments": reply.segments.len(), "checksum": format!("{:016x}", Crc64::of(files.concat().as_bytes()).0)})
}

/// Names of source files, and what became of each in a copy. A file's name is unique in the source.
fn compared(segments: &[Segment], vault: &Path, source: &Path) -> Json {
    let (mut equal, mut wrong): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for segment in segments {
        for file in &segment.files {
            let copy = vault.join(&segment.path).join(&file.name);
            match (std::fs::read(&copy), std::fs::read(source.join(&file.name))) {
                (Ok(copied), Ok(original))
                    if copied == original && Crc64::of(&copied).0 == file.checksum && copied.len() as u64 == file.size_bytes =>
                {
                    equal.push(&file.name);
                }
                (Ok(_), Ok(_)) => wrong.push(format!("{} differs", copy.display())),
                (Err(error), _) => wrong.push(format!("{}: {error}", copy.display())),
                (_, Err(error)) => wrong.push(format!("{} is not of the source: {error}", file.name)),
            }
        }
    }
    equal.sort_unstable();
    wrong.truncate(20);
    let ids: Vec<u64> = segments.iter().map(|segment| segment.segment_id).collect();
    let paths: Vec<&str> = segments.iter().map(|segment| segment.path.as_str()).collect();
    let names = Crc64::of(equal.join("\n").as_bytes()).0;
    json!({"equal": equal.len(), "names": format!("{names:016x}"), "wrong": wrong, "ids": ids, "paths": paths})
}

/// Bytes that no two files have in common, and that do not compress.
fn content(number: u32) -> Vec<u8> {
    let mut random = crate::seeded::Random::new(u64::from(number) + 1);
    let words = std::iter::repeat_with(|| random.number().to_le_bytes());
    words.flatten().take(FILE_BYTES + number as usize % 7).collect()
}

/// Writes the source's files beside the vault, and into it where the cluster says, durably; answers what is to be committed.
fn write_source(
    prepared: &[quorate_wire::quorate::v1::PreparedSegment],
    vault: &Path,
    source: &Path,
) -> std::io::Result<Vec<SegmentContent>> {
    std::fs::create_dir_all(source)?;
    let mut contents = Vec::new();
    for (number, segment) in (0..).zip(prepared) {
        let (bytes, name) = (content(number), format!("file-{number}.bin"));
        std::fs::write(source.join(&name), &bytes)?;
        let directory = vault.join(&segment.path);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(&name), &bytes)?;
        let file = SegmentFile {
            name,
            size_bytes: bytes.len() as u64,
            checksum: Crc64::of(&bytes).0,
            kind: FileKind::Data as i32,
            rows: 1,
            ..SegmentFile::default()
        };
        contents.push(SegmentContent {
            segment_id: segment.segment_id,
            rows: 1,
            files: vec![file],
        });
    }
    rustix::fs::syncfs(&File::open(vault)?)?;
    Ok(contents)
}

fn source_dir(stage: &Stage) -> PathBuf {
    stage.field.dir().join("source")
}

async fn make_source(stage: &Stage) -> anyhow::Result<String> {
    setup::instance(stage, INSTANCE).await?;
    let message = CreateCollectionRequest {
        instance_id: INSTANCE.into(),
        name: SOURCE.into(),
        ..CreateCollectionRequest::default()
    };
    setup::until(stage, "create the source", message, |link, request| async move {
        CatalogClient::new(link).create_collection(request).await
    })
    .await?;
    let message = PrepareSegmentsRequest {
        instance_id: INSTANCE.into(),
        collection: SOURCE.into(),
        count: SEGMENTS,
        ..PrepareSegmentsRequest::default()
    };
    let prepared = setup::until(stage, "prepare segments", message, |link, request| async move {
        CatalogClient::new(link).prepare_segments(request).await
    })
    .await?;
    let segments = write_source(&prepared.segments, &stage.field.vault_dir(), &source_dir(stage)).context("the source's files")?;
    let message = CommitSegmentsRequest {
        instance_id: INSTANCE.into(),
        segments,
    };
    setup::until(stage, "commit segments", message, |link, request| async move {
        CatalogClient::new(link).commit_segments(request).await
    })
    .await?;
    let message = CreateSnapshotRequest {
        instance_id: INSTANCE.into(),
        collection: SOURCE.into(),
        name: "first".into(),
        ..CreateSnapshotRequest::default()
    };
    let made = setup::until(stage, "create a snapshot", message, |link, request| async move {
        SnapshotsClient::new(link).create_snapshot(request).await
    })
    .await?;
    let deadline = Instant::now() + ENDS_WITHIN;
    loop {
        let message = DescribeSnapshotRequest {
            instance_id: INSTANCE.into(),
            snapshot: Some(SnapshotRef {
                snapshot_id: made.snapshot_id.clone(),
                ..SnapshotRef::default()
            }),
            ..DescribeSnapshotRequest::default()
        };
        let seen = setup::until(stage, "describe a snapshot", message, |link, request| async move {
            SnapshotsClient::new(link).describe_snapshot(request).await
        })
        .await?;
        if seen.state() == SnapshotState::Committed && seen.manifests >= seen.segments {
            return Ok(made.snapshot_id);
        }
        anyhow::ensure!(Instant::now() < deadline, "the snapshot does not become usable: {seen:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

#[async_trait]
impl Workload for Copies {
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        let snapshot_id = make_source(stage).await?;
        *self.board.snapshot_id.lock().expect("no panic while held") = snapshot_id;
        Ok(())
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let board = self.board.clone();
        let nodes = stage.field.size();
        in_clients(stage, move |mut client| {
            client.repeats = nodes;
            Restorer {
                client,
                board: board.clone(),
            }
            .run()
        })
        .await
    }

    /// Waits until every job has ended, then looks at what they made.
    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        let (board, vault, source) = (self.board.clone(), stage.field.vault_dir(), source_dir(stage));
        super::at_every_node(stage, move |client, node| {
            let (board, vault, source) = (board.clone(), vault.clone(), source.clone());
            async move {
                let mut restorer = Restorer {
                    client,
                    board: board.clone(),
                };
                if node == 0 {
                    restorer.submit().await;
                }
                let deadline = Instant::now() + ENDS_WITHIN;
                while restorer.jobs().await != Some(0) && Instant::now() < deadline + FINAL_TIMEOUT {
                    sleep(Duration::from_millis(500)).await;
                }
                for target in 1..=board.targets.last_value() {
                    match node {
                        0 => restorer.compare(target, &vault, &source).await,
                        _ => restorer.look(target).await,
                    }
                }
                restorer.jobs().await;
            }
        })
        .await
    }

    fn check(&self, history: &[Op], dir: &Path) -> Vec<Verdict> {
        copies::check(history, dir, u64::from(SEGMENTS))
    }
}
