//! Everything that can happen to a room, and everything that can come of it.

use std::sync::Arc;

use rallypoint_protocol::{
    Event, PeerId,
    event::{Entry, Presence},
    moves::Lane,
    payload::Payload,
};
use serde_json::value::RawValue;

use super::history::{Append, Publication};
use crate::node::NodeId;

/// What can happen to a room.
#[derive(Clone, Debug)]
pub enum Command {
    /// The log delivered an event.
    Apply(Arc<Publication>),
    /// A member joins a room too large to announce it; `order` is set by the room.
    Enter(Box<Entry>),
    /// A member leaves such a room.
    Exit(PeerId),
    /// A member of another node has come to this one.
    Adopt(Box<Entry>),
    /// A member entered on another node, and no event tells of it.
    Seat(Box<Present>),
    /// A member left another node, and no event tells of it.
    Unseat(PeerId),
    /// All members of other nodes, where it is not known what changed.
    Roster(Vec<Present>),
    /// A member moves.
    Move(Move),
    /// A member says something about itself.
    Update {
        /// Which.
        peer: PeerId,
        /// What; `None` clears it.
        state: Option<Box<RawValue>>,
    },
    /// A member types.
    Typing(PeerId),
    /// A member's socket was lost: it types no more.
    Hush(PeerId),
    /// The round trip to a member was measured.
    Latency {
        /// Which.
        peer: PeerId,
        /// Milliseconds.
        rtt: f64,
        /// Milliseconds.
        jitter: f64,
    },
    /// The number of spectators changed.
    Spectators(usize),
    /// Old events are let go; above `keep_bytes` young ones too.
    Trim {
        /// What the node can spare for this room, if it has to be told.
        keep_bytes: Option<usize>,
    },
    /// Time passed.
    Tick,
}

/// A member of another node.
#[derive(Clone, Debug)]
pub struct Present {
    /// As others see it; `order` is set.
    pub entry: Entry,
    /// Where its session is.
    pub node: NodeId,
}

/// A member that an event removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Which.
    pub peer: PeerId,
    /// The number it had.
    pub handle: u32,
    /// Whether its session is on this node.
    pub here: bool,
}

/// A move on its way through the room.
#[derive(Clone, Debug)]
pub struct Move {
    /// Who moves.
    pub peer: PeerId,
    /// Its delivery promise.
    pub lane: Lane,
    /// The sender's key.
    pub key: u16,
    /// The sender's sequence number; `None`: the room counts.
    pub seq: Option<u32>,
    /// Whether it goes to named members only; such a move never enters the room's state.
    pub named: bool,
    /// When it came to the node of its sender, which has checked its number; `None`: that is this node.
    pub passed: Option<u64>,
    /// What.
    pub payload: Payload,
}

/// What came of a command.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing that anybody needs to know.
    Nothing,
    /// The log went on by this event.
    Event {
        /// The event as the log has it.
        publication: Arc<Publication>,
        /// The same, decoded.
        event: Box<Event>,
        /// A member whose typing the event ended.
        stopped_typing: Option<PeerId>,
        /// The members it removed.
        left: Vec<Departed>,
    },
    /// The event was not the next one; nothing changed.
    NotNext(Append),
    /// A member entered without an announcement.
    Entered,
    /// Members of other nodes came or went without an announcement.
    Seated {
        /// Those who went, by handle.
        gone: Vec<u32>,
    },
    /// A member left without an announcement.
    Exited {
        /// Its handle.
        handle: u32,
        /// Whether it was typing.
        typing: bool,
    },
    /// The move goes out to everybody else, or to those it names.
    Relayed {
        /// The sender's handle.
        from: u32,
        /// The sequence number it got.
        seq: u32,
    },
    /// The move is older than one already seen; dropped.
    Stale,
    /// The member's public state changed.
    Updated,
    /// The member began to type (`false`: it went on).
    Typing {
        /// Whether the others need to be told.
        began: bool,
    },
    /// A member fell silent.
    Hushed {
        /// Whether it was typing.
        typing: bool,
    },
    /// What was due.
    Ticked(Ticked),
}

/// What was due at a tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ticked {
    /// Members that stopped typing.
    pub stopped_typing: Vec<PeerId>,
    /// A summary to be published.
    pub presence: Option<PresenceDue>,
    /// Handle, round trip and jitter of the members.
    pub latency: Vec<(u32, f64, f64)>,
}

/// A presence summary; compared by its counts and peers in tests.
#[derive(Clone, Debug)]
pub struct PresenceDue(pub Presence);

impl PartialEq for PresenceDue {
    fn eq(&self, other: &Self) -> bool {
        let peers = |p: &Presence| {
            let joined: Vec<_> = p.joined.iter().map(|entry| entry.peer).collect();
            let left: Vec<_> = p.left.iter().map(|gone| gone.peer).collect();
            (p.count, p.spectators, p.more, joined, left)
        };
        peers(&self.0) == peers(&other.0)
    }
}
