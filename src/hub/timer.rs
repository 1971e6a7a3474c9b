//! One timer for all rooms of a node: the earliest deadline is waited for, the rest are a list.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Instant,
};

use parking_lot::Mutex;
use rallypoint_protocol::event::Millis;
use tokio::sync::Notify;

use super::rooms::RoomCell;

/// Rooms by the moment they want to be called; microseconds, then the room's handle.
#[derive(Default)]
pub(super) struct Timer {
    waiting: Mutex<BTreeMap<(u64, u32), Weak<RoomCell>>>,
    earlier: Notify,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Unix microseconds fit for 285 000 years")]
fn micros(moment: Millis) -> u64 {
    (moment.0 * 1000.0).ceil() as u64
}

impl Timer {
    /// Calls `cell` at `due`. An earlier call that was set stays set: one too many is harmless.
    pub(super) fn set(&self, due: Millis, cell: &Arc<RoomCell>) {
        let mut waiting = self.waiting.lock();
        let key = (micros(due), cell.handle());
        let is_first = waiting.first_key_value().is_none_or(|(first, _)| key < *first);
        waiting.insert(key, Arc::downgrade(cell));
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Something else than a room may be due earlier now.
    pub(super) fn nudge(&self) {
        self.earlier.notify_one();
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Millis> {
        #[expect(clippy::cast_precision_loss, reason = "Unix microseconds are below 2^53")]
        self.waiting.lock().first_key_value().map(|((due, _), _)| Millis(*due as f64 / 1000.0))
    }

    /// The rooms whose time has come.
    pub(super) fn due(&self, now: Millis) -> Vec<Arc<RoomCell>> {
        let mut waiting = self.waiting.lock();
        let later = waiting.split_off(&(micros(now) + 1, 0));
        let due = std::mem::replace(&mut *waiting, later);
        due.into_values().filter_map(|cell| cell.upgrade()).collect()
    }

    /// Waits for an instant, or until something earlier is set.
    pub(super) async fn wait_until(&self, instant: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(instant.into()) => {}
            () = self.earlier.notified() => {}
        }
    }
}
