//! An engine that loses something while nodes follow its logs: they go on by themselves, and nothing is skipped in silence.

use rallypoint::broker::Unread;
use rallypoint_protocol::{Position, server::ResetReason};

use super::ground::{Ground, Node, Sheet, agree};
use crate::support::until;

/// Three nodes that follow a log of so many events.
async fn followed(ground: &Ground, name: &str, events: u64) -> (Vec<Node>, Sheet) {
    let (nodes, sheet) = (ground.nodes(3).await, Sheet::new(name));
    for node in &nodes {
        match sheet.name.user() {
            Some(_) => _ = node.follow(&sheet).await,
            None => _ = node.open(&sheet).await,
        }
    }
    for n in 1..=events {
        nodes[0].say(&sheet, &n.to_string()).await;
    }
    agree(&nodes, &sheet).await;
    (nodes, sheet)
}

/// What was published after a loss is what all nodes have, and each of them was told that there was one.
async fn goes_on_anew(nodes: &[Node], sheet: &Sheet, before: Position) {
    for node in nodes {
        node.guest.hears("a new beginning", &sheet.name, |room| !room.restarts.is_empty()).await;
    }
    for n in 0..9 {
        nodes[n % nodes.len()].say(sheet, &format!("anew {n}")).await;
    }
    let texts = agree(nodes, sheet).await;
    let anew: Vec<_> = (0..9).map(|n| format!("anew {n}")).collect();
    assert!(texts.ends_with(&anew), "{texts:?}");
    for node in nodes {
        let head = node.guest.head(&sheet.name).expect("it is followed");
        assert_ne!(head.epoch, before.epoch);
        assert_eq!(node.guest.events(&sheet.name).len() as u64, head.seq, "from the start of the new life");
    }
}

pub(super) async fn a_log_goes_on_without_events_that_were_wiped(ground: Ground) {
    let (nodes, sheet) = followed(&ground, "lobby", 5).await;
    let place = ground.place(&sheet).await;
    let fifth = nodes[0].head(&sheet).await;
    ground.command(&place, &format!("DEL {}", place.events())).await;
    for n in 6..=9 {
        nodes[1].say(&sheet, &n.to_string()).await;
    }
    assert_eq!(agree(&nodes, &sheet).await, ["6", "7", "8", "9"]);
    for node in &nodes {
        let told = node.guest.events(&sheet.name);
        assert!(told.iter().map(|event| event.position.seq).eq(1..=9));
        assert_eq!(node.guest.restarts(&sheet.name), [], "who had them misses nothing");
    }
    assert_eq!(nodes[0].read(&sheet, fifth).await, Ok(vec![6, 7, 8, 9]));
    let late = ground.node().await;
    assert_eq!(late.open(&sheet).await.history.edge(), fifth);
}

pub(super) async fn a_log_of_which_nothing_is_known_begins_anew(ground: Ground) {
    for name in ["lobby", "user/ada"] {
        let (nodes, sheet) = followed(&ground, name, 5).await;
        let (place, before) = (ground.place(&sheet).await, nodes[0].head(&sheet).await);
        ground.command(&place, &format!("DEL {}", place.meta)).await;
        nodes[1].say(&sheet, "after the loss").await;
        goes_on_anew(&nodes, &sheet, before).await;
        assert_eq!(nodes[2].guest.restarts(&sheet.name)[0], ResetReason::Epoch, "{name}");
        assert_eq!(nodes[0].read(&sheet, before).await, Err(Unread::Reset(ResetReason::Epoch)), "{name}");
    }
}

pub(super) async fn an_engine_that_forgot_everything_is_begun_anew_with(ground: Ground) {
    for name in ["lobby", "user/ada"] {
        let (nodes, sheet) = followed(&ground, name, 5).await;
        let before = nodes[0].head(&sheet).await;
        ground.everywhere("FLUSHALL").await;
        ground.everywhere("SCRIPT FLUSH").await;
        nodes[1].say(&sheet, "after the loss").await;
        goes_on_anew(&nodes, &sheet, before).await;
        assert_eq!(nodes[0].read(&sheet, before).await, Err(Unread::Reset(ResetReason::Epoch)), "{name}");
    }
}

