//! Whether the engine is there, told neither too soon nor too often: a moment without an answer sends no guest away, and a
//! single answer calls none back.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Looks without an answer after which it counts as away.
const AWAY_AFTER: u32 = 3;
/// Looks with an answer after which it counts as there.
const THERE_AFTER: u32 = 2;

/// What a row of looks has come to. At first it is away: nobody has looked.
#[derive(Default)]
pub(super) struct Health {
    is_there: AtomicBool,
    /// Looks in a row that say otherwise.
    against: Mutex<u32>,
}

impl Health {
    /// Takes a look into account.
    pub(super) fn look(&self, is_there: bool) {
        let mut against = self.against.lock();
        if is_there == self.is_there() {
            *against = 0;
            return;
        }
        *against += 1;
        if *against >= if is_there { THERE_AFTER } else { AWAY_AFTER } {
            *against = 0;
            self.is_there.store(is_there, Ordering::Release);
            if is_there {
                tracing::info!("the engine is there");
            } else {
                tracing::warn!(
                    "the engine is away: rooms go on for those who are in them, and nothing is put into a log"
                );
            }
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_changes_nothing() {
        let health = Health::default();
        let after = |looks: &[bool]| {
            looks.iter().for_each(|&look| health.look(look));
            health.is_there()
        };
        assert!(!after(&[]));
        assert!(!after(&[true, false, true]));
        assert!(after(&[true]));
        assert!(after(&[false, false, true, false, false]));
        assert!(!after(&[false]));
        assert!(after(&[true, true]));
    }
}
