//! The sending half: requests with answers, moves, and control of the connection.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use rallypoint_protocol::{
    Encoding, Kind, Payload, PeerId, Position, Request, RoomName, ServerMessage,
    event::Millis,
    moves::Lane,
    request::{HANDLES_MAX, SignalKind},
    server::{Connected, Joined, Members, Watching},
};
use serde::Serialize;
use serde_json::{Number, value::to_raw_value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    clock::Clock,
    connect::{self, CLIENT_FRAME_MAX},
    driver::{Command, Control, Driver, Ends},
    error::{Ended, Error},
    exchange::{Answer, Exchange, Outgoing},
    incoming::Events,
    options::Options,
    rooms::Rooms,
};

/// How long the server may take to answer a close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Commands that may wait for the connection's task; senders wait when there are more.
const COMMANDS: usize = 64;

/// A handle to one connection; cheap to clone, every clone speaks for the same session.
///
/// One background task owns the socket. It ends when the connection ends, or when the last
/// `Client` **and** the [`Events`] are dropped; the socket is then dropped without a close frame,
/// which to the server is a lost connection. Say goodbye with [`Client::close`].
///
/// Requests are sent in the order in which they are made and answered in that order. Every method
/// that waits for an answer gives up with [`Error::Timeout`] after [`Options::timeout`]; the request may have been
/// carried out nevertheless.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    control: watch::Sender<Control>,
    rooms: Arc<Mutex<Rooms>>,
    ended: Arc<OnceLock<Ended>>,
    connected: Connected,
    encoding: Encoding,
    timeout: Duration,
    clock: Clock,
}

/// Both clocks, compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pong {
    /// Round trip without the time that the server took, milliseconds.
    pub rtt: f64,
    /// The server's clock minus this one's, milliseconds: `client.now() + offset` is server time.
    pub offset: f64,
    /// When the server read the ping.
    pub received: Millis,
    /// When the server wrote the pong.
    pub sent: Millis,
}

impl Client {
    /// Opens a connection, authenticates, and returns once `connected` has arrived.
    ///
    /// A refusal is [`Error::Handshake`] when it came as an HTTP status and [`Error::Closed`] when it came as a close
    /// frame. Must be called within a tokio runtime.
    pub async fn connect(options: Options) -> Result<(Self, Events), Error> {
        let opening = async {
            let mut socket = connect::handshake(&options).await?;
            let connected = connect::greet(&mut socket, &options).await?;
            Ok::<_, Error>((socket, connected))
        };
        let (socket, connected) =
            tokio::time::timeout(options.timeout, opening).await.map_err(|_| Error::Timeout)??;

        let (commands, requested) = mpsc::channel(COMMANDS);
        let (events, queue) = mpsc::channel(options.queue.max(1));
        let (control, controlled) = watch::channel(Control::Read);
        let (rooms, ended, clock) = (Arc::default(), Arc::default(), Clock::start());
        let exchange = Exchange::new(options.encoding, connected.peer, Arc::clone(&rooms));
        let ends = Ends { commands: requested, events, control: controlled, ended: Arc::clone(&ended) };
        tokio::spawn(Driver::new(socket, exchange, ends, clock).run());

        let (encoding, timeout) = (options.encoding, options.timeout);
        let shared = Shared { commands, control, rooms, ended, connected, encoding, timeout, clock };
        Ok((Self { shared: Arc::new(shared) }, Events { queue }))
    }

    /// What the server said first: the session, its limits, where the notifications stand.
    pub fn connected(&self) -> &Connected {
        &self.shared.connected
    }

    /// This session's public identity.
    pub fn peer(&self) -> PeerId {
        self.shared.connected.peer
    }

    /// How messages are written.
    pub fn encoding(&self) -> Encoding {
        self.shared.encoding
    }

    /// This end's clock, the one that [`Pong::offset`] refers to.
    pub fn now(&self) -> Millis {
        self.shared.clock.now()
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.commands.is_closed()
    }

