//! Closes that mean stop: nobody comes back, and two clients never fight over a session.

use rallypoint_client::{Error, protocol::code::Action};

use crate::peer::{Peer, connected, resumable, room, told};

#[tokio::test]
async fn a_close_that_means_stop_is_obeyed() {
    for code in [1000, 1002, 4400, 4401, 4403, 4409, 4410, 4413, 4499] {
        let (_listener, client, mut events, mut peer) = resumable(|_| {}).await;
        let serve = async {
            peer.request().await;
            peer.close(code, "").await;
        };
        let room = room();
        let (said, ()) = tokio::join!(client.say(&room, "hello"), serve);
        let error = said.unwrap_err();
        assert_eq!((error.close_code(), error.action()), (Some(code), Some(Action::Stop)));
        assert_eq!(told(&mut events).await, format!("closed Some({code})"));
        assert!(events.recv().await.is_none());
    }
}

#[tokio::test]
async fn a_session_that_another_took_over_is_left_to_it() {
    let (listener, client, mut events, peer) = resumable(|_| {}).await;
    drop(peer);
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(true, "token-2")).await;
    peer.close(4410, "replaced").await;
    for expected in ["away None", "back true true", "closed Some(4410)"] {
        assert_eq!(told(&mut events).await, expected);
    }
    assert!(events.recv().await.is_none());
    assert!(matches!(client.typing(&room()).await, Err(Error::Closed { code: Some(4410), .. })));
}

#[tokio::test]
async fn an_attempt_that_is_told_to_stop_is_the_last() {
    let (listener, client, mut events, peer) = resumable(|_| {}).await;
    drop(peer);
    let serve = async {
        let (mut peer, _) = Peer::resumed(&listener).await;
        peer.close(4401, "bad-token").await;
    };
    let room = room();
    let (said, ()) = tokio::join!(client.say(&room, "hello"), serve);
    assert_eq!(said.unwrap_err().close_code(), Some(4401));
    assert_eq!([told(&mut events).await, told(&mut events).await], ["away None", "closed Some(4401)"]);
}
