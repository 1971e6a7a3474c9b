//! What a client sends over a WebSocket, decoded and checked as far as the frame alone allows.
//!
//! The session asks the rest: joined? granted? within the rate?

use serde::{Deserialize, Serialize};
use serde_json::{Number, value::RawValue};

use crate::{
    SAFE_INTEGER_MAX,
    code::ErrorCode,
    codec::{self, Encoding, Envelope, Parts, Refused},
    convert,
    id::{Kind, PeerId, RoomName},
    moves::{Lane, MoveLimits, Receivers},
    payload::Payload,
    position::Position,
};

/// The bounds a decoded request keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deepest nesting of a control message; the message itself is depth 1.
    pub depth: usize,
    /// Longest chat text, in bytes.
    pub text: usize,
    /// Largest `data` of a signal, in bytes of its own encoding.
    pub signal: usize,
    /// Largest public state of a peer, in bytes of JSON.
    pub state: usize,
    /// The bounds of moves.
    pub moves: MoveLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 16, text: 4096, signal: 65_536, state: 512, moves: MoveLimits::default() }
    }
}

/// Most handles that one `members` request may ask for.
pub const HANDLES_MAX: usize = 100;
/// Most entries in one answer that lists members or rooms.
pub const PAGE_MAX: usize = 500;
/// Entries in one page when the request does not say.
pub const PAGE_DEFAULT: usize = 100;
/// Most state updates a second that a watcher may ask for.
pub const STATE_HZ_MAX: f64 = 10.0;

/// Which of the three WebRTC messages a signal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// An SDP offer.
    Offer,
    /// An SDP answer.
    Answer,
    /// An ICE candidate; null data ends the candidates.
    IceCandidate,
}

impl SignalKind {
    /// The `type` on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::IceCandidate => "ice-candidate",
        }
    }
}

/// A client's message. Field meanings are those of `protocol/README.md`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are the wire's, documented in protocol/README.md")]
pub enum Request {
    /// The first message: who I am.
    Auth { token: String, notifications_since: Option<Position> },
    /// The first message after a lost socket.
    Resume { token: String },
    /// A newer token for the same user.
    Refresh { id: u64, token: String },
    /// Become a member.
    Join { id: u64, room: RoomName, since: Option<Position> },
    /// Stop being a member.
    Leave { id: u64, room: RoomName },
    /// An offer, answer or candidate to one member.
    Signal { id: u64, room: RoomName, to: PeerId, kind: SignalKind, data: Payload },
    /// Say something to the room.
    Message { id: u64, room: RoomName, text: String },
    /// Publish an application event.
    Publish { id: u64, room: RoomName, kind: Kind, data: Box<RawValue> },
    /// Set the own public state.
    Update { id: u64, room: RoomName, state: Box<RawValue> },
    /// Read the roster.
    Members { id: u64, room: RoomName, after: Option<PeerId>, limit: usize, handles: Option<Vec<u32>> },
    /// Follow a room without being a member.
    Watch { id: u64, room: RoomName, since: Option<Position>, state: Option<f64> },
    /// Stop following.
    Unwatch { id: u64, room: RoomName },
    /// I typed just now.
    Typing { room: RoomName },
    /// A move in its JSON form.
    Move(JsonMove),
    /// What is the time, and how far away are you?
    Ping { id: Option<u64>, t: Option<Number> },
    /// How many counted messages I have seen.
    Ack { n: u64 },
}

/// A move as JSON clients send it.
#[derive(Clone, Debug)]
pub struct JsonMove {
    /// The room.
    pub room: RoomName,
    /// Its delivery promise.
    pub lane: Lane,
    /// What the move is about.
    pub key: u16,
    /// The sender's sequence number; `None`: the server counts.
    pub seq: Option<u32>,
    /// Handles of the receivers; `None` means everybody else.
    pub to: Option<Receivers>,
    /// The payload.
    pub data: Payload,
}

fn checked_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let id = u64::deserialize(deserializer)?;
    if id > SAFE_INTEGER_MAX {
        return Err(serde::de::Error::custom("id is above 2^53 - 1"));
    }
    Ok(id)
}

#[derive(Deserialize, Serialize)]
struct AuthFields {
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notifications_since: Option<Position>,
}

#[derive(Deserialize, Serialize)]
struct TokenFields {
    #[serde(deserialize_with = "checked_id")]
    id: u64,
    token: String,
}

