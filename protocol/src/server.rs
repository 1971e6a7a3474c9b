//! What the server sends over a WebSocket: one struct per message, one enum over all.

use serde::{Deserialize, Serialize};
use serde_json::{Number, value::RawValue};

use crate::{
    code::ErrorCode,
    codec::{self, Encoding, Parts, Refused},
    event::{Entry, From, Gone, LeaveReason, Millis, NodeDown, Presence},
    id::{Kind, PeerId, RoomName},
    payload::Payload,
    position::Position,
    request::SignalKind,
};

/// What a server allows, told in `connected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsTold {
    /// Largest client frame, bytes.
    pub frame: usize,
    /// Largest move payload, bytes.
    #[serde(rename = "move")]
    pub move_payload: usize,
    /// Longest text, bytes.
    pub text: usize,
    /// Largest signal, bytes.
    pub signal: usize,
    /// Largest own public state, bytes.
    pub state: usize,
    /// Rooms that one session may be in.
    pub rooms: usize,
    /// Requests per second.
    pub requests_per_second: u64,
    /// Requests at once.
    pub requests_burst: u64,
    /// Moves per second.
    pub moves_per_second: u64,
    /// Moves at once.
    pub moves_burst: u64,
    /// Bytes per second, of whatever the client sends.
    pub bytes_per_second: u64,
}

/// One STUN or TURN server, as `RTCIceServer` wants it
/// (<https://www.w3.org/TR/webrtc/#rtciceserver-dictionary>).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:` and `turn:` addresses.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    /// Logs are no place for a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .field("credential", &self.credential.as_ref().map(|_| "[secret]"))
            .finish()
    }
}

/// The first message: who you are here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Connected {
    pub peer: PeerId,
    pub session: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    pub resumed: bool,
    pub time: Millis,
    pub heartbeat: u64,
    pub limits: LimitsTold,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ice_servers: Option<Vec<IceServer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ice_expires: Option<Millis>,
    pub notifications: Position,
}

/// A request was carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Done {
    pub re: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// A request was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Failed {
    pub re: Option<u64>,
    pub code: ErrorCode,
    pub name: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl Failed {
    /// The answer to a refused request, or the report of a refused message.
    pub fn of(refused: &Refused) -> Self {
        Self {
            re: refused.re,
            code: refused.code,
            name: refused.code.name().to_owned(),
            message: refused.message.clone().into_owned(),
            retry_after: refused.retry_after,
            room: if refused.re.is_none() { refused.room.clone() } else { None },
            count: None,
        }
    }
}

/// A member's latest move. `from` is a handle on a WebSocket that joined, a peer id in feeds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct LatestMove<F> {
    pub from: F,
    pub key: u16,
    pub seq: u32,
    pub time: u64,
    pub data: Box<RawValue>,
}

/// You are a member; this is the room.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Joined {
    pub re: Option<u64>,
    pub room: RoomName,
    pub handle: u32,
    pub you: Entry,
    pub members: Vec<Entry>,
    pub count: usize,
    pub spectators: usize,
    pub position: Position,
    pub state: Vec<LatestMove<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Vec<Box<RawValue>>>,
}

/// You follow the room; this is where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Watching {
    pub re: Option<u64>,
    pub room: RoomName,
    pub position: Position,
    pub count: usize,
    pub spectators: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Vec<LatestMove<PeerId>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Vec<Box<RawValue>>>,
}

/// A page of the roster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Members {
    pub re: u64,
    pub room: RoomName,
    pub members: Vec<Entry>,
    pub count: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PeerId>,
}

/// Event `peer-joined`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct PeerJoined {
    pub room: RoomName,
    pub time: Millis,
    pub position: Position,
    pub peer: Entry,
}

/// Event `peer-left`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct PeerLeft {
    pub room: RoomName,
    pub time: Millis,
    pub position: Position,
    pub peer: Gone,
    pub reason: LeaveReason,
}

/// Event `message`: chat.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Message {
    pub room: RoomName,
    pub time: Millis,
    pub position: Position,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    pub text: Box<str>,
}

/// Event of the application.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct AppEvent {
    pub room: RoomName,
    pub time: Millis,
    pub position: Position,
    pub kind: Kind,
    pub data: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
}

