//! The node's clock: Unix milliseconds that never go back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rallypoint_protocol::event::Millis;

/// A monotonic clock, anchored to the calendar when the process starts.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    unix_ms: f64,
}

impl Clock {
    /// Anchors the clock now.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor: Instant::now(), unix_ms: since_epoch.as_secs_f64() * 1000.0 }
    }

    /// This moment.
    pub fn now(&self) -> Millis {
        Millis(self.unix_ms + self.anchor.elapsed().as_secs_f64() * 1000.0)
    }

    /// The moment of an instant.
    pub fn moment(&self, instant: Instant) -> Millis {
        Millis(self.unix_ms + instant.saturating_duration_since(self.anchor).as_secs_f64() * 1000.0)
    }

    /// The instant of a moment, for timers.
    pub fn instant(&self, moment: Millis) -> Instant {
        let after = (moment.0 - self.unix_ms).clamp(0.0, 1e12);
        self.anchor + std::time::Duration::from_secs_f64(after / 1000.0)
    }
}
