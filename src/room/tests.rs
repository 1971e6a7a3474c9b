//! Tests of the room: no clock, no socket, no runtime.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use rallypoint_protocol::{
    EventBody, PeerId, Position, RoomName, UserName,
    code::ErrorCode,
    event::{Entry, From, Gone, LeaveReason, Millis, NodeDown},
    moves::Lane,
    payload::Payload,
};
use serde_json::value::RawValue;

use super::{
    Room, RoomSettings,
    command::{Command, Departed, Move, Outcome, Present},
    history::{Append, History, Publication},
};
use crate::node::NodeId;

const START: Position = Position { epoch: 7, seq: 0, tag: rallypoint_protocol::position::Tag(0) };

fn room_with(settings: RoomSettings) -> Room {
    let history = History::new(START, settings.bounds());
    Room::new(RoomName::new("r").unwrap(), Arc::new(settings), history)
}

fn room() -> Room {
    room_with(RoomSettings::default())
}

fn peer(n: u8) -> PeerId {
    PeerId::parse(&format!("00000000-0000-4000-8000-0000000000{n:02x}")).unwrap()
}

fn entry(n: u8) -> Entry {
    Entry {
        peer: peer(n),
        handle: None,
        user: UserName::new(&format!("u{n}")).unwrap(),
        name: None,
        info: None,
        state: None,
        order: None,
        rtt: None,
        polite: None,
        offers: None,
    }
}

fn gone(n: u8) -> Gone {
    Gone { peer: peer(n), handle: None, user: entry(n).user, name: None }
}

/// What the log would deliver next.
fn next(room: &Room, body: EventBody, from: Option<u8>, now: Millis) -> Arc<Publication> {
    let from = from.map(|n| From { peer: Some(peer(n)), user: entry(n).user, name: None });
    let bytes: Box<[u8]> = rallypoint_protocol::Event { time: now, from, body }.to_bytes().into();
    let position = room.position().next(&bytes);
    Arc::new(Publication::new(room.name().clone(), position, bytes).unwrap())
}

fn publish(room: &mut Room, body: EventBody, from: Option<u8>, now: f64) -> Outcome {
    let publication = next(room, body, from, Millis(now));
    room.apply(Command::Apply(publication), Millis(now)).unwrap()
}

fn join(room: &mut Room, n: u8) {
    publish(room, EventBody::PeerJoined { peer: entry(n) }, None, 0.0);
}

fn say(room: &mut Room, n: u8) -> Outcome {
    publish(room, EventBody::Message { text: "hi".into() }, Some(n), 0.0)
}

fn step(n: u8, lane: Lane, key: u16, seq: Option<u32>, named: bool) -> Command {
    let payload = Payload::MsgPack(vec![n].into());
    Command::Move(Move { peer: peer(n), lane, key, seq, named, passed: None, payload })
}

#[test]
fn order_is_the_sequence_of_the_join_and_handles_are_never_reused() {
    let mut room = room();
    join(&mut room, 1);
    say(&mut room, 1);
    join(&mut room, 2);
    let of = |room: &Room, n| room.member(peer(n)).map(|m| (m.handle, m.entry.order));
    assert_eq!(of(&room, 1), Some((1, Some(1))));
    assert_eq!(of(&room, 2), Some((2, Some(3))));
    let left = publish(&mut room, EventBody::PeerLeft { peer: gone(2), reason: LeaveReason::Left }, None, 0.0);
    let departed = [Departed { peer: peer(2), handle: 2, here: true }];
    assert!(matches!(left, Outcome::Event { left, .. } if left == departed));
    join(&mut room, 2);
    assert_eq!(of(&room, 2), Some((3, Some(5))));
}

#[test]
fn only_the_next_event_counts() {
    let mut room = room();
    join(&mut room, 1);
    let mut ahead = room.clone();
    say(&mut ahead, 1);
    let later = next(&ahead, EventBody::Message { text: "later".into() }, None, Millis(0.0));
    let refused = room.apply(Command::Apply(later), Millis(0.0)).unwrap();
    assert!(matches!(refused, Outcome::NotNext(Append::Gap)));
    let again = room.history().events().next().unwrap().clone();
    let known = room.apply(Command::Apply(again), Millis(0.0)).unwrap();
    assert!(matches!(known, Outcome::NotNext(Append::Known)));
    assert_eq!((room.count(), room.position().seq), (1, 1));
}

