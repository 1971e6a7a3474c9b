//! A server that has no memory left: new guests are told to come again, those who are there stay, and so it ends.
//! `make overload` has crowds come to every ceiling.

use rallypoint_protocol::Encoding;
use serde_json::json;

use crate::support::{Ask, Knock, Node, ORIGIN, Seen, Wire, pass, until, within};

const MIB: usize = 1 << 20;

/// Resident bytes of this process, which is the server's.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("and it tells its size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn new_guests_are_refused_and_the_old_stay() {
    let memory = resident() + 512 * MIB;
    let node = Node::with(|config| config.limits.memory = memory).await;
    let ada = pass("ada").player("*").host("*");
    let mut here = Wire::connect(&node, &ada, Encoding::Json).await;
    here.granted(json!({ "type": "join", "room": "lobby" })).await;
    let mut lost = Wire::connect(&node, &pass("bob").player("*"), Encoding::Json).await;
    lost.granted(json!({ "type": "join", "room": "lobby" })).await;
    let poll = node.get("/v1/poll?room=lobby", &ada).await.expect(200);
    let is_shedding = async |is: bool| {
        let shedding = || async {
            let shedding = node.metrics().await["shedding{limit=\"memory\"}"];
            (shedding == f64::from(u8::from(is))).then_some(())
        };
        until("the server to notice", shedding).await;
    };

    let ballast = std::hint::black_box(vec![1_u8; 1024 * MIB]);
    is_shedding(true).await;
    // A program and a page, streams and polls: each is told, and when to come again.
    let mut wire = Wire::anonymous(&node, Encoding::Json).await;
    wire.say(json!({ "type": "auth", "token": ada.mint() })).await;
    let error = wire.said("error").await;
    assert_eq!(error["code"], 904, "{error}");
    assert!((1000..5000).contains(&error["retry_after"].as_u64().expect("a time")), "{error}");
    assert!(matches!(wire.next().await, Seen::Closed(4300, _)));
    let page = Ask::new("GET", "/v1/ws").header("origin", ORIGIN);
    let page = page.upgrade(&format!("{}, bearer.{}", Encoding::Json.subprotocol(), ada.mint()));
    let knock = page.knock(Encoding::Json, &json!({ "type": "ping" }), node.address).await;
    assert!(matches!(knock, Knock::Closed { error: Some(904), close: 4300 }), "{knock:?}");
    for path in ["/v1/events?room=lobby", "/v1/poll?room=lobby&wait=0", "/v1/events?room=lobby&after=0"] {
        let answer = node.send(Ask::new("GET", path).pass(&ada)).await;
        assert!(answer.header("retry-after").is_some_and(|after| (1..=5).contains(&after.parse().unwrap())), "{path}");
        answer.refused(904);
    }
    // Who was here is here, who was lost comes back, and a poll goes on.
    here.granted(json!({ "type": "leave", "room": "lobby" })).await;
    here.granted(json!({ "type": "join", "room": "lobby" })).await;
    let memory = json!({
        "token": lost.connected["resume"], "received": 0, "positions": {},
    });
    lost.cut();
    let lost = within("the lost", Wire::resumed(&node, Encoding::Json, memory, 10)).await;
    assert_eq!(lost.connected["resumed"], true);
    let after = poll["cursor"].as_str().expect("a cursor");
    node.get(&format!("/v1/poll?room=lobby&wait=0&after={after}"), &ada).await.expect(200);
    // What would take more memory, and can wait, has to.
    let refused = here.ask(json!({ "type": "message", "room": "lobby", "text": "hello" })).await;
    assert_eq!(refused["code"], 904, "{refused}");
    assert!(refused["retry_after"].is_u64(), "{refused}");
    node.post("/v1/rooms/lobby/events", &ada, &json!({ "kind": "score", "data": 1 })).await.refused(904);

    drop(ballast);
    is_shedding(false).await;
    here.granted(json!({ "type": "message", "room": "lobby", "text": "hello" })).await;
    Wire::connect(&node, &ada, Encoding::Json).await.bye().await;
    assert!(node.metrics().await["limited_total{limit=\"memory\"}"] >= 7.0);
    node.stop().await;
}
