//! Workloads against faults: what the runs of each pair came to.

use super::dates::{day, short};
use super::runs::{Ending, Line};
use crate::{nemesis, workload};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// All runs of one workload in which one fault was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    runs: usize,
    worst: Ending,
    installed: u64,
    /// Where the worst of them is shown, the newest of several.
    anchor: String,
    /// When the newest began, and of which commit it was.
    last: u64,
    commit: String,
}

fn cells(lines: &[Line]) -> BTreeMap<(&str, &str), Cell> {
    let mut cells: BTreeMap<(&str, &str), Cell> = BTreeMap::new();
    for line in lines {
        for fault in line.fault_names() {
            let cell = cells.entry((&line.workload, fault)).or_insert_with(|| Cell {
                runs: 0,
                worst: Ending::Held,
                installed: 0,
                anchor: String::new(),
                last: 0,
                commit: String::new(),
            });
            cell.runs += 1;
            cell.installed += line.faults.get(fault).map_or(0, |faults| faults.installed);
            if line.began >= cell.last {
                (cell.last, cell.commit) = (line.began, line.commit.clone());
            }
            if line.ending() >= cell.worst {
                (cell.worst, cell.anchor) = (line.ending(), line.anchor());
            }
        }
    }
    cells
}

fn add<'a>(names: &mut Vec<&'a str>, name: &'a str) {
    if !names.contains(&name) {
        names.push(name);
    }
}

pub fn matrix(lines: &[Line]) -> Markup {
    let cells = cells(lines);
    // All there are, so that what nobody has tried shows; after them what is only in the ledger, such as runs without a fault.
    let (mut workloads, mut faults): (Vec<&str>, Vec<&str>) = (workload::names(), nemesis::kinds());
    for (workload, fault) in cells.keys() {
        add(&mut workloads, workload);
        add(&mut faults, fault);
    }
    html! {
        div.wide {
            table.matrix {
                thead { tr {
                    th { "workload" }
                    @for fault in &faults { th { (fault) } }
                } }
                tbody { @for workload in &workloads { tr {
                    th { (workload) }
                    @for fault in &faults {
                        @match cells.get(&(*workload, *fault)) {
                            Some(cell) => td class=(cell.worst.shown().0) {
                                a href={ "#" (cell.anchor) } title=(format!("{} installed", cell.installed)) {
                                    (cell.worst.shown().1) " " span.count { (cell.runs) }
                                    span.when { (day(cell.last)) br; (short(&cell.commit)) }
                                }
                            }
                            None => td.untried { "\u{2013}" }
                        }
                    }
                } } }
            }
        }
        p.note { "Each cell: the worst end of all runs of that pair, how many there were, and day and commit of the newest. A run with several faults counts in each of their columns." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(began: u64, valid: serde_json::Value, nemeses: &[&str]) -> Line {
        serde_json::from_value(json!({
            "began": began, "seconds": 1.0, "valid": valid, "workload": "set", "nemeses": nemeses, "nodes": 3, "seed": 9,
            "faults": {"kill": {"installed": 2}}, "commit": format!("c{began}"), "dir": "/gone",
        }))
        .expect("a line")
    }

    #[test]
    fn a_cell_shows_the_worst_and_links_to_it() {
        let lines = [
            line(1, json!(true), &["kill:leader", "pause"]),
            line(2, json!(false), &["kill"]),
            line(3, json!("unknown"), &["kill"]),
            line(4, json!(true), &[]),
        ];
        let cells = cells(&lines);
        let kill = &cells[&("set", "kill")];
        assert_eq!((kill.runs, kill.worst, kill.installed), (3, Ending::Broken, 6));
        assert_eq!(kill.anchor, "run-2-set-9");
        assert_eq!((kill.last, kill.commit.as_str()), (3, "c3"));
        assert_eq!(cells[&("set", "pause")].worst, Ending::Held);
        assert_eq!(cells[&("set", "none")].runs, 1);
        let page = matrix(&lines).into_string();
        assert!(page.contains("href=\"#run-2-set-9\""), "{page}");
        for name in workload::names().into_iter().chain(nemesis::kinds()).chain(["none"]) {
            assert!(page.contains(&format!("<th>{name}</th>")), "{name} is not in {page}");
        }
    }
}
