//! Unix time that never runs backwards, for measuring round trips and the offset between clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use rallypoint_protocol::event::Millis;
use tokio::time::{Instant, sleep_until};

/// Wall-clock time read once; from then on the monotonic clock counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begin: Instant,
    unix_ms: f64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { begin: Instant::now(), unix_ms: since_epoch.as_secs_f64() * 1000.0 }
    }

    pub(crate) fn now(&self) -> Millis {
        self.at(Instant::now())
    }

    /// Unix time at this instant, as far as this end knows.
    pub(crate) fn at(&self, instant: Instant) -> Millis {
        Millis(self.unix_ms + instant.duration_since(self.begin).as_secs_f64() * 1000.0)
    }
}

/// Waits for a moment, for ever if there is none.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// When a request went out and its answer came in, by our clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) sent: Millis,
    pub(crate) arrived: Millis,
}

impl Timing {
    /// Round trip without the server's own time, and the server's clock minus ours, as in NTP
    /// (RFC 5905 section 8): exact when both ways take the same time.
    pub(crate) fn compare(&self, received: Millis, answered: Millis) -> (f64, f64) {
        let (t0, t1, t2, t3) = (self.sent.0, received.0, answered.0, self.arrived.0);
        ((t3 - t0) - (t2 - t1), ((t1 - t0) + (t2 - t3)) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_paths_give_the_exact_offset() {
        // The server is 500 ms ahead; 20 ms there, 7 ms of work, 20 ms back.
        let timing = Timing { sent: Millis(1000.0), arrived: Millis(1047.0) };
        let (rtt, offset) = timing.compare(Millis(1520.0), Millis(1527.0));
        assert!((rtt - 40.0).abs() < 1e-9 && (offset - 500.0).abs() < 1e-9, "{rtt} {offset}");
    }

    #[test]
    fn the_clock_does_not_run_backwards() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
