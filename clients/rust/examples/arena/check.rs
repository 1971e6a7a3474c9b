//! What the lanes promise, as a judge that is told what one receiver saw: reliable moves each once
//! and in order, latest moves never backwards and ending on the newest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use rallypoint_client::protocol::moves::Lane;

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The same move twice.
    Duplicate { from: u32, lane: Lane, n: u32 },
    /// A reliable move after a later one.
    Reorder { from: u32, n: u32 },
    /// A reliable move that never came.
    Loss { from: u32, n: u32 },
    /// A latest move that is older than one that came before.
    Backwards { from: u32, n: u32, after: u32 },
    /// The last latest move to come is not the last that was sent.
    StaleEnd { from: u32, last: Option<u32>, newest: u32 },
    /// A move that nobody sent.
    Invented { from: u32, lane: Lane, n: u32 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Duplicate { from, lane, n } => write!(f, "{} move {n} of member {from} came twice", label(lane)),
            Self::Reorder { from, n } => write!(f, "reliable move {n} of member {from} came after a later one"),
            Self::Loss { from, n } => write!(f, "reliable move {n} of member {from} never came"),
            Self::Backwards { from, n, after } => write!(f, "latest move {n} of member {from} came after {after}"),
            Self::StaleEnd { from, last: Some(last), newest } => {
                write!(f, "latest moves of member {from} end on {last}, not on {newest}")
            }
            Self::StaleEnd { from, last: None, newest } => {
                write!(f, "no latest move of member {from} came; the newest is {newest}")
            }
            Self::Invented { from, lane, n } => write!(f, "{} move {n} of member {from} was never sent", label(lane)),
        }
    }
}

/// The word for a lane.
pub(crate) fn label(lane: Lane) -> &'static str {
    match lane {
        Lane::Latest => "latest",
        Lane::Reliable => "reliable",
    }
}

/// Everything one receiver saw, by sender.
#[derive(Debug)]
pub(crate) struct Check {
    /// How many moves each sender sends on each lane.
    latest: u32,
    reliable: u32,
    senders: BTreeMap<u32, Sender>,
    /// Promises not yet kept, so that [`Check::is_complete`] costs nothing.
    open: usize,
    faults: Vec<Fault>,
}

#[derive(Debug, Default)]
struct Sender {
    latest: Option<u32>,
    latest_seen: u32,
    next_reliable: u32,
    reliable_seen: u32,
    missing: BTreeSet<u32>,
}

impl Check {
    /// Expects `latest` and `reliable` moves, numbered from 0, from each sender.
    pub(crate) fn new(senders: impl IntoIterator<Item = u32>, latest: u32, reliable: u32) -> Self {
        let senders: BTreeMap<_, _> = senders.into_iter().map(|from| (from, Sender::default())).collect();
        let open = senders.len() * (usize::from(latest > 0) + usize::from(reliable > 0));
        Self { latest, reliable, senders, open, faults: Vec::new() }
    }

    /// Move number `n` on a lane arrived.
    pub(crate) fn saw(&mut self, from: u32, lane: Lane, n: u32) {
        let sent = if lane == Lane::Latest { self.latest } else { self.reliable };
        let Some(sender) = self.senders.get_mut(&from).filter(|_| n < sent) else {
            return self.faults.push(Fault::Invented { from, lane, n });
        };
        match lane {
            Lane::Latest => {
                sender.latest_seen += 1;
                match sender.latest {
                    Some(last) if n == last => return self.faults.push(Fault::Duplicate { from, lane, n }),
                    Some(last) if n < last => return self.faults.push(Fault::Backwards { from, n, after: last }),
                    _ => sender.latest = Some(n),
                }
                self.open -= usize::from(n + 1 == sent);
            }
            Lane::Reliable => {
                sender.reliable_seen += 1;
                if n >= sender.next_reliable {
                    sender.missing.extend(sender.next_reliable..n);
                    sender.next_reliable = n + 1;
                } else if sender.missing.remove(&n) {
                    self.faults.push(Fault::Reorder { from, n });
                } else {
                    return self.faults.push(Fault::Duplicate { from, lane, n });
                }
                self.open -= usize::from(sender.next_reliable == sent && sender.missing.is_empty());
            }
        }
    }

    /// Whether nothing more is to come: the newest of every lane, and every reliable one.
    pub(crate) fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// How many moves arrived on a lane.
    pub(crate) fn seen(&self, lane: Lane) -> u64 {
        let seen = |sender: &Sender| if lane == Lane::Latest { sender.latest_seen } else { sender.reliable_seen };
        self.senders.values().map(|sender| u64::from(seen(sender))).sum()
    }

