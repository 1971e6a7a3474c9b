//! The tables that the specification prints are the tables that the code has.

use std::{collections::BTreeMap, path::Path};

use rallypoint_protocol::{CloseCode, ErrorCode, rights::RULES};

/// The rows of the first table whose head begins with these cells.
fn table(head: &[&str]) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    let mut lines = text.lines().skip_while(|line| {
        !line.starts_with('|') || !cells(line).iter().zip(head).all(|(a, b)| a == b) || cells(line).len() < head.len()
    });
    assert!(lines.next().is_some(), "no table with the head {head:?}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn error_codes() {
    let rows = table(&["Code", "Name", "HTTP", "Retry"]);
    let ours: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let retry = if code.may_retry() { "yes" } else { "no" };
            vec![code.number().to_string(), code.name().to_owned(), code.http_status().to_string(), retry.to_owned()]
        })
        .collect();
    let told: Vec<_> = rows.into_iter().map(|row| row[..4].to_vec()).collect();
    assert_eq!(told, ours);
}

#[test]
fn close_codes() {
    let told: BTreeMap<_, _> = table(&["Code", "Name", "Client does"])
        .into_iter()
        .map(|row| (row[0].parse::<u16>().unwrap(), (row[1].clone(), row[2].clone())))
        .collect();
    let ours =
        CloseCode::ALL.iter().map(|code| (code.number(), (code.name().to_owned(), code.action().name().to_owned())));
    assert_eq!(told, ours.collect());
}

#[test]
fn rights() {
    let rows = table(&["Message or route", "Verb", "Also needed"]);
    let told: BTreeMap<_, _> = rows.iter().map(|row| (row[0].as_str(), (row[1].as_str(), row[2].as_str()))).collect();
    for rule in RULES {
        let (verb, also) = told.get(rule.name).unwrap_or_else(|| panic!("the table has no row `{}`", rule.name));
        let ours = rule.verb.map_or("none", |verb| verb.name());
        assert_eq!(*verb, ours, "{}", rule.name);
        let member = also.split(|c: char| !c.is_ascii_alphabetic()).any(|word| word == "member");
        assert_eq!(member, rule.member, "{}: {also}", rule.name);
    }
}
