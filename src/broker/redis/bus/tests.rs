use rallypoint_protocol::{PeerId, request::SignalKind};

use super::*;
use crate::broker::parcel::Data;

fn own() -> NodeId {
    NodeId::new(1).unwrap()
}

fn parcel(room: &str, n: u32) -> Parcel {
    let (from, to, kind) = (PeerId::random(), PeerId::random(), SignalKind::Offer);
    Parcel::Signal { room: RoomName::new(room).unwrap(), from, to, kind, data: Data::Json(n.to_string().into()) }
}

fn number(parcel: &Parcel) -> u32 {
    match parcel {
        Parcel::Signal { data: Data::Json(text), .. } => std::str::from_utf8(text).unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// What is sent goes this way, and may be lost.
fn pass(from: &mut Road, to: &mut Road, now: Instant, is_lost: bool) -> Vec<Parcel> {
    let frame = from.frame(own(), now);
    from.is_busy = false;
    frame.filter(|_| !is_lost).map_or_else(Vec::new, |frame| to.take(frame, now))
}

#[test]
fn whatever_is_lost_arrives_once_and_in_order() {
    let (begin, mut random) = (Instant::now(), 7_u64);
    let mut now = begin;
    let (mut here, mut there) = (Road::new(now), Road::new(now));
    let mut is_lost = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 62 == 0
    };
    let (mut arrived, mut sent) = (Vec::new(), 0);
    while arrived.len() < 500 {
        if sent < 500 {
            here.push(parcel("r", sent), now);
            sent += 1;
        }
        arrived.extend(pass(&mut here, &mut there, now, is_lost()));
        pass(&mut there, &mut here, now, is_lost());
        now += Duration::from_millis(100);
        assert!(now - begin < Duration::from_secs(600), "{} arrived", arrived.len());
    }
    assert!(arrived.iter().map(number).eq(0..500), "{arrived:?}");
    // The last acknowledgement may be one of those that were lost.
    while !here.waiting.is_empty() {
        now += RETRY;
        assert_eq!(pass(&mut here, &mut there, now, false), []);
        pass(&mut there, &mut here, now, false);
    }
    assert_eq!((here.bytes, here.due(), here.frame(own(), now)), (0, None, None));
}

#[test]
fn what_is_given_up_is_told_in_its_place() {
    let now = Instant::now();
    let (mut here, mut there) = (Road::new(now), Road::new(now));
    here.push(parcel("a", 1), now);
    assert_eq!(pass(&mut here, &mut there, now, false).len(), 1);
    pass(&mut there, &mut here, now, false);
    for (n, room) in (2..).zip(["a", "b", "a"]) {
        here.push(parcel(room, n), now);
    }
    pass(&mut here, &mut there, now, true);
    let late = now + PATIENCE;
    here.push(parcel("b", 5), late);
    let lost = |room: &str| Parcel::Lost { room: RoomName::new(room).unwrap() };
    let arrived = pass(&mut here, &mut there, late, false);
    assert_eq!(arrived, [lost("a"), lost("b")]);
    pass(&mut there, &mut here, late, false);
    here.push(parcel("a", 6), late);
    assert_eq!(pass(&mut here, &mut there, late, false).iter().map(number).collect::<Vec<_>>(), [6]);
    pass(&mut there, &mut here, late, false);
    assert!(here.waiting.is_empty() && here.since == there.taken + 1);
}

#[test]
fn what_waits_is_bounded() {
    let now = Instant::now();
    let mut here = Road::new(now);
    let large = "x".repeat(FRAME / 2);
    let big = |room: &str| {
        let (from, to, kind) = (PeerId::random(), PeerId::random(), SignalKind::Offer);
        Parcel::Signal { room: RoomName::new(room).unwrap(), from, to, kind, data: Data::Json(large.clone().into()) }
    };
    for n in 0..WAITING_MAX / FRAME * 3 {
        here.push(big(&format!("r{}", n % 3)), now);
        assert!(here.bytes <= WAITING_MAX);
    }
    assert!(here.waiting.iter().any(|(parcel, _)| matches!(parcel, Parcel::Lost { .. })));
    let mut sent = 0;
    while let Some(frame) = here.frame(own(), now) {
        here.is_busy = false;
        sent += frame.parcels.len();
        assert!(rmp_serde::to_vec(&frame).unwrap().len() <= FRAME * 2);
    }
    assert_eq!(sent, here.waiting.len());
}

#[test]
fn of_the_latest_moves_only_the_last_is_said() {
    let bus = Bus::default();
    let (room, one, two) = (RoomName::new("r").unwrap(), PeerId::random(), PeerId::random());
    for (peer, on) in [(one, true), (two, true), (one, false)] {
        bus.whisper(&room, Whisper::Typing(peer, on));
    }
    let said = bus.whispers();
    assert_eq!(said, [(room.clone(), vec![Whisper::Typing(two, true), Whisper::Typing(one, false)])]);
    // While that is on its way, more gathers.
    bus.whisper(&room, Whisper::Typing(two, false));
    assert_eq!(bus.whispers(), []);
    bus.said(&Said::Room(room.clone()));
    assert_eq!(bus.whispers().len(), 1);
    bus.said(&Said::Room(room));
    let rooms = bus.rooms.lock();
    assert_eq!((rooms.gathered.len(), rooms.bytes), (0, 0));
}

#[test]
fn another_life_of_a_node_begins_to_count_anew() {
    let bus = Bus::default();
    let other = NodeId::new(2).unwrap();
    let frame = |first, parcels| Frame { from: 2, since: 1, first, parcels, taken: 0 };
    assert_eq!(bus.take(other, frame(1, vec![parcel("r", 1)])).len(), 1);
    assert_eq!(bus.take(other, frame(1, vec![parcel("r", 1)])).len(), 0);
    bus.begin_anew();
    assert_eq!(bus.take(other, frame(1, vec![parcel("r", 1)])).len(), 1);
}
