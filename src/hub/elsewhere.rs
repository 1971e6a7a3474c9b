//! Members on other nodes: what goes to them past the log, and what comes from them.

use std::sync::Arc;

use rallypoint_protocol::{
    PeerId, RoomName,
    event::Millis,
    moves::Lane,
    server::{ResetReason, Signal},
};

use super::{
    Hub,
    early::Talk,
    relay::Numbered,
    rooms::{RoomCell, State},
};
use crate::{
    broker::parcel::{Parcel, Step, Whisper},
    node::NodeId,
    room::{
        Room,
        command::{Command, Move, Outcome},
    },
};

/// A move for members of other nodes.
pub(super) struct Away {
    step: Step,
    /// Where they are.
    nodes: Vec<NodeId>,
}

impl Away {
    /// What there is of a move for members of other nodes.
    pub(super) fn of(room: &Room, peer: PeerId, step: &Numbered) -> Option<Self> {
        let Numbered { lane, key, seq, time, ref to, ref payload } = *step;
        let (to, mut nodes) = match to {
            None => (None, room.elsewhere().collect()),
            Some(handles) => {
                let named = room.members(None).filter(|member| handles.contains(&member.handle));
                let (to, nodes): (Vec<_>, Vec<_>) = named.filter_map(|m| Some((m.entry.peer, m.home?))).unzip();
                (Some(to), nodes)
            }
        };
        nodes.sort_unstable();
        nodes.dedup();
        let data = payload.clone().into();
        (!nodes.is_empty()).then_some(Self { step: Step { peer, lane, key, seq, time, to, data }, nodes })
    }
}

impl Hub {
    /// Sends a move to other nodes.
    pub(super) fn send_away(&self, room: &RoomName, Away { step, nodes }: Away) {
        match step.lane {
            Lane::Latest => self.broker.whisper(room, Whisper::Move(step)),
            Lane::Reliable => {
                for node in nodes {
                    self.broker.send(node, Parcel::Move { room: room.clone(), step: step.clone() });
                }
            }
        }
    }

    /// Tells other nodes something that may be lost, if the room has members there.
    pub(super) fn whisper(&self, cell: &RoomCell, whisper: Whisper) {
        if cell.lock().is_some_and(|state| state.room.is_apart()) {
            self.broker.whisper(cell.name(), whisper);
        }
    }

    /// Takes what another node sent.
    pub(super) fn take_parcel(&self, node: NodeId, parcel: Parcel) {
        let Some(cell) = self.rooms.get(parcel.room()) else { return };
        match parcel {
            Parcel::Signal { room, from, to, kind, data } => {
                if let Some(data) = data.payload() {
                    self.take_talk(&cell, node, Talk::Signal(to, Signal { kind, room, from, data }));
                }
            }
            Parcel::Move { step, .. } => self.take_talk(&cell, node, Talk::Step(step)),
            Parcel::Lost { .. } => {
                if let Some(state) = cell.lock() {
                    state.tell_restart(&cell, ResetReason::Lost);
                }
            }
        }
    }

    /// Takes what another node whispered.
    pub(super) fn take_whisper(&self, cell: &Arc<RoomCell>, node: NodeId, whisper: Whisper) {
        let is_there = |peer| cell.lock().is_some_and(|state| state.is_at(peer, node));
        match whisper {
            Whisper::Move(step) => self.take_talk(cell, node, Talk::Step(step)),
            Whisper::Typing(peer, true) if is_there(peer) => self.types(cell, peer),
            Whisper::Typing(peer, false) if is_there(peer) => _ = self.falls_silent(cell, peer),
            Whisper::Latency(peer, rtt, jitter) if is_there(peer) => self.note_latency(cell, peer, rtt, jitter),
            Whisper::Typing(..) | Whisper::Latency(..) => {}
        }
    }

    /// Takes what a member of another node says. It waits if nothing has told yet that the member is there: its join is on
    /// the way, or it has gone on from there and this was under way for long.
    fn take_talk(&self, cell: &Arc<RoomCell>, node: NodeId, talk: Talk) {
        let now = self.now();
        let Some(mut state) = cell.lock_for_a_move() else { return };
        if !state.early.holds_talk() && talk.is_due(&state.room, node) && !state.is_coming_again() {
            return self.hand_talk(cell, &mut state, talk, now);
        }
        state.early.talk(now, node, talk);
        state.ripe(now).into_iter().for_each(|talk| self.hand_talk(cell, &mut state, talk, now));
    }

    /// Takes what waited for its members.
    pub(super) fn take_early(&self, cell: &Arc<RoomCell>) {
        let now = self.now();
        let Some(mut state) = cell.lock_for_a_move() else { return };
        state.ripe(now).into_iter().for_each(|talk| self.hand_talk(cell, &mut state, talk, now));
    }

    fn hand_talk(&self, cell: &Arc<RoomCell>, state: &mut State, talk: Talk, now: Millis) {
        match talk {
            Talk::Signal(to, signal) => {
                // What the sender moved before it comes before it.
                state.send_row();
                state.hand_signal(to, signal);
            }
            Talk::Step(step) => self.hand_step(cell, state, step, now),
        }
    }

    fn hand_step(&self, cell: &Arc<RoomCell>, state: &mut State, step: Step, now: Millis) {
        let Step { peer, lane, key, seq, time, to, data } = step;
        let Some(payload) = data.payload() else { return };
        let (named, passed) = (to.is_some(), Some(time));
        let command = Move { peer, lane, key, seq: Some(seq), named, passed, payload: payload.clone() };
        let Ok(Outcome::Relayed { from, seq }) = state.room.apply(Command::Move(command), now) else { return };
        let handle = |peer: &PeerId| state.room.member(*peer).map(|member| member.handle);
        let to = to.map(|to| to.iter().filter_map(handle).collect());
        self.hand_out(cell, state, from, Numbered { lane, key, seq, time, to, payload }, now);
    }
}
