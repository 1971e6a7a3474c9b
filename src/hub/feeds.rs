//! Feeds: what SSE streams and held polls follow. A feed is a cursor and a bell; a slow spectator
//! costs a cursor, not a queue.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use rallypoint_protocol::{
    Cursor, ErrorCode, Position, RoomName, UserName, Verb,
    codec::Refused,
    event::Millis,
    position::LogKey,
    request,
    server::{ResetReason, State as StateMessage},
};
use smallvec::SmallVec;

use super::{
    Hub,
    rooms::{Follower, RoomCell, mark},
    users::{Reader, UserCell},
};
use crate::{
    auth::Grant,
    broker::{Ends, Log, Unread},
    room::history::Publication,
};

/// Events in one batch of a feed.
pub const BATCH_MAX: usize = 256;
/// Between two looks into a user's log while the engine does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// The bell of one feed, with one who listens. Ringing it before it is waited for is not lost.
#[derive(Debug, Default)]
pub struct Wake {
    rung: AtomicBool,
    /// The user's own log has something new.
    news: AtomicBool,
    ended: AtomicU16,
    listener: AtomicWaker,
}

impl Wake {
    /// There may be something to read.
    pub fn wake(&self) {
        // Whoever rang before has woken the listener as well.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.listener.wake();
        }
    }

    /// There is something to read in the user's own log.
    pub fn bring_news(&self) {
        self.news.store(true, Ordering::Release);
        self.wake();
    }

    /// The feed is to end, for this reason.
    pub fn end(&self, code: ErrorCode) {
        self.ended.store(code.number(), Ordering::Release);
        self.wake();
    }

    /// Why the feed is to end, if it is.
    pub fn ended(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.ended.load(Ordering::Acquire))
    }

    /// Waits until there may be something to read.
    pub async fn woken(&self) {
        poll_fn(|cx| self.poll_woken(cx)).await;
    }

    /// Like [`Wake::woken`].
    pub fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        // The waker is registered before the bell is looked at, so that no ring falls between.
        self.listener.register(cx.waker());
        if self.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Where a subscription begins.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Where it stood when it was cut.
    pub cursor: Option<Cursor>,
    /// From the oldest kept event.
    pub oldest: bool,
    /// Positions taken elsewhere, by room.
    pub since: Vec<(RoomName, Position)>,
}

/// What one read of a feed brings: mostly a single event.
pub type Items = SmallVec<[Item; 1]>;

/// What a feed has to tell.
#[derive(Clone, Debug)]
pub enum Item {
    /// An event of a log.
    Event(LogKey, Arc<Publication>),
    /// A log could not be continued.
    Reset {
        /// Which.
        log: LogKey,
        /// Where it goes on.
        position: Position,
        /// What the client is told, as JSON.
        json: String,
    },
    /// The latest moves, as JSON.
    State(Bytes),
}

impl Item {
    fn reset(
        key: LogKey,
        reason: ResetReason,
        position: Position,
        room: &RoomName,
        [count, spectators]: [usize; 2],
    ) -> Self {
        let told = serde_json::json!({
            "room": room, "reason": reason, "position": position, "count": count, "spectators": spectators,
        });
        Self::Reset { log: key, position, json: told.to_string() }
    }
}

struct Followed {
    cell: Arc<RoomCell>,
    key: LogKey,
    /// What the client holds.
    position: Position,
    reset: Option<ResetReason>,
    /// Not read yet: the position may be of another life of the log with the same sequence.
    fresh: bool,
}

/// What a feed needs that wants the state of its rooms.
struct States {
    every_ms: u64,
    due: Millis,
    /// Which version of each room's state the client has, in the order of the rooms.
    seen: SmallVec<[u64; 1]>,
}

