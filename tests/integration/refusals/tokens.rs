//! Credentials and origins at every door.

use rallypoint_client::{Client, Credential, Options};
use rallypoint_protocol::{CloseCode, Encoding, ErrorCode};
use serde_json::{Value, json};

use super::is_well;
use crate::support::{Ask, FOREIGN_SECRET, Node, ORIGIN, Pass, Wire, forged, pass};

const EVENTS: &str = "/v1/rooms/lobby/events";

fn guest() -> Pass {
    pass("guest").host("*")
}

/// What is wrong with a token, the token, and the number that says so.
fn bad_tokens() -> Vec<(&'static str, String, u16)> {
    let mut stranger = guest();
    stranger.0.aud.0 = vec!["another service".to_owned()];
    let mut nobody = guest();
    nobody.0.sub = "no spaces allowed".to_owned();
    let good = guest().mint();
    let (head, _) = good.rsplit_once('.').expect("a JWT has three parts");
    vec![
        ("expired", guest().expires_in(-3600.0).mint(), 702),
        ("signed by a stranger", guest().mint_with(FOREIGN_SECRET), 701),
        ("alg: none", forged(&guest()), 701),
        ("without its signature", format!("{head}."), 701),
        ("for another audience", stranger.mint(), 701),
        ("of a bad name", nobody.mint(), 701),
        ("no JWT at all", "hello".to_owned(), 701),
    ]
}

fn close_of(code: u16) -> u16 {
    CloseCode::of_error(ErrorCode::from_number(code).expect("a code of the table")).number()
}

/// A value of this depth.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

