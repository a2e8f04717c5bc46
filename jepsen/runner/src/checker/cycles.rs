//! The cycle checker of list-append histories: strict serializability from values and real time alone.
//!
//! Every value is appended once, so a list that was read tells the order of its appends, and which transaction each is of.
//! From that follow edges: *ww* (appended before), *wr* (read what the other appended), *rw* (read before the other appended),
//! *rt* (ended before the other began). Transactions that are on a cycle of such edges cannot be put in one order:
//!
//! ```text
//! G0        ww only          G1c       ww, wr           G-single  one rw, else ww, wr           G2   several rw
//! ...-realtime: the same with an rt among them
//! ```
//! An append that was acknowledged and is in no list comes behind the longest list that was read: lists only grow.

use super::graph::{Edge, Graph};
use crate::history::{Kind, Op};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap, HashSet};

const NAME: &str = "list-append-cycles";

type Key = u64;
type Value = u64;

/// A transaction that happened, or may have.
struct Transaction<'a> {
    operation: Operation<'a>,
    appends: Vec<(Key, Value)>,
    /// In the state before or behind its own appends, as the micro-operations stand.
    reads: Vec<(Key, Vec<Value>)>,
}

/// What the lists that were read say together.
#[derive(Default)]
struct Lists {
    longest: BTreeMap<Key, Vec<Value>>,
    /// By key and value: position of the transaction that appended it.
    writers: HashMap<(Key, Value), usize>,
}

type Broken = (u64, String);

pub fn check(history: &[Op]) -> Verdict {
    let all = transactions(history);
    if all.is_empty() {
        return Verdict::unknown(NAME, "there was nothing to check");
    }
    let lists = match lists(&all, history) {
        Ok(lists) => lists,
        Err((index, what)) => return Verdict::invalid(NAME, Some(index), what),
    };
    let graph = graph(&all, &lists, history);
    if let Some(cycle) = graph.worst_cycle() {
        let first = cycle.nodes.iter().map(|node| all[*node].operation.from()).min();
        let steps: Vec<String> = cycle
            .steps()
            .map(|(node, edge)| format!("{} -{}->", all[node].operation.name(), edge.name()))
            .collect();
        return Verdict::invalid(NAME, first, format!("{}: {}", cycle.class(), steps.join(" ")));
    }
    let values: usize = lists.longest.values().map(Vec::len).sum();
    let what = format!(
        "{} transactions that appended {values} values to {} lists have one order that keeps real time",
        all.len(),
        lists.longest.len()
    );
    Verdict::valid(NAME, what).with(json!({"transactions": all.len(), "values": values, "edges": graph.edges()}))
}

/// Those that were acknowledged, and those without an answer: only what is seen of them counts.
fn transactions(history: &[Op]) -> Vec<Transaction<'_>> {
    let counts = |operation: &Operation<'_>| operation.f() == "txn" && operation.kind() != Kind::Fail;
    operations(history).into_iter().filter(counts).map(transaction).collect()
}

fn transaction(operation: Operation<'_>) -> Transaction<'_> {
    let micro_operations = operation.output().unwrap_or(operation.input()).as_array();
    let (mut appends, mut reads) = (Vec::new(), Vec::new());
    for micro_operation in micro_operations.into_iter().flatten() {
        let (f, key, value) = (
            micro_operation[0].as_str(),
            micro_operation[1].as_u64().unwrap_or(u64::MAX),
            &micro_operation[2],
        );
        match f {
            Some("append") => appends.push((key, value.as_u64().unwrap_or(u64::MAX))),
            _ if operation.is_ok() => reads.push((key, values(value))),
            _ => {}
        }
    }
    Transaction { operation, appends, reads }
}

fn values(list: &Json) -> Vec<Value> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|value| value.as_u64().unwrap_or(u64::MAX))
        .collect()
}

