//! A member of rooms: the Rust client, kept connected, and everything it sees recorded.
//!
//! This file is all that knows how that client comes back after a loss. What the member does in its rooms is in
//! [`play`](super::play).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rallypoint_client::{Client, Error, Events, Incoming, Options, missed_events};
use rallypoint_protocol::{ErrorCode, RoomName, ServerMessage, code::Action, server::Joined};
use tokio::{sync::watch, time::sleep};

use super::{
    notes::note,
    world::{Labels, Phase, Room, World},
};
use crate::history::{Came, ClientNo, LogNo, What, Why};

/// How long an answer may take before nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// What a member is in a room.
#[derive(Debug)]
enum Place {
    In,
    /// It has asked to come in; what comes from the room waits until the answer has told where the view begins.
    Entering(Vec<Incoming>),
    Out,
}

/// A member of rooms.
#[derive(Debug)]
pub struct Member {
    /// Its number in the record.
    pub no: ClientNo,
    /// Its user's own log.
    pub own: LogNo,
    /// The rooms that it is in.
    pub rooms: Vec<Room>,
    /// Numbers what it sends.
    pub labels: Labels,
    /// The run.
    pub world: Arc<World>,
    options: Options,
    places: Mutex<HashMap<RoomName, Place>>,
    client: watch::Sender<Option<Client>>,
}

impl Member {
    /// A member that has not connected yet.
    pub fn new(world: &Arc<World>, no: ClientNo, own: LogNo, rooms: Vec<Room>, options: Options) -> Arc<Self> {
        let places = rooms.iter().map(|room| (room.name.clone(), Place::In)).collect();
        let (labels, options) = (Labels::new(no), Options { timeout: PATIENCE, ..options });
        let (world, client) = (Arc::clone(world), watch::Sender::new(None));
        Arc::new(Self { no, own, rooms, labels, world, options, places: Mutex::new(places), client })
    }

