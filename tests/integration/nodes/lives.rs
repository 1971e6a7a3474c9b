//! Nodes that die, or are held for dead, and their members.

use serde_json::json;

use super::{Site, users};
use crate::support::{Wire, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_members_of_a_node_that_was_killed_are_gone_and_come_back_elsewhere() {
    let mut site = Site::open(2).await;
    site.nodes.push(site.mortal().await);
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (mut bob, _) = site.member(1, "bob", "r").await;
    let (_cat, _) = site.member(2, "cat", "r").await;
    let (_dan, _) = site.member(2, "dan", "r").await;
    site.nodes.pop().expect("three nodes").kill();
    for wire in [&mut ann, &mut bob] {
        let down = wire.said("node-down").await;
        let left: Vec<_> = down["left"].as_array().unwrap().iter().map(|gone| &gone["user"]).collect();
        assert_eq!((left.len(), &down["count"], &down["more"]), (2, &json!(2), &json!(false)), "{down}");
        assert!(down["left"].as_array().unwrap().iter().all(|gone| gone["handle"].is_u64()), "{down}");
    }
    let (mut cat, joined) = site.member(1, "cat", "r").await;
    assert_eq!(users(&joined), ["ann", "bob"]);
    assert_eq!(ann.said("peer-joined").await["peer"]["user"], "cat");
    cat.granted(json!({ "type": "message", "room": "r", "text": "back" })).await;
    assert_eq!(ann.said("message").await["text"], "back");
}

/// The engine forgets the lease of a node: others lose its members, and see them come again.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_node_that_was_held_for_dead_come_again() {
    let site = Site::open(2).await;
    let (mut ann, _) = site.member(0, "ann", "r").await;
    let (mut bob, _) = site.member(1, "bob", "r").await;
    ann.said("peer-joined").await;
    let lost = site.nodes[1].hub.broker().node();
    site.engine.say(&format!("ZREM rp:{{nodes}}:l {lost}")).await.unwrap();
    assert_eq!(ann.said("peer-joined").await["peer"]["peer"], bob.connected["peer"]);
    // What was on the way to and from him may be lost, and his own coming is not shown to him.
    let reset = bob.said("reset").await;
    assert_eq!((&reset["reason"], &reset["count"]), (&json!("lost"), &json!(2)), "{reset}");
    // Nobody has left there.
    let roster = async |wire: &mut Wire| {
        let page = wire.granted(json!({ "type": "members", "room": "r" })).await;
        users(&page).iter().map(|user| (*user).to_owned()).collect::<Vec<_>>()
    };
    for wire in [&mut ann, &mut bob] {
        until("the roster", async || (roster(wire).await == ["ann", "bob"]).then_some(())).await;
    }
    bob.granted(json!({ "type": "message", "room": "r", "text": "still here" })).await;
    assert_eq!(ann.said("message").await["text"], "still here");
    bob.bye().await;
    assert_eq!(ann.said("peer-left").await["peer"]["user"], "bob");
}
