//! What follows from the rights table, row by row: every route and every message, with each verb alone, with each
//! verb missing, and with every kind of credential that is none.

use rallypoint::auth::AdminRight;
use rallypoint_protocol::{Encoding, Verb, rights::RULES};
use serde_json::{Value, json};

use super::{Tally, door, door::Door, is_well};
use crate::{
    refusals::rights::{message, outcome},
    support::{Ask, FOREIGN_SECRET, Node, ORIGIN, Pass, Wire, forged, pass},
};

/// What a route asks for.
#[derive(Clone, Copy, Debug)]
enum Need {
    Verb(Verb),
    Admin(AdminRight),
    Notify,
}

struct Route {
    method: &'static str,
    path: String,
    need: Need,
    /// An admin right that stands in for the verb.
    or: Option<AdminRight>,
}

/// The routes of the rights table, and those that ask for something else than a verb.
fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    let rules = RULES.iter().filter_map(|rule| Some((rule.name.split_once(' ')?, rule.verb?)));
    for ((method, path), verb) in rules {
        let path = path.replace("{room}", "lobby").replace("{peer}", "7d4c6f0e-52ce-4b8a-9d47-0f4b39ab5f33");
        let or = match (method, path.starts_with("/v1/rooms/")) {
            ("GET", true) => Some(AdminRight::Rooms),
            ("DELETE", true) => Some(AdminRight::Kick),
            _ => None,
        };
        routes.push(Route { method, path, need: Need::Verb(verb), or });
    }
    assert_eq!(routes.len(), 7, "the table has grown: look whether this test still says everything");
    for (method, path, need) in [
        ("GET", "/v1/rooms", Need::Admin(AdminRight::Rooms)),
        ("DELETE", "/v1/users/nobody/sessions", Need::Admin(AdminRight::Kick)),
        ("GET", "/metrics", Need::Admin(AdminRight::Metrics)),
        ("GET", "/v1/status", Need::Admin(AdminRight::Status)),
        ("GET", "/v1/rooms/lobby/trace", Need::Admin(AdminRight::Trace)),
        ("POST", "/v1/users/nobody/notifications", Need::Notify),
    ] {
        let or = matches!(need, Need::Notify).then_some(AdminRight::Notify);
        routes.push(Route { method, path: path.to_owned(), need, or });
    }
    routes
}

impl Route {
    fn ask(&self, query: &str) -> Ask {
        let feed = if matches!(&*self.path, "/v1/events" | "/v1/poll") { "room=lobby&wait=0&" } else { "" };
        let ask = Ask::new(self.method, &format!("{}?{feed}{query}", self.path));
        match self.path.contains("/notifications") {
            true => ask.json(&json!({ "message": "hi" })),
            false if self.method == "POST" => ask.json(&json!({ "kind": "score", "data": 1 })),
            false => ask,
        }
    }

    /// What a token needs here, and nothing else.
    fn enough(&self) -> Pass {
        match self.need {
            Need::Verb(verb) => pass("ada").verbs("lobby", [verb.name()]),
            Need::Admin(right) => pass("ada").admin(right.name()),
            Need::Notify => pass("ada").notify("nobody"),
        }
    }

