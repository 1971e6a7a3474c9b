//! Every log as each client saw it: whole, in order, each event once, and the same for everybody.

use std::collections::{BTreeMap, HashMap};

use rallypoint_protocol::{Position, position::Tag};

use super::report::{Findings, Kind};
use crate::history::{Came, ClientNo, ContentNo, LogNo, Outcome, What, Why};

/// An event of a log, as its observers agree on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) tag: Tag,
    pub(super) content: ContentNo,
    /// The record in which it was first seen.
    pub(super) first: usize,
}

/// One life of a log, put together from all views of it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) entries: BTreeMap<u64, Entry>,
    /// The record in which this life was first heard of.
    pub(super) first: usize,
}

/// All logs, by name and epoch.
pub(super) type Logs = HashMap<(LogNo, u64), Life>;

#[derive(Debug, Default)]
struct View {
    /// The last position; `None`: the client has never followed this log.
    last: Option<Position>,
    /// The sequence number at which this piece of the view begins.
    start: u64,
    /// Events that were skipped, and the record in which that showed.
    skipped: BTreeMap<u64, usize>,
    open: bool,
    /// There is a new session, in which the view may begin anew.
    anew: bool,
    /// The session came back with something lost: a reset is due, or the room is entered anew.
    owed_reset: bool,
}

pub(super) fn check(findings: &mut Findings<'_>) -> Logs {
    let history = findings.history;
    let mut views: HashMap<(ClientNo, LogNo), View> = HashMap::new();
    let mut logs = Logs::new();
    for (at, record) in history.records.iter().enumerate() {
        let client = record.client;
        match record.what {
            What::Opened { came, .. } if came != Came::Resumed => {
                for ((own, log), view) in &mut views {
                    if *own == client {
                        view.anew |= came == Came::New;
                        // A user's own log is read on by its position, whatever became of the session.
                        let of_room = !history.logs.bytes(*log).starts_with(b"user/");
                        view.owed_reset = came == Came::Restored && of_room && view.open;
                    }
                }
            }
            What::Stands { log, position, why } => {
                let life =
                    logs.entry((log, position.epoch)).or_insert_with(|| Life { entries: BTreeMap::new(), first: at });
                life.first = life.first.min(at);
                let view = views.entry((client, log)).or_default();
                Looker { findings, client, log, at }.stands(view, position, why);
            }
            What::Unfollows { log } => {
                let view = views.entry((client, log)).or_default();
                Looker { findings, client, log, at }.settle(view);
                *view = View { last: None, ..View::default() };
            }
            What::Event { log, position, content } => {
                let view = views.entry((client, log)).or_default();
                let chained = Looker { findings, client, log, at }.event(view, position, content);
                let life =
                    logs.entry((log, position.epoch)).or_insert_with(|| Life { entries: BTreeMap::new(), first: at });
                if chained {
                    let new = Entry { tag: position.tag, content, first: at };
                    let known = *life.entries.entry(position.seq).or_insert(new);
                    if (known.tag, known.content) != (new.tag, new.content) {
                        let told =
                            |entry: &Entry| format!("{} with tag {}", history.contents.text(entry.content), entry.tag);
                        let others = format!("{} as in record {}", told(&known), known.first);
                        findings.add(Kind::Disagreement, at, client, log, others, told(&new));
                    }
                }
            }
            _ => {}
        }
    }
    for (&(client, log), view) in &mut views {
        let at = history.records.len().saturating_sub(1);
        Looker { findings, client, log, at }.settle(view);
        if view.owed_reset && view.open {
            findings.add(Kind::Silence, at, client, log, "a reset after resumed: false", "the end of the run");
        }
    }
    tags_agree(findings, &logs);
    findings.tally.distinct = logs.values().map(|life| life.entries.len()).sum();
    logs
}

/// One look at one view.
struct Looker<'f, 'h> {
    findings: &'f mut Findings<'h>,
    client: ClientNo,
    log: LogNo,
    at: usize,
}

impl Looker<'_, '_> {
    fn add(&mut self, kind: Kind, expected: impl Into<String>, seen: impl Into<String>) {
        self.findings.add(kind, self.at, self.client, self.log, expected, seen);
    }