#[test]
fn moves_are_numbered_and_old_ones_dropped() {
    let mut room = room();
    join(&mut room, 1);
    let mut relay = |command| room.apply(command, Millis(5.0)).unwrap();
    assert!(matches!(relay(step(1, Lane::Latest, 0, None, false)), Outcome::Relayed { from: 1, seq: 1 }));
    assert!(matches!(relay(step(1, Lane::Reliable, 0, Some(5), false)), Outcome::Relayed { seq: 5, .. }));
    assert!(matches!(relay(step(1, Lane::Latest, 9, Some(5), false)), Outcome::Stale));
    assert!(matches!(relay(step(1, Lane::Latest, 9, None, false)), Outcome::Relayed { seq: 6, .. }));
    assert!(matches!(relay(step(1, Lane::Latest, 9, Some(u32::MAX), false)), Outcome::Relayed { .. }));
    assert!(matches!(relay(step(1, Lane::Latest, 9, None, false)), Outcome::Stale));
    assert_eq!(room.apply(step(2, Lane::Latest, 0, None, false), Millis(0.0)).err(), Some(ErrorCode::NotJoined));
}

#[test]
fn the_state_is_the_latest_lane_to_everybody() {
    let mut room = room();
    join(&mut room, 1);
    join(&mut room, 2);
    for command in [
        step(1, Lane::Latest, 3, Some(1), false),
        step(1, Lane::Reliable, 4, Some(2), false),
        step(2, Lane::Latest, 5, Some(1), true),
        step(2, Lane::Latest, 6, Some(2), false),
    ] {
        room.apply(command, Millis(0.0)).unwrap();
    }
    let keys = |room: &Room| room.latest_moves().iter().map(|l| (l.from, l.key)).collect::<Vec<_>>();
    assert_eq!(keys(&room), [(1, 3), (2, 6)]);
    let version = room.state_version();
    publish(&mut room, EventBody::PeerLeft { peer: gone(1), reason: LeaveReason::Lost }, None, 0.0);
    assert_eq!(keys(&room), [(2, 6)]);
    assert!(room.state_version() > version);
}

#[test]
fn typing_ends_by_time_by_a_message_by_a_leave_and_by_a_loss() {
    let mut room = room();
    for n in 1..=4 {
        join(&mut room, n);
    }
    let types = |room: &mut Room, n, now| room.apply(Command::Typing(peer(n)), Millis(now)).unwrap();
    assert!(matches!(types(&mut room, 1, 0.0), Outcome::Typing { began: true }));
    assert!(matches!(types(&mut room, 1, 3000.0), Outcome::Typing { began: false }));
    types(&mut room, 2, 0.0);
    types(&mut room, 3, 0.0);
    types(&mut room, 4, 0.0);
    let hush = |room: &mut Room| room.apply(Command::Hush(peer(4)), Millis(0.0)).unwrap();
    assert!(matches!(hush(&mut room), Outcome::Hushed { typing: true }));
    assert!(matches!(hush(&mut room), Outcome::Hushed { typing: false }));
    let stopped = |outcome| match outcome {
        Outcome::Event { stopped_typing, .. } => stopped_typing,
        other => panic!("{other:?}"),
    };
    assert_eq!(stopped(say(&mut room, 2)), Some(peer(2)));
    let leave = EventBody::PeerLeft { peer: gone(3), reason: LeaveReason::Lost };
    assert_eq!(stopped(publish(&mut room, leave, None, 0.0)), Some(peer(3)));
    let tick = |room: &mut Room, now| match room.apply(Command::Tick, Millis(now)).unwrap() {
        Outcome::Ticked(ticked) => ticked,
        other => panic!("{other:?}"),
    };
    assert_eq!(room.deadline(), Some(Millis(9000.0)));
    assert!(tick(&mut room, 8999.0).stopped_typing.is_empty());
    assert_eq!(tick(&mut room, 9000.0).stopped_typing, [peer(1)]);
    assert_eq!(room.deadline(), None);
}

