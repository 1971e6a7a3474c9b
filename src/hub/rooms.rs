//! The rooms of a node: the registry, and the cell in which a room lives together with those it
//! talks to. Everything in a cell changes under the cell's one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};
use rallypoint_protocol::{
    Event, EventBody, PeerId, Position, RoomName, ServerMessage,
    code::ErrorCode,
    event::{Entry, Gone, LeaveReason, Millis},
    position::LogKey,
    server::{Latency, PeerLeft, PeerUpdated, ResetReason, Typing},
};
use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use super::{
    early::{Early, Talk},
    feeds::Wake,
    link::Out,
    picture::tenths,
    row::Row,
    sessions::SessionCell,
    ticks::Ticks,
    trace::Tap,
    witness::Witness,
};
use crate::{
    broker::{Changed, Opened},
    frame::Frame,
    node::NodeId,
    room::{
        Room, RoomSettings,
        command::{Command, Departed, Outcome, Present, Ticked},
        history::{Append, History, Publication},
    },
    session::{Part, Seat, answers::Answer, outbox::Slot},
};

/// The state goes out to watchers and feeds at most this often.
pub const STATE_EVERY_MS: u64 = 100;

/// A member with a session on this node. The list is ordered by handle.
pub(super) struct Seated {
    pub(super) handle: u32,
    pub(super) session: Arc<SessionCell>,
    /// Sequence number of the event with which the member came again, because its node had been held for dead.
    returned: u64,
}

/// A session whose join is on its way through the log.
pub(super) struct Joining {
    pub(super) session: Arc<SessionCell>,
    /// The request to answer; a resume has none.
    pub(super) re: Option<u64>,
    pub(super) since: Option<Position>,
}

/// A session that watches, and how often it wants the state.
pub(super) struct Watching {
    pub(super) session: Arc<SessionCell>,
    /// Sequence of the head when it came: later events it would have seen.
    pub(super) began: u64,
    pub(super) state_every_ms: Option<u64>,
    pub(super) state_due: Millis,
    pub(super) state_version: u64,
}

/// A feed that follows the room.
pub(super) struct Follower {
    pub(super) wake: Arc<Wake>,
    pub(super) wants_state: bool,
}

/// What a cell's lock protects.
pub(super) struct State {
    pub(super) room: Room,
    pub(super) seats: Vec<Seated>,
    pub(super) joining: FxHashMap<PeerId, Joining>,
    /// Members of this node whom others have lost, and who are still to come again.
    returning: BTreeSet<PeerId>,
    pub(super) watchers: Vec<Watching>,
    /// In the order in which they came: their sockets lie side by side in memory, and are written to one after the other.
    pub(super) feeds: BTreeMap<u64, Follower>,
    pub(super) early: Early,
    ready: bool,
    /// Set when the cell leaves the registry; whoever still holds it looks it up again.
    pub(super) closed: bool,
    /// When the timer will call, if it is set.
    pub(super) scheduled: Option<Millis>,
    /// The state as feeds render it, shared by all of them.
    pub(super) rendered: Option<(u64, bytes::Bytes)>,
    /// Reliable moves that are about to go out.
    row: Row,
    ticks: Ticks,
    /// Somebody traces the room.
    pub(super) tap: Option<Box<Tap>>,
}

/// Tells the positions of one log apart, those of its other lives among them.
pub(super) fn mark(position: Position) -> u64 {
    // Epochs may be near each other: an odd factor spreads them.
    position.epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ position.seq
}

/// A room and those it talks to.
pub struct RoomCell {
    name: RoomName,
    key: LogKey,
    handle: u32,
    /// [`mark`] of the head, so that a feed at the head need not lock.
    head: AtomicU64,
    /// Version of the latest moves, for the same reason.
    state_version: AtomicU64,
    /// As many deliveries as may be are early, so that a publisher need not lock to know.
    behind: AtomicBool,
    state: Mutex<State>,
    witness: Arc<Witness>,
    pub(super) loaded: OnceCell<()>,
}

