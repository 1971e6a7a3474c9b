//! Each acknowledged signal arrived once, in its sender's order.

use std::collections::{HashMap, HashSet};

use rallypoint_protocol::moves::Lane;

use super::{
    report::{Findings, Kind},
    spans::{Spans, Stay},
};
use crate::history::{ClientNo, Label, LogNo, Outcome, What};

struct Sent {
    at: usize,
    room: LogNo,
    to: ClientNo,
    outcome: Option<(usize, Outcome)>,
}

pub(super) fn check(findings: &mut Findings<'_>, spans: &Spans) {
    let sent = sent(findings);
    let received = received(findings, spans, &sent);
    let horizons = horizons(findings, &sent);
    let mut labels: Vec<_> = sent.iter().collect();
    labels.sort_unstable_by_key(|(_, sent)| sent.at);
    for (&label, sent) in labels {
        let Some((answered, Outcome::Done(_))) = sent.outcome else { continue };
        let Some(stay) = spans.stay_at(sent.to, sent.room, sent.at) else { continue };
        if spans
            .stay_at(label.client, sent.room, sent.at)
            .is_some_and(|own| spans.is_told_of_loss(label.client, sent.room, &own))
        {
            continue;
        }
        // Nodes reach each other on ways of their own, and the loss of what came on one is told behind what came on others.
        if spans.is_told_of_loss(sent.to, sent.room, &stay) && !is_overtaken_by_its_own(findings, label, sent.to, &stay)
        {
            continue;
        }
        // The addressee's lane is one queue: what was sent after this was acknowledged stood behind it.
        let overtaken = horizons.get(&sent.to).is_some_and(|heard| overtaken(heard, &stay, answered));
        if !received.contains(&label) && (overtaken || stay.is_last() && spans.quiet.is_some()) {
            let seen = if overtaken { "what was sent after its answer, without it" } else { "nothing up to the end" };
            findings.add(Kind::SignalLost, answered, sent.to, sent.room, format!("the signal {label}"), seen);
        }
    }
}

/// Whether a later signal of the same sender came in the same stay.
fn is_overtaken_by_its_own(findings: &Findings<'_>, sent: Label, to: ClientNo, stay: &Stay) -> bool {
    let records = &findings.history.records[stay.from..stay.to.min(findings.history.records.len())];
    records.iter().any(|record| {
        let is_later = |label: Label| label.client == sent.client && label.number > sent.number;
        record.client == to && matches!(record.what, What::Signal { label, .. } if is_later(label))
    })
}

fn sent(findings: &Findings<'_>) -> HashMap<Label, Sent> {
    let mut sent: HashMap<Label, Sent> = HashMap::new();
    for (at, record) in findings.history.records.iter().enumerate() {
        match record.what {
            What::Signals { room, to, label } => _ = sent.insert(label, Sent { at, room, to, outcome: None }),
            What::Answered { label, outcome } => {
                if let Some(sent) = sent.get_mut(&label) {
                    sent.outcome = Some((at, outcome));
                }
            }
            _ => {}
        }
    }
    sent
}

/// What arrived, each once and in order, or else it is told.
fn received(findings: &mut Findings<'_>, spans: &Spans, sent: &HashMap<Label, Sent>) -> HashSet<Label> {
    let mut first: HashMap<Label, usize> = HashMap::new();
    let mut last: HashMap<(ClientNo, ClientNo, LogNo), (usize, Label)> = HashMap::new();
    for (at, record) in findings.history.records.iter().enumerate() {
        let What::Signal { room, label } = record.what else { continue };
        let to = record.client;
        let good = sent.get(&label).filter(|sent| {
            let refused = matches!(sent.outcome, Some((_, Outcome::Refused(_))));
            sent.room == room && sent.to == to && sent.at < at && !refused
        });
        if good.is_none() {
            findings.add(Kind::Invented, at, to, room, "signals that were sent here", label.to_string());
        }
        // A restarted server has forgotten what it had done for whom; nobody has promised anything across that.
        let earlier = first.insert(label, at).filter(|&earlier| !spans.restarted_between(earlier, at));
        if let Some(earlier) = earlier {
            let expected = format!("{label} once, as in record {earlier}");
            findings.add(Kind::SignalTwice, at, to, room, expected, "the same again");
            continue;
        }
        let before = last.insert((label.client, to, room), (at, label));
        if let Some((earlier, newer)) = before.filter(|&(_, before)| before.number > label.number)
            && !spans.restarted_between(earlier, at)
        {
            findings.add(Kind::SignalOrder, at, to, room, format!("{label} before {newer}"), "it came after");
        }
    }
    first.into_keys().collect()
}

/// For each client: the signals and reliable moves that it received, and when each had been sent.
fn horizons(findings: &Findings<'_>, sent: &HashMap<Label, Sent>) -> HashMap<ClientNo, Vec<(usize, usize)>> {
    let mut moved = HashMap::new();
    let mut heard: HashMap<ClientNo, Vec<(usize, usize)>> = HashMap::new();
    for (at, record) in findings.history.records.iter().enumerate() {
        let begun = match record.what {
            What::Moves { room, seq, .. } => {
                moved.insert((record.client, room, seq), at);
                continue;
            }
            What::Signal { label, .. } => sent.get(&label).map(|sent| sent.at),
            What::Moved { room, from, lane: Lane::Reliable, seq, .. } => moved.get(&(from, room, seq)).copied(),
            _ => continue,
        };
        if let Some(begun) = begun {
            let list = heard.entry(record.client).or_default();
            // Only those matter that were sent later than all before them.
            if list.last().is_none_or(|&(_, latest)| latest < begun) {
                list.push((at, begun));
            }
        }
    }
    heard
}

/// Whether the client received, within this stay, something that had been sent after `answered`.
fn overtaken(heard: &[(usize, usize)], stay: &Stay, answered: usize) -> bool {
    let next = heard.partition_point(|&(_, begun)| begun <= answered);
    heard.get(next).is_some_and(|&(at, _)| stay.has(at))
}