#[derive(Deserialize, Serialize)]
struct RoomFields {
    #[serde(deserialize_with = "checked_id")]
    id: u64,
    room: RoomName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Position>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<f64>,
}

#[derive(Deserialize, Serialize)]
struct IdRoom {
    #[serde(deserialize_with = "checked_id")]
    id: u64,
    room: RoomName,
}

#[derive(Deserialize, Serialize)]
struct SignalFields {
    #[serde(deserialize_with = "checked_id")]
    id: u64,
    room: RoomName,
    to: PeerId,
}

#[derive(Deserialize, Serialize)]
struct MessageFields {
    #[serde(deserialize_with = "checked_id")]
    id: u64,
    room: RoomName,
    text: String,
}

#[derive(Deserialize, Serialize)]
struct PublishFields {
    #[serde(deserialize_with = "checked_id")]
    id: u64,
    room: RoomName,
    kind: Kind,
}

#[derive(Deserialize, Serialize)]
struct UpdateFields<'a> {
    #[serde(deserialize_with = "checked_id")]
    id: u64,
    room: RoomName,
    #[serde(borrow)]
    state: &'a RawValue,
}

#[derive(Deserialize, Serialize)]
struct MembersFields {
    #[serde(deserialize_with = "checked_id")]
    id: u64,
    room: RoomName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<PeerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handles: Option<Vec<u32>>,
}

#[derive(Deserialize, Serialize)]
struct TypingFields {
    room: RoomName,
}

#[derive(Deserialize, Serialize)]
struct MoveFields {
    room: RoomName,
    #[serde(default)]
    reliable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Vec<u64>>,
}

#[derive(Deserialize, Serialize)]
struct PingFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<Number>,
}

#[derive(Deserialize, Serialize)]
struct AckFields {
    n: u64,
}

/// Chat and notification text: not empty, not longer than the limit.
pub fn check_text(text: &str, limit: usize) -> Result<(), Refused> {
    if text.is_empty() {
        return Err(Refused::new(ErrorCode::BadValue, "the text is empty"));
    }
    if text.len() > limit {
        return Err(Refused::new(ErrorCode::TooBig, format!("the text is longer than {limit} bytes")));
    }
    Ok(())
}

/// A kind that an application may publish (`message` has a request of its own).
pub fn check_kind(kind: &Kind) -> Result<(), Refused> {
    if kind.is_reserved() {
        return Err(Refused::new(ErrorCode::ReservedKind, "this kind belongs to the server"));
    }
    Ok(())
}

fn bad_value(message: &'static str) -> Refused {
    Refused::new(ErrorCode::BadValue, message)
}

impl Request {
    /// Decodes one control message.
    pub fn decode(encoding: Encoding, frame: &[u8], limits: &Limits) -> Result<Self, Refused> {
        let parts = Parts::of(encoding, frame, limits.depth)?;
        let envelope: Envelope<'_> = parts.read()?;
        Self::of_parts(encoding, &envelope.kind, &parts, limits)
            .map_err(|refused| refused.about(envelope.id(), envelope.room().as_ref()))
    }