impl RoomCell {
    fn new(name: RoomName, handle: u32, settings: Arc<RoomSettings>, witness: Arc<Witness>) -> Self {
        let history = History::new(Position::start(0), settings.bounds());
        let state = State {
            room: Room::new(name.clone(), settings, history),
            seats: Vec::new(),
            joining: FxHashMap::default(),
            returning: BTreeSet::new(),
            watchers: Vec::new(),
            feeds: BTreeMap::new(),
            early: Early::default(),
            ready: false,
            closed: false,
            scheduled: None,
            rendered: None,
            row: Row::default(),
            ticks: Ticks::default(),
            tap: None,
        };
        let (head, state_version) = (AtomicU64::new(0), AtomicU64::new(0));
        let behind = AtomicBool::new(false);
        let key = LogKey::of(&name);
        let (state, loaded) = (Mutex::new(state), OnceCell::new());
        Self { name, key, handle, head, state_version, behind, state, witness, loaded }
    }

    /// The room's name.
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// What cursors call its log.
    pub fn key(&self) -> LogKey {
        self.key
    }

    /// The room's number on this node.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// [`mark`] of the newest event.
    pub(super) fn head_mark(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Version of the latest moves.
    pub fn state_version(&self) -> u64 {
        self.state_version.load(Ordering::Acquire)
    }

    /// Whether it waits for a delivery that others have overtaken: a thread was stopped between the log and the room.
    /// None of them is dropped, since the room could never go on without it; who publishes waits until it comes.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// The room, locked; `None` when the cell has left the registry.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock_for_a_move()?;
        state.send_row();
        Some(state)
    }

    /// The room, locked, with moves that may be about to go out still in it.
    pub(super) fn lock_for_a_move(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state.lock();
        (!state.closed).then_some(state)
    }

    /// The room begins where its log stands; `false` when the cell was given up meanwhile.
    pub(super) fn load(self: &Arc<Self>, opened: Opened) -> bool {
        let Some(mut state) = self.lock() else { return false };
        let (Opened { history, roster }, changes) = state.early.since(opened);
        let settings = state.room.shared_settings();
        state.room = Room::new(self.name.clone(), settings, history);
        state.ready = true;
        self.take_roster(&mut state, roster);
        changes.into_iter().for_each(|changed| self.take_change(&mut state, changed));
        self.head.store(mark(state.room.position()), Ordering::Release);
        self.apply_early(&mut state, None);
        self.behind.store(state.early.is_full(), Ordering::Release);
        true
    }

    /// Takes a delivery of the engine. Whether something of other nodes waits for the like.
    pub(super) fn deliver(self: &Arc<Self>, publication: Arc<Publication>, now: Millis) -> bool {
        let mut state = self.state.lock();
        state.send_row();
        state.early.event(publication);
        if state.ready {
            self.apply_early(&mut state, Some(now));
        }
        self.behind.store(state.early.is_full(), Ordering::Release);
        state.early.holds_talk()
    }

    /// The log cannot be continued: everybody is shown the room as it is, and it goes on from there. Returns those whose
    /// join was on its way and is not in the log.
    pub(super) fn restart(self: &Arc<Self>, reason: ResetReason, opened: Opened, now: Millis) -> Vec<Joining> {
        let Some(mut state) = self.lock() else { return Vec::new() };
        if !state.ready {
            state.early.begin(opened);
            return Vec::new();
        }
        state.early = Early::default();
        self.behind.store(false, Ordering::Release);
        for (gone, reason) in state.room.go_on_from(opened.history) {
            state.lose(self, gone, reason, now);
        }
        self.take_roster(&mut state, opened.roster);
        self.head.store(mark(state.room.position()), Ordering::Release);
        state.tell_restart(self, reason);
        let joining = std::mem::take(&mut state.joining);
        let (there, lost): (Vec<_>, Vec<_>) =
            joining.into_iter().partition(|(peer, _)| state.room.member(*peer).is_some());
        for (peer, joining) in there {
            state.tell_witness(self, peer);
            state.seat_joined(self, peer, joining);
        }
        lost.into_iter().map(|(_, joining)| joining).collect()
    }

