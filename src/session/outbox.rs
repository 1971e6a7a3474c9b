//! What waits to be written to one connection: control frames first, then everything else in
//! order, with older latest moves replaced in place.
//!
//! Pure: the connection's link asks what to write and says how much was written. Without anything
//! waiting it holds no memory on the heap.

use std::{collections::VecDeque, io::IoSlice};

use bytes::Bytes;
use rustc_hash::FxHashMap;

/// Which latest move a frame carries. A newer frame of the same slot takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Handle of the room; for `state` frames too.
    pub room: u32,
    /// Handle of the sender; 0 is the room itself.
    pub from: u32,
    /// The sender's key.
    pub key: u16,
    /// Whether the move named its receivers: such moves have slots of their own.
    pub named: bool,
}

#[derive(Debug)]
struct Entry {
    frame: Bytes,
    slot: Option<Slot>,
}

/// The frames are more than the budget allows; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget;

/// What became of a pushed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits behind the others.
    Queued,
    /// It took the place of an older one.
    Replaced,
}

/// Up to this many waiting frames a scan finds a slot faster than an index.
const SCAN_MAX: usize = 64;
/// Control frames wait only behind a blocked socket; more bytes than this never need to.
pub const CONTROL_MAX: usize = 1024;

/// The waiting frames of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The frame that is partly written, and how much of it is. It is always finished first.
    current: Option<(Bytes, usize)>,
    control: VecDeque<Bytes>,
    queue: VecDeque<Entry>,
    /// Slot to entry number, once the queue is long; numbers count on from `popped`.
    index: Option<Box<FxHashMap<Slot, u64>>>,
    popped: u64,
    /// Bytes in `current` and `queue` not yet written.
    bytes: usize,
    /// Bytes of them that do not count against the budget, until all is written.
    allowed: usize,
    control_bytes: usize,
}

