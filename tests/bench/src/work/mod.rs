//! The workloads.

pub mod compare;
pub mod fanout;
pub mod feeds;
pub mod negotiate;
pub mod nodes;
pub mod rooms;
pub mod small;
pub mod spectator;

use std::{collections::BTreeMap, io, time::Duration};

use crate::{crowd::Crowd, dialect::Said, net::Net, process::own_cpu, stamp::Stamp};

/// Before the measurement.
pub(crate) const WARM_UP_NS: u64 = 300_000_000;

/// What a run came to, by name.
pub type Figures = BTreeMap<&'static str, f64>;

/// Looks at the processor while a run is measured.
pub(crate) struct Meter {
    server: Duration,
    idle: Duration,
    own: Duration,
    at: u64,
}

impl Meter {
    pub(crate) fn start(server: &crate::field::Server, net: &Net) -> io::Result<Self> {
        Ok(Self { server: server.process.cpu()?, idle: net.idle(), own: own_cpu(), at: net.now() })
    }

    /// Notes the server's processor time in seconds, its share of the time, and the generator's load.
    pub(crate) fn stop(self, server: &crate::field::Server, net: &Net, figures: &mut Figures) -> io::Result<f64> {
        let seconds = (net.now() - self.at) as f64 / 1e9;
        let cpu = (server.process.cpu()? - self.server).as_secs_f64();
        let waited = (net.idle() - self.idle).as_secs_f64();
        figures.insert("server load", cpu / seconds);
        figures.insert("generator load", 1.0 - waited / seconds);
        figures.insert("generator cpu", (own_cpu() - self.own).as_secs_f64() / seconds);
        Ok(cpu)
    }
}

/// Quantiles of latencies in milliseconds.
pub(crate) fn quantiles(histogram: &hdrhistogram::Histogram<u64>, figures: &mut Figures) {
    for (name, quantile) in [("p50 ms", 0.5), ("p99 ms", 0.99), ("max ms", 1.0)] {
        figures.insert(name, histogram.value_at_quantile(quantile) as f64 / 1e6);
    }
}

/// Latencies in nanoseconds, three digits.
pub(crate) fn histogram() -> hdrhistogram::Histogram<u64> {
    hdrhistogram::Histogram::new(3).expect("three digits are allowed")
}

/// Waits until something has come, `until` at most, and gives `heard` every message to a guest, with the time at which
/// it was read.
pub(crate) fn read_all(
    crowd: &mut Crowd,
    until: u64,
    bytes: usize,
    mut heard: impl FnMut(usize, Stamp, u64) -> io::Result<()>,
) -> io::Result<()> {
    crowd.listen(until, |id, said, now| match said {
        Said::Delivery(payload, _) => {
            let stamp = Stamp::read(payload, bytes);
            heard(id, stamp.ok_or_else(|| io::Error::other(format!("guest {id} heard something else")))?, now)
        }
        _ => Ok(()),
    })
}