/// Event `presence` of large rooms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "PresenceFields")]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct PresenceEvent {
    pub room: RoomName,
    pub time: Millis,
    pub position: Position,
    #[serde(flatten)]
    pub presence: Presence,
}

/// [`PresenceEvent`] as it is read: serde cannot flatten structs that hold raw values.
#[derive(Deserialize)]
struct PresenceFields {
    room: RoomName,
    time: Millis,
    position: Position,
    count: usize,
    spectators: usize,
    joined: Vec<Entry>,
    left: Vec<Gone>,
    more: bool,
}

impl std::convert::From<PresenceFields> for PresenceEvent {
    fn from(fields: PresenceFields) -> Self {
        let PresenceFields { room, time, position, count, spectators, joined, left, more } = fields;
        Self { room, time, position, presence: Presence { count, spectators, joined, left, more } }
    }
}

/// Event `node-down`: a node of the cluster is dead.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "NodeDownFields")]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct NodeDownEvent {
    pub room: RoomName,
    pub time: Millis,
    pub position: Position,
    #[serde(flatten)]
    pub down: NodeDown,
}

/// [`NodeDownEvent`] as it is read, without flattening.
#[derive(Deserialize)]
struct NodeDownFields {
    room: RoomName,
    time: Millis,
    position: Position,
    node: Box<str>,
    count: usize,
    spectators: usize,
    left: Vec<Gone>,
    more: bool,
}

impl std::convert::From<NodeDownFields> for NodeDownEvent {
    fn from(fields: NodeDownFields) -> Self {
        let NodeDownFields { room, time, position, node, count, spectators, left, more } = fields;
        Self { room, time, position, down: NodeDown { node, count, spectators, left, more } }
    }
}

/// A word to the user, from the user's own log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Notification {
    pub message: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    pub time: Millis,
    pub position: Position,
}

/// An offer, answer or candidate from another member.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Signal {
    pub kind: SignalKind,
    pub room: RoomName,
    pub from: PeerId,
    pub data: Payload,
}

/// A move in its JSON form.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Moved {
    pub room: RoomName,
    pub from: u32,
    pub key: u16,
    pub seq: u32,
    pub time: u64,
    pub reliable: bool,
    pub data: Payload,
}

/// Somebody types, or stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Typing {
    pub room: RoomName,
    pub from: PeerId,
    pub on: bool,
}

/// A peer's public state changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct PeerUpdated {
    pub room: RoomName,
    pub peer: PeerId,
    pub state: Box<RawValue>,
}

/// Round trip and jitter of the members, milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Latency {
    pub room: RoomName,
    pub peers: Vec<(u32, f64, f64)>,
}

/// The room's latest moves, for those who watch with `state`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct State {
    pub room: RoomName,
    pub version: u64,
    pub moves: Vec<LatestMove<PeerId>>,
}

/// Both clocks of a `ping`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Pong {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t: Option<Number>,
    pub received: Millis,
    pub sent: Millis,
}

/// Why a log could not be continued where the client stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetReason {
    /// The events after the position are no longer kept.
    Trimmed,
    /// The position is of another life of the log.
    Epoch,
    /// The tag does not match: the log forked.
    Forked,
    /// The position lies beyond the head.
    Ahead,
    /// More was missed than one answer holds.
    TooMany,
    /// The token does not grant `history`.
    NoHistory,
    /// The session was resumed too late for the counted messages it missed.
    Lost,
}

impl ResetReason {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Epoch => "epoch",
            Self::Forked => "forked",
            Self::Ahead => "ahead",
            Self::TooMany => "too-many",
            Self::NoHistory => "no-history",
            Self::Lost => "lost",
        }
    }
}

/// Forget what you know of the room; this is how it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Reset {
    pub room: RoomName,
    pub reason: ResetReason,
    pub position: Position,
    pub members: Vec<Entry>,
    pub count: usize,
    pub state: Vec<LatestMove<u32>>,
}

/// Come back in a while; the server goes away.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub struct Reconnect {
    pub after_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct SignalHead {
    room: RoomName,
    from: PeerId,
}

#[derive(Serialize, Deserialize)]
struct MovedHead {
    room: RoomName,
    from: u32,
    key: u16,
    seq: u32,
    time: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    reliable: bool,
}

