//! What operators are told of one room: every frame with its size and what became of it, and nothing that is in it.

use rallypoint_client::{Client, Incoming, Options, tungstenite::Message};
use rallypoint_protocol::{Encoding, moves::Lane};
use serde_json::{Value, json};

use crate::support::{Ask, Node, Pass, Seen, Stream, Wire, pass, room, until, within};

/// Stands in everything that guests say.
const MARKER: &str = "planted-marker";

fn operator() -> Pass {
    pass("operator").admin("trace")
}

fn ask(room: &str) -> Ask {
    Ask::new("GET", &format!("/v1/rooms/{room}/trace")).pass(&operator())
}

/// The same, answered through hyper.
fn by_hyper(room: &str) -> Ask {
    ask(room).header("content-length", "0")
}

/// Joins `match/7`; returns the numbers of the room and of the member.
async fn member(node: &Node, user: &str, encoding: Encoding) -> (Wire, [u32; 2]) {
    let mut wire = Wire::connect(node, &pass(user).host("*"), encoding).await;
    let joined = wire.granted(json!({ "type": "join", "room": "match/7" })).await;
    let handle = |of: &Value| of["handle"].as_u64().and_then(|handle| u32::try_from(handle).ok()).expect("a handle");
    (wire, [handle(&joined), handle(&joined["you"])])
}

/// A latest move as it goes over the wire, MessagePack around this payload.
fn step(room: u32, seq: u32, payload: &[u8]) -> Vec<u8> {
    let long = |number: u32| [&[0xce][..], &number.to_be_bytes()].concat();
    [&[0x95, 1][..], &long(room), &[0], &long(seq), payload].concat()
}

/// Reads until a note of this direction and type, with all of these fields. What came before is kept in `seen`.
async fn noted(stream: &mut Stream, seen: &mut Vec<Value>, way: &str, expected: Value) -> Value {
    loop {
        let block = stream.event().await;
        assert_eq!(block.id, None);
        let mut note = block.data;
        note["way"] = block.event.clone().into();
        seen.push(note.clone());
        let fields = expected.as_object().expect("fields");
        if block.event == way && fields.iter().all(|(name, value)| note[name] == *value) {
            return note;
        }
        assert!(seen.len() < 1000, "{way} {expected} is not among {seen:#?}");
    }
}

