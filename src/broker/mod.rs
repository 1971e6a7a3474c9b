//! What orders events and, later, joins nodes. The hub talks to a broker only through this
//! contract; the in-memory engine takes the same road as a clustered one would.
//!
//! What it delivers may come twice, late or out of order; rooms take only the next event.

pub mod memory;
pub mod parcel;
#[cfg(feature = "redis")]
pub mod redis;

use std::{
    fmt,
    pin::Pin,
    str::FromStr,
    sync::{Arc, Weak},
};

use rallypoint_protocol::{
    PeerId, Position, RoomName,
    code::ErrorCode,
    event::{Entry, Millis},
    server::ResetReason,
};
use serde::Deserialize;
use thiserror::Error;

use parcel::{Parcel, Whisper};

use crate::{
    node::NodeId,
    room::{
        command::Present,
        history::{Bounds, History, Publication},
    },
};

/// An answer that may take a while, or be there at once.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Recognises a publication that is tried again: the user and the user's own key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dedup(pub Box<str>);

/// A log and how much of it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    /// Which.
    pub name: &'a RoomName,
    /// How much.
    pub bounds: Bounds,
}

/// How a roster changes.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A member of this node is in the room from now on, or says something else of itself. Where an event tells of it, that
    /// event's number is its order.
    Enter(&'a Entry),
    /// A member is in it no more.
    Leave {
        /// Which.
        peer: PeerId,
        /// Where its session was; `None`: on this node.
        node: Option<NodeId>,
    },
}

/// What a room of this node begins with.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The tail of its log.
    pub history: History,
    /// Its members on other nodes, as they are after the last event of the tail.
    pub roster: Vec<Present>,
}

impl From<History> for Opened {
    fn from(history: History) -> Self {
        Self { history, roster: Vec::new() }
    }
}

/// A change of the roster on another node, of which no event tells.
#[derive(Clone, Debug)]
pub enum Changed {
    /// A member is in the room, or says something else of itself.
    Entered(Present),
    /// A member is in it no more.
    Left(PeerId),
}

/// A publication that the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where.
    pub position: Position,
    /// Whether it had been there before, under the same [`Dedup`] key.
    pub repeated: bool,
}

/// Why a publication failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// It is not in the log and will not be.
    Rejected(ErrorCode),
    /// Nobody knows whether it is in the log; try again with the same key.
    Ambiguous,
    /// The engine takes nothing on now; it is not in the log.
    Overloaded,
}

impl From<PublishError> for ErrorCode {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Rejected(code) => code,
            PublishError::Ambiguous | PublishError::Overloaded => Self::Overloaded,
        }
    }
}

/// The engine does not answer, or not in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

impl From<Unavailable> for ErrorCode {
    fn from(_: Unavailable) -> Self {
        Self::Overloaded
    }
}

/// Why events were not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There would be a gap.
    Reset(ResetReason),
    /// The engine does not answer; nothing is known.
    Unavailable,
}

impl From<Unavailable> for Unread {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

/// Where a log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Before the oldest kept event: everything kept can be read from here.
    pub edge: Position,
    /// After the newest event.
    pub head: Position,
}

/// Where the logs are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Engine {
    /// In this process, which is the only one.
    #[default]
    Memory,
    /// On Redis or Valkey, shared with other nodes.
    #[cfg(feature = "redis")]
    Redis(redis::Address),
}

impl Engine {
    /// An engine that delivers to `subscriber`.
    #[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "one node needs no name"))]
    pub fn start(
        &self,
        prefix: &Prefix,
        node: NodeId,
        ceilings: Ceilings,
        subscriber: Weak<dyn Subscriber>,
    ) -> Arc<dyn Broker> {
        match self {
            Self::Memory => Arc::new(memory::Memory::new(node, ceilings, subscriber)),
            #[cfg(feature = "redis")]
            Self::Redis(address) => Arc::new(redis::Redis::new(address.clone(), prefix, node, ceilings, subscriber)),
        }
    }
}

impl FromStr for Engine {
    type Err = BadEngine;

    fn from_str(text: &str) -> Result<Self, BadEngine> {
        match text {
            "memory" => Ok(Self::Memory),
            #[cfg(feature = "redis")]
            _ => Ok(Self::Redis(text.parse()?)),
            #[cfg(not(feature = "redis"))]
            _ => Err(BadEngine(())),
        }
    }
}

impl TryFrom<String> for Engine {
    type Error = BadEngine;

    fn try_from(text: String) -> Result<Self, BadEngine> {
        text.parse()
    }
}

/// Without user and password.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            #[cfg(feature = "redis")]
            Self::Redis(address) => address.fmt(f),
        }
    }
}

/// An engine that is none.
#[cfg(feature = "redis")]
pub use redis::BadAddress as BadEngine;

/// An engine that is none.
#[cfg(not(feature = "redis"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this build knows only `memory`: it was made without the feature `redis`")]
pub struct BadEngine(());

/// What stands before the names of one deployment, so that several may share an engine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix(Box<str>);

impl TryFrom<String> for Prefix {
    type Error = BadPrefix;

    fn try_from(text: String) -> Result<Self, BadPrefix> {
        text.parse()
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("rp".into())
    }
}

