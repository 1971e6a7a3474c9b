//! Faults of every kind are planted, and found by the check that is there for them.

use rallypoint_contract::{Answered, Contract, Documents, examples, frames, tables};
use serde_json::{Value, json};

type Check = fn(&Documents) -> Vec<String>;

/// Changes a place of a document.
struct Fault {
    what: &'static str,
    file: &'static str,
    pointer: &'static str,
    change: fn(&mut Value),
    found_by: Check,
    /// Names it.
    word: &'static str,
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().expect("a map").remove(key).unwrap_or_else(|| panic!("there is no {key}"));
}

fn rename(value: &mut Value, from: &str, to: &str) {
    let map = value.as_object_mut().expect("a map");
    let taken = map.remove(from).unwrap_or_else(|| panic!("there is no {from}"));
    map.insert(to.to_owned(), taken);
}

fn without(value: &mut Value, item: &Value) {
    let list = value.as_array_mut().expect("a list");
    let before = list.len();
    list.retain(|other| other != item);
    assert_ne!(list.len(), before, "there is no {item}");
}

const FAULTS: &[Fault] = &[
    Fault {
        what: "a code is dropped",
        file: "schema/codes.json",
        pointer: "/$defs/error/oneOf",
        change: |codes| _ = codes.as_array_mut().unwrap().remove(3),
        found_by: tables::codes,
        word: "603",
    },
    Fault {
        what: "a close code has other words",
        file: "schema/codes.json",
        pointer: "/$defs/close/oneOf/4/description",
        change: |text| *text = "The server ends.".into(),
        found_by: tables::codes,
        word: "4000",
    },
    Fault {
        what: "a status of a code is wrong",
        file: "schema/codes.json",
        pointer: "/$defs/error/oneOf/0/x-status",
        change: |status| *status = 422.into(),
        found_by: tables::codes,
        word: "600",
    },
    Fault {
        what: "a request is not listed",
        file: "schema/requests.json",
        pointer: "/oneOf",
        change: |list| without(list, &json!({ "$ref": "#/$defs/typing" })),
        found_by: tables::types,
        word: "`typing` is missing",
    },
    Fault {
        what: "a message has another type",
        file: "schema/messages.json",
        pointer: "/$defs/reconnect/properties/type/const",
        change: |kind| *kind = "go".into(),
        found_by: tables::types,
        word: "`go` is not ours",
    },
    Fault {
        what: "the socket sends one message less",
        file: "asyncapi.json",
        pointer: "/operations/tell/messages",
        change: |list| without(list, &json!({ "$ref": "#/channels/socket/messages/server.latency" })),
        found_by: tables::types,
        word: "`latency` is missing",
    },
    Fault {
        what: "a request of the socket asks for another verb",
        file: "asyncapi.json",
        pointer: "/operations/publish/x-right/verb",
        change: |verb| *verb = "chat".into(),
        found_by: tables::types,
        word: "publish: the right",
    },
    Fault {
        what: "a message of the socket has the payload of another",
        file: "asyncapi.json",
        pointer: "/components/messages/server.ok/payload/$ref",
        change: |payload| *payload = "schema/messages.json#/$defs/pong".into(),
        found_by: tables::types,
        word: "ok: the payload",
    },
    Fault {
        what: "a stream has one event less",
        file: "asyncapi.json",
        pointer: "/channels/status/messages",
        change: |messages| remove(messages, "disk"),
        found_by: tables::streams,
        word: "`disk` is missing",
    },
    Fault {
        what: "a route is dropped",
        file: "openapi.json",
        pointer: "/paths",
        change: |paths| remove(paths, "/v1/ice-servers"),
        found_by: tables::routes,
        word: "/v1/ice-servers",
    },
    Fault {
        what: "a route is made up",
        file: "openapi.json",
        pointer: "/paths",
        change: |paths| rename(paths, "/v1/poll", "/v1/polls"),
        found_by: tables::routes,
        word: "`/v1/polls` is not ours",
    },
    Fault {
        what: "a route asks for another verb",
        file: "openapi.json",
        pointer: "/paths/~1v1~1rooms~1{room}~1members/get/x-right/verb",
        change: |verb| *verb = "watch".into(),
        found_by: tables::rights,
        word: "presence",
    },
    Fault {
        what: "a right of operators is forgotten",
        file: "openapi.json",
        pointer: "/paths/~1v1~1rooms~1{room}/get/x-right",
        change: |right| remove(right, "admin"),
        found_by: tables::rights,
        word: "GET /v1/rooms/{room}:",
    },
    Fault {
        what: "a route needs no token",
        file: "openapi.json",
        pointer: "/paths/~1v1~1poll/get",
        change: |operation| operation["security"] = json!([]),
        found_by: tables::rights,
        word: "GET /v1/poll:",
    },
    Fault {
        what: "a method is another",
        file: "openapi.json",
        pointer: "/paths/~1v1~1users~1{user}~1sessions",
        change: |path| rename(path, "delete", "post"),
        found_by: tables::rights,
        word: "DELETE /v1/users/{user}/sessions",
    },
    Fault {
        what: "a status is removed",
        file: "openapi.json",
        pointer: "/paths/~1v1~1rooms~1{room}/get/responses",
        change: |responses| remove(responses, "404"),
        found_by: tables::statuses,
        word: "GET /v1/rooms/{room}:",
    },
    Fault {
        what: "the code of a status is removed",
        file: "openapi.json",
        pointer: "/paths/~1v1~1rooms~1{room}~1events/post/x-problems",
        change: |codes| without(codes, &610.into()),
        found_by: tables::statuses,
        word: "POST /v1/rooms/{room}/events:",
    },
    Fault {
        what: "a required field is renamed",
        file: "schema/messages.json",
        pointer: "/$defs/pong/properties",
        change: |fields| rename(fields, "received", "got"),
        found_by: frames::faults,
        word: "\"pong\"",
    },
    Fault {
        what: "a field is forgotten",
        file: "schema/common.json",
        pointer: "/$defs/entry/properties",
        change: |fields| remove(fields, "rtt"),
        found_by: frames::faults,
        word: "\"joined\"",
    },
    Fault {
        what: "a field is made up",
        file: "schema/messages.json",
        pointer: "/$defs/typing/properties",
        change: |fields| fields["since"] = json!({}),
        found_by: frames::faults,
        word: "no golden frame has `since`",
    },
    Fault {
        what: "a field of a request need not be there",
        file: "schema/requests.json",
        pointer: "/$defs/publish/required",
        change: |fields| without(fields, &"data".into()),
        found_by: frames::faults,
        word: "taken",
    },
    Fault {
        what: "a bound is too wide",
        file: "schema/requests.json",
        pointer: "/$defs/move/properties/key/maximum",
        change: |bound| *bound = 65_536.into(),
        found_by: frames::faults,
        word: "taken",
    },
    Fault {
        what: "a name may have more",
        file: "schema/common.json",
        pointer: "/$defs/name/pattern",
        change: |pattern| *pattern = "^[^/]+(/[^/]+)*$".into(),
        found_by: frames::faults,
        word: "taken",
    },
    Fault {
        what: "the data of an event has another field",
        file: "schema/event.json",
        pointer: "/$defs/message/properties/data/properties",
        change: |fields| rename(fields, "text", "words"),
        found_by: frames::faults,
        word: "feeds.json: \"message\"",
    },
    Fault {
        what: "an example has another shape",
        file: "openapi.json",
        pointer: "/paths/~1v1~1rooms/get/responses/200/content/application~1json/example/count",
        change: |count| *count = "1".into(),
        found_by: examples::faults,
        word: "an example",
    },
];

