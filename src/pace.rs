//! Rates of those who have no session to keep their bucket in: addresses and users, over HTTP and
//! at the door.

use std::{
    hash::Hash,
    sync::atomic::{AtomicUsize, Ordering},
};

use dashmap::DashMap;
use rallypoint_protocol::event::Millis;

use crate::session::limits::{Bucket, Rate};

/// After so many takes, buckets that are full again are forgotten: to forget a full bucket changes
/// nothing, so the map holds no more than whoever came in the time that a bucket takes to fill.
const FORGET_EVERY: usize = 1024;

/// One bucket for each key.
pub struct Pace<K> {
    rate: Rate,
    buckets: DashMap<K, Bucket>,
    takes: AtomicUsize,
}

impl<K: Eq + Hash + Clone> Pace<K> {
    /// Nobody has come yet.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { rate: Rate { per_second, burst }, buckets: DashMap::new(), takes: AtomicUsize::new(0) }
    }

    /// Lets `key` through once, or tells in how many milliseconds it may.
    pub fn take(&self, key: &K, now: Millis) -> Result<(), u64> {
        if self.takes.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.buckets.retain(|_, bucket| !bucket.is_full(self.rate, now));
        }
        if let Some(mut bucket) = self.buckets.get_mut(key) {
            return bucket.take(1.0, self.rate, now);
        }
        self.buckets.entry(key.clone()).or_insert_with(|| Bucket::full(self.rate, now)).take(1.0, self.rate, now)
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_bucket() {
        let pace = Pace::new(10.0, 2.0);
        for key in ["a", "b"] {
            assert_eq!(pace.take(&key, Millis(0.0)), Ok(()));
            assert_eq!(pace.take(&key, Millis(0.0)), Ok(()));
            assert_eq!(pace.take(&key, Millis(0.0)), Err(100));
        }
        assert_eq!(pace.take(&"a", Millis(100.0)), Ok(()));
    }

    #[test]
    fn who_stays_away_is_forgotten() {
        let pace = Pace::new(10.0, 2.0);
        for n in 0..100_000_u32 {
            // One new address each millisecond; a bucket is full again after 100 ms.
            assert_eq!(pace.take(&n, Millis(f64::from(n))), Ok(()));
            assert!(pace.len() <= FORGET_EVERY + 101, "{}", pace.len());
        }
    }
}
