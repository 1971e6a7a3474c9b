//! The sessions of a node: the cell in which a session lives together with its way out.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use rallypoint_protocol::{PeerId, UserName};

use super::{link::Link, rooms::RoomCell};
use crate::session::Session;

/// A session and its way out. Rooms, users and the connection's task share it.
pub struct SessionCell {
    peer: PeerId,
    user: UserName,
    link: Arc<Link>,
    /// Signals and reliable moves sent, the count that `ack` speaks of.
    counted: AtomicU64,
    session: Mutex<Session<Arc<RoomCell>>>,
}

impl SessionCell {
    pub(super) fn new(session: Session<Arc<RoomCell>>, link: Arc<Link>) -> Self {
        let (peer, user) = (session.peer(), session.grant().user.clone());
        Self { peer, user, link, counted: AtomicU64::new(0), session: Mutex::new(session) }
    }

    /// The public identity.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Who it is.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The way out.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// The session, locked. Order of locks: room, then session.
    pub fn lock(&self) -> MutexGuard<'_, Session<Arc<RoomCell>>> {
        self.session.lock()
    }

    /// One more signal or reliable move is on its way.
    pub(super) fn count_one(&self) {
        self.counted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many signals and reliable moves it was sent.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}