#[test]
fn every_planted_fault_is_found() {
    for Fault { what, file, pointer, change, found_by, word } in FAULTS {
        let mut documents = Documents::read();
        change(documents.place(file, pointer));
        let faults = found_by(&documents);
        assert!(faults.iter().any(|fault| fault.contains(word)), "{what}: {faults:?}");
    }
}

/// An answer of a server, by the document with one fault in it.
fn judge(pointer: &str, change: impl Fn(&mut Value), answered: &Answered<'_>) -> Vec<String> {
    assert_eq!(Contract::read().faults_of_answer(answered), [""; 0]);
    let mut documents = Documents::read();
    change(documents.place("openapi.json", pointer));
    Contract::new(&documents).faults_of_answer(answered)
}

fn headers(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn answers_that_the_document_does_not_know_are_found() {
    let unknown = json!({ "type": "about:blank", "title": "room-unknown", "status": 404, "code": 802, "detail": "no" })
        .to_string();
    let kind = [("content-type", "application/problem+json"), ("cache-control", "no-store"), ("vary", "Origin")];
    let refused = Answered {
        method: "GET",
        target: "/v1/rooms/match%2F7?x=1",
        status: 404,
        headers: &headers(&kind),
        body: unknown.as_bytes(),
    };
    let place = "/paths/~1v1~1rooms~1{room}/get";
    let found = judge(&format!("{place}/x-problems"), |codes| without(codes, &802.into()), &refused);
    assert!(found[0].contains("802 room-unknown is not in x-problems"), "{found:?}");
    let found = judge(&format!("{place}/responses"), |responses| remove(responses, "404"), &refused);
    assert!(found[0].contains("the status is not in the document"), "{found:?}");

    let room = json!({ "room": "match/7", "members": 1, "spectators": 0, "position": "9f3c5a1e7b2d4860.3.8e2413aa", "state_version": 1 });
    let kind = [("content-type", "application/json"), ("cache-control", "no-store"), ("vary", "Origin")];
    let text = room.to_string();
    let good = Answered { status: 200, headers: &headers(&kind), body: text.as_bytes(), ..refused };
    let ok = format!("{place}/responses/200");
    let found = judge(&format!("{ok}/headers"), |headers| remove(headers, "Cache-Control"), &good);
    assert!(found[0].contains("cache-control is not in the document"), "{found:?}");
    let found =
        judge(&format!("{ok}/headers"), |headers| headers["ETag"] = json!({ "required": true, "schema": {} }), &good);
    assert!(found[0].contains("the header etag is missing"), "{found:?}");
    let found = judge(&format!("{ok}/content"), |content| rename(content, "application/json", "text/json"), &good);
    assert!(found[0].contains("the kind Some(\"application/json\")"), "{found:?}");
    let mut documents = Documents::read();
    rename(documents.place("schema/http.json", "/$defs/room/properties"), "members", "people");
    let found = Contract::new(&documents).faults_of_answer(&good);
    assert!(found[0].contains("members"), "{found:?}");

    // What the document has, and the answer not.
    for (answered, word) in [
        (Answered { status: 418, ..good }, "the status"),
        (Answered { target: "/v1/roomz", ..good }, "neither path nor method"),
        (Answered { body: b"", ..good }, "no JSON"),
        (Answered { body: br#"{"room":"match/7"}"#, ..good }, "required"),
        (Answered { method: "PUT", status: 405, ..refused }, "Allow is not GET"),
    ] {
        let found = Contract::read().faults_of_answer(&answered);
        assert!(found.iter().any(|fault| fault.contains(word)), "{word}: {found:?}");
    }
}

#[test]
fn messages_and_events_that_the_schemas_do_not_know_are_found() {
    let contract = Contract::read();
    assert_eq!(contract.faults_of_message(&json!({ "type": "ok", "re": 1 })), [""; 0]);
    assert_ne!(contract.faults_of_message(&json!({ "type": "ok", "re": 1, "extra": 1 })), [""; 0]);
    assert_ne!(contract.faults_of_message(&json!({ "type": "okay", "re": 1 })), [""; 0]);
    assert_eq!(contract.faults_of_event("feed", "heartbeat", &json!({ "time": 1.5 })), [""; 0]);
    assert_ne!(contract.faults_of_event("feed", "heartbeat", &json!({ "at": 1.5 })), [""; 0]);
    assert_ne!(contract.faults_of_event("feed", "score", &json!({ "kind": "score" })), [""; 0]);
    let skipped = json!({ "time": 1.5, "count": 2 });
    assert_eq!(contract.faults_of_event("trace", "skipped", &skipped), [""; 0]);
    assert_ne!(contract.faults_of_event("status", "skipped", &skipped), [""; 0]);
}
