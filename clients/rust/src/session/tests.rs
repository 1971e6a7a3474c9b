//! Tests of a session over several sockets, without any: frames in, frames out.

mod bench;

use rallypoint_protocol::{
    ErrorCode, ServerMessage,
    moves::{Lane, ServerMove},
};
use serde_json::{Value, json};

use self::bench::*;
use super::*;
use crate::{
    error::Error,
    token::{NoToken, Token, expiring},
};

#[test]
fn answers_find_whoever_asked_and_nobody_else() {
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut bench = Bench::with(encoding, Token::from(""), |_| {});
        let mut answer = bench.say("hello");
        bench.session.next(bench.now).unwrap();
        bench.hear(ok(900));
        assert_eq!(bench.heard(), ["ok"]);
        assert!(answer.try_recv().is_err());
        bench.now += Duration::from_millis(7);
        bench.hear(ok(1));
        let timing = answer.try_recv().unwrap().unwrap().timing;
        assert!((timing.arrived.since(timing.sent) - 7.0).abs() < 1e-3);
        assert!(bench.inbox.is_empty());
    }
}

#[test]
fn signals_and_reliable_moves_are_counted_and_nothing_else() {
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut bench = Bench::with(encoding, Token::from(""), |_| {});
        bench.hear(joined(None, "a", 4, 1, None));
        bench.inbox.clear();
        bench.hear(json!({ "type": "ice-candidate", "room": "a", "from": OTHER, "data": null }));
        bench.hear(chat("a", 2));
        bench.hear(json!({ "type": "typing", "room": "a", "from": OTHER, "on": true }));
        bench.inbox.clear();
        for lane in [Lane::Reliable, Lane::Latest] {
            match encoding {
                Encoding::Json => bench.hear(json!({
                    "type": "move", "room": "a", "from": 2, "key": 3, "seq": 5, "time": 6, "data": 7,
                    "reliable": lane == Lane::Reliable,
                })),
                Encoding::MsgPack => {
                    let mut frame = Vec::new();
                    ServerMove { lane, room: 4, from: 2, key: 3, seq: 5, time: 6, payload: &[7] }.encode(&mut frame);
                    bench.session.take(&frame, bench.now, &mut bench.inbox).unwrap();
                }
            }
            let Some(Incoming::Move(got)) = bench.inbox.pop_front() else { panic!("no move") };
            assert_eq!((got.room, got.room_handle, got.from, got.key, got.seq), (name("a"), 4, 2, 3, 5));
            assert_eq!((got.lane, got.payload.read::<u8>()), (lane, Ok(7)));
        }
        assert_eq!(bench.resume().received, 2);
    }
}

