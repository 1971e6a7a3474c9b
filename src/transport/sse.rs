//! A feed as Server-Sent Events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! A task of its own reads the feed and hands chunks over one at a time: hyper asks a body for more
//! only while the reader reads, so whoever stalls, expires or is sent away is noticed here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::Stream;
use rallypoint_protocol::{Cursor, ErrorCode, event::Millis};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Open;
use crate::hub::{
    Hub,
    feeds::{Feed, Item},
};

/// How long a browser waits before it reconnects, milliseconds.
pub const RETRY_MS: u64 = 2000;

/// Starts a stream. `until` is when the token no longer carries it.
pub fn stream(
    hub: Arc<Hub>,
    feed: Feed,
    user: &str,
    until: Millis,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + Sync + 'static {
    let (chunks, mut ready) = mpsc::channel(1);
    let first = first_chunk(&hub, &feed, user);
    tokio::spawn(run(hub, feed, until, first, chunks));
    futures_util::stream::poll_fn(move |cx| ready.poll_recv(cx).map(|chunk| chunk.map(Ok)))
}

/// The fields of one event; `data` is JSON on a single line.
fn block(out: &mut Vec<u8>, event: &str, data: &[u8], cursor: Option<&Cursor>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data);
    if let Some(cursor) = cursor {
        out.extend_from_slice(b"\nid: ");
        out.extend_from_slice(cursor.to_string().as_bytes());
    }
    out.extend_from_slice(b"\n\n");
}

fn first_chunk(hub: &Hub, feed: &Feed, user: &str) -> Vec<u8> {
    let mut out = format!("retry: {RETRY_MS}\n").into_bytes();
    let heartbeat = hub.limits().sse_heartbeat_ms;
    let connected = json!({ "user": user, "rooms": feed.found(), "time": hub.now(), "heartbeat": heartbeat });
    block(&mut out, "connected", connected.to_string().as_bytes(), Some(feed.cursor()));
    out
}

/// Renders a batch. Every event has the cursor that stands right after it.
fn render(items: &[Item], cursor: &mut Cursor) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        Feed::advance_cursor(cursor, item);
        match item {
            Item::Event(publication) => {
                block(&mut out, publication.kind(), publication.feed_object(), Some(cursor));
            }
            Item::Reset { .. } => {
                block(&mut out, "reset", item.reset_json().to_string().as_bytes(), Some(cursor));
            }
            Item::State(json) => block(&mut out, "state", json, None),
        }
    }
    out
}

async fn run(hub: Arc<Hub>, mut feed: Feed, until: Millis, first: Vec<u8>, chunks: mpsc::Sender<Bytes>) {
    let _open = Open::new(hub.metrics().open("sse"));
    let limits = hub.limits();
    let stalled = Duration::from_millis(limits.stalled_ms);
    let mut cursor = feed.cursor().clone();
    let mut heartbeat = hub.now().after(limits.sse_heartbeat_ms);
    let mut chunk = first;
    loop {
        if !chunk.is_empty() {
            heartbeat = hub.now().after(limits.sse_heartbeat_ms);
            // A reader that takes nothing for so long is gone, or as good as gone.
            match tokio::time::timeout(stalled, chunks.send(std::mem::take(&mut chunk).into())).await {
                Ok(Ok(())) => {}
                _ => break,
            }
        }
        let now = hub.now();
        if let Some(code) = feed.wake().ended().or((until <= now).then_some(ErrorCode::TokenExpired)) {
            if code == ErrorCode::ShuttingDown {
                // EventSource comes back after this time, each reader after one of its own.
                let after_ms = hub.come_back_ms(Uuid::new_v4());
                chunk.extend_from_slice(format!("retry: {after_ms}\n").as_bytes());
            }
            block(&mut chunk, "error", problem(code).as_bytes(), None);
            _ = tokio::time::timeout(stalled, chunks.send(chunk.into())).await;
            break;
        }
        let items = feed.read().await;
        if !items.is_empty() {
            chunk = render(&items, &mut cursor);
            continue;
        }
        if heartbeat <= now {
            block(&mut chunk, "heartbeat", json!({ "time": now }).to_string().as_bytes(), None);
            continue;
        }
        let next =
            feed.state_due().into_iter().chain([heartbeat, until]).fold(heartbeat, |a, b| if b < a { b } else { a });
        tokio::select! {
            () = feed.wake().woken() => {}
            () = tokio::time::sleep_until(hub.clock().instant(next).into()) => {}
            () = chunks.closed() => break,
        }
    }
}

fn problem(code: ErrorCode) -> String {
    json!({ "code": code, "name": code.name(), "message": code.name() }).to_string()
}
