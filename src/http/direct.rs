//! The doors of guests and spectators over plain HTTP/1.1, without hyper: one who waits costs a socket and a small
//! future, where hyper keeps two buffers of 8 KiB, and a poll or a handshake costs less than half.
//!
//! Only what is plain is answered here: a whole `GET` without a body that asks for nothing but an
//! answer. Anything else is hyper's, together with the connection and what was read of it.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as Waking, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::Instant,
};

use super::{
    Context, Page,
    ask::{Ask, Peer, Segment},
    feed, json_text,
    upgrade::{self, Handshake},
};
use crate::{
    session::Refusal,
    transport::{
        Ear,
        poll::LongPoll,
        poll_alarm, send,
        socket::{linger, read},
        sse::{self, Events},
        status, telling, trace,
    },
};

/// Longer heads, and more lines in one, are hyper's to judge.
const HEAD_MAX: usize = 8 * 1024;
const LINES_MAX: usize = 64;

/// Serves a connection for as long as it asks for feeds or a WebSocket and nothing else. What is left is for hyper.
pub(crate) fn serve<'a>(
    socket: TcpStream,
    context: &'a Arc<Context>,
    peer: &'a Arc<Peer>,
    mut leaving: watch::Receiver<()>,
) -> impl Future<Output = Option<Rewound>> + Send + 'a {
    let hub = &context.hub;
    let limits = hub.limits();
    let (quiet, stalled) = (Duration::from_millis(limits.header_deadline_ms), Duration::from_millis(limits.stalled_ms));
    // Not an `async fn`, which would hold each argument twice.
    async move {
        let mut left = pin!(leaving.changed());
        let mut due = Instant::now() + quiet;
        let mut sleep = pin!(tokio::time::sleep_until(due));
        let mut answered = false;
        loop {
            let request = tokio::select! {
                biased;
                heard = hear(&socket) => match heard.ok().filter(|early| !early.is_empty()).map(Request::read)? {
                    Ok(request) => request,
                    Err(early) => return Some(Rewound { early, socket }),
                },
                () = poll_fn(|cx| poll_alarm(sleep.as_mut(), due, cx)) => {
                    if !answered {
                        hub.metrics().limited("header_deadline_ms");
                    }
                    return None;
                }
                _ = left.as_mut() => return None,
            };
            let closes = request.closes;
            // What it takes to begin is large, and over at once, while many thousands of polls may wait.
            let response = match Box::pin(request.begin(context.clone(), peer.clone())).await {
                Begun::Answered(response) => *response,
                Begun::Waits(mut waiting) => {
                    let Waiting { page, poll } = &mut *waiting;
                    let mut answer = pin!(poll.answer(sleep.as_mut()));
                    let mut ear = Ear::default();
                    let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
                        Poll::Ready(answer) => Poll::Ready(Some(answer)),
                        Poll::Pending => ear.poll_gone(&socket, cx).map(|()| None),
                    });
                    page.response(context, answer.await?.map(json_text).map_err(Refusal::from))
                }
            };
            let closes = closes || hub.is_draining();
            let mut out = head(&response, closes);
            match response.into_body() {
                Body::Events(events) => {
                    // A task of its own is no larger than the stream needs.
                    tokio::spawn(sse::serve(socket, out, *events));
                    return None;
                }
                Body::Status(reader) => {
                    tokio::spawn(telling::serve(socket, out, *reader));
                    return None;
                }
                Body::Trace(reader) => {
                    tokio::spawn(telling::serve(socket, out, *reader));
                    return None;
                }
                Body::WebSocket(handshake) => {
                    handshake.go_on(socket.into(), out, Bytes::new());
                    return None;
                }
                Body::Whole(body) => out.extend_from_slice(&body),
            }
            if !send(&socket, &out, stalled).await {
                return None;
            }
            if closes {
                Box::pin(linger(&socket)).await;
                return None;
            }
            answered = true;
            due = Instant::now() + quiet;
        }
    }
}

/// Waits for bytes, and takes as many as one read gives; none at the end of the stream.
async fn hear(socket: &TcpStream) -> io::Result<Bytes> {
    loop {
        poll_fn(|cx| socket.poll_read_ready(cx)).await?;
        let mut heard = Bytes::new();
        match read(socket, |bytes| heard = Bytes::copy_from_slice(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(|()| heard),
        }
    }
}

/// The headers that say whether a request is plain, and those that these routes read: whatever else they are to read
/// has to be added. Browsers send many more.
const LOOKED_AT: [&str; 16] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "expect",
    "te",
    "upgrade",
    "authorization",
    "cookie",
    "origin",
    "sec-websocket-protocol",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-fetch-site",
    "last-event-id",
    "forwarded",
    "x-forwarded-for",
];

