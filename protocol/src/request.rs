//! What a client sends over a WebSocket, decoded and checked as far as the frame alone allows.
//!
//! The session asks the rest: joined? granted? within the rate?

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::{Number, value::RawValue};

use crate::{
    SAFE_INTEGER_MAX,
    code::ErrorCode,
    codec::{self, Encoding, Parts, Refused},
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
/// Most rooms that one `resume` may name, and again as watched.
pub const RESUMED_ROOMS_MAX: usize = 64;
/// Most state updates a second that a watcher may ask for.
pub const STATE_HZ_MAX: f64 = 10.0;
/// Longest time between two state updates.
const STATE_EVERY_MS_MAX: f64 = 3_600_000.0;

/// Which of the three WebRTC messages a signal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    Resume(Box<Resume>),
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

/// What a client says to take its lost session up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The resume token of the last `connected`.
    pub token: String,
    /// How many counted messages it has received.
    pub received: u64,
    /// Where its rooms stand, joined and watched ones.
    pub positions: BTreeMap<RoomName, Position>,
    /// Which of its rooms it only watches; counts where the server has forgotten the session.
    pub watched: Vec<RoomName>,
    /// A newer access token.
    pub jwt: Option<String>,
    /// Where the user's own log stands.
    pub notifications_since: Option<Position>,
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

/// A number field that must be whole. Any spelling of a number is the right kind; `None` is one
/// that is negative, has a fraction or is too large.
#[derive(Clone, Copy, Debug)]
struct Whole(Option<u64>);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        let whole = number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
            let fits = float.fract() == 0.0 && (0.0..=SAFE_INTEGER_MAX as f64).contains(&float);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by the line above")]
            fits.then_some(float as u64)
        });
        Ok(Self(whole.filter(|&whole| whole <= SAFE_INTEGER_MAX)))
    }
}

impl Serialize for Whole {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.unwrap_or_default().serialize(serializer)
    }
}

impl From<u64> for Whole {
    fn from(value: u64) -> Self {
        Self(Some(value))
    }
}

// What follows reads fields in the order in which the specification judges them: kinds first, then
// the id, names, positions, sizes, and last all other values.

fn id_of(id: Whole) -> Result<u64, Refused> {
    id.0.ok_or_else(|| Refused::new(ErrorCode::BadId, "id is a whole number from 0 to 2^53 - 1"))
}

fn room_of(room: &str) -> Result<RoomName, Refused> {
    unreserved(RoomName::new(room).map_err(|code| Refused::new(code, "the room is not well named"))?)
}

fn unreserved(room: RoomName) -> Result<RoomName, Refused> {
    if room.is_reserved() {
        return Err(Refused::new(ErrorCode::ReservedName, "names beginning user/ belong to the server"));
    }
    Ok(room)
}

fn peer_of(peer: &str) -> Result<PeerId, Refused> {
    PeerId::parse(peer).map_err(|code| Refused::new(code, "a peer id is a UUID"))
}

fn position_of(position: Option<&String>) -> Result<Option<Position>, Refused> {
    position
        .map(|text| Position::parse(text).map_err(|code| Refused::new(code, "a position is epoch.seq.tag")))
        .transpose()
}

fn number_of<T: TryFrom<u64>>(number: Whole, message: &'static str) -> Result<T, Refused> {
    number.0.and_then(|number| T::try_from(number).ok()).ok_or_else(|| bad_value(message))
}

