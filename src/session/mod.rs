//! A session is a guest's place. It decides what a guest may do and keeps what must outlive a
//! socket; it knows no socket, clock or lock.
//!
//! `P` is what the hub remembers about a joined room; tests use `()`.

pub mod answers;
pub mod kept;
pub mod limits;
pub mod outbox;
pub mod pulse;

use std::sync::Arc;

use rallypoint_protocol::{
    PeerId, Request, RoomName, Verb, Verbs,
    code::ErrorCode,
    codec::Refused,
    event::{Entry, From, Millis},
    rights,
};

use crate::auth::{Grant, Limit};
use answers::{Answer, Answers, Repeat, Reports};
use limits::{Buckets, Rate, Rates, TooFast};

/// What a session is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A peer that others see.
    Member,
    /// A spectator on a socket.
    Watcher,
}

/// One room a session is in.
#[derive(Clone, Debug)]
pub struct Seat<P> {
    /// The room.
    pub room: RoomName,
    /// The room's handle on this node.
    pub handle: u32,
    /// As what.
    pub part: Part,
    /// What the hub wants to find again.
    pub place: P,
    /// What the token allows there, so that no move asks its patterns.
    verbs: Verbs,
}

impl<P> Seat<P> {
    /// A place in a room.
    pub fn new(room: RoomName, handle: u32, part: Part, place: P) -> Self {
        Self { room, handle, part, place, verbs: Verbs::NONE }
    }
}

/// The bounds a session keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Rooms at a time.
    pub rooms: usize,
    /// How fast it may send.
    pub rates: Rates,
}

impl Bounds {
    /// These bounds as a token lowers them. It never raises one.
    pub fn lowered(&self, lim: &Limit) -> Self {
        let per_second =
            |rate: Rate, lim: Option<u32>| lim.map_or(rate.per_second, |lim| rate.per_second.min(lim.into()));
        let lower = |rate: Rate, lim: Option<u32>| {
            let per_second = per_second(rate, lim);
            // A burst lasts as long as without the token's limit, and lets one through at least.
            Rate { per_second, burst: (rate.burst * per_second / rate.per_second).max(1.0) }
        };
        let Rates { requests, moves, bytes } = self.rates;
        let rates = Rates {
            requests: lower(requests, lim.requests),
            moves: lower(moves, lim.moves),
            // Any frame may come, however rarely.
            bytes: Rate { per_second: per_second(bytes, lim.bytes), ..bytes },
        };
        let rooms =
            lim.rooms.and_then(|rooms| usize::try_from(rooms).ok()).map_or(self.rooms, |lim| lim.min(self.rooms));
        Self { rooms, rates }
    }
}

/// What to do with a request that the session looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out.
    Go,
    /// It was carried out before; answer like this.
    Again(Answer),
}

/// A request the session does not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What to answer.
    pub refused: Refused,
    /// Which of the limits it is about, as the configuration calls it.
    pub limit: Option<&'static str>,
    /// The client went on regardless for too long: its socket is to be closed.
    pub closes: bool,
}

impl std::convert::From<TooFast> for Refusal {
    fn from(TooFast { wait, limit, persistent }: TooFast) -> Self {
        let refused = Refused::new(ErrorCode::RateLimited, "too fast; wait retry_after milliseconds");
        Self { refused: refused.for_now(wait), limit: Some(limit), closes: persistent }
    }
}

impl<T: Into<Refused>> std::convert::From<T> for Refusal {
    fn from(refused: T) -> Self {
        Self { refused: refused.into(), limit: None, closes: false }
    }
}

/// A guest's place.
#[derive(Debug)]
pub struct Session<P> {
    peer: PeerId,
    grant: Arc<Grant>,
    bounds: Arc<Bounds>,
    seats: Vec<Seat<P>>,
    buckets: Buckets,
    answers: Answers,
    /// Most sessions never have one.
    reports: Option<Box<Reports>>,
}

impl<P: Clone> Session<P> {
    /// A new place for the user of `grant`.
    pub fn new(peer: PeerId, grant: Arc<Grant>, bounds: Arc<Bounds>, now: Millis) -> Self {
        let buckets = Buckets::full(&bounds.rates, now);
        Self { peer, grant, bounds, seats: Vec::new(), buckets, answers: Answers::default(), reports: None }
    }

