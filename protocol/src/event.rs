//! Events: the sequenced, replayable happenings of a room, and the exact bytes a log stores.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    code::ErrorCode,
    id::{Kind, PeerId, RoomName, UserName},
    position::Position,
    server::{self, ServerMessage},
};

/// A moment: Unix milliseconds, fraction allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub f64);

impl Millis {
    /// The moment in whole milliseconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "moments are positive and below 2^53")]
    pub fn whole(self) -> u64 {
        self.0 as u64
    }

    /// This moment `ms` milliseconds later.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53")]
        Self(self.0 + ms as f64)
    }

    /// This moment `ms` milliseconds earlier.
    #[must_use]
    pub fn before(self, ms: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53")]
        Self(self.0 - ms as f64)
    }

    /// Milliseconds from `earlier` to this moment, 0 if it lies ahead.
    pub fn since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0).max(0.0)
    }
}

impl Serialize for Millis {
    /// Microseconds are enough for anybody, and a whole number needs no fraction.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
        let safe = crate::SAFE_INTEGER_MAX as f64;
        // A client may read any number here, and what is larger has no fraction to round.
        if self.0.abs() > safe {
            return serializer.serialize_f64(self.0);
        }
        let rounded = (self.0 * 1000.0).round() / 1000.0;
        if rounded.fract() == 0.0 && (0.0..=safe).contains(&rounded) {
            serializer.serialize_u64(Self(rounded).whole())
        } else {
            serializer.serialize_f64(rounded)
        }
    }
}

/// A member as others see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its public identity.
    pub peer: PeerId,
    /// Its number on this node, for moves; absent in feeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u32>,
    /// Who it is.
    pub user: UserName,
    /// The name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// What the token says about the user in public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<RawValue>>,
    /// What the peer says about itself: muted, ready …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<RawValue>>,
    /// Sequence of its join; absent where the event's own position says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// Round trip between server and peer, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt: Option<f64>,
    /// Whether the receiver of the frame is the polite one towards this peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polite: Option<bool>,
    /// Whether the receiver of the frame makes the first offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offers: Option<bool>,
}

impl Entry {
    /// This entry as `viewer` sees it: the one with the larger (order, peer) offers and is polite.
    #[must_use]
    pub fn seen_by(mut self, viewer: Option<(u64, PeerId)>) -> Self {
        let later = viewer.is_some_and(|viewer| viewer > (self.order.unwrap_or(0), self.peer));
        self.polite = Some(later);
        self.offers = Some(later);
        self
    }
}

/// A member that is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gone {
    /// Its public identity.
    pub peer: PeerId,
    /// The number it had on this node; absent in feeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u32>,
    /// Who it was.
    pub user: UserName,
    /// The name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct From {
    /// The peer; absent when it came over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerId>,
    /// The user.
    pub user: UserName,
    /// The name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
}

/// Why a member left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaveReason {
    /// It asked to.
    Left,
    /// It said goodbye and closed.
    Closed,
    /// Its socket was lost and it did not come back.
    Lost,
    /// It was removed.
    Kicked,
    /// Its token expired.
    Expired,
    /// It did not read fast enough.
    Slow,
    /// Its node went away.
    Shutdown,
}

/// Who came, who went and how many there are, in rooms too large to tell one by one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Presence {
    /// Members now.
    pub count: usize,
    /// Spectators now.
    pub spectators: usize,
    /// Some of those who joined since the last one.
    pub joined: Vec<Entry>,
    /// Some of those who left.
    pub left: Vec<Gone>,
    /// Whether there were more of them than the lists show.
    pub more: bool,
}