#[test]
fn nobody_is_left_behind_in_the_rosters_of_a_large_room() {
    let mut room = room_with(RoomSettings { gather_above: 2, gather_until: 2, ..RoomSettings::default() });
    (1..=3).for_each(|n| join(&mut room, n));
    assert!(room.is_gathering());
    // Whoever joins between these two is shown 4, and must be told that it is gone.
    room.apply(Command::Enter(Box::new(entry(4))), Millis(0.0)).unwrap();
    room.apply(Command::Exit(peer(4)), Millis(0.0)).unwrap();
    room.apply(Command::Enter(Box::new(entry(5))), Millis(0.0)).unwrap();
    for n in 1..=3 {
        room.apply(Command::Exit(peer(n)), Millis(0.0)).unwrap();
    }
    // The room is small again: an event tells of 5, and no summary behind it may say that it joined.
    assert!(!room.is_gathering());
    publish(&mut room, EventBody::PeerLeft { peer: gone(5), reason: LeaveReason::Left }, None, 0.0);
    join(&mut room, 1);
    let Ok(Outcome::Ticked(ticked)) = room.apply(Command::Tick, Millis(1000.0)) else { panic!("a tick") };
    let presence = ticked.presence.unwrap().0;
    assert_eq!(presence.joined.len(), 0);
    assert_eq!(presence.left.iter().map(|gone| gone.peer).collect::<Vec<_>>(), [peer(4), peer(2), peer(3)]);
}

#[test]
fn a_large_room_tells_joins_together_once_a_second() {
    let mut room = room_with(RoomSettings { gather_above: 2, gather_until: 2, ..RoomSettings::default() });
    for n in 1..=3 {
        assert!(!room.is_gathering());
        join(&mut room, n);
    }
    assert!(room.is_gathering());
    for n in 4..=30 {
        room.apply(Command::Enter(Box::new(entry(n))), Millis(100.0)).unwrap();
    }
    room.apply(Command::Exit(peer(30)), Millis(200.0)).unwrap();
    room.apply(Command::Exit(peer(1)), Millis(200.0)).unwrap();
    assert_eq!(room.apply(Command::Exit(peer(1)), Millis(200.0)).err(), Some(ErrorCode::NotJoined));
    assert_eq!(room.deadline(), Some(Millis(1100.0)));
    let Outcome::Ticked(ticked) = room.apply(Command::Tick, Millis(1100.0)).unwrap() else { panic!() };
    let presence = ticked.presence.unwrap().0;
    assert_eq!((presence.count, presence.joined.len(), presence.left.len()), (28, 20, 2));
    assert!(presence.more, "27 joined, 20 are listed");
    assert_eq!(room.member(peer(9)).unwrap().entry.order, Some(4), "one beyond the head at its join");
    for n in 2..=29 {
        room.apply(Command::Exit(peer(n)), Millis(1200.0)).unwrap();
    }
    assert!(!room.is_gathering());
}

#[test]
fn round_trips_are_reported_every_few_seconds_and_only_news() {
    let mut room = room();
    join(&mut room, 1);
    let measured = |room: &mut Room, n| {
        room.apply(Command::Latency { peer: peer(n), rtt: 10.0, jitter: 1.0 }, Millis(0.0)).unwrap();
    };
    measured(&mut room, 1);
    assert_eq!(room.deadline(), None, "nobody to tell");
    join(&mut room, 2);
    measured(&mut room, 2);
    assert_eq!(room.deadline(), Some(Millis(5000.0)));
    let Outcome::Ticked(ticked) = room.apply(Command::Tick, Millis(5000.0)).unwrap() else { panic!() };
    assert_eq!(ticked.latency, [(1, 10.0, 1.0), (2, 10.0, 1.0)]);
    assert_eq!(room.deadline(), None);
}

/// What can be seen of a room from outside.
fn view(room: &Room) -> String {
    let members: BTreeMap<_, _> = room
        .members(None)
        .map(|m| {
            (m.entry.peer, (m.handle, m.entry.order, m.entry.state.as_ref().map(|s| s.get().to_owned()), m.entry.rtt))
        })
        .collect();
    let moves: Vec<_> = room.latest_moves().into_iter().cloned().collect();
    let head = (room.position(), room.deadline(), room.spectators(), room.is_gathering(), room.state_version());
    format!("{members:?} {moves:?} {head:?}")
}

