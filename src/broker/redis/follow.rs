//! A log that this node follows: what is heard goes out in order, and what is in doubt is read.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use rallypoint_protocol::{Position, RoomName, event::Millis, server::ResetReason};
use tokio::sync::Notify;

use super::Redis;
use crate::{
    broker::{Changed, Log, Unavailable, Unread},
    node::NodeId,
    room::history::{Append, Bounds, History, Publication},
};

/// Events that are read at once.
const PAGE: usize = 256;
/// Logs that are read at the same time.
const AT_ONCE: usize = 64;
/// After a read that was not answered.
const AGAIN: Duration = Duration::from_millis(250);

/// How an event came here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// On its channel: none of those before it is still to come.
    InOrder,
    /// As the answer to whoever published it, which may overtake others.
    AsAnswer,
}

/// A log that is followed.
pub(super) struct Followed {
    name: RoomName,
    bounds: Bounds,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    /// Rooms or users that want it.
    wanted: usize,
    /// Nobody does any more, and it has left the map.
    gone: bool,
    /// Up to where it was told. Not known before somebody has looked.
    history: Option<History>,
    /// Up to which version the changes of the rosters were told.
    version: u64,
    /// It is being read, or about to be: what is heard meanwhile is not told, but read.
    in_doubt: bool,
    /// How often something was heard that was not told.
    heard: u64,
}

impl Followed {
    pub(super) fn new(log: Log<'_>) -> Self {
        // Users' logs are read from the engine: here it is only known where they stand.
        let events = if log.name.user().is_some() { 0 } else { log.bounds.events };
        let bounds = Bounds { events, ..log.bounds };
        Self { name: log.name.clone(), bounds, standing: Mutex::default() }
    }

    pub(super) fn name(&self) -> &RoomName {
        &self.name
    }

    pub(super) fn log(&self) -> Log<'_> {
        Log { name: &self.name, bounds: self.bounds }
    }

    /// One more wants it; tells whether that is the first. `None` when it has left the map.
    pub(super) fn want(&self) -> Option<bool> {
        let mut standing = self.standing.lock();
        if standing.gone {
            return None;
        }
        standing.wanted += 1;
        Some(standing.wanted == 1)
    }

    /// One less wants it; tells whether nobody does any more.
    pub(super) fn release(&self) -> bool {
        let mut standing = self.standing.lock();
        standing.wanted = standing.wanted.saturating_sub(1);
        standing.gone = standing.wanted == 0;
        standing.gone
    }

    /// Lets go of what is kept; returns how many bytes that was.
    pub(super) fn forget(&self) -> usize {
        self.standing.lock().history.take().map_or(0, |history| history.bytes())
    }

    /// Where it stands, and of which version its rosters are.
    pub(super) fn head(&self) -> Option<(Position, u64)> {
        let standing = self.standing.lock();
        standing.history.as_ref().map(|history| (history.head(), standing.version))
    }

    /// Whether it is a user's log that never had an event, as far as is known.
    pub(super) fn is_unborn(&self) -> bool {
        self.name.user().is_some() && self.head().is_some_and(|(head, _)| head.seq == 0)
    }

    /// How often something was heard that was not told. Whatever that was is in the engine already: a read that begins
    /// now finds it.
    pub(super) fn heard(&self) -> u64 {
        self.standing.lock().heard
    }

    /// It is told from here on, by a read before which so much was [heard](Self::heard). Tells how many bytes are kept no
    /// more, and whether it has to be read on: something was heard since.
    pub(super) fn begin(&self, history: History, version: u64, heard: u64) -> (usize, bool) {
        let mut standing = self.standing.lock();
        if standing.gone {
            return (history.bytes(), false);
        }
        let replaced = standing.history.replace(history);
        standing.version = version;
        let is_behind = standing.heard != heard;
        let is_news = is_behind && !standing.in_doubt;
        standing.in_doubt |= is_behind;
        (replaced.map_or(0, |history| history.bytes()), is_news)
    }

    /// Like [`begin`](Self::begin) for a log of which nothing is kept here, unless it is told already.
    pub(super) fn begin_at(&self, head: Position, heard: u64) -> bool {
        if self.head().is_some() {
            return false;
        }
        self.begin(History::new(head, self.bounds), 0, heard).1
    }

    /// What was heard of it may not be all. Tells whether it is to be read for that.
    fn doubt(&self) -> bool {
        let mut standing = self.standing.lock();
        standing.heard += 1;
        let is_news = standing.history.is_some() && !standing.in_doubt;
        standing.in_doubt |= is_news;
        is_news
    }

    /// Lets go of what is too old; returns the bytes before and after.
    pub(super) fn trim(&self, now: Millis, share: Option<usize>) -> (usize, usize) {
        let mut standing = self.standing.lock();
        let Some(history) = &mut standing.history else { return (0, 0) };
        let before = history.bytes();
        history.trim(now);
        if let Some(share) = share {
            history.trim_to(share);
        }
        (before, history.bytes())
    }
}