/// The routes.
#[derive(PartialEq)]
enum Door {
    WebSocket,
    Events,
    Poll,
    Status,
    /// Of this room, as it stands in the path.
    Trace(Bytes),
}

/// What stands around the room in the path of a trace.
const TRACE: [&str; 2] = ["/v1/rooms/", "/trace"];

/// The room of a trace, as its path names it.
fn traced(path: &str) -> Option<&str> {
    path.strip_prefix(TRACE[0])?.strip_suffix(TRACE[1]).filter(|room| !room.is_empty() && !room.contains('/'))
}

/// Whether a request may be one of these, at a glance.
fn may_be_ours(bytes: &[u8]) -> bool {
    let Some(target) = bytes.strip_prefix(b"GET ") else { return false };
    let doors: [&[u8]; 4] = [b"/v1/ws", b"/v1/events", b"/v1/poll", b"/v1/status"];
    let [before, after] = TRACE.map(str::as_bytes);
    doors.iter().any(|door| target.starts_with(door))
        || target.starts_with(before)
            && target.split(|byte| b" ?".contains(byte)).next().unwrap_or(target).ends_with(after)
}

impl Door {
    /// As the specification spells it.
    fn route(&self) -> &'static str {
        match self {
            Self::WebSocket => "/v1/ws",
            Self::Events => "/v1/events",
            Self::Poll => "/v1/poll",
            Self::Status => "/v1/status",
            Self::Trace(_) => "/v1/rooms/{room}/trace",
        }
    }
}

/// A request that is answered here.
struct Request {
    door: Door,
    /// Only what may stand there, so it is text.
    query: Bytes,
    headers: HeaderMap,
    /// The connection ends with the answer.
    closes: bool,
}

impl Request {
    /// Reads what has come, or gives it back.
    fn read(early: Bytes) -> Result<Self, Bytes> {
        Self::parse(&early).ok_or(early)
    }

    fn parse(bytes: &Bytes) -> Option<Self> {
        if !may_be_ours(bytes) || !bytes.ends_with(b"\r\n\r\n") || bytes.len() > HEAD_MAX {
            return None;
        }
        let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
        let mut parsed = httparse::Request::new(&mut lines);
        if parsed.parse(bytes).ok()? != httparse::Status::Complete(bytes.len()) || parsed.version != Some(1) {
            return None;
        }
        let (path, query) = parsed.path.map(|target| target.split_once('?').unwrap_or((target, "")))?;
        let known = [Door::WebSocket, Door::Events, Door::Poll, Door::Status];
        let door = match known.into_iter().find(|door| door.route() == path) {
            Some(door) => door,
            None => Door::Trace(bytes.slice_ref(traced(path)?.as_bytes())),
        };
        // What has no place in a query (RFC 3986 section 3.4) is for hyper to refuse. Without a way out of the loop many
        // bytes are looked at in one go.
        let fits = |byte: u8| {
            byte.is_ascii_alphanumeric() | matches!(byte, b'!' | b'$' | b'%'..=b';' | b'=' | b'?' | b'@' | b'_' | b'~')
        };
        let all_fit = |text: &[u8]| text.iter().fold(true, |all, &byte| all & fits(byte));
        let room = if let Door::Trace(room) = &door { &room[..] } else { &[] };
        if !all_fit(query.as_bytes()) || !all_fit(room) {
            return None;
        }
        let mut headers = HeaderMap::with_capacity(parsed.headers.len());
        let mut closes = false;
        for line in parsed.headers {
            if !LOOKED_AT.iter().any(|name| name.eq_ignore_ascii_case(line.name)) {
                continue;
            }
            let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
            match name {
                header::CONNECTION if line.value.eq_ignore_ascii_case(b"close") => closes = true,
                header::CONNECTION if line.value.eq_ignore_ascii_case(b"keep-alive") => {}
                // A body, another protocol, a dialogue: none of it is plain.
                header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::EXPECT | header::TE => return None,
                header::CONNECTION | header::UPGRADE if door != Door::WebSocket => return None,
                _ => {
                    let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).ok()?;
                    headers.append(name, value);
                }
            }
        }
        let query = bytes.slice_ref(query.as_bytes());
        Some(Self { door, query, headers, closes })
    }

    async fn begin(self, context: Arc<Context>, peer: Arc<Peer>) -> Begun {
        let body = futures_util::stream::empty::<Result<Bytes, warp::Error>>();
        let query = std::str::from_utf8(&self.query).unwrap_or_default();
        let mut ask = Ask::new(context.clone(), self.door.route(), Method::GET, self.headers, query, Some(peer), body);
        let response = match self.door {
            Door::WebSocket => upgrade::open(ask, true, |handshake| Body::WebSocket(Box::new(handshake))).await,
            Door::Events => feed::events(ask, |events| Body::Events(Box::new(events))).await,
            Door::Status => feed::status(ask, |reader| Body::Status(Box::new(reader))).await,
            Door::Trace(room) => {
                let room = std::str::from_utf8(&room).unwrap_or_default().parse::<Segment>();
                let Ok(room) = room;
                feed::trace(room, ask, |reader| Body::Trace(Box::new(reader))).await
            }
            Door::Poll => {
                let page = Page::of(&ask);
                let poll = match ask.check() {
                    Ok(()) => feed::begin_poll(&ask).await,
                    Err(refusal) => Err(refusal),
                };
                match poll {
                    Ok(poll) => return Begun::Waits(Box::new(Waiting { page, poll })),
                    Err(refusal) => page.response(&context, Err(refusal)),
                }
            }
        };
        Begun::Answered(Box::new(response))
    }
}