    /// Something about a member of another node changed, and no event tells of it. Returns the session of a member of
    /// this node that has gone there.
    pub(super) fn changed(self: &Arc<Self>, changed: Changed) -> Option<Arc<SessionCell>> {
        let mut state = self.state.lock();
        state.send_row();
        if !state.ready {
            state.early.change(changed);
            return None;
        }
        let moved = match &changed {
            Changed::Entered(present) => state.unseat(present.entry.peer).map(|seat| seat.session),
            Changed::Left(_) => None,
        };
        if let Some(session) = &moved {
            session.lock().stand(&self.name);
        }
        self.take_change(&mut state, changed);
        moved
    }

    fn take_change(self: &Arc<Self>, state: &mut State, changed: Changed) {
        let (command, updated) = match changed {
            Changed::Entered(present) => {
                let known = state.room.member(present.entry.peer);
                let updated =
                    known.filter(|member| !same_state(&member.entry, &present.entry)).map(|_| present.entry.peer);
                (Command::Seat(Box::new(present)), updated)
            }
            Changed::Left(peer) => (Command::Unseat(peer), None),
        };
        self.apply_seats(state, command);
        updated.into_iter().for_each(|peer| state.tell_updated(peer));
    }

    /// The members of other nodes, all of them.
    pub(super) fn roster(self: &Arc<Self>, roster: Vec<Present>) {
        let Some(mut state) = self.lock() else { return };
        if state.ready {
            self.take_roster(&mut state, roster);
        } else {
            state.early.roster(roster);
        }
    }

    fn take_roster(self: &Arc<Self>, state: &mut State, roster: Vec<Present>) {
        let is_updated = |present: &&Present| {
            let known = state.room.member(present.entry.peer);
            known.is_some_and(|member| member.home.is_some() && !same_state(&member.entry, &present.entry))
        };
        let updated: Vec<_> = roster.iter().filter(is_updated).map(|present| present.entry.peer).collect();
        self.apply_seats(state, Command::Roster(roster));
        updated.into_iter().for_each(|peer| state.tell_updated(peer));
    }

    fn apply_seats(self: &Arc<Self>, state: &mut State, command: Command) {
        // It depends on no time.
        if let Ok(Outcome::Seated { gone }) = state.room.apply(command, Millis(0.0)) {
            gone.into_iter().for_each(|handle| state.forget(self, handle));
        }
    }

    fn apply_early(self: &Arc<Self>, state: &mut State, now: Option<Millis>) {
        while let Some(publication) = state.early.pop() {
            let moment = now.unwrap_or(publication.time);
            match state.room.apply(Command::Apply(publication.clone()), moment) {
                Ok(Outcome::Event { publication, event, stopped_typing, left }) => {
                    self.head.store(mark(publication.position), Ordering::Release);
                    state.announce(self, &publication, &event, stopped_typing, &left);
                }
                Ok(Outcome::NotNext(Append::Gap)) => {
                    state.early.event(publication);
                    return;
                }
                Ok(Outcome::NotNext(Append::Foreign)) => {
                    tracing::debug!(room = %self.name, "the log delivered an event that does not continue it");
                }
                _ => {}
            }
        }
    }

    /// Tells those who watch the node that a member of it left.
    pub(super) fn tell_left(&self, gone: Gone, reason: LeaveReason, count: usize) {
        self.witness.left(&self.name, gone, reason, count);
    }

    /// Publishes the version for feeds that look without locking.
    pub(super) fn note_state(&self, state: &State) {
        self.state_version.store(state.room.state_version(), Ordering::Release);
    }
}

impl State {
    /// The cell leaves the registry.
    fn close(&mut self) {
        self.closed = true;
        self.end_traces();
    }

    /// Nobody is here and nobody is coming.
    pub(super) fn is_idle(&self) -> bool {
        self.seats.is_empty()
            && self.joining.is_empty()
            && self.watchers.is_empty()
            && self.feeds.is_empty()
            && self.room.here() == 0
    }

    /// Whether a member is on this other node, as far as is known here.
    pub(super) fn is_at(&self, peer: PeerId, node: NodeId) -> bool {
        self.room.member(peer).is_some_and(|member| member.home == Some(node))
    }

