//! MessagePack as it comes in moves and signals: judged as another implementation judges it, and
//! what is accepted converts to JSON and back within bounds of memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rallypoint_fuzz::within;
use rallypoint_protocol::{
    convert,
    moves::{self, ClientMove, MoveLimits, ServerMove},
    msgpack::{self, DEPTH_CEILING},
};
use rmpv::ValueRef;

const DEPTH: usize = 16;

/// Whether the bytes are one value within our rules, to the eyes of `rmpv`.
fn reference(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    match rmpv::decode::read_value_ref(&mut rest) {
        Ok(value) => rest.is_empty() && is_fit(&value, DEPTH, false),
        Err(_) => false,
    }
}

/// Text is UTF-8, nothing is deeper than `depth`, and a key that is a container has none in its keys.
fn is_fit(value: &ValueRef<'_>, depth: usize, in_key: bool) -> bool {
    match value {
        ValueRef::String(text) => text.as_str().is_some(),
        ValueRef::Array(items) => depth > 0 && items.iter().all(|item| is_fit(item, depth - 1, in_key)),
        ValueRef::Map(pairs) => {
            depth > 0
                && pairs.iter().all(|(key, value)| {
                    let nested = matches!(key, ValueRef::Array(_) | ValueRef::Map(_));
                    !(nested && in_key) && is_fit(key, depth - 1, in_key || nested) && is_fit(value, depth - 1, in_key)
                })
        }
        _ => true,
    }
}

fn to_json(bytes: &[u8]) -> String {
    let mut json = Vec::new();
    convert::to_json(bytes, DEPTH_CEILING, &mut json).expect("a checked value has a JSON form");
    String::from_utf8(json).expect("JSON is UTF-8")
}

fn from_json(json: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    convert::from_json(json.as_bytes(), &mut bytes).expect("our own JSON has a MessagePack form");
    bytes
}

/// There and back.
fn converts(bytes: &[u8]) {
    // The worst is a byte that becomes `\u0000` inside a key that is a list.
    let budget = 4096 + 64 * bytes.len();
    let json = within(budget, || to_json(bytes));
    serde_json::from_str::<serde_json::Value>(&json).expect("serde reads our JSON");
    let back = within(budget, || from_json(&json));
    let again = to_json(&back);
    // A map that looks like a timestamp becomes one, by the rules.
    if !json.contains(r#""$ext":[-1,"#) {
        assert_eq!(again, json, "JSON changes on its way through MessagePack");
    }
    assert_eq!(from_json(&again), from_json(&to_json(&from_json(&again))), "it never settles");
}

fuzz_target!(|bytes: &[u8]| {
    let check = within(0, || msgpack::check_single(bytes, DEPTH));
    // `rmpv` reads the byte that is never used as nil.
    assert!(
        check.is_ok() == reference(bytes) || (check.is_err() && bytes.contains(&0xc1)),
        "we say {check:?}, rmpv does not"
    );
    if let Ok(len) = msgpack::value_len(bytes, DEPTH) {
        assert_eq!(msgpack::check_single(&bytes[..len], DEPTH), Ok(()));
    }
    if check.is_ok() {
        converts(bytes);
    }
    if let Ok(step) = ClientMove::parse(bytes, MoveLimits::default()) {
        assert!(moves::is_move(bytes));
        converts(step.payload);
        let mut frame = Vec::new();
        step.encode(&mut frame);
        assert_eq!(ClientMove::parse(&frame, MoveLimits::default()), Ok(step));
    }
    if let Ok(step) = ServerMove::parse(bytes) {
        assert_eq!(msgpack::check_single(step.payload, DEPTH_CEILING), Ok(()));
        let mut frame = Vec::new();
        step.encode(&mut frame);
        assert!(frame.len() <= ServerMove::HEAD_MAX + step.payload.len());
        assert_eq!(ServerMove::parse(&frame), Ok(step));
    }
});
