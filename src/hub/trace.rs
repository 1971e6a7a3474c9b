//! How operators look on while a room goes about its business: every frame that it gets and sends is noted for them.
//!
//! A room that nobody traces has no [`Tap`]: a move finds that out under the room's lock, which it holds anyway, and a
//! request by a look at one counter of the node ([`Hub::is_tracing`]). A tracer that falls behind misses notes, and is
//! told how many; the room never waits for it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use rallypoint_protocol::{
    ErrorCode, PeerId, Request, RoomName,
    codec::Refused,
    event::{LeaveReason, Millis},
    moves::Lane,
};
use serde::Serialize;

use super::{
    Hub,
    clock::Clock,
    feeds::Wake,
    link::{Fate, Waits},
    note::{Note, Queue, Verdict, Way},
    rooms::{RoomCell, State},
    sessions::SessionCell,
};
use crate::{
    frame::{Frame, Label},
    room::Room,
    session::Refusal,
};

/// Members that a tracer is told of when it begins.
const SHOWN_MAX: usize = 100;

/// What a tracer has not been told yet.
#[derive(Default)]
struct Gathered {
    notes: Vec<Note>,
    /// So many came after these and found no room.
    skipped: u64,
}

/// One who traces, as the room knows it.
struct Tracer {
    /// Only what this peer sends and gets.
    only: Option<PeerId>,
    /// Notes that may wait.
    most: usize,
    gathered: Mutex<Gathered>,
    wake: Wake,
}

impl Tracer {
    fn note(&self, note: Note) {
        if self.only.is_some_and(|peer| peer != note.peer) {
            return;
        }
        {
            let mut gathered = self.gathered.lock();
            if gathered.notes.len() < self.most && gathered.skipped == 0 {
                gathered.notes.push(note);
            } else {
                gathered.skipped += 1;
            }
        }
        self.wake.wake();
    }
}

/// All who trace one room.
pub(super) struct Tap {
    clock: Clock,
    tracers: Vec<Arc<Tracer>>,
}

impl Tap {
    #[cold]
    fn note(&self, note: &Note) {
        self.tracers.iter().for_each(|tracer| tracer.note(note.clone()));
    }

    /// A member moved; the room has said what comes of it.
    #[cold]
    pub(super) fn moved(&self, room: &Room, session: &SessionCell, lane: Lane, size: usize, verdict: Verdict) {
        let handle = room.member(session.peer()).map(|member| member.handle);
        let note = Note::of(Way::In, session, handle, Label::of_move(lane), self.clock.now());
        self.note(&Note { size, verdict, ..note });
    }

    /// A frame was pushed to a session; none of its locks is held.
    #[cold]
    pub(super) fn pushed(
        &self,
        to: &SessionCell,
        handle: Option<u32>,
        from: Option<u32>,
        frame: &mut Frame,
        fate: Fate,
    ) {
        let (encoding, waits) = to.waits();
        let encoded = frame.get(encoding);
        let note = Note::of(Way::Out, to, handle, frame.label(), self.clock.now());
        let (size, count) = (encoded.len(), encoded.messages());
        self.note(&Note { from, size, count, verdict: Verdict::Sent(fate), waits: Some(waits), ..note });
    }

    /// Frames of `size` bytes that only this session gets were pushed to it.
    #[cold]
    pub(super) fn sent(
        &self,
        to: &SessionCell,
        handle: Option<u32>,
        what: &'static str,
        (size, fate): (usize, Fate),
        waits: Waits,
    ) {
        let note = Note::of(Way::Out, to, handle, Label::of(what), self.clock.now());
        self.note(&Note { size, verdict: Verdict::Sent(fate), waits: Some(waits), ..note });
    }

    /// Something became of a peer.
    #[cold]
    pub(super) fn became(
        &self,
        session: &SessionCell,
        handle: Option<u32>,
        what: &'static str,
        reason: Option<LeaveReason>,
    ) {
        let note = Note::of(Way::State, session, handle, Label::of(what), self.clock.now());
        self.note(&Note { reason, ..note });
    }
}

