//! What the two lanes promise, among members of both encodings: each reliable move once and in
//! order, latest moves ending on the newest, and a slow reader whom nobody else feels.

use std::collections::BTreeMap;

use rallypoint::config::Config;
use rallypoint_client::{Client, Events, Incoming, Move, Options, protocol::Payload};
use rallypoint_protocol::{
    Encoding, RoomName, ServerMessage,
    event::LeaveReason,
    moves::Lane,
    server::{Joined, PeerLeft},
};

use crate::support::{Node, pass, pick, room, until, within};

/// A receive buffer that hides nothing from the server.
const SMALL: u32 = 4096;
/// Of a size that fills sockets.
const LARGE: usize = 2000;

struct Player {
    client: Client,
    events: Events,
    joined: Joined,
}

impl Player {
    fn handle(&self) -> u32 {
        self.joined.you.handle.expect("a member has a handle")
    }

    /// Sends a number.
    async fn step(&self, key: u16, n: u64, lane: Lane) {
        self.client.send_move(&self.joined.room, key, None, &n, lane, None).await.expect("the move is sent");
    }

    /// Sends a number that takes much room.
    async fn heavy_step(&self, key: u16, n: u64, lane: Lane) {
        let payload = (n, "x".repeat(LARGE));
        self.client.send_move(&self.joined.room, key, None, &payload, lane, None).await.expect("the move is sent");
    }

    /// Everything sent before is through once this returns.
    async fn settle(&self) {
        self.client.ping().await.expect("the server answers");
    }

    async fn next_move(&mut self) -> Move {
        pick("a move", &mut self.events, |incoming| match incoming {
            Incoming::Move(step) => Some(step),
            _ => None,
        })
        .await
    }

    /// The moves that have come by now, in order.
    async fn moves_so_far(&mut self) -> Vec<(u32, Lane, u16, u64)> {
        self.settle().await;
        let mut seen = Vec::new();
        while let Some(incoming) = self.events.try_recv() {
            if let Incoming::Move(step) = incoming {
                seen.push((step.from, step.lane, step.key, number(&step.payload)));
            }
        }
        seen
    }
}

/// The number in a move, large or small, in whatever encoding it came.
fn number(payload: &Payload) -> u64 {
    let value: serde_json::Value = match payload {
        Payload::Json(text) => serde_json::from_slice(text).expect("JSON"),
        Payload::MsgPack(bytes) => rmp_serde::from_slice(bytes).expect("MessagePack"),
    };
    value.as_u64().or_else(|| value[0].as_u64()).expect("a number")
}

async fn enter(node: &Node, name: &str, place: &RoomName, encoding: Encoding) -> Player {
    enter_with(node.options(&pass(name).player("*"), encoding), place).await
}

/// A player whose kernel takes little when it does not read.
async fn enter_narrow(node: &Node, name: &str, place: &RoomName) -> Player {
    let options = node.options(&pass(name).player("*"), Encoding::MsgPack);
    enter_with(Options { receive_buffer: Some(SMALL), queue: 1, ..options }, place).await
}

async fn enter_with(options: Options, place: &RoomName) -> Player {
    let (client, events) = Client::connect(options).await.expect("the token opens the door");
    let joined = client.join(place, None).await.expect("the room is open");
    Player { client, events, joined }
}

/// A server on which nobody is ever too fast.
async fn fast_node() -> Node {
    Node::with(fast).await
}

fn fast(config: &mut Config) {
    config.limits.moves_per_second = 100_000.0;
    config.limits.moves_burst = 1_000_000.0;
    config.limits.bytes_per_second = 1e9;
    config.limits.resume_grace_ms = 0;
}

async fn counter(node: &Node, name: &str) -> f64 {
    node.metrics().await.get(name).copied().unwrap_or_default()
}

/// Sends reliable moves until somebody is closed who does not read them; returns how many.
async fn pour_until_one_is_closed(node: &Node, sender: &Player) -> u64 {
    let mut sent = 0;
    until("the slow reader to be closed", async || {
        for _ in 0..50 {
            sender.heavy_step(0, sent, Lane::Reliable).await;
            sent += 1;
        }
        sender.settle().await;
        (counter(node, "closes_total{code=\"4002\"}").await > 0.0).then_some(())
    })
    .await;
    sent
}

