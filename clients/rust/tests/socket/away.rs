//! The time without a socket: when attempts are made, what waits, and how it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rallypoint_client::{
    Client, Error, Incoming, Options,
    protocol::{ErrorCode, Request, code::Action},
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::peer::{Peer, connected, listen, resumable, room, told};

#[tokio::test]
async fn the_servers_time_is_waited_for() {
    const AFTER: u64 = 600;
    let reconnect = json!({ "type": "reconnect", "after_ms": AFTER });
    let error = json!({
        "type": "error", "re": null, "code": 904, "name": "overloaded", "message": "", "retry_after": AFTER,
    });
    let told_again = error.clone();
    for (told_by, code) in [(reconnect, 4000), (error, 4300)] {
        let (listener, _client, mut events, mut peer) = resumable(|_| {}).await;
        peer.say(told_by.clone()).await;
        let lost = Instant::now();
        peer.close(code, "").await;
        let (mut peer, _) = Peer::resumed(&listener).await;
        assert!(lost.elapsed() >= Duration::from_millis(AFTER));
        assert_eq!(told(&mut events).await, told_by["type"].as_str().unwrap());

        // An attempt may be told so as well.
        peer.say(told_again.clone()).await;
        let refused = Instant::now();
        peer.close(4301, "too-many-connections").await;
        let (mut peer, _) = Peer::resumed(&listener).await;
        assert!(refused.elapsed() >= Duration::from_millis(AFTER));
        peer.say(connected(true, "token-2")).await;
        let expected = [format!("away Some({code})"), "back true true".to_owned()];
        assert_eq!([told(&mut events).await, told(&mut events).await], expected);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let (listener, _client, mut events, peer) = resumable(|options| options.seed = Some(1)).await;
    drop(peer);
    // A proxy whose server is gone, then a connection that breaks off in the handshake.
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    drop((stream, listener.accept().await.unwrap()));
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(true, "token-2")).await;
    assert_eq!([told(&mut events).await, told(&mut events).await], ["away None", "back true true"]);
}

#[tokio::test]
async fn what_is_asked_for_meanwhile_waits_within_its_time_and_its_bound() {
    let (listener, client, mut events, peer) = resumable(|options| options.waiting = 2).await;
    drop(peer);
    assert_eq!(told(&mut events).await, "away None");
    let room = room();
    // Its caller will have gone when the client is back.
    let given_up = tokio::time::timeout(Duration::from_millis(1), client.say(&room, "too late")).await;
    assert!(given_up.is_err());
    let serve = async {
        let (mut peer, _) = Peer::resumed(&listener).await;
        peer.say(connected(true, "token-2")).await;
        for expected in ["one", "two"] {
            let Request::Message { id, text, .. } = peer.request().await else { panic!("another request") };
            assert_eq!(text, expected);
            peer.ok(id).await;
        }
        peer.silence().await;
        peer
    };
    let (one, two, third, _peer) =
        tokio::join!(client.say(&room, "one"), client.say(&room, "two"), client.say(&room, "three"), serve);
    assert!(one.is_ok() && two.is_ok());
    assert!(matches!(third, Err(Error::Busy)));
}

#[tokio::test]
async fn a_request_made_meanwhile_has_its_own_timeout() {
    let (_listener, client, mut events, peer) = resumable(|options| options.timeout = Duration::from_millis(500)).await;
    drop(peer);
    assert_eq!(told(&mut events).await, "away None");
    assert!(matches!(client.ping().await, Err(Error::Timeout)));
}

#[tokio::test]
async fn a_goodbye_meanwhile_ends_at_once() {
    let (_listener, client, mut events, peer) = resumable(|_| {}).await;
    drop(peer);
    assert_eq!(told(&mut events).await, "away None");
    client.close().await.unwrap();
    assert_eq!(told(&mut events).await, "closed Some(1000)");
    assert!(events.recv().await.is_none() && client.is_closed());
}

#[tokio::test]
async fn a_client_gives_up_when_it_was_told_to() {
    let (listener, client, mut events, peer) =
        resumable(|options| options.give_up_after = Some(Duration::from_millis(400))).await;
    drop((listener, peer));
    let begin = Instant::now();
    let room = room();
    let said = client.say(&room, "anybody?").await;
    assert!(begin.elapsed() >= Duration::from_millis(400));
    let Err(error @ Error::Closed { .. }) = said else { panic!("{said:?}") };
    assert_eq!((error.close_code(), error.action()), (None, Some(Action::Resume)));
    assert_eq!(told(&mut events).await, "away None");
    let Some(Incoming::Closed { code: None, reason }) = events.recv().await else { panic!("not the end") };
    assert!(reason.starts_with("gave up after"), "{reason}");
}

#[tokio::test]
async fn whoever_wants_no_resume_has_none() {
    let (_listener, client, mut events, mut peer) = resumable(|options| options.resume = false).await;
    let serve = async {
        peer.request().await;
        peer.say(json!({ "type": "error", "re": null, "code": 904, "name": "overloaded", "message": "" })).await;
        peer.close(4300, "overloaded").await;
    };
    let room = room();
    let (said, ()) = tokio::join!(client.say(&room, "hello"), serve);
    assert_eq!(said.unwrap_err().code(), Some(ErrorCode::Overloaded));
    assert_eq!([told(&mut events).await, told(&mut events).await], ["error", "closed Some(4300)"]);
}

#[tokio::test]
async fn nobody_comes_back_for_handles_that_are_gone() {
    let (listener, options) = listen().await;
    // The task holds the options, and with them the source of tokens.
    let held = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&held);
    let source = move || {
        asked.fetch_add(1, Relaxed);
        async { Ok("the-token".to_owned()) }
    };
    let options = Options { seed: Some(1), ..Options::with_source(options.url, source) };
    let serve = async {
        let mut peer = Peer::accept(&listener).await;
        peer.request().await;
        peer.say(connected(false, "token-1")).await;
        peer
    };
    let (made, peer) = tokio::join!(Client::connect(options), serve);
    let (client, mut events) = made.unwrap();
    drop(peer);
    assert_eq!(told(&mut events).await, "away None");
    drop((client, events));
    while Arc::strong_count(&held) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(held.load(Relaxed), 1);
}
