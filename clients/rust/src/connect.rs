//! From an URL to a session: TCP, the WebSocket handshake, and the first messages.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rallypoint_protocol::{
    Encoding, Position, Request, SERVER_FRAME_MAX, ServerMessage, request::Resume, server::Connected,
};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        error::ProtocolError,
        handshake::client::Request as Upgrade,
        http::{HeaderName, HeaderValue, header},
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use crate::{
    error::{Ended, Error},
    options::{Credential, Options, Target},
};

/// The socket under a [`Client`](crate::Client).
pub type Socket = WebSocketStream<TcpStream>;

/// Largest frame this end sends. Servers allow far less; the bound keeps the write buffer finite.
pub(crate) const CLIENT_FRAME_MAX: usize = 1 << 20;

/// How a socket gets its session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Way {
    /// A new one, with the access token.
    Anew { token: String, notifications_since: Option<Position> },
    /// The lost one. The handshake then holds no credential at all (`protocol/README.md`, section 2).
    Resume(Box<Resume>),
}

/// Opens a socket and does the WebSocket handshake, nothing more: no message is sent or read.
///
/// For programs that must send a first message of their own, such as tests of a server.
/// [`Client::connect`](crate::Client::connect) begins with the same.
pub async fn handshake(options: &Options) -> Result<Socket, Error> {
    let opening = async {
        let token = if options.credential.is_in_handshake() { options.token.get().await? } else { String::new() };
        open(options, Some(&token)).await
    };
    tokio::time::timeout(options.timeout, opening).await.map_err(|_| Error::Timeout)?
}

/// Opens a socket, says the first message, and waits for `connected`.
pub(crate) async fn dial(options: &Options, way: Way, patience: Duration) -> Result<(Socket, Connected), Error> {
    let opening = async {
        let token = if let Way::Anew { token, .. } = &way { Some(token.as_str()) } else { None };
        let mut socket = open(options, token).await?;
        let first = match way {
            Way::Resume(resume) => Some(Request::Resume(resume)),
            Way::Anew { token, notifications_since } if options.credential == Credential::FirstMessage => {
                Some(Request::Auth { token, notifications_since })
            }
            Way::Anew { .. } => None,
        };
        let connected = greet(&mut socket, options.encoding, first).await?;
        Ok((socket, connected))
    };
    tokio::time::timeout(patience, opening).await.map_err(|_| Error::Timeout)?
}

/// The handshake; without a token it shows nothing that could stand for one.
async fn open(options: &Options, token: Option<&str>) -> Result<Socket, Error> {
    let target = options.target(token)?;
    let upgrade = upgrade(options, &target, token)?;
    let stream = reach(&target, options.receive_buffer).await?;
    let (socket, response) =
        client_async_with_config(upgrade, stream, Some(config())).await.map_err(Error::of_handshake)?;
    let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    if chosen.map(HeaderValue::as_bytes) != Some(options.encoding.subprotocol().as_bytes()) {
        return Err(Error::Protocol("the server chose another subprotocol".to_owned()));
    }
    Ok(socket)
}

/// tungstenite reads into a zeroed buffer of this size each time and by default allows 64 MiB
/// messages, so all of it is set.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(4 * 1024)
        .max_write_buffer_size(2 * CLIENT_FRAME_MAX)
        .max_message_size(Some(SERVER_FRAME_MAX))
        .max_frame_size(Some(SERVER_FRAME_MAX))
}