/// What a receiver has seen of one sender.
#[derive(Debug, Default, PartialEq)]
struct Row {
    reliable: Vec<u64>,
    latest: Vec<u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_players_of_both_encodings_keep_all_promises() {
    const MOVES: u64 = 100;
    let (node, place) = (Node::with(|config| config.limits.resume_grace_ms = 0).await, room("match/8"));
    let mut players = Vec::new();
    for n in 0..8 {
        let encoding = if n % 2 == 0 { Encoding::MsgPack } else { Encoding::Json };
        players.push(enter(&node, &format!("player-{n}"), &place, encoding).await);
    }
    let handles: Vec<_> = players.iter().map(Player::handle).collect();
    let play = async |mut player: Player| {
        let mut rows = BTreeMap::<u32, Row>::new();
        let Player { client, events, joined } = &mut player;
        let sending = async {
            for n in 0..MOVES {
                for (key, lane) in [(0, Lane::Latest), (1, Lane::Reliable)] {
                    client.send_move(&joined.room, key, None, &n, lane, None).await.expect("the move is sent");
                }
            }
        };
        let receiving = async {
            let ends = |row: &Row| row.reliable.last() == Some(&(MOVES - 1)) && row.latest.last() == Some(&(MOVES - 1));
            while rows.len() < 7 || !rows.values().all(ends) {
                match events.recv().await {
                    Some(Incoming::Move(step)) => note(&mut rows, &step),
                    Some(Incoming::Message(ServerMessage::Error(error))) => panic!("{error:?}"),
                    Some(Incoming::Message(_)) => {}
                    end => panic!("the connection ended: {end:?}"),
                }
            }
        };
        within("all moves", async { tokio::join!(sending, receiving) }).await;
        // What would still come now would be one too many.
        assert_eq!(player.moves_so_far().await, []);
        (player, rows)
    };
    let tasks: Vec<_> = players.into_iter().map(|player| tokio::spawn(play(player))).collect();
    let mut still_here = Vec::new();
    for task in tasks {
        let (player, rows) = task.await.expect("no promise was broken");
        let others = handles.iter().copied().filter(|&handle| handle != player.handle());
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), others.collect::<Vec<_>>(), "nobody hears itself");
        for (from, row) in rows {
            assert_eq!(row.reliable, (0..MOVES).collect::<Vec<_>>(), "reliable moves of {from}");
            assert!(row.latest.is_sorted_by(|a, b| a < b), "latest moves of {from}: {:?}", row.latest);
        }
        still_here.push(player);
    }
    let metrics = node.metrics().await;
    assert_eq!((metrics["moves_total{lane=\"latest\"}"], metrics["moves_total{lane=\"reliable\"}"]), (800.0, 800.0));
    assert_eq!(metrics["moves_stale_total"], 0.0);
    drop(still_here);
    node.emptied().await;
    node.stop().await;
}

fn note(rows: &mut BTreeMap<u32, Row>, step: &Move) {
    let row = rows.entry(step.from).or_default();
    let (lane, key) = match step.lane {
        Lane::Latest => (&mut row.latest, 0),
        Lane::Reliable => (&mut row.reliable, 1),
    };
    assert_eq!(step.key, key, "the key is the sender's");
    lane.push(number(&step.payload));
}

#[tokio::test]
async fn a_move_to_named_members_reaches_them_alone() {
    let (node, place) = (Node::start().await, room("match/named"));
    let a = enter(&node, "a", &place, Encoding::MsgPack).await;
    let mut b = enter(&node, "b", &place, Encoding::MsgPack).await;
    let mut c = enter(&node, "c", &place, Encoding::Json).await;
    let mut d = enter(&node, "d", &place, Encoding::MsgPack).await;
    // The sender itself and a handle that nobody has are passed over; naming twice sends once.
    let to = [c.handle(), b.handle(), b.handle(), a.handle(), 4_000_000];
    for (n, lane) in [(1u64, Lane::Latest), (2, Lane::Reliable)] {
        a.client.send_move(&place, 5, None, &n, lane, Some(&to)).await.unwrap();
    }
    a.step(6, 3, Lane::Reliable).await;
    a.settle().await;
    let from = a.handle();
    let everybody = (from, Lane::Reliable, 6, 3);
    for named in [&mut b, &mut c] {
        let seen = named.moves_so_far().await;
        assert_eq!(seen, [(from, Lane::Latest, 5, 1), (from, Lane::Reliable, 5, 2), everybody]);
    }
    assert_eq!(d.moves_so_far().await, [everybody]);
    let late = enter(&node, "late", &place, Encoding::Json).await;
    assert_eq!(late.joined.state.len(), 0, "what was said to some is not the state of the room");
    node.stop().await;
}

