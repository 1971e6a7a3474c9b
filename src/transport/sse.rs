//! A feed as Server-Sent Events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! [`Events`] says what goes out and when. Over HTTP/1.1 a task of its own writes it to the socket;
//! otherwise a task hands it to hyper, one chunk at a time: hyper asks a body for more only while the
//! reader reads, so whoever stalls, expires or is sent away is noticed there.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use futures_util::stream::Stream;
use rallypoint_protocol::{ErrorCode, event::Millis};
use serde_json::json;
use tokio::{net::TcpStream, sync::mpsc};
use uuid::Uuid;

use super::{Ear, Open, poll_alarm, send, socket::linger};
use crate::{
    ceilings::Place,
    hub::{
        Hub,
        feeds::{BATCH_MAX, Feed, Item},
    },
    metrics::Transport,
};

/// How long a browser waits before it reconnects, milliseconds.
pub const RETRY_MS: u64 = 2000;

/// A feed as a stream of blocks.
pub struct Events {
    hub: Arc<Hub>,
    feed: Feed,
    /// When the token no longer carries it.
    until: Millis,
    heartbeat: Millis,
    /// The first block, until it is out.
    greeting: Vec<u8>,
    _open: Open,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    /// There may be more.
    Step,
    /// Nothing, before this time or the bell.
    Wait(Millis),
    /// Nothing at all: the stream ends.
    End,
}

impl Events {
    /// A stream that has not said anything. `until` is when the token no longer carries it.
    pub fn new(hub: Arc<Hub>, feed: Feed, user: &str, until: Millis) -> Self {
        let every = hub.limits().sse_heartbeat_ms;
        let heartbeat = hub.now().after(every);
        let mut greeting = format!("retry: {RETRY_MS}\n").into_bytes();
        let connected = json!({ "user": user, "rooms": feed.found(), "time": hub.now(), "heartbeat": every });
        block(&mut greeting, "connected", &connected.to_string());
        // The last line end of the block comes after the id.
        greeting.pop();
        id(&mut greeting, &feed);
        let open = Open::new(hub.metrics().open(Transport::Sse));
        Self { hub, feed, until, heartbeat, greeting, _open: open }
    }

    /// Appends what is due to `out`.
    async fn step(&mut self, out: &mut Vec<u8>) -> Next {
        let start = out.len();
        out.append(&mut std::mem::take(&mut self.greeting));
        let now = self.hub.now();
        if let Some(code) = self.feed.wake().ended().or((self.until <= now).then_some(ErrorCode::TokenExpired)) {
            if code == ErrorCode::ShuttingDown {
                // EventSource comes back after this time, each reader after one of its own.
                let after_ms = self.hub.come_back_ms(Uuid::new_v4());
                out.extend_from_slice(format!("retry: {after_ms}\n").as_bytes());
            }
            let error = json!({ "code": code, "name": code.name(), "message": code.name() });
            block(out, "error", &error.to_string());
            return Next::End;
        }
        let items = self.feed.read().await;
        for item in &items {
            self.render(item, out);
        }
        if out.len() == start && self.heartbeat <= now {
            block(out, "heartbeat", &json!({ "time": now }).to_string());
        }
        if out.len() > start {
            self.heartbeat = now.after(self.hub.limits().sse_heartbeat_ms);
        }
        if items.len() >= BATCH_MAX {
            return Next::Step;
        }
        let due = self.feed.state_due().into_iter().chain([self.until]);
        Next::Wait(due.fold(self.heartbeat, |a, b| if b < a { b } else { a }))
    }

    /// Appends an item. Every event has the cursor that stands right after it.
    fn render(&mut self, item: &Item, out: &mut Vec<u8>) {
        self.feed.advance(item);
        match item {
            Item::Event(_, publication) => {
                out.extend_from_slice(publication.block());
                out.push(b'\n');
                id(out, &self.feed);
            }
            Item::Reset { json, .. } => {
                block(out, "reset", json);
                out.pop();
                id(out, &self.feed);
            }
            Item::State(json) => {
                out.extend_from_slice(b"event: state\ndata: ");
                out.extend_from_slice(json);
                out.extend_from_slice(b"\n\n");
            }
        }
    }

