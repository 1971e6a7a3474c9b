//! Webhooks: back ends are told who comes into rooms and who goes, each event at least once, those of a room in order.
//!
//! The hub's [`Witness`](crate::hub::witness::Witness) says what happened. For each receiver there is a queue, a pure value
//! that decides what is sent when, and a task that sends. What the receiver gets is specified in `protocol/README.md`.

mod config;
mod queue;
mod send;
mod sign;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use rallypoint_protocol::{
    RoomName,
    event::{Entry, Gone, LeaveReason, Millis},
};
use serde::Serialize;
use tokio::{sync::Notify, task::JoinHandle};
use uuid::Uuid;

pub use self::config::{EVENTS, WebhookConfig, WebhookError};
use self::{
    config::Target,
    queue::{Queue, Terms},
};
use crate::{hub::clock::Clock, metrics::Metrics, outbound::Outbound};

/// One receiver and what waits for it.
struct Hook {
    target: Target,
    /// This process, so that a receiver sees when another one has taken its place.
    node: Uuid,
    queue: Mutex<Queue>,
    /// There is something new to send.
    news: Notify,
    emptied: Notify,
    client: Outbound,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// All receivers.
pub struct Webhooks(Vec<Arc<Hook>>);

/// What a receiver is told.
#[derive(Serialize)]
struct Body<'a, P> {
    id: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a RoomName>,
    time: Millis,
    node: Uuid,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<LeaveReason>,
}

fn written<P: Serialize>(body: &Body<'_, P>) -> Bytes {
    serde_json::to_vec(body).expect("our own values always have a JSON form").into()
}

/// At the end, what is left has this long to go out, or the drain time if that is shorter.
const LAST_CHANCE: Duration = Duration::from_secs(5);

impl Webhooks {
    /// From the configuration; nothing where there are none.
    pub(crate) fn new(
        list: &[WebhookConfig],
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, WebhookError> {
        if list.is_empty() {
            return Ok(None);
        }
        let (client, node) = (Outbound::new()?, Uuid::new_v4());
        let hook = |config: &WebhookConfig| {
            let terms = Terms {
                events: config.queue_events,
                bytes: config.queue_bytes,
                concurrency: config.concurrency,
                first_ms: config.retry_ms,
                most_ms: config.retry_max_ms,
                give_up_ms: config.give_up_ms,
            };
            Ok(Arc::new(Hook {
                target: Target::new(config)?,
                node,
                queue: Mutex::new(Queue::new(terms)),
                news: Notify::new(),
                emptied: Notify::new(),
                client: client.clone(),
                clock,
                metrics: metrics.clone(),
            }))
        };
        Ok(Some(Arc::new(Self(list.iter().map(hook).collect::<Result<_, WebhookError>>()?))))
    }

    /// Begins to send; runs for as long as the tasks are not aborted.
    pub(crate) fn follow(&self) -> Vec<JoinHandle<()>> {
        self.0.iter().map(|hook| tokio::spawn(send::follow(hook.clone()))).collect()
    }

    /// A member has come; `count` are here now.
    pub(crate) fn joined(&self, room: &RoomName, peer: &Entry, count: usize) {
        self.tell("peer-joined", room, count, Some(peer), None);
    }

    /// A member has gone; `count` are left.
    pub(crate) fn left(&self, room: &RoomName, peer: &Gone, reason: LeaveReason, count: usize) {
        self.tell("peer-left", room, count, Some(peer), Some(reason));
        if count == 0 {
            self.tell("room-empty", room, count, None::<()>, None);
        }
    }

    /// Called under the room's lock, so that the order of the queue is that of the room.
    fn tell<P: Serialize>(
        &self,
        event: &str,
        room: &RoomName,
        count: usize,
        peer: Option<P>,
        reason: Option<LeaveReason>,
    ) {
        let mut body = None;
        for hook in self.0.iter().filter(|hook| hook.target.wants(event, room)) {
            let now = hook.clock.now();
            let (id, text) = body.get_or_insert_with(|| {
                let id = Uuid::new_v4().to_string();
                let (peer, count) = (peer.as_ref(), count as u64);
                let text = written(&Body {
                    id: &id,
                    event,
                    room: Some(room),
                    time: now,
                    node: hook.node,
                    count,
                    peer,
                    reason,
                });
                (id, text)
            });
            if !hook.queue.lock().push(room, id, text.clone(), now) {
                hook.count("dropped", 1);
                tracing::warn!(hook = hook.target.name, %room, "the queue of a webhook is full; its receiver will be told");
            }
            hook.news.notify_one();
        }
    }

    /// Brings the gauges up to date.
    pub(crate) fn observe(&self) {
        for hook in &self.0 {
            let (len, oldest_ms) = {
                let queue = hook.queue.lock();
                (queue.len(), queue.oldest_ms(hook.clock.now()))
            };
            hook.metrics.webhooks_wait(&hook.target.name, len, oldest_ms / 1000.0);
        }
    }

    /// Has all that waits tried at once: the server is about to go away.
    pub(crate) fn hurry(&self) {
        for hook in &self.0 {
            hook.queue.lock().hurry();
            hook.news.notify_one();
        }
    }

    /// The server goes away: what waits is tried once more, for as long as `most` allows.
    pub(crate) async fn drain(&self, most: Duration) {
        self.hurry();
        let emptied = join_all(self.0.iter().map(|hook| hook.emptied()));
        if tokio::time::timeout(most.min(LAST_CHANCE), emptied).await.is_ok() {
            return;
        }
        for hook in &self.0 {
            let left = hook.queue.lock().len();
            if left > 0 {
                hook.count("dropped", left as u64);
                tracing::warn!(hook = hook.target.name, left, "events of a webhook were not delivered and are lost");
            }
        }
    }
}

impl Hook {
    fn count(&self, outcome: &'static str, count: u64) {
        self.metrics.webhooks(&self.target.name, outcome, count);
    }

    async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.queue.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}