    /// The public identity.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// What the token allows.
    pub fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    /// The session as the author of an event.
    pub fn author(&self) -> From {
        From { peer: Some(self.peer), user: self.grant.user.clone(), name: self.grant.name.clone() }
    }

    /// The session as a member sees it; handle and order are the room's to give.
    pub fn entry(&self) -> Entry {
        Entry {
            peer: self.peer,
            handle: None,
            user: self.grant.user.clone(),
            name: self.grant.name.clone(),
            info: self.grant.info.clone(),
            state: None,
            order: None,
            rtt: None,
            polite: None,
            offers: None,
        }
    }

    /// The rooms it is in.
    pub fn seats(&self) -> &[Seat<P>] {
        &self.seats
    }

    /// Its seat in a room, by name.
    pub fn seat(&self, room: &RoomName) -> Option<&Seat<P>> {
        self.seats.iter().find(|seat| seat.room == *room)
    }

    /// It has a seat now. The room and the session agree on seats because both change under the
    /// room's lock.
    pub fn sit(&mut self, seat: Seat<P>) {
        let verbs = self.grant.verbs(&seat.room);
        // Most sessions sit in one room: no memory for four.
        self.seats.reserve_exact(1);
        self.seats.push(Seat { verbs, ..seat });
    }

    /// It has no seat there any more.
    pub fn stand(&mut self, room: &RoomName) -> Option<Seat<P>> {
        let at = self.seats.iter().position(|seat| seat.room == *room)?;
        Some(self.seats.remove(at))
    }

    /// Looks at a request of `len` bytes: seen before, within the rate, granted, joined?
    pub fn handle(&mut self, request: &Request, len: usize, now: Millis) -> Result<Verdict, Refusal> {
        let about =
            |refusal: Refusal| Refusal { refused: refusal.refused.about(request.id(), request.room()), ..refusal };
        let rates = &self.bounds.rates;
        let rate = match request {
            Request::Move(_) => self.buckets.step(len, rates, now),
            Request::Ack { .. } => self.buckets.bytes(len, rates, now),
            _ => self.buckets.request(len, rates, now),
        };
        // A request that is refused for its haste has used its id up all the same.
        let repeat = request.id().map_or(Repeat::New, |id| self.answers.admit(id));
        match (rate, &repeat) {
            // It was carried out, or refused, before: to say now that it was refused for its haste would have the
            // client do it again under a new id. A view costs more than an answer, and is no harm to ask for anew.
            (Err(TooFast { persistent: false, .. }), Repeat::Again(answer)) if *answer != Answer::View => {}
            (rate, _) => rate.map_err(|too_fast| about(too_fast.into()))?,
        }
        match repeat {
            Repeat::New | Repeat::Again(Answer::View) => {}
            Repeat::Again(answer) => return Ok(Verdict::Again(answer)),
            Repeat::Forgotten => {
                return Err(about(Refused::new(ErrorCode::BadId, "ids rise; this one is no longer kept").into()));
            }
        }
        self.check(request).map_err(about)?;
        Ok(Verdict::Go)
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        if matches!(request, Request::Auth { .. } | Request::Resume(_)) {
            return Err(ErrorCode::AlreadyAuthenticated.into());
        }
        let Some(room) = request.room() else { return Ok(()) };
        let rule = rights::rule_of(request.name());
        self.allowed(room, rule)?;
        let seat = self.seat(room);
        match request {
            Request::Join { .. } | Request::Watch { .. } => self.has_seat_for(room),
            Request::Unwatch { .. } if seat.is_none_or(|seat| seat.part != Part::Watcher) => {
                Err(ErrorCode::NotJoined.into())
            }
            _ if rule.member && seat.is_none_or(|seat| seat.part != Part::Member) => Err(ErrorCode::NotJoined.into()),
            _ => Ok(()),
        }
    }

    /// Whether it may come into a room, as what, when no request asks but a resume.
    pub fn may_enter(&self, room: &RoomName, part: Part) -> Result<(), Refusal> {
        let request = match part {
            Part::Member => "join",
            Part::Watcher => "watch",
        };
        self.allowed(room, rights::rule_of(request))?;
        self.has_seat_for(room)
    }

