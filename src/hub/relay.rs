//! The two lanes that never touch the log: moves and signals.

use std::sync::Arc;

use rallypoint_protocol::{
    ErrorCode, PeerId, RoomName, ServerMessage,
    codec::Refused,
    event::Millis,
    moves::{ClientMove, Lane},
    payload::Payload,
    request::{JsonMove, SignalKind},
    server::Signal,
};

use super::{
    Hub,
    elsewhere::Away,
    link::Out,
    note::Verdict,
    rooms::{RoomCell, Seated, State},
    sessions::SessionCell,
    turn::{self, Turn},
};
use crate::{
    broker::parcel::Parcel,
    frame::{Frame, Label},
    room::command::{Command, Move, Outcome},
    session::{Refusal, outbox::Slot},
};

/// A move that the room took, on its way to those who get it.
pub(super) struct Numbered {
    pub(super) lane: Lane,
    pub(super) key: u16,
    pub(super) seq: u32,
    /// When it came, Unix milliseconds.
    pub(super) time: u64,
    pub(super) to: Option<Vec<u32>>,
    pub(super) payload: Payload,
}

/// A move that the session let through.
struct Step {
    lane: Lane,
    key: u16,
    seq: Option<u32>,
    to: Option<Vec<u32>>,
    payload: Payload,
    /// Bytes of the frame that brought it.
    size: usize,
}

impl Hub {
    /// A binary move: `frame` was parsed into `step`, whose payload still lies in the read buffer.
    pub fn relay(&self, session: &Arc<SessionCell>, step: ClientMove<'_>, frame_len: usize) -> Result<(), Refusal> {
        let now = self.now();
        let seat = session.lock().handle_move(step.room, frame_len, now).map(|seat| seat.place.clone());
        let cell = seat.inspect_err(|refusal| {
            if self.is_tracing() {
                self.note_refused(session, Label::of_move(step.lane), frame_len, refusal);
            }
        })?;
        let ClientMove { lane, key, seq, to, payload, .. } = step;
        let payload = Payload::MsgPack(payload.to_vec().into());
        let refused = |code| Refused::from(code).about(None, Some(cell.name())).into();
        let step = Step { lane, key, seq: Some(seq), to, payload, size: frame_len };
        self.relay_step(session, &cell, step, now).map_err(refused)
    }

    /// A move in its JSON form, already let through by the session.
    pub(super) fn relay_json(&self, session: &Arc<SessionCell>, step: JsonMove, size: usize) -> Result<(), Refusal> {
        let JsonMove { room, lane, key, seq, to, data: payload } = step;
        let cell = place_of(session, &room)?;
        let refused = |code| Refused::from(code).about(None, Some(&room)).into();
        self.relay_step(session, &cell, Step { lane, key, seq, to, payload, size }, self.now()).map_err(refused)
    }

    fn relay_step(
        &self,
        session: &Arc<SessionCell>,
        cell: &Arc<RoomCell>,
        step: Step,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        let _turn = Turn::begin();
        let Step { lane, key, seq, to, payload, size } = step;
        let named = to.is_some();
        let away = {
            let mut state = cell.lock_for_a_move().ok_or(ErrorCode::NotJoined)?;
            let state = &mut *state;
            let peer = session.peer();
            let command = Move { peer, lane, key, seq, named, passed: None, payload: payload.clone() };
            let outcome = state.room.apply(Command::Move(command), now)?;
            if let Some(tap) = &state.tap {
                let verdict = if matches!(outcome, Outcome::Relayed { .. }) { Verdict::Ok } else { Verdict::Stale };
                tap.moved(&state.room, session, lane, size, verdict);
            }
            let Outcome::Relayed { from, seq } = outcome else {
                self.metrics().moves_stale.inc();
                return Ok(());
            };
            self.metrics().moved(lane);
            let step = Numbered { lane, key, seq, time: now.whole(), to, payload };
            let is_for_others = state.room.is_apart() && (lane == Lane::Latest || !state.is_returning(peer));
            let away = is_for_others.then(|| Away::of(&state.room, peer, &step)).flatten();
            self.hand_out(cell, state, from, step, now);
            away
        };
        away.into_iter().for_each(|away| self.send_away(cell.name(), away));
        Ok(())
    }