/// Some of its events are gone from the middle: nobody can begin with the rest.
pub(super) async fn a_log_that_does_not_hang_together_begins_anew(ground: Ground) {
    let (nodes, sheet) = followed(&ground, "lobby", 5).await;
    let (place, before) = (ground.place(&sheet).await, nodes[0].head(&sheet).await);
    ground.command(&place, &format!("XDEL {} 3-{}", place.events(), before.epoch)).await;
    let late = ground.node().await;
    assert_eq!(late.open(&sheet).await.history.head().seq, 0);
    late.say(&sheet, "after the loss").await;
    goes_on_anew(&nodes, &sheet, before).await;
    agree(std::slice::from_ref(&late), &sheet).await;
    assert_eq!(late.guest.restarts(&sheet.name), []);
}

pub(super) async fn a_forked_log_begins_anew_for_all(ground: Ground) {
    let (nodes, sheet) = followed(&ground, "lobby", 5).await;
    let (place, told) = (ground.place(&sheet).await, nodes[0].guest.events(&sheet.name));
    ground.cut_back(&place, told[2].position, told[4].position).await;
    // By somebody who has not got what was lost.
    let other = ground.node().await;
    for n in 4..=8 {
        other.say(&sheet, &format!("other {n}")).await;
    }
    goes_on_anew(&nodes, &sheet, told[4].position).await;
    for node in &nodes {
        let restarts = node.guest.restarts(&sheet.name);
        let is_known =
            |reason: &ResetReason| matches!(reason, ResetReason::Forked | ResetReason::Ahead | ResetReason::Epoch);
        assert!(restarts.iter().all(is_known), "{restarts:?}");
        for lost in &told {
            assert_eq!(node.read(&sheet, lost.position).await, Err(Unread::Reset(ResetReason::Epoch)));
        }
    }
}

pub(super) async fn a_message_that_never_came_is_found_by_the_heads(ground: Ground) {
    let (nodes, room) = followed(&ground, "lobby", 2).await;
    let user = Sheet::new("user/ada");
    for node in &nodes {
        node.follow(&user).await;
    }
    nodes[0].say(&user, "1").await;
    agree(&nodes, &user).await;
    // Of a log that is not there; only its name is known from an earlier life.
    let first = Sheet::new("user/bob");
    nodes[0].say(&first, "long gone").await;
    let of_first = ground.place(&first).await;
    ground.command(&of_first, &format!("DEL {} {}", of_first.meta, of_first.events())).await;
    for node in &nodes {
        node.follow(&first).await;
    }
    let places = [ground.place(&room).await, ground.place(&user).await, of_first];
    for (sheet, place) in [&room, &user, &first].into_iter().zip(&places) {
        // Nobody listens there; it lies in the same slot.
        let heard = ground.publish_on(place, sheet, "never heard", &format!("{}:nobody", place.meta)).await;
        assert_eq!(heard, 0);
    }
    for sheet in [&room, &user, &first] {
        let texts = agree(&nodes, sheet).await;
        assert_eq!(texts.last().map(String::as_str), Some("never heard"));
        nodes.iter().for_each(|node| assert_eq!(node.guest.restarts(&sheet.name), []));
    }
}

/// What replaced the lost events was heard by nobody, and is no further than they were.
pub(super) async fn a_fork_of_which_nothing_is_heard_is_found_by_the_heads(ground: Ground) {
    let (nodes, sheet) = followed(&ground, "lobby", 5).await;
    let (place, told) = (ground.place(&sheet).await, nodes[0].guest.events(&sheet.name));
    ground.cut_back(&place, told[2].position, told[4].position).await;
    for text in ["other 4", "other 5"] {
        ground.publish_on(&place, &sheet, text, &format!("{}:nobody", place.meta)).await;
    }
    goes_on_anew(&nodes, &sheet, told[4].position).await;
}

/// Rooms that go away in the middle of it take all they held with them.
pub(super) async fn logs_that_are_closed_while_they_begin_anew_leave_no_bytes(ground: Ground) {
    let (node, other) = (ground.node().await, ground.node().await);
    for round in 0..20 {
        let sheet = Sheet::new(&format!("lobby/{round}"));
        node.open(&sheet).await;
        node.say(&sheet, "before").await;
        let place = ground.place(&sheet).await;
        ground.command(&place, &format!("DEL {}", place.meta)).await;
        other.say(&sheet, &"x".repeat(10_000)).await;
        // Sooner or later after it was heard.
        for _ in 0..round * 20 {
            tokio::task::yield_now().await;
        }
        node.close(&sheet);
    }
    until("all bytes to be given back", async || (node.broker.bytes() == 0).then_some(())).await;
    // Whatever was on its way has come: this needs the same answers.
    let last = Sheet::new("last");
    node.open(&last).await;
    assert_eq!(node.broker.bytes(), 0);
}
