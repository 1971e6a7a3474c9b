//! A server that is asked to end: everybody is told when to come back, nobody is kept waiting.

use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use crate::support::{Ask, Node, Poller, Seen, Stream, Wire, pass, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_when_to_come_back() {
    let node = Node::with(|config| config.limits.drain_ms = 60_000).await;
    let spectator = pass("eve").spectator("*");
    let mut wires = Vec::new();
    for n in 0..20 {
        let encoding = if n % 2 == 0 { Encoding::Json } else { Encoding::MsgPack };
        let mut wire = Wire::connect(&node, &pass(&format!("u{n}")).player("*"), encoding).await;
        wire.granted(json!({ "type": "join", "room": "lobby" })).await;
        wires.push(wire);
    }
    let mut stream = Stream::open(&node, &spectator, "room=lobby").await;
    let mut poller = Poller::new(&spectator, "room=lobby");
    poller.poll(&node, 0).await;
    let held = Ask::new("GET", &format!("/v1/poll?room=lobby&after={}&wait=50", poller.cursor)).pass(&spectator);
    let (address, hub) = (node.address, node.hub.clone());
    let held = tokio::spawn(held.send(address));
    until("the poll", async || (node.gauges().await["poll"] == 1).then_some(())).await;
    // Sockets that do nothing at all do not hold a server up either.
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let silent = Wire::anonymous(&node, Encoding::Json).await;

    within("the end of the server, long before the drain time", node.stop()).await;
    let mut waits = Vec::new();
    for mut wire in wires {
        loop {
            match wire.next().await {
                Seen::Said(said) if said["type"] == "reconnect" => waits.push(said["after_ms"].as_u64().unwrap()),
                Seen::Closed(code, _) => break assert_eq!(code, 4000),
                Seen::Said(said) => assert_ne!(said["type"], "peer-left", "nobody is seen to leave"),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(waits.len(), 20);
    let (min, max) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    // Two dozen connections, ten milliseconds for each.
    assert!(*min >= 250 && *max < 500 && max - min > 50, "no wider than so few need: {waits:?}");
    let last = within("the end of the stream", async {
        loop {
            let block = stream.next().await;
            if block.event == "error" {
                return block;
            }
        }
    })
    .await;
    assert_eq!(last.data["code"], 905);
    assert!(last.retry.is_some_and(|retry| (250..500).contains(&retry)), "{:?}", last.retry);
    assert_eq!(stream.try_next().await, None);
    let answer = held.await.unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!(905)));
    assert!(answer.header("retry-after").is_some());
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody is let in any more");
    assert!(hub.metrics().render().contains("rallypoint_sockets 0"));
    drop((idle, silent, Value::Null));
}

/// However many there are, they find their sessions.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_back_within_the_grace() {
    let node = Node::with(|config| {
        config.limits.drain_ms = 60_000;
        config.limits.resume_grace_ms = 1000;
        config.limits.connections_per_ip = 200;
    })
    .await;
    let mut wires = Vec::new();
    for n in 0..150 {
        wires.push(Wire::connect(&node, &pass(&format!("u{n}")).player("*"), Encoding::MsgPack).await);
    }
    within("the end of the server", node.stop()).await;
    let mut waits = Vec::new();
    for mut wire in wires {
        waits.push(wire.said("reconnect").await["after_ms"].as_u64().unwrap());
    }
    let (min, max) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*min >= 250 && *max < 800 && max - min > 300, "spread over four fifths of the grace: {waits:?}");
}
