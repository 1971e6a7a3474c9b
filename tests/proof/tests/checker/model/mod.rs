//! Correct histories: a server and its clients as one value that takes random steps, and notes what it does.
//!
//! The server keeps every promise of the protocol, and uses every liberty that the protocol leaves it: it loses
//! sockets, answers and sessions, resets rooms, and is started anew.

mod faults;

use std::collections::{HashMap, VecDeque};

use rallypoint_proof::{
    history::{Came, ClientNo, ContentNo, History, Label, LogNo, Outcome, PeerNo, Role, What, Why},
    seed::Seed,
};
use rallypoint_protocol::{PeerId, Position, moves::Lane};

const ROOMS: usize = 2;
const MEMBERS: usize = 4;

/// A log on the server.
struct Log {
    no: LogNo,
    position: Position,
    events: Vec<(Position, ContentNo)>,
}

/// What waits on the server for a client, in order.
#[derive(Clone, Copy)]
enum Item {
    Event(usize, Position, ContentNo),
    Signal(usize, Label),
    Moved { room: usize, from: ClientNo, handle: u32, lane: Lane, key: u16, seq: u32 },
}

/// A client and what the server has of it.
struct Guest {
    client: ClientNo,
    role: Role,
    peer: Option<PeerNo>,
    up: bool,
    /// Where its views stand, by log; a log that is not here is not followed.
    views: HashMap<usize, Position>,
    handles: HashMap<usize, u32>,
    /// What waits for it.
    down: VecDeque<Item>,
    /// Moves that it has sent and the server has not taken.
    sent: VecDeque<(usize, Lane, u16, u32)>,
    last_seq: u32,
}

/// The world.
pub(crate) struct Model {
    seed: Seed,
    history: History,
    run: ClientNo,
    at: u32,
    logs: Vec<Log>,
    guests: Vec<Guest>,
    backend: ClientNo,
    labels: u32,
    next_handle: u32,
    /// Published with a lost answer: done again if the server forgets it.
    unanswered: Option<(usize, Label)>,
}

impl Model {
    /// A correct history of so many steps.
    pub(crate) fn history(seed: u64, steps: usize) -> History {
        let mut model = Self::begin(seed);
        for _ in 0..steps {
            model.step();
        }
        model.end()
    }

    fn begin(seed: u64) -> Self {
        let mut history = History::default();
        let run = history.client("run", Role::Run);
        let backend = history.client("backend", Role::Backend);
        let mut seed = Seed::new(seed);
        let names = (0..ROOMS).map(|n| format!("room/{n}")).chain((0..MEMBERS).map(|n| format!("user/u{n}")));
        let logs = names.map(|name| Log {
            no: history.logs.no(name.as_bytes()),
            position: Position::start(seed.draw()),
            events: Vec::new(),
        });
        let logs = logs.collect();
        let (guests, labels, next_handle, unanswered) = (Vec::new(), 0, 0, None);
        let mut model = Self { seed, history, run, at: 0, logs, guests, backend, labels, next_handle, unanswered };
        model.note(run, What::Started { unix_ms: model.now() });
        let roles = [Role::Member; MEMBERS].into_iter().chain([Role::Watcher, Role::Stream, Role::Poll]);
        for (n, role) in roles.enumerate() {
            model.enter(n, role);
        }
        model
    }

    fn now(&self) -> f64 {
        1e12 + f64::from(self.at)
    }

    fn note(&mut self, client: ClientNo, what: What) {
        self.history.put(self.at, client, what);
    }

    fn enter(&mut self, n: usize, role: Role) {
        let client = self.history.client(&format!("{}-{n}", role.name()), role);
        let own = (n < MEMBERS).then_some(ROOMS + n);
        let (views, handles, down, sent) = (HashMap::new(), HashMap::new(), VecDeque::new(), VecDeque::new());
        self.guests.push(Guest { client, role, peer: None, up: true, views, handles, down, sent, last_seq: 0 });
        self.open(n, Came::New);
        for log in own.into_iter().chain(0..ROOMS) {
            self.follow(n, log);
        }
    }