/// A command as proptest makes it up; peers and events are filled in when it is run.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    who: u8,
    value: u16,
    wait: u16,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..12, 1u8..8, 0u16..40, 0u16..3000);
    prop::collection::vec(step.prop_map(|(kind, who, value, wait)| Step { kind, who, value, wait }), 1..120)
}

/// Runs a step; returns the command it became, so that a replica can be given the same one.
fn run(room: &mut Room, step: Step, now: Millis) -> (Command, String) {
    let Step { kind, who, value, .. } = step;
    let lane = if value % 2 == 0 { Lane::Latest } else { Lane::Reliable };
    let state = RawValue::from_string(format!("{{\"v\":{value}}}")).unwrap();
    let joined = room.member(peer(who)).is_some();
    let body = match kind {
        0 | 1 if !joined => Some(EventBody::PeerJoined { peer: entry(who) }),
        2 if joined => Some(EventBody::PeerLeft { peer: gone(who), reason: LeaveReason::Left }),
        3 => Some(EventBody::Message { text: format!("{value}").into() }),
        _ => None,
    };
    let command = match (body, kind) {
        (Some(body), _) => Command::Apply(next(room, body, Some(who), now)),
        (None, 4) => Command::Enter(Box::new(entry(who))),
        (None, 5) => Command::Exit(peer(who)),
        (None, 6 | 7) => self::step(who, lane, value % 4, Some(u32::from(value)), value % 5 == 0),
        (None, 8) => Command::Update { peer: peer(who), state: Some(state) },
        (None, 9) => Command::Typing(peer(who)),
        (None, 10) => Command::Latency { peer: peer(who), rtt: value.into(), jitter: 0.0 },
        (None, 11) => Command::Spectators(value.into()),
        _ => Command::Tick,
    };
    let outcome = room.apply(command.clone(), now);
    (command, format!("{:?}", outcome.map(|outcome| format!("{outcome:?}"))))
}

/// The two lanes come from another node on different ways; their order was checked there.
#[test]
fn a_move_of_another_node_is_never_stale() {
    let mut room = room();
    let present = Present { entry: Entry { order: Some(1), ..entry(1) }, node: NodeId::random() };
    room.apply(Command::Seat(Box::new(present)), Millis(0.0)).unwrap();
    for (lane, seq) in [(Lane::Latest, 5), (Lane::Reliable, 3), (Lane::Reliable, 4)] {
        let payload = Payload::MsgPack(vec![1].into());
        let step = Move { peer: peer(1), lane, key: 1, seq: Some(seq), named: false, passed: Some(77), payload };
        let outcome = room.apply(Command::Move(step), Millis(1000.0)).unwrap();
        assert!(matches!(outcome, Outcome::Relayed { seq: relayed, .. } if relayed == seq));
    }
    assert!(room.latest_moves().iter().map(|latest| (latest.seq, latest.time)).eq([(5, 77)]));
}

/// Its client sends the newest again to the node on which it goes on.
#[test]
fn a_latest_move_that_comes_again_by_another_node_is_stale() {
    let mut room = room();
    let present = Present { entry: Entry { order: Some(1), ..entry(1) }, node: NodeId::random() };
    room.apply(Command::Seat(Box::new(present)), Millis(0.0)).unwrap();
    for (key, seq, is_stale) in [(1, 5, false), (2, 4, false), (1, 5, true), (2, 3, true), (1, 6, false)] {
        let payload = Payload::MsgPack(vec![1].into());
        let step =
            Move { peer: peer(1), lane: Lane::Latest, key, seq: Some(seq), named: false, passed: Some(77), payload };
        let outcome = room.apply(Command::Move(step), Millis(1000.0)).unwrap();
        assert_eq!(matches!(outcome, Outcome::Stale), is_stale, "{key} {seq}");
    }
}

