//! What is shown of a room to whoever comes in, comes back or fell behind.

use std::sync::Arc;

use rallypoint_protocol::{
    EventBody, PeerId, Position, ServerMessage,
    event::Entry,
    server::{self, Joined, LatestMove, Reset, ResetReason},
};
use serde_json::value::RawValue;

use super::rooms::{RoomCell, State};
use crate::{
    frame::Frame,
    room::{Member, moves::Latest},
};

/// Entries of a large room that `joined` and `reset` show.
const SHOWN_MAX: usize = 100;
/// Events that `missed` holds; more is a reset.
const MISSED_MAX: usize = 256;
/// Bytes that `missed` holds, so that it fits into a frame; more is a reset.
const MISSED_BYTES_MAX: usize = 768 * 1024;

/// The events after a position as messages, or why not; neither when no position was given.
pub(super) type Missed = (Option<Vec<Box<RawValue>>>, Option<ResetReason>);

impl State {
    /// What a member missed since a position. Without the right to the history that is what
    /// happened while it was a member.
    pub(super) fn missed_by(
        &self,
        cell: &Arc<RoomCell>,
        peer: PeerId,
        since: Option<Position>,
        history: bool,
    ) -> Missed {
        let order = self.room.member(peer).and_then(|member| member.entry.order).unwrap_or(0);
        let history = history || since.is_some_and(|since| since.seq >= order);
        if since.is_some_and(|since| self.returned_since(peer, since)) {
            return (None, Some(ResetReason::Lost));
        }
        self.missed(cell, since, Some((order, peer)), history)
    }

    /// The room as a member sees it: `joined`, and `reset` where what it missed cannot be served.
    pub(super) fn picture(
        &self,
        cell: &Arc<RoomCell>,
        peer: PeerId,
        re: Option<u64>,
        (missed, reset): Missed,
    ) -> Vec<ServerMessage> {
        let Some(you) = self.room.member(peer) else { return Vec::new() };
        let viewer = (you.entry.order.unwrap_or(0), peer);
        let mut own = entry_of(you).seen_by(None);
        own.rtt = None;
        let joined = Joined {
            re,
            room: cell.name().clone(),
            handle: cell.handle(),
            you: own,
            members: self.shown_members(Some(viewer)),
            count: self.room.count(),
            spectators: self.room.spectators(),
            position: self.room.position(),
            state: self.latest(|latest| latest.from),
            missed,
        };
        let reset = reset.map(|reason| ServerMessage::Reset(self.reset(cell, reason, Some(viewer))));
        [ServerMessage::Joined(joined)].into_iter().chain(reset).collect()
    }

    /// The room as a watcher sees it: `watching`, and `reset` where what it missed cannot be served.
    pub(super) fn view(
        &self,
        cell: &Arc<RoomCell>,
        re: Option<u64>,
        with_state: bool,
        (missed, reset): Missed,
    ) -> Vec<ServerMessage> {
        let watching = server::Watching {
            re,
            room: cell.name().clone(),
            position: self.room.position(),
            count: self.room.count(),
            spectators: self.room.spectators(),
            state: with_state.then(|| self.latest(|latest| latest.peer)),
            missed,
        };
        // A watcher sees no roster: its reset has neither members nor state.
        let reset =
            reset.map(|reason| Reset { members: Vec::new(), state: Vec::new(), ..self.reset(cell, reason, None) });
        [ServerMessage::Watching(watching)].into_iter().chain(reset.map(ServerMessage::Reset)).collect()
    }

    /// The first members of the room as `viewer` sees them, `viewer` left out.
    fn shown_members(&self, viewer: Option<(u64, PeerId)>) -> Vec<Entry> {
        let others = self.room.members(None).filter(|member| viewer.is_none_or(|(_, peer)| member.entry.peer != peer));
        others.take(SHOWN_MAX).map(|member| entry_of(member).seen_by(viewer)).collect()
    }

