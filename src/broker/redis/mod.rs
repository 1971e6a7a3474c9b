//! Redis or Valkey as the engine: logs that outlive this process, and are shared by all nodes.
//!
//! What a node follows it hears from a channel, in the order in which the engine sent it. Whatever shows that something
//! was not heard (a hole, a lost connection, a slot that moved, a head that is elsewhere) leads to a read of the log from
//! where the node stands, and if that cannot be done without a gap, to a new beginning of which all guests are told.

mod bus;
mod ears;
mod follow;
mod heads;
mod health;
mod keys;
mod link;
mod log;
mod nodes;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use rallypoint_protocol::{
    PeerId, Position, RoomName,
    event::{Entry, Millis},
};
use tokio::time::timeout;

use super::{
    Broker, Ceilings, Change, Dedup, Ends, Log, Opened, Pending, Prefix, PublishError, Published, Subscriber,
    Unavailable, Unread,
    parcel::{Parcel, Whisper},
};
use crate::{node::NodeId, room::history::Publication};
use bus::Bus;
use ears::{Ears, Listener};
use follow::{Doubts, Followed};
use health::Health;
use keys::{Names, Partition};
use link::Line;
pub use link::{Address, BadAddress};
use log::{Logs, Said};
use nodes::Nodes;

/// Bytes that were heard and not yet told; what finds no room is read from the logs.
const HEARD_MAX: usize = 32 << 20;
/// How long a guest waits until the engine has confirmed that a log is listened to.
const CONFIRMED: Duration = Duration::from_secs(2);

/// The logs of all nodes, and what this one follows of them.
pub struct Redis {
    logs: Logs,
    line: Arc<Line>,
    ears: Ears,
    nodes: Arc<Nodes>,
    bus: Bus,
    followed: DashMap<RoomName, Arc<Followed>>,
    /// Those that are followed and not a user's: of the latter nothing is kept here.
    rooms: AtomicUsize,
    doubts: Doubts,
    health: Health,
    ceilings: Ceilings,
    bytes: AtomicUsize,
    subscriber: Weak<dyn Subscriber>,
}

impl Redis {
    /// An engine that delivers to `subscriber`. It is reached once it [runs](Broker::run).
    pub fn new(
        address: Address,
        prefix: &Prefix,
        node: NodeId,
        ceilings: Ceilings,
        subscriber: Weak<dyn Subscriber>,
    ) -> Self {
        let (line, nodes) = (Arc::new(Line::new(address)), Arc::new(Nodes::new(node)));
        Self {
            logs: Logs::new(line.clone(), Names::new(prefix), nodes.clone()),
            nodes,
            bus: Bus::default(),
            line,
            ears: Ears::new(HEARD_MAX),
            followed: DashMap::new(),
            rooms: AtomicUsize::new(0),
            doubts: Doubts::default(),
            health: Health::default(),
            ceilings,
            bytes: AtomicUsize::new(0),
            subscriber,
        }
    }

    fn find(&self, name: &str) -> Option<Arc<Followed>> {
        self.followed.get(name).map(|followed| followed.value().clone())
    }

    /// Follows a log for one more who wants it.
    fn want(&self, log: Log<'_>) -> Arc<Followed> {
        loop {
            let make = || Arc::new(Followed::new(log));
            let followed = self.followed.entry(log.name.clone()).or_insert_with(make).value().clone();
            match followed.want() {
                None => {}
                Some(is_first) => {
                    if is_first {
                        self.rooms.fetch_add(usize::from(log.name.user().is_none()), Ordering::Relaxed);
                        self.ears.want(self.logs.names().channel(log.name));
                    }
                    return followed;
                }
            }
        }
    }

    fn release(&self, name: &RoomName) {
        let gone = self.followed.remove_if(name, |_, followed| followed.release());
        if let Some((_, followed)) = gone {
            self.rooms.fetch_sub(usize::from(name.user().is_none()), Ordering::Relaxed);
            self.account(followed.forget(), 0);
            self.ears.release(&self.logs.names().channel(name));
        }
    }

