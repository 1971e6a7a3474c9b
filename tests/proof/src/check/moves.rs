//! Reliable moves arrive once and in order; latest ones never go backwards, and the newest arrives.

use std::collections::{HashMap, HashSet};

use rallypoint_protocol::moves::Lane;

use super::{
    report::{Findings, Kind},
    spans::{END, Loss, Spans, Stay},
};
use crate::history::{ClientNo, LogNo, Role, What};

#[derive(Clone, Copy)]
struct Sent {
    at: usize,
    seq: u32,
    lane: Lane,
    key: u16,
}

#[derive(Clone, Copy)]
struct Got {
    at: usize,
    handle: u32,
    seq: u32,
    lane: Lane,
    key: u16,
}

/// All moves of one sender in one room, in its order.
type BySender = HashMap<(ClientNo, LogNo), Vec<Sent>>;
/// All moves that one member received of one sender in one room, in the order in which they came.
type ByPair = HashMap<(ClientNo, LogNo, ClientNo), Vec<Got>>;

pub(super) fn check(findings: &mut Findings<'_>, spans: &Spans) {
    let sent = sent(findings);
    let got = got(findings, spans);
    let mut pairs: Vec<_> = sent.keys().copied().collect();
    pairs.sort_unstable();
    for (sender, room) in pairs {
        let sent = &sent[&(sender, room)];
        let mut guests: Vec<_> = spans.guests(room).collect();
        guests.sort_unstable();
        for to in guests.into_iter().filter(|&to| to != sender && findings.history.role(to) == Role::Member) {
            let got = got.get(&(to, room, sender)).map_or(&[][..], Vec::as_slice);
            let mut pair = Pair { findings, spans, sender, to, room, sent, got };
            pair.known();
            pair.reliable();
            pair.latest();
        }
    }
}

fn sent(findings: &Findings<'_>) -> BySender {
    let mut sent = BySender::new();
    for (at, record) in findings.history.records.iter().enumerate() {
        match record.what {
            What::Moves { room, lane, key, seq } => {
                sent.entry((record.client, room)).or_default().push(Sent { at, seq, lane, key });
            }
            What::Unmoved { room, seq } => {
                let list = sent.entry((record.client, room)).or_default();
                list.retain(|sent| sent.seq != seq);
            }
            _ => {}
        }
    }
    sent
}

/// What came; on the way, that a handle stands for one sender as long as its receiver stays.
fn got(findings: &mut Findings<'_>, spans: &Spans) -> ByPair {
    let mut got = ByPair::new();
    let mut handles: HashMap<(ClientNo, LogNo, usize, u32), ClientNo> = HashMap::new();
    for (at, record) in findings.history.records.iter().enumerate() {
        let What::Moved { room, from, handle, lane, key, seq } = record.what else { continue };
        let to = record.client;
        match lane {
            Lane::Reliable => findings.tally.reliable += 1,
            Lane::Latest => findings.tally.latest += 1,
        }
        got.entry((to, room, from)).or_default().push(Got { at, handle, seq, lane, key });
        let Some(stay) = spans.stay_at(to, room, at) else { continue };
        let known = *handles.entry((to, room, stay.from, handle)).or_insert(from);
        if known != from {
            let expected = format!("handle {handle} to be {}", findings.history.client_name(known));
            let seen = findings.history.client_name(from);
            findings.add(Kind::HandleReused, at, to, room, expected, seen);
        }
    }
    got
}

/// Those whose record lies between two others; they are in the order of their records.
fn between<T>(list: &[T], at: impl Fn(&T) -> usize, from: usize, to: usize) -> &[T] {
    let begin = list.partition_point(|item| at(item) <= from);
    let end = list.partition_point(|item| at(item) < to);
    &list[begin..end.max(begin)]
}

/// What went from one member to another in one room.
struct Pair<'f, 'h, 's> {
    findings: &'f mut Findings<'h>,
    spans: &'s Spans,
    sender: ClientNo,
    to: ClientNo,
    room: LogNo,
    sent: &'s [Sent],
    got: &'s [Got],
}

