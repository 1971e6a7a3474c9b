//! A feed as long poll: one answer as soon as there is anything, or an empty one after a while.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use rallypoint_protocol::{ErrorCode, event::Millis};
use tokio::time::Sleep;

use super::{Open, poll_alarm};
use crate::{
    hub::feeds::{Feed, Item},
    metrics::Transport,
};

/// Waits up to `wait` for something to answer, and answers in JSON. Without a cursor the answer comes at once, so that
/// the client has one. `until` is when the token no longer carries the request. `sleep` is any timer: a connection that
/// polls again and again has one for all of them.
pub async fn answer(
    mut feed: Feed,
    has_cursor: bool,
    wait: Duration,
    until: Millis,
    mut sleep: Pin<&mut Sleep>,
) -> Result<Vec<u8>, ErrorCode> {
    let _open = Open::new(feed.hub().metrics().open(Transport::Poll));
    let clock = feed.hub().clock();
    let mut now = tokio::time::Instant::now();
    let end = now + wait;
    let expiry = clock.instant(until).into();
    loop {
        if let Some(code) = feed.wake().ended() {
            return Err(code);
        }
        let items = feed.read().await;
        if !items.is_empty() || !has_cursor || now >= end {
            return Ok(render(&items, &mut feed));
        }
        if now >= expiry {
            return Err(ErrorCode::TokenExpired);
        }
        let state = feed.state_due().map_or(end, |due| clock.instant(due).into());
        let due = end.min(state).min(expiry);
        poll_fn(|cx| match feed.wake().poll_woken(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => poll_alarm(sleep.as_mut(), due, cx),
        })
        .await;
        now = tokio::time::Instant::now();
    }
}

/// `{cursor, events, reset?, state?}`, put together from JSON that others share.
fn render(items: &[Item], feed: &mut Feed) -> Vec<u8> {
    items.iter().for_each(|item| feed.advance(item));
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(br#"{"cursor":""#);
    feed.cursor().write_to(&mut out);
    out.push(b'"');
    let of_kind = |of: fn(&Item) -> Option<&[u8]>| items.iter().filter_map(of);
    let event = of_kind(|item| match item {
        Item::Event(_, publication) => Some(publication.feed_object()),
        _ => None,
    });
    let reset = of_kind(|item| match item {
        Item::Reset { json, .. } => Some(json.as_bytes()),
        _ => None,
    });
    let state = of_kind(|item| match item {
        Item::State(json) => Some(json),
        _ => None,
    });
    list(&mut out, b"events", event, true);
    list(&mut out, b"reset", reset, false);
    list(&mut out, b"state", state, false);
    out.push(b'}');
    out
}

/// A member that is a list; one that may be left out is, when it is empty.
fn list<'a>(out: &mut Vec<u8>, name: &[u8], items: impl Iterator<Item = &'a [u8]>, always: bool) {
    let mut items = items.peekable();
    if !always && items.peek().is_none() {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":[");
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
}
