//! A back end: posts events and notifications under a key, and asks again until it knows what became of them.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rallypoint_protocol::{Position, RoomName};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{
    http::{Answer, Connection, Request, encoded},
    world::{Labels, Room, World},
};
use crate::{
    history::{ClientNo, Label, LogNo, Outcome, What},
    seed::Seed,
};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// After so long nobody asks any more; keys are kept for five minutes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A back end.
#[derive(Debug)]
pub struct Backend {
    /// Its number in the record.
    pub no: ClientNo,
    /// Where it connects.
    pub door: SocketAddr,
    /// The run.
    pub world: Arc<World>,
    /// Its token.
    pub token: String,
    /// Whom it notifies, and where that is recorded.
    pub users: Vec<(String, LogNo)>,
    /// Numbers what it posts.
    pub labels: Labels,
    connection: Option<Connection>,
}

impl Backend {
    /// The back end of this number, which has not connected yet.
    pub fn new(world: &Arc<World>, no: ClientNo, n: usize, token: String, users: Vec<(String, LogNo)>) -> Self {
        let (door, world) = (world.door(n), Arc::clone(world));
        Self { no, door, world, token, users, labels: Labels::new(no), connection: None }
    }

    /// Posts one event, and one or two notifications.
    pub async fn act(&mut self, seed: &mut Seed) {
        let room = seed.pick(&self.world.rooms).clone();
        let chat = seed.percent(30);
        self.publish(&room, chat).await;
        for _ in 0..1 + seed.below(2) {
            let (user, log) = seed.pick(&self.users).clone();
            self.notify(&user, log).await;
        }
    }

    /// Posts one event into a room.
    pub async fn publish(&mut self, room: &Room, chat: bool) {
        let label = self.labels.next();
        let (kind, data) = match chat {
            true => ("message", json!({ "text": format!("{label} from a back end") })),
            false => ("score", json!({ "label": label.to_string(), "blue": 1 })),
        };
        let path = format!("/v1/rooms/{}/events", encoded(room.name.as_str()));
        self.post(room.log, label, &path, &json!({ "kind": kind, "data": data })).await;
    }

    /// Tells a user something; where it stands then.
    pub async fn notify(&mut self, user: &str, log: LogNo) -> Option<Position> {
        let label = self.labels.next();
        let path = format!("/v1/users/{}/notifications", encoded(user));
        self.post(log, label, &path, &json!({ "message": label.to_string(), "data": { "n": label.number } })).await
    }

    async fn post(&mut self, log: LogNo, label: Label, path: &str, body: &serde_json::Value) -> Option<Position> {
        self.world.recorder.put(self.no, What::Publishes { log, label });
        // The label alone would be enough: keys count per user and path.
        let key = format!("{label}.{}", self.world.seed);
        let request = Request::post(path, body).bearer(&self.token).header("idempotency-key", &key);
        let deadline = Instant::now() + PATIENCE;
        let mut outcome = Outcome::Unknown;
        while Instant::now() < deadline {
            match self.attempt(&request).await {
                Ok(answer) => match outcome_of(&answer) {
                    Some(known) => {
                        outcome = known;
                        break;
                    }
                    None => self.connection = None,
                },
                Err(_) => self.connection = None,
            }
            sleep(PAUSE).await;
        }
        self.world.recorder.put(self.no, What::Answered { label, outcome });
        if let Outcome::Done(position) = outcome { position } else { None }
    }

    async fn attempt(&mut self, request: &Request) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => timeout(ATTEMPT, Connection::open(self.door)).await.map_err(|_| io::ErrorKind::TimedOut)??,
        };
        let answer = connection.ask(request, ATTEMPT).await?;
        self.connection = answer.reusable.then_some(connection);
        Ok(answer)
    }
}

/// What an answer says; `None`: ask again.
fn outcome_of(answer: &Answer) -> Option<Outcome> {
    let body = answer.json();
    match answer.status {
        200 | 201 => {
            let position = body["position"].as_str().and_then(|text| Position::parse(text).ok());
            // An answer without its position would go unseen as a notification that was sent to nobody.
            Some(position.map_or(Outcome::Refused(0), |position| Outcome::Done(Some(position))))
        }
        429 | 503 => None,
        status => Some(Outcome::Refused(body["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or(status))),
    }
}

/// Where a room stands, by the server's own word.
pub async fn head(address: SocketAddr, token: &str, room: &RoomName) -> io::Result<Position> {
    let request = Request::get(&format!("/v1/rooms/{}", encoded(room.as_str()))).bearer(token);
    let answer = super::http::once(address, &request, Duration::from_secs(10)).await?;
    let position = answer.json()["position"].as_str().and_then(|text| Position::parse(text).ok());
    position.ok_or_else(|| io::Error::other(format!("no position of {room}: {}", answer.status)))
}
