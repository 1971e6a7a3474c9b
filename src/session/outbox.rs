//! What waits to be written to one connection: control frames first, then everything else in
//! order, with older latest moves replaced in place.
//!
//! Pure: the connection's link asks what to write and says how much was written.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::frame::Encoded;

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
    frame: Encoded,
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

/// The waiting frames of one connection. Most of the time that is none, or one on its way to the end of the turn: only
/// when there are more does it take memory on the heap.
#[derive(Debug, Default)]
pub struct Outbox {
    alone: Option<Entry>,
    /// Never there together with `alone`, and never empty.
    many: Option<Box<Many>>,
}

/// Frames that wait together, or with something to be remembered of them.
#[derive(Debug, Default)]
struct Many {
    /// The frame that is partly written, and how much of it is. It is always finished first, and never dropped.
    current: Option<(Encoded, usize)>,
    control: VecDeque<Encoded>,
    queue: VecDeque<Entry>,
    /// Slot to entry number, once the queue is long; numbers count on from `popped`.
    index: Option<FxHashMap<Slot, u64>>,
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
        self.alone.is_none() && self.many.is_none()
    }

    /// Bytes that wait, control frames aside.
    pub fn bytes(&self) -> usize {
        self.alone.as_ref().map_or(0, |entry| entry.frame.len()) + self.many.as_ref().map_or(0, |many| many.bytes)
    }

    /// Frames that wait, a row of them counted as one.
    pub fn frames(&self) -> usize {
        usize::from(self.alone.is_some()) + self.many.as_ref().map_or(0, |many| many.waiting().count())
    }

    /// Begins with bytes that are no frame, go first and are never dropped.
    pub fn begin_with(&mut self, head: Vec<u8>) {
        let head = Encoded::new(head, 0);
        self.among_many(|many| {
            many.bytes += head.len();
            many.current = Some((head, 0));
        });
    }

    /// How much of that is left.
    pub fn head(&self) -> usize {
        let current = self.many.as_ref().and_then(|many| many.current.as_ref());
        current.filter(|(first, _)| first.messages() == 0).map_or(0, |(head, done)| head.len() - done)
    }

    /// Adds a control frame (pong, ping, close): ahead of queued frames, never inside one.
    pub fn push_control(&mut self, frame: Encoded) -> Result<(), OverBudget> {
        self.among_many(|many| many.push_control(frame))
    }

    /// Adds a frame that must arrive. What waits already decides: a single frame may be larger
    /// than what is left of the budget.
    pub fn push(&mut self, frame: Encoded, budget: usize) -> Result<Pushed, OverBudget> {
        self.add(Entry { frame, slot: None }, budget)
    }

    /// Adds a latest move, or puts it in the place of the one it follows.
    pub fn push_latest(&mut self, frame: Encoded, slot: Slot, budget: usize) -> Result<Pushed, OverBudget> {
        self.add(Entry { frame, slot: Some(slot) }, budget)
    }

    /// Adds a frame that the server owes whatever its size, such as the picture of a room after a
    /// resume: it is bounded by other means, and must not cost the receiver its budget.
    pub fn push_owed(&mut self, frame: Encoded) {
        self.among_many(|many| {
            many.allowed += frame.len();
            _ = many.add(frame, None, usize::MAX);
        });
    }

    fn add(&mut self, entry: Entry, budget: usize) -> Result<Pushed, OverBudget> {
        match &mut self.alone {
            None if self.many.is_none() => {
                self.alone = Some(entry);
                Ok(Pushed::Queued)
            }
            Some(alone) if entry.slot.is_some() && alone.slot == entry.slot => {
                *alone = entry;
                Ok(Pushed::Replaced)
            }
            _ => self.among_many(|many| match entry.slot {
                Some(slot) => many.push_latest(entry.frame, slot, budget),
                None => many.add(entry.frame, None, budget),
            }),
        }
    }

    /// Does something to many frames, of which one may have been alone so far.
    fn among_many<T>(&mut self, change: impl FnOnce(&mut Many) -> T) -> T {
        let many = self.many.get_or_insert_default();
        if let Some(Entry { frame, slot }) = self.alone.take() {
            _ = many.add(frame, slot, usize::MAX);
        }
        let changed = change(many);
        self.many.take_if(|many| many.is_empty());
        changed
    }

    /// Drops the queued latest moves of a member that left.
    pub fn forget(&mut self, room: u32, from: u32) {
        self.alone.take_if(|alone| alone.is_of(room, from));
        if self.many.is_some() {
            self.among_many(|many| many.forget(room, from));
        }
    }

    /// A picture of a room comes behind its latest moves that wait: they keep their places and no newer ones take them,
    /// which would arrive before the older ones in the picture.
    pub fn settle(&mut self, room: u32) {
        self.alone.iter_mut().for_each(|alone| alone.settle(room));
        if let Some(many) = &mut self.many {
            many.queue.iter_mut().for_each(|entry| entry.settle(room));
            many.index.iter_mut().for_each(|index| index.retain(|slot, _| slot.room != room));
        }
    }

    /// Drops everything that is not partly written: the connection is about to be closed.
    pub fn abandon(&mut self) {
        self.alone = None;
        if self.many.is_some() {
            self.among_many(Many::abandon);
        }
    }

    /// What waits, frame by frame; the first may be the rest of one.
    pub fn waiting(&self) -> impl Iterator<Item = &[u8]> {
        let alone = self.alone.iter().map(|entry| &entry.frame[..]);
        alone.chain(self.many.iter().flat_map(|many| many.waiting()))
    }

    /// What to write next: a frame as it is, or as many as fit copied one after the other into `scratch`. To copy small
    /// frames is cheaper than to have the kernel gather them, and large ones come alone.
    pub fn next<'a>(&'a self, scratch: &'a mut [u8]) -> &'a [u8] {
        let mut waiting = self.waiting().peekable();
        let Some(first) = waiting.next() else { return &[] };
        let fits = |len: usize, more: &[u8]| len + more.len() <= scratch.len();
        if !waiting.peek().is_some_and(|second| fits(first.len(), second)) {
            return first;
        }
        let mut len = first.len();
        scratch[..len].copy_from_slice(first);
        while let Some(more) = waiting.next_if(|more| len + more.len() <= scratch.len()) {
            scratch[len..][..more.len()].copy_from_slice(more);
            len += more.len();
        }
        &scratch[..len]
    }

    /// Notes that `written` bytes of what [`Outbox::next`] gave are on their way. Returns how many messages that
    /// completed.
    pub fn advance(&mut self, written: usize) -> u32 {
        match self.alone.take_if(|alone| alone.frame.len() == written) {
            Some(alone) => alone.frame.messages(),
            None => self.among_many(|many| many.advance(written)),
        }
    }
}

