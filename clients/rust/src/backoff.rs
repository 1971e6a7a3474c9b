//! How long to wait before the next attempt to come back.
//!
//! Full jitter: after a server's restart all its clients are away at once, and any rhythm they share
//! would bring them back as one crowd.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The longest wait before the first attempt.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait before any attempt.
const MOST: Duration = Duration::from_secs(30);
/// The longest time that a server may ask for; beyond it the number is taken for a mistake.
const TOLD_MOST: Duration = Duration::from_secs(3600);
/// Where the row begins after a server said "wait" without a time: as if so many attempts had failed.
const ASKED_TO_WAIT: u32 = 3;
/// Where the row goes on at most after an attempt that worked: a network that flickers must not keep a client away for
/// longer than servers keep its session, which is 10 s by default.
const ARRIVED: u32 = 3;

/// Random waits whose bound doubles with each attempt.
#[derive(Debug)]
pub(crate) struct Backoff {
    random: Random,
    attempts: u32,
}

impl Backoff {
    /// With a seed the waits are always the same.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Self { random: Random(seed), attempts: 0 }
    }

    /// The wait before the next attempt; `told` is the time that the server asked for, and comes on top.
    pub(crate) fn next(&mut self, told: Option<Duration>) -> Duration {
        let bound = FIRST.saturating_mul(1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX)).min(MOST);
        self.attempts = self.attempts.saturating_add(1);
        let jitter = Duration::from_micros(self.random.up_to(u64::try_from(bound.as_micros()).unwrap_or(u64::MAX)));
        told.unwrap_or_default().min(TOLD_MOST) + jitter
    }

    /// The server wants us to wait and did not say how long.
    pub(crate) fn slow_down(&mut self) {
        self.attempts = self.attempts.max(ASKED_TO_WAIT);
    }

    /// An attempt has worked. Whether the connection holds is not known yet.
    pub(crate) fn arrived(&mut self) {
        self.attempts = self.attempts.min(ARRIVED);
    }

    /// The connection has held: the next loss is a new one.
    pub(crate) fn begin_anew(&mut self) {
        self.attempts = 0;
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and spread well enough for waits.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// A number from 0 to `bound`. The remainder's bias is far below what a wait could show.
    fn up_to(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_longest_and_the_waits_fill_them() {
        let mut longest = [Duration::ZERO; 12];
        for seed in 0..500 {
            let mut backoff = Backoff::new(Some(seed));
            longest.iter_mut().for_each(|longest| *longest = backoff.next(None).max(*longest));
        }
        for (attempt, longest) in (0..).zip(longest) {
            let bound = (FIRST * (1 << attempt)).min(MOST);
            assert!(longest <= bound && longest > bound * 9 / 10, "{attempt} {longest:?}");
        }
        let mut shortest: Vec<_> = (0..500).map(|seed| Backoff::new(Some(seed)).next(None)).collect();
        shortest.sort();
        assert!(shortest[0] < FIRST / 50 && shortest[250] > FIRST / 3 && shortest[250] < FIRST * 2 / 3);
    }

    #[test]
    fn a_seed_fixes_the_row_and_its_absence_does_not() {
        let row = |seed| {
            let mut backoff = Backoff::new(seed);
            [(); 4].map(|()| backoff.next(None))
        };
        assert_eq!(row(Some(7)), row(Some(7)));
        assert_ne!(row(Some(7)), row(Some(8)));
        assert_ne!(row(None), row(None));
    }

    #[test]
    fn the_servers_time_is_kept_and_bounded() {
        let told = Duration::from_secs(7);
        let mut backoff = Backoff::new(Some(1));
        let wait = backoff.next(Some(told));
        assert!(wait >= told && wait <= told + FIRST);
        assert!(backoff.next(Some(Duration::MAX)) <= TOLD_MOST + MOST);
    }

    #[test]
    fn a_network_that_flickers_keeps_nobody_away_for_long() {
        let waits = (0..200).flat_map(|seed| {
            let mut backoff = Backoff::new(Some(seed));
            [(); 20].map(|()| {
                let wait = backoff.next(None);
                backoff.arrived();
                wait
            })
        });
        let longest = waits.max();
        assert!(longest > Some(FIRST * 7) && longest <= Some(FIRST * 8), "{longest:?}");
    }

    #[test]
    fn a_server_that_says_wait_gets_longer_waits_and_a_connection_that_held_short_ones() {
        let longest = |prepare: fn(&mut Backoff)| {
            (0..200).map(move |seed| {
                let mut backoff = Backoff::new(Some(seed));
                prepare(&mut backoff);
                backoff.next(None)
            })
        };
        assert!(longest(Backoff::slow_down).max() > Some(FIRST * 7));
        let long_ago = |backoff: &mut Backoff| {
            assert!((0..50).map(|_| backoff.next(None)).max() > Some(MOST / 2));
            backoff.begin_anew();
        };
        assert!(longest(long_ago).max() <= Some(FIRST));
    }
}