impl Pair<'_, '_, '_> {
    fn add(&mut self, kind: Kind, at: usize, expected: String, seen: impl Into<String>) {
        let from = self.findings.history.client_name(self.sender);
        self.findings.add(kind, at, self.to, self.room, format!("{expected} of {from}"), seen);
    }

    /// Whatever came was sent before, like this.
    fn known(&mut self) {
        let sent: HashMap<u32, &Sent> = self.sent.iter().map(|sent| (sent.seq, sent)).collect();
        for got in self.got {
            let good = sent.get(&got.seq).is_some_and(|s| (s.lane, s.key) == (got.lane, got.key) && s.at < got.at);
            if !good {
                self.add(
                    Kind::Invented,
                    got.at,
                    "moves".to_owned(),
                    format!("{:?} {} that was not sent", got.lane, got.seq),
                );
            }
        }
    }

    fn reliable(&mut self) {
        let mut arrived: HashMap<u32, usize> = HashMap::new();
        // Of the stay in which the last one came: where it began, and the newest so far.
        let mut newest: Option<(usize, u32)> = None;
        for got in self.got.iter().filter(|got| got.lane == Lane::Reliable) {
            if let Some(earlier) = arrived.insert(got.seq, got.at) {
                self.add(
                    Kind::MoveTwice,
                    got.at,
                    format!("move {} once, in record {earlier},", got.seq),
                    "the same again",
                );
                continue;
            }
            let stay = self.spans.stay_at(self.to, self.room, got.at).map_or(0, |stay| stay.from);
            match newest {
                Some((own, seq)) if own == stay && seq > got.seq => {
                    self.add(Kind::MoveOrder, got.at, format!("move {} before {seq}", got.seq), "it came after");
                }
                _ => newest = Some((stay, got.seq)),
            }
        }
        let stays = self.spans.stays(self.to, self.room);
        let arrived = arrived.into_keys().collect();
        for stay in stays {
            self.none_is_missing(stay, &arrived);
        }
    }

    /// What was sent while the receiver stayed has arrived if a later one of the same stay of its sender did, or if
    /// both stayed to the end.
    fn none_is_missing(&mut self, stay: &Stay, arrived: &HashSet<u32>) {
        for own in self.spans.stays(self.sender, self.room) {
            let (from, to) = (own.from.max(stay.from), own.to.min(stay.to));
            if from >= to {
                continue;
            }
            let sent = between(self.sent, |sent| sent.at, from, to);
            let got = between(self.got, |got| got.at, stay.from, stay.to.min(own.proves_until));
            let from_here = |got: &&Got| {
                let sent = self.sent.binary_search_by_key(&got.seq, |sent| sent.seq);
                got.lane == Lane::Reliable && sent.is_ok_and(|index| own.has(self.sent[index].at))
            };
            let newest = got.iter().filter(from_here).map(|got| got.seq).max();
            let to_the_end = stay.is_last() && own.is_last() && self.spans.quiet.is_some();
            let due = |sent: &&Sent| {
                sent.lane == Lane::Reliable && (to_the_end || newest.is_some_and(|newest| sent.seq < newest))
            };
            let is_told = |sent: &&Sent| self.is_before_another(stay, own, sent.seq);
            let missing = sent.iter().filter(due).filter(|sent| !arrived.contains(&sent.seq) && !is_told(sent));
            let missing: Vec<_> = missing.collect();
            for sent in missing {
                let seen = newest.map_or_else(|| "none".to_owned(), |newest| format!("others up to {newest}"));
                // Shown where the first later one came, since that is where it should have stood.
                let next = self.got.iter().find(|got| stay.has(got.at) && got.seq > sent.seq);
                self.add(
                    Kind::MoveLost,
                    next.map_or(sent.at, |got| got.at),
                    format!("reliable move {}", sent.seq),
                    seen,
                );
            }
        }
    }

    /// Whether its loss was told to either side: what came next of the sender was the first of another membership of it.
    fn is_before_another(&self, stay: &Stay, own: &Stay, seq: u32) -> bool {
        let reliable = || self.got.iter().filter(|got| got.lane == Lane::Reliable && stay.has(got.at));
        let next = reliable().find(|got| got.seq > seq);
        let next_at = next.map_or(END, |next| next.at);
        let is_told = own.loss == Loss::Reset || self.spans.saw_death(self.to, self.room, stay, next_at);
        is_told && next.is_none_or(|next| reliable().all(|got| got.handle != next.handle || got.seq > seq))
    }

    fn latest(&mut self) {
        // Under another handle the sender is another member, which tells anew where it stands.
        let mut newest: HashMap<(usize, u32, u16), u32> = HashMap::new();
        let mut last: HashMap<u16, u32> = HashMap::new();
        for got in self.got.iter().filter(|got| got.lane == Lane::Latest) {
            let stay = self.spans.stay_at(self.to, self.room, got.at).map_or(0, |stay| stay.from);
            last.insert(got.key, got.seq);
            let before = newest.insert((stay, got.handle, got.key), got.seq);
            if let Some(before) = before.filter(|&before| before >= got.seq) {
                let seen = format!("{}", got.seq);
                self.add(Kind::LatestBackwards, got.at, format!("moves of key {} after {before}", got.key), seen);
            }
        }
        self.newest_arrived(&last);
    }

    /// While faults are off nothing stands in the way of the newest.
    fn newest_arrived(&mut self, last: &HashMap<u16, u32>) {
        let Some(quiet) = self.spans.quiet else { return };
        let final_stay = |client| self.spans.stays(client, self.room).last().copied().filter(Stay::is_last);
        let (Some(own), Some(stay)) = (final_stay(self.sender), final_stay(self.to)) else { return };
        let mut newest: HashMap<u16, &Sent> = HashMap::new();
        for sent in self.sent.iter().filter(|sent| sent.lane == Lane::Latest) {
            newest.insert(sent.key, sent);
        }
        for (key, sent) in newest {
            let due = sent.at > quiet && own.has(sent.at) && stay.has(sent.at);
            if due && last.get(&key) != Some(&sent.seq) {
                let seen = last.get(&key).map_or_else(|| "none".to_owned(), |seq| format!("{seq} as the last"));
                self.add(Kind::LatestLost, sent.at, format!("latest move {} of key {key}", sent.seq), seen);
            }
        }
    }
}
