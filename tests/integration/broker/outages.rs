//! Lost connections, and servers that are away for a while: everything is complete afterwards, and stored once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rallypoint::broker::{Dedup, PublishError};
use tokio::task::JoinSet;

use super::ground::{Ground, Node, Sheet, agree, event};
use crate::support::until;

/// An answer that nobody can give comes after this at the latest, on a slow machine too.
const IN_TIME: Duration = Duration::from_secs(2);

/// Nodes that all follow a room and a user's log.
async fn followed(ground: &Ground) -> (Arc<Vec<Node>>, [Sheet; 2]) {
    let (nodes, sheets) = (Arc::new(ground.nodes(3).await), ["lobby", "user/ada"].map(Sheet::new));
    for node in nodes.iter() {
        node.open(&sheets[0]).await;
        node.follow(&sheets[1]).await;
    }
    (nodes, sheets)
}

/// Publishes from all nodes to all logs, and tells when it is over.
fn publish(nodes: &Arc<Vec<Node>>, sheets: &[Sheet], each: usize) -> JoinSet<()> {
    let mut publishers = JoinSet::new();
    for (at, sheet) in (0..nodes.len()).flat_map(|at| sheets.iter().map(move |sheet| (at, sheet))) {
        let (nodes, sheet) = (nodes.clone(), sheet.clone());
        publishers.spawn(async move {
            for n in 0..each {
                nodes[at].say(&sheet, &format!("{at} {n}")).await;
            }
        });
    }
    publishers
}

/// All that was published is there, once, and nobody was told of a gap.
async fn is_complete(nodes: &[Node], sheets: &[Sheet], each: usize) {
    for sheet in sheets {
        assert_eq!(agree(nodes, sheet).await.len(), nodes.len() * each, "{}", sheet.name);
        for node in nodes {
            assert_eq!(node.guest.events(&sheet.name).len(), nodes.len() * each, "{}", sheet.name);
            assert_eq!(node.guest.restarts(&sheet.name), [], "{}", sheet.name);
        }
    }
}

/// Publishes while connections of this kind are closed again and again.
async fn closing(ground: Ground, kind: &str) {
    const EACH: usize = 150;
    let (nodes, sheets) = followed(&ground).await;
    let mut publishers = publish(&nodes, &sheets, EACH);
    let mut seen = 0;
    while !publishers.is_empty() {
        ground.everywhere(&format!("CLIENT KILL TYPE {kind}")).await;
        // And again, some events later.
        until("events to be stored or all to be there", async || {
            while let Some(joined) = publishers.try_join_next() {
                joined.expect("publishers do not fail");
            }
            let head = nodes[0].broker.ends(sheets[0].log()).await.ok()?.head;
            let is_further = head.seq >= seen + 30 || publishers.is_empty();
            is_further.then(|| seen = head.seq)
        })
        .await;
    }
    is_complete(&nodes, &sheets, EACH).await;
}

pub(super) async fn followers_that_lose_their_connections_miss_nothing(ground: Ground) {
    closing(ground, "pubsub").await;
}

pub(super) async fn nodes_that_lose_all_connections_miss_nothing(ground: Ground) {
    closing(ground, "normal").await;
}

pub(super) async fn a_server_that_comes_back_goes_on_where_it_was(mut ground: Ground) {
    const EACH: usize = 100;
    let (nodes, sheets) = followed(&ground).await;
    nodes[0].say(&sheets[0], "before").await;
    let place = ground.place(&sheets[0]).await;
    let publishers = publish(&nodes, &sheets, EACH);
    let far = async || nodes[0].broker.ends(sheets[0].log()).await.ok().filter(|ends| ends.head.seq > 30);
    until("some events", far).await;
    ground.server_mut(place.server).start_again().await.expect("it starts again");
    // In most runs before anybody listens again.
    let published = until("the server to take an event", async || {
        ground.try_publish_on(&place, &sheets[0], "at once", &place.channel()).await
    });
    published.await;
    publishers.join_all().await;
    let texts = agree(&nodes, &sheets[0]).await;
    assert_eq!(texts.len(), nodes.len() * EACH + 2);
    assert_eq!(agree(&nodes, &sheets[1]).await.len(), nodes.len() * EACH);
    for (node, sheet) in nodes.iter().flat_map(|node| sheets.iter().map(move |sheet| (node, sheet))) {
        assert_eq!(node.guest.restarts(&sheet.name), [], "{}", sheet.name);
    }
}

pub(super) async fn a_server_that_hangs_is_told_of_in_time_and_stores_nothing_twice(ground: Ground) {
    const AWAY: Duration = Duration::from_secs(3);
    let (nodes, sheets) = followed(&ground).await;
    let sheet = &sheets[0];
    nodes[0].say(sheet, "before").await;
    let server = &ground.servers()[ground.place(sheet).await.server];
    server.freeze().expect("it is ours");
    let (since, mut unknown) = (Instant::now(), Vec::new());
    while since.elapsed() < AWAY {
        let text = format!("away {}", unknown.len());
        let asked = Instant::now();
        let answer = nodes[0].broker.publish(sheet.log(), event(&text), Some(Dedup(text.clone().into())), None).await;
        assert!(asked.elapsed() < IN_TIME, "{:?} for {answer:?}", asked.elapsed());
        assert!(matches!(answer, Err(PublishError::Ambiguous | PublishError::Overloaded)), "{answer:?}");
        unknown.push(text);
        tokio::task::yield_now().await;
    }
    server.go_on().expect("it is ours");
    for text in &unknown {
        nodes[0].say(sheet, text).await;
    }
    nodes[1].say(sheet, "after").await;
    let mut texts = agree(&nodes, sheet).await;
    assert_eq!((texts.remove(0), texts.pop()), ("before".to_owned(), Some("after".to_owned())));
    texts.sort_unstable();
    unknown.sort_unstable();
    assert_eq!(texts, unknown);
    for node in nodes.iter() {
        assert_eq!(node.guest.restarts(&sheet.name), []);
    }
}
