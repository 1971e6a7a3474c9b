//! What this node listens to, and what it hears. What is wanted is compared with what was confirmed, again and again: no
//! client library is trusted to come back to what was subscribed to, and none of them tells when a slot has moved.
//!
//! Between the library and us lies a ring of so many bytes. What finds no room is not kept, and all that was listened to
//! is in doubt then, as it is when a connection ends.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::link::{Address, Link, Waits};

/// Nobody wants it any more: but somebody may come back at once.
const LINGER: Duration = Duration::from_secs(5);
/// Between two looks, if nothing happens.
const LOOK: Duration = Duration::from_secs(1);
/// Channels in one command.
const BATCH: usize = 64;
/// After a channel that could not be listened to: a slot has nobody just now.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is told of what is heard.
pub(super) trait Listener: Send + Sync {
    /// A message, in the order in which the engine sent those of one channel.
    fn heard(&self, channel: &str, message: &[u8]);
    /// It is listened to from now on, or again: whatever was said before may have been missed.
    fn begins(&self, channel: &str);
}

/// A channel that is wanted, or was.
struct Wanted {
    /// By so many.
    by: usize,
    /// Nobody wants it since then.
    since: Option<Instant>,
    /// In which life of the connection the engine has confirmed it.
    confirmed: watch::Sender<Option<u64>>,
}

/// Channels and messages, in the order in which they came.
type Heard = VecDeque<(String, Vec<u8>)>;

/// What was heard and not yet told.
struct Ring {
    /// With how many bytes they are.
    messages: Mutex<(Heard, usize)>,
    most: usize,
    overflowed: AtomicBool,
    filled: Notify,
}

impl Ring {
    fn push(&self, channel: String, message: Vec<u8>) {
        let mut held = self.messages.lock();
        let size = channel.len() + message.len();
        if held.1 + size > self.most {
            self.overflowed.store(true, Ordering::Release);
        } else {
            held.1 += size;
            held.0.push_back((channel, message));
        }
        drop(held);
        self.filled.notify_one();
    }

    fn take(&self) -> Heard {
        std::mem::take(&mut *self.messages.lock()).0
    }
}

struct Shared {
    wanted: Mutex<BTreeMap<String, Wanted>>,
    ring: Ring,
    /// Which life of the connection this is; 0 while there is none.
    life: AtomicU64,
    /// Something is to be done.
    work: Notify,
    lost: AtomicBool,
}

impl Shared {
    /// What the client library hands over. It must never fail, or the library would close the connection.
    fn push(&self, PushInfo { kind, data }: PushInfo) {
        let text = |value: &Value| match value {
            Value::BulkString(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        };
        match (kind, &data[..]) {
            (PushKind::SMessage, [channel, Value::BulkString(message)]) => {
                if let Some(channel) = text(channel) {
                    self.ring.push(channel, message.to_vec());
                }
            }
            // Asked for, or because its slot has moved to another server.
            (PushKind::SUnsubscribe, [channel, ..]) => {
                if let Some(wanted) =
                    text(channel).and_then(|channel| self.wanted.lock().get(&channel).map(|w| w.confirmed.clone()))
                {
                    wanted.send_replace(None);
                }
                self.work.notify_one();
            }
            (PushKind::Disconnection, _) => {
                self.lost.store(true, Ordering::Release);
                self.work.notify_one();
            }
            _ => {}
        }
    }
}

/// What a node listens to.
pub(super) struct Ears(Arc<Shared>);

impl Ears {
    /// With room for so many bytes that were heard and not yet told.
    pub(super) fn new(most: usize) -> Self {
        let ring = Ring { messages: Mutex::default(), most, overflowed: AtomicBool::new(false), filled: Notify::new() };
        Self(Arc::new(Shared {
            wanted: Mutex::default(),
            ring,
            life: AtomicU64::new(0),
            work: Notify::new(),
            lost: AtomicBool::new(false),
        }))
    }

    /// Wants a channel, once more.
    pub(super) fn want(&self, channel: String) {
        let mut wanted = self.0.wanted.lock();
        let entry =
            wanted.entry(channel).or_insert_with(|| Wanted { by: 0, since: None, confirmed: watch::Sender::default() });
        entry.by += 1;
        entry.since = None;
        drop(wanted);
        self.0.work.notify_one();
    }

