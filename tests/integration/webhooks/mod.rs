//! Webhooks as their receivers see them: a real server that checks the signature, is away, fails and comes back.

mod receiver;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    time::{SystemTime, UNIX_EPOCH},
};

use rallypoint_protocol::Encoding;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use self::receiver::{Delivery, Receiver, SECRET, hook, hooked, signed};
use crate::support::{Ask, Node, Stream, Wire, pass, until, within};

async fn enter(node: &Node, user: &str, rooms: &[&str]) -> Wire {
    let mut wire = Wire::connect(node, &pass(user).name("Somebody").player("*"), Encoding::Json).await;
    for room in rooms {
        wire.granted(json!({ "type": "join", "room": room })).await;
    }
    wire
}

/// Comes, goes, and is gone.
async fn visit(node: &Node, user: &str, rooms: &[&str]) {
    enter(node, user, rooms).await.bye().await;
    until("the guest to be gone", async || (node.hub.metrics().sessions.get() == 0).then_some(())).await;
}

fn told(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(Delivery::told).collect()
}

/// What came of each room, and whether it was in order: the same id may come twice in a row, and is the same then.
fn by_room(deliveries: &[Delivery]) -> BTreeMap<String, Vec<Delivery>> {
    let mut rooms = BTreeMap::<String, Vec<Delivery>>::new();
    for delivery in deliveries {
        let room = rooms.entry(delivery.body["room"].as_str().unwrap_or("-").to_owned()).or_default();
        match room.last() {
            Some(last) if last.id == delivery.id => assert_eq!(last.body, delivery.body),
            _ => room.push(delivery.clone()),
        }
    }
    for events in rooms.values() {
        let ids: BTreeSet<_> = events.iter().map(|event| &event.id).collect();
        assert_eq!(ids.len(), events.len(), "no other event came between two of the same id: {:?}", told(events));
    }
    rooms
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_and_leaves_are_told() {
    let receiver = Receiver::start().await;
    let node = Node::with(hooked(hook(receiver.address, &["match/*"]))).await;
    let ada = enter(&node, "ada", &["match/7", "lobby"]).await;
    let spectator = Stream::open(&node, &pass("eve").spectator("*"), "room=match/7").await;
    let mut bob = enter(&node, "bob", &["match/7"]).await;
    let peer = bob.connected["peer"].clone();
    bob.granted(json!({ "type": "leave", "room": "match/7" })).await;
    ada.bye().await;
    let seen = receiver.took(5).await;
    let expected = [
        "peer-joined match/7 ada",
        "peer-joined match/7 bob",
        "peer-left match/7 bob",
        "peer-left match/7 ada",
        "room-empty match/7 -",
    ];
    assert_eq!(told(&seen), expected, "spectators are no members, and the lobby is not asked for");
    let counts: Vec<_> = seen.iter().map(|delivery| delivery.body["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 1, 0, 0]);
    let joined = &seen[1].body;
    assert_eq!((&joined["peer"]["peer"], &joined["peer"]["name"]), (&peer, &"Somebody".into()));
    assert!(joined["peer"]["order"].is_u64() && joined["peer"].get("handle").is_none(), "{joined}");
    assert_eq!(seen[2].body["peer"], json!({ "peer": peer, "user": "bob", "name": "Somebody" }));
    assert_eq!((&seen[2].body["reason"], &seen[3].body["reason"]), (&"left".into(), &"closed".into()));
    let nodes: BTreeSet<_> = seen.iter().map(|delivery| delivery.body["node"].to_string()).collect();
    assert_eq!(nodes.len(), 1);
    let times: Vec<_> = seen.iter().map(|delivery| delivery.body["time"].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] > 1.7e12, "{times:?}");
    // The room is used again, and is empty again.
    let carl = enter(&node, "carl", &["match/7"]).await;
    carl.bye().await;
    let again = told(&receiver.took(8).await)[5..].to_vec();
    assert_eq!(again, ["peer-joined match/7 carl", "peer-left match/7 carl", "room-empty match/7 -"]);
    let metrics = node.metrics().await;
    assert_eq!(metrics["webhooks_total{hook=\"game\",outcome=\"sent\"}"], 8.0);
    assert_eq!(
        (metrics["webhooks_queued{hook=\"game\"}"], metrics["webhooks_oldest_seconds{hook=\"game\"}"]),
        (0.0, 0.0)
    );
    drop((spectator, bob));
}

/// A lost socket that comes back is no leave, and one that does not is told with its reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_comes_back_has_not_left() {
    let receiver = Receiver::start().await;
    let node = Node::with(|config| {
        config.limits.resume_grace_ms = 500;
        hooked(hook(receiver.address, &["*"]))(config);
    })
    .await;
    let ada = enter(&node, "ada", &["lobby"]).await;
    let resume = json!({ "token": ada.connected["resume"], "received": 0, "positions": {} });
    let id = ada.last_id();
    ada.cut();
    let again = Wire::resumed(&node, Encoding::Json, resume, id).await;
    again.cut();
    let seen = receiver.took(3).await;
    assert_eq!(told(&seen), ["peer-joined lobby ada", "peer-left lobby ada", "room-empty lobby -"]);
    assert_eq!(seen[1].body["reason"], "lost");
}

/// Guests of a large room are told of each other in summaries; a receiver is told of each.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_large_room_are_told_one_by_one() {
    let receiver = Receiver::start().await;
    let node = Node::with(|config| {
        (config.room.gather_above, config.room.gather_until) = (3, 2);
        hooked(hook(receiver.address, &["*"]))(config);
    })
    .await;
    let mut wires = Vec::new();
    for n in 0..8 {
        wires.push(enter(&node, &format!("u{n}"), &["stage"]).await);
    }
    let kicked = wires[0].connected["peer"].as_str().unwrap().to_owned();
    let kick = node.delete(&format!("/v1/rooms/stage/members/{kicked}"), &pass("host").admin("kick")).await;
    assert_eq!(kick.status, 204);
    for (n, wire) in wires.drain(1..).enumerate() {
        wire.bye().await;
        let left = 7 - i64::try_from(n).unwrap();
        until("the guest to be gone", async || (node.hub.metrics().sessions.get() == left).then_some(())).await;
    }
    let seen = receiver.took(17).await;
    let joined = (0..8).map(|n| format!("peer-joined stage u{n}"));
    let left = (0..8).map(|n| format!("peer-left stage u{n}"));
    assert_eq!(told(&seen), joined.chain(left).chain(["room-empty stage -".to_owned()]).collect::<Vec<_>>());
    assert_eq!((&seen[8].body["reason"], &seen[9].body["reason"]), (&"kicked".into(), &"closed".into()));
    let counts: Vec<_> = seen.iter().map(|delivery| delivery.body["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_misses_nothing() {
    let receiver = Receiver::asleep().await;
    let node = Node::with(hooked(hook(receiver.address, &["*"]))).await;
    let rooms: Vec<_> = (0..6).map(|n| format!("match/{n}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    for user in ["ada", "bob"] {
        visit(&node, user, &rooms).await;
    }
    let away = until("many tries in vain", async || {
        let metrics = node.metrics().await;
        metrics.get("webhooks_total{hook=\"game\",outcome=\"retried\"}").filter(|tries| **tries > 20.0).copied()
    })
    .await;
    let metrics = node.metrics().await;
    assert_eq!(metrics["webhooks_queued{hook=\"game\"}"], 36.0, "after {away} tries");
    assert!(metrics["webhooks_oldest_seconds{hook=\"game\"}"] > 0.0);
    // It is back, and has a fault: it takes every third delivery and says that it did not.
    let mut count = 0;
    receiver.answers(move |_| {
        count += 1;
        if count % 3 == 0 { [500, 503, 429, 408, 425][count / 3 % 5] } else { 200 }
    });
    receiver.wake().await;
    receiver.took(36).await;
    node.stop().await;
    let seen = receiver.seen();
    assert!(seen.len() >= 36 + 15, "duplicates did come: {}", seen.len());
    let rooms = by_room(&seen);
    assert_eq!(rooms.len(), 6);
    for (room, events) in rooms {
        let one = |user: &str| {
            [format!("peer-joined {room} {user}"), format!("peer-left {room} {user}"), format!("room-empty {room} -")]
        };
        assert_eq!(told(&events), [one("ada"), one("bob")].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_fit_is_told() {
    let receiver = Receiver::asleep().await;
    let node = Node::with(|config| {
        let narrow = rallypoint::config::WebhookConfig { queue_events: 5, ..hook(receiver.address, &["*"]) };
        hooked(narrow)(config);
    })
    .await;
    let all = ["a", "b", "c"];
    for user in ["ada", "bob", "carl"] {
        visit(&node, user, &all).await;
    }
    let dropped = until("all to be told", async || {
        let metrics = node.metrics().await;
        metrics.get("webhooks_total{hook=\"game\",outcome=\"dropped\"}").filter(|count| **count >= 22.0).copied()
    })
    .await;
    assert_eq!(dropped, 22.0, "of 27 events 5 fit");
    receiver.wake().await;
    receiver.took(5 + 3).await;
    // There is room again.
    visit(&node, "dora", &["a"]).await;
    let seen = receiver.took(5 + 3 + 3).await;
    let count = |delivery: &&Delivery| delivery.body["event"] == "lost";
    let lost: Vec<_> = seen.iter().filter(count).collect();
    let missing: u64 = lost.iter().map(|delivery| delivery.body["count"].as_u64().unwrap()).sum();
    assert_eq!(missing, 22, "{:?}", told(&seen));
    let rooms = by_room(&seen);
    let hole = ["peer-joined a ada", "peer-left a ada", "room-empty a -", "lost a -"];
    assert_eq!(told(&rooms["a"])[..4], hole, "where the hole is");
    assert_eq!(told(&rooms["a"])[4..], ["peer-joined a dora", "peer-left a dora", "room-empty a -"]);
    assert!(lost.iter().all(|delivery| delivery.body.get("peer").is_none() && delivery.body["time"].is_number()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_does_not_want_is_not_repeated() {
    let receiver = Receiver::start().await;
    receiver.answers(|delivery| if delivery.body["event"] == "peer-joined" { 422 } else { 200 });
    let node = Node::with(hooked(hook(receiver.address, &["*"]))).await;
    visit(&node, "ada", &["lobby"]).await;
    receiver.took(2).await;
    assert_eq!(told(&receiver.seen()), ["peer-joined lobby ada", "peer-left lobby ada", "room-empty lobby -"]);
    assert_eq!(node.metrics().await["webhooks_total{hook=\"game\",outcome=\"refused\"}"], 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_sent_before_the_server_ends() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| 503);
    let patient = |address| rallypoint::config::WebhookConfig {
        retry_ms: 600_000,
        retry_max_ms: 600_000,
        ..hook(address, &["*"])
    };
    let node = Node::with(hooked(patient(receiver.address))).await;
    visit(&node, "ada", &["lobby"]).await;
    until("the first try", async || receiver.seen().first().cloned()).await;
    receiver.answers(|_| 200);
    node.stop().await;
    assert_eq!(receiver.took(3).await.len(), 3);
    assert_eq!(receiver.seen().len(), 4);

    // Nobody is there to take it: the server ends all the same, and says how much was lost.
    let nobody = Receiver::asleep().await;
    let node = Node::with(hooked(patient(nobody.address))).await;
    visit(&node, "ada", &["lobby"]).await;
    let hub = node.hub.clone();
    node.stop().await;
    let metrics = hub.metrics().render();
    assert!(metrics.contains("rallypoint_webhooks_total{hook=\"game\",outcome=\"dropped\"} 3"), "{metrics}");
}

/// The receiver that the manual shows, as it stands there.
#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_of_the_manual_takes_what_is_signed_and_each_event_once() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhooks/receiver.mjs");
    let mut child = tokio::process::Command::new("node")
        .arg(program)
        .envs([("PORT", "0"), ("WEBHOOK_SECRET", SECRET)])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the tests need node");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || within("a line", lines.next_line()).await.unwrap().expect("it goes on");
    let address = line().await.rsplit(' ').next().unwrap().parse().unwrap();
    let node = Node::with(hooked(hook(address, &["*"]))).await;
    visit(&node, "ada", &["lobby"]).await;
    for expected in ["peer-joined", "peer-left", "room-empty"] {
        let event: Value = serde_json::from_str(&line().await).unwrap();
        assert_eq!((&event["event"], &event["room"]), (&expected.into(), &"lobby".into()));
    }
    node.stop().await;
    // By hand: the same twice, a body that was changed, a delivery of last week.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let post = async |id: &str, timestamp: u64, signed_body: &str, body: &str| {
        let ask = Ask::new("POST", "/").header("webhook-id", id).header("webhook-timestamp", &timestamp.to_string());
        let signature = signed(id, &timestamp.to_string(), signed_body.as_bytes());
        // While a secret is changed there may be a second one, as the specification allows.
        let ask = ask.header("webhook-signature", &format!("v1,AAAA {signature}")).body(body);
        within("an answer", ask.send_elsewhere(address)).await.status
    };
    let (one, other) = (r#"{"id":"1","event":"x"}"#, r#"{"id":"2","event":"y"}"#);
    let statuses = [
        post("1", now, one, one).await,
        post("1", now, one, one).await,
        post("2", now, one, other).await,
        post("2", now - 604_800, other, other).await,
        post("2", now, other, other).await,
    ];
    assert_eq!(statuses, [204, 204, 401, 401, 204]);
    assert_eq!([line().await, line().await], [one, other], "each once");
}
