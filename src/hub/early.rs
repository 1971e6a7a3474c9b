//! What a room is told before it can take it: an event before the one that it follows, and all that comes while the room
//! is still being loaded.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rallypoint_protocol::{PeerId, event::Millis, server::Signal};

use crate::{
    broker::{Changed, Opened, parcel::Step},
    node::NodeId,
    room::{Room, command::Present, history::Publication},
};

/// Deliveries that may wait for the one before them until whoever publishes to the room waits as well.
pub(super) const EARLY_MAX: usize = 256;

/// What is not due after so long is dropped: its member has left, or is on another node than the one that sent it.
const EARLY_MS: u64 = 5000;

/// What a member on another node says past the log.
pub(super) enum Talk {
    /// A signal to a member of this node.
    Signal(PeerId, Signal),
    /// A move.
    Step(Step),
}

impl Talk {
    /// Whether it can be handed on that came from this node. Whoever says it is there, as far as is known; a signal may come
    /// before its sender.
    pub(super) fn is_due(&self, room: &Room, node: NodeId) -> bool {
        let home = |peer| room.member(peer).map(|member| member.home);
        match self {
            Self::Signal(_, signal) => home(signal.from).is_none_or(|home| home == Some(node)),
            Self::Step(step) => home(step.peer) == Some(Some(node)),
        }
    }
}

/// What was said too early: when it came, and from which node.
struct Said {
    at: Millis,
    node: NodeId,
    talk: Talk,
}

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
    /// Of members of other nodes who are not known to be there yet.
    said: VecDeque<Said>,
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

    /// Whether something waits that was said.
    pub(super) fn holds_talk(&self) -> bool {
        !self.said.is_empty()
    }

    /// Something that is not due yet.
    pub(super) fn talk(&mut self, at: Millis, node: NodeId, talk: Talk) {
        if self.said.len() >= EARLY_MAX {
            self.said.pop_front();
        }
        self.said.push_back(Said { at, node, talk });
    }

    /// What of it is due by now, in the order in which it came.
    pub(super) fn ripe(&mut self, now: Millis, is_due: impl Fn(&Talk, NodeId) -> bool) -> Vec<Talk> {
        if self.said.is_empty() {
            return Vec::new();
        }
        let mut ripe = Vec::new();
        for said in std::mem::take(&mut self.said) {
            if is_due(&said.talk, said.node) {
                ripe.push(said.talk);
            } else if said.at.after(EARLY_MS) > now {
                self.said.push_back(said);
            }
        }
        ripe
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