    /// Whether a member of this node is still to come again: what others say to it follows that.
    pub(super) fn is_coming_again(&self) -> bool {
        !self.returning.is_empty()
    }

    /// What waited for its members, who have come.
    pub(super) fn ripe(&mut self, now: Millis) -> Vec<Talk> {
        if self.is_coming_again() {
            return Vec::new();
        }
        let Self { early, room, .. } = self;
        early.ripe(now, |talk, node| talk.is_due(room, node))
    }

    /// The seat of a peer, if its session is on this node.
    pub(super) fn seat(&self, peer: PeerId) -> Option<&Seated> {
        let handle = self.room.member(peer)?.handle;
        self.seat_by_handle(handle).filter(|seat| seat.session.peer() == peer)
    }

    pub(super) fn seat_by_handle(&self, handle: u32) -> Option<&Seated> {
        let at = self.seats.binary_search_by_key(&handle, |seat| seat.handle).ok()?;
        Some(&self.seats[at])
    }

    /// Takes a peer's seat away.
    pub(super) fn unseat(&mut self, peer: PeerId) -> Option<Seated> {
        self.returning.remove(&peer);
        let at = self.seats.iter().position(|seat| seat.session.peer() == peer)?;
        Some(self.seats.remove(at))
    }

    /// Tells the room about the number of its spectators.
    pub(super) fn count_spectators(&mut self, now: Millis) {
        let count = self.watchers.len() + self.feeds.len();
        _ = self.room.apply(Command::Spectators(count), now);
    }

    /// Holds a reliable move to all others back until the turn ends. Whether nothing was held back before: the turn has
    /// to be told then.
    pub(super) fn hold_back(&mut self, from: u32, frame: Frame, len: usize, now: Millis) -> bool {
        if !self.row.takes(from, len) {
            self.send_row();
        }
        let is_first = self.row.is_empty();
        if is_first {
            let out = self.out(now);
            self.row.begin(from, out);
        }
        self.row.push(frame, len);
        is_first
    }

    /// Sends the moves that were held back.
    pub(super) fn send_row(&mut self) {
        let Some((from, mut row, out)) = self.row.take() else { return };
        for seat in self.seats.iter().filter(|seat| seat.handle != from) {
            let fate = seat.session.push_counted(&mut row, out);
            if let Some(tap) = &self.tap {
                tap.pushed(&seat.session, Some(seat.handle), Some(from), &mut row, fate);
            }
        }
    }

    /// When a move of this moment goes out.
    pub(super) fn out(&mut self, now: Millis) -> Out {
        let tick_ms = self.room.settings().tick_ms;
        if tick_ms == 0 || self.ticks.goes_out(tick_ms, now) { Out::AtTurnEnd } else { Out::Later }
    }

    /// When the moves that wait go out.
    pub(super) fn tick_due(&self) -> Option<Millis> {
        self.ticks.due()
    }

    /// Sends a frame to every member but one.
    pub(super) fn tell_members(&self, frame: &mut Frame, except: Option<PeerId>) {
        for seat in self.seats.iter().filter(|seat| Some(seat.session.peer()) != except) {
            let fate = seat.session.push(frame);
            self.pushed(&seat.session, Some(seat.handle), frame, fate);
        }
    }

    pub(super) fn tell_watchers(&self, frame: &mut Frame) {
        for watcher in &self.watchers {
            let fate = watcher.session.push(frame);
            self.pushed(&watcher.session, None, frame, fate);
        }
    }

