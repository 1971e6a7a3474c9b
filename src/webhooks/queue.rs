//! What waits for one receiver: a value that knows the time only as it is told. It says what to send now and when to ask
//! again, takes in what came of it, and stays within its bounds. The task in [`send`](super::send) does the rest.
//!
//! Events of a room stand in its lane, of which one is on its way at a time; so they arrive in their order, and other rooms
//! go on when one has to wait. What does not fit is told in the lane of its room, in its place.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rallypoint_protocol::{RoomName, event::Millis};
use rustc_hash::FxHashMap;

/// What an event costs beside its body.
const OVERHEAD: usize = 128;
/// Events of one room, so that a room that is flooded leaves place for others: such a share of all, or this many.
const ROOM_SHARE: usize = 8;
const ROOM_LEAST: usize = 64;
/// A receiver that asks for more time gets this much at most.
const AFTER_MAX_MS: u64 = 3_600_000;

/// The bounds of a queue, and its patience.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) events: usize,
    pub(super) bytes: usize,
    pub(super) concurrency: usize,
    /// Before the first retry of an event; each further one waits twice as long, up to `most_ms`.
    pub(super) first_ms: u64,
    pub(super) most_ms: u64,
    /// An event that is older is not tried again.
    pub(super) give_up_ms: u64,
}

/// A room, or none for what is told of rooms that are not named.
pub(super) type Lane = Option<RoomName>;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivery {
    pub(super) lane: Lane,
    /// The same each time that it is tried.
    pub(super) id: Box<str>,
    pub(super) load: Load,
}

/// What a delivery brings.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Load {
    Event(Bytes),
    /// So many events of the lane are missing here, the first of them since this moment.
    Lost(u64, Millis),
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// The receiver does not want it, now or ever.
    Refused,
    /// It may be taken another time, after so many milliseconds if the receiver said so.
    Again(Option<u64>),
}

struct Item {
    id: Box<str>,
    time: Millis,
    load: Load,
}

#[derive(Clone, Copy, PartialEq)]
enum Stands {
    Ready,
    Waits(Due),
    /// Its first item is on its way.
    Sent,
}

struct Waiting {
    items: VecDeque<Item>,
    stands: Stands,
    /// How often the first item was tried.
    tries: u32,
}

/// A moment in microseconds, and a number that tells lanes with the same one apart.
type Due = (u64, u64);

/// What waits for one receiver.
pub(super) struct Queue {
    terms: Terms,
    lanes: FxHashMap<Lane, Waiting>,
    /// Lanes whose first item may be sent, the one that has waited longest first.
    ready: VecDeque<Lane>,
    waiting: BTreeMap<Due, Lane>,
    last_due: u64,
    on_their_way: usize,
    events: usize,
    bytes: usize,
    /// Failures in a row, of different lanes.
    failures: u32,
    last_failed: Option<Lane>,
    /// Nothing is sent before: the receiver has asked for it, or is down.
    rests_until: Option<Millis>,
}

