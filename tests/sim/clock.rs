//! The virtual clock: what is to happen, in the order of its moments, and a hash of all that did.
//! The [world](crate::world) is its only user.

use std::collections::{BTreeMap, VecDeque};

use rallypoint_protocol::event::Millis;

/// Lines of the trace that a failure shows.
const SHOWN: usize = 40;

/// Happenings by moment; those of one moment in the order in which they were planned.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    now: u64,
    planned: u64,
    waiting: BTreeMap<(u64, u64), T>,
}

impl<T> Agenda<T> {
    /// Nothing is planned, and no time has passed.
    pub(crate) fn new() -> Self {
        Self { now: 0, planned: 0, waiting: BTreeMap::new() }
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// This is to happen at `at`, or at once if that is past.
    pub(crate) fn plan(&mut self, at: u64, what: T) {
        self.planned += 1;
        self.waiting.insert((at.max(self.now), self.planned), what);
    }

    /// Goes on to the next happening up to `end`.
    pub(crate) fn next(&mut self, end: u64) -> Option<T> {
        let first = self.waiting.first_entry()?;
        let at = first.key().0;
        (at <= end).then(|| {
            self.now = at;
            first.remove()
        })
    }
}

/// Moments of the virtual clock as the crate takes them.
#[expect(clippy::cast_precision_loss, reason = "minutes")]
pub(crate) fn millis(at: u64) -> Millis {
    Millis(at as f64)
}

/// What happened, as a hash, and its last lines for people.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    last: VecDeque<(u64, &'static str, u64, u64)>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, last: VecDeque::new() }
    }

    /// One more line.
    pub(crate) fn note(&mut self, at: u64, what: &'static str, a: u64, b: u64) {
        let numbers = [at, a, b].into_iter().flat_map(u64::to_le_bytes);
        for byte in what.bytes().chain(numbers) {
            // FNV-1a, which is the same in every version of every library.
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back((at, what, a, b));
    }

    /// The hash of all lines.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        self.last.iter().map(|(at, what, a, b)| format!("{at:>8} ms  {what} {a} {b}\n")).collect()
    }
}