impl Standing {
    /// Takes the next event; tells how many bytes are kept before and after.
    fn take(&mut self, publication: &Arc<Publication>) -> Result<(usize, usize), Append> {
        let Some(history) = &mut self.history else { return Err(Append::Gap) };
        let before = history.bytes();
        history.trim(publication.time);
        match history.append(publication.clone()) {
            Append::Done => Ok((before, history.bytes())),
            // Another event than the one that was told under this number.
            Append::Known if history.since(publication.position).err() == Some(ResetReason::Forked) => {
                Err(Append::Foreign)
            }
            refused => Err(refused),
        }
    }
}

/// Logs that are to be read.
#[derive(Default)]
pub(super) struct Doubts {
    queue: Mutex<VecDeque<Arc<Followed>>>,
    raised: Notify,
}

impl Doubts {
    /// A log that was put in doubt.
    pub(super) fn raise(&self, followed: &Arc<Followed>) {
        self.queue.lock().push_back(followed.clone());
        self.raised.notify_one();
    }

    async fn next(&self) -> Arc<Followed> {
        loop {
            if let Some(followed) = self.queue.lock().pop_front() {
                return followed;
            }
            self.raised.notified().await;
        }
    }
}

impl Redis {
    /// Tells an event if it is the next one.
    pub(super) fn offer(&self, followed: &Arc<Followed>, publication: Arc<Publication>, how: Heard) {
        let mut standing = followed.standing.lock();
        if standing.history.is_none() || standing.in_doubt {
            standing.heard += 1;
            return;
        }
        match standing.take(&publication) {
            // Told while it is locked: nobody is told anything later before this.
            Ok((before, after)) => {
                self.account(before, after);
                self.deliver(publication);
            }
            Err(Append::Known | Append::Done) => {}
            // Those before it are on their way, on the channel.
            Err(Append::Gap) if how == Heard::AsAnswer => {}
            Err(Append::Gap | Append::Foreign) => {
                drop(standing);
                self.doubt(followed);
            }
        }
    }

    /// Tells a change of the rosters if it is the next one.
    pub(super) fn offer_change(&self, followed: &Arc<Followed>, version: u64, node: NodeId, changed: Changed) {
        let mut standing = followed.standing.lock();
        if standing.history.is_none() || standing.in_doubt {
            standing.heard += 1;
            return;
        }
        if version > standing.version + 1 {
            drop(standing);
            return self.doubt(followed);
        }
        if version <= standing.version {
            return;
        }
        standing.version = version;
        if self.nodes.other(node).is_some()
            && let Some(subscriber) = self.subscriber.upgrade()
        {
            subscriber.changed(&followed.name, changed);
        }
    }

    /// A log may have more than was heard of it.
    pub(super) fn doubt(&self, followed: &Arc<Followed>) {
        if followed.doubt() {
            self.doubts.raise(followed);
        }
    }

    /// Reads what is in doubt, and looks for what nothing has put in doubt, for as long as it is polled.
    pub(super) async fn settle(&self) {
        let mut reads = FuturesUnordered::new();
        let mut heads = std::pin::pin!(self.follow_heads());
        loop {
            tokio::select! {
                followed = self.doubts.next(), if reads.len() < AT_ONCE => reads.push(self.read_on(followed)),
                Some(()) = reads.next() => {}
                () = &mut heads => {}
            }
        }
    }

