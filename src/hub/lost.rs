//! Sessions whose socket was lost: they wait here for their client, the one that was lost first
//! at the front, and give way when there are too many.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use rallypoint_protocol::{
    CloseCode,
    event::{LeaveReason, Millis},
};

use super::{
    Hub,
    link::Link,
    sessions::{SessionCell, Standing},
    turn::Turn,
};
use crate::{broker::parcel::Whisper, session::Part};

/// Lost sessions by their loss. The grace is one for all, so the first loss ends first.
#[derive(Default)]
pub(super) struct Lost {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    by_loss: BTreeMap<u64, (Millis, Arc<SessionCell>)>,
}

impl Lost {
    /// A number for a loss that is about to be.
    fn number(&self) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.last += 1;
        waiting.last
    }

    fn add(&self, loss: u64, until: Millis, session: Arc<SessionCell>) {
        self.waiting.lock().by_loss.insert(loss, (until, session));
    }

    pub(super) fn remove(&self, loss: u64) {
        self.waiting.lock().by_loss.remove(&loss);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().by_loss.len()
    }

    /// When the first grace ends.
    pub(super) fn next(&self) -> Option<Millis> {
        self.waiting.lock().by_loss.first_key_value().map(|(_, (until, _))| *until)
    }

    /// The first one, if its grace has ended or there are more than `max`; and whether it was early.
    fn pop(&self, now: Millis, max: usize) -> Option<(u64, Arc<SessionCell>, bool)> {
        let mut waiting = self.waiting.lock();
        let len = waiting.by_loss.len();
        let first = waiting.by_loss.first_entry()?;
        let over = first.get().0 <= now;
        (over || len > max).then(|| {
            let (loss, (_, session)) = first.remove_entry();
            (loss, session, !over)
        })
    }
}

impl Hub {
    /// The socket of `link` is gone, closed with `code`. The session waits for its client, or ends if that is what the
    /// close meant.
    pub async fn part(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        link: &Arc<Link>,
        reason: LeaveReason,
        ends: bool,
        code: u16,
    ) {
        let grace_ms = self.limits().resume_grace_ms;
        if ends || grace_ms == 0 {
            if session.lose(link, Standing::Ended) {
                self.end_session(session, reason, Some(code)).await;
            }
            return;
        }
        let loss = self.lost.number();
        if !session.lose(link, Standing::Lost { loss, reason }) {
            return;
        }
        self.witness.lost(session, code);
        self.lost.add(loss, self.now().after(grace_ms), session.clone());
        if session.loss() != Some(loss) {
            // It came back, or ended, before it was added.
            self.lost.remove(loss);
            return;
        }
        self.timer.nudge();
        self.hush(session, reason);
        if let Some(first) = self.users.first_lost(session.user(), self.limits().lost_per_user) {
            self.metrics.limited("lost_per_user");
            self.expel(&first, CloseCode::Evicted, "", LeaveReason::Lost).await;
        }
        self.give_up_lost().await;
    }

    /// Another node has taken a session up. Nobody finds it here any more, and when its grace is over it leaves the rooms
    /// that were not taken with it.
    pub(super) fn hand_over(&self, session: &Arc<SessionCell>) {
        let loss = self.lost.number();
        self.lost.add(loss, self.now().after(self.limits().resume_grace_ms), session.clone());
        {
            let _turn = Turn::begin();
            if !session.hand_over(loss) {
                self.lost.remove(loss);
            }
        }
        self.users.leave_session(session);
        self.timer.nudge();
    }

    /// Ends those whose grace is over, and the first ones while there are too many.
    pub(super) async fn give_up_lost(self: &Arc<Self>) {
        // A node that goes away takes nobody out of a room: its sessions go on in the next process.
        while !self.is_draining()
            && let Some((loss, session, early)) = self.lost.pop(self.now(), self.limits().lost)
        {
            if early {
                self.metrics.limited("lost");
            }
            if let Some(reason) = session.give_up(loss) {
                self.end_session(&session, reason, None).await;
            }
        }
    }

    /// Ends a session against its will, wherever its client is.
    pub(super) async fn expel(
        self: &Arc<Self>,
        session: &Arc<SessionCell>,
        code: CloseCode,
        detail: &str,
        reason: LeaveReason,
    ) {
        let before = {
            let _turn = Turn::begin();
            session.end(code, detail)
        };
        match before {
            None => return,
            Some(Standing::Lost { loss, .. }) => self.lost.remove(loss),
            Some(_) => {}
        }
        self.end_session(session, reason, Some(code.number())).await;
    }

    /// Ends a session that was removed from its last room while its socket is lost.
    pub(super) async fn end_if_left(self: &Arc<Self>, session: &Arc<SessionCell>, reason: LeaveReason) {
        if session.loss().is_some() && session.lock().seats().is_empty() {
            self.expel(session, CloseCode::Evicted, "", reason).await;
        }
    }

    /// Whoever lost its socket types no more.
    fn hush(&self, session: &Arc<SessionCell>, reason: LeaveReason) {
        let members = |seat: &&crate::session::Seat<_>| seat.part == Part::Member;
        let cells: Vec<Arc<super::rooms::RoomCell>> =
            session.lock().seats().iter().filter(members).map(|seat| seat.place.clone()).collect();
        let _turn = Turn::begin();
        for cell in cells {
            match cell.lock() {
                Some(state) => state.became(session, "lost", Some(reason)),
                None => continue,
            }
            if self.falls_silent(&cell, session.peer()) {
                self.whisper(&cell, Whisper::Typing(session.peer(), false));
            }
        }
    }
}