impl Entry {
    fn is_of(&self, room: u32, from: u32) -> bool {
        self.slot.is_some_and(|slot| slot.room == room && slot.from == from)
    }

    fn settle(&mut self, room: u32) {
        self.slot.take_if(|slot| slot.room == room);
    }
}

impl Many {
    fn is_empty(&self) -> bool {
        self.current.is_none() && self.control.is_empty() && self.queue.is_empty()
    }

    fn push_control(&mut self, frame: Encoded) -> Result<(), OverBudget> {
        if self.control_bytes + frame.len() > CONTROL_MAX {
            return Err(OverBudget);
        }
        self.control_bytes += frame.len();
        self.control.push_back(frame);
        Ok(())
    }

    fn push_latest(&mut self, frame: Encoded, slot: Slot, budget: usize) -> Result<Pushed, OverBudget> {
        if let Some(at) = self.find(slot) {
            let entry = &mut self.queue[at];
            self.bytes = self.bytes - entry.frame.len() + frame.len();
            entry.frame = frame;
            return Ok(Pushed::Replaced);
        }
        self.add(frame, Some(slot), budget)
    }

    fn add(&mut self, frame: Encoded, slot: Option<Slot>, budget: usize) -> Result<Pushed, OverBudget> {
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
        self.index = Some(slots.collect());
    }

