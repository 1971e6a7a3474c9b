//! Whose session it is: resume tokens that are refused, and that nothing changes by a refusal.

use super::*;
use crate::support::{Pass, pass, until};

/// Resumes with this memory must end so; whoever has the session feels nothing.
async fn refused(node: &Node, memory: &Value, close: u16, error: u16, holder: &mut Wire) {
    Wire::resume(node, Encoding::Json, memory.clone()).await.closed(close, error).await;
    holder.granted(json!({ "type": "message", "room": ROOM, "text": "still here" })).await;
}

fn with(memory: &Value, field: &str, value: impl Into<Value>) -> Value {
    let mut memory = memory.clone();
    memory[field] = value.into();
    memory
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_locks_nobody_out_and_a_confirmed_one_ends_the_older_token() {
    let node = Node::start().await;
    let ada = Member::join(&node, "ada", Encoding::Json).await;
    let (mut memory, peer) = (ada.memory(), ada.peer().clone());
    ada.wire.cut();
    for _ in 0..3 {
        // The answer is on its way when the socket breaks off: nobody has read it.
        let before = node.metrics().await.get("resumes_total{outcome=\"resumed\"}").copied().unwrap_or(0.0);
        let unread = Wire::resume(&node, Encoding::Json, memory.clone()).await;
        let after = async || (node.metrics().await.get("resumes_total{outcome=\"resumed\"}")? > &before).then_some(());
        until("the resume", after).await;
        unread.cut();
    }
    let mut back = Wire::resumed(&node, Encoding::Json, memory.clone(), 0).await;
    assert_eq!((&back.connected["resumed"], &back.connected["peer"]), (&json!(true), &peer));
    let newest = back.connected["resume"].clone();
    // One word on the socket that brought it, and the older token is of no use any more.
    back.granted(json!({ "type": "ping" })).await;
    refused(&node, &memory, 4200, 806, &mut back).await;
    memory["token"] = newest;
    let again = Wire::resumed(&node, Encoding::Json, memory, 0).await;
    assert_eq!(again.connected["peer"], peer);
    back.closed(4410, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pong_shows_that_the_answer_arrived() {
    let node = Node::with(|config| config.limits.ping_interval_ms = 1000).await;
    let ada = Member::join(&node, "ada", Encoding::Json).await;
    let memory = ada.memory();
    ada.wire.cut();
    let mut back = Wire::resumed(&node, Encoding::Json, memory.clone(), 0).await;
    back.said("joined").await;
    // The first ping is due within a second. Reading answers it, and the server hears the pong:
    // then its round trip is known, and told to the room.
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    let latency = bob.wire.said_with("latency", |said| said["peers"].as_array().is_some_and(|peers| peers.len() == 2));
    tokio::select! {
        _ = latency => {}
        end = back.next_end() => panic!("{end:?}"),
    }
    refused(&node, &memory, 4200, 806, &mut bob.wire).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_good_are_refused_and_nothing_changes() {
    let node = Node::start().await;
    let other =
        Node::with(|config| config.auth.resume_secret = Some(secret("another secret, of another cluster"))).await;
    let mut ada = Member::join(&node, "ada", Encoding::Json).await;
    let bob = Member::join(&node, "bob", Encoding::Json).await;
    let stranger = Member::join(&other, "ada", Encoding::Json).await;
    let memory = ada.memory();
    let token = ada.token.as_str().unwrap().to_owned();
    let jwt = |pass: Pass| pass.host("*").mint();
    for (memory, close, error) in [
        (with(&memory, "token", ""), 4200, 806),
        (with(&memory, "token", "garbage"), 4200, 806),
        (with(&memory, "token", "A".repeat(4000)), 4200, 806),
        (with(&memory, "token", &token[..token.len() - 1]), 4200, 806),
        (with(&memory, "token", stranger.token.clone()), 4200, 806),
        (with(&memory, "token", jwt(pass("ada"))), 4200, 806),
        (with(&memory, "jwt", jwt(pass("bob"))), 4200, 806),
        (with(&bob.memory(), "jwt", jwt(pass("ada"))), 4200, 806),
        (with(&memory, "jwt", "no jwt"), 4401, 701),
        (with(&memory, "jwt", jwt(pass("ada").expires_in(-3600.0))), 4100, 702),
    ] {
        refused(&node, &memory, close, error, &mut ada.wire).await;
    }
    // A resume token is no access token.
    let mut wire = Wire::anonymous(&node, Encoding::Json).await;
    wire.say(json!({ "type": "auth", "token": token })).await;
    wire.closed(4401, 701).await;
    // The other session of the same user is a session of its own.
    let mut second = Member::join(&node, "ada", Encoding::Json).await;
    let resumed = Wire::resumed(&node, Encoding::Json, second.memory(), 0).await;
    assert_eq!(&resumed.connected["peer"], second.peer());
    second.wire.closed(4410, 0).await;
    ada.wire.granted(json!({ "type": "ping" })).await;
    assert_eq!(node.metrics().await["resumes_total{outcome=\"refused\"}"], 10.0);
}

fn secret(text: &str) -> rallypoint::auth::Secret {
    rallypoint::auth::Secret(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_kicked_does_not_come_back() {
    let node = Node::start().await;
    let operator = pass("operator").admin("kick");
    for away in [false, true] {
        let mut bob = Member::join(&node, "bob", Encoding::Json).await;
        let mut ada = Member::join(&node, "ada", Encoding::Json).await;
        let memory = ada.memory();
        if away {
            ada.wire.cut();
            until("the loss", async || (node.metrics().await["sessions_lost"] == 1.0).then_some(())).await;
            assert_eq!(node.delete("/v1/users/ada/sessions", &operator).await.json()["closed"], 1);
        } else {
            assert_eq!(node.delete("/v1/users/ada/sessions", &operator).await.json()["closed"], 1);
            ada.wire.closed(4403, 0).await;
        }
        assert_eq!(bob.wire.said("peer-left").await["reason"], "kicked");
        refused(&node, &memory, 4200, 806, &mut bob.wire).await;
        bob.wire.bye().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_generation_calls_older_tokens_in() {
    let node = Node::start().await;
    let operator = pass("operator").admin("kick");
    let of = |generation| {
        let mut pass = pass("ada").host("*");
        pass.0.generation = generation;
        pass
    };
    let mut old = Wire::connect(&node, &of(1), Encoding::Json).await;
    let mut risen = Wire::connect(&node, &of(1), Encoding::Json).await;
    let memory = json!({ "token": old.connected["resume"], "received": 0, "positions": {} });
    // A session of a newer token is enough: the older one is not good for a new socket any more.
    let mut new = Wire::connect(&node, &of(2), Encoding::Json).await;
    new.granted(json!({ "type": "join", "room": ROOM })).await;
    refused(&node, &memory, 4200, 806, &mut new).await;
    refused(&node, &with(&memory, "jwt", of(1).mint()), 4100, 702, &mut new).await;
    assert_eq!(node.get("/v1/rooms/match%2F7", &of(1).spectator("*")).await.json()["code"], 702);
    // A session that got a newer token itself is of that token's generation.
    risen.granted(json!({ "type": "refresh", "token": of(2).mint() })).await;
    let raised = json!({ "token": risen.connected["resume"], "received": 0, "positions": {} });
    risen.cut();
    Wire::resumed(&node, Encoding::Json, raised, 1).await.bye().await;
    old.granted(json!({ "type": "ping" })).await;
    // And so is a word of the back end, for what is here, what is away and what comes.
    assert_eq!(node.delete("/v1/users/ada/sessions?gen=2", &operator).await.json()["closed"], 1);
    old.closed(4403, 0).await;
    new.granted(json!({ "type": "ping" })).await;
    let memory = json!({ "token": new.connected["resume"], "received": 0, "positions": {} });
    new.cut();
    until("the loss", async || (node.metrics().await["sessions_lost"] == 1.0).then_some(())).await;
    assert_eq!(node.delete("/v1/users/ada/sessions?gen=3", &operator).await.json()["closed"], 1);
    Wire::resume(&node, Encoding::Json, memory).await.closed(4200, 806).await;
    let mut wire = Wire::anonymous(&node, Encoding::Json).await;
    wire.say(json!({ "type": "auth", "token": of(2).mint() })).await;
    wire.closed(4100, 702).await;
    Wire::connect(&node, &of(3), Encoding::Json).await.bye().await;
    assert_eq!(node.delete("/v1/users/ada/sessions?gen=-1", &operator).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_token_expired_comes_back_with_a_newer_one() {
    let node = Node::with(|config| {
        config.auth.leeway_ms = 0;
        config.limits.expiry_grace_ms = 0;
    })
    .await;
    let short = pass("ada").host("*").expires_in(1.0);
    let mut ada = Wire::connect(&node, &short, Encoding::Json).await;
    let memory = json!({ "token": ada.connected["resume"], "received": 0, "positions": {} });
    ada.closed(4100, 702).await;
    Wire::resume(&node, Encoding::Json, memory.clone()).await.closed(4100, 702).await;
    let fresh = with(&memory, "jwt", pass("ada").player("lobby").mint());
    let mut back = Wire::resumed(&node, Encoding::Json, fresh, 0).await;
    assert_eq!((&back.connected["resumed"], &back.connected["peer"]), (&json!(true), &ada.connected["peer"]));
    // The newer token's rights count.
    back.granted(json!({ "type": "join", "room": "lobby" })).await;
    back.refused(json!({ "type": "join", "room": ROOM }), 705).await;
}