impl State {
    /// Tells tracers what became of a frame, if there are any.
    pub(super) fn pushed(&self, to: &SessionCell, handle: Option<u32>, frame: &mut Frame, fate: Fate) {
        if let Some(tap) = &self.tap {
            tap.pushed(to, handle, None, frame, fate);
        }
    }

    /// Tells tracers of frames for one session, which is not locked.
    pub(super) fn sent(&self, to: &SessionCell, what: &'static str, sent: (usize, Fate)) {
        if let Some(tap) = &self.tap {
            tap.sent(to, self.handle_of(to.peer()), what, sent, to.waits().1);
        }
    }

    /// Tells tracers what became of a peer.
    pub(super) fn became(&self, session: &SessionCell, what: &'static str, reason: Option<LeaveReason>) {
        if let Some(tap) = &self.tap {
            tap.became(session, self.handle_of(session.peer()), what, reason);
        }
    }

    fn handle_of(&self, peer: PeerId) -> Option<u32> {
        self.room.member(peer).map(|member| member.handle)
    }

    /// Sends whoever traces the room away.
    pub(super) fn end_traces(&mut self) {
        if let Some(tap) = self.tap.take() {
            tap.tracers.iter().for_each(|tracer| tracer.wake.end(ErrorCode::RoomUnknown));
        }
    }
}

/// A request of a traced room, whose verdict is not known yet.
pub(super) struct Asked {
    cell: Arc<RoomCell>,
    at: Millis,
    what: Label,
    size: usize,
}

impl Asked {
    /// Tells tracers what came of it, and of its answer.
    #[cold]
    pub(super) fn came_to(
        self,
        session: &SessionCell,
        verdict: Verdict,
        answer: Option<(&'static str, (usize, Fate))>,
    ) {
        let Some(state) = self.cell.lock_for_a_move() else { return };
        let Some(tap) = &state.tap else { return };
        let handle = state.handle_of(session.peer());
        let note = Note::of(Way::In, session, handle, self.what, self.at);
        tap.note(&Note { size: self.size, verdict, ..note });
        if let Some((what, sent)) = answer {
            state.sent(session, what, sent);
        }
    }
}

/// How many trace rooms of a node.
#[derive(Default)]
pub(super) struct Tracing(AtomicUsize);

impl Hub {
    /// Whether anybody traces any room of this node.
    pub(super) fn is_tracing(&self) -> bool {
        self.tracing.0.load(Ordering::Relaxed) > 0
    }

    /// What tracers are to be told of a request of `len` bytes, if there are any.
    pub(super) fn asked(&self, request: &Request, len: usize) -> Option<Box<Asked>> {
        if self.is_tracing() { self.asked_of_traced(request, len) } else { None }
    }

    #[cold]
    fn asked_of_traced(&self, request: &Request, size: usize) -> Option<Box<Asked>> {
        let what = match request {
            Request::Move(step) => Label::of_move(step.lane),
            Request::Publish { kind, .. } => Label { kind: Some(kind.clone()), ..Label::of(request.name()) },
            _ => Label::of(request.name()),
        };
        self.asked_in(request.room()?, what, size).map(Box::new)
    }

    fn asked_in(&self, room: &RoomName, what: Label, size: usize) -> Option<Asked> {
        let cell = self.rooms.get(room)?;
        let is_traced = cell.lock_for_a_move()?.tap.is_some();
        is_traced.then(|| Asked { cell, at: self.now(), what, size })
    }

    /// A frame that did not become a request, or a move that the session did not let through.
    #[cold]
    pub(super) fn note_refused(&self, session: &SessionCell, what: Label, size: usize, refusal: &Refusal) {
        let rooms = match &refusal.refused.room {
            Some(room) => vec![room.clone()],
            // It could have been for any of them.
            None => session.lock().seats().iter().map(|seat| seat.room.clone()).collect(),
        };
        for asked in rooms.iter().filter_map(|room| self.asked_in(room, what.clone(), size)) {
            asked.came_to(session, Verdict::refused(refusal), None);
        }
    }

