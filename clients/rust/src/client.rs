//! The sending half: the connection and its control, moves, and, in `requests`, what has an answer.

mod requests;

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use rallypoint_protocol::{
    Encoding, Payload, PeerId, Request, RoomName, event::Millis, moves::Lane, server::Connected,
};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    access::Access,
    clock::Clock,
    connect::{CLIENT_FRAME_MAX, Way, dial},
    driver::Driver,
    error::{Ended, Error},
    handles::{Command, Control, Handles},
    incoming::Events,
    moves::{Outgoing, RELIABLE_MOST},
    options::{Credential, Options},
    rooms::Rooms,
    session::Session,
};

/// How long the server may take to answer a close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Commands that may wait for the connection's task; senders wait when there are more.
const COMMANDS: usize = 64;

/// A handle to one connection; cheap to clone, every clone speaks for the same session.
///
/// One background task owns the socket. When it loses the socket it gets another and resumes the
/// session, as the protocol allows; [`Incoming`](crate::Incoming) tells of it. It ends when the connection ends for
/// good, or when the last `Client` **and** the [`Events`] are dropped; the socket is then dropped
/// without a close frame, which to the server is a lost connection. Say goodbye with [`Client::close`].
///
/// Requests are sent in the order in which they are made and answered in that order, each carried
/// out once, also over a loss. Those made while the connection is lost wait for the next one. Every method
/// that waits for an answer gives up with [`Error::Timeout`] after [`Options::timeout`]; the request may have been
/// carried out nevertheless. Only when a whole session is lost, a request without an answer is
/// [`Error::Lost`].
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    control: watch::Sender<Control>,
    rooms: Arc<Mutex<Rooms>>,
    places: Arc<Semaphore>,
    ended: Arc<OnceLock<Ended>>,
    connected: watch::Receiver<Arc<Connected>>,
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
    /// frame; this first time nothing is tried again. Must be called within a tokio runtime.
    pub async fn connect(options: Options) -> Result<(Self, Events), Error> {
        let opening = async {
            let token = match options.credential {
                Credential::None => String::new(),
                _ => options.token.get().await?,
            };
            let way = Way::Anew { token: token.clone(), notifications_since: options.notifications_since };
            Ok::<_, Error>((token, dial(&options, way, options.timeout).await?))
        };
        let (token, (socket, connected)) =
            tokio::time::timeout(options.timeout, opening).await.map_err(|_| Error::Timeout)??;

        let (commands, requested) = mpsc::channel(COMMANDS);
        let (events, queue) = mpsc::channel(options.queue.max(1));
        let (control, controlled) = watch::channel(Control::Read);
        let (present, connected) = watch::channel(Arc::new(connected));
        let (rooms, ended, clock) = (Arc::<Mutex<Rooms>>::default(), Arc::<OnceLock<Ended>>::default(), Clock::start());
        let places = Arc::new(Semaphore::new(RELIABLE_MOST));
        let (encoding, timeout, options) = (options.encoding, options.timeout, Arc::new(options));
        let access = Access::new(options.token.clone(), timeout, token);
        let session = Session::new(&options, Arc::clone(&rooms), present, access, clock, Instant::now());
        let handles = Handles::new(requested, events, controlled);
        let driver = Driver::new(socket, session, handles, options, Arc::clone(&ended), Arc::clone(&places));
        tokio::spawn(driver.run());

        let shared = Shared { commands, control, rooms, places, ended, connected, encoding, timeout, clock };
        Ok((Self { shared: Arc::new(shared) }, Events { queue }))
    }

    /// What the server said first on the newest socket: the session, its limits, where the notifications stood.
    pub fn connected(&self) -> Arc<Connected> {
        Arc::clone(&self.shared.connected.borrow())
    }

    /// This session's public identity. It stays the same over a resume; see [`Incoming::Back`](crate::Incoming::Back).
    pub fn peer(&self) -> PeerId {
        self.shared.connected.borrow().peer
    }

    /// How messages are written.
    pub fn encoding(&self) -> Encoding {
        self.shared.encoding
    }

    /// This end's clock, the one that [`Pong::offset`] refers to.
    pub fn now(&self) -> Millis {
        self.shared.clock.now()
    }

    /// Whether the connection has ended for good.
    pub fn is_closed(&self) -> bool {
        self.shared.commands.is_closed()
    }

    /// Tells the room that a key was pressed just now. There is no answer, and while the connection
    /// is lost nobody is told.
    pub async fn typing(&self, room: &RoomName) -> Result<(), Error> {
        self.command(Command::Notice(Request::Typing { room: room.clone() })).await
    }

    /// Sends a move: a value of the application about `key`, to everybody in the room or to the
    /// members with the handles `to`. There is no answer.
    ///
    /// `seq` must rise over both lanes of the room; `None` counts by itself. In MessagePack, structs
    /// become maps with named fields, as they do in JSON. Waits while the connection cannot take
    /// more, so a caller that must never wait sends from a task of its own.
    ///
    /// While the connection is lost, the newest latest move of each (room, key, receivers) waits for the
    /// next one, and so do reliable moves, together with those of which the server has not shown that they
    /// arrived. With 256 of these, reliable moves wait here, without a timeout. When the session could
    /// not be resumed without a loss (`resumed: false` in [`Incoming::Back`](crate::Incoming::Back)), reliable
    /// moves that wait are dropped, and so are latest moves to named members.
    pub async fn send_move(
        &self,
        room: &RoomName,
        key: u16,
        seq: Option<u32>,
        payload: &impl Serialize,
        lane: Lane,
        to: Option<&[u32]>,
    ) -> Result<(), Error> {
        let (payload, to) = (self.payload(payload)?, to.map(<[u32]>::to_vec));
        self.send_outgoing(Outgoing { room: room.clone(), key, seq, lane, to, payload, place: None }).await
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
        let to = to.map(<[u32]>::to_vec);
        self.send_outgoing(Outgoing { room: room.clone(), key, seq, lane, to, payload, place: None }).await
    }

    async fn send_outgoing(&self, mut outgoing: Outgoing) -> Result<(), Error> {
        // Room for the head of a move, with its 64 receivers, beside the payload.
        if outgoing.payload.len() > CLIENT_FRAME_MAX - 4096 {
            return Err(Error::Encode("the move is too large for any frame".to_owned()));
        }
        let joined = self.shared.rooms.lock().expect("no holder of the rooms panics").is_member(&outgoing.room);
        if !joined && !self.is_closed() {
            return Err(Error::NotJoined(outgoing.room));
        }
        if outgoing.lane == Lane::Reliable {
            let place = Arc::clone(&self.shared.places).acquire_owned().await;
            outgoing.place = Some(place.map_err(|_| self.ended())?);
        }
        self.command(Command::Move(outgoing)).await
    }

    /// Sends a frame as it stands, for tests of servers. Ids in it are the caller's own; answers
    /// to ids that no method of this client used come as [`Incoming::Message`](crate::Incoming::Message). While the
    /// connection is lost, the frame is dropped.
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
    /// While the connection is lost it ends at once, without a goodbye: the server's grace for the
    /// session runs out. What arrives in the meantime is dropped if the queue of [`Events`] is full. When the server does not
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
