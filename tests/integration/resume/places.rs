//! What a member finds when it comes back.

use super::*;
use crate::support::{pass, position, until};

/// Numbers that bob's counted messages carry, as ada sees them: signals and reliable moves.
fn numbers(seen: &[Seen]) -> Vec<u64> {
    let number = |seen: &Seen| match seen {
        Seen::Moved(frame) => {
            rmp_serde::from_slice::<(u8, u64, u64, u64, u64, u64, u64)>(frame).ok().map(|step| step.6)
        }
        Seen::Said(said) if said["type"] == "move" => said["data"].as_u64(),
        Seen::Said(said) if said["type"] == "offer" => said["data"]["n"].as_u64(),
        _ => None,
    };
    seen.iter().filter_map(number).collect()
}

/// Chat as ada sees it, live and missed, with its positions.
fn chat(seen: &[Seen]) -> Vec<(u64, String)> {
    let said = seen.iter().filter_map(|seen| match seen {
        Seen::Said(said) => Some(said),
        _ => None,
    });
    let one = |message: &Value| (position(&message["position"]).seq, message["text"].as_str().unwrap_or("").to_owned());
    let events = said.flat_map(|said| match said["type"].as_str() {
        Some("message") => vec![one(said)],
        Some("joined") => said["missed"].as_array().into_iter().flatten().map(one).collect(),
        _ => Vec::new(),
    });
    events.collect()
}

/// Bob sends counted messages and chat, all answered, so they are on their way when this returns.
async fn speak(bob: &mut Member, ada: &Value, n: &mut u64, rounds: usize) {
    for _ in 0..rounds {
        *n += 1;
        bob.wire.granted(json!({ "type": "offer", "room": ROOM, "to": ada, "data": { "n": *n } })).await;
        *n += 1;
        match bob.encoding {
            Encoding::Json => {
                bob.wire.say(json!({ "type": "move", "room": ROOM, "reliable": true, "data": *n })).await;
            }
            Encoding::MsgPack => {
                let step = (2, bob.joined["handle"].as_u64(), 0, *n, *n);
                bob.wire.send_bytes(&rmp_serde::to_vec(&step).unwrap()).await;
            }
        }
        bob.wire.granted(json!({ "type": "message", "room": ROOM, "text": format!("chat {n}") })).await;
    }
}

