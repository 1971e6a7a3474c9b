//! The audit log of a server: what is in it, and what never is.

use std::path::PathBuf;

use rallypoint::config::{AuditTo, Config};
use rallypoint_client::{Credential, Options};
use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use crate::support::{Ask, FOREIGN_SECRET, Knock, Node, ORIGIN, Seen, Stream, Wire, pass, until};

/// A file of its own for the log.
struct Log(PathBuf);

impl Log {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("rallypoint-audit-{}.jsonl", uuid::Uuid::new_v4())))
    }

    fn on(&self) -> impl FnOnce(&mut Config) {
        let file = self.0.clone();
        |config| (config.audit.to, config.audit.file) = (AuditTo::File, Some(file))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("each line is whole")).collect()
    }

    /// Waits for a line.
    async fn line(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(what, async || self.lines().into_iter().find(|line| is(line))).await
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// The fields of a line, but for its time.
fn bare(line: &Value) -> Value {
    let mut line = line.clone();
    assert!(line["time"].as_f64().unwrap() > 1.7e12, "{line}");
    line.as_object_mut().unwrap().remove("time");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guests_and_back_ends_do_is_told_in_order() {
    let log = Log::new();
    let node = Node::with(|config| {
        config.limits.resume_grace_ms = 60_000;
        log.on()(config);
    })
    .await;
    let mut ada = Wire::connect(&node, &pass("ada").player("*"), Encoding::Json).await;
    let peer = ada.connected["peer"].clone();
    ada.granted(json!({ "type": "join", "room": "lobby" })).await;
    ada.refused(json!({ "type": "leave", "room": "elsewhere" }), 803).await;
    ada.refused(json!({ "type": "publish", "room": "lobby", "kind": "goal", "data": 1 }), 705).await;
    let resume = json!({ "token": ada.connected["resume"], "received": 0, "positions": {} });
    let id = ada.last_id();
    ada.cut();
    log.line("the loss", |line| line["event"] == "session-lost").await;
    let again = Wire::resumed(&node, Encoding::Json, resume, id).await;

    let admin = pass("backend").host("*").notify("*").admin("kick");
    let position = node
        .post("/v1/rooms/lobby/events", &admin, &json!({ "kind": "goal", "data": { "by": "PAYLOAD" } }))
        .await
        .expect(201)["position"]
        .clone();
    let noted = node.post("/v1/users/ada/notifications", &admin, &json!({ "message": "PAYLOAD" })).await.expect(200);
    let path = format!("/v1/rooms/lobby/members/{}", peer.as_str().unwrap());
    assert_eq!(node.delete(&path, &admin).await.status, 204);
    assert_eq!(node.delete("/v1/users/ada/sessions?gen=3", &admin).await.expect(200)["closed"], 1);
    node.get("/v1/rooms", &pass("ada").player("*")).await.refused(702);
    drop(again);
    node.stop().await;

    let here = json!("127.0.0.1");
    let session = |mut line: Value| {
        line["peer"] = peer.clone();
        line["user"] = "ada".into();
        line["address"] = here.clone();
        line
    };
    let by = |mut line: Value| {
        line["user"] = "backend".into();
        line["address"] = here.clone();
        line
    };
    let expected = [
        session(json!({ "event": "session-opened" })),
        session(json!({ "event": "peer-joined", "room": "lobby" })),
        session(
            json!({ "event": "refused", "code": 803, "name": "not-joined", "message": "leave", "room": "elsewhere" }),
        ),
        session(json!({ "event": "refused", "code": 705, "name": "forbidden", "message": "publish", "room": "lobby" })),
        session(json!({ "event": "session-lost", "code": 1006 })),
        session(json!({ "event": "session-resumed", "outcome": "resumed" })),
        by(json!({ "event": "published", "room": "lobby", "kind": "goal", "position": position })),
        by(json!({ "event": "notified", "to": "ada", "sent": 1, "position": noted["position"] })),
        session(json!({ "event": "peer-left", "room": "lobby", "reason": "kicked" })),
        by(json!({ "event": "member-kicked", "room": "lobby", "peer": peer })),
        session(json!({ "event": "session-ended", "code": 4403, "reason": "kicked" })),
        by(json!({ "event": "user-kicked", "to": "ada", "generation": 3, "closed": 1 })),
        json!({ "event": "refused", "code": 702, "name": "token-expired", "route": "GET /v1/rooms", "address": here }),
    ];
    let lines: Vec<_> = log.lines().iter().map(bare).collect();
    for (line, expected) in lines.iter().zip(&expected) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    assert!(!log.text().contains("PAYLOAD"));
}

/// Good tokens and bad ones, by each door there is, and resume tokens; and what the log says of each.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_ever_in_it() {
    let log = Log::new();
    let node = Node::with(|config| {
        config.auth.query_token = true;
        config.audit.refusals_per_second = 10_000;
        log.on()(config);
    })
    .await;
    let good = pass("ada").player("*").mint();
    let mut sent = vec![
        good.clone(),
        pass("eve").mint_with(FOREIGN_SECRET),
        "not.a.token".to_owned(),
        "zebra.quagga.okapi".to_owned(),
    ];
    for token in sent.clone() {
        for (method, path) in [
            ("GET", "/v1/poll?room=lobby&wait=0"),
            ("GET", "/v1/rooms"),
            ("POST", "/v1/rooms/lobby/events"),
            ("DELETE", "/v1/users/ada/sessions"),
            ("GET", "/v1/nowhere"),
            ("GET", "/v1/ws"),
        ] {
            let ask = |path: &str| match method {
                "POST" => Ask::new(method, path).json(&json!({ "kind": "goal", "data": &token })),
                _ => Ask::new(method, path),
            };
            let joint = if path.contains('?') { '&' } else { '?' };
            node.send(ask(path).bearer(&token)).await;
            node.send(ask(path).header("cookie", &format!("rallypoint_token={token}")).header("origin", ORIGIN)).await;
            node.send(ask(&format!("{path}{joint}token={token}"))).await;
            node.send(ask(&format!("{path}{joint}token={token}")).bearer("zebra.quagga.okapi")).await;
            node.send(ask(path).header("origin", &format!("https://app.example/?token={token}"))).await;
            node.send(ask(&format!("/v1/rooms/{token}"))).await;
            node.send(Ask::new(&token, path).bearer(&token)).await;
        }
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            let first = json!({ "type": "auth", "token": &token });
            let knocks = [
                Ask::new("GET", "/v1/ws"),
                Ask::new("GET", &format!("/v1/ws?token={token}")).header("origin", ORIGIN),
                Ask::new("GET", "/v1/ws").bearer(&token).header("origin", ORIGIN),
                Ask::new("GET", "/v1/ws")
                    .header("cookie", &format!("rallypoint_token={token}"))
                    .header("origin", ORIGIN),
                Ask::new("GET", "/v1/ws").upgrade(&format!("{}, bearer.{token}", encoding.subprotocol())),
            ];
            for ask in knocks {
                ask.knock(encoding, &first, node.address).await;
            }
            let resume = json!({ "type": "resume", "token": &token, "received": 0, "positions": {}, "jwt": &token });
            let knock = Ask::new("GET", "/v1/ws").knock(encoding, &resume, node.address).await;
            assert!(matches!(knock, Knock::Closed { error: Some(806), close: 4200 }), "{knock:?}");
        }
        let mut wire = Wire::connect(&node, &pass("bob").player("*"), Encoding::Json).await;
        wire.ask(json!({ "type": "refresh", "token": &token })).await;
        wire.ask(json!({ "type": &token, "room": "lobby" })).await;
        wire.ask(json!({ "type": "join", "room": format!("{token}!") })).await;
        wire.ask(json!({ "type": "message", "room": "lobby", "text": &token })).await;
        sent.push(wire.connected["resume"].as_str().unwrap().to_owned());
        wire.bye().await;
    }
    // A ticket where it is good, and where it is not.
    let ask = Ask::new("POST", "/v1/tickets").bearer(&good).header("origin", ORIGIN);
    let issued = node.send(ask.json(&json!({ "for": "events", "rooms": ["lobby"] }))).await.expect(201);
    let ticket = issued["ticket"].as_str().unwrap().to_owned();
    let events = format!("/v1/events?room=lobby&ticket={ticket}");
    drop(Stream::begin(&node, Ask::new("GET", &events).header("origin", ORIGIN)).await);
    for path in [format!("/v1/rooms?ticket={ticket}"), events.replace("lobby", "elsewhere"), format!("{events}x")] {
        node.send(Ask::new("GET", &path).header("origin", ORIGIN)).await;
    }
    sent.push(ticket);
    node.stop().await;
    let (text, lines) = (log.text(), log.lines());
    for code in [600, 601, 602, 700, 701, 703, 704, 705, 709, 711, 800, 801, 803, 806] {
        assert!(lines.iter().any(|line| line["code"] == code), "{code} is told:\n{text}");
    }
    for token in &sent {
        // Nor is any of its parts, or it under another spelling.
        for part in token.split('.').filter(|part| part.len() > 5) {
            assert!(!text.contains(part), "{part} is in the log");
        }
    }
    assert!(!text.contains('?') && !text.contains("not.a.token") && !text.contains("token="));
}

