//! The workloads: what one operation is, who does how many of them, and which peers they go to.

use clap::ValueEnum;
use serde::Serialize;

/// Keys of the closed-loop workloads; all are written before the first run, so that every read finds one.
pub const KEYS: u64 = 10_000;
/// Connections that clients share.
pub const CONNECTIONS: usize = 16;
/// The Quorate instance the load goes to.
pub const INSTANCE: &str = "bench";

/// One operation.
///
/// | operation | Quorate | etcd |
/// |---|---|---|
/// | put | `PutAttribute` without a session: record, index entry and retry record | `Put` of one key |
/// | txn | the same call | `Txn` that puts the record and an index entry |
/// | get | `GetAttribute`, linearizable | `Range`, linearizable |
/// | get-stale | `GetAttribute`, stale | `Range`, serializable |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    Put,
    Txn,
    Get,
    GetStale,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Txn => "txn",
            Operation::Get => "get",
            Operation::GetStale => "get-stale",
        }
    }
}

/// A workload by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Small writes.
    Put,
    /// Small writes; in etcd a transaction of two keys.
    Txn,
    /// Linearizable reads.
    Get,
    /// Reads of whatever the peer has applied.
    GetStale,
    /// Linearizable reads beside one writer for every four readers.
    Mixed,
}

/// Clients that do the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub operation: Operation,
    pub clients: usize,
}

/// Which peers the connections go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Spread,
    Leader,
}

impl Workload {
    /// Who does what. `clients` counts the readers of the mixed workload.
    pub fn groups(self, clients: usize) -> Vec<Group> {
        let one = |operation| vec![Group { operation, clients }];
        match self {
            Workload::Put => one(Operation::Put),
            Workload::Txn => one(Operation::Txn),
            Workload::Get => one(Operation::Get),
            Workload::GetStale => one(Operation::GetStale),
            Workload::Mixed => vec![
                Group {
                    operation: Operation::Put,
                    clients: clients.div_ceil(4),
                },
                Group {
                    operation: Operation::Get,
                    clients,
                },
            ],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Workload::Put => "put",
            Workload::Txn => "txn",
            Workload::Get => "get",
            Workload::GetStale => "get-stale",
            Workload::Mixed => "mixed",
        }
    }
}

/// A workload with its size: one row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub workload: Workload,
    pub clients: usize,
    pub target: Target,
}

impl Cell {
    pub fn name(&self) -> String {
        let target = match self.target {
            Target::Spread => "spread",
            Target::Leader => "leader",
        };
        format!("{} {} {target}", self.workload.name(), self.clients)
    }
}

/// The rows of the comparison.
pub const CELLS: &[Cell] = &[
    Cell {
        workload: Workload::Put,
        clients: 1,
        target: Target::Spread,
    },
    Cell {
        workload: Workload::Put,
        clients: 1,
        target: Target::Leader,
    },
    Cell {
        workload: Workload::Put,
        clients: 16,
        target: Target::Spread,
    },
    Cell {
        workload: Workload::Put,
        clients: 16,
        target: Target::Leader,
    },
    Cell {
        workload: Workload::Put,
        clients: 64,
        target: Target::Spread,
    },
    Cell {
        workload: Workload::Put,
        clients: 64,
        target: Target::Leader,
    },
    Cell {
        workload: Workload::Put,
        clients: 256,
        target: Target::Spread,
    },
    Cell {
        workload: Workload::Txn,
        clients: 64,
        target: Target::Spread,
    },
    Cell {
        workload: Workload::Get,
        clients: 1,
        target: Target::Leader,
    },
    Cell {
        workload: Workload::Get,
        clients: 64,
        target: Target::Leader,
    },
    Cell {
        workload: Workload::Get,
        clients: 64,
        target: Target::Spread,
    },
    Cell {
        workload: Workload::GetStale,
        clients: 64,
        target: Target::Spread,
    },
    Cell {
        workload: Workload::Mixed,
        clients: 64,
        target: Target::Spread,
    },
];

/// The key with this number.
pub fn key(number: u64) -> String {
    format!("k{number:08}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixed_workload_has_sixteen_writers_beside_sixty_four_readers() {
        let groups = Workload::Mixed.groups(64);
        assert_eq!(
            groups[0],
            Group {
                operation: Operation::Put,
                clients: 16
            }
        );
        assert_eq!(
            groups[1],
            Group {
                operation: Operation::Get,
                clients: 64
            }
        );
    }

    #[test]
    fn puts_are_measured_at_one_sixteen_sixty_four_and_256_clients() {
        let puts = |target: Target| {
            CELLS
                .iter()
                .filter(move |cell| cell.workload == Workload::Put && cell.target == target)
        };
        let clients = |target: Target| puts(target).map(|cell| cell.clients).collect::<Vec<usize>>();
        assert_eq!(clients(Target::Spread), [1, 16, 64, 256]);
        assert_eq!(clients(Target::Leader), [1, 16, 64]);
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let mut names: Vec<String> = CELLS.iter().map(Cell::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), CELLS.len());
    }
}
