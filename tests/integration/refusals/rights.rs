//! What a good token does not grant: verbs, rooms, peers and reserved names.

use rallypoint_protocol::{
    Encoding, Verb,
    rights::{RULES, Rule},
};
use serde_json::{Value, json};

use super::is_well;
use crate::support::{Answer, Ask, Node, Pass, Wire, pass};

fn everything_but(verb: Option<Verb>) -> Pass {
    let verbs = Verb::ALL.into_iter().filter(|&other| Some(other) != verb);
    pass("ada").verbs("lobby", verbs.map(Verb::name))
}

/// A well-formed message of this type for the room `lobby`, or `None` if the name is a route's.
pub(super) fn message(name: &str, to: &Value) -> Option<Value> {
    let mut message = match name {
        "join" | "watch" | "members" => json!({}),
        "offer" | "answer" | "ice-candidate" => json!({ "to": to, "data": null }),
        "message" => json!({ "text": "hi" }),
        "publish" => json!({ "kind": "score", "data": null }),
        "update" => json!({ "state": {} }),
        "typing" => json!({}),
        "move" => json!({ "data": 1 }),
        _ if name.contains(' ') => return None,
        _ => panic!("this test must learn how to say {name}"),
    };
    message["type"] = name.into();
    message["room"] = "lobby".into();
    Some(message)
}

/// What a message comes to: the answer, or for those without one the error if there is one before the answer to a
/// ping that follows.
pub(super) async fn outcome(wire: &mut Wire, message: Value) -> Value {
    if !matches!(message["type"].as_str(), Some("typing" | "move")) {
        return wire.ask(message).await;
    }
    wire.say(message).await;
    let pong = wire.ask(json!({ "type": "ping" })).await;
    wire.stashed_error().unwrap_or(pong)
}

