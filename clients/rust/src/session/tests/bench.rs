//! A session on the bench: messages in as JSON, and what comes of them in a word or two.

use rallypoint_protocol::{ErrorCode, Payload, PeerId, RoomName, ServerMessage, moves::Lane, request::Limits};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::super::*;
use crate::{
    error::Error,
    requests::Answer,
    token::{Token, expiring},
};

pub(super) type Waiting = oneshot::Receiver<Result<Answer, Error>>;

pub(super) const ME: &str = "11111111-2222-4333-8444-555555555555";
pub(super) const OTHER: &str = "99999999-2222-4333-8444-555555555555";

pub(super) fn name(text: &str) -> RoomName {
    RoomName::new(text).unwrap()
}

pub(super) fn at(seq: u64) -> Position {
    Position { seq, ..Position::start(1) }
}

pub(super) fn connected(session: &str, resumed: bool, token: Option<&str>) -> Connected {
    let limits = json!({
        "frame": 1, "move": 1, "text": 1, "signal": 1, "state": 1, "rooms": 1, "requests_per_second": 1,
        "requests_burst": 1, "moves_per_second": 1, "moves_burst": 1, "bytes_per_second": 1,
    });
    let peer = if session == "s" { ME } else { OTHER };
    serde_json::from_value(json!({
        "peer": peer, "session": session, "resume": token, "resumed": resumed, "time": 1_000_000,
        "heartbeat": 15000, "limits": limits, "notifications": at(100),
    }))
    .unwrap()
}

pub(super) fn joined(re: Option<u64>, room: &str, handle: u32, seq: u64, missed: Option<Value>) -> Value {
    let you = json!({ "peer": ME, "handle": 1, "user": "ada" });
    json!({
        "type": "joined", "re": re, "room": room, "handle": handle, "you": you, "members": [], "count": 1,
        "spectators": 0, "position": at(seq), "state": [], "missed": missed,
    })
}

pub(super) fn watching(re: Option<u64>, room: &str, seq: u64) -> Value {
    json!({ "type": "watching", "re": re, "room": room, "position": at(seq), "count": 1, "spectators": 1 })
}

pub(super) fn chat(room: &str, seq: u64) -> Value {
    json!({ "type": "message", "room": room, "time": 1, "position": at(seq), "text": seq.to_string() })
}

pub(super) fn ok(re: u64) -> Value {
    json!({ "type": "ok", "re": re })
}

pub(super) fn refusal(re: Option<u64>, code: ErrorCode, room: Option<&str>) -> Value {
    json!({ "type": "error", "re": re, "code": code, "name": code.name(), "message": "", "room": room })
}

pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) inbox: Inbox,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn with(encoding: Encoding, token: Token, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options { encoding, token, ..Options::new("ws://h", "") };
        change(&mut options);
        let (present, _) = watch::channel(Arc::new(connected("s", false, Some("token-1"))));
        let access = Access::new(options.token.clone(), Duration::from_secs(1), expiring(1600));
        let (clock, now) = (Clock::start(), Instant::now());
        let session = Session::new(&options, Arc::default(), present, access, clock, now);
        Self { session, inbox: Inbox::new(), now }
    }

    pub(super) fn new() -> Self {
        Self::with(Encoding::Json, Token::from(""), |_| {})
    }

    /// In room `a`, with handle 7 at position 10.
    pub(super) fn in_a() -> Self {
        let mut bench = Self::new();
        bench.hear(joined(None, "a", 7, 10, None));
        bench.inbox.clear();
        bench
    }

    pub(super) fn hear(&mut self, message: Value) {
        let message = ServerMessage::decode(Encoding::Json, message.to_string().as_bytes()).unwrap();
        let frame = message.encode(self.session.encoding);
        self.session.take(&frame, self.now, &mut self.inbox).unwrap();
    }

    /// What has come for the application, each in a word or two.
    pub(super) fn heard(&mut self) -> Vec<String> {
        let said = |incoming| match incoming {
            Incoming::Message(ServerMessage::Message(chat)) => chat.text.into(),
            Incoming::Message(message) => message.name().to_owned(),
            Incoming::Joined(joined) => {
                assert!(joined.missed.is_none());
                format!("joined {}", joined.room)
            }
            Incoming::Watching(watching) => format!("watching {}", watching.room),
            Incoming::Out { room, why } => format!("out {room} {:?}", why.map(|why| why.code.number())),
            Incoming::Back { resumed, peer } => format!("back {resumed} {}", peer == PeerId::parse(ME).unwrap()),
            Incoming::Reset(reset) => format!("reset {}", reset.room),
            other => panic!("{other:?}"),
        };
        self.inbox.drain(..).map(said).collect()
    }

    pub(super) fn ask(&mut self, make: impl FnOnce(u64) -> Request + Send + 'static) -> Waiting {
        let (reply, answer) = oneshot::channel();
        self.session.ask(Box::new(|id, _| make(id)), reply);
        answer
    }

    pub(super) fn say(&mut self, text: &'static str) -> Waiting {
        self.ask(move |id| Request::Message { id, room: name("a"), text: text.to_owned() })
    }

    pub(super) fn shoot(&mut self, lane: Lane) {
        let payload = Payload::Json(b"0".to_vec().into());
        self.session.push(Outgoing { room: name("a"), key: 0, seq: None, lane, to: None, payload, place: None });
    }

    /// Everything that goes out now, each in a word or two.
    pub(super) fn written(&mut self) -> Vec<String> {
        let frames = std::iter::from_fn(|| self.session.next(self.now));
        let said = |frame: Vec<u8>| match Request::decode(Encoding::Json, &frame, &Limits::default()).unwrap() {
            Request::Move(shot) => format!("{:?} {}", shot.lane, shot.seq.unwrap()),
            Request::Ping { id: None, t } => format!("proof {}", t.unwrap()),
            Request::Ack { n } => format!("ack {n}"),
            Request::Join { id, room, since } => format!("{id} join {room} {}", since.unwrap().seq),
            Request::Watch { id, room, since, state } => {
                format!("{id} watch {room} {} {state:?}", since.unwrap().seq)
            }
            Request::Refresh { id, token } => format!("{id} refresh {}", token == expiring(2600)),
            other => format!("{} {}", other.id().unwrap(), other.name()),
        };
        frames.map(said).collect()
    }

    pub(super) fn come_back(&mut self, connected: Connected) {
        self.session.lost();
        self.session.back(connected, self.now, &mut self.inbox);
    }

    pub(super) fn resume(&self) -> Resume {
        match self.session.way(self.now) {
            Way::Resume(resume) => *resume,
            other => panic!("{other:?}"),
        }
    }
}
