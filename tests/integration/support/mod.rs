//! What the tests share: a server of their own, tokens, and a client for every door.
//!
//! Nothing here sleeps for a fixed time and hopes: [`within`] waits for something that must happen, [`until`] for a
//! condition. Both give up loudly after [`PATIENCE`], which is long because test machines are busy.

mod contract;
mod feeds;
mod http;
mod knock;
mod node;
mod pass;
mod wire;

use std::time::Duration;

pub(crate) use self::{
    contract::judge_webhook,
    feeds::{Poller, Stream, as_feed_object},
    http::{Answer, Ask, encoded},
    knock::Knock,
    node::{Node, ORIGIN},
    pass::{ADMIN_AUDIENCE, AUDIENCE, FOREIGN_SECRET, ISSUER, Pass, SECRET, forged, pass},
    wire::{Seen, Wire},
};
use rallypoint_client::{Events, Incoming};
use rallypoint_protocol::{Position, RoomName, ServerMessage};
use serde_json::Value;

/// How long anything may take before the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition that announces itself to nobody.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for what must happen; `what` is told if it does not.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Looks again and again until `look` returns something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}

/// A room's name.
pub(crate) fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("a good room name")
}

/// The position in a JSON value.
pub(crate) fn position(value: &Value) -> Position {
    let text = value.as_str().unwrap_or_else(|| panic!("no position: {value}"));
    Position::parse(text).unwrap_or_else(|_| panic!("not a position: {text}"))
}

/// The next thing that arrives at a client for which `pick` returns something; the rest is passed over.
pub(crate) async fn pick<T>(what: &str, events: &mut Events, mut pick: impl FnMut(Incoming) -> Option<T>) -> T {
    within(what, async {
        loop {
            match events.recv().await {
                Some(Incoming::Closed { code, reason }) => panic!("closed before {what}: {code:?} {reason}"),
                Some(incoming) => {
                    if let Some(found) = pick(incoming) {
                        return found;
                    }
                }
                None => panic!("the connection ended before {what}"),
            }
        }
    })
    .await
}

/// Everything a client receives up to and with the first message that `last` recognises.
pub(crate) async fn messages_until(
    what: &str,
    events: &mut Events,
    mut last: impl FnMut(&ServerMessage) -> bool,
) -> Vec<ServerMessage> {
    let mut seen = Vec::new();
    pick(what, events, |incoming| {
        let Incoming::Message(message) = incoming else { return None };
        let done = last(&message);
        seen.push(message);
        done.then_some(())
    })
    .await;
    seen
}
