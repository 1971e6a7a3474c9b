//! What each server is told, and how its answers are read.
//!
//! The floor, Bun and `ws` run programs of ours with the least protocol there can be: a path names the room and the
//! guest, the first byte of a message says what it asks for. rallypoint is spoken to as any client speaks to it.

use std::io;

use rallypoint_proof::ws::{self, op};
use rallypoint_protocol::{
    Kind, PeerId, Request, RoomName, ServerMessage,
    moves::{ClientMove, Lane},
    payload::Payload,
    request::SignalKind,
};

/// A guest of a room, as the server knows it.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// Its number among the generator's.
    pub n: usize,
    /// The room's handle, where there are handles.
    pub handle: u32,
    /// Its address for signals: a peer id, or its number.
    pub name: String,
    /// The last sequence number or id that it used.
    pub seq: u32,
    /// The last request id that it used.
    pub id: u64,
    /// What it received that has to be acknowledged.
    pub counted: u64,
}

/// What a frame of the server says.
#[derive(Debug, PartialEq)]
pub enum Said<'a> {
    /// The guest is in its room: the room's handle and the guest's name for signals.
    Entered(u32, String),
    /// A message to all: its payload, and whether the guest has to acknowledge it sooner or later.
    Delivery(&'a [u8], bool),
    /// A message to this guest: what it says, somewhere in it. It has to be acknowledged where anything has.
    Signal(&'a [u8]),
    /// An application's event: what it says, somewhere in it.
    Event(&'a [u8]),
    /// An answer that was asked for with [`Dialect::ping`].
    Pong,
    /// An answer of no interest.
    Fine,
    /// Anything that should not come.
    Wrong(String),
}

/// How to speak to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Subprotocol `rallypoint.v1.msgpack`.
    Rallypoint,
    /// The programs of ours.
    Plain,
    /// PeerJS: signals in JSON.
    PeerJs,
}

/// The three steps of a negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An offer.
    Offer,
    /// An answer.
    Answer,
    /// A candidate.
    Candidate,
}

/// Requests of [`Dialect::Plain`].
pub mod ask {
    /// To everybody else in the room: the rest is the payload.
    pub const PUBLISH: u8 = b'p';
    /// To one guest: four bytes with its number, then the rest. It gets the message as it is.
    pub const SIGNAL: u8 = b's';
    /// To the spectators of the room: the rest is the text.
    pub const CHAT: u8 = b'c';
    /// Back to the sender.
    pub const ECHO: u8 = b'e';
}

