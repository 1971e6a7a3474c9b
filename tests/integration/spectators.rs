//! Feeds: streams and polls see what members see, wherever they begin, however often they are cut.

use rallypoint_client::{Incoming, missed_events};
use rallypoint_protocol::{
    Encoding, ServerMessage,
    moves::Lane,
    server::{Reset, ResetReason},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::support::{
    Answer, Ask, Node, Pass, Poller, Stream, Wire, as_feed_object, encoded, pass, pick, position, room, until, within,
};

fn ada() -> Pass {
    pass("ada").name("Ada").host("*")
}

fn guest() -> Pass {
    pass("guest").spectator("*")
}

/// The events of a poll's answer.
fn events(answer: &Value) -> Vec<Value> {
    answer["events"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn before_in_the_middle_and_after_see_the_same() {
    let node = Node::start().await;
    let lobby = room("match/7:blue");
    let query = format!("room={}", encoded("match/7:blue"));
    let mut early_stream = Stream::open(&node, &guest(), &query).await;
    let mut early_poll = Poller::new(&guest(), &query);
    let start = early_poll.poll(&node, 0).await;
    assert_eq!(events(&start), Vec::<Value>::new(), "without a cursor a poll begins at the head");
    let empty = early_stream.connected["rooms"][0].clone();
    assert_eq!((&empty["room"], &empty["count"]), (&json!("match/7:blue"), &json!(0)));

    let (client, mut inbox) = node.connect(&ada(), Encoding::MsgPack).await;
    let joined = client.join(&lobby, None).await.expect("joins");
    client.say(&lobby, "one\ntwo\r\n\u{2028}three").await.expect("says");
    let score = rallypoint_protocol::Kind::new("score").expect("a good kind");
    let middle =
        client.publish(&lobby, &score, &json!({ "blue": 1, "nested": [[{ "ä": "€" }]] })).await.expect("publishes");

    // In the middle: from here on, and once more with all that was before.
    let mut middle_stream = Stream::open(&node, &guest(), &query).await;
    assert_eq!(middle_stream.connected["rooms"][0]["position"], middle.to_string());
    let since = format!("{query}&since={}:{middle}", encoded("match/7:blue"));
    let mut middle_poll = Poller::new(&guest(), &since);

    let (other, other_inbox) = node.connect(&pass("bob").player("*"), Encoding::Json).await;
    other.join(&lobby, None).await.expect("joins");
    other.say(&lobby, "hello").await.expect("says");
    other.close().await.expect("closes");
    drop(other_inbox);
    // The goodbye has reached the room when ada hears of it.
    let is_bob =
        |message: &ServerMessage| matches!(message, ServerMessage::PeerLeft(left) if left.peer.user.as_str() == "bob");
    pick("bob's leaving", &mut inbox, |incoming| {
        matches!(incoming, Incoming::Message(message) if is_bob(&message)).then_some(())
    })
    .await;
    let last = client.say(&lobby, "the end").await.expect("says");
    let end = last.to_string();

    // Afterwards: everything that is kept, and everything since a position.
    let mut late_stream = Stream::open(&node, &guest(), &format!("{query}&after=0")).await;
    let mut late_poll = Poller::resume(&guest(), &query, "0");
    let since_join = format!("{query}&since={}:{}", encoded("match/7:blue"), joined.position);
    let mut since_stream = Stream::open(&node, &guest(), &since_join).await;
    let mut since_poll = Poller::new(&guest(), &since_join);

    let all = early_stream.read_to(&end).await;
    let kinds: Vec<_> = all.iter().map(|event| event["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["peer-joined", "message", "score", "peer-joined", "message", "peer-left", "message"]);
    assert_eq!(all[1]["data"]["text"], "one\ntwo\r\n\u{2028}three");
    assert_eq!(all[5]["data"]["reason"], "closed");
    assert_eq!(all[0]["position"], joined.position.to_string(), "the joiner's position includes its own joining");
    assert_eq!(early_poll.read_to(&node, &end).await, all);
    assert_eq!(late_stream.read_to(&end).await, all);
    assert_eq!(late_poll.read_to(&node, &end).await, all);
    assert_eq!(since_stream.read_to(&end).await, all[1..]);
    assert_eq!(since_poll.read_to(&node, &end).await, all[1..]);
    assert_eq!(middle_stream.read_to(&end).await, all[3..]);
    assert_eq!(middle_poll.read_to(&node, &end).await, all[3..]);

    // All of them stand at the same place, and there is nothing more to tell.
    for cursor in
        [&early_stream.last_id, &early_poll.cursor, &late_stream.last_id, &since_poll.cursor, &middle_poll.cursor]
    {
        let answer = Poller::resume(&guest(), &query, cursor).poll(&node, 0).await;
        assert_eq!((events(&answer), answer.get("reset")), (vec![], None));
    }
    client.close().await.expect("closes");
    drop((early_stream, middle_stream, late_stream, since_stream));
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_again_and_again_loses_and_repeats_nothing() {
    let node = Node::start().await;
    let lobby = room("lobby");
    let (client, inbox) = node.connect(&ada(), Encoding::MsgPack).await;
    drop(inbox);
    client.join(&lobby, None).await.expect("joins");
    let mut stream = Stream::open(&node, &guest(), "room=lobby").await;
    let mut poller = Poller::resume(&guest(), "room=lobby", &stream.last_id);
    let mut seen = Vec::new();
    for number in 0..12 {
        let mut last = String::new();
        for part in 0..3 {
            last = client.say(&lobby, format!("{number}.{part}")).await.expect("says").to_string();
        }
        // Cut after one of three, in the midst of a batch, or after all of them.
        for _ in 0..=number % 3 {
            seen.push(stream.event().await.data);
        }
        stream = Stream::resume(&node, &guest(), "room=lobby", &stream.last_id.clone()).await;
        // `EventSource` keeps its URL: an old cursor in it gives way to the header.
        if number % 4 == 3 {
            let query = format!("room=lobby&after=0&since=lobby:{last}");
            stream = Stream::resume(&node, &guest(), &query, &stream.last_id.clone()).await;
        }
    }
    let end = client.say(&lobby, "the end").await.expect("says").to_string();
    seen.extend(stream.read_to(&end).await);
    let texts: Vec<_> = seen.iter().map(|event| event["data"]["text"].as_str().expect("chat").to_owned()).collect();
    let said = (0..12).flat_map(|number| (0..3).map(move |part| format!("{number}.{part}")));
    assert_eq!(texts, said.chain(["the end".to_owned()]).collect::<Vec<_>>());
    assert_eq!(poller.read_to(&node, &end).await, seen);

    // A cursor moves between the two, in both directions, and covers several rooms.
    let stage = room("stage");
    client.join(&stage, None).await.expect("joins");
    let both = "room=lobby&room=stage";
    let mut poller = Poller::resume(&guest(), both, &stream.last_id);
    assert_eq!(
        events(&poller.poll(&node, 0).await),
        Vec::<Value>::new(),
        "a room that is new to a cursor starts at its head"
    );
    client.say(&stage, "on stage").await.expect("says");
    stream = Stream::resume(&node, &guest(), both, &poller.cursor).await;
    assert_eq!(stream.event().await.data["data"]["text"], "on stage");
    client.say(&lobby, "in the lobby").await.expect("says");
    let mut poller = Poller::resume(&guest(), both, &stream.last_id);
    let answer = poller.poll(&node, 5).await;
    assert_eq!(events(&answer).len(), 1);
    assert_eq!(answer["events"][0]["data"]["text"], "in the lobby");
    client.close().await.expect("closes");
    drop(stream);
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_work_at_every_door() {
    let node = Node::start().await;
    let lobby = room("lobby");
    let (client, inbox) = node.connect(&ada(), Encoding::MsgPack).await;
    drop(inbox);
    let joined = client.join(&lobby, None).await.expect("joins");
    let mut expected = Vec::new();
    let mut positions = vec![joined.position];
    for text in ["one", "two", "three"] {
        positions.push(client.say(&lobby, text).await.expect("says"));
        expected.push(text);
    }
    let end = positions[3].to_string();
    let texts = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["data"]["text"].as_str().expect("chat").to_owned()).collect()
    };
    // From a WebSocket to the feeds. There is nothing after the last one.
    for (at, since) in positions[..3].iter().enumerate() {
        let query = format!("room=lobby&since=lobby:{since}");
        let streamed = Stream::open(&node, &guest(), &query).await.read_to(&end).await;
        assert_eq!(texts(&streamed), expected[at..]);
        assert_eq!(Poller::new(&guest(), &query).read_to(&node, &end).await, streamed);
    }
    let answer = node.get(&format!("/v1/poll?room=lobby&wait=0&since=lobby:{end}"), &guest()).await.expect(200);
    assert_eq!((events(&answer), answer.get("reset")), (vec![], None));

    // And back: positions that a poll gave, for join and for watch, in both encodings.
    let polled = events(&node.get("/v1/poll?room=lobby&after=0", &guest()).await.expect(200));
    assert_eq!(polled[0]["position"], joined.position.to_string());
    for (at, event) in polled.iter().enumerate() {
        let since = position(&event["position"]);
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            let (reader, inbox) = node.connect(&guest(), encoding).await;
            drop(inbox);
            let watching = reader.watch(&lobby, Some(since), None).await.expect("watches");
            assert_eq!(watching.position.to_string(), end);
            let missed = missed_events(&watching.missed.expect("the position is kept")).expect("they can be read");
            let missed: Vec<_> = missed.iter().filter_map(as_feed_object).collect();
            assert_eq!(missed, polled[at + 1..]);
            reader.close().await.expect("closes");
        }
    }
    let (reader, inbox) = node.connect(&pass("bob").player("*"), Encoding::Json).await;
    drop(inbox);
    let back = reader.join(&lobby, Some(positions[1])).await.expect("joins");
    let missed = missed_events(&back.missed.expect("the position is kept")).expect("they can be read");
    // Two chats; the joiner's own peer-joined is part of `joined`, not of what was missed.
    let missed: Vec<_> = missed.iter().filter_map(as_feed_object).collect();
    assert_eq!(texts(&missed), ["two", "three"]);
    assert_eq!(back.position.seq, positions[3].seq + 1);
    reader.close().await.expect("closes");
    client.close().await.expect("closes");
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_trimmed_is_told_by_a_reset_at_every_door() {
    let node = Node::with(|config| config.room.history_events = 4).await;
    let lobby = room("lobby");
    let (client, inbox) = node.connect(&ada(), Encoding::MsgPack).await;
    drop(inbox);
    let joined = client.join(&lobby, None).await.expect("joins");
    let stream = Stream::open(&node, &guest(), "room=lobby").await;
    let old_cursor = stream.last_id.clone();
    drop(stream);
    let mut positions = vec![joined.position];
    for number in 0..8 {
        positions.push(client.say(&lobby, format!("{number}")).await.expect("says"));
    }
    let head = positions[8];
    let mut forked = head;
    forked.tag.0 ^= 1;
    let mut ahead = head;
    ahead.seq += 1;
    let mut foreign = head;
    foreign.epoch ^= 1;
    let mut old_fork = positions[1];
    old_fork.tag.0 ^= 1;
    let table = [
        (positions[0], Some(ResetReason::Trimmed)),
        (positions[3], Some(ResetReason::Trimmed)),
        // The trim edge: its own event is gone, but all after it are there.
        (positions[4], None),
        (head, None),
        (forked, Some(ResetReason::Forked)),
        (ahead, Some(ResetReason::Ahead)),
        (foreign, Some(ResetReason::Epoch)),
        (old_fork, Some(ResetReason::Trimmed)),
    ];
    for (since, reason) in table {
        let query = format!("room=lobby&since=lobby:{since}");
        let answer = node.get(&format!("/v1/poll?{query}&wait=0"), &guest()).await.expect(200);
        let (reader, mut inbox) = node.connect(&guest(), Encoding::MsgPack).await;
        let watching = reader.watch(&lobby, Some(since), None).await.expect("watches");
        let Some(reason) = reason else {
            let after = usize::try_from(head.seq - since.seq).expect("a few");
            assert_eq!((events(&answer).len(), answer.get("reset")), (after, None), "{since}");
            assert_eq!(watching.missed.map(|missed| missed.len()), Some(after), "{since}");
            reader.close().await.expect("closes");
            continue;
        };
        let reset = answer["reset"][0].clone();
        assert_eq!((&reset["reason"], &reset["room"]), (&json!(reason), &json!("lobby")), "{since}");
        assert_eq!((&reset["position"], &reset["count"]), (&json!(head), &json!(1)));
        assert_eq!(events(&answer), Vec::<Value>::new(), "it goes on at the head");
        let block = Stream::open(&node, &guest(), &query).await.event().await;
        assert_eq!(block.event, "reset");
        assert_eq!((&block.data["reason"], &block.data["position"]), (&reset["reason"], &reset["position"]));
        assert!(block.id.is_some());
        assert!(watching.missed.is_none());
        let told = pick("a reset", &mut inbox, a_reset).await;
        assert_eq!((told.reason, told.position, told.count), (reason, head, 1));
        assert!(told.members.is_empty(), "a watcher knows no members");
        reader.close().await.expect("closes");
    }
    // A member gets the members and the state with it.
    let (member, mut inbox) = node.connect(&pass("bob").player("*"), Encoding::Json).await;
    let joined = member.join(&lobby, Some(positions[0])).await.expect("joins");
    assert!(joined.missed.is_none());
    let told = pick("a reset", &mut inbox, a_reset).await;
    assert_eq!((told.reason, told.position, told.count), (ResetReason::Trimmed, joined.position, 2));
    assert_eq!(told.members.len(), joined.members.len());
    member.close().await.expect("closes");
    // The cursor of a stream that was away for too long.
    let block = Stream::resume(&node, &guest(), "room=lobby", &old_cursor).await.event().await;
    assert_eq!((block.event.as_str(), &block.data["reason"]), ("reset", &json!("trimmed")));
    let answer = Poller::resume(&guest(), "room=lobby", &old_cursor).poll(&node, 5).await;
    assert_eq!(answer["reset"][0]["reason"], "trimmed");
    client.close().await.expect("closes");
    node.emptied().await;
    node.stop().await;
}

fn a_reset(incoming: Incoming) -> Option<Reset> {
    match incoming {
        Incoming::Reset(reset) => Some(reset),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_reaches_everything_of_its_user_and_nobody_else() {
    let node = Node::start().await;
    let bob = || pass("bob").spectator("*");
    let shop = pass("shop").notify("bob").notify("team/*");
    let path = "/v1/users/bob/notifications";

    // Nobody is there: it waits in the log.
    let early = node.post(path, &shop, &json!({ "message": "early" })).await.expect(200);
    assert_eq!(early["sent"], 0);

    let mut sockets =
        [Wire::connect(&node, &bob(), Encoding::Json).await, Wire::connect(&node, &bob(), Encoding::MsgPack).await];
    assert_eq!(sockets[0].connected["notifications"], early["position"]);
    let mut strangers = [
        Wire::connect(&node, &guest(), Encoding::Json).await,
        Wire::connect(&node, &pass("bobby").spectator("*"), Encoding::MsgPack).await,
        Wire::connect(&node, &pass("shop").host("*"), Encoding::Json).await,
    ];
    let mut stream = Stream::open(&node, &bob(), "room=lobby").await;
    let mut bare_stream = Stream::open(&node, &bob(), "").await;
    let mut strange_stream = Stream::open(&node, &guest(), "room=lobby").await;
    let mut poller = Poller::new(&bob(), "room=lobby");
    poller.poll(&node, 0).await;
    let mut strange_poller = Poller::new(&guest(), "");
    strange_poller.poll(&node, 0).await;
    let mut held = poller.clone();
    let mut strange_held = strange_poller.clone();
    let held = async { held.poll(&node, 50).await };
    // Notifies once the poll is held, so that it is one of those it goes to.
    let notified = async {
        let held = async || (node.gauges().await["poll"] == 2).then_some(());
        until("the held polls", held).await;
        let post = Ask::new("POST", path).pass(&shop).header("idempotency-key", "order-66");
        let post = post.json(&json!({ "message": "parcel\nhere", "data": { "shelf": [7, null, "ä"] } }));
        let first = node.send(post.clone()).await.expect(200);
        let again = node.send(post).await.expect(200);
        assert_eq!(first["sent"], 5, "two sockets, two streams, one held poll");
        assert_eq!(again, json!({ "sent": 0, "position": first["position"] }));
        // Lets the stranger's poll go on, too.
        node.post(
            "/v1/users/guest/notifications",
            &pass("shop").admin("notify"),
            &json!({ "message": "for the guest" }),
        )
        .await
        .expect(200);
        first
    };
    let (answer, strange_answer, first) =
        within("held polls", async { tokio::join!(held, async { strange_held.poll(&node, 50).await }, notified) })
            .await;
    let expected = json!({ "message": "parcel\nhere", "data": { "shelf": [7, null, "ä"] } });
    let check = |event: &Value| {
        assert_eq!((&event["room"], &event["kind"]), (&json!("user/bob"), &json!("notification")));
        assert_eq!((&event["data"], &event["position"]), (&expected, &first["position"]));
    };
    assert_eq!(events(&answer).len(), 1);
    check(&answer["events"][0]);
    for stream in [&mut stream, &mut bare_stream] {
        let block = stream.event().await;
        assert_eq!(block.event, "notification");
        check(&block.data);
    }
    for wire in &mut sockets {
        let told = wire.said("notification").await;
        assert_eq!((&told["message"], &told["data"]), (&expected["message"], &expected["data"]));
        assert_eq!((&told["position"], told.get("room")), (&first["position"], None));
        // The repeated one did not come again.
        wire.granted(json!({ "type": "ping" })).await;
        assert!(wire.is_silent());
    }
    // The others got what is theirs and nothing else.
    assert_eq!(events(&strange_answer).len(), 1);
    assert_eq!(strange_answer["events"][0]["data"], json!({ "message": "for the guest" }));
    assert_eq!(strange_stream.event().await.data["data"], json!({ "message": "for the guest" }));
    assert_eq!(strangers[0].said("notification").await["message"], "for the guest");
    for wire in &mut strangers {
        wire.granted(json!({ "type": "ping" })).await;
        assert!(wire.is_silent());
    }

    // Whoever was away reads on: by `notifications_since`, by cursor, by `after=0`.
    let mut late = Wire::anonymous(&node, Encoding::Json).await;
    let since = json!({ "type": "auth", "token": bob().mint(), "notifications_since": early["position"] });
    late.say(since).await;
    assert_eq!(late.said("connected").await["notifications"], first["position"]);
    assert_eq!(late.said("notification").await["position"], first["position"]);
    let kept = node.get("/v1/poll?after=0", &bob()).await.expect(200);
    assert_eq!(events(&kept).len(), 2);
    check(&kept["events"][1]);
    let answer = poller.poll(&node, 5).await;
    assert_eq!(events(&answer).len(), 1);

    late.bye().await;
    for wire in sockets.into_iter().chain(strangers) {
        wire.bye().await;
    }
    drop((stream, bare_stream, strange_stream));
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_for_one_route_and_one_user() {
    let node = Node::start().await;
    let post = |room: &str, user: &Pass, key: &str| {
        let ask = Ask::new("POST", &format!("/v1/rooms/{room}/events")).pass(user).header("idempotency-key", key);
        ask.json(&json!({ "kind": "score", "data": 1 }))
    };
    let other = pass("other").host("*");
    let first = node.send(post("a", &ada(), "k")).await.expect(201);
    assert_eq!(node.send(post("a", &ada(), "k")).await.expect(201), first);
    for (room, user, key) in [("a", &other, "k"), ("b", &ada(), "k"), ("a", &ada(), "l")] {
        assert_ne!(node.send(post(room, user, key)).await.expect(201), first);
    }
    let kept = node.get("/v1/poll?room=a&after=0", &guest()).await.expect(200);
    assert_eq!(events(&kept).len(), 3);
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_comes_when_it_changes() {
    let node = Node::start().await;
    let lobby = room("lobby");
    let (client, inbox) = node.connect(&ada(), Encoding::MsgPack).await;
    drop(inbox);
    client.join(&lobby, None).await.expect("joins");
    let peer = json!(client.peer());
    let step = async |key: u16, seq: u32, value: Value, lane: Lane| {
        client.send_move(&lobby, key, Some(seq), &value, lane, None).await.expect("moves");
    };
    step(0, 1, json!({ "x": 1 }), Lane::Latest).await;
    step(7, 2, json!("ball"), Lane::Latest).await;
    step(0, 3, json!("reliable moves are no state"), Lane::Reliable).await;
    client.ping().await.expect("the moves are through");

    let moves = |state: &Value| -> Vec<Value> {
        let mut moves = state["moves"].as_array().expect("a list").clone();
        for latest in &mut moves {
            assert!(latest["time"].is_u64(), "{latest}");
            latest.as_object_mut().expect("a map").remove("time");
        }
        moves.sort_by_key(|latest| latest["key"].as_u64());
        moves
    };
    let latest = |key: u16, seq: u32, data: Value| json!({ "from": peer, "key": key, "seq": seq, "data": data });
    let before = vec![latest(0, 1, json!({ "x": 1 })), latest(7, 2, json!("ball"))];

    let mut stream = Stream::open(&node, &guest(), "room=lobby&room=quiet&state=10").await;
    let block = stream.event().await;
    assert_eq!((block.event.as_str(), &block.id, &block.data["room"]), ("state", &None, &json!("lobby")));
    assert_eq!(moves(&block.data), before);
    let polled = node.get("/v1/poll?room=lobby&state=10", &guest()).await.expect(200);
    assert_eq!(polled["state"].as_array().map(Vec::len), Some(1));
    assert_eq!(polled["state"][0], block.data);
    let mut watcher = Wire::connect(&node, &guest(), Encoding::Json).await;
    let watching = watcher.granted(json!({ "type": "watch", "room": "lobby", "state": 10 })).await;
    assert_eq!(moves(&json!({ "moves": watching["state"] })), before);

    // Nothing has changed: a poll that knows the version is held to its end, and says nothing of the state.
    let (version, cursor) = (&block.data["version"], polled["cursor"].as_str().expect("a cursor"));
    for known in [format!("{version}"), format!("lobby:{version}")] {
        let query = format!("/v1/poll?room=lobby&state=10&state_after={known}&after={cursor}&wait=0");
        let answer = node.get(&query, &guest()).await.expect(200);
        assert_eq!(answer.get("state"), None, "{answer}");
    }
    // Something changes while a poll is held. The repeated sequence number is no change.
    let held = format!("/v1/poll?room=lobby&state=10&state_after={version}&after={cursor}&wait=50");
    let patient = pass("patient").spectator("*");
    let (answer, ()) = within("a held poll", async {
        tokio::join!(node.get(&held, &patient), async {
            until("the held poll", async || (node.gauges().await["poll"] == 1).then_some(())).await;
            step(0, 3, json!("too old"), Lane::Latest).await;
            step(0, 4, json!({ "x": 2 }), Lane::Latest).await;
        })
    })
    .await;
    let after = vec![latest(0, 4, json!({ "x": 2 })), latest(7, 2, json!("ball"))];
    let answer = answer.expect(200);
    assert_eq!(moves(&answer["state"][0]), after);
    let newer = answer["state"][0]["version"].as_u64();
    assert!(newer > version.as_u64(), "versions rise");
    let block = stream.event().await;
    assert_eq!(block.event, "state");
    assert_eq!(moves(&block.data), after);
    assert_eq!(block.data["version"].as_u64(), newer);
    let told = watcher.said("state").await;
    assert_eq!((&told["version"], moves(&told)), (&block.data["version"], after));

    // An event is no change of the state, and a move to somebody is no part of it.
    client.send_move(&lobby, 9, Some(5), &json!("psst"), Lane::Latest, Some(&[1])).await.expect("moves");
    let end = client.say(&lobby, "done").await.expect("says").to_string();
    let block = stream.event().await;
    assert_eq!((block.event.as_str(), &block.data["position"]), ("message", &json!(end)));
    // Who leaves takes their moves along.
    client.close().await.expect("closes");
    loop {
        let block = stream.event().await;
        if block.event == "state" {
            assert_eq!(moves(&block.data), Vec::<Value>::new());
            break;
        }
        assert_eq!(block.event, "peer-left");
    }
    watcher.bye().await;
    drop(stream);
    node.emptied().await;
    node.stop().await;
}

/// Requests of one connection, one after another.
struct Talk {
    node: std::net::SocketAddr,
    socket: BufReader<TcpStream>,
}

impl Talk {
    async fn begin(node: &Node) -> Self {
        let socket = TcpStream::connect(node.address).await.expect("the server listens");
        Self { node: node.address, socket: BufReader::new(socket) }
    }

    async fn say(&mut self, ask: Ask) {
        let ask = ask.header("connection", "keep-alive");
        self.socket.get_mut().write_all(&ask.written(self.node)).await.expect("the socket is open");
    }

    async fn hear(&mut self) -> Answer {
        let head = Answer::read_head(&mut self.socket).await;
        head.with_body(&mut self.socket).await
    }

    async fn ask(&mut self, ask: Ask) -> Answer {
        self.say(ask).await;
        within("an answer", self.hear()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_polls_and_anything_else() {
    let node = Node::start().await;
    let ask = |path: &str| Ask::new("GET", path).pass(&guest());
    let mut talk = Talk::begin(&node).await;
    let mut cursor = "0".to_owned();
    for number in 0..3 {
        let event = json!({ "kind": "score", "data": number });
        let first = talk.ask(ask(&format!("/v1/poll?room=lobby&wait=0&after={cursor}"))).await;
        cursor = first.expect(200)["cursor"].as_str().expect("a cursor").to_owned();
        assert_eq!(first.header("cache-control"), Some("no-store"));
        assert!(first.header("date").is_some_and(|date| date.ends_with(" GMT")), "{first:?}");
        talk.say(ask(&format!("/v1/poll?room=lobby&after={cursor}"))).await;
        until("the held poll", async || (node.gauges().await["poll"] == 1).then_some(())).await;
        node.post("/v1/rooms/lobby/events", &ada(), &event).await.expect(201);
        let answer = within("the held poll", talk.hear()).await.expect(200);
        assert_eq!(answer["events"][0]["data"], number);
        cursor = answer["cursor"].as_str().expect("a cursor").to_owned();
        // A refusal is an answer like any other, and another token is another user.
        talk.ask(ask("/v1/poll?room=lobby&wait=-1")).await.refused(608);
        talk.ask(Ask::new("GET", "/v1/poll?room=lobby").bearer("nonsense")).await.refused(701);
        talk.ask(Ask::new("GET", "/v1/poll?room=lobby").pass(&pass("eve"))).await.refused(705);
    }
    // What is not a feed goes on where the feeds were, and they go on behind it.
    assert_eq!(talk.ask(ask("/healthz")).await.status, 200);
    talk.ask(ask("/v1/poll?room=lobby&wait=0")).await.expect(200);
    drop(talk);

    // Two requests at once are answered one after the other.
    let mut talk = Talk::begin(&node).await;
    talk.say(ask("/v1/poll?room=lobby&wait=0")).await;
    talk.say(ask("/healthz")).await;
    within("both", async {
        assert!(talk.hear().await.expect(200)["cursor"].is_string());
        assert_eq!(talk.hear().await.status, 200);
    })
    .await;
    drop(talk);

    // Whoever goes away while a poll is held gives its place back.
    let mut talk = Talk::begin(&node).await;
    talk.say(ask(&format!("/v1/poll?room=lobby&after={cursor}"))).await;
    until("the held poll", async || (node.gauges().await["poll"] == 1).then_some(())).await;
    drop(talk);
    until("its end", async || (node.gauges().await["poll"] == 0).then_some(())).await;
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_good_once_still_ends() {
    let node = Node::with(|config| (config.auth.leeway_ms, config.limits.expiry_grace_ms) = (0, 60_000)).await;
    let mut talk = Talk::begin(&node).await;
    let ask = Ask::new("GET", "/v1/poll?wait=0").bearer(&guest().expires_in(1.0).mint());
    talk.ask(ask.clone()).await.expect(200);
    let refused = until("the end of the token", async || {
        let answer = talk.ask(ask.clone()).await;
        (answer.status != 200).then_some(answer)
    });
    refused.await.refused(702);
    node.emptied().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_beats_and_ends_with_its_reader() {
    let node = Node::with(|config| {
        config.limits.sse_heartbeat_ms = 100;
        config.limits.stalled_ms = 300;
    })
    .await;
    let by_hyper = || Ask::new("GET", "/v1/events?room=lobby").pass(&guest()).header("content-length", "0");
    for ask in [Ask::new("GET", "/v1/events?room=lobby").pass(&guest()), by_hyper()] {
        let mut stream = Stream::begin(&node, ask.clone()).await;
        for _ in 0..3 {
            let block = stream.next().await;
            assert_eq!((block.event.as_str(), block.id), ("heartbeat", None));
            assert!(block.data["time"].is_number());
        }
        // An event puts the heartbeat off and leaves the timer as it is; when it is time the stream beats all the same.
        for _ in 0..3 {
            node.post("/v1/rooms/lobby/events", &ada(), &json!({ "kind": "score", "data": 1 })).await.expect(201);
            assert_eq!(stream.event().await.event, "score");
            assert_eq!(stream.next().await.event, "heartbeat");
        }
        drop(stream);
        until("the end of the stream", async || (node.gauges().await["sse"] == 0).then_some(())).await;

        // One who reads nothing is sent away once nothing more can be written.
        let asleep = Talk::begin(&node).await;
        let mut asleep = asleep.socket.into_inner();
        asleep.write_all(&ask.written(node.address)).await.expect("the socket is open");
        until("the stream", async || (node.gauges().await["sse"] == 1).then_some(())).await;
        let event = json!({ "kind": "score", "data": "x".repeat(60_000) });
        until("the end of the stream", async || {
            for _ in 0..20 {
                node.post("/v1/rooms/lobby/events", &ada(), &event).await.expect(201);
            }
            (node.gauges().await["sse"] == 0).then_some(())
        })
        .await;
        drop(asleep);
    }
    node.emptied().await;
    node.stop().await;
}
