//! A member of rooms: the Rust client, kept connected, and everything it sees recorded.
//!
//! This file is all that knows how that client comes back after a loss. What the member does in its rooms is in
//! [`play`](super::play).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rallypoint_client::{Client, Error, Events, Incoming, Options};
use rallypoint_protocol::{
    ErrorCode, PeerId, RoomName, ServerMessage,
    code::Action,
    moves::Lane,
    server::{Joined, LatestMove},
};
use tokio::{sync::watch, time::sleep};

use super::{
    notes::note,
    world::{Labels, Phase, Room, World},
};
use crate::history::{Came, ClientNo, LogNo, What, Why, unix_ms};

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
    /// Who it is now, in which session, and how it came last.
    came: Mutex<(PeerId, String, Came)>,
    /// The newest latest move seen, by room, sender and key.
    newest: Mutex<HashMap<(LogNo, ClientNo, u16), u32>>,
}

impl Member {
    /// A member that has not connected yet.
    pub fn new(world: &Arc<World>, no: ClientNo, own: LogNo, rooms: Vec<Room>, options: Options) -> Arc<Self> {
        let places = rooms.iter().map(|room| (room.name.clone(), Place::Out)).collect();
        let (labels, options) = (Labels::new(no), Options { timeout: PATIENCE, ..options });
        let (world, client) = (Arc::clone(world), watch::Sender::new(None));
        let came = Mutex::new((PeerId::random(), String::new(), Came::New));
        Arc::new(Self {
            no,
            own,
            rooms,
            labels,
            world,
            options,
            places: Mutex::new(places),
            client,
            came,
            newest: Mutex::default(),
        })
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
        let connecting = async {
            loop {
                match Client::connect(self.options.clone()).await {
                    Ok(there) => return Some(there),
                    Err(error) if error.action() == Some(Action::Stop) => {
                        self.put(What::Stopped { code: error.close_code().unwrap_or_default() });
                        return None;
                    }
                    // Cut on the way in, or the server is being started.
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        let there = tokio::select! {
            there = connecting => there,
            () = self.world.reached(Phase::Over) => None,
        };
        let Some((client, events)) = there else { return };
        let (peer, connected) = (client.peer(), client.connected());
        self.came(peer, &connected.session, Came::New, connected.time.0);
        self.world.recorder.stands(self.no, self.own, connected.notifications, Why::New);
        self.client.send_replace(Some(client.clone()));
        let joining = async {
            for room in &self.rooms {
                self.join(room).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = self.listen(events) => {}
            () = joining => {}
            () = self.world.reached(Phase::Over) => {
                _ = client.close().await;
                self.put(What::Left);
            }
        }
    }

    fn put(&self, what: What) {
        self.world.recorder.put(self.no, what);
    }

    fn came(&self, peer: PeerId, session: &str, came: Came, time: f64) {
        self.world.recorder.opened(self.no, peer, came, time);
        self.world.directory.set(self.no, peer);
        *self.came.lock().expect("no holder panics") = (peer, session.to_owned(), came);
    }

    /// Records until the connection ends for good.
    async fn listen(&self, mut events: Events) {
        while let Some(incoming) = events.recv().await {
            match incoming {
                Incoming::Away { .. } => self.put(What::Away),
                Incoming::Back { resumed, peer } => {
                    let (before, last, _) = self.came.lock().expect("no holder panics").clone();
                    let session = self.session();
                    let came = match (peer == before, resumed) {
                        (true, true) => Came::Resumed,
                        (true, false) if session == last => Came::Restored,
                        (true, false) => Came::Moved,
                        (false, _) => Came::New,
                    };
                    if came != Came::Resumed {
                        self.forget_held();
                    }
                    self.came(peer, &session, came, unix_ms());
                }
                // It comes back from everything that does not tell it to stop.
                Incoming::Closed { code, reason } => {
                    println!("client {} is closed: {code:?} {reason}", self.no.0);
                    self.put(What::Stopped { code: code.unwrap_or_default() });
                }
                incoming => self.take(incoming),
            }
        }
    }

    fn session(&self) -> String {
        self.client.borrow().as_ref().map(|client| client.connected().session.clone()).unwrap_or_default()
    }

    /// What waits for the answer to a join came in a membership that may be none any more, with other handles perhaps.
    fn forget_held(&self) {
        for place in self.places().values_mut() {
            if let Place::Entering(held) = place {
                held.clear();
            }
        }
    }

    fn take(&self, incoming: Incoming) {
        let room = match &incoming {
            Incoming::Message(message) => room_of(message).cloned(),
            Incoming::Move(moved) => Some(moved.room.clone()),
            Incoming::Reset(reset) => Some(reset.room.clone()),
            Incoming::Joined(joined) => Some(joined.room.clone()),
            Incoming::Out { room, .. } => Some(room.clone()),
            _ => None,
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
                if let Some(from) = moved.payload.read().ok().and_then(|value| sender(&value)) {
                    let room = recorder.log(moved.room.as_str());
                    let (lane, key, seq, handle) = (moved.lane, moved.key, moved.seq, moved.from);
                    if lane == Lane::Latest {
                        self.newest().insert((room, from, key), seq);
                    }
                    self.put(What::Moved { room, from, handle, lane, key, seq });
                }
            }
            Incoming::Reset(reset) => {
                let log = recorder.log(reset.room.as_str());
                recorder.stands(self.no, log, reset.position, Why::Reset(reset.reason));
                self.state(&reset.room, &reset.state);
            }
            Incoming::Joined(joined) => self.shown(joined),
            // Nobody has asked it to leave.
            Incoming::Out { why, .. } => {
                self.put(What::Stopped { code: why.as_ref().map_or(0, |failed| failed.code.number()) });
            }
            _ => {}
        }
    }

    fn newest(&self) -> MutexGuard<'_, HashMap<(LogNo, ClientNo, u16), u32>> {
        self.newest.lock().expect("no holder of the newest moves panics")
    }

    /// The latest moves that a picture of a room shows: those that are news came with it.
    fn state(&self, room: &RoomName, state: &[LatestMove<u32>]) {
        let room = self.world.recorder.log(room.as_str());
        for LatestMove { from: handle, key, seq, data, .. } in state {
            let value = serde_json::from_str(data.get()).unwrap_or_default();
            let Some(from) = sender(&value) else { continue };
            // A picture that was taken in late does not make news of what came live meanwhile.
            let known = self.newest().get(&(room, from, *key)).copied();
            if known.is_none_or(|known| known < *seq) {
                self.newest().insert((room, from, *key), *seq);
                self.put(What::Moved { room, from, handle: *handle, lane: Lane::Latest, key: *key, seq: *seq });
            }
        }
    }

    /// A room after a return. What was missed came before; where that was impossible, a reset follows and is the record.
    fn shown(&self, joined: &Joined) {
        let log = self.world.recorder.log(joined.room.as_str());
        let (_, _, came) = *self.came.lock().expect("no holder panics");
        // A new membership begins with an event that its own member is not shown.
        let own = u64::from(came == Came::New);
        let caught = self.world.recorder.position(self.no, log).is_some_and(|view| {
            view == joined.position || view.epoch == joined.position.epoch && view.seq + own == joined.position.seq
        });
        if caught && came != Came::Restored {
            self.world.recorder.stands(self.no, log, joined.position, Why::Caught);
        }
        self.state(&joined.room, &joined.state);
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
                    self.state(&room.name, &joined.state);
                    return;
                }
                // The answer to an earlier attempt did not come in time.
                Err(Error::Refused(failed)) if failed.code == ErrorCode::AlreadyJoined => {
                    _ = client.leave(&room.name).await;
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

/// Who says to have sent a move.
fn sender(payload: &serde_json::Value) -> Option<ClientNo> {
    payload["from"].as_u64().and_then(|from| u16::try_from(from).ok()).map(ClientNo)
}

/// Whether something belongs to the new membership: events of the last one may still be on their way to the record.
fn is_after(incoming: &Incoming, joined: &Joined) -> bool {
    match incoming {
        Incoming::Message(message) => match super::notes::event_of(message) {
            Some((_, position, _)) => position.epoch == joined.position.epoch && position.seq > joined.position.seq,
            None => true,
        },
        // Of an earlier return, in which the room was shown while the answer was still on its way.
        Incoming::Reset(reset) => {
            reset.position.epoch == joined.position.epoch && reset.position.seq > joined.position.seq
        }
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
        ServerMessage::NodeDown(event) => Some(&event.room),
        ServerMessage::Signal(signal) => Some(&signal.room),
        _ => None,
    }
}