    fn of_parts(encoding: Encoding, kind: &str, parts: &Parts<'_>, limits: &Limits) -> Result<Self, Refused> {
        let signal = |kind| {
            let SignalFields { id, room, to } = parts.read()?;
            let data = parts.data()?;
            if data.len() > limits.signal {
                return Err(Refused::new(
                    ErrorCode::TooBig,
                    format!("the signal is larger than {} bytes", limits.signal),
                ));
            }
            Ok(Self::Signal { id, room, to, kind, data })
        };
        match kind {
            "auth" => {
                let AuthFields { token, notifications_since } = parts.read()?;
                Ok(Self::Auth { token, notifications_since })
            }
            "resume" => {
                let AuthFields { token, .. } = parts.read()?;
                Ok(Self::Resume { token })
            }
            "refresh" => {
                let TokenFields { id, token } = parts.read()?;
                Ok(Self::Refresh { id, token })
            }
            "join" => {
                let RoomFields { id, room, since, .. } = parts.read()?;
                Ok(Self::Join { id, room, since })
            }
            "leave" => {
                let IdRoom { id, room } = parts.read()?;
                Ok(Self::Leave { id, room })
            }
            "offer" => signal(SignalKind::Offer),
            "answer" => signal(SignalKind::Answer),
            "ice-candidate" => signal(SignalKind::IceCandidate),
            "message" => {
                let MessageFields { id, room, text } = parts.read()?;
                check_text(&text, limits.text)?;
                Ok(Self::Message { id, room, text })
            }
            "publish" => {
                let PublishFields { id, room, kind } = parts.read()?;
                check_kind(&kind)?;
                Ok(Self::Publish { id, room, kind, data: parts.data()?.to_raw_json() })
            }
            "update" => Self::update(parts, limits),
            "members" => Self::members(parts),
            "watch" => {
                let RoomFields { id, room, since, state } = parts.read()?;
                if state.is_some_and(|hz| !(hz > 0.0 && hz <= STATE_HZ_MAX)) {
                    return Err(bad_value("state is a rate above 0 and up to 10 Hz"));
                }
                Ok(Self::Watch { id, room, since, state })
            }
            "unwatch" => {
                let IdRoom { id, room } = parts.read()?;
                Ok(Self::Unwatch { id, room })
            }
            "typing" => Ok(Self::Typing { room: parts.read::<TypingFields>()?.room }),
            // MessagePack moves are arrays; a map would be a second spelling of the same thing.
            "move" if encoding == Encoding::Json => Self::json_move(parts, limits),
            "ping" => {
                let PingFields { id, t } = parts.read()?;
                if id.is_some_and(|id| id > SAFE_INTEGER_MAX) {
                    return Err(Refused::new(ErrorCode::Malformed, "id is above 2^53 - 1"));
                }
                Ok(Self::Ping { id, t })
            }
            "ack" => Ok(Self::Ack { n: parts.read::<AckFields>()?.n }),
            _ => Err(Refused::new(ErrorCode::UnknownType, "no message of this type")),
        }
    }

    fn update(parts: &Parts<'_>, limits: &Limits) -> Result<Self, Refused> {
        let UpdateFields { id, room, state } = parts.read()?;
        convert::check_json_values(state.get())?;
        let text = convert::single_line(state.get());
        if !text.trim_start().starts_with('{') {
            return Err(Refused::new(ErrorCode::Malformed, "state is a map"));
        }
        if text.len() > limits.state {
            return Err(Refused::new(ErrorCode::TooBig, format!("the state is larger than {} bytes", limits.state)));
        }
        let state = RawValue::from_string(text.into_owned()).expect("removing line breaks keeps JSON valid");
        Ok(Self::Update { id, room, state })
    }

    fn members(parts: &Parts<'_>) -> Result<Self, Refused> {
        let MembersFields { id, room, after, limit, handles } = parts.read()?;
        let limit = limit.unwrap_or(PAGE_DEFAULT);
        if limit == 0 || limit > PAGE_MAX {
            return Err(bad_value("limit is 1 to 500"));
        }
        if handles.as_ref().is_some_and(|handles| handles.len() > HANDLES_MAX) {
            return Err(bad_value("at most 100 handles at a time"));
        }
        Ok(Self::Members { id, room, after, limit, handles })
    }

    fn json_move(parts: &Parts<'_>, limits: &Limits) -> Result<Self, Refused> {
        let MoveFields { room, reliable, key, seq, to } = parts.read()?;
        let data = parts.data()?;
        if data.len() > limits.moves.payload {
            return Err(Refused::new(
                ErrorCode::TooBig,
                format!("the move is larger than {} bytes", limits.moves.payload),
            ));
        }
        let key = u16::try_from(key.unwrap_or(0)).map_err(|_| bad_value("key is 0 to 65535"))?;
        let seq = seq.map(u32::try_from).transpose().map_err(|_| bad_value("seq is 0 to 4294967295"))?;
        let to = match to {
            Some(to) if to.is_empty() || to.len() > limits.moves.receivers => {
                return Err(bad_value("a move names 1 to 64 receivers"));
            }
            Some(to) => Some(
                to.into_iter()
                    .map(u32::try_from)
                    .collect::<Result<Receivers, _>>()
                    .map_err(|_| bad_value("a handle is 0 to 4294967295"))?,
            ),
            None => None,
        };
        let lane = if reliable { Lane::Reliable } else { Lane::Latest };
        Ok(Self::Move(JsonMove { room, lane, key, seq, to, data }))
    }

