//! What is lost is said, and what is kept is bounded.

use rallypoint::auth::Limit;

use super::*;
use crate::support::{pass, until};

async fn lost(node: &Node, count: f64) {
    until("the losses", async || (node.metrics().await["sessions_lost"] == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_away_leaves() {
    let node = Node::with(|config| config.limits.resume_grace_ms = 300).await;
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    let ada = Member::join(&node, "ada", Encoding::Json).await;
    let memory = ada.memory();
    ada.wire.cut();
    let left = bob.wire.said("peer-left").await;
    assert_eq!((&left["reason"], &left["peer"]["user"]), (&json!("lost"), &json!("ada")));
    Wire::resume(&node, Encoding::Json, memory).await.closed(4200, 806).await;
    lost(&node, 0.0).await;
    assert_eq!(node.gauges().await["sessions"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grace_nothing_is_kept() {
    let node = Node::with(|config| config.limits.resume_grace_ms = 0).await;
    let mut bob = Wire::connect(&node, &pass("bob").player("*"), Encoding::Json).await;
    bob.granted(json!({ "type": "join", "room": ROOM })).await;
    let mut ada = Wire::connect(&node, &pass("ada").player("*"), Encoding::Json).await;
    assert_eq!(ada.connected.get("resume"), None);
    ada.granted(json!({ "type": "join", "room": ROOM })).await;
    ada.cut();
    assert_eq!(bob.said("peer-left").await["reason"], "lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_kept_is_a_reset() {
    let node = Node::with(|config| {
        config.room.history_events = 4;
        config.limits.moves_burst = 1000.0;
    })
    .await;
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    for way in ["counted", "events", "claim", "encoding"] {
        let mut ada = Member::join(&node, "ada", Encoding::Json).await;
        let mut memory = ada.memory();
        let mut encoding = Encoding::Json;
        ada.wire.granted(json!({ "type": "ping" })).await;
        let peer = ada.peer().clone();
        ada.wire.cut();
        match way {
            "counted" => {
                for n in 0..257 {
                    bob.wire.say(json!({ "type": "move", "room": ROOM, "reliable": true, "data": n })).await;
                }
                bob.wire.granted(json!({ "type": "ping" })).await;
            }
            "events" => {
                for n in 0..5 {
                    bob.wire.granted(json!({ "type": "message", "room": ROOM, "text": format!("{n}") })).await;
                }
            }
            "claim" => memory["received"] = 1.into(),
            _ => encoding = Encoding::MsgPack,
        }
        let mut back = Wire::resumed(&node, encoding, memory, 10).await;
        assert_eq!((&back.connected["resumed"], &back.connected["peer"]), (&json!(false), &peer), "{way}");
        assert_eq!(back.said("joined").await.get("missed"), None, "{way}");
        let reason = if way == "events" { "trimmed" } else { "lost" };
        assert_eq!(back.said("reset").await["reason"], reason, "{way}");
        // Both ends count from the beginning again.
        bob.wire.granted(json!({ "type": "offer", "room": ROOM, "to": peer, "data": 1 })).await;
        back.said("offer").await;
        back.say(json!({ "type": "ack", "n": 1 })).await;
        back.granted(json!({ "type": "ping" })).await;
        assert_eq!(back.stashed_error(), None, "{way}");
        back.say(json!({ "type": "ack", "n": 2 })).await;
        back.complaint(608).await;
        back.bye().await;
        assert_eq!(bob.wire.said("peer-left").await["reason"], "closed", "{way}: it was there all the time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_node_keep_so_many_and_let_the_first_one_go() {
    let node = Node::with(|config| config.limits.lost = 3).await;
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    let mut memories = Vec::new();
    for n in 1..=3 {
        let ada = Member::join(&node, "ada", Encoding::Json).await;
        memories.push(ada.memory());
        ada.wire.cut();
        lost(&node, f64::from(n.min(2))).await;
    }
    assert_eq!(bob.wire.said("peer-left").await["peer"]["user"], "ada");
    Wire::resume(&node, Encoding::Json, memories[0].clone()).await.closed(4200, 806).await;
    for user in ["cy", "di"] {
        let member = Member::join(&node, user, Encoding::Json).await;
        member.wire.cut();
        lost(&node, 3.0).await;
    }
    // The node keeps three: the second of ada's was the one that was lost first.
    bob.wire.said("peer-left").await;
    Wire::resume(&node, Encoding::Json, memories[1].clone()).await.closed(4200, 806).await;
    assert_eq!(Wire::resumed(&node, Encoding::Json, memories[2].clone(), 0).await.connected["resumed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_from_the_last_room_while_away_is_the_end() {
    let node = Node::start().await;
    let host = pass("host").host("*");
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    let ada = Member::join(&node, "ada", Encoding::Json).await;
    let (memory, peer) = (ada.memory(), ada.peer().as_str().unwrap().to_owned());
    ada.wire.cut();
    lost(&node, 1.0).await;
    let path = format!("/v1/rooms/match%2F7/members/{peer}");
    assert_eq!(node.delete(&path, &host).await.status, 204);
    assert_eq!(bob.wire.said("peer-left").await["reason"], "kicked");
    lost(&node, 0.0).await;
    Wire::resume(&node, Encoding::Json, memory).await.closed(4200, 806).await;
    assert_eq!(node.gauges().await["sessions"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_of_the_user_is_what_its_token_says() {
    use rallypoint::auth::DuplicatePolicy::{Multi, Reject, Replace};
    let node = Node::start().await;
    let ada = |policy| {
        let mut pass = pass("ada").host("*");
        pass.0.dup = policy;
        pass
    };
    let mut first = Wire::connect(&node, &ada(Multi), Encoding::Json).await;
    let mut second = Wire::connect(&node, &ada(Multi), Encoding::Json).await;
    let mut refused = Wire::anonymous(&node, Encoding::Json).await;
    refused.say(json!({ "type": "auth", "token": ada(Reject).mint() })).await;
    refused.closed(4409, 710).await;
    first.granted(json!({ "type": "join", "room": ROOM })).await;
    second.granted(json!({ "type": "ping" })).await;
    let memory = json!({ "token": first.connected["resume"], "received": 0, "positions": {} });
    let third = Wire::connect(&node, &ada(Replace), Encoding::Json).await;
    first.closed(4410, 0).await;
    second.closed(4410, 0).await;
    Wire::resume(&node, Encoding::Json, memory).await.closed(4200, 806).await;
    // Whoever lost its socket does not lock its own user out.
    third.cut();
    lost(&node, 1.0).await;
    Wire::connect(&node, &ada(Reject), Encoding::Json).await.bye().await;
    lost(&node, 0.0).await;
    node.emptied().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lowers_the_limits_of_its_session() {
    let node = Node::start().await;
    let mut low = pass("ada").host("*");
    low.0.lim = Limit { rooms: Some(1), requests: Some(7), moves: Some(1), bytes: Some(4096) };
    let mut wire = Wire::connect(&node, &low, Encoding::Json).await;
    let told = |[rooms, requests, requests_burst, moves, moves_burst, bytes]: [u64; 6]| {
        json!({
            "frame": 65_536, "move": 4096, "text": 4096, "signal": 65_536, "state": 512, "rooms": rooms,
            "requests_per_second": requests, "requests_burst": requests_burst, "moves_per_second": moves,
            "moves_burst": moves_burst, "bytes_per_second": bytes,
        })
    };
    assert_eq!(wire.connected["limits"], told([1, 7, 14, 1, 2, 4096]));
    wire.granted(json!({ "type": "join", "room": "one" })).await;
    wire.refused(json!({ "type": "join", "room": "two" }), 902).await;
    // A burst that is no whole number is told as the one below.
    let mut odd = pass("bob").host("*");
    odd.0.lim = Limit { rooms: Some(99), requests: Some(7), ..Limit::default() };
    let other = Node::with(|config| config.limits.requests_burst = 61.0).await;
    let odd = Wire::connect(&other, &odd, Encoding::MsgPack).await;
    assert_eq!(odd.connected["limits"], told([16, 7, 7, 120, 240, 524_288]));
    // A newer token brings its own limits along.
    wire.granted(json!({ "type": "refresh", "token": pass("ada").host("*").mint() })).await;
    wire.granted(json!({ "type": "join", "room": "two" })).await;
}
