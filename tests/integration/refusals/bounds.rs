//! Limits and deadlines: too many, too fast, too late.

use rallypoint_client::Client;
use rallypoint_protocol::{Encoding, ErrorCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::is_well;
use crate::support::{Ask, Node, Pass, Stream, Wire, pass, until, within};

fn ada() -> Pass {
    pass("ada").host("*")
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_not_kept_open() {
    let node = Node::with(|config| {
        config.limits.header_deadline_ms = 1000;
        config.limits.auth_deadline_ms = 1000;
    })
    .await;
    // Nothing at all, half a request, half a handshake.
    let half = "GET /v1/ws HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\n";
    for words in ["", "GET /v1/rooms HT", half] {
        let mut socket = TcpStream::connect(node.address).await.expect("the server listens");
        socket.write_all(words.as_bytes()).await.expect("the socket is open");
        let mut rest = Vec::new();
        // A reset is as good an end as a shutdown.
        _ = within("the end of a silent connection", socket.read_to_end(&mut rest)).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    }
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        Wire::anonymous(&node, encoding).await.closed(4303, 707).await;
    }
    is_well(node).await;
}

/// A burst that the server has not come to yet waits for it, and is not dropped by the kernel.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_finds_room_before_the_door() {
    let node = Node::asleep().await;
    let mut sockets = Vec::new();
    for number in 0..400 {
        let socket = within(&format!("connection {number}"), TcpStream::connect(node.address())).await;
        sockets.push(socket.expect("the server listens"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_is_not_waited_for() {
    let node = Node::with(|config| config.limits.header_deadline_ms = 1000).await;
    let token = ada().mint();
    for body in ["", "{\"kind\":"] {
        let mut socket = TcpStream::connect(node.address).await.expect("the server listens");
        let head = format!(
            "POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 40\r\n\r\n{body}"
        );
        socket.write_all(head.as_bytes()).await.expect("the socket is open");
        let mut answer = Vec::new();
        _ = within("the end of a connection with half a body", socket.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"code\":600"), "{answer}");
    }
    assert_eq!(node.metrics().await["limited_total{limit=\"header_deadline_ms\"}"], 2.0);
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_pings_is_gone() {
    let node = Node::with(|config| {
        config.limits.ping_interval_ms = 1000;
        config.limits.ping_missed = 2;
        config.limits.resume_grace_ms = 0;
    })
    .await;
    let mut bob = Wire::connect(&node, &pass("bob").player("*"), Encoding::Json).await;
    bob.granted(json!({ "type": "join", "room": "lobby" })).await;
    let mut ada = Wire::connect(&node, &ada(), Encoding::Json).await;
    ada.granted(json!({ "type": "join", "room": "lobby" })).await;
    // ada reads nothing from here on, so tungstenite answers no pings; bob's reading does.
    let left = bob.said("peer-left").await;
    assert_eq!((&left["peer"]["user"], &left["reason"]), (&json!("ada"), &json!("lost")));
    ada.closed(4001, 0).await;
    bob.bye().await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_only_so_many_rooms() {
    let node = Node::with(|config| {
        config.limits.requests_burst = 1000.0;
        config.room.members = 1;
    })
    .await;
    let mut wire = Wire::connect(&node, &ada(), Encoding::Json).await;
    assert_eq!(wire.connected["limits"]["rooms"], 16);
    for number in 0..16 {
        let kind = if number % 2 == 0 { "join" } else { "watch" };
        wire.granted(json!({ "type": kind, "room": format!("room-{number}") })).await;
    }
    wire.refused(json!({ "type": "join", "room": "room-16" }), 902).await;
    wire.refused(json!({ "type": "watch", "room": "room-16" }), 902).await;
    wire.granted(json!({ "type": "unwatch", "room": "room-1" })).await;
    wire.granted(json!({ "type": "join", "room": "room-16" })).await;

    let rooms: Vec<_> = (0..17).map(|number| format!("room=room-{number}")).collect();
    for door in ["events", "poll"] {
        node.get(&format!("/v1/{door}?{}", rooms.join("&")), &ada()).await.refused(902);
    }
    node.get(&format!("/v1/poll?{}", rooms[..16].join("&")), &ada()).await.expect(200);

    // Full rooms.
    let mut bob = Wire::connect(&node, &pass("bob").player("*"), Encoding::MsgPack).await;
    bob.refused(json!({ "type": "join", "room": "room-0" }), 901).await;
    bob.granted(json!({ "type": "watch", "room": "room-0" })).await;
    wire.bye().await;
    bob.bye().await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_only_so_many_rooms() {
    let node = Node::with(|config| config.limits.rooms = 2).await;
    let mut wire = Wire::connect(&node, &ada(), Encoding::Json).await;
    wire.granted(json!({ "type": "join", "room": "one" })).await;
    wire.granted(json!({ "type": "join", "room": "two" })).await;
    wire.refused(json!({ "type": "join", "room": "three" }), 904).await;
    let refused = node.get("/v1/poll?room=three", &ada()).await;
    refused.refused(904);
    assert!(refused.header("retry-after").is_some());
    wire.bye().await;
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_only_so_many_connections() {
    let node = Node::with(|config| config.limits.connections_per_user = 2).await;
    let wire = Wire::connect(&node, &ada(), Encoding::Json).await;
    let stream = Stream::open(&node, &ada(), "room=lobby").await;
    let error = Client::connect(node.options(&ada(), Encoding::MsgPack)).await.expect_err("two are enough");
    assert_eq!((error.code().map(ErrorCode::number), error.close_code()), (Some(903), Some(4301)));
    let problem = node.get("/v1/poll?room=lobby", &ada()).await.refused(903);
    assert!(problem["detail"].as_str().unwrap().contains("limits.connections_per_user"), "{problem}");
    node.get("/v1/events?room=lobby", &ada()).await.refused(903);
    // Somebody else is not concerned.
    Wire::connect(&node, &pass("bob").player("*"), Encoding::Json).await.bye().await;
    drop(stream);
    wire.bye().await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_only_so_many_connections() {
    let node = Node::with(|config| config.limits.connections_per_ip = 3).await;
    let mut wires = Vec::new();
    for _ in 0..3 {
        wires.push(Wire::connect(&node, &ada(), Encoding::Json).await);
    }
    let refused = node.send(Ask::new("GET", "/healthz")).await;
    refused.refused(903);
    assert!(refused.header("retry-after").is_some());
    for wire in wires {
        wire.bye().await;
    }
    until("a free place", async || (node.send(Ask::new("GET", "/healthz")).await.status == 200).then_some(())).await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haste_is_slowed_down() {
    let node = Node::with(|config| {
        config.limits.requests_per_second = 0.1;
        config.limits.requests_burst = 3.0;
        config.limits.moves_per_second = 0.1;
        config.limits.moves_burst = 2.0;
    })
    .await;
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut wire = Wire::connect(&node, &ada(), encoding).await;
        let joined = wire.granted(json!({ "type": "join", "room": "lobby" })).await;
        wire.granted(json!({ "type": "ping" })).await;
        wire.granted(json!({ "type": "message", "room": "lobby", "text": "hi" })).await;
        let error = wire.refused(json!({ "type": "message", "room": "lobby", "text": "hi" }), 900).await;
        assert!(error["retry_after"].as_u64().is_some_and(|ms| ms > 0), "{error}");
        for seq in 1..=3 {
            match encoding {
                Encoding::Json => wire.say(json!({ "type": "move", "room": "lobby", "data": seq })).await,
                Encoding::MsgPack => {
                    let handle = joined["handle"].as_u64().and_then(|handle| u8::try_from(handle).ok()).expect("small");
                    wire.send_bytes(&[0x95, 1, 0xcc, handle, 0, seq, seq]).await;
                }
            }
        }
        let error = wire.complaint(900).await;
        assert!(error["retry_after"].as_u64().is_some_and(|ms| ms > 0), "{error}");
        wire.bye().await;
    }
    assert_eq!(node.metrics().await["moves_total{lane=\"latest\"}"], 4.0);
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_used_once() {
    let node = Node::with(|config| config.limits.requests_burst = 1000.0).await;
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut wire = Wire::connect(&node, &ada(), encoding).await;
        wire.granted(json!({ "type": "join", "room": "lobby" })).await;
        let hello = json!({ "type": "message", "id": 100, "room": "lobby", "text": "once" });
        let refused = json!({ "type": "leave", "id": 101, "room": "elsewhere" });
        let mut first = Vec::new();
        for request in [&hello, &refused] {
            wire.say(request.clone()).await;
            first.push(wire.answer_to(request["id"].as_u64().expect("an id")).await);
        }
        assert_eq!((&first[0]["type"], &first[1]["code"]), (&json!("ok"), &json!(803)));
        // The same answers again, and nothing was carried out twice.
        for (request, answer) in [&hello, &refused].into_iter().zip(&first) {
            wire.say(request.clone()).await;
            assert_eq!(&wire.answer_to(request["id"].as_u64().expect("an id")).await, answer);
        }
        assert_eq!(wire.said("message").await["text"], "once");
        // A snapshot is answered anew.
        wire.say(json!({ "type": "members", "id": 102, "room": "lobby" })).await;
        let before = wire.answer_to(102).await["count"].clone();
        let bob = {
            let mut bob = Wire::connect(&node, &pass("bob").player("*"), encoding).await;
            bob.granted(json!({ "type": "join", "room": "lobby" })).await;
            bob
        };
        wire.say(json!({ "type": "members", "id": 102, "room": "lobby" })).await;
        let after = wire.answer_to(102).await["count"].clone();
        assert_eq!((before, after), (json!(1), json!(2)));
        // Downwards, to an id that was never used.
        wire.say(json!({ "type": "message", "id": 50, "room": "lobby", "text": "twice" })).await;
        assert_eq!(wire.answer_to(50).await["code"], 607);
        // And to one whose answer is no longer kept.
        for id in 200..264 {
            wire.say(json!({ "type": "ping", "id": id })).await;
            assert_eq!(wire.answer_to(id).await["type"], "pong");
        }
        wire.say(hello).await;
        let late = wire.answer_to(100).await;
        assert_eq!((&late["type"], &late["code"]), (&json!("error"), &Value::from(607)));
        assert!(wire.stashed().iter().all(|message| message["type"] != "message"), "it was carried out again");
        bob.bye().await;
        wire.bye().await;
    }
    is_well(node).await;
}
