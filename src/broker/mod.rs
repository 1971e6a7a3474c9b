//! What orders events and, later, joins nodes. The hub talks to a broker only through this
//! contract; the in-memory engine takes the same road as a clustered one would.
//!
//! What it delivers may come twice, late or out of order; rooms take only the next event.

pub mod memory;

use std::{pin::Pin, sync::Arc};

use rallypoint_protocol::{Position, RoomName, code::ErrorCode, event::Millis, server::ResetReason};

use crate::room::history::{Bounds, History, Publication};

/// An answer that may take a while, or be there at once.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Recognises a publication that is tried again: the user and the user's own key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dedup(pub Box<str>);

/// A log and how much of it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    /// Which.
    pub name: &'a RoomName,
    /// How much.
    pub bounds: Bounds,
}

/// A publication that the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where.
    pub position: Position,
    /// Whether it had been there before, under the same [`Dedup`] key.
    pub repeated: bool,
}

/// Why a publication failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// It is not in the log and will not be.
    Rejected(ErrorCode),
    /// Nobody knows whether it is in the log; try again with the same key.
    Ambiguous,
    /// The engine takes nothing on now; it is not in the log.
    Overloaded,
}

impl From<PublishError> for ErrorCode {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Rejected(code) => code,
            PublishError::Ambiguous | PublishError::Overloaded => Self::Overloaded,
        }
    }
}

/// Where a log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Before the oldest kept event: everything kept can be read from here.
    pub edge: Position,
    /// After the newest event.
    pub head: Position,
}

/// Orders events, keeps a tail of them and hands them to the node's subscriber.
pub trait Broker: Send + Sync {
    /// Appends an event and delivers it. Positions per log and epoch are 1, 2, 3 … without holes.
    fn publish<'a>(
        &'a self,
        log: Log<'a>,
        event: Box<[u8]>,
        dedup: Option<Dedup>,
    ) -> Pending<'a, Result<Published, PublishError>>;

    /// At most `limit` events after a position, or why there would be a gap.
    fn read<'a>(
        &'a self,
        log: Log<'a>,
        after: Position,
        limit: usize,
    ) -> Pending<'a, Result<Vec<Arc<Publication>>, ResetReason>>;

    /// Where a log stands. A log that never had an event stands at the start of its next life.
    fn ends<'a>(&'a self, log: Log<'a>) -> Pending<'a, Ends>;

    /// Opens a log for a room of this node: the kept tail it begins with. Until it is closed the
    /// log lives on, and what is published after the tail was taken is delivered.
    fn open<'a>(&'a self, log: Log<'a>) -> Pending<'a, Result<History, PublishError>>;

    /// The room is gone; its log may follow once nothing in it is worth keeping.
    fn close(&self, name: &RoomName);

    /// Lets go of what is too old. Called every few seconds.
    fn sweep(&self, now: Millis);

    /// Bytes that all logs hold on this node.
    fn bytes(&self) -> usize;

    /// How much one log may keep while all of them together are over the node's ceiling.
    fn share(&self) -> Option<usize>;
}

/// Who gets what a broker delivers.
pub trait Subscriber: Send + Sync {
    /// An event of any log. Not called under a lock of the broker.
    fn deliver(&self, publication: Arc<Publication>);
}
