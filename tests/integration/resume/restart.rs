//! A server that was restarted knows nobody, and yet everybody finds its name again.

use super::*;
use crate::support::{Pass, pass};

/// What a client of the old server says to the new one.
fn memory(member: &Member, pass: &Pass) -> Value {
    let mut memory = member.memory();
    memory["jwt"] = pass.mint().into();
    memory
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_comes_back_under_the_same_peer_id() {
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let old = Node::start().await;
        let mut bob = Member::join(&old, "bob", encoding).await;
        let ada = Member::join(&old, "ada", encoding).await;
        let mut eve = Wire::connect(&old, &pass("eve").spectator("*"), encoding).await;
        let watching = eve.granted(json!({ "type": "watch", "room": ROOM })).await;
        let eve_memory = json!({
            "token": eve.connected["resume"], "received": 0, "positions": { ROOM: watching["position"] },
            "watched": [ROOM], "jwt": pass("eve").spectator("*").mint(),
        });
        bob.wire.granted(json!({ "type": "message", "room": ROOM, "text": "before" })).await;
        old.stop().await;

        let new = Node::start().await;
        // Not even the right to create a room is needed to come back to one.
        let plain = pass("ada").verbs("*", ["join", "chat", "signal"]);
        let mut back = Wire::resumed(&new, encoding, memory(&ada, &plain), 0).await;
        assert_eq!((&back.connected["resumed"], &back.connected["peer"]), (&json!(false), ada.peer()));
        assert_ne!(back.connected["session"], ada.wire.connected["session"], "its answers are forgotten");
        let joined = back.said("joined").await;
        assert_eq!((&joined["re"], &joined["you"]["peer"], joined.get("missed")), (&Value::Null, ada.peer(), None));
        let reset = back.said("reset").await;
        assert_eq!((&reset["reason"], &reset["position"]), (&json!("epoch"), &joined["position"]));

        let mut watch = Wire::resumed(&new, encoding, eve_memory, 0).await;
        assert_eq!(watch.said("watching").await["re"], Value::Null);
        assert_eq!(watch.said("reset").await["reason"], "epoch");

        let host = pass("bob").host("*");
        let mut bob_back = Wire::resumed(&new, encoding, memory(&bob, &host), 0).await;
        let joined = bob_back.said("joined").await;
        assert_eq!((&joined["members"][0]["peer"], &joined["count"]), (ada.peer(), &json!(2)));
        assert_eq!(&back.said("peer-joined").await["peer"]["peer"], bob.peer());
        bob_back.granted(json!({ "type": "offer", "room": ROOM, "to": ada.peer(), "data": "v=0" })).await;
        assert_eq!(&back.said("offer").await["from"], bob.peer());
        // The token that came with the new session is as good as any.
        let again = json!({ "token": back.connected["resume"], "received": 1, "positions": {} });
        assert_eq!(Wire::resumed(&new, encoding, again, 0).await.connected["resumed"], true);
        assert_eq!(new.metrics().await["resumes_total{outcome=\"revived\"}"], 3.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_with_a_good_access_token_and_only_for_a_while() {
    let old = Node::start().await;
    let ada = Member::join(&old, "ada", Encoding::Json).await;
    let gone = Member::join(&old, "gone", Encoding::Json).await;
    let gone_memory = memory(&gone, &pass("gone").host("*"));
    let host = pass("ada").host("*");
    gone.wire.bye().await;
    // To the process that made it, a session that has ended has ended.
    Wire::resume(&old, Encoding::Json, gone_memory).await.closed(4200, 806).await;
    let late = Node::with(|config| config.limits.resume_grace_ms = 1).await;
    old.stop().await;
    let new = Node::start().await;
    Wire::resume(&new, Encoding::Json, ada.memory()).await.closed(4200, 806).await;
    Wire::resume(&new, Encoding::Json, memory(&ada, &pass("bob").host("*"))).await.closed(4200, 806).await;
    Wire::resume(&new, Encoding::Json, memory(&ada, &host.clone().expires_in(-100.0))).await.closed(4100, 702).await;
    Wire::resume(&late, Encoding::Json, memory(&ada, &host)).await.closed(4200, 806).await;
    let stranger = Node::with(|config| config.auth.resume_secret = Some(secret())).await;
    Wire::resume(&stranger, Encoding::Json, memory(&ada, &host)).await.closed(4200, 806).await;
    // None of that has used the token up.
    let back = Wire::resumed(&new, Encoding::Json, memory(&ada, &host), 0).await;
    assert_eq!(&back.connected["peer"], ada.peer());
}

fn secret() -> rallypoint::auth::Secret {
    rallypoint::auth::Secret("the resume secret of another cluster".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_cannot_be_entered_are_told() {
    let old = Node::start().await;
    let ada = Member::join(&old, "ada", Encoding::Json).await;
    old.stop().await;
    let new = Node::start().await;
    let mut back = Wire::resumed(&new, Encoding::Json, memory(&ada, &pass("ada").player("lobby")), 0).await;
    let refused = back.complaint(705).await;
    assert_eq!(refused["room"], ROOM);
    // Two sockets with one token from before: the second takes the first one's session over, and the
    // newer access token opens no room by itself.
    let mut again = Wire::resumed(&new, Encoding::Json, memory(&ada, &pass("ada").player("*")), 0).await;
    assert_eq!(&again.connected["peer"], ada.peer());
    back.closed(4410, 0).await;
    again.granted(json!({ "type": "join", "room": ROOM })).await;
}
