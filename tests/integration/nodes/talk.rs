//! What members on different nodes say to each other past the log: signals, moves, and who types.

use rallypoint::{
    broker::{
        Subscriber as _,
        parcel::{Data, Parcel, Step},
    },
    node::NodeId,
};
use rallypoint_protocol::{Encoding, PeerId, moves::Lane, request::SignalKind};
use serde_json::{Value, json};

use super::Site;
use crate::support::{Wire, pass, room, until};

/// How often the engine was asked to do something.
async fn calls(site: &Site, command: &str) -> u64 {
    let stats = site.engine.ask(&["INFO", "commandstats"]).await.expect("the engine is there");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number"))
}

fn peer(wire: &Wire) -> Value {
    wire.connected["peer"].clone()
}

/// The handle under which a member knows another.
async fn handle(wire: &mut Wire, other: &Value) -> Value {
    let page = wire.granted(json!({ "type": "members", "room": "r" })).await;
    let members = page["members"].as_array().expect("a list");
    members.iter().find(|member| member["peer"] == *other).expect("a member")["handle"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_go_to_the_node_of_their_addressee() {
    let site = Site::open(3).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (mut bob, _) = site.member(1, "bob", "r").await;
    let (mut cat, _) = site.member(2, "cat", "r").await;
    cat.granted(json!({ "type": "ping", "id": 99 })).await;
    ann.said_with("peer-joined", |joined| joined["peer"]["user"] == "cat").await;
    for (n, kind) in ["offer", "answer", "ice-candidate"].into_iter().cycle().take(60).enumerate() {
        let data = json!({ "sdp": n });
        ann.granted(json!({ "type": kind, "room": "r", "to": peer(&bob), "data": data })).await;
        let signal = bob.said(kind).await;
        assert_eq!((&signal["from"], &signal["data"]), (&peer(&ann), &data));
    }
    // Back, and nobody else has heard anything.
    bob.granted(json!({ "type": "ice-candidate", "room": "r", "to": peer(&ann), "data": null })).await;
    assert_eq!(ann.said("ice-candidate").await["data"], Value::Null);
    assert!(cat.stashed().iter().all(|said| said["type"] != "offer"));
    ann.refused(json!({ "type": "offer", "room": "r", "to": cat.connected["session"], "data": 1 }), 805).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_go_to_members_of_all_nodes() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let mut bob = Wire::connect(&site.nodes[1], &pass("bob").host("*"), Encoding::MsgPack).await;
    bob.granted(json!({ "type": "join", "room": "r" })).await;
    let (mut cat, _) = site.member(1, "cat", "r").await;
    ann.said_with("peer-joined", |joined| joined["peer"]["user"] == "cat").await;

    // Reliable ones come all, in order; of latest ones the last one comes.
    for n in 1..=50 {
        ann.say(json!({ "type": "move", "room": "r", "reliable": true, "key": 1, "data": n })).await;
        ann.say(json!({ "type": "move", "room": "r", "key": 2, "data": [n] })).await;
    }
    let from = handle(&mut cat, &peer(&ann)).await;
    let (mut reliable, mut latest) = (Vec::new(), Value::Null);
    while reliable.len() < 50 || latest != json!([50]) {
        let step = cat.said("move").await;
        assert_eq!(step["from"], from);
        if step["reliable"] == true {
            reliable.push(step["data"].as_u64().unwrap());
        } else {
            latest = step["data"].clone();
        }
    }
    assert!(reliable.into_iter().eq(1..=50));

    // Named members only, on whichever node they are.
    let to = handle(&mut ann, &peer(&cat)).await;
    ann.say(json!({ "type": "move", "room": "r", "reliable": true, "key": 3, "to": [to], "data": "cat" })).await;
    let to = handle(&mut ann, &peer(&bob)).await;
    ann.say(json!({ "type": "move", "room": "r", "key": 4, "to": [to], "data": "bob" })).await;
    ann.say(json!({ "type": "move", "room": "r", "reliable": true, "key": 5, "data": "all" })).await;
    let is_last = |step: &Value| step["key"] == 5;
    assert_eq!(cat.said_with("move", |step| step["key"] == 3 || is_last(step)).await["data"], "cat");
    cat.said_with("move", is_last).await;
    assert!(cat.stashed().iter().all(|said| said["key"] != 4));

    // Whoever comes later sees the state that the room has on each node.
    for node in [0, 1] {
        let joined = until("the state", async || {
            let (dan, joined) = site.member(node, "dan", "r").await;
            let known = joined["state"].as_array().is_some_and(|state| state.iter().any(|step| step["key"] == 2));
            dan.bye().await;
            known.then_some(joined)
        });
        assert_eq!(joined.await["state"][0]["data"], json!([50]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_types_is_seen_on_all_nodes() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (mut bob, _) = site.member(1, "bob", "r").await;
    ann.said("peer-joined").await;
    ann.say(json!({ "type": "typing", "room": "r" })).await;
    let typing = bob.said("typing").await;
    assert_eq!((&typing["from"], &typing["on"]), (&peer(&ann), &json!(true)));
    // A message ends it, as it does where it was typed.
    ann.granted(json!({ "type": "message", "room": "r", "text": "done" })).await;
    assert_eq!(bob.said("typing").await["on"], false);
    // So does the loss of the socket.
    ann.say(json!({ "type": "typing", "room": "r" })).await;
    assert_eq!(bob.said("typing").await["on"], true);
    ann.cut();
    assert_eq!(bob.said("typing").await["on"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_on_one_node_sends_no_move_to_the_engine() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (mut bob, _) = site.member(0, "bob", "r").await;
    let (mut cat, _) = site.member(1, "cat", "elsewhere").await;
    ann.said("peer-joined").await;
    let play = async |ann: &mut Wire, bob: &mut Wire, keys: std::ops::Range<u64>| {
        for key in keys.clone() {
            for reliable in [true, false] {
                ann.say(json!({ "type": "move", "room": "r", "reliable": reliable, "key": key, "data": 1 })).await;
            }
        }
        ann.say(json!({ "type": "typing", "room": "r" })).await;
        ann.granted(json!({ "type": "offer", "room": "r", "to": bob.connected["peer"], "data": 1 })).await;
        bob.said_with("move", |step| step["key"] == keys.end - 1).await;
    };
    let before = calls(&site, "spublish").await;
    assert!(before > 0, "events were said");
    play(&mut ann, &mut bob, 0..40).await;
    assert_eq!(calls(&site, "spublish").await, before);
    // With a member on the other node it does.
    cat.granted(json!({ "type": "join", "room": "r" })).await;
    ann.said_with("peer-joined", |joined| joined["peer"]["user"] == "cat").await;
    let before = calls(&site, "spublish").await;
    play(&mut ann, &mut bob, 40..80).await;
    cat.said_with("move", |step| step["key"] == 79).await;
    assert!(calls(&site, "spublish").await > before);
}

/// Channels overtake each other: a move may come before the join of its sender.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_comes_before_its_sender_waits() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(1, "ann", "r").await;
    let mut bob = site.guest(0, &pass("bob").host("*")).await;
    let peer = PeerId::parse(peer(&bob).as_str().expect("a peer id")).expect("a good one");
    let step = |n: u32| {
        let data = Data::Json(n.to_string().into());
        Step { peer, lane: Lane::Reliable, key: 1, seq: n, time: 1, to: None, data }
    };
    let room = room("r");
    let early = [1, 2].map(|n| Parcel::Move { room: room.clone(), step: step(n) });
    site.nodes[1].hub.parcels(site.nodes[0].hub.broker().node(), early.to_vec());
    bob.granted(json!({ "type": "join", "room": "r" })).await;
    for n in [1, 2] {
        assert_eq!(ann.said("move").await["data"], n);
    }
}

/// A node that was held up says what its members had said before they went on elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_where_a_member_is_not_is_not_handed_on() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(1, "ann", "r").await;
    let (mut bob, _) = site.member(0, "bob", "r").await;
    ann.said("peer-joined").await;
    let (from, to) = (bob.connected["peer"].clone(), ann.connected["peer"].clone());
    let [from, to] = [from, to].map(|peer| PeerId::parse(peer.as_str().expect("a peer id")).expect("a good one"));
    let data = || Data::Json("0".into());
    let step = Step { peer: from, lane: Lane::Reliable, key: 1, seq: 1, time: 1, to: None, data: data() };
    let stale = [
        Parcel::Signal { room: room("r"), from, to, kind: SignalKind::Offer, data: data() },
        Parcel::Move { room: room("r"), step },
    ];
    site.nodes[1].hub.parcels(NodeId::random(), stale.to_vec());
    bob.say(json!({ "type": "move", "room": "r", "reliable": true, "key": 1, "data": 7 })).await;
    bob.granted(json!({ "type": "offer", "room": "r", "to": ann.connected["peer"], "data": 8 })).await;
    for (kind, data) in [("move", 7), ("offer", 8)] {
        assert_eq!(ann.said(kind).await["data"], data);
    }
}
