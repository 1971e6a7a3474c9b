//! Feeds: what SSE streams and held polls follow. A feed is a cursor and a bell; a slow spectator
//! costs a cursor, not a queue.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use rallypoint_protocol::{
    Cursor, ErrorCode, Position, RoomName, Verb,
    event::Millis,
    position::LogKey,
    server::{ResetReason, State as StateMessage},
};

use smallvec::SmallVec;

use super::{
    Hub,
    rooms::{Follower, RoomCell},
    users::UserCell,
};
use crate::{
    auth::Grant,
    broker::{Ends, Log},
    room::history::Publication,
};

/// Events in one batch of a feed.
pub const BATCH_MAX: usize = 256;

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
        self.rung.store(true, Ordering::Release);
        self.listener.wake();
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
    position: Position,
    reset: Option<ResetReason>,
    state_version: Option<u64>,
    /// Not read yet: the position may be of another life of the log with the same sequence.
    fresh: bool,
}

/// One subscription of up to sixteen rooms and the user's own log.
pub struct Feed {
    hub: Arc<Hub>,
    id: u64,
    wake: Arc<Wake>,
    rooms: SmallVec<[Followed; 1]>,
    user: Arc<UserCell>,
    user_key: LogKey,
    user_position: Position,
    /// There may be something after it.
    user_due: bool,
    cursor: Cursor,
    /// How often the state is wanted.
    state_every_ms: Option<u64>,
    state_due: Millis,
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

impl Feed {
    /// Subscribes. Everything was checked before: names, verbs, the number of rooms.
    pub async fn open(
        hub: &Arc<Hub>,
        grant: &Grant,
        rooms: &[RoomName],
        start: &Start,
        state_hz: Option<f64>,
    ) -> Result<Self, ErrorCode> {
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        let wake = Arc::new(Wake::default());
        let user = hub.users().enter_feed(&grant.user, id, &wake, hub.limits().connections_per_user);
        let user = user.inspect_err(|&code| hub.user_refused(code))?;
        let own = RoomName::of_user(&grant.user);
        let user_key = LogKey::of(&own);
        let Ends { edge, head } = hub.broker().ends(hub.user_log(&own)).await;
        let known = start.cursor.as_ref().map(|cursor| cursor.get(user_key).unwrap_or(edge));
        let user_position = known.unwrap_or(if start.oldest { edge } else { head });
        let mut feed = Self {
            hub: hub.clone(),
            id,
            wake,
            rooms: SmallVec::new(),
            user,
            user_key,
            user_due: user_position != head,
            user_position,
            cursor: Cursor::new(),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0.1 to 10 Hz was checked")]
            state_every_ms: state_hz.map(|hz| (1000.0 / hz) as u64),
            state_due: hub.now(),
        };
        feed.cursor.set(user_key, feed.user_position);
        for name in rooms {
            // A feed that is dropped here on an error leaves the rooms it has entered.
            feed.enter(name, start, grant.allows(name, Verb::History)).await?;
        }
        Ok(feed)
    }

    async fn enter(&mut self, name: &RoomName, start: &Start, history: bool) -> Result<(), ErrorCode> {
        let key = LogKey::of(name);
        let now = self.hub.now();
        loop {
            let cell = self.hub.open_room(name).await?;
            let Some(mut state) = cell.lock() else { continue };
            let follower = Follower { wake: self.wake.clone(), wants_state: self.state_every_ms.is_some() };
            state.feeds.insert(self.id, follower);
            state.count_spectators(now);
            let head = state.room.position();
            let wanted = match start.cursor.as_ref().and_then(|cursor| cursor.get(key)) {
                Some(position) => position,
                None if start.oldest => state.room.history().edge(),
                None => start.since.iter().find(|(room, _)| room == name).map_or(head, |&(_, position)| position),
            };
            drop(state);
            let reset = (wanted != head && !history).then_some(ResetReason::NoHistory);
            self.cursor.set(key, wanted);
            let state_version = self.state_every_ms.map(|_| 0);
            let fresh = wanted != head;
            self.rooms.push(Followed { cell, key, position: wanted, reset, state_version, fresh });
            return Ok(());
        }
    }

