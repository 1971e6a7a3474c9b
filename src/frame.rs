//! One message, each encoding of it made at most once: bytes ready for the socket, WebSocket
//! header included.

use std::{cell::RefCell, ops::Deref, sync::Arc};

use rallypoint_protocol::{
    CloseCode, Encoding, Kind, RoomName, ServerMessage,
    moves::{Lane, ServerMove},
    payload::Payload,
    server::Moved,
};

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// The last (and here: only) frame of a message, RFC 6455 section 5.2.
const FIN: u8 = 0x80;
/// A server's frame header is at most this long: it is never masked.
const HEADER_MAX: usize = 10;
/// The longest payload of a control frame, RFC 6455 section 5.5.
const CONTROL_PAYLOAD_MAX: usize = 125;

/// One or more frames as they go over the wire, one after the other. Every receiver of a message holds the same ones, so
/// a clone is one counter, and no larger than a pointer.
#[derive(Clone, Debug)]
pub struct Encoded(Arc<Written>);

#[derive(Debug)]
struct Written {
    bytes: Box<[u8]>,
    messages: u32,
}

impl Encoded {
    /// So many whole frames of a message each.
    pub fn new(bytes: impl Into<Box<[u8]>>, messages: u32) -> Self {
        Self(Arc::new(Written { bytes: bytes.into(), messages }))
    }

    /// Several, one after the other.
    pub fn row(parts: &[Self]) -> Self {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Self::new(bytes, parts.iter().map(Self::messages).sum())
    }

    /// How many messages it is.
    pub fn messages(&self) -> u32 {
        self.0.messages
    }

    /// How long the first `count` frames are together.
    pub fn length_of(&self, count: u32) -> usize {
        let mut at = 0;
        for _ in 0..count {
            let head = &self[at..];
            // They are ours: whole, and not masked.
            at += match head[1] {
                126 => 4 + usize::from(u16::from_be_bytes([head[2], head[3]])),
                127 => 10 + head[2..10].iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
                short => 2 + usize::from(short),
            };
        }
        at
    }

    /// All but the first `count` frames.
    #[must_use]
    pub fn without(&self, count: u32) -> Self {
        if count == 0 {
            return self.clone();
        }
        Self::new(&self[self.length_of(count)..], self.messages() - count)
    }
}