    fn has_seat_for(&self, room: &RoomName) -> Result<(), Refusal> {
        if self.seat(room).is_some() || self.seats.len() < self.bounds.rooms {
            return Ok(());
        }
        let rooms = self.bounds.rooms;
        let refused = Refused::new(ErrorCode::TooManyRooms, format!("at most {rooms} rooms at a time"));
        Err(Refusal { limit: Some("rooms_per_session"), ..refused.into() })
    }

    fn allowed(&self, room: &RoomName, rule: &rights::Rule) -> Result<(), Refusal> {
        if room.is_reserved() {
            return Err(Refused::new(ErrorCode::ReservedName, "names beginning user/ belong to the server").into());
        }
        match rule.verb {
            Some(verb) if !self.grant.allows(room, verb) => Err(forbidden(verb).into()),
            _ => Ok(()),
        }
    }

    /// Looks at a binary move of `len` bytes and finds the sender's seat.
    pub fn handle_move(&mut self, room: u32, len: usize, now: Millis) -> Result<&Seat<P>, Refusal> {
        let rate = self.buckets.step(len, &self.bounds.rates, now);
        let seat = self.seats.iter().find(|seat| seat.handle == room && seat.part == Part::Member);
        let about = |refusal: Refusal| {
            let room = seat.map(|seat| &seat.room);
            Refusal { refused: refusal.refused.about(None, room), ..refusal }
        };
        rate.map_err(|too_fast| about(too_fast.into()))?;
        let seat = seat.ok_or(ErrorCode::NotJoined)?;
        if !seat.verbs.has(Verb::Move) {
            return Err(about(forbidden(Verb::Move).into()));
        }
        Ok(seat)
    }

    /// Looks at a ping or pong frame with `len` bytes in it: it costs what a request costs.
    pub fn handle_control(&mut self, len: usize, now: Millis) -> Result<(), Refusal> {
        Ok(self.buckets.request(len, &self.bounds.rates, now)?)
    }

    /// What to answer to a frame of `len` bytes that could not be read.
    pub fn unread(&mut self, refused: Refused, len: usize, now: Millis) -> Refusal {
        let Refused { re, ref room, .. } = refused;
        if let Some(id) = re {
            self.answers.admit(id);
        }
        if let Err(too_fast) = self.buckets.request(len, &self.bounds.rates, now) {
            let refusal = Refusal::from(too_fast);
            return Refusal { refused: refusal.refused.about(re, room.as_ref()), ..refusal };
        }
        refused.into()
    }

    /// Whether a request was answered with a view before; it gets a current one then.
    pub fn is_repeated(&self, id: u64) -> bool {
        self.answers.is_view(id)
    }

    /// Keeps the answer to a request.
    pub fn answered(&mut self, id: u64, answer: Answer) {
        self.answers.keep(id, answer);
    }

    /// How many refusals of this kind to report now, if any.
    pub fn report(&mut self, refused: &Refused, now: Millis) -> Option<u64> {
        self.reports.get_or_insert_default().count(refused, now)
    }

    /// Takes newer rights and bounds over; they must be of the same user. Returns the rooms that are
    /// lost.
    pub fn refresh(&mut self, grant: Arc<Grant>, bounds: Arc<Bounds>) -> Result<Vec<RoomName>, Refusal> {
        if grant.user != self.grant.user {
            return Err(Refused::new(ErrorCode::Forbidden, "the new token is of another user").into());
        }
        self.grant = grant;
        self.bounds = bounds;
        self.seats.iter_mut().for_each(|seat| seat.verbs = self.grant.verbs(&seat.room));
        let kept = |seat: &Seat<P>| match seat.part {
            Part::Member => seat.verbs.has(Verb::Join),
            Part::Watcher => seat.verbs.has(Verb::Watch),
        };
        Ok(self.seats.iter().filter(|seat| !kept(seat)).map(|seat| seat.room.clone()).collect())
    }
}

/// The refusal of a missing verb.
pub fn forbidden(verb: Verb) -> Refused {
    Refused::new(ErrorCode::Forbidden, format!("the token does not grant `{}` here", verb.name()))
}

#[cfg(test)]
mod tests;
