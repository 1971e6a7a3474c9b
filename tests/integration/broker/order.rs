//! One order for everybody, each event once, and ceilings.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rallypoint::broker::{Ceilings, PublishError};
use rallypoint_protocol::event::Millis;
use tokio::{sync::Semaphore, task::JoinSet};

use super::ground::{Ground, Node, Sheet, agree, event};
use crate::support::until;

/// Whatever is kept is too old by then.
const LATER: Millis = Millis(1e15);
/// Sooner than heads are compared, on a slow machine too.
pub(super) const AT_ONCE: Duration = Duration::from_secs(10);

pub(super) async fn many_publishers_leave_no_holes(ground: Ground) {
    let (nodes, sheet) = (Arc::new(ground.nodes(3).await), Sheet::new("lobby"));
    for node in nodes.iter() {
        assert_eq!(node.open(&sheet).await.history.head().seq, 0);
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..64 {
        let (nodes, sheet) = (nodes.clone(), sheet.clone());
        publishers.spawn(async move {
            let node = &nodes[publisher % nodes.len()];
            let mut positions = Vec::new();
            for n in 0..20 {
                positions.push(node.say(&sheet, &format!("{publisher} {n}")).await.position);
            }
            assert!(positions.is_sorted_by_key(|position| position.seq));
            positions
        });
    }
    let mut positions = publishers.join_all().await.concat();
    positions.sort_by_key(|position| position.seq);
    assert!(positions.iter().map(|position| position.seq).eq(1..=64 * 20));
    assert_eq!(agree(&nodes, &sheet).await.len(), 64 * 20);
    for node in nodes.iter() {
        let told = node.guest.events(&sheet.name);
        assert!(told.iter().map(|event| event.position).eq(positions.iter().copied()));
        node.guest.look(&sheet.name, |room| {
            assert_eq!((room.told, room.foreign, room.restarts.len()), (64 * 20, 0, 0));
        });
    }
}

pub(super) async fn what_is_published_again_with_the_same_key_is_stored_once(ground: Ground) {
    let (nodes, sheet) = (Arc::new(ground.nodes(2).await), Sheet::new("lobby"));
    for node in nodes.iter() {
        node.open(&sheet).await;
    }
    let first = nodes[0].say_as(&sheet, "first", "ada 1").await;
    let again = nodes[nodes.len() - 1].say_as(&sheet, "first", "ada 1").await;
    assert_eq!((again.position, again.repeated), (first.position, true));
    // All at once.
    let mut publishers = JoinSet::new();
    for publisher in 0..32 {
        let (nodes, sheet) = (nodes.clone(), sheet.clone());
        publishers.spawn(async move { nodes[publisher % nodes.len()].say_as(&sheet, "second", "ada 2").await });
    }
    let published = publishers.join_all().await;
    assert!(published.iter().all(|one| one.position == published[0].position));
    assert!(published.iter().filter(|published| !published.repeated).count() <= 1);
    // Another key is another event, and so is the same key in another log.
    assert!(!nodes[0].say_as(&sheet, "third", "ada 3").await.repeated);
    assert!(!nodes[0].say_as(&Sheet::new("other"), "first", "ada 1").await.repeated);
    assert_eq!(agree(&nodes, &sheet).await, ["first", "second", "third"]);
}

/// Rooms come and go while others publish: between the tail and what is delivered nothing is missed.
pub(super) async fn whoever_opens_meanwhile_misses_nothing(ground: Ground) {
    const ROUNDS: usize = 60;
    let (nodes, sheet) = (Arc::new(ground.nodes(2).await), Sheet::short("lobby", 2000));
    // So many for each round: who reads must not fall behind by more than is kept.
    let due = Arc::new(Semaphore::new(0));
    let mut publishers = JoinSet::new();
    for publisher in 0..4 {
        let (nodes, sheet, due) = (nodes.clone(), sheet.clone(), due.clone());
        publishers.spawn(async move {
            let node = &nodes[publisher % nodes.len()];
            for n in 0.. {
                let Ok(permit) = due.acquire().await else { return };
                permit.forget();
                node.say(&sheet, &format!("{publisher} {n}")).await;
                tokio::task::yield_now().await;
            }
        });
    }
    let node = &nodes[0];
    for _ in 0..ROUNDS {
        due.add_permits(50);
        let from = node.open(&sheet).await.history.head();
        due.add_permits(50);
        node.guest
            .hears("events after the tail", &sheet.name, |room| {
                room.head().is_some_and(|head| head.seq >= from.seq + 5)
            })
            .await;
        let now = node.head(&sheet).await;
        node.guest
            .hears("all that was there", &sheet.name, |room| room.head().is_some_and(|head| head.seq >= now.seq))
            .await;
        node.guest.look(&sheet.name, |room| assert_eq!((room.foreign, &room.restarts[..]), (0, &[][..])));
        node.close(&sheet);
    }
    for node in nodes.iter() {
        node.open(&sheet).await;
    }
    due.close();
    publishers.join_all().await;
    agree(&nodes, &sheet).await;
}

/// Not only with the event after it, or when heads are compared.
pub(super) async fn an_event_that_comes_while_a_log_opens_is_told_at_once(ground: Ground) {
    let nodes = Arc::new(ground.nodes(2).await);
    let (node, other) = (&nodes[0], nodes.len() - 1);
    // It takes a while until all of it is here.
    let large = Sheet::new("large");
    let fill = (0..1000).map(|n| format!("{n:01000}"));
    fill.map(|text| fill_in(&nodes, other, &large, text)).collect::<JoinSet<_>>().join_all().await;
    for round in 0..100_usize {
        // One that is listened to already, or one that never was.
        let sheet = if round % 2 == 0 { large.clone() } else { Sheet::new(&format!("new/{round}")) };
        let publisher = tokio::spawn({
            let (nodes, sheet) = (nodes.clone(), sheet.clone());
            async move {
                for _ in 0..round % 20 {
                    _ = nodes[other].broker.ends(sheet.log()).await;
                }
                nodes[other].say(&sheet, &format!("round {round}")).await.position
            }
        });
        node.open(&sheet).await;
        let position = publisher.await.expect("publishers do not fail");
        let since = Instant::now();
        node.guest.hears("the event", &sheet.name, |room| room.head() == Some(position)).await;
        assert!(since.elapsed() < AT_ONCE, "round {round}: {:?}", since.elapsed());
        node.close(&sheet);
    }
}

fn fill_in(nodes: &Arc<Vec<Node>>, at: usize, sheet: &Sheet, text: String) -> impl Future<Output = ()> + use<> {
    let (nodes, sheet) = (nodes.clone(), sheet.clone());
    async move { _ = nodes[at].say(&sheet, &text).await }
}

pub(super) async fn a_log_more_than_allowed_is_refused(mut ground: Ground) {
    ground.ceilings.logs = 3;
    let node = ground.node().await;
    let sheets = ["a", "b", "c", "d"].map(Sheet::new);
    for sheet in &sheets[..3] {
        node.open(sheet).await;
    }
    // One that is open already is none too many.
    node.broker.open(sheets[0].log()).await.expect("it is there");
    node.broker.close(&sheets[0].name);
    let refused = node.broker.open(sheets[3].log()).await.map(|opened| opened.history.head());
    assert_eq!(refused, Err(PublishError::Overloaded));
    node.say(&sheets[0], "the others go on").await;
    agree(std::slice::from_ref(&node), &sheets[0]).await;
    node.close(&sheets[1]);
    node.broker.sweep(LATER);
    node.open(&sheets[3]).await;
}

pub(super) async fn bytes_are_counted_and_bounded_and_given_back(mut ground: Ground) {
    let size = event(&"x".repeat(100)).len();
    ground.ceilings = Ceilings { bytes: size * 10, logs: 10 };
    let node = ground.node().await;
    let sheets = ["a", "b"].map(Sheet::new);
    for sheet in &sheets {
        node.open(sheet).await;
    }
    for n in 0..5 {
        for sheet in &sheets {
            node.say(sheet, &format!("{n:0100}")).await;
            agree(std::slice::from_ref(&node), sheet).await;
        }
    }
    assert_eq!((node.broker.bytes(), node.broker.share()), (size * 10, None));
    node.say(&sheets[0], &format!("{:0100}", 5)).await;
    node.guest.hears("one too much", &sheets[0].name, |room| room.head().is_some_and(|head| head.seq == 6)).await;
    let over = node.broker.share();
    assert!(over.is_none_or(|share| share == size * 5), "{over:?}");
    node.broker.sweep(Millis(2.0));
    assert!(node.broker.bytes() <= size * 10);
    for sheet in &sheets {
        node.close(sheet);
    }
    node.broker.sweep(LATER);
    until("all bytes to be given back", async || (node.broker.bytes() == 0).then_some(())).await;
    assert_eq!(node.broker.share(), None);
}
