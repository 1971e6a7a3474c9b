//! Users that are here: their sockets and feeds, for notifications, kicks and ceilings.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};
use rallypoint_protocol::{
    ErrorCode, Position, RoomName, ServerMessage, UserName,
    server::{Reset, ResetReason},
};
use smallvec::SmallVec;
use uuid::Uuid;

use super::{early::EARLY_MAX, feeds::Wake, rooms::mark, sessions::SessionCell};
use crate::{
    auth::DuplicatePolicy,
    broker::{Broker, Log},
    frame::Frame,
    room::history::{Bounds, History, Publication},
};

/// Users whose older tokens were called in that a node remembers; the first are forgotten first.
const CALLED_IN_MAX: usize = 100_000;

#[derive(Default)]
struct Present {
    sessions: Vec<Arc<SessionCell>>,
    /// Sessions that are on their way in, and have begun to listen for news.
    coming: usize,
    /// Up to where the user's log was handed to the sessions; unknown before the first of them.
    told: Option<Position>,
    closed: bool,
    rare: Option<Box<Rare>>,
}

/// What most users never have.
#[derive(Default)]
struct Rare {
    feeds: SmallVec<[Reader; 1]>,
    /// Deliveries that came before the ones they follow: two publishers may race to hand theirs over.
    early: BTreeMap<u64, Arc<Publication>>,
}

/// A feed, or somebody else who only reads.
#[derive(Clone)]
pub(super) struct Reader {
    /// Unlike that of any other.
    pub(super) id: u64,
    /// How it is told that there is news, or that it is to end.
    pub(super) wake: Arc<Wake>,
    /// Whether it is told of notifications.
    pub(super) hears: bool,
}

impl Present {
    /// Sockets, streams and held polls; lost sessions have none.
    fn connections(&self) -> usize {
        self.sessions.iter().filter(|session| session.is_here()).count() + self.feeds().len()
    }

    fn feeds(&self) -> &[Reader] {
        self.rare.as_ref().map_or(&[], |rare| &rare.feeds)
    }

    /// Takes a delivery; returns what is to be told now, in the order of the log.
    fn in_order(&mut self, publication: &Arc<Publication>) -> Vec<Arc<Publication>> {
        let position = publication.position;
        let Some(told) = self.told else { return Vec::new() };
        if told.epoch != position.epoch {
            // The log has begun anew.
            self.rare.iter_mut().for_each(|rare| rare.early.clear());
            self.told = Some(position);
            return vec![publication.clone()];
        }
        let mut next = told.seq + 1;
        let mut due = Vec::new();
        if position.seq == next {
            self.told = Some(position);
            due.push(publication.clone());
            next += 1;
        } else if position.seq > next {
            self.rare.get_or_insert_default().early.insert(position.seq, publication.clone());
        }
        while let Some(publication) = self.rare.as_mut().and_then(|rare| rare.early.remove(&next)) {
            self.told = Some(publication.position);
            due.push(publication);
            next += 1;
        }
        due
    }

    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.feeds().is_empty() && self.coming == 0
    }
}

/// One user with at least one connection.
pub(super) struct UserCell {
    name: UserName,
    /// Mark of the newest notification this node has seen since the user came.
    news: AtomicU64,
    present: Mutex<Present>,
}

impl UserCell {
    /// Who.
    pub(super) fn name(&self) -> &UserName {
        &self.name
    }

    fn wake_all(&self, code: ErrorCode) -> usize {
        let present = self.present.lock();
        present.feeds().iter().for_each(|reader| reader.wake.end(code));
        present.feeds().len()
    }
}

/// A user whose news are kept track of while a session comes in, so that nothing that is published
/// between its look into the log and its first word is missed.
pub(super) struct Coming<'a> {
    users: &'a Users,
    cell: Arc<UserCell>,
}

/// What the user had heard when a look into the log began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct News(u64);

impl Coming<'_> {
    /// To be asked before the look into the log.
    pub(super) fn news(&self) -> News {
        News(self.cell.news.load(Ordering::Acquire))
    }

    /// Keeps notifications away while the guard lives; `None` if one came since the look.
    pub(super) fn hold(&self, news: News) -> Option<Held<'_>> {
        let present = self.cell.present.lock();
        (self.news() == news).then_some(Held { present })
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.users.leave(&self.cell, |present| present.coming -= 1);
    }
}

/// The user, locked: no notification comes meanwhile.
pub(super) struct Held<'a> {
    present: MutexGuard<'a, Present>,
}