    /// Begins to trace a room that is there; with `only` just what that peer sends and gets.
    pub(crate) fn trace(self: &Arc<Self>, room: &RoomName, only: Option<PeerId>) -> Result<Trace, Refused> {
        let limits = self.limits();
        let refused = |limit: &'static str| {
            self.metrics.limited(limit);
            Refused::new(ErrorCode::TooManyConnections, format!("too many traces: limits.{limit}"))
        };
        let counted = Counted::of(self, limits.traces).ok_or_else(|| refused("traces"))?;
        let unknown = || Refused::new(ErrorCode::RoomUnknown, "nobody is in this room");
        let cell = self.rooms.get(room).ok_or_else(unknown)?;
        let gathered = Mutex::default();
        let tracer = Arc::new(Tracer { only, most: limits.trace_queue, gathered, wake: Wake::default() });
        let mut state = cell.lock().ok_or_else(unknown)?;
        let shown = Shown::of(&state, self.now());
        let tap = state.tap.get_or_insert_with(|| Box::new(Tap { clock: self.clock, tracers: Vec::new() }));
        if tap.tracers.len() >= limits.traces_per_room {
            return Err(refused("traces_per_room"));
        }
        tap.tracers.push(tracer.clone());
        drop(state);
        Ok(Trace { cell, tracer, shown, _counted: counted })
    }
}

/// One of the node's traces, for as long as it lasts.
struct Counted(Arc<Hub>);

impl Counted {
    fn of(hub: &Arc<Hub>, most: usize) -> Option<Self> {
        let more = |traces: usize| (traces < most).then_some(traces + 1);
        hub.tracing.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok().then(|| Self(hub.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tracing.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A member as a tracer finds it.
#[derive(Serialize)]
struct Member {
    peer: PeerId,
    handle: u32,
    user: rallypoint_protocol::UserName,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<f64>,
    /// Its socket is lost, and it may come back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lost: bool,
    queue: Queue,
}

/// The room as a tracer finds it.
#[derive(Serialize)]
pub(crate) struct Shown {
    count: usize,
    spectators: usize,
    members: Vec<Member>,
}

impl Shown {
    fn of(state: &State, now: Millis) -> Self {
        let members = state.seats.iter().take(SHOWN_MAX).map(|seat| Member {
            peer: seat.session.peer(),
            handle: seat.handle,
            user: seat.session.user().clone(),
            rtt: state.room.member(seat.session.peer()).and_then(|member| member.entry.rtt),
            lost: !seat.session.is_here(),
            queue: Queue::of(seat.session.waits().1, now),
        });
        Self { count: state.room.count(), spectators: state.room.spectators(), members: members.collect() }
    }
}

/// What one tracer is told. It ends with this value.
pub(crate) struct Trace {
    cell: Arc<RoomCell>,
    tracer: Arc<Tracer>,
    shown: Shown,
    _counted: Counted,
}

impl Trace {
    /// Which room.
    pub(crate) fn room(&self) -> &RoomName {
        self.cell.name()
    }

    /// The room as it was at the beginning.
    pub(crate) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// The bell.
    pub(crate) fn wake(&self) -> &Wake {
        &self.tracer.wake
    }

    /// What came since the last time, in order, into `notes`, which is empty; and how many were left out after that.
    pub(crate) fn take(&self, notes: &mut Vec<Note>) -> u64 {
        let mut gathered = self.tracer.gathered.lock();
        std::mem::swap(&mut gathered.notes, notes);
        std::mem::take(&mut gathered.skipped)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let Some(mut state) = self.cell.lock_for_a_move() else { return };
        state.tap.iter_mut().for_each(|tap| tap.tracers.retain(|tracer| !Arc::ptr_eq(tracer, &self.tracer)));
        state.tap.take_if(|tap| tap.tracers.is_empty());
    }
}
