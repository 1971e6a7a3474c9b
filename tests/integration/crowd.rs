//! A crowd joins one room: what the server sends must grow with the crowd, not with its square.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::{SinkExt, StreamExt};
use rallypoint_client::{Credential, Options, Socket, handshake, tungstenite::Message};
use rallypoint_protocol::{Encoding, Request, RoomName, ServerMessage};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Node, Wire, pass, room, until, within};

/// Guests that come in at the same time.
const DOORS: usize = 32;

/// What a crowd has received.
struct Heard {
    /// How many are expected.
    size: u64,
    bytes: AtomicU64,
    presence_bytes: AtomicU64,
    presence: AtomicU64,
    /// Guests that got the summary in which everybody is counted; it is the last one.
    complete: AtomicU64,
}

impl Heard {
    fn new(size: usize) -> Self {
        let [bytes, presence_bytes, presence, complete] = [(); 4].map(|()| AtomicU64::new(0));
        Self { size: size as u64, bytes, presence_bytes, presence, complete }
    }

    /// Counts a frame as it was on the wire: header (RFC 6455 section 5.2) and payload.
    fn note(&self, frame: &Message) {
        let head = match frame.len() {
            0..=125 => 2,
            126..=65_535 => 4,
            _ => 10,
        };
        let len = head + frame.len() as u64;
        self.bytes.fetch_add(len, Relaxed);
        let Message::Binary(payload) = frame else { return };
        // The type stands first in every message of the server; only summaries matter here.
        let begins = &payload[..payload.len().min(24)];
        if begins.windows(8).any(|word| word == b"presence") {
            self.presence_bytes.fetch_add(len, Relaxed);
            self.presence.fetch_add(1, Relaxed);
            let Ok(ServerMessage::Presence(told)) = ServerMessage::decode(Encoding::MsgPack, payload) else {
                panic!("a summary cannot be read");
            };
            if told.presence.count as u64 == self.size {
                self.complete.fetch_add(1, Relaxed);
            }
        }
    }
}

/// A guest that has joined and reads on.
async fn come_in(options: Options, place: RoomName, heard: Arc<Heard>) -> Socket {
    let mut socket = handshake(&options).await.expect("the token opens the door");
    let join = Request::Join { id: 1, room: place, since: None };
    socket.send(Message::binary(join.encode(Encoding::MsgPack))).await.expect("the request is sent");
    loop {
        let frame = socket.next().await.expect("the socket stays open").expect("a frame");
        heard.note(&frame);
        if let Message::Binary(payload) = &frame
            && payload[..payload.len().min(24)].windows(6).any(|word| word == b"joined")
            && !payload[..payload.len().min(24)].windows(11).any(|word| word == b"peer-joined")
        {
            return socket;
        }
        if let Message::Close(frame) = frame {
            panic!("turned away: {frame:?}");
        }
    }
}

/// What a crowd of `size` costs.
struct Cost {
    bytes: u64,
    presence_bytes: u64,
    presence: u64,
    seconds: f64,
}

async fn crowd(node: &Node, size: usize) -> Cost {
    let place = room(&format!("crowd/{size}"));
    let heard = Arc::new(Heard::new(size));
    let sent = || node.hub.metrics().bytes_sent.get();
    let (before, begin) = (sent(), std::time::Instant::now());
    let (mut coming, mut readers) = (JoinSet::new(), JoinSet::new());
    for n in 0..size {
        if coming.len() == DOORS {
            read_on(&mut readers, coming.join_next().await, &heard);
        }
        let token = pass(&format!("guest-{n}")).player("crowd/*");
        let options = Options { credential: Credential::Header, ..node.options(&token, Encoding::MsgPack) };
        coming.spawn(come_in(options, place.clone(), heard.clone()));
    }
    while let Some(came) = coming.join_next().await {
        read_on(&mut readers, Some(came), &heard);
    }
    // The last summary tells everybody that all are here; then nothing is on its way any more.
    until("the last summary to reach everybody", async || {
        let all = heard.complete.load(Relaxed) == size as u64;
        (all && heard.bytes.load(Relaxed) == sent() - before).then_some(())
    })
    .await;
    let cost = Cost {
        bytes: sent() - before,
        presence_bytes: heard.presence_bytes.load(Relaxed),
        presence: heard.presence.load(Relaxed),
        seconds: begin.elapsed().as_secs_f64(),
    };
    roster_is_complete(node, &place, size).await;
    readers.shutdown().await;
    node.emptied().await;
    cost
}

