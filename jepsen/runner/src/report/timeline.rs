//! One run as a picture: how long each operation took and how it ended, under which faults, who led, and how many
//! operations a second were answered.

use super::runs::{LeaderChange, Run};
use crate::history::{Kind, Op, Phase, Process};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
/// Height of the band of one kind of fault.
const BAND: f64 = 15.0;
const LATENCY_HEIGHT: f64 = 190.0;
const RATE_HEIGHT: f64 = 60.0;
const GAP: f64 = 20.0;
/// Fastest and slowest end of the scale, in nanoseconds.
const FASTEST_NS: f64 = 1e5;
const SLOWEST_NS: f64 = 1e11;
/// Points that fall into one square of this size are one point.
const POINT: f64 = 2.0;

/// A completed operation.
struct Point {
    at: u64,
    took: u64,
    kind: Kind,
}

/// A fault from its start to its stop.
#[derive(Debug, PartialEq, Eq)]
struct Band {
    name: String,
    what: String,
    from: u64,
    until: u64,
    installed: bool,
}

fn points(history: &[Op]) -> Vec<Point> {
    let mut open: BTreeMap<u64, u64> = BTreeMap::new();
    let mut points = Vec::new();
    for op in history {
        let Process::Client(process) = op.process else { continue };
        if op.kind == Kind::Invoke {
            open.insert(process, op.time);
        } else if let Some(invoked) = open.remove(&process) {
            points.push(Point {
                at: op.time,
                took: op.time - invoked,
                kind: op.kind,
            });
        }
    }
    points
}

fn bands(history: &[Op], end: u64) -> Vec<Band> {
    let mut open: BTreeMap<&str, Band> = BTreeMap::new();
    let mut bands = Vec::new();
    for op in history.iter().filter(|op| matches!(op.process, Process::Nemesis(_))) {
        if let Some(name) = op.f.strip_prefix("start-") {
            let said = |key: &str| op.value[key].as_str().unwrap_or_default().to_owned();
            let nodes = op.value["nodes"]
                .as_array()
                .map(|nodes| nodes.iter().filter_map(|node| node.as_str()).collect::<Vec<_>>().join(", "));
            let band = Band {
                name: name.to_owned(),
                what: format!(
                    "{name} {} {}: {}{}",
                    said("mode"),
                    nodes.unwrap_or_default(),
                    said("evidence"),
                    said("why")
                ),
                from: op.time,
                until: end,
                installed: op.value["status"] == "installed",
            };
            bands.extend(open.insert(name, band));
        } else if let Some(name) = op.f.strip_prefix("stop-")
            && let Some(mut band) = open.remove(name)
        {
            band.until = op.time;
            bands.push(band);
        }
    }
    bands.extend(open.into_values());
    bands.retain(|band| band.installed);
    bands
}

/// Places on the picture.
struct Scale {
    end: f64,
}

impl Scale {
    fn x(&self, time: u64) -> f64 {
        LEFT + time as f64 / self.end * (WIDTH - LEFT - RIGHT)
    }

    /// From the top of the part that shows latencies; slow is up.
    fn y(&self, took: u64) -> f64 {
        let share = ((took as f64).clamp(FASTEST_NS, SLOWEST_NS).log10() - FASTEST_NS.log10()) / (SLOWEST_NS.log10() - FASTEST_NS.log10());
        LATENCY_HEIGHT * (1.0 - share)
    }
}

pub fn timeline(run: &Run) -> Markup {
    let Some(last) = run.history.last() else { return html! {} };
    let scale = Scale {
        end: last.time.max(1) as f64,
    };
    let bands = bands(&run.history, last.time);
    let names: BTreeSet<&str> = bands.iter().map(|band| band.name.as_str()).collect();
    let top = BAND * names.len() as f64 + 4.0;
    let rate_top = top + LATENCY_HEIGHT + GAP;
    let height = rate_top + RATE_HEIGHT + GAP;
    html! {
        svg.timeline viewBox=(format!("0 0 {WIDTH} {height:.0}")) role="img" aria-label="latency of every operation over time" {
            @for (row, name) in names.iter().enumerate() {
                (band_row(&bands, name, BAND * row as f64, rate_top + RATE_HEIGHT, &scale))
            }
            g transform=(format!("translate(0 {top:.1})")) { (latency_axis(&scale)) (dots(&points(&run.history), &scale)) }
            g transform=(format!("translate(0 {rate_top:.1})")) { (rates(&points(&run.history), &scale)) }
            (leaders(&run.leaders, top, rate_top + RATE_HEIGHT, &scale))
            (phases(&run.history, rate_top + RATE_HEIGHT, &scale))
        }
    }
}

fn band_row(bands: &[Band], name: &str, y: f64, bottom: f64, scale: &Scale) -> Markup {
    html! {
        text.label x=(LEFT - 5.0) y=(format!("{:.1}", y + 11.0)) text-anchor="end" { (name) }
        @for band in bands.iter().filter(|band| band.name == name) {
            @let width = (scale.x(band.until) - scale.x(band.from)).max(1.5);
            rect.shade x=(format!("{:.1}", scale.x(band.from))) y=(y) width=(format!("{width:.1}")) height=(format!("{:.1}", bottom - y)) {}
            rect.fault x=(format!("{:.1}", scale.x(band.from))) y=(y + 1.0) width=(format!("{width:.1}")) height=(BAND - 3.0) {
                title { (band.what) }
            }
        }
    }
}

