//! Native WebSocket pings (RFC 6455 section 5.5.2) of one connection: one outstanding, with eight
//! unpredictable bytes, measured from the flush that carried it.
//!
//! Background tabs answer these, timers of pages do not; so this, not a message, tells who is dead.

use rallypoint_protocol::event::Millis;

/// What is due on a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Due {
    /// Nothing before this moment.
    Wait(Millis),
    /// Send a ping now.
    Ping,
    /// The peer missed too many.
    Dead,
}

/// A measured round trip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trip {
    /// This one, milliseconds.
    pub sample: f64,
    /// Smoothed round trip, milliseconds.
    pub rtt: f64,
    /// Smoothed deviation, milliseconds.
    pub jitter: f64,
}

/// The state of the pings of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    interval_ms: u64,
    missed_max: usize,
    next: Millis,
    outstanding: Option<([u8; 8], Millis)>,
    missed: usize,
    trip: Option<Trip>,
}

impl Pulse {
    /// The first ping goes out soon, so that a round trip is known before the first report.
    pub fn new(interval_ms: u64, missed_max: usize, now: Millis) -> Self {
        let next = now.after(interval_ms.min(1000));
        Self { interval_ms, missed_max, next, outstanding: None, missed: 0, trip: None }
    }

    /// When [`Pulse::due`] has something to say.
    pub fn peek(&self) -> Millis {
        self.next
    }

    /// What is due now. A ping that was not answered within the interval counts as missed.
    pub fn due(&mut self, now: Millis) -> Due {
        if now < self.next {
            return Due::Wait(self.next);
        }
        if self.outstanding.take().is_some() {
            self.missed += 1;
        }
        if self.missed >= self.missed_max {
            return Due::Dead;
        }
        self.next = now.after(self.interval_ms);
        Due::Ping
    }

    /// The ping with these bytes was handed to the kernel, perhaps long after it was due: its answer has the whole
    /// interval from now.
    pub fn sent(&mut self, payload: [u8; 8], now: Millis) {
        self.outstanding = Some((payload, now));
        self.next = now.after(self.interval_ms);
    }

    /// The answer came to a ping of which it was not known yet that the kernel has it: it went ahead of what still
    /// waits. Its round trip is not known, but the peer lives.
    pub fn answered_early(&mut self) {
        self.missed = 0;
    }

    /// A pong arrived. Only the answer to the outstanding ping counts; anything else is noise
    /// that RFC 6455 section 5.5.3 allows.
    pub fn pong(&mut self, payload: &[u8], now: Millis) -> Option<Trip> {
        let (expected, sent) = self.outstanding?;
        if payload != expected {
            return None;
        }
        self.outstanding = None;
        self.missed = 0;
        let sample = now.since(sent);
        // The smoothing of RFC 6298 section 2: quick to follow, slow to forget a deviation.
        let trip = match self.trip {
            None => Trip { sample, rtt: sample, jitter: sample / 2.0 },
            Some(Trip { rtt, jitter, .. }) => {
                Trip { sample, rtt: rtt * 0.875 + sample * 0.125, jitter: jitter * 0.75 + (rtt - sample).abs() * 0.25 }
            }
        };
        self.trip = Some(trip);
        Some(trip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 8] = *b"aaaaaaaa";
    const B: [u8; 8] = *b"bbbbbbbb";

    #[test]
    fn a_round_trip_is_smoothed() {
        let mut pulse = Pulse::new(15_000, 2, Millis(0.0));
        assert_eq!(pulse.due(Millis(999.0)), Due::Wait(Millis(1000.0)));
        assert_eq!(pulse.due(Millis(1000.0)), Due::Ping);
        pulse.sent(A, Millis(1000.0));
        assert_eq!(pulse.pong(&B, Millis(1010.0)), None);
        assert_eq!(pulse.pong(&A, Millis(1010.0)), Some(Trip { sample: 10.0, rtt: 10.0, jitter: 5.0 }));
        assert_eq!(pulse.pong(&A, Millis(1020.0)), None, "an answer counts once");
        assert_eq!(pulse.due(Millis(16_000.0)), Due::Ping);
        pulse.sent(B, Millis(16_000.0));
        assert_eq!(pulse.pong(&B, Millis(16_018.0)), Some(Trip { sample: 18.0, rtt: 11.0, jitter: 5.75 }));
    }

    #[test]
    fn two_missed_pings_are_death_and_one_answer_is_life() {
        let mut pulse = Pulse::new(1000, 2, Millis(0.0));
        assert_eq!(pulse.due(Millis(1000.0)), Due::Ping);
        pulse.sent(A, Millis(1000.0));
        assert_eq!(pulse.due(Millis(2000.0)), Due::Ping);
        pulse.sent(B, Millis(2000.0));
        assert!(pulse.pong(&B, Millis(2500.0)).is_some());
        assert_eq!(pulse.due(Millis(3000.0)), Due::Ping);
        pulse.sent(A, Millis(3000.0));
        assert_eq!(pulse.due(Millis(4000.0)), Due::Ping);
        pulse.sent(B, Millis(4000.0));
        assert_eq!(pulse.due(Millis(5000.0)), Due::Dead);
    }

    #[test]
    fn an_answer_before_the_flush_is_through_is_life() {
        let mut pulse = Pulse::new(1000, 2, Millis(0.0));
        assert_eq!(pulse.due(Millis(1000.0)), Due::Ping);
        pulse.sent(A, Millis(1000.0));
        assert_eq!(pulse.due(Millis(2000.0)), Due::Ping);
        pulse.answered_early();
        assert_eq!(pulse.due(Millis(3000.0)), Due::Ping);
        pulse.sent(A, Millis(3000.0));
        assert_eq!(pulse.due(Millis(4000.0)), Due::Ping, "one is missed, not two");
    }

    #[test]
    fn a_ping_that_waited_for_the_kernel_has_its_interval_too() {
        let mut pulse = Pulse::new(1000, 1, Millis(0.0));
        assert_eq!(pulse.due(Millis(1000.0)), Due::Ping);
        pulse.sent(A, Millis(1990.0));
        assert_eq!(pulse.due(Millis(2000.0)), Due::Wait(Millis(2990.0)), "it is on its way for 10 ms");
        assert_eq!(pulse.due(Millis(2990.0)), Due::Dead);
    }
}
