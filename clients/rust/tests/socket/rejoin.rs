//! Sessions that are gone: a new one, in the same rooms.

use rallypoint_client::protocol::{Request, RoomName};
use serde_json::json;
use tokio::net::TcpListener;

use crate::peer::{Peer, at, chat, connected, in_room, joined, notification, room, told};

/// Accepts a client that has nothing to resume, with a session of another name and peer id.
async fn begun_anew(listener: &TcpListener) -> Peer {
    let mut peer = Peer::accept(listener).await;
    let Request::Auth { token, notifications_since } = peer.request().await else { panic!("not auth") };
    assert_eq!((token.as_str(), notifications_since.is_some()), ("the-token", true));
    let mut connected = connected(false, "new-1");
    (connected["session"], connected["peer"]) = (json!("t"), json!("99999999-2222-4333-8444-555555555555"));
    peer.say(connected).await;
    peer
}

#[tokio::test]
async fn an_unknown_session_is_replaced_and_its_rooms_are_joined_again() {
    let (listener, client, mut events, mut peer) = in_room(|_| {}).await;
    let serve = async {
        let id = peer.request().await.id();
        peer.say(json!({
            "type": "watching", "re": id, "room": "lobby", "position": at(3), "count": 0, "spectators": 1, "state": [],
        }))
        .await;
    };
    let lobby = RoomName::new("lobby").unwrap();
    let (watched, ()) = tokio::join!(client.watch(&lobby, None, Some(4.0)), serve);
    assert!(watched.is_ok());
    peer.say(chat(11)).await;
    assert_eq!(told(&mut events).await, "11");
    drop(peer);
    let (mut peer, resume) = Peer::resumed(&listener).await;
    assert_eq!(resume.watched, [lobby]);
    peer.say(json!({ "type": "error", "re": null, "code": 806, "name": "session-unknown", "message": "" })).await;
    peer.close(4200, "session-unknown").await;

    let mut peer = begun_anew(&listener).await;
    let Request::Watch { id: watch, since, state, .. } = peer.request().await else { panic!("not watched") };
    assert_eq!((since, state), (Some(at(3)), Some(4.0)));
    let Request::Join { id: join, since, .. } = peer.request().await else { panic!("not joined") };
    assert_eq!(since, Some(at(11)));
    let refused = json!({ "type": "error", "re": watch, "code": 705, "name": "forbidden", "message": "no" });
    peer.say(refused).await;
    let mut shown = joined(Some(join), 3, at(12));
    shown["missed"] = json!([chat(12)]);
    peer.say(shown).await;
    peer.say(chat(13)).await;
    for expected in ["away None", "back false false", "out Some(705)", "12", "joined 3", "13"] {
        assert_eq!(told(&mut events).await, expected);
    }
    assert_eq!(client.connected().session, "t");
    // The new session can be resumed like the first.
    drop(peer);
    let (_peer, resume) = Peer::resumed(&listener).await;
    assert_eq!((resume.token.as_str(), resume.positions), ("new-1", [(room(), at(13))].into()));
}

#[tokio::test]
async fn an_evicted_session_is_not_resumed() {
    let (listener, _client, mut events, mut peer) = in_room(|_| {}).await;
    peer.send(&notification("one")).await;
    peer.close(4201, "evicted").await;
    let mut peer = begun_anew(&listener).await;
    assert!(matches!(peer.request().await, Request::Join { .. }));
    for expected in ["notification", "away Some(4201)", "back false false"] {
        assert_eq!(told(&mut events).await, expected);
    }
}

#[tokio::test]
async fn a_server_that_keeps_no_sessions_gets_a_new_one() {
    let (listener, _client, mut events, peer) = in_room(|_| {}).await;
    drop(peer);
    let (mut peer, _) = Peer::resumed(&listener).await;
    let mut forgetful = connected(true, "");
    forgetful["resume"] = json!(null);
    peer.say(forgetful).await;
    assert!(matches!(peer.request().await, Request::Ping { id: Some(_), .. }));
    drop(peer);
    let mut peer = begun_anew(&listener).await;
    let Request::Join { id, .. } = peer.request().await else { panic!("not joined") };
    peer.say(joined(Some(id), 5, at(20))).await;
    for expected in ["away None", "back true true", "away None", "back false false", "joined 5"] {
        assert_eq!(told(&mut events).await, expected);
    }
}