fn read_on(readers: &mut JoinSet<()>, came: Option<Result<Socket, tokio::task::JoinError>>, heard: &Arc<Heard>) {
    let mut socket = came.expect("somebody is coming").expect("nobody was turned away");
    let heard = heard.clone();
    readers.spawn(async move {
        while let Some(Ok(frame)) = socket.next().await {
            heard.note(&frame);
        }
    });
}

/// One more member reads the roster page by page: everybody once, in order.
async fn roster_is_complete(node: &Node, place: &RoomName, size: usize) {
    let mut reader = Wire::connect(node, &pass("reader").player("crowd/*"), Encoding::Json).await;
    let joined = reader.granted(json!({ "type": "join", "room": place.as_str() })).await;
    assert_eq!(joined["count"], size + 1);
    assert_eq!(joined["members"].as_array().map(Vec::len), Some(100), "a large room shows its first members only");
    let (mut peers, mut users, mut after) = (Vec::new(), BTreeSet::new(), Value::Null);
    loop {
        let mut ask = json!({ "type": "members", "room": place.as_str(), "limit": 333 });
        if !after.is_null() {
            ask["after"] = after;
        }
        let page = reader.granted(ask).await;
        for entry in page["members"].as_array().expect("a page is a list") {
            peers.push(entry["peer"].as_str().expect("an id").to_owned());
            users.insert(entry["user"].as_str().expect("a user").to_owned());
        }
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert!(peers.is_sorted_by(|a, b| a < b), "the roster is in order, nobody stands in it twice");
    assert_eq!((peers.len(), users.len()), (size + 1, size + 1));
    reader.bye().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crowd_costs_grows_with_the_crowd() {
    let node = Node::with(|config| {
        config.room.members = 3000;
        config.limits.connections_per_ip = 10_000;
        config.limits.accepts_per_second_per_ip = 10_000.0;
        config.limits.resume_grace_ms = 0;
    })
    .await;
    let mut each = Vec::new();
    for size in [500, 1000, 2000] {
        let cost = within("a crowd", crowd(&node, size)).await;
        let (members, own) = (size as u64, cost.bytes - cost.presence_bytes);
        println!(
            "crowd of {size}: {} bytes sent, {} each; without the {} bytes of summaries {own}, {} each; {:.1} s",
            cost.bytes,
            cost.bytes / members,
            cost.presence_bytes,
            own / members,
            cost.seconds
        );
        assert!(cost.presence >= members, "everybody was told");
        // One summary a second at most, however many come: the second and third bounds allow for the ends.
        let told = cost.presence as f64 / size as f64;
        assert!(told <= cost.seconds + 2.0, "{told} summaries each in {} s", cost.seconds);
        each.push((cost.bytes, own));
    }
    for pair in each.windows(2) {
        let [(all, own), (all_twice, own_twice)] = [pair[0], pair[1]];
        println!(
            "twice the crowd: x {:.2} bytes, x {:.2} without summaries",
            ratio(all_twice, all),
            ratio(own_twice, own)
        );
        assert!(ratio(own_twice, own) < 2.6, "the cost of joining does not grow evenly");
    }
    node.stop().await;
}

fn ratio(more: u64, less: u64) -> f64 {
    more as f64 / less as f64
}
