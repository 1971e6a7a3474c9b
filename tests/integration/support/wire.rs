//! A WebSocket below the client: messages as JSON values in either encoding, and frames as bytes.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use rallypoint_client::{Credential, Options, Socket, handshake, tungstenite::Message};
use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use super::{Node, Pass, contract::judge_message, within};

/// What a socket brought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// A control message.
    Said(Value),
    /// A binary move.
    Moved(Vec<u8>),
    /// A close frame: its number and its text.
    Closed(u16, String),
    /// The end, without a close frame.
    Gone,
}

fn said(message: Value) -> Seen {
    judge_message(&message);
    Seen::Said(message)
}

/// A socket; requests through [`Wire::ask`] get rising ids.
pub(crate) struct Wire {
    socket: Socket,
    encoding: Encoding,
    id: u64,
    /// What came while an answer was waited for.
    stash: VecDeque<Seen>,
    /// The message `connected`, once there is a session.
    pub(crate) connected: Value,
}

impl Wire {
    /// Only the handshake.
    pub(crate) async fn open(options: &Options) -> Self {
        let socket = handshake(options).await.expect("the handshake succeeds");
        Self { socket, encoding: options.encoding, id: 0, stash: VecDeque::new(), connected: Value::Null }
    }

    /// A socket without a token.
    pub(crate) async fn anonymous(node: &Node, encoding: Encoding) -> Self {
        Self::open(&Options { credential: Credential::None, ..node.options_with("", encoding) }).await
    }

    /// A session.
    pub(crate) async fn connect(node: &Node, pass: &Pass, encoding: Encoding) -> Self {
        let mut wire = Self::anonymous(node, encoding).await;
        wire.say(json!({ "type": "auth", "token": pass.mint() })).await;
        wire.connected = wire.said("connected").await;
        wire
    }

    /// Takes a lost session up again, as far as the first word of the server, whatever it is.
    pub(crate) async fn resume(node: &Node, encoding: Encoding, mut request: Value) -> Self {
        let mut wire = Self::anonymous(node, encoding).await;
        request["type"] = "resume".into();
        wire.say(request).await;
        wire
    }

    /// The same for a resume that succeeds; requests go on with ids above `id`.
    pub(crate) async fn resumed(node: &Node, encoding: Encoding, request: Value, id: u64) -> Self {
        let mut wire = Self::resume(node, encoding, request).await;
        match wire.next().await {
            Seen::Said(connected) if connected["type"] == "connected" => wire.connected = connected,
            other => panic!("{other:?} instead of connected"),
        }
        wire.id = id;
        wire
    }

    /// The last id that a request had.
    pub(crate) fn last_id(&self) -> u64 {
        self.id
    }

    /// The socket breaks off: no close frame, no goodbye.
    pub(crate) fn cut(self) {}

    /// Sends a message as it is.
    pub(crate) async fn say(&mut self, message: Value) {
        let frame = match self.encoding {
            Encoding::Json => Message::text(message.to_string()),
            Encoding::MsgPack => {
                Message::binary(rmp_serde::to_vec_named(&message).expect("JSON has a MessagePack form"))
            }
        };
        self.send(frame).await;
    }

    /// Sends a frame as it is. A server that has closed already is not an error here: what it said is read next.
    pub(crate) async fn send(&mut self, frame: Message) {
        _ = within("a frame to be sent", self.socket.send(frame)).await;
    }

    /// Sends frames in one packet, as far as that is in our hands: they are written together.
    pub(crate) async fn send_together(&mut self, frames: impl IntoIterator<Item = Message>) {
        for frame in frames {
            within("a frame to be buffered", self.socket.feed(frame)).await.expect("small frames fit the buffer");
        }
        _ = within("frames to be sent", self.socket.flush()).await;
    }

