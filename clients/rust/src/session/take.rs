//! What a frame of the server means: an answer for whoever asked, or something for the application.

use rallypoint_protocol::{
    ErrorCode, Payload, Position, Request, RoomName, ServerMessage,
    moves::{Lane, ServerMove, is_move},
    server::{Failed, Joined, Moved, Watching},
};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Session;
use crate::{
    error::Error,
    incoming::{Inbox, Incoming, Move, missed_events},
    requests::{Asker, Sent},
    rooms::Picture,
};

impl Session {
    /// Takes in a frame. Answers go to whoever asked; everything else goes into the inbox.
    pub(crate) fn take(&mut self, frame: &[u8], now: Instant, inbox: &mut Inbox) -> Result<(), Error> {
        if self.encoding == rallypoint_protocol::Encoding::MsgPack && is_move(frame) {
            return self.take_move(frame, now, inbox);
        }
        let message = match ServerMessage::decode(self.encoding, frame) {
            Ok(message) => message,
            // A newer server may say things that this client does not know.
            Err(refused) if refused.code == ErrorCode::UnknownType => return Ok(()),
            Err(refused) => return Err(Error::undecodable(&refused)),
        };
        let shown = shows(&message).and_then(|room| self.rooms().shown_at(room));
        let is_new = shows(&message).is_some_and(|room| self.rooms().part(room).is_none());
        self.note(&message, frame.len(), now);
        let Some(re) = answers(&message) else { return self.unasked(message, is_new, inbox) };
        match self.requests.settle(re)? {
            Some(sent) => self.answered(sent, message, shown, now, inbox),
            None => {
                inbox.push_back(Incoming::Message(message));
                Ok(())
            }
        }
    }

    /// Keeps what a later resume has to say.
    fn note(&mut self, message: &ServerMessage, len: usize, now: Instant) {
        self.cause = None;
        match message {
            ServerMessage::Joined(joined) => {
                let picture = Picture { position: joined.position, caught_up: joined.missed.is_some() };
                self.rooms().joined(&joined.room, joined.handle, picture);
            }
            ServerMessage::Watching(watching) => {
                let picture = Picture { position: watching.position, caught_up: watching.missed.is_some() };
                self.rooms().watching(&watching.room, picture);
            }
            ServerMessage::PeerLeft(left) if left.peer.peer == self.connected.borrow().peer => {
                self.rooms().leave(&left.room);
            }
            ServerMessage::PeerLeft(event) => self.rooms().at(&event.room, event.position),
            ServerMessage::PeerJoined(event) => self.rooms().at(&event.room, event.position),
            ServerMessage::Message(event) => self.rooms().at(&event.room, event.position),
            ServerMessage::Event(event) => self.rooms().at(&event.room, event.position),
            ServerMessage::Presence(event) => self.rooms().at(&event.room, event.position),
            ServerMessage::NodeDown(event) => self.rooms().at(&event.room, event.position),
            ServerMessage::Notification(event) => self.notifications = event.position,
            ServerMessage::Reset(reset) if reset.room.is_reserved() => self.notifications = reset.position,
            ServerMessage::Reset(reset) => self.rooms().at(&reset.room, reset.position),
            ServerMessage::Reconnect(reconnect) => {
                self.after = Some(std::time::Duration::from_millis(reconnect.after_ms));
            }
            ServerMessage::Error(failed) if failed.re.is_none() => self.cause = Some(Box::new(failed.clone())),
            ServerMessage::Signal(_) => self.counted.add(len, now),
            ServerMessage::Moved(moved) if moved.reliable => self.counted.add(len, now),
            _ => {}
        }
    }

    /// What answers no request. `is_new`: it shows a room that was not known.
    fn unasked(&mut self, message: ServerMessage, is_new: bool, inbox: &mut Inbox) -> Result<(), Error> {
        match message {
            ServerMessage::Joined(_) | ServerMessage::Watching(_) => {
                let room = shows(&message).filter(|room| is_new && self.requests.is_entering(room)).cloned();
                let Some(room) = room else { return show(message, inbox) };
                self.early.insert(room, message);
            }
            ServerMessage::Moved(moved) => inbox.extend(self.moved(moved)),
            ServerMessage::Reset(reset) => inbox.push_back(Incoming::Reset(reset)),
            ServerMessage::Pong(pong) if self.moves.answered(pong.t.as_ref().and_then(serde_json::Number::as_u64)) => {}
            ServerMessage::Error(Failed { room: Some(room), re: None, code, .. })
                if self.rooms().is_hidden(&room) && code != ErrorCode::NotJoined =>
            {
                // Told on the way back, before the room was shown: it could not be entered. (That it is not joined is
                // told of a move that came after its sender had left.)
                self.out(&room, self.cause.clone(), inbox);
            }
            message => inbox.push_back(Incoming::Message(message)),
        }
        Ok(())
    }

    /// What answers a request. `shown` is where the room stood when this socket showed it, if it did before: a resume
    /// shows it, and then comes the answer to the `join` that was on its way when the last socket was lost.
    fn answered(
        &mut self,
        sent: Sent,
        mut message: ServerMessage,
        shown: Option<Position>,
        now: Instant,
        inbox: &mut Inbox,
    ) -> Result<(), Error> {
        self.moves.proved(sent.mark);
        match (&sent.request, &message) {
            (Request::Leave { room, .. } | Request::Unwatch { room, .. }, ServerMessage::Ok(_)) => {
                self.rooms().leave(room);
            }
            (Request::Watch { room, state, .. }, ServerMessage::Watching(_)) => self.rooms().rate(room, *state),
            (Request::Refresh { token, .. }, ServerMessage::Ok(_)) => self.access.renewed(token.clone(), now),
            _ => {}
        }
        if let (Some(shown), Some(missed)) = (shown, missed_in(&mut message)) {
            missed.retain(|event| !is_after(event, shown));
        }
        match (&sent.asker, message) {
            (Asker::Caller(_), message) => {
                let early = sent.request.room().and_then(|room| self.early.remove(room));
                let answer = match early {
                    Some(early) => as_shown(early, message),
                    None => message,
                };
                sent.reply(answer, self.clock.at(now));
            }
            (Asker::Look, _) => {
                let hidden = self.rooms().hidden();
                hidden.iter().for_each(|room| self.out(room, None, inbox));
            }
            (Asker::Client, ServerMessage::Error(failed)) => self.refused(&sent.request, failed, now, inbox),
            (Asker::Client, message) if shown.is_none() => return show(message, inbox),
            (Asker::Client, _) => {}
        }
        Ok(())
    }

