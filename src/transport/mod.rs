//! Three transports, one session: each carries frames in and out and decides nothing.

pub mod poll;
pub mod sse;
pub mod ws;

use prometheus_client::metrics::gauge::Gauge;

/// Counts an open connection for as long as it is open, however it ends.
struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
