//! Tests of the keeper of moves, by the frames it gives out.

use rallypoint_protocol::{Position, moves::MoveLimits};

use super::*;
use crate::rooms::Picture;

const LATEST: Lane = Lane::Latest;
const RELIABLE: Lane = Lane::Reliable;

fn room() -> RoomName {
    RoomName::new("match/7").unwrap()
}

fn joined() -> Rooms {
    let mut rooms = Rooms::default();
    rooms.joined(&room(), 7, Picture { position: Position::start(1), caught_up: true });
    rooms
}

fn shot(lane: Lane, key: u16, to: Option<Receivers>) -> Outgoing {
    let payload = Payload::MsgPack(vec![0xc0].into());
    Outgoing { room: room(), key, seq: None, lane, to, payload, place: None }
}

/// Lane and sequence number of everything that goes out now.
fn written(moves: &mut Moves, rooms: &Rooms, now: Instant) -> Vec<(Lane, u32)> {
    let frames = std::iter::from_fn(|| moves.next(rooms, now));
    let parsed = frames.map(|frame| {
        let ClientMove { lane, seq, .. } = ClientMove::parse(&frame, MoveLimits::default()).unwrap();
        (lane, seq)
    });
    parsed.collect()
}

fn reliable(seqs: impl IntoIterator<Item = u32>) -> Vec<(Lane, u32)> {
    seqs.into_iter().map(|seq| (RELIABLE, seq)).collect()
}

#[test]
fn only_what_has_no_proof_is_sent_again_in_order_and_with_its_numbers() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    for lane in [RELIABLE, RELIABLE, LATEST, RELIABLE, RELIABLE] {
        moves.push(shot(lane, 0, None), &mut rooms);
    }
    assert_eq!(written(&mut moves, &rooms, now).len(), 5);
    moves.proved(3);
    moves.lost();
    assert_eq!(written(&mut moves, &rooms, now), reliable([4, 5]));
    // Marks begin anew with each socket: an answer on this one proves what was written to this one.
    assert_eq!(moves.mark(), 2);
    moves.proved(1);
    moves.lost();
    assert_eq!(written(&mut moves, &rooms, now), reliable([5]));
    moves.proved(moves.mark());
    moves.lost();
    assert_eq!(written(&mut moves, &rooms, now), []);
}

#[test]
fn of_the_latest_moves_without_proof_the_newest_is_sent_again_in_its_place() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    let write = |moves: &mut Moves, rooms: &mut Rooms, lane, key| {
        moves.push(shot(lane, key, None), rooms);
        written(moves, rooms, now)
    };
    write(&mut moves, &mut rooms, LATEST, 1);
    write(&mut moves, &mut rooms, LATEST, 2);
    write(&mut moves, &mut rooms, RELIABLE, 0);
    write(&mut moves, &mut rooms, LATEST, 1);
    write(&mut moves, &mut rooms, RELIABLE, 0);
    moves.lost();
    // Something newer that was said meanwhile takes the place of what has no proof.
    moves.push(shot(LATEST, 2, None), &mut rooms);
    assert_eq!(written(&mut moves, &rooms, now), [(RELIABLE, 3), (LATEST, 4), (RELIABLE, 5), (LATEST, 6)]);
    moves.proved(moves.mark());
    moves.lost();
    assert_eq!(written(&mut moves, &rooms, now), []);
}

#[test]
fn said_before_a_loss_or_after_it_the_newest_counts() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    moves.push(shot(LATEST, 1, None), &mut rooms);
    written(&mut moves, &rooms, now);
    rooms.hide();
    moves.push(shot(LATEST, 1, None), &mut rooms);
    moves.lost();
    rooms.joined(&room(), 7, Picture { position: Position::start(1), caught_up: true });
    assert_eq!(written(&mut moves, &rooms, now), [(LATEST, 2)]);
}

#[test]
fn latest_moves_without_proof_are_bounded_and_ask_by_time_alone() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    for key in 0..=300 {
        moves.push(shot(LATEST, key, None), &mut rooms);
        written(&mut moves, &rooms, now);
    }
    assert_eq!((moves.ask(now), moves.ask_by()), (None, Some(now + PROVE_WITHIN)));
    assert_eq!(moves.ask(now + PROVE_WITHIN), Some(301));
    moves.lost();
    let seqs: Vec<_> = written(&mut moves, &rooms, now + 500 * PACE).into_iter().map(|(_, seq)| seq).collect();
    assert_eq!((seqs.len(), seqs[0]), (64, 46));
    assert_eq!(moves.unsent.len(), LATEST_MOST - 64);
}

#[test]
fn nothing_is_kept_where_nothing_can_be_resumed() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, false), joined(), Instant::now());
    (0..40).for_each(|_| moves.push(shot(RELIABLE, 0, None), &mut rooms));
    assert_eq!(written(&mut moves, &rooms, now).len(), 40);
    assert_eq!((moves.ask(now + PROVE_WITHIN), moves.ask_by()), (None, None));
    moves.lost();
    assert_eq!(written(&mut moves, &rooms, now), []);
}

