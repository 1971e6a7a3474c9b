//! One session as its client sees it: everything that outlives a socket, and nothing of the socket itself.
//!
//! The driver asks it for the next frame and hands it the frames that came.

mod take;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rallypoint_protocol::{
    Encoding, Position, Request, RoomName, ServerMessage,
    event::Millis,
    request::Resume,
    server::{Connected, Failed},
};
use serde_json::Number;
use tokio::{sync::watch, time::Instant};

use crate::{
    access::Access,
    clock::Clock,
    connect::Way,
    counted::Counted,
    incoming::{Inbox, Incoming},
    moves::{Moves, Outgoing},
    options::{Credential, Options},
    requests::{Asker, Make, Reply, Requests},
    rooms::{Part, Rooms},
};

pub(crate) struct Session {
    encoding: Encoding,
    clock: Clock,
    /// Whether a lost session is to be resumed at all.
    resumes: bool,
    /// Whether a new session can be told where the notifications stand: only `auth` has a field for it.
    tells_notifications: bool,
    rooms: Arc<Mutex<Rooms>>,
    connected: watch::Sender<Arc<Connected>>,
    /// The newest resume token; `None` if the server gave none, or does not know it any more.
    token: Option<String>,
    requests: Requests,
    moves: Moves,
    counted: Counted,
    access: Access,
    /// Where the user's own log stands.
    notifications: Position,
    /// The time that the server last asked for, in case it goes.
    after: Option<Duration>,
    /// The error before, if it answered nothing: the reason, should a close follow.
    cause: Option<Box<Failed>>,
    /// Rooms that a resume has shown on this socket while a caller still waits for the answer that lets it in.
    early: HashMap<RoomName, ServerMessage>,
}

impl Session {
    pub(crate) fn new(
        options: &Options,
        rooms: Arc<Mutex<Rooms>>,
        connected: watch::Sender<Arc<Connected>>,
        mut access: Access,
        clock: Clock,
        now: Instant,
    ) -> Self {
        let first = Arc::clone(&connected.borrow());
        access.opened(first.time, now);
        let tells_notifications = options.credential == Credential::FirstMessage;
        let given = options.notifications_since.filter(|_| tells_notifications);
        Self {
            encoding: options.encoding,
            clock,
            resumes: options.resume,
            tells_notifications,
            rooms,
            connected,
            token: first.resume.clone(),
            requests: Requests::new(options.encoding, options.waiting),
            moves: Moves::new(options.encoding, options.resume && first.resume.is_some()),
            counted: Counted::new(),
            access,
            notifications: given.unwrap_or(first.notifications),
            after: None,
            cause: None,
            early: HashMap::new(),
        }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(crate) fn access(&mut self) -> &mut Access {
        &mut self.access
    }

    /// The time between the server's native pings.
    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.connected.borrow().heartbeat)
    }

    pub(crate) fn take_cause(&mut self) -> Option<Box<Failed>> {
        self.cause.take()
    }

    /// The time that the server last asked for before it went.
    pub(crate) fn take_after(&mut self) -> Option<Duration> {
        self.after.take()
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().expect("no holder of the rooms panics")
    }

    /// Takes a request of a caller.
    pub(crate) fn ask(&mut self, make: Make, reply: Reply) {
        self.requests.ask(make, reply);
    }

    /// Takes a move.
    pub(crate) fn push(&mut self, outgoing: Outgoing) {
        let mut rooms = self.rooms.lock().expect("no holder of the rooms panics");
        self.moves.push(outgoing, &mut rooms);
    }

    /// Gives the session the next access token; one that it has already says that the source has no newer one.
    pub(crate) fn renew(&mut self, token: String, now: Instant) {
        if token == self.access.current() {
            self.access.renewed(token, now);
        } else {
            // Until the answer comes; then its success or failure says when the next one is due.
            self.access.rest();
            self.requests.ask_first(Box::new(|id, _| Request::Refresh { id, token }), Asker::Client);
        }
    }

    /// The next frame that is due now.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Vec<u8>> {
        if let Some(n) = self.counted.ack(now) {
            return Some(Request::Ack { n }.encode(self.encoding));
        }
        let rooms = self.rooms.lock().expect("no holder of the rooms panics");
        if let Some(frame) = self.moves.next(&rooms, now) {
            return Some(frame);
        }
        drop(rooms);
        if self.moves.is_held_back(now) {
            return None;
        }
        if let Some(frame) = self.requests.next(self.clock.at(now), self.moves.mark()) {
            return Some(frame);
        }
        let mark = self.moves.ask(now)?;
        Some(Request::Ping { id: None, t: Some(Number::from(mark)) }.encode(self.encoding))
    }

    /// When [`Session::next`] has something although nothing else happens.
    pub(crate) fn due_by(&self) -> Option<Instant> {
        [self.counted.ack_by(), self.moves.ask_by(), self.moves.next_at()].into_iter().flatten().min()
    }

    /// The socket is lost.
    pub(crate) fn lost(&mut self) {
        self.requests.lost();
        self.moves.lost();
        self.early.clear();
        self.rooms().hide();
        self.cause = None;
    }

    /// The server does not know this session any more, so there is nothing to resume.
    pub(crate) fn forget(&mut self) {
        self.token = None;
    }

    /// How to come back.
    pub(crate) fn way(&self, now: Instant) -> Way {
        let Some(token) = self.token.clone() else {
            return Way::Anew {
                token: self.access.current().to_owned(),
                notifications_since: self.tells_notifications.then_some(self.notifications),
            };
        };
        let (positions, watched) = self.rooms().positions();
        let (received, notifications_since) = (self.counted.received(), Some(self.notifications));
        let jwt = self.access.jwt(now);
        Way::Resume(Box::new(Resume { token, received, positions, watched, jwt, notifications_since }))
    }

    /// There is a new socket, and this was its `connected`.
    pub(crate) fn back(&mut self, connected: Connected, now: Instant, inbox: &mut Inbox) {
        let (asked_to_resume, resumed) = (self.token.is_some(), connected.resumed);
        if connected.session != self.connected.borrow().session {
            self.requests.fail();
        }
        if resumed {
            self.counted.told();
        } else {
            self.counted = Counted::new();
            self.moves.forget();
            self.rooms().forget_handles();
        }
        if asked_to_resume {
            self.look_around();
        } else {
            self.enter_again();
            if !self.tells_notifications {
                self.notifications = connected.notifications;
            }
        }
        self.moves.keep_unproved(self.resumes && connected.resume.is_some());
        self.access.opened(connected.time, now);
        self.token.clone_from(&connected.resume);
        self.after = None;
        inbox.push_back(Incoming::Back { resumed, peer: connected.peer });
        self.connected.send_replace(Arc::new(connected));
    }

    /// Requests are answered behind the rooms that the server shows, so with this answer all of them have come.
    fn look_around(&mut self) {
        if !self.rooms().is_empty() {
            self.requests.ask_first(Box::new(|id, _: Millis| Request::Ping { id: Some(id), t: None }), Asker::Look);
        }
    }

    /// Joins and watches all rooms again, from where they stood.
    fn enter_again(&mut self) {
        let rooms = self.rooms().all();
        for (room, (part, position)) in rooms {
            let since = Some(position);
            let make: Make = match part {
                Part::Member(_) => Box::new(move |id, _| Request::Join { id, room, since }),
                Part::Watcher(state) => Box::new(move |id, _| Request::Watch { id, room, since, state }),
            };
            self.requests.ask_first(make, Asker::Client);
        }
    }
}

#[cfg(test)]
mod tests;
