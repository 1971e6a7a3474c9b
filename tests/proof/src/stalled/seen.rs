//! What all guests of a run saw.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::hostile::pair::Latency;

/// Shared by all guests.
#[derive(Debug, Default)]
pub struct Seen {
    /// Events that arrived at those who read.
    pub arrived: AtomicU64,
    /// How often one who reads saw another leave with the reason `slow`.
    pub slow: AtomicU64,
    /// The run is over.
    pub over: AtomicBool,
    begin: Mutex<Option<Instant>>,
    measured: Mutex<Measured>,
}

#[derive(Debug, Default)]
struct Measured {
    latencies: Vec<f64>,
    lags: Vec<f64>,
    wrong: Vec<String>,
}

impl Seen {
    /// When the talking begins.
    pub fn begin(&self, at: Instant) {
        *self.begin.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// When the talking begins.
    pub fn begins(&self) -> Instant {
        self.begin.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(Instant::now)
    }

    /// Microseconds since the beginning, as an event carries them.
    pub fn now(&self) -> u64 {
        Instant::now().saturating_duration_since(self.begins()).as_micros() as u64
    }

    /// An event that was sent at `sent` arrived.
    pub fn arrive(&self, sent: u64) {
        let late = self.now().saturating_sub(sent) as f64 / 1000.0;
        self.measured().latencies.push(late);
        self.arrived.fetch_add(1, Ordering::Relaxed);
    }

    /// An event was sent so many milliseconds later than it was due: not the server's fault.
    pub fn lags(&self, ms: f64) {
        self.measured().lags.push(ms);
    }

    /// Something went wrong for one who reads.
    pub fn fail(&self, why: String) {
        if !self.over.load(Ordering::Relaxed) {
            self.measured().wrong.push(why);
        }
    }

    /// The first few things that went wrong.
    pub fn wrong(&self) -> Vec<String> {
        self.measured().wrong.iter().take(5).cloned().collect()
    }

    /// From sending to arrival.
    pub fn latency(&self) -> Latency {
        Latency::of(self.measured().latencies.clone())
    }

    /// How late events were sent.
    pub fn lag(&self) -> Latency {
        Latency::of(self.measured().lags.clone())
    }

    fn measured(&self) -> std::sync::MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
