//! A spectator on a raw WebSocket, which resumes by hand: a second reading of the protocol beside the Rust client.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use rallypoint_client::{Credential, Error, Options, Socket, handshake, missed_events, tungstenite::Message};
use rallypoint_protocol::{
    Encoding, Position, Request, ServerMessage,
    code::Action,
    request::Resume,
    server::{Connected, Watching},
};
use tokio::time::{sleep, timeout};

use super::{
    notes::note,
    world::{Phase, Room, World},
};
use crate::history::{Came, ClientNo, LogNo, What, Why};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// Without a frame for so long, pings included, the connection is dead.
const SILENCE: Duration = Duration::from_secs(5);

/// A spectator.
#[derive(Debug)]
pub struct Watcher {
    /// Its number in the record.
    pub no: ClientNo,
    /// Where it connects.
    pub door: SocketAddr,
    /// The run.
    pub world: Arc<World>,
    /// Its token.
    pub token: String,
    /// How it speaks.
    pub encoding: Encoding,
    /// Its user's own log.
    pub own: LogNo,
    /// What it watches.
    pub rooms: Vec<Room>,
    /// The last `connected`.
    last: Option<Connected>,
}

/// What a connection ended with.
enum End {
    /// Come back.
    Lost,
    /// The session cannot be resumed.
    Gone,
    /// Told to stop.
    Stopped(u16),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl Watcher {
    /// The spectator of this number, which has not connected yet.
    pub fn new(
        world: &Arc<World>,
        no: ClientNo,
        n: usize,
        own: LogNo,
        rooms: Vec<Room>,
        token: String,
        encoding: Encoding,
    ) -> Self {
        Self { no, door: world.door(n), world: Arc::clone(world), token, encoding, own, rooms, last: None }
    }

    fn put(&self, what: What) {
        self.world.recorder.put(self.no, what);
    }

    /// Keeps watching until the run is over.
    pub async fn keep(mut self) {
        let world = Arc::clone(&self.world);
        loop {
            let mut there = false;
            let end = tokio::select! {
                Err(end) = self.connection(&mut there) => end,
                () = world.reached(Phase::Over) => return self.put(What::Left),
            };
            if there {
                self.put(What::Away);
            }
            match end {
                End::Lost => {}
                End::Gone => self.forget(),
                End::Stopped(code) => return self.put(What::Stopped { code }),
            }
            sleep(PAUSE).await;
        }
    }

    /// The next session is a new one.
    fn forget(&mut self) {
        if let Some(connected) = &mut self.last {
            connected.resume = None;
        }
    }

    fn position(&self, log: LogNo) -> Option<Position> {
        self.world.recorder.position(self.no, log)
    }

    /// One connection, from the handshake to its end, which is always an `Err`.
    async fn connection(&mut self, there: &mut bool) -> Result<std::convert::Infallible, End> {
        let url = format!("http://{}", self.door);
        let options = Options { encoding: self.encoding, credential: Credential::None, ..Options::new(url, "") };
        let opening = timeout(SILENCE, handshake(&options)).await.map_err(|_| End::Lost)?;
        let mut socket = opening.map_err(|error| match error {
            Error::Handshake { .. } | Error::Io(_) | Error::Protocol(_) => End::Lost,
            _ => End::Gone,
        })?;
        let notifications_since = self.position(self.own);
        let resume = self.last.as_ref().and_then(|connected| connected.resume.clone());
        let first = match &resume {
            Some(token) => Request::Resume(Box::new(self.resume(token.clone(), notifications_since))),
            None => Request::Auth { token: self.token.clone(), notifications_since },
        };
        self.send(&mut socket, &first).await;
        let connected = loop {
            match self.receive(&mut socket).await? {
                ServerMessage::Connected(connected) => break connected,
                _ => continue,
            }
        };
        *there = true;
        self.came(&connected, resume.is_some());
        let resumed = connected.resumed;
        let known = resume.is_some() && self.last.as_ref().is_some_and(|last| last.session == connected.session);
        self.last = Some(connected);
        if !known {
            for (id, room) in (1..).zip(&self.rooms) {
                let since = self.position(room.log);
                self.send(&mut socket, &Request::Watch { id, room: room.name.clone(), since, state: None }).await;
            }
        }
        loop {
            let message = self.receive(&mut socket).await?;
            match &message {
                ServerMessage::Watching(watching) => self.watching(watching, resumed || !known),
                message => note(&self.world.recorder, self.no, self.own, message),
            }
        }
    }

    fn resume(&self, token: String, notifications_since: Option<Position>) -> Resume {
        let positions = self.rooms.iter().filter_map(|room| Some((room.name.clone(), self.position(room.log)?)));
        let positions: BTreeMap<_, _> = positions.collect();
        // A spectator gets no signals and no moves, so nothing is ever counted.
        let watched = positions.keys().cloned().collect();
        Resume { token, received: 0, positions, watched, jwt: Some(self.token.clone()), notifications_since }
    }

    fn came(&self, connected: &Connected, asked: bool) {
        let same = asked && self.last.as_ref().is_some_and(|last| last.session == connected.session);
        let came = match (same, connected.resumed) {
            (true, true) => Came::Resumed,
            (true, false) => Came::Restored,
            (false, _) => Came::New,
        };
        self.world.recorder.opened(self.no, connected.peer, came, connected.time.0);
        if self.position(self.own).is_none() {
            self.world.recorder.stands(self.no, self.own, connected.notifications, Why::New);
        }
    }

    /// `whole`: nothing was lost, so that without `missed` the view is a new one or a reset follows.
    fn watching(&self, watching: &Watching, whole: bool) {
        let log = self.world.recorder.log(watching.room.as_str());
        match &watching.missed {
            Some(missed) => {
                for message in missed_events(missed).unwrap_or_default() {
                    note(&self.world.recorder, self.no, self.own, &message);
                }
                self.world.recorder.stands(self.no, log, watching.position, Why::Caught);
            }
            None if whole && self.position(log).is_none() => {
                self.world.recorder.stands(self.no, log, watching.position, Why::New);
            }
            // A reset follows.
            None => {}
        }
    }

    /// A socket that takes nothing more is not the end: what the server said before it closed is still to be read, all of it
    /// and by whoever records it.
    async fn send(&self, socket: &mut Socket, request: &Request) {
        let bytes = request.encode(self.encoding);
        let frame = match self.encoding {
            Encoding::Json => Message::text(String::from_utf8(bytes).unwrap_or_default()),
            Encoding::MsgPack => Message::binary(bytes),
        };
        _ = timeout(SILENCE, socket.send(frame)).await;
    }

    /// The next message of the server.
    async fn receive(&self, socket: &mut Socket) -> Result<ServerMessage, End> {
        loop {
            let frame = timeout(SILENCE, socket.next()).await.map_err(|_| End::Lost)?;
            let bytes = match frame.ok_or(End::Lost)?.map_err(|_| End::Lost)? {
                Message::Text(text) => text.as_bytes().to_vec(),
                Message::Binary(bytes) => bytes.to_vec(),
                Message::Close(frame) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    return Err(match Action::of_number(code) {
                        Action::Stop => End::Stopped(code),
                        Action::Rejoin => End::Gone,
                        _ => End::Lost,
                    });
                }
                _ => continue,
            };
            match ServerMessage::decode(self.encoding, &bytes) {
                Ok(message) => return Ok(message),
                // A message that a newer server sends, or a move, which a spectator never gets.
                Err(_) => continue,
            }
        }
    }
}
