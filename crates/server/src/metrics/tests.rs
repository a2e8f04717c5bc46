//! The list in the README is the golden one: names that dashboards and alerts use do not change unnoticed.

use super::{BaseUnit, PREFIX, Source, TABLE};
use crate::doris::test_peers::Peer;
use crate::ops;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt as _;

/// Suffixes of a family's samples, by kind.
fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_count", "_sum"],
        _ => &[""],
    }
}

/// One family: name with unit and `_total`, kind, unit, labels, help.
type Listed = [String; 5];

/// The rows of the README's table.
fn golden() -> Vec<Listed> {
    let readme = include_str!("../../../../README.md");
    let section = readme.split("\n### Metrics\n").nth(1).expect("README has a section Metrics");
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        cells
            .try_into()
            .unwrap_or_else(|cells| panic!("a row has five cells, this one: {cells:?}"))
    })
    .collect()
}

/// The families of `/metrics`, in order.
fn exported(text: &str) -> Vec<Listed> {
    let mut families: Vec<(String, Listed)> = Vec::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((family, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let mut listed = Listed::default();
            listed[4] = help.trim_end_matches('.').to_owned();
            families.push((family.to_owned(), listed));
        } else if let Some((family, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (last, listed) = families.last_mut().expect("help comes first");
            assert_eq!(last, family);
            let suffix = if kind == "counter" { "_total" } else { "" };
            listed[0] = format!("{family}{suffix}");
            listed[1] = kind.to_owned();
        } else if let Some((family, unit)) = line.strip_prefix("# UNIT ").and_then(|rest| rest.split_once(' ')) {
            let (last, listed) = families.last_mut().expect("help comes first");
            assert_eq!(last, family);
            listed[2] = unit.to_owned();
        } else if !line.starts_with('#') {
            let (family, listed) = families.last().expect("a sample belongs to a family");
            let name_end = line.find(['{', ' ']).expect("a sample has a value");
            let suffix = line[..name_end].strip_prefix(family.as_str()).expect("a sample of its family");
            assert!(suffixes(&listed[1]).contains(&suffix), "{line}");
            let found = labels.entry(family.clone()).or_default();
            let inner = line[name_end..].split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            for pair in inner.map_or("", |(inner, _)| inner).split(',').filter(|pair| !pair.is_empty()) {
                let label = pair.split('=').next().unwrap_or_default();
                if label != "le" {
                    found.insert(label.to_owned());
                }
            }
        }
    }
    let with_labels = families.into_iter().map(|(family, mut listed)| {
        let found = labels.remove(&family).unwrap_or_else(|| panic!("{family} has no sample"));
        listed[3] = found.into_iter().collect::<Vec<_>>().join(", ");
        listed
    });
    with_labels.collect()
}

/// What `/metrics` answers.
async fn scraped(peer: &Peer) -> String {
    let request = Request::get("/metrics").body(Body::empty()).expect("well-formed");
    let response = ops::router(peer.app.clone())
        .oneshot(request)
        .await
        .expect("a router does not fail");
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn gauges_are_measured_once_however_many_ask() {
    let peer = Peer::alone().await;
    let shown = |text: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix("quorate_revision "));
        value.expect("it is exported").parse::<i64>().expect("a number")
    };
    let revision = i64::try_from(peer.node().applied().revision.0).expect("small");
    *peer.app.measured.lock().await = Some(Instant::now() + Duration::from_secs(3_600));
    peer.app.metrics.revision.set(-1);
    assert_eq!(shown(&scraped(&peer).await), -1, "they are fresh");
    // While they are measured everybody waits, and then has the values.
    let mut measuring = peer.app.measured.lock().await;
    let mut asking = pin!(scraped(&peer));
    assert!(futures::poll!(&mut asking).is_pending());
    *measuring = None;
    drop(measuring);
    assert!(shown(&asking.await) >= revision);
    assert!(peer.app.measured.lock().await.is_some());
}

#[tokio::test]
async fn what_is_exported_is_what_the_readme_lists() {
    let peer = Peer::alone().await;
    // Families with labels show nothing before the first call.
    peer.call("get_instance?instance_id=absent", "").await;
    let text = scraped(&peer).await;
    let (golden, exported) = (golden(), exported(&text));
    let lines: Vec<String> = exported
        .iter()
        .map(|[name, kind, unit, labels, help]| {
            let name = format!("`{name}`");
            format!("| {name} | {kind} | {unit} | {labels} | {help} |")
        })
        .collect();
    assert!(
        golden == exported,
        "the table under \"Metrics\" in the README should be:\n{}",
        lines.join("\n")
    );
}

#[test]
fn every_name_follows_the_conventions_and_stands_once() {
    let mut names = BTreeSet::new();
    for row in TABLE {
        assert!(names.insert(row.name), "{} stands twice", row.name);
        let is_plain = row.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(
            is_plain && row.name.starts_with(|first: char| first.is_ascii_lowercase()),
            "{}",
            row.name
        );
        for added in [PREFIX, "total", "bytes", "seconds", "count", "sum", "bucket"] {
            assert!(
                !row.name.split('_').any(|word| word == added),
                "{}: the exporter adds {added}",
                row.name
            );
        }
        for unit in ["ms", "us", "millis", "kb", "mb", "mib", "percent"] {
            assert!(!row.name.split('_').any(|word| word == unit), "{}: base units only", row.name);
        }
        assert!(
            row.help.starts_with(|first: char| first.is_uppercase() || first.is_ascii_digit()),
            "{}",
            row.help
        );
        assert!(!row.help.ends_with('.') && !row.help.contains('|'), "{}", row.help);
        let is_duration = matches!(
            row.source,
            Source::Durations(_) | Source::StepDurations(_) | Source::JobDurations(_) | Source::Histogram(_)
        );
        assert!(!is_duration || row.unit == BaseUnit::Seconds, "{} has no unit", row.name);
    }
}
