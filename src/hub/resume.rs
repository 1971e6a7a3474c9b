//! A lost session is taken up again: everything is checked before anything changes, and then it
//! changes at once, under the locks of all the session's rooms, so that nothing falls between what
//! the client missed and what comes live.

use std::{collections::BTreeMap, sync::Arc};

use rallypoint_protocol::{
    CloseCode, ErrorCode, Position, RoomName, ServerMessage, Verb, codec::Refused, event::Millis, request::Resume,
    server::ResetReason,
};

use super::{
    Hub,
    link::{Fate, Link},
    picture::Missed,
    rooms::{Joining, RoomCell, State},
    sessions::{SessionCell, Standing, Way},
    turn::Turn,
};
use crate::{
    audit::Caller,
    auth::{Grant, ResumeToken},
    broker::Log,
    metrics::Outcome,
    node::NodeId,
    room::command::Command,
    session::{Part, Refusal, Seat, Session, kept::Tokens},
};

/// A session that was made again, and what that is called; `None` if it was there by then.
type Made = Option<(Arc<SessionCell>, &'static str)>;

/// A session, locked.
type Inner<'a> = parking_lot::MutexGuard<'a, Session<Arc<RoomCell>>>;

impl Hub {
    /// Takes a session up again on a new socket. `verify` checks the access token, if one came.
    pub async fn resume(
        self: &Arc<Self>,
        resume: &Resume,
        link: &Arc<Link>,
        caller: Option<&Arc<Caller>>,
        verify: &(dyn Fn(&str) -> Result<Grant, Refused> + Send + Sync),
    ) -> Result<Arc<SessionCell>, Refused> {
        let done = self.try_resume(resume, link, caller, verify).await;
        let outcome = done.as_ref().map_or("refused", |(_, outcome)| outcome);
        self.metrics.resumes.get_or_create(&Outcome { outcome }).inc();
        done.map(|(session, _)| session)
    }

    async fn try_resume(
        self: &Arc<Self>,
        resume: &Resume,
        link: &Arc<Link>,
        caller: Option<&Arc<Caller>>,
        verify: &(dyn Fn(&str) -> Result<Grant, Refused> + Send + Sync),
    ) -> Result<(Arc<SessionCell>, &'static str), Refused> {
        if self.is_draining() {
            return Err(ErrorCode::ShuttingDown.into());
        }
        let token = self.resume_key.read(&resume.token).ok_or_else(|| unknown("the resume token is not good"))?;
        let fresh = resume.jwt.as_deref().map(verify).transpose()?.map(Arc::new);
        if fresh.as_ref().is_some_and(|grant| grant.user != token.user) {
            return Err(unknown("the access token is of another user than the session"));
        }
        loop {
            let sessions = self.users.sessions(&token.user);
            let session = sessions.into_iter().find(|session| session.id() == token.session);
            // A session that got a newer access token since is of that token's generation.
            let own = session.as_ref().map_or(0, |session| session.lock().grant().generation);
            if !self.users.admits(&token.user, own.max(token.generation)) {
                return Err(unknown("the resume token is of an older generation"));
            }
            if let Some(session) = session {
                let resumed = self.take_over(&session, &token, resume, fresh.as_deref(), link).await?;
                let outcome = if resumed { "resumed" } else { "reset" };
                self.witness.resumed(&session, outcome, caller);
                if let Some(grant) = fresh {
                    // Rooms that the newer token does not cover are left, as with any refresh.
                    self.refresh(&session, grant).await.map_err(|refusal| refusal.refused)?;
                }
                return Ok((session, outcome));
            }
            // Somebody may have revived it in the meantime; then it is there to be taken over.
            if let Some(made) = self.revive(&token, resume, fresh.as_ref(), link, caller).await? {
                return Ok(made);
            }
        }
    }

    /// Gives the session its new socket. Tells whether nothing was lost.
    async fn take_over(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        token: &ResumeToken,
        resume: &Resume,
        fresh: Option<&Grant>,
        link: &Arc<Link>,
    ) -> Result<bool, Refused> {
        let coming = self.users.coming(session.user());
        loop {
            let news = coming.news();
            let own = self.own_log(session.user(), resume.notifications_since).await?;
            let mut cells: Vec<_> = session.lock().seats().iter().map(|seat| seat.place.clone()).collect();
            // Nobody else holds several rooms, so their order only matters between resumes.
            cells.sort_unstable_by_key(|cell| cell.handle());
            let _turn = Turn::begin();
            let Some(rooms) = cells.iter().map(|cell| cell.lock()).collect::<Option<Vec<_>>>() else { continue };
            let inner = session.lock();
            let is_held = |seat: &Seat<Arc<RoomCell>>| cells.iter().any(|cell| Arc::ptr_eq(cell, &seat.place));
            if inner.seats().len() != cells.len() || !inner.seats().iter().all(is_held) {
                continue;
            }
            let Some(mut held) = coming.hold(news) else { continue };
            let mut way = session.way();
            self.check(&inner, &way, token, fresh)?;

            let grant = fresh.unwrap_or(inner.grant());
            let seen =
                |(cell, state)| Seen::of(cell, state, session, grant, resume.positions.get(cell.name()).copied());
            let seen: Vec<_> = cells.iter().zip(rooms.iter().map(|state| &**state)).map(seen).collect();
            let nothing_missed = seen.iter().all(|seen| seen.missed.1.is_none());
            let can_go_on = nothing_missed && way.encoding == link.encoding();
            let lacking = can_go_on.then(|| way.kept.get_or_insert_default().after(resume.received)).flatten();
            let resumed = lacking.is_some();
            way.tokens.seen(token.number);
            let number = way.tokens.issue();
            link.send(&ServerMessage::Connected(self.greeting(session, grant, number, resumed, own.head)));
            seen.into_iter().for_each(|seen| seen.tell(session, link, resumed));
            if let Some(lacking) = lacking {
                for frames in lacking {
                    link.push_owed(frames);
                }
                _ = way.kept.get_or_insert_default().ack(resume.received);
            } else {
                way.kept = None;
                way.encoding = link.encoding();
            }
            held.stands_at(own.head);
            way.own = own.head;
            own.tell(link);
            match std::mem::replace(&mut way.standing, Standing::Here(link.clone())) {
                Standing::Here(old) => old.close(CloseCode::Replaced, "another socket took the session over"),
                Standing::Lost { loss, .. } => self.lost.remove(loss),
                Standing::Ended => {}
            }
            return Ok(resumed);
        }
    }

    /// Whether the token is good for the session as it is.
    fn check(&self, inner: &Inner<'_>, way: &Way, token: &ResumeToken, fresh: Option<&Grant>) -> Result<(), Refused> {
        if matches!(way.standing, Standing::Ended) {
            return Err(unknown("the session has ended"));
        }
        if inner.peer() != token.peer || !way.tokens.admit(token.number) {
            return Err(unknown("the resume token is older than one that was confirmed"));
        }
        let until = Millis(inner.grant().expires_at_ms).after(self.limits().expiry_grace_ms);
        if fresh.is_none() && until <= self.now() {
            return Err(Refused::new(ErrorCode::TokenExpired, "the session's token has expired; add a newer one"));
        }
        Ok(())
    }

    /// Makes a session anew that a process before this one knew. `None` if it exists by now.
    async fn revive(
        self: &Arc<Self>,
        token: &ResumeToken,
        resume: &Resume,
        fresh: Option<&Arc<Grant>>,
        link: &Arc<Link>,
        caller: Option<&Arc<Caller>>,
    ) -> Result<Made, Refused> {
        if self.broker.is_shared() {
            return self.adopt(token, resume, fresh, link, caller).await;
        }
        let grace_ms = self.limits().resume_grace_ms;
        if token.node == self.broker.node().number() || self.started.after(grace_ms) <= self.now() {
            return Err(unknown("the session has ended"));
        }
        let Some(grant) = fresh else {
            return Err(unknown("after a restart of the server a resume needs a good access token, too"));
        };
        self.make_again(token, resume, grant, link, caller, &BTreeMap::new()).await
    }

    /// Takes a session over from another node, dead or alive, whose members are known by the rosters of their rooms. `None`
    /// if it is here by now.
    async fn adopt(
        self: &Arc<Self>,
        token: &ResumeToken,
        resume: &Resume,
        fresh: Option<&Arc<Grant>>,
        link: &Arc<Link>,
        caller: Option<&Arc<Caller>>,
    ) -> Result<Made, Refused> {
        let Some(grant) = fresh else {
            return Err(unknown("on another node than before a resume needs a good access token, too"));
        };
        let mut homes = BTreeMap::new();
        let joined = resume.positions.keys().filter(|&room| !resume.watched.contains(room));
        for room in joined.filter(|room| grant.allows(room, Verb::Join)) {
            let cell = self.open_room(room).await?;
            let home = cell.lock().and_then(|state| {
                let member = state.room.member(token.peer)?;
                member.home.filter(|_| member.entry.user == token.user)
            });
            homes.extend(home.map(|home| (room.clone(), home)));
            self.release(&cell);
        }
        if homes.is_empty() {
            return Err(unknown("the session has ended, or was in no room"));
        }
        self.make_again(token, resume, grant, link, caller, &homes).await
    }

    /// Makes the session of a token again. `homes` are the nodes that have it in rooms.
    async fn make_again(
        self: &Arc<Self>,
        token: &ResumeToken,
        resume: &Resume,
        grant: &Arc<Grant>,
        link: &Arc<Link>,
        caller: Option<&Arc<Caller>>,
        homes: &BTreeMap<RoomName, NodeId>,
    ) -> Result<Made, Refused> {
        let (id, peer, tokens) = (token.session, token.peer, Tokens::after(token.number));
        let since = resume.notifications_since;
        let Some(session) = self.enter_session(id, peer, tokens, grant.clone(), link, since).await? else {
            return Ok(None);
        };
        let outcome = if homes.is_empty() { "revived" } else { "moved" };
        self.witness.resumed(&session, outcome, caller);
        for (room, &position) in &resume.positions {
            let part = if resume.watched.contains(room) { Part::Watcher } else { Part::Member };
            let back = match homes.get(room) {
                Some(&home) => self.move_here(&session, room, position, home).await,
                None => self.bring_back(&session, room, position, part).await,
            };
            if let Err(refusal) = back {
                let about = Refusal { refused: refusal.refused.about(None, Some(room)), ..refusal };
                let _turn = Turn::begin();
                self.refuse(&session, about, "resume");
            }
        }
        Ok(Some((session, outcome)))
    }

    /// A member of another node becomes one of this node, and nobody sees it leave.
    async fn move_here(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        room: &RoomName,
        position: Position,
        home: NodeId,
    ) -> Result<(), Refusal> {
        session.lock().may_enter(room, Part::Member)?;
        loop {
            let cell = self.open_room(room).await?;
            let log = Log { name: room, bounds: self.settings_for(room).bounds() };
            let Some(entry) = self.broker.take(log, session.peer(), home).await.map_err(ErrorCode::from)? else {
                self.release(&cell);
                return self.join(session, None, room.clone(), Some(position), true).await;
            };
            let _turn = Turn::begin();
            let Some(mut state) = cell.lock() else { continue };
            state.room.apply(Command::Adopt(Box::new(entry)), self.now())?;
            let joining = Joining { session: session.clone(), re: None, since: Some(position) };
            state.seat_joined(&cell, session.peer(), joining);
            return Ok(());
        }
    }

    async fn bring_back(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        room: &RoomName,
        position: Position,
        part: Part,
    ) -> Result<(), Refusal> {
        session.lock().may_enter(room, part)?;
        match part {
            // Whoever created the room may come back later than this one.
            Part::Member => self.join(session, None, room.clone(), Some(position), true).await,
            Part::Watcher => self.watch(session, None, room.clone(), Some(position), None).await,
        }
    }
}

/// A room as it is shown to a session that comes back.
struct Seen<'a> {
    cell: &'a Arc<RoomCell>,
    state: &'a State,
    missed: Missed,
    /// For a watcher: whether it follows the room's state.
    watches: Option<bool>,
}

