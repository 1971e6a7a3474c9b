//! Every log as each client saw it: whole, in order, each event once, and the same for everybody.

use std::collections::{BTreeMap, HashMap, HashSet};

use rallypoint_protocol::{Position, position::Tag};

use super::{
    content::{Body, Contents},
    report::{Findings, Kind},
};
use crate::history::{Came, ClientNo, ContentNo, LogNo, Outcome, PeerNo, What, Why};

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
    /// What may be the client's own `peer-joined` among the events that it had missed when it was shown the room: its
    /// number, and the record in which that showed.
    own: Option<(u64, usize)>,
    /// The session came back with something lost: a reset is due, or the room is entered anew.
    owed_reset: bool,
}

/// An event of which a client says that it was its own `peer-joined`, which nobody is shown: the life of its log, its
/// number, and the record in which that showed.
type Own = (ClientNo, (LogNo, u64), u64, usize);

pub(super) fn check(findings: &mut Findings<'_>, contents: &Contents) -> Logs {
    let history = findings.history;
    let mut views: HashMap<(ClientNo, LogNo), View> = HashMap::new();
    let mut logs = Logs::new();
    let mut own: Vec<Own> = Vec::new();
    let mut peers: HashSet<(ClientNo, PeerNo)> = HashSet::new();
    for (at, record) in history.records.iter().enumerate() {
        let client = record.client;
        match record.what {
            What::Opened { came, peer, .. } => {
                peers.extend(peer.map(|peer| (client, peer)));
                for ((own, log), view) in &mut views {
                    if *own == client {
                        // What was missed comes in one piece with where the room stands.
                        view.skipped.extend(view.own.take());
                        view.anew |= came == Came::New;
                        // A user's own log is read on by its position, whatever became of the session. A reset that was
                        // lost on its way is owed no more when the session is resumed from where the view stands.
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
                let passed = Looker { findings, client, log, at }.stands(view, position, why);
                own.extend(passed.map(|(seq, at)| (client, (log, position.epoch), seq, at)));
            }
            What::Unfollows { log } => {
                let view = views.entry((client, log)).or_default();
                Looker { findings, client, log, at }.settle(view);
                *view = View { last: None, ..View::default() };
            }
            What::Event { log, position, content } => {
                let view = views.entry((client, log)).or_default();
                let is_whole = !matches!(contents.of(content).body, Body::NodeDown);
                let chained = Looker { findings, client, log, at }.event(view, position, content, is_whole);
                let life =
                    logs.entry((log, position.epoch)).or_insert_with(|| Life { entries: BTreeMap::new(), first: at });
                if chained && matches!(contents.of(content).body, Body::NodeDown) {
                    // Whoever is there for some is not named to them.
                    let entry =
                        life.entries.entry(position.seq).or_insert(Entry { tag: position.tag, content, first: at });
                    if entry.tag != position.tag {
                        let (others, told) = (entry.tag.to_string(), position.tag.to_string());
                        findings.add(Kind::Disagreement, at, client, log, others, told);
                    }
                } else if chained {
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
    for (client, life, seq, at) in own {
        let content =
            logs.get(&life).and_then(|life| life.entries.get(&seq)).map(|entry| contents.of(entry.content).body);
        let is_own = |body| matches!(body, Body::Joined(Some(peer)) if peers.contains(&(client, peer)));
        if !content.is_some_and(is_own) {
            let expected = format!("event {seq}, or a reset");
            findings.add(Kind::Gap, at, client, life.0, expected, "the events after it");
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

    fn is_of_user(&self) -> bool {
        self.findings.history.logs.bytes(self.log).starts_with(b"user/")
    }

    /// Events that were skipped and did not come later are a gap.
    fn settle(&mut self, view: &mut View) {
        for (seq, at) in std::mem::take(&mut view.skipped).into_iter().chain(view.own.take()) {
            let expected = format!("event {seq}, or a reset");
            self.findings.add(Kind::Gap, at, self.client, self.log, expected, "the events after it");
        }
    }

    /// Takes in where the client is told to stand; returns what must have been its own `peer-joined`.
    fn stands(&mut self, view: &mut View, position: Position, why: Why) -> Option<(u64, usize)> {
        let passed = view.own.take_if(|_| why == Why::Caught);
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
                let own = u64::from(view.anew && passed.is_none());
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
        passed
    }

    /// Takes in an event, of which all was told that the log keeps or not; whether it follows from what the view had.
    fn event(&mut self, view: &mut View, position: Position, content: ContentNo, is_whole: bool) -> bool {
        let Some(last) = view.last.filter(|_| view.open) else {
            self.add(Kind::Unasked, "no event of a room that is not followed", position.to_string());
            return false;
        };
        if view.owed_reset {
            view.owed_reset = false;
            self.add(Kind::Silence, "a reset after resumed: false", format!("the event {position}"));
        }
        // Who stood where no log of the user's was goes on with its first event.
        let is_born = last.seq == 0 && position.seq == 1 && self.is_of_user();
        let last = if is_born { Position::start(position.epoch) } else { last };
        if position.epoch != last.epoch {
            self.add(Kind::Gap, format!("the event after {last}, or a reset"), format!("{position}, of another epoch"));
            (view.last, view.start) = (Some(position), position.seq);
            return false;
        }
        if position.seq <= last.seq {
            let was_passed = view.own.take_if(|(seq, _)| *seq == position.seq).is_some();
            if was_passed || view.skipped.remove(&position.seq).is_some() || position.seq <= view.start {
                self.add(Kind::Reordered, format!("the event after {last}"), position.to_string());
            } else {
                self.add(Kind::Duplicate, format!("the event after {last}"), position.to_string());
            }
            return false;
        }
        view.last = Some(position);
        if view.anew && view.own.is_none() && position.seq == last.seq + 2 {
            view.own = Some((last.seq + 1, self.at));
            return false;
        }
        if position.seq > last.seq + 1 {
            view.skipped.extend((last.seq + 1..position.seq).map(|seq| (seq, self.at)));
            return false;
        }
        let expected = last.next(self.findings.history.contents.bytes(content));
        if expected != position && is_whole {
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
