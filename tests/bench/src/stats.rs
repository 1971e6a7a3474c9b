//! Medians, and how sure they are.

/// Resamplings of a bootstrap.
const RESAMPLED: usize = 2000;

/// A median of ratios and the interval that holds it nine times out of ten (percentile bootstrap: Efron and Tibshirani,
/// "An Introduction to the Bootstrap", chapter 13).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median of the pairs' ratios.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The median; NaN of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// Compares runs that stood side by side.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Ratio {
    let ratios: Vec<_> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    // The same numbers each time: two looks at the same runs say the same.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut medians: Vec<_> = (0..RESAMPLED)
        .map(|_| median(&ratios.iter().map(|_| ratios[random(ratios.len())]).collect::<Vec<_>>()))
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| medians[(share * (RESAMPLED - 1) as f64) as usize];
    Ratio { median: median(&ratios), low: at(0.05), high: at(0.95) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn an_interval_holds_the_median_and_grows_with_the_noise() {
        let theirs = [1.0; 7];
        let calm = ratio(&[1.19, 1.2, 1.2, 1.2, 1.21, 1.2, 1.2], &theirs);
        let noisy = ratio(&[0.9, 1.5, 1.2, 0.8, 1.3, 1.2, 1.6], &theirs);
        for of in [calm, noisy] {
            assert!(of.low <= of.median && of.median <= of.high, "{of:?}");
            assert_eq!(of.median, 1.2);
        }
        assert!(noisy.high - noisy.low > 5.0 * (calm.high - calm.low));
        assert_eq!(noisy, ratio(&[0.9, 1.5, 1.2, 0.8, 1.3, 1.2, 1.6], &theirs));
    }
}