#[derive(Deserialize, Serialize)]
struct AuthFields {
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notifications_since: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct ResumeFields {
    token: String,
    received: Whole,
    positions: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watched: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notifications_since: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct TokenFields {
    id: Whole,
    token: String,
}

#[derive(Deserialize, Serialize)]
struct JoinFields {
    id: Whole,
    room: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct WatchFields {
    id: Whole,
    room: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<f64>,
}

#[derive(Deserialize, Serialize)]
struct RoomFields {
    id: Whole,
    room: String,
}

#[derive(Deserialize, Serialize)]
struct SignalFields<'a> {
    id: Whole,
    #[serde(borrow)]
    room: Cow<'a, str>,
    #[serde(borrow)]
    to: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
struct MessageFields {
    id: Whole,
    room: String,
    text: String,
}

#[derive(Deserialize, Serialize)]
struct PublishFields {
    id: Whole,
    room: String,
    kind: String,
}

#[derive(Deserialize, Serialize)]
struct UpdateFields<'a> {
    id: Whole,
    room: String,
    state: Cow<'a, RawValue>,
}

#[derive(Deserialize, Serialize)]
struct MembersFields {
    id: Whole,
    room: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<Whole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handles: Option<Vec<Whole>>,
}

#[derive(Deserialize, Serialize)]
struct TypingFields {
    room: String,
}

#[derive(Deserialize, Serialize)]
struct MoveFields {
    room: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reliable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Whole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<Whole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Vec<Whole>>,
}

#[derive(Deserialize, Serialize)]
struct PingFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Whole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<Number>,
}

#[derive(Deserialize, Serialize)]
struct AckFields {
    n: Whole,
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

/// A rate at which somebody may be told the state of a room.
pub fn check_state_hz(hz: f64) -> Result<f64, Refused> {
    if hz > 0.0 && hz <= STATE_HZ_MAX { Ok(hz) } else { Err(bad_value("`state` is a rate above 0 and up to 10 Hz")) }
}

/// Milliseconds between two states at this rate. An hour is the longest: a timer that never ends would be kept for good.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 100 to the longest")]
pub fn state_every_ms(hz: f64) -> u64 {
    (1000.0 / hz).min(STATE_EVERY_MS_MAX) as u64
}

fn handles_of(handles: Vec<Whole>, min: usize, max: usize) -> Result<Vec<u32>, Refused> {
    if handles.len() < min || handles.len() > max {
        return Err(Refused::new(ErrorCode::BadValue, format!("{min} to {max} handles at a time")));
    }
    handles.into_iter().map(|handle| number_of(handle, "a handle is 0 to 4294967295")).collect()
}

fn bad_value(message: &'static str) -> Refused {
    Refused::new(ErrorCode::BadValue, message)
}

impl Request {
    /// Decodes one control message.
    pub fn decode(encoding: Encoding, frame: &[u8], limits: &Limits) -> Result<Self, Refused> {
        let parts = Parts::of(encoding, frame, limits.depth)?;
        let kind = parts.kind()?;
        Self::of_parts(encoding, &kind, &parts, limits).map_err(|refused| parts.refused(refused))
    }