/// A node of a cluster is dead, and so are the sessions that were on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeDown {
    /// Which, as nodes call each other.
    pub node: Box<str>,
    /// Members that are left.
    pub count: usize,
    /// Spectators now.
    pub spectators: usize,
    /// Members that went with it, or some of them.
    pub left: Vec<Gone>,
    /// Whether there were more of them than the list shows.
    pub more: bool,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventBody {
    /// A member joined.
    PeerJoined {
        /// The member.
        peer: Entry,
    },
    /// A member left.
    PeerLeft {
        /// The member.
        peer: Gone,
        /// Why.
        reason: LeaveReason,
    },
    /// Somebody said something.
    Message {
        /// What.
        text: Box<str>,
    },
    /// The application published something.
    App {
        /// Its own word for it.
        kind: Kind,
        /// Its own value.
        data: Box<RawValue>,
    },
    /// A summary of joins and leaves.
    Presence(Presence),
    /// A node is dead, and its members are gone.
    NodeDown(NodeDown),
    /// A word to one user.
    Notification {
        /// For people.
        message: Box<str>,
        /// For programs.
        data: Option<Box<RawValue>>,
    },
}

/// One entry of a log, before the log gave it a position.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: Millis,
    /// Who, where somebody did it.
    pub from: Option<From>,
    /// What.
    pub body: EventBody,
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    kind: std::borrow::Cow<'a, str>,
    time: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<From>,
    data: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
struct JoinedData {
    peer: Entry,
}

#[derive(Serialize, Deserialize)]
struct LeftData {
    peer: Gone,
    reason: LeaveReason,
}

#[derive(Serialize, Deserialize)]
struct TextData {
    text: Box<str>,
}

#[derive(Serialize, Deserialize)]
struct NotificationData {
    message: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

fn raw<T: Serialize>(value: &T) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("our own values always have a JSON form")
}

impl Event {
    /// The name of what happened, as feeds spell it.
    pub fn kind(&self) -> &str {
        match &self.body {
            EventBody::PeerJoined { .. } => "peer-joined",
            EventBody::PeerLeft { .. } => "peer-left",
            EventBody::Message { .. } => "message",
            EventBody::App { kind, .. } => kind.as_str(),
            EventBody::Presence(_) => "presence",
            EventBody::NodeDown(_) => "node-down",
            EventBody::Notification { .. } => "notification",
        }
    }

    /// The bytes that the log stores and the tag covers:
    /// `{"kind":…,"time":…,"from":…,"data":…}` without room and position.
    pub fn to_bytes(&self) -> Vec<u8> {
        let data = match &self.body {
            EventBody::PeerJoined { peer } => raw(&JoinedData { peer: for_log(peer.clone()) }),
            EventBody::PeerLeft { peer, reason } => {
                raw(&LeftData { peer: Gone { handle: None, ..peer.clone() }, reason: *reason })
            }
            EventBody::Message { text } => raw(&TextData { text: text.clone() }),
            EventBody::App { data, .. } => data.clone(),
            EventBody::Presence(presence) => raw(&presence_for_log(presence.clone())),
            EventBody::NodeDown(down) => raw(&NodeDown { left: gone_for_log(down.left.clone()), ..down.clone() }),
            EventBody::Notification { message, data } => {
                raw(&NotificationData { message: message.clone(), data: data.clone() })
            }
        };
        let stored = Stored { kind: self.kind().into(), time: self.time, from: self.from.clone(), data };
        serde_json::to_vec(&stored).expect("our own values always have a JSON form")
    }