#[tokio::test(flavor = "multi_thread")]
async fn info_is_no_deeper_than_a_message_can_carry() {
    let node = Node::start().await;
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut wire = Wire::connect(&node, &guest().info(nested(16)), encoding).await;
        let joined = wire.granted(json!({ "type": "join", "room": "lobby" })).await;
        assert_eq!(joined["you"]["info"], nested(16));
        wire.bye().await;
    }
    // 126 is what a JSON parser takes inside a token, and more than it takes inside a message.
    for depth in [17, 126] {
        node.get("/v1/rooms/lobby", &guest().info(nested(depth))).await.refused(701);
    }
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_opens_no_door() {
    let node = Node::start().await;
    for (what, token, code) in bad_tokens() {
        assert_eq!(close_of(code), if code == 702 { 4100 } else { 4401 });

        // Over HTTP, feeds included, and in a handshake without Origin: a status.
        let upgrade = Ask::new("GET", "/v1/ws").upgrade("rallypoint.v1.json");
        let publish = Ask::new("POST", EVENTS).json(&json!({ "kind": "score", "data": 1 }));
        let asks = [
            upgrade,
            publish,
            Ask::new("GET", "/v1/events?room=lobby"),
            Ask::new("GET", "/v1/poll?room=lobby"),
            Ask::new("GET", "/v1/rooms/lobby"),
            Ask::new("GET", "/v1/ice-servers"),
            Ask::new("GET", "/metrics"),
        ];
        for ask in asks {
            let answer = node.send(ask.bearer(&token)).await;
            println!("{what}: {}", answer.refused(code));
            assert_eq!(answer.status, 401);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }

        for encoding in [Encoding::Json, Encoding::MsgPack] {
            // A browser cannot read a failed handshake: it is let in, told, and closed.
            for credential in [Credential::Header, Credential::Subprotocol] {
                let origin = Some(ORIGIN.to_owned());
                let options = Options { credential, origin, ..node.options_with(&token, encoding) };
                Wire::open(&options).await.closed(close_of(code), code).await;
            }
            let error = Client::connect(node.options_with(&token, encoding)).await.expect_err(what);
            assert_eq!(error.code().map(ErrorCode::number), Some(code), "{what}: {error}");
            assert_eq!(error.close_code(), Some(close_of(code)), "{what}: {error}");
        }
    }
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_opens_no_door() {
    let node = Node::start().await;
    for path in ["/v1/events?room=lobby", "/v1/poll?room=lobby", "/v1/rooms", "/v1/rooms/lobby", "/metrics"] {
        node.send(Ask::new("GET", path)).await.refused(700);
    }
    node.send(Ask::new("POST", EVENTS).json(&json!({ "kind": "score", "data": 1 }))).await.refused(700);
    node.send(Ask::new("DELETE", "/v1/users/ada/sessions")).await.refused(700);
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        // Whatever comes before the token is the end.
        for (first, close, error) in [
            (json!({ "type": "join", "id": 1, "room": "lobby" }), 4401, 700),
            (json!({ "type": "ping" }), 4401, 700),
            (json!({ "type": "resume", "token": "x", "received": 0, "positions": {} }), 4200, 806),
            (json!({ "type": "auth" }), 4400, 600),
            (json!({ "type": "auth", "token": "" }), 4401, 701),
            (json!({ "type": "fly" }), 4400, 601),
            (json!("auth"), 4400, 600),
        ] {
            let mut wire = Wire::anonymous(&node, encoding).await;
            wire.say(first).await;
            wire.closed(close, error).await;
        }
    }
    // A move as the first thing.
    let mut wire = Wire::anonymous(&node, Encoding::MsgPack).await;
    wire.send_bytes(&[0x95, 1, 1, 0, 1, 0xc0]).await;
    wire.closed(4401, 700).await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_different_tokens_are_one_too_many() {
    let node = Node::with(|config| config.limits.resume_grace_ms = 0).await;
    let (one, two) = (guest().mint(), pass("other").mint());
    let cookie = |token: &str| format!("rallypoint_token={token}");
    let poll = Ask::new("GET", "/v1/poll?room=lobby").bearer(&one).header("origin", ORIGIN);
    node.send(poll.clone().header("cookie", &cookie(&two))).await.refused(703);
    node.send(poll.header("cookie", &cookie(&one))).await.expect(200);
    let offer = |token: &str| format!("rallypoint.v1.json, bearer.{token}");
    let upgrade = |token: &str| Ask::new("GET", "/v1/ws").bearer(&one).upgrade(&offer(token));
    node.send(upgrade(&two)).await.refused(703);
    assert_eq!(node.send(upgrade(&one)).await.status, 101);
    let options = Options {
        credential: Credential::Subprotocol,
        origin: Some(ORIGIN.to_owned()),
        headers: vec![("cookie".to_owned(), cookie(&two))],
        ..node.options_with(&one, Encoding::Json)
    };
    Wire::open(&options).await.closed(4401, 703).await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_in_the_wrong_place_is_not_accepted() {
    let node = Node::start().await;
    let token = guest().mint();
    for path in ["/v1/events", "/v1/poll"] {
        node.send(Ask::new("GET", &format!("{path}?room=lobby&token={token}"))).await.refused(709);
        let cookie =
            Ask::new("GET", &format!("{path}?room=lobby")).header("cookie", &format!("rallypoint_token={token}"));
        node.send(cookie.clone()).await.refused(709);
        node.send(cookie.header("sec-fetch-site", "cross-site")).await.refused(709);
    }
    let upgrade = |path: &str| Ask::new("GET", path).upgrade("rallypoint.v1.json");
    node.send(upgrade(&format!("/v1/ws?token={token}"))).await.refused(709);
    node.send(upgrade("/v1/ws").header("cookie", &format!("rallypoint_token={token}"))).await.refused(709);
    let from_page = Options {
        credential: Credential::Query,
        origin: Some(ORIGIN.to_owned()),
        ..node.options_with(&token, Encoding::Json)
    };
    Wire::open(&from_page).await.closed(4401, 709).await;
    // A page on the list may use the cookie.
    let headers = vec![("cookie".to_owned(), format!("rallypoint_token={token}"))];
    let by_cookie = Options { credential: Credential::None, headers, ..from_page };
    let mut wire = Wire::open(&by_cookie).await;
    wire.said("connected").await;
    wire.bye().await;
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_listed_stays_outside() {
    let node = Node::start().await;
    for origin in ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null"] {
        let asks = [
            Ask::new("GET", "/v1/ws").upgrade("rallypoint.v1.json"),
            Ask::new("GET", "/v1/events?room=lobby"),
            Ask::new("GET", "/v1/poll?room=lobby"),
            Ask::new("POST", EVENTS).json(&json!({ "kind": "score", "data": 1 })),
            Ask::new("OPTIONS", EVENTS),
        ];
        for ask in asks {
            let answer = node.send(ask.pass(&guest()).header("origin", origin)).await;
            answer.refused(704);
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    let preflight = node.send(Ask::new("OPTIONS", EVENTS).header("origin", ORIGIN)).await;
    assert_eq!(preflight.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(preflight.header("access-control-allow-credentials"), Some("true"));
    is_well(node).await;

    let strict = Node::with(|config| config.auth.allow_no_origin = false).await;
    strict.send(Ask::new("GET", "/v1/ws").upgrade("rallypoint.v1.json").pass(&guest())).await.refused(704);
    strict.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token_unless_it_is_refreshed() {
    let node = Node::with(|config| {
        config.auth.leeway_ms = 0;
        config.limits.expiry_grace_ms = 1000;
        config.limits.resume_grace_ms = 0;
    })
    .await;
    let brief = guest().expires_in(4.0);
    let mut stays = Wire::connect(&node, &brief, Encoding::Json).await;
    let mut goes = Wire::connect(&node, &brief, Encoding::MsgPack).await;
    let refresh = |token: String| json!({ "type": "refresh", "token": token });
    stays.granted(json!({ "type": "join", "room": "lobby" })).await;

    stays.refused(refresh("hello".to_owned()), 701).await;
    stays.refused(refresh(guest().expires_in(-3600.0).mint()), 702).await;
    stays.refused(refresh(pass("somebody-else").host("*").mint()), 705).await;
    stays.say(json!({ "type": "auth", "token": guest().mint() })).await;
    stays.complaint(708).await;
    stays.granted(refresh(guest().mint())).await;

    goes.closed(4100, 702).await;
    // The other one was let in at the same time with the same token: what it does now it does with the new one.
    stays.granted(json!({ "type": "message", "room": "lobby", "text": "still here" })).await;

    // Rights count at once: the room is left, the watch ends.
    stays.granted(json!({ "type": "watch", "room": "stage" })).await;
    stays.granted(refresh(pass("guest").verbs("elsewhere", ["join"]).mint())).await;
    let left = stays.said("peer-left").await;
    assert_eq!((&left["room"], &left["reason"]), (&json!("lobby"), &json!("expired")));
    assert_eq!(stays.complaint(705).await["room"], Value::from("stage"));
    stays.refused(json!({ "type": "message", "room": "lobby", "text": "and now?" }), 705).await;
    stays.bye().await;
    is_well(node).await;
}