    fn of_parts(encoding: Encoding, kind: &str, parts: &Parts<'_>, limits: &Limits) -> Result<Self, Refused> {
        match kind {
            "auth" => {
                let fields: AuthFields = parts.read()?;
                let notifications_since = position_of(fields.notifications_since.as_ref())?;
                Ok(Self::Auth { token: fields.token, notifications_since })
            }
            "resume" => Self::resume(parts),
            "refresh" => {
                let fields: TokenFields = parts.read()?;
                Ok(Self::Refresh { id: id_of(fields.id)?, token: fields.token })
            }
            "join" => {
                let fields: JoinFields = parts.read()?;
                let (id, room) = (id_of(fields.id)?, room_of(&fields.room)?);
                Ok(Self::Join { id, room, since: position_of(fields.since.as_ref())? })
            }
            "leave" => {
                let fields: RoomFields = parts.read()?;
                Ok(Self::Leave { id: id_of(fields.id)?, room: room_of(&fields.room)? })
            }
            "offer" => Self::signal(SignalKind::Offer, parts, limits),
            "answer" => Self::signal(SignalKind::Answer, parts, limits),
            "ice-candidate" => Self::signal(SignalKind::IceCandidate, parts, limits),
            "message" => {
                let fields: MessageFields = parts.read()?;
                let (id, room) = (id_of(fields.id)?, room_of(&fields.room)?);
                check_text(&fields.text, limits.text)?;
                Ok(Self::Message { id, room, text: fields.text })
            }
            "publish" => Self::publish(parts),
            "update" => Self::update(parts, limits),
            "members" => Self::members(parts),
            "watch" => Self::watch(parts),
            "unwatch" => {
                let fields: RoomFields = parts.read()?;
                Ok(Self::Unwatch { id: id_of(fields.id)?, room: room_of(&fields.room)? })
            }
            "typing" => Ok(Self::Typing { room: room_of(&parts.read::<TypingFields>()?.room)? }),
            // MessagePack moves are arrays; a map would be a second spelling of the same thing.
            "move" if encoding == Encoding::Json => Self::json_move(parts, limits),
            "ping" => {
                let fields: PingFields = parts.read()?;
                Ok(Self::Ping { id: fields.id.map(id_of).transpose()?, t: fields.t })
            }
            "ack" => Ok(Self::Ack { n: number_of(parts.read::<AckFields>()?.n, "n is a whole number")? }),
            _ => Err(Refused::new(ErrorCode::UnknownType, "no message of this type")),
        }
    }

    fn resume(parts: &Parts<'_>) -> Result<Self, Refused> {
        let fields: ResumeFields = parts.read()?;
        let watched = fields.watched.unwrap_or_default();
        for name in fields.positions.keys().chain(&watched) {
            RoomName::new(name).map_err(|code| Refused::new(code, "a room is not well named"))?;
        }
        let watched: Vec<_> = watched.iter().map(|name| room_of(name)).collect::<Result<_, _>>()?;
        let rooms: Vec<_> = fields.positions.keys().map(|name| room_of(name)).collect::<Result<_, _>>()?;
        let positions = fields.positions.values().map(|text| position_of(Some(text)));
        let positions = rooms.into_iter().zip(positions).map(|(room, position)| Ok((room, position?)));
        let positions: Vec<_> = positions.collect::<Result<_, Refused>>()?;
        let notifications_since = position_of(fields.notifications_since.as_ref())?;
        if positions.len() > RESUMED_ROOMS_MAX || watched.len() > RESUMED_ROOMS_MAX {
            return Err(bad_value("at most 64 rooms"));
        }
        let positions = positions.into_iter().filter_map(|(room, position)| Some((room, position?))).collect();
        let received = number_of(fields.received, "received is a whole number")?;
        let (token, jwt) = (fields.token, fields.jwt);
        Ok(Self::Resume(Box::new(Resume { token, received, positions, watched, jwt, notifications_since })))
    }

    fn signal(kind: SignalKind, parts: &Parts<'_>, limits: &Limits) -> Result<Self, Refused> {
        let fields: SignalFields<'_> = parts.read()?;
        let data = parts.data()?;
        let id = id_of(fields.id)?;
        let room = RoomName::new(&fields.room)?;
        let to = peer_of(&fields.to)?;
        let room = unreserved(room)?;
        if data.len() > limits.signal {
            return Err(Refused::new(ErrorCode::TooBig, format!("the signal is larger than {} bytes", limits.signal)));
        }
        Ok(Self::Signal { id, room, to, kind, data })
    }

    fn publish(parts: &Parts<'_>) -> Result<Self, Refused> {
        let fields: PublishFields = parts.read()?;
        let data = parts.data()?;
        let id = id_of(fields.id)?;
        let kind = RoomName::new(&fields.room).and_then(|_| Kind::new(&fields.kind));
        let kind = kind.map_err(|code| Refused::new(code, "the room or the kind is not well named"))?;
        let room = room_of(&fields.room)?;
        check_kind(&kind)?;
        Ok(Self::Publish { id, room, kind, data: data.to_raw_json() })
    }