    /// Events that were skipped and did not come later are a gap.
    fn settle(&mut self, view: &mut View) {
        for (seq, at) in std::mem::take(&mut view.skipped) {
            let expected = format!("event {seq}, or a reset");
            self.findings.add(Kind::Gap, at, self.client, self.log, expected, "the events after it");
        }
    }

    fn stands(&mut self, view: &mut View, position: Position, why: Why) {
        match (why, view.last) {
            (Why::New, Some(last)) if view.open && !view.anew => {
                self.add(
                    Kind::Unasked,
                    format!("the view to go on from {last}"),
                    format!("it begins anew at {position}"),
                );
            }
            (Why::Caught, Some(last)) => {
                // The one event that nobody is shown is one's own `peer-joined`, which a new membership begins with.
                let own = u64::from(view.anew);
                let whole = position == last || position.epoch == last.epoch && position.seq == last.seq + own;
                if !whole {
                    let kind = if (position.epoch, position.seq) == (last.epoch, last.seq) {
                        Kind::WrongTag
                    } else if position.epoch == last.epoch && position.seq < last.seq {
                        Kind::Reordered
                    } else {
                        Kind::Gap
                    };
                    self.add(kind, format!("to have caught up to {last}"), position.to_string());
                }
            }
            _ => {}
        }
        if why != Why::Caught || view.last.is_none() {
            self.settle(view);
            view.start = position.seq;
        }
        (view.last, view.open, view.anew, view.owed_reset) = (Some(position), true, false, false);
    }

    /// Takes in an event; whether it follows from what the view had.
    fn event(&mut self, view: &mut View, position: Position, content: ContentNo) -> bool {
        let Some(last) = view.last.filter(|_| view.open) else {
            self.add(Kind::Unasked, "no event of a room that is not followed", position.to_string());
            return false;
        };
        if view.owed_reset {
            view.owed_reset = false;
            self.add(Kind::Silence, "a reset after resumed: false", format!("the event {position}"));
        }
        if position.epoch != last.epoch {
            self.add(Kind::Gap, format!("the event after {last}, or a reset"), format!("{position}, of another epoch"));
            (view.last, view.start) = (Some(position), position.seq);
            return false;
        }
        if position.seq <= last.seq {
            if view.skipped.remove(&position.seq).is_some() || position.seq <= view.start {
                self.add(Kind::Reordered, format!("the event after {last}"), position.to_string());
            } else {
                self.add(Kind::Duplicate, format!("the event after {last}"), position.to_string());
            }
            return false;
        }
        view.last = Some(position);
        if position.seq > last.seq + 1 {
            view.skipped.extend((last.seq + 1..position.seq).map(|seq| (seq, self.at)));
            return false;
        }
        let expected = last.next(self.findings.history.contents.bytes(content));
        if expected != position {
            self.add(Kind::WrongTag, expected.to_string(), position.to_string());
            return false;
        }
        true
    }
}

/// A position that was told without its event names the same log.
fn tags_agree(findings: &mut Findings<'_>, logs: &Logs) {
    let history = findings.history;
    let mut asked = HashMap::new();
    for (at, record) in history.records.iter().enumerate() {
        let (log, position) = match record.what {
            What::Stands { log, position, .. } | What::Head { log, position } => (log, position),
            What::Publishes { log, label } => {
                asked.insert(label, log);
                continue;
            }
            What::Answered { label, outcome: Outcome::Done(Some(position)) } => match asked.get(&label) {
                Some(&log) => (log, position),
                None => continue,
            },
            _ => continue,
        };
        let known = match position.seq {
            0 => Some(Tag::default()),
            seq => logs.get(&(log, position.epoch)).and_then(|life| life.entries.get(&seq)).map(|entry| entry.tag),
        };
        if let Some(tag) = known.filter(|&tag| tag != position.tag) {
            let expected = Position { tag, ..position };
            findings.add(Kind::Disagreement, at, record.client, log, expected.to_string(), position.to_string());
        }
    }
}