    /// Reads what [`Event::to_bytes`] wrote. Bytes come from our own log, yet an engine between
    /// two versions may hold something else: that is [`ErrorCode::Malformed`], not a panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ErrorCode> {
        let bad = |_| ErrorCode::Malformed;
        let stored: Stored<'_> = serde_json::from_slice(bytes).map_err(bad)?;
        let data = stored.data.get();
        let body = match &*stored.kind {
            "peer-joined" => {
                let JoinedData { peer } = serde_json::from_str(data).map_err(bad)?;
                EventBody::PeerJoined { peer }
            }
            "peer-left" => {
                let LeftData { peer, reason } = serde_json::from_str(data).map_err(bad)?;
                EventBody::PeerLeft { peer, reason }
            }
            "message" => {
                let TextData { text } = serde_json::from_str(data).map_err(bad)?;
                EventBody::Message { text }
            }
            "presence" => EventBody::Presence(serde_json::from_str(data).map_err(bad)?),
            "node-down" => EventBody::NodeDown(serde_json::from_str(data).map_err(bad)?),
            "notification" => {
                let NotificationData { message, data } = serde_json::from_str(data).map_err(bad)?;
                EventBody::Notification { message, data }
            }
            kind => EventBody::App { kind: Kind::new(kind)?, data: stored.data },
        };
        Ok(Self { time: stored.time, from: stored.from, body })
    }

    /// The WebSocket message for this event. `viewer` is the receiver's own (order, peer), which
    /// decides `polite` and `offers`; `handle` finds the number of a member on this node.
    pub fn to_message(
        &self,
        room: &RoomName,
        position: Position,
        viewer: Option<(u64, PeerId)>,
        handle: impl Fn(PeerId) -> Option<u32>,
    ) -> ServerMessage {
        let (room, time) = (room.clone(), self.time);
        let entry = |entry: &Entry, order: Option<u64>| {
            let handle = handle(entry.peer);
            Entry { handle, order: entry.order.or(order), ..entry.clone() }.seen_by(viewer)
        };
        let gone = |gone: &Gone| Gone { handle: gone.handle.or_else(|| handle(gone.peer)), ..gone.clone() };
        match &self.body {
            EventBody::PeerJoined { peer } => {
                let peer = entry(peer, Some(position.seq));
                ServerMessage::PeerJoined(server::PeerJoined { room, time, position, peer })
            }
            EventBody::PeerLeft { peer, reason } => {
                let (peer, reason) = (gone(peer), *reason);
                ServerMessage::PeerLeft(server::PeerLeft { room, time, position, peer, reason })
            }
            EventBody::Message { text } => {
                let (from, text) = (self.from.clone(), text.clone());
                ServerMessage::Message(server::Message { room, time, position, from, text })
            }
            EventBody::App { kind, data } => {
                let (kind, data, from) = (kind.clone(), data.clone(), self.from.clone());
                ServerMessage::Event(server::AppEvent { room, time, position, kind, data, from })
            }
            EventBody::Presence(presence) => {
                let Presence { count, spectators, more, .. } = *presence;
                // Everybody gets the same summary, so it says nothing that depends on the receiver.
                let told = |peer: &Entry| Entry { handle: handle(peer.peer), ..peer.clone() };
                let joined = presence.joined.iter().map(told).collect();
                let left = presence.left.iter().map(gone).collect();
                let presence = Presence { count, spectators, joined, left, more };
                ServerMessage::Presence(server::PresenceEvent { room, time, position, presence })
            }
            EventBody::NodeDown(down) => {
                let down = NodeDown { left: down.left.iter().map(gone).collect(), ..down.clone() };
                ServerMessage::NodeDown(server::NodeDownEvent { room, time, position, down })
            }
            EventBody::Notification { message, data } => {
                let (message, data) = (message.clone(), data.clone());
                ServerMessage::Notification(server::Notification { message, data, time, position })
            }
        }
    }
}

/// Handles belong to a node and politeness to a receiver: the log keeps neither.
fn for_log(entry: Entry) -> Entry {
    Entry { handle: None, polite: None, offers: None, rtt: None, ..entry }
}

fn presence_for_log(presence: Presence) -> Presence {
    let joined = presence.joined.into_iter().map(for_log).collect();
    Presence { joined, left: gone_for_log(presence.left), ..presence }
}

fn gone_for_log(left: Vec<Gone>) -> Vec<Gone> {
    left.into_iter().map(|gone| Gone { handle: None, ..gone }).collect()
}

