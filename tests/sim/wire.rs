//! What goes over a simulated link. From the server: frames of bytes, since outbox and kept messages are about bytes,
//! in a form of their own that is quick to read; the real one has its tests elsewhere. From the guest: whole messages
//! with a length, since a session is given whole ones.

use bytes::Bytes;
use rallypoint::frame::Encoded;
use rallypoint_protocol::{PeerId, Position, Request, moves::Lane, position::Tag};

/// Kind of frame and length of the rest.
const HEAD: usize = 5;

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    /// Which session, whether nothing was lost, how often it began to count anew, and the number of its next token.
    Connected { session: usize, resumed: bool, life: u64, token: u64 },
    /// The room as it stands, and the events missed before, if those were asked for and could be had.
    Picture {
        re: Option<u64>,
        position: Position,
        missed: Option<Vec<Bytes>>,
        members: Vec<PeerId>,
        state: Vec<Latest>,
    },
    /// The room anew: forget what you knew. It comes behind a picture.
    Reset,
    /// An event, as the log has it.
    Event { position: Position, bytes: Bytes },
    /// A signal or a reliable move, by number.
    Counted { unique: u64, size: usize },
    /// A latest move.
    Latest(Latest),
    /// The answer to a request: 0, or the code of its refusal.
    Answer { id: u64, code: u64, seq: u64 },
    /// A native ping.
    Ping([u8; 8]),
    /// The end, with the number of its close code.
    Close(u64),
}

/// A latest move: sender's handle, key, and sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) from: u32,
    pub(crate) key: u16,
    pub(crate) seq: u32,
}

/// A message of a guest.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    /// A new session, please.
    Auth,
    /// My session again: its token, what I have of it, and where my room stands.
    Resume {
        session: usize,
        token: u64,
        received: u64,
        position: Option<Position>,
    },
    /// Whatever has an answer. A signal has a number of its own, and a size on the way to its receiver.
    Ask {
        request: Request,
        len: usize,
        unique: u64,
    },
    /// A move, with a number of its own.
    Move {
        lane: Lane,
        key: u16,
        seq: u32,
        len: usize,
        unique: u64,
        to: Option<PeerId>,
    },
    Ack(u64),
    Pong([u8; 8]),
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, n: u64) -> &mut Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    fn numbers(&mut self, numbers: &[u64]) -> &mut Self {
        numbers.iter().for_each(|&n| _ = self.number(n));
        self
    }

    fn position(&mut self, at: Position) -> &mut Self {
        self.numbers(&[at.epoch, at.seq, u64::from(at.tag.0)])
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn peer(&mut self, peer: PeerId) {
        self.0.extend(peer.0.as_bytes());
    }

    fn latest(&mut self, &Latest { from, key, seq }: &Latest) {
        self.numbers(&[from.into(), key.into(), seq.into()]);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    fn small<T: TryFrom<u64, Error: std::fmt::Debug>>(&mut self) -> T {
        T::try_from(self.number()).expect("written as one of these")
    }

    fn position(&mut self) -> Position {
        Position { epoch: self.number(), seq: self.number(), tag: Tag(self.small()) }
    }

    fn bytes(&mut self) -> Bytes {
        let len = self.small();
        Bytes::copy_from_slice(self.take(len))
    }

    fn peer(&mut self) -> PeerId {
        PeerId(uuid::Uuid::from_bytes(self.take(16).try_into().expect("sixteen bytes")))
    }

    fn latest(&mut self) -> Latest {
        Latest { from: self.small(), key: self.small(), seq: self.small() }
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.number()).map(|_| one(self)).collect()
    }
}

impl Down {
    /// The frame.
    pub(crate) fn encode(&self) -> Encoded {
        let mut out = Writer(vec![0; HEAD]);
        let kind = match self {
            Self::Connected { session, resumed, life, token } => {
                out.numbers(&[*session as u64, (*resumed).into(), *life, *token]);
                1
            }
            Self::Picture { re, position, missed, members, state } => {
                out.numbers(&[re.is_some().into(), re.unwrap_or(0)]).position(*position);
                out.numbers(&[missed.is_some().into(), missed.as_ref().map_or(0, Vec::len) as u64]);
                missed.iter().flatten().for_each(|event| _ = out.bytes(event));
                out.number(members.len() as u64);
                members.iter().for_each(|&peer| out.peer(peer));
                out.number(state.len() as u64);
                state.iter().for_each(|latest| out.latest(latest));
                2
            }
            Self::Reset => 3,
            Self::Event { position, bytes } => {
                out.position(*position).bytes(bytes);
                4
            }
            Self::Counted { unique, size } => {
                out.number(*unique).0.resize(HEAD + 8 + size, 0);
                5
            }
            Self::Latest(latest) => {
                out.latest(latest);
                6
            }
            Self::Answer { id, code, seq } => {
                out.numbers(&[*id, *code, *seq]);
                7
            }
            Self::Ping(payload) => {
                out.0.extend(payload);
                8
            }
            Self::Close(code) => {
                out.number(*code);
                9
            }
        };
        let mut out = out.0;
        let len = u32::try_from(out.len() - HEAD).expect("frames are small");
        out[0] = kind;
        out[1..HEAD].copy_from_slice(&len.to_be_bytes());
        Encoded::new(out, 1)
    }

    /// The first frame of `bytes` and how long it is, once all of it is there.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let len = u32::from_be_bytes(bytes.get(1..HEAD)?.try_into().expect("four bytes")) as usize;
        let mut body = Reader(bytes.get(HEAD..HEAD + len)?);
        let frame = match bytes[0] {
            1 => Self::Connected {
                session: body.small(),
                resumed: body.number() == 1,
                life: body.number(),
                token: body.number(),
            },
            2 => {
                let (is_answer, re) = (body.number() == 1, body.number());
                let (position, has_missed) = (body.position(), body.number() == 1);
                let (missed, members) = (body.many(Reader::bytes), body.many(Reader::peer));
                let (re, missed) = (is_answer.then_some(re), has_missed.then_some(missed));
                Self::Picture { re, position, missed, members, state: body.many(Reader::latest) }
            }
            3 => Self::Reset,
            4 => Self::Event { position: body.position(), bytes: body.bytes() },
            5 => Self::Counted { unique: body.number(), size: body.0.len() },
            6 => Self::Latest(body.latest()),
            7 => Self::Answer { id: body.number(), code: body.number(), seq: body.number() },
            8 => Self::Ping(body.take(8).try_into().expect("eight bytes")),
            9 => Self::Close(body.number()),
            kind => panic!("a frame of kind {kind}: the stream of bytes is torn"),
        };
        Some((frame, HEAD + len))
    }
}
