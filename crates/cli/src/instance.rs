//! `quorate instance`: warehouses.

use crate::amounts::{counted, number};
use crate::api::{path, posting};
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::doris::Connection;
use crate::job;
use crate::names;
use crate::output::{self, Sheet, list, text};
use crate::snapshot;
use crate::store::StoreArguments;
use clap::{Subcommand, ValueEnum};
use quorate_wire::quorate::v1::ListInstancesRequest;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use serde_json::{Value as Json, json};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum InstanceVerb {
    /// Create an instance. Without an object store it keeps its data in vaults (see `quorate vault`).
    Create {
        id: String,
        /// Name people know it by.
        #[arg(long, default_value = "")]
        name: String,
        /// Owner.
        #[arg(long, default_value = "")]
        user_id: String,
        #[command(flatten)]
        store: Box<StoreArguments>,
    },
    /// List instances by id, with their status and how many clusters they have.
    List {
        /// Only those whose id begins with this.
        #[arg(long, default_value = "")]
        prefix: String,
        /// Also those that are dropped and not gone yet: their ids are not free.
        #[arg(long)]
        all: bool,
    },
    /// Show an instance with its clusters, object stores and vaults.
    Show { id: String },
    /// Change an instance's name.
    Rename { id: String, name: String },
    /// Mark an instance as paid (normal) or overdue.
    SetStatus { id: String, status: Status },
    /// Make an instance of a snapshot of another one, without copying anything. A writable one may have an object store of its own, for
    /// its new files and for what its compaction copies; else it has the stores of its source.
    Clone {
        /// The source.
        id: String,
        /// A snapshot of the source: its id, or its name, as `quorate snapshot list` shows them.
        #[arg(long)]
        snapshot: String,
        /// Id of the new instance.
        new_id: String,
        #[arg(long, value_enum, default_value_t = CloneKind::Writable)]
        kind: CloneKind,
        /// Name people know it by.
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        store: Box<StoreArguments>,
    },
    /// Make what a clone inherits its own, so that it can be cut from its source.
    Compact {
        id: String,
        /// Go on using the source's files instead of copying them; they are kept for as long as the clone needs them. A clone without a
        /// store of its own does so unless told otherwise.
        #[arg(long)]
        keep_files: bool,
        /// Copy the source's files. A clone with a store of its own does so unless told otherwise.
        #[arg(long, conflicts_with = "keep_files")]
        copy_files: bool,
        /// Watch it until it has ended; the exit code is its outcome.
        #[arg(long)]
        wait: bool,
        /// Say whether the cluster would do it, or why not, and change nothing.
        #[arg(long, conflicts_with = "wait")]
        dry_run: bool,
    },
    /// Cut a compacted clone from its source, whose snapshot may be dropped afterwards.
    Decouple {
        id: String,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
    /// Drop an instance without clusters. There is no way back. When nobody reads through it any more and its files are deleted, its record
    /// goes, with its keys, and its id is free: `quorate instance list --all` shows it until then, `quorate gc plan` what it waits for.
    Drop {
        id: String,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Status {
    Normal,
    Overdue,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum CloneKind {
    ReadOnly,
    Writable,
    Rollback,
}

impl CloneKind {
    fn name(self) -> &'static str {
        match self {
            CloneKind::ReadOnly => "READ_ONLY",
            CloneKind::Writable => "WRITABLE",
            CloneKind::Rollback => "ROLLBACK",
        }
    }
}

/// Verbs about clones, which are calls of the API; the others come back.
async fn run_clone_verb(verb: InstanceVerb, context: &Context) -> anyhow::Result<Result<ExitCode, InstanceVerb>> {
    let connection = context.open_with_token_if_any()?;
    let of = |id: &str, what: &str| path(&["instances", id, what]);
    match verb {
        InstanceVerb::Clone {
            id,
            snapshot,
            new_id,
            kind,
            name,
            store,
        } => {
            let snapshot = snapshot::id_of(&connection, &id, &snapshot).await?;
            let mut body = json!({"snapshot_id": snapshot, "new_instance_id": new_id, "kind": kind.name(), "name": name});
            if let Some(store) = store.message()? {
                anyhow::ensure!(
                    store.get("role_arn").is_none(),
                    "a clone's own store is opened with keys, not with a role: give --ak and --sk-file"
                );
                body["obj_info"] = store;
            }
            let answer = connection.anew().post(&of(&id, "clone"), &body).await?;
            output::done(&context.output, &format!("instance {new_id} is a clone of {id}"), &answer);
        }
        InstanceVerb::Compact {
            id,
            keep_files,
            copy_files,
            wait,
            dry_run,
        } => {
            // Where neither is said, the clone's stores decide.
            let body = if keep_files || copy_files {
                json!({"keep_files": keep_files})
            } else {
                json!({})
            };
            let change = posting(&of(&id, "compact"), &body);
            if dry_run {
                let answer = confirm::preview(&connection, change).await?;
                output::done(&context.output, &format!("compaction of {id}"), &answer);
                return Ok(Ok(ExitCode::SUCCESS));
            }
            let answer = connection.perform(&change).await?;
            return Ok(Ok(job::show_or_wait(&connection, context, answer.result, wait).await?));
        }
        InstanceVerb::Decouple { id, confirm } => {
            let what = format!("This cuts clone {id} from its source. There is no way back.");
            let change = posting(&of(&id, "decouple"), &json!({}));
            let answer = confirm::change(&connection, &confirm, &what, change).await?;
            let files = match answer.result["holds_files"].as_bool() {
                Some(true) => "; it goes on using files of its former source, which are kept",
                _ => "",
            };
            output::done(&context.output, &format!("instance {id} is cut from its source{files}"), &answer);
        }
        other => return Ok(Err(other)),
    }
    Ok(Ok(ExitCode::SUCCESS))
}

pub async fn run(verb: InstanceVerb, context: &Context) -> anyhow::Result<ExitCode> {
    match run_clone_verb(verb, context).await? {
        Ok(code) => Ok(code),
        Err(other) => run_doris_verb(other, context).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn run_doris_verb(verb: InstanceVerb, context: &Context) -> anyhow::Result<()> {
    // Lists are a native call, which needs no token on loopback.
    let connection = match verb {
        InstanceVerb::List { .. } => context.open_with_token_if_any()?,
        _ => context.open()?,
    };
    let (route, body, sentence) = match verb {
        InstanceVerb::List { prefix, all } => {
            let instances = listed(&connection, &prefix, all).await?;
            output::show(&context.output, Json::Array(instances), list_sheet);
            return Ok(());
        }
        InstanceVerb::Show { id } => {
            let mut shown = connection.read_query("get_instance", &[("instance_id", &id)]).await?.result;
            // Doris's message forgets a clone's source when it is cut from it; the list knows whose files it still uses.
            let summaries = listed(&connection.anew(), &id, true).await?;
            let summary = summaries.into_iter().find(|summary| text(summary, "instance_id") == id);
            if let Some(clone) = summary.map(|mut summary| summary["clone"].take()).filter(Json::is_object) {
                shown["clone"] = clone;
            }
            output::show(&context.output, shown, sheet);
            return Ok(());
        }
        InstanceVerb::Create { id, name, user_id, store } => {
            let mut body = json!({"instance_id": id, "name": name, "user_id": user_id});
            if let Some(mut store) = store.message()? {
                if store["external_endpoint"].is_null() {
                    store["external_endpoint"] = store["endpoint"].clone();
                }
                body["obj_info"] = store;
            }
            let created = connection.write("create_instance", &body).await;
            if created.is_err() && is_dropped(&connection.anew(), &id).await? {
                anyhow::bail!(
                    "an instance {id} was dropped and is not gone yet: its id is free when its files are; `quorate gc plan` says when, \
                     `quorate instance list --all` shows it until then"
                );
            }
            output::done(&context.output, &format!("instance {id} created"), &created?);
            return Ok(());
        }
        InstanceVerb::Rename { id, name } => {
            let sentence = format!("instance {id} renamed to {name}");
            ("rename_instance", json!({"instance_id": id, "name": name}), sentence)
        }
        InstanceVerb::SetStatus { id, status } => {
            let (operation, word) = match status {
                Status::Normal => ("SET_NORMAL", "normal"),
                Status::Overdue => ("SET_OVERDUE", "overdue"),
            };
            let body = json!({"instance_id": id, "op": operation});
            ("set_instance_status", body, format!("instance {id} is {word}"))
        }
        InstanceVerb::Drop { id, confirm } => {
            let shown = connection.read_query("get_instance", &[("instance_id", &id)]).await?.result;
            let contents = contents(&connection, &id).await?;
            let change = connection.writing("drop_instance", &json!({"instance_id": id}));
            let answer = confirm::change(&connection, &confirm, &what_goes(&id, &shown, &contents), change).await?;
            output::done(&context.output, &format!("instance {id} dropped"), &answer);
            return Ok(());
        }
        InstanceVerb::Clone { .. } | InstanceVerb::Compact { .. } | InstanceVerb::Decouple { .. } => return Ok(()),
    };
    let answer = connection.write(route, &body).await?;
    output::done(&context.output, &sentence, &answer);
    Ok(())
}

/// Whether there is an instance that was dropped and is still to be collected.
async fn is_dropped(connection: &Connection, id: &str) -> anyhow::Result<bool> {
    let found = listed(connection, id, true).await?;
    Ok(found
        .iter()
        .any(|instance| text(instance, "instance_id") == id && text(instance, "status") == "DROPPED"))
}

/// All pages of the list.
async fn listed(connection: &Connection, prefix: &str, include_dropped: bool) -> anyhow::Result<Vec<Json>> {
    let mut instances = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = async |channel| {
            let request = connection.native_request(ListInstancesRequest {
                prefix: prefix.to_owned(),
                include_dropped,
                page_token: page_token.clone(),
                ..ListInstancesRequest::default()
            })?;
            MetadataClient::new(channel).list_instances(request).await
        };
        let page = connection.native("list the instances", list).await?;
        instances.extend(page.instances.iter().map(output::whole));
        if page.next_page_token.is_empty() {
            return Ok(instances);
        }
        page_token = page.next_page_token;
    }
}

fn list_sheet(shown: &Json) -> (String, Sheet) {
    let instances = shown.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new(["INSTANCE", "NAME", "STATUS", "CLUSTERS"]);
    for instance in instances {
        sheet.row(["instance_id", "name", "status", "clusters"].map(|column| text(instance, column)));
    }
    let sentence = match instances.len() {
        0 => "There are no instances.".to_owned(),
        1 => "There is 1 instance.".to_owned(),
        count => format!("There are {count} instances."),
    };
    (sentence, sheet)
}

/// What an instance holds, for who is about to drop it.
async fn contents(connection: &Connection, id: &str) -> anyhow::Result<String> {
    let mut collections = 0;
    for database in connection.anew().all(&names::databases(id), &[], "databases").await? {
        let of_database = names::collections(id, &text(&database, "name"));
        collections += connection.anew().all(&of_database, &[], "collections").await?.len();
    }
    let snapshots = connection
        .anew()
        .all(&path(&["instances", id, "snapshots"]), &[], "snapshots")
        .await?;
    let running = [("instance_id", id.to_owned()), ("only_active", "true".to_owned())];
    let jobs = connection.anew().all(&path(&["jobs"]), &running, "jobs").await?;
    Ok(format!(
        "{}, {} and {}",
        counted(collections as u64, "collection"),
        counted(snapshots.len() as u64, "snapshot"),
        counted(jobs.len() as u64, "running job")
    ))
}

fn what_goes(id: &str, shown: &Json, contents: &str) -> String {
    format!(
        "This drops instance {id} (name {:?}, status {}) with {} object stores, {} vaults, {} clusters, {contents}. There is no way back.",
        text(shown, "name"),
        text(shown, "status"),
        list(shown, "obj_info").len(),
        list(shown, "storage_vault_names").len(),
        list(shown, "clusters").len(),
    )
}

fn sheet(shown: &Json) -> (String, Sheet) {
    let sentence = format!("Instance {} is {}.", text(shown, "instance_id"), text(shown, "status"));
    let mut sheet = Sheet::new(["WHAT", "NAME", "FACTS"]);
    sheet.row([
        "instance".to_owned(),
        text(shown, "name"),
        format!("owner {:?}", text(shown, "user_id")),
    ]);
    if shown["clone"].is_object() {
        let clone = &shown["clone"];
        sheet.row(["clone of".to_owned(), text(clone, "source_instance_id"), clone_facts(clone)]);
    }
    for cluster in list(shown, "clusters") {
        let facts = format!(
            "{} {}, {} nodes",
            text(cluster, "type"),
            text(cluster, "cluster_status"),
            list(cluster, "nodes").len()
        );
        sheet.row(["cluster".to_owned(), text(cluster, "cluster_name"), facts]);
    }
    for store in list(shown, "obj_info") {
        let facts = format!("{} {}/{}", text(store, "provider"), text(store, "bucket"), text(store, "prefix"));
        sheet.row(["object store".to_owned(), text(store, "id"), facts]);
    }
    for vault in list(shown, "storage_vault_names") {
        let name = vault.as_str().unwrap_or_default().to_owned();
        let is_default = !name.is_empty() && name == text(shown, "default_storage_vault_name");
        sheet.row(["vault".to_owned(), name, if is_default { "default" } else { "" }.to_owned()]);
    }
    (sentence, sheet)
}

/// How far a clone is on its way from its source.
fn clone_facts(clone: &Json) -> String {
    let is = |name: &str| clone[name].as_bool() == Some(true);
    let snapshot = text(clone, "source_snapshot_id");
    let files = if is("holds_files") {
        ", goes on using its source's files"
    } else {
        ""
    };
    let state = match (is("compacted"), is("decoupled"), number(clone, "compaction_job")) {
        (_, true, _) => "decoupled".to_owned(),
        (true, false, _) => "compacted, can be decoupled".to_owned(),
        (false, false, 0) => "reads through it".to_owned(),
        (false, false, job) => format!("reads through it; job {job} was started to compact it"),
    };
    format!("snapshot {snapshot}, {state}{files}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_says_of_what_it_is_one_and_how_far_it_has_come() {
        let mut clone = json!({"source_instance_id": "a", "source_snapshot_id": "0a", "compaction_job": "0"});
        assert_eq!(clone_facts(&clone), "snapshot 0a, reads through it");
        clone["compaction_job"] = json!("7");
        assert_eq!(
            clone_facts(&clone),
            "snapshot 0a, reads through it; job 7 was started to compact it"
        );
        clone["compacted"] = json!(true);
        clone["holds_files"] = json!(true);
        assert_eq!(
            clone_facts(&clone),
            "snapshot 0a, compacted, can be decoupled, goes on using its source's files"
        );
        clone["decoupled"] = json!(true);
        assert_eq!(clone_facts(&clone), "snapshot 0a, decoupled, goes on using its source's files");
    }
}
