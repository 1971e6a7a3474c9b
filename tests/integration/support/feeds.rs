//! The two feeds: an event stream reader that keeps the last id, and a poller that keeps the cursor.

use rallypoint_protocol::{Encoding, ServerMessage};
use serde_json::{Value, json};

use super::{
    Ask, Node, Pass,
    contract::{judge_answer, judge_event},
    http::Body,
    within,
};

/// One block of an event stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) event: String,
    pub(crate) data: Value,
    /// The data as it stood in the stream.
    pub(crate) text: String,
    pub(crate) id: Option<String>,
    /// Milliseconds after which to come back, if the block says so.
    pub(crate) retry: Option<u64>,
}

/// An open event stream. Dropping it closes the connection.
pub(crate) struct Stream {
    /// Which stream of the contract it is.
    name: &'static str,
    body: Body,
    unread: Vec<u8>,
    /// The id of the last block that had one: what `EventSource` sends as `Last-Event-ID`.
    pub(crate) last_id: String,
    /// The data of the block `connected`.
    pub(crate) connected: Value,
}

impl Stream {
    /// Opens `GET /v1/events?query` and reads the first block.
    pub(crate) async fn open(node: &Node, pass: &Pass, query: &str) -> Self {
        Self::begin(node, Ask::new("GET", &format!("/v1/events?{query}")).pass(pass)).await
    }

    /// Opens it again where another stream ended.
    pub(crate) async fn resume(node: &Node, pass: &Pass, query: &str, last_id: &str) -> Self {
        let ask = Ask::new("GET", &format!("/v1/events?{query}")).pass(pass);
        Self::begin(node, ask.header("last-event-id", last_id)).await
    }

    /// Opens it with a request of one's own.
    pub(crate) async fn begin(node: &Node, ask: Ask) -> Self {
        let mut stream = Self::head(node, ask, "feed").await;
        let first = stream.next().await;
        assert_eq!((first.event.as_str(), first.retry), ("connected", Some(2000)));
        assert!(first.id.is_some(), "the first block has an id");
        stream.connected = first.data;
        stream
    }

    /// Opens `GET /v1/status` and reads the first block.
    pub(crate) async fn status(node: &Node, ask: Ask) -> Self {
        let mut stream = Self::head(node, ask, "status").await;
        let first = within("the first block", stream.next_text()).await.expect("there is one");
        assert_eq!(first, "retry: 2000\n\n");
        stream
    }

    /// Opens `GET /v1/rooms/{room}/trace` and reads the first block.
    pub(crate) async fn trace(node: &Node, ask: Ask) -> Self {
        let mut stream = Self::head(node, ask, "trace").await;
        let first = stream.next().await;
        assert_eq!((first.event.as_str(), first.retry, first.id), ("connected", Some(2000), None));
        stream.connected = first.data;
        stream
    }

    /// Opens a stream and reads nothing.
    async fn head(node: &Node, ask: Ask, name: &'static str) -> Self {
        let (method, target) = ask.line();
        let (head, body) = within("the head of a stream", ask.begin(node.address)).await;
        judge_answer(&method, &target, &head);
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
        assert_eq!(head.header("x-accel-buffering"), Some("no"));
        let (last_id, connected) = (String::new(), Value::Null);
        Self { name, body, unread: Vec::new(), last_id, connected }
    }

    /// The next block, heartbeats included.
    pub(crate) async fn next(&mut self) -> Block {
        within("a block of a stream", self.try_next()).await.expect("the stream goes on")
    }

    /// The next block; `None` at the end of the stream.
    pub(crate) async fn try_next(&mut self) -> Option<Block> {
        let block = parse(&self.next_text().await?);
        judge_event(self.name, &block.event, &block.data);
        if let Some(id) = &block.id {
            self.last_id.clone_from(id);
        }
        Some(block)
    }

    async fn next_text(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<_> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8(block).expect("a stream is UTF-8"));
            }
            self.unread.extend(self.body.next().await?);
        }
    }

    /// Reads to the end of the stream; the data of the error that stands there.
    pub(crate) async fn end(&mut self) -> Value {
        let last = within("the end of a stream", async {
            let mut last = None;
            while let Some(block) = self.try_next().await {
                last = Some(block);
            }
            last.expect("it was told something")
        })
        .await;
        assert_eq!(last.event, "error");
        last.data
    }

    /// The next block that is no heartbeat.
    pub(crate) async fn event(&mut self) -> Block {
        loop {
            let block = self.next().await;
            if block.event != "heartbeat" {
                return block;
            }
        }
    }

    /// The event objects up to and with the one at this position.
    pub(crate) async fn read_to(&mut self, position: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let block = self.event().await;
            assert!(block.event != "reset", "an unexpected reset: {}", block.data);
            if block.event == "state" {
                continue;
            }
            assert_eq!(block.data["kind"], *block.event, "the kind is the name of the event");
            assert!(block.id.is_some(), "every event has an id");
            let done = block.data["position"] == position;
            seen.push(block.data);
            if done {
                return seen;
            }
        }
    }
}