#[test]
fn a_proof_is_asked_for_by_number_and_by_time_and_again_if_none_comes() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    (0..31).for_each(|_| moves.push(shot(RELIABLE, 0, None), &mut rooms));
    written(&mut moves, &rooms, now);
    assert_eq!((moves.ask(now), moves.ask_by()), (None, Some(now + PROVE_WITHIN)));
    moves.push(shot(RELIABLE, 0, None), &mut rooms);
    written(&mut moves, &rooms, now);
    assert_eq!((moves.ask(now), moves.ask(now)), (Some(32), None));
    let later = now + PROVE_WITHIN;
    assert_eq!((moves.ask(later), moves.ask(later)), (Some(32), None));

    assert!(!moves.answered(None) && !moves.answered(Some(31)));
    assert!(moves.answered(Some(32)));
    assert_eq!((moves.ask_by(), moves.ask(later + PROVE_WITHIN)), (None, None));
    // The second pong is ours as well, and must not reach the application.
    assert!(moves.answered(Some(32)));
}

#[test]
fn of_the_latest_moves_that_wait_only_the_newest_goes_out() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    moves.push(shot(LATEST, 1, None), &mut rooms); // 1
    moves.push(shot(RELIABLE, 1, None), &mut rooms); // 2
    moves.push(shot(LATEST, 1, Some(vec![5])), &mut rooms); // 3: to one member, so beside 1
    moves.push(shot(LATEST, 2, None), &mut rooms); // 4
    moves.push(shot(LATEST, 1, None), &mut rooms); // 5, in place of 1
    moves.push(shot(RELIABLE, 1, None), &mut rooms); // 6
    let expected = [(RELIABLE, 2), (LATEST, 3), (LATEST, 4), (LATEST, 5), (RELIABLE, 6)];
    assert_eq!(written(&mut moves, &rooms, now), expected);
}

#[test]
fn waiting_latest_moves_are_bounded_by_their_oldest() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    moves.push(shot(RELIABLE, 0, None), &mut rooms);
    for key in 0..=300 {
        moves.push(shot(LATEST, key, None), &mut rooms);
    }
    let seqs: Vec<_> = written(&mut moves, &rooms, now).into_iter().map(|(_, seq)| seq).collect();
    assert_eq!((seqs.len(), seqs[0], seqs[1], seqs[256]), (1 + LATEST_MOST, 1, 47, 302));
}

#[test]
fn after_a_loss_only_what_is_still_so_is_sent_once_the_room_is_back() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    moves.push(shot(RELIABLE, 0, None), &mut rooms);
    written(&mut moves, &rooms, now);
    moves.lost();
    moves.push(shot(RELIABLE, 0, None), &mut rooms);
    moves.push(shot(LATEST, 0, Some(vec![3])), &mut rooms);
    moves.push(shot(LATEST, 0, None), &mut rooms);
    moves.forget();
    rooms.forget_handles();
    assert_eq!((moves.next(&rooms, now), moves.next_at(), moves.is_held_back(now)), (None, None, false));
    rooms.joined(&room(), 9, Picture { position: Position::start(2), caught_up: true });
    assert_eq!(moves.next(&rooms, now), Some(vec![0x95, 1, 9, 0, 4, 0xc0]));
    assert_eq!(moves.next(&rooms, now), None);
}

#[test]
fn moves_stop_with_the_room() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    moves.push(shot(LATEST, 0, None), &mut rooms);
    moves.push(shot(RELIABLE, 0, None), &mut rooms);
    rooms.leave(&room());
    moves.push(shot(RELIABLE, 0, None), &mut rooms);
    assert_eq!(moves.next(&rooms, now), None);
    assert!(moves.unsent.is_empty());
}

#[test]
fn both_encodings_say_the_same() {
    for (encoding, payload) in
        [(Encoding::Json, Payload::Json(b"7".to_vec().into())), (Encoding::MsgPack, Payload::MsgPack(vec![7].into()))]
    {
        let (mut moves, mut rooms) = (Moves::new(encoding, true), joined());
        let outgoing = Outgoing { seq: Some(42), payload, ..shot(RELIABLE, 3, Some(vec![2])) };
        moves.push(outgoing, &mut rooms);
        let frame = moves.next(&rooms, Instant::now()).unwrap();
        match encoding {
            Encoding::MsgPack => assert_eq!(frame, [0x96, 4, 7, 3, 42, 0x91, 2, 7]),
            Encoding::Json => {
                let Ok(Request::Move(got)) = Request::decode(encoding, &frame, &Default::default()) else { panic!() };
                assert_eq!((got.lane, got.key, got.seq, got.to), (RELIABLE, 3, Some(42), Some(vec![2])));
            }
        }
    }
}

#[test]
fn a_loss_is_caught_up_with_at_a_rate_that_servers_take() {
    let (mut moves, mut rooms, now) = (Moves::new(Encoding::MsgPack, true), joined(), Instant::now());
    moves.lost();
    (0..70).for_each(|_| moves.push(shot(RELIABLE, 0, None), &mut rooms));
    assert_eq!(moves.next_at(), None);
    assert_eq!(written(&mut moves, &rooms, now), reliable(1..=64));
    assert_eq!((moves.is_held_back(now), moves.next_at()), (true, Some(now + PACE)));
    assert_eq!(written(&mut moves, &rooms, now + 3 * PACE), reliable(65..=67));
    // Behind what waits, until nothing does.
    moves.push(shot(RELIABLE, 0, None), &mut rooms);
    assert_eq!(written(&mut moves, &rooms, now + 100 * PACE), reliable(68..=71));
    assert!(moves.next_at().is_none() && !moves.is_held_back(now));
    (0..100).for_each(|_| moves.push(shot(RELIABLE, 0, None), &mut rooms));
    assert_eq!(written(&mut moves, &rooms, now + 100 * PACE).len(), 100);
}
