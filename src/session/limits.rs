//! Rates, kept inside the session: a bucket dies with what it limits.

use rallypoint_protocol::event::Millis;

/// A token bucket. It starts full and refills evenly.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    level: f64,
    updated: Millis,
}

/// How fast a bucket refills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Units a second.
    pub per_second: f64,
    /// Units at once.
    pub burst: f64,
}

impl Bucket {
    /// A full bucket.
    pub fn full(rate: Rate, now: Millis) -> Self {
        Self { level: rate.burst, updated: now }
    }

    /// Takes `units`, or tells in how many milliseconds there would be enough.
    pub fn take(&mut self, units: f64, rate: Rate, now: Millis) -> Result<(), u64> {
        let gained = now.since(self.updated) * rate.per_second / 1000.0;
        self.level = (self.level + gained).min(rate.burst);
        self.updated = now;
        if units <= self.level {
            self.level -= units;
            return Ok(());
        }
        let wait = (units.min(rate.burst) - self.level) / rate.per_second * 1000.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
        Err(wait.ceil().max(1.0) as u64)
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

/// The buckets of one session.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    requests: Bucket,
    moves: Bucket,
    bytes: Bucket,
}

impl Buckets {
    /// Full buckets.
    pub fn full(rates: &Rates, now: Millis) -> Self {
        Self {
            requests: Bucket::full(rates.requests, now),
            moves: Bucket::full(rates.moves, now),
            bytes: Bucket::full(rates.bytes, now),
        }
    }

    /// Room for one request of `len` bytes, or the milliseconds to wait.
    pub fn request(&mut self, len: usize, rates: &Rates, now: Millis) -> Result<(), u64> {
        self.bytes(len, rates, now)?;
        self.requests.take(1.0, rates.requests, now)
    }

    /// Room for one move of `len` bytes, or the milliseconds to wait.
    pub fn step(&mut self, len: usize, rates: &Rates, now: Millis) -> Result<(), u64> {
        self.bytes(len, rates, now)?;
        self.moves.take(1.0, rates.moves, now)
    }

    fn bytes(&mut self, len: usize, rates: &Rates, now: Millis) -> Result<(), u64> {
        #[expect(clippy::cast_precision_loss, reason = "frames are bounded")]
        self.bytes.take(len as f64, rates.bytes, now)
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
    fn time_that_stands_still_gives_nothing() {
        let rate = Rate { per_second: 1.0, burst: 1.0 };
        let mut bucket = Bucket::full(rate, Millis(5.0));
        assert_eq!(bucket.take(1.0, rate, Millis(5.0)), Ok(()));
        assert_eq!(bucket.take(1.0, rate, Millis(1.0)), Err(1000));
    }
}
