//! A feed as long poll: one answer as soon as there is anything, or an empty one after a while.

use std::{sync::Arc, time::Duration};

use rallypoint_protocol::{ErrorCode, event::Millis};
use serde_json::value::RawValue;

use super::Open;
use crate::hub::{
    Hub,
    feeds::{Feed, Item},
};

/// What a poll answers.
#[derive(Debug, Default, serde::Serialize)]
pub struct Answer {
    /// Where the subscription stands now.
    pub cursor: String,
    /// New events, oldest first.
    pub events: Vec<Box<RawValue>>,
    /// Logs that could not be continued.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reset: Vec<serde_json::Value>,
    /// The latest moves, if they were asked for and changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<Box<RawValue>>,
}

/// Waits up to `wait` for something to answer. Without a cursor the answer comes at once, so that
/// the client has one. `until` is when the token no longer carries the request.
pub async fn answer(
    hub: Arc<Hub>,
    mut feed: Feed,
    has_cursor: bool,
    wait: Duration,
    until: Millis,
) -> Result<Answer, ErrorCode> {
    let _open = Open::new(hub.metrics().open("poll"));
    let end = tokio::time::Instant::now() + wait;
    loop {
        if let Some(code) = feed.wake().ended() {
            return Err(code);
        }
        let items = feed.read().await;
        if !items.is_empty() || !has_cursor || tokio::time::Instant::now() >= end {
            return Ok(render(&items, &feed));
        }
        let expiry = hub.clock().instant(until).into();
        let state = feed.state_due().map_or(end, |due| hub.clock().instant(due).into());
        tokio::select! {
            () = feed.wake().woken() => {}
            () = tokio::time::sleep_until(end.min(state)) => {}
            () = tokio::time::sleep_until(expiry) => return Err(ErrorCode::TokenExpired),
        }
    }
}

fn render(items: &[Item], feed: &Feed) -> Answer {
    let mut answer = Answer { cursor: feed.cursor().to_string(), ..Answer::default() };
    for item in items {
        match item {
            Item::Event(publication) => answer.events.push(raw(publication.feed_object())),
            Item::Reset { .. } => answer.reset.push(item.reset_json()),
            Item::State(json) => answer.state.push(raw(json)),
        }
    }
    answer
}

fn raw(json: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8(json.to_vec()).expect("JSON text is UTF-8");
    RawValue::from_string(text).expect("our own JSON is JSON")
}
