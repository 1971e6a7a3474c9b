//! Tickets: what opens one stream, one row of polls or one WebSocket where a token cannot go, as into the address of an
//! `EventSource`. Routes issue them and ask whether one is good; what counts here is who it was made for.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use rallypoint_protocol::{ErrorCode, RoomName, UserName, codec::Refused, event::Millis};
use uuid::Uuid;

use super::feeds::Wake;
use crate::{auth::Grant, config::Limits, metrics::Metrics};

/// Between two looks for tickets that have ended.
const SWEEP_MS: u64 = 30_000;

/// What a ticket opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One event stream, and its reconnects.
    Events,
    /// One row of polls.
    Poll,
    /// One WebSocket, once.
    WebSocket,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Events, Self::Poll, Self::WebSocket];

    /// The word for it in a request.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Poll => "poll",
            Self::WebSocket => "ws",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == word)
    }
}

/// The page that a request comes from, as far as its browser says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Home {
    /// `Origin`.
    pub(crate) origin: Option<Box<str>>,
    /// `Sec-Fetch-Site: same-origin`: a browser leaves the Origin out where a page of the server itself reads.
    pub(crate) is_own: bool,
}

impl Home {
    /// Whether a request that says this may be of the page that a ticket was issued to.
    fn takes(&self, asking: &Self) -> bool {
        match asking.origin {
            Some(_) => asking.origin == self.origin,
            None => self.origin.is_none() || self.is_own && asking.is_own,
        }
    }
}

/// The bytes of a ticket's text. 244 of the bits are random, so that nobody guesses one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Id([u8; 32]);

impl Id {
    fn random() -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        bytes[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        Self(bytes)
    }

    fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        // Decoding fails on what is longer.
        let mut bytes = [0; 32];
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (len == bytes.len()).then_some(Self(bytes))
    }
}

struct Ticket {
    purpose: Purpose,
    grant: Arc<Grant>,
    home: Home,
    /// When it must have been used for the first time.
    use_by: Millis,
    opened: Option<Opened>,
    /// When it was issued or used last, as a count.
    stamp: u64,
}

/// The one subscription that a ticket has opened.
struct Opened {
    rooms: Box<[RoomName]>,
    wake: Weak<Wake>,
}

impl Ticket {
    fn expires(&self) -> Millis {
        Millis(self.grant.expires_at_ms)
    }

    fn has_ended(&self, now: Millis) -> bool {
        self.expires() <= now || self.opened.is_none() && self.use_by <= now
    }

    fn is_open(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.wake.strong_count() > 0)
    }

    /// Whether it opens this door to this page now.
    fn check(&self, purpose: Purpose, home: &Home, now: Millis) -> Result<(), Refused> {
        if self.has_ended(now) {
            let late = "the ticket has ended: it was not used in time, or the token behind it has expired";
            return Err(refused(late));
        }
        if self.purpose != purpose {
            return Err(refused(format!("the ticket is for `{}`", self.purpose.name())));
        }
        if !self.home.takes(home) {
            return Err(refused("the ticket was issued to a page of another origin, or to none"));
        }
        Ok(())
    }
}

fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    Refused::new(ErrorCode::TicketRefused, why)
}

fn unknown() -> Refused {
    refused("there is no such ticket (any more): get a new one")
}

#[derive(Default)]
struct Book {
    tickets: HashMap<Id, Ticket>,
    /// Those of each user, first used first.
    of_users: HashMap<UserName, Vec<Id>>,
    stamps: u64,
    sweep: Millis,
}

impl Book {
    fn remove(&mut self, id: Id) -> Option<Ticket> {
        let ticket = self.tickets.remove(&id)?;
        let user = &ticket.grant.user;
        if let Some(ids) = self.of_users.get_mut(user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.of_users.remove(user);
            }
        }
        Some(ticket)
    }

    fn sweep(&mut self, now: Millis) {
        if now < self.sweep {
            return;
        }
        self.sweep = now.after(SWEEP_MS);
        let ended: Vec<_> =
            self.tickets.iter().filter(|(_, ticket)| ticket.has_ended(now)).map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|id| _ = self.remove(id));
    }

    /// The ticket that a user can best do without: one with nothing open, used least recently.
    fn idlest(&self, user: &UserName) -> Option<Id> {
        let ids = self.of_users.get(user)?.iter().copied();
        ids.min_by_key(|id| self.tickets.get(id).map(|ticket| (ticket.is_open(), ticket.stamp)))
    }
}

/// All tickets of a node.
pub(crate) struct Tickets {
    book: Mutex<Book>,
    max: usize,
    max_of_user: usize,
    first_use_ms: u64,
    metrics: Arc<Metrics>,
}

