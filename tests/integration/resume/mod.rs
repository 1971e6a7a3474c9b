//! Lost sockets: who comes back in time finds its place as it left it, and nobody else comes back
//! in its name.

mod bounds;
mod places;
mod restart;
mod tokens;

use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use crate::support::{Node, Seen, Wire, pass};

/// The room of these tests.
const ROOM: &str = "match/7";

/// A member of [`ROOM`], with what it must remember to come back.
struct Member {
    wire: Wire,
    encoding: Encoding,
    joined: Value,
    /// Its resume token.
    token: Value,
    /// Counted messages received.
    received: u64,
    position: Value,
}

impl Member {
    async fn join(node: &Node, user: &str, encoding: Encoding) -> Self {
        let mut wire = Wire::connect(node, &pass(user).host("*"), encoding).await;
        let joined = wire.granted(json!({ "type": "join", "room": ROOM })).await;
        let (token, position) = (wire.connected["resume"].clone(), joined["position"].clone());
        assert!(token.as_str().is_some_and(|token| token.len() <= 512), "{token}");
        Self { wire, encoding, joined, token, received: 0, position }
    }

    fn peer(&self) -> &Value {
        &self.joined["you"]["peer"]
    }

    /// What it says to come back.
    fn memory(&self) -> Value {
        json!({ "token": self.token, "received": self.received, "positions": { ROOM: self.position } })
    }

    /// Takes note of what comes, as a client does, until `last` is satisfied; returns all of it.
    async fn follow(&mut self, mut last: impl FnMut(&Seen) -> bool) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            let seen = self.wire.next().await;
            self.note(&seen);
            let done = last(&seen);
            all.push(seen);
            if done {
                return all;
            }
        }
    }

    fn note(&mut self, seen: &Seen) {
        match seen {
            Seen::Moved(frame) if frame[1] == 2 => self.received += 1,
            Seen::Said(said) => match said["type"].as_str().unwrap_or_default() {
                "offer" | "answer" | "ice-candidate" => self.received += 1,
                "move" if said["reliable"] == true => self.received += 1,
                "joined" | "reset" => self.position = said["position"].clone(),
                "peer-joined" | "peer-left" | "message" | "event" | "presence" => {
                    self.position = said["position"].clone();
                }
                _ => {}
            },
            Seen::Moved(_) => {}
            end => panic!("{end:?} while the member follows"),
        }
    }

    /// Comes back on a new socket.
    async fn back(mut self, node: &Node) -> Self {
        let (memory, id) = (self.memory(), self.wire.last_id());
        self.wire.cut();
        self.wire = Wire::resumed(node, self.encoding, memory, id).await;
        self.token = self.wire.connected["resume"].clone();
        self
    }
}