async fn tracers(node: &Node, count: i64) {
    until("the tracers", async || (node.gauges().await["trace"] == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_told_without_what_is_in_them() {
    let node = Node::with(|config| config.room.latency_ms = 3_600_000).await;
    for ask in [ask("match%2F7"), by_hyper("match%2F7")] {
        let (mut ada, [place, from]) = member(&node, "ada", Encoding::MsgPack).await;
        let (mut bob, [_, handle]) = member(&node, "bob", Encoding::Json).await;
        let (ada_peer, bob_peer) = (ada.connected["peer"].clone(), bob.connected["peer"].clone());
        let mut stream = Stream::trace(&node, ask).await;
        let shown = &stream.connected["shown"];
        assert_eq!((&stream.connected["room"], &shown["count"]), (&json!("match/7"), &json!(2)));
        let found: Vec<_> = shown["members"].as_array().expect("members").iter().map(|one| &one["user"]).collect();
        assert_eq!(found, ["ada", "bob"]);

        let mut seen = Vec::new();
        let moved = step(place, 7, &[b"\xae", MARKER.as_bytes()].concat());
        for _ in 0..2 {
            ada.send_bytes(&moved).await;
        }
        let size = moved.len();
        let told = json!({ "type": "move", "lane": "latest", "user": "ada", "handle": from, "verdict": "ok" });
        let moved = noted(&mut stream, &mut seen, "in", told).await;
        assert_eq!((&moved["peer"], &moved["size"]), (&ada_peer, &json!(size)));
        assert!(moved.get("queue").is_none() && moved["time"].is_number());
        let told = json!({ "type": "move", "user": "bob", "handle": handle, "from": from, "verdict": "queued" });
        let out = noted(&mut stream, &mut seen, "out", told).await;
        assert_eq!(out["peer"], bob_peer);
        assert!(out["size"].as_u64() > Some(MARKER.len() as u64), "{out}");
        assert_eq!(
            out["queue"],
            json!({ "frames": 1, "bytes": out["size"] }),
            "it alone waits for the end of the turn"
        );
        noted(&mut stream, &mut seen, "in", json!({ "type": "move", "user": "ada", "verdict": "stale" })).await;

        let nobody = "7d4c6f0e-52ce-4b8a-9d47-0f4b39ab5f33";
        let data = json!({ "sdp": MARKER });
        let offer = |to: &Value| json!({ "type": "offer", "room": "match/7", "to": to, "data": data });
        bob.refused(offer(&json!(nobody)), 805).await;
        let told = json!({ "type": "offer", "user": "bob", "verdict": "refused", "code": 805, "name": "peer-unknown" });
        noted(&mut stream, &mut seen, "in", told).await;
        noted(&mut stream, &mut seen, "out", json!({ "type": "error", "user": "bob" })).await;
        bob.granted(offer(&ada_peer)).await;
        noted(&mut stream, &mut seen, "out", json!({ "type": "offer", "user": "ada", "from": handle })).await;
        noted(&mut stream, &mut seen, "in", json!({ "type": "offer", "verdict": "ok" })).await;
        noted(&mut stream, &mut seen, "out", json!({ "type": "ok", "user": "bob" })).await;

        bob.granted(json!({ "type": "message", "room": "match/7", "text": MARKER })).await;
        for user in ["ada", "bob"] {
            noted(&mut stream, &mut seen, "out", json!({ "type": "message", "user": user, "verdict": "queued" })).await;
        }
        noted(&mut stream, &mut seen, "in", json!({ "type": "message", "user": "bob", "verdict": "ok" })).await;
        let score = json!({ "type": "publish", "room": "match/7", "kind": "score", "data": { "is": MARKER } });
        ada.granted(score).await;
        noted(&mut stream, &mut seen, "out", json!({ "type": "event", "kind": "score", "user": "bob" })).await;
        noted(&mut stream, &mut seen, "in", json!({ "type": "publish", "kind": "score", "user": "ada" })).await;
        bob.granted(json!({ "type": "update", "room": "match/7", "state": { "is": MARKER } })).await;
        noted(&mut stream, &mut seen, "out", json!({ "type": "peer-updated", "user": "ada" })).await;

        // What cannot be read, what is not allowed, and what was not joined.
        bob.send_bytes(format!("{{\"type\":\"message\",\"{MARKER}").as_bytes()).await;
        let told = json!({ "type": "unreadable", "user": "bob", "verdict": "refused", "code": 600 });
        noted(&mut stream, &mut seen, "in", told).await;
        let mut eve = Wire::connect(&node, &pass("eve").verbs("*", ["join"]), Encoding::Json).await;
        eve.granted(json!({ "type": "join", "room": "match/7" })).await;
        noted(&mut stream, &mut seen, "state", json!({ "type": "joined", "user": "eve" })).await;
        noted(&mut stream, &mut seen, "out", json!({ "type": "joined", "user": "eve" })).await;
        eve.say(json!({ "type": "move", "room": "match/7", "data": MARKER })).await;
        let told = json!({ "type": "move", "user": "eve", "verdict": "refused", "code": 705, "name": "forbidden" });
        noted(&mut stream, &mut seen, "in", told).await;
        eve.cut();
        noted(&mut stream, &mut seen, "state", json!({ "type": "lost", "user": "eve", "reason": "lost" })).await;
        bob.say(json!({ "type": "move", "room": "match/7", "data": MARKER, "reliable": true })).await;
        let told = json!({ "type": "move", "lane": "reliable", "user": "eve", "verdict": "kept" });
        let kept = noted(&mut stream, &mut seen, "out", told).await;
        assert_eq!(kept["queue"], json!({ "frames": 0, "bytes": 0 }));
        bob.granted(json!({ "type": "leave", "room": "match/7" })).await;
        noted(&mut stream, &mut seen, "state", json!({ "type": "left", "user": "bob", "reason": "left" })).await;

        let all = json!(seen).to_string();
        for secret in [MARKER, "sdp", "eyJ"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
        let known = [
            "time", "peer", "handle", "user", "type", "lane", "kind", "from", "size", "count", "verdict", "code",
            "name", "limit", "queue", "reason", "way",
        ];
        for note in &seen {
            let names = note.as_object().expect("a map").keys();
            assert!(names.clone().all(|name| known.contains(&name.as_str())), "{note}");
        }
        node.delete("/v1/users/eve/sessions", &pass("x").admin("kick")).await.expect(200);
        drop(stream);
        bob.bye().await;
        ada.bye().await;
        node.emptied().await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haste_is_told_with_its_limit() {
    let node = Node::with(|config| {
        (config.limits.requests_per_second, config.limits.requests_burst) = (0.1, 3.0);
        (config.limits.moves_per_second, config.limits.moves_burst) = (0.1, 1.0);
    })
    .await;
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let (mut ada, [place, _]) = member(&node, "ada", encoding).await;
        let mut stream = Stream::trace(&node, ask("match%2F7")).await;
        let mut seen = Vec::new();
        for seq in 1..=2 {
            match encoding {
                Encoding::Json => ada.say(json!({ "type": "move", "room": "match/7", "data": 1 })).await,
                Encoding::MsgPack => ada.send_bytes(&step(place, seq, &[1])).await,
            }
        }
        for verdict in [json!("ok"), json!("refused")] {
            let note = noted(&mut stream, &mut seen, "in", json!({ "type": "move", "verdict": verdict })).await;
            if verdict == "refused" {
                assert_eq!((&note["code"], &note["name"]), (&json!(900), &json!("rate-limited")));
                assert_eq!(note["limit"], "moves_per_second");
            }
        }
        let hello = json!({ "type": "message", "room": "match/7", "text": "hi" });
        ada.granted(hello.clone()).await;
        ada.granted(hello.clone()).await;
        ada.refused(hello, 900).await;
        let told = json!({ "type": "message", "verdict": "refused", "code": 900, "limit": "requests_per_second" });
        noted(&mut stream, &mut seen, "in", told).await;
        ada.bye().await;
    }
    node.stop().await;
}

/// A server on which nobody is ever too fast.
async fn fast_node(queue: usize) -> Node {
    Node::with(|config| {
        config.limits.moves_per_second = 100_000.0;
        config.limits.moves_burst = 1_000_000.0;
        config.limits.bytes_per_second = 1e9;
        config.limits.resume_grace_ms = 0;
        config.limits.trace_queue = queue;
    })
    .await
}

/// Bytes of a move that takes much room.
const HEAVY: usize = 4000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_slow_reader_is_seen_to_rise_until_it_is_let_go() {
    let node = fast_node(65_536).await;
    let place = room("match/7");
    let connect = async |user: &str| {
        let options = node.options(&pass(user).player("*"), Encoding::MsgPack);
        let narrow = Options { receive_buffer: Some(8192), queue: 1, ..options };
        Client::connect(narrow).await.expect("the token opens the door")
    };
    let ((sender, _own), (sleeper, mut events)) = (connect("sender").await, connect("sleeper").await);
    for client in [&sender, &sleeper] {
        client.join(&place, None).await.expect("the room is open");
    }
    let only = sleeper.peer();
    let trace = format!("/v1/rooms/match%2F7/trace?peer={only}");
    let mut stream = Stream::trace(&node, Ask::new("GET", &trace).pass(&operator())).await;
    sleeper.pause_reading();
    let heavy = "x".repeat(HEAVY);
    let mut waiting = Vec::new();
    within("the sleeper to be over its budget", async {
        loop {
            sender.send_move(&place, 0, None, &heavy, Lane::Reliable, None).await.expect("the room is open");
            let block = stream.event().await;
            assert_eq!((block.event.as_str(), &block.data["peer"]), ("out", &json!(only)), "what it sends and gets");
            assert!(block.data["size"].as_u64() > Some(HEAVY as u64));
            waiting.push((block.data["queue"].clone(), block.data["verdict"].clone()));
            if block.data["verdict"] != "queued" {
                break;
            }
        }
    })
    .await;
    // The one that is too much is dropped with all that waits; what is told last is the close frame.
    let (_, verdict) = waiting.pop().expect("there is a last one");
    assert_eq!(verdict, "over-budget");
    let number = |queue: &Value, name: &str| queue[name].as_f64().unwrap_or_default();
    let (most, _) = waiting.last().expect("there were more");
    let budget = node.hub.limits().outbound_budget as f64;
    assert!(number(most, "bytes") > budget && number(most, "bytes") < budget + 2.0 * HEAVY as f64, "{most}");
    assert!(number(most, "frames") >= budget / HEAVY as f64 - 2.0 && number(most, "blocked_ms") > 0.0, "{most}");
    let rising: Vec<_> = waiting.iter().skip_while(|(queue, _)| queue.get("blocked_ms").is_none()).collect();
    assert!(
        rising.len() > 20 && rising.is_sorted_by(|a, b| number(&a.0, "bytes") < number(&b.0, "bytes")),
        "{rising:?}"
    );
    sleeper.resume_reading();
    let code = within("the close", async {
        loop {
            match events.recv().await {
                Some(Incoming::Closed { code, .. }) => return code,
                Some(_) => {}
                None => panic!("the close comes last"),
            }
        }
    });
    assert_eq!(code.await, Some(4002));
    let mut seen = Vec::new();
    noted(&mut stream, &mut seen, "state", json!({ "type": "left", "reason": "slow", "user": "sleeper" })).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracer_that_falls_behind_is_told_how_much_it_missed_and_nobody_waits_for_it() {
    const MOVES: u32 = 3000;
    let node = fast_node(16).await;
    let (mut ada, [place, _]) = member(&node, "ada", Encoding::MsgPack).await;
    let (mut bob, _) = member(&node, "bob", Encoding::MsgPack).await;
    let mut stream = Stream::trace(&node, ask("match%2F7")).await;
    let frames = (1..=MOVES).map(move |seq| Message::binary(step(place, seq, &[1])));
    let sending = tokio::spawn(async move {
        ada.send_together(frames).await;
        ada
    });
    // Latest moves: the last one arrives, whatever became of those before it.
    let last = u16::try_from(MOVES).expect("it is no larger").to_be_bytes();
    while !matches!(bob.next().await, Seen::Moved(bytes) if bytes.windows(2).any(|at| at == last)) {}
    let ada = sending.await.expect("all are sent");
    let (mut told, mut skipped) = (0, 0);
    within("an account of every frame", async {
        while told + skipped < 2 * u64::from(MOVES) {
            let block = stream.event().await;
            match block.event.as_str() {
                "skipped" => skipped += block.data["count"].as_u64().expect("a count"),
                "in" | "out" => told += 1,
                other => panic!("{other}"),
            }
        }
    })
    .await;
    assert!(skipped > 0 && told >= 16, "{told} told, {skipped} skipped");
    drop(stream);
    ada.bye().await;
    bob.bye().await;
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_only_so_many_and_each_has_one_of_its_users_places() {
    let node = Node::with(|config| {
        config.limits.traces = 3;
        config.limits.traces_per_room = 2;
    })
    .await;
    node.send(ask("match%2F7")).await.refused(802);
    let (mut ada, _) = member(&node, "ada", Encoding::Json).await;
    ada.granted(json!({ "type": "join", "room": "lobby" })).await;
    for by in [ask, by_hyper] {
        let streams = [Stream::trace(&node, by("match%2F7")).await, Stream::trace(&node, by("match%2F7")).await];
        let refused = node.send(by("match%2F7")).await.refused(903);
        assert!(refused["detail"].as_str().is_some_and(|text| text.contains("limits.traces_per_room")), "{refused}");
        let third = Stream::trace(&node, by("lobby")).await;
        let refused = node.send(by("lobby")).await.refused(903);
        assert!(refused["detail"].as_str().is_some_and(|text| text.ends_with("limits.traces")), "{refused}");
        tracers(&node, 3).await;
        drop((streams, third));
        tracers(&node, 0).await;
    }
    assert_eq!(node.metrics().await["limited_total{limit=\"traces_per_room\"}"], 2.0);
    node.send(ask("lobby/x")).await.refused(800);
    node.send(Ask::new("GET", "/v1/rooms/lobby/trace").pass(&pass("ada").host("*").admin("status"))).await.refused(705);
    node.send(ask("user%2Fada")).await.refused(706);
    node.send(Ask::new("GET", "/v1/rooms/lobby/trace?peer=x").pass(&operator())).await.refused(602);
    ada.bye().await;
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_ends_with_its_room_its_token_its_user_and_the_server() {
    let node = Node::with(|config| {
        config.limits.expiry_grace_ms = 0;
        config.auth.leeway_ms = 0;
        config.limits.sse_heartbeat_ms = 1000;
    })
    .await;
    let (ada, _) = member(&node, "ada", Encoding::Json).await;
    let mut streams = [Stream::trace(&node, ask("match%2F7")).await, Stream::trace(&node, by_hyper("match%2F7")).await];
    assert_eq!(streams[0].next().await.event, "heartbeat");
    ada.bye().await;
    for stream in &mut streams {
        assert_eq!(stream.end().await, json!({ "code": 802, "name": "room-unknown", "message": "room-unknown" }));
    }
    let (_ada, _) = member(&node, "ada", Encoding::Json).await;
    let short = Ask::new("GET", "/v1/rooms/match%2F7/trace").pass(&operator().expires_in(2.0));
    assert_eq!(Stream::trace(&node, short).await.end().await["code"], 702);
    let mut kicked = Stream::trace(&node, ask("match%2F7")).await;
    node.delete("/v1/users/operator/sessions", &pass("x").admin("kick")).await.expect(200);
    assert_eq!(kicked.end().await["code"], 705);
    let mut streams = [Stream::trace(&node, ask("match%2F7")).await, Stream::trace(&node, by_hyper("match%2F7")).await];
    node.stop().await;
    for stream in &mut streams {
        assert_eq!(stream.end().await["code"], 905);
    }
}
