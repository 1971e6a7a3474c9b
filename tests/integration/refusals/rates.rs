//! Haste, at the door and over HTTP: who is too fast is told how long to wait, and nobody else feels it.

use rallypoint_client::tungstenite::Message;

use super::*;
use crate::support::{Answer, Ask, Seen, within};

fn slowed(answer: &Answer, limit: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (429, &json!(900)), "{}", answer.text());
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(limit)), "{}", answer.text());
    let wait = answer.json()["retry_after"].as_u64().expect("it says how long to wait");
    let seconds: u64 = answer.header("retry-after").expect("and so does the header").parse().unwrap();
    assert!(wait > 0 && seconds == wait.div_ceil(1000), "{wait} {seconds}");
}

async fn limited(node: &Node, limit: &str) -> f64 {
    node.metrics().await.get(&format!("limited_total{{limit=\"{limit}\"}}")).copied().unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_asks_so_often_over_http() {
    let node = Node::with(|config| {
        config.limits.requests_per_second_per_user = 0.01;
        config.limits.requests_burst_per_user = 2.0;
    })
    .await;
    let (ada, bob) = (pass("ada").player("*"), pass("bob").player("*"));
    for _ in 0..2 {
        node.post("/v1/rooms/lobby/events", &ada, &json!({ "kind": "message", "data": { "text": "hi" } }))
            .await
            .expect(201);
    }
    slowed(&node.get("/v1/poll?room=lobby", &ada).await, "requests_per_second_per_user");
    node.get("/v1/poll?room=lobby", &bob).await.expect(200);
    // A back end is not slowed down.
    let operator = pass("ada").admin("rooms");
    for _ in 0..5 {
        node.get("/v1/rooms", &operator).await.expect(200);
    }
    assert_eq!(limited(&node, "requests_per_second_per_user").await, 1.0);
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_asks_so_often_for_ice_servers() {
    let node = Node::with(|config| {
        config.limits.ice_requests_per_second_per_user = 0.01;
        config.limits.ice_requests_burst_per_user = 2.0;
    })
    .await;
    // An operator no less than anybody else: what is made there is a credential.
    let (ada, bob) = (pass("ada").player("*").admin("rooms"), pass("bob").player("*"));
    node.get("/v1/ice-servers", &pass("ada").verbs("*", ["join"])).await.refused(705);
    for _ in 0..2 {
        node.get("/v1/ice-servers", &ada).await.expect(200);
    }
    slowed(&node.get("/v1/ice-servers", &ada).await, "ice_requests_per_second_per_user");
    node.get("/v1/ice-servers", &bob).await.expect(200);
    node.get("/v1/rooms", &ada).await.expect(200);
    assert_eq!(limited(&node, "ice_requests_per_second_per_user").await, 1.0);
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_asks_so_often_over_http() {
    let node = Node::with(|config| {
        config.limits.requests_per_second_per_ip = 0.01;
        config.limits.requests_burst_per_ip = 3.0;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(node.send(Ask::new("GET", "/healthz")).await.status, 200);
    }
    slowed(&node.send(Ask::new("GET", "/healthz")).await, "requests_per_second_per_ip");
    slowed(&node.send(Ask::new("GET", "/v1/ws").upgrade("rallypoint.v1.json")).await, "requests_per_second_per_ip");
    assert!(node.hub.metrics().render().contains("limited_total{limit=\"requests_per_second_per_ip\"} 2"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_connects_so_often() {
    let node = Node::with(|config| {
        config.limits.accepts_per_second_per_ip = 0.01;
        config.limits.accepts_burst_per_ip = 3.0;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(node.send(Ask::new("GET", "/healthz")).await.status, 200);
    }
    slowed(&node.send(Ask::new("GET", "/healthz")).await, "accepts_per_second_per_ip");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_accepts_so_many() {
    let node = Node::with(|config| {
        config.limits.accepts_per_second = 0.01;
        config.limits.accepts_burst = 3.0;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(node.send(Ask::new("GET", "/healthz")).await.status, 200);
    }
    let answer = node.send(Ask::new("GET", "/healthz")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!(904)), "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_goes_on_above_its_rate_is_sent_away_and_may_come_back() {
    let node = Node::start().await;
    let mut ada = Wire::connect(&node, &pass("ada").player("*"), Encoding::Json).await;
    ada.granted(json!({ "type": "join", "room": "lobby" })).await;
    let memory = json!({ "token": ada.connected["resume"], "received": 0, "positions": {} });
    for _ in 0..1000 {
        ada.say(json!({ "type": "typing", "room": "lobby" })).await;
    }
    let refused = within("the last error", async {
        loop {
            let error = ada.said("error").await;
            if error.get("count").is_none() {
                return error;
            }
        }
    })
    .await;
    assert_eq!(refused["code"], 900);
    assert!(refused["retry_after"].as_u64().is_some_and(|wait| wait > 0), "{refused}");
    ada.closed(4302, 900).await;
    let mut back = Wire::resumed(&node, Encoding::Json, memory, 1).await;
    assert_eq!(back.connected["resumed"], true);
    assert_eq!(back.said("joined").await["room"], "lobby");
    assert!(limited(&node, "requests_per_second").await > 500.0);
    back.bye().await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_pongs_and_astray_moves_are_sent_away_like_requests() {
    let node = Node::start().await;
    let astray = rmp_serde::to_vec(&(1, 4_000_000, 0, 0, 0)).unwrap();
    let frames = [Message::Ping("x".into()), Message::Pong("x".into()), Message::binary(astray)];
    for (frame, limit) in frames.into_iter().zip(["requests_per_second", "requests_per_second", "moves_per_second"]) {
        let before = limited(&node, limit).await;
        let mut ada = Wire::connect(&node, &pass("ada").player("*"), Encoding::MsgPack).await;
        for _ in 0..2000 {
            ada.send(frame.clone()).await;
        }
        assert!(matches!(ada.next_end().await, Seen::Closed(4302, _)), "{frame:?}");
        assert!(limited(&node, limit).await - before > 500.0, "{frame:?}");
    }
    node.stop().await;
}
