//! The room as it stands: everything but the kept events, from which a replica goes on.

use rallypoint_protocol::Position;

use super::{Room, history::History};

/// A room frozen at a position.
#[derive(Clone, Debug)]
pub struct Snapshot {
    room: Room,
}

impl Snapshot {
    /// Where the log stood.
    pub fn position(&self) -> Position {
        self.room.position()
    }
}

impl Room {
    /// The room as it stands now.
    pub fn snapshot(&self) -> Snapshot {
        let history = History::new(self.position(), self.settings.bounds());
        Snapshot { room: Self { history, ..self.clone() } }
    }

    /// A replica that goes on from a snapshot.
    pub fn restore(snapshot: Snapshot) -> Self {
        snapshot.room
    }
}
