//! What was acknowledged is in the log, at its place, and nothing is in a log twice.

use std::collections::HashMap;

use super::{
    content::{Body, Contents},
    report::{Findings, Kind},
    views::Logs,
};
use crate::history::{ClientNo, Label, LogNo, Outcome, What};

struct Asked {
    at: usize,
    client: ClientNo,
    log: LogNo,
    outcome: Option<(usize, Outcome)>,
    /// Where it was seen: epoch and sequence number, and the record in which first.
    seen: Vec<(u64, u64, usize)>,
}

pub(super) fn check(findings: &mut Findings<'_>, logs: &Logs, contents: &Contents) {
    let mut asked = asked(findings);
    for (&(log, epoch), life) in logs {
        for (&seq, entry) in &life.entries {
            let Body::Labelled(label) = contents.of(entry.content).body else { continue };
            match asked.get_mut(&label) {
                Some(asked) if asked.log == log && asked.at < entry.first => asked.seen.push((epoch, seq, entry.first)),
                _ => {
                    let seen = format!("{label} at {seq}");
                    findings.add(Kind::Invented, entry.first, None, log, "nothing that nobody published here", seen);
                }
            }
        }
    }
    let mut asked: Vec<_> = asked.into_iter().collect();
    asked.sort_unstable_by_key(|(_, asked)| asked.at);
    for (label, asked) in asked {
        once(findings, logs, label, &asked);
        match asked.outcome {
            Some((at, Outcome::Done(Some(position)))) => {
                let entry = logs.get(&(asked.log, position.epoch)).and_then(|life| life.entries.get(&position.seq));
                let there = entry.map(|entry| contents.of(entry.content).body);
                match there {
                    None => findings.tally.unwatched += 1,
                    Some(Body::Labelled(found)) if found == label => {}
                    Some(other) => {
                        let expected = format!("{label} at {position}");
                        findings.add(Kind::LostPublish, at, asked.client, asked.log, expected, format!("{other:?}"));
                    }
                }
            }
            Some((_, Outcome::Refused(code))) => {
                if let Some(&(_, seq, at)) = asked.seen.first() {
                    let seen = format!("{label} at {seq}");
                    let expected = format!("nothing, since {code} refused it");
                    findings.add(Kind::Invented, at, asked.client, asked.log, expected, seen);
                }
            }
            _ => {}
        }
    }
}

fn asked(findings: &Findings<'_>) -> HashMap<Label, Asked> {
    let mut asked: HashMap<Label, Asked> = HashMap::new();
    for (at, record) in findings.history.records.iter().enumerate() {
        match record.what {
            What::Publishes { log, label } => {
                asked.insert(label, Asked { at, client: record.client, log, outcome: None, seen: Vec::new() });
            }
            What::Answered { label, outcome } => {
                if let Some(asked) = asked.get_mut(&label) {
                    asked.outcome = Some((at, outcome));
                }
            }
            _ => {}
        }
    }
    asked
}

/// One publish is in one life of a log once. A restarted server has forgotten what it had done: what nobody had
/// acknowledged may then be done again, in the next life, but never after it was acknowledged.
fn once(findings: &mut Findings<'_>, logs: &Logs, label: Label, asked: &Asked) {
    let mut seen = asked.seen.clone();
    seen.sort_unstable();
    for pair in seen.windows(2) {
        let [(epoch, first, _), (other, second, at)] = *pair else { continue };
        if epoch == other {
            let expected = format!("{label} once, at {first}");
            findings.add(Kind::DoublePublish, at, asked.client, asked.log, expected, format!("again at {second}"));
        }
    }
    if let Some((_, Outcome::Done(Some(position)))) = asked.outcome {
        let begun = |epoch| logs.get(&(asked.log, epoch)).map_or(0, |life| life.first);
        for &(epoch, seq, at) in &seen {
            if epoch != position.epoch && begun(epoch) > begun(position.epoch) {
                let expected = format!("{label} once, at {position}");
                let again = format!("again in the next life of the log, at {seq}");
                findings.add(Kind::DoublePublish, at, asked.client, asked.log, expected, again);
            }
        }
    }
}