/// One subscription of up to sixteen rooms and the user's own log. What each event needs is small and lies together:
/// thousands of feeds hear the same event, and reading their memory is most of what that costs.
pub struct Feed {
    wake: Arc<Wake>,
    rooms: SmallVec<[Followed; 1]>,
    own_key: LogKey,
    own_position: Position,
    /// There may be something after it.
    own_due: bool,
    states: Option<Box<States>>,
    hub: Arc<Hub>,
    user: Arc<UserCell>,
    id: u64,
}

/// A room as a feed found it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Found {
    /// Which.
    pub room: RoomName,
    /// Where its log stood.
    pub position: Position,
    /// Members.
    pub count: usize,
    /// Spectators.
    pub spectators: usize,
}

static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// Takes one of a user's places.
fn enter(hub: &Hub, user: &UserName, hears: bool) -> Result<(Reader, Arc<UserCell>), Refused> {
    let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
    let reader = Reader { id, wake: Arc::default(), hears };
    let entered = hub.users().enter_feed(user, &reader, hub.limits().connections_per_user);
    let cell = entered.map_err(|code| hub.user_refused(code))?;
    Ok((reader, cell))
}

/// Somebody who reads something else than a feed. It has one of the user's places, and ends as the user's feeds do.
pub(crate) struct Onlooker {
    hub: Arc<Hub>,
    reader: Reader,
    user: Arc<UserCell>,
}

/// The user of those whom nobody asked for a token. No token can name it.
const NOBODY: &str = "user/nobody";

impl Onlooker {
    /// Takes one of the user's places, or of those for nobody in particular.
    pub(crate) fn enter(hub: &Arc<Hub>, user: Option<&UserName>) -> Result<Self, Refused> {
        let nobody = || UserName::new(NOBODY).expect("it has the form of a user");
        let (reader, user) = enter(hub, &user.cloned().unwrap_or_else(nobody), false)?;
        let onlooker = Self { hub: hub.clone(), reader, user };
        // A drain that has seen all feeds already did not see this one.
        if hub.is_draining() { Err(ErrorCode::ShuttingDown.into()) } else { Ok(onlooker) }
    }

    /// Waits until it is to end, and tells why.
    pub(crate) async fn ended(&self) -> ErrorCode {
        loop {
            if let Some(code) = self.reader.wake.ended() {
                return code;
            }
            self.reader.wake.woken().await;
        }
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.hub.users().leave_feed(&self.user, self.reader.id);
    }
}

impl Feed {
    /// Subscribes. Everything was checked before: names, verbs, the number of rooms.
    pub async fn open(
        hub: &Arc<Hub>,
        grant: &Grant,
        rooms: &[RoomName],
        start: &Start,
        state_hz: Option<f64>,
        now: Millis,
    ) -> Result<Self, Refused> {
        // Whoever comes back is no new guest.
        if start.cursor.is_none() {
            hub.load().admit()?;
        }
        let (Reader { id, wake, .. }, user) = enter(hub, &grant.user, true)?;
        let own = RoomName::of_user(&grant.user);
        let own_key = LogKey::of(&own);
        let Ends { edge, head } = hub.broker().ends(hub.user_log(&own)).await.map_err(ErrorCode::from)?;
        let known = start.cursor.as_ref().map(|cursor| cursor.get(own_key).unwrap_or(edge));
        let own_position = known.unwrap_or(if start.oldest { edge } else { head });
        let states = state_hz
            .map(|hz| Box::new(States { every_ms: request::state_every_ms(hz), due: now, seen: SmallVec::new() }));
        let (hub, own_due) = (hub.clone(), own_position != head);
        let mut feed = Self { wake, rooms: SmallVec::new(), own_key, own_position, own_due, states, hub, user, id };
        for name in rooms {
            // A feed that is dropped here on an error leaves the rooms it has entered.
            feed.enter(name, start, grant.allows(name, Verb::History), now).await?;
        }
        Ok(feed)
    }