    /// The client, once it is connected; `None` when the run is over.
    pub async fn client(&self) -> Option<Client> {
        let mut client = self.client.subscribe();
        let connected = async { client.wait_for(Option::is_some).await.ok().and_then(|client| client.clone()) };
        tokio::select! {
            client = connected => client,
            () = self.world.reached(Phase::Over) => None,
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<RoomName, Place>> {
        self.places.lock().expect("no holder of the places panics")
    }

    /// Whether it is a member of a room now.
    pub fn is_in(&self, room: &Room) -> bool {
        matches!(self.places().get(&room.name), Some(Place::In))
    }

    /// Keeps the member connected until the run is over, and records what comes.
    pub async fn keep(self: Arc<Self>) {
        let mut first = true;
        while !self.world.is(Phase::Over) {
            match self.enter(first).await {
                Ok((client, events)) => {
                    first = false;
                    self.client.send_replace(Some(client.clone()));
                    if self.listen(events, &client).await {
                        break;
                    }
                    self.client.send_replace(None);
                    self.put(What::Away);
                }
                Err(error) => {
                    if error.action() == Some(Action::Stop) {
                        self.put(What::Stopped { code: error.close_code().unwrap_or_default() });
                        return;
                    }
                    // Cut on the way in, or the server is being started.
                    sleep(PAUSE).await;
                }
            }
        }
        self.put(What::Left);
    }

    fn put(&self, what: What) {
        self.world.recorder.put(self.no, what);
    }

    /// A new session, with the rooms joined where their views stand.
    async fn enter(&self, first: bool) -> Result<(Client, Events), Error> {
        let recorder = &self.world.recorder;
        let notifications_since = recorder.position(self.no, self.own);
        let options = Options { notifications_since, ..self.options.clone() };
        let (client, events) = Client::connect(options).await?;
        let connected = client.connected();
        recorder.opened(self.no, connected.peer, Came::New, connected.time.0);
        if first {
            recorder.stands(self.no, self.own, connected.notifications, Why::New);
        }
        for room in &self.rooms {
            if self.is_in(room) {
                let since = recorder.position(self.no, room.log);
                match client.join(&room.name, since).await {
                    Ok(joined) => {
                        let places = self.places();
                        // It may be leaving by now, and then sees nothing of the room any more.
                        if matches!(places.get(&room.name), Some(Place::In)) {
                            self.shown(room, &joined, since.is_some());
                        }
                    }
                    Err(error) => {
                        // A session is there, and it is gone.
                        self.put(What::Away);
                        return Err(error);
                    }
                }
            }
        }
        self.world.directory.set(self.no, client.peer());
        Ok((client, events))
    }

    /// The answer to a join: what was missed, or that a reset follows.
    fn shown(&self, room: &Room, joined: &Joined, asked: bool) {
        match &joined.missed {
            Some(missed) => {
                for message in missed_events(missed).unwrap_or_default() {
                    note(&self.world.recorder, self.no, self.own, &message);
                }
                self.world.recorder.stands(self.no, room.log, joined.position, Why::Caught);
            }
            None if asked => {}
            None => self.world.recorder.stands(self.no, room.log, joined.position, Why::New),
        }
    }

    /// Records until the connection ends; whether the run is over.
    async fn listen(&self, mut events: Events, client: &Client) -> bool {
        loop {
            let incoming = tokio::select! {
                incoming = events.recv() => incoming,
                () = self.world.reached(Phase::Over) => {
                    _ = client.close().await;
                    return true;
                }
            };
            match incoming {
                Some(Incoming::Closed { code, .. }) => {
                    if let Some(code) = code.filter(|&code| Action::of_number(code) == Action::Stop) {
                        self.put(What::Stopped { code });
                    }
                    return false;
                }
                Some(incoming) => self.take(incoming),
                None => return false,
            }
        }
    }

    fn take(&self, incoming: Incoming) {
        let room = match &incoming {
            Incoming::Message(message) => room_of(message).cloned(),
            Incoming::Move(moved) => Some(moved.room.clone()),
            Incoming::Closed { .. } => None,
        };
        let mut places = self.places();
        match room.and_then(|room| places.get_mut(&room)) {
            Some(Place::Out) => {}
            Some(Place::Entering(held)) => held.push(incoming),
            // Under the lock, so that nothing is recorded of a room that is being left at this moment.
            Some(Place::In) | None => self.record(&incoming),
        }
    }

    fn record(&self, incoming: &Incoming) {
        let recorder = &self.world.recorder;
        match incoming {
            Incoming::Message(message) => note(recorder, self.no, self.own, message),
            Incoming::Move(moved) => {
                let from = moved.payload.read::<serde_json::Value>().ok().and_then(|value| value["from"].as_u64());
                if let Some(from) = from.and_then(|from| u16::try_from(from).ok()).map(ClientNo) {
                    let room = recorder.log(moved.room.as_str());
                    let (lane, key, seq, handle) = (moved.lane, moved.key, moved.seq, moved.from);
                    self.put(What::Moved { room, from, handle, lane, key, seq });
                }
            }
            Incoming::Closed { .. } => {}
        }
    }

    /// Leaves a room, however often it has to be asked.
    pub async fn leave(&self, room: &Room) {
        {
            let mut places = self.places();
            self.put(What::Unfollows { log: room.log });
            places.insert(room.name.clone(), Place::Out);
        }
        while let Some(client) = self.client().await {
            match client.leave(&room.name).await {
                Ok(()) => return,
                Err(Error::Refused(failed)) if failed.code == ErrorCode::NotJoined => return,
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Comes into a room again, as if for the first time.
    pub async fn join(&self, room: &Room) {
        self.places().insert(room.name.clone(), Place::Entering(Vec::new()));
        while let Some(client) = self.client().await {
            match client.join(&room.name, None).await {
                Ok(joined) => {
                    let mut places = self.places();
                    self.world.recorder.stands(self.no, room.log, joined.position, Why::New);
                    if let Some(Place::Entering(held)) = places.insert(room.name.clone(), Place::In) {
                        for incoming in held.iter().filter(|incoming| is_after(incoming, &joined)) {
                            self.record(incoming);
                        }
                    }
                    return;
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

/// Whether something belongs to the new membership: events of the last one may still be on their way to the record.
fn is_after(incoming: &Incoming, joined: &Joined) -> bool {
    match incoming {
        Incoming::Message(message) => match super::notes::event_of(message) {
            Some((_, position, _)) => position.epoch == joined.position.epoch && position.seq > joined.position.seq,
            None => true,
        },
        _ => true,
    }
}

fn room_of(message: &ServerMessage) -> Option<&RoomName> {
    match message {
        ServerMessage::PeerJoined(event) => Some(&event.room),
        ServerMessage::PeerLeft(event) => Some(&event.room),
        ServerMessage::Message(event) => Some(&event.room),
        ServerMessage::Event(event) => Some(&event.room),
        ServerMessage::Presence(event) => Some(&event.room),
        ServerMessage::Signal(signal) => Some(&signal.room),
        ServerMessage::Reset(reset) => Some(&reset.room),
        _ => None,
    }
}
