//! What goes on in one room as Server-Sent Events, for operators: see [`hub::trace`](crate::hub).

use std::{sync::Arc, time::Duration};

use rallypoint_protocol::{ErrorCode, PeerId, RoomName, codec::Refused};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    sse::{RETRY_MS, block},
    telling::{Telling, Told, Visit},
};
use crate::{
    auth::Grant,
    ceilings::Place,
    hub::{Hub, note::Note, trace::Trace},
    metrics::Transport,
};

/// Between two batches: a busy room is told in pieces of a size that is worth a write, and a tracer that is always
/// behind takes no more of the processor than this allows.
const EVERY: Duration = Duration::from_millis(50);

/// One who traces a room.
pub(crate) struct Reader {
    trace: Trace,
    visit: Visit,
    /// What was taken last; empty, and kept for its memory.
    notes: Vec<Note>,
    /// When there may be another batch, and when something has to be said.
    next: Instant,
    heartbeat: Instant,
}

impl Reader {
    /// Begins to trace a room; with `only` just what that peer sends and gets.
    pub(crate) fn open(
        hub: &Arc<Hub>,
        grant: &Grant,
        room: &RoomName,
        only: Option<PeerId>,
        seat: Option<Arc<Place>>,
    ) -> Result<Self, Refused> {
        let visit = Visit::begin(hub, Some(grant), Transport::Trace, seat)?;
        let trace = hub.trace(room, only)?;
        tracing::info!(room = %room, user = %grant.user, "a room is traced");
        let now = Instant::now();
        Ok(Self { trace, visit, notes: Vec::new(), next: now, heartbeat: now + heartbeat(hub) })
    }

    /// What has come since the last time.
    fn batch(&mut self) -> Vec<u8> {
        let skipped = self.trace.take(&mut self.notes);
        let mut out = Vec::new();
        for note in self.notes.drain(..) {
            block(&mut out, note.event(), &note.json());
        }
        if skipped > 0 {
            let told = json!({ "time": self.visit.hub().now(), "count": skipped });
            block(&mut out, "skipped", &told.to_string());
        }
        out
    }
}

fn heartbeat(hub: &Hub) -> Duration {
    Duration::from_millis(hub.limits().sse_heartbeat_ms)
}

impl Telling for Reader {
    fn greeting(&self) -> Vec<u8> {
        let hub = self.visit.hub();
        let connected = json!({
            "room": self.trace.room(), "time": hub.now(), "heartbeat": hub.limits().sse_heartbeat_ms,
            "shown": self.trace.shown(),
        });
        let mut out = format!("retry: {RETRY_MS}\n").into_bytes();
        block(&mut out, "connected", &connected.to_string());
        out
    }

    async fn next(&mut self) -> Told {
        loop {
            // What was noted before the end is told before it.
            let over = self.trace.wake().ended();
            let out = self.batch();
            let now = Instant::now();
            if !out.is_empty() {
                (self.next, self.heartbeat) = (now + EVERY, now + heartbeat(self.visit.hub()));
                return Told::Events(out.into());
            }
            if let Some(code) = over {
                return self.visit.farewell(code);
            }
            if self.heartbeat <= now {
                self.heartbeat = now + heartbeat(self.visit.hub());
                let mut out = Vec::new();
                block(&mut out, "heartbeat", &json!({ "time": self.visit.hub().now() }).to_string());
                return Told::Events(out.into());
            }
            let news = async {
                self.trace.wake().woken().await;
                sleep_until(self.next).await;
            };
            let code: ErrorCode = tokio::select! {
                biased;
                code = self.visit.ended() => code,
                () = news => continue,
                () = sleep_until(self.heartbeat) => continue,
            };
            return self.visit.farewell(code);
        }
    }

    fn stalled(&self) -> Duration {
        self.visit.stalled()
    }
}
