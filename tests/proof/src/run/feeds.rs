//! Spectators without a WebSocket: an event stream that comes back with `Last-Event-ID`, and a long poll with its cursor.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rallypoint_protocol::{Cursor, Position, RoomName, position::LogKey, server::ResetReason};
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::{
    http::{Connection, Request, encoded},
    world::{Phase, World},
};
use crate::{
    history::{Came, ClientNo, LogNo, What, Why},
    seed::Seed,
};

/// Without a heartbeat or anything else for so long, the stream is dead.
const SILENCE: Duration = Duration::from_secs(5);
/// Seconds that a poll asks the server to wait.
const WAIT: u64 = 2;

/// A feed of some rooms and of its user's own log.
#[derive(Debug)]
pub struct Feed {
    /// Its number in the record.
    pub no: ClientNo,
    /// Where it connects.
    pub door: SocketAddr,
    /// The run.
    pub world: Arc<World>,
    /// Its token.
    pub token: String,
    /// What it follows, the user's own log as the last.
    pub logs: Vec<(RoomName, LogNo)>,
    /// The longest pause before it comes back; the shortest is half of it.
    pub pause: Duration,
}

/// An event object, taken apart: the log, the position, and the event's bytes as the log keeps them.
pub fn event_object(text: &str) -> Option<(&str, Position, String)> {
    let (room, rest) = text.strip_prefix("{\"room\":\"")?.split_once("\",\"position\":\"")?;
    let (position, bytes) = rest.split_once("\",")?;
    Some((room, Position::parse(position).ok()?, format!("{{{bytes}")))
}

#[derive(serde::Deserialize)]
struct Reset {
    room: RoomName,
    reason: ResetReason,
    position: Position,
}

#[derive(serde::Deserialize)]
struct Polled<'a> {
    cursor: String,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    #[serde(default)]
    reset: Vec<Reset>,
}

impl Feed {
    fn put(&self, what: What) {
        self.world.recorder.put(self.no, what);
    }

    fn query(&self) -> String {
        let rooms = self.logs.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("user/"));
        rooms.map(|name| format!("room={}", encoded(name))).collect::<Vec<_>>().join("&")
    }

    /// The first cursor: where every view begins.
    fn begins(&self, cursor: &str) {
        let cursor = Cursor::parse(cursor).unwrap_or_default();
        for (name, log) in &self.logs {
            if let Some(position) = cursor.get(LogKey::of(name)) {
                self.world.recorder.stands(self.no, *log, position, Why::New);
            }
        }
    }

    fn event(&self, text: &str) -> io::Result<()> {
        let (room, position, bytes) =
            event_object(text).ok_or_else(|| io::Error::other(format!("no event: {text}")))?;
        let log = self.world.recorder.log(room);
        self.world.recorder.event(self.no, log, position, bytes.as_bytes());
        Ok(())
    }

    fn reset(&self, reset: &Reset) {
        let log = self.world.recorder.log(reset.room.as_str());
        self.world.recorder.stands(self.no, log, reset.position, Why::Reset(reset.reason));
    }

    async fn pause(&self, seed: &mut Seed) {
        sleep(self.pause.mul_f64(0.5 + seed.below(500) as f64 / 1000.0)).await;
    }

    fn opened(&self) {
        self.put(What::Opened { peer: None, came: Came::Resumed, time: 0.0 });
    }

    /// Keeps an event stream open until the run is over.
    pub async fn stream(self) {
        let (mut last_id, mut seed) = (String::new(), self.world.seed(self.no, 0));
        loop {
            let over = tokio::select! {
                broken = self.read_stream(&mut last_id) => broken.is_ok(),
                () = self.world.reached(Phase::Over) => true,
            };
            if over {
                return self.put(What::Left);
            }
            self.put(What::Away);
            self.pause(&mut seed).await;
        }
    }

    /// Reads a stream to its end, which is always an error.
    async fn read_stream(&self, last_id: &mut String) -> io::Result<()> {
        let mut request = Request::get(&format!("/v1/events?{}", self.query())).bearer(&self.token);
        if !last_id.is_empty() {
            request = request.header("last-event-id", last_id);
        }
        let opening = async {
            let mut connection = Connection::open(self.door).await?;
            Ok::<_, io::Error>((connection.begin(&request).await?, connection))
        };
        let ((status, _), mut connection) = timeout(SILENCE, opening).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if status != 200 {
            return Err(io::Error::other(format!("status {status}")));
        }
        let mut unread = Vec::new();
        loop {
            let part = timeout(SILENCE, connection.next()).await.map_err(|_| io::ErrorKind::TimedOut)??;
            unread.extend(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<_> = unread.drain(..end + 2).collect();
                self.block(&String::from_utf8_lossy(&block), last_id)?;
            }
        }
    }

    fn block(&self, block: &str, last_id: &mut String) -> io::Result<()> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let (event, data) = (field("event").unwrap_or_default(), field("data").unwrap_or_default());
        match event {
            "connected" => {
                self.opened();
                if last_id.is_empty() {
                    self.begins(field("id").unwrap_or_default());
                }
            }
            "heartbeat" | "state" | "error" => {}
            "reset" => self.reset(&serde_json::from_str(data)?),
            _ => self.event(data)?,
        }
        // As a browser does: only with the whole block, so that nothing is skipped by one that was cut.
        if let Some(id) = field("id") {
            id.clone_into(last_id);
        }
        Ok(())
    }

    /// Polls until the run is over.
    pub async fn poll(self) {
        let (mut cursor, mut away, mut seed) = (String::new(), true, self.world.seed(self.no, 0));
        let mut connection = None;
        loop {
            let polled = tokio::select! {
                polled = self.poll_once(&mut connection, &mut cursor, away) => polled,
                () = self.world.reached(Phase::Over) => return self.put(What::Left),
            };
            let lost = polled.is_err();
            if lost && !away {
                self.put(What::Away);
            }
            if lost {
                connection = None;
                self.pause(&mut seed).await;
            }
            away = lost;
        }
    }

    async fn poll_once(&self, kept: &mut Option<Connection>, cursor: &mut String, away: bool) -> io::Result<()> {
        let after = if cursor.is_empty() { String::new() } else { format!("&after={cursor}") };
        let request = Request::get(&format!("/v1/poll?{}{after}&wait={WAIT}", self.query())).bearer(&self.token);
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => timeout(SILENCE, Connection::open(self.door)).await.map_err(|_| io::ErrorKind::TimedOut)??,
        };
        let answer = connection.ask(&request, SILENCE).await?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("status {}", answer.status)));
        }
        if answer.reusable {
            *kept = Some(connection);
        }
        let polled: Polled<'_> = serde_json::from_slice(&answer.body)?;
        if away {
            self.opened();
        }
        if cursor.is_empty() {
            self.begins(&polled.cursor);
        }
        polled.reset.iter().for_each(|reset| self.reset(reset));
        for event in &polled.events {
            self.event(event.get())?;
        }
        *cursor = polled.cursor;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_objects_give_back_the_bytes_of_the_log() {
        let bytes = r#"{"kind":"score","time":1.5,"data":{"position":"x","room":"y"}}"#;
        let (room, position) = (RoomName::new("match/7").unwrap(), Position::start(3).next(bytes.as_bytes()));
        let object = rallypoint_protocol::event::feed_object(&room, position, bytes.as_bytes());
        let object = String::from_utf8(object).unwrap();
        assert_eq!(event_object(&object), Some(("match/7", position, bytes.to_owned())));
        assert_eq!(event_object(bytes), None);
    }
}
