//! What arrives without being asked for: events, signals, moves, losses and returns, and the end.

use std::collections::VecDeque;

use rallypoint_protocol::{
    Encoding, Payload, PeerId, RoomName, ServerMessage,
    moves::Lane,
    server::{Failed, Joined, Reset, Watching},
};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::error::Error;

/// One thing that arrived. Answers to requests are not among them: they go to whoever asked.
///
/// A lost connection shows as [`Away`](Self::Away), and once the client has come back by itself as
/// [`Back`](Self::Back). Then each room that the session was in comes, in any order, either as
/// [`Joined`](Self::Joined) or [`Watching`](Self::Watching), or as [`Out`](Self::Out). The events
/// that were missed come before the room's `Joined`, as if there had been no loss; where that is impossible a
/// [`Reset`](Self::Reset) follows it. So whoever goes by the events one by one misses nothing, and whoever
/// keeps a picture of the room can draw it anew from `Joined`.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// An event, a signal, a hint, a notification, or an error that answers no request.
    Message(ServerMessage),
    /// A move, whatever the encoding.
    Move(Move),
    /// The room anew: what was known of it holds no longer.
    Reset(Reset),
    /// The connection is lost, and the client tries to come back.
    Away {
        /// The number in the close frame, 1005 if it held none; `None` when the connection broke off.
        code: Option<u16>,
        /// The text in the close frame, or what broke.
        reason: String,
    },
    /// The client is back.
    Back {
        /// Whether nothing was lost. If not, signals and reliable moves may be missing, in both
        /// directions, and reliable moves that were on their way are not sent again.
        resumed: bool,
        /// Who this client is now: another than before if the session was lost as a whole.
        peer: PeerId,
    },
    /// After [`Back`](Self::Back): a room as it is now. What was missed came before, so `missed` is absent.
    Joined(Joined),
    /// After [`Back`](Self::Back): a watched room as it is now.
    Watching(Watching),
    /// After [`Back`](Self::Back): a room that the session is no longer in, and does not watch.
    Out {
        /// The room.
        room: RoomName,
        /// Why the server did not let the client in again, if it said so.
        why: Option<Box<Failed>>,
    },
    /// The connection has ended for good. Always the last one.
    Closed {
        /// The number in the close frame, 1005 if it held none; `None` when there was no close frame.
        code: Option<u16>,
        /// The text in the close frame, or what broke.
        reason: String,
    },
}

/// A move of another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The room.
    pub room: RoomName,
    /// The room's handle.
    pub room_handle: u32,
    /// The sender's handle in that room.
    pub from: u32,
    /// What the move is about.
    pub key: u16,
    /// The sender's sequence number.
    pub seq: u32,
    /// When the server took it, Unix milliseconds.
    pub time: u64,
    /// Its delivery promise.
    pub lane: Lane,
    /// The value, in the encoding of this connection.
    pub payload: Payload,
}

/// The receiving half of a connection, in order of arrival.
///
/// It must be read: when [`Options::queue`](crate::Options::queue) messages wait, the client stops reading the
/// socket, answers included, and a server that cannot get rid of its messages closes the
/// connection as a slow consumer. Dropping it instead means that nothing is wanted: what arrives
/// is then thrown away, and requests go on working.
#[derive(Debug)]
pub struct Events {
    pub(crate) queue: mpsc::Receiver<Incoming>,
}

impl Events {
    /// The next thing that arrives; `None` after [`Incoming::Closed`]. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Incoming> {
        self.queue.recv().await
    }

    /// The next thing, if one is waiting already.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.queue.try_recv().ok()
    }
}

/// Reads the list `missed` of `joined` or `watching`: each entry is an event as it would have
/// come live. Events of a kind that this version does not know are left out.
pub fn missed_events(missed: &[Box<RawValue>]) -> Result<Vec<ServerMessage>, Error> {
    use rallypoint_protocol::ErrorCode::UnknownType;
    missed
        .iter()
        .map(|raw| ServerMessage::decode(Encoding::Json, raw.get().as_bytes()))
        .filter(|event| !matches!(event, Err(refused) if refused.code == UnknownType))
        .map(|event| event.map_err(|refused| Error::undecodable(&refused)))
        .collect()
}

/// What one frame brought, in order.
pub(crate) type Inbox = VecDeque<Incoming>;