    /// The events since a position as messages, or why not.
    pub(super) fn missed(
        &self,
        cell: &Arc<RoomCell>,
        since: Option<Position>,
        viewer: Option<(u64, PeerId)>,
        history: bool,
    ) -> Missed {
        let Some(since) = since else { return (None, None) };
        if !history && since != self.room.position() {
            return (None, Some(ResetReason::NoHistory));
        }
        let events = match self.room.since(since) {
            Ok(events) if events.len() > MISSED_MAX => return (None, Some(ResetReason::TooMany)),
            Ok(events) => events,
            Err(reason) => return (None, Some(reason)),
        };
        let handle_of = |peer| self.room.member(peer).map(|member| member.handle);
        let own = viewer.map(|(_, peer)| peer);
        let missed = events.filter_map(|publication| {
            let event = publication.event();
            if matches!(&event.body, EventBody::PeerJoined { peer } if Some(peer.peer) == own) {
                return None;
            }
            let message = event.to_message(cell.name(), publication.position, viewer, handle_of);
            Some(raw_json(message.encode(rallypoint_protocol::Encoding::Json)))
        });
        let missed: Vec<_> = missed.collect();
        if missed.iter().map(|event| event.get().len()).sum::<usize>() > MISSED_BYTES_MAX {
            return (None, Some(ResetReason::TooMany));
        }
        (Some(missed), None)
    }

    /// The room from scratch, for somebody who stood where the log no longer reaches.
    pub(super) fn reset(&self, cell: &Arc<RoomCell>, reason: ResetReason, viewer: Option<(u64, PeerId)>) -> Reset {
        Reset {
            room: cell.name().clone(),
            reason,
            position: self.room.position(),
            members: self.shown_members(viewer),
            count: self.room.count(),
            state: self.latest(|latest| latest.from),
        }
    }

    /// Tells everybody that the log goes on elsewhere. Feeds find that out by themselves.
    pub(super) fn tell_restart(&self, cell: &Arc<RoomCell>, reason: ResetReason) {
        for seat in &self.seats {
            self.tell_reset(cell, seat.session.peer(), reason);
        }
        let reset = Reset { members: Vec::new(), state: Vec::new(), ..self.reset(cell, reason, None) };
        let mut frame = Frame::of(ServerMessage::Reset(reset));
        self.tell_watchers(&mut frame);
        self.feeds.values().for_each(|feed| feed.wake.wake());
    }

    /// Shows a member the room from scratch.
    pub(super) fn tell_reset(&self, cell: &Arc<RoomCell>, peer: PeerId, reason: ResetReason) {
        let Some(seat) = self.seat(peer) else { return };
        let order = self.room.member(peer).and_then(|member| member.entry.order).unwrap_or(0);
        let reset = ServerMessage::Reset(self.reset(cell, reason, Some((order, peer))));
        self.sent(&seat.session, reset.name(), seat.session.send(&reset));
    }

    /// The latest moves, with the sender named in the way the receiver knows it.
    pub(super) fn latest<F>(&self, from: impl Fn(&Latest) -> F) -> Vec<LatestMove<F>> {
        let moves = self.room.latest_moves();
        moves
            .into_iter()
            .map(|latest| LatestMove {
                from: from(latest),
                key: latest.key,
                seq: latest.seq,
                time: latest.time,
                data: latest.payload.to_raw_json(),
            })
            .collect()
    }
}

/// A member as it is shown: with its handle.
pub(super) fn entry_of(member: &Member) -> Entry {
    let rtt = member.entry.rtt.map(tenths);
    Entry { handle: Some(member.handle), rtt, ..member.entry.clone() }
}

pub(super) fn tenths(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

/// JSON that our own encoder just made.
fn raw_json(bytes: Vec<u8>) -> Box<RawValue> {
    let text = String::from_utf8(bytes).expect("JSON text is UTF-8");
    RawValue::from_string(text).expect("our own JSON is JSON")
}
