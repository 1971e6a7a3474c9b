//! What goes from node to node past the logs. Each node hears a channel of its own. What is sent to it is numbered by
//! whoever sends it, and sent again until it is acknowledged; what is given up is replaced by the word that it was lost.
//! What is whispered to a room is said once on the room's channel, as much at a time as has gathered while the engine
//! took in what was said before.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use rallypoint_protocol::RoomName;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::Redis;
use crate::{
    broker::parcel::{Parcel, Whisper},
    node::NodeId,
};

/// What was sent is sent again after this long without an acknowledgement.
const RETRY: Duration = Duration::from_millis(500);
/// What was not acknowledged for so long, or finds no room, is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that wait for one node, or for all rooms.
const WAITING_MAX: usize = 4 << 20;
/// Bytes of one message.
const FRAME: usize = 64 << 10;

/// One message on a node's channel.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Frame {
    from: u64,
    /// What was sent before this number, is acknowledged or given up.
    since: u64,
    /// The number of the first of the parcels.
    first: u64,
    parcels: Vec<Parcel>,
    /// Up to where the receiver's parcels have come here.
    taken: u64,
}

/// What goes to and comes from one other node.
struct Road {
    /// The number of the first that waits.
    since: u64,
    waiting: VecDeque<(Parcel, Instant)>,
    bytes: usize,
    /// How many of them were sent, and since when an acknowledgement of the first is awaited.
    sent: usize,
    tried: Instant,
    /// Up to where its own have come here, and whether it was told.
    taken: u64,
    owes: bool,
    /// A message is on its way to the engine.
    is_busy: bool,
}

impl Road {
    fn new(now: Instant) -> Self {
        let waiting = VecDeque::new();
        Self { since: 1, waiting, bytes: 0, sent: 0, tried: now, taken: 0, owes: false, is_busy: false }
    }

    fn push(&mut self, parcel: Parcel, now: Instant) {
        self.bytes += parcel.size();
        self.waiting.push_back((parcel, now));
        if self.bytes > WAITING_MAX {
            self.give_up(now);
        }
    }

    /// All that waits is lost, of which the receiver is told instead.
    fn give_up(&mut self, now: Instant) {
        let rooms: BTreeSet<_> = self.waiting.iter().map(|(parcel, _)| parcel.room().clone()).collect();
        self.since += self.waiting.len() as u64;
        self.waiting = rooms.into_iter().map(|room| (Parcel::Lost { room }, now)).collect();
        self.bytes = self.waiting.iter().map(|(parcel, _)| parcel.size()).sum();
        self.sent = 0;
    }

    /// What is to be sent now, if anything.
    fn frame(&mut self, own: NodeId, now: Instant) -> Option<Frame> {
        if self.is_busy {
            return None;
        }
        if self.waiting.front().is_some_and(|(_, since)| now.duration_since(*since) >= PATIENCE) {
            self.give_up(now);
        }
        if self.sent > 0 && now.duration_since(self.tried) >= RETRY {
            self.sent = 0;
        }
        let mut room = FRAME;
        let fits = |parcel: &&(Parcel, Instant)| {
            let is_first = room == FRAME;
            let size = parcel.0.size();
            let fits = is_first || size <= room;
            room = room.saturating_sub(size);
            fits
        };
        let parcels: Vec<_> = self.waiting.iter().skip(self.sent).take_while(fits).map(|(p, _)| p.clone()).collect();
        if parcels.is_empty() && !self.owes {
            return None;
        }
        let first = self.since + self.sent as u64;
        if self.sent == 0 {
            self.tried = now;
        }
        self.sent += parcels.len();
        (self.owes, self.is_busy) = (false, true);
        Some(Frame { from: own.number(), since: self.since, first, parcels, taken: self.taken })
    }

    /// Takes a message of the other side in; returns what is new.
    fn take(&mut self, Frame { since, first, parcels, taken, .. }: Frame, now: Instant) -> Vec<Parcel> {
        if self.since <= taken {
            self.tried = now;
        }
        while self.since <= taken && self.waiting.pop_front().map(|(parcel, _)| self.bytes -= parcel.size()).is_some() {
            self.since += 1;
            self.sent = self.sent.saturating_sub(1);
        }
        self.owes |= !parcels.is_empty();
        self.taken = self.taken.max(since.saturating_sub(1));
        let mut new = Vec::new();
        for (number, parcel) in (first..=u64::MAX).zip(parcels) {
            if number == self.taken.saturating_add(1) {
                self.taken = number;
                new.push(parcel);
            }
        }
        new
    }

    /// When something is to be sent again.
    fn due(&self) -> Option<Instant> {
        (self.sent > 0).then(|| self.tried + RETRY)
    }
}

/// What was whispered to a room and not yet said.
#[derive(Default)]
struct Gathered {
    whispers: Vec<Whisper>,
    is_busy: bool,
}

/// All that goes from node to node.
#[derive(Default)]
pub(super) struct Bus {
    roads: Mutex<BTreeMap<NodeId, Road>>,
    rooms: Mutex<Rooms>,
    work: Notify,
}

#[derive(Default)]
struct Rooms {
    gathered: BTreeMap<RoomName, Gathered>,
    bytes: usize,
}

