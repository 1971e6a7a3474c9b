//! The other end of the socket, scripted by each test: it knows frames, not the server's rules.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use rallypoint_client::{
    Client, Events, Incoming, Options,
    protocol::{
        Encoding, PeerId, Position, Request, RoomName, ServerMessage,
        moves::{ClientMove, Lane, MoveLimits, is_move},
        request::{Limits, Resume},
        server,
    },
    tungstenite::{
        Message,
        handshake::server::{Request as Upgrade, Response},
        http::header::SEC_WEBSOCKET_PROTOCOL,
        protocol::CloseFrame,
    },
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// A connection from the server's side, MessagePack.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    /// The head of the handshake.
    pub(crate) upgrade: Upgrade,
}

pub(crate) fn room() -> RoomName {
    RoomName::new("match/7").unwrap()
}

pub(crate) fn position() -> Position {
    Position::start(1)
}

/// The position after so many events.
pub(crate) fn at(seq: u64) -> Position {
    Position { seq, ..position() }
}

/// The public identity in every session but those of another name than `s`.
pub(crate) const ME: &str = "11111111-2222-4333-8444-555555555555";

pub(crate) fn decoded(value: &serde_json::Value) -> ServerMessage {
    ServerMessage::decode(Encoding::Json, value.to_string().as_bytes()).unwrap()
}

pub(crate) fn notification(message: &str) -> ServerMessage {
    decoded(&json!({ "type": "notification", "message": message, "time": 1, "position": position() }))
}

pub(crate) async fn listen() -> (TcpListener, Options) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, Options::new(url, "the-token"))
}

/// `connected` of the session `s`, which can be resumed with this token.
pub(crate) fn connected(resumed: bool, token: &str) -> Value {
    let limits = json!({
        "frame": 1, "move": 1, "text": 1, "signal": 1, "state": 1, "rooms": 1, "requests_per_second": 1,
        "requests_burst": 1, "moves_per_second": 1, "moves_burst": 1, "bytes_per_second": 1,
    });
    json!({
        "type": "connected", "peer": ME, "session": "s", "resume": token, "resumed": resumed, "time": 1_000_000,
        "heartbeat": 15000, "limits": limits, "notifications": position(),
    })
}

/// `joined` for the room of these tests.
pub(crate) fn joined(re: Option<u64>, handle: u32, position: Position) -> Value {
    json!({
        "type": "joined", "re": re, "room": room(), "handle": handle, "members": [], "count": 1, "spectators": 0,
        "you": { "peer": ME, "handle": 1, "user": "ada" }, "position": position, "state": [],
    })
}

/// Chat at a position, with its number as the text.
pub(crate) fn chat(seq: u64) -> Value {
    json!({ "type": "message", "room": room(), "time": 1, "position": at(seq), "text": seq.to_string() })
}

/// A client whose session can be resumed with `token-1`.
pub(crate) async fn resumable(change: impl FnOnce(&mut Options)) -> (TcpListener, Client, Events, Peer) {
    let (listener, mut options) = listen().await;
    change(&mut options);
    let serve = async {
        let mut peer = Peer::accept(&listener).await;
        peer.request().await;
        peer.say(connected(false, "token-1")).await;
        peer
    };
    let (connected, peer) = tokio::join!(Client::connect(options), serve);
    let (client, events) = connected.unwrap();
    (listener, client, events, peer)
}

/// The same, in the room of these tests, with handle 7 at position 10.
pub(crate) async fn in_room(change: impl FnOnce(&mut Options)) -> (TcpListener, Client, Events, Peer) {
    let (listener, client, events, mut peer) = resumable(change).await;
    let serve = async {
        let id = peer.request().await.id();
        peer.say(joined(id, 7, at(10))).await;
    };
    let (room, ()) = (room(), ());
    let (joined, ()) = tokio::join!(client.join(&room, None), serve);
    assert_eq!(joined.unwrap().handle, 7);
    (listener, client, events, peer)
}

