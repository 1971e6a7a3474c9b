//! The state of the node, as operators follow it.

use std::collections::BTreeMap;

use rallypoint_protocol::Encoding;
use serde_json::{Value, json};

use crate::support::{Ask, Node, Pass, Stream, Wire, pass, until, within};

const NAMES: [&str; 7] = ["cpu", "memory", "disk", "connections", "rooms", "traffic", "latency"];

fn operator() -> Pass {
    pass("operator").admin("status")
}

fn ask() -> Ask {
    Ask::new("GET", "/v1/status").pass(&operator())
}

/// The same, answered through hyper.
fn by_hyper() -> Ask {
    ask().header("content-length", "0")
}

/// One event of each name, in order, all of one time.
async fn sample(stream: &mut Stream) -> BTreeMap<&'static str, Value> {
    let mut told = BTreeMap::new();
    for name in NAMES {
        let block = stream.next().await;
        assert_eq!((block.event.as_str(), &block.id), (name, &None));
        told.insert(name, block.data);
    }
    let time = &told["cpu"]["time"];
    assert!(time.is_number() && told.values().all(|data| data["time"] == *time), "{told:?}");
    told
}

/// When the next sample was measured.
async fn time(stream: &mut Stream) -> f64 {
    sample(stream).await["cpu"]["time"].as_f64().expect("a time")
}

async fn readers(node: &Node, count: i64) {
    until("the readers", async || (node.gauges().await["status"] == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_told_of_node_and_machine() {
    let node = Node::with(|config| config.limits.ping_interval_ms = 1000).await;
    let mut bob = Wire::connect(&node, &pass("bob").host("*"), Encoding::Json).await;
    bob.granted(json!({ "type": "join", "room": "lobby" })).await;
    for ask in [ask(), by_hyper()] {
        let mut stream = Stream::status(&node, ask).await;
        let told = sample(&mut stream).await;
        let number =
            |name: &str, field: &str| told[name][field].as_f64().unwrap_or_else(|| panic!("{name}.{field}: {told:?}"));
        assert!(number("cpu", "cores") >= 1.0 && (0.0..=1.0).contains(&number("cpu", "usage")));
        assert!(number("cpu", "process") >= 0.0 && told["cpu"]["load"].as_array().is_some_and(|load| load.len() == 3));
        assert!(number("memory", "total") >= number("memory", "used") && number("memory", "process") > 1e6);
        assert!(number("disk", "total") >= number("disk", "used") && number("disk", "used") > 0.0);
        assert!(number("disk", "read") >= 0.0 && number("disk", "written") >= 0.0);
        let open = json!({
            "time": told["cpu"]["time"], "websocket": 1, "events": 0, "poll": 0, "status": 1, "sessions": 1, "lost": 0,
            "most": node.hub.metrics().connections_max.get(),
        });
        assert_eq!(told["connections"], open);
        assert!(number("connections", "most") > 0.0);
        assert_eq!(
            (number("rooms", "rooms"), number("rooms", "members"), number("rooms", "spectators")),
            (1.0, 1.0, 0.0)
        );
        assert!(number("rooms", "log_bytes") > 0.0);
        assert!(number("latency", "lag") >= 0.0);
        until("everything that bob does", async || {
            bob.granted(json!({ "type": "message", "room": "lobby", "text": "hi" })).await;
            bob.say(json!({ "type": "move", "room": "lobby", "data": 1 })).await;
            let told = sample(&mut stream).await;
            let (traffic, rtt) = (&told["traffic"], &told["latency"]["rtt"]);
            assert_eq!(traffic["signals"], 0.0);
            let rates = [&traffic["received"], &traffic["sent"]].map(|way| [&way["frames"], &way["bytes"]]).concat();
            let mut rates = rates.into_iter().chain([&traffic["moves"], &traffic["events"]]);
            if rtt["count"] == 0 {
                assert_eq!(*rtt, json!({ "count": 0 }));
                return None;
            }
            let ms = |name: &str| rtt[name].as_f64().expect("a duration");
            assert!(0.0 < ms("p50") && ms("p50") <= ms("p95") && ms("p95") <= ms("max"), "{rtt}");
            rates.all(|rate| rate.as_f64().expect("a rate") > 0.0).then_some(())
        })
        .await;
    }
    bob.bye().await;
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_are_told_the_same_until_nobody_reads() {
    let node = Node::start().await;
    let mut first = Stream::status(&node, ask()).await;
    let mut told = vec![time(&mut first).await];
    let mut second = Stream::status(&node, by_hyper()).await;
    let also = [time(&mut second).await, time(&mut second).await, time(&mut second).await];
    assert!(told[0] <= also[0] && also.is_sorted_by(|a, b| a < b), "{told:?} {also:?}");
    while told.last() < also.last() {
        told.push(time(&mut first).await);
    }
    // What was measured for each would have times of its own.
    assert!(also.iter().all(|time| told.contains(time)), "{told:?} {also:?}");
    drop((first, second));
    readers(&node, 0).await;
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_has_one_of_the_users_places_and_hears_no_notifications() {
    let node = Node::with(|config| config.limits.connections_per_user = 2).await;
    for ask in [ask(), by_hyper()] {
        let mut streams = [Stream::status(&node, ask.clone()).await, Stream::status(&node, ask.clone()).await];
        node.send(ask.clone()).await.refused(903);
        let hello = json!({ "message": "hi" });
        let sent = node.post("/v1/users/operator/notifications", &pass("bob").notify("*"), &hello).await.expect(200);
        assert_eq!(sent["sent"], 0);
        let closed = node.delete("/v1/users/operator/sessions", &pass("bob").admin("kick")).await.expect(200);
        assert_eq!(closed["closed"], 2);
        for stream in &mut streams {
            assert_eq!(stream.end().await["code"], 705);
        }
        readers(&node, 0).await;
    }
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_with_the_server() {
    let node = Node::with(|config| {
        config.limits.expiry_grace_ms = 0;
        config.auth.leeway_ms = 0;
        config.limits.drain_ms = 60_000;
    })
    .await;
    let mut short = Stream::status(&node, Ask::new("GET", "/v1/status").pass(&operator().expires_in(2.0))).await;
    assert_eq!(short.end().await["code"], 702);
    let mut streams = [Stream::status(&node, ask()).await, Stream::status(&node, by_hyper()).await];
    within("the end of the server, long before the drain time", node.stop()).await;
    for stream in &mut streams {
        assert_eq!(stream.end().await["code"], 905);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_development_nobody_is_asked_for_a_token() {
    let node = Node::with(|config| {
        (config.dev, config.auth.dev) = (true, true);
        config.limits.connections_per_user = 2;
    })
    .await;
    let open = || Ask::new("GET", "/v1/status");
    let mut streams = [Stream::status(&node, open()).await, Stream::status(&node, open()).await];
    sample(&mut streams[0]).await;
    // There are no more places for those without a name than for anybody else.
    node.send(open()).await.refused(903);
    drop(streams);
    readers(&node, 0).await;
    node.stop().await;
}