fn lists(all: &[Transaction<'_>], history: &[Op]) -> Result<Lists, Broken> {
    let mut lists = Lists::default();
    for (position, transaction) in all.iter().enumerate() {
        for append in &transaction.appends {
            lists.writers.insert(*append, position);
        }
    }
    let given_up: HashSet<(Key, Value)> = operations(history)
        .into_iter()
        .filter(|operation| operation.f() == "txn" && operation.kind() == Kind::Fail)
        .flat_map(|operation| transaction(operation).appends)
        .collect();
    for transaction in all {
        for (key, list) in &transaction.reads {
            check_list(*key, list, &lists, &given_up)
                .map_err(|what| (transaction.operation.from(), format!("{}: {what}", transaction.operation.name())))?;
            let longest = lists.longest.entry(*key).or_default();
            let (short, long) = if list.len() < longest.len() {
                (&list[..], &longest[..])
            } else {
                (&longest[..], &list[..])
            };
            if !long.starts_with(short) {
                let what = format!("incompatible order: list {key} was read as {list:?} and as {longest:?}");
                return Err((transaction.operation.from(), what));
            }
            if list.len() > longest.len() {
                longest.clone_from(list);
            }
        }
        check_own(transaction).map_err(|what| (transaction.operation.from(), what))?;
    }
    Ok(lists)
}

fn check_list(key: Key, list: &[Value], lists: &Lists, given_up: &HashSet<(Key, Value)>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for value in list {
        if !seen.insert(value) {
            return Err(format!("applied twice: {value} is twice in list {key}"));
        }
        if given_up.contains(&(key, *value)) {
            return Err(format!("G1a: {value} in list {key} is of a transaction that failed"));
        }
        if !lists.writers.contains_key(&(key, *value)) {
            return Err(format!("{value} in list {key} was appended by nobody"));
        }
    }
    Ok(())
}

/// A transaction that reads a list it has appended to sees its own append, and at the end.
fn check_own(transaction: &Transaction<'_>) -> Result<(), String> {
    for (key, value) in &transaction.appends {
        for (_, list) in transaction.reads.iter().filter(|(read, _)| read == key) {
            if list.last() != Some(value) {
                return Err(format!(
                    "internal: {} does not see its own append to list {key} as the last",
                    transaction.operation.name()
                ));
            }
        }
    }
    Ok(())
}

fn graph(all: &[Transaction<'_>], lists: &Lists, history: &[Op]) -> Graph {
    let mut graph = Graph::new(all.len());
    let mut unseen: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for ((key, value), writer) in &lists.writers {
        let is_seen = lists.longest.get(key).is_some_and(|list| list.contains(value));
        // One that nobody acknowledged and nobody saw may not have happened.
        if !is_seen && all[*writer].operation.is_ok() {
            unseen.entry(*key).or_default().push(*writer);
        }
    }
    for (key, list) in &lists.longest {
        let writers: Vec<usize> = list.iter().map(|value| lists.writers[&(*key, *value)]).collect();
        for pair in writers.windows(2) {
            graph.add(pair[0], pair[1], Edge::Ww);
        }
        for later in unseen.get(key).into_iter().flatten() {
            writers.last().into_iter().for_each(|last| graph.add(*last, *later, Edge::Ww));
        }
    }
    for (reader, transaction) in all.iter().enumerate() {
        for (key, list) in &transaction.reads {
            if let Some(last) = list.last() {
                graph.add(lists.writers[&(*key, *last)], reader, Edge::Wr);
            }
            match lists.longest.get(key).and_then(|longest| longest.get(list.len())) {
                Some(next) => graph.add(reader, lists.writers[&(*key, *next)], Edge::Rw),
                None => unseen
                    .get(key)
                    .into_iter()
                    .flatten()
                    .for_each(|later| graph.add(reader, *later, Edge::Rw)),
            }
        }
    }
    add_real_time(&mut graph, all, history);
    graph
}

/// A chain of moments beside the transactions: each end leads to the next moment, and each moment to what begins after it.
/// So much for an edge between any two transactions of which one ended before the other began.
fn add_real_time(graph: &mut Graph, all: &[Transaction<'_>], history: &[Op]) {
    let begins: HashMap<u64, usize> = all
        .iter()
        .enumerate()
        .map(|(position, transaction)| (transaction.operation.from(), position))
        .collect();
    let ends: HashMap<u64, usize> = all
        .iter()
        .enumerate()
        .map(|(position, transaction)| (transaction.operation.to(), position))
        .collect();
    let mut moment = None;
    for op in history {
        if let Some(position) = begins.get(&op.index) {
            moment.into_iter().for_each(|moment| graph.add(moment, *position, Edge::Rt));
        }
        if let Some(position) = ends.get(&op.index) {
            let next = graph.add_moment();
            moment.into_iter().for_each(|moment| graph.add(moment, next, Edge::Rt));
            graph.add(*position, next, Edge::Rt);
            moment = Some(next);
        }
    }
}

#[cfg(test)]
#[path = "cycles_tests.rs"]
mod tests;
