//! Durations counted by their size, so that many of them can be summed up without being kept.

use std::sync::atomic::{AtomicU64, Ordering};

/// The upper end of the first bucket, milliseconds; whatever is below is in it.
const LEAST_MS: f64 = 0.05;
/// Buckets for each doubling: what is read lies within 5 % of what was noted.
const PER_DOUBLING: f64 = 8.0;
/// Up to about 100 s; whatever is above is in the last one.
const BUCKETS: usize = 168;

/// Counts durations. They are only ever added, so any number of readers can compare what they saw at two moments.
#[derive(Debug)]
pub struct Histogram([AtomicU64; BUCKETS]);

/// What a histogram had counted at some moment, or between two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([u64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Histogram {
    /// Counts a duration of so many milliseconds.
    pub fn note(&self, ms: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let bucket = ((ms / LEAST_MS).log2() * PER_DOUBLING).ceil() as usize;
        self.0[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|bucket| self.0[bucket].load(Ordering::Relaxed)))
    }
}

impl Counts {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket] - earlier.0[bucket]))
    }

    /// How many durations.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration that a `share` of all does not exceed, milliseconds; `None` if there is none. A share of 1 is the
    /// longest.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "counts"
        )]
        let rank = ((self.total() as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        let bucket = self.0.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let middle = (bucket as f64 - 0.5) / PER_DOUBLING;
        Some(LEAST_MS * middle.exp2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_about(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found / expected - 1.0).abs() < 0.05)
    }

    #[test]
    fn quantiles_lie_close_to_what_was_noted() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.note(f64::from(ms)));
        let counts = histogram.counts();
        assert_eq!(counts.total(), 1000);
        for (share, expected) in [(0.5, 500.0), (0.95, 950.0), (1.0, 1000.0), (0.0, 1.0)] {
            assert!(is_about(counts.quantile(share), expected), "{share}: {:?}", counts.quantile(share));
        }
    }

    #[test]
    fn what_came_later_is_told_apart() {
        let histogram = Histogram::default();
        histogram.note(3.0);
        let earlier = histogram.counts();
        assert_eq!(histogram.counts().since(&earlier).quantile(0.5), None);
        histogram.note(40.0);
        let later = histogram.counts().since(&earlier);
        assert_eq!(later.total(), 1);
        assert!(is_about(later.quantile(1.0), 40.0), "{:?}", later.quantile(1.0));
    }

    #[test]
    fn anything_can_be_noted() {
        let histogram = Histogram::default();
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
            histogram.note(odd);
        }
        assert_eq!(histogram.counts().total(), 6);
    }
}
