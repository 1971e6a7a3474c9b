//! One room, every kind of guest: what they are told is the same, whatever it came through.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use rallypoint_client::{Client, Events, Incoming, Move};
use rallypoint_protocol::{
    Encoding, Kind, Payload, PeerId, Position, RoomName, ServerMessage, moves::Lane, request::SignalKind,
    server::Joined,
};
use serde_json::{Value, json};

use crate::support::{Node, Poller, Stream, as_feed_object, messages_until, pass, pick, position, room};

/// A member and what it has been told so far.
struct Member {
    client: Client,
    inbox: Events,
    joined: Joined,
}

impl Member {
    async fn join(node: &Node, user: &str, encoding: Encoding, arena: &RoomName) -> Self {
        let pass = pass(user).name(&user.to_uppercase()).info(json!({ "level": 7, "of": user })).host("*");
        let (client, inbox) = node.connect(&pass, encoding).await;
        let joined = client.join(arena, None).await.expect("joins");
        Self { client, inbox, joined }
    }

    fn handle(&self) -> u32 {
        self.joined.you.handle.expect("a member has a handle")
    }

    fn peer(&self) -> PeerId {
        self.client.peer()
    }

    /// The next move that arrives.
    async fn moved(&mut self) -> Move {
        let what = format!("a move to {}", self.joined.you.user);
        pick(&what, &mut self.inbox, |incoming| match incoming {
            Incoming::Move(step) => Some(step),
            _ => None,
        })
        .await
    }

    /// The next message of one sort.
    async fn told<T>(&mut self, what: &str, mut sort: impl FnMut(ServerMessage) -> Option<T>) -> T {
        pick(what, &mut self.inbox, |incoming| match incoming {
            Incoming::Message(message) => sort(message),
            _ => None,
        })
        .await
    }
}

/// Two JSON and two MessagePack members, in the order in which they joined.
async fn four(node: &Node, arena: &RoomName) -> [Member; 4] {
    [
        Member::join(node, "ada", Encoding::Json, arena).await,
        Member::join(node, "bob", Encoding::MsgPack, arena).await,
        Member::join(node, "cleo", Encoding::Json, arena).await,
        Member::join(node, "dan", Encoding::MsgPack, arena).await,
    ]
}