#[test]
fn a_dead_node_takes_its_members_with_it_and_no_others() {
    let mut room = room();
    let (dead, alive) = (NodeId::random(), NodeId::random());
    join(&mut room, 1);
    for (n, node) in [(2, dead), (3, alive), (4, dead)] {
        let present = Present { entry: Entry { order: Some(1), ..entry(n) }, node };
        room.apply(Command::Seat(Box::new(present)), Millis(0.0)).unwrap();
    }
    let handles = |room: &Room| room.members(None).map(|member| member.handle).collect::<Vec<_>>();
    assert_eq!((handles(&room), room.here()), (vec![1, 2, 3, 4], 1));
    let mut nodes = vec![dead, alive];
    nodes.sort_unstable();
    assert_eq!(room.elsewhere().collect::<Vec<_>>(), nodes);
    let body = |node: NodeId| {
        let (count, left) = (2, vec![gone(2), gone(4)]);
        EventBody::NodeDown(NodeDown { node: node.to_string().into(), count, spectators: 0, left, more: false })
    };
    let departed = [(2, 2), (4, 4)].map(|(n, handle)| Departed { peer: peer(n), handle, here: false });
    for removed in [&departed[..], &[]] {
        let outcome = publish(&mut room, body(dead), None, 0.0);
        assert!(matches!(outcome, Outcome::Event { left, .. } if left == removed));
        assert_eq!((handles(&room), room.here()), (vec![1, 3], 1));
        assert_eq!(room.elsewhere().collect::<Vec<_>>(), [alive]);
    }
    room.apply(Command::Unseat(peer(3)), Millis(0.0)).unwrap();
    assert!(!room.is_apart());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// A replica that starts from a snapshot taken anywhere and gets the rest, in batches of any
    /// size, ends as the room that saw everything: same roster, handles, moves, timers, log.
    #[test]
    fn any_snapshot_and_the_rest_equal_the_whole(
        steps in steps(),
        cut in 0usize..120,
        batch in 1usize..10,
    ) {
        let settings = RoomSettings { gather_above: 4, gather_until: 3, history_events: 16, ..RoomSettings::default() };
        let mut whole = room_with(settings);
        let mut rest = Vec::new();
        let mut snapshot = whole.snapshot();
        let mut now = Millis(0.0);
        for (n, &step) in steps.iter().enumerate() {
            if n == cut.min(steps.len()) {
                snapshot = whole.snapshot();
                rest.clear();
            }
            now = now.after(step.wait.into());
            let (command, outcome) = run(&mut whole, step, now);
            rest.push((command, outcome, now));
        }
        let at = snapshot.position();
        let mut replica = Room::restore(snapshot);
        prop_assert_eq!(replica.position(), at);
        for some in rest.chunks(batch) {
            for (command, wanted, now) in some {
                let outcome = replica.apply(command.clone(), *now);
                let outcome = format!("{:?}", outcome.map(|outcome| format!("{outcome:?}")));
                prop_assert_eq!(&outcome, wanted);
                // A delivery that comes twice changes nothing.
                if matches!(command, Command::Apply(_)) {
                    let before = view(&replica);
                    _ = replica.apply(command.clone(), *now);
                    prop_assert_eq!(before, view(&replica));
                }
            }
        }
        prop_assert_eq!(view(&whole), view(&replica));
        let since: Vec<_> = replica.since(at).map(|events| events.map(|p| p.position).collect()).unwrap_or_default();
        if let Ok(wanted) = whole.since(at) {
            prop_assert_eq!(since, wanted.map(|p| p.position).collect::<Vec<_>>());
        }
    }

    /// Whatever happens: the bounds hold, the log has no hole, and handles are all different.
    #[test]
    fn whatever_happens_the_bounds_hold(steps in steps()) {
        let settings = RoomSettings {
            history_events: 8, history_bytes: 600, state_bytes: 5, state_keys: 2, gather_above: 4, gather_until: 3,
            ..RoomSettings::default()
        };
        let mut room = room_with(settings);
        let mut now = Millis(0.0);
        for step in steps {
            now = now.after(step.wait.into());
            run(&mut room, step, now);
            let positions: Vec<_> = room.history().events().map(|p| p.position).collect();
            prop_assert!(positions.len() <= 8 && room.history().bytes() <= 600);
            for pair in positions.windows(2) {
                prop_assert_eq!(pair[0].seq + 1, pair[1].seq);
            }
            let moves = room.latest_moves();
            prop_assert!(moves.iter().map(|l| l.payload.len()).sum::<usize>() <= 5);
            for member in room.members(None) {
                let own = moves.iter().filter(|l| l.from == member.handle).count();
                prop_assert!(own <= 2);
                let same = room.members(None).filter(|other| other.handle == member.handle).count();
                prop_assert_eq!(same, 1);
            }
            prop_assert!(moves.iter().all(|l| room.member(l.peer).is_some()), "no state of a member that left");
        }
    }
}
