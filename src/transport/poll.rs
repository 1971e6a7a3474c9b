//! A feed as long poll: one answer as soon as there is anything, or an empty one after a while.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use rallypoint_protocol::{ErrorCode, event::Millis};
use tokio::time::{Instant, Sleep};

use super::{Open, poll_alarm};
use crate::{
    ceilings::Place,
    hub::feeds::{Feed, Item},
    metrics::Transport,
};

/// A poll that waits.
pub struct LongPoll {
    feed: Feed,
    /// When it is answered at the latest.
    end: Instant,
    /// When the token no longer carries it.
    until: Millis,
    /// It does not wait: nobody asked it to, or the client is to have a cursor first.
    at_once: bool,
    _open: Open,
    /// Given back with the answer.
    _place: Option<Arc<Place>>,
}

impl LongPoll {
    /// A poll that waits up to `wait`. `until` is when the token no longer carries it.
    pub fn new(feed: Feed, has_cursor: bool, wait: Duration, until: Millis, place: Option<Arc<Place>>) -> Self {
        let open = Open::new(feed.hub().metrics().open(Transport::Poll));
        let (end, at_once) = (Instant::now() + wait, !has_cursor || wait.is_zero());
        Self { feed, end, until, at_once, _open: open, _place: place }
    }

    /// Waits for something to answer, and answers in JSON. `sleep` is any timer: a connection that polls again and again
    /// has one for all of them.
    pub async fn answer(&mut self, mut sleep: Pin<&mut Sleep>) -> Result<Vec<u8>, ErrorCode> {
        let mut is_time = false;
        loop {
            if let Some(code) = self.feed.wake().ended() {
                return Err(code);
            }
            let look = if self.feed.has_news() {
                Box::pin(self.look_at_all(is_time)).await
            } else {
                let items = self.feed.read_rooms();
                self.look(&items, is_time)
            };
            let due = match look {
                Look::Answer(answer) => return answer,
                Look::Wait(due) => due,
            };
            let woken = poll_fn(|cx| match self.feed.wake().poll_woken(cx) {
                Poll::Ready(()) => Poll::Ready(false),
                Poll::Pending => poll_alarm(sleep.as_mut(), due, cx).map(|()| true),
            });
            is_time = woken.await;
        }
    }

    async fn look_at_all(&mut self, is_time: bool) -> Look {
        let items = self.feed.read().await;
        self.look(&items, is_time)
    }

    /// The clock is asked only when it has called.
    fn look(&mut self, items: &[Item], is_time: bool) -> Look {
        let now = is_time.then(Instant::now);
        if !items.is_empty() || self.at_once || now.is_some_and(|now| now >= self.end) {
            return Look::Answer(Ok(render(items, &mut self.feed)));
        }
        let clock = self.feed.hub().clock();
        let expiry = clock.instant(self.until).into();
        if now.is_some_and(|now| now >= expiry) {
            return Look::Answer(Err(ErrorCode::TokenExpired));
        }
        let state = self.feed.state_due().map_or(self.end, |due| clock.instant(due).into());
        Look::Wait(state.min(self.end).min(expiry))
    }
}

/// What there is to answer, or when to look again at the latest.
enum Look {
    Answer(Result<Vec<u8>, ErrorCode>),
    Wait(Instant),
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
    let before = out.len();
    for part in [b",\"", name, b"\":["] {
        out.extend_from_slice(part);
    }
    let begin = out.len();
    for item in items {
        out.extend_from_slice(item);
        out.push(b',');
    }
    if out.len() > begin {
        // In place of the last comma.
        out.pop();
    } else if !always {
        return out.truncate(before);
    }
    out.push(b']');
}