async fn reach(target: &Target, receive_buffer: Option<u32>) -> Result<TcpStream, Error> {
    let mut failed = None;
    for address in lookup_host((target.host.as_str(), target.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(size) = receive_buffer {
            // Before connecting: the window that TCP offers is settled in its handshake.
            socket.set_recv_buffer_size(size)?;
        }
        socket.set_nodelay(true)?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or_else(|| Error::Options("the host has no address".to_owned()), Error::Io))
}

fn upgrade(options: &Options, target: &Target, token: Option<&str>) -> Result<Upgrade, Error> {
    let mut upgrade = target.uri.clone().into_client_request().map_err(Error::of_handshake)?;
    let headers = upgrade.headers_mut();
    let value = |text: &str| {
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| Error::Options("the token or a header holds characters that no header can".to_owned()))?;
        value.set_sensitive(true);
        Ok::<_, Error>(value)
    };
    let mut offered = options.encoding.subprotocol().to_owned();
    match (options.credential, token) {
        (Credential::Subprotocol, Some(token)) => offered = format!("{offered}, bearer.{token}"),
        (Credential::Header, Some(token)) => {
            headers.insert(header::AUTHORIZATION, value(&format!("Bearer {token}"))?);
        }
        _ => {}
    }
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value(&offered)?);
    if let Some(origin) = &options.origin {
        headers.insert(header::ORIGIN, value(origin)?);
    }
    for (name, text) in &options.headers {
        let name = HeaderName::try_from(name).map_err(|_| Error::Options(format!("no header is called {name:?}")))?;
        if token.is_some() || ![header::COOKIE, header::AUTHORIZATION].contains(&name) {
            headers.append(name, value(text)?);
        }
    }
    Ok(upgrade)
}

/// Says the first message, if there is one, and then nothing until `connected` has come: a resume token is
/// valid until the client was heard on the socket that brought the next one.
async fn greet(socket: &mut Socket, encoding: Encoding, first: Option<Request>) -> Result<Connected, Error> {
    if let Some(first) = first {
        // A server that refuses early may have closed already; what it said is read below.
        _ = socket.send(message(encoding, first.encode(encoding))).await;
    }
    let mut cause = None;
    while let Some(frame) = socket.next().await {
        let frame = match frame {
            Ok(Message::Close(frame)) => {
                let Ended { code, reason, .. } = closed(frame);
                _ = socket.flush().await;
                return Err(Error::Closed { code, reason, cause });
            }
            Ok(frame) => frame,
            Err(error) if is_loss(&error) => break,
            Err(error) => return Err(Error::Protocol(error.to_string())),
        };
        let Some(bytes) = content(encoding, &frame)? else { continue };
        match ServerMessage::decode(encoding, bytes) {
            Ok(ServerMessage::Connected(connected)) => return Ok(connected),
            Ok(ServerMessage::Error(failed)) => cause = Some(Box::new(failed)),
            Ok(other) => return Err(Error::Protocol(format!("{} came before connected", other.name()))),
            Err(refused) => return Err(Error::undecodable(&refused)),
        }
    }
    Err(Ended { cause, ..Ended::broken("the connection broke off") }.into())
}

/// Wraps bytes the way the encoding wants them.
pub(crate) fn message(encoding: Encoding, bytes: Vec<u8>) -> Message {
    match encoding {
        // Only a caller's own bytes can be something else than UTF-8, and the server refuses those.
        Encoding::Json => Message::text(
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        ),
        Encoding::MsgPack => Message::Binary(bytes.into()),
    }
}

/// The bytes of a data frame; `None` for a control frame.
pub(crate) fn content(encoding: Encoding, message: &Message) -> Result<Option<&[u8]>, Error> {
    match (encoding, message) {
        (Encoding::Json, Message::Text(text)) => Ok(Some(text.as_bytes())),
        (Encoding::MsgPack, Message::Binary(bytes)) => Ok(Some(bytes)),
        (_, Message::Text(_) | Message::Binary(_)) => {
            Err(Error::Protocol("text and binary frames are mixed up".to_owned()))
        }
        _ => Ok(None),
    }
}

/// Whether the connection broke off; everything else is a fault of whoever is at the other end.
pub(crate) fn is_loss(error: &tungstenite::Error) -> bool {
    matches!(
        error,
        tungstenite::Error::Io(_)
            | tungstenite::Error::ConnectionClosed
            | tungstenite::Error::AlreadyClosed
            | tungstenite::Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete
            )
    )
}

/// Stands for a close frame that holds no code (RFC 6455 section 7.4.1).
const NO_CODE: u16 = 1005;

/// What a close frame says.
pub(crate) fn closed(frame: Option<CloseFrame>) -> Ended {
    match frame {
        Some(frame) => Ended { code: Some(frame.code.into()), reason: frame.reason.as_str().to_owned(), cause: None },
        None => Ended { code: Some(NO_CODE), ..Ended::broken("a close without a code") },
    }
}
