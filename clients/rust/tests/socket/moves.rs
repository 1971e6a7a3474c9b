//! Moves over a loss: reliable ones until they are proved, of the latest only the newest.

use std::pin::pin;

use futures_util::FutureExt;
use rallypoint_client::{
    Client, Error,
    protocol::{
        Request,
        moves::Lane::{self, Latest, Reliable},
    },
};
use serde_json::json;

use crate::peer::{Peer, at, connected, in_room, joined, room, told};

async fn shoot(client: &Client, lane: Lane) {
    client.send_move(&room(), 0, None, &0, lane, None).await.unwrap();
}

#[tokio::test]
async fn reliable_moves_without_a_proof_are_sent_again_with_their_numbers() {
    let (listener, client, mut events, mut peer) = in_room(|_| {}).await;
    for lane in [Reliable, Latest, Reliable, Reliable] {
        shoot(&client, lane).await;
    }
    for expected in [(Reliable, 7, 1), (Latest, 7, 2), (Reliable, 7, 3), (Reliable, 7, 4)] {
        assert_eq!(peer.shot().await, expected);
    }
    drop(peer);
    assert_eq!(told(&mut events).await, "away None");
    for lane in [Latest, Reliable, Latest] {
        shoot(&client, lane).await;
    }
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(true, "token-2")).await;
    // 2 is old news, and 5 was replaced by 7 before it could be sent.
    for expected in [(Reliable, 7, 1), (Reliable, 7, 3), (Reliable, 7, 4), (Reliable, 7, 6), (Latest, 7, 7)] {
        assert_eq!(peer.shot().await, expected);
    }
    let Request::Ping { id, .. } = peer.request().await else { panic!("no look around") };
    peer.say(joined(None, 7, at(10))).await;
    peer.say(json!({ "type": "pong", "re": id, "received": 1, "sent": 1 })).await;
    shoot(&client, Reliable).await;
    assert_eq!(peer.shot().await, (Reliable, 7, 8));
    assert_eq!([told(&mut events).await, told(&mut events).await], ["back true true", "joined 7"]);
    drop(peer);
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(true, "token-3")).await;
    // The pong proved what was sent before its ping.
    assert_eq!(peer.shot().await, (Reliable, 7, 8));
    assert!(matches!(peer.request().await, Request::Ping { .. }));
}

#[tokio::test]
async fn the_server_is_asked_for_a_proof_and_the_application_does_not_see_it() {
    let (listener, client, mut events, mut peer) = in_room(|_| {}).await;
    for seq in 1..=32 {
        shoot(&client, Reliable).await;
        assert_eq!(peer.shot().await, (Reliable, 7, seq));
    }
    let Request::Ping { id: None, t } = peer.request().await else { panic!("no ping") };
    peer.say(json!({ "type": "pong", "t": t, "received": 1, "sent": 1 })).await;
    shoot(&client, Reliable).await;
    assert_eq!(peer.shot().await, (Reliable, 7, 33));
    // A frame that shows that the pong before it was read.
    peer.send(&crate::signal()).await;
    assert_eq!(told(&mut events).await, "offer");
    drop(peer);
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(true, "token-2")).await;
    assert_eq!(peer.shot().await, (Reliable, 7, 33));
    assert!(matches!(peer.request().await, Request::Ping { id: Some(_), .. }));
}

#[tokio::test]
async fn after_a_loss_within_the_session_only_the_newest_state_is_sent_with_the_new_handle() {
    let (listener, client, mut events, mut peer) = in_room(|_| {}).await;
    shoot(&client, Reliable).await;
    assert_eq!(peer.shot().await, (Reliable, 7, 1));
    drop(peer);
    assert_eq!(told(&mut events).await, "away None");
    shoot(&client, Reliable).await;
    shoot(&client, Latest).await;
    client.send_move(&room(), 1, None, &0, Latest, Some(&[3])).await.unwrap();
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(false, "token-2")).await;
    assert!(matches!(peer.request().await, Request::Ping { .. }));
    peer.silence().await;
    peer.say(joined(None, 9, at(1))).await;
    assert_eq!(peer.shot().await, (Latest, 9, 3));
    shoot(&client, Reliable).await;
    assert_eq!(peer.shot().await, (Reliable, 9, 5));
}

#[tokio::test]
async fn reliable_moves_wait_when_too_many_are_kept_and_latest_ones_do_not() {
    let (listener, client, mut events, peer) = in_room(|_| {}).await;
    drop(peer);
    assert_eq!(told(&mut events).await, "away None");
    for _ in 0..256 {
        shoot(&client, Reliable).await;
    }
    let mut waiting = pin!(shoot(&client, Reliable));
    assert_eq!(waiting.as_mut().now_or_never(), None);
    shoot(&client, Latest).await;
    let (mut peer, _) = Peer::resumed(&listener).await;
    peer.say(connected(true, "token-2")).await;
    for seq in 1..=256 {
        assert_eq!(peer.shot().await, (Reliable, 7, seq));
    }
    assert_eq!(peer.shot().await, (Latest, 7, 257));
    assert_eq!(waiting.as_mut().now_or_never(), None);
    let Request::Ping { id, .. } = peer.request().await else { panic!("no look around") };
    peer.say(json!({ "type": "pong", "re": id, "received": 1, "sent": 1 })).await;
    waiting.await;
}

#[tokio::test]
async fn whoever_waits_with_a_reliable_move_hears_of_the_end() {
    let (_listener, client, mut events, peer) = in_room(|_| {}).await;
    drop(peer);
    assert_eq!(told(&mut events).await, "away None");
    for _ in 0..256 {
        shoot(&client, Reliable).await;
    }
    let room = room();
    let waiting = client.send_move(&room, 0, None, &0, Reliable, None);
    let (sent, closed) = tokio::join!(waiting, client.close());
    assert!(closed.is_ok());
    assert!(matches!(sent, Err(Error::Closed { .. })));
}

#[tokio::test]
async fn nothing_is_kept_where_nothing_is_resumed() {
    let (_listener, client, _events, mut peer) = in_room(|options| options.resume = false).await;
    for seq in 1..=300 {
        shoot(&client, Reliable).await;
        assert_eq!(peer.shot().await, (Reliable, 7, seq));
    }
    peer.silence().await;
}