    /// Whether the lane ended on the newest move of every sender.
    pub(crate) fn ended_on_newest(&self) -> bool {
        self.latest == 0 || self.senders.values().all(|sender| sender.latest == Some(self.latest - 1))
    }

    /// Every broken promise, now that nothing more will come.
    pub(crate) fn verdict(mut self) -> Vec<Fault> {
        for (&from, sender) in &self.senders {
            let missing = sender.missing.iter().copied().chain(sender.next_reliable..self.reliable);
            self.faults.extend(missing.map(|n| Fault::Loss { from, n }));
            if let Some(newest) = self.latest.checked_sub(1)
                && sender.latest != Some(newest)
            {
                self.faults.push(Fault::StaleEnd { from, last: sender.latest, newest });
            }
        }
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 4;
    const B: u32 = 9;

    /// Feeds one lane of two senders: B without fault, A as told.
    fn after(lane: Lane, told: &[u32]) -> Check {
        let (latest, reliable) = if lane == Lane::Latest { (5, 0) } else { (0, 5) };
        let mut check = Check::new([A, B], latest, reliable);
        (0..5).for_each(|n| check.saw(B, lane, n));
        told.iter().for_each(|&n| check.saw(A, lane, n));
        check
    }

    #[test]
    fn a_clean_run_is_complete_and_without_fault() {
        for lane in [Lane::Latest, Lane::Reliable] {
            let check = after(lane, &[0, 1, 2, 3, 4]);
            assert!(check.is_complete() && check.ended_on_newest());
            assert_eq!(check.seen(lane), 10);
            assert_eq!(check.verdict(), []);
        }
    }

    #[test]
    fn skipped_latest_moves_are_no_fault() {
        let check = after(Lane::Latest, &[1, 4]);
        assert!(check.is_complete());
        assert_eq!(check.seen(Lane::Latest), 7);
        assert_eq!(check.verdict(), []);
    }

    #[test]
    fn duplicates_are_found() {
        for lane in [Lane::Latest, Lane::Reliable] {
            let faults = after(lane, &[0, 1, 1, 2, 3, 4]).verdict();
            assert_eq!(faults, [Fault::Duplicate { from: A, lane, n: 1 }]);
            let faults = after(lane, &[0, 1, 2, 3, 4, 4]).verdict();
            assert_eq!(faults, [Fault::Duplicate { from: A, lane, n: 4 }]);
        }
    }

    #[test]
    fn reordering_is_found_and_is_no_loss() {
        let check = after(Lane::Reliable, &[0, 2, 1, 3, 4]);
        assert!(check.is_complete());
        assert_eq!(check.verdict(), [Fault::Reorder { from: A, n: 1 }]);
        let check = after(Lane::Reliable, &[0, 1, 2, 4, 3]);
        assert!(check.is_complete());
        assert_eq!(check.verdict(), [Fault::Reorder { from: A, n: 3 }]);
        let faults = after(Lane::Latest, &[0, 2, 1, 4]).verdict();
        assert_eq!(faults, [Fault::Backwards { from: A, n: 1, after: 2 }]);
    }

    #[test]
    fn loss_is_found_in_the_middle_and_at_the_end() {
        let check = after(Lane::Reliable, &[0, 1, 3]);
        assert!(!check.is_complete());
        assert_eq!(check.verdict(), [Fault::Loss { from: A, n: 2 }, Fault::Loss { from: A, n: 4 }]);
    }

    #[test]
    fn a_stale_end_is_found() {
        let check = after(Lane::Latest, &[0, 1, 2, 3]);
        assert!(!check.is_complete() && !check.ended_on_newest());
        assert_eq!(check.verdict(), [Fault::StaleEnd { from: A, last: Some(3), newest: 4 }]);
        let faults = after(Lane::Latest, &[]).verdict();
        assert_eq!(faults, [Fault::StaleEnd { from: A, last: None, newest: 4 }]);
    }

    #[test]
    fn moves_that_nobody_sent_are_found() {
        let mut check = after(Lane::Latest, &[0, 1, 2, 3, 4, 5]);
        check.saw(77, Lane::Latest, 0);
        check.saw(A, Lane::Reliable, 0);
        let invented = |from, lane, n| Fault::Invented { from, lane, n };
        let (latest, reliable) = (Lane::Latest, Lane::Reliable);
        assert_eq!(check.verdict(), [invented(A, latest, 5), invented(77, latest, 0), invented(A, reliable, 0)]);
    }
}