/// Takes a block apart the way the WHATWG's parser does, for the fields that the server writes.
fn parse(text: &str) -> Block {
    let mut block = Block { event: String::new(), data: Value::Null, text: String::new(), id: None, retry: None };
    let mut lines = 0;
    for line in text.trim_end_matches('\n').split('\n') {
        let (field, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
        match field {
            "event" => block.event = value.to_owned(),
            "data" => {
                lines += 1;
                block.text = value.to_owned();
                block.data = serde_json::from_str(value).unwrap_or_else(|_| panic!("not JSON: {value}"));
            }
            "id" => block.id = Some(value.to_owned()),
            "retry" => block.retry = Some(value.parse().expect("retry is a number")),
            _ => panic!("an unknown field: {line:?}"),
        }
    }
    assert_eq!(lines, 1, "each block has exactly one data line");
    block
}

/// A long-polling reader.
#[derive(Clone)]
pub(crate) struct Poller {
    pass: Pass,
    query: String,
    /// What the next poll passes as `after`; empty before the first one.
    pub(crate) cursor: String,
}

impl Poller {
    /// A reader that has not asked yet.
    pub(crate) fn new(pass: &Pass, query: &str) -> Self {
        Self { pass: pass.clone(), query: query.to_owned(), cursor: String::new() }
    }

    /// A reader that goes on where another subscription stands.
    pub(crate) fn resume(pass: &Pass, query: &str, cursor: &str) -> Self {
        Self { cursor: cursor.to_owned(), ..Self::new(pass, query) }
    }

    /// Asks once and returns the answer.
    pub(crate) async fn poll(&mut self, node: &Node, wait: u32) -> Value {
        let after = if self.cursor.is_empty() { String::new() } else { format!("&after={}", self.cursor) };
        let path = format!("/v1/poll?{}{after}&wait={wait}", self.query);
        let answer = node.get(&path, &self.pass).await.expect(200);
        self.cursor = answer["cursor"].as_str().expect("a cursor").to_owned();
        answer
    }

    /// The event objects up to and with the one at this position.
    pub(crate) async fn read_to(&mut self, node: &Node, position: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        within("an event by poll", async {
            loop {
                let answer = self.poll(node, 5).await;
                assert!(answer.get("reset").is_none(), "an unexpected reset: {answer}");
                seen.extend(answer["events"].as_array().expect("a list").iter().cloned());
                if seen.iter().any(|event| event["position"] == position) {
                    return;
                }
            }
        })
        .await;
        assert_eq!(seen.last().expect("at least the one")["position"], position, "nothing follows it");
        seen
    }
}

/// An event as it comes over a WebSocket, written the way feeds spell it; `None` for what is no event of a room.
pub(crate) fn as_feed_object(message: &ServerMessage) -> Option<Value> {
    let mut fields: Value = serde_json::from_slice(&message.encode(Encoding::Json)).expect("our own JSON");
    let (kind, data) = match message {
        ServerMessage::Message(_) => ("message".to_owned(), json!({ "text": fields["text"] })),
        ServerMessage::Event(event) => (event.kind.to_string(), fields["data"].clone()),
        ServerMessage::PeerJoined(_) => ("peer-joined".to_owned(), json!({ "peer": bare(&mut fields) })),
        ServerMessage::PeerLeft(_) => {
            ("peer-left".to_owned(), json!({ "peer": bare(&mut fields), "reason": fields["reason"] }))
        }
        _ => return None,
    };
    let mut object = json!({ "room": fields["room"], "position": fields["position"], "kind": kind, "time": fields["time"], "data": data });
    if let Some(from) = fields.get("from") {
        object["from"] = from.clone();
    }
    Some(object)
}

/// A peer as logs know it.
fn bare(fields: &mut Value) -> Value {
    let mut peer = fields["peer"].take();
    let entry = peer.as_object_mut().expect("a peer entry");
    for own in ["handle", "polite", "offers", "order", "rtt"] {
        entry.remove(own);
    }
    peer
}