impl Dialect {
    /// The request that opens the WebSocket.
    pub fn upgrade(self, room: &str, n: usize, token: &str) -> String {
        let (path, more) = match self {
            Self::Rallypoint => (
                "/v1/ws".to_owned(),
                format!("sec-websocket-protocol: rallypoint.v1.msgpack\r\nauthorization: Bearer {token}\r\n"),
            ),
            Self::Plain => (format!("/{room}/{n}"), String::new()),
            Self::PeerJs => (format!("/peerjs?key=peerjs&id={}&token=t{n}&version=1.5.4", self.name(n)), String::new()),
        };
        format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
        )
    }

    /// What a guest is called for signals, unless the server says something else.
    pub fn name(self, n: usize) -> String {
        if self == Self::PeerJs { format!("guest-{n}") } else { n.to_string() }
    }

    /// What the guest says once the WebSocket is open, if it has to say anything to be in its room.
    pub fn enter(self, room: &str, guest: &mut Guest, out: &mut Vec<u8>) {
        if self == Self::Rallypoint {
            guest.id += 1;
            let room = RoomName::new(room).expect("a name of ours");
            request(&Request::Join { id: guest.id, room, since: None }, out);
        }
    }

    /// What makes a spectator of a guest whose WebSocket is open. It is the guest's first request.
    pub fn watch(self, room: &str, out: &mut Vec<u8>) {
        assert_eq!(self, Self::Rallypoint, "the others have no spectators on a WebSocket");
        let room = RoomName::new(room).expect("a name of ours");
        request(&Request::Watch { id: 1, room, since: None, state: None }, out);
    }

    /// Whether a guest is in as soon as its WebSocket is open.
    pub fn enters_silently(self) -> bool {
        self == Self::Plain
    }

    /// A message to all others in the room.
    pub fn publish(self, guest: &mut Guest, lane: Lane, key: u16, payload: &[u8], out: &mut Vec<u8>) {
        guest.seq += 1;
        let mut frame = Vec::with_capacity(payload.len() + 32);
        match self {
            Self::Rallypoint => {
                ClientMove { lane, room: guest.handle, key, seq: guest.seq, to: None, payload }.encode(&mut frame);
            }
            Self::Plain => {
                frame.push(ask::PUBLISH);
                frame.extend(payload);
            }
            Self::PeerJs => unreachable!("PeerJS has no messages to all"),
        }
        ws::client_frame(op::BINARY, &frame, out);
    }

    /// Chat, which spectators hear as well.
    pub fn chat(self, guest: &mut Guest, room: &str, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Rallypoint => {
                guest.id += 1;
                let room = RoomName::new(room).expect("a name of ours");
                request(&Request::Message { id: guest.id, room, text: text.to_owned() }, out);
            }
            Self::Plain => {
                let mut frame = vec![ask::CHAT];
                frame.extend(text.as_bytes());
                ws::client_frame(op::BINARY, &frame, out);
            }
            Self::PeerJs => unreachable!("PeerJS has no chat"),
        }
    }

    /// An event of an application, which is told to all in the room, the guest itself included.
    pub fn event(self, guest: &mut Guest, room: &str, text: &str, out: &mut Vec<u8>) {
        assert_eq!(self, Self::Rallypoint, "the others have no events");
        guest.id += 1;
        let event = Request::Publish {
            id: guest.id,
            room: RoomName::new(room).expect("a name of ours"),
            kind: Kind::new("tick").expect("a kind of ours"),
            data: serde_json::value::to_raw_value(text).expect("a text has a JSON form"),
        };
        request(&event, out);
    }

    /// A signal to one other guest, whose data contains `text`.
    pub fn signal(self, guest: &mut Guest, room: &str, to: &Guest, step: Step, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Rallypoint => {
                guest.id += 1;
                let kind = match step {
                    Step::Offer => SignalKind::Offer,
                    Step::Answer => SignalKind::Answer,
                    Step::Candidate => SignalKind::IceCandidate,
                };
                let mut data = vec![0x81, 0xa3];
                data.extend(b"sdp");
                write_text(text, &mut data);
                let signal = Request::Signal {
                    id: guest.id,
                    room: RoomName::new(room).expect("a name of ours"),
                    to: PeerId::parse(&to.name).expect("the name is a peer id"),
                    kind,
                    data: Payload::MsgPack(data.into()),
                };
                request(&signal, out);
            }
            Self::Plain => {
                let mut frame = vec![ask::SIGNAL];
                frame.extend((to.n as u32).to_le_bytes());
                frame.extend(text.as_bytes());
                ws::client_frame(op::BINARY, &frame, out);
            }
            Self::PeerJs => {
                let kind = match step {
                    Step::Offer => "OFFER",
                    Step::Answer => "ANSWER",
                    Step::Candidate => "CANDIDATE",
                };
                let message = serde_json::json!({ "type": kind, "dst": to.name, "payload": { "sdp": text } });
                ws::client_frame(op::TEXT, message.to_string().as_bytes(), out);
            }
        }
    }

    /// Something that the server answers at once.
    pub fn ping(self, guest: &mut Guest, out: &mut Vec<u8>) {
        match self {
            Self::Rallypoint => {
                guest.id += 1;
                request(&Request::Ping { id: Some(guest.id), t: None }, out);
            }
            Self::Plain => ws::client_frame(op::BINARY, &[ask::ECHO, 0, 0, 0, 0, 0, 0, 0, 0], out),
            Self::PeerJs => unreachable!("PeerJS answers no heartbeat"),
        }
    }

    /// Says how much has been received, where that is asked for.
    pub fn acknowledge(self, guest: &Guest, out: &mut Vec<u8>) {
        if self == Self::Rallypoint {
            request(&Request::Ack { n: guest.counted }, out);
        }
    }

    /// Reads the payload of a frame.
    pub fn read(self, op: u8, frame: &[u8]) -> Said<'_> {
        match (self, op) {
            (_, op::PING | op::PONG) => Said::Fine,
            (Self::Plain, op::BINARY) => match frame.first() {
                Some(0xc5) => Said::Delivery(frame, false),
                Some(&ask::SIGNAL) => Said::Signal(frame.get(5..).unwrap_or_default()),
                Some(&ask::ECHO) => Said::Pong,
                _ => Said::Wrong("a frame of another kind".to_owned()),
            },
            (Self::Rallypoint, op::BINARY) => rallypoint(frame),
            (Self::PeerJs, op::TEXT) => peerjs(frame),
            (_, op) => Said::Wrong(format!("a frame with opcode {op}: {}", String::from_utf8_lossy(frame))),
        }
    }
}