impl Tickets {
    pub(super) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let (max, max_of_user, first_use_ms) = (limits.tickets, limits.tickets_per_user, limits.ticket_first_use_ms);
        Self { book: Mutex::default(), max, max_of_user, first_use_ms, metrics }
    }

    /// A new ticket, and when it ends: with the token behind it, and one for a WebSocket with the time for its use.
    pub(crate) fn issue(
        &self,
        purpose: Purpose,
        grant: Grant,
        home: Home,
        now: Millis,
    ) -> Result<(String, Millis), ErrorCode> {
        let (user, token_ends) = (grant.user.clone(), Millis(grant.expires_at_ms));
        if token_ends <= now {
            return Err(ErrorCode::TokenExpired);
        }
        let mut book = self.book.lock();
        book.sweep(now);
        if book.of_users.get(&user).is_some_and(|ids| ids.len() >= self.max_of_user)
            && let Some(idlest) = book.idlest(&user)
        {
            book.remove(idlest);
        }
        if book.tickets.len() >= self.max {
            self.metrics.limited("tickets");
            return Err(ErrorCode::Overloaded);
        }
        let use_by = now.after(self.first_use_ms);
        let (id, stamp) = (Id::random(), book.stamps);
        book.stamps += 1;
        let ticket = Ticket { purpose, grant: Arc::new(grant), home, use_by, opened: None, stamp };
        book.tickets.insert(id, ticket);
        book.of_users.entry(user).or_default().push(id);
        self.count(&book);
        let ends_first = if token_ends < use_by { token_ends } else { use_by };
        Ok((id.text(), if purpose == Purpose::WebSocket { ends_first } else { token_ends }))
    }

    /// Puts a new token behind a ticket, so that what it opened outlives the old one. Returns when it ends now.
    pub(crate) fn renew(
        &self,
        text: &str,
        purpose: Purpose,
        grant: Grant,
        home: &Home,
        now: Millis,
    ) -> Result<Millis, Refused> {
        let mut book = self.book.lock();
        let ticket = find(&mut book, text)?;
        ticket.check(purpose, home, now)?;
        if ticket.grant.user != grant.user {
            return Err(refused("the ticket is another user's"));
        }
        ticket.grant = Arc::new(grant);
        Ok(ticket.expires())
    }

    /// What a ticket allows, for a feed that is about to be opened with it.
    pub(crate) fn grant(&self, text: &str, purpose: Purpose, home: &Home, now: Millis) -> Result<Arc<Grant>, Refused> {
        let mut book = self.book.lock();
        let ticket = find(&mut book, text)?;
        ticket.check(purpose, home, now)?;
        Ok(ticket.grant.clone())
    }

    /// A feed was opened with a ticket. From its first use on it is good for the same rooms only, and for one feed at a
    /// time: whatever it opened before ends, as nobody else can know whether that is a broken line or another's.
    pub(crate) fn opened(&self, text: &str, rooms: &[RoomName], wake: &Arc<Wake>, now: Millis) -> Result<(), Refused> {
        let mut rooms: Box<[RoomName]> = rooms.into();
        rooms.sort_unstable();
        let mut book = self.book.lock();
        book.stamps += 1;
        let stamp = book.stamps;
        let ticket = find(&mut book, text)?;
        if ticket.has_ended(now) {
            return Err(unknown());
        }
        if let Some(before) = &ticket.opened {
            if before.rooms != rooms {
                return Err(refused("the ticket was first used for other rooms"));
            }
            before.wake.upgrade().iter().for_each(|wake| wake.end(ErrorCode::TicketRefused));
        }
        (ticket.opened, ticket.stamp) = (Some(Opened { rooms, wake: Arc::downgrade(wake) }), stamp);
        Ok(())
    }

    /// Uses up a ticket for a WebSocket.
    pub(crate) fn spend(&self, text: &str, home: &Home, now: Millis) -> Result<Grant, Refused> {
        let mut book = self.book.lock();
        find(&mut book, text)?.check(Purpose::WebSocket, home, now)?;
        let spent = Id::parse(text).and_then(|id| book.remove(id)).ok_or_else(unknown)?;
        self.count(&book);
        Ok(Arc::unwrap_or_clone(spent.grant))
    }

    /// Calls in all tickets of a user.
    pub(super) fn revoke(&self, user: &UserName) {
        let mut book = self.book.lock();
        book.of_users.remove(user).into_iter().flatten().for_each(|id| _ = book.tickets.remove(&id));
        self.count(&book);
    }

    fn count(&self, book: &Book) {
        self.metrics.tickets.set(i64::try_from(book.tickets.len()).unwrap_or(i64::MAX));
    }
}

fn find<'a>(book: &'a mut Book, text: &str) -> Result<&'a mut Ticket, Refused> {
    Id::parse(text).and_then(|id| book.tickets.get_mut(&id)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests;