#[test]
fn what_a_newer_server_says_is_passed_over() {
    let mut bench = Bench::new();
    let mut take = |frame: &[u8]| bench.session.take(frame, bench.now, &mut bench.inbox);
    assert!(take(br#"{"type":"weather","sun":true}"#).is_ok());
    assert!(matches!(take(br#"{"type":"typing"}"#), Err(Error::Protocol(_))));
    assert!(matches!(take(b"\xff"), Err(Error::Protocol(_))));
    assert!(bench.inbox.is_empty());
}

#[test]
fn a_resume_says_where_everything_stands() {
    let mut bench = Bench::new();
    let stands = |bench: &Bench, room: &str| bench.resume().positions.get(&name(room)).map(|position| position.seq);
    bench.hear(joined(None, "a", 7, 10, None));
    bench.hear(watching(None, "b", 20));
    assert_eq!((stands(&bench, "a"), stands(&bench, "b")), (Some(10), Some(20)));
    let peer = json!({ "peer": OTHER, "handle": 2, "user": "bob" });
    let me = json!({ "peer": ME, "handle": 1, "user": "ada" });
    let down = |gone: &Value| {
        let node = "00000000000000aa";
        json!({ "type": "node-down", "node": node, "count": 1, "spectators": 0, "left": [gone], "more": false })
    };
    let event = |seq: u64, mut fields: Value| {
        let common = json!({ "room": "a", "time": 1, "position": at(seq) });
        fields.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        fields
    };
    for (seq, fields) in [
        (11, json!({ "type": "peer-joined", "peer": peer })),
        (12, json!({ "type": "message", "text": "x" })),
        (13, json!({ "type": "event", "kind": "goal", "data": null })),
        (14, json!({ "type": "presence", "count": 1, "spectators": 0, "joined": [], "left": [], "more": false })),
        (15, json!({ "type": "peer-left", "peer": peer, "reason": "left" })),
        (16, down(&peer)),
        // Whoever is in the list stays a member until it is told otherwise.
        (17, down(&me)),
        (3, json!({ "type": "reset", "reason": "epoch", "members": [], "count": 0, "state": [] })),
    ] {
        bench.hear(event(seq, fields));
        assert_eq!(stands(&bench, "a"), Some(seq));
    }
    // The answer to a publisher comes beside the event, not in its place.
    bench.hear(json!({ "type": "ok", "re": 9, "position": at(99) }));
    let resume = bench.resume();
    assert_eq!((resume.token.as_str(), resume.watched), ("token-1", vec![name("b")]));
    assert_eq!(resume.positions, [(name("a"), at(3)), (name("b"), at(20))].into());
    assert_eq!((resume.jwt, resume.notifications_since), (Some(expiring(1600)), Some(at(100))));

    bench.hear(json!({ "type": "notification", "message": "x", "time": 1, "position": at(101) }));
    assert_eq!(bench.resume().notifications_since, Some(at(101)));
    let reset = json!({
        "type": "reset", "room": "user/ada", "reason": "trimmed", "position": at(200), "members": [], "count": 0,
        "state": [],
    });
    bench.hear(reset);
    assert_eq!(bench.resume().notifications_since, Some(at(200)));
    // Kicked out of the room.
    bench.hear(event(18, json!({ "type": "peer-left", "peer": { "peer": ME, "user": "ada" }, "reason": "kicked" })));
    assert_eq!(stands(&bench, "a"), None);
}

#[test]
fn the_token_goes_along_while_it_is_good() {
    let mut bench = Bench::new();
    bench.now += Duration::from_secs(599);
    assert!(bench.resume().jwt.is_some());
    bench.now += Duration::from_secs(2);
    assert_eq!(bench.resume().jwt, None);
}

#[test]
fn after_a_resume_only_the_open_ends_are_sent_again() {
    let mut bench = Bench::in_a();
    let (mut first, mut second) = (bench.say("1"), bench.say("2"));
    (0..2).for_each(|_| bench.shoot(Lane::Reliable));
    assert_eq!(bench.written(), ["Reliable 1", "Reliable 2", "1 message", "2 message"]);
    bench.hear(ok(1));
    assert!(first.try_recv().is_ok());
    bench.shoot(Lane::Reliable);
    bench.written();
    bench.hear(json!({ "type": "offer", "room": "a", "from": OTHER, "data": 0 }));
    bench.heard();

    bench.session.lost();
    let mut later = bench.say("3");
    bench.shoot(Lane::Latest);
    bench.session.back(connected("s", true, Some("token-2")), bench.now, &mut bench.inbox);
    // The answer to 1 proved the moves before it, the third one is open; 4 looks whether the room is still there.
    assert_eq!(bench.written(), ["Reliable 3", "Latest 4", "2 message", "3 ping", "4 message"]);
    assert_eq!(bench.resume().token, "token-2");
    bench.hear(joined(None, "a", 7, 12, Some(json!([chat("a", 11), { "type": "weather" }, chat("a", 12)]))));
    bench.hear(chat("a", 13));
    bench.hear(json!({ "type": "offer", "room": "a", "from": OTHER, "data": 0 }));
    (2..=4).for_each(|id| bench.hear(ok(id)));
    assert_eq!(bench.heard(), ["back true true", "11", "12", "joined a", "13", "offer"]);
    assert!(second.try_recv().is_ok() && later.try_recv().is_ok());
    // The count goes on, and the resume told the first one.
    assert_eq!(bench.resume().received, 2);
    bench.now += Duration::from_secs(5);
    assert_eq!(bench.written(), ["ack 2"]);
}

#[test]
fn a_room_that_is_not_shown_again_is_out() {
    let mut bench = Bench::in_a();
    bench.hear(watching(None, "b", 20));
    bench.hear(joined(None, "c", 8, 30, None));
    bench.heard();
    bench.come_back(connected("s", true, Some("token-2")));
    assert_eq!(bench.written(), ["1 ping"]);
    bench.hear(joined(None, "a", 7, 10, None));
    bench.hear(refusal(None, ErrorCode::Forbidden, Some("b")));
    // Of a room that has been shown: a move that was refused, perhaps.
    bench.hear(refusal(None, ErrorCode::RateLimited, Some("a")));
    assert_eq!(bench.heard(), ["back true true", "joined a", "out b Some(705)", "error"]);
    bench.hear(json!({ "type": "pong", "re": 1, "received": 1, "sent": 1 }));
    assert_eq!(bench.heard(), ["out c None"]);
    assert_eq!(bench.resume().positions.into_keys().collect::<Vec<_>>(), [name("a")]);
}

#[test]
fn a_resume_that_lost_something_begins_its_counts_anew_and_drops_what_was_meant_for_before() {
    let mut bench = Bench::in_a();
    let mut answer = bench.say("1");
    bench.shoot(Lane::Reliable);
    bench.written();
    bench.hear(json!({ "type": "offer", "room": "a", "from": OTHER, "data": 0 }));
    bench.heard();
    bench.session.lost();
    bench.shoot(Lane::Reliable);
    bench.shoot(Lane::Latest);
    bench.session.back(connected("s", false, Some("token-2")), bench.now, &mut bench.inbox);
    assert_eq!(bench.resume().received, 0);
    assert_eq!(bench.written(), ["1 message", "2 ping"]);
    bench.hear(joined(None, "a", 9, 1, None));
    bench.hear(json!({
        "type": "reset", "room": "a", "reason": "lost", "position": at(1), "members": [], "count": 1, "state": [],
    }));
    assert_eq!(bench.written(), ["Latest 3"]);
    bench.hear(ok(1));
    assert_eq!(bench.heard(), ["back false true", "joined a", "reset a"]);
    assert!(answer.try_recv().is_ok_and(|answer| answer.is_ok()));
}

#[test]
fn with_another_session_nobody_knows_what_became_of_open_requests() {
    let mut bench = Bench::in_a();
    let mut open = bench.say("1");
    bench.written();
    let mut waiting = bench.say("2");
    bench.come_back(connected("another", false, None));
    assert!(matches!(open.try_recv(), Ok(Err(Error::Lost))));
    assert!(waiting.try_recv().is_err());
    assert_eq!(bench.written(), ["2 ping", "3 message"]);
    assert_eq!(bench.heard(), ["back false false"]);
    assert_eq!(bench.session.connected.borrow().session, "another");
}

#[test]
fn without_a_session_to_resume_all_rooms_are_entered_again_from_where_they_stood() {
    let mut bench = Bench::in_a();
    bench.hear(chat("a", 11));
    let _watching = bench.ask(|id| Request::Watch { id, room: name("b"), since: Some(at(1)), state: Some(5.0) });
    bench.written();
    bench.hear(watching(Some(1), "b", 20));
    bench.hear(joined(None, "c", 8, 30, None));
    bench.heard();
    let _chat = bench.say("hello");
    bench.session.forget();
    let expected = Way::Anew { token: expiring(1600), notifications_since: Some(at(100)) };
    assert_eq!(bench.session.way(bench.now), expected);
    bench.come_back(connected("new", false, Some("token-2")));
    assert_eq!(bench.written(), ["2 join a 11", "3 watch b 20 Some(5.0)", "4 join c 30", "5 message"]);
    bench.hear(joined(Some(2), "a", 3, 13, Some(json!([chat("a", 12), chat("a", 13)]))));
    bench.hear(watching(Some(3), "b", 21));
    bench.hear(refusal(Some(4), ErrorCode::RoomFull, None));
    assert_eq!(bench.heard(), ["back false false", "12", "13", "joined a", "watching b", "out c Some(901)"]);
    bench.shoot(Lane::Reliable);
    assert_eq!(bench.written(), ["Reliable 1"]);
    assert_eq!(bench.resume().token, "token-2");
}

#[test]
fn a_room_that_the_server_entered_by_itself_is_not_out() {
    let mut bench = Bench::in_a();
    bench.session.forget();
    bench.come_back(connected("new", false, Some("token-2")));
    assert_eq!(bench.written(), ["1 join a 10"]);
    // Lost again before the answer, and resumed: the join is repeated behind the room.
    bench.come_back(connected("new", true, Some("token-3")));
    assert_eq!(bench.written(), ["1 join a 10", "2 ping"]);
    bench.hear(joined(None, "a", 3, 13, None));
    bench.hear(refusal(Some(1), ErrorCode::AlreadyJoined, None));
    bench.hear(json!({ "type": "pong", "re": 2, "received": 1, "sent": 1 }));
    assert_eq!(bench.heard(), ["back false false", "back true false", "joined a"]);
}

#[test]
fn a_move_that_came_after_its_sender_had_left_puts_nobody_out() {
    let mut bench = Bench::in_a();
    let _left = bench.ask(|id| Request::Leave { id, room: name("a") });
    bench.written();
    bench.come_back(connected("s", true, Some("token-2")));
    bench.heard();
    bench.hear(refusal(None, ErrorCode::NotJoined, Some("a")));
    assert_eq!(bench.heard(), ["error"]);
    bench.hear(refusal(None, ErrorCode::RoomFull, Some("a")));
    assert_eq!(bench.heard(), ["out a Some(901)"]);
}

#[test]
fn a_room_that_was_left_meanwhile_is_not_out_as_well() {
    let mut bench = Bench::in_a();
    bench.session.forget();
    bench.come_back(connected("new", false, Some("token-2")));
    let mut left = bench.ask(|id| Request::Leave { id, room: name("a") });
    assert_eq!(bench.written(), ["1 join a 10", "2 leave"]);
    // The server has done both, and is asked for both again.
    bench.come_back(connected("new", true, Some("token-3")));
    bench.heard();
    assert_eq!(bench.written(), ["1 join a 10", "2 leave", "3 ping"]);
    bench.hear(refusal(Some(1), ErrorCode::NotJoined, None));
    bench.hear(ok(2));
    bench.hear(json!({ "type": "pong", "re": 3, "received": 1, "sent": 1 }));
    assert!(matches!(left.try_recv(), Ok(Ok(_))));
    assert!(bench.heard().is_empty(), "it asked to go out, and is out");
    assert!(bench.resume().positions.is_empty());
}

#[test]
fn an_answer_that_comes_after_the_room_brings_nothing_twice() {
    let events =
        |range: std::ops::RangeInclusive<u64>| Some(json!(range.map(|seq| chat("a", seq)).collect::<Vec<_>>()));
    // The client's own join, on its way when the socket was lost: the room comes with the resume, and then as the answer.
    let mut bench = Bench::in_a();
    bench.session.forget();
    bench.come_back(connected("new", false, Some("token-2")));
    assert_eq!(bench.written(), ["1 join a 10"]);
    bench.come_back(connected("new", true, Some("token-3")));
    assert_eq!(bench.written(), ["1 join a 10", "2 ping"]);
    bench.hear(joined(None, "a", 3, 12, events(11..=12)));
    bench.hear(chat("a", 13));
    bench.hear(joined(Some(1), "a", 3, 13, events(11..=13)));
    bench.hear(chat("a", 14));
    assert_eq!(bench.heard(), ["back false false", "back true false", "11", "12", "joined a", "13", "14"]);
    assert_eq!(bench.resume().positions[&name("a")], at(14));
    // A caller's: the answer has what came before the room was shown, and what came since was live.
    let mut bench = Bench::new();
    let mut answer = bench.ask(|id| Request::Join { id, room: name("a"), since: Some(at(10)) });
    bench.written();
    bench.come_back(connected("s", true, Some("token-2")));
    bench.written();
    bench.hear(joined(None, "a", 3, 12, None));
    bench.hear(chat("a", 13));
    bench.hear(joined(Some(1), "a", 3, 13, events(11..=13)));
    assert_eq!(bench.heard(), ["back true true", "13"], "the room is the caller's answer, and comes once");
    let ServerMessage::Joined(answer) = answer.try_recv().unwrap().unwrap().message else { panic!("not joined") };
    assert_eq!((answer.re, answer.position), (Some(1), at(12)), "13 is behind it");
    let missed = crate::missed_events(&answer.missed.unwrap()).unwrap();
    let seqs = missed.iter().map(|event| match event {
        ServerMessage::Message(event) => event.position.seq,
        other => panic!("{other:?}"),
    });
    assert!(seqs.eq(11..=12));
}

#[test]
fn notifications_go_on_where_they_were_if_the_server_can_be_told() {
    for (credential, told) in [(Credential::FirstMessage, true), (Credential::Header, false)] {
        let mut bench = Bench::with(Encoding::Json, Token::from(""), |options| {
            (options.credential, options.notifications_since) = (credential, Some(at(70)));
        });
        assert_eq!(bench.resume().notifications_since, Some(if told { at(70) } else { at(100) }));
        bench.hear(json!({ "type": "notification", "message": "x", "time": 1, "position": at(71) }));
        bench.session.forget();
        let Way::Anew { notifications_since, .. } = bench.session.way(bench.now) else { panic!("resumes") };
        assert_eq!(notifications_since, told.then_some(at(71)));
        bench.come_back(connected("new", false, Some("token-2")));
        assert_eq!(bench.resume().notifications_since, Some(if told { at(71) } else { at(100) }));
    }
}

#[test]
fn the_next_token_is_in_use_once_the_server_took_it() {
    let source = || Token::source(|| async { Err(NoToken::Later(String::new())) });
    let mut bench = Bench::with(Encoding::Json, source(), |_| {});
    let begin = bench.now;
    let left = |bench: &Bench| bench.session.access.renew_at().map(|at| at.duration_since(begin).as_secs());
    assert_eq!(left(&bench), Some(480));
    bench.session.renew(expiring(2600), bench.now);
    assert_eq!((bench.written(), left(&bench)), (vec!["1 refresh true".to_owned()], None));
    bench.hear(refusal(Some(1), ErrorCode::Forbidden, None));
    assert_eq!((bench.resume().jwt, left(&bench)), (Some(expiring(1600)), Some(5)));
    bench.session.renew(expiring(2600), bench.now);
    bench.written();
    bench.hear(ok(2));
    assert_eq!((bench.resume().jwt, left(&bench)), (Some(expiring(2600)), Some(1280)));
    // The source has none that is newer.
    bench.session.renew(expiring(2600), bench.now);
    assert!(bench.written().is_empty() && bench.inbox.is_empty());
    // What the application does by itself counts as well.
    let _answer = bench.ask(|id| Request::Refresh { id, token: expiring(1700) });
    bench.written();
    bench.hear(ok(3));
    assert_eq!(bench.resume().jwt, Some(expiring(1700)));
}

#[test]
fn a_proof_that_was_asked_for_is_not_for_the_application() {
    let mut bench = Bench::in_a();
    bench.shoot(Lane::Reliable);
    assert_eq!(bench.written(), ["Reliable 1"]);
    assert_eq!(bench.session.due_by(), Some(bench.now + Duration::from_secs(2)));
    bench.now += Duration::from_secs(2);
    assert_eq!(bench.written(), ["proof 1"]);
    let pong = |t: u64| json!({ "type": "pong", "t": t, "received": 1, "sent": 1 });
    bench.hear(pong(2));
    assert_eq!(bench.heard(), ["pong"]);
    bench.hear(pong(1));
    assert_eq!((bench.heard().len(), bench.session.due_by()), (0, None));
    bench.come_back(connected("s", true, Some("token-2")));
    assert_eq!(bench.written(), ["1 ping"]);
}

#[test]
fn the_servers_time_to_come_back_is_told_once() {
    let mut bench = Bench::new();
    bench.hear(json!({ "type": "reconnect", "after_ms": 700 }));
    assert_eq!(bench.session.take_after(), Some(Duration::from_millis(700)));
    assert_eq!(bench.session.take_after(), None);
    bench.hear(json!({ "type": "reconnect", "after_ms": 700 }));
    bench.come_back(connected("s", true, None));
    assert_eq!(bench.session.take_after(), None);
}
