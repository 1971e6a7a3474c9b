//! The tables that stand in more than one place: codes, message types, routes and rights. The protocol crate has them, the
//! specification prints them, the documents have them once more; here they are the same.

use std::collections::{BTreeMap, BTreeSet};

use rallypoint_protocol::{CloseCode, ErrorCode, ServerMessage, rights::RULES};
use serde_json::{Value, json};

use crate::{
    Documents,
    documents::text,
    operations::{Operation, Operations},
};

/// What is wrong with `schema/codes.json`: each code with its number, name, meaning and consequence, in order.
pub fn codes(documents: &Documents) -> Vec<String> {
    let errors = ErrorCode::ALL.iter().map(|code| {
        json!({
            "const": code.number(), "title": code.name(), "description": code.meaning(),
            "x-status": code.http_status(), "x-retry": code.may_retry(),
        })
    });
    let closes = CloseCode::ALL.iter().map(|code| {
        json!({
            "const": code.number(), "title": code.name(), "description": code.meaning(), "x-action": code.action().name(),
        })
    });
    let mut faults = Vec::new();
    for (name, ours) in [("error", errors.collect::<Vec<_>>()), ("close", closes.collect())] {
        let told = documents.get("schema/codes.json")["$defs"][name]["oneOf"].as_array().cloned().unwrap_or_default();
        faults.extend(ours.iter().filter(|code| !told.contains(code)).map(|code| format!("{name}: {code} is missing")));
        faults
            .extend(told.iter().filter(|code| !ours.contains(code)).map(|code| format!("{name}: {code} is not ours")));
    }
    faults
}

/// The message types of a client, which are those rows of the rights table that are no routes.
fn requests() -> BTreeSet<String> {
    RULES.iter().map(|rule| rule.name.to_owned()).filter(|name| !name.contains(' ')).collect()
}

fn messages() -> BTreeSet<String> {
    ServerMessage::TYPES.iter().map(|name| (*name).to_owned()).collect()
}

/// What is wrong with the lists of message types: in the schemas, and in what `asyncapi.json` sends and receives.
pub fn types(documents: &Documents) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, ours) in [("schema/requests.json", requests()), ("schema/messages.json", messages())] {
        let kinds = documents.get(file)["oneOf"].as_array().into_iter().flatten();
        let kinds =
            kinds.map(|kind| documents.resolve(file, kind)["properties"]["type"]["const"].as_str().unwrap_or_default());
        faults.extend(differences(file, &kinds.map(str::to_owned).collect(), &ours));
    }
    let document = documents.get("asyncapi.json");
    let operations = document["operations"].as_object().into_iter().flatten();
    let mut told: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (_, operation) in operations.filter(|(_, operation)| operation["channel"]["$ref"] == "#/channels/socket") {
        for message in operation["messages"].as_array().into_iter().flatten() {
            let message = documents.resolve("asyncapi.json", message);
            let action = operation["action"].as_str().unwrap_or_default();
            told.entry(action).or_default().insert(message["name"].as_str().unwrap_or_default().to_owned());
            let name = message["name"].as_str().unwrap_or_default();
            let file = if action == "send" { "messages" } else { "requests" };
            let schema = format!("schema/{file}.json#/$defs/{name}");
            if message["payload"]["$ref"] != *schema {
                faults.push(format!("asyncapi.json: {name}: the payload is not {schema}"));
            }
            let rule = RULES.iter().find(|rule| action == "receive" && rule.name == name);
            let right = rule.map(|rule| (rule.verb.map(|verb| verb.name()), rule.member));
            let told = (operation["x-right"]["verb"].as_str(), operation["x-right"]["member"] == true);
            if right.is_some_and(|right| right != told) {
                faults.push(format!("asyncapi.json: {name}: the right {told:?} is not {right:?}"));
            }
        }
    }
    // Seen from the server, which is what the document describes.
    for (action, ours) in [("receive", requests()), ("send", messages())] {
        faults.extend(differences(
            &format!("asyncapi.json: {action}"),
            told.get(action).unwrap_or(&BTreeSet::new()),
            &ours,
        ));
    }
    faults
}

/// The event streams: of rooms, of the node, and what goes on in a room.
pub const STREAMS: [&str; 3] = ["feed", "status", "trace"];

