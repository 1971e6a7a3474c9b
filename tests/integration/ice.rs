//! STUN and TURN servers: who is told of which, and the credentials that are made for each user.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rallypoint::{
    auth::{IcePolicy, Secret},
    config::IceConfig,
};
use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use crate::support::{Node, Pass, Wire, pass};

const SECRET: &str = "what the TURN server and this one know";

/// A node that knows a STUN server and two TURN servers, one with a password for all.
async fn node() -> Node {
    let entry = |url: &str| IceConfig {
        urls: vec![url.to_owned()],
        username: None,
        credential: None,
        secret: None,
        ttl_ms: None,
    };
    Node::with(|config| {
        config.ice = vec![
            entry("stun:stun.example"),
            IceConfig {
                username: Some("all".to_owned()),
                credential: Some(Secret("hush".to_owned())),
                ..entry("turn:old.example")
            },
            IceConfig { secret: Some(Secret(SECRET.to_owned())), ttl_ms: Some(60_000), ..entry("turns:new.example") },
        ];
    })
    .await
}

fn with(mut pass: Pass, ice: IcePolicy) -> Pass {
    pass.0.ice = ice;
    pass
}

/// What both doors tell a user: `(ice_servers, expires)`, over HTTP and in `connected`.
async fn told(node: &Node, pass: &Pass) -> [(Value, Value); 2] {
    let mut answer = node.get("/v1/ice-servers", pass).await.expect(200);
    let mut wire = Wire::connect(node, pass, Encoding::MsgPack).await;
    let mut connected = wire.connected.take();
    wire.bye().await;
    [
        (answer["ice_servers"].take(), answer["expires"].take()),
        (connected["ice_servers"].take(), connected["ice_expires"].take()),
    ]
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs_f64() * 1000.0
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_gets_a_credential_that_ends() {
    let node = node().await;
    let begin = now_ms();
    for user in ["ada", "team/ada:2"] {
        for (servers, expires) in told(&node, &pass(user).player("*")).await {
            let seconds = expires.as_f64().expect("a credential ends") / 1000.0;
            assert!(seconds.fract() == 0.0 && seconds * 1000.0 > begin + 58_000.0, "{expires}");
            assert!(seconds * 1000.0 <= now_ms() + 60_000.0, "{expires}");
            let username = format!("{seconds}:{user}");
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
            let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
            let expected = json!([
                { "urls": ["stun:stun.example"] },
                { "urls": ["turn:old.example"], "username": "all", "credential": "hush" },
                { "urls": ["turns:new.example"], "username": username, "credential": credential },
            ]);
            assert_eq!(servers, expected);
        }
    }
    node.emptied().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claim_chooses_which() {
    let node = node().await;
    for (policy, http, wire) in [
        (IcePolicy::Relay, json!(["turn:old.example", "turns:new.example"]), true),
        (IcePolicy::None, json!([]), false),
    ] {
        let [over_http, connected] = told(&node, &with(pass("ada").player("*"), policy)).await;
        let urls = |servers: &Value| {
            let servers = servers.as_array().expect("a list");
            Value::Array(servers.iter().map(|server| server["urls"][0].clone()).collect())
        };
        assert_eq!((urls(&over_http.0), over_http.1.is_null()), (http.clone(), !wire));
        if wire {
            assert_eq!(urls(&connected.0), http);
        } else {
            assert_eq!(connected, (Value::Null, Value::Null));
        }
    }
    // Who may not send signals is told of none.
    let reader = pass("ada").verbs("*", ["join", "chat"]);
    node.get("/v1/ice-servers", &reader).await.refused(705);
    let wire = Wire::connect(&node, &reader, Encoding::Json).await;
    assert!(wire.connected.get("ice_servers").is_none() && wire.connected.get("ice_expires").is_none());
    wire.bye().await;
    node.emptied().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_ends_nothing_is_said_to() {
    let node = Node::with(|config| {
        let urls = vec!["stun:stun.example".to_owned()];
        config.ice = vec![IceConfig { urls, username: None, credential: None, secret: None, ttl_ms: None }];
    })
    .await;
    let ada = pass("ada").player("*");
    let answer = node.get("/v1/ice-servers", &ada).await.expect(200);
    assert_eq!(answer, json!({ "ice_servers": [{ "urls": ["stun:stun.example"] }] }));
    let wire = Wire::connect(&node, &ada, Encoding::Json).await;
    assert!(wire.connected.get("ice_servers").is_some() && wire.connected.get("ice_expires").is_none());
    wire.bye().await;
    node.emptied().await;
}
