//! Requests over HTTP that are wrong in themselves.

use rallypoint_protocol::Encoding;
use serde_json::json;

use super::is_well;
use crate::support::{Ask, Node, Pass, Wire, pass};

const EVENTS: &str = "/v1/rooms/lobby/events";

fn ada() -> Pass {
    pass("ada").host("*").notify("*").admin("rooms").admin("kick")
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods() {
    let node = Node::start().await;
    for path in ["/nowhere", "/v1", "/v1/rooms/a/b/c", "/v1/rooms/match/7/events/", "/v2/ws", "/dev/token"] {
        node.get(path, &ada()).await.refused(800);
        node.delete(path, &ada()).await.refused(800);
    }
    // No path at all, as a proxy may be asked.
    for (method, target) in [("CONNECT", "example.com:443"), ("GET", "example.com"), ("OPTIONS", "*")] {
        node.send(Ask::new(method, target)).await.refused(800);
    }
    for (method, path, allow) in [
        ("POST", "/v1/ws", "GET"),
        ("POST", "/v1/events", "GET"),
        ("DELETE", "/v1/poll", "GET"),
        ("GET", EVENTS, "POST"),
        ("PUT", "/v1/rooms/lobby", "GET"),
        ("GET", "/v1/users/bob/notifications", "POST"),
        ("GET", "/v1/users/bob/sessions", "DELETE"),
        ("POST", "/metrics", "GET"),
    ] {
        let answer = node.send(Ask::new(method, path).pass(&ada())).await;
        answer.refused(801);
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
    for segment in ["%zz", "%", "%2", "a%20b", "%FF", "a%2F%2Fb", "..%2Fb", "%2E", &"x".repeat(129), "a%2Fb%252Fc"] {
        node.get(&format!("/v1/rooms/{segment}"), &ada()).await.refused(602);
        node.post(&format!("/v1/rooms/{segment}/events"), &ada(), &json!({ "kind": "a", "data": 1 }))
            .await
            .refused(602);
        node.post(&format!("/v1/users/{segment}/notifications"), &ada(), &json!({ "message": "a" })).await.refused(602);
    }
    node.delete("/v1/rooms/lobby/members/bob", &ada()).await.refused(602);
    node.get("/v1/rooms/nobody-is-here", &ada()).await.refused(802);
    node.get("/v1/rooms/nobody-is-here/members", &ada()).await.refused(802);
    let peer = "7d4c6f0e-52ce-4b8a-9d47-0f4b39ab5f33";
    let mut wire = Wire::connect(&node, &ada(), Encoding::Json).await;
    wire.granted(json!({ "type": "join", "room": "lobby" })).await;
    node.delete(&format!("/v1/rooms/lobby/members/{peer}"), &ada()).await.refused(805);
    wire.bye().await;
    // A handshake that is none, or offers nothing we speak.
    node.get("/v1/ws", &ada()).await.refused(600);
    node.send(Ask::new("GET", "/v1/ws").upgrade("graphql-ws").pass(&ada())).await.refused(600);
    is_well(node).await;
}

/// A handshake alone is answered without hyper, one with something right behind it through hyper. Nobody can tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_the_same_on_both_roads() {
    let node = Node::with(|config| config.origins = vec!["https://app.test".to_owned()]).await;
    let plain = |offer: &str| Ask::new("GET", "/v1/ws").upgrade(offer);
    let ask = |offer: &str| plain(offer).header("origin", "https://app.test");
    for (ask, status) in [
        (ask("rallypoint.v1.json").pass(&ada()), 101),
        (ask("x, rallypoint.v1.msgpack").pass(&ada()), 101),
        (ask("rallypoint.v1.json").bearer("x"), 101),
        (plain("rallypoint.v1.json").bearer("x"), 401),
        (ask("graphql-ws"), 400),
        (plain("rallypoint.v1.json").header("origin", "https://other.test"), 403),
    ] {
        let mut heads = Vec::new();
        for behind in [&b""[..], b"\x89\x80\0\0\0\0"] {
            let mut answer = node.send(ask.clone().body(behind)).await;
            answer.headers.retain(|(name, _)| name != "date");
            answer.headers.sort();
            heads.push((answer.status, answer.headers));
        }
        assert_eq!(heads[0].0, status, "{ask:?}");
        assert_eq!(heads[0], heads[1], "{ask:?}");
    }
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let node = Node::start().await;
    let post = |body: &str| Ask::new("POST", EVENTS).pass(&ada()).header("content-type", "application/json").body(body);
    let deep = format!(r#"{{"kind":"score","data":{}1{}}}"#, "[".repeat(16), "]".repeat(16));
    let long = format!(r#"{{"kind":"message","data":{{"text":"{}"}}}}"#, "x".repeat(4097));
    for (body, code) in [
        ("", 600),
        ("{", 600),
        ("kind=score", 600),
        (r#"{"kind":"score"}"#, 600),
        (r#"{"kind":7,"data":1}"#, 600),
        (r#"{"kind":"score","data":1} x"#, 605),
        (deep.as_str(), 604),
        (r#"{"kind":"Score","data":1}"#, 602),
        (r#"{"kind":"message","data":{"text":""}}"#, 608),
        (r#"{"kind":"message","data":"hi"}"#, 600),
        (long.as_str(), 603),
    ] {
        let answer = node.send(post(body)).await;
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{}: {problem}", &body[..body.len().min(80)]);
        answer.refused(code);
    }
    for kind in [
        "connected",
        "reset",
        "state",
        "error",
        "open",
        "heartbeat",
        "presence",
        "notification",
        "peer-joined",
        "peer-x",
        "node-x",
    ] {
        let event = json!({ "kind": kind, "data": null });
        node.post(EVENTS, &ada(), &event).await.refused(611);
    }
    node.send(post(&"x".repeat(65_537))).await.refused(603);
    node.send(post(&"x".repeat(4 << 20))).await.refused(603);
    let event = r#"{"kind":"score","data":1}"#;
    node.send(Ask::new("POST", EVENTS).pass(&ada()).body(event)).await.refused(610);
    let text = Ask::new("POST", EVENTS).pass(&ada()).header("content-type", "text/plain").body(event);
    node.send(text).await.refused(610);
    node.send(post(event).header("idempotency-key", &"k".repeat(65))).await.refused(608);
    node.send(post(event).header("idempotency-key", "a b")).await.refused(608);

    let notify = "/v1/users/bob/notifications";
    node.post(notify, &ada(), &json!({ "message": "" })).await.refused(608);
    node.post(notify, &ada(), &json!({ "text": "hi" })).await.refused(600);
    node.post(notify, &ada(), &json!({ "message": "x".repeat(4097) })).await.refused(603);
    node.post(notify, &ada(), &json!({ "message": "hi", "data": "x".repeat(16_384) })).await.refused(603);
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries() {
    let node = Node::start().await;
    let position = "9f3c5a1e7b2d4860.3.8e2413aa";
    for (query, code) in [
        ("room=a%20b".to_owned(), 602),
        ("room=".to_owned(), 602),
        ("room=a&after=nonsense".to_owned(), 606),
        ("room=a&after=Ac9gFg8lpSrpnzxaHnstSGAAAAAAAAAAA44kE6p".to_owned(), 606),
        ("room=a&since=a".to_owned(), 606),
        ("room=a&since=a:1.2.3".to_owned(), 606),
        (format!("room=a&after={position}"), 606),
        ("room=a&state=0".to_owned(), 608),
        ("room=a&state=11".to_owned(), 608),
        ("room=a&state=often".to_owned(), 608),
    ] {
        for door in ["events", "poll"] {
            node.get(&format!("/v1/{door}?{query}"), &ada()).await.refused(code);
        }
    }
    node.get("/v1/poll?room=a&wait=51", &ada()).await.refused(608);
    node.get("/v1/poll?room=a&wait=-1", &ada()).await.refused(608);
    node.get("/v1/poll?room=a&state=1&state_after=a:x", &ada()).await.refused(608);
    // As small as can be written, and still above 0.
    node.get("/v1/poll?room=a&state=5e-324", &ada()).await.expect(200);
    for beyond in ["0", "-0", "11", "NaN", "inf"] {
        let problem = node.get(&format!("/v1/poll?room=a&state={beyond}"), &ada()).await.refused(608);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() < 60), "{beyond}: {problem}");
    }
    node.get("/v1/rooms?limit=501", &ada()).await.refused(608);
    node.get("/v1/rooms?limit=0", &ada()).await.refused(608);
    node.get("/v1/rooms?after=a%20b", &ada()).await.refused(602);
    let last = Ask::new("GET", "/v1/events?room=a").pass(&ada()).header("last-event-id", "nonsense");
    node.send(last).await.refused(606);
    // One room of two that may not be watched refuses both.
    node.get("/v1/poll?room=a&room=b", &pass("bob").spectator("a")).await.refused(705);
    is_well(node).await;
}