fn latency_axis(scale: &Scale) -> Markup {
    let ticks = [(1e6, "1 ms"), (1e7, "10 ms"), (1e8, "100 ms"), (1e9, "1 s"), (1e10, "10 s")];
    html! {
        @for (took, label) in ticks {
            @let y = format!("{:.1}", scale.y(took as u64));
            line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y) y2=(y) {}
            text.label x=(LEFT - 5.0) y=(y) dy="4" text-anchor="end" { (label) }
        }
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        _ => "info",
    }
}

/// One path per end, so that a page with many runs stays small; what is rarer and worse is drawn last.
fn dots(points: &[Point], scale: &Scale) -> Markup {
    let path = |kind: Kind| {
        let places: BTreeSet<(i64, i64)> = points
            .iter()
            .filter(|point| point.kind == kind)
            .map(|point| ((scale.x(point.at) / POINT) as i64, (scale.y(point.took) / POINT) as i64))
            .collect();
        let squares = places
            .iter()
            .map(|(x, y)| format!("M{} {}h2v2h-2z", *x as f64 * POINT, *y as f64 * POINT));
        squares.collect::<String>()
    };
    html! {
        @for kind in [Kind::Ok, Kind::Fail, Kind::Info] { path class=(class(kind)) d=(path(kind)) {} }
    }
}

/// Answered operations a second, as an area.
fn rates(points: &[Point], scale: &Scale) -> Markup {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for point in points.iter().filter(|point| point.kind == Kind::Ok) {
        *counts.entry(point.at / 1_000_000_000).or_insert(0) += 1;
    }
    let most = counts.values().max().copied().unwrap_or(1);
    let seconds = (scale.end / 1e9).ceil() as u64;
    let y = |count: u64| RATE_HEIGHT * (1.0 - count as f64 / most as f64);
    let mut area = format!("M{LEFT} {RATE_HEIGHT}");
    for second in 0..seconds {
        let (from, until) = (
            scale.x(second * 1_000_000_000),
            scale.x((second + 1) * 1_000_000_000).min(WIDTH - RIGHT),
        );
        let level = y(counts.get(&second).copied().unwrap_or(0));
        area += &format!("L{from:.1} {level:.1}L{until:.1} {level:.1}");
    }
    area += &format!("L{:.1} {RATE_HEIGHT}z", WIDTH - RIGHT);
    html! {
        text.label x=(LEFT - 5.0) y="8" text-anchor="end" { (most) "/s" }
        text.label x=(LEFT - 5.0) y=(RATE_HEIGHT) text-anchor="end" { "0/s" }
        path.rate d=(area) {}
    }
}

fn leaders(changes: &[LeaderChange], top: f64, bottom: f64, scale: &Scale) -> Markup {
    html! {
        @for change in changes {
            @let x = format!("{:.1}", scale.x(change.time));
            line.leader x1=(x) x2=(x) y1=(top) y2=(bottom) { title { (change.node) " leads in term " (change.term) } }
            text.label.leads x=(x) dx="3" y=(top + 9.0) { (change.node) }
        }
    }
}

/// Where each phase begins, and the seconds below.
fn phases(history: &[Op], y: f64, scale: &Scale) -> Markup {
    let mut begins: Vec<(Phase, u64)> = Vec::new();
    for op in history {
        if begins.last().is_none_or(|(phase, _)| *phase != op.phase) && begins.iter().all(|(phase, _)| *phase != op.phase) {
            begins.push((op.phase, op.time));
        }
    }
    html! {
        @for (phase, time) in begins {
            @let x = format!("{:.1}", scale.x(time));
            line.phase x1=(x) x2=(x) y1=(y) y2=(y + 5.0) {}
            text.label x=(x) dx="3" y=(y + 13.0) { (format!("{phase:?}").to_lowercase()) " " (format!("{:.0} s", time as f64 / 1e9)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Recorder, Reply};
    use serde_json::json;

    #[test]
    fn a_fault_that_never_stopped_lasts_to_the_end_and_one_that_was_skipped_is_not_shown() {
        let recorder = Recorder::default();
        recorder.fault(
            "start-kill",
            json!({"status": "installed", "mode": "leader", "nodes": ["n1"], "evidence": "gone"}),
        );
        recorder.fault("start-pause", json!({"status": "skipped", "why": "no leader"}));
        recorder.fault("stop-pause", json!(null));
        recorder.fault("stop-kill", json!("runs"));
        recorder.fault(
            "start-kill",
            json!({"status": "installed", "mode": "one", "nodes": ["n2"], "evidence": "gone"}),
        );
        let history = recorder.ops();
        let bands = bands(&history, 99);
        let shown: Vec<(&str, u64, u64)> = bands.iter().map(|band| (band.name.as_str(), band.from, band.until)).collect();
        assert_eq!(shown, [("kill", history[0].time, history[3].time), ("kill", history[4].time, 99)]);
        assert_eq!(bands[0].what, "kill leader n1: gone");
    }

    #[test]
    fn an_operation_is_a_point_when_it_ends() {
        let recorder = Recorder::default();
        for process in 0..2 {
            recorder.invoke(process, "read", json!(null));
        }
        recorder.complete(1, Kind::Ok, "read", json!(7), Reply::default());
        let history = recorder.ops();
        let points = points(&history);
        assert_eq!(points.len(), 1);
        assert_eq!(points[0].took, history[2].time - history[1].time);
    }
}