/// Asks for a route. Of an answer that is granted and has no end only the head is read.
async fn route(node: &Node, rule: &Rule, pass: &Pass, peer: &str, granted: bool) -> Answer {
    let (method, path) = rule.name.split_once(' ').expect("a method and a path");
    let query = if path == "/v1/events" || path == "/v1/poll" { "?room=lobby&wait=0" } else { "" };
    let path = format!("{}{query}", path.replace("{room}", "lobby").replace("{peer}", peer));
    let ask = Ask::new(method, &path).pass(pass);
    let ask = if method == "POST" { ask.json(&json!({ "kind": "score", "data": 1 })) } else { ask };
    if granted && path.starts_with("/v1/events") { node.open(ask).await } else { node.send(ask).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_rights_table_is_asked_for() {
    let node = Node::start().await;
    let mut bob = Wire::connect(&node, &pass("bob").host("*"), Encoding::Json).await;
    bob.granted(json!({ "type": "join", "room": "lobby" })).await;
    let peer = bob.connected["peer"].clone();
    let mut rows = 0;
    for rule in RULES.iter().filter(|rule| rule.verb.is_some()) {
        rows += 1;
        let (with, without) = (everything_but(None), everything_but(rule.verb));
        let Some(message) = message(rule.name, &peer) else {
            route(&node, rule, &without, peer.as_str().expect("text"), false).await.refused(705);
            let answer = route(&node, rule, &with, peer.as_str().expect("text"), true).await;
            assert!((200..300).contains(&answer.status), "{}: {}", rule.name, answer.text());
            if rule.verb == Some(Verb::Kick) {
                while bob.said("peer-left").await["reason"] != "kicked" {}
                bob.granted(json!({ "type": "join", "room": "lobby" })).await;
            }
            continue;
        };
        for (pass, granted) in [(with, true), (without, false)] {
            let mut ada = Wire::connect(&node, &pass, Encoding::Json).await;
            if rule.member && (granted || rule.verb != Some(Verb::Join)) {
                ada.granted(json!({ "type": "join", "room": "lobby" })).await;
            }
            let answer = outcome(&mut ada, message.clone()).await;
            let expected = if granted { Value::Null } else { 705.into() };
            assert_eq!(answer.get("code").unwrap_or(&Value::Null), &expected, "{}: {answer}", rule.name);
            ada.bye().await;
        }
    }
    assert_eq!(rows, 18, "the table has grown: look whether this test still says everything");

    // The binary form of a move asks for the same verb.
    let mut ada = Wire::connect(&node, &everything_but(Some(Verb::Move)), Encoding::MsgPack).await;
    let joined = ada.granted(json!({ "type": "join", "room": "lobby" })).await;
    let handle =
        u8::try_from(joined["handle"].as_u64().expect("a handle")).expect("the first rooms have small handles");
    ada.send_bytes(&[0x95, 1, 0xcc, handle, 0, 1, 0xc0]).await;
    assert_eq!(ada.complaint(705).await["room"], "lobby");
    ada.bye().await;
    // Chat over HTTP asks for `chat`, not for `publish`.
    let chat = json!({ "kind": "message", "data": { "text": "hi" } });
    let path = "/v1/rooms/lobby/events";
    node.post(path, &everything_but(Some(Verb::Chat)), &chat).await.refused(705);
    node.post(path, &everything_but(Some(Verb::Publish)), &chat).await.expect(201);
    bob.bye().await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_and_looking_back_have_verbs_of_their_own() {
    let node = Node::start().await;
    let mut ada = Wire::connect(&node, &everything_but(Some(Verb::Create)), Encoding::Json).await;
    ada.refused(json!({ "type": "join", "room": "lobby" }), 802).await;
    let mut bob = Wire::connect(&node, &everything_but(None), Encoding::Json).await;
    let joined = bob.granted(json!({ "type": "join", "room": "lobby" })).await;
    bob.granted(json!({ "type": "message", "room": "lobby", "text": "first" })).await;
    ada.granted(json!({ "type": "join", "room": "lobby" })).await;

    let since = joined["position"].as_str().expect("a position");
    let blind = everything_but(Some(Verb::History));
    let mut eve = Wire::connect(&node, &blind, Encoding::Json).await;
    let joined = eve.granted(json!({ "type": "join", "room": "lobby", "since": since })).await;
    assert_eq!(joined.get("missed"), None);
    assert_eq!(eve.said("reset").await["reason"], "no-history");
    let polled = node.get(&format!("/v1/poll?room=lobby&since=lobby:{since}"), &blind).await.expect(200);
    assert_eq!(polled["reset"][0]["reason"], "no-history");
    assert_eq!(polled["events"], json!([]));
    for wire in [ada, bob, eve] {
        wire.bye().await;
    }
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_in_one_room_are_none_in_another() {
    let node = Node::start().await;
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut ada = Wire::connect(&node, &pass("ada").host("match/*"), encoding).await;
        let mut bob = Wire::connect(&node, &pass("bob").host("*"), encoding).await;
        ada.granted(json!({ "type": "join", "room": "match/1" })).await;
        bob.granted(json!({ "type": "join", "room": "match/2" })).await;
        let (own, other) = (ada.connected["peer"].clone(), bob.connected["peer"].clone());
        for kind in ["offer", "answer", "ice-candidate"] {
            let signal = |room: &str, to: &Value| json!({ "type": kind, "room": room, "to": to, "data": {} });
            // The peer exists, in another room.
            ada.refused(signal("match/1", &other), 805).await;
            // The room exists, and is not ours.
            ada.refused(signal("match/2", &other), 803).await;
            ada.refused(signal("match/1", &json!("7d4c6f0e-52ce-4b8a-9d47-0f4b39ab5f33")), 805).await;
            ada.refused(signal("match/1", &own), 805).await;
        }
        for room in ["match", "matches/1", "lobby"] {
            ada.refused(json!({ "type": "join", "room": room }), 705).await;
            ada.refused(json!({ "type": "watch", "room": room }), 705).await;
        }
        for message in [
            json!({ "type": "message", "text": "hi" }),
            json!({ "type": "publish", "kind": "score", "data": 1 }),
            json!({ "type": "update", "state": {} }),
            json!({ "type": "members" }),
            json!({ "type": "leave" }),
            json!({ "type": "unwatch" }),
        ] {
            let mut message = message;
            message["room"] = "match/2".into();
            ada.refused(message, 803).await;
        }
        ada.say(json!({ "type": "typing", "room": "match/2" })).await;
        assert_eq!(ada.complaint(803).await["room"], "match/2");
        ada.refused(json!({ "type": "join", "room": "match/1" }), 804).await;
        ada.refused(json!({ "type": "watch", "room": "match/1" }), 804).await;
        // Nothing of all this reached anybody.
        bob.granted(json!({ "type": "ping" })).await;
        assert!(bob.is_silent(), "bob heard something");
        ada.bye().await;
        bob.bye().await;
    }
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wildcard_reaches_a_users_own_log() {
    let node = Node::start().await;
    let ada = pass("ada").host("*").notify("ada");
    let mut wire = Wire::connect(&node, &ada, Encoding::Json).await;
    for room in ["user/bob", "user/ada"] {
        wire.refused(json!({ "type": "join", "room": room }), 706).await;
        wire.refused(json!({ "type": "watch", "room": room }), 706).await;
        wire.refused(json!({ "type": "publish", "room": room, "kind": "score", "data": 1 }), 706).await;
        wire.refused(json!({ "type": "message", "room": room, "text": "hi" }), 706).await;
        let segment = room.replace('/', "%2F");
        for door in ["events", "poll"] {
            node.get(&format!("/v1/{door}?room={segment}&after=0"), &ada).await.refused(706);
        }
        let event = json!({ "kind": "score", "data": 1 });
        node.post(&format!("/v1/rooms/{segment}/events"), &ada, &event).await.refused(706);
        node.get(&format!("/v1/rooms/{segment}"), &ada).await.refused(706);
        node.get(&format!("/v1/rooms/{segment}/members"), &ada).await.refused(706);
    }
    let word = json!({ "message": "psst" });
    node.post("/v1/users/bob/notifications", &ada, &word).await.refused(705);
    node.post("/v1/users/ada/notifications", &pass("bob").host("*"), &word).await.refused(705);
    node.delete("/v1/users/bob/sessions", &ada).await.refused(705);
    node.get("/v1/rooms", &ada).await.refused(705);
    node.get("/metrics", &ada).await.refused(705);
    // The claim alone is not enough: it counts only with the audience for operators.
    let mut pretender = pass("ada").admin("metrics").admin("rooms");
    pretender.0.aud.0.truncate(1);
    node.get("/metrics", &pretender).await.refused(705);
    node.get("/v1/rooms", &pretender).await.refused(705);
    wire.bye().await;
    is_well(node).await;
}