    fn open(&mut self, n: usize, came: Came) {
        let feed = matches!(self.guests[n].role, Role::Stream | Role::Poll);
        if came == Came::New && !feed {
            let id = format!("00000000-0000-4000-8000-{:012x}", self.seed.draw() >> 16);
            assert!(PeerId::parse(&id).is_ok());
            self.guests[n].peer = Some(self.history.peers.no(id.as_bytes()));
        }
        self.guests[n].up = true;
        let (client, peer, time) = (self.guests[n].client, self.guests[n].peer, self.now());
        self.note(client, What::Opened { peer, came, time });
    }

    /// Begins a view at the head; a member joins.
    fn follow(&mut self, n: usize, log: usize) {
        self.join(n, log);
        self.stand(n, log, Why::New);
    }

    fn stand(&mut self, n: usize, log: usize, why: Why) {
        let (no, position) = (self.logs[log].no, self.logs[log].position);
        self.guests[n].views.insert(log, position);
        let client = self.guests[n].client;
        self.note(client, What::Stands { log: no, position, why });
    }

    fn join(&mut self, n: usize, log: usize) {
        if self.guests[n].role == Role::Member && log < ROOMS {
            self.next_handle += 1;
            self.guests[n].handles.insert(log, self.next_handle);
            let bytes = self.presence(n, r#""kind":"peer-joined""#, "");
            self.append(log, &bytes, Some(n));
        }
    }

    fn presence(&self, n: usize, kind: &str, more: &str) -> String {
        let peer = self.history.peers.text(self.guests[n].peer.expect("a member is a peer"));
        format!(r#"{{{kind},"time":{},"data":{{"peer":{{"peer":"{peer}","user":"u{n}"}}{more}}}}}"#, self.now())
    }

    /// Appends an event and puts it on the way to everybody who is there.
    fn append(&mut self, log: usize, bytes: &str, but: Option<usize>) -> Position {
        let content = self.history.contents.no(bytes.as_bytes());
        let position = self.logs[log].position.next(bytes.as_bytes());
        self.logs[log].position = position;
        self.logs[log].events.push((position, content));
        for (n, guest) in self.guests.iter_mut().enumerate() {
            if but != Some(n) && guest.up && guest.views.contains_key(&log) {
                guest.down.push_back(Item::Event(log, position, content));
            }
        }
        position
    }

    fn step(&mut self) {
        self.at += 1;
        let n = self.seed.index(self.guests.len());
        match self.seed.below(1000) {
            0..500 => self.deliver(n),
            500..620 => self.take(n),
            620..720 => self.publish(),
            720..790 => self.signal(),
            790..910 => self.send_move(n),
            910..940 => self.lose(n),
            940..985 => self.come_back(n),
            985..993 => self.leave_or_join(n),
            993..996 => self.reset(n),
            _ => {
                if self.seed.percent(25) {
                    self.restart();
                }
            }
        }
    }

    fn deliver(&mut self, n: usize) {
        if !self.guests[n].up {
            return;
        }
        let Some(item) = self.guests[n].down.pop_front() else { return };
        let client = self.guests[n].client;
        match item {
            Item::Event(log, position, content) => {
                let no = self.logs[log].no;
                self.guests[n].views.insert(log, position);
                self.note(client, What::Event { log: no, position, content });
            }
            Item::Signal(room, label) => {
                let room = self.logs[room].no;
                self.note(client, What::Signal { room, label });
            }
            Item::Moved { room, from, handle, lane, key, seq } => {
                let room = self.logs[room].no;
                self.note(client, What::Moved { room, from, handle, lane, key, seq });
            }
        }
    }

    /// The server takes a move.
    fn take(&mut self, n: usize) {
        if !self.guests[n].up {
            return;
        }
        let Some((room, lane, key, seq)) = self.guests[n].sent.pop_front() else { return };
        let (from, handle) = (self.guests[n].client, self.guests[n].handles.get(&room).copied());
        let Some(handle) = handle else { return };
        for (to, guest) in self.guests.iter_mut().enumerate() {
            let counted = lane == Lane::Reliable;
            if to != n && guest.handles.contains_key(&room) && (guest.up || counted) {
                guest.down.push_back(Item::Moved { room, from, handle, lane, key, seq });
            }
        }
    }

    fn label(&mut self, client: ClientNo) -> Label {
        self.labels += 1;
        Label { client, number: self.labels }
    }

    fn publish(&mut self) {
        let members: Vec<_> = (0..MEMBERS).filter(|&n| self.guests[n].handles.contains_key(&0)).collect();
        let by_member = self.seed.percent(50) && !members.is_empty();
        let (client, log) = if by_member {
            (self.guests[*self.seed.pick(&members)].client, 0)
        } else {
            (self.backend, self.seed.index(self.logs.len()))
        };
        let label = self.label(client);
        let no = self.logs[log].no;
        self.note(client, What::Publishes { log: no, label });
        let outcome = match self.seed.below(100) {
            0..80 => Outcome::Done(Some(self.append_labelled(log, label))),
            80..87 => {
                self.append_labelled(log, label);
                Outcome::Unknown
            }
            87..92 => Outcome::Unknown,
            92..96 => Outcome::Refused(900),
            _ => {
                // Its answer is lost; it asks again later.
                self.append_labelled(log, label);
                if let Some((_, label)) = self.unanswered.replace((log, label)) {
                    self.note(label.client, What::Answered { label, outcome: Outcome::Unknown });
                }
                return;
            }
        };
        self.note(client, What::Answered { label, outcome });
    }

    fn append_labelled(&mut self, log: usize, label: Label) -> Position {
        let time = self.now();
        let bytes = match (log, label.number % 2) {
            (ROOMS.., _) => format!(r#"{{"kind":"notification","time":{time},"data":{{"message":"{label}"}}}}"#),
            (_, 0) => format!(r#"{{"kind":"message","time":{time},"data":{{"text":"{label} hello"}}}}"#),
            _ => format!(r#"{{"kind":"score","time":{time},"data":{{"label":"{label}","n":[1,2]}}}}"#),
        };
        self.append(log, &bytes, None)
    }

    /// Two different members that are in a room.
    fn pair(&mut self) -> Option<(usize, usize, usize)> {
        let room = self.seed.index(ROOMS);
        let mut here: Vec<_> = (0..MEMBERS).filter(|&n| self.guests[n].handles.contains_key(&room)).collect();
        if here.len() < 2 {
            return None;
        }
        let from = here.remove(self.seed.index(here.len()));
        Some((room, from, *self.seed.pick(&here)))
    }

    fn signal(&mut self) {
        let Some((room, from, to)) = self.pair() else { return };
        let (client, to_client) = (self.guests[from].client, self.guests[to].client);
        let label = self.label(client);
        let no = self.logs[room].no;
        self.note(client, What::Signals { room: no, to: to_client, label });
        let (relayed, outcome) = match self.seed.below(100) {
            0..85 => (true, Outcome::Done(None)),
            85..90 => (true, Outcome::Unknown),
            90..95 => (false, Outcome::Unknown),
            _ => (false, Outcome::Refused(805)),
        };
        if relayed {
            self.guests[to].down.push_back(Item::Signal(room, label));
        }
        self.note(client, What::Answered { label, outcome });
    }

    fn send_move(&mut self, n: usize) {
        let rooms: Vec<_> = (0..ROOMS).filter(|room| self.guests[n].handles.contains_key(room)).collect();
        if rooms.is_empty() {
            return;
        }
        let room = *self.seed.pick(&rooms);
        let lane = if self.seed.percent(60) { Lane::Reliable } else { Lane::Latest };
        let key = self.seed.below(2) as u16;
        self.move_in(n, room, lane, key);
    }

    fn move_in(&mut self, n: usize, room: usize, lane: Lane, key: u16) {
        let guest = &mut self.guests[n];
        guest.last_seq += 1;
        let (client, seq) = (guest.client, guest.last_seq);
        guest.sent.push_back((room, lane, key, seq));
        let room = self.logs[room].no;
        self.note(client, What::Moves { room, lane, key, seq });
    }
}
