//! Who is in a room, on which node.

use std::time::Instant;

use rallypoint::broker::Change;
use rallypoint_protocol::{
    EventBody, PeerId, UserName,
    event::{Entry, Gone, LeaveReason},
};
use serde_json::value::RawValue;

use super::{
    ground::{Ground, Node, Sheet, agree, bytes},
    order::AT_ONCE,
};
use crate::support::until;

pub(super) fn member(order: Option<u64>, state: &str) -> Entry {
    let state = RawValue::from_string(state.to_owned()).expect("JSON");
    Entry {
        peer: PeerId::random(),
        handle: None,
        user: UserName::new("ada").expect("a good name"),
        name: None,
        info: None,
        state: Some(state),
        order,
        rtt: None,
        polite: None,
        offers: None,
    }
}

/// A member joins, and an event tells of it. Returns its order.
pub(super) async fn join(node: &Node, sheet: &Sheet, entry: &Entry) -> u64 {
    let event = bytes(EventBody::PeerJoined { peer: entry.clone() });
    let key = format!("join {} {}", entry.peer, node.broker.node());
    node.put(sheet, &event, &key, Some(Change::Enter(entry))).await.position.seq
}

/// A member leaves, and an event tells of it.
async fn leave(node: &Node, sheet: &Sheet, entry: &Entry, home: &Node) {
    let gone = Gone { peer: entry.peer, user: entry.user.clone(), handle: None, name: None };
    let event = bytes(EventBody::PeerLeft { peer: gone, reason: LeaveReason::Left });
    let change = Change::Leave { peer: entry.peer, node: (home.id != node.id).then_some(home.id) };
    node.put(sheet, &event, &format!("leave {} {}", entry.peer, node.id), Some(change)).await;
}

/// Waits until a node knows exactly these members of other nodes, with these orders.
pub(super) async fn knows(node: &Node, sheet: &Sheet, members: &[(&Entry, u64)]) {
    let mut members: Vec<_> = members.iter().map(|(entry, order)| (entry.peer, *order)).collect();
    members.sort_unstable();
    let there = async || (node.guest.roster(&sheet.name) == members).then_some(());
    until("the members of other nodes", there).await;
}

pub(super) async fn members_of_whom_events_tell_are_seen_by_who_comes_later(ground: Ground) {
    let (nodes, sheet) = (ground.nodes(3).await, Sheet::new("lobby"));
    let [a, b, c] = &nodes[..] else { panic!("three nodes") };
    a.open(&sheet).await;
    b.open(&sheet).await;
    let [one, two, three] = ["1", "2", "3"].map(|state| member(None, state));
    let orders = [join(a, &sheet, &one).await, join(a, &sheet, &two).await, join(b, &sheet, &three).await];
    assert_eq!(orders, [1, 2, 3]);
    knows(a, &sheet, &[(&three, 3)]).await;
    knows(b, &sheet, &[(&one, 1), (&two, 2)]).await;
    let opened = c.open(&sheet).await;
    let mut roster: Vec<_> = opened.roster.iter().map(|present| (present.entry.order, present.node)).collect();
    roster.sort_unstable();
    assert_eq!(roster, [(Some(1), a.id), (Some(2), a.id), (Some(3), b.id)]);
    let told = opened.roster.iter().find(|present| present.entry.peer == two.peer).expect("it is there");
    assert_eq!(told.entry.state.as_ref().map(|state| state.get()), Some("2"));
    // One leaves; another is taken out by a node that has not got it.
    leave(a, &sheet, &one, a).await;
    leave(b, &sheet, &two, a).await;
    knows(c, &sheet, &[(&three, 3)]).await;
    knows(b, &sheet, &[]).await;
    c.close(&sheet);
    assert_eq!(c.open(&sheet).await.roster.len(), 1);
    knows(a, &sheet, &[(&three, 3)]).await;
    agree(&nodes, &sheet).await;
    for node in &nodes {
        node.guest.look(&sheet.name, |room| assert_eq!((room.changes, room.restarts.len()), (0, 0)));
    }
}

