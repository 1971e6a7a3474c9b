//! What operators read is whole and true: every metric and close code in the manual, every name that the dashboard and the
//! alerts ask for in the metrics, every alert in the manual.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rallypoint::{
    config::Limits,
    metrics::{Metrics, Outcome},
};
use rallypoint_protocol::{CloseCode, ErrorCode};

const DASHBOARD: &str = "docs/deploy/grafana-dashboard.json";
const ALERTS: &str = "docs/deploy/alerts.yml";

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The kind of each metric, by its name as Prometheus has it. One with a label is told only once it has counted.
fn metrics() -> BTreeMap<String, String> {
    let metrics = Metrics::new();
    metrics.certificate_loads("taken");
    metrics.key_sets("taken");
    metrics.resumes.get_or_create(&Outcome { outcome: "reset" }).inc();
    metrics.refuse(ErrorCode::Internal);
    metrics.limited("rooms");
    metrics.shedding("memory", true);
    metrics.audit("written", 1);
    metrics.webhooks("shop", "sent", 1);
    metrics.webhooks_wait("shop", 1, 1.0);
    metrics.closed(CloseCode::NoPong);
    let text = metrics.render();
    let source = read("src/metrics.rs");
    let registered = source.split("registry.register").skip(1).filter_map(|call| call.split('"').nth(1));
    for name in registered {
        assert!(text.contains(&format!("# TYPE rallypoint_{name}")), "{name} has a label: let this test count it once");
    }
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let metrics = types.map(|(name, kind)| {
        let end = if kind == "counter" { "_total" } else { "" };
        (format!("{name}{end}"), kind.to_owned())
    });
    metrics.collect()
}

/// The part of a document from a heading to the next.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let from = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")) + 1;
    let rest = &text[from + heading.len()..];
    &rest[..rest.find("\n#").unwrap_or(rest.len())]
}

/// The cells of each row of the tables in a text, without head and line.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Words of a text that begin so.
fn words<'a>(text: &'a str, beginning: &str) -> BTreeSet<&'a str> {
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    parts.filter(|word| word.starts_with(beginning) && word.len() > beginning.len()).collect()
}

/// What is wrong with the table of metrics in the manual.
fn in_manual(metrics: &BTreeMap<String, String>, manual: &str) -> Vec<String> {
    let rows = rows(section(manual, "## Metrics"));
    let row = |name: &str| rows.iter().find(|row| row[0].trim_matches('`') == name);
    let mut wrong = Vec::new();
    for (name, kind) in metrics {
        match row(name).map(Vec::as_slice) {
            None => wrong.push(format!("{name} is not in the manual")),
            Some([_, told, _, says]) if *told == kind && !says.is_empty() => {}
            Some(row) => wrong.push(format!("{name} is a {kind}, and the manual says {row:?}")),
        }
    }
    let known = |name: &str| metrics.contains_key(name);
    let gone = rows.iter().map(|row| row[0].trim_matches('`')).filter(|name| !known(name));
    wrong.extend(gone.map(|name| format!("{name} is in the manual only")));
    wrong
}

/// Names that a file asks for and nobody has, and, if it is to be whole, metrics that it does not show.
fn asked_for(metrics: &BTreeMap<String, String>, file: &str, whole: bool) -> Vec<String> {
    let parts = |name: &str, kind: &str| match kind {
        "histogram" => ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")).to_vec(),
        _ => vec![name.to_owned()],
    };
    let asked = words(file, "rallypoint_");
    let there: BTreeSet<String> = metrics.iter().flat_map(|(name, kind)| parts(name, kind)).collect();
    let mut wrong: Vec<_> =
        asked.iter().filter(|name| !there.contains(**name)).map(|name| format!("{name} does not exist")).collect();
    let shown = |name: &str, kind: &str| parts(name, kind).iter().any(|part| asked.contains(part.as_str()));
    let hidden = metrics.iter().filter(|(name, kind)| whole && !shown(name, kind));
    wrong.extend(hidden.map(|(name, _)| format!("{name} is not shown")));
    wrong
}