impl Bus {
    pub(super) fn send(&self, node: NodeId, parcel: Parcel) {
        let now = Instant::now();
        self.roads.lock().entry(node).or_insert_with(|| Road::new(now)).push(parcel, now);
        self.work.notify_one();
    }

    pub(super) fn whisper(&self, room: &RoomName, whisper: Whisper) {
        let mut rooms = self.rooms.lock();
        let Rooms { gathered, bytes } = &mut *rooms;
        let gathered = gathered.entry(room.clone()).or_default();
        let before = gathered.whispers.iter().rposition(|earlier| whisper.replaces(earlier));
        // The latest comes last: the order of one member's moves is kept.
        if let Some(at) = before {
            *bytes -= gathered.whispers.remove(at).size();
        }
        if *bytes + whisper.size() <= WAITING_MAX {
            *bytes += whisper.size();
            gathered.whispers.push(whisper);
        }
        drop(rooms);
        self.work.notify_one();
    }

    /// A node is dead: what waits for it is for nobody.
    pub(super) fn forget(&self, node: NodeId) {
        self.roads.lock().remove(&node);
    }

    /// This node is another one now. What it sent as the one before was lost with that, as its members are told.
    pub(super) fn begin_anew(&self) {
        self.roads.lock().clear();
    }

    /// Takes a message of another node in; returns what is new.
    fn take(&self, from: NodeId, frame: Frame) -> Vec<Parcel> {
        let now = Instant::now();
        let new = self.roads.lock().entry(from).or_insert_with(|| Road::new(now)).take(frame, now);
        self.work.notify_one();
        new
    }

    /// What is to be said to whom just now.
    fn frames(&self, own: NodeId, now: Instant) -> Vec<(NodeId, Frame)> {
        let mut roads = self.roads.lock();
        roads.iter_mut().filter_map(|(node, road)| Some((*node, road.frame(own, now)?))).collect()
    }

    fn whispers(&self) -> Vec<(RoomName, Vec<Whisper>)> {
        let mut rooms = self.rooms.lock();
        let Rooms { gathered, bytes } = &mut *rooms;
        let mut said = Vec::new();
        for (room, gathered) in gathered.iter_mut().filter(|(_, gathered)| !gathered.is_busy) {
            gathered.is_busy = true;
            *bytes -= gathered.whispers.iter().map(Whisper::size).sum::<usize>();
            said.push((room.clone(), std::mem::take(&mut gathered.whispers)));
        }
        said
    }

    fn said(&self, what: &Said) {
        match what {
            Said::Node(node) => _ = self.roads.lock().entry(*node).and_modify(|road| road.is_busy = false),
            Said::Room(room) => {
                let mut rooms = self.rooms.lock();
                if rooms.gathered.get(room).is_some_and(|gathered| gathered.whispers.is_empty()) {
                    rooms.gathered.remove(room);
                } else {
                    rooms.gathered.entry(room.clone()).and_modify(|gathered| gathered.is_busy = false);
                }
            }
        }
    }

    /// When something is to be sent again.
    fn due(&self) -> Option<Instant> {
        self.roads.lock().values().filter_map(Road::due).min()
    }
}

/// To whom something was said.
enum Said {
    Node(NodeId),
    Room(RoomName),
}

/// What is being said just now.
type Saying<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Said> + Send + 'a>>>;

impl Redis {
    /// Says to other nodes what is for them, for as long as it is polled.
    pub(super) async fn talk(&self) {
        let mut saying = Saying::new();
        loop {
            let own = self.nodes.own();
            for (node, frame) in self.bus.frames(own, Instant::now()) {
                let message = rmp_serde::to_vec(&frame).unwrap_or_default();
                saying.push(Box::pin(self.say(self.logs.names().node(node), message, Said::Node(node))));
            }
            for (room, whispers) in self.bus.whispers() {
                let mut message = format!("{room} ~ {own} ").into_bytes();
                message.extend(rmp_serde::to_vec(&whispers).unwrap_or_default());
                saying.push(Box::pin(self.say(self.logs.names().channel(&room), message, Said::Room(room))));
            }
            let wait = self.bus.due().map_or(RETRY, |due| due.saturating_duration_since(Instant::now()));
            tokio::select! {
                Some(said) = saying.next() => self.bus.said(&said),
                woken = timeout(wait, self.bus.work.notified()) => drop(woken),
            }
        }
    }

    async fn say(&self, channel: String, message: Vec<u8>, to: Said) -> Said {
        let mut commands = redis::Pipeline::new();
        commands.cmd("SPUBLISH").arg(channel).arg(message);
        // Whether it was heard, the other node says.
        _ = self.line.ask(&commands).await;
        to
    }

    /// Something was heard on this node's own channel.
    pub(super) fn hear(&self, message: &[u8]) {
        let Ok(frame) = rmp_serde::from_slice::<Frame>(message) else {
            return tracing::warn!("a node said something that cannot be read");
        };
        let Some(from) = NodeId::new(frame.from).filter(|&from| !self.nodes.is_dead(from)) else { return };
        let parcels = self.bus.take(from, frame);
        if !parcels.is_empty()
            && let Some(subscriber) = self.subscriber.upgrade()
        {
            subscriber.parcels(from, parcels);
        }
    }
}

#[cfg(test)]
mod tests;