    /// Where the subscription stands.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
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
        let behind = |followed: &Followed| followed.state_version.is_some_and(|v| v != followed.cell.state_version());
        self.rooms.iter().any(behind).then_some(self.state_due)
    }

    /// Begins where a poll left off with the state of its rooms.
    pub fn set_state_versions(&mut self, versions: &[(Option<RoomName>, u64)]) {
        for followed in &mut self.rooms {
            let named = |(room, _): &&(Option<RoomName>, u64)| room.as_ref().is_none_or(|r| r == followed.cell.name());
            if let (Some(version), Some(&(_, seen))) = (&mut followed.state_version, versions.iter().find(named)) {
                *version = seen;
            }
        }
    }

    /// Reads what there is, at most a batch; empty when there is nothing new. Whoever tells an item to
    /// the client has to [`advance`](Self::advance) past it.
    pub async fn read(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        for at in 0..self.rooms.len() {
            self.read_room(at, &mut items);
        }
        self.read_user(&mut items).await;
        self.read_state(&mut items);
        items
    }

    fn read_room(&mut self, at: usize, items: &mut Vec<Item>) {
        let followed = &mut self.rooms[at];
        if !followed.fresh && followed.position.seq == followed.cell.head_seq() {
            return;
        }
        let room_left = BATCH_MAX.saturating_sub(items.len());
        let Some(state) = followed.cell.lock() else { return };
        followed.fresh = false;
        let reason = match followed.reset.take() {
            Some(reason) => reason,
            None => match state.room.since(followed.position) {
                Ok(events) => {
                    for publication in events.take(room_left) {
                        followed.position = publication.position;
                        items.push(Item::Event(followed.key, publication.clone()));
                    }
                    return;
                }
                Err(reason) => reason,
            },
        };
        followed.position = state.room.position();
        let counts = [state.room.count(), state.room.spectators()];
        items.push(Item::reset(followed.key, reason, followed.position, followed.cell.name(), counts));
    }

    async fn read_user(&mut self, items: &mut Vec<Item>) {
        let limit = BATCH_MAX.saturating_sub(items.len());
        self.user_due |= self.wake.news.swap(false, Ordering::AcqRel);
        if limit == 0 || !self.user_due {
            return;
        }
        let own = RoomName::of_user(self.user.name());
        let log: Log<'_> = self.hub.user_log(&own);
        let page = match self.hub.broker().read(log, self.user_position, limit).await {
            Ok(page) => page,
            Err(reason) => {
                // Notifications have no snapshot to start from: all that is kept is told from its edge.
                let Ends { edge: position, .. } = self.hub.broker().ends(log).await;
                items.push(Item::reset(self.user_key, reason, position, &own, [0, 0]));
                self.user_position = position;
                // What is trimmed in between is noticed by the next read.
                self.hub.broker().read(log, position, limit).await.unwrap_or_default()
            }
        };
        self.user_due = page.len() >= limit;
        for publication in page {
            self.user_position = publication.position;
            items.push(Item::Event(self.user_key, publication));
        }
    }

    fn read_state(&mut self, items: &mut Vec<Item>) {
        let Some(every_ms) = self.state_every_ms else { return };
        let now = self.hub.now();
        if now < self.state_due {
            return;
        }
        let mut told = false;
        for followed in &mut self.rooms {
            let Some(seen) = &mut followed.state_version else { continue };
            if *seen == followed.cell.state_version() {
                continue;
            }
            let Some(mut state) = followed.cell.lock() else { continue };
            *seen = state.room.state_version();
            items.push(Item::State(render_state(&mut state, &followed.cell)));
            told = true;
        }
        if told {
            self.state_due = now.after(every_ms);
        }
    }

    /// The cursor is what the client holds after this item.
    pub fn advance(&mut self, item: &Item) {
        match item {
            Item::Event(log, publication) => self.cursor.set(*log, publication.position),
            Item::Reset { log, position, .. } => self.cursor.set(*log, *position),
            Item::State(_) => {}
        }
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