#[tokio::test]
async fn a_sequence_number_that_does_not_rise_is_dropped_and_counted() {
    let (node, place) = (Node::start().await, room("match/stale"));
    let a = enter(&node, "a", &place, Encoding::MsgPack).await;
    let mut b = enter(&node, "b", &place, Encoding::Json).await;
    let steps = [(5, Lane::Reliable), (5, Lane::Reliable), (3, Lane::Latest), (6, Lane::Latest), (7, Lane::Reliable)];
    for (seq, lane) in steps {
        a.client.send_move(&place, 0, Some(seq), &seq, lane, None).await.unwrap();
    }
    a.settle().await;
    let from = a.handle();
    let seen = b.moves_so_far().await;
    assert_eq!(seen, [(from, Lane::Reliable, 0, 5), (from, Lane::Latest, 0, 6), (from, Lane::Reliable, 0, 7)]);
    assert_eq!(counter(&node, "moves_stale_total").await, 2.0);
    node.stop().await;
}

#[tokio::test]
async fn who_comes_late_gets_the_state_without_what_has_left() {
    let (node, place) = (Node::start().await, room("match/late"));
    let a = enter(&node, "a", &place, Encoding::MsgPack).await;
    let b = enter(&node, "b", &place, Encoding::Json).await;
    for (key, n, lane) in [(0, 1, Lane::Latest), (0, 2, Lane::Latest), (7, 3, Lane::Latest), (7, 9, Lane::Reliable)] {
        a.step(key, n, lane).await;
    }
    b.step(0, 4, Lane::Latest).await;
    a.settle().await;
    b.settle().await;
    let state = |joined: &Joined| -> Vec<(u32, u16, u64)> {
        joined.state.iter().map(|latest| (latest.from, latest.key, latest.data.get().parse().unwrap())).collect()
    };
    for encoding in [Encoding::MsgPack, Encoding::Json] {
        let late = enter(&node, "late", &place, encoding).await;
        let (of_a, of_b) = (a.handle(), b.handle());
        assert_eq!(state(&late.joined), [(of_a, 0, 2), (of_a, 7, 3), (of_b, 0, 4)]);
        late.client.close().await.unwrap();
    }
    a.client.leave(&place).await.unwrap();
    let late = enter(&node, "later", &place, Encoding::MsgPack).await;
    assert_eq!(state(&late.joined), [(b.handle(), 0, 4)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_sleeps_wakes_to_the_newest() {
    const KEYS: u64 = 3;
    let (node, place) = (fast_node().await, room("match/sleep"));
    let sender = enter(&node, "sender", &place, Encoding::MsgPack).await;
    let mut sleeper = enter_narrow(&node, "sleeper", &place).await;
    let mut awake = enter(&node, "awake", &place, Encoding::MsgPack).await;
    sleeper.client.pause_reading();
    let mut sent = 0;
    let mut burst = async || {
        for _ in 0..300 {
            sender.heavy_step(u16::try_from(sent % KEYS).unwrap(), sent, Lane::Latest).await;
            sent += 1;
        }
        sender.settle().await;
        sent
    };
    // The other one reads meanwhile, as whoever is awake does.
    let last_seen = tokio::spawn(async move {
        let mut last = BTreeMap::new();
        while let Some(incoming) = awake.events.recv().await {
            if let Incoming::Move(step) = incoming {
                let n = number(&step.payload);
                assert!(last.insert(step.key, n).is_none_or(|before| before < n));
            }
        }
        last
    });
    until("moves to be replaced", async || {
        burst().await;
        (counter(&node, "moves_replaced_total").await > 0.0).then_some(())
    })
    .await;
    burst().await;
    let sent = burst().await;
    let waited = counter(&node, "outbox_bytes_max").await;
    assert!(waited > 0.0 && waited <= node.hub.limits().outbound_budget as f64, "{waited} bytes waited");

    sleeper.client.resume_reading();
    let (mut newest, mut received) = (BTreeMap::new(), 0);
    while newest.len() < 3 || newest.values().any(|&n| n < sent - KEYS) {
        let step = sleeper.next_move().await;
        let n = number(&step.payload);
        assert_eq!(u64::from(step.key), n % KEYS, "each key has its own moves");
        assert!(newest.insert(step.key, n).is_none_or(|before| before < n), "{n} is older than what came before");
        received += 1;
    }
    assert!(received + 300 < sent, "{received} of {sent} came although they were over");
    assert_eq!(sleeper.moves_so_far().await, [], "nothing follows the newest");
    assert_eq!(counter(&node, "closes_total{code=\"4002\"}").await, 0.0);
    node.stop().await;
    let last = last_seen.await.expect("no move came out of order");
    assert_eq!(last, newest, "both end on the same");
}

/// In a room with a tick everything but the first move waits for it: of the latest only the newest is left by then, and
/// what is reliable comes along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_wait_for_the_tick_of_their_room() {
    let node = Node::with(|config| config.room.tick_ms = 1000).await;
    let place = room("match/ticks");
    let sender = enter(&node, "sender", &place, Encoding::MsgPack).await;
    let mut receiver = enter(&node, "receiver", &place, Encoding::MsgPack).await;
    let began = std::time::Instant::now();
    for n in 0..20 {
        sender.step(0, n, Lane::Latest).await;
        // In a turn of its own.
        sender.settle().await;
    }
    sender.step(1, 20, Lane::Reliable).await;
    sender.step(1, 21, Lane::Reliable).await;
    sender.settle().await;
    let took = began.elapsed();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|&n| n < 21) {
        seen.push(number(&receiver.next_move().await.payload));
    }
    // On a machine that is so slow that the tick came in between there is one more.
    let expected = if took.as_millis() < 1000 { 4..=4 } else { 4..=22 };
    assert!(expected.contains(&seen.len()) && seen[0] == 0 && seen.ends_with(&[19, 20, 21]), "{seen:?} in {took:?}");
    assert!(began.elapsed().as_millis() >= 900, "they waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_lets_reliable_moves_pile_up_is_closed_and_the_others_feel_nothing() {
    let (node, place) = (fast_node().await, room("match/slow"));
    let sender = enter(&node, "sender", &place, Encoding::MsgPack).await;
    let mut sleeper = enter_narrow(&node, "sleeper", &place).await;
    let mut awake = enter(&node, "awake", &place, Encoding::Json).await;
    sleeper.client.pause_reading();
    let gone = sleeper.client.peer();
    let watching = tokio::spawn(async move {
        let mut seen = Vec::new();
        let left = pick("the sleeper to leave", &mut awake.events, |incoming| match incoming {
            Incoming::Move(step) => {
                seen.push(number(&step.payload));
                None
            }
            Incoming::Message(ServerMessage::PeerLeft(PeerLeft { peer, reason, .. })) => Some((peer.peer, reason)),
            _ => None,
        })
        .await;
        (awake, seen, left)
    });
    let sent = pour_until_one_is_closed(&node, &sender).await;
    let budget = node.hub.limits().outbound_budget as f64;
    let waited = counter(&node, "outbox_bytes_max").await;
    // What crosses the budget is still taken: a row of moves that go out together, 16 KiB of payloads at most.
    let row = 2.0 * 16_384.0;
    assert!(waited > budget / 2.0 && waited < budget + row, "{waited} bytes waited");

    sleeper.client.resume_reading();
    let code = within("the close", async {
        loop {
            match sleeper.events.recv().await {
                Some(Incoming::Closed { code, .. }) => return code,
                Some(_) => {}
                None => panic!("the end comes last"),
            }
        }
    })
    .await;
    assert_eq!(code, Some(4002));
    let (mut awake, mut seen, left) = watching.await.expect("the other one was not disturbed");
    assert_eq!(left, (gone, LeaveReason::Slow));
    seen.extend(awake.moves_so_far().await.into_iter().map(|(.., n)| n));
    assert_eq!(seen, (0..sent).collect::<Vec<_>>(), "each reliable move once and in order");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_closed_for_what_waits_is_not_counted_again_for_the_time() {
    let node = Node::with(|config| {
        fast(config);
        config.limits.stalled_ms = 1000;
    })
    .await;
    let place = room("match/asleep");
    let sender = enter(&node, "sender", &place, Encoding::MsgPack).await;
    let sleeper = enter_narrow(&node, "sleeper", &place).await;
    sleeper.client.pause_reading();
    pour_until_one_is_closed(&node, &sender).await;
    // It does not even read the close, so the socket is given up once nothing could be written for a second.
    until("the end of the socket", async || (node.gauges().await["websocket"] == 1).then_some(())).await;
    assert_eq!(counter(&node, "closes_total{code=\"4002\"}").await, 1.0);
    assert_eq!(counter(&node, "limited_total{limit=\"stalled_ms\"}").await, 0.0);
    node.stop().await;
}
