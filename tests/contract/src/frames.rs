//! The golden frames, put to the schemas: what is good there must be good here, and what is not well formed must not.

use std::collections::{BTreeMap, BTreeSet};

use rallypoint_protocol::{ErrorCode, convert};
use serde_json::Value;

use crate::{Documents, Schemas};

const REQUESTS: &str = "schema/requests.json";
const MESSAGES: &str = "schema/messages.json";

/// What no schema tells, by the code that it is refused with and why.
fn is_beyond(code: ErrorCode, name: &str) -> bool {
    match code {
        // Bytes and levels, not shapes.
        ErrorCode::TooBig | ErrorCode::TooDeep => true,
        // Readers of JSON keep the last of two equal keys, and all keys are texts there.
        ErrorCode::Malformed => name.contains("twice") || name == "msgpack-key-not-a-string",
        _ => false,
    }
}

/// What is wrong, vector by vector.
pub fn faults(documents: &Documents) -> Vec<String> {
    let (open, closed) = (Schemas::open(documents), Schemas::closed(documents));
    let mut faults = Vec::new();
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut judge = |file: &str, vector: &Value, found: Vec<String>, good: bool| {
        if found.is_empty() != good {
            faults.push(format!(
                "{file}: {}: {}",
                vector["name"],
                if good { found.join("; ") } else { "taken".into() }
            ));
        }
    };
    for vector in Documents::vectors("client.json") {
        judge("client.json", &vector, open.faults(REQUESTS, &vector["json"]), true);
        note(&mut said, REQUESTS, &vector);
    }
    for vector in Documents::vectors("server.json") {
        judge("server.json", &vector, closed.faults(MESSAGES, &vector["json"]), true);
        note(&mut said, MESSAGES, &vector);
    }
    for vector in Documents::vectors("feeds.json") {
        judge("feeds.json", &vector, closed.faults("schema/event.json", &vector["feed"]), true);
    }
    for vector in Documents::vectors("positions.json") {
        let kind = vector["kind"].as_str().unwrap_or_default();
        if kind == "position" || kind == "cursor" {
            let found = open.faults(&format!("schema/common.json#/$defs/{kind}"), &vector["text"]);
            // What is inside a cursor no pattern tells.
            if kind == "position" || vector["valid"] == true {
                judge("positions.json", &vector, found, vector["valid"] == true);
            }
        }
    }
    let mut refused = 0;
    for vector in Documents::vectors("invalid.json") {
        let code = vector["code"].as_u64().and_then(|code| ErrorCode::from_number(u16::try_from(code).ok()?));
        let (Some(code), Some(value)) = (code, value_of(&vector)) else { continue };
        if !is_beyond(code, vector["name"].as_str().unwrap_or_default()) {
            refused += 1;
            judge("invalid.json", &vector, open.faults(REQUESTS, &value), false);
        }
    }
    if refused < 150 {
        faults.push(format!("invalid.json: only {refused} vectors could be put to the schemas"));
    }
    faults.extend(unused(documents, &said));
    faults
}

/// The value of a frame that is readable at all.
fn value_of(vector: &Value) -> Option<Value> {
    if let Some(text) = vector["text"].as_str() {
        return serde_json::from_str(text).ok();
    }
    let hex = vector["hex"].as_str()?;
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?;
    // Arrays are moves, which have no schema.
    bytes.first().filter(|first| !matches!(first, 0x90..=0x9f | 0xdc | 0xdd))?;
    let mut text = Vec::new();
    convert::to_json(&bytes, 64, &mut text).ok()?;
    let mut value: Value = serde_json::from_slice(&text).ok()?;
    // A binary move is no map, and there is no other.
    if value["type"] == "move" {
        value["type"] = "no move".into();
    }
    Some(value)
}

fn note(said: &mut BTreeMap<String, BTreeSet<String>>, file: &str, vector: &Value) {
    let kind = vector["json"]["type"].as_str().unwrap_or_default();
    let fields = vector["json"].as_object().into_iter().flat_map(|map| map.keys().cloned());
    said.entry(format!("{file}#/$defs/{kind}")).or_default().extend(fields);
}

/// Fields that a schema has and no frame.
fn unused(documents: &Documents, said: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    for file in [REQUESTS, MESSAGES] {
        for reference in documents.get(file)["oneOf"].as_array().into_iter().flatten() {
            let name = format!("{file}{}", reference["$ref"].as_str().unwrap_or_default());
            let fields =
                documents.resolve(file, reference)["properties"].as_object().into_iter().flat_map(|map| map.keys());
            let used = said.get(&name);
            let unused = fields.filter(|field| !used.is_some_and(|used| used.contains(*field)));
            faults.extend(unused.map(|field| format!("{name}: no golden frame has `{field}`")));
        }
    }
    faults
}