    /// Whether this right over the whole server opens the route.
    fn opens(&self, right: AdminRight) -> bool {
        self.or == Some(right) || matches!(self.need, Need::Admin(needed) if needed == right)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_what_they_ask_for() {
    let node = Node::start().await;
    // Somebody is there, or the room would be unknown.
    let mut bob = Wire::connect(&node, &pass("bob").host("*"), Encoding::Json).await;
    bob.granted(json!({ "type": "join", "room": "lobby" })).await;
    let mut tally = Tally::default();
    for route in routes() {
        let enough = route.enough();
        let good = enough.mint();
        let bare = |query: &str| route.ask(query);
        let by_cookie = bare("").header("cookie", &format!("rallypoint_token={good}"));
        let mut rows = vec![
            ("enough".to_owned(), bare("").bearer(&good), None),
            ("enough, by a listed page's cookie".to_owned(), by_cookie.clone().header("origin", ORIGIN), None),
            ("no token".to_owned(), bare(""), Some(700)),
            ("expired".to_owned(), bare("").pass(&enough.clone().expires_in(-3600.0)), Some(702)),
            ("unsigned".to_owned(), bare("").bearer(&forged(&enough)), Some(701)),
            ("signed by a stranger".to_owned(), bare("").bearer(&enough.mint_with(FOREIGN_SECRET)), Some(701)),
            ("in the query".to_owned(), bare(&format!("token={good}")), Some(709)),
            ("a cookie from nowhere".to_owned(), by_cookie.clone(), Some(709)),
            ("from a page that is not listed".to_owned(), bare("").bearer(&good).header("origin", "null"), Some(704)),
            ("two tokens".to_owned(), by_cookie.header("origin", ORIGIN).pass(&pass("bob")), Some(703)),
            ("no right at all".to_owned(), bare("").pass(&pass("ada")), Some(705)),
            ("rights in another room".to_owned(), bare("").pass(&pass("ada").host("other").notify("other")), {
                // ICE servers belong to no room.
                (route.path != "/v1/ice-servers").then_some(705)
            }),
        ];
        for verb in Verb::ALL {
            let opens = matches!(route.need, Need::Verb(needed) if needed == verb);
            let alone = pass("ada").verbs("*", [verb.name()]);
            rows.push((format!("{} alone", verb.name()), bare("").pass(&alone), (!opens).then_some(705)));
            let others = Verb::ALL.into_iter().filter(|&other| other != verb).map(Verb::name);
            let missing = pass("ada").verbs("*", others);
            let opens = matches!(route.need, Need::Verb(needed) if needed != verb);
            rows.push((format!("all but {}", verb.name()), bare("").pass(&missing), (!opens).then_some(705)));
        }
        for right in AdminRight::ALL {
            let alone = pass("ada").admin(right.name());
            let expected = (!route.opens(right)).then_some(705);
            rows.push((format!("admin {} alone", right.name()), bare("").pass(&alone), expected));
            // The claim counts only with the audience for operators.
            let mut pretender = alone;
            pretender.0.aud.0.truncate(1);
            rows.push((format!("a pretended admin {}", right.name()), bare("").pass(&pretender), Some(705)));
        }
        for (name, ask, expected) in rows {
            tally.row();
            let is_stream = matches!(&*route.path, "/v1/events" | "/v1/status" | "/v1/rooms/lobby/trace");
            let door = if is_stream { Door::Stream } else { Door::Poll };
            // Past the door: that member is not there.
            let outcome = match door.send(&node, ask).await {
                Ok(Some(805)) => Ok(None),
                outcome => outcome,
            };
            tally.tried(&format!("{} {}: {name}", route.method, route.path), outcome, expected);
        }
    }
    bob.bye().await;
    tally.end("routes", 13 * 44);
    is_well(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_what_they_ask_for() {
    let node = Node::start().await;
    let mut bob = Wire::connect(&node, &pass("bob").host("*"), Encoding::Json).await;
    bob.granted(json!({ "type": "join", "room": "lobby" })).await;
    let peer = bob.connected["peer"].clone();
    let mut tally = Tally::default();
    for missing in Verb::ALL.into_iter().map(Some).chain([None]) {
        let verbs = Verb::ALL.into_iter().filter(|&verb| Some(verb) != missing).map(Verb::name);
        let mut ada = Wire::connect(&node, &pass("ada").verbs("*", verbs), Encoding::Json).await;
        let mut inside = false;
        for rule in RULES.iter().filter(|rule| rule.verb.is_some()) {
            let Some(mut message) = message(rule.name, &peer) else { continue };
            tally.row();
            // One is a member or watches, not both; and of errors without an id a room hears one a second.
            if rule.name == "watch" || rule.name == "move" && !inside {
                message["room"] = "stage".into();
            }
            let answer = outcome(&mut ada, message).await;
            if ada.stashed_error().is_some() {
                // Not to be found again when the next one is looked for.
                ada.said("error").await;
            }
            inside |= rule.name == "join" && answer["type"] == "joined";
            // Who could not come in is not asked for a verb it has.
            let outside = (rule.member && !inside).then_some(803);
            let expected = if missing == rule.verb { Some(705) } else { outside };
            let code = answer.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
            tally.tried(&format!("{} without {missing:?}", rule.name), Ok(code), expected);
        }
        ada.bye().await;
    }
    // And before there is a session: nothing but `auth` and `resume` is heard.
    for rule in RULES.iter().filter(|rule| !rule.name.contains(' ') && !matches!(rule.name, "auth" | "resume")) {
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            // In binary a move is no map; the frame test of tokens has it.
            if rule.name == "move" && encoding == Encoding::MsgPack {
                continue;
            }
            tally.row();
            // With all the fields that any of them has, so that it is judged by its kind alone.
            let others = || json!({ "type": rule.name, "room": "lobby", "token": "x", "n": 1 });
            let first = rule.verb.and_then(|_| message(rule.name, &peer)).unwrap_or_else(others);
            tally.tried(&format!("{} first", rule.name), door::first(&node, encoding, first).await, Some(700));
        }
    }
    bob.bye().await;
    tally.end("messages", 100);
    is_well(node).await;
}