    fn update(parts: &Parts<'_>, limits: &Limits) -> Result<Self, Refused> {
        let UpdateFields { id, room, state } = parts.read()?;
        let text = convert::single_line(state.get());
        if !text.trim_start().starts_with('{') {
            return Err(Refused::new(ErrorCode::Malformed, "state is a map"));
        }
        convert::check_json_values(state.get())?;
        let (id, room) = (id_of(id)?, room_of(&room)?);
        if state.get().len() > limits.state {
            return Err(Refused::new(ErrorCode::TooBig, format!("the state is larger than {} bytes", limits.state)));
        }
        let state = RawValue::from_string(text.into_owned()).expect("removing line breaks keeps JSON valid");
        Ok(Self::Update { id, room, state })
    }

    fn members(parts: &Parts<'_>) -> Result<Self, Refused> {
        let fields: MembersFields = parts.read()?;
        let id = id_of(fields.id)?;
        RoomName::new(&fields.room)?;
        let after = fields.after.as_deref().map(peer_of).transpose()?;
        let room = room_of(&fields.room)?;
        let limit = fields.limit.map(|limit| number_of(limit, "limit is 1 to 500")).transpose()?;
        let limit = limit.unwrap_or(PAGE_DEFAULT);
        if limit == 0 || limit > PAGE_MAX {
            return Err(bad_value("limit is 1 to 500"));
        }
        let handles = fields.handles.map(|handles| handles_of(handles, 0, HANDLES_MAX)).transpose()?;
        Ok(Self::Members { id, room, after, limit, handles })
    }

    fn watch(parts: &Parts<'_>) -> Result<Self, Refused> {
        let fields: WatchFields = parts.read()?;
        let (id, room) = (id_of(fields.id)?, room_of(&fields.room)?);
        let since = position_of(fields.since.as_ref())?;
        Ok(Self::Watch { id, room, since, state: fields.state.map(check_state_hz).transpose()? })
    }

    fn json_move(parts: &Parts<'_>, limits: &Limits) -> Result<Self, Refused> {
        let fields: MoveFields = parts.read()?;
        let data = parts.data()?;
        let room = room_of(&fields.room)?;
        if data.len() > limits.moves.payload {
            return Err(Refused::new(
                ErrorCode::TooBig,
                format!("the move is larger than {} bytes", limits.moves.payload),
            ));
        }
        let key = fields.key.map(|key| number_of(key, "key is 0 to 65535")).transpose()?.unwrap_or(0);
        let seq = fields.seq.map(|seq| number_of(seq, "seq is 0 to 4294967295")).transpose()?;
        let to = fields.to.map(|to| handles_of(to, 1, limits.moves.receivers)).transpose()?;
        let lane = if fields.reliable.unwrap_or(false) { Lane::Reliable } else { Lane::Latest };
        Ok(Self::Move(JsonMove { room, lane, key, seq, to, data }))
    }

    /// The `type` on the wire, also the name of its row in the rights table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Auth { .. } => "auth",
            Self::Resume(_) => "resume",
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
            Self::Auth { .. } | Self::Resume(_) | Self::Typing { .. } | Self::Move(_) | Self::Ack { .. } => None,
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
            Self::Auth { .. } | Self::Resume(_) | Self::Refresh { .. } | Self::Ping { .. } | Self::Ack { .. } => None,
        }
    }