    /// Tells what a log has after what was told, until nothing is in doubt.
    async fn read_on(&self, followed: Arc<Followed>) {
        loop {
            let (head, version, heard) = {
                let standing = followed.standing.lock();
                if standing.gone {
                    return;
                }
                let Some(history) = &standing.history else { return };
                (history.head(), standing.version, standing.heard)
            };
            let is_whole = match self.catch_up(&followed, head, version).await {
                Ok(is_whole) => is_whole,
                Err(Unavailable) => {
                    tokio::time::sleep(AGAIN).await;
                    false
                }
            };
            let mut standing = followed.standing.lock();
            if is_whole && standing.heard == heard {
                standing.in_doubt = false;
                return;
            }
        }
    }

    /// Tells a page of what comes after a position. Whether that was all.
    async fn catch_up(&self, followed: &Arc<Followed>, after: Position, version: u64) -> Result<bool, Unavailable> {
        let read = match followed.name.user() {
            Some(_) => self.logs.read(followed.log(), after, PAGE).await.map(|events| (events, None)),
            None => self.logs.read_room(followed.log(), after, PAGE, version).await,
        };
        let (events, roster) = match read {
            Ok(read) => read,
            Err(Unread::Reset(reason)) => return self.begin_anew(followed, after, reason).await.map(|()| false),
            Err(Unread::Unavailable) => return Err(Unavailable),
        };
        // There was no log where it was followed from, and it began since.
        let life = events.first().map(|first| first.position.epoch).filter(|&epoch| epoch != after.epoch);
        match (life, followed.name.user()) {
            (Some(_), None) => return self.begin_anew(followed, after, ResetReason::Epoch).await.map(|()| false),
            (Some(epoch), Some(_)) => {
                followed.standing.lock().history = Some(History::new(Position::start(epoch), followed.bounds));
            }
            (None, _) => {}
        }
        let is_whole = events.len() < PAGE;
        let mut standing = followed.standing.lock();
        for publication in events {
            if let Ok((before, after)) = standing.take(&publication) {
                self.account(before, after);
                self.deliver(publication);
            }
        }
        if let Some((roster, version)) = roster.filter(|_| is_whole && !standing.gone) {
            standing.version = version;
            if let Some(subscriber) = self.subscriber.upgrade() {
                subscriber.roster(&followed.name, roster);
            }
        }
        Ok(is_whole)
    }

    /// What was told cannot be continued: all of the log is read, and told to whoever follows it as a new beginning.
    async fn begin_anew(
        &self,
        followed: &Arc<Followed>,
        told: Position,
        reason: ResetReason,
    ) -> Result<(), Unavailable> {
        if matches!(reason, ResetReason::Forked | ResetReason::Ahead) {
            self.logs.fork(followed.log(), told.epoch).await?;
        }
        let (opened, version) = match followed.name.user() {
            Some(_) => (self.whole(followed.log()).await?.into(), 0),
            None => self.whole_room(followed.log()).await?,
        };
        let mut standing = followed.standing.lock();
        if standing.gone {
            return Ok(());
        }
        let before = standing.history.as_ref().map_or(0, History::bytes);
        let kept = match followed.name.user() {
            Some(_) => History::new(opened.history.head(), followed.bounds),
            None => opened.history.clone(),
        };
        self.account(before, kept.bytes());
        standing.history = Some(kept);
        standing.version = version;
        if let Some(subscriber) = self.subscriber.upgrade() {
            subscriber.restart(&followed.name, reason, opened);
        }
        Ok(())
    }

    /// All that is kept of a log that need not be there.
    async fn whole(&self, log: Log<'_>) -> Result<History, Unavailable> {
        let edge = self.logs.ends(log).await?.edge;
        let mut history = History::new(edge, Bounds { events: usize::MAX, bytes: usize::MAX, ..log.bounds });
        for publication in self.logs.read(log, edge, usize::MAX).await.unwrap_or_default() {
            history.append(publication);
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_heard_after_a_read_began_leads_to_another() {
        let name = RoomName::new("lobby").unwrap();
        let bounds = Bounds { events: 100, bytes: 1 << 20, age_ms: 60_000 };
        let start = || History::new(Position::start(1), bounds);
        for (is_late, is_read_again) in [(false, false), (true, true)] {
            let followed = Followed::new(Log { name: &name, bounds });
            followed.want();
            assert!(!followed.doubt(), "nothing to read on from");
            let heard = followed.heard();
            if is_late {
                followed.doubt();
            }
            assert_eq!(followed.begin(start(), 0, heard).1, is_read_again);
        }
    }
}
