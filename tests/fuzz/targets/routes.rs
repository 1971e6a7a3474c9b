//! Whole HTTP requests through the server's routes, without a socket: paths, queries, headers,
//! origins and bodies. Whatever comes, the answer is well formed and no fault of the server.
#![no_main]

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use rallypoint::{
    auth::{
        Claims, KeySource, Minter, OriginRules, ResumeKey, Verifier,
        claims::{NotifyClaim, RoomClaim},
    },
    config::Config,
    http::{Context, Paces, complete, routes},
    hub::Hub,
    metrics::Metrics,
    transport::{status::Status, ws},
};
use rallypoint_fuzz::within;
use rallypoint_protocol::{ErrorCode, RoomName, Verb};
use tower_service::Service;

const ORIGIN: &str = "https://app.example";
/// Parts of an answer that are looked at; an event stream has no end.
const PARTS_MAX: usize = 64;
/// What a server of its own, its routes and the largest page may take.
const REQUEST_MAX: usize = 512 * 1024;

/// What does not change from one input to the next.
struct World {
    config: Arc<Config>,
    verifier: Arc<Verifier>,
    origins: Arc<OriginRules>,
    /// May do everything.
    host: String,
    /// May only look.
    guest: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut config = Config { dev: true, pages: true, origins: vec![ORIGIN.to_owned()], ..Config::default() };
    config.auth.dev = true;
    // A poll that waits would only be slow.
    config.limits.poll_wait_ms = 0;
    config.limits.poll_wait_max_ms = 0;
    let minter = Minter::new(&KeySource::Development).expect("the development key signs");
    let words = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let all: Vec<_> = Verb::ALL.into_iter().map(Verb::name).collect();
    let token = |verbs: &[&str], admin: &[&str]| {
        minter.mint(&Claims {
            sub: "ada".to_owned(),
            exp: 4e9,
            rooms: vec![RoomClaim { pattern: "*".to_owned(), role: None, verbs: words(verbs) }],
            notify: NotifyClaim { send: words(&["*"]) },
            admin: words(admin),
            ..Claims::default()
        })
    };
    World {
        verifier: Arc::new(Verifier::new(&config.auth).expect("the development key")),
        origins: Arc::new(OriginRules::new(&config.origins, false, true).expect("a good rule")),
        host: token(&all, &["rooms", "kick", "metrics", "notify"]),
        guest: token(&["watch", "history"], &[]),
        config: Arc::new(config),
    }
});

/// A server of its own for each request, so that inputs can be told apart and tried again.
fn answer(mut request: Request<Full<Bytes>>) -> (Response<()>, Vec<u8>) {
    let world = &*WORLD;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let resume_key = ResumeKey::new(&world.config.auth).expect("a key of its own");
        let hub = Hub::new(world.config.clone(), Arc::new(Metrics::new()), resume_key);
        let sockets = Arc::new(ws::Setting::new(hub.clone(), world.verifier.clone()));
        let paces = Arc::new(Paces::new(hub.limits()));
        let status = Status::new(hub.clone());
        let (verifier, origins) = (world.verifier.clone(), world.origins.clone());
        let context = Context { hub, verifier, origins, proxies: Default::default(), sockets, paces, status };
        complete(&mut request);
        let response = warp::service(routes(context.into())).call(request).await.expect("routes answer everything");
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        for _ in 0..PARTS_MAX {
            match body.frame().now_or_never() {
                Some(Some(Ok(frame))) => bytes.extend(frame.into_data().unwrap_or_default()),
                Some(Some(Err(error))) => panic!("an answer broke off: {error}"),
                Some(None) => break,
                // An event stream is fed by a task.
                None => tokio::task::yield_now().await,
            }
        }
        (Response::from_parts(head, ()), bytes)
    })
}

