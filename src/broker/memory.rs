//! The in-memory engine: one node, nothing to install, gone with the process.

use std::{
    collections::VecDeque,
    future::{pending, ready},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::DashMap;
use parking_lot::Mutex;
use rallypoint_protocol::{
    PeerId, Position, RoomName,
    code::ErrorCode,
    event::{Entry, Millis},
};

use super::{
    Broker, Ceilings, Change, Dedup, Ends, Log, Opened, Pending, PublishError, Published, Subscriber, Unavailable,
    Unread,
    parcel::{Parcel, Whisper},
};
use crate::{
    node::NodeId,
    room::history::{Append, History, Publication},
};

/// Keys are remembered this long.
const DEDUP_MS: u64 = 5 * 60 * 1000;
/// Keys remembered per log.
const DEDUP_MAX: usize = 256;
/// Logs share this many counters of lives; see [`Memory::epoch`].
const LIVES: usize = 4096;

struct Kept {
    history: History,
    dedup: VecDeque<(Dedup, Position, Millis)>,
    /// Rooms of this node that go on from it.
    open: usize,
    /// Set under the lock when the log leaves the map, so that nobody appends to a ghost.
    gone: bool,
}

/// All logs of one process.
pub struct Memory {
    node: NodeId,
    logs: DashMap<RoomName, Arc<Mutex<Kept>>>,
    ceilings: Ceilings,
    bytes: AtomicUsize,
    seed: RandomState,
    lives: Box<[AtomicU64]>,
    subscriber: Weak<dyn Subscriber>,
}

impl Memory {
    /// An engine that delivers to `subscriber`.
    pub fn new(node: NodeId, ceilings: Ceilings, subscriber: Weak<dyn Subscriber>) -> Self {
        let lives = (0..LIVES).map(|_| AtomicU64::new(0)).collect();
        let (logs, bytes, seed) = (DashMap::new(), AtomicUsize::new(0), RandomState::new());
        Self { node, logs, ceilings, bytes, seed, lives, subscriber }
    }

    fn life(&self, name: &RoomName) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "reduced to the table's size anyway")]
        let at = self.seed.hash_one(name) as usize % LIVES;
        &self.lives[at]
    }

    /// The epoch of a log's present or next life. A log that never had an event costs nothing,
    /// yet has a position: the epoch is derived from the name and from how many logs of its
    /// group have ended that had events, so that no event of an ended life is taken for one of the next.
    fn epoch(&self, name: &RoomName) -> u64 {
        self.seed.hash_one((name, self.life(name).load(Ordering::Acquire)))
    }

    fn find(&self, name: &RoomName) -> Option<Arc<Mutex<Kept>>> {
        self.logs.get(name).map(|kept| kept.value().clone())
    }

    fn find_or_create(&self, log: Log<'_>) -> Result<Arc<Mutex<Kept>>, PublishError> {
        if let Some(kept) = self.find(log.name) {
            return Ok(kept);
        }
        if self.logs.len() >= self.ceilings.logs {
            return Err(PublishError::Overloaded);
        }
        let create = || {
            let history = History::new(Position::start(self.epoch(log.name)), log.bounds);
            Arc::new(Mutex::new(Kept { history, dedup: VecDeque::new(), open: 0, gone: false }))
        };
        let kept = self.logs.entry(log.name.clone()).or_insert_with(create).value().clone();
        Ok(kept)
    }

    fn append(&self, log: Log<'_>, event: Box<[u8]>, dedup: Option<Dedup>) -> Result<Published, PublishError> {
        loop {
            let kept = self.find_or_create(log)?;
            let mut kept = kept.lock();
            if kept.gone {
                continue;
            }
            if let Some(key) = &dedup
                && let Some((_, position, _)) = kept.dedup.iter().find(|(known, ..)| known == key)
            {
                return Ok(Published { position: *position, repeated: true });
            }
            let position = kept.history.head().next(&event);
            let publication = Publication::new(log.name.clone(), position, event).map_err(PublishError::Rejected)?;
            let (now, publication) = (publication.time, Arc::new(publication));
            let before = kept.history.bytes();
            kept.history.trim(now);
            if kept.history.append(publication.clone()) != Append::Done {
                return Err(PublishError::Rejected(ErrorCode::Internal));
            }
            self.account(before, kept.history.bytes());
            if let Some(share) = self.share() {
                let before = kept.history.bytes();
                kept.history.trim_to(share);
                self.account(before, kept.history.bytes());
            }
            if let Some(key) = dedup {
                kept.remember(key, position, now);
            }
            drop(kept);
            if let Some(subscriber) = self.subscriber.upgrade() {
                subscriber.deliver(publication);
            }
            return Ok(Published { position, repeated: false });
        }
    }

    fn account(&self, before: usize, after: usize) {
        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

impl Kept {
    fn remember(&mut self, key: Dedup, position: Position, now: Millis) {
        while self.dedup.len() >= DEDUP_MAX || self.dedup.front().is_some_and(|(.., at)| at.after(DEDUP_MS) <= now) {
            self.dedup.pop_front();
        }
        self.dedup.push_back((key, position, now));
    }

    /// Whether nothing would be lost with it.
    fn is_spent(&self, now: Millis) -> bool {
        self.open == 0
            && self.history.events().len() == 0
            && self.dedup.back().is_none_or(|(.., at)| at.after(DEDUP_MS) <= now)
    }
}

impl Broker for Memory {
    fn publish<'a>(
        &'a self,
        log: Log<'a>,
        event: Box<[u8]>,
        dedup: Option<Dedup>,
        _: Option<Change<'a>>,
    ) -> Pending<'a, Result<Published, PublishError>> {
        Box::pin(ready(self.append(log, event, dedup)))
    }

    fn read<'a>(
        &'a self,
        log: Log<'a>,
        after: Position,
        limit: usize,
    ) -> Pending<'a, Result<Vec<Arc<Publication>>, Unread>> {
        let page = match self.find(log.name) {
            Some(kept) => kept.lock().history.since(after).map(|events| events.take(limit).cloned().collect()),
            None => {
                let empty = History::new(Position::start(self.epoch(log.name)), log.bounds);
                empty.since(after).map(|_| Vec::new())
            }
        };
        Box::pin(ready(page.map_err(Unread::Reset)))
    }

    fn ends<'a>(&'a self, log: Log<'a>) -> Pending<'a, Result<Ends, Unavailable>> {
        let ends = match self.find(log.name) {
            Some(kept) => {
                let history = &kept.lock().history;
                Ends { edge: history.edge(), head: history.head() }
            }
            None => {
                let start = Position::start(self.epoch(log.name));
                Ends { edge: start, head: start }
            }
        };
        Box::pin(ready(Ok(ends)))
    }

    /// All rosters are on this node, which has them.
    fn change<'a>(&'a self, _: Log<'a>, _: Change<'a>) -> Pending<'a, Result<(), Unavailable>> {
        Box::pin(ready(Ok(())))
    }

    fn bury<'a>(&'a self, _: Log<'a>, _: Box<[u8]>, _: NodeId) -> Pending<'a, Result<(), PublishError>> {
        Box::pin(ready(Ok(())))
    }

    fn take<'a>(&'a self, _: Log<'a>, _: PeerId, _: NodeId) -> Pending<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(ready(Ok(None)))
    }

    fn node(&self) -> NodeId {
        self.node
    }

    fn is_dead(&self, _: NodeId) -> bool {
        false
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn send(&self, _: NodeId, _: Parcel) {}

    fn whisper(&self, _: &RoomName, _: Whisper) {}

    fn open<'a>(&'a self, log: Log<'a>) -> Pending<'a, Result<Opened, PublishError>> {
        let opened = loop {
            match self.find_or_create(log) {
                Err(error) => break Err(error),
                Ok(kept) => {
                    let mut kept = kept.lock();
                    if !kept.gone {
                        kept.open += 1;
                        break Ok(kept.history.clone().into());
                    }
                }
            }
        };
        Box::pin(ready(opened))
    }

    fn close(&self, name: &RoomName) {
        if let Some(kept) = self.find(name) {
            let mut kept = kept.lock();
            kept.open = kept.open.saturating_sub(1);
        }
    }

    /// Whatever is published here is delivered here.
    fn follow(&self, _: Log<'_>) {}

    fn unfollow(&self, _: &RoomName) {}

    fn run(&self) -> Pending<'_, ()> {
        Box::pin(pending())
    }

    fn sweep(&self, now: Millis) {
        let share = self.share();
        self.logs.retain(|name, kept| {
            let mut kept = kept.lock();
            let before = kept.history.bytes();
            kept.history.trim(now);
            if let Some(share) = share {
                kept.history.trim_to(share);
            }
            self.account(before, kept.history.bytes());
            if kept.is_spent(now) {
                kept.gone = true;
                // Where there never was an event, nothing can be missed: the next life goes on at the same place.
                if kept.history.head().seq > 0 {
                    self.life(name).fetch_add(1, Ordering::Release);
                }
                return false;
            }
            true
        });
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn share(&self) -> Option<usize> {
        let over = self.bytes.load(Ordering::Relaxed) > self.ceilings.bytes;
        over.then(|| self.ceilings.bytes / self.logs.len().max(1))
    }
}

#[cfg(test)]
mod tests {
    use rallypoint_protocol::{Event, EventBody, server::ResetReason};

    use super::*;
    use crate::{
        broker::Changed,
        room::{command::Present, history::Bounds},
    };

    struct Nobody;

    impl Subscriber for Nobody {
        fn deliver(&self, _: Arc<Publication>) {}
        fn restart(&self, _: &RoomName, _: ResetReason, _: Opened) {}
        fn changed(&self, _: &RoomName, _: Changed) {}
        fn roster(&self, _: &RoomName, _: Vec<Present>) {}
        fn died(&self, _: NodeId) {}
        fn reborn(&self, _: NodeId) {}
        fn parcels(&self, _: NodeId, _: Vec<Parcel>) {}
        fn whispers(&self, _: &RoomName, _: NodeId, _: Vec<Whisper>) {}
    }

    #[tokio::test]
    async fn a_log_that_is_let_go_ends_its_epoch_only_if_it_had_events() {
        let nobody: Weak<Nobody> = Weak::new();
        let memory = Memory::new(NodeId::random(), Ceilings { bytes: 1 << 20, logs: 10 }, nobody);
        let name = RoomName::new("r").unwrap();
        let log = Log { name: &name, bounds: Bounds { events: 9, bytes: 1 << 10, age_ms: 1000 } };
        let head = async || memory.ends(log).await.unwrap().head;
        let start = head().await;
        memory.open(log).await.unwrap();
        memory.close(&name);
        memory.sweep(Millis(1.0));
        assert!(memory.find(&name).is_none());
        assert_eq!(head().await, start, "nothing happened");
        let event = Event { time: Millis(0.0), from: None, body: EventBody::Message { text: "x".into() } };
        memory.publish(log, event.to_bytes().into(), None, None).await.unwrap();
        assert_eq!(memory.read(log, start, 9).await.unwrap().len(), 1, "who stood at the start gets it");
        memory.sweep(Millis(2000.0));
        assert!(memory.find(&name).is_none());
        assert_ne!(head().await.epoch, start.epoch, "an event is gone");
        assert_eq!(memory.read(log, start, 9).await.unwrap_err(), Unread::Reset(ResetReason::Epoch));
    }
}
