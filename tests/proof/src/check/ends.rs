//! At the end everybody is there and knows everything, and no question is open.

use std::collections::HashMap;

use rallypoint_protocol::Position;

use super::report::{Findings, Kind};
use crate::history::{ClientNo, Label, LogNo, What};

#[derive(Default)]
struct End {
    /// Where each view stands that is followed.
    views: HashMap<(ClientNo, LogNo), Position>,
    /// The record in which a client noticed that it is cut off, while it is.
    away: HashMap<ClientNo, usize>,
    /// Questions without an answer.
    open: HashMap<Label, (usize, ClientNo)>,
    heads: HashMap<LogNo, Position>,
    stopped: Vec<(usize, ClientNo, u16)>,
    quiet: bool,
}

pub(super) fn check(findings: &mut Findings<'_>) {
    let end = end(findings);
    for &(at, client, code) in &end.stopped {
        findings.add(Kind::Stopped, at, client, None, "to be let back", format!("close {code}"));
    }
    // A run that was broken off proves nothing about its end.
    if !end.quiet {
        return;
    }
    for (&client, &at) in &end.away {
        findings.add(Kind::Hangs, at, client, None, "to come back once faults are off", "still away");
    }
    for (label, &(at, client)) in &end.open {
        findings.add(Kind::Hangs, at, client, None, format!("an answer about {label}"), "none");
    }
    for (&(client, log), position) in &end.views {
        // Whoever stays a little longer than others sees them leave.
        let is_behind = |head: &&Position| position.epoch != head.epoch || position.seq < head.seq;
        let Some(head) = end.heads.get(&log).filter(is_behind) else { continue };
        let last = findings.history.records.len().saturating_sub(1);
        findings.add(Kind::Behind, last, client, log, format!("to be at the head {head}"), position.to_string());
    }
}

fn end(findings: &Findings<'_>) -> End {
    let mut end = End::default();
    for (at, record) in findings.history.records.iter().enumerate() {
        let client = record.client;
        match record.what {
            What::Quiet => end.quiet = true,
            What::Head { log, position } => _ = end.heads.insert(log, position),
            What::Stands { log, position, .. } | What::Event { log, position, .. } => {
                // An event out of order is told elsewhere, and does not bring anybody back.
                let known = end.views.entry((client, log)).or_insert(position);
                let stands = matches!(record.what, What::Stands { .. });
                if stands || known.epoch != position.epoch || known.seq < position.seq {
                    *known = position;
                }
            }
            What::Unfollows { log } => _ = end.views.remove(&(client, log)),
            What::Away => _ = end.away.entry(client).or_insert(at),
            What::Opened { .. } | What::Left => _ = end.away.remove(&client),
            What::Stopped { code } => {
                end.away.remove(&client);
                end.stopped.push((at, client, code));
            }
            What::Publishes { label, .. } | What::Signals { label, .. } => _ = end.open.insert(label, (at, client)),
            What::Answered { label, .. } => _ = end.open.remove(&label),
            _ => {}
        }
    }
    end
}
