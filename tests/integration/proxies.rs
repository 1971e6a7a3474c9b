//! Behind a proxy each guest counts for its own address, and nobody for another's.

use rallypoint_client::{Credential, Options};
use rallypoint_protocol::Encoding;
use serde_json::json;

use crate::support::{Ask, Node, Stream, Wire, pass, until};

/// A server that trusts a proxy on this machine.
async fn behind(change: impl FnOnce(&mut rallypoint::config::Config)) -> Node {
    Node::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".to_owned()];
        change(config);
    })
    .await
}

/// As the proxy passes it on: the address that it saw stands last.
fn of(address: &str, ask: Ask) -> Ask {
    ask.header("x-forwarded-for", address)
}

fn probe(address: &str) -> Ask {
    of(address, Ask::new("GET", "/healthz"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_guest_has_a_pace_of_its_own() {
    let slow = |config: &mut rallypoint::config::Config| {
        config.limits.requests_per_second_per_ip = 0.01;
        config.limits.requests_burst_per_ip = 2.0;
    };
    let node = behind(slow).await;
    for address in ["203.0.113.7", "203.0.113.8", "2001:db8::7"] {
        for _ in 0..2 {
            assert_eq!(node.send(probe(address)).await.status, 200, "{address}");
        }
        node.send(probe(address)).await.refused(900);
    }
    // Whatever a guest writes before the address that the proxy saw is of no use to it.
    assert_eq!(node.send(probe("198.51.100.1, 203.0.113.7")).await.status, 429);
    assert_eq!(node.send(probe("203.0.113.7").header("forwarded", "for=198.51.100.2")).await.status, 429);
    node.stop().await;

    // And to a server that trusts nobody, the header says nothing at all.
    let node = Node::with(slow).await;
    for n in 0..2 {
        assert_eq!(node.send(probe(&format!("203.0.113.{n}"))).await.status, 200);
    }
    assert_eq!(node.send(probe("203.0.113.9")).await.status, 429);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_guest_has_so_many_connections_whatever_they_are() {
    let node = behind(|config| config.limits.connections_per_ip = 2).await;
    let spectator = pass("eve").spectator("*");
    let events = |address: &str| of(address, Ask::new("GET", "/v1/events?room=lobby").pass(&spectator));
    let first = Stream::begin(&node, events("203.0.113.7")).await;
    let headers = vec![("x-forwarded-for".to_owned(), "203.0.113.7".to_owned())];
    let options = Options { credential: Credential::None, headers, ..node.options_with("", Encoding::Json) };
    let wire = Wire::open(&options).await;
    for ask in [events("203.0.113.7"), of("203.0.113.7", Ask::new("GET", "/v1/poll?room=lobby").pass(&spectator))] {
        let refused = node.send(ask).await;
        assert!(refused.refused(903)["detail"].as_str().unwrap().contains("connections_per_ip"));
        assert!(refused.header("retry-after").is_some());
    }
    let other = Stream::begin(&node, events("203.0.113.8")).await;
    drop(first);
    until("the place to be free again", async || (node.send(probe("203.0.113.7")).await.status == 200).then_some(()))
        .await;
    drop((wire, other));
    until("all places to be free again", async || (node.hub.metrics().sockets.get() == 0).then_some(())).await;
    let poll = of("203.0.113.7", Ask::new("GET", "/v1/poll?room=lobby").pass(&spectator));
    assert_eq!(node.send(poll).await.expect(200)["events"], json!([]));
}