    async fn confirmed(&self, name: &RoomName) -> Result<(), Unavailable> {
        let channel = self.logs.names().channel(name);
        timeout(CONFIRMED, self.ears.confirmed(&channel)).await.map_err(|_| Unavailable)
    }

    /// What a room begins with. Its log is followed from there.
    async fn load(&self, followed: &Arc<Followed>) -> Result<Opened, Unavailable> {
        self.confirmed(followed.name()).await?;
        timeout(CONFIRMED, self.nodes.held()).await.map_err(|_| Unavailable)?;
        let heard = followed.heard();
        let (opened, version) = self.whole_room(followed.log()).await?;
        self.account(0, opened.history.bytes());
        let (replaced, in_doubt) = followed.begin(opened.history.clone(), version, heard);
        self.account(replaced, 0);
        if in_doubt {
            self.doubts.raise(followed);
        }
        Ok(opened)
    }

    /// All that is known of a room. A log that does not hang together begins anew.
    async fn whole_room(&self, log: Log<'_>) -> Result<(Opened, u64), Unavailable> {
        for _ in 0..3 {
            match self.logs.open(log).await? {
                Ok(opened) => return Ok(opened),
                Err(epoch) => self.logs.fork(log, epoch).await?,
            }
        }
        Err(Unavailable)
    }

    fn account(&self, before: usize, after: usize) {
        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    fn deliver(&self, publication: Arc<Publication>) {
        if let Some(subscriber) = self.subscriber.upgrade() {
            subscriber.deliver(publication);
        }
    }
}

/// Somebody wants a log, unless it comes to nothing.
struct Claim<'a> {
    engine: &'a Redis,
    name: Option<&'a RoomName>,
}

impl Claim<'_> {
    fn keep(mut self) {
        self.name = None;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.name.into_iter().for_each(|name| self.engine.release(name));
    }
}