/// The code of a problem document that is as it should be (RFC 9457).
fn code_of(head: &Response<()>, body: &[u8]) -> Option<u64> {
    if head.headers().get(header::CONTENT_TYPE)? != "application/problem+json" {
        return None;
    }
    let problem: serde_json::Value = serde_json::from_slice(body).expect("a problem is JSON");
    assert_eq!(problem["status"], head.status().as_u16(), "{problem}");
    Some(problem["code"].as_u64().unwrap_or_else(|| panic!("a problem has a code: {problem}")))
}

fn check(head: &Response<()>, body: &[u8]) -> Option<u64> {
    let status = head.status();
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}", String::from_utf8_lossy(body));
    let code = code_of(head, body);
    let bare = status.is_success() || status == StatusCode::NOT_MODIFIED || status.is_redirection();
    assert!(bare || code.is_some(), "{status} without a problem: {}", String::from_utf8_lossy(body));
    code
}

/// `METHOD TARGET`, lines of headers, an empty line, the body.
fn request(text: &[u8], token: Option<&str>) -> Option<Request<Full<Bytes>>> {
    let mut rest = text;
    let mut line = || {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let (line, later) = rest.split_at(end);
        rest = later.get(1..).unwrap_or_default();
        line
    };
    let first = line();
    let space = first.iter().position(|&byte| byte == b' ')?;
    let mut builder = Request::builder().method(&first[..space]).uri(&first[space + 1..]);
    loop {
        let line = line();
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { break };
        builder = builder.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    if let Some(token) = token {
        builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    builder.body(Full::new(Bytes::copy_from_slice(rest))).ok()
}

/// Percent-decoding, written once more: what a segment of a path says.
fn decoded(segment: &[u8]) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = segment.iter();
    while let Some(&byte) = rest.next() {
        let mut digit = || char::from(*rest.next()?).to_digit(16);
        out.push(if byte == b'%' { u8::try_from(digit()? * 16 + digit()?).ok()? } else { byte });
    }
    String::from_utf8(out).ok()
}

/// One segment means one room, or the refusal that its name deserves.
fn check_segment(segment: &[u8]) {
    if segment.is_empty() || segment.iter().any(|byte| b"/?#\n".contains(byte)) {
        return;
    }
    let path = [b"GET /v1/rooms/", segment, b"\n"].concat();
    let Some(request) = request(&path, Some(&WORLD.host)) else { return };
    let (head, body) = answer(request);
    let code = check(&head, &body);
    let expected = match decoded(segment).map(|name| RoomName::new(&name)) {
        None | Some(Err(_)) => Some(ErrorCode::BadName),
        Some(Ok(room)) if room.is_reserved() => Some(ErrorCode::ReservedName),
        Some(Ok(_)) => None,
    };
    match expected {
        Some(refusal) => assert_eq!(code, Some(u64::from(refusal.number())), "{}", String::from_utf8_lossy(segment)),
        None => assert!(matches!(code, None | Some(802)), "{code:?} for a good name"),
    }
}

/// An origin that is let in is the one on the list, give or take spelling.
fn check_origin(text: &[u8]) {
    let origin = String::from_utf8_lossy(text);
    let Ok(rules) = OriginRules::new(&[origin.clone().into_owned()], false, true) else {
        assert!(WORLD.origins.check(Some(&origin)).is_err(), "what is no rule is no origin");
        return;
    };
    let wild = origin.contains('*');
    assert!(wild || rules.check(Some(&origin)).is_ok(), "a rule lets itself in");
    if WORLD.origins.check(Some(&origin)).is_ok() {
        let plain: Cow<'_, str> = origin.to_ascii_lowercase().into();
        assert_eq!(plain.strip_suffix(":443").unwrap_or(&plain), ORIGIN);
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let token = match choice % 5 {
        0 => None,
        1 => Some(&WORLD.host),
        2 => Some(&WORLD.guest),
        3 => return check_segment(rest),
        _ => return check_origin(rest),
    };
    if let Some(request) = request(rest, token.map(String::as_str)) {
        let (head, body) = within(REQUEST_MAX + 64 * rest.len(), || answer(request));
        check(&head, &body);
    }
});
