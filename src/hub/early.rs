//! What a room is told before it can take it: an event before the one that it follows, and all that comes while the room
//! is still being loaded.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rallypoint_protocol::PeerId;

use crate::{
    broker::{Changed, Opened, parcel::Step},
    room::{command::Present, history::Publication},
};

/// Deliveries that may wait for the one before them until whoever publishes to the room waits as well.
pub(super) const EARLY_MAX: usize = 256;

/// What waits.
#[derive(Default)]
pub(super) struct Early {
    events: BTreeMap<u64, Arc<Publication>>,
    /// The log began anew while the room was being loaded.
    begun: Option<Opened>,
    /// The members of other nodes were told while the room was being loaded.
    roster: Option<Vec<Present>>,
    /// And these came or went after that.
    changes: Vec<Changed>,
    /// Moves of members of other nodes whose join has not come yet.
    steps: VecDeque<Step>,
}

impl Early {
    /// An event that may not be the next one.
    pub(super) fn event(&mut self, publication: Arc<Publication>) {
        self.events.insert(publication.position.seq, publication);
    }

    /// The first of the events.
    pub(super) fn pop(&mut self) -> Option<Arc<Publication>> {
        self.events.pop_first().map(|(_, publication)| publication)
    }

    /// Whether as many events wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= EARLY_MAX
    }

    /// The log began anew: whatever came before counts no more.
    pub(super) fn begin(&mut self, opened: Opened) {
        *self = Self { begun: Some(opened), ..Self::default() };
    }

    /// All members of other nodes.
    pub(super) fn roster(&mut self, roster: Vec<Present>) {
        self.changes.clear();
        self.roster = Some(roster);
    }

    /// A member of another node.
    pub(super) fn change(&mut self, changed: Changed) {
        self.changes.push(changed);
    }

    /// A move of somebody who is not known yet.
    pub(super) fn step(&mut self, step: Step) {
        if self.steps.len() >= EARLY_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }

    /// The moves of those who are known by now.
    pub(super) fn ripe(&mut self, is_known: impl Fn(PeerId) -> bool) -> Vec<Step> {
        if self.steps.is_empty() {
            return Vec::new();
        }
        let (ripe, early) = std::mem::take(&mut self.steps).into_iter().partition(|step| is_known(step.peer));
        self.steps = early;
        Vec::from(ripe)
    }

    /// What a room begins with that was read as `opened`, and what changed in it since.
    pub(super) fn since(&mut self, opened: Opened) -> (Opened, Vec<Changed>) {
        let Opened { history, roster } = self.begun.take().unwrap_or(opened);
        let roster = self.roster.take().unwrap_or(roster);
        (Opened { history, roster }, std::mem::take(&mut self.changes))
    }
}

#[cfg(test)]
mod tests {
    use rallypoint_protocol::{PeerId, Position};

    use super::*;
    use crate::room::history::{Bounds, History};

    fn opened(epoch: u64) -> Opened {
        History::new(Position::start(epoch), Bounds { events: 9, bytes: 999, age_ms: 999 }).into()
    }

    #[test]
    fn the_last_word_counts() {
        let mut early = Early::default();
        let left = || Changed::Left(PeerId::random());
        early.change(left());
        early.roster(Vec::new());
        early.change(left());
        early.change(left());
        let (begins, changes) = early.since(opened(1));
        assert_eq!((begins.history.head().epoch, changes.len()), (1, 2));

        early.change(left());
        early.begin(opened(2));
        early.change(left());
        let (begins, changes) = early.since(opened(1));
        assert_eq!((begins.history.head().epoch, changes.len()), (2, 1));
        assert_eq!(early.since(opened(3)).0.history.head().epoch, 3);
    }
}
