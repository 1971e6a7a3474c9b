//! What is to happen to a connection: decided by the seed and its number, before its first byte.

use std::time::Duration;

use crate::seed::Seed;

/// How one direction of a connection behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// How long every byte is on its way.
    pub delay: Duration,
    /// How much longer it may be; drawn anew for each piece, and the order stays.
    pub jitter: Duration,
    /// The most bytes a second.
    pub throttle: Option<u64>,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both sides get a reset; what was on its way is lost.
    Rst,
    /// Both sides see an orderly end of the stream.
    Fin,
    /// First nothing passes in either direction for a while, with both sockets open, as when a cable is pulled; then
    /// a reset.
    HalfOpen {
        /// For how long.
        hold: Duration,
    },
}

/// Where a connection is cut: when either direction has passed so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accident {
    /// Bytes towards the server; `None`: this direction does not matter.
    pub up_at: Option<u64>,
    /// Bytes towards the client.
    pub down_at: Option<u64>,
    /// How.
    pub cut: Cut,
}

/// What happens to POST requests that carry an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// A copy goes out at the same time on a connection of its own; its answer is thrown away.
    Beside,
    /// A copy goes out first and its answer is thrown away; the client gets the answer to the second.
    Before,
}

/// All that is to happen to one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Towards the server.
    pub up: Way,
    /// Towards the client.
    pub down: Way,
    /// Where it is cut, if it is.
    pub accident: Option<Accident>,
    /// Whether its POST requests are doubled.
    pub duplicate: Option<Duplicate>,
    /// From what the jitter is drawn.
    pub jitter_seed: u64,
}

/// How likely what is: plans are drawn from it. Percentages are of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    /// That are cut at all.
    pub cut: u64,
    /// Of those cut: within the first [`Mix::early_bytes`], where handshakes and first messages are.
    pub early: u64,
    /// How far "early" reaches.
    pub early_bytes: u64,
    /// Mean of the bytes towards the server until a cut.
    pub mean_up: u64,
    /// Mean of the bytes towards the client until a cut.
    pub mean_down: u64,
    /// Of those cut: half-open ones.
    pub half_open: u64,
    /// How long these are held.
    pub hold: Duration,
    /// Of those cut and not half-open: with an orderly end in place of a reset.
    pub fin: u64,
    /// With a delay and jitter, in each direction.
    pub delayed: u64,
    /// The longest delay, and the longest jitter.
    pub delay: Duration,
    /// That are throttled, in each direction.
    pub throttled: u64,
    /// The bytes a second of those.
    pub throttle: u64,
    /// Whose POST requests are doubled.
    pub doubled: u64,
}

impl Mix {
    /// The plan of connection `number`: the same for the same seed, whatever happened before.
    pub fn plan(&self, seed: u64, number: u64) -> Plan {
        let mut seed = Seed::part(seed, number);
        let (up, down) = (self.way(&mut seed), self.way(&mut seed));
        let accident = seed.percent(self.cut).then(|| self.accident(&mut seed));
        let duplicate =
            seed.percent(self.doubled).then(|| if seed.percent(50) { Duplicate::Beside } else { Duplicate::Before });
        Plan { up, down, accident, duplicate, jitter_seed: seed.draw() }
    }

    fn way(&self, seed: &mut Seed) -> Way {
        let mut up_to = |longest: Duration| {
            Duration::from_micros(seed.below(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX)))
        };
        let (delay, jitter) = (up_to(self.delay), up_to(self.delay));
        let delayed = seed.percent(self.delayed);
        let throttle = seed.percent(self.throttled).then_some(self.throttle);
        if delayed { Way { delay, jitter, throttle } } else { Way { throttle, ..Way::default() } }
    }

    fn accident(&self, seed: &mut Seed) -> Accident {
        let early = seed.percent(self.early);
        let mut at = |mean| if early { seed.below(self.early_bytes) } else { seed.exponential(mean) };
        // Whichever comes first: who only listens sends next to nothing up.
        let (up_at, down_at) = (Some(at(self.mean_up)), Some(at(self.mean_down)));
        let cut = if seed.percent(self.half_open) {
            Cut::HalfOpen { hold: self.hold }
        } else if seed.percent(self.fin) {
            Cut::Fin
        } else {
            Cut::Rst
        };
        Accident { up_at, down_at, cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix() -> Mix {
        Mix {
            cut: 90,
            early: 20,
            early_bytes: 1500,
            mean_up: 5000,
            mean_down: 50_000,
            half_open: 20,
            hold: Duration::from_secs(3),
            fin: 30,
            delayed: 30,
            delay: Duration::from_millis(20),
            throttled: 10,
            throttle: 20_000,
            doubled: 50,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plans_in_any_order() {
        let plans: Vec<_> = (0..500).map(|number| mix().plan(42, number)).collect();
        for number in (0..500).rev() {
            assert_eq!(mix().plan(42, number), plans[number as usize]);
        }
        assert_ne!(mix().plan(43, 0), plans[0]);
    }

    #[test]
    fn everything_in_the_mix_comes_up() {
        let plans: Vec<_> = (0..500).map(|number| mix().plan(1, number)).collect();
        let count = |wanted: &dyn Fn(&Plan) -> bool| plans.iter().filter(|plan| wanted(plan)).count();
        let cut = |wanted: fn(Cut) -> bool| move |plan: &Plan| plan.accident.is_some_and(|a| wanted(a.cut));
        assert!((400..490).contains(&count(&|plan| plan.accident.is_some())));
        assert!((60..130).contains(&count(&cut(|cut| matches!(cut, Cut::HalfOpen { .. })))));
        assert!((70..160).contains(&count(&cut(|cut| cut == Cut::Fin))));
        assert!((170..320).contains(&count(&cut(|cut| cut == Cut::Rst))));
        assert!((90..200).contains(&count(&|plan| plan.up.delay > Duration::ZERO)));
        assert!((20..90).contains(&count(&|plan| plan.down.throttle.is_some())));
        assert!((80..170).contains(&count(&|plan| plan.duplicate == Some(Duplicate::Before))));
        assert!((80..170).contains(&count(&|plan| plan.duplicate == Some(Duplicate::Beside))));
        assert!(count(&|plan| plan.accident.is_some_and(|a| a.up_at < Some(1500) && a.down_at < Some(1500))) > 50);
    }

    #[test]
    fn an_empty_mix_does_nothing() {
        for number in 0..100 {
            let plan = Mix::default().plan(9, number);
            assert_eq!(plan, Plan { jitter_seed: plan.jitter_seed, ..Plan::default() });
        }
    }
}