async fn cut_in_the_middle(encoding: Encoding) {
    // Bob is in haste, and whoever repeats a request does not wait for its rate.
    let node = Node::with(|config| config.limits.requests_burst = 10_000.0).await;
    let mut bob = Member::join(&node, "bob", encoding).await;
    let mut ada = Member::join(&node, "ada", encoding).await;
    let (peer, session) = (ada.peer().clone(), ada.wire.connected["session"].clone());
    let (mut sent, mut seen) = (0, Vec::new());
    for n in 0..50 {
        speak(&mut bob, &peer, &mut sent, 1 + n % 3).await;
        // Some of it arrives, the rest is lost with the socket; so is the answer to her own word.
        let mut left = n % 4;
        if left > 0 {
            let following = ada.follow(|_| {
                left -= 1;
                left == 0
            });
            seen.extend(following.await);
        }
        let own = json!({ "type": "message", "id": 1000 + n, "room": ROOM, "text": format!("own {n}") });
        ada.wire.say(own.clone()).await;
        let memory = ada.memory();
        ada.wire.cut();
        speak(&mut bob, &peer, &mut sent, n % 2).await;
        ada.wire = Wire::resumed(&node, encoding, memory, 0).await;
        let connected = &ada.wire.connected;
        assert_eq!((&connected["resumed"], &connected["peer"]), (&json!(true), &peer), "{n}: {connected}");
        assert_eq!((connected["session"] == session, connected["resume"] == ada.token), (true, false));
        ada.token = connected["resume"].clone();
        ada.wire.say(own).await;
        let answered =
            |seen: &Seen| matches!(seen, Seen::Said(said) if said["re"] == 1000 + n && said["type"] != "joined");
        seen.extend(ada.follow(answered).await);
    }
    bob.wire.granted(json!({ "type": "message", "room": ROOM, "text": "the end" })).await;
    seen.extend(ada.follow(|seen| matches!(seen, Seen::Said(said) if said["text"] == "the end")).await);

    assert_eq!(numbers(&seen), (1..=sent).collect::<Vec<_>>(), "counted messages, each once and in order");
    let chat = chat(&seen);
    let first = position(&ada.joined["position"]).seq + 1;
    assert!(chat.iter().map(|(seq, _)| *seq).eq(first..first + chat.len() as u64), "no hole, nothing twice: {chat:?}");
    for n in 0..50 {
        assert_eq!(chat.iter().filter(|(_, text)| *text == format!("own {n}")).count(), 1, "said once, repeated once");
    }
    let left = |message: &&&Value| message["type"] == "peer-left" || message["peer"]["user"] == "ada";
    assert_eq!(bob.wire.stashed().iter().filter(left).count(), 1, "she came once and never left");
    let gauges = node.metrics().await;
    assert_eq!((gauges["sessions"], gauges["sessions_lost"]), (2.0, 0.0));
    assert_eq!(gauges["resumes_total{outcome=\"resumed\"}"], 50.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_cuts_in_the_middle_of_a_negotiation_in_json() {
    cut_in_the_middle(Encoding::Json).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_cuts_in_the_middle_of_a_negotiation_in_messagepack() {
    cut_in_the_middle(Encoding::MsgPack).await;
}

/// Ada goes in and out at once and hears of neither before the cut. Her repeated requests are not carried out
/// again: the first of them would bring her back in, and the second would not take her out.
async fn in_and_out_repeated(enter: &str, leave: &str) {
    let node = Node::start().await;
    let mut ada = Wire::connect(&node, &pass("ada").host("*"), Encoding::Json).await;
    let requests = [json!({ "type": enter, "id": 1, "room": ROOM }), json!({ "type": leave, "id": 2, "room": ROOM })];
    for request in &requests {
        ada.say(request.clone()).await;
    }
    assert_eq!(ada.answer_to(2).await["type"], "ok");
    let memory = json!({ "token": ada.connected["resume"], "received": 0, "positions": {} });
    ada.cut();
    let mut ada = Wire::resumed(&node, Encoding::Json, memory, 2).await;
    assert_eq!(ada.connected["resumed"], true);
    let [enter_again, leave_again] = requests.clone();
    ada.say(enter_again).await;
    let answer = ada.answer_to(1).await;
    assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(803)), "{answer}");
    ada.say(leave_again).await;
    assert_eq!(ada.answer_to(2).await["type"], "ok");
    let gauges = node.metrics().await;
    assert_eq!((gauges["members"], gauges["spectators"]), (0.0, 0.0));
    // A new request is a new wish.
    let [again, _] = &requests;
    ada.granted(again.clone()).await;
    ada.bye().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_repeated_after_its_leave_is_over() {
    in_and_out_repeated("join", "leave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_repeated_after_its_unwatch_is_over() {
    in_and_out_repeated("watch", "unwatch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_messages_are_forgotten_and_wrong_numbers_refused() {
    let node = Node::start().await;
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    let mut ada = Member::join(&node, "ada", Encoding::Json).await;
    let peer = ada.peer().clone();
    speak(&mut bob, &peer, &mut 0, 2).await;
    ada.follow(|seen| matches!(seen, Seen::Said(said) if said["text"] == "chat 4")).await;
    assert_eq!(ada.received, 4);
    let mut bad = 0.0;
    for (n, good) in [(5, false), (3, true), (3, true), (2, false), (4, true)] {
        ada.wire.say(json!({ "type": "ack", "n": n })).await;
        ada.wire.granted(json!({ "type": "ping" })).await;
        bad += f64::from(u8::from(!good));
        assert_eq!(node.metrics().await.get("refused_total{code=\"608\"}").copied().unwrap_or(0.0), bad, "{n}");
    }
    // What was acknowledged is not sent again, whatever the client says now.
    ada.received = 3;
    let ada = ada.back(&node).await;
    assert_eq!(ada.wire.connected["resumed"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_and_notifications_go_on() {
    let node = Node::start().await;
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    let operator = pass("operator").notify("*");
    let mut eve = Wire::connect(&node, &pass("eve").spectator("*"), Encoding::Json).await;
    let watching = eve.granted(json!({ "type": "watch", "room": ROOM, "state": 10 })).await;
    let (token, notifications) = (eve.connected["resume"].clone(), eve.connected["notifications"].clone());
    eve.cut();
    bob.wire.granted(json!({ "type": "message", "room": ROOM, "text": "you missed this" })).await;
    assert_eq!(
        node.post("/v1/users/eve/notifications", &operator, &json!({ "message": "and this" })).await.status,
        200
    );
    let memory = json!({
        "token": token, "received": 0, "positions": { ROOM: watching["position"] }, "watched": [ROOM],
        "notifications_since": notifications,
    });
    let mut eve = Wire::resumed(&node, Encoding::Json, memory, 10).await;
    assert_eq!(eve.connected["resumed"], true);
    let watching = eve.said("watching").await;
    assert_eq!((&watching["re"], &watching["missed"][0]["text"]), (&Value::Null, &json!("you missed this")));
    assert_eq!(eve.said("notification").await["message"], "and this");
    bob.wire.say(json!({ "type": "move", "room": ROOM, "data": 1 })).await;
    assert_eq!(eve.said("state").await["moves"][0]["data"], 1, "the rate of the state was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_away_types_no_more() {
    let node = Node::start().await;
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    let mut ada = Member::join(&node, "ada", Encoding::Json).await;
    ada.wire.say(json!({ "type": "typing", "room": ROOM })).await;
    assert_eq!(bob.wire.said("typing").await["on"], true);
    ada.wire.cut();
    assert_eq!(bob.wire.said("typing").await["on"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_goodbye_is_gone_and_who_goes_away_may_come_back() {
    use rallypoint_client::tungstenite::{Message, protocol::CloseFrame};
    for (code, stays) in [(1000, false), (1001, true), (4000, true)] {
        let node = Node::start().await;
        let mut bob = Member::join(&node, "bob", Encoding::Json).await;
        let mut ada = Member::join(&node, "ada", Encoding::Json).await;
        ada.wire.send(Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }))).await;
        while !matches!(ada.wire.next().await, Seen::Closed(..) | Seen::Gone) {}
        if stays {
            until("the loss", async || (node.metrics().await["sessions_lost"] == 1.0).then_some(())).await;
            let ada = ada.back(&node).await;
            assert_eq!(ada.wire.connected["resumed"], true, "{code}");
        } else {
            assert_eq!(bob.wire.said("peer-left").await["reason"], "closed");
            Wire::resume(&node, Encoding::Json, ada.memory()).await.closed(4200, 806).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_socket_replaces_the_earlier_and_they_do_not_fight() {
    let node = Node::start().await;
    let mut bob = Member::join(&node, "bob", Encoding::Json).await;
    let mut first = Member::join(&node, "ada", Encoding::Json).await;
    // A second tab was opened with a copy of everything the first one knew.
    let mut second = Wire::resumed(&node, Encoding::Json, first.memory(), 0).await;
    assert_eq!((&second.connected["resumed"], &second.connected["peer"]), (&json!(true), first.peer()));
    first.wire.closed(4410, 0).await;
    let peer = first.peer().clone();
    speak(&mut bob, &peer, &mut 0, 1).await;
    assert_eq!(second.said("offer").await["data"]["n"], 1);
    second.granted(json!({ "type": "message", "room": ROOM, "text": "still one" })).await;
    let left = |message: &&&Value| message["type"] == "peer-left";
    assert_eq!(bob.wire.stashed().iter().filter(left).count(), 0);
    let metrics = node.metrics().await;
    assert_eq!(
        (metrics["sessions"], metrics["closes_total{code=\"4410\"}"]),
        (2.0, 1.0),
        "closed once, and it stopped"
    );
}