    fn find(&self, slot: Slot) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&slot).and_then(|&n| usize::try_from(n - self.popped).ok()),
            None => self.queue.iter().position(|entry| entry.slot == Some(slot)),
        }
    }

    fn forget(&mut self, room: u32, from: u32) {
        if !self.queue.iter().any(|entry| entry.is_of(room, from)) {
            return;
        }
        self.queue.retain(|entry| {
            let drop = entry.is_of(room, from);
            if drop {
                self.bytes -= entry.frame.len();
            }
            !drop
        });
        if self.index.is_some() {
            self.build_index();
        }
    }

    fn abandon(&mut self) {
        self.control.clear();
        self.control_bytes = 0;
        self.queue.clear();
        self.index = None;
        self.allowed = 0;
        self.bytes = self.current.as_ref().map_or(0, |(frame, done)| frame.len() - done);
    }

    fn waiting(&self) -> impl Iterator<Item = &[u8]> {
        let current = self.current.iter().map(|(frame, done)| &frame[*done..]);
        let control = self.control.iter().map(|frame| &frame[..]);
        current.chain(control).chain(self.queue.iter().map(|entry| &entry.frame[..]))
    }

    fn advance(&mut self, mut written: usize) -> u32 {
        let mut messages = 0;
        if let Some((frame, done)) = self.current.take() {
            let rest = frame.len() - done;
            let taken = rest.min(written);
            self.bytes = self.bytes.saturating_sub(taken);
            written -= taken;
            if taken < rest {
                self.current = Some((frame, done + taken));
                return messages;
            }
            messages += frame.messages();
        }
        while written > 0 {
            let Some(frame) = self.pop() else { break };
            let taken = frame.len().min(written);
            self.bytes -= taken;
            written -= taken;
            if taken < frame.len() {
                self.current = Some((frame, taken));
            } else {
                messages += frame.messages();
            }
        }
        if self.queue.is_empty() {
            self.index = None;
            self.allowed = 0;
        }
        messages
    }

    /// The next whole frame. Control frames join the count of bytes when their turn comes.
    fn pop(&mut self) -> Option<Encoded> {
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

    fn frame(bytes: impl Into<Vec<u8>>) -> Encoded {
        Encoded::new(bytes.into(), 1)
    }

    /// Writes at most `limit` bytes of what waits and returns them.
    fn write(outbox: &mut Outbox, limit: usize) -> Vec<u8> {
        let mut out = outbox.next(&mut [0; 32]).to_vec();
        out.truncate(limit);
        outbox.advance(out.len());
        out
    }

    #[test]
    fn control_goes_first_but_never_inside_a_frame() {
        let mut outbox = Outbox::default();
        outbox.push(frame(b"aaaa"), BUDGET).unwrap();
        outbox.push(frame(b"bb"), BUDGET).unwrap();
        assert_eq!(write(&mut outbox, 2), b"aa");
        outbox.push_control(frame(b"PP")).unwrap();
        assert_eq!(write(&mut outbox, 100), b"aaPPbb");
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn messages_are_counted_when_their_last_byte_is_written() {
        let mut outbox = Outbox::default();
        outbox.push(Encoded::new(b"row".to_vec(), 3), BUDGET).unwrap();
        assert_eq!(outbox.advance(3), 3);
        outbox.begin_with(b"head".to_vec());
        outbox.push(frame(b"aaaa"), BUDGET).unwrap();
        outbox.push_control(frame(b"P")).unwrap();
        assert_eq!([4, 1, 3, 1].map(|written| outbox.advance(written)), [0, 1, 0, 1]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_it_begins_with_outlives_a_close() {
        let mut outbox = Outbox::default();
        outbox.begin_with(b"head".to_vec());
        outbox.push(frame(b"a"), BUDGET).unwrap();
        outbox.push_control(frame(b"P")).unwrap();
        assert_eq!(outbox.next(&mut [0; 32]), b"headPa");
        outbox.abandon();
        outbox.push_control(frame(b"C")).unwrap();
        assert_eq!(outbox.bytes(), 4);
        assert_eq!((write(&mut outbox, 1), outbox.head()), (b"h".to_vec(), 3));
        assert_eq!((write(&mut outbox, 3), outbox.head()), (b"ead".to_vec(), 0));
        assert_eq!(write(&mut outbox, 100), b"C");
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn the_newest_takes_the_place_of_the_older() {
        let mut outbox = Outbox::default();
        let push =
            |outbox: &mut Outbox, bytes: &[u8], from| outbox.push_latest(frame(bytes), slot(from), BUDGET).unwrap();
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
        outbox.push(frame(vec![0; BUDGET + 1]), BUDGET).unwrap();
        assert_eq!(outbox.push(frame(b"x"), BUDGET), Err(OverBudget));
        assert_eq!(outbox.push_latest(frame(b"x"), slot(1), BUDGET), Err(OverBudget));
        assert_eq!(outbox.push_control(frame(vec![0; CONTROL_MAX + 1])), Err(OverBudget));
        write(&mut outbox, 1);
        outbox.push(frame(b"x"), BUDGET).unwrap();
    }

    #[test]
    fn a_leaver_takes_its_moves_along() {
        let mut outbox = Outbox::default();
        for n in 0..100u8 {
            outbox.push_latest(frame(vec![n]), slot(u32::from(n)), BUDGET).unwrap();
        }
        outbox.forget(1, 50);
        outbox.forget(2, 51);
        assert_eq!(outbox.bytes(), 99);
        assert_eq!(outbox.push_latest(frame(b"\xff"), slot(51), BUDGET), Ok(Pushed::Replaced));
        assert_eq!(outbox.push_latest(frame(b"\xfe"), slot(50), BUDGET), Ok(Pushed::Queued));
    }

    #[test]
    fn no_move_goes_ahead_of_a_picture() {
        for others in [0, 1, 100] {
            let mut outbox = Outbox::default();
            outbox.push_latest(frame(b"old."), slot(0), BUDGET).unwrap();
            for n in 0..others {
                outbox.push_latest(frame(b"oth."), Slot { room: 2, ..slot(n) }, BUDGET).unwrap();
            }
            outbox.settle(1);
            outbox.push(frame(b"pic."), BUDGET).unwrap();
            assert_eq!(outbox.push_latest(frame(b"new."), slot(0), BUDGET), Ok(Pushed::Queued));
            assert_eq!(outbox.push_latest(frame(b"NEW."), slot(0), BUDGET), Ok(Pushed::Replaced));
            let mut out = Vec::new();
            while !outbox.is_empty() {
                out.extend(write(&mut outbox, usize::MAX));
            }
            let room: Vec<_> = out.chunks(4).filter(|frame| frame != b"oth.").collect();
            assert_eq!(room, [b"old.", b"pic.", b"NEW."], "among {others}");
        }
    }

    #[test]
    fn what_is_owed_does_not_count() {
        let mut outbox = Outbox::default();
        outbox.push_owed(frame(vec![0; 5 * BUDGET]));
        outbox.push_owed(frame(vec![0; 5 * BUDGET]));
        for _ in 0..=10 {
            assert_eq!(outbox.push(frame(vec![0; BUDGET / 10]), BUDGET), Ok(Pushed::Queued));
        }
        assert_eq!(outbox.push(frame(b"x"), BUDGET), Err(OverBudget));
        while !outbox.is_empty() {
            write(&mut outbox, usize::MAX);
        }
        assert_eq!(outbox.push(frame(vec![0; BUDGET + 1]), BUDGET), Ok(Pushed::Queued));
        assert_eq!(outbox.push(frame(b"x"), BUDGET), Err(OverBudget), "the allowance is used up");
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
                    outbox.push(frame(vec![0, 0, a, b]), 1 << 20).unwrap();
                    reliable.push(n);
                } else if kind < 7 {
                    outbox.push_latest(frame([1, u8::try_from(from).unwrap(), a, b]), slot(from), 1 << 20).unwrap();
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
