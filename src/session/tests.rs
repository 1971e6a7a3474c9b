//! Tests of the session: no clock, no socket, no runtime.

use std::sync::Arc;

use rallypoint_protocol::{
    PeerId, Request, RoomName, UserName, Verb, Verbs,
    code::ErrorCode,
    event::Millis,
    moves::Lane,
    payload::Payload,
    request::{JsonMove, SignalKind},
    rights::{RULES, rule_of},
};
use serde_json::value::RawValue;

use super::{
    Bounds, Part, Seat, Session, Verdict,
    answers::Answer,
    limits::{Rate, Rates},
};
use crate::auth::{Grant, Limit, Pattern, RoomGrant};

const ROOM: &str = "match/1";

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn grant(verbs: &[Verb]) -> Arc<Grant> {
    let rooms = [RoomGrant { pattern: Pattern::All, role: None, verbs: Verbs::of(verbs) }];
    Arc::new(Grant { rooms: Box::new(rooms), ..Grant::nobody(UserName::new("ada").unwrap()) })
}

fn bounds(requests: f64) -> Arc<Bounds> {
    let rate = |burst| Rate { per_second: 10.0, burst };
    Arc::new(Bounds { rooms: 2, rates: Rates { requests: rate(requests), moves: rate(2.0), bytes: rate(1000.0) } })
}

fn session(verbs: &[Verb]) -> Session<()> {
    Session::new(PeerId::random(), grant(verbs), bounds(100.0), Millis(0.0))
}

fn seat(name: &str, handle: u32, part: Part) -> Seat<()> {
    Seat::new(room(name), handle, part, ())
}

/// One request of every type that names a room.
fn requests(id: u64) -> Vec<Request> {
    let raw = || RawValue::from_string("{}".to_owned()).unwrap();
    let (name, data) = (room(ROOM), Payload::Json(b"1".to_vec().into()));
    let signal = |kind| Request::Signal { id, room: name.clone(), to: PeerId::random(), kind, data: data.clone() };
    vec![
        Request::Join { id, room: name.clone(), since: None },
        Request::Leave { id, room: name.clone() },
        signal(SignalKind::Offer),
        signal(SignalKind::Answer),
        signal(SignalKind::IceCandidate),
        Request::Message { id, room: name.clone(), text: "hi".into() },
        Request::Publish {
            id,
            room: name.clone(),
            kind: rallypoint_protocol::Kind::new("price").unwrap(),
            data: raw(),
        },
        Request::Update { id, room: name.clone(), state: raw() },
        Request::Members { id, room: name.clone(), after: None, limit: 1, handles: None },
        Request::Watch { id, room: name.clone(), since: None, state: None },
        Request::Unwatch { id, room: name.clone() },
        Request::Typing { room: name.clone() },
        Request::Move(JsonMove {
            room: name.clone(),
            lane: Lane::Latest,
            key: 0,
            seq: None,
            to: None,
            data: data.clone(),
        }),
    ]
}

fn code(session: &mut Session<()>, request: &Request) -> Option<ErrorCode> {
    session.handle(request, 1, Millis(0.0)).err().map(|refusal| refusal.refused.code)
}

#[test]
fn every_verb_of_the_table_is_asked_for() {
    let named: Vec<_> = RULES.iter().map(|rule| rule.name).filter(|name| !name.contains('/')).collect();
    let about_rooms = requests(1);
    assert!(about_rooms.len() + 5 >= named.len(), "the test knows every message of the table");
    for (n, request) in about_rooms.iter().enumerate() {
        let rule = rule_of(request.name());
        let member = || seat(ROOM, 1, if request.name() == "unwatch" { Part::Watcher } else { Part::Member });
        let seated = rule.member || request.name() == "unwatch";
        let with_id = &requests(n as u64 + 1)[n];
        if let Some(verb) = rule.verb {
            let all_but: Vec<_> = Verb::ALL.into_iter().filter(|other| *other != verb).collect();
            let mut without = session(&all_but);
            without.sit(member());
            assert_eq!(code(&mut without, with_id), Some(ErrorCode::Forbidden), "{}", request.name());
        }
        let only: Vec<_> = rule.verb.into_iter().collect();
        let mut with = session(&only);
        if seated {
            with.sit(member());
        }
        assert_eq!(code(&mut with, with_id), None, "{}", request.name());
        if seated {
            assert_eq!(code(&mut session(&only), with_id), Some(ErrorCode::NotJoined), "{}", request.name());
        }
    }
}