/// Behind a proxy a guest has the address that the proxy saw, whatever it writes itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_address_is_not_what_it_says() {
    let log = Log::new();
    let node = Node::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".to_owned()];
        log.on()(config);
    })
    .await;
    // The guest wrote the first address, the proxy the second.
    let chain = "198.51.100.66, 203.0.113.7";
    let ask = Ask::new("GET", "/v1/rooms").header("x-forwarded-for", chain).header("forwarded", "for=198.51.100.66");
    node.send(ask).await.refused(700);
    let headers = vec![("x-forwarded-for".to_owned(), chain.to_owned())];
    let options = Options { credential: Credential::None, headers, ..node.options_with("", Encoding::Json) };
    let mut wire = Wire::open(&options).await;
    wire.say(json!({ "type": "auth", "token": pass("ada").player("*").mint() })).await;
    wire.said("connected").await;
    wire.granted(json!({ "type": "join", "room": "lobby" })).await;
    wire.refused(json!({ "type": "leave", "room": "elsewhere" }), 803).await;
    wire.bye().await;
    let mut mute = Wire::open(&options).await;
    mute.say(json!({ "type": "auth", "token": "x" })).await;
    assert!(matches!(mute.next_end().await, Seen::Closed(4401, _)));
    let backend = pass("backend").host("*");
    let publish = Ask::new("POST", "/v1/rooms/lobby/events").header("x-forwarded-for", chain).pass(&backend);
    node.send(publish.json(&json!({ "kind": "goal", "data": 1 }))).await.expect(201);
    drop(Stream::begin(&node, Ask::new("GET", "/v1/events?room=lobby").pass(&backend)).await);
    node.stop().await;
    let events: Vec<_> = log.lines().iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    for event in ["session-opened", "peer-joined", "refused", "peer-left", "session-ended", "published"] {
        assert!(events.iter().any(|told| told == event), "{event}: {events:?}");
    }
    for line in log.lines() {
        assert_eq!(line["address"], "203.0.113.7", "{line}");
    }
}

/// Who floods a server fills neither its disk nor its memory, and the rest is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_guest_does_not_fill_the_disk() {
    let log = Log::new();
    let node = Node::with(|config| {
        config.audit.refusals_per_second = 5;
        log.on()(config);
    })
    .await;
    let begin = std::time::Instant::now();
    for _ in 0..300 {
        node.send(Ask::new("GET", "/v1/rooms")).await.refused(700);
    }
    let most = (begin.elapsed().as_secs() + 2) * 5;
    let metrics = node.metrics().await;
    node.stop().await;
    let lines = log.lines();
    let refused = lines.iter().filter(|line| line["event"] == "refused").count() as u64;
    assert!((5..=most).contains(&refused), "{refused} lines, {most} at most");
    let left_out: u64 = lines.iter().filter_map(|line| line["lines"].as_u64()).sum();
    assert_eq!(refused + left_out, 300, "what is not written is counted there");
    assert_eq!(metrics["audit_lines_total{outcome=\"left-out\"}"], left_out as f64);
}