    /// Becomes a member of a room. With `since`, the answer's `missed` has the events after that
    /// position ([`missed_events`](crate::missed_events) reads them), or a `reset` follows.
    pub async fn join(&self, room: &RoomName, since: Option<Position>) -> Result<Joined, Error> {
        let room = room.clone();
        match self.request(move |id, _| Request::Join { id, room, since }).await?.message {
            ServerMessage::Joined(joined) => Ok(joined),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops being a member.
    pub async fn leave(&self, room: &RoomName) -> Result<(), Error> {
        let room = room.clone();
        self.done(move |id| Request::Leave { id, room }).await.map(drop)
    }

    /// Sends an offer, answer or candidate to one member. `()` or any other value that is null
    /// as data of a candidate ends the candidates.
    pub async fn signal(
        &self,
        room: &RoomName,
        to: PeerId,
        kind: SignalKind,
        data: &impl Serialize,
    ) -> Result<(), Error> {
        let (room, data) = (room.clone(), self.payload(data)?);
        self.done(move |id| Request::Signal { id, room, to, kind, data }).await.map(drop)
    }

    /// Says something to the room; the position is that of the event, which comes to the sender too.
    pub async fn say(&self, room: &RoomName, text: impl Into<String>) -> Result<Position, Error> {
        let (room, text) = (room.clone(), text.into());
        self.placed(move |id| Request::Message { id, room, text }).await
    }

    /// Publishes an event of the application's own kind; the sender gets it too.
    pub async fn publish(&self, room: &RoomName, kind: &Kind, data: &impl Serialize) -> Result<Position, Error> {
        let (room, kind) = (room.clone(), kind.clone());
        let data = to_raw_value(data).map_err(|error| Error::Encode(error.to_string()))?;
        self.placed(move |id| Request::Publish { id, room, kind, data }).await
    }

    /// Replaces the own public state in a room; `state` must be a map.
    pub async fn update(&self, room: &RoomName, state: &impl Serialize) -> Result<(), Error> {
        let room = room.clone();
        let state = to_raw_value(state).map_err(|error| Error::Encode(error.to_string()))?;
        self.done(move |id| Request::Update { id, room, state }).await.map(drop)
    }

    /// Reads one page of the roster: `limit` (1 to 500) entries behind the peer `after`.
    pub async fn members(&self, room: &RoomName, after: Option<PeerId>, limit: usize) -> Result<Members, Error> {
        self.roster(room, after, limit, None).await
    }

    /// Reads the entries with these handles, at most 100, for moves whose senders are unknown.
    pub async fn members_with(&self, room: &RoomName, handles: Vec<u32>) -> Result<Members, Error> {
        self.roster(room, None, HANDLES_MAX, Some(handles)).await
    }

    async fn roster(
        &self,
        room: &RoomName,
        after: Option<PeerId>,
        limit: usize,
        handles: Option<Vec<u32>>,
    ) -> Result<Members, Error> {
        let room = room.clone();
        match self.request(move |id, _| Request::Members { id, room, after, limit, handles }).await?.message {
            ServerMessage::Members(members) => Ok(members),
            other => Err(unexpected(&other)),
        }
    }

    /// Follows a room without being a member; `state` asks for its latest moves, at most so many
    /// times a second.
    pub async fn watch(&self, room: &RoomName, since: Option<Position>, state: Option<f64>) -> Result<Watching, Error> {
        let room = room.clone();
        match self.request(move |id, _| Request::Watch { id, room, since, state }).await?.message {
            ServerMessage::Watching(watching) => Ok(watching),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops following.
    pub async fn unwatch(&self, room: &RoomName) -> Result<(), Error> {
        let room = room.clone();
        self.done(move |id| Request::Unwatch { id, room }).await.map(drop)
    }

    /// Replaces the access token of this session by a newer one of the same user.
    pub async fn refresh(&self, token: impl Into<String>) -> Result<(), Error> {
        let token = token.into();
        self.done(move |id| Request::Refresh { id, token }).await.map(drop)
    }

    /// Measures the way to the server and compares the clocks.
    pub async fn ping(&self) -> Result<Pong, Error> {
        let answer = self.request(|id, now| Request::Ping { id: Some(id), t: Number::from_f64(now.0) }).await?;
        let ServerMessage::Pong(pong) = answer.message else { return Err(unexpected(&answer.message)) };
        let (rtt, offset) = answer.timing.compare(pong.received, pong.sent);
        Ok(Pong { rtt, offset, received: pong.received, sent: pong.sent })
    }

    /// Tells the room that a key was pressed just now. There is no answer.
    pub async fn typing(&self, room: &RoomName) -> Result<(), Error> {
        self.command(Command::Notice(Request::Typing { room: room.clone() })).await
    }

    /// Sends a move: a value of the application about `key`, to everybody in the room or to the
    /// members with the handles `to`. There is no answer.
    ///
    /// `seq` must rise over both lanes of the room; `None` counts by itself. In MessagePack, structs
    /// become maps with named fields, as they do in JSON. Waits while the connection cannot take
    /// more, so a caller that must never wait sends from a task of its own.
    pub async fn send_move(
        &self,
        room: &RoomName,
        key: u16,
        seq: Option<u32>,
        payload: &impl Serialize,
        lane: Lane,
        to: Option<&[u32]>,
    ) -> Result<(), Error> {
        let payload = self.payload(payload)?;
        self.send_outgoing(Outgoing { room: room.clone(), key, seq, lane, to: to.map(<[u32]>::to_vec), payload }).await
    }

    /// Like [`Client::send_move`], for a payload that is encoded already: exactly one value in this
    /// connection's encoding. Nothing checks it on this side.
    pub async fn send_move_bytes(
        &self,
        room: &RoomName,
        key: u16,
        seq: Option<u32>,
        payload: Bytes,
        lane: Lane,
        to: Option<&[u32]>,
    ) -> Result<(), Error> {
        let payload = match self.shared.encoding {
            Encoding::Json => Payload::Json(payload),
            Encoding::MsgPack => Payload::MsgPack(payload),
        };
        self.send_outgoing(Outgoing { room: room.clone(), key, seq, lane, to: to.map(<[u32]>::to_vec), payload }).await
    }

    async fn send_outgoing(&self, outgoing: Outgoing) -> Result<(), Error> {
        // Room for the head of a move, with its 64 receivers, beside the payload.
        if outgoing.payload.len() > CLIENT_FRAME_MAX - 4096 {
            return Err(Error::Encode("the move is too large for any frame".to_owned()));
        }
        let joined = self.shared.rooms.lock().expect("no holder of the rooms panics").handle(&outgoing.room).is_some();
        if !joined && !self.is_closed() {
            return Err(Error::NotJoined(outgoing.room));
        }
        self.command(Command::Move(outgoing)).await
    }

    /// Sends a frame as it stands, for tests of servers. Ids in it are the caller's own; answers
    /// to ids that no method of this client used come as [`Incoming::Message`](crate::Incoming::Message).
    pub async fn send_raw(&self, message: Message) -> Result<(), Error> {
        if message.len() > CLIENT_FRAME_MAX {
            return Err(Error::Encode("the frame is larger than 1 MiB".to_owned()));
        }
        self.command(Command::Raw(message)).await
    }

    /// Stops reading the socket; the kernel's buffers fill, and then the server feels it. Answers
    /// and native pings wait as well. One frame may still be on its way through.
    pub fn pause_reading(&self) {
        self.shared.control.send_replace(Control::Pause);
    }

    /// Reads on after [`Client::pause_reading`].
    pub fn resume_reading(&self) {
        self.shared.control.send_replace(Control::Read);
    }

    /// Says goodbye (close 1000, which ends the session) and waits until the server has closed too.
    ///
    /// What arrives in the meantime is dropped if the queue of [`Events`] is full. When the server does not
    /// answer within 5 s, that is [`Error::Timeout`], and the connection ends without it.
    pub async fn close(&self) -> Result<(), Error> {
        let (reply, closed) = oneshot::channel();
        let goodbye = async {
            match self.command(Command::Close(reply)).await {
                Ok(()) => closed.await.unwrap_or(Ok(())),
                // It has ended already.
                Err(_) => Ok(()),
            }
        };
        tokio::time::timeout(CLOSE_WITHIN, goodbye).await.unwrap_or_else(|_| {
            self.shared.control.send_replace(Control::GiveUp);
            Err(Error::Timeout)
        })
    }

    async fn command(&self, command: Command) -> Result<(), Error> {
        self.shared.commands.send(command).await.map_err(|_| self.ended())
    }

    async fn request(&self, make: impl FnOnce(u64, Millis) -> Request + Send + 'static) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.command(Command::Request { make: Box::new(make), reply }).await?;
            answer.await.map_err(|_| self.ended())?
        };
        let answer = tokio::time::timeout(self.shared.timeout, exchange).await.map_err(|_| Error::Timeout)??;
        match answer.message {
            ServerMessage::Error(failed) => Err(Error::Refused(failed)),
            _ => Ok(answer),
        }
    }

    async fn done(&self, make: impl FnOnce(u64) -> Request + Send + 'static) -> Result<Option<Position>, Error> {
        match self.request(|id, _| make(id)).await?.message {
            ServerMessage::Ok(done) => Ok(done.position),
            other => Err(unexpected(&other)),
        }
    }

    async fn placed(&self, make: impl FnOnce(u64) -> Request + Send + 'static) -> Result<Position, Error> {
        self.done(make).await?.ok_or_else(|| Error::Protocol("the answer has no position".to_owned()))
    }

    fn payload(&self, value: &impl Serialize) -> Result<Payload, Error> {
        match self.shared.encoding {
            Encoding::Json => Payload::json_of(value).map_err(|error| Error::Encode(error.to_string())),
            Encoding::MsgPack => rmp_serde::to_vec_named(value)
                .map(|bytes| Payload::MsgPack(bytes.into()))
                .map_err(|error| Error::Encode(error.to_string())),
        }
    }

    fn ended(&self) -> Error {
        let ended = self.shared.ended.get().cloned();
        ended.unwrap_or_else(|| Ended::broken("the connection's task is gone")).into()
    }
}

fn unexpected(message: &ServerMessage) -> Error {
    Error::Protocol(format!("{} is not the answer to this request", message.name()))
}
