//! Rates, kept inside the session: a bucket dies with what it limits.

use rallypoint_protocol::event::Millis;

/// A token bucket. It starts full and refills evenly.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    level: Level,
    updated: Millis,
}

/// What is in a bucket.
#[derive(Clone, Copy, Debug)]
struct Level(f64);

/// How fast a bucket refills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Units a second.
    pub per_second: f64,
    /// Units at once.
    pub burst: f64,
}

impl Level {
    fn gain(&mut self, ms: f64, rate: Rate) {
        self.0 = (self.0 + ms * rate.per_second / 1000.0).min(rate.burst);
    }

    /// Takes `units`, or tells in how many milliseconds there would be enough.
    fn take(&mut self, units: f64, rate: Rate) -> Result<(), u64> {
        if units <= self.0 {
            self.0 -= units;
            return Ok(());
        }
        let wait = (units.min(rate.burst) - self.0) / rate.per_second * 1000.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
        Err(wait.ceil().max(1.0) as u64)
    }
}

impl Bucket {
    /// A full bucket.
    pub fn full(rate: Rate, now: Millis) -> Self {
        Self { level: Level(rate.burst), updated: now }
    }

    /// Whether it holds all that it may.
    pub fn is_full(mut self, rate: Rate, now: Millis) -> bool {
        self.level.gain(now.since(self.updated), rate);
        self.level.0 >= rate.burst
    }

    /// Takes `units`, or tells in how many milliseconds there would be enough.
    pub fn take(&mut self, units: f64, rate: Rate, now: Millis) -> Result<(), u64> {
        self.level.gain(now.since(self.updated), rate);
        self.updated = now;
        self.level.take(units, rate)
    }
}

/// The rates of one session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Requests.
    pub requests: Rate,
    /// Moves, both lanes.
    pub moves: Rate,
    /// Bytes of whatever kind.
    pub bytes: Rate,
}

/// What a session went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast {
    /// Milliseconds until there is room.
    pub wait: u64,
    /// Which rate, as the configuration calls it.
    pub limit: &'static str,
    /// It went on regardless for too long.
    pub persistent: bool,
}

/// How often a session may be told that it is too fast before it is sent away: so often at once,
/// and so often a second all the time.
const PATIENCE: Rate = Rate { per_second: 20.0, burst: 500.0 };

/// The buckets of one session. They refill together, so one clock is enough.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    requests: Level,
    moves: Level,
    bytes: Level,
    patience: Level,
    updated: Millis,
}

impl Buckets {
    /// Full buckets.
    pub fn full(rates: &Rates, now: Millis) -> Self {
        let full = |rate: Rate| Level(rate.burst);
        let Rates { requests, moves, bytes } = *rates;
        let (requests, moves, bytes, patience) = (full(requests), full(moves), full(bytes), full(PATIENCE));
        Self { requests, moves, bytes, patience, updated: now }
    }

    /// Room for one request of `len` bytes?
    pub fn request(&mut self, len: usize, rates: &Rates, now: Millis) -> Result<(), TooFast> {
        self.bytes(len, rates, now)?;
        let taken = self.requests.take(1.0, rates.requests);
        taken.map_err(|wait| self.too_fast(wait, "requests_per_second"))
    }

    /// Room for one move of `len` bytes?
    pub fn step(&mut self, len: usize, rates: &Rates, now: Millis) -> Result<(), TooFast> {
        self.bytes(len, rates, now)?;
        let taken = self.moves.take(1.0, rates.moves);
        taken.map_err(|wait| self.too_fast(wait, "moves_per_second"))
    }

    /// Room for `len` bytes, whatever they are?
    pub fn bytes(&mut self, len: usize, rates: &Rates, now: Millis) -> Result<(), TooFast> {
        self.refill(rates, now);
        #[expect(clippy::cast_precision_loss, reason = "frames are bounded")]
        let taken = self.bytes.take(len as f64, rates.bytes);
        taken.map_err(|wait| self.too_fast(wait, "bytes_per_second"))
    }

    fn refill(&mut self, rates: &Rates, now: Millis) {
        let passed = now.since(self.updated);
        self.updated = now;
        self.requests.gain(passed, rates.requests);
        self.moves.gain(passed, rates.moves);
        self.bytes.gain(passed, rates.bytes);
        self.patience.gain(passed, PATIENCE);
    }

    fn too_fast(&mut self, wait: u64, limit: &'static str) -> TooFast {
        TooFast { wait, limit, persistent: self.patience.take(1.0, PATIENCE).is_err() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate { per_second: 10.0, burst: 3.0 };
        let mut bucket = Bucket::full(rate, Millis(0.0));
        for _ in 0..3 {
            assert_eq!(bucket.take(1.0, rate, Millis(0.0)), Ok(()));
        }
        assert_eq!(bucket.take(1.0, rate, Millis(0.0)), Err(100));
        assert_eq!(bucket.take(1.0, rate, Millis(50.0)), Err(50));
        assert_eq!(bucket.take(1.0, rate, Millis(100.0)), Ok(()));
        assert_eq!(bucket.take(1.0, rate, Millis(1e9)), Ok(()));
        assert_eq!(bucket.take(3.0, rate, Millis(1e9)), Err(100));
    }

    #[test]
    fn whoever_goes_on_regardless_is_told_apart() {
        let fast = Rate { per_second: 100.0, burst: 100.0 };
        let rates =
            Rates { requests: Rate { per_second: 10.0, burst: 10.0 }, moves: fast, bytes: Rate { burst: 1e6, ..fast } };
        // A little above the rate for an hour: refused now and then, and never sent away.
        let mut buckets = Buckets::full(&rates, Millis(0.0));
        let results = (0..72_000).map(|n| buckets.request(1, &rates, Millis(f64::from(n) * 50.0)));
        let refused: Vec<_> = results.filter_map(Result::err).collect();
        assert!(refused.len() > 30_000 && refused.iter().all(|too_fast| !too_fast.persistent));
        // A flood: after a while it is enough.
        let mut buckets = Buckets::full(&rates, Millis(0.0));
        let results = (0..1000).map(|n| buckets.request(1, &rates, Millis(f64::from(n))));
        let refused: Vec<_> = results.filter_map(Result::err).collect();
        let first = refused.iter().position(|too_fast| too_fast.persistent).unwrap();
        assert!((500..530).contains(&first), "{first}");
        assert_eq!(refused[0].limit, "requests_per_second");
    }

    #[test]
    fn time_that_stands_still_gives_nothing() {
        let rate = Rate { per_second: 1.0, burst: 1.0 };
        let mut bucket = Bucket::full(rate, Millis(5.0));
        assert_eq!(bucket.take(1.0, rate, Millis(5.0)), Ok(()));
        assert_eq!(bucket.take(1.0, rate, Millis(1.0)), Err(1000));
    }
}
