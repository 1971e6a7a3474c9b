//! Tokens as they come, tokens that are signed whatever they say, the places in a request where a
//! token may be, and resume tokens.
#![no_main]

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use rallypoint::{
    auth::{
        AuthConfig, CredentialRules, Door, Grant, KeyConfig, OriginRules, Presented, ResumeKey, Secret, Verifier,
        credentials::{self, Credential},
    },
    config::Config,
};
use rallypoint_fuzz::within;
use rallypoint_protocol::{
    Encoding, PeerId, Position, RoomName, ServerMessage,
    event::{Entry, Millis},
    server::PeerJoined,
};

const SECRET: &str = "a secret of more than thirty-two bytes";
const NOW_MS: f64 = 1_700_000_000_000.0;

/// One key for everybody, and one key among several.
static VERIFIERS: LazyLock<[Verifier; 2]> = LazyLock::new(|| {
    let key = |issuer: Option<&str>, kid: Option<&str>| KeyConfig {
        issuer: issuer.map(str::to_owned),
        kid: kid.map(str::to_owned),
        ..KeyConfig::of_secret(SECRET)
    };
    let verifier = |keys| {
        let audience = Some("rallypoint".to_owned());
        Verifier::new(&AuthConfig { keys, audience, ..Config::default().auth }).expect("good keys")
    };
    let several = vec![key(Some("shop"), Some("a")), key(Some("shop"), Some("b")), key(None, None)];
    [verifier(vec![key(None, None)]), verifier(several)]
});

static RULES: LazyLock<OriginRules> = LazyLock::new(|| {
    let rules = ["https://app.example", "https://*.app.example"].map(str::to_owned);
    OriginRules::new(&rules, false, true).expect("good rules")
});

static RESUME_KEY: LazyLock<ResumeKey> = LazyLock::new(|| {
    let config = AuthConfig { resume_secret: Some(Secret(SECRET.into())), ..AuthConfig::default() };
    ResumeKey::new(&config).expect("a good secret")
});

/// HMAC with SHA-256, as base64url.
fn signature(message: &[u8]) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::crypto::sign(message, &key, Algorithm::HS256).expect("a secret signs")
}

/// A resume token that is read is the one that would be written.
fn check_resume(token: &str) {
    if let Some(read) = within(64 * 1024, || RESUME_KEY.read(token)) {
        assert_eq!(RESUME_KEY.write(&read), token);
        assert!(token.len() <= 512, "longer than the wire allows");
    }
}

/// Signed whatever it says, so that what lies behind the signature is reached.
fn check_signed_resume(said: &[u8]) {
    let tag = URL_SAFE_NO_PAD.decode(signature(said)).expect("base64url");
    check_resume(&URL_SAFE_NO_PAD.encode([said, &tag].concat()));
}

/// What a token that was let in grants must be fit for everything that is done with it.
fn check_grant(grant: &Grant) {
    assert!(grant.expires_at_ms + 30_000.0 > NOW_MS, "an old token was let in");
    assert!(grant.name.as_ref().is_none_or(|name| (1..=128).contains(&name.len())));
    let entry = Entry {
        peer: PeerId::parse("5b0d4a8e-6c1f-4d3a-9e27-0f1a2b3c4d5e").expect("a UUID"),
        handle: Some(1),
        user: grant.user.clone(),
        name: grant.name.clone(),
        info: grant.info.clone(),
        state: None,
        order: Some(1),
        rtt: None,
        polite: Some(true),
        offers: Some(true),
    };
    let room = RoomName::new("lobby").expect("a good name");
    let joined = PeerJoined { room, time: Millis(NOW_MS), position: Position::start(1), peer: entry };
    let message = ServerMessage::PeerJoined(joined);
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        ServerMessage::decode(encoding, &message.encode(encoding)).expect("others can read who joined");
    }
}

fn check_token(token: &str) {
    for verifier in &*VERIFIERS {
        // The library reads the header and the claims, each into a value of its own.
        let Ok(grant) = within(64 * 1024 + 64 * token.len(), || verifier.check(token, NOW_MS)) else { continue };
        let (message, signed) = token.rsplit_once('.').expect("a token has three parts");
        assert_eq!(signature(message.as_bytes()), signed, "a token was let in that nobody signed");
        check_grant(&grant);
    }
}

/// Each line goes to one place, in turn; the credential that is found must stand in one of them.
fn check_places(text: &str) {
    let lines: Vec<_> = text.split('\n').collect();
    let of = |place| lines.iter().copied().skip(place).step_by(7).filter(|line| !line.is_empty());
    for door in [Door::WebSocket, Door::Get, Door::Feed, Door::Write] {
        let presented = Presented {
            authorization: of(0).collect(),
            subprotocols: of(1).collect(),
            cookies: of(2).collect(),
            query: of(3).collect(),
            origin: of(4).next(),
            sec_fetch_site: of(5).next(),
            tickets: of(6).collect(),
            door,
        };
        let rules = CredentialRules { cookie: "rallypoint_token", query: true, origins: &RULES };
        let token = match credentials::gather(&presented, &rules) {
            Ok(Some(Credential::Token(token))) => token,
            Ok(Some(Credential::Ticket(ticket))) => {
                assert!(matches!(door, Door::WebSocket | Door::Feed) && of(6).any(|place| place == ticket));
                continue;
            }
            _ => continue,
        };
        assert!(!token.is_empty());
        assert!((0..4).flat_map(of).any(|place| place.contains(token)));
        // Without another credential it came as a cookie, and then one of our pages sent it.
        let origin = presented.origin;
        let bare = Presented { cookies: Vec::new(), ..presented };
        if credentials::gather(&bare, &rules) == Ok(None) {
            assert!(origin.map_or(matches!(door, Door::Get | Door::Feed), |origin| RULES.allows_cookies(origin)));
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    if choice % 4 == 3 {
        check_signed_resume(rest);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match choice % 4 {
        0 => check_token(text),
        1 => {
            let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
            check_token(&format!("{message}.{}", signature(message.as_bytes())));
        }
        2 => check_places(text),
        _ => check_resume(text),
    }
});