    /// Hands a move to the members of this node.
    pub(super) fn hand_out(&self, cell: &Arc<RoomCell>, state: &mut State, from: u32, step: Numbered, now: Millis) {
        let Numbered { lane, key, seq, time, to, payload } = step;
        let named = to.is_some();
        let len = payload.len();
        let mut frame = Frame::of_move(cell.name().clone(), cell.handle(), from, key, seq, time, lane, payload);
        if lane == Lane::Reliable && !named {
            if state.hold_back(from, frame, len, now) {
                turn::holds_back(cell);
            }
            self.schedule_tick(cell, state);
            return;
        }
        state.send_row();
        let out = state.out(now);
        let slot = Slot { room: cell.handle(), from, key, named };
        let mut deliver = |seat: &Seated| {
            let receiver = &seat.session;
            let fate = match lane {
                Lane::Latest => receiver.push_latest(&mut frame, slot, out),
                Lane::Reliable => receiver.push_counted(&mut frame, out),
            };
            if let Some(tap) = &state.tap {
                tap.pushed(receiver, Some(seat.handle), Some(from), &mut frame, fate);
            }
        };
        match to {
            None => state.seats.iter().filter(|seat| seat.handle != from).for_each(deliver),
            Some(mut to) => {
                // A receiver that has just left is no error: the sender cannot know yet.
                to.sort_unstable();
                to.dedup();
                let named = to.into_iter().filter(|&handle| handle != from);
                named.filter_map(|handle| state.seat_by_handle(handle)).for_each(&mut deliver);
            }
        }
        cell.note_state(state);
        if lane == Lane::Latest && !named {
            self.state_changed(cell, state, now);
        }
        self.schedule_tick(cell, state);
    }

    /// Has the moves let out that wait for the room's tick.
    fn schedule_tick(&self, cell: &Arc<RoomCell>, state: &mut State) {
        if let Some(due) = state.tick_due() {
            self.schedule(cell, state, Some(due));
        }
    }

    /// The latest moves changed: watchers and feeds that asked for the state will be told.
    fn state_changed(&self, cell: &Arc<RoomCell>, state: &mut State, now: Millis) {
        if state.watchers.is_empty() && state.feeds.is_empty() {
            return;
        }
        state.feeds.values().filter(|feed| feed.wants_state).for_each(|feed| feed.wake.wake());
        let due = state.tell_state(cell, now);
        self.schedule(cell, state, due);
    }

    /// An offer, answer or candidate to one member of the same room.
    pub(super) fn signal(
        &self,
        session: &Arc<SessionCell>,
        room: &RoomName,
        to: PeerId,
        kind: SignalKind,
        data: Payload,
    ) -> Result<(), Refusal> {
        let cell = place_of(session, room)?;
        let from = session.peer();
        let home = {
            let state = cell.lock().ok_or(ErrorCode::NotJoined)?;
            let home = state.room.member(to).filter(|_| to != from).map(|member| member.home);
            match home {
                None => return Err(Refused::new(ErrorCode::PeerUnknown, "no such member in this room").into()),
                Some(None) => {
                    state.hand_signal(to, Signal { kind, room: room.clone(), from, data });
                    None
                }
                // Nobody would tell its sender that it was lost.
                Some(Some(_)) if !self.broker().is_alive() || state.is_returning(from) => {
                    return Err(Refused::new(ErrorCode::Overloaded, "this node does not reach the others").into());
                }
                Some(home) => home.map(|node| (node, data)),
            }
        };
        if let Some((node, data)) = home {
            self.broker().send(node, Parcel::Signal { room: room.clone(), from, to, kind, data: data.into() });
        }
        self.metrics().signals.inc();
        Ok(())
    }
}

impl State {
    /// Hands a signal to a member of this node; whoever has just left misses nothing.
    pub(super) fn hand_signal(&self, to: PeerId, signal: Signal) {
        let Some(seat) = self.seat(to) else { return };
        let from = self.room.member(signal.from).map(|member| member.handle);
        let mut frame = Frame::of(ServerMessage::Signal(signal));
        let fate = seat.session.push_counted(&mut frame, Out::AtTurnEnd);
        if let Some(tap) = &self.tap {
            tap.pushed(&seat.session, Some(seat.handle), from, &mut frame, fate);
        }
    }
}

/// The cell of a room that the session is in.
pub(super) fn place_of(session: &SessionCell, room: &RoomName) -> Result<Arc<RoomCell>, ErrorCode> {
    session.lock().seat(room).map(|seat| seat.place.clone()).ok_or(ErrorCode::NotJoined)
}
