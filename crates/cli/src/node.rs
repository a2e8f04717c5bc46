//! `quorate node`: the frontends and backends of a cluster.

use crate::cluster::{self, ClusterType};
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::output::{self, Sheet, list, text};
use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value as Json, json};

#[derive(Subcommand)]
pub enum NodeVerb {
    /// List the nodes of an instance, or of one of its clusters.
    List {
        instance: String,
        /// Only this cluster's.
        #[arg(long)]
        cluster: Option<String>,
    },
    /// Add a node to a cluster.
    Add {
        instance: String,
        /// Id of the cluster.
        cluster: String,
        #[command(flatten)]
        node: NodeArguments,
    },
    /// Remove a node from a cluster.
    Drop {
        instance: String,
        /// Id of the cluster.
        cluster: String,
        #[command(flatten)]
        node: NodeArguments,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

#[derive(Clone, Args)]
pub struct NodeArguments {
    /// The node's cloud_unique_id.
    #[arg(long)]
    node_id: String,
    /// IP address of the node.
    #[arg(long)]
    ip: String,
    /// Heartbeat port of a backend, edit log port of a frontend.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// What a frontend is.
    #[arg(long, value_enum, default_value_t = FrontendRole::Master)]
    role: FrontendRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FrontendRole {
    Master,
    Follower,
    Observer,
}

impl NodeArguments {
    /// Doris's message of a node of such a cluster.
    pub fn message(&self, cluster_type: ClusterType) -> Json {
        let mut node = json!({"cloud_unique_id": self.node_id, "ip": self.ip});
        match cluster_type {
            ClusterType::Compute => node["heartbeat_port"] = json!(self.port),
            ClusterType::Sql => {
                node["edit_log_port"] = json!(self.port);
                node["node_type"] = json!(match self.role {
                    FrontendRole::Master => "FE_MASTER",
                    FrontendRole::Follower => "FE_FOLLOWER",
                    FrontendRole::Observer => "FE_OBSERVER",
                });
            }
        }
        node
    }
}

pub async fn run(verb: NodeVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open()?;
    let (instance, cluster_id, node, confirm) = match verb {
        NodeVerb::List { instance, cluster } => {
            let clusters = match &cluster {
                Some(id) => json!([cluster::read(&connection, &instance, id).await?]),
                None => cluster::read_all(&connection, &instance).await?,
            };
            output::show(&context.output, clusters, |clusters| {
                let clusters = clusters.as_array().map_or(&[][..], Vec::as_slice);
                let nodes: usize = clusters.iter().map(|cluster| list(cluster, "nodes").len()).sum();
                (format!("Instance {instance} has {nodes} nodes here."), sheet(clusters))
            });
            return Ok(());
        }
        NodeVerb::Add { instance, cluster, node } => (instance, cluster, node, None),
        NodeVerb::Drop {
            instance,
            cluster,
            node,
            confirm,
        } => (instance, cluster, node, Some(confirm)),
    };
    let cluster = cluster::read(&connection, &instance, &cluster_id).await?;
    let cluster_type = match text(&cluster, "type").as_str() {
        "SQL" => ClusterType::Sql,
        "COMPUTE" => ClusterType::Compute,
        other => bail!("cluster {cluster_id} is of type {other}, which has no nodes of its own"),
    };
    let given = json!({
        "cluster_id": cluster_id, "cluster_name": text(&cluster, "cluster_name"), "type": cluster_type.wire_name(),
        "nodes": [node.message(cluster_type)]
    });
    let body = json!({"instance_id": instance, "cluster": given});
    let (answer, word) = match confirm {
        None => (connection.write("add_node", &body).await?, "added"),
        Some(confirm) => {
            let what = format!(
                "This removes node {} at {}:{} from cluster {cluster_id} of instance {instance}, which has {} nodes.",
                node.node_id,
                node.ip,
                node.port,
                list(&cluster, "nodes").len()
            );
            let change = connection.writing("drop_node", &body);
            (confirm::change(&connection, &confirm, &what, change).await?, "dropped")
        }
    };
    output::done(&context.output, &format!("node {} {word}", node.node_id), &answer);
    Ok(())
}

/// The nodes of some clusters.
pub fn sheet<'a>(clusters: impl IntoIterator<Item = &'a Json>) -> Sheet {
    let mut sheet = Sheet::new(["CLUSTER", "NODE", "ADDRESS", "KIND", "STATUS"]);
    for cluster in clusters {
        for node in list(cluster, "nodes") {
            let host = match text(node, "host") {
                host if host.is_empty() => text(node, "ip"),
                host => host,
            };
            let ports = [text(node, "heartbeat_port"), text(node, "edit_log_port")];
            let port = ports.iter().find(|port| !port.is_empty()).cloned().unwrap_or_default();
            sheet.row([
                text(cluster, "cluster_id"),
                text(node, "cloud_unique_id"),
                format!("{host}:{port}"),
                text(node, "node_type"),
                text(node, "status").trim_start_matches("NODE_STATUS_").to_owned(),
            ]);
        }
    }
    sheet
}
