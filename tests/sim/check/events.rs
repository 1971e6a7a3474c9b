//! Events: in the log's order, without holes, each once. A guest computes every position and tag itself.

use bytes::Bytes;
use rallypoint::room::RoomSettings;
use rallypoint_protocol::Position;

use super::Findings;

/// The whole log, of which a room keeps a tail.
#[derive(Debug)]
pub(crate) struct Events {
    findings: Findings,
    log: Vec<(Position, Bytes)>,
}

impl Events {
    pub(super) fn new(findings: &Findings) -> Self {
        Self { findings: findings.clone(), log: Vec::new() }
    }

    /// The log took an event.
    pub(crate) fn published(&mut self, position: Position, bytes: Bytes) {
        self.findings.expect(position.seq == self.log.len() as u64 + 1, || format!("the log went on by {position:?}"));
        self.log.push((position, bytes));
    }

    /// Where the log stands.
    pub(crate) fn head(&self) -> Option<Position> {
        self.log.last().map(|(position, _)| *position)
    }

    /// Whether the room must still have all events after `since`.
    pub(super) fn reach(&self, since: Position, settings: &RoomSettings) -> bool {
        let after = usize::try_from(since.seq).map_or(&[][..], |seq| &self.log[seq..]);
        after.len() <= settings.history_events
            && after.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= settings.history_bytes
    }

    /// A guest that stood at `at` got an event; returns where it stands now.
    pub(crate) fn came(&self, guest: usize, at: Position, position: Option<Position>, bytes: &[u8]) -> Position {
        self.findings.seen("event");
        let next = at.next(bytes);
        self.findings.expect(position.is_none_or(|position| position == next), || {
            format!("guest {guest} stood at {at:?} and got the event of {position:?}: a gap that nobody named")
        });
        let known = usize::try_from(next.seq).ok().and_then(|seq| self.log.get(seq - 1));
        self.findings.expect(known.is_some_and(|(known, _)| *known == next), || {
            format!("guest {guest}: the event after {at:?} is not the log's")
        });
        next
    }

    /// A guest was shown the room. `from` is where it stands by what it has, if nothing was to be lost.
    pub(crate) fn shown(&self, guest: usize, from: Option<Position>, position: Position) {
        self.findings.expect(from.is_none_or(|from| from == position), || {
            format!("guest {guest} stands at {from:?} and is shown {position:?}: a gap that nobody named")
        });
        let known = usize::try_from(position.seq).ok().and_then(|seq| self.log.get(seq.saturating_sub(1)));
        self.findings.expect(position.seq == 0 || known.is_some_and(|(known, _)| *known == position), || {
            format!("guest {guest} is shown {position:?}, where the log never stood")
        });
    }
}
