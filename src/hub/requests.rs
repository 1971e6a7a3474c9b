//! What a session asks for over its socket, once the session has let it through.

use std::sync::Arc;

use rallypoint_protocol::{
    CloseCode, ErrorCode, EventBody, PeerId, Position, Request, RoomName, ServerMessage, Verb,
    codec::Refused,
    event::{Gone, LeaveReason},
    request,
    server::{Done, Failed, Members, Pong},
};
use serde_json::value::RawValue;

use super::{
    Hub,
    link::Fate,
    note::Verdict as Noted,
    picture::entry_of,
    relay::place_of,
    rooms::{Joining, RoomCell, Watching},
    sessions::SessionCell,
    trace::Asked,
    turn::Turn,
};
use crate::{
    auth::Grant,
    broker::{PublishError, parcel::Whisper},
    frame::Label,
    room::command::{Command, Outcome},
    session::{Part, Refusal, Seat, Verdict, answers::Answer},
};

/// What a request came to.
enum Reply {
    /// `ok`, with the position of the event it made.
    Done(Option<Position>),
    /// Another message that is the answer.
    View(Box<ServerMessage>),
    /// The answer is on its way already.
    Sent,
    /// There is nothing to answer.
    Silent,
}

/// A request that was let through and needs something from elsewhere: a log, most of the time.
pub struct Errand {
    id: u64,
    /// How the specification calls the message.
    name: &'static str,
    what: What,
    /// What tracers are told of it.
    asked: Option<Box<Asked>>,
}