    /// Carries an event out to everybody, the joiner's own answer among them.
    fn announce(
        &mut self,
        cell: &Arc<RoomCell>,
        publication: &Publication,
        event: &Event,
        stopped_typing: Option<PeerId>,
        left: &[Departed],
    ) {
        let position = publication.position;
        if let Some(peer) = stopped_typing {
            self.tell_typing(peer, false);
        }
        for &Departed { handle, here, .. } in left {
            if here && let EventBody::PeerLeft { peer, reason } = &event.body {
                cell.tell_left(peer.clone(), *reason, self.room.count());
            }
            self.forget(cell, handle);
        }
        let joined = match &event.body {
            EventBody::PeerJoined { peer } => Some(peer.peer),
            _ => None,
        };
        let handle_of = |peer| match self.room.member(peer) {
            Some(member) => Some(member.handle),
            None => left.iter().find(|left| left.peer == peer).map(|left| left.handle),
        };
        // Everybody who is here already joined before the one who joins now.
        let mut message = event.to_message(&cell.name, position, None, handle_of);
        if let ServerMessage::NodeDown(told) = &mut message {
            // Whoever has found another node since, or is on this one, is not gone.
            told.down.left.retain(|gone| self.room.member(gone.peer).is_none());
        }
        let mut frame = Frame::of(message);
        self.tell_members(&mut frame, joined);
        self.tell_watchers(&mut frame);
        self.feeds.values().for_each(|feed| feed.wake.wake());
        if let EventBody::PeerLeft { peer, .. } = &event.body {
            // Only somebody who was removed still has a seat; it was told why like everybody else.
            if let Some(seat) = self.unseat(peer.peer) {
                seat.session.lock().stand(&cell.name);
            }
        }
        let Some(peer) = joined else { return };
        if let Some(joining) = self.joining.remove(&peer) {
            self.tell_witness(cell, peer);
            self.seat_joined(cell, peer, joining);
        } else if let Some(seat) = self.seats.iter_mut().find(|seat| seat.session.peer() == peer) {
            seat.returned = position.seq;
            self.has_returned(cell, peer);
        }
    }

    /// Others have lost a member, and see it again in a while. Until then nothing reaches them that must not be lost.
    pub(super) fn returns(&mut self, peer: PeerId) {
        if self.seat(peer).is_some() {
            self.returning.insert(peer);
        }
    }

    /// Whether others do not see a member yet.
    pub(super) fn is_returning(&self, peer: PeerId) -> bool {
        self.returning.contains(&peer)
    }

    /// Others see a member again. It is told that what was on the way between them is lost.
    pub(super) fn has_returned(&mut self, cell: &Arc<RoomCell>, peer: PeerId) {
        self.returning.remove(&peer);
        self.tell_reset(cell, peer, ResetReason::Lost);
    }

    /// Whether a member came again after this position.
    pub(super) fn returned_since(&self, peer: PeerId, since: Position) -> bool {
        self.seat(peer).is_some_and(|seat| seat.returned > since.seq)
    }

    /// Tells those who watch the node that a member of it joined.
    pub(super) fn tell_witness(&self, cell: &Arc<RoomCell>, peer: PeerId) {
        if let Some(member) = self.room.member(peer) {
            cell.witness.joined(&cell.name, &member.entry, self.room.count());
        }
    }

    /// The join is in the log: the member gets its seat and its picture of the room.
    pub(super) fn seat_joined(&mut self, cell: &Arc<RoomCell>, peer: PeerId, joining: Joining) {
        let Joining { session, re, since } = joining;
        let Some(handle) = self.room.intern(peer, session.user()) else { return };
        // A member that came from another node has a handle already.
        let at = self.seats.partition_point(|seat| seat.handle < handle);
        self.seats.insert(at, Seated { handle, session: session.clone(), returned: 0 });
        let seat = Seat::new(cell.name.clone(), cell.handle, Part::Member, cell.clone());
        let history = {
            let mut inner = session.lock();
            inner.sit(seat);
            if let Some(re) = re {
                inner.answered(re, Answer::View);
            }
            inner.grant().allows(&cell.name, rallypoint_protocol::Verb::History)
        };
        self.became(&session, "joined", None);
        let sent = session.show(cell.handle, &self.picture(cell, peer, re, self.missed_by(cell, peer, since, history)));
        self.sent(&session, "joined", sent);
    }

    /// Tells the others that a member types or stopped.
    pub(super) fn tell_typing(&self, peer: PeerId, on: bool) {
        let message = Typing { room: self.room.name().clone(), from: peer, on };
        self.tell_members(&mut Frame::of(ServerMessage::Typing(message)), Some(peer));
    }

