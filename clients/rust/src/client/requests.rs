//! The requests: what the server answers, each once and in the order in which they were made.

use rallypoint_protocol::{
    Kind, PeerId, Position, Request, RoomName, ServerMessage,
    event::Millis,
    request::{HANDLES_MAX, SignalKind},
    server::{Joined, Members, Watching},
};
use serde::Serialize;
use serde_json::{Number, value::to_raw_value};
use tokio::sync::oneshot;

use super::{Client, Pong};
use crate::{error::Error, handles::Command, requests::Answer};

impl Client {
    /// Becomes a member of a room. With `since`, the answer's `missed` has the events after that
    /// position ([`missed_events`](crate::missed_events) reads them), or a `reset` follows.
    pub async fn join(&self, room: &RoomName, since: Option<Position>) -> Result<Joined, Error> {
        let room = room.clone();
        match self.request(move |id, _| Request::Join { id, room, since }).await?.message {
            ServerMessage::Joined(joined) => Ok(joined),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops being a member.
    pub async fn leave(&self, room: &RoomName) -> Result<(), Error> {
        let room = room.clone();
        self.done(move |id| Request::Leave { id, room }).await.map(drop)
    }

    /// Sends an offer, answer or candidate to one member. `()` or any other value that is null
    /// as data of a candidate ends the candidates.
    pub async fn signal(
        &self,
        room: &RoomName,
        to: PeerId,
        kind: SignalKind,
        data: &impl Serialize,
    ) -> Result<(), Error> {
        let (room, data) = (room.clone(), self.payload(data)?);
        self.done(move |id| Request::Signal { id, room, to, kind, data }).await.map(drop)
    }

    /// Says something to the room; the position is that of the event, which comes to the sender too.
    pub async fn say(&self, room: &RoomName, text: impl Into<String>) -> Result<Position, Error> {
        let (room, text) = (room.clone(), text.into());
        self.placed(move |id| Request::Message { id, room, text }).await
    }

    /// Publishes an event of the application's own kind; the sender gets it too.
    pub async fn publish(&self, room: &RoomName, kind: &Kind, data: &impl Serialize) -> Result<Position, Error> {
        let (room, kind) = (room.clone(), kind.clone());
        let data = to_raw_value(data).map_err(|error| Error::Encode(error.to_string()))?;
        self.placed(move |id| Request::Publish { id, room, kind, data }).await
    }

    /// Replaces the own public state in a room; `state` must be a map.
    pub async fn update(&self, room: &RoomName, state: &impl Serialize) -> Result<(), Error> {
        let room = room.clone();
        let state = to_raw_value(state).map_err(|error| Error::Encode(error.to_string()))?;
        self.done(move |id| Request::Update { id, room, state }).await.map(drop)
    }

    /// Reads one page of the roster: `limit` (1 to 500) entries behind the peer `after`.
    pub async fn members(&self, room: &RoomName, after: Option<PeerId>, limit: usize) -> Result<Members, Error> {
        self.roster(room, after, limit, None).await
    }

    /// Reads the entries with these handles, at most 100, for moves whose senders are unknown.
    pub async fn members_with(&self, room: &RoomName, handles: Vec<u32>) -> Result<Members, Error> {
        self.roster(room, None, HANDLES_MAX, Some(handles)).await
    }

    async fn roster(
        &self,
        room: &RoomName,
        after: Option<PeerId>,
        limit: usize,
        handles: Option<Vec<u32>>,
    ) -> Result<Members, Error> {
        let room = room.clone();
        match self.request(move |id, _| Request::Members { id, room, after, limit, handles }).await?.message {
            ServerMessage::Members(members) => Ok(members),
            other => Err(unexpected(&other)),
        }
    }

    /// Follows a room without being a member; `state` asks for its latest moves, at most so many
    /// times a second.
    pub async fn watch(&self, room: &RoomName, since: Option<Position>, state: Option<f64>) -> Result<Watching, Error> {
        let room = room.clone();
        match self.request(move |id, _| Request::Watch { id, room, since, state }).await?.message {
            ServerMessage::Watching(watching) => Ok(watching),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops following.
    pub async fn unwatch(&self, room: &RoomName) -> Result<(), Error> {
        let room = room.clone();
        self.done(move |id| Request::Unwatch { id, room }).await.map(drop)
    }

    /// Replaces the access token of this session by a newer one of the same user.
    pub async fn refresh(&self, token: impl Into<String>) -> Result<(), Error> {
        let token = token.into();
        self.done(move |id| Request::Refresh { id, token }).await.map(drop)
    }

    /// Measures the way to the server and compares the clocks.
    pub async fn ping(&self) -> Result<Pong, Error> {
        let answer = self.request(|id, now| Request::Ping { id: Some(id), t: Number::from_f64(now.0) }).await?;
        let ServerMessage::Pong(pong) = answer.message else { return Err(unexpected(&answer.message)) };
        let (rtt, offset) = answer.timing.compare(pong.received, pong.sent);
        Ok(Pong { rtt, offset, received: pong.received, sent: pong.sent })
    }

    async fn request(&self, make: impl FnOnce(u64, Millis) -> Request + Send + 'static) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.command(Command::Request { make: Box::new(make), reply }).await?;
            answer.await.map_err(|_| self.ended())?
        };
        let answer = tokio::time::timeout(self.shared.timeout, exchange).await.map_err(|_| Error::Timeout)??;
        match answer.message {
            ServerMessage::Error(failed) => Err(Error::Refused(failed)),
            _ => Ok(answer),
        }
    }

    async fn done(&self, make: impl FnOnce(u64) -> Request + Send + 'static) -> Result<Option<Position>, Error> {
        match self.request(|id, _| make(id)).await?.message {
            ServerMessage::Ok(done) => Ok(done.position),
            other => Err(unexpected(&other)),
        }
    }

    async fn placed(&self, make: impl FnOnce(u64) -> Request + Send + 'static) -> Result<Position, Error> {
        self.done(make).await?.ok_or_else(|| Error::Protocol("the answer has no position".to_owned()))
    }
}

fn unexpected(message: &ServerMessage) -> Error {
    Error::Protocol(format!("{} is not the answer to this request", message.name()))
}