#[test]
fn users_logs_are_out_of_reach_whatever_the_token_says() {
    let mut session = session(&Verb::ALL);
    let join = Request::Join { id: 1, room: RoomName::of_user(&UserName::new("eve").unwrap()), since: None };
    assert_eq!(code(&mut session, &join), Some(ErrorCode::ReservedName));
}

#[test]
fn so_many_rooms_and_no_more() {
    let mut session = session(&Verb::ALL);
    session.sit(seat("a", 1, Part::Member));
    session.sit(seat("b", 2, Part::Watcher));
    let join = |id, name| Request::Join { id, room: room(name), since: None };
    assert_eq!(code(&mut session, &join(1, "c")), Some(ErrorCode::TooManyRooms));
    session.stand(&room("b"));
    assert_eq!(code(&mut session, &join(2, "c")), None);
}

#[test]
fn a_repeated_id_is_answered_and_not_done() {
    let mut session = session(&Verb::ALL);
    session.sit(seat(ROOM, 1, Part::Member));
    let say = |id| Request::Message { id, room: room(ROOM), text: "x".into() };
    assert_eq!(session.handle(&say(5), 1, Millis(0.0)), Ok(Verdict::Go));
    session.answered(5, Answer::Done(None));
    assert_eq!(session.handle(&say(5), 1, Millis(0.0)), Ok(Verdict::Again(Answer::Done(None))));
    assert_eq!(code(&mut session, &say(4)), Some(ErrorCode::BadId));
}

#[test]
fn too_fast_is_told_when_to_come_back() {
    let mut slow = Session::<()>::new(PeerId::random(), grant(&Verb::ALL), bounds(1.0), Millis(0.0));
    let ping = Request::Ping { id: None, t: None };
    assert_eq!(slow.handle(&ping, 1, Millis(0.0)), Ok(Verdict::Go));
    let refusal = slow.handle(&ping, 1, Millis(0.0)).unwrap_err();
    assert_eq!((refusal.refused.code, refusal.refused.retry_after), (ErrorCode::RateLimited, Some(100)));
    assert_eq!(slow.handle(&ping, 1, Millis(100.0)), Ok(Verdict::Go));
    // The hasty request used its id up: sent again it is answered as before, not done.
    let hasty = Request::Ping { id: Some(1), t: None };
    let refusal = slow.handle(&hasty, 1, Millis(100.0)).unwrap_err();
    let answer = Answer::Refused(Box::new(refusal.refused));
    slow.answered(1, answer.clone());
    assert_eq!(slow.handle(&hasty, 1, Millis(1000.0)), Ok(Verdict::Again(answer)));
    let large = slow.handle(&ping, 2000, Millis(2000.0)).unwrap_err();
    assert_eq!(large.refused.code, ErrorCode::RateLimited);
}

#[test]
fn a_hasty_repetition_is_answered_as_before() {
    let mut slow = Session::<()>::new(PeerId::random(), grant(&Verb::ALL), bounds(2.0), Millis(0.0));
    slow.sit(seat(ROOM, 1, Part::Member));
    let say = |id| Request::Message { id, room: room(ROOM), text: "x".into() };
    for id in [1, 2] {
        assert_eq!(slow.handle(&say(id), 1, Millis(0.0)), Ok(Verdict::Go));
    }
    slow.answered(1, Answer::Done(None));
    // After a resume everything without an answer is repeated at once.
    assert_eq!(slow.handle(&say(1), 1, Millis(0.0)), Ok(Verdict::Again(Answer::Done(None))));
    assert_eq!(slow.handle(&say(2), 1, Millis(0.0)), Ok(Verdict::Again(Answer::Pending)), "it is being carried out");
    assert_eq!(code(&mut slow, &say(3)), Some(ErrorCode::RateLimited));
    // It counts as haste all the same: a flood of repetitions ends like any other.
    let mut repeat = || slow.handle(&say(1), 1, Millis(0.0));
    let refusal = (0..500).find_map(|_| repeat().err()).unwrap();
    assert!(refusal.closes);
}

