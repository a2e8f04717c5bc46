//! `quorate cluster`: the compute clusters of an instance.

use crate::confirm::{self, ConfirmArguments};
use crate::context::{Context, caller_of};
use crate::doris::Connection;
use crate::node::NodeArguments;
use crate::output::{self, Sheet, list, text};
use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value as Json, json};

#[derive(Subcommand)]
pub enum ClusterVerb {
    /// List the clusters of an instance.
    List { instance: String },
    /// Show one cluster with its nodes.
    Show { instance: String, id: String },
    /// Add a cluster. One of frontends (sql) must come with its first node.
    Add {
        instance: String,
        id: String,
        /// Name [default: the id].
        #[arg(long)]
        name: Option<String>,
        /// What the cluster's nodes do.
        #[arg(long = "type", value_enum, default_value_t = ClusterType::Compute)]
        cluster_type: ClusterType,
        #[command(flatten)]
        node: Option<NodeArguments>,
    },
    /// Change a cluster's name.
    Rename { instance: String, id: String, name: String },
    /// Change the status of a compute cluster.
    SetStatus {
        instance: String,
        id: String,
        /// Status.
        #[arg(value_parser = ["normal", "suspended", "to_resume", "manual_shutdown"])]
        status: String,
    },
    /// Remove a cluster and its nodes.
    Drop {
        instance: String,
        id: String,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClusterType {
    /// Frontends.
    Sql,
    /// Backends.
    Compute,
}

impl ClusterType {
    pub fn wire_name(self) -> &'static str {
        match self {
            ClusterType::Sql => "SQL",
            ClusterType::Compute => "COMPUTE",
        }
    }
}

/// One cluster as the cluster knows it.
pub async fn read(connection: &Connection, instance: &str, id: &str) -> anyhow::Result<Json> {
    if id.is_empty() {
        bail!("the cluster id is empty; `quorate cluster list {instance}` shows those that exist");
    }
    let body = json!({"cloud_unique_id": caller_of(instance)?, "cluster_id": id});
    Ok(connection.read("get_cluster", &body).await?.result)
}

/// All clusters of an instance; an instance without any is no error here.
pub async fn read_all(connection: &Connection, instance: &str) -> anyhow::Result<Json> {
    let instance = connection.read_query("get_instance", &[("instance_id", instance)]).await?.result;
    Ok(Json::Array(list(&instance, "clusters").to_vec()))
}

pub async fn run(verb: ClusterVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open()?;
    let (route, instance, cluster, sentence) = match verb {
        ClusterVerb::List { instance } => {
            let clusters = read_all(&connection, &instance).await?;
            output::show(&context.output, clusters, |clusters| sheet(&instance, clusters));
            return Ok(());
        }
        ClusterVerb::Show { instance, id } => {
            let cluster = read(&connection, &instance, &id).await?;
            output::show(&context.output, cluster, |cluster| {
                let sentence = format!("Cluster {id} of instance {instance} is {}.", status(cluster));
                (sentence, crate::node::sheet([cluster]))
            });
            return Ok(());
        }
        ClusterVerb::Add {
            instance,
            id,
            name,
            cluster_type,
            node,
        } => {
            let nodes: Vec<Json> = node.iter().map(|node| node.message(cluster_type)).collect();
            let name = name.unwrap_or_else(|| id.clone());
            let cluster = json!({"cluster_id": id, "cluster_name": name, "type": cluster_type.wire_name(), "nodes": nodes});
            ("add_cluster", instance, cluster, format!("cluster {id} added"))
        }
        ClusterVerb::Rename { instance, id, name } => {
            let cluster = json!({"cluster_id": id, "cluster_name": name});
            ("rename_cluster", instance, cluster, format!("cluster {id} renamed to {name}"))
        }
        ClusterVerb::SetStatus { instance, id, status } => {
            let cluster = json!({"cluster_id": id, "cluster_status": status.to_ascii_uppercase()});
            ("set_cluster_status", instance, cluster, format!("cluster {id} is {status}"))
        }
        ClusterVerb::Drop { instance, id, confirm } => {
            let cluster = read(&connection, &instance, &id).await?;
            let what = format!(
                "This removes {} cluster {id} (name {:?}, {}) with {} nodes from instance {instance}.",
                text(&cluster, "type"),
                text(&cluster, "cluster_name"),
                status(&cluster),
                list(&cluster, "nodes").len()
            );
            let body = json!({"instance_id": instance, "cluster": {"cluster_id": id}});
            let change = connection.writing("drop_cluster", &body);
            let answer = confirm::change(&connection, &confirm, &what, change).await?;
            output::done(&context.output, &format!("cluster {id} dropped"), &answer);
            return Ok(());
        }
    };
    let body = json!({"instance_id": instance, "cluster": cluster});
    let answer = connection.write(route, &body).await?;
    output::done(&context.output, &sentence, &answer);
    Ok(())
}

/// A cluster of frontends has no status.
fn status(cluster: &Json) -> String {
    match text(cluster, "cluster_status") {
        status if status.is_empty() => "in use".to_owned(),
        status => status,
    }
}

fn sheet(instance: &str, clusters: &Json) -> (String, Sheet) {
    let clusters = clusters.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new(["ID", "NAME", "TYPE", "STATUS", "NODES"]);
    for cluster in clusters {
        sheet.row([
            text(cluster, "cluster_id"),
            text(cluster, "cluster_name"),
            text(cluster, "type"),
            status(cluster),
            list(cluster, "nodes").len().to_string(),
        ]);
    }
    (format!("Instance {instance} has {} clusters.", clusters.len()), sheet)
}
