//! Durations counted by their size, so that many of them can be summed up without being kept.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// The upper end of the first bucket, milliseconds; whatever is below is in it.
const LEAST_MS: f64 = 0.05;
/// Buckets for each doubling: what is read lies within 5 % of what was noted.
const PER_DOUBLING: f64 = 8.0;
/// Up to about 100 s; whatever is above is in the last one.
const BUCKETS: usize = 168;

/// What operators are shown: the doublings from 0.4 ms to 6.6 s, by the bucket that ends with each, counted from 1.
const SHOWN: std::ops::RangeInclusive<i32> = 3..=17;

/// Counts durations. They are only ever added, so any number of readers can compare what they saw at two moments. A clone
/// counts into the same.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    buckets: [AtomicU64; BUCKETS],
    /// All durations together, microseconds.
    sum: AtomicU64,
}

/// What a histogram had counted at some moment, or between two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([u64; BUCKETS]);

impl Default for Counted {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts a duration of so many milliseconds.
    pub fn note(&self, ms: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let (bucket, us) = (((ms / LEAST_MS).log2() * PER_DOUBLING).ceil() as usize, (ms * 1000.0) as u64);
        self.0.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(us, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|bucket| self.0.buckets[bucket].load(Ordering::Relaxed)))
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.counts();
        let mut from = 0;
        let mut shown: Vec<(f64, u64)> = Vec::new();
        for doubling in SHOWN {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 136")]
            let to = (f64::from(doubling) * PER_DOUBLING) as usize + 1;
            shown.push((LEAST_MS / 1000.0 * f64::from(doubling).exp2(), counts.0[from..to].iter().sum()));
            from = to;
        }
        shown.push((f64::MAX, counts.0[from..].iter().sum()));
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let sum = self.0.sum.load(Ordering::Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, counts.total(), &shown, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
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
    fn operators_are_shown_doublings() {
        let (histogram, mut registry) = (Histogram::default(), prometheus_client::registry::Registry::default());
        registry.register("trips", "Trips", histogram.clone());
        for ms in [0.01, 0.3999, 0.401, 1.5, 6000.0, 7000.0, 1e9] {
            histogram.note(ms);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let buckets = text.lines().filter_map(|line| line.strip_prefix("trips_bucket{le=\""));
        let buckets: Vec<_> = buckets.map(|line| line.split_once("\"} ").unwrap()).collect();
        assert_eq!(buckets.len(), 16, "{text}");
        assert_eq!(buckets[..3], [("0.0004", "2"), ("0.0008", "3"), ("0.0016", "4")], "{text}");
        assert_eq!(buckets[14..], [("6.5536", "5"), ("+Inf", "7")], "{text}");
        assert!(text.contains("trips_count 7\n") && text.contains("trips_sum 1000013.00"), "{text}");
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
