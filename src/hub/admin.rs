//! What back ends ask for over HTTP: publish, notify, look, kick.

use std::sync::Arc;

use rallypoint_protocol::{
    CloseCode, ErrorCode, EventBody, Kind, PeerId, Position, RoomName, UserName,
    codec::Refused,
    event::{Entry, From, LeaveReason},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Hub, rooms::RoomCell, sessions::SessionCell, turn::Turn};
use crate::broker::{Dedup, Log};

/// A room as `GET /v1/rooms` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct RoomView {
    /// Which.
    pub room: RoomName,
    /// How many members.
    pub members: usize,
    /// How many watch.
    pub spectators: usize,
    /// Where its log stands.
    pub position: Position,
    /// Version of its latest moves.
    pub state_version: u64,
}

/// A page of something.
#[derive(Clone, Debug)]
pub struct Page<T, K> {
    /// The entries.
    pub items: Vec<T>,
    /// How many there are in all.
    pub count: usize,
    /// What to pass as `after` for the next page.
    pub next: Option<K>,
}

impl Hub {
    /// Publishes an event in a user's name.
    pub async fn publish_http(
        &self,
        room: &RoomName,
        kind: Kind,
        data: Box<RawValue>,
        from: From,
        dedup: Option<Dedup>,
    ) -> Result<Position, Refused> {
        self.load.take_event()?;
        let body = if kind.as_str() == "message" {
            let text: TextOnly = serde_json::from_str(data.get()).map_err(|_| ErrorCode::Malformed)?;
            EventBody::Message { text: text.text }
        } else {
            EventBody::App { kind, data }
        };
        Ok(self.publish(room, body, Some(from), dedup).await?.position)
    }

    /// Notifies a user; returns how many of its connections it went to, and where it stands.
    pub async fn notify(
        &self,
        user: &UserName,
        message: Box<str>,
        data: Option<Box<RawValue>>,
        dedup: Option<Dedup>,
    ) -> Result<(usize, Position), Refused> {
        self.load.take_event()?;
        let log = RoomName::of_user(user);
        let here = self.users.count(user);
        let published = self.publish(&log, EventBody::Notification { message, data }, None, dedup).await?;
        self.metrics().notifications.inc();
        let sent = if published.repeated { 0 } else { here };
        Ok((sent, published.position))
    }

    fn view(cell: &RoomCell) -> Option<RoomView> {
        let state = cell.lock()?;
        Some(RoomView {
            room: cell.name().clone(),
            members: state.room.count(),
            spectators: state.room.spectators(),
            position: state.room.position(),
            state_version: state.room.state_version(),
        })
    }

    /// The rooms of this node by name, from the one after `after`.
    pub fn list_rooms(&self, after: Option<&RoomName>, limit: usize) -> Page<RoomView, RoomName> {
        let mut cells = self.rooms.all();
        cells.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        let count = cells.len();
        let mut later = cells.iter().filter(|cell| after.is_none_or(|after| cell.name() > after)).peekable();
        let items: Vec<_> = later.by_ref().take(limit).filter_map(|cell| Self::view(cell)).collect();
        let next = later.peek().and_then(|_| items.last().map(|view| view.room.clone()));
        Page { items, count, next }
    }

    /// One room, if it has members, spectators or kept events.
    pub async fn view_room(&self, room: &RoomName) -> Result<RoomView, ErrorCode> {
        if let Some(view) = self.rooms.get(room).and_then(|cell| Self::view(&cell)) {
            return Ok(view);
        }
        let bounds = self.settings_for(room).bounds();
        let position = self.broker.ends(Log { name: room, bounds }).await?.head;
        if position.seq == 0 {
            return Err(ErrorCode::RoomUnknown);
        }
        Ok(RoomView { room: room.clone(), members: 0, spectators: 0, position, state_version: 0 })
    }

    /// A page of a room's roster, as feeds see members: without handles.
    pub fn list_members(
        &self,
        room: &RoomName,
        after: Option<PeerId>,
        limit: usize,
    ) -> Result<Page<Entry, PeerId>, ErrorCode> {
        let cell = self.rooms.get(room).ok_or(ErrorCode::RoomUnknown)?;
        let state = cell.lock().ok_or(ErrorCode::RoomUnknown)?;
        let mut later = state.room.members(after);
        let items: Vec<_> = later.by_ref().take(limit).map(|member| member.entry.clone()).collect();
        let next = later.next().and_then(|_| items.last().map(|entry| entry.peer));
        Ok(Page { items, count: state.room.count(), next })
    }

    /// Removes a member from a room; its session lives on.
    pub async fn kick_member(self: &Arc<Self>, room: &RoomName, peer: PeerId) -> Result<(), ErrorCode> {
        let cell = self.rooms.get(room).ok_or(ErrorCode::RoomUnknown)?;
        let known = cell.lock().ok_or(ErrorCode::RoomUnknown)?.room.member(peer).is_some();
        if !known {
            return Err(ErrorCode::PeerUnknown);
        }
        self.remove_member(&cell, peer, LeaveReason::Kicked).await;
        Ok(())
    }

    /// Takes a member out of a room against its will: it is told like everybody else.
    pub(super) async fn remove_member(self: &Arc<Self>, cell: &Arc<RoomCell>, peer: PeerId, reason: LeaveReason) {
        let seated = cell.lock().and_then(|state| state.seat(peer).map(|seat| seat.session.clone()));
        let announce = {
            let _turn = Turn::begin();
            let Some(mut state) = cell.lock() else { return };
            if let Some(seat) = state.seat(peer) {
                state.became(&seat.session, "left", Some(reason));
            }
            let is_remote = state.room.member(peer).is_some_and(|member| member.home.is_some());
            if is_remote || !state.room.is_gathering() {
                self.leave_room(cell, &mut state, peer, reason)
            } else {
                let entry = state.room.member(peer).map(|member| member.entry.clone());
                if let (Some(seat), Some(entry)) = (state.unseat(peer), entry) {
                    self.leave_room(cell, &mut state, peer, reason);
                    state.tell_removed(cell, &seat, &entry, reason, self.now());
                    seat.session.lock().stand(cell.name());
                }
                None
            }
        };
        if let Some(gone) = announce {
            self.announce_leave(cell.name(), gone, reason).await;
        }
        self.release(cell);
        if let Some(session) = seated {
            self.end_if_left(&session, reason).await;
        }
    }

    /// Ends everything a user has on this node, lost sessions too; returns how much that was. With
    /// `generation`, what has a token of at least that generation stays, and older tokens are no
    /// longer accepted.
    pub async fn kick_user(self: &Arc<Self>, user: &UserName, generation: Option<u64>) -> usize {
        if let Some(generation) = generation {
            self.users.call_in(user, generation);
        } else {
            self.tickets.revoke(user);
        }
        let stays = |session: &Arc<SessionCell>| {
            generation.is_some_and(|generation| session.lock().grant().generation >= generation)
        };
        let sessions: Vec<_> = self.users.sessions(user).into_iter().filter(|session| !stays(session)).collect();
        let feeds = self.users.end_feeds_of(user);
        for session in &sessions {
            self.expel(session, CloseCode::Forbidden, "kicked", LeaveReason::Kicked).await;
        }
        sessions.len() + feeds
    }
}

#[derive(serde::Deserialize)]
struct TextOnly {
    text: Box<str>,
}
