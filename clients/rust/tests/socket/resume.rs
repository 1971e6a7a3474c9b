//! Sessions taken up again on the next socket.

use rallypoint_client::{Client, Credential, Error, Options, protocol::Request, tungstenite::http::header};
use serde_json::json;

use crate::{
    peer::{Peer, at, chat, connected, in_room, joined, listen, resumable, room, told},
    signal,
};

const OTHER: &str = "99999999-2222-4333-8444-555555555555";

#[tokio::test]
async fn a_request_without_an_answer_is_repeated_with_its_id() {
    let (listener, client, mut events, mut peer) = resumable(|_| {}).await;
    let serve = async {
        assert!(matches!(peer.request().await, Request::Message { id: 1, .. }));
        drop(peer);
        let (mut peer, resume) = Peer::resumed(&listener).await;
        assert_eq!((resume.token.as_str(), resume.received), ("token-1", 0));
        // Nothing comes before `connected`, although requests wait.
        peer.silence().await;
        peer.say(connected(true, "token-2")).await;
        let Request::Message { id: 1, text, .. } = peer.request().await else { panic!("another request") };
        assert_eq!(text, "hello");
        peer.ok(1).await;
        peer
    };
    let room = room();
    let (said, _peer) = tokio::join!(client.say(&room, "hello"), serve);
    assert!(said.is_ok());
    assert_eq!([told(&mut events).await, told(&mut events).await], ["away None", "back true true"]);
}

#[tokio::test]
async fn a_connected_that_was_lost_leaves_the_old_token_in_use() {
    let (listener, _client, mut events, peer) = resumable(|options| options.seed = Some(1)).await;
    drop(peer);
    for _ in 0..2 {
        let (peer, resume) = Peer::resumed(&listener).await;
        assert_eq!(resume.token, "token-1");
        drop(peer);
    }
    let (mut peer, resume) = Peer::resumed(&listener).await;
    assert_eq!(resume.token, "token-1");
    peer.say(connected(true, "token-2")).await;
    // One loss for the application, however many attempts it took.
    assert_eq!([told(&mut events).await, told(&mut events).await], ["away None", "back true true"]);
    drop(peer);
    assert_eq!(Peer::resumed(&listener).await.1.token, "token-2");
}

#[tokio::test]
async fn what_was_missed_comes_in_order_before_anything_newer() {
    let (listener, _client, mut events, mut peer) = in_room(|_| {}).await;
    peer.say(chat(11)).await;
    assert_eq!(told(&mut events).await, "11");
    peer.close(4002, "slow-consumer").await;
    let (mut peer, resume) = Peer::resumed(&listener).await;
    assert_eq!((resume.positions, resume.watched), ([(room(), at(11))].into(), vec![]));
    peer.say(connected(true, "token-2")).await;
    let mut shown = joined(None, 7, at(13));
    shown["missed"] = json!([chat(12), chat(13)]);
    peer.say(shown).await;
    peer.send(&signal()).await;
    peer.say(chat(14)).await;
    let mut all = Vec::new();
    while all.last().is_none_or(|last| last != "14") {
        all.push(told(&mut events).await);
    }
    assert_eq!(all, ["away Some(4002)", "back true true", "12", "13", "joined 7", "offer", "14"]);
}

#[tokio::test]
async fn counted_messages_are_counted_over_all_sockets() {
    let (listener, _client, mut events, mut peer) = resumable(|_| {}).await;
    let mut hear = async |count| {
        for _ in 0..count {
            while told(&mut events).await != "offer" {}
        }
    };
    for _ in 0..3 {
        peer.send(&signal()).await;
    }
    hear(3).await;
    drop(peer);
    let (mut peer, resume) = Peer::resumed(&listener).await;
    assert_eq!(resume.received, 3);
    peer.say(connected(true, "token-2")).await;
    // The resume said three, so the next word is due 128 later.
    for _ in 0..128 {
        peer.send(&signal()).await;
    }
    assert!(matches!(peer.request().await, Request::Ack { n: 131 }));
    peer.silence().await;
    hear(128).await;
    drop(peer);
    let (mut peer, resume) = Peer::resumed(&listener).await;
    assert_eq!(resume.received, 131);
    peer.say(connected(false, "token-3")).await;
    // Where counting begins, the first word is due sooner, at random.
    for _ in 0..128 {
        peer.send(&signal()).await;
    }
    assert!(matches!(peer.request().await, Request::Ack { n: 1..=128 }));
}