impl<'a> Seen<'a> {
    fn of(
        cell: &'a Arc<RoomCell>,
        state: &'a State,
        session: &SessionCell,
        grant: &Grant,
        since: Option<Position>,
    ) -> Self {
        let history = grant.allows(cell.name(), Verb::History);
        match state.watchers.iter().find(|watcher| watcher.session.id() == session.id()) {
            Some(watcher) => {
                let history = history || since.is_some_and(|since| since.seq >= watcher.began);
                let missed = state.missed(cell, since, None, history);
                Self { cell, state, missed, watches: Some(watcher.state_every_ms.is_some()) }
            }
            None => {
                let missed = state.missed_by(cell, session.peer(), since, history);
                Self { cell, state, missed, watches: None }
            }
        }
    }

    fn tell(self, session: &SessionCell, link: &Arc<Link>, resumed: bool) {
        let Self { cell, state, missed, watches } = self;
        let missed = if resumed { missed } else { (None, Some(missed.1.unwrap_or(ResetReason::Lost))) };
        let messages = match watches {
            Some(with_state) => state.view(cell, None, with_state, missed),
            None => state.picture(cell, session.peer(), None, missed),
        };
        let size = messages.iter().map(|message| link.send_owed(message).0).sum();
        if let Some(tap) = &state.tap {
            let handle = state.room.member(session.peer()).map(|member| member.handle);
            tap.became(session, handle, if resumed { "resumed" } else { "reset" }, None);
            // The session's way is locked: it is the link that is asked what waits.
            let what = if watches.is_some() { "watching" } else { "joined" };
            tap.sent(session, handle, what, (size, Fate::Queued), link.waits());
        }
    }
}

fn unknown(message: &'static str) -> Refused {
    Refused::new(ErrorCode::SessionUnknown, message)
}