/// An answer that was sent: its type, its length as a frame, and what became of it.
type Sent = Option<(&'static str, (usize, Fate))>;

impl Errand {
    /// The access token that it brings, whose key may have to be fetched first.
    pub(crate) fn token(&self) -> Option<&str> {
        match &self.what {
            What::Refresh(token) => Some(token),
            _ => None,
        }
    }
}

enum What {
    Refresh(String),
    Join(RoomName, Option<Position>),
    Watch(RoomName, Option<Position>, Option<f64>),
    /// The seat of a member or watcher.
    GiveUp(RoomName),
    Publish(RoomName, EventBody),
}

/// How far a request came at once.
enum Begun {
    /// To its answer, and the room it is about.
    Done(Result<Reply, Refusal>, Option<RoomName>),
    /// All of it is left; whatever is has an id.
    Left(What),
}

impl Hub {
    /// Judges a request of `len` bytes, and carries it out and answers it, unless it needs something from elsewhere: what
    /// is returned then is left to [`Hub::perform`].
    pub fn take(self: &Arc<Self>, session: &Arc<SessionCell>, request: Request, len: usize) -> Option<Errand> {
        let _turn = Turn::begin();
        let (id, name) = (request.id(), request.name());
        let asked = self.asked(&request, len);
        let verdict = session.lock().handle(&request, len, self.now());
        let (noted, answer) = match verdict {
            Ok(Verdict::Go) => {
                // The room notes a move itself, before what comes of it.
                let is_move = matches!(request, Request::Move(_));
                match self.carry_out_at_once(session, request, len) {
                    Begun::Done(Ok(_), _) if is_move => return None,
                    Begun::Done(reply, room) => (noted(&reply), self.reply(session, id, name, room.as_ref(), reply)),
                    Begun::Left(what) => return id.map(|id| Errand { id, name, what, asked }),
                }
            }
            Ok(Verdict::Again(answer)) => (Noted::Repeated, self.answer_again(session, id, answer)),
            Err(refusal) => (Noted::refused(&refusal), self.refuse(session, refusal, name)),
        };
        if let Some(asked) = asked {
            asked.came_to(session, noted, answer);
        }
        None
    }

    /// Does what [`Hub::take`] left over, and answers it. `verify` checks a refreshed token.
    pub async fn perform(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        Errand { id, name, what, asked }: Errand,
        verify: &(dyn Fn(&str) -> Result<Grant, Refused> + Send + Sync),
    ) {
        let reply = self.carry_out(session, id, what, verify).await;
        let _turn = Turn::begin();
        let noted = noted(&reply);
        let answer = self.reply(session, Some(id), name, None, reply);
        if let Some(asked) = asked {
            asked.came_to(session, noted, answer);
        }
    }

    fn reply(
        &self,
        session: &Arc<SessionCell>,
        id: Option<u64>,
        name: &'static str,
        room: Option<&RoomName>,
        reply: Result<Reply, Refusal>,
    ) -> Sent {
        match (reply, id) {
            (Ok(Reply::Done(position)), Some(re)) => {
                session.lock().answered(re, Answer::Done(position));
                Some(("ok", session.send(&ServerMessage::Ok(Done { re, position }))))
            }
            (Ok(Reply::View(view)), _) => {
                if let Some(re) = id {
                    session.lock().answered(re, Answer::View);
                }
                Some((view.name(), session.send(&view)))
            }
            (Ok(Reply::Done(_) | Reply::Sent | Reply::Silent), _) => None,
            (Err(refusal), _) => {
                self.refuse(session, Refusal { refused: refusal.refused.about(id, room), ..refusal }, name)
            }
        }
    }

    /// Tells a session that something was refused: always when it asked with an id, now and then
    /// when it did not. `name` is how the specification calls the message.
    pub fn refuse(&self, session: &Arc<SessionCell>, refusal: Refusal, name: &'static str) -> Sent {
        let Refusal { refused, limit, closes } = refusal;
        self.metrics().refuse(refused.code);
        self.witness.refused(session, &refused, name);
        if let Some(limit) = limit {
            self.metrics().limited(limit);
        }
        let mut failed = Failed::of(&refused);
        if closes {
            session.close_after(&ServerMessage::Error(failed), CloseCode::Rate, "went on above its rate");
            return None;
        }
        match refused.re {
            // An id that was not new has its own answer, or had it long ago.
            Some(_) if refused.code == ErrorCode::BadId => {}
            Some(re) => session.lock().answered(re, Answer::Refused(Box::new(refused))),
            None => match session.lock().report(&refused, self.now()) {
                Some(count) => failed.count = Some(count),
                None => return None,
            },
        }
        Some(("error", session.send(&ServerMessage::Error(failed))))
    }

    /// A frame that could not be read. It still counts against the rate, and uses its id up.
    pub fn refuse_unread(&self, session: &Arc<SessionCell>, refused: Refused, len: usize) {
        let refusal = session.lock().unread(refused, len, self.now());
        if self.is_tracing() {
            self.note_refused(session, Label::of(UNREAD), len, &refusal);
        }
        self.refuse(session, refusal, UNREAD);
    }

    /// A ping or pong frame of the client's. It counts against the rate and has no answer of ours.
    pub fn count_control(&self, session: &Arc<SessionCell>, len: usize) {
        let counted = session.lock().handle_control(len, self.now());
        if let Err(refusal) = counted {
            self.refuse(session, refusal, "a ping or pong frame");
        }
    }

    fn answer_again(&self, session: &Arc<SessionCell>, id: Option<u64>, answer: Answer) -> Sent {
        let message = match (answer, id) {
            (Answer::Done(position), Some(re)) => ServerMessage::Ok(Done { re, position }),
            (Answer::Refused(refused), _) => ServerMessage::Error(Failed::of(&refused)),
            _ => return None,
        };
        Some((message.name(), session.send(&message)))
    }

    fn carry_out_at_once(&self, session: &Arc<SessionCell>, request: Request, len: usize) -> Begun {
        match request {
            Request::Auth { .. } | Request::Resume(_) => Begun::Done(Err(ErrorCode::AlreadyAuthenticated.into()), None),
            Request::Signal { room, to, kind, data, .. } => {
                Begun::Done(self.signal(session, &room, to, kind, data).map(|()| Reply::Done(None)), Some(room))
            }
            Request::Update { room, state, .. } => Begun::Done(self.update(session, &room, state), Some(room)),
            Request::Members { id, room, after, limit, handles } => {
                Begun::Done(self.members(session, id, &room, after, limit, handles), Some(room))
            }
            Request::Typing { room } => Begun::Done(self.typing(session, &room).map(|()| Reply::Silent), Some(room)),
            Request::Move(step) => {
                let room = step.room.clone();
                Begun::Done(self.relay_json(session, step, len).map(|()| Reply::Silent), Some(room))
            }
            Request::Ping { id, t } => {
                let now = self.now();
                let pong = Pong { re: id, t, received: now, sent: self.now() };
                Begun::Done(Ok(Reply::View(Box::new(ServerMessage::Pong(pong)))), None)
            }
            Request::Ack { n } => {
                let acked = session.ack(n).map_err(|_| {
                    Refused::new(ErrorCode::BadValue, "acknowledges more than was sent, or less than before").into()
                });
                Begun::Done(acked.map(|()| Reply::Silent), None)
            }
            Request::Refresh { token, .. } => Begun::Left(What::Refresh(token)),
            Request::Join { room, since, .. } => Begun::Left(What::Join(room, since)),
            Request::Watch { room, since, state, .. } => Begun::Left(What::Watch(room, since, state)),
            Request::Leave { room, .. } | Request::Unwatch { room, .. } => Begun::Left(What::GiveUp(room)),
            Request::Message { room, text, .. } => {
                Begun::Left(What::Publish(room, EventBody::Message { text: text.into() }))
            }
            Request::Publish { room, kind, data, .. } => {
                Begun::Left(What::Publish(room, EventBody::App { kind, data }))
            }
        }
    }

    async fn carry_out(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        id: u64,
        what: What,
        verify: &(dyn Fn(&str) -> Result<Grant, Refused> + Send + Sync),
    ) -> Result<Reply, Refusal> {
        match what {
            What::Refresh(token) => {
                let grant = Arc::new(verify(&token)?);
                self.refresh(session, grant).await?;
                Ok(Reply::Done(None))
            }
            What::Join(room, since) => {
                let may_create = session.lock().grant().allows(&room, Verb::Create);
                self.join(session, Some(id), room, since, may_create).await?;
                Ok(Reply::Sent)
            }
            What::GiveUp(room) => {
                let seat = session.lock().seat(&room).cloned().ok_or(ErrorCode::NotJoined)?;
                self.give_up_seat(session, &seat, LeaveReason::Left).await;
                Ok(Reply::Done(None))
            }
            What::Publish(room, body) => self.publish_as(session, &room, body).await,
            What::Watch(room, since, state) => {
                self.watch(session, Some(id), room, since, state).await?;
                Ok(Reply::Sent)
            }
        }
    }

    async fn publish_as(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        room: &RoomName,
        body: EventBody,
    ) -> Result<Reply, Refusal> {
        self.load.take_event()?;
        let author = session.lock().author();
        let _joined = place_of(session, room)?;
        let published = self.publish(room, body, Some(author), None).await?;
        Ok(Reply::Done(Some(published.position)))
    }

    /// Makes a session a member, or shows it the room again. Without a request to answer it is a
    /// resume that brings it in.
    pub(super) async fn join(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        re: Option<u64>,
        mut room: RoomName,
        since: Option<Position>,
        may_create: bool,
    ) -> Result<(), Refusal> {
        let entry = loop {
            let cell = self.open_room(&room).await?;
            let _turn = Turn::begin();
            let now = self.now();
            let Some(mut state) = cell.lock() else { continue };
            let release = |state, refused: Refused| {
                drop(state);
                self.release(&cell);
                Err(refused.into())
            };
            let (seat, again) = {
                let inner = session.lock();
                (inner.seat(&room).cloned(), re.is_some_and(|re| inner.is_repeated(re)))
            };
            if let Some(seat) = seat {
                // A repeated id gets a current picture; a new one is a mistake worth telling.
                if seat.part == Part::Watcher || !again {
                    return release(state, ErrorCode::AlreadyJoined.into());
                }
                let history = session.lock().grant().allows(&room, Verb::History);
                let missed = state.missed_by(&cell, session.peer(), since, history);
                let sent = session.show(cell.handle(), &state.picture(&cell, session.peer(), re, missed));
                state.sent(session, "joined", sent);
                return Ok(());
            }
            if again {
                return release(state, left_since());
            }
            // It would be taken for the leave of the new membership.
            if self.debts.is_leaving(&room, session.peer()) {
                return release(state, ErrorCode::Overloaded.into());
            }
            let coming = state.room.count() + state.joining.len();
            if coming == 0 && !may_create {
                return release(state, ErrorCode::RoomUnknown.into());
            }
            if coming >= state.room.settings().members {
                self.metrics().limited("members");
                return release(state, ErrorCode::RoomFull.into());
            }
            // The log keeps the name for minutes: let it be the one that is there anyway.
            room = cell.name().clone();
            let entry = session.lock().entry();
            let joining = Joining { session: session.clone(), re, since };
            if !state.room.is_gathering() {
                state.joining.insert(session.peer(), joining);
                break entry;
            }
            state.room.apply(Command::Enter(Box::new(entry)), now)?;
            self.owe_member(&room, session.peer());
            state.tell_witness(&cell, session.peer());
            state.seat_joined(&cell, session.peer(), joining);
            self.schedule(&cell, &mut state, None);
            return Ok(());
        };
        // The delivery of this event seats the member and answers the request.
        let body = EventBody::PeerJoined { peer: entry };
        match self.try_publish(&room, body, None, None).await {
            Ok(_) => Ok(()),
            Err(error) => {
                if let Some(cell) = self.rooms.get(&room) {
                    if let Some(mut state) = cell.lock() {
                        state.joining.remove(&session.peer());
                    }
                    self.release(&cell);
                }
                if error == PublishError::Ambiguous {
                    self.owe_leave(&room, session.gone(), LeaveReason::Lost);
                }
                Err(ErrorCode::from(error).into())
            }
        }
    }

    /// A member or watcher gives its seat up, or loses it with its session.
    pub(super) async fn give_up_seat(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        seat: &Seat<Arc<RoomCell>>,
        reason: LeaveReason,
    ) {
        let cell = &seat.place;
        let announce = {
            let _turn = Turn::begin();
            let now = self.now();
            let Some(mut state) = cell.lock() else { return };
            if session.lock().stand(cell.name()).is_none() {
                return;
            }
            state.became(session, "left", Some(reason));
            match seat.part {
                Part::Watcher => {
                    state.watchers.retain(|watcher| watcher.session.id() != session.id());
                    state.count_spectators(now);
                    None
                }
                Part::Member => {
                    state.unseat(session.peer());
                    self.leave_room(cell, &mut state, session.peer(), reason)
                }
            }
        };
        if let Some(gone) = announce {
            self.announce_leave(cell.name(), gone, reason).await;
        }
        self.release(cell);
    }

    /// Takes a member of this node out of a large room at once; otherwise returns what to announce.
    pub(super) fn leave_room(
        &self,
        cell: &Arc<RoomCell>,
        state: &mut super::rooms::State,
        peer: PeerId,
        reason: LeaveReason,
    ) -> Option<Gone> {
        let member = state.room.member(peer)?;
        let (user, name) = (member.entry.user.clone(), member.entry.name.clone());
        let gone = Gone { peer, handle: None, user, name };
        // The node that has the session of another's member has to hear of it.
        if member.home.is_some() || !state.room.is_gathering() {
            return Some(gone);
        }
        if let Ok(Outcome::Exited { handle, typing }) = state.room.apply(Command::Exit(peer), self.now()) {
            if typing {
                state.tell_typing(peer, false);
            }
            cell.tell_left(gone, reason, state.room.count());
            state.forget(cell, handle);
            self.owe_member(cell.name(), peer);
            self.schedule(cell, state, None);
        }
        None
    }

    pub(super) async fn announce_leave(&self, room: &RoomName, peer: Gone, reason: LeaveReason) {
        let body = EventBody::PeerLeft { peer: peer.clone(), reason };
        if let Err(error) = self.publish(room, body, None, None).await {
            tracing::debug!(%room, %error, "a leave could not be published yet");
            self.owe_leave(room, peer, reason);
        }
    }

    /// Makes a session a watcher, or shows it the room again and takes the new rate of the state.
    pub(super) async fn watch(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        re: Option<u64>,
        room: RoomName,
        since: Option<Position>,
        state_hz: Option<f64>,
    ) -> Result<(), Refusal> {
        loop {
            let cell = self.open_room(&room).await?;
            let _turn = Turn::begin();
            let now = self.now();
            let Some(mut state) = cell.lock() else { continue };
            let mut inner = session.lock();
            match inner.seat(&room).map(|seat| seat.part) {
                Some(Part::Member) => return Err(ErrorCode::AlreadyJoined.into()),
                Some(Part::Watcher) => {}
                None if re.is_some_and(|re| inner.is_repeated(re)) => {
                    drop((inner, state));
                    self.release(&cell);
                    return Err(left_since().into());
                }
                None => {
                    let (handle, place) = (cell.handle(), cell.clone());
                    inner.sit(Seat::new(room.clone(), handle, Part::Watcher, place));
                }
            }
            let history = inner.grant().allows(&room, Verb::History);
            if let Some(re) = re {
                inner.answered(re, Answer::View);
            }
            drop(inner);
            let state_every_ms = state_hz.map(request::state_every_ms);
            let before = state.watchers.iter().position(|watcher| watcher.session.id() == session.id());
            let began = before.map_or(state.room.position().seq, |at| state.watchers.remove(at).began);
            let watching = Watching {
                session: session.clone(),
                began,
                state_every_ms,
                state_due: now.after(state_every_ms.unwrap_or(0)),
                state_version: state.room.state_version(),
            };
            state.watchers.push(watching);
            state.count_spectators(now);
            let missed = state.missed(&cell, since, None, history);
            let sent = session.show(cell.handle(), &state.view(&cell, re, state_hz.is_some(), missed));
            state.sent(session, "watching", sent);
            return Ok(());
        }
    }

    fn update(&self, session: &Arc<SessionCell>, room: &RoomName, state: Box<RawValue>) -> Result<Reply, Refusal> {
        let cell = place_of(session, room)?;
        let _turn = Turn::begin();
        let mut inner = cell.lock().ok_or(ErrorCode::NotJoined)?;
        let peer = session.peer();
        inner.room.apply(Command::Update { peer, state: Some(state) }, self.now())?;
        inner.tell_updated(peer);
        self.owe_member(room, peer);
        Ok(Reply::Done(None))
    }

    fn members(
        &self,
        session: &Arc<SessionCell>,
        re: u64,
        room: &RoomName,
        after: Option<PeerId>,
        limit: usize,
        handles: Option<Vec<u32>>,
    ) -> Result<Reply, Refusal> {
        let cell = place_of(session, room)?;
        let state = cell.lock().ok_or(ErrorCode::NotJoined)?;
        let own = state.room.member(session.peer());
        let viewer = own.map(|own| (own.entry.order.unwrap_or(0), session.peer()));
        let asked = |handle: &u32| handles.as_ref().is_none_or(|handles| handles.contains(handle));
        let mut page = state.room.members(after).filter(|member| asked(&member.handle));
        let members: Vec<_> = page.by_ref().take(limit).map(|member| entry_of(member).seen_by(viewer)).collect();
        let next = page.next().and_then(|_| members.last().map(|entry| entry.peer));
        let count = state.room.count();
        Ok(Reply::View(Box::new(ServerMessage::Members(Members { re, room: room.clone(), members, count, next }))))
    }

    fn typing(&self, session: &Arc<SessionCell>, room: &RoomName) -> Result<(), Refusal> {
        let cell = place_of(session, room)?;
        let _turn = Turn::begin();
        if cell.lock().ok_or(ErrorCode::NotJoined)?.room.member(session.peer()).is_none() {
            return Err(ErrorCode::NotJoined.into());
        }
        self.types(&cell, session.peer());
        self.whisper(&cell, Whisper::Typing(session.peer(), true));
        Ok(())
    }

    /// A member types.
    pub(super) fn types(&self, cell: &Arc<RoomCell>, peer: PeerId) {
        let Some(mut state) = cell.lock() else { return };
        if let Ok(Outcome::Typing { began: true }) = state.room.apply(Command::Typing(peer), self.now()) {
            state.tell_typing(peer, true);
            self.schedule(cell, &mut state, None);
        }
    }

    /// A member types no more. Whether it did.
    pub(super) fn falls_silent(&self, cell: &RoomCell, peer: PeerId) -> bool {
        let Some(mut state) = cell.lock() else { return false };
        let hushed = state.room.apply(Command::Hush(peer), self.now());
        let typed = matches!(hushed, Ok(Outcome::Hushed { typing: true }));
        if typed {
            state.tell_typing(peer, false);
        }
        typed
    }

    /// A round trip to a session was measured; its rooms will report it.
    pub fn measured(&self, session: &Arc<SessionCell>, rtt: f64, jitter: f64) {
        let cells: Vec<_> = {
            let inner = session.lock();
            inner.seats().iter().filter(|seat| seat.part == Part::Member).map(|seat| seat.place.clone()).collect()
        };
        for cell in cells {
            self.note_latency(&cell, session.peer(), rtt, jitter);
            self.whisper(&cell, Whisper::Latency(session.peer(), rtt, jitter));
        }
    }

    /// The round trip to a member was measured.
    pub(super) fn note_latency(&self, cell: &Arc<RoomCell>, peer: PeerId, rtt: f64, jitter: f64) {
        if let Some(mut state) = cell.lock() {
            _ = state.room.apply(Command::Latency { peer, rtt, jitter }, self.now());
            self.schedule(cell, &mut state, None);
        }
    }

    /// Newer rights; rooms that they do not cover are left.
    pub(super) async fn refresh(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        grant: Arc<Grant>,
    ) -> Result<(), Refusal> {
        let bounds = self.bounds_for(&grant);
        let lost = session.lock().refresh(grant, bounds)?;
        for room in lost {
            let seat = session.lock().seat(&room).cloned();
            let Some(seat) = seat else { continue };
            match seat.part {
                Part::Member => self.remove_member(&seat.place, session.peer(), LeaveReason::Expired).await,
                Part::Watcher => {
                    self.give_up_seat(session, &seat, LeaveReason::Expired).await;
                    let refused = crate::session::forbidden(Verb::Watch).about(None, Some(&room));
                    let _turn = Turn::begin();
                    self.refuse(session, refused.into(), "refresh");
                }
            }
        }
        Ok(())
    }
}

/// What tracers and the audit log call a message that could not be read.
const UNREAD: &str = "unreadable";

/// What tracers are told of a reply.
fn noted(reply: &Result<Reply, Refusal>) -> Noted {
    reply.as_ref().map_or_else(Noted::refused, |_| Noted::Ok)
}

/// To a request that made the session a member or watcher, repeated when it is none any more: whatever
/// took the seat was later, and stands.
fn left_since() -> Refused {
    Refused::new(ErrorCode::NotJoined, "that was carried out, and the room has been left since")
}
