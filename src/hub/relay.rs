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
    link::Out,
    rooms::RoomCell,
    sessions::SessionCell,
    turn::{self, Turn},
};
use crate::{
    frame::Frame,
    room::command::{Command, Move, Outcome},
    session::{Refusal, outbox::Slot},
};

/// A move that the session let through.
struct Step {
    lane: Lane,
    key: u16,
    seq: Option<u32>,
    to: Option<Vec<u32>>,
    payload: Payload,
}

impl Hub {
    /// A binary move: `frame` was parsed into `step`, whose payload still lies in the read buffer.
    pub fn relay(&self, session: &Arc<SessionCell>, step: ClientMove<'_>, frame_len: usize) -> Result<(), Refusal> {
        let now = self.now();
        let cell = session.lock().handle_move(step.room, frame_len, now)?.place.clone();
        let ClientMove { lane, key, seq, to, payload, .. } = step;
        let payload = Payload::MsgPack(payload.to_vec().into());
        let refused = |code| Refused::from(code).about(None, Some(cell.name())).into();
        self.relay_step(session, &cell, Step { lane, key, seq: Some(seq), to, payload }, now).map_err(refused)
    }

    /// A move in its JSON form, already let through by the session.
    pub(super) fn relay_json(&self, session: &Arc<SessionCell>, step: JsonMove) -> Result<(), Refusal> {
        let JsonMove { room, lane, key, seq, to, data } = step;
        let cell = place_of(session, &room)?;
        let refused = |code| Refused::from(code).about(None, Some(&room)).into();
        self.relay_step(session, &cell, Step { lane, key, seq, to, payload: data }, self.now()).map_err(refused)
    }

    fn relay_step(
        &self,
        session: &Arc<SessionCell>,
        cell: &Arc<RoomCell>,
        step: Step,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        let _turn = Turn::begin();
        let Step { lane, key, seq, to, payload } = step;
        let named = to.is_some();
        let mut state = cell.lock_for_a_move().ok_or(ErrorCode::NotJoined)?;
        let command = Move { peer: session.peer(), lane, key, seq, named, payload: payload.clone() };
        let (from, seq) = match state.room.apply(Command::Move(command), now)? {
            Outcome::Relayed { from, seq } => (from, seq),
            _ => {
                self.metrics().moves_stale.inc();
                return Ok(());
            }
        };
        self.metrics().moved(lane);
        let name = cell.name().clone();
        let len = payload.len();
        let mut frame = Frame::of_move(name, cell.handle(), from, key, seq, now.whole(), lane, payload);
        if lane == Lane::Reliable && !named {
            if state.hold_back(from, frame, len, now) {
                turn::holds_back(cell);
            }
            self.schedule_tick(cell, &mut state);
            return Ok(());
        }
        state.send_row();
        let out = state.out(now);
        let slot = Slot { room: cell.handle(), from, key, named };
        let mut deliver = |receiver: &Arc<SessionCell>| match lane {
            Lane::Latest => receiver.push_latest(&mut frame, slot, out),
            Lane::Reliable => receiver.push_counted(&mut frame, out),
        };
        match to {
            None => state.seats.iter().filter(|seat| seat.handle != from).for_each(|seat| deliver(&seat.session)),
            Some(mut to) => {
                // A receiver that has just left is no error: the sender cannot know yet.
                to.sort_unstable();
                to.dedup();
                let named = to.into_iter().filter(|&handle| handle != from);
                named.filter_map(|handle| state.seat_by_handle(handle)).for_each(|seat| deliver(&seat.session));
            }
        }
        cell.note_state(&state);
        if lane == Lane::Latest && !named {
            self.state_changed(cell, &mut state, now);
        }
        self.schedule_tick(cell, &mut state);
        Ok(())
    }

    /// Has the moves let out that wait for the room's tick.
    fn schedule_tick(&self, cell: &Arc<RoomCell>, state: &mut super::rooms::State) {
        if let Some(due) = state.tick_due() {
            self.schedule(cell, state, Some(due));
        }
    }

    /// The latest moves changed: watchers and feeds that asked for the state will be told.
    fn state_changed(&self, cell: &Arc<RoomCell>, state: &mut super::rooms::State, now: Millis) {
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
        let state = cell.lock().ok_or(ErrorCode::NotJoined)?;
        let unknown = || Refused::new(ErrorCode::PeerUnknown, "no such member in this room");
        let seat = state.seat(to).filter(|_| to != session.peer()).ok_or_else(unknown)?;
        let signal = Signal { kind, room: room.clone(), from: session.peer(), data };
        seat.session.push_counted(&mut Frame::of(ServerMessage::Signal(signal)), Out::AtTurnEnd);
        self.metrics().signals.inc();
        Ok(())
    }
}

/// The cell of a room that the session is in.
pub(super) fn place_of(session: &SessionCell, room: &RoomName) -> Result<Arc<RoomCell>, ErrorCode> {
    session.lock().seat(room).map(|seat| seat.place.clone()).ok_or(ErrorCode::NotJoined)
}