    /// Wants a channel once less.
    pub(super) fn release(&self, channel: &str) {
        if let Some(wanted) = self.0.wanted.lock().get_mut(channel) {
            wanted.by = wanted.by.saturating_sub(1);
            wanted.since = (wanted.by == 0).then(Instant::now);
        }
    }

    /// Waits until the engine has confirmed a channel that is wanted: nothing said from now on is missed without a word.
    pub(super) async fn confirmed(&self, channel: &str) {
        let Some(mut confirmed) = self.0.wanted.lock().get(channel).map(|wanted| wanted.confirmed.subscribe()) else {
            return std::future::pending().await;
        };
        let now = || Some(self.0.life.load(Ordering::Acquire));
        while *confirmed.borrow_and_update() != now() {
            _ = confirmed.changed().await;
        }
    }

    /// Whether the engine is heard at all.
    pub(super) fn is_connected(&self) -> bool {
        self.0.life.load(Ordering::Acquire) > 0
    }

    /// Listens for as long as it is polled.
    pub(super) async fn listen(&self, address: &Address, listener: &dyn Listener) {
        tokio::join!(self.tell(listener), self.keep_connected(address, listener));
    }

    async fn tell(&self, listener: &dyn Listener) {
        loop {
            self.0.ring.filled.notified().await;
            for (channel, message) in self.0.ring.take() {
                listener.heard(&channel, &message);
            }
            if self.0.ring.overflowed.swap(false, Ordering::AcqRel) {
                tracing::warn!("more was heard than could be told; all logs are looked at again");
                let channels: Vec<_> = self.0.wanted.lock().keys().cloned().collect();
                channels.iter().for_each(|channel| listener.begins(channel));
            }
        }
    }

    async fn keep_connected(&self, address: &Address, listener: &dyn Listener) {
        let (mut lives, mut waits) = (0, Waits::default());
        loop {
            self.0.lost.store(false, Ordering::Release);
            let shared = self.0.clone();
            match Link::listening(address, move |push| shared.push(push)).await {
                Ok(link) => {
                    lives += 1;
                    self.0.life.store(lives, Ordering::Release);
                    waits = Waits::default();
                    self.reconcile(&link, lives, listener).await;
                    self.0.life.store(0, Ordering::Release);
                }
                Err(error) => waits.complain(&error),
            }
            waits.wait().await;
        }
    }

    /// Brings what is subscribed to what is wanted, until the connection is lost.
    async fn reconcile(&self, link: &Link, life: u64, listener: &dyn Listener) {
        while !self.0.lost.load(Ordering::Acquire) {
            let (missing, spent) = self.differences(life);
            if missing.is_empty() && spent.is_empty() {
                _ = tokio::time::timeout(LOOK, self.0.work.notified()).await;
                continue;
            }
            for channel in &missing {
                if link.subscribe(channel).await.is_err() {
                    // Another round will come to it; or a slot has nobody just now.
                    _ = tokio::time::timeout(PAUSE, self.0.work.notified()).await;
                    continue;
                }
                // Before anybody who waits for it looks at the log: that look is all that is needed then.
                listener.begins(channel);
                if let Some(wanted) = self.0.wanted.lock().get(channel) {
                    wanted.confirmed.send_replace(Some(life));
                }
            }
            for channel in &spent {
                _ = link.unsubscribe(channel).await;
            }
        }
    }

    /// Channels that are wanted and not confirmed, and those that were let go.
    fn differences(&self, life: u64) -> (Vec<String>, Vec<String>) {
        let mut wanted = self.0.wanted.lock();
        let over = |wanted: &Wanted| wanted.since.is_some_and(|since| since.elapsed() >= LINGER);
        let spent: Vec<_> = wanted.iter().filter(|(_, w)| over(w)).map(|(name, _)| name.clone()).take(BATCH).collect();
        spent.iter().for_each(|channel| _ = wanted.remove(channel));
        let missing = wanted.iter().filter(|(_, w)| *w.confirmed.borrow() != Some(life));
        (missing.map(|(name, _)| name.clone()).take(BATCH).collect(), spent)
    }
}

#[cfg(test)]
mod tests;
