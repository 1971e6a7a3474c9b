//! A WebSocket of a few lines: what no decent client would do can be done with it, such as to answer no pings, to stop in
//! the middle of a frame, or to break off with a reset. The hostile and the stalled clients use it.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use rallypoint_protocol::{Encoding, ServerMessage};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::ws::{self, op};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest frame of a server.
const FRAME_MAX: usize = 1 << 20;
/// The longest head of an answer.
const HEAD_MAX: usize = 16 * 1024;

/// Connects from an address of loopback, with the kernel's buffer for what arrives if it is to be small.
pub async fn connect(door: SocketAddr, from: Ipv4Addr, buffer: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(size) = buffer {
        socket.set_recv_buffer_size(size)?;
    }
    // Without this, a bound port that was just used could not be used for another connection.
    socket.set_reuseaddr(true)?;
    socket.bind((from, 0).into())?;
    let socket = timeout(PATIENCE, socket.connect(door)).await.map_err(|_| ErrorKind::TimedOut)??;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Ends a connection with a reset, so that neither side keeps anything of it.
pub fn reset(socket: TcpStream) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?)
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A message, as JSON whatever its encoding.
    Said(Value),
    /// A binary move.
    Move(Vec<u8>),
    /// A native ping.
    Ping,
    /// A native pong with its payload.
    Pong(Vec<u8>),
    /// A close frame with its code, 1005 without one.
    Closed(u16),
    /// The end without a close frame.
    Gone,
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Wire<S = TcpStream> {
    socket: S,
    encoding: Encoding,
    unread: Vec<u8>,
    /// Whether native pings are answered.
    pub answers: bool,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u64>,
}

impl Head {
    fn parse(text: &str) -> Option<Self> {
        let status = text.get(9..12)?.parse().ok()?;
        let after = text.lines().filter_map(|line| line.split_once(':'));
        let mut after = after.filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        Some(Self { status, retry_after: after.next().and_then(|(_, value)| value.trim().parse().ok()) })
    }
}

/// The lines of a handshake behind those with a credential.
pub fn upgrade(encoding: Encoding) -> String {
    format!(
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: {}\r\n",
        encoding.subprotocol()
    )
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Sends a `GET` with these lines and reads the head of the answer. If that is a 101, a WebSocket follows.
    pub async fn begin(socket: S, path: &str, lines: &str, encoding: Encoding) -> io::Result<(Head, Self)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}\r\n");
        let mut wire = Self { socket, encoding, unread: Vec::new(), answers: true };
        // Whoever was turned away at the door was answered before it asked.
        let asked = wire.socket.write_all(request.as_bytes()).await;
        let end = timeout(PATIENCE, wire.head()).await.map_err(|_| ErrorKind::TimedOut)?;
        let end = end.map_err(|error| asked.err().unwrap_or(error))?;
        let head = Head::parse(&String::from_utf8_lossy(&wire.unread[..end])).ok_or(ErrorKind::InvalidData)?;
        wire.unread.drain(..end);
        Ok((head, wire))
    }

    /// Opens a WebSocket, with a token in the handshake or without. A refusal is an error that names the status.
    pub async fn open(socket: S, token: Option<&str>, encoding: Encoding) -> io::Result<Self> {
        let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let (head, wire) = Self::begin(socket, "/v1/ws", &(bearer + &upgrade(encoding)), encoding).await?;
        if head.status != 101 {
            return Err(io::Error::other(format!("the handshake was answered with {}", head.status)));
        }
        Ok(wire)
    }

    async fn head(&mut self) -> io::Result<usize> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|part| part == b"\r\n\r\n") {
                return Ok(at + 4);
            }
            if self.unread.len() > HEAD_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.unread).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a frame. The mask is zero, which is as good as any other here.
    pub async fn send(&mut self, op: u8, payload: &[u8]) -> io::Result<()> {
        self.write(&frame(op, payload)).await
    }

    /// Sends bytes, whatever they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Sends a message in the JSON subprotocol.
    pub async fn say(&mut self, message: &Value) -> io::Result<()> {
        self.send(op::TEXT, message.to_string().as_bytes()).await
    }

    /// What comes next. Nothing is lost if this is dropped before it is done, except the answer to a ping.
    pub async fn hear(&mut self) -> io::Result<Heard> {
        loop {
            if let Some((op, payload)) = self.take()? {
                return self.understand(op, payload).await;
            }
            match self.more().await {
                Ok(()) => {}
                // A reset is as good an end as any.
                Err(error)
                    if error.kind() == ErrorKind::UnexpectedEof || error.kind() == ErrorKind::ConnectionReset =>
                {
                    return Ok(Heard::Gone);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn understand(&mut self, op: u8, payload: Vec<u8>) -> io::Result<Heard> {
        Ok(match op {
            op::TEXT => Heard::Said(serde_json::from_slice(&payload)?),
            op::BINARY if payload.first().is_some_and(|first| matches!(first, 0x90..=0x9f | 0xdc | 0xdd)) => {
                Heard::Move(payload)
            }
            op::BINARY => {
                let message = ServerMessage::decode(self.encoding, &payload);
                let message = message.map_err(|refused| io::Error::other(format!("unreadable: {refused:?}")))?;
                Heard::Said(serde_json::from_slice(&message.encode(Encoding::Json))?)
            }
            op::PING => {
                if self.answers {
                    // Whoever closed meanwhile wants no answer.
                    _ = self.send(op::PONG, &payload).await;
                }
                Heard::Ping
            }
            op::PONG => Heard::Pong(payload),
            op::CLOSE => Heard::Closed(payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))),
            other => return Err(io::Error::other(format!("a frame of kind {other} stands in the stream"))),
        })
    }

    /// A whole frame, if one is there. A server's frames are neither masked nor in pieces.
    fn take(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let Some(frame) = ws::read(&self.unread) else {
            let is_too_long = self.unread.len() > FRAME_MAX;
            return if is_too_long { Err(io::Error::other("a frame without an end")) } else { Ok(None) };
        };
        if !frame.is_plain || frame.mask.is_some() {
            return Err(io::Error::other(format!("no frame of a server: {frame:?}")));
        }
        let payload = self.unread[frame.payload.clone()].to_vec();
        self.unread.drain(..frame.payload.end);
        Ok(Some((frame.op, payload)))
    }

    /// Reads until a message of this type comes.
    pub async fn said(&mut self, kind: &str) -> io::Result<Value> {
        let wait = async {
            loop {
                match self.hear().await? {
                    Heard::Said(message) if message["type"] == kind => return Ok(message),
                    Heard::Closed(code) => return Err(io::Error::other(format!("closed {code} before {kind}"))),
                    Heard::Gone => return Err(ErrorKind::UnexpectedEof.into()),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, wait).await.map_err(|_| io::Error::other(format!("no {kind} came")))?
    }

    /// Joins a room and returns the answer.
    pub async fn join(&mut self, id: u64, room: &str) -> io::Result<Value> {
        self.say(&serde_json::json!({ "type": "join", "id": id, "room": room })).await?;
        self.said("joined").await
    }
}

impl Wire {
    /// The socket, for an end that is no goodbye.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }
}

/// The bytes of a client's frame.
pub fn frame(op: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    ws::client_frame(op, payload, &mut bytes);
    bytes
}
