//! Tickets over the wire: what a page can open with one, and what nobody else can.

use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use crate::support::{Answer, Ask, Knock, Node, ORIGIN, Pass, Stream, pass, within};

const ELSEWHERE: &str = "https://other.example";

async fn start() -> Node {
    Node::with(|config| config.origins.push(ELSEWHERE.to_owned())).await
}

/// A ticket for a page of [`ORIGIN`].
async fn ticket(node: &Node, pass: &Pass, body: Value) -> Answer {
    node.send(Ask::new("POST", "/v1/tickets").pass(pass).header("origin", ORIGIN).json(&body)).await
}

async fn text(node: &Node, pass: &Pass, body: Value) -> String {
    let answer = ticket(node, pass, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

fn get(path: &str) -> Ask {
    Ask::new("GET", path).header("origin", ORIGIN)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_comes_back_with_its_ticket_and_nobody_else_does() {
    let node = start().await;
    let ada = pass("ada").host("match/*");
    let ticket = text(&node, &ada, json!({ "for": "events" })).await;
    let path = format!("/v1/events?room=match/7&ticket={ticket}");
    let mut first = Stream::begin(&node, get(&path)).await;
    node.post("/v1/rooms/match%2F7/events", &ada, &json!({ "kind": "score", "data": 1 })).await;
    let cursor = first.event().await.id.expect("a cursor");

    // Another page that is listed as well, another door, other rooms, and no page at all.
    let stolen = Ask::new("GET", &path).header("origin", ELSEWHERE);
    node.send(stolen).await.refused(711);
    node.send(Ask::new("GET", &path)).await.refused(711);
    node.send(get(&format!("/v1/poll?room=match/7&ticket={ticket}"))).await.refused(711);
    node.send(get(&format!("/v1/events?room=match/8&ticket={ticket}"))).await.refused(711);
    node.send(get(&format!("/v1/rooms/match%2F7?ticket={ticket}"))).await.refused(709);
    node.send(get(&path).pass(&ada)).await.refused(703);
    node.post("/v1/rooms/match%2F7/events", &ada, &json!({ "kind": "score", "data": 2 })).await;
    assert_eq!(first.event().await.data["data"], 2, "what was refused has ended nothing");

    // A reconnect while the server still holds the old stream for good.
    let mut second = Stream::begin(&node, get(&path).header("last-event-id", &cursor)).await;
    assert_eq!(second.event().await.data["data"], 2);
    assert_eq!(first.event().await.data["code"], 711);

    // Whoever is thrown out has no ticket any more.
    let admin = pass("operator").admin("kick");
    node.delete("/v1/users/ada/sessions", &admin).await.expect(200);
    assert_eq!(second.event().await.data["code"], 705);
    node.send(get(&path)).await.refused(711);
    assert_eq!(node.metrics().await["tickets"], 0.0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_prolongs_a_ticket() {
    let node = start().await;
    let (short, long) = (pass("ada").host("*").expires_in(60.0), pass("ada").host("*").expires_in(600.0));
    let first = ticket(&node, &short, json!({ "for": "poll", "rooms": ["match/7"] })).await.json();
    let (ticket_text, expires) = (first["ticket"].as_str().unwrap(), first["expires"].as_f64().unwrap());
    let poll = |room: &str| get(&format!("/v1/poll?room={room}&wait=0&ticket={ticket_text}"));
    node.send(poll("match/8")).await.refused(705);
    for _ in 0..3 {
        assert_eq!(node.send(poll("match/7")).await.status, 200);
    }
    let renew = json!({ "for": "poll", "ticket": ticket_text });
    ticket(&node, &pass("bob").host("*"), renew.clone()).await.refused(711);
    let renewed = ticket(&node, &long, renew).await;
    assert_eq!((renewed.status, renewed.json()["ticket"].as_str()), (200, Some(ticket_text)));
    assert!(renewed.json()["expires"].as_f64().unwrap() > expires + 500_000.0);
    assert_eq!(node.send(poll("match/7")).await.status, 200);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_opens_once() {
    let node = start().await;
    let ada = pass("ada").player("match/7").admin("kick");
    let ticket = text(&node, &ada, json!({ "for": "ws", "rooms": ["match/7"] })).await;
    let knock = |origin: &'static str| {
        let ask = Ask::new("GET", &format!("/v1/ws?ticket={ticket}")).header("origin", origin);
        let ask = ask.upgrade(Encoding::Json.subprotocol());
        let address = node.address;
        async move {
            let join = json!({ "type": "join", "id": 1, "room": "match/7" });
            within("a door to answer", ask.knock(Encoding::Json, &join, address)).await
        }
    };
    let refused = |knock: Knock| matches!(knock, Knock::Closed { error: Some(711), close: 4401 });
    assert!(refused(knock(ELSEWHERE).await), "another page cannot");
    assert!(matches!(knock(ORIGIN).await, Knock::Connected));
    assert!(refused(knock(ORIGIN).await), "and it opens once");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_must_make_sense() {
    let node = start().await;
    let eve = pass("eve").spectator("match/*");
    for (body, code) in [
        (json!({}), 600),
        (json!({ "for": "everything" }), 608),
        (json!({ "for": "events", "rooms": ["a b"] }), 602),
        (json!({ "for": "events", "rooms": ["user/eve"] }), 706),
        (json!({ "for": "events", "rooms": ["lobby"] }), 705),
        (json!({ "for": "events", "rooms": vec!["match/1"; 17] }), 902),
        (json!({ "for": "events", "ticket": "none" }), 711),
        (json!({ "for": "ws", "ticket": "none" }), 608),
    ] {
        ticket(&node, &eve, body).await.refused(code);
    }
    node.send(Ask::new("POST", "/v1/tickets").json(&json!({ "for": "events" }))).await.refused(700);
    node.send(Ask::new("GET", "/v1/tickets").pass(&eve)).await.refused(801);
    node.stop().await;
}
