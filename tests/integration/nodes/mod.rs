//! Several nodes that share a Redis: what is said on one is heard on the other.

mod lives;
mod moved;
mod outage;
mod talk;

use rallypoint::{broker::Engine, config::Config};
use rallypoint_proof::redis::Redis;
use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use crate::support::{Node, Pass, Stream, Wire, pass, until};

/// Nodes that share an engine of their own.
struct Site {
    engine: Redis,
    nodes: Vec<Node>,
}

impl Site {
    async fn open(count: usize) -> Self {
        Self::with(count, |_| {}).await
    }

    async fn with(count: usize, change: impl Fn(&mut Config)) -> Self {
        let engine = Redis::start().await.expect("redis-server is installed");
        let mut site = Self { engine, nodes: Vec::new() };
        for _ in 0..count {
            let node = site.node(&change).await;
            site.nodes.push(node);
        }
        site
    }

    /// One more node, that takes guests on.
    async fn node(&self, change: impl Fn(&mut Config)) -> Node {
        let node = Node::with(|config| {
            config.engine = self.engine();
            change(config);
        })
        .await;
        is_ready(&node, true).await;
        node
    }

    /// One more node, that can be killed.
    async fn mortal(&self) -> Node {
        let engine = self.engine();
        let node = Node::apart(|config| config.engine = engine).await;
        is_ready(&node, true).await;
        node
    }

    fn engine(&self) -> Engine {
        self.engine.url().parse().expect("an engine's address")
    }

    async fn guest(&self, node: usize, pass: &Pass) -> Wire {
        Wire::connect(&self.nodes[node], pass, Encoding::Json).await
    }

    /// A player who joined a room on a node.
    async fn member(&self, node: usize, user: &str, room: &str) -> (Wire, Value) {
        let mut wire = self.guest(node, &pass(user).host("*")).await;
        let joined = wire.granted(json!({ "type": "join", "room": room })).await;
        (wire, joined)
    }
}

/// Waits until `/readyz` says so.
async fn is_ready(node: &Node, ready: bool) {
    until("the word of /readyz", async || {
        let answer = node.get("/readyz", &pass("nobody")).await;
        ((answer.status == 200) == ready).then_some(())
    })
    .await;
}

