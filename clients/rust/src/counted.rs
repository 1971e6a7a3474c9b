//! The count of counted messages, and when the server is to hear of it (`protocol/README.md`, section 8).

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

/// Counted messages after which an `ack` is due at once.
const ACK_EVERY: u64 = 128;
/// Bytes of them after which it is.
const ACK_BYTES: usize = 64 * 1024;
/// The longest time that a counted message waits for its `ack`.
const ACK_WITHIN: Duration = Duration::from_secs(5);

/// Signals and reliable moves received in this session, and how many of them are acknowledged.
#[derive(Debug)]
pub(crate) struct Counted {
    received: u64,
    /// Received and not acknowledged.
    bytes: usize,
    /// With this many an `ack` is due.
    ack_at: u64,
    ack_by: Option<Instant>,
}

impl Counted {
    /// Nothing yet. The first `ack` is due after some few messages at random, or all members of a large room would
    /// acknowledge the same one, and the server would have all of it to read at once.
    pub(crate) fn new() -> Self {
        Self::due_first(1 + RandomState::new().hash_one(()) % ACK_EVERY)
    }

    fn due_first(ack_at: u64) -> Self {
        Self { received: 0, bytes: 0, ack_at, ack_by: None }
    }

    /// One more, as a frame of this length.
    pub(crate) fn add(&mut self, len: usize, now: Instant) {
        self.received += 1;
        self.bytes += len;
        self.ack_by.get_or_insert(now + ACK_WITHIN);
    }

    /// What a resume says; the server takes it for an acknowledgement.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// When the next `ack` is due at the latest.
    pub(crate) fn ack_by(&self) -> Option<Instant> {
        self.ack_by
    }

    /// The number for an `ack`, if one is due now.
    pub(crate) fn ack(&mut self, now: Instant) -> Option<u64> {
        let is_many = self.received >= self.ack_at || self.bytes >= ACK_BYTES;
        let due = is_many || self.ack_by.is_some_and(|by| by <= now);
        due.then(|| {
            self.told();
            self.received
        })
    }

    /// The server knows the count, from an `ack` or from a resume that went well.
    pub(crate) fn told(&mut self) {
        (self.bytes, self.ack_at, self.ack_by) = (0, self.received + ACK_EVERY, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_due_by_number_or_by_time_and_never_without_news() {
        let begin = Instant::now();
        let mut counted = Counted::due_first(32);
        assert_eq!((counted.ack(begin + ACK_WITHIN), counted.ack_by()), (None, None));
        (0..31).for_each(|_| counted.add(1, begin));
        assert_eq!(counted.ack(begin), None);
        counted.add(1, begin);
        assert_eq!((counted.ack(begin), counted.ack_by()), (Some(32), None));
        (0..ACK_EVERY - 1).for_each(|_| counted.add(1, begin));
        assert_eq!(counted.ack(begin), None);
        counted.add(1, begin);
        assert_eq!(counted.ack(begin), Some(160));

        let later = begin + Duration::from_secs(60);
        counted.add(1, later);
        counted.add(1, later + Duration::from_secs(1));
        assert_eq!(counted.ack_by(), Some(later + ACK_WITHIN));
        assert_eq!(counted.ack(later + ACK_WITHIN - Duration::from_millis(1)), None);
        assert_eq!(counted.ack(later + ACK_WITHIN), Some(162));
        assert_eq!(counted.ack(later + 2 * ACK_WITHIN), None);
    }

    #[test]
    fn an_ack_is_due_when_what_the_server_keeps_is_large() {
        let now = Instant::now();
        let mut counted = Counted::due_first(ACK_EVERY);
        counted.add(ACK_BYTES - 1, now);
        assert_eq!(counted.ack(now), None);
        counted.add(1, now);
        assert_eq!((counted.ack(now), counted.ack(now)), (Some(2), None));
    }

    #[test]
    fn the_first_ack_is_due_within_the_interval() {
        let first: std::collections::BTreeSet<_> = (0..1000).map(|_| Counted::new().ack_at).collect();
        assert!(first.iter().all(|at| (1..=ACK_EVERY).contains(at)));
        assert!(first.len() > 100, "they are spread");
    }

    #[test]
    fn what_a_resume_has_told_is_not_told_again() {
        let begin = Instant::now();
        let mut counted = Counted::due_first(ACK_EVERY);
        (0..40).for_each(|_| counted.add(1, begin));
        counted.told();
        assert_eq!((counted.received(), counted.ack(begin + ACK_WITHIN)), (40, None));
        counted.add(1, begin);
        assert_eq!(counted.ack(begin), None);
        assert_eq!(counted.ack(begin + ACK_WITHIN), Some(41));
    }
}
