//! What goes from node to node past the logs.

use std::{collections::BTreeMap, sync::Arc};

use rallypoint::broker::parcel::{Data, Parcel, Step, Whisper};
use rallypoint_protocol::{PeerId, moves::Lane};

use super::ground::{Ground, Node, Sheet};
use crate::support::until;

/// Parcels from each node to each other.
const EACH: u64 = 300;

fn step(peer: PeerId, lane: Lane, n: u64) -> Step {
    let data = Data::Json(n.to_string().into());
    Step { peer, lane, key: 1, seq: 1, time: 1, to: None, data }
}

fn number(step: &Step) -> u64 {
    match &step.data {
        Data::Json(text) => std::str::from_utf8(text).expect("text").parse().expect("a number"),
        Data::MsgPack(_) => panic!("nobody sent this"),
    }
}

/// What each sender's parcels say, in the order in which they came.
fn arrived(node: &Node) -> BTreeMap<PeerId, Vec<u64>> {
    let mut arrived: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for parcel in node.guest.parcels() {
        match parcel {
            Parcel::Move { step, .. } => arrived.entry(step.peer).or_default().push(number(&step)),
            other => panic!("{other:?}"),
        }
    }
    arrived
}

/// Connections are closed again and again: all that was sent arrives, once and in order.
pub(super) async fn parcels_arrive_once_and_in_order(ground: Ground) {
    let (nodes, sheet) = (Arc::new(ground.nodes(3).await), Sheet::new("lobby"));
    let peers: Vec<_> = nodes.iter().map(|_| PeerId::random()).collect();
    for n in 1..=EACH {
        for (from, peer) in nodes.iter().zip(&peers) {
            for to in nodes.iter().filter(|to| to.id != from.id) {
                let step = step(*peer, Lane::Reliable, n);
                from.broker.send(to.id, Parcel::Move { room: sheet.name.clone(), step });
            }
        }
        if n % 60 == 0 {
            ground.everywhere(&format!("CLIENT KILL TYPE {}", if n % 120 == 0 { "pubsub" } else { "normal" })).await;
        }
        tokio::task::yield_now().await;
    }
    for (node, own) in nodes.iter().zip(&peers) {
        let others = peers.iter().filter(|peer| *peer != own);
        let all: BTreeMap<_, Vec<_>> = others.map(|peer| (*peer, (1..=EACH).collect())).collect();
        let count = EACH as usize * all.len();
        until("all parcels", async || (node.guest.parcels().len() >= count).then_some(())).await;
        assert_eq!(arrived(node), all);
    }
}

/// Of what may be lost the last arrives, and nothing comes back to whoever said it, nor to who has not the room.
pub(super) async fn whispers_go_to_those_who_have_the_room(ground: Ground) {
    let (nodes, sheet, peer) = (ground.nodes(3).await, Sheet::new("lobby"), PeerId::random());
    nodes[0].open(&sheet).await;
    nodes[1].open(&sheet).await;
    for n in 1..=EACH {
        nodes[0].broker.whisper(&sheet.name, Whisper::Move(step(peer, Lane::Latest, n)));
        nodes[0].broker.whisper(&sheet.name, Whisper::Typing(peer, n % 2 == 1));
        tokio::task::yield_now().await;
    }
    let last = (sheet.name.clone(), Whisper::Typing(peer, false));
    until("the last word", async || (nodes[1].guest.whispers().last() == Some(&last)).then_some(())).await;
    let heard = nodes[1].guest.whispers();
    let moves = heard.iter().filter_map(|(_, whisper)| match whisper {
        Whisper::Move(step) => Some(number(step)),
        _ => None,
    });
    let moves: Vec<_> = moves.collect();
    assert!(moves.is_sorted() && moves.last() == Some(&EACH), "{moves:?}");
    for node in [&nodes[0], &nodes[2]] {
        assert_eq!(node.guest.whispers(), []);
    }
}
