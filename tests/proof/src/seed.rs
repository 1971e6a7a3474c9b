//! Chance that can be had again: a small generator whose every number follows from its seed.

/// A stream of numbers (SplitMix64, Steele, Lea and Flood 2014). The same seed gives the same stream, on every machine
/// and in every later version of this program, which no library promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The stream that begins with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for part `part` of a run, independent of how much the other parts have drawn.
    pub fn part(seed: u64, part: u64) -> Self {
        let mut own = Self(seed ^ part.wrapping_mul(0xa24b_aed4_963e_e407));
        // One draw, so that neighbouring parts share no bits.
        Self(own.draw())
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        // The product's upper half: no modulo, and no bias that anybody here could notice.
        ((u128::from(self.draw()) * u128::from(end)) >> 64) as u64
    }

    /// An index into something of this length.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// One of these, which must not be empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A whole number with this mean, the smaller the likelier: how far to the next accident when accidents have no
    /// memory.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an accident"
    )]
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let uniform = (self.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        (-(1.0 - uniform).ln() * mean as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_what_it_was() {
        let mut seed = Seed::new(1);
        // From the reference implementation.
        assert_eq!([seed.draw(), seed.draw()], [0x910a_2dec_8902_5cc1, 0xbeeb_8da1_658e_ec67]);
    }

    #[test]
    fn parts_differ_and_numbers_stay_in_range() {
        let (mut a, mut b) = (Seed::part(7, 1), Seed::part(7, 2));
        assert_ne!(a.draw(), b.draw());
        let mean = (0..10_000).map(|_| a.exponential(100)).sum::<u64>() / 10_000;
        assert!((90..110).contains(&mean), "{mean}");
        assert!((0..1000).all(|_| a.below(7) < 7) && b.below(0) == 0 && !b.percent(0) && b.percent(100));
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[a.index(5)] = true);
        assert_eq!(seen, [true; 5]);
    }
}