    /// Tells what a member says of itself. Nothing per member is told to a large room; the roster has it for those who ask.
    pub(super) fn tell_updated(&self, peer: PeerId) {
        let Some(member) = self.room.member(peer).filter(|_| !self.room.is_gathering()) else { return };
        let null = || RawValue::NULL.to_owned();
        let state = member.entry.state.clone().unwrap_or_else(null);
        let updated = PeerUpdated { room: self.room.name().clone(), peer, state };
        self.tell_members(&mut Frame::of(ServerMessage::PeerUpdated(updated)), Some(peer));
    }

    /// A member is gone: its queued latest moves go too, and the state has changed.
    pub(super) fn forget(&mut self, cell: &Arc<RoomCell>, handle: u32) {
        for seat in &self.seats {
            seat.session.forget(cell.handle, handle);
        }
        cell.note_state(self);
    }

    /// Carries out what was due; returns the summary to be published.
    pub(super) fn tick(&mut self, now: Millis) -> Option<EventBody> {
        if self.ticks.is_over(self.room.settings().tick_ms, now) {
            self.seats.iter().for_each(|seat| seat.session.let_out());
        }
        let Ok(Outcome::Ticked(Ticked { stopped_typing, presence, latency })) = self.room.apply(Command::Tick, now)
        else {
            return None;
        };
        for peer in stopped_typing {
            self.tell_typing(peer, false);
        }
        if !latency.is_empty() {
            let room = self.room.name().clone();
            let rounded = |(handle, rtt, jitter): (u32, f64, f64)| (handle, tenths(rtt), tenths(jitter));
            let peers = latency.into_iter().map(rounded).collect();
            self.tell_members(&mut Frame::of(ServerMessage::Latency(Latency { room, peers })), None);
        }
        presence.map(|due| EventBody::Presence(due.0))
    }

    /// The `peer-left` that a removed member of a large room gets although nobody else does.
    pub(super) fn tell_removed(
        &self,
        cell: &Arc<RoomCell>,
        seat: &Seated,
        entry: &Entry,
        reason: LeaveReason,
        time: Millis,
    ) {
        let (user, name) = (entry.user.clone(), entry.name.clone());
        let gone = Gone { peer: seat.session.peer(), handle: Some(seat.handle), user, name };
        self.tell_left_to(cell, seat, gone, reason, time);
    }

    fn tell_left_to(&self, cell: &Arc<RoomCell>, seat: &Seated, peer: Gone, reason: LeaveReason, time: Millis) {
        let (room, position) = (cell.name.clone(), self.room.position());
        let left = ServerMessage::PeerLeft(PeerLeft { room, time, position, peer, reason });
        self.sent(&seat.session, left.name(), seat.session.send(&left));
    }

    /// A member of this node is gone, as the log tells, and only it has to be told.
    fn lose(&mut self, cell: &Arc<RoomCell>, gone: Gone, reason: LeaveReason, now: Millis) {
        cell.tell_left(gone.clone(), reason, self.room.count());
        if let Some(handle) = gone.handle {
            self.forget(cell, handle);
        }
        if let Some(seat) = self.unseat(gone.peer) {
            self.tell_left_to(cell, &seat, gone, reason, now);
            seat.session.lock().stand(&cell.name);
        }
    }

    /// Sends the state to watchers whose turn it is; returns when the next one's is.
    pub(super) fn tell_state(&mut self, cell: &Arc<RoomCell>, now: Millis) -> Option<Millis> {
        let version = self.room.state_version();
        let is_due = |watcher: &Watching| {
            watcher.state_every_ms.is_some() && watcher.state_version != version && watcher.state_due <= now
        };
        if self.watchers.iter().any(is_due) {
            let moves = self.latest(|latest| latest.peer);
            let message = rallypoint_protocol::server::State { room: cell.name.clone(), version, moves };
            let mut frame = Frame::of(ServerMessage::State(message));
            let slot = Slot { room: cell.handle, from: 0, key: 0, named: false };
            for watcher in self.watchers.iter_mut().filter(|watcher| is_due(watcher)) {
                let fate = watcher.session.push_latest(&mut frame, slot, Out::AtTurnEnd);
                if let Some(tap) = &self.tap {
                    tap.pushed(&watcher.session, None, None, &mut frame, fate);
                }
                watcher.state_version = version;
                watcher.state_due = now.after(watcher.state_every_ms.unwrap_or(STATE_EVERY_MS));
            }
        }
        let waiting = self.watchers.iter().filter(|w| w.state_every_ms.is_some() && w.state_version != version);
        waiting.map(|watcher| watcher.state_due).min_by(|a, b| a.0.total_cmp(&b.0))
    }
}