/// What came of a request.
enum Begun {
    Answered(Box<Response<Body>>),
    /// On the heap, where it is one piece.
    Waits(Box<Waiting>),
}

/// A poll, and the page that it is for.
struct Waiting {
    page: Page,
    poll: LongPoll,
}

/// What an answer brings.
enum Body {
    Whole(Vec<u8>),
    Events(Box<Events>),
    Status(Box<status::Reader>),
    Trace(Box<trace::Reader>),
    WebSocket(Box<Handshake>),
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Whole(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Whole(text.into())
    }
}

/// The head of an answer as it goes over the wire.
fn head(response: &Response<Body>, closes: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let status = response.status();
    let mut line = |parts: [&[u8]; 4]| parts.iter().for_each(|part| out.extend_from_slice(part));
    line([b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", status.canonical_reason().unwrap_or_default().as_bytes()]);
    for (name, value) in response.headers() {
        line([b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    match response.body() {
        Body::Whole(body) => line([b"\r\ncontent-length: ", body.len().to_string().as_bytes(), b"", b""]),
        Body::Events(_) | Body::Status(_) | Body::Trace(_) => line([b"\r\ntransfer-encoding: chunked", b"", b"", b""]),
        Body::WebSocket(_) => {}
    }
    if closes && !matches!(response.body(), Body::WebSocket(_)) {
        line([b"\r\nconnection: close", b"", b"", b""]);
    }
    DATE.with_borrow_mut(|date| line([b"\r\ndate: ", date.now().as_bytes(), b"\r\n\r\n", b""]));
    out
}

/// The time of an answer, written once a second.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

thread_local! {
    static DATE: RefCell<Date> = RefCell::default();
}

impl Date {
    fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second != second || self.text.is_empty() {
            *self = Self { second, text: httpdate::fmt_http_date(now) };
        }
        &self.text
    }
}

/// A socket of which something was read already.
pub(crate) struct Rewound {
    early: Bytes,
    socket: TcpStream,
}

impl Rewound {
    /// The socket, and what is left of what was read.
    pub(crate) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.socket, self.early)
    }
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Waking<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, into);
        }
        let len = self.early.len().min(into.remaining());
        into.put_slice(&self.early[..len]);
        self.early.advance(len);
        if self.early.is_empty() {
            // An empty slice would still hold on to the whole.
            self.early = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Waking<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Waking<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Waking<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Waking<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(target: &str) -> Option<Door> {
        Request::read(format!("GET {target} HTTP/1.1\r\nhost: here\r\n\r\n").into()).ok().map(|request| request.door)
    }

    #[test]
    fn a_trace_is_answered_here_and_other_questions_about_rooms_are_not() {
        let room = |name: &'static str| Some(Door::Trace(Bytes::from_static(name.as_bytes())));
        for (target, expected) in [
            ("/v1/rooms/match%2F7/trace", room("match%2F7")),
            ("/v1/rooms/trace/trace?peer=x/trace", room("trace")),
            ("/v1/status", Some(Door::Status)),
            ("/v1/rooms/trace", None),
            ("/v1/rooms//trace", None),
            ("/v1/rooms/match/7/trace", None),
            ("/v1/rooms/match%2F7", None),
            ("/v1/rooms/match%2F7?x=/trace", None),
            ("/v1/rooms/a{b}/trace", None),
        ] {
            assert!(door(target) == expected, "{target}");
        }
    }
}