/// A prefix that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be 1 to 32 of the characters a-z, A-Z, 0-9, - and _")]
pub struct BadPrefix;

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let good = (1..=32).contains(&text.len()) && text.bytes().all(is_good);
        if good { Ok(Self(text.into())) } else { Err(BadPrefix) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node's logs may take together.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes of events.
    pub bytes: usize,
    /// Logs.
    pub logs: usize,
}

/// Orders events, keeps a tail of them and hands them to the node's subscriber.
pub trait Broker: Send + Sync {
    /// Appends an event and delivers it. Positions per log and epoch are 1, 2, 3 … without holes. The roster changes in
    /// the same moment.
    fn publish<'a>(
        &'a self,
        log: Log<'a>,
        event: Box<[u8]>,
        dedup: Option<Dedup>,
        change: Option<Change<'a>>,
    ) -> Pending<'a, Result<Published, PublishError>>;

    /// At most `limit` events after a position, or why there would be a gap.
    fn read<'a>(
        &'a self,
        log: Log<'a>,
        after: Position,
        limit: usize,
    ) -> Pending<'a, Result<Vec<Arc<Publication>>, Unread>>;

    /// Where a log stands. A log that never had an event stands where its next life may begin.
    fn ends<'a>(&'a self, log: Log<'a>) -> Pending<'a, Result<Ends, Unavailable>>;

    /// Changes a room's roster without an event. Other nodes are told.
    fn change<'a>(&'a self, log: Log<'a>, change: Change<'a>) -> Pending<'a, Result<(), Unavailable>>;

    /// Appends the event that tells of a dead node, and removes the roster that it had in the room. Whoever comes second
    /// changes nothing.
    fn bury<'a>(&'a self, log: Log<'a>, event: Box<[u8]>, dead: NodeId) -> Pending<'a, Result<(), PublishError>>;

    /// Moves a member of another node to this one, without an event; `None` if it is not there any more. Other nodes are
    /// told, that one among them.
    fn take<'a>(&'a self, log: Log<'a>, peer: PeerId, from: NodeId) -> Pending<'a, Result<Option<Entry>, Unavailable>>;

    /// Which node this is, just now: one that was held for dead goes on as another.
    fn node(&self) -> NodeId;

    /// Whether a node is dead, as far as is known: whoever is in a roster of its is not there.
    fn is_dead(&self, node: NodeId) -> bool;

    /// Whether other nodes cannot hold this one for dead. If they may, what is said to them may be for nobody.
    fn is_alive(&self) -> bool;

    /// Hands something to a node whose members it concerns.
    fn send(&self, node: NodeId, parcel: Parcel);

    /// Hands something to all other nodes that have a room open.
    fn whisper(&self, room: &RoomName, whisper: Whisper);

    /// Opens a log for a room of this node: what it begins with. Until it is closed the log lives on, and whatever happens
    /// after that is delivered.
    fn open<'a>(&'a self, log: Log<'a>) -> Pending<'a, Result<Opened, PublishError>>;

    /// The room is gone; its log may follow once nothing in it is worth keeping.
    fn close(&self, name: &RoomName);

    /// A user came to this node: what is published to the user's log after the next look at its [`ends`](Self::ends) is
    /// delivered. As often as this is called, [`unfollow`](Self::unfollow) has to be.
    fn follow(&self, log: Log<'_>);

    /// A user left this node.
    fn unfollow(&self, name: &RoomName);

    /// Keeps the engine reached, and what is delivered complete, for as long as it is polled.
    fn run(&self) -> Pending<'_, ()>;

    /// Lets go of what is too old. Called every few seconds.
    fn sweep(&self, now: Millis);

    /// Whether other nodes may have a part in the same rooms.
    fn is_shared(&self) -> bool;

    /// Whether it takes events on, as far as is known.
    fn is_ready(&self) -> bool;

    /// Bytes that all logs hold on this node.
    fn bytes(&self) -> usize;

    /// How much one log may keep while all of them together are over the node's ceiling.
    fn share(&self) -> Option<usize>;
}

/// Who gets what a broker delivers. It is called under locks of the broker, and does not call it back.
pub trait Subscriber: Send + Sync {
    /// An event of any log.
    fn deliver(&self, publication: Arc<Publication>);

    /// A log that is open or followed cannot be continued where it was: it goes on with this.
    fn restart(&self, log: &RoomName, reason: ResetReason, opened: Opened);

    /// The roster of a room changed on another node.
    fn changed(&self, log: &RoomName, changed: Changed);

    /// The roster of a room may have changed on other nodes: all of their members.
    fn roster(&self, log: &RoomName, roster: Vec<Present>);

    /// A node is dead. Its members are to be [buried](Broker::bury).
    fn died(&self, node: NodeId);

    /// This node was held for dead, and is another one from now on: its rooms have to be told of their members again.
    fn reborn(&self, before: NodeId);

    /// What another node [sent](Broker::send).
    fn parcels(&self, from: NodeId, parcels: Vec<Parcel>);

    /// What another node has [whispered](Broker::whisper).
    fn whispers(&self, room: &RoomName, from: NodeId, whispers: Vec<Whisper>);
}