    async fn enter(&mut self, name: &RoomName, start: &Start, history: bool, now: Millis) -> Result<(), ErrorCode> {
        loop {
            let cell = self.hub.open_room(name).await?;
            let key = cell.key();
            let Some(mut state) = cell.lock() else { continue };
            let follower = Follower { wake: self.wake.clone(), wants_state: self.states.is_some() };
            state.feeds.insert(self.id, follower);
            state.count_spectators(now);
            let head = state.room.position();
            let position = match start.cursor.as_ref().and_then(|cursor| cursor.get(key)) {
                Some(position) => position,
                None if start.oldest => state.room.history().edge(),
                None => start.since.iter().find(|(room, _)| room == name).map_or(head, |&(_, position)| position),
            };
            drop(state);
            let fresh = position != head;
            let reset = (fresh && !history).then_some(ResetReason::NoHistory);
            self.states.iter_mut().for_each(|states| states.seen.push(0));
            self.rooms.push(Followed { cell, key, position, reset, fresh });
            return Ok(());
        }
    }

    /// Where the subscription stands.
    pub fn cursor(&self) -> Cursor {
        let rooms = self.rooms.iter().map(|followed| (followed.key, followed.position));
        rooms.chain([(self.own_key, self.own_position)]).collect()
    }

    /// The node it is on.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Whose it is.
    pub fn user(&self) -> &UserName {
        self.user.name()
    }

    /// The bell.
    pub fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    /// The rooms as they stand now.
    pub fn found(&self) -> Vec<Found> {
        let found = self.rooms.iter().filter_map(|followed| {
            let state = followed.cell.lock()?;
            Some(Found {
                room: followed.cell.name().clone(),
                position: followed.position,
                count: state.room.count(),
                spectators: state.room.spectators(),
            })
        });
        found.collect()
    }

    /// When the state is due again, for a feed that wants it.
    pub fn state_due(&self) -> Option<Millis> {
        let states = self.states.as_ref()?;
        let mut both = self.rooms.iter().zip(&states.seen);
        both.any(|(followed, &seen)| seen != followed.cell.state_version()).then_some(states.due)
    }

    /// Begins where a poll left off with the state of its rooms.
    pub fn set_state_versions(&mut self, versions: &[(Option<RoomName>, u64)]) {
        let Some(states) = &mut self.states else { return };
        for (followed, seen) in self.rooms.iter().zip(&mut states.seen) {
            let named = |(room, _): &&(Option<RoomName>, u64)| room.as_ref().is_none_or(|r| r == followed.cell.name());
            if let Some(&(_, version)) = versions.iter().find(named) {
                *seen = version;
            }
        }
    }

    /// Reads what there is, at most a batch; empty when there is nothing new. Whoever tells an item to
    /// the client has to [`advance`](Self::advance) past it, and past all of them before the next read.
    pub async fn read(&mut self) -> Items {
        let mut items = self.read_events();
        if self.has_news() && items.len() < BATCH_MAX {
            self.read_own(&mut items).await;
        }
        self.read_states(&mut items);
        items
    }

    /// Whether there may be notifications: only they have to be asked for, and may take a while.
    pub fn has_news(&self) -> bool {
        self.own_due || self.wake.news.load(Ordering::Acquire)
    }

    /// Like [`read`](Self::read), without the user's own log.
    pub fn read_rooms(&mut self) -> Items {
        let mut items = self.read_events();
        self.read_states(&mut items);
        items
    }

    fn read_events(&mut self) -> Items {
        let mut items = Items::new();
        self.rooms.iter_mut().for_each(|followed| followed.read(&mut items));
        items
    }

