//! The simulated hub's room: who comes and goes, what the log takes, and what is relayed beside it.

use std::sync::Arc;

use bytes::Bytes;
use rallypoint::{
    room::{
        command::{Command, Move, Outcome},
        history::Publication,
    },
    session::{Part, Seat, answers::Answer, outbox::Slot},
};
use rallypoint_protocol::{
    Event, EventBody, PeerId, Position,
    event::{From, Gone, LeaveReason},
    moves::Lane,
    payload::Payload,
};

use super::{Hub, Standing};
use crate::{
    check::Ledger,
    clock::millis,
    plan::{ROOM, room},
    wire::{Down, Latest},
};

impl Hub {
    /// Who sits in the room.
    pub(super) fn seats(&self) -> impl Iterator<Item = (usize, PeerId)> {
        let seated = self.places.iter().enumerate().filter(|(_, place)| !place.session.seats().is_empty());
        seated.map(|(number, place)| (number, place.session.peer()))
    }

    pub(super) fn join(&mut self, place: usize, id: u64, ledger: &mut Ledger) {
        let session = &self.places[place].session;
        if session.seat(&room()).is_none() {
            let (peer, entry) = (session.peer(), session.entry());
            if self.room.is_gathering() {
                let entered = self.room.apply(Command::Enter(Box::new(entry)), millis(self.now));
                ledger.expect(matches!(entered, Ok(Outcome::Entered)), || format!("{peer} may not enter"));
            } else {
                self.publish(EventBody::PeerJoined { peer: entry }, None, None, ledger);
            }
            ledger.moves.joined(place, self.room.member(peer).map_or(0, |member| member.handle));
            self.places[place].session.sit(Seat::new(room(), ROOM, Part::Member, ()));
        }
        self.places[place].session.answered(id, Answer::View);
        let picture = self.picture(Some(id), None);
        if let Standing::Here(at) = self.places[place].standing {
            self.sockets[at].outbox.settle(ROOM);
        }
        self.tell(place, &picture, ledger);
    }

    pub(super) fn leave(&mut self, place: usize, reason: LeaveReason, ledger: &mut Ledger) {
        let session = &mut self.places[place].session;
        if session.stand(&room()).is_none() {
            return;
        }
        let peer = session.peer();
        let gone = Gone { peer, handle: None, user: session.grant().user.clone(), name: None };
        if self.room.is_gathering() {
            match self.room.apply(Command::Exit(peer), millis(self.now)) {
                Ok(Outcome::Exited { handle, .. }) => self.forget(handle, ledger),
                other => ledger.fail(&format!("{peer} may not leave: {other:?}")),
            }
        } else {
            self.publish(EventBody::PeerLeft { peer: gone, reason }, None, Some(peer), ledger);
        }
    }

    fn forget(&mut self, handle: u32, ledger: &mut Ledger) {
        ledger.moves.left(handle);
        self.sockets.iter_mut().for_each(|socket| socket.outbox.forget(ROOM, handle));
    }

    /// The log takes an event, and all who sit in the room are told.
    pub(crate) fn publish(
        &mut self,
        body: EventBody,
        from: Option<From>,
        leaver: Option<PeerId>,
        ledger: &mut Ledger,
    ) -> Position {
        let bytes: Bytes = Event { time: millis(self.now), from, body }.to_bytes().into();
        let position = self.room.position().next(&bytes);
        let publication = Publication::new(room(), position, bytes[..].into()).expect("our own event");
        let outcome = self.room.apply(Command::Apply(Arc::new(publication)), millis(self.now));
        match outcome {
            Ok(Outcome::Event { left, .. }) => {
                ledger
                    .expect(left.is_empty() != leaver.is_some(), || format!("{leaver:?} left, and the room: {left:?}"));
                left.into_iter().for_each(|departed| self.forget(departed.handle, ledger));
            }
            other => ledger.fail(&format!("the room refuses the next event: {other:?}")),
        }
        ledger.events.published(position, bytes.clone());
        let seats: Vec<_> = self.seats().collect();
        seats.into_iter().for_each(|(place, _)| {
            self.tell(place, &Down::Event { position, bytes: bytes.clone() }, ledger);
        });
        position
    }

    pub(super) fn relay(
        &mut self,
        place: usize,
        (lane, key, seq): (Lane, u16, u32),
        len: usize,
        unique: u64,
        to: Option<PeerId>,
        ledger: &mut Ledger,
    ) {
        let payload = Payload::MsgPack(vec![0; len.min(64)].into());
        let peer = self.places[place].session.peer();
        let step = Move { peer, lane, key, seq: Some(seq), named: to.is_some(), passed: None, payload };
        let from = match self.room.apply(Command::Move(step), millis(self.now)) {
            Ok(Outcome::Relayed { from, .. }) => from,
            Ok(Outcome::Stale) => return ledger.moves.stale(place, lane, unique),
            other => return ledger.fail(&format!("a member's move: {other:?}")),
        };
        ledger.moves.taken(place, from, (lane, key, seq), unique);
        let receivers: Vec<_> =
            self.seats().filter(|&(other, peer)| other != place && to.is_none_or(|to| to == peer)).collect();
        for (receiver, _) in receivers {
            if lane == Lane::Reliable {
                self.push_counted(receiver, unique, len, ledger);
            } else if let Standing::Here(at) = self.places[receiver].standing {
                let frame = Down::Latest(Latest { from, key, seq }).encode();
                let slot = Slot { room: ROOM, from, key, named: false };
                let budget = self.plan.budget;
                self.add(at, |outbox| outbox.push_latest(frame, slot, budget).is_ok(), ledger);
            }
        }
    }

    /// Carries out what is due in the room.
    pub(crate) fn tick(&mut self, ledger: &mut Ledger) {
        if let Ok(Outcome::Ticked(ticked)) = self.room.apply(Command::Tick, millis(self.now))
            && let Some(presence) = ticked.presence
        {
            self.publish(EventBody::Presence(presence.0), None, None, ledger);
        }
    }
}
