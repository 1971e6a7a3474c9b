//! Sessions that go on on another node: nobody sees them leave.

use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use super::{Site, users};
use crate::support::{Node, Wire, pass, until};

/// A member of two rooms, and what it resumes with.
async fn roamer(node: &Node) -> (Wire, Value) {
    let pass = pass("bob").host("*");
    let mut wire = Wire::connect(node, &pass, Encoding::Json).await;
    let mut positions = serde_json::Map::new();
    for room in ["r", "s"] {
        let joined = wire.granted(json!({ "type": "join", "room": room })).await;
        positions.insert(room.to_owned(), joined["position"].clone());
    }
    wire.granted(json!({ "type": "update", "room": "r", "state": { "muted": true } })).await;
    let token = &wire.connected["resume"];
    let resume = json!({ "token": token, "received": 0, "positions": positions, "jwt": pass.mint() });
    (wire, resume)
}

/// What became of the session: the same peer in the same rooms, with the same order.
async fn is_there_again(back: &mut Wire, before: &Value) {
    assert_eq!((&back.connected["peer"], &back.connected["resumed"]), (before, &json!(false)));
    for room in ["r", "s"] {
        let joined = back.said_with("joined", |joined| joined["room"] == room).await;
        assert_eq!(joined["you"]["peer"], *before, "{joined}");
    }
}

async fn roster(wire: &mut Wire) -> Vec<String> {
    let page = wire.granted(json!({ "type": "members", "room": "r" })).await;
    users(&page).iter().map(|user| (*user).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_elsewhere_after_its_node_was_killed() {
    let site = Site::open(2).await;
    let doomed = site.mortal().await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (bob, resume) = roamer(&doomed).await;
    let peer = bob.connected["peer"].clone();
    ann.said("peer-joined").await;
    ann.said("peer-updated").await;
    ann.granted(json!({ "type": "message", "room": "r", "text": "missed" })).await;
    doomed.kill();
    let mut back = Wire::resumed(&site.nodes[1], Encoding::Json, resume, 0).await;
    is_there_again(&mut back, &peer).await;
    assert!(back.stashed().iter().all(|said| said["type"] != "reset"), "nothing was lost but the socket");
    // It is reached where it is now.
    ann.granted(json!({ "type": "offer", "room": "r", "to": peer, "data": 1 })).await;
    assert_eq!(back.said("offer").await["from"], ann.connected["peer"]);
    back.granted(json!({ "type": "message", "room": "r", "text": "back" })).await;
    ann.said_with("message", |said| said["text"] == "back").await;
    // Its node is declared dead, and nobody has left with it.
    let late = site.mortal().await;
    let mut cat = Wire::connect(&late, &pass("cat").host("*"), Encoding::Json).await;
    cat.granted(json!({ "type": "join", "room": "r" })).await;
    late.kill();
    let down = ann.said("node-down").await;
    assert_eq!((&down["count"], down["left"].as_array().map(Vec::len)), (&json!(2), Some(1)), "{down}");
    assert!(ann.stashed().iter().all(|said| said["type"] != "peer-left"));
    for wire in [&mut ann, &mut back] {
        assert_eq!(roster(wire).await, ["ann", "bob"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_leaves_the_node_that_it_was_on() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (mut bob, resume) = roamer(&site.nodes[0]).await;
    let peer = bob.connected["peer"].clone();
    let mut back = Wire::resumed(&site.nodes[1], Encoding::Json, resume.clone(), 0).await;
    is_there_again(&mut back, &peer).await;
    bob.closed(4410, 0).await;
    let sessions = || site.nodes[0].hub.metrics().sessions.get();
    ann.granted(json!({ "type": "offer", "room": "r", "to": peer, "data": 1 })).await;
    assert_eq!(back.said("offer").await["from"], ann.connected["peer"]);
    // The state it had is what others see.
    let page = ann.granted(json!({ "type": "members", "room": "r" })).await;
    let entry = page["members"].as_array().unwrap().iter().find(|member| member["peer"] == peer).unwrap();
    assert_eq!(entry["state"], json!({ "muted": true }));
    // Nothing is left of it where it was, and it is still in the room after its grace there.
    until("the session to be let go", async || (sessions() == 1).then_some(())).await;
    assert_eq!(roster(&mut ann).await, ["ann", "bob"]);
    back.bye().await;
    assert_eq!(ann.said("peer-left").await["peer"]["peer"], peer);
    assert!(ann.stashed().iter().all(|said| said["type"] != "peer-left"));
    // Whoever has left is nobody's to take.
    Wire::resume(&site.nodes[1], Encoding::Json, resume).await.closed(4200, 806).await;
}