/// Checks positions against the bytes of the events: the text of a feed's object without room and position.
fn check_tags(start: Position, texts: &[String]) -> Position {
    texts.iter().fold(start, |before, text| {
        let object: Value = serde_json::from_str(text).expect("JSON");
        let head = format!("{{\"room\":{},\"position\":{},", object["room"], object["position"]);
        let bytes = text.strip_prefix(&head).unwrap_or_else(|| panic!("room and position come first: {text}"));
        let after = before.next(format!("{{{bytes}").as_bytes());
        assert_eq!(position(&object["position"]), after, "{text}");
        after
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_the_same_events_in_the_same_order() {
    let node = Node::start().await;
    let arena = room("arena/1");
    let guest = pass("guest").spectator("*");
    let mut stream = Stream::open(&node, &guest, "room=arena%2F1").await;
    let mut poller = Poller::new(&guest, "room=arena%2F1");
    poller.poll(&node, 0).await;
    let start = position(&stream.connected["rooms"][0]["position"]);
    assert_eq!((start.seq, start.tag.to_string().as_str()), (0, "00000000"));

    let [mut ada, mut bob, cleo, mut dan] = four(&node, &arena).await;
    // Everything that text and data can be.
    let kind = |name: &str| Kind::new(name).expect("a good kind");
    let mut positions = Vec::new();
    let data = [
        json!(null),
        json!({ "nested": { "list": [1, [2, [3, { "deep": true }]]], "empty": [[], {}] } }),
        json!({ "ä": "€ 😀 \u{0}\u{2028}\u{2029}", "": "line\nbreak\r\n\ttab \\ \" / </script>" }),
        json!([9_007_199_254_740_991_u64, -9_007_199_254_740_991_i64, 0.5, -1e-7, 1e300]),
        json!("data: x\n\nevent: forged\ndata: {}\n\n"),
        json!({ "$bin": "AAEC", "$ext": [1, "AA=="] }),
    ];
    for (number, data) in data.iter().enumerate() {
        let author = [&ada, &bob, &cleo, &dan][number % 4];
        let position = author.client.publish(&arena, &kind("test.value"), data).await.expect("publishes");
        positions.push(position);
    }
    for (author, text) in
        [(&ada, "grüße\n\nevent: forged\n"), (&bob, "\u{feff}x\r\ry"), (&cleo, "\u{1f469}\u{200d}\u{1f680}")]
    {
        positions.push(author.client.say(&arena, text).await.expect("says"));
    }
    // What a back end publishes has an author without a peer.
    let referee = pass("referee").name("The referee").verbs("arena/*", ["publish", "chat"]);
    let events = "/v1/rooms/arena%2F1/events";
    let posted = json!({ "kind": "whistle", "data": { "at": [1, 2, 3], "why": "üøß" } });
    positions.push(position(&node.post(events, &referee, &posted).await.expect(201)["position"]));
    let said = json!({ "kind": "message", "data": { "text": "play on\n" } });
    positions.push(position(&node.post(events, &referee, &said).await.expect(201)["position"]));
    // One leaves, one says goodbye.
    dan.client.leave(&arena).await.expect("leaves");
    cleo.client.close().await.expect("closes");
    bob.told("cleo's leaving", |message| match message {
        ServerMessage::PeerLeft(left) if left.peer.user.as_str() == "cleo" => Some(()),
        _ => None,
    })
    .await;
    // bob has thrown the events away; from here on he is a writer only.
    let end = bob.client.say(&arena, "the end").await.expect("says");

    let mut blocks = Vec::new();
    loop {
        let block = stream.event().await;
        blocks.push(block.text);
        if block.data["position"] == end.to_string() {
            break;
        }
    }
    let streamed: Vec<Value> = blocks.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    assert_eq!(check_tags(start, &blocks), end);
    assert_eq!(streamed.len(), 4 + positions.len() + 3);
    for (position, event) in positions.iter().zip(&streamed[4..]) {
        assert_eq!(event["position"], position.to_string(), "`ok` says where the event stands");
    }
    for (data, event) in data.iter().zip(&streamed[4..]) {
        assert_eq!((&event["data"], &event["kind"]), (data, &json!("test.value")));
    }
    assert_eq!(poller.read_to(&node, &end.to_string()).await, streamed);

    // A member sees what comes after its joining, and a watcher who comes late sees all, in either encoding.
    let is_end = |message: &ServerMessage| matches!(message, ServerMessage::Message(chat) if chat.position == end);
    let of = |messages: Vec<ServerMessage>| messages.iter().filter_map(as_feed_object).collect::<Vec<_>>();
    assert_eq!(of(messages_until("the end", &mut ada.inbox, is_end).await), streamed[1..]);
    let is_leaving = |message: &ServerMessage| matches!(message, ServerMessage::Message(chat) if Some(&chat.position) == positions.last());
    let until_left = of(messages_until("the last word", &mut dan.inbox, is_leaving).await);
    assert_eq!(until_left, streamed[4..4 + positions.len()]);
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let (late, _inbox) = node.connect(&guest, encoding).await;
        let watching = late.watch(&arena, Some(start), None).await.expect("watches");
        let missed = watching.missed.expect("all of it is kept");
        assert_eq!(of(rallypoint_client::missed_events(&missed).expect("readable")), streamed);
        assert_eq!((watching.position, watching.count), (end, 2));
        late.close().await.expect("closes");
    }
    // The peers as the events tell them are the peers that `joined` lists.
    let told: BTreeSet<_> = streamed[..4].iter().map(|event| event["data"]["peer"]["user"].to_string()).collect();
    assert_eq!(told, ["\"ada\"", "\"bob\"", "\"cleo\"", "\"dan\""].map(str::to_owned).into());
    assert_eq!(
        streamed[1]["data"]["peer"],
        json!({
            "peer": bob.peer(), "user": "bob", "name": "BOB", "info": { "level": 7, "of": "bob" },
        })
    );
    for client in [ada.client, bob.client, dan.client] {
        client.close().await.expect("closes");
    }
    drop(stream);
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_knows_the_same_members() {
    let node = Node::start().await;
    let arena = room("arena/1");
    let mut members = four(&node, &arena).await;
    for (at, member) in members.iter().enumerate() {
        let joined = &member.joined;
        assert_eq!(joined.count, at + 1);
        assert_eq!(joined.members.len(), at, "the earlier ones are in `joined`");
        assert_eq!(joined.you.order, Some(joined.position.seq));
        assert_eq!((joined.you.polite, joined.you.offers), (Some(false), Some(false)));
        for entry in &joined.members {
            // Whoever came later offers, and is polite.
            assert_eq!((entry.polite, entry.offers), (Some(true), Some(true)));
        }
    }
    let expected: Vec<_> = members.iter().map(|member| (member.peer(), member.handle())).collect();
    for (at, member) in members.iter_mut().enumerate() {
        for (peer, handle) in &expected[at + 1..] {
            let joined = member
                .told("a newcomer", |message| match message {
                    ServerMessage::PeerJoined(joined) => Some(joined),
                    _ => None,
                })
                .await;
            assert_eq!((joined.peer.peer, joined.peer.handle), (*peer, Some(*handle)));
            assert_eq!((joined.peer.polite, joined.peer.offers), (Some(false), Some(false)));
            assert_eq!(joined.peer.order, Some(joined.position.seq));
        }
    }
    // The public state, in both directions.
    let states =
        [json!({ "muted": true, "n": 1.5 }), json!({ "ä": [1, null, "x\ny"] }), json!({}), json!({ "ready": false })];
    for (at, state) in states.iter().enumerate() {
        members[at].client.update(&arena, state).await.expect("updates");
        for other in (0..4).filter(|&other| other != at) {
            let updated = members[other]
                .told("an update", |message| match message {
                    ServerMessage::PeerUpdated(updated) => Some(updated),
                    _ => None,
                })
                .await;
            let told: Value = serde_json::from_str(updated.state.get()).expect("JSON");
            assert_eq!((updated.peer, &told), (expected[at].0, state));
        }
    }
    // The roster: all entries, by peer id, as everybody sees them.
    let mut sorted = expected.clone();
    sorted.sort_unstable();
    for member in &members {
        let roster = member.client.members(&arena, None, 100).await.expect("reads the roster");
        assert_eq!((roster.count, roster.next), (4, None));
        let listed: Vec<_> = roster.members.iter().map(|entry| (entry.peer, entry.handle.expect("a handle"))).collect();
        assert_eq!(listed, sorted);
        for entry in &roster.members {
            let at = expected.iter().position(|(peer, _)| *peer == entry.peer).expect("known");
            let state: Value = serde_json::from_str(entry.state.as_ref().expect("a state").get()).expect("JSON");
            assert_eq!(state, states[at]);
        }
        let page = member.client.members(&arena, None, 3).await.expect("reads a page");
        let rest = member.client.members(&arena, page.next, 3).await.expect("reads the rest");
        assert_eq!((page.members.len(), rest.members.len(), rest.next), (3, 1, None));
        let asked = member.client.members_with(&arena, vec![expected[2].1, 4_000_000]).await.expect("reads one");
        assert_eq!(asked.members.iter().map(|entry| entry.peer).collect::<Vec<_>>(), [expected[2].0]);
    }
    // Over HTTP the same without what belongs to a socket.
    let listed = node.get("/v1/rooms/arena%2F1/members", &pass("x").verbs("*", ["presence"])).await.expect(200);
    assert_eq!(listed["count"], 4);
    for (entry, (peer, _)) in listed["members"].as_array().expect("a list").iter().zip(&sorted) {
        assert_eq!(entry["peer"], peer.to_string());
        for own in ["handle", "polite", "offers"] {
            assert_eq!(entry.get(own), None);
        }
    }
    for member in members {
        member.client.close().await.expect("closes");
    }
    node.emptied().await;
    node.stop().await;
}

/// A payload in MessagePack, the JSON that JSON members get for it.
fn payloads() -> Vec<(&'static str, Vec<u8>, Value)> {
    let bin = |bytes: &[u8]| json!({ "$bin": STANDARD.encode(bytes) });
    vec![
        ("a map", vec![0x82, 0xa1, b'x', 12, 0xa1, b'y', 0xfd], json!({ "x": 12, "y": -3 })),
        ("nil", vec![0xc0], json!(null)),
        ("bin", vec![0xc4, 3, 0, 1, 0xff], bin(&[0, 1, 0xff])),
        ("ext", vec![0xd5, 7, 1, 2], json!({ "$ext": [7, STANDARD.encode([1, 2])] })),
        ("a timestamp", vec![0xd6, 0xff, 0x6b, 0x02, 0x30, 0x80], json!("2026-11-22T00:00:00Z")),
        ("a large integer", vec![0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], json!("18446744073709551615")),
        (
            "an integer that fits",
            vec![0xcf, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            json!(9_007_199_254_740_991_u64),
        ),
        ("not a number", vec![0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], json!(null)),
        ("a float 32", vec![0xca, 0x3f, 0, 0, 0], json!(0.5)),
        ("a key that is a number", vec![0x81, 0x05, 0xc3], json!({ "5": true })),
        ("a wasteful form", vec![0x91, 0xcd, 0, 5], json!([5])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_reach_everybody_in_their_own_encoding() {
    let node = Node::start().await;
    let arena = room("arena/1");
    let mut members = four(&node, &arena).await;
    let handles: Vec<_> = members.iter().map(Member::handle).collect();
    let mut seq = 0;
    for (what, packed, json) in payloads() {
        for lane in [Lane::Latest, Lane::Reliable] {
            seq += 1;
            let payload = Bytes::from(packed.clone());
            members[1].client.send_move_bytes(&arena, 3, Some(seq), payload, lane, None).await.expect("moves");
            for other in [0, 2, 3] {
                let step = members[other].moved().await;
                assert_eq!((step.from, step.key, step.seq, step.lane), (handles[1], 3, seq, lane), "{what}");
                assert_eq!(step.room, arena);
                match &step.payload {
                    Payload::MsgPack(bytes) => assert_eq!(bytes.as_ref(), packed, "{what}: untouched"),
                    Payload::Json(text) => {
                        assert_eq!(serde_json::from_slice::<Value>(text).expect("JSON"), json, "{what}");
                    }
                }
            }
        }
    }
    // From JSON: to JSON as it was written, to MessagePack in the shortest form.
    let table: Vec<(&str, Vec<u8>)> = vec![
        (r#"{"x":12,"y":-3}"#, vec![0x82, 0xa1, b'x', 12, 0xa1, b'y', 0xfd]),
        (r#"{"$bin":"AAH/"}"#, vec![0xc4, 3, 0, 1, 0xff]),
        (r#"{"$ext":[7,"AQI="]}"#, vec![0xd5, 7, 1, 2]),
        ("3.0", vec![3]),
        ("0.5", vec![0xcb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0]),
        ("18446744073709551615", vec![0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (r#""2026-11-22T00:00:00Z""#, [vec![0xb4], b"2026-11-22T00:00:00Z".to_vec()].concat()),
        (r#"{"$bin":"A"}"#, [vec![0x81, 0xa4], b"$bin".to_vec(), vec![0xa1, b'A']].concat()),
    ];
    let mut seq = 0;
    for (text, packed) in table {
        for lane in [Lane::Latest, Lane::Reliable] {
            seq += 1;
            let payload = Bytes::from(text);
            members[0].client.send_move_bytes(&arena, 0, Some(seq), payload, lane, None).await.expect("moves");
            for other in [1, 2, 3] {
                let step = members[other].moved().await;
                assert_eq!((step.from, step.key, step.seq, step.lane), (handles[0], 0, seq, lane), "{text}");
                match &step.payload {
                    Payload::MsgPack(bytes) => assert_eq!(bytes.as_ref(), packed, "{text}"),
                    Payload::Json(got) => assert_eq!(got.as_ref(), text.as_bytes(), "{text}: untouched"),
                }
            }
        }
    }
    // To some: the others never see it, and it is in nobody's state.
    for (from, to) in [(0, [1, 2]), (1, [0, 3]), (3, [0, 1])] {
        let names = to.map(|at| handles[at]);
        members[from]
            .client
            .send_move(&arena, 9, None, &json!("psst"), Lane::Reliable, Some(&names))
            .await
            .expect("moves");
        members[from].client.send_move(&arena, 8, None, &json!("all"), Lane::Reliable, None).await.expect("moves");
        for other in (0..4).filter(|&other| other != from) {
            let step = members[other].moved().await;
            let key = if to.contains(&other) { 9 } else { 8 };
            assert_eq!((step.from, step.key), (handles[from], key));
            if key == 9 {
                assert_eq!(members[other].moved().await.key, 8);
            }
        }
    }
    // Late joiners of both encodings find the same latest moves.
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let late = Member::join(&node, "eve", encoding, &arena).await;
        let mut state: Vec<_> = late
            .joined
            .state
            .iter()
            .map(|latest| (latest.from, latest.key, serde_json::from_str::<Value>(latest.data.get()).expect("JSON")))
            .collect();
        state.sort_by_key(|(from, ..)| *from);
        let newest = [(handles[0], 0, json!({ "$bin": "A" })), (handles[1], 3, json!([5]))];
        assert_eq!(state, newest);
        late.client.close().await.expect("closes");
    }
    for member in members {
        member.client.close().await.expect("closes");
    }
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_cross_the_encodings() {
    let node = Node::start().await;
    let arena = room("arena/1");
    let mut members = four(&node, &arena).await;
    let offer =
        json!({ "type": "offer", "sdp": "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\n", "n": 1.5, "big": "12345678901234567890" });
    for (from, to) in [(0, 1), (1, 0), (0, 2), (1, 3), (3, 2)] {
        for (kind, data) in [
            (SignalKind::Offer, offer.clone()),
            (SignalKind::Answer, json!({ "type": "answer", "sdp": "ü\n" })),
            (SignalKind::IceCandidate, json!({ "candidate": "candidate:1 1 udp", "sdpMid": "0", "sdpMLineIndex": 0 })),
            (SignalKind::IceCandidate, json!(null)),
        ] {
            let (sender, receiver) = (members[from].peer(), members[to].peer());
            members[from].client.signal(&arena, receiver, kind, &data).await.expect("signals");
            let signal = members[to]
                .told("a signal", |message| match message {
                    ServerMessage::Signal(signal) => Some(signal),
                    _ => None,
                })
                .await;
            assert_eq!((signal.kind, signal.from, &signal.room), (kind, sender, &arena));
            assert_eq!(signal.data.read::<Value>().expect("readable"), data);
        }
    }
    // Nobody else got any: the next thing that everybody has is the same word.
    let end = members[0].client.say(&arena, "done").await.expect("says");
    for member in &mut members {
        let is_end = |message: &ServerMessage| matches!(message, ServerMessage::Message(chat) if chat.position == end);
        let rest = messages_until("the end", &mut member.inbox, is_end).await;
        assert!(!rest.iter().any(|message| matches!(message, ServerMessage::Signal(_))));
    }
    assert_eq!(node.metrics().await["signals_total"], 20.0);
    for member in members {
        member.client.close().await.expect("closes");
    }
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_begins_once_and_ends_by_itself_with_a_word_or_with_the_typist() {
    let node = Node::with(|config| config.room.typing_ms = 300).await;
    let arena = room("arena/1");
    let mut members = four(&node, &arena).await;
    let typing = async |member: &mut Member| {
        member
            .told("typing", |message| match message {
                ServerMessage::Typing(typing) => Some((typing.from, typing.on)),
                _ => None,
            })
            .await
    };
    // By itself, in both encodings.
    for typist in [0, 1] {
        let peer = members[typist].peer();
        members[typist].client.typing(&arena).await.expect("types");
        for other in (0..4).filter(|&other| other != typist) {
            assert_eq!(typing(&mut members[other]).await, (peer, true));
            assert_eq!(typing(&mut members[other]).await, (peer, false));
        }
    }
    for member in members {
        member.client.close().await.expect("closes");
    }
    node.emptied().await;
    node.stop().await;

    // With a word, on leaving, on loss: the deadline is far away here.
    let node = Node::with(|config| config.room.typing_ms = 3_600_000).await;
    let mut members = four(&node, &arena).await;
    for typist in [0, 1] {
        let peer = members[typist].peer();
        for _ in 0..3 {
            members[typist].client.typing(&arena).await.expect("types");
        }
        members[typist].client.say(&arena, "typed").await.expect("says");
        for other in (0..4).filter(|&other| other != typist) {
            assert_eq!(typing(&mut members[other]).await, (peer, true), "it began once");
            assert_eq!(typing(&mut members[other]).await, (peer, false), "the word ended it");
        }
    }
    for typist in [2, 3] {
        let peer = members[typist].peer();
        members[typist].client.typing(&arena).await.expect("types");
        assert_eq!(typing(&mut members[0]).await, (peer, true));
        if typist == 2 {
            members[typist].client.leave(&arena).await.expect("leaves");
        } else {
            members[typist].client.close().await.expect("closes");
        }
        assert_eq!(typing(&mut members[0]).await, (peer, false));
    }
    for member in members {
        _ = member.client.close().await;
    }
    node.emptied().await;
    node.stop().await;
}
