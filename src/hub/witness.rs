//! Who is told of what happens on a node besides its guests: the audit log, and the receivers of webhooks.
//!
//! Rooms call it under their lock, each at the one place where a member gets its seat and at the one where it is gone,
//! however large the room is and whether its guests are told one by one or in a summary. So the order in which it is told
//! is that of the room.

use std::{net::IpAddr, sync::Arc};

use rallypoint_protocol::{
    ErrorCode, RoomName,
    codec::Refused,
    event::{Entry, Gone, LeaveReason},
};

use super::{clock::Clock, sessions::SessionCell};
use crate::{
    audit::{Audit, Caller, What},
    webhooks::Webhooks,
};

/// Whoever is told; nobody by default.
#[derive(Clone)]
pub struct Witness {
    clock: Clock,
    audit: Option<Arc<Audit>>,
    webhooks: Option<Arc<Webhooks>>,
}

impl Default for Witness {
    fn default() -> Self {
        Self::new(Clock::start(), None, None)
    }
}

impl Witness {
    /// Whoever there is, and the clock of the node.
    pub(crate) fn new(clock: Clock, audit: Option<Arc<Audit>>, webhooks: Option<Arc<Webhooks>>) -> Self {
        Self { clock, audit, webhooks }
    }

    pub(crate) fn audit(&self) -> Option<&Arc<Audit>> {
        self.audit.as_ref()
    }

    pub(crate) fn webhooks(&self) -> Option<&Arc<Webhooks>> {
        self.webhooks.as_ref()
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Brings the gauges up to date.
    pub(super) fn observe(&self) {
        self.webhooks.iter().for_each(|webhooks| webhooks.observe());
    }

    /// A member has its seat; `count` are here now.
    pub(super) fn joined(&self, room: &RoomName, entry: &Entry, count: usize) {
        if let Some(audit) = &self.audit {
            let what = What::PeerJoined { room, peer: entry.peer };
            audit.of_peer(self.clock.now(), what, entry.peer, Some(&entry.user));
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.joined(room, entry, count);
        }
    }

    /// A member is gone; `count` are left.
    pub(super) fn left(&self, room: &RoomName, gone: Gone, reason: LeaveReason, count: usize) {
        if let Some(audit) = &self.audit {
            let what = What::PeerLeft { room, peer: gone.peer, reason };
            audit.of_peer(self.clock.now(), what, gone.peer, Some(&gone.user));
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.left(room, &Gone { handle: None, ..gone }, reason, count);
        }
    }

    /// A session was opened.
    pub(super) fn opened(&self, session: &SessionCell, caller: Option<&Arc<Caller>>) {
        self.keep(session, What::SessionOpened { peer: session.peer() }, caller);
    }

    /// A session has a new socket.
    pub(super) fn resumed(&self, session: &SessionCell, outcome: &'static str, caller: Option<&Arc<Caller>>) {
        self.keep(session, What::SessionResumed { peer: session.peer(), outcome }, caller);
    }

    fn keep(&self, session: &SessionCell, what: What<'_>, caller: Option<&Arc<Caller>>) {
        let Some(audit) = &self.audit else { return };
        audit.keep(self.clock.now(), what, session.peer(), session.user(), caller);
        // Whoever has ended it meanwhile has had nothing to forget.
        if session.has_ended() {
            audit.forget(session.peer());
        }
    }

    /// A session has lost its socket.
    pub(super) fn lost(&self, session: &SessionCell, code: u16) {
        self.of(session, |peer| What::SessionLost { peer, code });
    }

    /// A session is over; it has left its rooms.
    pub(super) fn ended(&self, session: &SessionCell, code: Option<u16>, reason: LeaveReason) {
        self.of(session, |peer| What::SessionEnded { peer, code, reason });
        if let Some(audit) = &self.audit {
            audit.forget(session.peer());
        }
    }

    /// A message of a session was refused.
    pub(super) fn refused(&self, session: &SessionCell, refused: &Refused, message: &'static str) {
        let (code, message) = (refused.code, Some(message));
        let room = refused.room.as_ref();
        self.of(session, |peer| What::Refused {
            code,
            name: code.name(),
            route: None,
            message,
            room,
            peer: Some(peer),
        });
    }

    fn of<'a>(&self, session: &SessionCell, what: impl FnOnce(rallypoint_protocol::PeerId) -> What<'a>) {
        if let Some(audit) = &self.audit {
            audit.of_peer(self.clock.now(), what(session.peer()), session.peer(), Some(session.user()));
        }
    }

    /// Something came of a request.
    pub(crate) fn asked(&self, caller: Option<&Arc<Caller>>, what: What<'_>) {
        if let (Some(audit), Some(caller)) = (&self.audit, caller) {
            audit.tell(self.clock.now(), what, caller);
        }
    }

    /// A request was refused.
    pub(crate) fn refused_to(&self, caller: Option<&Arc<Caller>>, code: ErrorCode) {
        if let (Some(audit), Some(caller)) = (&self.audit, caller) {
            audit.refused(self.clock.now(), code, caller);
        }
    }

    /// A connection was refused at the door.
    pub(crate) fn turned_away(&self, address: IpAddr, code: ErrorCode) {
        if let Some(audit) = &self.audit {
            audit.turned_away(self.clock.now(), code, address);
        }
    }
}
