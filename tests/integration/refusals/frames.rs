//! Messages that cannot be read, in both encodings. Each is tried in a session of its own, which must outlive it unless
//! the error is fatal.

use rallypoint_client::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};
use rallypoint_protocol::Encoding::{self, Json, MsgPack};
use serde_json::json;

use super::is_well;
use crate::support::{Node, Pass, Wire, pass};

fn ada() -> Pass {
    pass("ada").host("*")
}

/// Small enough that each limit can be broken by itself.
async fn node() -> Node {
    Node::with(|config| {
        config.limits.frame = 16 * 1024;
        config.limits.signal = 2048;
    })
    .await
}

async fn joined(node: &Node, encoding: Encoding) -> (Wire, u8) {
    let mut wire = Wire::connect(node, &ada(), encoding).await;
    let joined = wire.granted(json!({ "type": "join", "room": "lobby" })).await;
    let handle = joined["handle"].as_u64().expect("a handle");
    (wire, u8::try_from(handle).expect("the first rooms have small handles"))
}

/// `depth` lists around a number.
fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_cannot_be_read() {
    let node = node().await;
    let peer = "7d4c6f0e-52ce-4b8a-9d47-0f4b39ab5f33";
    let long = "x".repeat(5000);
    let table: &[(&str, u16, Option<u64>)] = &[
        ("", 600, None),
        ("hello", 600, None),
        (r#"{"type":"ping""#, 600, None),
        (r#"{"type":"ping","#, 600, None),
        (r#""ping""#, 600, None),
        (r#"{"id":9}"#, 600, None),
        (r#"{"type":7,"id":9}"#, 600, None),
        (r#"{"type":"ping"} x"#, 605, None),
        (r#"{"type":"ping"}{"type":"ping"}"#, 605, None),
        (r#"{"type":"fly","id":9}"#, 601, Some(9)),
        (r#"{"type":"connected","id":9}"#, 601, Some(9)),
        (r#"{"type":"join","id":9}"#, 600, Some(9)),
        (r#"{"type":"join","id":9,"room":7}"#, 600, Some(9)),
        (r#"{"type":"join","id":-1,"room":"a"}"#, 607, None),
        (r#"{"type":"join","id":9007199254740992,"room":"a"}"#, 607, None),
        (r#"{"type":"join","id":9,"room":"a b"}"#, 602, Some(9)),
        (r#"{"type":"join","id":9,"room":"a/../b"}"#, 602, Some(9)),
        (r#"{"type":"join","id":9,"room":""}"#, 602, Some(9)),
        (r#"{"type":"join","id":9,"room":"a","since":"1.2.3"}"#, 606, Some(9)),
        (r#"{"type":"watch","id":9,"room":"a","state":11}"#, 608, Some(9)),
        (r#"{"type":"watch","id":9,"room":"a","state":0}"#, 608, Some(9)),
        (r#"{"type":"offer","id":9,"room":"lobby","to":"bob","data":1}"#, 602, Some(9)),
        (r#"{"type":"publish","id":9,"room":"lobby","kind":"Score","data":1}"#, 602, Some(9)),
        (r#"{"type":"publish","id":9,"room":"lobby","kind":"peer-joined","data":1}"#, 611, Some(9)),
        (r#"{"type":"publish","id":9,"room":"lobby","kind":"score"}"#, 600, Some(9)),
        (r#"{"type":"publish","id":9,"room":"lobby","kind":"score","data":1e999}"#, 608, Some(9)),
        (r#"{"type":"message","id":9,"room":"lobby","text":""}"#, 608, Some(9)),
        (r#"{"type":"update","id":9,"room":"lobby","state":[]}"#, 600, Some(9)),
        (r#"{"type":"members","id":9,"room":"lobby","limit":501}"#, 608, Some(9)),
        (r#"{"type":"ack","n":1}"#, 608, None),
        (r#"{"type":"move","room":"lobby","data":1,"key":65536}"#, 608, None),
        (r#"{"type":"move","room":"lobby","data":1,"to":[]}"#, 608, None),
    ];
    let made = [
        (format!(r#"{{"type":"message","id":9,"room":"lobby","text":"{long}"}}"#), 603, Some(9)),
        (format!(r#"{{"type":"update","id":9,"room":"lobby","state":{{"x":"{long}"}}}}"#), 603, Some(9)),
        (format!(r#"{{"type":"offer","id":9,"room":"lobby","to":"{peer}","data":"{long}"}}"#), 603, Some(9)),
        (format!(r#"{{"type":"move","room":"lobby","data":"{long}"}}"#), 603, None),
        (format!(r#"{{"type":"publish","id":9,"room":"lobby","kind":"score","data":{}}}"#, nested(16)), 604, None),
        (format!(r#"{{"type":"move","room":"lobby","data":{}}}"#, nested(16)), 604, None),
        ("[".repeat(10_000), 604, None),
    ];
    let made = made.iter().map(|(text, code, re)| (text.as_str(), *code, *re));
    for (text, code, re) in table.iter().copied().chain(made) {
        let (mut wire, _) = joined(&node, Json).await;
        wire.send_bytes(text.as_bytes()).await;
        let shown = &text[..text.len().min(100)];
        let error = wire.said("error").await;
        assert_eq!(error["code"], code, "{shown}: {error}");
        // A message that is too deep need not have been read as far as its id.
        if code != 604 {
            assert_eq!(error["re"].as_u64(), re, "{shown}: {error}");
        }
        wire.say(json!({ "type": "ping", "id": 100 })).await;
        assert_eq!(wire.answer_to(100).await["type"], "pong", "the session goes on");
        wire.bye().await;
    }
    let deepest = format!(r#"{{"type":"publish","id":9,"room":"lobby","kind":"score","data":{}}}"#, nested(15));
    let (mut wire, _) = joined(&node, Json).await;
    wire.send_bytes(deepest.as_bytes()).await;
    assert_eq!(wire.answer_to(9).await["type"], "ok");
    wire.bye().await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_that_cannot_be_read() {
    let node = node().await;
    let packed = |message: serde_json::Value| rmp_serde::to_vec_named(&message).expect("JSON has a MessagePack form");
    let ping = packed(json!({ "type": "ping" }));
    let say = |text: &str| packed(json!({ "type": "message", "id": 9, "room": "lobby", "text": text }));
    let deep = |depth: usize| -> serde_json::Value { serde_json::from_str(&nested(depth)).expect("JSON") };
    let publish = |data| packed(json!({ "type": "publish", "id": 9, "room": "lobby", "kind": "score", "data": data }));
    let table: Vec<(&str, Vec<u8>, u16)> = vec![
        ("nothing", vec![], 600),
        ("truncated", ping[..ping.len() - 1].to_vec(), 600),
        ("trailing", [ping.as_slice(), &[0xc0]].concat(), 605),
        ("neither map nor array", vec![0x2a], 600),
        ("the byte that is never used", vec![0x81, 0xa4, b't', b'y', b'p', b'e', 0xc1], 600),
        ("a string that is not UTF-8", vec![0x81, 0xa4, b't', b'y', b'p', b'e', 0xa2, 0xc3, 0x28], 600),
        ("a key that is a number", vec![0x81, 0x01, 0x02], 600),
        ("unknown", packed(json!({ "type": "fly", "id": 9 })), 601),
        ("a move as a map", packed(json!({ "type": "move", "room": "lobby", "data": 1 })), 601),
        ("a long text", say(&"x".repeat(5000)), 603),
        ("too deep", publish(deep(16)), 604),
        ("a map of four thousand million", vec![0xdf, 0xff, 0xff, 0xff, 0xff], 600),
    ];
    for (what, bytes, code) in table {
        let (mut wire, _) = joined(&node, MsgPack).await;
        wire.send_bytes(&bytes).await;
        let error = wire.said("error").await;
        assert_eq!(error["code"], code, "{what}: {error}");
        wire.say(json!({ "type": "ping", "id": 100 })).await;
        assert_eq!(wire.answer_to(100).await["type"], "pong", "the session goes on");
        wire.bye().await;
    }
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_that_cannot_be_read() {
    let node = node().await;
    let deep = |depth: usize| [vec![0x91; depth], vec![1]].concat();
    let big = |len: u16| [&[0xc5], len.to_be_bytes().as_slice(), &vec![0; len.into()]].concat();
    // The frame after `[lane, room, `; the room's handle is filled in.
    let table: Vec<(&str, u8, u8, Vec<u8>, u16)> = vec![
        ("no such lane", 0x95, 9, vec![0, 1, 0xc0], 601),
        ("too short", 0x94, 1, vec![0, 1], 600),
        ("too long", 0x96, 1, vec![0, 1, 0xc0, 0xc0], 600),
        ("a negative key", 0x95, 1, vec![0xff, 1, 0xc0], 608),
        ("a large key", 0x95, 1, vec![0xce, 0, 1, 0, 0, 1, 0xc0], 608),
        ("a text as seq", 0x95, 1, vec![0, 0xa1, b'x', 0xc0], 600),
        ("nobody to go to", 0x96, 3, vec![0, 1, 0x90, 0xc0], 608),
        ("no list to go to", 0x96, 3, vec![0, 1, 7, 0xc0], 600),
        ("no payload", 0x95, 1, vec![0, 1], 600),
        ("half a payload", 0x95, 1, vec![0, 1, 0x92, 1], 600),
        ("two payloads", 0x95, 1, vec![0, 1, 1, 1], 605),
        ("not UTF-8", 0x95, 1, vec![0, 1, 0xa2, 0xc3, 0x28], 600),
        ("too deep", 0x95, 1, [vec![0, 1], deep(17)].concat(), 604),
        ("too big", 0x95, 2, [vec![0, 1], big(4094)].concat(), 603),
    ];
    let frame = |array: u8, lane: u8, room: u8, rest: &[u8]| [&[array, lane, 0xcc, room], rest].concat();
    for (what, array, lane, rest, code) in table {
        let (mut wire, room) = joined(&node, MsgPack).await;
        wire.send_bytes(&frame(array, lane, room, &rest)).await;
        let error = wire.said("error").await;
        assert_eq!((&error["code"], &error["re"]), (&code.into(), &json!(null)), "{what}: {error}");
        wire.granted(json!({ "type": "ping" })).await;
        wire.bye().await;
    }
    let (mut wire, room) = joined(&node, MsgPack).await;
    wire.send_bytes(&frame(0x95, 1, room + 100, &[0, 1, 0xc0])).await;
    wire.complaint(803).await;
    // The deepest and the biggest that are allowed.
    wire.send_bytes(&frame(0x95, 1, room, &[vec![0, 2], deep(16)].concat())).await;
    wire.send_bytes(&frame(0x95, 2, room, &[vec![0, 3], big(4093)].concat())).await;
    wire.granted(json!({ "type": "ping" })).await;
    assert!(wire.is_silent());
    assert_eq!(node.metrics().await["moves_total{lane=\"reliable\"}"], 1.0);
    wire.bye().await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_end_the_session() {
    let node = node().await;
    let too_long = node.hub.limits().frame + 1;
    for encoding in [Json, MsgPack] {
        let (mut wire, _) = joined(&node, encoding).await;
        wire.send(match encoding {
            Json => Message::text("x".repeat(too_long)),
            MsgPack => Message::binary(vec![0; too_long]),
        })
        .await;
        wire.closed(4413, 603).await;

        let (mut wire, _) = joined(&node, encoding).await;
        wire.send(match encoding {
            Json => Message::binary(br#"{"type":"ping"}"#.to_vec()),
            MsgPack => Message::text(r#"{"type":"ping"}"#),
        })
        .await;
        wire.closed(4400, 609).await;

        // The same before anybody said who they are.
        let mut wire = Wire::anonymous(&node, encoding).await;
        wire.send(Message::binary(vec![0; too_long])).await;
        wire.closed(4413, 603).await;
    }
    let (mut wire, _) = joined(&node, Json).await;
    wire.send(Message::Frame(Frame::message(vec![0xc3, 0x28], OpCode::Data(Data::Text), true))).await;
    wire.closed(1007, 0).await;
    let (mut wire, _) = joined(&node, Json).await;
    wire.send(Message::Frame(Frame::message(vec![], OpCode::Data(Data::Continue), true))).await;
    wire.closed(1002, 0).await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_fault_is_answered() {
    let node = node().await;
    let ping = || Message::text(r#"{"type":"ping","id":9}"#);
    let too_long = node.hub.limits().frame + 1;
    let faults = [
        (Message::Frame(Frame::message(vec![], OpCode::Data(Data::Continue), true)), 1002, 0),
        (Message::Frame(Frame::message(vec![0xc3, 0x28], OpCode::Data(Data::Text), true)), 1007, 0),
        (Message::text("x".repeat(too_long)), 4413, 603),
    ];
    for (fault, close, error) in faults {
        let (mut wire, _) = joined(&node, Json).await;
        wire.send_together([ping(), fault]).await;
        assert_eq!(wire.answer_to(9).await["type"], "pong", "before {close}");
        wire.closed(close, error).await;
    }
    is_well(node).await;
}