pub(super) async fn changes_without_events_are_told_to_other_nodes(ground: Ground) {
    let (nodes, sheet) = (ground.nodes(3).await, Sheet::new("lobby"));
    let [a, b, c] = &nodes[..] else { panic!("three nodes") };
    a.open(&sheet).await;
    b.open(&sheet).await;
    let [one, mut two] = [member(Some(7), "1"), member(Some(8), "2")];
    a.change(&sheet, Change::Enter(&one)).await;
    a.change(&sheet, Change::Enter(&two)).await;
    knows(b, &sheet, &[(&one, 7), (&two, 8)]).await;
    two.state = Some(RawValue::from_string("[\"says more\"]".to_owned()).expect("JSON"));
    a.change(&sheet, Change::Enter(&two)).await;
    a.change(&sheet, Change::Leave { peer: one.peer, node: None }).await;
    knows(b, &sheet, &[(&two, 8)]).await;
    let state =
        |room: &super::guest::Room| room.roster[&two.peer].entry.state.as_ref().map(|state| state.get().to_owned());
    assert_eq!(b.guest.look(&sheet.name, state).as_deref(), Some("[\"says more\"]"));
    let opened = c.open(&sheet).await;
    assert_eq!(opened.roster.iter().map(|present| present.entry.peer).collect::<Vec<_>>(), [two.peer]);
    b.change(&sheet, Change::Leave { peer: two.peer, node: Some(a.id) }).await;
    knows(c, &sheet, &[]).await;
    assert_eq!(a.guest.head(&sheet.name).map(|head| head.seq), Some(0), "no event tells of it");
}

pub(super) async fn rosters_come_together_after_lost_connections(ground: Ground) {
    let (nodes, sheet) = (ground.nodes(3).await, Sheet::new("lobby"));
    for node in &nodes {
        node.open(&sheet).await;
    }
    let kinds = ["pubsub", "normal"];
    let mut here: Vec<Vec<(Entry, u64)>> = vec![Vec::new(); nodes.len()];
    for n in 0..24 {
        let node = &nodes[n % nodes.len()];
        // An event tells of every second one.
        let entry = member(Some(1000 + n as u64), "{}");
        let order = if n % 2 == 0 {
            join(node, &sheet, &entry).await
        } else {
            node.change(&sheet, Change::Enter(&entry)).await;
            1000 + n as u64
        };
        here[n % nodes.len()].push((entry, order));
        if n % 3 == 0 {
            ground.everywhere(&format!("CLIENT KILL TYPE {}", kinds[n % 2])).await;
        }
        if n % 4 == 3 {
            let (entry, _) = here[n % nodes.len()].remove(0);
            node.change(&sheet, Change::Leave { peer: entry.peer, node: None }).await;
        }
    }
    for (at, node) in nodes.iter().enumerate() {
        let others = here.iter().enumerate().filter(|(other, _)| *other != at).flat_map(|(_, members)| members);
        let others: Vec<_> = others.map(|(entry, order)| (entry, *order)).collect();
        knows(node, &sheet, &others).await;
        assert_eq!(node.guest.restarts(&sheet.name), [], "nothing was lost");
    }
    agree(&nodes, &sheet).await;
}

/// A member that goes on on another node does not leave with what it was on the first one.
pub(super) async fn who_moves_to_another_node_does_not_leave(ground: Ground) {
    let (nodes, sheet) = (ground.nodes(3).await, Sheet::new("lobby"));
    let [a, b, c] = &nodes[..] else { panic!("three nodes") };
    for node in [a, b, c] {
        node.open(&sheet).await;
    }
    let one = member(None, "1");
    let order = join(a, &sheet, &one).await;
    knows(c, &sheet, &[(&one, order)]).await;
    for _ in 0..2 {
        let taken = until("a move", async || b.broker.take(sheet.log(), one.peer, a.id).await.ok()).await;
        let taken = taken.expect("it is there, or here already");
        assert_eq!((taken.peer, taken.order), (one.peer, Some(order)));
    }
    let since = Instant::now();
    knows(a, &sheet, &[(&one, order)]).await;
    let is_there = |room: &super::guest::Room| room.roster.get(&one.peer).is_some_and(|present| present.node == b.id);
    for node in [a, c] {
        node.guest.hears("the move", &sheet.name, is_there).await;
    }
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    // The first node gives up what it still has of it; the second one means it.
    leave(a, &sheet, &one, a).await;
    assert_eq!(agree(&nodes, &sheet).await, ["peer-joined 1"]);
    leave(b, &sheet, &one, b).await;
    assert_eq!(agree(&nodes, &sheet).await, ["peer-joined 1", "peer-left 2"]);
    assert!(b.broker.take(sheet.log(), one.peer, a.id).await.is_ok_and(|taken| taken.is_none()));
}
