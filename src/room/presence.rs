//! Joins and leaves of a large room, gathered so that telling about them stays linear.

use rallypoint_protocol::{
    PeerId,
    event::{Entry, Gone, Millis, Presence},
};

/// Most members that one summary lists in each direction.
pub const LISTED_MAX: usize = 20;

/// What has happened since the last summary.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    joined: Vec<Entry>,
    left: Vec<Gone>,
    more: bool,
    /// When the next summary is due.
    due: Option<Millis>,
}

impl Gathered {
    /// When the next summary is due, if anything happened.
    pub fn due(&self) -> Option<Millis> {
        self.due
    }

    fn touch(&mut self, now: Millis, every_ms: u64) {
        self.due.get_or_insert(now.after(every_ms));
    }

    /// A member joined.
    pub fn join(&mut self, entry: Entry, now: Millis, every_ms: u64) {
        self.touch(now, every_ms);
        if self.joined.len() < LISTED_MAX {
            self.joined.push(entry);
        } else {
            self.more = true;
        }
    }

    /// A member left. One that joined since the last summary is told, too: whoever was shown the room in between knows
    /// it.
    pub fn leave(&mut self, gone: Gone, now: Millis, every_ms: u64) {
        self.touch(now, every_ms);
        self.joined.retain(|entry| entry.peer != gone.peer);
        if self.left.len() < LISTED_MAX {
            self.left.push(gone);
        } else {
            self.more = true;
        }
    }

    /// An event tells of this member: what waits about it is older, and must not be told after it.
    pub fn told(&mut self, peer: PeerId) {
        self.joined.retain(|entry| entry.peer != peer);
        self.left.retain(|gone| gone.peer != peer);
    }

    /// A waiting member's entry, so that a change of its public state is told with its join.
    pub fn waiting(&mut self, peer: PeerId) -> Option<&mut Entry> {
        self.joined.iter_mut().find(|entry| entry.peer == peer)
    }

    /// The summary, if one is due.
    pub fn take(&mut self, now: Millis, count: usize, spectators: usize) -> Option<Presence> {
        if self.due? > now {
            return None;
        }
        let Self { joined, left, more, .. } = std::mem::take(self);
        Some(Presence { count, spectators, joined, left, more })
    }
}