/// Close codes that the manual does not know, and those of it that there are not.
fn close_codes(manual: &str) -> Vec<String> {
    let rows = rows(section(manual, "## Close codes"));
    let told: BTreeSet<u16> =
        rows.iter().flat_map(|row| row[0].split(", ")).map(|code| code.parse().unwrap()).collect();
    let idle = rows.iter().filter(|row| row.len() != 3 || row.iter().any(|cell| cell.is_empty()));
    let codes: BTreeSet<u16> = CloseCode::ALL.iter().map(|code| code.number()).collect();
    // What is reserved stands in a sentence below the table.
    let reserved = |code: &u16| manual.contains(&format!("\n{code} is reserved"));
    let differ = codes.symmetric_difference(&told).filter(|code| !reserved(code));
    differ.map(|code| format!("{code}")).chain(idle.map(|row| format!("{row:?}"))).collect()
}

/// Alerts without a row in the manual, and rows without an alert.
fn alerts(file: &str, manual: &str) -> Vec<String> {
    let there: BTreeSet<&str> = file.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(there.len() > 5, "{there:?}");
    let rows = rows(section(manual, "### Alerts"));
    let told: BTreeSet<&str> = rows.iter().filter(|row| row.len() == 3).map(|row| row[0].trim_matches('`')).collect();
    there.symmetric_difference(&told).map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_metric_is_in_the_manual() {
    let (metrics, manual) = (metrics(), read("docs/operations.md"));
    assert!(metrics.len() > 30, "{metrics:?}");
    assert_eq!(in_manual(&metrics, &manual), [""; 0]);
}

#[test]
fn every_metric_is_shown_and_every_name_exists() {
    let metrics = metrics();
    assert_eq!(asked_for(&metrics, &read(DASHBOARD), true), [""; 0]);
    assert_eq!(asked_for(&metrics, &read(ALERTS), false), [""; 0]);
    // The manual calls a histogram by its own name, which nobody can ask for.
    let manual = read("docs/operations.md").replace("`rallypoint_latency_seconds`", "");
    assert_eq!(asked_for(&metrics, &manual, false), [""; 0]);
}

#[test]
fn every_close_code_and_alert_is_in_the_manual() {
    let manual = read("docs/operations.md");
    assert_eq!(close_codes(&manual), [""; 0]);
    assert_eq!(alerts(&read(ALERTS), &manual), [""; 0]);
}

#[test]
fn planted_gaps_are_found() {
    let (metrics, manual) = (metrics(), read("docs/operations.md"));
    let row = |begins: &str| manual.lines().find(|line| line.starts_with(begins)).unwrap();
    let rooms = row("| `rallypoint_rooms`");
    let without = |line: &str| manual.replace(&format!("{line}\n"), "");
    assert_eq!(in_manual(&metrics, &without(rooms)), ["rallypoint_rooms is not in the manual"]);
    let renamed = manual.replace("| `rallypoint_rooms`", "| `rallypoint_halls`");
    assert_eq!(in_manual(&metrics, &renamed).len(), 2);
    let of_another_kind = manual.replace(rooms, &rooms.replace("gauge", "counter"));
    assert_eq!(in_manual(&metrics, &of_another_kind).len(), 1);

    let dashboard = read(DASHBOARD);
    assert_eq!(
        asked_for(&metrics, &dashboard.replace("rallypoint_signals_total", "rallypoint_signals"), true),
        ["rallypoint_signals does not exist", "rallypoint_signals_total is not shown"]
    );
    assert_eq!(asked_for(&metrics, "rallypoint_latency_seconds", false), ["rallypoint_latency_seconds does not exist"]);

    assert_eq!(close_codes(&without(row("| 4002 |"))), ["4002"]);
    assert_eq!(close_codes(&manual.replace("| 4002 |", "| 4002, 4998 |")), ["4998"]);
    assert_eq!(alerts(&read(ALERTS), &without(row("| `RallypointDown`"))), ["RallypointDown"]);
    assert_eq!(alerts(&read(ALERTS).replace("alert: RallypointDown", "alert: RallypointUp"), &manual).len(), 2);
}

#[test]
fn the_service_has_time_to_drain() {
    let unit = read("docs/deploy/rallypoint.service");
    let seconds: u64 = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.parse().ok()).unwrap();
    assert!(seconds * 1000 > Limits::default().drain_ms, "{seconds} s");
}