    async fn read_own(&mut self, items: &mut Items) {
        // Before the log is read, so that what comes meanwhile is read another time. A swap and not a store: whoever takes
        // news away sees in the log what they were about.
        self.wake.news.swap(false, Ordering::AcqRel);
        let limit = BATCH_MAX - items.len();
        let own = RoomName::of_user(self.user.name());
        let log: Log<'_> = self.hub.user_log(&own);
        let broker = self.hub.broker();
        let page = match broker.read(log, self.own_position, limit).await {
            Err(Unread::Reset(reason)) => match broker.ends(log).await {
                // Notifications have no snapshot to start from: all that is kept is told from its edge.
                Ok(Ends { edge: position, .. }) => {
                    items.push(Item::reset(self.own_key, reason, position, &own, [0, 0]));
                    // What is trimmed in between is noticed by the next read.
                    broker.read(log, position, limit).await.or_else(|unread| match unread {
                        Unread::Reset(_) => Ok(Vec::new()),
                        Unread::Unavailable => Err(unread),
                    })
                }
                Err(unavailable) => Err(unavailable.into()),
            },
            page => page,
        };
        let Ok(page) = page else {
            self.ring_again();
            return;
        };
        self.own_due = page.len() >= limit;
        items.extend(page.into_iter().map(|publication| Item::Event(self.own_key, publication)));
    }

    /// The engine does not answer: the user's log is looked at again a little later.
    fn ring_again(&mut self) {
        self.own_due = false;
        let wake = self.wake.clone();
        tokio::spawn(async move {
            tokio::time::sleep(AGAIN).await;
            wake.bring_news();
        });
    }

    fn read_states(&mut self, items: &mut Items) {
        let Some(states) = &mut self.states else { return };
        let now = self.hub.now();
        if now < states.due {
            return;
        }
        let mut told = false;
        for (followed, seen) in self.rooms.iter().zip(&mut states.seen) {
            if *seen == followed.cell.state_version() {
                continue;
            }
            let Some(mut state) = followed.cell.lock() else { continue };
            *seen = state.room.state_version();
            items.push(Item::State(render_state(&mut state, &followed.cell)));
            told = true;
        }
        if told {
            states.due = now.after(states.every_ms);
        }
    }

    /// The cursor is what the client holds after this item.
    pub fn advance(&mut self, item: &Item) {
        let (log, to) = match item {
            Item::Event(log, publication) => (*log, publication.position),
            Item::Reset { log, position, .. } => (*log, *position),
            Item::State(_) => return,
        };
        let room = self.rooms.iter_mut().find(|followed| followed.key == log);
        *room.map_or(&mut self.own_position, |followed| &mut followed.position) = to;
    }
}

impl Followed {
    fn read(&mut self, items: &mut Items) {
        if !self.fresh && mark(self.position) == self.cell.head_mark() {
            return;
        }
        let left = BATCH_MAX.saturating_sub(items.len());
        let Some(state) = self.cell.lock() else { return };
        self.fresh = false;
        let reason = match self.reset.take() {
            Some(reason) => reason,
            None => match state.room.since(self.position) {
                Ok(events) => {
                    items.extend(events.take(left).map(|publication| Item::Event(self.key, publication.clone())));
                    return;
                }
                Err(reason) => reason,
            },
        };
        let counts = [state.room.count(), state.room.spectators()];
        items.push(Item::reset(self.key, reason, state.room.position(), self.cell.name(), counts));
    }
}

/// The state as JSON, made once per version and shared by every feed.
fn render_state(state: &mut super::rooms::State, cell: &RoomCell) -> Bytes {
    let version = state.room.state_version();
    if let Some((rendered, bytes)) = &state.rendered
        && *rendered == version
    {
        return bytes.clone();
    }
    let moves = state.latest(|latest| latest.peer);
    let message = StateMessage { room: cell.name().clone(), version, moves };
    let bytes = Bytes::from(serde_json::to_vec(&message).expect("our own values always have a JSON form"));
    state.rendered = Some((version, bytes.clone()));
    bytes
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hub.users().leave_feed(&self.user, self.id);
        let now = self.hub.now();
        for Followed { cell, .. } in self.rooms.drain(..) {
            let is_idle = cell.lock().is_some_and(|mut state| {
                state.feeds.remove(&self.id);
                state.count_spectators(now);
                state.is_idle()
            });
            if is_idle {
                self.hub.release(&cell);
            }
        }
    }
}