    /// A request of the client's own did not work.
    fn refused(&mut self, request: &Request, failed: Failed, now: Instant, inbox: &mut Inbox) {
        match request {
            // The caller has gone out since, and is told so itself.
            Request::Join { room, .. } | Request::Watch { room, .. }
                if failed.code == ErrorCode::NotJoined && self.requests.is_leaving(room) =>
            {
                self.rooms().leave(room);
            }
            // Unless a restarted server has let us in by itself.
            Request::Join { room, .. } | Request::Watch { room, .. } if self.rooms().is_hidden(room) => {
                self.out(room, Some(Box::new(failed)), inbox);
            }
            Request::Refresh { .. } => self.access.postpone(now),
            _ => {}
        }
    }

    fn out(&self, room: &RoomName, why: Option<Box<Failed>>, inbox: &mut Inbox) {
        self.rooms().leave(room);
        inbox.push_back(Incoming::Out { room: room.clone(), why });
    }

    fn take_move(&mut self, frame: &[u8], now: Instant, inbox: &mut Inbox) -> Result<(), Error> {
        let ServerMove { lane, room: room_handle, from, key, seq, time, payload } = ServerMove::parse(frame)
            .map_err(|code| Error::Protocol(format!("a move cannot be read: {}", code.name())))?;
        if lane == Lane::Reliable {
            self.counted.add(frame.len(), now);
        }
        // Of a room that was just left, perhaps: there is nobody to whom it means anything.
        let Some(room) = self.rooms().name(room_handle).cloned() else { return Ok(()) };
        // A copy: a slice would keep the whole block alive that the socket was read into.
        let payload = Payload::MsgPack(bytes::Bytes::copy_from_slice(payload));
        inbox.push_back(Incoming::Move(Move { room, room_handle, from, key, seq, time, lane, payload }));
        Ok(())
    }

    fn moved(&self, moved: Moved) -> Option<Incoming> {
        let Moved { room, from, key, seq, time, reliable, data: payload } = moved;
        let lane = if reliable { Lane::Reliable } else { Lane::Latest };
        let room_handle = self.rooms().handle(&room)?;
        Some(Incoming::Move(Move { room, room_handle, from, key, seq, time, lane, payload }))
    }
}

/// Hands over a room that the server shows after a loss: first what was missed, as if it came live, then the room.
fn show(mut message: ServerMessage, inbox: &mut Inbox) -> Result<(), Error> {
    let missed = missed_in(&mut message).map(std::mem::take).unwrap_or_default();
    inbox.extend(missed_events(&missed)?.into_iter().map(Incoming::Message));
    match message {
        ServerMessage::Joined(joined) => inbox.push_back(Incoming::Joined(Joined { missed: None, ..joined })),
        ServerMessage::Watching(watching) => inbox.push_back(Incoming::Watching(Watching { missed: None, ..watching })),
        _ => {}
    }
    Ok(())
}

/// The answer to a request, as of the moment at which the room was shown: what came since then is in the inbox.
fn as_shown(early: ServerMessage, answer: ServerMessage) -> ServerMessage {
    match (early, answer) {
        (ServerMessage::Joined(early), ServerMessage::Joined(answer)) => {
            ServerMessage::Joined(Joined { re: answer.re, missed: answer.missed, ..early })
        }
        (ServerMessage::Watching(early), ServerMessage::Watching(answer)) => {
            ServerMessage::Watching(Watching { re: answer.re, missed: answer.missed, ..early })
        }
        (_, answer) => answer,
    }
}

/// The room that a message shows.
fn shows(message: &ServerMessage) -> Option<&RoomName> {
    match message {
        ServerMessage::Joined(joined) => Some(&joined.room),
        ServerMessage::Watching(watching) => Some(&watching.room),
        _ => None,
    }
}

/// The missed events that come with a room.
fn missed_in(message: &mut ServerMessage) -> Option<&mut Vec<Box<RawValue>>> {
    match message {
        ServerMessage::Joined(joined) => joined.missed.as_mut(),
        ServerMessage::Watching(watching) => watching.missed.as_mut(),
        _ => None,
    }
}

/// Whether an event stands behind a position of the same log.
fn is_after(event: &RawValue, position: Position) -> bool {
    #[derive(serde::Deserialize)]
    struct Stands {
        position: Position,
    }
    serde_json::from_str(event.get()).is_ok_and(|Stands { position: at }| at.seq > position.seq)
}

/// The id of the request that a message answers.
fn answers(message: &ServerMessage) -> Option<u64> {
    match message {
        ServerMessage::Ok(done) => Some(done.re),
        ServerMessage::Error(failed) => failed.re,
        ServerMessage::Joined(joined) => joined.re,
        ServerMessage::Watching(watching) => watching.re,
        ServerMessage::Members(members) => Some(members.re),
        ServerMessage::Pong(pong) => pong.re,
        _ => None,
    }
}
