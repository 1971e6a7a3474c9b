//! Tokens, good and bad, each shown at every door and to open sessions.

use rallypoint::auth::jwt::TOKEN_MAX;
use serde_json::json;

use super::{
    Tally, claims,
    door::{DOORS, Door, Sessions},
    is_well,
    keys::{Keys, claims as claims_with, part},
    signing,
};
use crate::support::{Node, pass};

/// A row: what the token is, and the number that refuses it; `None` for a good one.
pub(super) struct Row {
    name: String,
    token: String,
    expected: Option<u16>,
}

pub(super) fn good(name: impl Into<String>, token: String) -> Row {
    Row { name: name.into(), token, expected: None }
}

pub(super) fn bad(name: impl Into<String>, token: String) -> Row {
    Row { name: name.into(), token, expected: Some(701) }
}

pub(super) fn expired(name: impl Into<String>, token: String) -> Row {
    Row { name: name.into(), token, expected: Some(702) }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_at_every_door() {
    let keys = Keys::generate();
    let node = Node::with(|config| {
        keys.configure(config);
        config.limits.requests_burst = 100_000.0;
        config.limits.accepts_burst_per_ip = 100_000.0;
        config.limits.requests_burst_per_ip = 100_000.0;
        config.limits.requests_burst_per_user = 100_000.0;
    })
    .await;
    let mut sessions = Sessions::open(&node, &pass("steady").host("*")).await;
    let mut tally = Tally::default();
    let sections: [fn(&Keys) -> Vec<Row>; 9] = [
        signing::algorithms,
        signing::confusion,
        signing::signatures,
        signing::kids,
        signing::embedded,
        claims::names,
        claims::times,
        claims::rights,
        shapes,
    ];
    for row in sections.iter().flat_map(|section| section(&keys)) {
        let Row { name, token, expected } = row;
        tally.row();
        // A line end cannot stand in a header, and the head of a request has 8 KiB for everything.
        let fits = token.len() <= TOKEN_MAX && !token.contains('\n');
        for door in DOORS.into_iter().filter(|door| fits || matches!(door, Door::First(_))) {
            tally.tried(&format!("{name} at {door:?}"), door.try_token(&node, &token).await, expected);
        }
        // A good one is somebody else's, which an open session does not become.
        for outcome in sessions.refresh(&token).await {
            tally.tried(&format!("{name} at a refresh"), outcome, Some(expected.unwrap_or(705)));
        }
    }
    let answer = node.send(Door::Poll.ask("").bearer(&"x".repeat(TOKEN_MAX))).await;
    tally.tried("a head of more than 8 KiB", Ok(Some(answer.status)), Some(431));
    sessions.close().await;
    tally.end("tokens", 80);
    is_well(node).await;
}

/// What is no token, or not quite.
fn shapes(keys: &Keys) -> Vec<Row> {
    let payload = claims_with(json!({}));
    let token = keys.token(&payload);
    let pad = |len: usize| keys.token(claims_with(json!({ "more": "x".repeat(len) })));
    let (long, longer) = (pad(5600), pad(6000));
    assert!(long.len() <= TOKEN_MAX && longer.len() > TOKEN_MAX, "{} {}", long.len(), longer.len());
    let jwe = format!(
        "{}.{}.{}.{}.{}",
        part(r#"{"alg":"dir","enc":"A128GCM"}"#),
        "",
        part(b"iv"),
        part(&payload),
        part(b"tag")
    );
    let (head, rest) = token.split_once('.').expect("three parts");
    let (body, signature) = rest.split_once('.').expect("three parts");
    let flattened = json!({ "protected": head, "payload": body, "signature": signature }).to_string();
    vec![
        good("as long as a head has room for", long),
        bad("more than 8 KiB", longer),
        bad("empty", String::new()),
        bad("a word", "null".to_owned()),
        bad("two dots", "..".to_owned()),
        bad("an extra dot behind", format!("{token}.")),
        bad("an extra dot before", format!(".{token}")),
        bad("an extra part", format!("{token}.{signature}")),
        bad("the payload alone", body.to_owned()),
        bad("a space within", format!("{head}. {rest}")),
        bad("a line end behind", format!("{token}\n")),
        bad("a line end within", format!("{head}.\n{rest}")),
        bad("in quotes", format!("\"{token}\"")),
        bad("named twice", format!("Bearer {token}")),
        bad("percent-encoded dots", token.replace('.', "%2E")),
        bad("padded parts", format!("{head}=.{rest}")),
        bad("as JSON (RFC 7515 section 7.2.2)", flattened),
        bad("encrypted (RFC 7516)", jwe),
        bad("claims as a list", keys.token(r#"["ada",9999999999]"#)),
        bad("claims as text", keys.token(r#""ada""#)),
        bad("no claims", keys.token("")),
        bad("empty claims", keys.token("{}")),
        bad("something behind the claims", keys.token(format!("{payload}x"))),
        bad("claims that are not UTF-8", keys.token([b"{\"sub\":\"\xff\",", &payload.as_bytes()[1..]].concat())),
    ]
}
