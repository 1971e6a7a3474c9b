//! Users that are here: their sockets and feeds, for notifications, kicks and ceilings.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dashmap::DashMap;
use parking_lot::Mutex;
use rallypoint_protocol::{ErrorCode, Position, ServerMessage, UserName};

use super::{feeds::Wake, sessions::SessionCell};
use crate::{frame::Frame, room::history::Publication};

#[derive(Default)]
struct Present {
    sessions: Vec<Arc<SessionCell>>,
    feeds: Vec<(u64, Arc<Wake>)>,
    closed: bool,
}

/// One user with at least one connection.
pub(super) struct UserCell {
    name: UserName,
    /// Mark of the newest notification this node has seen, so that a feed need not ask.
    news: AtomicU64,
    present: Mutex<Present>,
}

impl UserCell {
    /// Who.
    pub(super) fn name(&self) -> &UserName {
        &self.name
    }

    /// Whether a feed at `position` has anything to read in the user's log.
    pub(super) fn has_news(&self, position: Position) -> bool {
        self.news.load(Ordering::Acquire) != mark(position)
    }
}

impl UserCell {
    fn end(&self, code: ErrorCode, end: impl Fn(&Arc<SessionCell>)) -> usize {
        let present = self.present.lock();
        present.sessions.iter().for_each(end);
        present.feeds.iter().for_each(|(_, wake)| wake.end(code));
        present.sessions.len() + present.feeds.len()
    }
}

/// Tells positions of one log apart, those of another life included: epochs are random.
fn mark(position: Position) -> u64 {
    position.epoch ^ position.seq
}

/// All users of a node.
#[derive(Default)]
pub(crate) struct Users {
    map: DashMap<UserName, Arc<UserCell>>,
}

impl Users {
    fn enter<T>(
        &self,
        name: &UserName,
        max: usize,
        enter: impl Fn(&mut Present) -> T,
    ) -> Result<(Arc<UserCell>, T), ErrorCode> {
        loop {
            let make = || {
                let (news, present) = (AtomicU64::new(0), Mutex::default());
                Arc::new(UserCell { name: name.clone(), news, present })
            };
            let cell = self.map.entry(name.clone()).or_insert_with(make).value().clone();
            let mut present = cell.present.lock();
            if present.closed {
                continue;
            }
            if present.sessions.len() + present.feeds.len() >= max {
                return Err(ErrorCode::TooManyConnections);
            }
            let entered = enter(&mut present);
            drop(present);
            return Ok((cell, entered));
        }
    }

    /// A socket's session is here.
    pub(super) fn enter_session(
        &self,
        name: &UserName,
        max: usize,
        session: impl Fn() -> Arc<SessionCell>,
    ) -> Result<Arc<SessionCell>, ErrorCode> {
        let enter = |present: &mut Present| {
            let session = session();
            present.sessions.push(session.clone());
            session
        };
        self.enter(name, max, enter).map(|(_, session)| session)
    }

    /// A feed is here.
    pub(super) fn enter_feed(
        &self,
        name: &UserName,
        id: u64,
        wake: &Arc<Wake>,
        max: usize,
    ) -> Result<Arc<UserCell>, ErrorCode> {
        self.enter(name, max, |present| present.feeds.push((id, wake.clone()))).map(|(cell, ())| cell)
    }

    pub(super) fn leave_session(&self, session: &SessionCell) {
        let Some(cell) = self.get(session.user()) else { return };
        self.leave(&cell, |present| present.sessions.retain(|other| other.peer() != session.peer()));
    }

    pub(super) fn leave_feed(&self, cell: &UserCell, id: u64) {
        self.leave(cell, |present| present.feeds.retain(|(other, _)| *other != id));
    }

    fn leave(&self, cell: &UserCell, leave: impl FnOnce(&mut Present)) {
        leave(&mut cell.present.lock());
        self.map.remove_if(&cell.name, |_, found| {
            let mut present = found.present.lock();
            present.closed |= present.sessions.is_empty() && present.feeds.is_empty();
            present.closed
        });
    }

    fn get(&self, name: &UserName) -> Option<Arc<UserCell>> {
        self.map.get(name).map(|cell| cell.value().clone())
    }

    /// Hands a notification to all of the user's sockets and feeds.
    pub(super) fn notify(&self, user: &str, publication: &Publication) {
        let Some(cell) = self.map.get(user).map(|cell| cell.value().clone()) else { return };
        cell.news.store(mark(publication.position), Ordering::Release);
        let message: ServerMessage =
            publication.event().to_message(&publication.log, publication.position, None, |_| None);
        let mut frame = Frame::of(message);
        let present = cell.present.lock();
        for session in &present.sessions {
            let link = session.link();
            link.push(frame.get(link.encoding()));
        }
        present.feeds.iter().for_each(|(_, wake)| wake.wake());
    }

    /// How many sockets, streams and held polls a user has.
    pub(super) fn count(&self, user: &UserName) -> usize {
        self.get(user).map_or(0, |cell| {
            let present = cell.present.lock();
            present.sessions.len() + present.feeds.len()
        })
    }

    /// Ends everything that anybody has here: the node goes away.
    pub(super) fn end_all(&self, end: impl Fn(&Arc<SessionCell>)) {
        let cells: Vec<_> = self.map.iter().map(|cell| cell.value().clone()).collect();
        for cell in cells {
            cell.end(ErrorCode::ShuttingDown, &end);
        }
    }

    /// Ends everything a user has here; returns how much that was.
    pub(super) fn close_all(&self, user: &UserName, end: impl Fn(&Arc<SessionCell>)) -> usize {
        self.get(user).map_or(0, |cell| cell.end(ErrorCode::Forbidden, end))
    }
}