#[test]
fn moves_have_a_rate_and_a_seat_of_their_own() {
    let mut session = session(&[Verb::Move]);
    session.sit(seat(ROOM, 7, Part::Member));
    session.sit(seat("watched", 8, Part::Watcher));
    assert!(session.handle_move(7, 1, Millis(0.0)).is_ok());
    assert_eq!(session.handle_move(8, 1, Millis(0.0)).unwrap_err().refused.code, ErrorCode::NotJoined);
    let refusal = session.handle_move(7, 1, Millis(0.0)).unwrap_err();
    assert_eq!((refusal.refused.code, refusal.refused.room), (ErrorCode::RateLimited, Some(room(ROOM))));
    assert!(session.handle_move(7, 1, Millis(1000.0)).is_ok());
    // Moves to a room it is not in are no way around the rate.
    let mut astray = || session.handle_move(9, 1, Millis(1000.0)).unwrap_err();
    assert_eq!(astray().refused.code, ErrorCode::NotJoined);
    let mut hasty = (0..501).map(|_| astray());
    assert!(hasty.all(|refusal| refusal.refused.code == ErrorCode::RateLimited && refusal.refused.room.is_none()));
    assert!(astray().closes);
}

#[test]
fn acknowledgements_cost_their_bytes_and_pings_a_request() {
    let mut session = Session::<()>::new(PeerId::random(), grant(&Verb::ALL), bounds(2.0), Millis(0.0));
    let mut ack = || session.handle(&Request::Ack { n: 0 }, 100, Millis(0.0)).map_err(|refusal| refusal.limit);
    for _ in 0..9 {
        assert_eq!(ack(), Ok(Verdict::Go), "whoever receives much acknowledges often, and may speak all the same");
    }
    let mut ping = || session.handle_control(4, Millis(0.0)).map_err(|refusal| refusal.limit);
    assert_eq!([ping(), ping(), ping()], [Ok(()), Ok(()), Err(Some("requests_per_second"))]);
    let mut ack = || session.handle(&Request::Ack { n: 0 }, 100, Millis(0.0)).map_err(|refusal| refusal.limit);
    assert_eq!(ack(), Err(Some("bytes_per_second")));
}

#[test]
fn a_newer_token_takes_rights_away_at_once() {
    let mut session = session(&Verb::ALL);
    session.sit(seat("a", 1, Part::Member));
    session.sit(seat("b", 2, Part::Watcher));
    assert_eq!(session.refresh(grant(&[Verb::Watch]), bounds(100.0)).unwrap(), [room("a")]);
    assert_eq!(session.refresh(grant(&[Verb::Join]), bounds(100.0)).unwrap(), [room("b")]);
    let stranger = Arc::new(Grant::nobody(UserName::new("eve").unwrap()));
    assert_eq!(session.refresh(stranger, bounds(100.0)).unwrap_err().refused.code, ErrorCode::Forbidden);
}

#[test]
fn a_token_lowers_limits_and_raises_none() {
    let own = bounds(100.0);
    let lim = Limit { rooms: Some(1), requests: Some(1), moves: Some(1000), bytes: Some(10) };
    let lowered = own.lowered(&lim);
    assert_eq!(lowered.rooms, 1);
    assert_eq!(lowered.rates.requests, Rate { per_second: 1.0, burst: 10.0 });
    assert_eq!(lowered.rates.moves, own.rates.moves, "above the server's own");
    assert_eq!(lowered.rates.bytes, Rate { per_second: 10.0, burst: 1000.0 }, "a large frame may come, rarely");
    assert_eq!(own.lowered(&Limit::default()), *own);
}