impl Held<'_> {
    /// The user's log is known up to here by whoever comes in now.
    pub(super) fn stands_at(&mut self, head: Position) {
        self.present.told.get_or_insert(head);
    }

    /// A session of the user.
    pub(super) fn find(&self, id: Uuid) -> Option<&Arc<SessionCell>> {
        self.present.sessions.iter().find(|session| session.id() == id)
    }

    /// Takes a session in. Returns the sessions that must end for it, by the policy for duplicates.
    pub(super) fn enter(
        &mut self,
        max: usize,
        policy: DuplicatePolicy,
        session: impl FnOnce() -> Arc<SessionCell>,
    ) -> Result<(Arc<SessionCell>, Vec<Arc<SessionCell>>), ErrorCode> {
        let others = match policy {
            DuplicatePolicy::Multi => Vec::new(),
            DuplicatePolicy::Reject if self.present.sessions.iter().any(|session| session.is_here()) => {
                return Err(ErrorCode::DuplicateRefused);
            }
            DuplicatePolicy::Reject | DuplicatePolicy::Replace => self.present.sessions.clone(),
        };
        let leaving = others.iter().filter(|session| session.is_here()).count();
        if self.present.connections() - leaving >= max {
            return Err(ErrorCode::TooManyConnections);
        }
        let session = session();
        // Most users have one session: no memory for four.
        self.present.sessions.reserve_exact(1);
        self.present.sessions.push(session.clone());
        Ok((session, others))
    }
}

/// Users whose tokens of older generations are no longer accepted.
#[derive(Default)]
struct CalledIn {
    generations: rustc_hash::FxHashMap<UserName, u64>,
    order: VecDeque<UserName>,
}

/// All users of a node.
pub(crate) struct Users {
    map: DashMap<UserName, Arc<UserCell>>,
    called_in: Mutex<CalledIn>,
    broker: Arc<dyn Broker>,
    bounds: Bounds,
}

impl Users {
    /// With the engine in which their logs are, and how much of those is kept.
    pub(super) fn new(broker: Arc<dyn Broker>, bounds: Bounds) -> Self {
        Self { map: DashMap::new(), called_in: Mutex::default(), broker, bounds }
    }