/// The feed form of a stored event: room and position in front of its bytes.
pub fn feed_object(room: &RoomName, position: Position, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + room.as_str().len() + 72);
    out.extend_from_slice(b"{\"room\":\"");
    // Names need no escaping: their alphabet holds neither quotes nor backslashes.
    out.extend_from_slice(room.as_str().as_bytes());
    out.extend_from_slice(b"\",\"position\":\"");
    out.extend_from_slice(position.to_string().as_bytes());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(bytes.strip_prefix(b"{").unwrap_or(bytes));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_moment_reads_back() {
        for (moment, text) in [
            (5.0, "5"),
            (5.000_4, "5"),
            (1_795_379_820_000.25, "1795379820000.25"),
            (-5.0, "-5.0"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992.0"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(serde_json::to_string(&Millis(moment)).unwrap(), text);
        }
    }

    const BOB: PeerId = PeerId(uuid::Uuid::from_u128(0xb0b));

    /// Bob's node is dead.
    fn node_down(handle: Option<u32>) -> NodeDown {
        let bob = Gone { peer: BOB, handle, user: UserName::new("bob").unwrap(), name: None };
        NodeDown { node: "00000000000000aa".into(), count: 1, spectators: 2, left: vec![bob], more: true }
    }

    #[test]
    fn a_dead_node_is_told_with_the_handles_that_its_members_had_here() {
        let event = Event { time: Millis(5.0), from: None, body: EventBody::NodeDown(node_down(None)) };
        let (room, position) = (RoomName::new("a").unwrap(), Position::parse("0000000000000001.2.00000003").unwrap());
        let ServerMessage::NodeDown(told) = event.to_message(&room, position, None, |peer| (peer == BOB).then_some(7))
        else {
            panic!("another message")
        };
        assert_eq!((told.down.left[0].handle, told.down.count, told.down.more), (Some(7), 1, true));
    }

    #[test]
    fn stored_bytes_read_back() {
        let user = UserName::new("ada").unwrap();
        let from = Some(From { peer: None, user: user.clone(), name: Some("Ada".into()) });
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for (body, expected) in [
            (EventBody::Message { text: "hi\n".into() }, r#"{"text":"hi\n"}"#),
            (EventBody::App { kind: Kind::new("price").unwrap(), data: raw("[1]") }, "[1]"),
            (EventBody::Notification { message: "m".into(), data: None }, r#"{"message":"m"}"#),
            (
                EventBody::Presence(Presence::default()),
                r#"{"count":0,"spectators":0,"joined":[],"left":[],"more":false}"#,
            ),
            (
                EventBody::NodeDown(node_down(Some(7))),
                &format!(
                    r#"{{"node":"00000000000000aa","count":1,"spectators":2,"left":[{{"peer":"{BOB}","user":"bob"}}],"more":true}}"#
                ),
            ),
        ] {
            let event = Event { time: Millis(5.5), from: from.clone(), body };
            let bytes = event.to_bytes();
            let text = format!(
                r#"{{"kind":"{}","time":5.5,"from":{{"user":"ada","name":"Ada"}},"data":{expected}}}"#,
                event.kind()
            );
            assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
            let read = Event::from_bytes(&bytes).unwrap();
            assert_eq!(std::mem::discriminant(&read.body), std::mem::discriminant(&event.body));
            assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn the_later_one_is_polite_and_offers() {
        let peer = PeerId::random();
        let entry = |order| Entry {
            peer,
            handle: None,
            user: UserName::new("u").unwrap(),
            name: None,
            info: None,
            state: None,
            order: Some(order),
            rtt: None,
            polite: None,
            offers: None,
        };
        let other = PeerId::random();
        assert_eq!(entry(3).seen_by(Some((4, other))).offers, Some(true));
        assert_eq!(entry(5).seen_by(Some((4, other))).offers, Some(false));
        assert_eq!(entry(4).seen_by(Some((4, other))).polite, Some(other > peer));
        assert_eq!(entry(4).seen_by(None).polite, Some(false));
    }
}