    fn stalled(&self) -> Duration {
        Duration::from_millis(self.hub.limits().stalled_ms)
    }
}

/// The fields of one event; `data` is JSON on a single line.
fn block(out: &mut Vec<u8>, event: &str, data: &str) {
    for part in ["event: ", event, "\ndata: ", data, "\n\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The last line of a block, and its end.
fn id(out: &mut Vec<u8>, feed: &Feed) {
    out.extend_from_slice(b"id: ");
    feed.cursor().write_to(out);
    out.extend_from_slice(b"\n\n");
}

/// Room for the length of a chunk and its line end. No batch is longer than eight digits can tell.
const CHUNK_HEAD: usize = 8 + 2;

/// Runs the stream over a socket, as chunks (RFC 9112 section 7.1) after `out`, the head of the answer. `place` is given
/// back with the connection.
pub fn serve(
    socket: TcpStream,
    mut out: Vec<u8>,
    mut events: Events,
    place: Arc<Place>,
) -> impl Future<Output = ()> + Send {
    let (clock, stalled) = (events.hub.clock(), events.stalled());
    async move {
        let mut sleep = pin!(tokio::time::sleep_until(clock.instant(events.heartbeat).into()));
        let mut ear = Ear::default();
        let mut listens = false;
        loop {
            let next = chunk(&mut events, &mut out).await;
            if !out.is_empty() && !send(&socket, &out, stalled).await {
                break;
            }
            out.clear();
            match next {
                Next::Step => {}
                Next::End => break linger(&socket).await,
                Next::Wait(due) => {
                    // Whoever waits needs no buffer.
                    drop(std::mem::take(&mut out));
                    let due = clock.instant(due).into();
                    let mut first = true;
                    let gone = poll_fn(|cx| {
                        if events.feed.wake().poll_woken(cx).is_ready() {
                            return Poll::Ready(false);
                        }
                        // An ear that is at the socket stays there. Should the end have come together with the bell,
                        // the next write tells, or the heartbeat.
                        if !std::mem::take(&mut first) || !listens {
                            if ear.poll_gone(&socket, cx).is_ready() {
                                return Poll::Ready(true);
                            }
                            listens = true;
                        }
                        poll_alarm(sleep.as_mut(), due, cx).map(|()| false)
                    });
                    if gone.await {
                        break;
                    }
                }
            }
        }
        drop(place);
    }
}

/// Appends a step as a chunk, and the last chunk after the last step.
async fn chunk(events: &mut Events, out: &mut Vec<u8>) -> Next {
    out.reserve(512);
    let head = out.len();
    let start = head + CHUNK_HEAD;
    out.resize(start, b'0');
    let next = events.step(out).await;
    if out.len() == start {
        out.truncate(head);
    } else {
        // A length may have zeros before it.
        let mut left = out.len() - start;
        for digit in out[head..start - 2].iter_mut().rev() {
            *digit = b"0123456789abcdef"[left % 16];
            left /= 16;
        }
        out[start - 2..start].copy_from_slice(b"\r\n");
        out.extend_from_slice(b"\r\n");
    }
    if next == Next::End {
        out.extend_from_slice(b"0\r\n\r\n");
    }
    next
}

/// Runs the stream as a body that hyper sends.
pub fn stream(
    mut events: Events,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + Sync + 'static {
    let (chunks, mut ready) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let (clock, stalled) = (events.hub.clock(), events.stalled());
        loop {
            let mut out = Vec::new();
            let next = events.step(&mut out).await;
            // A reader that takes nothing for so long is gone, or as good as gone.
            if !out.is_empty() && !matches!(tokio::time::timeout(stalled, chunks.send(out.into())).await, Ok(Ok(()))) {
                break;
            }
            match next {
                Next::Step => {}
                Next::End => break,
                Next::Wait(due) => tokio::select! {
                    () = events.feed.wake().woken() => {}
                    () = tokio::time::sleep_until(clock.instant(due).into()) => {}
                    () = chunks.closed() => break,
                },
            }
        }
    });
    futures_util::stream::poll_fn(move |cx| ready.poll_recv(cx).map(|chunk| chunk.map(Ok)))
}
