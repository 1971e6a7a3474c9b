//! The count of counted messages, and when the server is to hear of it (`protocol/README.md`, section 8).

use std::time::Duration;

use tokio::time::Instant;

/// Counted messages after which an `ack` is due at once.
const ACK_EVERY: u64 = 32;
/// The longest time that a counted message waits for its `ack`.
const ACK_WITHIN: Duration = Duration::from_secs(5);

/// Signals and reliable moves received in this session, and how many of them are acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    received: u64,
    acknowledged: u64,
    ack_by: Option<Instant>,
}

impl Counted {
    pub(crate) fn add(&mut self, now: Instant) {
        self.received += 1;
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
        let due = self.received - self.acknowledged >= ACK_EVERY || self.ack_by.is_some_and(|by| by <= now);
        due.then(|| {
            self.told();
            self.received
        })
    }

    /// The server knows the count, from an `ack` or from a resume that went well.
    pub(crate) fn told(&mut self) {
        (self.acknowledged, self.ack_by) = (self.received, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_due_by_number_or_by_time_and_never_without_news() {
        let begin = Instant::now();
        let mut counted = Counted::default();
        assert_eq!((counted.ack(begin + ACK_WITHIN), counted.ack_by()), (None, None));
        (0..31).for_each(|_| counted.add(begin));
        assert_eq!(counted.ack(begin), None);
        counted.add(begin);
        assert_eq!((counted.ack(begin), counted.ack_by()), (Some(32), None));

        let later = begin + Duration::from_secs(60);
        counted.add(later);
        counted.add(later + Duration::from_secs(1));
        assert_eq!(counted.ack_by(), Some(later + ACK_WITHIN));
        assert_eq!(counted.ack(later + ACK_WITHIN - Duration::from_millis(1)), None);
        assert_eq!(counted.ack(later + ACK_WITHIN), Some(34));
        assert_eq!(counted.ack(later + 2 * ACK_WITHIN), None);
    }

    #[test]
    fn what_a_resume_has_told_is_not_told_again() {
        let begin = Instant::now();
        let mut counted = Counted::default();
        (0..40).for_each(|_| counted.add(begin));
        counted.told();
        assert_eq!((counted.received(), counted.ack(begin + ACK_WITHIN)), (40, None));
        counted.add(begin);
        assert_eq!(counted.ack(begin), None);
        assert_eq!(counted.ack(begin + ACK_WITHIN), Some(41));
    }
}
