//! What the task behind a client does to real sockets: back-pressure, pauses, acknowledgements, losses, ends.

mod away;
mod ends;
mod moves;
mod opening;
mod peer;
mod rejoin;
mod resume;
mod tokens;

use std::time::Duration;

use rallypoint_client::{
    Client, Error, Events, Incoming,
    protocol::{ErrorCode, Payload, PeerId, Request, ServerMessage, code::Action, request::SignalKind, server::Signal},
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};
use serde_json::json;

use crate::peer::{Peer, decoded, notification, pair, room};

async fn heard(events: &mut Events) -> String {
    match events.recv().await {
        Some(Incoming::Message(ServerMessage::Notification(note))) => note.message.into(),
        other => panic!("not a notification: {other:?}"),
    }
}

fn signal() -> ServerMessage {
    let data = Payload::json_of(&json!({ "sdp": "" })).unwrap();
    ServerMessage::Signal(Signal { kind: SignalKind::Offer, room: room(), from: PeerId::random(), data })
}

#[tokio::test]
async fn answers_come_to_whoever_asked() {
    let (client, _events, mut peer) = pair(|_| {}).await;
    let other = client.clone();
    let serve = async {
        let mut ids = Vec::new();
        while ids.len() < 3 {
            ids.push(peer.request().await.id().unwrap());
        }
        assert_eq!(ids, [1, 2, 3]);
        peer.ok(1).await;
        let refused = json!({ "type": "error", "re": 2, "code": 705, "name": "forbidden", "message": "no" });
        peer.send(&decoded(&refused)).await;
        peer.ok(3).await;
    };
    let (room, state) = (room(), json!({}));
    let (left, said, updated, ()) =
        tokio::join!(client.leave(&room), other.say(&room, "x"), client.update(&room, &state), serve);
    assert!(left.is_ok() && updated.is_ok());
    assert!(matches!(said, Err(Error::Refused(failed)) if failed.code == ErrorCode::Forbidden));
}

#[tokio::test]
async fn nothing_is_lost_when_nobody_reads_for_a_while() {
    // More than the queue and the kernel's buffers hold, so that the peer has to wait for us.
    const COUNT: usize = 2000;
    let (_client, mut events, mut peer) = pair(|options| {
        (options.queue, options.resume) = (2, false);
        options.receive_buffer = Some(16 * 1024);
    })
    .await;
    let padding = "x".repeat(4000);
    let serve = tokio::spawn(async move {
        for n in 0..COUNT {
            peer.send(&notification(&format!("{n} {padding}"))).await;
        }
        peer.close(4000, "shutdown").await;
    });
    for n in 0..COUNT {
        assert!(heard(&mut events).await.starts_with(&format!("{n} ")));
    }
    assert!(matches!(events.recv().await, Some(Incoming::Closed { code: Some(4000), .. })));
    assert!(events.recv().await.is_none());
    serve.await.unwrap();
}

#[tokio::test]
async fn a_pause_stops_the_reading_and_not_the_writing() {
    let (client, mut events, mut peer) = pair(|options| options.timeout = Duration::from_millis(100)).await;
    client.pause_reading();
    let serve = async {
        let id = peer.request().await.id().unwrap();
        peer.ok(id).await;
        peer.send(&notification("later")).await;
    };
    let room = room();
    let (left, ()) = tokio::join!(client.leave(&room), serve);
    assert!(matches!(left, Err(Error::Timeout)));
    assert!(events.try_recv().is_none());
    client.resume_reading();
    assert_eq!(heard(&mut events).await, "later");
}

#[tokio::test]
async fn acknowledgements_go_out_by_number_and_by_time() {
    let (_client, mut events, mut peer) = pair(|_| {}).await;
    for _ in 0..128 {
        peer.send(&signal()).await;
    }
    // The first is due after fewer than the others, at random.
    assert!(matches!(peer.request().await, Request::Ack { n: 1..=128 }));
    // From here on time passes as soon as everybody waits.
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    peer.send(&signal()).await;
    assert!(matches!(peer.request().await, Request::Ack { n: 129 }));
    assert!((4..6).contains(&before.elapsed().as_secs()));
    assert!(matches!(events.recv().await, Some(Incoming::Message(ServerMessage::Signal(_)))));
}

