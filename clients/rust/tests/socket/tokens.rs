//! Access tokens that run out while a session goes on.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use rallypoint_client::{Client, Error, Events, NoToken, Options, Token, protocol::Request};
use serde_json::json;
use tokio::net::TcpListener;

use crate::peer::{Peer, connected, listen, resumable, told};

/// A token without a signature; `connected` says that it is the second 1000.
fn expiring(exp: u64) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    format!("e30.{}.", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}")))
}

/// A client whose source gives out tokens for 600 s, then 1200 s and so on.
async fn with_source(heartbeat: u64) -> (TcpListener, Client, Events, Peer) {
    let (listener, options) = listen().await;
    let given = Arc::new(AtomicU64::new(0));
    let source = move || {
        let nth = given.fetch_add(1, Relaxed);
        async move { Ok(expiring(1600 + 600 * nth)) }
    };
    let options = Options::with_source(options.url, source);
    let serve = async {
        let mut peer = Peer::accept(&listener).await;
        let Request::Auth { token, .. } = peer.request().await else { panic!("not auth") };
        assert_eq!(token, expiring(1600));
        let mut connected = connected(false, "token-1");
        connected["heartbeat"] = json!(heartbeat);
        peer.say(connected).await;
        peer
    };
    let (made, peer) = tokio::join!(Client::connect(options), serve);
    let (client, events) = made.unwrap();
    (listener, client, events, peer)
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_the_session_resumed() {
    let (listener, _client, mut events, mut peer) = with_source(15000).await;
    peer.close(4100, "token-expired").await;
    let (mut peer, resume) = Peer::resumed(&listener).await;
    assert_eq!((resume.token.as_str(), resume.jwt), ("token-1", Some(expiring(2200))));
    // Nor is that one good enough.
    peer.say(json!({ "type": "error", "re": null, "code": 702, "name": "token-expired", "message": "" })).await;
    peer.close(4100, "token-expired").await;
    let (mut peer, resume) = Peer::resumed(&listener).await;
    assert_eq!((resume.token.as_str(), resume.jwt), ("token-1", Some(expiring(2800))));
    peer.say(connected(true, "token-2")).await;
    assert_eq!([told(&mut events).await, told(&mut events).await], ["away Some(4100)", "back true true"]);
}

#[tokio::test]
async fn without_a_source_an_expired_token_is_the_end() {
    let (_listener, _client, mut events, mut peer) = resumable(|_| {}).await;
    peer.close(4100, "token-expired").await;
    assert_eq!(told(&mut events).await, "closed Some(4100)");
}

#[tokio::test]
async fn a_source_that_has_none_any_more_is_the_end() {
    let (_, options) = listen().await;
    let none = Options::with_source(options.url, || async { Err(NoToken::Never("logged out".into())) });
    assert!(matches!(Client::connect(none).await, Err(Error::Token(NoToken::Never(_)))));

    let given = AtomicU64::new(0);
    let once = move || {
        let first = given.fetch_add(1, Relaxed) == 0;
        async move { if first { Ok(expiring(1600)) } else { Err(NoToken::Never("logged out".into())) } }
    };
    let (_listener, _client, mut events, mut peer) = resumable(|options| options.token = Token::source(once)).await;
    peer.close(4100, "token-expired").await;
    assert_eq!([told(&mut events).await, told(&mut events).await], ["away Some(4100)", "closed None"]);
}

#[tokio::test]
async fn a_source_that_has_none_just_now_is_asked_again() {
    let given = AtomicU64::new(0);
    let third = move || {
        let nth = given.fetch_add(1, Relaxed);
        async move { if nth == 1 { Err(NoToken::Later("busy".into())) } else { Ok(expiring(1600 + nth)) } }
    };
    let (listener, _client, _events, mut peer) = resumable(|options| {
        (options.token, options.seed) = (Token::source(third), Some(3));
    })
    .await;
    peer.close(4100, "token-expired").await;
    assert_eq!(Peer::resumed(&listener).await.1.jwt, Some(expiring(1602)));
}

#[tokio::test]
async fn a_token_is_renewed_before_it_runs_out() {
    let (listener, _client, mut events, mut peer) = with_source(0).await;
    // Time passes as soon as everybody waits, and nobody waits for anything else.
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let Request::Refresh { id: 1, token } = peer.request().await else { panic!("not a refresh") };
    assert_eq!(token, expiring(2200));
    assert!((479..=480).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    tokio::time::resume();
    peer.ok(1).await;
    // The next session begins with it.
    peer.close(4201, "evicted").await;
    assert_eq!(told(&mut events).await, "away Some(4201)");
    let mut peer = Peer::accept(&listener).await;
    assert!(matches!(peer.request().await, Request::Auth { token, .. } if token == expiring(2200)));
}