    /// Sends bytes as the kind of frame that the subprotocol has.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let frame = match self.encoding {
            Encoding::Json => Message::text(std::str::from_utf8(bytes).expect("JSON is UTF-8").to_owned()),
            Encoding::MsgPack => Message::binary(bytes.to_vec()),
        };
        self.send(frame).await;
    }

    /// The next thing that comes, in order.
    pub(crate) async fn next(&mut self) -> Seen {
        match self.stash.pop_front() {
            Some(seen) => seen,
            None => self.receive().await,
        }
    }

    /// Pings do not count: whoever waits for something else waits no longer for them.
    async fn receive(&mut self) -> Seen {
        within("a frame", async {
            loop {
                return match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        said(serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
                    }
                    Some(Ok(Message::Binary(bytes))) if matches!(bytes.first(), Some(0x90..=0x9f)) => {
                        Seen::Moved(bytes.to_vec())
                    }
                    Some(Ok(Message::Binary(bytes))) => {
                        said(rmp_serde::from_slice(&bytes).expect("a control message is a map"))
                    }
                    Some(Ok(Message::Close(Some(frame)))) => {
                        _ = self.socket.flush().await;
                        Seen::Closed(frame.code.into(), frame.reason.as_str().to_owned())
                    }
                    Some(Ok(Message::Close(None))) => Seen::Closed(1005, String::new()),
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => Seen::Gone,
                };
            }
        })
        .await
    }

    /// The next control message of this type; others are passed over.
    pub(crate) async fn said(&mut self, kind: &str) -> Value {
        self.said_with(kind, |_| true).await
    }

    /// The next control message of this type for which `good` holds.
    pub(crate) async fn said_with(&mut self, kind: &str, mut good: impl FnMut(&Value) -> bool) -> Value {
        within(kind, async {
            loop {
                match self.next().await {
                    Seen::Said(message) if message["type"] == kind && good(&message) => return message,
                    Seen::Said(_) | Seen::Moved(_) => {}
                    end => panic!("{end:?} came before {kind}"),
                }
            }
        })
        .await
    }

    /// Reads on until the socket ends.
    pub(crate) async fn next_end(&mut self) -> Seen {
        within("the end of the socket", async {
            loop {
                match self.next().await {
                    Seen::Said(_) | Seen::Moved(_) => {}
                    end => return end,
                }
            }
        })
        .await
    }

    /// Sends a request with the next id and returns its answer. What else comes is kept for later.
    pub(crate) async fn ask(&mut self, mut request: Value) -> Value {
        self.id += 1;
        let id = self.id;
        request["id"] = id.into();
        self.say(request).await;
        self.answer_to(id).await
    }

    /// The answer to this id.
    pub(crate) async fn answer_to(&mut self, id: u64) -> Value {
        within("an answer", async {
            loop {
                match self.receive().await {
                    Seen::Said(message) if message.get("re") == Some(&id.into()) => return message,
                    end @ (Seen::Closed(..) | Seen::Gone) => panic!("{end:?} came before the answer to {id}"),
                    other => self.stash.push_back(other),
                }
            }
        })
        .await
    }

    /// Control messages that came while an answer was waited for.
    pub(crate) fn stashed(&self) -> Vec<&Value> {
        let stash = self.stash.iter();
        let said = stash.filter_map(|seen| match seen {
            Seen::Said(message) => Some(message),
            _ => None,
        });
        said.collect()
    }

    /// The first error without an id that came while an answer was waited for.
    pub(crate) fn stashed_error(&self) -> Option<Value> {
        self.stashed().into_iter().find(|message| message["type"] == "error").cloned()
    }

    /// Whether nothing but answers has come since the last look.
    pub(crate) fn is_silent(&self) -> bool {
        self.stash.is_empty()
    }

    /// Sends a request that must be refused with this number.
    #[track_caller]
    pub(crate) fn refused(&mut self, request: Value, code: u16) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let told = request.clone();
            let answer = self.ask(request).await;
            assert_eq!(answer["type"], "error", "{place}: {told} was not refused: {answer}");
            assert_eq!(answer["code"], code, "{place}: {told}: {answer}");
            answer
        }
    }

    /// Sends a request that must be granted.
    #[track_caller]
    pub(crate) fn granted(&mut self, request: Value) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let told = request.clone();
            let answer = self.ask(request).await;
            assert_ne!(answer["type"], "error", "{place}: {told}: {answer}");
            answer
        }
    }

    /// The error without an id that comes next.
    pub(crate) async fn complaint(&mut self, code: u16) -> Value {
        let error = self.said("error").await;
        assert_eq!((&error["re"], &error["code"]), (&Value::Null, &code.into()), "{error}");
        error
    }

    /// Reads to the close frame and checks the number of it and of the fatal error before it, if one came.
    pub(crate) async fn closed(&mut self, close: u16, error: u16) {
        within("a close frame", async {
            loop {
                match self.next().await {
                    Seen::Said(message) if message["type"] == "error" && message["re"].is_null() => {
                        assert_eq!(message["code"], error, "{message}");
                    }
                    Seen::Said(_) | Seen::Moved(_) => {}
                    Seen::Closed(code, reason) => {
                        assert_eq!(code, close, "{reason}");
                        let name =
                            rallypoint_protocol::CloseCode::from_number(code).expect("a code of the table").name();
                        assert!(reason == name || reason.starts_with(&format!("{name}: ")), "{reason:?} names it");
                        return;
                    }
                    Seen::Gone => panic!("ended without a close frame, expected {close}"),
                }
            }
        })
        .await;
    }

    /// Says goodbye and waits for the other side.
    pub(crate) async fn bye(mut self) {
        let frame = rallypoint_client::tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "".into() };
        self.send(Message::Close(Some(frame))).await;
        while !matches!(self.next().await, Seen::Closed(..) | Seen::Gone) {}
    }
}
