//! Latencies in microseconds, kept in buckets: 64 to each power of two, so within 1.6 %.

const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;

/// Counts by size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

/// The bucket of a value: values below 64 have one each, then every doubling has 64.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    usize::try_from(u64::from(shift) * SUB + (value >> shift)).unwrap_or(usize::MAX)
}

/// The largest value that falls into a bucket.
fn top(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / SUB).saturating_sub(1);
    ((bucket - shift * SUB + 1) << shift) - 1
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value that `permille` of 1000 do not exceed; 0 when there is none.
    pub(crate) fn quantile(&self, permille: u64) -> u64 {
        let rank = (self.count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|&count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, |bucket| top(bucket).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_tight_and_without_gaps() {
        for value in (0..5000).chain([1 << 20, (1 << 40) + 12_345]) {
            let top = top(bucket(value));
            assert!(top >= value && top - value <= value / SUB, "{value} {top}");
            assert!(bucket(value + 1) - bucket(value) <= 1, "{value}");
        }
    }

    #[test]
    fn quantiles_of_a_known_row() {
        let mut halves = [Histogram::default(), Histogram::default()];
        (1..=1000).for_each(|value| halves[value % 2].add(value as u64));
        let [mut all, odd] = halves;
        all.merge(&odd);
        assert_eq!((all.count, all.max(), all.quantile(1000)), (1000, 1000, 1000));
        assert!((500..=508).contains(&all.quantile(500)), "{}", all.quantile(500));
        assert!((990..=1000).contains(&all.quantile(990)));
        assert_eq!(Histogram::default().quantile(500), 0);
    }
}
