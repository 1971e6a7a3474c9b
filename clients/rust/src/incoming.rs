//! What arrives without being asked for: events, signals, moves, and the end.

use rallypoint_protocol::{Encoding, Payload, RoomName, ServerMessage, moves::Lane};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::error::Error;

/// One thing that arrived. Answers to requests are not among them: they go to whoever asked.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// An event, a signal, a hint, a notification, a reset, or an error that answers no request.
    Message(ServerMessage),
    /// A move, whatever the encoding.
    Move(Move),
    /// The connection has ended. Always the last one.
    Closed {
        /// The number in the close frame, 1005 if it held none; `None` when the connection broke off.
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