#[tokio::test]
async fn pings_are_answered_without_being_asked_about() {
    let (_client, _events, mut peer) = pair(|_| {}).await;
    peer.send_frame(Message::Ping("are you there".into())).await;
    assert_eq!(peer.next().await, Some(Message::Pong("are you there".into())));
}

#[tokio::test]
async fn goodbye_is_said_and_answered() {
    let (client, mut events, mut peer) = pair(|_| {}).await;
    let serve = async {
        let Some(Message::Close(Some(frame))) = peer.next().await else { panic!("no close") };
        assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Normal, "bye"));
        assert!(peer.next().await.is_none());
    };
    // A goodbye does not wait for a reader that sleeps.
    client.pause_reading();
    let (closed, ()) = tokio::join!(client.close(), serve);
    assert!(closed.is_ok() && client.close().await.is_ok());
    assert!(matches!(events.recv().await, Some(Incoming::Closed { code: Some(1000), .. })));
    assert!(matches!(client.typing(&room()).await, Err(Error::Closed { code: Some(1000), .. })));
}

#[tokio::test]
async fn a_goodbye_without_an_answer_ends_all_the_same() {
    let (client, mut events, _peer) = pair(|_| {}).await;
    tokio::time::pause();
    assert!(matches!(client.close().await, Err(Error::Timeout)));
    assert!(matches!(events.recv().await, Some(Incoming::Closed { code: None, .. })));
}

#[tokio::test]
async fn dropping_both_halves_hangs_up_without_a_word() {
    let (client, events, mut peer) = pair(|_| {}).await;
    client.typing(&room()).await.unwrap();
    drop((client, events));
    assert!(matches!(peer.request().await, Request::Typing { .. }));
    assert!(peer.next().await.is_none());
}

#[tokio::test]
async fn each_half_works_without_the_other() {
    let (client, events, mut peer) = pair(|options| options.queue = 1).await;
    drop(events);
    let serve = async {
        let id = peer.request().await.id().unwrap();
        for _ in 0..10 {
            peer.send(&notification("unheard")).await;
        }
        peer.ok(id).await;
    };
    let room = room();
    let (left, ()) = tokio::join!(client.leave(&room), serve);
    assert!(left.is_ok());

    let (client, mut events, mut peer) = pair(|_| {}).await;
    drop(client);
    peer.send(&notification("still here")).await;
    assert_eq!(heard(&mut events).await, "still here");
}

#[tokio::test]
async fn an_end_reaches_everybody_with_its_reason() {
    let (client, mut events, mut peer) = pair(|options| options.resume = false).await;
    let serve = async {
        peer.request().await;
        let fatal =
            json!({ "type": "error", "re": null, "code": 905, "name": "shutting-down", "message": "bye", "count": 1 });
        peer.send(&decoded(&fatal)).await;
        peer.close(4000, "shutdown: now").await;
    };
    let room = room();
    let (left, ()) = tokio::join!(client.leave(&room), serve);
    let error = left.unwrap_err();
    assert_eq!((error.close_code(), error.code()), (Some(4000), Some(ErrorCode::ShuttingDown)));
    assert_eq!(error.action(), Some(Action::Resume));
    assert!(matches!(events.recv().await, Some(Incoming::Message(ServerMessage::Error(_)))));
    let Some(Incoming::Closed { code, reason }) = events.recv().await else { panic!("no end") };
    assert_eq!((code, reason.as_str()), (Some(4000), "shutdown: now"));
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_left() {
    for frame in [Message::text("{}"), Message::binary(&b"\xc1"[..]), Message::binary(vec![0; (1 << 20) + 1])] {
        let (_client, mut events, mut peer): (Client, Events, Peer) = pair(|_| {}).await;
        peer.send_frame(frame).await;
        let Some(Message::Close(Some(frame))) = peer.next().await else { panic!("no close") };
        assert_eq!(frame.code, CloseCode::Protocol);
        assert!(peer.next().await.is_none());
        assert!(matches!(events.recv().await, Some(Incoming::Closed { code: None, .. })));
    }
}
