//! The other end of the socket, scripted by each test: it knows frames, not the server's rules.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use rallypoint_client::{
    Client, Events, Options,
    protocol::{Encoding, PeerId, Position, Request, RoomName, ServerMessage, request::Limits, server},
    tungstenite::{
        Message,
        handshake::server::{Request as Upgrade, Response},
        http::header::SEC_WEBSOCKET_PROTOCOL,
        protocol::CloseFrame,
    },
};
use serde_json::json;
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

/// A client and its peer after `connected`.
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
        let limits = json!({ "frame": 1, "move": 1, "text": 1, "signal": 1, "state": 1, "rooms": 1 });
        self.send(&decoded(&json!({
            "type": "connected", "peer": PeerId::random(), "session": "s", "resumed": false, "time": 1,
            "heartbeat": 15000, "limits": limits, "notifications": position(),
        })))
        .await;
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

    pub(crate) async fn close(&mut self, code: u16, reason: &'static str) {
        self.send_frame(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await;
        while self.next().await.is_some() {}
    }
}