fn users(joined: &Value) -> Vec<&str> {
    let members = joined["members"].as_array().expect("a list of members");
    let mut users: Vec<_> = members.iter().map(|member| member["user"].as_str().expect("a user")).collect();
    users.sort_unstable();
    users
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_all_nodes_see_each_other() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (mut bob, joined) = site.member(1, "bob", "r").await;
    assert_eq!((users(&joined), &joined["count"]), (vec!["ann"], &json!(2)));
    assert_eq!(ann.said("peer-joined").await["peer"]["user"], "bob");

    ann.granted(json!({ "type": "message", "room": "r", "text": "hello" })).await;
    bob.granted(json!({ "type": "publish", "room": "r", "kind": "score", "data": [1] })).await;
    for wire in [&mut ann, &mut bob] {
        assert_eq!(wire.said("message").await["text"], "hello");
        assert_eq!(wire.said("event").await["data"], json!([1]));
    }
    bob.granted(json!({ "type": "update", "room": "r", "state": { "ready": true } })).await;
    assert_eq!(ann.said("peer-updated").await["state"], json!({ "ready": true }));
    // Whoever comes later sees what they say of themselves.
    let (cat, joined) = site.member(0, "cat", "r").await;
    let bob_entry = joined["members"].as_array().unwrap().iter().find(|member| member["user"] == "bob").unwrap();
    assert_eq!(bob_entry["state"], json!({ "ready": true }));
    assert_eq!(users(&joined), ["ann", "bob"]);
    cat.bye().await;
    for wire in [&mut ann, &mut bob] {
        assert_eq!(wire.said("peer-left").await["peer"]["user"], "cat");
    }
    // A node that had nothing to do with the room so far.
    let late = site.node(|_| {}).await;
    let mut dan = Wire::connect(&late, &pass("dan").player("*"), Encoding::Json).await;
    let joined = dan.granted(json!({ "type": "join", "room": "r" })).await;
    assert_eq!(users(&joined), ["ann", "bob"]);
    let orders =
        |wire: &Value| wire["members"].as_array().unwrap().iter().map(|m| m["order"].as_u64()).collect::<Vec<_>>();
    assert!(orders(&joined).iter().all(|order| order.is_some_and(|order| order <= 2)), "{joined}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_removed_from_another_node() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (mut bob, _) = site.member(1, "bob", "r").await;
    let peer = bob.connected["peer"].as_str().unwrap().to_owned();
    ann.said("peer-joined").await;
    let path = format!("/v1/rooms/r/members/{peer}");
    let kicked = site.nodes[0].delete(&path, &pass("mod").host("*")).await;
    assert_eq!(kicked.status, 204, "{}", kicked.text());
    for wire in [&mut ann, &mut bob] {
        let left = wire.said("peer-left").await;
        assert_eq!((&left["peer"]["user"], &left["reason"]), (&json!("bob"), &json!("kicked")));
    }
    bob.refused(json!({ "type": "message", "room": "r", "text": "still here?" }), 803).await;
    let again = bob.granted(json!({ "type": "join", "room": "r" })).await;
    assert_eq!(users(&again), ["ann"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_goes_on_at_another_node_where_it_was_cut() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let reader = pass("reader").spectator("*");
    let mut stream = Stream::open(&site.nodes[1], &reader, "room=r").await;
    let say = async |ann: &mut Wire, text: &str| {
        let said = ann.granted(json!({ "type": "message", "room": "r", "text": text })).await;
        said["position"].as_str().unwrap().to_owned()
    };
    let first = say(&mut ann, "one").await;
    assert_eq!(stream.read_to(&first).await.len(), 1);
    let id = stream.last_id.clone();
    drop(stream);
    say(&mut ann, "two").await;
    let third = say(&mut ann, "three").await;
    let mut stream = Stream::resume(&site.nodes[0], &reader, "room=r", &id).await;
    let texts: Vec<_> = stream.read_to(&third).await.iter().map(|event| event["data"]["text"].clone()).collect();
    assert_eq!(texts, ["two", "three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_reach_a_user_on_any_node_once() {
    let site = Site::open(2).await;
    let cleo = pass("cleo").player("*");
    let notify = async |node: usize, message: &str| {
        let body = json!({ "message": message });
        let answer = site.nodes[node].post("/v1/users/cleo/notifications", &pass("backend").notify("*"), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["position"].as_str().unwrap().to_owned()
    };
    let mut here = site.guest(0, &cleo).await;
    let mut there = site.guest(1, &cleo).await;
    let stood = there.connected["notifications"].clone();
    assert_eq!(stood.as_str().unwrap().split('.').nth(1), Some("0"), "there was none yet");
    notify(0, "first").await;
    notify(1, "second").await;
    for wire in [&mut here, &mut there] {
        assert_eq!(wire.said("notification").await["message"], "first");
        assert_eq!(wire.said("notification").await["message"], "second");
    }
    // Whoever stood where no log was yet is told all of it, and of no gap.
    let mut again = Wire::anonymous(&site.nodes[1], Encoding::Json).await;
    again.say(json!({ "type": "auth", "token": cleo.mint(), "notifications_since": stood })).await;
    again.said("connected").await;
    for message in ["first", "second"] {
        match again.next().await {
            crate::support::Seen::Said(told) => {
                assert_eq!((&told["type"], &told["message"]), (&json!("notification"), &json!(message)))
            }
            other => panic!("{other:?}"),
        }
    }
    let mut stream = Stream::open(&site.nodes[1], &cleo, "room=r").await;
    notify(0, "third").await;
    assert_eq!(stream.event().await.data["data"]["message"], "third");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_room_has_one_roster_on_all_nodes() {
    let site = Site::with(2, |config| (config.room.gather_above, config.room.gather_until) = (4, 2)).await;
    let mut guests = Vec::new();
    for n in 0..12 {
        let (wire, _) = site.member(n % 2, &format!("u{n}"), "r").await;
        guests.push(wire);
    }
    let count = async |guest: &mut Wire| {
        let page = guest.granted(json!({ "type": "members", "room": "r" })).await;
        (page["count"].as_u64().unwrap(), page["members"].as_array().unwrap().len())
    };
    for guest in &mut guests[..2] {
        until("the roster", async || (count(guest).await == (12, 12)).then_some(())).await;
    }
    let (_, joined) = site.member(0, "late", "r").await;
    assert_eq!(joined["count"], 13);
    for guest in guests.drain(4..) {
        guest.bye().await;
    }
    for guest in &mut guests[..2] {
        until("the roster", async || (count(guest).await.0 <= 5).then_some(())).await;
    }
}

/// Whoever plays alone with friends on one node does not pay for the others.
#[tokio::test(flavor = "multi_thread")]
async fn moves_between_members_of_one_node_do_not_pass_through_the_engine() {
    let site = Site::open(1).await;
    let (mut ann, joined) = site.member(0, "ann", "r").await;
    let (mut bob, _) = site.member(0, "bob", "r").await;
    ann.said("peer-joined").await;
    let commands = async || {
        let stats = site.engine.ask(&["INFO", "commandstats"]).await.unwrap();
        let calls = |name: &str| {
            let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:")))?;
            line.split(['=', ',']).nth(1)?.parse::<u64>().ok()
        };
        ["evalsha", "eval", "spublish", "publish", "xadd"].map(|name| calls(name).unwrap_or(0))
    };
    let before = commands().await;
    assert!(before[4] >= 2, "both joins are in the log: {before:?}");
    for n in 1..=100 {
        ann.say(json!({ "type": "move", "room": "r", "reliable": true, "key": 1, "data": n })).await;
    }
    bob.said_with("move", |told| told["data"] == 100).await;
    assert_eq!(commands().await, before, "{joined}");
}