/// The next thing that came, in a word or two.
pub(crate) async fn told(events: &mut Events) -> String {
    match events.recv().await.expect("something before the end") {
        Incoming::Message(ServerMessage::Message(chat)) => chat.text.into(),
        Incoming::Message(message) => message.name().to_owned(),
        Incoming::Move(step) => format!("move {}", step.seq),
        Incoming::Reset(reset) => format!("reset {}", reset.reason.name()),
        Incoming::Away { code, .. } => format!("away {code:?}"),
        Incoming::Back { resumed, peer } => format!("back {resumed} {}", peer == PeerId::parse(ME).unwrap()),
        Incoming::Joined(joined) => format!("joined {}", joined.handle),
        Incoming::Watching(_) => "watching".to_owned(),
        Incoming::Out { why, .. } => format!("out {:?}", why.map(|why| why.code.number())),
        Incoming::Closed { code, .. } => format!("closed {code:?}"),
    }
}

/// A client and its peer after `connected`, with a session that cannot be resumed. The server promises no
/// heartbeat: in a test that stops the clock, the client must not wait for one.
pub(crate) async fn pair(change: impl FnOnce(&mut Options)) -> (Client, Events, Peer) {
    let (listener, mut options) = listen().await;
    change(&mut options);
    let serve = async {
        let mut peer = Peer::accept(&listener).await;
        assert!(matches!(peer.request().await, Request::Auth { .. }));
        peer.welcome().await;
        peer
    };
    let (connected, peer) = tokio::join!(Client::connect(options), serve);
    let (client, events) = connected.unwrap();
    (client, events, peer)
}

impl Peer {
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let upgrade = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&upgrade);
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let choose = move |request: &Upgrade, mut response: Response| {
            let offered = request.headers()[SEC_WEBSOCKET_PROTOCOL].to_str().unwrap();
            let first = offered.split(',').next().unwrap().parse().unwrap();
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, first);
            *seen.lock().unwrap() = Some(request.clone());
            Ok(response)
        };
        let socket = accept_hdr_async(stream, choose).await.unwrap();
        let upgrade = upgrade.lock().unwrap().take().unwrap();
        Self { socket, upgrade }
    }

    pub(crate) async fn welcome(&mut self) {
        let mut connected = connected(false, "");
        (connected["resume"], connected["heartbeat"]) = (Value::Null, json!(0));
        self.say(connected).await;
    }

    /// Accepts a client that is on its way back, and the `resume` it begins with.
    pub(crate) async fn resumed(listener: &TcpListener) -> (Self, Resume) {
        let mut peer = Self::accept(listener).await;
        match peer.request().await {
            Request::Resume(resume) => (peer, *resume),
            other => panic!("not a resume: {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.send(&decoded(&message)).await;
    }

    pub(crate) async fn send(&mut self, message: &ServerMessage) {
        self.send_frame(Message::Binary(message.encode(Encoding::MsgPack).into())).await;
    }

    pub(crate) async fn send_frame(&mut self, frame: Message) {
        self.socket.send(frame).await.unwrap();
    }

    pub(crate) async fn ok(&mut self, re: u64) {
        self.send(&ServerMessage::Ok(server::Done { re, position: Some(position()) })).await;
    }

    /// The next frame; `None` when the client hung up without a word.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.socket.next().await?.ok()
    }

    pub(crate) async fn request(&mut self) -> Request {
        let frame = self.next().await.expect("the client hung up");
        Request::decode(Encoding::MsgPack, &frame.into_data(), &Limits::default()).unwrap()
    }

    /// The next move: its lane, handle of the room, and sequence number.
    pub(crate) async fn shot(&mut self) -> (Lane, u32, u32) {
        let frame = self.next().await.expect("the client hung up").into_data();
        assert!(is_move(&frame));
        let ClientMove { lane, room, seq, .. } = ClientMove::parse(&frame, MoveLimits::default()).unwrap();
        (lane, room, seq)
    }

    /// Makes sure that the client has sent nothing that was not read here: its answer to a ping comes next.
    pub(crate) async fn silence(&mut self) {
        self.send_frame(Message::Ping("fence".into())).await;
        assert_eq!(self.next().await, Some(Message::Pong("fence".into())));
    }

    pub(crate) async fn close(&mut self, code: u16, reason: &'static str) {
        self.send_frame(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await;
        while self.next().await.is_some() {}
    }
}