macro_rules! server_messages {
    ($($(#[$doc:meta])* $variant:ident($fields:ty) = $kind:literal,)*) => {
        /// A message of the server. Field meanings are those of `protocol/README.md`.
        #[derive(Clone, Debug)]
        pub enum ServerMessage {
            $($(#[$doc])* $variant($fields),)*
            /// An offer, answer or candidate.
            Signal(Signal),
            /// A move in its JSON form.
            Moved(Moved),
        }

        impl ServerMessage {
            /// The `type` of every message, signals and moves included.
            pub const TYPES: &'static [&'static str] = &[$($kind,)* "offer", "answer", "ice-candidate", "move"];

            /// The `type` on the wire.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)*
                    Self::Signal(signal) => signal.kind.name(),
                    Self::Moved(_) => "move",
                }
            }

            /// Encodes the message.
            pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
                let mut out = Vec::new();
                self.encode_into(encoding, &mut out);
                out
            }

            /// Appends the encoded message.
            pub fn encode_into(&self, encoding: Encoding, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(fields) => codec::encode_into(encoding, $kind, fields, None, out),)*
                    Self::Signal(Signal { kind, room, from, data }) => {
                        let head = SignalHead { room: room.clone(), from: *from };
                        codec::encode_into(encoding, kind.name(), &head, Some(data), out);
                    }
                    Self::Moved(moved) => {
                        let Moved { room, from, key, seq, time, reliable, data } = moved;
                        let (room, from, key, seq, time, reliable) = (room.clone(), *from, *key, *seq, *time, *reliable);
                        let head = MovedHead { room, from, key, seq, time, reliable };
                        codec::encode_into(encoding, "move", &head, Some(data), out);
                    }
                }
            }

            /// Decodes a control message of the server, for clients.
            pub fn decode(encoding: Encoding, frame: &[u8]) -> Result<Self, Refused> {
                let parts = Parts::of(encoding, frame, crate::msgpack::DEPTH_CEILING)?;
                let kind = parts.kind()?;
                let signal = |kind| {
                    let SignalHead { room, from } = parts.read()?;
                    Ok(Self::Signal(Signal { kind, room, from, data: parts.data()? }))
                };
                match &*kind {
                    $($kind => parts.read_whole().map(Self::$variant),)*
                    "offer" => signal(SignalKind::Offer),
                    "answer" => signal(SignalKind::Answer),
                    "ice-candidate" => signal(SignalKind::IceCandidate),
                    "move" => {
                        let MovedHead { room, from, key, seq, time, reliable } = parts.read()?;
                        Ok(Self::Moved(Moved { room, from, key, seq, time, reliable, data: parts.data()? }))
                    }
                    _ => Err(ErrorCode::UnknownType.into()),
                }
            }
        }
    };
}

server_messages! {
    /// Who you are here.
    Connected(Connected) = "connected",
    /// A request was carried out.
    Ok(Done) = "ok",
    /// A request was refused.
    Error(Failed) = "error",
    /// You are a member.
    Joined(Joined) = "joined",
    /// You follow a room.
    Watching(Watching) = "watching",
    /// A page of the roster.
    Members(Members) = "members",
    /// A member joined.
    PeerJoined(PeerJoined) = "peer-joined",
    /// A member left.
    PeerLeft(PeerLeft) = "peer-left",
    /// Chat.
    Message(Message) = "message",
    /// An application event.
    Event(AppEvent) = "event",
    /// Joins and leaves of a large room.
    Presence(PresenceEvent) = "presence",
    /// A node of the cluster is dead, and its members are gone.
    NodeDown(NodeDownEvent) = "node-down",
    /// A word to the user.
    Notification(Notification) = "notification",
    /// Somebody types.
    Typing(Typing) = "typing",
    /// A peer's public state changed.
    PeerUpdated(PeerUpdated) = "peer-updated",
    /// Round trips of the members.
    Latency(Latency) = "latency",
    /// Latest moves for watchers.
    State(State) = "state",
    /// Both clocks.
    Pong(Pong) = "pong",
    /// A log could not be continued.
    Reset(Reset) = "reset",
    /// The server goes away.
    Reconnect(Reconnect) = "reconnect",
}
