//! The sessions of a node: the cell in which a session lives together with its way out, which may
//! be lost and found again.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rallypoint_protocol::{
    CloseCode, Encoding, PeerId, Position, ServerMessage, UserName,
    event::{Gone, LeaveReason},
};
use uuid::Uuid;

use super::{
    link::{Fate, Link, Out, Waits},
    rooms::RoomCell,
};
use crate::{
    frame::Frame,
    session::{
        Session,
        kept::{BadAck, Kept, Tokens},
        outbox::Slot,
    },
};

/// Where a session's client is.
pub(super) enum Standing {
    /// At the other end of this link.
    Here(Arc<Link>),
    /// It lost its socket and may come back. The number tells this loss from any other.
    Lost {
        /// Rises from loss to loss.
        loss: u64,
        /// With what reason it leaves if it does not come back.
        reason: LeaveReason,
    },
    /// It does not come back; the session leaves its rooms.
    Ended,
}

/// The way out of a session, and what it keeps for the case that it breaks.
pub(super) struct Way {
    pub(super) standing: Standing,
    /// How the kept frames are written.
    pub(super) encoding: Encoding,
    /// Most sessions get no counted messages.
    pub(super) kept: Option<Box<Kept>>,
    pub(super) tokens: Tokens,
    /// Up to where it has been told its user's own log.
    pub(super) own: Position,
}

/// A session and its way out. Rooms, users and the connection's task share it.
///
/// Order of locks: room, session, user, way, link.
pub struct SessionCell {
    id: Uuid,
    shown: Uuid,
    peer: PeerId,
    user: UserName,
    way: Mutex<Way>,
    session: Mutex<Session<Arc<RoomCell>>>,
}

impl SessionCell {
    pub(super) fn new(
        id: Uuid,
        shown: Uuid,
        session: Session<Arc<RoomCell>>,
        link: Arc<Link>,
        tokens: Tokens,
        own: Position,
    ) -> Self {
        let (peer, user) = (session.peer(), session.grant().user.clone());
        let (encoding, standing) = (link.encoding(), Standing::Here(link));
        let way = Way { standing, encoding, kept: None, tokens, own };
        Self { id, shown, peer, user, way: Mutex::new(way), session: Mutex::new(session) }
    }

    /// Which session, in resume tokens; stays the same for as long as the peer does.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What its client calls it. It stays the same over a resume and is another one after a restart
    /// of the server, which has forgotten the answers that it gave.
    pub fn shown(&self) -> Uuid {
        self.shown
    }

    /// The public identity.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Who it is.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// How it is spoken of when it is gone.
    pub(super) fn gone(&self) -> Gone {
        Gone { peer: self.peer, handle: None, user: self.user.clone(), name: self.lock().grant().name.clone() }
    }