    /// A user's own log.
    pub(super) fn log<'a>(&self, name: &'a RoomName) -> Log<'a> {
        Log { name, bounds: self.bounds }
    }

    /// The cell of a user, whose log is followed before anybody finds the cell.
    fn get_or_make(&self, name: &UserName) -> Arc<UserCell> {
        if let Some(cell) = self.get(name) {
            return cell;
        }
        let own = RoomName::of_user(name);
        self.broker.follow(self.log(&own));
        let mut is_new = false;
        let make = || {
            is_new = true;
            let (news, present) = (AtomicU64::new(0), Mutex::default());
            Arc::new(UserCell { name: name.clone(), news, present })
        };
        let cell = self.map.entry(name.clone()).or_insert_with(make).value().clone();
        if !is_new {
            self.broker.unfollow(&own);
        }
        cell
    }

    fn enter<T>(
        &self,
        name: &UserName,
        enter: impl Fn(&mut Present) -> Result<T, ErrorCode>,
    ) -> Result<(Arc<UserCell>, T), ErrorCode> {
        loop {
            let cell = self.get_or_make(name);
            let mut present = cell.present.lock();
            if present.closed {
                continue;
            }
            let entered = enter(&mut present);
            drop(present);
            if entered.is_err() {
                self.leave(&cell, |_| {});
            }
            return entered.map(|entered| (cell, entered));
        }
    }

    /// A session is about to come in.
    pub(super) fn coming(&self, name: &UserName) -> Coming<'_> {
        let count = |present: &mut Present| {
            present.coming += 1;
            Ok(())
        };
        let (cell, ()) = self.enter(name, count).expect("counting refuses nobody");
        Coming { users: self, cell }
    }

    /// A feed is here, or somebody else who only reads.
    pub(super) fn enter_feed(&self, name: &UserName, reader: &Reader, max: usize) -> Result<Arc<UserCell>, ErrorCode> {
        let enter = |present: &mut Present| {
            if present.connections() >= max {
                return Err(ErrorCode::TooManyConnections);
            }
            present.rare.get_or_insert_default().feeds.push(reader.clone());
            Ok(())
        };
        self.enter(name, enter).map(|(cell, ())| cell)
    }

    pub(super) fn leave_session(&self, session: &SessionCell) {
        let Some(cell) = self.get(session.user()) else { return };
        self.leave(&cell, |present| present.sessions.retain(|other| other.id() != session.id()));
    }

    pub(super) fn leave_feed(&self, cell: &UserCell, id: u64) {
        self.leave(cell, |present| {
            present.rare.iter_mut().for_each(|rare| rare.feeds.retain(|reader| reader.id != id));
        });
    }

    fn leave(&self, cell: &UserCell, leave: impl FnOnce(&mut Present)) {
        leave(&mut cell.present.lock());
        let gone = self.map.remove_if(&cell.name, |_, found| {
            let mut present = found.present.lock();
            present.closed |= present.is_empty();
            present.closed
        });
        if gone.is_some() {
            self.broker.unfollow(&RoomName::of_user(&cell.name));
        }
    }

    fn get(&self, name: &UserName) -> Option<Arc<UserCell>> {
        self.map.get(name).map(|cell| cell.value().clone())
    }

    /// A user's sessions, lost ones too.
    pub(super) fn sessions(&self, name: &UserName) -> Vec<Arc<SessionCell>> {
        self.get(name).map_or_else(Vec::new, |cell| cell.present.lock().sessions.clone())
    }

    /// Of more than `max` lost sessions of a user, the one that was lost first.
    pub(super) fn first_lost(&self, name: &UserName, max: usize) -> Option<Arc<SessionCell>> {
        let sessions = self.sessions(name);
        let mut lost: Vec<_> = sessions.iter().filter_map(|session| Some((session.loss()?, session))).collect();
        lost.sort_unstable_by_key(|(loss, _)| *loss);
        (lost.len() > max).then(|| lost[0].1.clone())
    }

    /// Whether a token of this generation is still good: no newer one of the user is known.
    pub(super) fn admits(&self, name: &UserName, generation: u64) -> bool {
        let called_in = self.called_in.lock().generations.get(name).copied();
        let newest = || self.sessions(name).iter().map(|session| session.lock().grant().generation).max();
        called_in.is_none_or(|least| generation >= least) && newest().is_none_or(|newest| generation >= newest)
    }

    /// Tokens of the user must be of this generation from now on.
    pub(super) fn call_in(&self, name: &UserName, generation: u64) {
        let mut called_in = self.called_in.lock();
        let known = called_in.generations.insert(name.clone(), generation);
        match known {
            Some(known) => _ = called_in.generations.insert(name.clone(), known.max(generation)),
            None => called_in.order.push_back(name.clone()),
        }
        if called_in.order.len() > CALLED_IN_MAX
            && let Some(first) = called_in.order.pop_front()
        {
            tracing::warn!(user = %first, "more users' tokens were called in than are remembered; forgetting the first");
            called_in.generations.remove(&first);
        }
    }

    /// Whether a user waits for a delivery that others have overtaken; as with a room, none is dropped.
    pub(super) fn is_behind(&self, user: &str) -> bool {
        let cell = self.map.get(user).map(|cell| cell.value().clone());
        cell.is_some_and(|cell| cell.present.lock().rare.as_ref().is_some_and(|rare| rare.early.len() >= EARLY_MAX))
    }

    /// Hands a notification to all of the user's sockets and feeds.
    pub(super) fn notify(&self, user: &str, publication: &Arc<Publication>) {
        let Some(cell) = self.map.get(user).map(|cell| cell.value().clone()) else { return };
        let mut present = cell.present.lock();
        // Under the lock: whoever comes in sees this news and its delivery, or neither.
        cell.news.store(mark(publication.position), Ordering::Release);
        for publication in present.in_order(publication) {
            let position = publication.position;
            let message: ServerMessage = publication.event().to_message(&publication.log, position, None, |_| None);
            let mut frame = Frame::of(message);
            present.sessions.iter().for_each(|session| session.push_own(&mut frame, position));
        }
        present.feeds().iter().filter(|reader| reader.hears).for_each(|reader| reader.wake.bring_news());
    }

    /// The user's log could not be continued: all that is kept of it is told.
    pub(super) fn restart(&self, user: &str, log: &RoomName, reason: ResetReason, history: &History) {
        let Some(cell) = self.map.get(user).map(|cell| cell.value().clone()) else { return };
        let (edge, head) = (history.edge(), history.head());
        let reset =
            Reset { room: log.clone(), reason, position: edge, members: Vec::new(), count: 0, state: Vec::new() };
        let told = |publication: &Arc<Publication>| {
            Frame::of(publication.event().to_message(log, publication.position, None, |_| None))
        };
        let mut frames: Vec<_> = std::iter::once(Frame::of(ServerMessage::Reset(reset))).collect();
        frames.extend(history.events().map(told));
        let mut present = cell.present.lock();
        cell.news.store(mark(head), Ordering::Release);
        present.told = Some(head);
        present.rare.iter_mut().for_each(|rare| rare.early.clear());
        present.sessions.iter().for_each(|session| session.begin_own_anew(&mut frames, head));
        present.feeds().iter().filter(|reader| reader.hears).for_each(|reader| reader.wake.bring_news());
    }

    /// How many sockets, streams and held polls of a user hear notifications.
    pub(super) fn count(&self, user: &UserName) -> usize {
        let Some(cell) = self.get(user) else { return 0 };
        let present = cell.present.lock();
        present.connections() - present.feeds().iter().filter(|reader| !reader.hears).count()
    }

    /// All sessions and the ends of all feeds: the node goes away.
    pub(super) fn all(&self) -> Vec<Arc<SessionCell>> {
        let cells: Vec<_> = self.map.iter().map(|cell| cell.value().clone()).collect();
        cells.iter().flat_map(|cell| cell.present.lock().sessions.clone()).collect()
    }

    /// Ends all feeds; returns how many.
    pub(super) fn end_feeds(&self) -> usize {
        let cells: Vec<_> = self.map.iter().map(|cell| cell.value().clone()).collect();
        cells.iter().map(|cell| cell.wake_all(ErrorCode::ShuttingDown)).sum()
    }

    /// Ends the feeds of a user; returns how many.
    pub(super) fn end_feeds_of(&self, user: &UserName) -> usize {
        self.get(user).map_or(0, |cell| cell.wake_all(ErrorCode::Forbidden))
    }
}
