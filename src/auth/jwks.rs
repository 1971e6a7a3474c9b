//! Key sets (JWKS, RFC 7517) that somebody else keeps: fetched now and then, and when a token names a key that is not
//! there, but never more often than once in an interval, whatever tokens say.
//!
//! `KeySet::follow` is the loop that fetches; the [`Verifier`](super::Verifier) looks into what it brought.

mod parse;
mod source;

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use self::source::SourceError;
use self::source::{Fetch, Fetched, Source};
use super::jwt::Key;
use crate::metrics::Metrics;

/// Most keys of one set; what stands behind them is left out.
pub const KEYS_MAX: usize = 64;
/// Largest set, in bytes.
pub const SET_MAX: usize = 256 * 1024;

/// Where an issuer publishes its keys: one entry of `[[auth.jwks]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwksConfig {
    /// The `iss` whose tokens these keys check; without it, tokens of every issuer not named elsewhere.
    pub issuer: Option<String>,
    /// The address of the set: `https://`, or `http://` on this machine.
    pub url: Option<String>,
    /// A file with the set, in place of the address.
    pub file: Option<PathBuf>,
    /// How old the set may become, in milliseconds. A `max-age` of the answer that is shorter counts.
    #[serde(default = "refresh_ms")]
    pub refresh_ms: u64,
    /// Between two fetches at least, whatever happens, in milliseconds.
    #[serde(default = "min_refresh_ms")]
    pub min_refresh_ms: u64,
}

fn refresh_ms() -> u64 {
    300_000
}

fn min_refresh_ms() -> u64 {
    10_000
}

impl JwksConfig {
    /// What may stand in `refresh_ms` and in `min_refresh_ms`.
    pub const REFRESH_RANGE: [u64; 2] = [1_000, 86_400_000];
}

/// How long a token may wait for the set to be fetched.
const PATIENCE: Duration = Duration::from_secs(3);

/// The keys of one issuer as they are now.
pub struct KeySet {
    issuer: Option<String>,
    source: Source,
    keys: RwLock<Arc<[Arc<Key>]>>,
    schedule: Mutex<Schedule>,
    wanted: Notify,
    /// How many fetches have come to an end.
    ended: watch::Sender<u64>,
}

impl KeySet {
    /// From the configuration. A file is read at once; an address is asked when the set is followed.
    pub(super) fn new(config: &JwksConfig) -> Result<Self, SourceError> {
        if config.min_refresh_ms > config.refresh_ms {
            return Err(SourceError::Intervals);
        }
        let mut source = Source::new(config)?;
        let keys = source.read()?.keys.unwrap_or_default();
        let [refresh, least] = [config.refresh_ms, config.min_refresh_ms].map(Duration::from_millis);
        Ok(Self {
            issuer: config.issuer.clone(),
            source,
            keys: RwLock::new(keys.into_iter().map(Arc::new).collect()),
            schedule: Mutex::new(Schedule::new(refresh, least)),
            wanted: Notify::new(),
            ended: watch::Sender::default(),
        })
    }

    /// Whose keys they are.
    pub(super) fn issuer(&self) -> Option<&String> {
        self.issuer.as_ref()
    }

    /// The keys as they are now.
    pub(super) fn keys(&self) -> Arc<[Arc<Key>]> {
        self.keys.read().clone()
    }

    /// Waits for a fetch, if one is on its way or may begin now: a token has named a key that is not here.
    pub(super) async fn renewed(&self) {
        let mut ended = self.ended.subscribe();
        if !self.schedule.lock().want(Instant::now()) {
            return;
        }
        self.wanted.notify_one();
        _ = tokio::time::timeout(PATIENCE, ended.changed()).await;
    }

    /// Fetches whenever it is time; runs for as long as the server. `changed` is called when the keys are others.
    pub(super) async fn follow(&self, metrics: &Metrics, changed: impl Fn()) {
        self.follow_from(self.source.clone(), metrics, changed).await;
    }

    async fn follow_from(&self, mut source: impl Fetch, metrics: &Metrics, changed: impl Fn()) {
        loop {
            let due = self.schedule.lock().due();
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                // What is due may have come nearer.
                () = self.wanted.notified() => continue,
            }
            self.schedule.lock().begin(Instant::now());
            let fetched = source.fetch().await;
            let (outcome, fresh_for) = match fetched {
                Ok(Fetched { keys, fresh_for }) => {
                    let outcome = if keys.is_some() { "taken" } else { "same" };
                    if let Some(keys) = keys {
                        self.take(keys);
                        changed();
                    }
                    (outcome, Some(fresh_for))
                }
                Err(error) => {
                    tracing::warn!(issuer = self.issuer, %error, "the key set cannot be had; its keys stay as they are");
                    ("failed", None)
                }
            };
            metrics.key_sets(outcome);
            self.schedule.lock().end(Instant::now(), fresh_for);
            self.ended.send_modify(|ended| *ended += 1);
        }
    }

    fn take(&self, keys: Vec<Key>) {
        let kids: Vec<_> = keys.iter().map(|key| key.kid().unwrap_or("without a name")).collect();
        tracing::info!(issuer = self.issuer, ?kids, "the key set was read");
        *self.keys.write() = keys.into_iter().map(Arc::new).collect();
    }
}

/// When the next fetch is due. It knows the time only as it is told.
#[derive(Debug)]
struct Schedule {
    refresh: Duration,
    least: Duration,
    due: Instant,
    begun: Option<Instant>,
    running: bool,
    failures: u32,
}

impl Schedule {
    fn new(refresh: Duration, least: Duration) -> Self {
        Self { refresh, least, due: Instant::now(), begun: None, running: false, failures: 0 }
    }

    fn due(&self) -> Instant {
        self.due
    }

    /// Somebody misses a key. Whether a fetch is on its way, or may begin at once.
    fn want(&mut self, now: Instant) -> bool {
        if self.running {
            return true;
        }
        let earliest = self.begun.map_or(now, |begun| begun + self.least);
        self.due = self.due.min(earliest.max(now));
        earliest <= now
    }

    fn begin(&mut self, now: Instant) {
        (self.begun, self.running) = (Some(now), true);
    }

    /// How long what was fetched is fresh; nothing after a failure, which is tried again later and later.
    fn end(&mut self, now: Instant, fresh_for: Option<Option<Duration>>) {
        self.running = false;
        let wait = match fresh_for {
            Some(told) => {
                self.failures = 0;
                told.unwrap_or(self.refresh)
            }
            None => {
                let wait = self.least.saturating_mul(1 << self.failures.min(16));
                self.failures += 1;
                wait
            }
        };
        self.due = now + wait.clamp(self.least, self.refresh);
    }
}

#[cfg(test)]
mod tests;