    /// The session, locked. Order of locks: room, then session.
    pub fn lock(&self) -> MutexGuard<'_, Session<Arc<RoomCell>>> {
        self.session.lock()
    }

    /// The way out, locked. Nothing but links is locked while it is.
    pub(super) fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock()
    }

    /// Whether its client is at the other end of a socket.
    pub fn is_here(&self) -> bool {
        matches!(self.way().standing, Standing::Here(_))
    }

    /// Sends a message that must arrive. While the socket is lost it is not sent: answers are kept
    /// by the session, events by their log. Tells how long it is as a frame, and what became of it.
    pub fn send(&self, message: &ServerMessage) -> (usize, Fate) {
        match &self.way().standing {
            Standing::Here(link) => link.send(message),
            _ => (0, Fate::Away),
        }
    }

    /// Sends a picture of a room as of now. Tells how long its frames are together, and what became of the last.
    pub(super) fn show(&self, room: u32, picture: &[ServerMessage]) -> (usize, Fate) {
        let Standing::Here(link) = &self.way().standing else { return (0, Fate::Away) };
        link.settle(room);
        let sent = picture.iter().map(|message| link.send(message));
        sent.fold((0, Fate::Queued), |(sum, _), (len, fate)| (sum + len, fate))
    }

    /// Sends a frame that must arrive.
    pub(super) fn push(&self, frame: &mut Frame) -> Fate {
        match &self.way().standing {
            Standing::Here(link) => link.push(frame.get(link.encoding())),
            _ => Fate::Away,
        }
    }

    /// In which encoding its frames are written, and what of them waits.
    pub(super) fn waits(&self) -> (Encoding, Waits) {
        let way = self.way();
        match &way.standing {
            Standing::Here(link) => (link.encoding(), link.waits()),
            _ => (way.encoding, Waits::default()),
        }
    }

    /// Sends a notification, unless what it was told when it came in reached further.
    pub(super) fn push_own(&self, frame: &mut Frame, position: Position) {
        let mut way = self.way();
        if position.epoch == way.own.epoch && position.seq <= way.own.seq {
            return;
        }
        // While it is lost its position stays: the resume reads on from where the client stands.
        if let Standing::Here(link) = &way.standing {
            link.push(frame.get(link.encoding()));
            way.own = position;
        }
    }

    /// Sends the user's log anew, up to its head. While the socket is lost the resume will tell.
    pub(super) fn begin_own_anew(&self, frames: &mut [Frame], head: Position) {
        let mut way = self.way();
        if let Standing::Here(link) = &way.standing {
            frames.iter_mut().for_each(|frame| _ = link.push(frame.get(link.encoding())));
            way.own = head;
        }
    }

    /// Sends a latest move; while the socket is lost the room's state holds it.
    pub(super) fn push_latest(&self, frame: &mut Frame, slot: Slot, out: Out) -> Fate {
        match &self.way().standing {
            Standing::Here(link) => link.push_latest(frame.get(link.encoding()), slot, out),
            _ => Fate::Away,
        }
    }

    /// Lets out what waits for its room's tick.
    pub(super) fn let_out(&self) {
        if let Standing::Here(link) = &self.way().standing {
            link.let_out();
        }
    }

    /// Sends counted messages, and keeps them until they are acknowledged.
    pub(super) fn push_counted(&self, frame: &mut Frame, out: Out) -> Fate {
        let mut way = self.way();
        let frames = frame.get(way.encoding);
        way.kept.get_or_insert_default().push(frames.clone());
        match &way.standing {
            Standing::Here(link) => link.push_move(frames, out),
            _ => Fate::Kept,
        }
    }

    /// Drops the queued latest moves of a member that left a room.
    pub(super) fn forget(&self, room: u32, from: u32) {
        if let Standing::Here(link) = &self.way().standing {
            link.forget(room, from);
        }
    }

    /// The client has the first `n` counted messages.
    pub(super) fn ack(&self, n: u64) -> Result<(), BadAck> {
        self.way().kept.get_or_insert_default().ack(n)
    }

    /// The client spoke on `link`: it holds the resume token that came over it.
    pub fn confirm(&self, link: &Arc<Link>) {
        let mut way = self.way();
        if matches!(&way.standing, Standing::Here(here) if Arc::ptr_eq(here, link)) {
            way.tokens.confirm();
        }
    }

    /// Closes its socket with a last message that says more than a close reason can. What becomes of
    /// the session is decided by the code.
    pub(super) fn close_after(&self, last: &ServerMessage, code: CloseCode, detail: &str) {
        if let Standing::Here(link) = &self.way().standing {
            link.close_after(Some(last), code, detail);
        }
    }

    /// The socket of `link` is gone. `false` if the session had another one, or has ended.
    pub(super) fn lose(&self, link: &Arc<Link>, next: Standing) -> bool {
        let mut way = self.way();
        let here = matches!(&way.standing, Standing::Here(here) if Arc::ptr_eq(here, link));
        if here {
            way.standing = next;
        }
        here
    }

    /// Ends it whatever its socket does, which is closed with `code`. `None` if it had ended.
    pub(super) fn end(&self, code: CloseCode, detail: &str) -> Option<Standing> {
        let mut way = self.way();
        match std::mem::replace(&mut way.standing, Standing::Ended) {
            Standing::Ended => None,
            before => {
                if let Standing::Here(link) = &before {
                    link.close(code, detail);
                }
                Some(before)
            }
        }
    }

    /// It has gone to another node, and its socket with it. `false` if it had none.
    pub(super) fn hand_over(&self, loss: u64) -> bool {
        let mut way = self.way();
        let Standing::Here(link) = &way.standing else { return false };
        link.close(CloseCode::Replaced, "another node took the session over");
        way.standing = Standing::Lost { loss, reason: LeaveReason::Lost };
        true
    }

    /// Ends it if it is still away since this loss; tells with what reason.
    pub(super) fn give_up(&self, lost: u64) -> Option<LeaveReason> {
        let mut way = self.way();
        match way.standing {
            Standing::Lost { loss, reason } if loss == lost => {
                way.standing = Standing::Ended;
                Some(reason)
            }
            _ => None,
        }
    }

    /// Whether it is over.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.way().standing, Standing::Ended)
    }

    /// Since which loss it is away.
    pub(super) fn loss(&self) -> Option<u64> {
        match self.way().standing {
            Standing::Lost { loss, .. } => Some(loss),
            _ => None,
        }
    }
}