impl Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// Writes the header for a payload of `len` bytes; returns how long it is.
fn header(opcode: u8, len: usize, out: &mut [u8; HEADER_MAX]) -> usize {
    out[0] = FIN | opcode;
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if len <= CONTROL_PAYLOAD_MAX => {
            out[1] = short;
            2
        }
        (_, Ok(medium)) => {
            out[1] = 126;
            out[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            out[1] = 127;
            out[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    }
}

thread_local! {
    /// Where payloads are written before their length is known.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::default();
}

/// More room than this is not kept for the next frame.
const SCRATCH_MAX: usize = 64 * 1024;

/// A frame of the payload that `write` appends. What it becomes takes no more memory than it needs: many are kept.
fn framed(opcode: u8, write: impl FnOnce(&mut Vec<u8>)) -> Encoded {
    SCRATCH.with_borrow_mut(|out| {
        // The header goes in front of the payload; what is left of the gap there is left out.
        out.clear();
        out.resize(HEADER_MAX, 0);
        write(out);
        let mut head = [0; HEADER_MAX];
        let len = header(opcode, out.len() - HEADER_MAX, &mut head);
        let begin = HEADER_MAX - len;
        out[begin..HEADER_MAX].copy_from_slice(&head[..len]);
        let frame = Encoded::new(&out[begin..], 1);
        out.shrink_to(SCRATCH_MAX);
        frame
    })
}

fn whole(opcode: u8, payload: &[u8]) -> Encoded {
    framed(opcode, |out| out.extend_from_slice(payload))
}

fn opcode(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Json => TEXT,
        Encoding::MsgPack => BINARY,
    }
}

/// A message as one frame of the connection's encoding.
pub fn message(message: &ServerMessage, encoding: Encoding) -> Encoded {
    framed(opcode(encoding), |out| message.encode_into(encoding, out))
}

/// An encoded message as one frame.
pub fn payload(payload: &[u8], encoding: Encoding) -> Encoded {
    whole(opcode(encoding), payload)
}

/// A close frame whose reason is `name: detail`, cut to what fits.
pub fn close(code: CloseCode, detail: &str) -> Encoded {
    let mut reason = code.name().to_owned();
    if !detail.is_empty() {
        reason.push_str(": ");
        reason.push_str(detail);
    }
    let mut end = reason.len().min(CONTROL_PAYLOAD_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let payload = [&code.number().to_be_bytes(), &reason.as_bytes()[..end]].concat();
    whole(CLOSE, &payload)
}

/// The answer to a close frame: the same code, RFC 6455 section 5.5.1.
pub fn goodbye(code: Option<u16>) -> Encoded {
    match code {
        Some(code) => whole(CLOSE, &code.to_be_bytes()),
        None => whole(CLOSE, &[]),
    }
}

/// The answer to a ping frame.
pub fn pong(payload: &[u8]) -> Encoded {
    whole(PONG, payload)
}

/// A ping frame.
pub fn ping(payload: [u8; 8]) -> Encoded {
    whole(PING, &payload)
}

/// What kind of message something is, for those who may not see what is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Its `type`.
    pub name: &'static str,
    /// The lane of a move.
    pub lane: Option<Lane>,
    /// What the application calls its event.
    pub kind: Option<Kind>,
}

impl Label {
    /// That of a message of this type.
    pub fn of(name: &'static str) -> Self {
        Self { name, lane: None, kind: None }
    }

    /// That of a move.
    pub fn of_move(lane: Lane) -> Self {
        Self { lane: Some(lane), ..Self::of("move") }
    }
}

/// A message on its way to many, encoded once per encoding that somebody needs.
#[derive(Debug)]
pub struct Frame {
    source: Source,
    json: Option<Encoded>,
    msgpack: Option<Encoded>,
}

#[derive(Debug)]
enum Source {
    Message(Box<ServerMessage>),
    Move { room: RoomName, handle: u32, from: u32, key: u16, seq: u32, time: u64, lane: Lane, payload: Payload },
    Row(Vec<Frame>),
}

impl Frame {
    /// A control message.
    pub fn of(message: ServerMessage) -> Self {
        Self { source: Source::Message(Box::new(message)), json: None, msgpack: None }
    }

    /// A move.
    #[expect(clippy::too_many_arguments, reason = "a move has that many fields")]
    pub fn of_move(
        room: RoomName,
        handle: u32,
        from: u32,
        key: u16,
        seq: u32,
        time: u64,
        lane: Lane,
        payload: Payload,
    ) -> Self {
        let source = Source::Move { room, handle, from, key, seq, time, lane, payload };
        Self { source, json: None, msgpack: None }
    }

    /// Several messages for the same receivers, one after the other.
    pub fn row(frames: Vec<Self>) -> Self {
        Self { source: Source::Row(frames), json: None, msgpack: None }
    }

    /// What it is.
    pub fn label(&self) -> Label {
        self.source.label()
    }

    /// The frame in one encoding.
    pub fn get(&mut self, encoding: Encoding) -> Encoded {
        let (source, slot) = match encoding {
            Encoding::Json => (&self.source, &mut self.json),
            Encoding::MsgPack => (&self.source, &mut self.msgpack),
        };
        slot.get_or_insert_with(|| source.encode(encoding)).clone()
    }
}

impl Source {
    fn label(&self) -> Label {
        match self {
            Self::Message(message) => match &**message {
                ServerMessage::Event(event) => Label { kind: Some(event.kind.clone()), ..Label::of(message.name()) },
                _ => Label::of(message.name()),
            },
            Self::Move { lane, .. } => Label::of_move(*lane),
            // Only moves are put in rows.
            Self::Row(_) => Label::of_move(Lane::Reliable),
        }
    }

    fn encode(&self, encoding: Encoding) -> Encoded {
        match (self, encoding) {
            (Self::Message(inner), _) => message(inner, encoding),
            (Self::Row(frames), _) => {
                let frames: Vec<_> = frames.iter().map(|frame| frame.source.encode(encoding)).collect();
                Encoded::row(&frames)
            }
            (Self::Move { room, from, key, seq, time, lane, payload, .. }, Encoding::Json) => {
                let moved = Moved {
                    room: room.clone(),
                    from: *from,
                    key: *key,
                    seq: *seq,
                    time: *time,
                    reliable: *lane == Lane::Reliable,
                    data: payload.clone(),
                };
                message(&ServerMessage::Moved(moved), encoding)
            }
            (Self::Move { handle, from, key, seq, time, lane, payload, .. }, Encoding::MsgPack) => {
                let payload = payload.msgpack();
                let moved = ServerMove {
                    lane: *lane,
                    room: *handle,
                    from: *from,
                    key: *key,
                    seq: *seq,
                    time: *time,
                    payload: &payload,
                };
                framed(BINARY, |out| moved.encode(out))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rallypoint_protocol::server::Reconnect;

    #[test]
    fn headers_have_three_lengths() {
        for (len, expected) in [
            (0, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut head = [0; HEADER_MAX];
            let end = header(BINARY, len, &mut head);
            assert_eq!(head[..end], expected);
        }
    }

    #[test]
    fn frames_are_found_in_a_row_of_them() {
        let row = Encoded::row(&[0, 125, 126, 65_535, 65_536].map(|len| whole(BINARY, &vec![7; len])));
        let ends = [0, 2, 129, 259, 65_798, 131_344];
        for (count, end) in (0..).zip(ends) {
            assert_eq!(row.length_of(count), end);
            assert_eq!((row.without(count).len(), row.without(count).messages()), (131_344 - end, 5 - count));
        }
        assert_eq!(row.len(), 131_344);
    }

    #[test]
    fn each_encoding_is_made_once() {
        let mut frame = Frame::of(ServerMessage::Reconnect(Reconnect { after_ms: 5 }));
        let first = frame.get(Encoding::Json);
        assert_eq!(&first[..], b"\x81\x21{\"type\":\"reconnect\",\"after_ms\":5}");
        assert_eq!(first.as_ptr(), frame.get(Encoding::Json).as_ptr());
    }

    #[test]
    fn a_binary_move_is_framed_without_a_copy_of_a_copy() {
        let room = RoomName::new("r").unwrap();
        let payload = Payload::MsgPack(vec![0x92, 1, 2].into());
        let mut frame = Frame::of_move(room, 3, 4, 5, 6, 7, Lane::Reliable, payload);
        assert_eq!(&frame.get(Encoding::MsgPack)[..], [0x82, 10, 0x97, 2, 3, 4, 5, 6, 7, 0x92, 1, 2]);
        let json = frame.get(Encoding::Json);
        assert_eq!(
            &json[2..],
            br#"{"type":"move","room":"r","from":4,"key":5,"seq":6,"time":7,"reliable":true,"data":[1,2]}"#
        );
    }

    #[test]
    fn close_reasons_fit_a_control_frame() {
        let frame = close(CloseCode::BadRequest, &"é".repeat(200));
        assert!(frame.len() <= 2 + CONTROL_PAYLOAD_MAX);
        assert_eq!(frame[2..4], 4400u16.to_be_bytes());
        assert!(std::str::from_utf8(&frame[4..]).unwrap().starts_with("bad-request: éé"));
    }
}
