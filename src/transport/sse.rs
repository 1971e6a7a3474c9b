//! A feed as Server-Sent Events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! [`Events`] says what goes out and when. Over HTTP/1.1 a task of its own writes it to the socket;
//! otherwise a task hands it to hyper, one chunk at a time: hyper asks a body for more only while the
//! reader reads, so whoever stalls, expires or is sent away is noticed there.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::Stream;
use rallypoint_protocol::{ErrorCode, event::Millis};
use serde_json::json;
use tokio::{net::TcpStream, sync::mpsc, time::Sleep};
use uuid::Uuid;

use super::{Ear, Open, poll_alarm, send, socket::linger};
use crate::{
    ceilings::Place,
    hub::{
        Hub,
        clock::Clock,
        feeds::{BATCH_MAX, Feed, Item, Items},
        link::Carrier,
    },
    metrics::Transport,
};

/// How long a browser waits before it reconnects, milliseconds.
pub const RETRY_MS: u64 = 2000;

/// A feed as a stream of blocks.
pub struct Events {
    feed: Feed,
    /// When the token no longer carries it.
    until: Millis,
    heartbeat: Millis,
    _open: Open,
    /// Given back with the stream.
    _place: Option<Arc<Place>>,
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
    pub fn new(feed: Feed, until: Millis, place: Option<Arc<Place>>) -> Self {
        let hub = feed.hub();
        let open = Open::new(hub.metrics().open(Transport::Sse));
        let heartbeat = hub.now().after(hub.limits().sse_heartbeat_ms);
        Self { feed, until, heartbeat, _open: open, _place: place }
    }

    /// The first block.
    fn greeting(&self) -> Vec<u8> {
        let Self { feed, .. } = self;
        let hub = feed.hub();
        let mut greeting = format!("retry: {RETRY_MS}\n").into_bytes();
        let connected = json!({
            "user": feed.user(), "rooms": feed.found(), "time": hub.now(), "heartbeat": hub.limits().sse_heartbeat_ms,
        });
        block(&mut greeting, "connected", &connected.to_string());
        // The last line end of the block comes after the id.
        greeting.pop();
        id(&mut greeting, feed);
        greeting
    }

    /// Appends what was read, and what else is due.
    fn step(&mut self, items: &Items, now: Millis, out: &mut Vec<u8>) -> Next {
        let start = out.len();
        if let Some(code) = self.feed.wake().ended().or((self.until <= now).then_some(ErrorCode::TokenExpired)) {
            farewell(out, code, self.feed.hub());
            return Next::End;
        }
        for item in items {
            self.render(item, out);
        }
        if out.len() == start && self.heartbeat <= now {
            block(out, "heartbeat", &json!({ "time": now }).to_string());
        }
        if out.len() > start {
            self.heartbeat = now.after(self.feed.hub().limits().sse_heartbeat_ms);
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
        Duration::from_millis(self.feed.hub().limits().stalled_ms)
    }
}

/// The last block, which says why the stream ends.
pub(super) fn farewell(out: &mut Vec<u8>, code: ErrorCode, hub: &Hub) {
    if code == ErrorCode::ShuttingDown {
        // EventSource comes back after this time, each reader after one of its own.
        let after_ms = hub.come_back_ms(Uuid::new_v4());
        out.extend_from_slice(format!("retry: {after_ms}\n").as_bytes());
    }
    let error = json!({ "code": code, "name": code.name(), "message": code.name() });
    block(out, "error", &error.to_string());
}

/// The fields of one event; `data` is JSON on a single line.
pub(super) fn block(out: &mut Vec<u8>, event: &str, data: &str) {
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
/// The end of a body of chunks.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// What a thread keeps of the buffer in which its streams write their chunks.
const SCRATCH_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::default();
}

/// Runs the stream over a socket, as chunks (RFC 9112 section 7.1) after `head`, that of the answer.
///
/// When thousands of streams hear an event, none of their memory is in a cache, and fetching it is most of what an event
/// costs here. So the future is small, what is rare in it is on the heap, and timer and socket are left alone until there
/// may be something to hear from them.
pub fn serve(socket: TcpStream, mut head: Vec<u8>, mut events: Events) -> impl Future<Output = ()> + Send {
    let greeting = events.greeting();
    chunk(&mut head, |out| out.extend_from_slice(&greeting));
    // Not an `async fn`, which would hold each argument twice.
    async move {
        if !send(&socket, &head, events.stalled()).await {
            return;
        }
        drop(head);
        let mut rest =
            Rest { ear: Ear::default(), sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), quiet: Millis(0.0) };
        loop {
            let Told { next, now, unsent } = if events.feed.has_news() {
                Box::pin(tell_all(&mut events, &socket)).await
            } else {
                let items = events.feed.read_rooms();
                tell(&mut events, &items, &socket)
            };
            if !unsent.is_empty() && !send(&socket, &unsent, events.stalled()).await {
                break;
            }
            match next {
                Next::Step => {}
                Next::End => break Box::pin(linger(&socket)).await,
                Next::Wait(due) => {
                    let mut is_quiet = now < rest.quiet && rest.quiet <= due;
                    let gone = poll_fn(|cx| {
                        if events.feed.wake().poll_woken(cx).is_ready() {
                            return Poll::Ready(false);
                        }
                        // Should the end have come together with the bell, the next write tells, or the heartbeat.
                        if std::mem::take(&mut is_quiet) {
                            return Poll::Pending;
                        }
                        rest.poll(&socket, events.feed.hub().clock(), due, cx)
                    });
                    if gone.await {
                        break;
                    }
                }
            }
        }
    }
}

