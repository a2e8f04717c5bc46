//! The command line.

use crate::driver::System;
use crate::instances::Shape;
use crate::workload::Workload;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Load generator for Quorate and etcd.
#[derive(Debug, Parser)]
#[command(name = "quorate-bench", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Load a cluster that is already running.
    Run(RunArguments),
    /// Start three peers of each system on this machine and compare them.
    Compare(CompareArguments),
    /// Start three peers of Quorate, fill them with instances, clusters and nodes, and measure the calls of Doris.
    Instances(InstancesArguments),
    /// Start three peers of Quorate and measure snapshots and jobs, copies beside `cp`.
    Jobs(JobsArguments),
    /// Start three peers of Quorate and measure writes, reads, memory and disk while the number of records grows.
    Growth(GrowthArguments),
}

/// Sizes that `growth` measures unless told otherwise.
const GROWTH_RECORDS: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

#[derive(Debug, Args)]
pub struct RunArguments {
    /// What runs at the endpoints.
    #[arg(long)]
    pub system: System,
    /// Public addresses of the peers, host:port, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    pub endpoints: Vec<String>,
    #[arg(long)]
    pub workload: Workload,
    /// Clients in the closed loop, over 16 connections. Of the mixed workload: readers; writers come on top, one for four.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// All connections go to the leader; otherwise they are spread over the endpoints.
    #[arg(long)]
    pub leader_only: bool,
    /// Measured seconds of a run.
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// Pids of the servers, separated by commas, to show their CPU time per operation.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Token of a Quorate cluster: its instance "bench" is made if it is not there.
    #[arg(long, env = "QUORATE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Write the result as JSON to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CompareArguments {
    /// The `quorate` binary.
    #[arg(long)]
    pub quorate_bin: Option<PathBuf>,
    /// The `etcd` binary.
    #[arg(long)]
    pub etcd_bin: Option<PathBuf>,
    /// Directory for data and logs; must be empty or absent. Both systems must be on the same disk.
    #[arg(long)]
    pub dir: PathBuf,
    /// A few seconds per workload: shows that everything works, not how fast it is.
    #[arg(long)]
    pub quick: bool,
    /// Measured seconds of a run [default: 30, 2 with --quick].
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Runs of each workload; the median is shown [default: 3, 1 with --quick].
    #[arg(long)]
    pub runs: Option<usize>,
    /// Times the leader is killed [default: 50, 3 with --quick].
    #[arg(long)]
    pub kills: Option<usize>,
    /// Times the leader hands over [default: as --kills].
    #[arg(long)]
    pub transfers: Option<usize>,
    /// Records of the recovery workload [default: 1000000, 20000 with --quick].
    #[arg(long)]
    pub records: Option<u64>,
    /// Where the JSON goes [default: DIR/result.json].
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InstancesArguments {
    /// The `quorate` binary.
    #[arg(long)]
    pub quorate_bin: PathBuf,
    /// Directory for data and logs; must be empty or absent.
    #[arg(long)]
    pub dir: PathBuf,
    #[arg(long, default_value_t = 10_000)]
    pub instances: u64,
    /// Clusters of each instance.
    #[arg(long, default_value_t = 10)]
    pub clusters: u64,
    /// Nodes of each cluster.
    #[arg(long, default_value_t = 20)]
    pub nodes: u64,
    /// Clients that fill, each over a connection of its own.
    #[arg(long, default_value_t = 32)]
    pub writers: u64,
    /// Clients that ask for clusters, each over a connection of its own.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Measured seconds.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Write the result as JSON to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct JobsArguments {
    /// The `quorate` binary.
    #[arg(long)]
    pub quorate_bin: PathBuf,
    /// Directory for data, files and logs; must be empty or absent. 42 GiB at the defaults.
    #[arg(long)]
    pub dir: PathBuf,
    /// Files of 64 KiB.
    #[arg(long, default_value_t = 10_000)]
    pub small_files: u64,
    /// Files of 256 MiB.
    #[arg(long, default_value_t = 20)]
    pub large_files: u64,
    /// Segments of the large collection.
    #[arg(long, default_value_t = 1_000_000)]
    pub segments: u64,
    /// Copies by cp, by a restore, and by one that reads nothing back, in turn.
    #[arg(long, default_value_t = 2)]
    pub runs: usize,
    /// Write the result as JSON to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct GrowthArguments {
    /// The `quorate` binary.
    #[arg(long)]
    pub quorate_bin: PathBuf,
    /// Directory for data and logs; must be empty or absent. Tens of GiB at the defaults.
    #[arg(long)]
    pub dir: PathBuf,
    /// Numbers of records, separated by commas, each larger than the one before.
    #[arg(long, value_delimiter = ',', default_values_t = GROWTH_RECORDS)]
    pub records: Vec<u64>,
    /// Measured seconds of the writes, and of the reads, at each size.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Write the result as JSON to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl InstancesArguments {
    pub fn shape(&self) -> Shape {
        Shape {
            instances: self.instances,
            clusters: self.clusters,
            nodes: self.nodes,
        }
    }
}

/// Sizes of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Sizes {
    pub seconds: f64,
    pub runs: usize,
    pub kills: usize,
    pub transfers: usize,
    pub records: u64,
}

impl CompareArguments {
    pub fn sizes(&self) -> Sizes {
        let whole = Sizes {
            seconds: 30.0,
            runs: 3,
            kills: 50,
            transfers: 50,
            records: 1_000_000,
        };
        let quick = Sizes {
            seconds: 2.0,
            runs: 1,
            kills: 3,
            transfers: 3,
            records: 20_000,
        };
        let default = if self.quick { quick } else { whole };
        Sizes {
            seconds: self.seconds.unwrap_or(default.seconds),
            runs: self.runs.unwrap_or(default.runs),
            kills: self.kills.unwrap_or(default.kills),
            transfers: self.transfers.or(self.kills).unwrap_or(default.transfers),
            records: self.records.unwrap_or(default.records),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    fn sizes(options: &[&str]) -> Sizes {
        let given = Arguments::parse_from([&["quorate-bench", "compare", "--dir", "d"][..], options].concat());
        let Verb::Compare(compare) = given.verb else {
            panic!("compare was asked for")
        };
        compare.sizes()
    }

    #[test]
    fn a_size_given_wins_over_quick() {
        assert_eq!(
            sizes(&["--quick", "--runs", "5"]),
            Sizes {
                seconds: 2.0,
                runs: 5,
                kills: 3,
                transfers: 3,
                records: 20_000
            }
        );
    }

    #[test]
    fn there_are_as_many_transfers_as_kills_unless_told_otherwise() {
        assert_eq!(sizes(&[]).transfers, sizes(&[]).kills);
        assert_eq!(sizes(&["--quick", "--kills", "7"]).transfers, 7);
        let both = sizes(&["--kills", "7", "--transfers", "2"]);
        assert_eq!((both.kills, both.transfers), (7, 2));
    }

    #[test]
    fn growth_has_its_own_sizes_or_those_that_are_given() {
        let records = |options: &[&str]| {
            let given = Arguments::parse_from([&["quorate-bench", "growth", "--quorate-bin", "q", "--dir", "d"][..], options].concat());
            let Verb::Growth(growth) = given.verb else {
                panic!("growth was asked for")
            };
            growth.records
        };
        assert_eq!(records(&[]), GROWTH_RECORDS);
        assert_eq!(records(&["--records", "10,200"]), [10, 200]);
    }
}