impl Queue {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            lanes: FxHashMap::default(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            last_due: 0,
            on_their_way: 0,
            events: 0,
            bytes: 0,
            failures: 0,
            last_failed: None,
            rests_until: None,
        }
    }

    /// Takes an event of a room. `false` if it did not fit: then the receiver will be told that it is missing.
    pub(super) fn push(&mut self, room: &RoomName, id: &str, body: Bytes, now: Millis) -> bool {
        let cost = body.len() + OVERHEAD;
        let lane = Some(room.clone());
        let share = (self.terms.events / ROOM_SHARE).max(ROOM_LEAST);
        let of_room = self.lanes.get(&lane).map_or(0, |waiting| waiting.items.len());
        let fits = self.events < self.terms.events && self.bytes + cost <= self.terms.bytes && of_room < share;
        if fits {
            (self.events, self.bytes) = (self.events + 1, self.bytes + cost);
            self.append(lane, Item { id: id.into(), time: now, load: Load::Event(body) });
            return true;
        }
        // For rooms beyond so many, all that is told is that there are some.
        let named = of_room > 0 || self.lanes.len() < self.terms.events;
        self.lose(if named { lane } else { None }, &loss_of(id), 1, now, now);
        false
    }

    fn lose(&mut self, lane: Lane, id: &str, count: u64, since: Millis, now: Millis) {
        match self.lanes.get_mut(&lane).and_then(Waiting::open_loss) {
            Some(known) => *known += count,
            None => self.append(lane, Item { id: id.into(), time: now, load: Load::Lost(count, since) }),
        }
    }

    fn append(&mut self, lane: Lane, item: Item) {
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            return waiting.items.push_back(item);
        }
        let waiting = Waiting { items: VecDeque::from([item]), stands: Stands::Ready, tries: 0 };
        self.lanes.insert(lane.clone(), waiting);
        self.ready.push_back(lane);
    }

    /// What to send now, if anything. Each delivery has to be answered with [`done`](Self::done).
    pub(super) fn next(&mut self, now: Millis) -> Option<Delivery> {
        if self.rests_until.is_some_and(|until| until > now) || self.on_their_way >= self.most_on_their_way() {
            return None;
        }
        self.rests_until = None;
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= micros(now)) {
            let lane = first.remove();
            self.make_ready(lane);
        }
        let lane = self.ready.pop_front()?;
        let waiting = self.lanes.get_mut(&lane)?;
        let Item { id, load, .. } = waiting.items.front()?;
        let delivery = Delivery { id: id.clone(), load: load.clone(), lane };
        waiting.stands = Stands::Sent;
        waiting.tries += 1;
        self.on_their_way += 1;
        Some(delivery)
    }

    fn make_ready(&mut self, lane: Lane) {
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            waiting.stands = Stands::Ready;
            self.ready.push_back(lane);
        }
    }

    /// When there may be something to send although nothing happens.
    pub(super) fn wakes(&self) -> Option<Millis> {
        if self.on_their_way >= self.most_on_their_way() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "moments are below 2^53")]
        let first = self.waiting.first_key_value().map(|((due, _), _)| Millis(*due as f64 / 1000.0));
        // What is ready and is not sent waits for the end of the rest.
        let due = if self.ready.is_empty() { first? } else { Millis(0.0) };
        Some(self.rests_until.map_or(due, |until| if until > due { until } else { due }))
    }

    /// Takes in what became of a delivery. `jitter` is from 0 to 1. Returns how many events were given up for their age.
    pub(super) fn done(&mut self, lane: Lane, outcome: Outcome, now: Millis, jitter: f64) -> u64 {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        let Some(waiting) = self.lanes.get_mut(&lane) else { return 0 };
        let Outcome::Again(after) = outcome else {
            if let Some(Item { load: Load::Event(body), .. }) = waiting.items.pop_front() {
                (self.events, self.bytes) = (self.events - 1, self.bytes - body.len() - OVERHEAD);
            }
            waiting.tries = 0;
            if self.settle(&lane, now) {
                self.make_ready(lane);
            }
            let was_down = self.is_down();
            (self.failures, self.last_failed) = (0, None);
            if was_down {
                self.hurry();
            }
            return 0;
        };
        let given_up = if waiting.is_too_old(self.terms.give_up_ms, now) { self.give_up(&lane, now) } else { 0 };
        let due = now.after(self.pause_ms(self.lanes.get(&lane).map_or(0, |waiting| waiting.tries), jitter));
        self.last_due += 1;
        let due = (micros(due), self.last_due);
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            waiting.stands = Stands::Waits(due);
            self.waiting.insert(due, lane.clone());
        }
        // One event that the receiver cannot digest does not mean that it is down.
        if self.last_failed.as_ref() != Some(&lane) {
            self.failures = self.failures.saturating_add(1);
            self.last_failed = Some(lane);
        }
        let asked = after.map(|ms| ms.min(AFTER_MAX_MS));
        let down = self.is_down().then(|| self.pause_ms(self.failures - self.down_at() + 1, jitter));
        if let Some(ms) = asked.max(down) {
            let until = now.after(ms);
            self.rests_until = Some(self.rests_until.map_or(until, |rests| if rests > until { rests } else { until }));
        }
        given_up
    }

    /// The first item of a lane becomes a loss in its place; returns how many events that were.
    fn give_up(&mut self, lane: &Lane, now: Millis) -> u64 {
        let Some(waiting) = self.lanes.get_mut(lane) else { return 0 };
        let Some(Item { id, time: since, load: Load::Event(body) }) =
            waiting.items.pop_front_if(|first| matches!(first.load, Load::Event(_)))
        else {
            return 0;
        };
        (self.events, self.bytes) = (self.events - 1, self.bytes - body.len() - OVERHEAD);
        waiting.tries = 0;
        // A loss that follows has not been tried, and is the same one.
        let more = match waiting.items.front() {
            Some(Item { load: Load::Lost(more, _), .. }) => *more,
            _ => 0,
        };
        if more > 0 {
            waiting.items.pop_front();
        }
        waiting.items.push_front(Item { id: loss_of(&id), time: now, load: Load::Lost(1 + more, since) });
        self.settle(lane, now);
        1
    }

    /// Looks at a lane whose first item was not tried yet. It goes when it is empty, and when there are too many lanes and
    /// all that it has is a loss: that is told without its name then. Whether the lane is still there.
    fn settle(&mut self, lane: &Lane, now: Millis) -> bool {
        let Some(waiting) = self.lanes.get(lane) else { return false };
        match waiting.items.front() {
            None => {}
            Some(Item { load: Load::Lost(count, since), id, .. })
                if waiting.items.len() == 1 && lane.is_some() && self.lanes.len() > self.terms.events =>
            {
                let (count, since, id) = (*count, *since, id.clone());
                self.lose(None, &id, count, since, now);
            }
            Some(_) => return true,
        }
        self.lanes.remove(lane);
        false
    }

    /// Has everything tried at once: the receiver is up again, or time is short.
    pub(super) fn hurry(&mut self) {
        self.rests_until = None;
        (self.failures, self.last_failed) = (0, None);
        for (_, lane) in std::mem::take(&mut self.waiting) {
            self.make_ready(lane);
        }
    }

    fn pause_ms(&self, tries: u32, jitter: f64) -> u64 {
        let doubled = self.terms.first_ms.saturating_mul(1 << tries.saturating_sub(1).min(32));
        let most = doubled.min(self.terms.most_ms);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "at most an hour"
        )]
        let share = (most as f64 * (0.5 + jitter.clamp(0.0, 1.0) / 2.0)) as u64;
        share
    }

    fn down_at(&self) -> u32 {
        u32::try_from(self.terms.concurrency).unwrap_or(u32::MAX).max(2)
    }

    /// Whether so many failed in a row that the rest need not be tried as well.
    fn is_down(&self) -> bool {
        self.failures >= self.down_at()
    }

    fn most_on_their_way(&self) -> usize {
        if self.is_down() { 1 } else { self.terms.concurrency }
    }

    /// Events that wait.
    pub(super) fn len(&self) -> usize {
        self.events
    }

    /// Whether nothing waits and nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How long the oldest has waited, milliseconds.
    pub(super) fn oldest_ms(&self, now: Millis) -> f64 {
        let first = self.lanes.values().filter_map(|waiting| waiting.items.front());
        first.map(|item| now.since(item.time)).fold(0.0, f64::max)
    }
}

impl Waiting {
    /// The count of a loss at the end of the lane, if it has not been told yet.
    fn open_loss(&mut self) -> Option<&mut u64> {
        let is_first = self.items.len() == 1;
        let tried = is_first && self.tries > 0;
        match self.items.back_mut() {
            Some(Item { load: Load::Lost(count, _), .. }) if !tried => Some(count),
            _ => None,
        }
    }

    fn is_too_old(&self, give_up_ms: u64, now: Millis) -> bool {
        self.items.front().is_some_and(|first| first.time.after(give_up_ms) <= now)
    }
}

fn micros(moment: Millis) -> u64 {
    Millis((moment.0 * 1000.0).round()).whole()
}

/// The id of a loss that begins with this event.
fn loss_of(id: &str) -> Box<str> {
    format!("lost-{id}").into()
}

#[cfg(test)]
mod tests;