/// What a stream waits for beside its bell. Both stay where they are while the bell rings.
struct Rest {
    ear: Ear,
    sleep: Pin<Box<Sleep>>,
    /// The timer is set, and has nothing to tell before this moment.
    quiet: Millis,
}

impl Rest {
    /// Whether the other end has gone; ready as well when it is time.
    fn poll(&mut self, socket: &TcpStream, clock: Clock, due: Millis, cx: &mut Context<'_>) -> Poll<bool> {
        if self.ear.poll_gone(socket, cx).is_ready() {
            return Poll::Ready(true);
        }
        let time = poll_alarm(self.sleep.as_mut(), clock.instant(due).into(), cx);
        // A little earlier, so that no rounding makes it late.
        self.quiet = clock.moment(self.sleep.deadline().into()).before(1);
        time.map(|()| false)
    }
}

/// What came of a step.
struct Told {
    next: Next,
    now: Millis,
    /// What the socket did not take at once.
    unsent: Vec<u8>,
}

/// Tells what there is, notifications included.
async fn tell_all(events: &mut Events, socket: &TcpStream) -> Told {
    let items = events.feed.read().await;
    tell(events, &items, socket)
}

/// Tells what was read, and what else is due.
fn tell(events: &mut Events, items: &Items, socket: &TcpStream) -> Told {
    let now = events.feed.hub().now();
    SCRATCH.with_borrow_mut(|out| {
        let next = chunk(out, |out| events.step(items, now, out));
        if next == Next::End {
            out.extend_from_slice(LAST_CHUNK);
        }
        // Should the write fail, so will the one of what is left.
        let sent = if out.is_empty() { 0 } else { Carrier::try_write(socket, out).unwrap_or_default() };
        let unsent = out[sent..].to_vec();
        out.clear();
        out.shrink_to(SCRATCH_MAX);
        Told { next, now, unsent }
    })
}

/// Appends what is written as a chunk, or nothing.
pub(super) fn chunk<T>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let head = out.len();
    let start = head + CHUNK_HEAD;
    out.resize(start, b'0');
    let written = write(out);
    if out.len() == start {
        out.truncate(head);
        return written;
    }
    // A length may have zeros before it.
    let mut left = out.len() - start;
    for digit in out[head..start - 2].iter_mut().rev() {
        *digit = b"0123456789abcdef"[left % 16];
        left /= 16;
    }
    out[start - 2..start].copy_from_slice(b"\r\n");
    out.extend_from_slice(b"\r\n");
    written
}

/// Runs the stream as a body that hyper sends.
pub fn stream(
    mut events: Events,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + Sync + 'static {
    body(events.stalled(), |chunks| async move {
        let clock = events.feed.hub().clock();
        let mut out = events.greeting();
        loop {
            let items = events.feed.read().await;
            let next = events.step(&items, clock.now(), &mut out);
            drop(items);
            let out = std::mem::take(&mut out);
            if !out.is_empty() && !chunks.send(out.into()).await {
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
    })
}

/// A body that hyper sends, and a task that writes it.
pub(super) fn body<F: Future<Output = ()> + Send + 'static>(
    stalled: Duration,
    write: impl FnOnce(Chunks) -> F,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + Sync + 'static {
    let (chunks, mut ready) = mpsc::channel::<Bytes>(1);
    tokio::spawn(write(Chunks { chunks, stalled }));
    futures_util::stream::poll_fn(move |cx| ready.poll_recv(cx).map(|chunk| chunk.map(Ok)))
}

/// The way into such a body.
pub(super) struct Chunks {
    chunks: mpsc::Sender<Bytes>,
    stalled: Duration,
}

impl Chunks {
    /// Whether it was taken. A reader that takes nothing for so long is gone, or as good as gone.
    pub(super) async fn send(&self, chunk: Bytes) -> bool {
        matches!(tokio::time::timeout(self.stalled, self.chunks.send(chunk)).await, Ok(Ok(())))
    }

    /// Waits until nobody reads any more.
    pub(super) async fn closed(&self) {
        self.chunks.closed().await;
    }
}
