//! What is written in a token: who made it for whom, how long it is good, what it allows.

use serde_json::{Value, json};

use super::{
    keys::{Keys, LEEWAY, MANY, claim_as, claims, header, hs256, jws, now},
    tokens::{Row, bad, expired, good},
};
use crate::support::{ADMIN_AUDIENCE, AUDIENCE, ISSUER, SECRET};

/// Who made it, for whom, about whom.
pub(super) fn names(keys: &Keys) -> Vec<Row> {
    let with = |name: &str, value: Value| keys.token(claims(json!({ name: value })));
    let raw = |name: &str, text: &str| keys.token(claim_as(name, text));
    let mut rows = vec![
        good("aud as a list with ours", with("aud", json!(["other", AUDIENCE]))),
        good("a sub of several segments", with("sub", json!("team/ada@example.org"))),
        bad("the sub twice", keys.token(claim_as("sub", r#""ada","sub":"root""#))),
        bad("another issuer's key", keys.token(claims(json!({ "iss": ISSUER })))),
        bad("our name under another issuer's key", {
            jws(header("HS256", "hs"), claims(json!({})), hs256(SECRET.as_bytes()))
        }),
    ];
    for (name, wrong) in [
        ("aud", json!("other")),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!(["other", ADMIN_AUDIENCE])),
        ("aud", json!(7)),
        ("aud", json!([AUDIENCE, 7])),
        ("aud", json!({ "0": AUDIENCE })),
        ("aud", json!(format!("{AUDIENCE}2"))),
        ("aud", json!(AUDIENCE.to_uppercase())),
        ("iss", json!("https://unknown.test")),
        ("iss", json!("")),
        ("iss", json!(7)),
        ("iss", json!([MANY])),
        ("iss", json!(format!("{MANY}/"))),
        ("iss", json!(MANY.to_uppercase())),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!(["ada"])),
        ("sub", json!(" ada")),
        ("sub", json!("ada\n")),
        ("sub", json!("adä")),
        ("sub", json!("..")),
        ("sub", json!("../ada")),
        ("sub", json!("a/../b")),
        ("sub", json!("/ada")),
        ("sub", json!("ada/")),
        ("sub", json!("a//b")),
        ("sub", json!("user/ada")),
        ("sub", json!("a".repeat(129))),
    ] {
        let shown: String = wrong.to_string().chars().take(40).collect();
        rows.push(bad(format!("{name} {shown}"), with(name, wrong)));
    }
    for name in ["aud", "iss", "sub"] {
        rows.push(bad(format!("no {name}"), with(name, Value::Null)));
        rows.push(bad(format!("{name} null"), raw(name, "null")));
    }
    rows
}

/// From when, until when.
pub(super) fn times(keys: &Keys) -> Vec<Row> {
    let with = |changes: Value| keys.token(claims(changes));
    let raw = |name: &str, text: &str| keys.token(claim_as(name, text));
    let (now, far) = (now(), 10 * LEEWAY);
    let unsigned = with(json!({ "exp": now - far }));
    let mut rows = vec![
        good("expired, within the leeway", with(json!({ "exp": now - 1 }))),
        good("an exp with a fraction", with(json!({ "exp": now as f64 + 3600.5 }))),
        good("an nbf and an iat now", with(json!({ "nbf": now, "iat": now }))),
        good("an nbf that begins within the leeway", with(json!({ "nbf": now + LEEWAY / 2 }))),
        good("an iat within the leeway", with(json!({ "iat": now + LEEWAY / 2 }))),
        expired("expired", with(json!({ "exp": now - far }))),
        expired("expired long ago", with(json!({ "exp": 0 }))),
        // Who hears 702 asks for a fresh token of the same kind, and that would not help.
        bad("expired and for somebody else", with(json!({ "exp": now - far, "aud": "other" }))),
        bad("expired and from nobody", with(json!({ "exp": now - far, "iss": null }))),
        bad("expired and without a signature", format!("{}.", unsigned.rsplit_once('.').expect("three parts").0)),
        bad("no exp", with(json!({ "exp": null }))),
        bad("exp null", raw("exp", "null")),
        bad("exp as text", with(json!({ "exp": (now + 3600).to_string() }))),
        bad("exp as a date", with(json!({ "exp": "2099-01-01T00:00:00Z" }))),
        bad("a negative exp", with(json!({ "exp": -1 }))),
        bad("exp in milliseconds", with(json!({ "exp": (now + 3600) * 1000 }))),
        bad("exp at the end of all numbers", raw("exp", "1e308")),
        bad("exp beyond all numbers", raw("exp", "1e999")),
        bad("exp twice", raw("exp", r#"1,"exp":9999999999"#)),
        bad("exp true", with(json!({ "exp": true }))),
    ];
    for name in ["nbf", "iat"] {
        rows.push(bad(format!("an {name} to come"), with(json!({ name: now + far }))));
        rows.push(bad(format!("an {name} in milliseconds"), with(json!({ name: now * 1000 }))));
        rows.push(bad(format!("an {name} as text"), with(json!({ name: "yesterday" }))));
    }
    rows
}

/// What it allows. A malformed entry refuses the whole token.
pub(super) fn rights(keys: &Keys) -> Vec<Row> {
    let with = |changes: Value| keys.token(claims(changes));
    let all = |verbs: Value| json!({ "rooms": [{ "r": "*", "do": verbs }] });
    let rooms = |count: usize| {
        let others = (1..count).map(|number| json!({ "r": format!("r{number}"), "do": [] }));
        json!({ "rooms": std::iter::once(json!({ "r": "*", "do": ["watch", "publish"] })).chain(others).collect::<Vec<_>>() })
    };
    let mut rows = vec![
        good(
            "unknown verbs and claims",
            with(json!({ "rooms": [{ "r": "*", "do": ["watch", "publish", "fly"], "since": 1 }], "scope": "x" })),
        ),
        good("32 rooms", with(rooms(32))),
        good(
            "every claim of ours",
            with(json!({
                "name": "Ada", "info": { "level": 3 }, "notify": { "send": ["*"] }, "admin": ["fly"], "jti": "1",
                "dup": "multi", "lim": { "rooms": 3, "requests": 50, "moves": 5, "bytes": 5000 }, "ice": "relay", "gen": 3,
            })),
        ),
        bad("33 rooms", with(rooms(33))),
        bad("33 verbs", with(all(json!(vec!["watch"; 33])))),
    ];
    for wrong in [
        json!({ "rooms": { "r": "*", "do": ["watch"] } }),
        json!({ "rooms": "*" }),
        json!({ "rooms": [["*", null, ["watch", "publish"]]] }),
        json!({ "rooms": ["*"] }),
        json!({ "rooms": [{ "r": "*" }] }),
        json!({ "rooms": [{ "do": ["watch"] }] }),
        json!({ "rooms": [{ "r": "*", "do": "watch" }] }),
        json!({ "rooms": [{ "r": "*", "do": [7] }] }),
        json!({ "rooms": [{ "r": "*", "do": { "watch": true } }] }),
        json!({ "rooms": [{ "r": 7, "do": [] }] }),
        json!({ "rooms": [{ "r": ["lobby"], "do": [] }] }),
        json!({ "rooms": [{ "r": "", "do": [] }] }),
        json!({ "rooms": [{ "r": "lob*", "do": [] }] }),
        json!({ "rooms": [{ "r": "*/lobby", "do": [] }] }),
        json!({ "rooms": [{ "r": "../*", "do": [] }] }),
        json!({ "rooms": [{ "r": "a b", "do": [] }] }),
        json!({ "rooms": [{ "r": "a".repeat(129), "do": [] }] }),
        json!({ "rooms": [{ "r": "*", "role": 7, "do": [] }] }),
        json!({ "rooms": [{ "r": "*", "role": "x".repeat(65), "do": [] }] }),
        json!({ "rooms": [{ "r": "*", "do": ["watch", "publish"] }, { "r": "lob*", "do": [] }] }),
        json!({ "notify": ["*"] }),
        json!({ "notify": [["*"]] }),
        json!({ "notify": { "send": "*" } }),
        json!({ "notify": { "send": ["a*"] } }),
        json!({ "admin": "kick" }),
        json!({ "admin": { "kick": true } }),
        json!({ "admin": vec!["kick"; 33] }),
        json!({ "name": 7 }),
        json!({ "name": "x".repeat(129) }),
        json!({ "name": "a\nb" }),
        json!({ "info": "x".repeat(1024) }),
        json!({ "dup": "both" }),
        json!({ "dup": 1 }),
        json!({ "ice": "turn" }),
        json!({ "lim": 5 }),
        json!({ "lim": [1, 1, 1, 1] }),
        json!({ "lim": { "rooms": -1 } }),
        json!({ "lim": { "moves": "5" } }),
        json!({ "lim": { "bytes": 1.5 } }),
        json!({ "gen": -1 }),
        json!({ "gen": 1.5 }),
        json!({ "gen": "3" }),
    ] {
        let shown: String = wrong.to_string().chars().take(60).collect();
        rows.push(bad(shown, with(wrong)));
    }
    rows
}