    /// Encodes the request, for clients.
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        let kind = self.name();
        let text = |room: &RoomName| room.as_str().to_owned();
        let position = |position: &Option<Position>| position.map(|position| position.to_string());
        let whole = |numbers: &Vec<u32>| numbers.iter().map(|&number| u64::from(number).into()).collect();
        match self {
            Self::Auth { token, notifications_since } => {
                let fields = AuthFields { token: token.clone(), notifications_since: position(notifications_since) };
                codec::encode(encoding, kind, &fields, None)
            }
            Self::Resume(resume) => {
                let fields = ResumeFields {
                    token: resume.token.clone(),
                    received: resume.received.into(),
                    positions: resume.positions.iter().map(|(room, at)| (text(room), at.to_string())).collect(),
                    watched: (!resume.watched.is_empty()).then(|| resume.watched.iter().map(text).collect()),
                    jwt: resume.jwt.clone(),
                    notifications_since: position(&resume.notifications_since),
                };
                codec::encode(encoding, kind, &fields, None)
            }
            Self::Refresh { id, token } => {
                codec::encode(encoding, kind, &TokenFields { id: (*id).into(), token: token.clone() }, None)
            }
            Self::Join { id, room, since } => {
                let fields = JoinFields { id: (*id).into(), room: text(room), since: position(since) };
                codec::encode(encoding, kind, &fields, None)
            }
            Self::Watch { id, room, since, state } => {
                let fields = WatchFields { id: (*id).into(), room: text(room), since: position(since), state: *state };
                codec::encode(encoding, kind, &fields, None)
            }
            Self::Leave { id, room } | Self::Unwatch { id, room } => {
                codec::encode(encoding, kind, &RoomFields { id: (*id).into(), room: text(room) }, None)
            }
            Self::Signal { id, room, to, data, .. } => {
                let (room, to) = (room.as_str().into(), to.to_string().into());
                let fields = SignalFields { id: (*id).into(), room, to };
                codec::encode(encoding, kind, &fields, Some(data))
            }
            Self::Message { id, room, text: words } => {
                let fields = MessageFields { id: (*id).into(), room: text(room), text: words.clone() };
                codec::encode(encoding, kind, &fields, None)
            }
            Self::Publish { id, room, kind: event, data } => {
                let fields = PublishFields { id: (*id).into(), room: text(room), kind: event.to_string() };
                codec::encode(encoding, kind, &fields, Some(&Payload::from_raw_json(data)))
            }
            Self::Update { id, room, state } => codec::encode(
                encoding,
                kind,
                &UpdateFields { id: (*id).into(), room: text(room), state: Cow::Borrowed(state) },
                None,
            ),
            Self::Members { id, room, after, limit, handles } => {
                let fields = MembersFields {
                    id: (*id).into(),
                    room: text(room),
                    after: after.map(|after| after.to_string()),
                    limit: (*limit != PAGE_DEFAULT).then(|| (*limit as u64).into()),
                    handles: handles.as_ref().map(whole),
                };
                codec::encode(encoding, kind, &fields, None)
            }
            Self::Typing { room } => codec::encode(encoding, kind, &TypingFields { room: text(room) }, None),
            Self::Move(JsonMove { room, lane, key, seq, to, data }) => {
                let fields = MoveFields {
                    room: text(room),
                    reliable: (*lane == Lane::Reliable).then_some(true),
                    key: (*key != 0).then(|| u64::from(*key).into()),
                    seq: seq.map(|seq| u64::from(seq).into()),
                    to: to.as_ref().map(whole),
                };
                codec::encode(encoding, kind, &fields, Some(data))
            }
            Self::Ping { id, t } => {
                codec::encode(encoding, kind, &PingFields { id: id.map(Whole::from), t: t.clone() }, None)
            }
            Self::Ack { n } => codec::encode(encoding, kind, &AckFields { n: (*n).into() }, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rate_is_too_small_and_none_sets_a_timer_for_good() {
        for (hz, every_ms) in [(10.0, 100), (3.0, 333), (0.001, 1_000_000), (1e-9, 3_600_000), (5e-324, 3_600_000)] {
            assert_eq!(state_every_ms(check_state_hz(hz).unwrap()), every_ms, "{hz}");
        }
        for hz in [0.0, -0.0, -1.0, 10.001, f64::NAN, f64::INFINITY] {
            assert_eq!(check_state_hz(hz).map_err(|refused| refused.code), Err(ErrorCode::BadValue), "{hz}");
        }
    }
}
