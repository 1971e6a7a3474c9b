//! Nobody sees a member leave whose session came back, and nobody joins or leaves twice.

use std::collections::HashMap;

use rallypoint_protocol::event::LeaveReason;

use super::{
    content::{Body, Contents},
    report::{Findings, Kind},
    spans::Spans,
    views::Logs,
};
use crate::history::{Came, ClientNo, LogNo, PeerNo, What};

/// What peers of the run did, by their own word.
#[derive(Default)]
struct Told {
    /// Who a peer is.
    clients: HashMap<PeerNo, ClientNo>,
    /// When a session came back, by the server's clock.
    back: HashMap<PeerNo, Vec<(f64, usize)>>,
    /// When a node was hurt first.
    struck: Option<usize>,
    /// When a client began to leave a room.
    leaves: HashMap<(ClientNo, LogNo), Vec<usize>>,
}

pub(super) fn check(findings: &mut Findings<'_>, logs: &Logs, contents: &Contents, spans: &Spans) {
    let told = told(findings);
    let mut logs: Vec<_> = logs.iter().collect();
    logs.sort_unstable_by_key(|(name, _)| **name);
    for (&(log, _), life) in logs {
        let mut here: HashMap<PeerNo, bool> = HashMap::new();
        let mut last = None;
        for (&seq, entry) in &life.entries {
            // What nobody saw may have been anybody's coming and going.
            if last.is_some_and(|last: u64| last + 1 != seq) {
                here.clear();
            }
            last = Some(seq);
            let content = contents.of(entry.content);
            let (peer, came) = match content.body {
                Body::Joined(Some(peer)) => (peer, true),
                Body::Left(Some(peer), reason) => {
                    let leave = Leave { peer, reason, time: content.time, first: entry.first };
                    check_leave(findings, &told, spans, log, &leave);
                    (peer, false)
                }
                Body::NodeDown => {
                    findings.tally.deaths += 1;
                    if told.struck.is_none_or(|struck| struck > entry.first) {
                        let expected = "no death of a node that nobody has hurt";
                        findings.add(Kind::VisibleLeave, entry.first, None, log, expected, "node-down");
                    }
                    // Not all of those who went with it are listed.
                    here.clear();
                    continue;
                }
                _ => continue,
            };
            if here.insert(peer, came) == Some(came) {
                let word = if came { "joins" } else { "leaves" };
                let name = findings.history.peers.text(peer);
                let expected = format!("{name} to be {}", if came { "away" } else { "there" });
                let at = entry.first;
                findings.add(
                    Kind::PresenceOrder,
                    at,
                    told.clients.get(&peer).copied(),
                    log,
                    expected,
                    format!("it {word} again"),
                );
            }
        }
    }
}

fn told(findings: &Findings<'_>) -> Told {
    let mut told = Told::default();
    for (at, record) in findings.history.records.iter().enumerate() {
        match record.what {
            What::Opened { peer: Some(peer), came, time } => {
                told.clients.insert(peer, record.client);
                if came != Came::New {
                    told.back.entry(peer).or_default().push((time, at));
                }
            }
            What::Struck { of_members: true, .. } => told.struck = told.struck.or(Some(at)),
            What::Unfollows { log } => told.leaves.entry((record.client, log)).or_default().push(at),
            _ => {}
        }
    }
    told
}

struct Leave {
    peer: PeerNo,
    reason: LeaveReason,
    time: f64,
    /// The record in which it was first seen.
    first: usize,
}

fn check_leave(findings: &mut Findings<'_>, told: &Told, spans: &Spans, log: LogNo, leave: &Leave) {
    let client = told.clients.get(&leave.peer).copied();
    let reason = leave.reason;
    match reason {
        LeaveReason::Left => {
            let asked = client.and_then(|client| told.leaves.get(&(client, log)));
            if !asked.is_some_and(|asked| asked.iter().any(|&at| at < leave.first)) {
                findings.add(Kind::VisibleLeave, leave.first, client, log, "no leave that was not asked for", "left");
            }
        }
        // Said by the client itself, which is told at its end.
        LeaveReason::Closed => {}
        LeaveReason::Lost | LeaveReason::Slow | LeaveReason::Expired | LeaveReason::Shutdown | LeaveReason::Kicked => {
            let back = told.back.get(&leave.peer).into_iter().flatten();
            // A session that came back later had not ended. After a restart it is another one of the same name.
            let mut later = back.filter(|&&(time, _)| time > leave.time && spans.same_life(leave.time, time));
            if let Some(&(_, at)) = later.next() {
                let expected = format!("no leave of a peer that came back in record {at}");
                findings.add(Kind::VisibleLeave, leave.first, client, log, expected, format!("peer-left, {reason:?}"));
            }
        }
    }
}
