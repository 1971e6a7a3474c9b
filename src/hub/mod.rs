//! The hub: the only shared state of a node. Transports hand requests in; rooms, sessions and the
//! broker decide; outboxes carry the answers.
//!
//! Locks: map, then room (several by their handles), session, user, way, link; the broker is never
//! called under any of them.

pub mod admin;
pub mod clock;
mod debts;
mod early;
mod elsewhere;
pub mod feeds;
pub mod link;
mod lost;
pub(crate) mod note;
mod picture;
mod relay;
pub mod requests;
mod resume;
pub mod rooms;
mod row;
pub mod sessions;
pub(crate) mod tickets;
mod ticks;
mod timer;
pub(crate) mod trace;
pub mod turn;
mod users;
pub mod witness;

use std::{
    borrow::Borrow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use rallypoint_protocol::{
    CloseCode, Encoding, ErrorCode, Event, EventBody, PeerId, Position, RoomName, ServerMessage, UserName,
    codec::Refused,
    event::{From, LeaveReason, Millis},
    server::{Connected, LimitsTold, Reconnect, Reset, ResetReason},
};

use crate::{
    audit::Caller,
    auth::{Grant, ResumeKey, ResumeToken},
    broker::{
        Broker, Ceilings, Change, Changed, Dedup, Ends, Log, Opened, PublishError, Published, Subscriber, Unavailable,
        Unread,
        parcel::{Parcel, Whisper},
    },
    config::{Config, Limits},
    ice::{Given, Ice},
    load::Load,
    metrics::Metrics,
    node::NodeId,
    room::{
        RoomSettings,
        command::Present,
        history::{Bounds, Publication},
    },
    session::{
        self, Session,
        kept::Tokens,
        limits::{Rate, Rates},
    },
};
use clock::Clock;
use debts::Debts;
use link::{Carrier, Link};
use lost::Lost;
use rooms::{Joining, RoomCell, Rooms};
use sessions::SessionCell;
use tickets::Tickets;
use timer::Timer;
use trace::Tracing;
use turn::Turn;
use users::Users;
use uuid::Uuid;
use witness::Witness;

/// The shared state of a node.
pub struct Hub {
    config: Arc<Config>,
    clock: Clock,
    metrics: Arc<Metrics>,
    link_terms: Arc<link::Terms>,
    rooms: Rooms,
    users: Users,
    broker: Arc<dyn Broker>,
    timer: Timer,
    session_bounds: Arc<session::Bounds>,
    resume_key: ResumeKey,
    /// When it began to listen.
    started: Millis,
    lost: Lost,
    debts: Debts,
    ice: Ice,
    tickets: Tickets,
    load: Load,
    witness: Arc<Witness>,
    tracing: Tracing,
    draining: AtomicBool,
    /// How many connections there were when it began to drain.
    crowd: AtomicU64,
    /// Settings by rule; a handful, shared by all rooms.
    settings: Mutex<Vec<Arc<RoomSettings>>>,
}

/// How long whoever publishes waits for a delivery that others have overtaken. It takes moments; after this long the
/// thread that had it is taken for dead.
const BEHIND_MS: u64 = 5000;

/// Waits until nobody is behind, or tells that they will not catch up.
async fn caught_up(is_behind: impl Fn() -> bool, now: impl Fn() -> Millis) -> Result<(), ErrorCode> {
    let until = now().after(BEHIND_MS);
    while is_behind() {
        if until <= now() {
            return Err(ErrorCode::Overloaded);
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

impl Hub {
    /// A node that nobody watches.
    pub fn new(config: Arc<Config>, metrics: Arc<Metrics>, resume_key: ResumeKey) -> Arc<Self> {
        Self::witnessed(config, metrics, resume_key, Witness::default())
    }

    /// A node.
    pub fn witnessed(config: Arc<Config>, metrics: Arc<Metrics>, resume_key: ResumeKey, witness: Witness) -> Arc<Self> {
        let (clock, witness) = (witness.clock(), Arc::new(witness));
        let limits = &config.limits;
        let ceilings = Ceilings { bytes: limits.log_bytes, logs: limits.rooms.saturating_mul(2) };
        let rate = |per_second: f64, burst: f64| Rate { per_second, burst };
        let rates = Rates {
            requests: rate(limits.requests_per_second, limits.requests_burst),
            moves: rate(limits.moves_per_second, limits.moves_burst),
            bytes: rate(limits.bytes_per_second, limits.bytes_per_second),
        };
        let session_bounds = Arc::new(session::Bounds { rooms: limits.rooms_per_session, rates });
        let link_terms = link::Terms { budget: limits.outbound_budget, clock, metrics: metrics.clone() };
        let link_terms = Arc::new(link_terms);
        let user = &config.user;
        let own_bounds =
            Bounds { events: user.history_events, bytes: config.room.history_bytes, age_ms: user.history_ms };
        let node = NodeId::random();
        Arc::new_cyclic(|hub: &std::sync::Weak<Self>| {
            let broker = config.engine.start(&config.engine_prefix, node, ceilings, hub.clone());
            Self {
                clock,
                resume_key,
                started: clock.now(),
                lost: Lost::default(),
                debts: Debts::default(),
                ice: Ice::new(&config.ice),
                tickets: Tickets::new(limits, metrics.clone()),
                load: Load::new(limits, metrics.clone()),
                metrics,
                link_terms,
                rooms: Rooms::new(limits.rooms, witness.clone()),
                witness,
                users: Users::new(broker.clone(), own_bounds),
                broker,
                timer: Timer::default(),
                session_bounds,
                tracing: Tracing::default(),
                draining: AtomicBool::new(false),
                crowd: AtomicU64::new(0),
                settings: Mutex::default(),
                config: config.clone(),
            }
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The limits of the configuration.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// The way out to a client.
    pub fn link<C: Carrier>(&self, encoding: Encoding, carrier: C) -> Arc<Link<C>> {
        Arc::new(Link::new(encoding, self.link_terms.clone(), carrier))
    }

    /// What the node counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// This moment.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The engine.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// Who is told of what happens.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    /// A user's own log.
    pub fn user_log<'a>(&self, name: &'a RoomName) -> Log<'a> {
        self.users.log(name)
    }

    /// The settings of a room, shared with all rooms that have the same.
    fn settings_for(&self, room: &RoomName) -> Arc<RoomSettings> {
        let wanted = self.config.settings_for(room);
        let mut known = self.settings.lock();
        if let Some(same) = known.iter().find(|settings| ***settings == wanted) {
            return same.clone();
        }
        let settings = Arc::new(wanted);
        known.push(settings.clone());
        settings
    }

    /// The cell of a room, loaded from its log; it may be closed by the time it is locked.
    pub(crate) async fn open_room(&self, name: &RoomName) -> Result<Arc<RoomCell>, ErrorCode> {
        let cell = self.rooms.get_or_make(name, || self.settings_for(name));
        let cell = cell.inspect_err(|_| self.metrics.limited("rooms"))?;
        let load = || async {
            let settings = self.settings_for(name);
            let opened = self.broker.open(Log { name, bounds: settings.bounds() }).await?;
            let homes: Vec<_> = opened.roster.iter().map(|present| present.node).collect();
            if !cell.load(opened) {
                self.broker.close(name);
            }
            self.owe_burials(name, homes);
            Ok::<_, ErrorCode>(())
        };
        let loaded = cell.loaded.get_or_try_init(load).await;
        if loaded.is_err() {
            self.rooms.discard(&cell);
        }
        loaded?;
        Ok(cell)
    }

    /// Lets a room go if nobody needs it any more.
    pub(crate) fn release(&self, cell: &Arc<RoomCell>) {
        if self.rooms.remove_idle(cell) {
            self.broker.close(cell.name());
        }
    }

    /// Whether those who follow a log wait for an event that a thread has put into it and not yet handed over. Whoever
    /// publishes waits with them, or what is early would have no bound.
    fn is_behind(&self, log: &RoomName) -> bool {
        match log.user() {
            Some(user) => self.users.is_behind(user),
            None => self.rooms.get(log).is_some_and(|cell| cell.is_behind()),
        }
    }

    /// Puts an event into a log. Members get it before this returns, the in-memory engine given.
    pub(crate) async fn publish(
        &self,
        log: &RoomName,
        body: EventBody,
        from: Option<From>,
        dedup: Option<Dedup>,
    ) -> Result<Published, ErrorCode> {
        self.try_publish(log, body, from, dedup).await.map_err(ErrorCode::from)
    }

    /// Like [`publish`](Self::publish), for those to whom it matters why it failed.
    async fn try_publish(
        &self,
        log: &RoomName,
        body: EventBody,
        from: Option<From>,
        dedup: Option<Dedup>,
    ) -> Result<Published, PublishError> {
        caught_up(|| self.is_behind(log), || self.now()).await.map_err(PublishError::Rejected)?;
        // Logs keep it for minutes: without the spare room that encoding left.
        let event = Event { time: self.now(), from, body };
        let bytes = event.to_bytes().into_boxed_slice();
        let change = match &event.body {
            EventBody::PeerJoined { peer } => Some(Change::Enter(peer)),
            EventBody::PeerLeft { peer, .. } => {
                Some(Change::Leave { peer: peer.peer, node: self.home_of(log, peer.peer) })
            }
            _ => None,
        };
        let log = match log.user() {
            Some(_) => self.user_log(log),
            None => Log { name: log, bounds: self.settings_for(log).bounds() },
        };
        let published = self.broker.publish(log, bytes, dedup, change).await;
        published.inspect_err(|&error| {
            if ErrorCode::from(error) == ErrorCode::Overloaded {
                self.metrics.limited("log_bytes");
            }
        })
    }

    /// The node on which a member has its session; `None`: this one.
    fn home_of(&self, room: &RoomName, peer: PeerId) -> Option<NodeId> {
        self.rooms.get(room)?.lock()?.room.member(peer)?.home
    }

    /// Makes a session and greets it. Refused before anything exists if the user has too many, or the node bears no more.
    pub async fn open_session(
        self: &Arc<Self>,
        grant: Grant,
        link: &Arc<Link>,
        notifications_since: Option<Position>,
        caller: Option<&Arc<Caller>>,
    ) -> Result<Arc<SessionCell>, Refused> {
        self.load.admit()?;
        let (id, peer) = (Uuid::new_v4(), PeerId::random());
        let entered = self.enter_session(id, peer, Tokens::new(), Arc::new(grant), link, notifications_since).await?;
        let session = entered.expect("nobody else has this id");
        self.witness.opened(&session, caller);
        Ok(session)
    }

    /// Makes a session that says who it is; `None` if it exists already.
    async fn enter_session(
        self: &Arc<Self>,
        id: Uuid,
        peer: PeerId,
        tokens: Tokens,
        grant: Arc<Grant>,
        link: &Arc<Link>,
        notifications_since: Option<Position>,
    ) -> Result<Option<Arc<SessionCell>>, Refused> {
        let coming = self.users.coming(&grant.user);
        let (session, others) = loop {
            let news = coming.news();
            let own = self.own_log(&grant.user, notifications_since).await?;
            let _turn = Turn::begin();
            let Some(mut held) = coming.hold(news) else { continue };
            if held.find(id).is_some() {
                return Ok(None);
            }
            held.stands_at(own.head);
            let session = || {
                let session = Session::new(peer, grant.clone(), self.bounds_for(&grant), self.now());
                let session = Arc::new(SessionCell::new(id, Uuid::new_v4(), session, link.clone(), tokens, own.head));
                // The greeting waits in the outbox before the first notification can.
                let number = session.way().tokens.issue();
                link.send(&ServerMessage::Connected(self.greeting(&session, &grant, number, false, own.head)));
                own.tell(link);
                session
            };
            let entered = held.enter(self.limits().connections_per_user, grant.dup, session);
            break entered.map_err(|code| self.user_refused(code))?;
        };
        drop(coming);
        self.metrics.sessions.inc();
        for other in others {
            self.expel(&other, CloseCode::Replaced, "the user has a newer session", LeaveReason::Closed).await;
        }
        Ok(Some(session))
    }

    /// Why a user has no place for another connection; counts it.
    pub(crate) fn user_refused(&self, code: ErrorCode) -> Refused {
        if code != ErrorCode::TooManyConnections {
            return code.into();
        }
        self.metrics.limited("connections_per_user");
        Refused::new(code, "too many connections of one user: limits.connections_per_user")
    }

    /// What a client is told first.
    fn greeting(
        &self,
        session: &SessionCell,
        grant: &Grant,
        number: u64,
        resumed: bool,
        notifications: Position,
    ) -> Connected {
        let Given { ice_servers, expires } = self.ice_for(grant);
        let limits = self.limits();
        let token = || {
            let (node, generation, user) = (self.broker.node().number(), grant.generation, grant.user.clone());
            let (id, peer) = (session.id(), session.peer());
            self.resume_key.write(&ResumeToken { node, session: id, peer, generation, number, user })
        };
        Connected {
            peer: session.peer(),
            session: session.shown().to_string(),
            resume: (limits.resume_grace_ms > 0).then(token),
            resumed,
            time: self.now(),
            heartbeat: limits.ping_interval_ms,
            limits: self.limits_told(&self.bounds_for(grant)),
            ice_servers: (!ice_servers.is_empty()).then_some(ice_servers),
            ice_expires: expires,
            notifications,
        }
    }

    /// What a client is told of its limits. A rate that the token made a fraction is told as the whole number below, so
    /// that whoever keeps to it keeps to the limit.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are positive and bounded")]
    fn limits_told(&self, bounds: &session::Bounds) -> LimitsTold {
        let limits = self.limits();
        let Rates { requests, moves, bytes } = bounds.rates;
        LimitsTold {
            frame: limits.frame,
            move_payload: limits.move_payload,
            text: limits.text,
            signal: limits.signal,
            state: self.config.room.peer_state,
            rooms: bounds.rooms,
            requests_per_second: requests.per_second as u64,
            requests_burst: requests.burst as u64,
            moves_per_second: moves.per_second as u64,
            moves_burst: moves.burst as u64,
            bytes_per_second: bytes.per_second as u64,
        }
    }

    /// Where the user's own log stands, and what came after `since`.
    async fn own_log(&self, user: &UserName, since: Option<Position>) -> Result<OwnLog, ErrorCode> {
        let name = RoomName::of_user(user);
        let log = self.user_log(&name);
        loop {
            let Ends { edge, head } = self.broker.ends(log).await?;
            let since = since.unwrap_or(head);
            let (reset, from) = match self.broker.read(log, since, usize::MAX).await {
                Ok(missed) => return Ok(OwnLog::new(name, head, None, missed)),
                Err(Unread::Reset(reason)) => (Some((reason, edge)), edge),
                Err(Unread::Unavailable) => return Err(Unavailable.into()),
            };
            // All that is kept; unless it was trimmed in between.
            match self.broker.read(log, from, usize::MAX).await {
                Ok(missed) => return Ok(OwnLog::new(name, head, reset, missed)),
                Err(Unread::Reset(_)) => {}
                Err(Unread::Unavailable) => return Err(Unavailable.into()),
            }
        }
    }

    /// The bounds of a session: the server's, unless its token lowers them.
    fn bounds_for(&self, grant: &Grant) -> Arc<session::Bounds> {
        match &grant.lim {
            Some(lim) => Arc::new(self.session_bounds.lowered(lim)),
            None => self.session_bounds.clone(),
        }
    }

    /// Whether a good token is of the user's newest generation that is known.
    pub fn admit<G: Borrow<Grant>>(&self, grant: G) -> Result<G, Refused> {
        if self.users.admits(&grant.borrow().user, grant.borrow().generation) {
            return Ok(grant);
        }
        Err(Refused::new(ErrorCode::TokenExpired, "a newer generation of this user's tokens is in use"))
    }

    /// What the node bears.
    pub(crate) fn load(&self) -> &Load {
        &self.load
    }

    /// Tickets that were issued.
    pub(crate) fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// The ICE servers that a token is given.
    pub(crate) fn ice_for(&self, grant: &Grant) -> Given {
        self.ice.given(grant, self.now())
    }

    /// Ends a session: it leaves its rooms and is forgotten.
    /// `code` is that of the close, if there was one right before.
    pub async fn end_session(self: &Arc<Self>, session: &Arc<SessionCell>, reason: LeaveReason, code: Option<u16>) {
        self.users.leave_session(session);
        let seats: Vec<_> = session.lock().seats().to_vec();
        for seat in seats {
            self.give_up_seat(session, &seat, reason).await;
        }
        self.witness.ended(session, code, reason);
        self.metrics.sessions.dec();
    }

    /// Runs the room's timer when it said it wanted to.
    fn schedule(&self, cell: &Arc<RoomCell>, state: &mut rooms::State, state_due: Option<Millis>) {
        let due = state.room.deadline().into_iter().chain(state_due).chain(state.tick_due());
        let wanted = due.min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some(due) = wanted
            && state.scheduled.is_none_or(|scheduled| due < scheduled)
        {
            state.scheduled = Some(due);
            self.timer.set(due, cell);
        }
    }

    /// Takes nobody on any more and asks everybody to leave, each with a time of its own to come
    /// back: all at once they would be a storm.
    pub async fn drain(&self) {
        self.crowd.store(self.metrics.sockets.get().unsigned_abs(), Ordering::Relaxed);
        self.draining.store(true, Ordering::Release);
        self.users.end_feeds();
        for sessions in self.users.all().chunks(DRAIN_SLICE) {
            {
                let _turn = Turn::begin();
                for session in sessions {
                    // A session id is random, and so is the share of the time that it makes.
                    let after_ms = self.come_back_ms(session.id());
                    let reconnect = ServerMessage::Reconnect(Reconnect { after_ms });
                    session.close_after(&reconnect, CloseCode::Shutdown, "");
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// After how many milliseconds somebody is to come back to a server that goes away. The more there are, the wider they
    /// are spread, over the drain time at most, and they are back before the next process lets lost sessions go.
    pub fn come_back_ms(&self, random: Uuid) -> u64 {
        let limits = self.limits();
        let most = match limits.resume_grace_ms {
            0 => limits.drain_ms,
            grace_ms => limits.drain_ms.min(grace_ms * 4 / 5),
        };
        let spread = most.saturating_sub(RESTART_MS).min(self.crowd.load(Ordering::Relaxed) * EACH_MS);
        RESTART_MS + random.as_u64_pair().1 % spread.max(1)
    }

    /// Whether the node is going away.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ticks rooms whose time has come, and sweeps; runs until it is dropped.
    pub async fn run_timers(self: Arc<Self>) {
        let mut sweep = self.now().after(SWEEP_MS);
        loop {
            let due = [self.timer.next(), self.lost.next().filter(|_| !self.is_draining())];
            let next = due.into_iter().flatten().fold(sweep, |a, b| if b < a { b } else { a });
            self.timer.wait_until(self.clock.instant(next)).await;
            let now = self.now();
            for cell in self.timer.due(now) {
                self.tick(&cell, now).await;
            }
            self.give_up_lost().await;
            if sweep <= now {
                self.sweep(now);
                sweep = now.after(SWEEP_MS);
            }
        }
    }

    async fn tick(&self, cell: &Arc<RoomCell>, now: Millis) {
        let summary = {
            let _turn = Turn::begin();
            let Some(mut state) = cell.lock() else { return };
            state.scheduled = None;
            let summary = state.tick(now);
            let state_due = state.tell_state(cell, now);
            self.schedule(cell, &mut state, state_due);
            summary
        };
        if let Some(body) = summary
            && let Err(error) = self.publish(cell.name(), body, None, None).await
        {
            tracing::warn!(room = %cell.name(), %error, "a presence summary could not be published");
        }
        self.release(cell);
    }

    fn sweep(&self, now: Millis) {
        self.broker.sweep(now);
        let share = self.broker.share();
        for cell in self.rooms.all() {
            if let Some(mut state) = cell.lock() {
                _ = state.room.apply(crate::room::command::Command::Trim { keep_bytes: share }, now);
            }
        }
    }

    /// Brings the gauges that are cheaper to look up than to keep in step up to date.
    pub fn observe(&self) {
        let (mut members, mut spectators) = (0, 0);
        for cell in self.rooms.all() {
            if let Some(state) = cell.lock() {
                members += state.room.here();
                spectators += state.room.spectators();
            }
        }
        let set = |gauge: &Gauge, value: usize| _ = gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.metrics.sessions_lost, self.lost.len());
        set(&self.metrics.rooms, self.rooms.len());
        set(&self.metrics.members, members);
        set(&self.metrics.spectators, spectators);
        set(&self.metrics.log_bytes, self.broker.bytes());
        self.witness.observe();
    }
}

/// What a user's own log has to tell to a session that comes in.
struct OwnLog {
    name: RoomName,
    head: Position,
    /// Why it cannot be continued where the client stood, and where it is begun again.
    reset: Option<(ResetReason, Position)>,
    missed: Vec<Arc<Publication>>,
}

impl OwnLog {
    /// More may have come since the head was looked at.
    fn new(
        name: RoomName,
        head: Position,
        reset: Option<(ResetReason, Position)>,
        missed: Vec<Arc<Publication>>,
    ) -> Self {
        let head = missed.last().map_or(head, |newest| newest.position);
        Self { name, head, reset, missed }
    }

    /// Notifications that came while the user was away.
    fn tell(&self, link: &Arc<Link>) {
        if let Some((reason, position)) = self.reset {
            let (room, members, state) = (self.name.clone(), Vec::new(), Vec::new());
            link.send_owed(&ServerMessage::Reset(Reset { room, reason, position, members, count: 0, state }));
        }
        for publication in &self.missed {
            link.send_owed(&publication.event().to_message(&self.name, publication.position, None, |_| None));
        }
    }
}

/// How many sessions are sent away before others have their turn.
const DRAIN_SLICE: usize = 256;
/// How long a process takes at least to end and begin again.
const RESTART_MS: u64 = 250;
/// By how much each of those who are to come back widens the time in which they do.
const EACH_MS: u64 = 10;

/// How often old events are let go.
const SWEEP_MS: u64 = 5000;

impl Subscriber for Hub {
    fn deliver(&self, publication: Arc<Publication>) {
        let _turn = Turn::begin();
        self.metrics.events.inc();
        if let Some(user) = publication.log.user() {
            self.users.notify(user, &publication);
        } else if let Some(cell) = self.rooms.get(&publication.log)
            && cell.deliver(publication, self.now())
        {
            self.take_early(&cell);
        }
    }

    fn restart(&self, log: &RoomName, reason: ResetReason, opened: Opened) {
        let _turn = Turn::begin();
        tracing::info!(room = %log, ?reason, "a log begins anew");
        if let Some(user) = log.user() {
            self.users.restart(user, log, reason, &opened.history);
        } else if let Some(cell) = self.rooms.get(log) {
            self.owe_burials(log, opened.roster.iter().map(|present| present.node));
            for Joining { session, re, .. } in cell.restart(reason, opened, self.now()) {
                // Nobody knows whether it is in the log that went another way.
                self.owe_leave(log, session.gone(), LeaveReason::Lost);
                let refused = Refused::from(ErrorCode::Overloaded).about(re, Some(log));
                self.refuse(&session, refused.into(), "join");
            }
            self.owe_members(&cell);
        }
    }

    fn changed(&self, log: &RoomName, changed: Changed) {
        let _turn = Turn::begin();
        let home = match &changed {
            Changed::Entered(present) => Some(present.node),
            Changed::Left(_) => None,
        };
        if let Some(cell) = self.rooms.get(log) {
            cell.changed(changed).into_iter().for_each(|session| self.owe_session(session));
            self.take_early(&cell);
            self.owe_burials(log, home);
        }
    }

    fn roster(&self, log: &RoomName, roster: Vec<Present>) {
        let _turn = Turn::begin();
        let homes: Vec<_> = roster.iter().map(|present| present.node).collect();
        if let Some(cell) = self.rooms.get(log) {
            cell.roster(roster);
            self.take_early(&cell);
            self.owe_burials(log, homes);
        }
    }

    fn died(&self, node: NodeId) {
        self.owe_burials_everywhere(node);
    }

    fn reborn(&self, before: NodeId) {
        self.owe_returns(before);
    }

    fn parcels(&self, from: NodeId, parcels: Vec<Parcel>) {
        let _turn = Turn::begin();
        parcels.into_iter().for_each(|parcel| self.take_parcel(from, parcel));
    }

    fn whispers(&self, room: &RoomName, from: NodeId, whispers: Vec<Whisper>) {
        let _turn = Turn::begin();
        if let Some(cell) = self.rooms.get(room) {
            whispers.into_iter().for_each(|whisper| self.take_whisper(&cell, from, whisper));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_publisher_waits_for_those_who_are_behind_and_not_for_ever() {
        let time = Cell::new(0.0);
        let now = || Millis(time.replace(time.get() + 1.0));
        let left = Cell::new(100);
        let catches_up = || left.replace(left.get() - 1) > 0;
        assert_eq!(caught_up(catches_up, now).await, Ok(()));
        let before = time.get();
        assert_eq!(caught_up(|| true, now).await, Err(ErrorCode::Overloaded));
        assert!(time.get() - before >= BEHIND_MS as f64);
    }
}