impl Outbox {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.current.is_none() && self.control.is_empty() && self.queue.is_empty()
    }

    /// Bytes that wait, control frames aside.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a control frame (pong, ping, close): ahead of queued frames, never inside one.
    pub fn push_control(&mut self, frame: Bytes) -> Result<(), OverBudget> {
        if self.control_bytes + frame.len() > CONTROL_MAX {
            return Err(OverBudget);
        }
        self.control_bytes += frame.len();
        self.control.push_back(frame);
        Ok(())
    }

    /// Adds a frame that must arrive. What waits already decides: a single frame may be larger
    /// than what is left of the budget.
    pub fn push(&mut self, frame: Bytes, budget: usize) -> Result<Pushed, OverBudget> {
        self.add(frame, None, budget)
    }

    /// Adds a latest move, or puts it in the place of the one it follows.
    pub fn push_latest(&mut self, frame: Bytes, slot: Slot, budget: usize) -> Result<Pushed, OverBudget> {
        if let Some(at) = self.find(slot) {
            let entry = &mut self.queue[at];
            self.bytes = self.bytes - entry.frame.len() + frame.len();
            entry.frame = frame;
            return Ok(Pushed::Replaced);
        }
        self.add(frame, Some(slot), budget)
    }

    /// Adds a frame that the server owes whatever its size, such as the picture of a room after a
    /// resume: it is bounded by other means, and must not cost the receiver its budget.
    pub fn push_owed(&mut self, frame: Bytes) {
        self.allowed += frame.len();
        _ = self.add(frame, None, usize::MAX);
    }

    fn add(&mut self, frame: Bytes, slot: Option<Slot>, budget: usize) -> Result<Pushed, OverBudget> {
        if self.bytes > budget.saturating_add(self.allowed) {
            return Err(OverBudget);
        }
        self.bytes += frame.len();
        if let Some(slot) = slot
            && let Some(index) = &mut self.index
        {
            index.insert(slot, self.popped + self.queue.len() as u64);
        }
        self.queue.push_back(Entry { frame, slot });
        if self.queue.len() > SCAN_MAX && self.index.is_none() {
            self.build_index();
        }
        Ok(Pushed::Queued)
    }

    fn build_index(&mut self) {
        let slots = self.queue.iter().zip(self.popped..).filter_map(|(entry, n)| Some((entry.slot?, n)));
        self.index = Some(Box::new(slots.collect()));
    }

    fn find(&self, slot: Slot) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&slot).and_then(|&n| usize::try_from(n - self.popped).ok()),
            None => self.queue.iter().position(|entry| entry.slot == Some(slot)),
        }
    }

    /// Drops the queued latest moves of a member that left.
    pub fn forget(&mut self, room: u32, from: u32) {
        let gone = |slot: &Slot| slot.room == room && slot.from == from;
        if !self.queue.iter().any(|entry| entry.slot.as_ref().is_some_and(gone)) {
            return;
        }
        self.queue.retain(|entry| {
            let drop = entry.slot.as_ref().is_some_and(gone);
            if drop {
                self.bytes -= entry.frame.len();
            }
            !drop
        });
        if self.index.is_some() {
            self.build_index();
        }
    }

    /// Drops everything that is not partly written: the connection is about to be closed.
    pub fn abandon(&mut self) {
        self.control.clear();
        self.control_bytes = 0;
        self.queue.clear();
        self.index = None;
        self.allowed = 0;
        self.bytes = self.current.as_ref().map_or(0, |(frame, done)| frame.len() - done);
    }

    /// Fills `slices` with what to write next; returns how many.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let current = self.current.iter().map(|(frame, done)| &frame[*done..]);
        let control = self.control.iter().map(|frame| &frame[..]);
        let queue = self.queue.iter().map(|entry| &entry.frame[..]);
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(current.chain(control).chain(queue)) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// Notes that `written` bytes of what [`Outbox::gather`] gave are on their way.
    pub fn advance(&mut self, mut written: usize) {
        if let Some((frame, done)) = self.current.take() {
            let rest = frame.len() - done;
            let taken = rest.min(written);
            self.bytes = self.bytes.saturating_sub(taken);
            written -= taken;
            if taken < rest {
                self.current = Some((frame, done + taken));
                return;
            }
        }
        while written > 0 {
            let Some(frame) = self.pop() else { return };
            let taken = frame.len().min(written);
            self.bytes -= taken;
            written -= taken;
            if taken < frame.len() {
                self.current = Some((frame, taken));
            }
        }
        // Most connections are idle most of the time; an allocation is little beside a write.
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
            self.index = None;
            self.allowed = 0;
        }
        if self.control.is_empty() {
            self.control = VecDeque::new();
        }
    }

    /// The next whole frame. Control frames join the count of bytes when their turn comes.
    fn pop(&mut self) -> Option<Bytes> {
        if let Some(frame) = self.control.pop_front() {
            self.control_bytes -= frame.len();
            self.bytes += frame.len();
            return Some(frame);
        }
        let entry = self.queue.pop_front()?;
        if let (Some(index), Some(slot)) = (&mut self.index, entry.slot) {
            index.remove(&slot);
        }
        self.popped += 1;
        Some(entry.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: usize = 1000;

    fn slot(from: u32) -> Slot {
        Slot { room: 1, from, key: 0, named: false }
    }

    /// Writes at most `limit` bytes of what waits and returns them.
    fn write(outbox: &mut Outbox, limit: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = outbox.gather(&mut slices);
        let mut out: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        out.truncate(limit);
        outbox.advance(out.len());
        out
    }

    #[test]
    fn control_goes_first_but_never_inside_a_frame() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"aaaa"), BUDGET).unwrap();
        outbox.push(Bytes::from_static(b"bb"), BUDGET).unwrap();
        assert_eq!(write(&mut outbox, 2), b"aa");
        outbox.push_control(Bytes::from_static(b"PP")).unwrap();
        assert_eq!(write(&mut outbox, 100), b"aaPPbb");
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn the_newest_takes_the_place_of_the_older() {
        let mut outbox = Outbox::default();
        let push = |outbox: &mut Outbox, frame: &'static [u8], from| {
            outbox.push_latest(Bytes::from_static(frame), slot(from), BUDGET).unwrap()
        };
        assert_eq!(push(&mut outbox, b"a1", 1), Pushed::Queued);
        assert_eq!(push(&mut outbox, b"b1", 2), Pushed::Queued);
        assert_eq!(push(&mut outbox, b"a2.", 1), Pushed::Replaced);
        assert_eq!(outbox.bytes(), 5);
        assert_eq!(write(&mut outbox, 1), b"a");
        // What is partly written can no longer be replaced.
        assert_eq!(push(&mut outbox, b"a3", 1), Pushed::Queued);
        assert_eq!(write(&mut outbox, 100), b"2.b1a3");
    }

    #[test]
    fn over_the_budget_nothing_is_added() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from(vec![0; BUDGET + 1]), BUDGET).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"x"), BUDGET), Err(OverBudget));
        assert_eq!(outbox.push_latest(Bytes::from_static(b"x"), slot(1), BUDGET), Err(OverBudget));
        assert_eq!(outbox.push_control(Bytes::from(vec![0; CONTROL_MAX + 1])), Err(OverBudget));
        write(&mut outbox, 1);
        outbox.push(Bytes::from_static(b"x"), BUDGET).unwrap();
    }

    #[test]
    fn a_leaver_takes_its_moves_along() {
        let mut outbox = Outbox::default();
        for n in 0..100u8 {
            outbox.push_latest(Bytes::from(vec![n]), slot(u32::from(n)), BUDGET).unwrap();
        }
        outbox.forget(1, 50);
        outbox.forget(2, 51);
        assert_eq!(outbox.bytes(), 99);
        assert_eq!(outbox.push_latest(Bytes::from_static(b"\xff"), slot(51), BUDGET), Ok(Pushed::Replaced));
        assert_eq!(outbox.push_latest(Bytes::from_static(b"\xfe"), slot(50), BUDGET), Ok(Pushed::Queued));
    }

    #[test]
    fn what_is_owed_does_not_count() {
        let mut outbox = Outbox::default();
        outbox.push_owed(Bytes::from(vec![0; 5 * BUDGET]));
        outbox.push_owed(Bytes::from(vec![0; 5 * BUDGET]));
        for _ in 0..=10 {
            assert_eq!(outbox.push(Bytes::from(vec![0; BUDGET / 10]), BUDGET), Ok(Pushed::Queued));
        }
        assert_eq!(outbox.push(Bytes::from_static(b"x"), BUDGET), Err(OverBudget));
        while !outbox.is_empty() {
            write(&mut outbox, usize::MAX);
        }
        assert_eq!(outbox.push(Bytes::from(vec![0; BUDGET + 1]), BUDGET), Ok(Pushed::Queued));
        assert_eq!(outbox.push(Bytes::from_static(b"x"), BUDGET), Err(OverBudget), "the allowance is used up");
    }

    proptest! {
        /// However it is written, in whatever pieces: reliable frames all arrive, in order; of a
        /// slot the newest arrives and no older one after it; the count of bytes stays true.
        #[test]
        fn any_batching_keeps_the_promises(
            steps in prop::collection::vec((0u32..200, 0u8..8, 1usize..300), 1..400),
        ) {
            let mut outbox = Outbox::default();
            let mut out = Vec::new();
            let (mut reliable, mut newest) = (Vec::new(), FxHashMap::default());
            for (n, &(from, kind, limit)) in steps.iter().enumerate() {
                let n = u16::try_from(n).unwrap();
                let [a, b] = n.to_be_bytes();
                if kind < 2 {
                    outbox.push(Bytes::from(vec![0, 0, a, b]), 1 << 20).unwrap();
                    reliable.push(n);
                } else if kind < 7 {
                    let frame = vec![1, u8::try_from(from).unwrap(), a, b];
                    outbox.push_latest(Bytes::from(frame), slot(from), 1 << 20).unwrap();
                    newest.insert(from, n);
                } else {
                    out.extend(write(&mut outbox, limit));
                }
            }
            while !outbox.is_empty() {
                out.extend(write(&mut outbox, 7));
            }
            prop_assert_eq!(outbox.bytes(), 0);
            let (mut seen, mut last) = (Vec::new(), FxHashMap::default());
            for frame in out.chunks(4) {
                let n = u16::from_be_bytes([frame[2], frame[3]]);
                if frame[0] == 0 {
                    seen.push(n);
                } else {
                    let before = last.insert(u32::from(frame[1]), n);
                    prop_assert!(before.is_none_or(|before| before < n));
                }
            }
            prop_assert_eq!(seen, reliable);
            prop_assert_eq!(last, newest);
        }
    }
}