impl Broker for Redis {
    fn publish<'a>(
        &'a self,
        log: Log<'a>,
        event: Box<[u8]>,
        dedup: Option<Dedup>,
        change: Option<Change<'a>>,
    ) -> Pending<'a, Result<Published, PublishError>> {
        Box::pin(async move {
            let followed = self.find(log.name.as_str()).map(|followed| (followed, event.clone()));
            let published = self.logs.publish(log, event, dedup, change).await?;
            if let Some((followed, event)) = followed
                && !published.repeated
                && let Ok(publication) = Publication::new(log.name.clone(), published.position, event)
            {
                self.offer(&followed, Arc::new(publication), follow::Heard::AsAnswer);
            }
            Ok(published)
        })
    }

    fn read<'a>(
        &'a self,
        log: Log<'a>,
        after: Position,
        limit: usize,
    ) -> Pending<'a, Result<Vec<Arc<Publication>>, Unread>> {
        Box::pin(self.logs.read(log, after, limit))
    }

    fn ends<'a>(&'a self, log: Log<'a>) -> Pending<'a, Result<Ends, Unavailable>> {
        Box::pin(async move {
            let followed = self.find(log.name.as_str()).filter(|_| log.name.user().is_some());
            if followed.is_some() {
                self.confirmed(log.name).await?;
            }
            let heard = followed.as_ref().map_or(0, |followed| followed.heard());
            let ends = self.logs.ends(log).await?;
            if let Some(followed) = followed
                && followed.begin_at(ends.head, heard)
            {
                self.doubts.raise(&followed);
            }
            Ok(ends)
        })
    }

    fn bury<'a>(&'a self, log: Log<'a>, event: Box<[u8]>, dead: NodeId) -> Pending<'a, Result<(), PublishError>> {
        Box::pin(async move { self.logs.bury(log, event, dead).await.map(|_| ()) })
    }

    fn take<'a>(&'a self, log: Log<'a>, peer: PeerId, from: NodeId) -> Pending<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(self.logs.take(log, peer, from))
    }

    fn node(&self) -> NodeId {
        self.nodes.own()
    }

    fn is_dead(&self, node: NodeId) -> bool {
        self.nodes.is_dead(node)
    }

    fn is_alive(&self) -> bool {
        self.nodes.is_sound()
    }

    fn send(&self, node: NodeId, parcel: Parcel) {
        if !self.nodes.is_dead(node) {
            self.bus.send(node, parcel);
        }
    }

    fn whisper(&self, room: &RoomName, whisper: Whisper) {
        self.bus.whisper(room, whisper);
    }

    fn change<'a>(&'a self, log: Log<'a>, change: Change<'a>) -> Pending<'a, Result<(), Unavailable>> {
        Box::pin(self.logs.change(log, change))
    }

    fn open<'a>(&'a self, log: Log<'a>) -> Pending<'a, Result<Opened, PublishError>> {
        Box::pin(async move {
            if self.find(log.name.as_str()).is_none() && self.rooms.load(Ordering::Relaxed) >= self.ceilings.logs {
                return Err(PublishError::Overloaded);
            }
            let followed = self.want(log);
            let claim = Claim { engine: self, name: Some(log.name) };
            let opened = self.load(&followed).await.map_err(|Unavailable| PublishError::Overloaded)?;
            claim.keep();
            Ok(opened)
        })
    }

    fn close(&self, name: &RoomName) {
        self.release(name);
    }

    fn follow(&self, log: Log<'_>) {
        self.want(log);
    }

    fn unfollow(&self, name: &RoomName) {
        self.release(name);
    }

    fn run(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            tokio::join!(
                self.line.keep(),
                self.ears.listen(self.line.address(), self),
                self.settle(),
                self.stay_alive(),
                self.talk()
            );
        })
    }

    fn sweep(&self, now: Millis) {
        let share = self.share();
        let followed: Vec<_> = self.followed.iter().map(|followed| followed.value().clone()).collect();
        for followed in followed {
            let (before, after) = followed.trim(now, share);
            self.account(before, after);
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        self.health.is_there() && self.nodes.is_held()
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn share(&self) -> Option<usize> {
        let over = self.bytes() > self.ceilings.bytes;
        over.then(|| self.ceilings.bytes / self.rooms.load(Ordering::Relaxed).max(1))
    }
}

impl Listener for Redis {
    fn heard(&self, channel: &str, message: &[u8]) {
        if let Some(node) = self.logs.names().node_of(channel) {
            // What is for another life of this node is for nobody.
            return if node == self.nodes.own() {
                self.hear(message)
            };
        }
        let Some((name, said)) = log::parse_message(message) else {
            tracing::warn!("something was heard that cannot be read");
            return;
        };
        let Some(followed) = self.find(name) else { return };
        match said {
            Said::Event(position, node, event) => {
                match Publication::new(followed.name().clone(), position, event.into()) {
                    Ok(publication) => {
                        let publication = publication.by(self.nodes.other(node));
                        self.offer(&followed, Arc::new(publication), follow::Heard::InOrder);
                    }
                    Err(error) => tracing::warn!(room = name, %error, "an event was heard that cannot be read"),
                }
            }
            Said::Whispers(node, whispers) => {
                if let Some(node) = self.nodes.other(node)
                    && let Some(subscriber) = self.subscriber.upgrade()
                {
                    subscriber.whispers(followed.name(), node, whispers);
                }
            }
            Said::Change(version, node, changed) => self.offer_change(&followed, version, node, changed),
        }
    }

    fn begins(&self, channel: &str) {
        if let Some(name) = self.logs.names().log_of(channel) {
            self.find(name).iter().for_each(|followed| self.doubt(followed));
            return;
        }
        let all: Vec<_> = self.followed.iter().map(|followed| followed.value().clone()).collect();
        let users = all.iter().filter(|followed| followed.name().user().is_some());
        users
            .filter(|followed| self.logs.names().users(Partition::of(followed.name())) == channel)
            .for_each(|followed| self.doubt(followed));
    }
}

#[cfg(test)]
mod tests;