fn request(request: &Request, out: &mut Vec<u8>) {
    ws::client_frame(op::BINARY, &request.encode(rallypoint_protocol::Encoding::MsgPack), out);
}

/// A MessagePack string.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(0xda);
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

/// The lane of a move that counts.
const RELIABLE: u8 = 2;

/// Moves and signals are cut out of their frames rather than parsed: the generator must be faster than the server.
fn rallypoint(frame: &[u8]) -> Said<'_> {
    match frame.first() {
        Some(0x97) => match skip_numbers(&frame[1..], 6) {
            Some(payload) => Said::Delivery(payload, frame[1] == RELIABLE),
            None => Said::Wrong("a move that cannot be read".to_owned()),
        },
        // {"type": "offer" | "answer" | "ice-candidate", …}
        Some(0x80..=0x8f)
            if [&b"\xa5offer"[..], b"\xa6answer", b"\xadice-candidate"]
                .iter()
                .any(|kind| frame[6..].starts_with(kind)) =>
        {
            Said::Signal(frame)
        }
        Some(0x80..=0x8f) if frame[6..].starts_with(b"\xa5event") => Said::Event(frame),
        Some(0x80..=0x8f) if frame[6..].starts_with(b"\xa2ok") => Said::Fine,
        Some(0x80..=0x8f) if frame[6..].starts_with(b"\xa4pong") => Said::Pong,
        _ => match ServerMessage::decode(rallypoint_protocol::Encoding::MsgPack, frame) {
            Ok(ServerMessage::Joined(joined)) => Said::Entered(joined.handle, joined.you.peer.to_string()),
            Ok(ServerMessage::Error(failed)) => Said::Wrong(format!("{} {}", failed.code.number(), failed.message)),
            Ok(_) => Said::Fine,
            Err(refused) => Said::Wrong(refused.message.into_owned()),
        },
    }
}

/// What follows after some whole numbers in MessagePack.
fn skip_numbers(mut bytes: &[u8], count: usize) -> Option<&[u8]> {
    for _ in 0..count {
        let length = match bytes.first()? {
            0..=0x7f => 1,
            0xcc => 2,
            0xcd => 3,
            0xce => 5,
            0xcf => 9,
            _ => return None,
        };
        bytes = bytes.get(length..)?;
    }
    Some(bytes)
}

fn peerjs(frame: &[u8]) -> Said<'_> {
    const OPEN: &[u8] = br#"{"type":"OPEN""#;
    let signal = [&br#"{"type":"OFFER""#[..], br#"{"type":"ANSWER""#, br#"{"type":"CANDIDATE""#];
    if signal.iter().any(|kind| frame.starts_with(kind)) {
        Said::Signal(frame)
    } else if frame.starts_with(OPEN) {
        Said::Entered(0, String::new())
    } else {
        Said::Wrong(String::from_utf8_lossy(frame).into_owned())
    }
}

/// The end of an HTTP head and its status, once all of the head is there.
pub fn head(bytes: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(end) => Ok(Some((response.code.unwrap_or_default(), end))),
        httparse::Status::Partial => Ok(None),
    }
}