/// What is wrong with the event streams of `asyncapi.json`: each event of `schema/stream.json`, and those of rooms.
pub fn streams(documents: &Documents) -> Vec<String> {
    let document = documents.get("asyncapi.json");
    let mut faults = Vec::new();
    for stream in STREAMS {
        let messages = document["channels"][stream]["messages"].as_object().into_iter().flatten();
        let mut told = BTreeSet::new();
        let mut of_rooms = BTreeSet::new();
        for (_, message) in messages {
            let message = documents.resolve("asyncapi.json", message);
            let (name, schema) = (message["name"].as_str().unwrap_or_default(), &message["payload"]["$ref"]);
            if *schema == format!("schema/stream.json#/$defs/{stream}/$defs/{name}") {
                told.insert(name.to_owned());
            } else if *schema == format!("schema/event.json#/$defs/{name}") {
                of_rooms.insert(name.to_owned());
            } else {
                faults.push(format!("asyncapi.json: {stream}: {name}: no payload of that name"));
            }
        }
        let keys =
            |value: &Value| value.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect::<BTreeSet<_>>();
        let ours = keys(&documents.get("schema/stream.json")["$defs"][stream]["$defs"]);
        faults.extend(differences(&format!("asyncapi.json: {stream}"), &told, &ours));
        let events =
            if stream == "feed" { keys(&documents.get("schema/event.json")["$defs"]) } else { BTreeSet::new() };
        faults.extend(differences(&format!("asyncapi.json: {stream}: events"), &of_rooms, &events));
    }
    faults
}

fn differences(place: &str, told: &BTreeSet<String>, ours: &BTreeSet<String>) -> Vec<String> {
    let missing = ours.difference(told).map(|name| format!("{place}: `{name}` is missing"));
    let strange = told.difference(ours).map(|name| format!("{place}: `{name}` is not ours"));
    missing.chain(strange).collect()
}

/// What is wrong with the paths of `openapi.json`, by the list of routes in the server's source.
pub fn routes(documents: &Documents) -> Vec<String> {
    let source = text("src/http/mod.rs");
    let served = source.split("pub fn routes(").nth(1).and_then(|rest| rest.split("\n}\n").next()).unwrap_or_default();
    let paths = served.split("warp::path!(").skip(1).filter_map(|rest| rest.split(')').next());
    let form = |path: &str| -> String {
        path.split('/').map(|part| if part.contains(['{', 'S']) { "/{}".into() } else { format!("/{part}") }).collect()
    };
    let ours: BTreeSet<String> = paths.map(|path| form(&path.replace([' ', '"'], ""))).collect();
    let operations = Operations::of(documents);
    let told = operations.all.iter().filter(|operation| !operation.is_page).map(|operation| form(&operation.path[1..]));
    let mut faults = differences("openapi.json", &told.collect(), &ours);
    if ours.len() < 16 {
        faults.push(format!("src/http/mod.rs: only {} routes were found", ours.len()));
    }
    faults
}

/// What is wrong with the rights, by the table of the crate and that of the specification.
pub fn rights(documents: &Documents) -> Vec<String> {
    let operations = Operations::of(documents);
    // A HEAD is as its GET.
    let routes = operations.all.iter().filter(|operation| !operation.is_page && operation.method != "HEAD");
    let told: BTreeMap<String, &Operation> = routes.map(|operation| (operation.name(), operation)).collect();
    let spec = text("protocol/README.md");
    let rows = spec.lines().skip_while(|line| !line.starts_with("| Message or route |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        (cells[0].clone(), cells[1].clone(), cells[2].clone())
    });
    let rows: Vec<_> = rows.filter(|(name, ..)| name.contains(' ')).collect();
    let names: BTreeSet<_> = rows.iter().map(|(name, ..)| name.clone()).collect();
    let mut faults = differences("openapi.json", &told.keys().cloned().collect(), &names);
    for (name, verb, also) in &rows {
        let Some(operation) = told.get(name) else { continue };
        let rule = RULES.iter().find(|rule| rule.name == *name).and_then(|rule| rule.verb).map(|verb| verb.name());
        let admin = also.split("admin ").nth(1).and_then(|rest| rest.split([';', ' ']).next());
        let ours = (Some(verb.as_str()).filter(|verb| *verb != "none"), admin, also.starts_with("no token"));
        let said = (operation.verb.as_deref(), operation.admin.as_deref(), operation.is_open);
        if said != ours || rule != ours.0 {
            faults.push(format!("{name}: openapi.json has {said:?}, the specification {ours:?}, the crate {rule:?}"));
        }
    }
    faults
}

/// What is wrong within `openapi.json`: the statuses of an operation are those of its codes, and what needs a token says
/// what is answered without one.
pub fn statuses(documents: &Documents) -> Vec<String> {
    let mut faults = Vec::new();
    for operation in Operations::of(documents).all {
        let codes: Vec<_> =
            operation.problems.iter().map(|&code| u16::try_from(code).ok().and_then(ErrorCode::from_number)).collect();
        if codes.contains(&None) || !operation.problems.is_sorted() {
            faults.push(format!("{}: x-problems are codes in order", operation.name()));
        }
        let ours: BTreeSet<_> = codes.iter().flatten().map(|code| code.http_status()).collect();
        let told: BTreeSet<_> = operation.responses.keys().copied().filter(|&status| status >= 400).collect();
        if ours != told {
            faults.push(format!("{}: responses {told:?}, by x-problems {ours:?}", operation.name()));
        }
        if !operation.is_open && !operation.problems.contains(&u64::from(ErrorCode::TokenMissing.number())) {
            faults.push(format!("{}: needs a token, and has no 700", operation.name()));
        }
    }
    faults
}
