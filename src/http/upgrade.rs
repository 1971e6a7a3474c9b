//! `GET /v1/ws`: the handshake of RFC 6455 section 4.2. The token is checked before the 101: a bad one costs no task.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use rallypoint_protocol::{Encoding, ErrorCode, codec::Refused};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{ask::Ask, direct::Rewound, on};
use crate::{
    auth::{
        Grant,
        credentials::{Credential, Door},
    },
    ceilings::Place,
    transport::{
        socket::Socket,
        tls::Tls,
        ws::{self, Opening},
    },
};

/// A WebSocket that may be opened.
pub(super) struct Handshake {
    encoding: Encoding,
    opening: Opening,
    setting: Arc<ws::Setting>,
    place: Option<Arc<Place>>,
}

impl Handshake {
    /// Goes on as a task of its own. `head` is what of the answer is not out yet, `early` what was read behind the
    /// request.
    pub(super) fn go_on(self, socket: Socket, head: Vec<u8>, early: Bytes) {
        let Self { encoding, opening, setting, place } = self;
        tokio::spawn(ws::run(socket, head, early, encoding, opening, setting, place));
    }
}

/// `GET /v1/ws`; `carry` makes a body of what is opened, which goes on behind the head of the answer.
pub(super) async fn open<B: From<String>>(
    ask: Ask,
    can_upgrade: bool,
    carry: impl FnOnce(Handshake) -> B,
) -> Response<B> {
    on(ask, &[Method::GET], |ask| async move {
        let key = handshake_key(&ask)?;
        // Test suites for WebSockets offer no subprotocol, and an echo has no use for one.
        let echo = ask.context.sockets.echo;
        let encoding = if echo { Encoding::Json } else { offered(&ask)? };
        if !can_upgrade {
            return Err(malformed("this connection cannot be upgraded").into());
        }
        if ask.context.hub.is_draining() {
            return Err(ErrorCode::ShuttingDown.into());
        }
        let opening = match ask.credential(Door::WebSocket) {
            Ok(None) => Opening::Asked,
            Ok(Some(credential)) => match admit(&ask, credential).await {
                Ok(grant) => Opening::Granted(Box::new(grant)),
                Err(refused) => refuse(&ask, refused)?,
            },
            Err(code) => refuse(&ask, code.into())?,
        };
        let place = match (ask.place.clone(), ask.caller.clone()) {
            (Some(place), Some(caller)) => Some(place.of(caller)),
            (place, _) => place,
        };
        let handshake = Handshake { encoding, opening, setting: ask.context.sockets.clone(), place };
        Ok(switching(&key, (!echo).then_some(encoding), carry(handshake)))
    })
    .await
}

/// The same through hyper, from which the raw socket comes back.
pub(super) async fn open_through_hyper(ask: Ask, upgrade: Option<OnUpgrade>) -> warp::reply::Response {
    open(ask, upgrade.is_some(), |handshake| {
        tokio::spawn(async move {
            // A client that goes away during the handshake leaves nothing behind.
            if let Some(upgrade) = upgrade
                && let Ok(upgraded) = upgrade.await
            {
                take_over(upgraded, handshake);
            }
        });
        String::new().into()
    })
    .await
}

/// What the credential allows now.
async fn admit(ask: &Ask, credential: Credential<'_>) -> Result<Grant, Refused> {
    match credential {
        Credential::Token(token) => ask.context.sockets.admit(token).await,
        Credential::Ticket(ticket) => {
            let hub = &ask.context.hub;
            hub.admit(hub.tickets().spend(ticket, &ask.home(), ask.now)?)
        }
    }
}

/// A browser cannot read the status of a failed upgrade: with an `Origin` it gets the upgrade and
/// at once the numbered close, others get the status.
fn refuse(ask: &Ask, refused: Refused) -> Result<Opening, Refused> {
    if ask.origin().is_some() { Ok(Opening::Refused(refused)) } else { Err(refused) }
}

/// A task of its own lets hyper's buffers go.
fn take_over(upgraded: Upgraded, handshake: Handshake) {
    let upgraded = match downcast::<TokioIo<Rewound>>(upgraded) {
        Ok(parts) => {
            let (socket, unread) = parts.io.into_inner().into_parts();
            // One read may have brought more than hyper's buffer holds.
            let early = if unread.is_empty() { parts.read_buf } else { [parts.read_buf, unread].concat().into() };
            return handshake.go_on(socket.into(), Vec::new(), early);
        }
        Err(upgraded) => upgraded,
    };
    match downcast::<TokioIo<TlsStream<TcpStream>>>(upgraded) {
        Ok(parts) => {
            let socket = Socket::Tls(Box::new(Tls::new(parts.io.into_inner())));
            handshake.go_on(socket, Vec::new(), parts.read_buf);
        }
        Err(_) => tracing::error!("an upgraded connection is none of ours"),
    }
}

fn malformed(message: &'static str) -> Refused {
    Refused::new(ErrorCode::Malformed, message)
}

fn handshake_key(ask: &Ask) -> Result<String, Refused> {
    let has = |name, word: &str| {
        ask.header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err(malformed("this is the WebSocket door; send an upgrade"));
    }
    if ask.header(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(malformed("Sec-WebSocket-Version is 13"));
    }
    let key = ask.header(header::SEC_WEBSOCKET_KEY).unwrap_or_default();
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key);
    if key.len() != 24 || decoded.map_or(0, |bytes| bytes.len()) != 16 {
        return Err(malformed("Sec-WebSocket-Key is 16 bytes in base64"));
    }
    Ok(key.to_owned())
}

fn offered(ask: &Ask) -> Result<Encoding, Refused> {
    let offered = ask.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut names = offered.flat_map(|list| list.split(','));
    let known = names.find_map(|name| Encoding::of_subprotocol(name.trim()));
    known.ok_or_else(|| malformed("offer the subprotocol rallypoint.v1.json or rallypoint.v1.msgpack"))
}

fn switching<B>(key: &str, encoding: Option<Encoding>, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(encoding) = encoding {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(encoding.subprotocol()));
    }
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
