//! The engine goes away, loses what it had, and comes back.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Site, is_ready, users};
use crate::support::{Wire, pass, until, within};

/// As long as nobody goes on, whoever is refused is told so in time.
const IN_TIME: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_the_engine_is_away_is_no_ghost_afterwards() {
    let mut site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (bob, _) = site.member(1, "bob", "r").await;
    let (mut cat, _) = site.member(0, "cat", "r").await;
    site.engine.stop().await.unwrap();

    // Nothing is put into a log, and whoever wants to is told at once.
    let begun = Instant::now();
    ann.refused(json!({ "type": "message", "room": "r", "text": "anybody?" }), 904).await;
    assert!(begun.elapsed() < IN_TIME);
    // Moves between members of one node go on.
    ann.say(json!({ "type": "move", "room": "r", "reliable": true, "key": 1, "data": 7 })).await;
    assert_eq!(cat.said("move").await["data"], 7);
    for node in &site.nodes {
        assert_eq!(node.get("/healthz", &pass("nobody")).await.status, 200);
        is_ready(node, false).await;
    }
    bob.bye().await;

    site.engine.start_again().await.unwrap();
    for node in &site.nodes {
        is_ready(node, true).await;
    }
    // It kept nothing: the log begins anew, and everybody is told.
    for wire in [&mut ann, &mut cat] {
        wire.said("reset").await;
    }
    let (mut dan, joined) = until("a join", async || {
        let mut dan = site.guest(1, &pass("dan").host("*")).await;
        let joined = dan.ask(json!({ "type": "join", "room": "r" })).await;
        (joined["type"] == "joined").then_some((dan, joined))
    })
    .await;
    assert!(!users(&joined).contains(&"bob"), "{joined}");
    ann.granted(json!({ "type": "message", "room": "r", "text": "back" })).await;
    assert_eq!(dan.said("message").await["text"], "back");
    // The engine forgot who was there, and was told again.
    let whole = async |dan: &mut Wire| {
        let page = dan.granted(json!({ "type": "members", "room": "r" })).await;
        users(&page).iter().map(|user| (*user).to_owned()).collect::<Vec<_>>()
    };
    until("the roster", async || (whole(&mut dan).await == ["ann", "cat", "dan"]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_hears_what_is_published_after_an_outage() {
    let mut site = Site::open(1).await;
    let reader = pass("reader").spectator("*").notify("*");
    let mut stream = crate::support::Stream::open(&site.nodes[0], &reader, "room=r").await;
    site.engine.stop().await.unwrap();
    is_ready(&site.nodes[0], false).await;
    site.engine.start_again().await.unwrap();
    is_ready(&site.nodes[0], true).await;
    let body = json!({ "message": "there again" });
    let answer = site.nodes[0].post("/v1/users/reader/notifications", &reader, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    within("the notification", async {
        loop {
            let block = stream.event().await;
            if block.data["data"]["message"] == "there again" {
                return;
            }
        }
    })
    .await;
}