#[tokio::test]
async fn a_resume_that_lost_something_says_so_and_shows_the_room_anew() {
    let (listener, client, mut events, peer) = in_room(|_| {}).await;
    drop(peer);
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(false, "token-2")).await;
    peer.say(joined(None, 9, at(1))).await;
    let reset = json!({
        "type": "reset", "room": room(), "reason": "lost", "position": at(1), "members": [], "count": 1, "state": [],
    });
    peer.say(reset).await;
    for expected in ["away None", "back false true", "joined 9", "reset lost"] {
        assert_eq!(told(&mut events).await, expected);
    }
    // Whether all rooms were shown: without an answer nothing is certain.
    let Request::Ping { id: Some(look), .. } = peer.request().await else { panic!("no look around") };
    let serve = async {
        peer.say(json!({ "type": "pong", "re": look, "received": 1, "sent": 1 })).await;
        let id = peer.request().await.id().unwrap();
        peer.ok(id).await;
    };
    let room = room();
    let (said, ()) = tokio::join!(client.say(&room, "still here"), serve);
    assert!(said.is_ok());
}

#[tokio::test]
async fn with_another_session_an_open_request_is_lost() {
    let (listener, client, mut events, mut peer) = resumable(|_| {}).await;
    let serve = async {
        peer.request().await;
        drop(peer);
        let (mut peer, _) = Peer::resumed(&listener).await;
        let mut other = connected(false, "token-2");
        (other["session"], other["peer"]) = (json!("t"), json!(OTHER));
        peer.say(other).await;
        peer.silence().await;
        peer
    };
    let room = room();
    let (said, _peer) = tokio::join!(client.say(&room, "hello"), serve);
    assert!(matches!(said, Err(Error::Lost)));
    assert_eq!([told(&mut events).await, told(&mut events).await], ["away None", "back false false"]);
    assert_eq!((client.connected().session.as_str(), client.peer().to_string().as_str()), ("t", OTHER));
}

#[tokio::test]
async fn never_more_than_64_requests_are_without_an_answer() {
    let (listener, client, _events, mut peer) = resumable(|_| {}).await;
    let asking: Vec<_> = (0..70)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.say(&room(), n.to_string()).await })
        })
        .collect();
    let mut texts = Vec::new();
    for expected in 1..=64 {
        let Request::Message { id, text, .. } = peer.request().await else { panic!("another request") };
        assert_eq!(id, expected);
        texts.push(text);
    }
    peer.silence().await;
    peer.ok(1).await;
    assert_eq!(peer.request().await.id(), Some(65));
    drop(peer);
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(true, "token-2")).await;
    for expected in 2..=65 {
        let Request::Message { id, text, .. } = peer.request().await else { panic!("another request") };
        assert_eq!((id, texts.get(expected - 1).is_none_or(|said| *said == text)), (expected as u64, true));
    }
    peer.silence().await;
    for id in 2..=70 {
        peer.ok(id).await;
        if id <= 6 {
            assert_eq!(peer.request().await.id(), Some(id + 64));
        }
    }
    for asked in asking {
        assert!(asked.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn nothing_that_could_stand_for_a_token_is_in_the_handshake_of_a_resume() {
    for credential in [Credential::Header, Credential::Subprotocol, Credential::Query, Credential::None] {
        let (listener, options) = listen().await;
        let headers = ["Cookie", "X-Other"].map(|name| (name.to_owned(), "a=b".to_owned())).to_vec();
        let options = Options { credential, headers, ..options };
        let serve = async {
            let mut peer = Peer::accept(&listener).await;
            peer.say(connected(false, "token-1")).await;
            peer
        };
        let (made, peer) = tokio::join!(Client::connect(options), serve);
        let _client = made.unwrap();
        drop(peer);
        let (peer, resume) = Peer::resumed(&listener).await;
        let expected = (credential != Credential::None).then_some("the-token");
        assert_eq!((resume.token.as_str(), resume.jwt.as_deref()), ("token-1", expected));
        let headers = peer.upgrade.headers();
        assert!(!format!("{:?}", peer.upgrade).contains("the-token"));
        assert!(!headers.contains_key(header::COOKIE) && !headers.contains_key(header::AUTHORIZATION));
        assert_eq!((peer.upgrade.uri().to_string().as_str(), headers.contains_key("X-Other")), ("/v1/ws", true));
    }
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_given_up() {
    let (listener, _client, mut events, peer) = resumable(|_| {}).await;
    drop(peer);
    let (mut silent, _) = Peer::resumed(&listener).await;
    let mut hasty = connected(true, "token-2");
    hasty["heartbeat"] = json!(30);
    let begin = std::time::Instant::now();
    silent.say(hasty).await;
    for expected in ["away None", "back true true", "away None"] {
        assert_eq!(told(&mut events).await, expected);
    }
    assert!(begin.elapsed().as_millis() >= 90);
    // The old socket still stood, and is left.
    assert_eq!(silent.next().await, None);
    assert_eq!(Peer::resumed(&listener).await.1.token, "token-2");
}