/// Whether a member says the same of itself.
fn same_state(one: &Entry, other: &Entry) -> bool {
    one.state.as_ref().map(|state| state.get()) == other.state.as_ref().map(|state| state.get())
}

/// All rooms of a node.
pub(super) struct Rooms {
    map: DashMap<RoomName, Arc<RoomCell>>,
    last_handle: AtomicU32,
    max: usize,
    witness: Arc<Witness>,
}

impl Rooms {
    pub(super) fn new(max: usize, witness: Arc<Witness>) -> Self {
        Self { map: DashMap::new(), last_handle: AtomicU32::new(0), max, witness }
    }

    pub(super) fn get(&self, name: &RoomName) -> Option<Arc<RoomCell>> {
        self.map.get(name).map(|cell| cell.value().clone())
    }

    /// The cell of a room, made if need be.
    pub(super) fn get_or_make(
        &self,
        name: &RoomName,
        settings: impl FnOnce() -> Arc<RoomSettings>,
    ) -> Result<Arc<RoomCell>, ErrorCode> {
        if let Some(cell) = self.get(name) {
            return Ok(cell);
        }
        if self.map.len() >= self.max {
            return Err(ErrorCode::Overloaded);
        }
        let make = || {
            let handle = self.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
            Arc::new(RoomCell::new(name.clone(), handle, settings(), self.witness.clone()))
        };
        Ok(self.map.entry(name.clone()).or_insert_with(make).value().clone())
    }

    /// Removes an idle room; whoever holds the cell finds it closed.
    pub(super) fn remove_idle(&self, cell: &Arc<RoomCell>) -> bool {
        let removed = self.map.remove_if(&cell.name, |_, found| {
            let mut state = found.state.lock();
            let idle = Arc::ptr_eq(found, cell) && state.ready && state.is_idle();
            if idle {
                state.close();
            }
            idle
        });
        removed.is_some()
    }

    /// Gives a room up that could not be loaded.
    pub(super) fn discard(&self, cell: &Arc<RoomCell>) {
        self.map.remove_if(&cell.name, |_, found| {
            let mut state = found.state.lock();
            let useless = Arc::ptr_eq(found, cell) && !state.ready;
            if useless {
                state.close();
            }
            useless
        });
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// All cells, for listings and sweeps; no guard leaves this function.
    pub(super) fn all(&self) -> Vec<Arc<RoomCell>> {
        self.map.iter().map(|cell| cell.value().clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::early::EARLY_MAX, *};

    /// A thread may be stopped between the log and the room while others publish hundreds of events. None of them may be
    /// missing when it comes at last: the room would wait for it for ever.
    #[test]
    fn a_delivery_that_is_very_late_stops_nothing() {
        let name = RoomName::new("lobby").unwrap();
        let cell = Arc::new(RoomCell::new(name.clone(), 1, Arc::default(), Arc::default()));
        let start = Position::start(7);
        assert!(cell.load(History::new(start, RoomSettings::default().bounds()).into()));
        let mut position = start;
        let mut publications = (0..EARLY_MAX + 100).map(|_| {
            let body = EventBody::Message { text: "hi".into() };
            let bytes = Event { time: Millis(1.0), from: None, body }.to_bytes();
            position = position.next(&bytes);
            Arc::new(Publication::new(name.clone(), position, bytes.into()).unwrap())
        });
        let late = publications.next().unwrap();
        for (early, publication) in publications.by_ref().enumerate() {
            cell.deliver(publication, Millis(1.0));
            assert_eq!(cell.is_behind(), early + 1 >= EARLY_MAX, "{early}");
        }
        assert_eq!(cell.head_mark(), mark(start));
        cell.deliver(late, Millis(1.0));
        assert_eq!((cell.head_mark(), cell.is_behind()), (mark(position), false));
    }
}