    /// The `type` on the wire, also the name of its row in the rights table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Auth { .. } => "auth",
            Self::Resume { .. } => "resume",
            Self::Refresh { .. } => "refresh",
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Signal { kind, .. } => kind.name(),
            Self::Message { .. } => "message",
            Self::Publish { .. } => "publish",
            Self::Update { .. } => "update",
            Self::Members { .. } => "members",
            Self::Watch { .. } => "watch",
            Self::Unwatch { .. } => "unwatch",
            Self::Typing { .. } => "typing",
            Self::Move(_) => "move",
            Self::Ping { .. } => "ping",
            Self::Ack { .. } => "ack",
        }
    }

    /// The request id, if this request has one.
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::Refresh { id, .. }
            | Self::Join { id, .. }
            | Self::Leave { id, .. }
            | Self::Signal { id, .. }
            | Self::Message { id, .. }
            | Self::Publish { id, .. }
            | Self::Update { id, .. }
            | Self::Members { id, .. }
            | Self::Watch { id, .. }
            | Self::Unwatch { id, .. } => Some(*id),
            Self::Ping { id, .. } => *id,
            Self::Auth { .. } | Self::Resume { .. } | Self::Typing { .. } | Self::Move(_) | Self::Ack { .. } => None,
        }
    }

    /// The room it is about, if any.
    pub fn room(&self) -> Option<&RoomName> {
        match self {
            Self::Join { room, .. }
            | Self::Leave { room, .. }
            | Self::Signal { room, .. }
            | Self::Message { room, .. }
            | Self::Publish { room, .. }
            | Self::Update { room, .. }
            | Self::Members { room, .. }
            | Self::Watch { room, .. }
            | Self::Unwatch { room, .. }
            | Self::Typing { room } => Some(room),
            Self::Move(json) => Some(&json.room),
            Self::Auth { .. } | Self::Resume { .. } | Self::Refresh { .. } | Self::Ping { .. } | Self::Ack { .. } => {
                None
            }
        }
    }

    /// Encodes the request, for clients.
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        let kind = self.name();
        match self.clone() {
            Self::Auth { token, notifications_since } => {
                codec::encode(encoding, kind, &AuthFields { token, notifications_since }, None)
            }
            Self::Resume { token } => {
                codec::encode(encoding, kind, &AuthFields { token, notifications_since: None }, None)
            }
            Self::Refresh { id, token } => codec::encode(encoding, kind, &TokenFields { id, token }, None),
            Self::Join { id, room, since } => {
                codec::encode(encoding, kind, &RoomFields { id, room, since, state: None }, None)
            }
            Self::Watch { id, room, since, state } => {
                codec::encode(encoding, kind, &RoomFields { id, room, since, state }, None)
            }
            Self::Leave { id, room } | Self::Unwatch { id, room } => {
                codec::encode(encoding, kind, &IdRoom { id, room }, None)
            }
            Self::Signal { id, room, to, data, .. } => {
                codec::encode(encoding, kind, &SignalFields { id, room, to }, Some(&data))
            }
            Self::Message { id, room, text } => codec::encode(encoding, kind, &MessageFields { id, room, text }, None),
            Self::Publish { id, room, kind: event, data } => {
                let fields = PublishFields { id, room, kind: event };
                codec::encode(encoding, kind, &fields, Some(&Payload::from_raw_json(&data)))
            }
            Self::Update { id, room, state } => {
                codec::encode(encoding, kind, &UpdateFields { id, room, state: &state }, None)
            }
            Self::Members { id, room, after, limit, handles } => {
                codec::encode(encoding, kind, &MembersFields { id, room, after, limit: Some(limit), handles }, None)
            }
            Self::Typing { room } => codec::encode(encoding, kind, &TypingFields { room }, None),
            Self::Move(JsonMove { room, lane, key, seq, to, data }) => {
                let fields = MoveFields {
                    room,
                    reliable: lane == Lane::Reliable,
                    key: Some(key.into()),
                    seq: seq.map(u64::from),
                    to: to.map(|to| to.into_iter().map(u64::from).collect()),
                };
                codec::encode(encoding, kind, &fields, Some(&data))
            }
            Self::Ping { id, t } => codec::encode(encoding, kind, &PingFields { id, t }, None),
            Self::Ack { n } => codec::encode(encoding, kind, &AckFields { n }, None),
        }
    }
}
