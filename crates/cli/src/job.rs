//! `quorate job`: restores, compactions of clones and manifests, as long as they take.

use crate::amounts::{bytes, counted, distance, number};
use crate::api::{path, posting};
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::doris::Connection;
use crate::output::{self, Sheet, list, printable, text};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often a watched job is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// What is said of a compaction that copies nothing, after what is said of every job.
const HOLDS_FILES: &str = " No files are copied: the clone goes on using those of its source, which are kept until the clone is dropped.";
/// The exit code for a job that failed or was cancelled.
const ENDED_BADLY: u8 = 2;
/// How long a watched job may be out of reach: an election, or a peer that is started again.
const OUT_OF_REACH: Duration = Duration::from_secs(30);
/// Looks after which it is asked again what holds up a job that nobody works on.
const LOOKS_BETWEEN_TASKS: u32 = 8;
/// Parts of a progress bar.
const PARTS: u64 = 1_000;

#[derive(Subcommand)]
pub enum JobVerb {
    /// List jobs, newest first.
    List(Filter),
    /// Show a job with its tasks.
    Show { id: u64 },
    /// Watch a job until it has ended; the exit code is 0 if it completed, and 2 if not.
    Watch { id: u64 },
    /// End a job; what it made so far is deleted.
    Cancel {
        id: u64,
        /// Why; shown with the job.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

/// Which jobs are listed; each filter leaves out what does not fit.
#[derive(Args)]
pub struct Filter {
    /// Only those that make something in this instance.
    #[arg(long, default_value = "")]
    instance: String,
    /// Only those into a collection, or about a snapshot of one, that had this name when they began.
    #[arg(long, short, default_value = "")]
    collection: String,
    /// Only those into the collection of this id, or about a snapshot of it, whatever it is called; with --instance.
    #[arg(long)]
    collection_id: Option<u64>,
    /// Only those of collections of this database; any when absent.
    #[arg(long, short, default_value = "")]
    database: String,
    /// Only those that have not ended.
    #[arg(long)]
    active: bool,
}

impl Filter {
    fn parameters(self) -> [(&'static str, String); 5] {
        let only_active = if self.active { "true".to_owned() } else { String::new() };
        [
            ("instance_id", self.instance),
            ("database", self.database),
            ("collection", self.collection),
            ("collection_id", self.collection_id.map_or_else(String::new, |id| id.to_string())),
            ("only_active", only_active),
        ]
    }
}

pub async fn run(verb: JobVerb, context: &Context) -> anyhow::Result<ExitCode> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        JobVerb::List(filter) => {
            let found = connection.all(&path(&["jobs"]), &filter.parameters(), "jobs").await?;
            output::show(&context.output, Json::Array(found), list_sheet);
        }
        JobVerb::Show { id } => {
            let mut shown = describe(&connection, id).await?;
            shown["tasks"] = tasks(&connection, id).await?;
            output::show(&context.output, shown, sheet);
        }
        JobVerb::Watch { id } => {
            let started = describe(&connection, id).await?;
            return watch(&connection, context, started).await;
        }
        JobVerb::Cancel { id, reason, confirm } => {
            let shown = describe(&connection, id).await?;
            let what = match kind(&shown) {
                "manifests" => format!("This ends {}; they are tried again ten minutes later.", title(&shown)),
                _ => format!("This ends {}; what it made so far is deleted.", title(&shown)),
            };
            let change = posting(&path(&["jobs", &id.to_string(), "cancel"]), &json!({"reason": reason}));
            let answer = confirm::change(&connection, &confirm, &what, change).await?;
            output::done(&context.output, &format!("job {id} cancelled"), &answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What commands that start a job do with it.
pub async fn show_or_wait(connection: &Connection, context: &Context, started: Json, wait: bool) -> anyhow::Result<ExitCode> {
    if wait {
        return watch(connection, context, started).await;
    }
    output::show(&context.output, started, |job| {
        let id = text(job, "job_id");
        let files = if holds_files(job) { HOLDS_FILES } else { "" };
        (
            format!("Job {id} has started; `quorate job watch {id}` shows how far it is.{files}"),
            Sheet::new([]),
        )
    });
    Ok(ExitCode::SUCCESS)
}

async fn describe(connection: &Connection, id: u64) -> anyhow::Result<Json> {
    connection.anew().get(&path(&["jobs", &id.to_string()]), &[]).await
}

async fn tasks(connection: &Connection, id: u64) -> anyhow::Result<Json> {
    let (connection, path) = (connection.anew(), path(&["jobs", &id.to_string(), "tasks"]));
    Ok(Json::Array(connection.all(&path, &[], "tasks").await?))
}

/// The first ones: what holds up one usually holds up all.
async fn some_tasks(connection: &Connection, id: u64) -> anyhow::Result<Json> {
    let page = [("page_size", "100".to_owned())];
    let found = connection.anew().get(&path(&["jobs", &id.to_string(), "tasks"]), &page).await?;
    Ok(found["tasks"].clone())
}

fn has_ended(job: &Json) -> bool {
    matches!(text(job, "state").as_str(), "JOB_COMPLETED" | "JOB_FAILED" | "JOB_CANCELLED")
}

/// Shows a bar on a terminal until the job has ended, then the job.
async fn watch(connection: &Connection, context: &Context, mut job: Json) -> anyhow::Result<ExitCode> {
    let id = number(&job, "job_id");
    // Nothing is drawn when standard error is no terminal.
    let bar = ProgressBar::new(PARTS);
    let style = ProgressStyle::with_template("{prefix} [{bar:32}] {percent:>3}% {msg}")?;
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(printable(&capitalized_title(&job)));
    let (mut looks, mut held_up) = (0u32, Json::Null);
    while !has_ended(&job) {
        let progress = &job["progress"];
        bar.set_position(number(progress, "percent") * PARTS / 100);
        bar.set_message(printable(&message(&job)));
        tokio::time::sleep(LOOK).await;
        job = look_again(connection, id, &bar).await?;
        looks += 1;
        if looks % LOOKS_BETWEEN_TASKS == 0 && list(&job, "workers").is_empty() && text(&job, "state") == "JOB_RUNNING" {
            held_up = some_tasks(connection, id).await.unwrap_or_default();
        }
        job["tasks"].clone_from(&held_up);
    }
    if let Some(shown) = job.as_object_mut() {
        shown.remove("tasks");
    }
    bar.finish_and_clear();
    let completed = text(&job, "state") == "JOB_COMPLETED";
    output::show(&context.output, job, |job| (ending(job), Sheet::new([])));
    Ok(if completed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(ENDED_BADLY)
    })
}

/// The job as it is now, from a cluster that may be away for a while.
async fn look_again(connection: &Connection, id: u64, bar: &ProgressBar) -> anyhow::Result<Json> {
    let until = Instant::now() + OUT_OF_REACH;
    loop {
        match describe(connection, id).await {
            Ok(job) => return Ok(job),
            Err(error) if Instant::now() >= until => {
                bar.finish_and_clear();
                let advice =
                    format!("nothing was heard of job {id} for a while, which may go on; `quorate job watch {id}` watches it again");
                return Err(error.context(advice));
            }
            Err(_) => bar.set_message("the cluster does not answer; trying again"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What stands behind the bar: bytes, and who is at it.
fn message(job: &Json) -> String {
    let progress = &job["progress"];
    let amount = match kind(job) {
        "manifests" => format!("{} of {} segments", number(progress, "rows_done"), number(progress, "rows_total")),
        _ => format!(
            "{} of {}",
            bytes(number(progress, "bytes_done")),
            bytes(number(progress, "bytes_total"))
        ),
    };
    let at_work: Vec<&str> = list(job, "workers").iter().filter_map(Json::as_str).collect();
    // What keeps failing waits as well, and the reason is what its owner can do something about.
    let waiting = list(job, "tasks").iter().filter(|task| text(task, "state") == "TASK_OPEN");
    let reason = waiting.map(|task| text(task, "reason")).find(|reason| !reason.is_empty());
    let who = match (at_work.is_empty(), reason) {
        (false, _) => at_work.join(", "),
        (true, Some(reason)) => format!("to be tried again: {reason}"),
        (true, None) => waiting_for(job),
    };
    format!("{amount}, {who}")
}

/// What a job waits for that nobody works on.
fn waiting_for(job: &Json) -> String {
    match text(job, "waits_for") {
        waits_for if !waits_for.is_empty() => {
            let until = distance(number(job, "deadline_ms"));
            format!("waiting for {waits_for}; these are given up {until}, and the job completes")
        }
        _ => "waiting for a worker".to_owned(),
    }
}

fn kind(job: &Json) -> &'static str {
    match text(job, "kind").as_str() {
        "RESTORE" => "restore",
        "COMPACT_CLONE" => "compaction",
        "MANIFESTS" => "manifests",
        _ => "job",
    }
}

/// Whether a compaction leaves the files where they are.
fn holds_files(job: &Json) -> bool {
    job["holds_files"].as_bool() == Some(true)
}

fn state(job: &Json) -> String {
    text(job, "state").trim_start_matches("JOB_").to_lowercase()
}

fn title(job: &Json) -> String {
    let id = text(job, "job_id");
    match kind(job) {
        "restore" => format!(
            "job {id}, restore of {} into {}",
            text(job, "snapshot_name"),
            text(job, "collection")
        ),
        "compaction" => format!("job {id}, compaction of {}", text(job, "instance_id")),
        "manifests" => format!("job {id}, manifests of {}", text(job, "snapshot_name")),
        _ => format!("job {id}"),
    }
}

fn capitalized_title(job: &Json) -> String {
    title(job).replacen("job", "Job", 1)
}

fn ending(job: &Json) -> String {
    match text(job, "reason") {
        reason if !reason.is_empty() => format!("{} {}: {reason}.", capitalized_title(job), state(job)),
        _ => format!("{} {}: {}.", capitalized_title(job), state(job), done(job)),
    }
}

/// What a job has done: manifests say where files are and copy none, and so do some compactions.
fn done(job: &Json) -> String {
    let progress = &job["progress"];
    match kind(job) {
        "manifests" => format!("{} described", counted(number(progress, "rows_done"), "segment")),
        "compaction" if holds_files(job) => {
            let files = counted(number(progress, "files_done"), "file");
            format!("{files} of its source kept for the clone, none copied")
        }
        _ => format!(
            "{} in {}",
            bytes(number(progress, "bytes_done")),
            counted(number(progress, "files_done"), "file")
        ),
    }
}

fn sheet(shown: &Json) -> (String, Sheet) {
    let progress = &shown["progress"];
    let sentence = match has_ended(shown) {
        true => ending(shown),
        false => format!(
            "{} is {}: {} %, {}; {} of {} tasks done.",
            capitalized_title(shown),
            state(shown),
            number(progress, "percent"),
            message(shown),
            number(progress, "tasks_done"),
            number(progress, "tasks_total")
        ),
    };
    let mut sheet = Sheet::new(["TASK", "STATE", "WORKER", "FILES", "BYTES", "DONE", "FAILED", "REASON"]);
    for task in list(shown, "tasks") {
        sheet.row([
            text(task, "task"),
            text(task, "state").trim_start_matches("TASK_").to_lowercase(),
            text(task, "worker"),
            text(task, "files"),
            bytes(number(task, "bytes")),
            bytes(number(task, "bytes_done")),
            text(task, "attempts"),
            text(task, "reason"),
        ]);
    }
    (sentence, sheet)
}

fn list_sheet(found: &Json) -> (String, Sheet) {
    let found = found.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new([
        "JOB",
        "KIND",
        "STATE",
        "INSTANCE",
        "COLLECTION",
        "PERCENT",
        "BYTES",
        "STARTED",
        "WAITS FOR",
    ]);
    for job in found {
        let collection = match text(job, "collection") {
            collection if collection.is_empty() => String::new(),
            collection => format!("{}.{collection}", text(job, "database")),
        };
        sheet.row([
            text(job, "job_id"),
            kind(job).to_owned(),
            state(job),
            text(job, "instance_id"),
            collection,
            text(&job["progress"], "percent"),
            bytes(number(&job["progress"], "bytes_total")),
            distance(number(job, "created_ms")),
            text(job, "waits_for"),
        ]);
    }
    let active = found.iter().filter(|job| !has_ended(job)).count();
    (format!("{}, {active} of them active.", counted(found.len() as u64, "job")), sheet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        verb: JobVerb,
    }

    #[test]
    fn a_list_asks_for_what_its_filters_say() {
        let asked = |arguments: &[&str]| {
            let line = Line::try_parse_from(["job", "list"].iter().chain(arguments).copied()).unwrap_or_else(|error| panic!("{error}"));
            let JobVerb::List(filter) = line.verb else {
                panic!("it is a list");
            };
            let parameters = filter.parameters().map(|(name, value)| format!("{name}={value}"));
            parameters.join("&")
        };
        assert_eq!(asked(&[]), "instance_id=&database=&collection=&collection_id=&only_active=");
        let all = [
            "--instance",
            "lab",
            "--database",
            "d",
            "--collection",
            "logs",
            "--collection-id",
            "7",
            "--active",
        ];
        assert_eq!(
            asked(&all),
            "instance_id=lab&database=d&collection=logs&collection_id=7&only_active=true"
        );
        assert_eq!(
            asked(&["-c", "logs"]),
            "instance_id=&database=&collection=logs&collection_id=&only_active="
        );
    }

    #[test]
    fn a_job_reads_as_a_sentence_while_it_runs_and_when_it_has_ended() {
        let mut job = json!({
            "job_id": "7", "kind": "RESTORE", "state": "JOB_RUNNING", "snapshot_name": "s", "collection": "c", "workers": ["peer-1"],
            "progress": {"percent": 40, "bytes_done": "1024", "bytes_total": "2048", "tasks_total": "5", "tasks_done": "2", "files_done": "1"}
        });
        let running = "Job 7, restore of s into c is running: 40 %, 1.0 KiB of 2.0 KiB, peer-1; 2 of 5 tasks done.";
        assert_eq!(sheet(&job).0, running);
        job["state"] = json!("JOB_COMPLETED");
        assert_eq!(ending(&job), "Job 7, restore of s into c completed: 1.0 KiB in 1 file.");
        job["state"] = json!("JOB_FAILED");
        job["reason"] = json!("file x is missing");
        assert!(has_ended(&job));
        assert_eq!(ending(&job), "Job 7, restore of s into c failed: file x is missing.");
    }

    #[test]
    fn a_compaction_says_whether_it_copies() {
        let mut job = json!({
            "job_id": "7", "kind": "COMPACT_CLONE", "state": "JOB_COMPLETED", "instance_id": "lab",
            "progress": {"percent": 100, "bytes_done": "1024", "bytes_total": "1024", "files_done": "2"}
        });
        assert_eq!(ending(&job), "Job 7, compaction of lab completed: 1.0 KiB in 2 files.");
        job["holds_files"] = json!(true);
        let kept = "Job 7, compaction of lab completed: 2 files of its source kept for the clone, none copied.";
        assert_eq!(ending(&job), kept);
    }

    #[test]
    fn a_compaction_says_which_manifests_it_waits_for() {
        let mut job = json!({"job_id": "7", "kind": "COMPACT_CLONE", "state": "JOB_RUNNING", "instance_id": "lab", "deadline_ms": "1"});
        assert!(message(&job).ends_with(", waiting for a worker"));
        job["waits_for"] = json!("manifests of snapshot s to be written anew");
        let said = message(&job);
        assert!(
            said.contains(", waiting for manifests of snapshot s to be written anew; these are given up "),
            "{said}"
        );
    }
}
