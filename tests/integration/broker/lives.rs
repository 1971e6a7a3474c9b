//! Nodes that die, or are held for dead.

use std::time::{Duration, Instant};

use rallypoint::node::NodeId;
use rallypoint_protocol::{EventBody, Position, event::NodeDown};

use super::{
    ground::{Ground, Node, Sheet, agree, bytes},
    rosters::{join, knows, member},
};
use crate::support::until;

/// Within this time nobody sees the members of a node that was killed any more.
const CLEAN: Duration = Duration::from_secs(7);

/// An event that tells of a dead node.
fn down(node: NodeId) -> Box<[u8]> {
    let node = node.to_string().into();
    bytes(EventBody::NodeDown(NodeDown { node, count: 0, spectators: 0, left: Vec::new(), more: false }))
}

async fn bury(node: &Node, sheet: &Sheet, dead: NodeId) {
    until("a burial", async || node.broker.bury(sheet.log(), down(dead), dead).await.ok()).await;
}

/// Nodes that have had a lease for long enough to tell who is dead.
async fn steady(ground: &Ground, count: usize) -> Vec<Node> {
    let nodes = ground.nodes(count).await;
    let early = ground.node().await;
    early.open(&Sheet::new("early")).await;
    early.stop();
    for node in &nodes {
        node.guest.hears_of_the_end_of(early.id).await;
    }
    nodes
}

pub(super) async fn a_node_that_is_gone_leaves_no_ghost(ground: Ground) {
    let (nodes, sheet) = (steady(&ground, 3).await, Sheet::new("lobby"));
    for node in &nodes {
        node.open(&sheet).await;
    }
    let [a, b, c] = &nodes[..] else { panic!("three nodes") };
    let [one, two, three] = ["1", "2", "3"].map(|state| member(None, state));
    join(a, &sheet, &one).await;
    join(b, &sheet, &two).await;
    join(c, &sheet, &three).await;
    knows(a, &sheet, &[(&two, 2), (&three, 3)]).await;
    c.stop();
    let killed = Instant::now();
    for node in [a, b] {
        node.guest.hears_of_the_end_of(c.id).await;
        assert!(node.broker.is_dead(c.id) && !node.broker.is_dead(a.id) && !node.broker.is_dead(b.id));
    }
    tokio::join!(bury(a, &sheet, c.id), bury(b, &sheet, c.id));
    knows(a, &sheet, &[(&two, 2)]).await;
    knows(b, &sheet, &[(&one, 1)]).await;
    assert!(killed.elapsed() < CLEAN, "{:?}", killed.elapsed());
    assert_eq!(agree(&nodes[..2], &sheet).await[3..], ["node-down 4"], "it is told once");
    let late = ground.node().await;
    assert_eq!(late.open(&sheet).await.roster.len(), 2);
    // Where it had nobody there is nothing to tell.
    bury(a, &Sheet::new("elsewhere"), c.id).await;
    assert_eq!(a.head(&Sheet::new("elsewhere")).await.seq, 0);
}

pub(super) async fn a_node_that_was_held_for_dead_goes_on_as_another(ground: Ground) {
    let (mut nodes, sheet) = (steady(&ground, 2).await, Sheet::new("lobby"));
    let mut lost = nodes.remove(1);
    let there = &nodes[0];
    for node in [there, &lost] {
        node.open(&sheet).await;
    }
    let own = member(None, "1");
    join(&lost, &sheet, &own).await;
    lost.stop();
    there.guest.hears_of_the_end_of(lost.id).await;
    bury(there, &sheet, lost.id).await;
    knows(there, &sheet, &[]).await;
    lost.run();
    assert_eq!(lost.guest.hears_of_a_new_life().await, lost.id);
    assert_ne!(lost.broker.node(), lost.id);
    let order = join(&lost, &sheet, &own).await;
    knows(there, &sheet, &[(&own, order)]).await;
    let present = there.guest.look(&sheet.name, |room| room.roster[&own.peer].node);
    assert_eq!((present, there.broker.is_dead(present)), (lost.broker.node(), false));
    // What it did before is its own all the same.
    let late = ground.node().await;
    assert_eq!(late.open(&sheet).await.roster.len(), 1);
    let start = Position::start(lost.head(&sheet).await.epoch);
    let kept = lost.broker.read(sheet.log(), start, 100).await.expect("all is kept");
    let by = |at: usize| kept[at].node;
    assert_eq!((kept.len(), by(0), by(1), by(2)), (3, None, Some(there.id), None));
}

pub(super) async fn nobody_is_held_for_dead_because_the_engine_was_away(ground: Ground) {
    let nodes = steady(&ground, 2).await;
    let all = |ready: bool| nodes.iter().all(|node| node.broker.is_ready() == ready);
    ground.servers().iter().for_each(|server| server.freeze().expect("it is ours"));
    until("the engine to count as away", async || all(false).then_some(())).await;
    ground.servers().iter().for_each(|server| server.go_on().expect("it is ours"));
    // As if it had been away for longer than a lease.
    let long_ago: String = nodes.iter().map(|node| format!(" 1 {}", node.id)).collect();
    ground.at_the_leases(&format!("ZADD rp:{{nodes}}:l{long_ago}")).await;
    until("the engine to count as there", async || all(true).then_some(())).await;
    // Somebody who dies later is found dead, and nobody else.
    let last = ground.node().await;
    last.open(&Sheet::new("last")).await;
    last.stop();
    for node in &nodes {
        node.guest.hears_of_the_end_of(last.id).await;
        assert_eq!((node.guest.dead(), node.broker.node()), (2, node.id));
    }
}

/// What the engine forgot of a node that is dead is not kept by its rosters.
pub(super) async fn a_node_without_a_lease_is_no_ghost_for_ever(ground: Ground) {
    let (nodes, sheet) = (ground.nodes(1).await, Sheet::new("lobby"));
    let gone = ground.node().await;
    gone.open(&sheet).await;
    join(&gone, &sheet, &member(None, "1")).await;
    gone.stop();
    ground.at_the_leases(&format!("ZREM rp:{{nodes}}:l {}", gone.id)).await;
    nodes[0].open(&sheet).await;
    nodes[0].guest.hears_of_the_end_of(gone.id).await;
}
